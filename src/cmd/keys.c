#include "cmd/keys.h"

#include <stdlib.h>

#include "api/api.h"
#include "conf/conf.h"

int
berth_keys_init(struct berth_keys *k, const struct berth_conf *conf, struct berth_err *e)
{
    const struct berth_conf_security *s = &conf->security;

    *k = (struct berth_keys){0};
    if (s->api_keys.count == 0)
        return !s->auth_enabled
                   ? 0
                   : berth_err_set(e, BERTH_ECONFIG,
                                   "security.auth_enabled is on, but there is no key: set "
                                   "security.api_keys or --api-key-file");
    k->at = calloc(s->api_keys.count, sizeof *k->at);
    if (k->at == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    for (; k->count < s->api_keys.count; k->count++) {
        int r = berth_api_key_read(s->api_keys.at[k->count], &k->at[k->count], e);
        if (r < 0) {
            (void)berth_err_wrap(e, r, "security.api_keys[%zu]", k->count);
            berth_keys_fini(k);
            return r;
        }
    }
    return 0;
}

void
berth_keys_fini(struct berth_keys *k)
{
    free(k->at);
    *k = (struct berth_keys){0};
}
