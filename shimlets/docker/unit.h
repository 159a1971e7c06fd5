#ifndef BERTH_SHIMLETS_DOCKER_UNIT_H
#define BERTH_SHIMLETS_DOCKER_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/shimlet.h>

#include "base/buf.h"

struct berth_arena;

/*
 * From a unit to the body of POST /containers/create, and back from a container's labels.  Pure:
 * no daemon, no clock; any thread.
 */

enum berth_docker_pull {
    BERTH_DOCKER_PULL_MISSING,
    BERTH_DOCKER_PULL_NEVER,
    BERTH_DOCKER_PULL_ALWAYS,
};

/* The environment's settings.  Strings are in the arena it was read into. */
struct berth_docker_conf {
    const char *host, *cert_dir; /* cert_dir: NULL: none */
    const char *network;         /* "bridge", "host", or another network's name */
    const char *image;           /* for units without one; NULL: none */
    enum berth_docker_pull pull;
    const char *registry_auth; /* a file; NULL: none */
    const char *label_prefix, *address;
    uint16_t port_min, port_max; /* inclusive */
    uint64_t stop_ns, health_ns; /* between asking to stop and killing; between probes */
    const char *owner;
};
extern const struct berth_setting berth_docker_settings[];
/* settings_json and owner: as open() has them. */
int berth_docker_conf_read(const char *settings_json, const char *owner, struct berth_arena *a,
                           struct berth_docker_conf *ret, struct berth_err *e);

/* A unit with its own settings over the environment's.  Borrows from the unit and the arena. */
struct berth_docker_plan {
    const struct berth_docker_conf *conf;
    const struct berth_unit *u;
    const char *image, *network;
    const char *user, *runtime; /* NULL: the image's, the daemon's */
    enum berth_docker_pull pull;
    uint64_t shm_bytes;    /* of /dev/shm; 0: docker's own */
    const char *model_dir; /* mounted read-only at the same path; NULL: none */
    bool host_network;
};
/* -BERTH_EINVAL: what is wrong, and where to say it; -BERTH_EUNSUPPORTED: an accelerator that is
 * not known here; -BERTH_ENOMEM */
int berth_docker_plan_make(const struct berth_docker_conf *conf, const struct berth_unit *u,
                           struct berth_arena *a, struct berth_docker_plan *ret,
                           struct berth_err *e);

/* Where a replica listens: in the container, and on the machine. */
struct berth_docker_ports {
    uint16_t inner, outer; /* the same with the host's network */
};

/* The name of a replica's container: the same for the same unit, hash and index, so that nothing is
 * made twice.  In the arena; NULL: no memory. */
const char *berth_docker_container_name(const struct berth_unit *u, uint32_t index,
                                        struct berth_arena *a);
/* Append the body of its creation.  -BERTH_ENOMEM */
int berth_docker_body(const struct berth_docker_plan *p, uint32_t index,
                      struct berth_docker_ports ports, struct berth_arena *a, struct berth_buf *out,
                      struct berth_err *e);
/* text with $(PORT), $(HOST), $(REPLICA) and $$ replaced; others stay as they are.  In the arena;
 * NULL: no memory. */
const char *berth_docker_expand(struct berth_arena *a, const char *text, const char *host,
                                uint16_t port, uint32_t index);
/* stop_ns in the daemon's whole seconds, none of them lost: 0 would be SIGKILL at once. */
uint64_t berth_docker_stop_s(const struct berth_docker_conf *conf);
/* Append "filters=..." for a query: containers of this owner, and of this unit (NULL: of all). */
int berth_docker_filters(const struct berth_docker_conf *conf, const char *unit_name,
                         struct berth_arena *a, struct berth_buf *out, struct berth_err *e);

#endif
