#ifndef BERTH_CMD_CONTROL_H
#define BERTH_CMD_CONTROL_H

#include <stdint.h>

#include <berth/err.h>

struct berth_conf;
struct berth_deploy;
struct berth_metrics;
struct berth_routes;
struct berth_store;

/* The control plane of a serving process: the engine with every shimlet and pipeline that is
 * compiled in, in the plugin folder, or named by the configuration.  *ret is started.
 *   -BERTH_ENOENT deploy.shimlet or deploy.pipeline is not there; -BERTH_ECONFIG, -BERTH_EABI */
struct berth_control_conf {
    const struct berth_conf *conf;
    struct berth_store *store;
    struct berth_metrics *metrics;
    struct berth_routes *routes;
    const char *state_dir;  /* NULL: nothing is kept */
    const char *plugin_dir; /* NULL: none */
};
int berth_control_up(const struct berth_control_conf *how, struct berth_deploy **ret,
                     struct berth_err *e);

#endif
