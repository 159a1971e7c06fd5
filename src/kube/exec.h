#ifndef BERTH_KUBE_EXEC_H
#define BERTH_KUBE_EXEC_H

#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"
#include "kube/client.h"

struct berth_arena;
struct berth_kube_config;

/* What a credential program printed.  In the arena. */
struct berth_kube_exec_result {
    const char *token; /* NULL: none */
    struct berth_slice cert_pem, key_pem;
    uint64_t expires_wall_ns; /* 0: never */
};

enum { BERTH_KUBE_EXEC_OUTPUT_MAX = 256 * 1024 };

/*
 * Run config->exec and read what it prints.  Blocks until it ends, until->deadline_ns (which must
 * be set) has passed, or the caller cancels, within 100 ms: then it and all that it started are
 * killed.  What it wrote to its standard error last is in the message.
 *
 *   -BERTH_ECONFIG    there is no such program (with its installHint), or its answer is wrong
 *
 *   -BERTH_ENETWORK   it failed, or there was no room to start it: worth another try
 *
 *   -BERTH_EDEADLINE, -BERTH_ECANCELED, -BERTH_ENOMEM
 */
int berth_kube_exec_run(const struct berth_kube_config *config, struct berth_arena *a,
                        const struct berth_kube_until *until, struct berth_kube_exec_result *ret,
                        struct berth_err *e);

/* The parser of what it prints, by itself. */
int berth_kube_exec_parse(struct berth_arena *a, const char *text, size_t len,
                          const char *api_version, struct berth_kube_exec_result *ret,
                          struct berth_err *e);

#endif
