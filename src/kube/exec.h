#ifndef BERTH_KUBE_EXEC_H
#define BERTH_KUBE_EXEC_H

#include <stdatomic.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

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
 * Run config->exec and read what it prints.  Blocks until it ends or timeout_ns have passed, when
 * it is killed; stop (may be NULL) cuts that short.  Its errors go to our standard error's place in
 * the message: the last line it wrote there. -BERTH_ECONFIG    there is no such program (with its
 * installHint), or its answer is wrong -BERTH_EAUTH      it failed        -BERTH_EDEADLINE,
 * -BERTH_ECANCELED
 */
int berth_kube_exec_run(const struct berth_kube_config *config, struct berth_arena *a,
                        uint64_t timeout_ns, const atomic_bool *stop,
                        struct berth_kube_exec_result *ret, struct berth_err *e);

/* The parser of what it prints, by itself. */
int berth_kube_exec_parse(struct berth_arena *a, const char *text, size_t len,
                          const char *api_version, struct berth_kube_exec_result *ret,
                          struct berth_err *e);

#endif
