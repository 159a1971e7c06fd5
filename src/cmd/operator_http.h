#ifndef BERTH_CMD_OPERATOR_HTTP_H
#define BERTH_CMD_OPERATOR_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include <berth/err.h>

#include "operator/cluster/controller.h"

struct berth_metrics;

/*
 * What an operator tells about itself: /healthz and /readyz for probes, /metrics for Prometheus.
 * There are no names in it, and nothing can be changed.  /metrics may be served by HTTPS and to
 * those alone who show a token; else all of it is plain HTTP, to whoever reaches the address.  One
 * loop, 32 connections at once to each address.
 */
struct berth_operator_http;

struct berth_operator_state {
    struct berth_msvc_controller_stats stats; /* since the process began */
    bool leads;                               /* it is this one that works */
    bool ready;                               /* it works and knows all, or it stands by */
    uint64_t api_calls, api_retries;
};

struct berth_operator_http_conf {
    const char *health, *metrics;     /* "HOST:PORT", ":PORT" for all addresses; "0" or NULL: off */
    struct berth_metrics *numbers;    /* that /metrics shows; borrowed.  NULL only when it is off */
    const char *cert_path, *key_path; /* of /metrics: PEM; NULL: plain HTTP */
    /* A file with a token that who asks for /metrics must show as a bearer; read each time, as it
     * may be another one by then.  NULL: nobody is asked. */
    const char *token_path;
    void (*read)(void *arg, struct berth_operator_state *ret); /* on the loop; must not wait */
    void *arg;
};

bool berth_operator_http_is_off(const char *address);
/* -BERTH_EINVAL: it is neither off nor an address. */
int berth_operator_http_check(const char *address, struct berth_err *e);
/* Do both have one address, by plain HTTP then: a probe knows of no certificate? */
bool berth_operator_http_is_one(const char *health, const char *metrics);
/* *ret is NULL when both are off.  -BERTH_EINVAL: no address; -BERTH_EIO: it cannot be had. */
int berth_operator_http_start(const struct berth_operator_http_conf *conf,
                              struct berth_operator_http **ret, struct berth_err *e);
/* NULL is fine. */
void berth_operator_http_stop(struct berth_operator_http *h);

#endif
