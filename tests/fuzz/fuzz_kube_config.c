#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "kube/config.h"
#include "kube/exec.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

/* A kubeconfig, and what a credential program prints: the first byte says which. */
int
LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct berth_kube_exec_result result;
    struct berth_kube_config config;
    struct berth_arena a;
    struct berth_err e;

    if (len == 0)
        return 0;
    berth_arena_init(&a, 8 << 20);
    const char *text = (const char *)at + 1;
    if (at[0] == 'x') {
        if (berth_kube_exec_parse(&a, text, len - 1, "client.authentication.k8s.io/v1", &result,
                                  &e) == 0)
            berth_assert(result.token != NULL ||
                         (result.cert_pem.len > 0 && result.key_pem.len > 0));
    } else if (berth_kube_config_parse(&a, text, len - 1, "f", "/d", NULL, &config, &e) == 0) {
        berth_assert(config.server != NULL && config.space != NULL && config.context != NULL);
        const char *scheme = strstr(config.server, "://"); /* the client cuts it there */
        berth_assert(scheme != NULL && scheme[3] != '\0' && scheme[3] != '/');
        berth_assert(config.exec == NULL || config.exec->args[0] != NULL);
    }
    berth_arena_fini(&a);
    return 0;
}
