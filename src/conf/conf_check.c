#include "conf/conf_priv.h"

#include <string.h>

/* Rules that hold between settings. */

static size_t
row_of(size_t offset)
{
    size_t i = 0;

    while (i < berth_conf_row_count && berth_conf_rows[i].offset != offset)
        i++;
    return i;
}

static int
check_server(const struct berth_conf *c, struct berth_err *e)
{
    const struct berth_conf_server *s = &c->server;

    if (s->port == s->grpc_port && s->port != 0)
        return berth_err_set(e, BERTH_ECONFIG,
                             "server.port and server.grpc_port are both %lld: they must differ",
                             (long long)s->port);
    if (s->enable_tls && (s->tls_cert_path == NULL || s->tls_key_path == NULL))
        return berth_err_set(e, BERTH_ECONFIG,
                             "server.enable_tls: server.%s is missing; give both files",
                             s->tls_cert_path == NULL ? "tls_cert_path" : "tls_key_path");
    return 0;
}

static int
check_security(struct berth_conf_full *c, struct berth_err *e)
{
    struct berth_conf_security *s = &c->conf.security;
    const size_t auth = row_of(offsetof(struct berth_conf, security.auth_enabled));

    if (s->api_key_file != NULL) {
        const int rc = berth_conf_keys_read(c, s->api_key_file, e);
        if (rc != 0)
            return berth_err_wrap(e, rc, "security.api_key_file");
        if (c->origins[auth].from == BERTH_FROM_DEFAULT)
            s->auth_enabled = true;
    }
    if (s->auth_enabled && s->api_keys.count == 0)
        return berth_err_set(e, BERTH_ECONFIG,
                             "security.auth_enabled: nobody could get in; give "
                             "security.api_key_file or security.api_keys");
    return 0;
}

/* One line for all keys that were changed in vain. */
static void
note_inert(struct berth_conf_full *c)
{
    struct berth_buf keys;

    berth_buf_init(&keys, &c->arena);
    for (size_t i = 0; i < berth_conf_row_count; i++) {
        const struct berth_conf_row *row = &berth_conf_rows[i];
        if ((row->bits & BERTH_CONF_INERT) == 0 ||
            strcmp(c->origins[i].dflt, berth_conf_value_text(c, row)) == 0)
            continue;
        berth_buf_printf(&keys, "%s%s (%s)", keys.len > 0 ? ", " : "", row->key,
                         c->origins[i].where);
    }
    const char *text = berth_buf_text(&keys);
    if (text != NULL && text[0] != '\0')
        berth_conf_note(c, "accepted, but without effect yet: %s", text);
}

int
berth_conf_check(struct berth_conf_full *c, struct berth_err *e)
{
    int rc = check_server(&c->conf, e);

    if (rc == 0)
        rc = check_security(c, e);
    if (rc == 0 && c->conf.monitoring.jaeger_enabled && c->conf.monitoring.jaeger_endpoint == NULL)
        rc = berth_err_set(e, BERTH_ECONFIG,
                           "monitoring.jaeger_enabled: monitoring.jaeger_endpoint is missing");
    if (rc == 0)
        note_inert(c);
    return rc;
}
