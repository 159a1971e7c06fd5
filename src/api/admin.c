#include <string.h>

#include "api/api_priv.h"
#include "api/routes.h"
#include "base/clock.h"
#include "infer/registry.h"
#include "plugin/plugins.h"

/* Health, metrics, the OpenAPI document and the list of backends. */

static bool
is_stopping(const struct berth_api *api)
{
    return api->conf.stopping != NULL && atomic_load(api->conf.stopping);
}

static bool
is_starting(const struct berth_api *api)
{
    return api->conf.starting != NULL && atomic_load(api->conf.starting);
}

static void
put_counts(struct berth_jw *w, const struct berth_registry_counts *n)
{
    const struct {
        const char *key;
        uint32_t n;
    } counts[] = {{"registered", n->registered}, {"ready", n->ready},   {"loading", n->loading},
                  {"failed", n->failed},         {"queued", n->queued}, {"running", n->running},
                  {"on_demand", n->on_demand}};

    berth_jw_object(w);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        berth_jw_key(w, counts[i].key);
        berth_jw_uint(w, counts[i].n);
    }
    berth_jw_object_end(w);
}

/* status: Unknown without models, Healthy with one at least that serves, else Unhealthy. */
void
berth_admin_health(struct berth_call *c)
{
    const struct berth_registry_counts n = berth_registry_counts(c->api->conf.registry);
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "status");
    berth_jw_string(&w, n.registered == 0           ? "Unknown"
                        : n.ready + n.on_demand > 0 ? "Healthy"
                                                    : "Unhealthy");
    berth_jw_key(&w, "version");
    berth_jw_string(&w, c->api->conf.version);
    berth_jw_key(&w, "uptime_seconds");
    berth_jw_uint(&w, (berth_now_ns() - c->api->begin_ns) / BERTH_S);
    berth_jw_key(&w, "models");
    put_counts(&w, &n);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

void
berth_admin_ready(struct berth_call *c)
{
    const struct berth_registry_counts n = berth_registry_counts(c->api->conf.registry);
    const bool ready = n.ready + n.on_demand > 0 && !is_stopping(c->api) && !is_starting(c->api);
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "ready");
    berth_jw_bool(&w, ready);
    berth_jw_key(&w, "reason");
    berth_jw_string(&w, is_stopping(c->api)   ? "the server is stopping"
                        : ready               ? NULL
                        : is_starting(c->api) ? "the server is starting"
                        : n.loading > 0       ? "a model is still loading"
                                              : "no model is ready");
    berth_jw_key(&w, "models");
    put_counts(&w, &n);
    berth_jw_object_end(&w);
    if (!ready)
        c->reply.retry_after_s = 1;
    berth_call_json(c, ready ? 200 : 503, &b);
}

void
berth_admin_metrics(struct berth_call *c)
{
    struct berth_buf b;

    berth_buf_init(&b, &c->x->arena);
    berth_metrics_render(c->api->conf.metrics, &b);
    if (b.failed)
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "the metrics are larger than the memory limit");
    else
        berth_call_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", b.at, b.len);
}

void
berth_admin_openapi(struct berth_call *c)
{
    struct berth_buf b;

    berth_buf_init(&b, &c->x->arena);
    berth_routes_openapi(&b, c->api->conf.version);
    berth_call_json(c, 200, &b);
}

static void
put_settings(struct berth_jw *w, const struct berth_setting *s)
{
    static const char *const types[] = {"integer", "number", "boolean", "string"};

    berth_jw_array(w);
    for (; s != NULL && s->key != NULL; s++) {
        berth_jw_object(w);
        berth_jw_key(w, "key");
        berth_jw_string(w, s->key);
        berth_jw_key(w, "type");
        berth_jw_string(w, types[s->type]);
        berth_jw_key(w, "default");
        berth_jw_string(w, s->dflt);
        berth_jw_key(w, "help");
        berth_jw_string(w, s->help);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
put_plugin(struct berth_jw *w, const struct berth_plugin_info *p)
{
    berth_jw_object(w);
    berth_jw_key(w, "name");
    berth_jw_string(w, p->name);
    berth_jw_key(w, "version");
    berth_jw_string(w, p->ops != NULL ? p->ops->version : NULL);
    berth_jw_key(w, "supported_formats");
    berth_jw_array(w);
    for (size_t i = 0; p->ops != NULL && p->ops->suffixes != NULL && p->ops->suffixes[i] != NULL;
         i++)
        berth_jw_string(w, p->ops->suffixes[i]);
    berth_jw_array_end(w);
    berth_jw_key(w, "path");
    berth_jw_string(w, p->path);
    berth_jw_key(w, "status");
    berth_jw_string(w, p->ops != NULL ? "available" : "unavailable");
    berth_jw_key(w, "reason");
    berth_jw_string(w, p->ops != NULL ? NULL : p->why);
    berth_jw_key(w, "settings");
    put_settings(w, p->ops != NULL ? p->ops->settings : NULL);
    berth_jw_object_end(w);
}

void
berth_admin_plugins(struct berth_call *c)
{
    const struct berth_plugin_info *all = NULL;
    const size_t n =
        c->api->conf.plugins != NULL ? berth_plugins_list(c->api->conf.plugins, &all) : 0;
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++)
        put_plugin(&w, &all[i]);
    berth_jw_array_end(&w);
    berth_call_json(c, 200, &b);
}
