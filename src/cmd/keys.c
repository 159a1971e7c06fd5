#include "cmd/keys.h"

#include <stdbool.h>
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
role_scopes(const char *role, size_t len)
{
    for (size_t i = 0; i < BERTH_COUNT(roles); i++)
        if (strlen(roles[i].role) == len && memcmp(role, roles[i].role, len) == 0)
            return roles[i].scopes;
    return 0;
}

/* The next word of a line; 0: there is none. */
static size_t
next_word(const char **at)
{
    *at += strspn(*at, " \t");
    return strcspn(*at, " \t");
}

/* "KEY", "KEY ROLE" or "KEY ROLE NAME". */
static bool
read_key(const char *text, struct berth_api_key *ret)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@";
    const char *at = text;
    size_t len = strcspn(at, " \t");

    if (len == 0)
        return false;
    berth_api_key_hash(at, len, ret->sha256_hex);
    at += len;
    len = next_word(&at);
    ret->scopes = len > 0 ? role_scopes(at, len) : roles[0].scopes;
    at += len;
    len = next_word(&at);
    if (ret->scopes == 0 || len >= sizeof ret->name || strspn(at, letters) < len ||
        strncmp(at, "key-", 4) == 0) /* which are fingerprints */
        return false;
    memcpy(ret->name, at, len); /* calloc() has put the NUL behind it */
    at += len;
    return next_word(&at) == 0;
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
        if (!read_key(text, &k->at[i])) {
            berth_keys_fini(k);
            return berth_err_set(
                e, BERTH_ECONFIG,
                "security.api_keys[%zu]: a key, or a key and one of admin, operator, "
                "user, viewer, or these and a name of letters, digits, '.', '_', '-' and '@'",
                i);
        }
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
