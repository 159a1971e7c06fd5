#include "cmd/keys.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/assert.h"
#include "conf/conf.h"

static const struct {
    const char *role;
    uint32_t scopes;
} roles[] = {
    {"admin", BERTH_SCOPE_READ | BERTH_SCOPE_INFER | BERTH_SCOPE_MANAGE},
    {"operator", BERTH_SCOPE_READ | BERTH_SCOPE_MANAGE},
    {"user", BERTH_SCOPE_READ | BERTH_SCOPE_INFER},
    {"viewer", BERTH_SCOPE_READ},
};

static uint32_t
role_scopes(const char *role)
{
    for (size_t i = 0; i < BERTH_COUNT(roles); i++)
        if (strcmp(role, roles[i].role) == 0)
            return roles[i].scopes;
    return 0;
}

int
berth_keys_init(struct berth_keys *k, const struct berth_conf *conf, struct berth_err *e)
{
    const struct berth_conf_security *s = &conf->security;

    *k = (struct berth_keys){0};
    if (!s->auth_enabled && s->api_keys.count == 0)
        return 0;
    if (s->api_keys.count == 0)
        return berth_err_set(
            e, BERTH_ECONFIG,
            "security.auth_enabled is on, but there is no key: set security.api_keys "
            "or --api-key-file");
    k->at = calloc(s->api_keys.count, sizeof *k->at);
    if (k->at == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    for (size_t i = 0; i < s->api_keys.count; i++) {
        const char *text = s->api_keys.at[i];
        size_t len = strcspn(text, " \t");
        const char *role = text + len + strspn(text + len, " \t");
        k->at[i].scopes = *role != '\0' ? role_scopes(role) : roles[0].scopes;
        if (len == 0 || k->at[i].scopes == 0) {
            berth_keys_fini(k);
            return berth_err_set(
                e, BERTH_ECONFIG,
                "security.api_keys[%zu]: a key, or a key and one of admin, operator, "
                "user, viewer",
                i);
        }
        berth_api_key_hash(text, len, k->at[i].sha256_hex);
    }
    k->count = s->api_keys.count;
    return 0;
}

void
berth_keys_fini(struct berth_keys *k)
{
    free(k->at);
    *k = (struct berth_keys){0};
}
