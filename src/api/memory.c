#include <string.h>

#include "api/api_priv.h"
#include "base/arena.h"
#include "base/clock.h"
#include "infer/registry.h"
#include "infer/room.h"
#include "wire/json.h"
#include "wire/uri.h"

/* Memory as clients see it: what there is, what a model has, what a load would mean. */

static void
put_bool(struct berth_jw *w, const char *key, bool b)
{
    berth_jw_key(w, key);
    berth_jw_bool(w, b);
}

static void
put_ms(struct berth_jw *w, const char *key, uint64_t ns)
{
    berth_jw_key(w, key);
    berth_jw_double(w, (double)(ns / 1000) / 1e3);
}

static void
put_sums(struct berth_jw *w, const struct berth_ledger_sums *s)
{
    berth_jw_object(w);
    berth_jw_pair_uint(w, "budget_bytes", s->budget_bytes);
    berth_jw_pair_uint(w, "held_bytes", s->held_bytes);
    berth_jw_pair_uint(w, "promised_bytes", s->promised_bytes);
    berth_jw_pair_uint(w, "pinned_bytes", s->pinned_bytes);
    berth_jw_pair_uint(w, "in_use_bytes", s->in_use_bytes);
    berth_jw_pair_uint(w, "others_bytes", s->others_bytes);
    berth_jw_pair_uint(w, "free_bytes", s->free_bytes);
    berth_jw_object_end(w);
}

static void
put_forecast(struct berth_jw *w, const char *key, uint64_t bytes, uint64_t load_ns)
{
    berth_jw_key(w, key);
    berth_jw_object(w);
    berth_jw_pair_uint(w, "bytes", bytes);
    put_ms(w, "load_ms", load_ns);
    berth_jw_object_end(w);
}

void
berth_memory_put_model(struct berth_jw *w, const struct berth_model_memory *m)
{
    berth_jw_key(w, "memory");
    berth_jw_object(w);
    berth_jw_pair_uint(w, "held_bytes", m->held_bytes);
    berth_jw_pair(w, "load", m->load);
    put_bool(w, "pinned", m->pinned);
    berth_jw_key(w, "keep_alive_secs");
    if (m->keep_alive_ns == UINT64_MAX)
        berth_jw_null(w);
    else
        berth_jw_double(w, (double)(m->keep_alive_ns / BERTH_MS) / 1e3);
    if (m->measured_bytes > 0) {
        put_forecast(w, "predicted", m->predicted_bytes, m->predicted_load_ns);
        berth_jw_pair(w, "predicted_by", berth_forecast_by_text(m->predicted_by));
        put_forecast(w, "measured", m->measured_bytes, m->measured_load_ns);
        berth_jw_pair_uint(w, "evicted", m->evicted);
    }
    berth_jw_object_end(w);
}

/* GET /v1/memory */
void
berth_memory_get(struct berth_call *c)
{
    const struct berth_ledger_sums s = berth_registry_memory(c->api->conf.registry);
    struct berth_model_info *list = NULL;
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;
    size_t n = 0;
    const int r = berth_registry_list(c->api->conf.registry, c->arena, &list, &n, &e);

    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    berth_buf_init(&b, c->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "memory");
    put_sums(&w, &s);
    berth_jw_key(&w, "models");
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        if (list[i].memory.held_bytes == 0)
            continue;
        berth_jw_object(&w);
        berth_jw_pair(&w, "name", list[i].name);
        berth_jw_pair_uint(&w, "held_bytes", list[i].memory.held_bytes);
        put_bool(&w, "pinned", list[i].memory.pinned);
        put_bool(&w, "in_use", list[i].memory.in_use);
        put_ms(&w, "load_ms", list[i].memory.measured_load_ns);
        berth_jw_object_end(&w);
    }
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

/* ---- GET /v1/plan?model=NAME or ?path=PATH&backend=NAME&config={...} ---- */

static const char *
verdict_text(const struct berth_load_plan *p)
{
    if (p->loaded)
        return "loaded";
    switch (p->verdict) {
    case BERTH_LEDGER_FITS:
        return "fits";
    case BERTH_LEDGER_EVICT:
        return "evicts";
    case BERTH_LEDGER_WAIT:
        return "waits";
    case BERTH_LEDGER_NEVER:
        break;
    }
    return "does not fit";
}

static void
put_plan(struct berth_jw *w, const struct berth_load_plan *p)
{
    uint64_t freed = 0;

    berth_jw_object(w);
    berth_jw_pair(w, "model", p->name[0] != '\0' ? p->name : NULL);
    berth_jw_pair(w, "backend", p->backend);
    berth_jw_pair(w, "verdict", verdict_text(p));
    put_forecast(w, "predicted", p->bytes, p->load_ns);
    berth_jw_pair(w, "predicted_by", berth_forecast_by_text(p->by));
    berth_jw_key(w, "evicts");
    berth_jw_array(w);
    for (size_t i = 0; !p->loaded && i < p->victim_count; i++) {
        berth_jw_object(w);
        berth_jw_pair(w, "model", p->victims[i].name);
        berth_jw_pair_uint(w, "bytes", p->victims[i].bytes);
        put_ms(w, "reload_ms", p->victims[i].reload_ns);
        berth_jw_object_end(w);
        freed += p->victims[i].bytes;
    }
    berth_jw_array_end(w);
    berth_jw_pair_uint(w, "evicted_bytes", freed);
    berth_jw_pair(w, "reason", p->why[0] != '\0' && !p->loaded ? p->why : NULL);
    berth_jw_key(w, "memory");
    put_sums(w, &p->sums);
    berth_jw_object_end(w);
}

/* A member of the query as text; NULL: it is not there. */
static const char *
asked(struct berth_call *c, const char *key)
{
    struct berth_slice v;

    return berth_uri_query(c->arena, c->x->query, key, &v)
               ? berth_arena_strndup(c->arena, v.at, v.len)
               : NULL;
}

void
berth_plan_get(struct berth_call *c)
{
    const char *model = asked(c, "model"), *path = asked(c, "path");
    const char *backend = asked(c, "backend"), *config = asked(c, "config");
    const struct berth_json *v = NULL;
    struct berth_load_plan p;
    struct berth_err e = {""};
    struct berth_buf b;
    struct berth_jw w;
    int r = 0;

    if ((model == NULL) == (path == NULL))
        r = berth_err_set(&e, BERTH_EINVAL,
                          "give ?model=NAME of a registered model, or ?path=PATH of one to be");
    if (r == 0 && model != NULL && (config != NULL || backend != NULL))
        r = berth_err_set(&e, BERTH_EINVAL,
                          "config and backend are for a path; model '%s' is registered with its "
                          "own, which PATCH /v1/models/%s changes",
                          model, model);
    if (r == 0 && config != NULL &&
        (r = berth_json_parse(c->arena, config, strlen(config), NULL, &v, &e)) == 0 &&
        berth_json_type(v) != BERTH_JSON_OBJECT)
        r = berth_err_set(&e, BERTH_EINVAL, "config: must be an object, not %s",
                          berth_json_type_name(v));
    if (r == 0)
        r = berth_registry_plan(c->api->conf.registry, c->arena,
                                berth_slice_of(model != NULL ? model : ""), path, backend, v, &p,
                                &e);
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    berth_buf_init(&b, c->arena);
    berth_jw_init(&w, &b);
    put_plan(&w, &p);
    berth_call_json(c, 200, &b);
}
