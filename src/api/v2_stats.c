#include "api/api_priv.h"
#include "api/v2_models.h"
#include "base/arena.h"
#include "base/clock.h"
#include "infer/registry.h"
#include "infer/stats.h"

/* GET /v2/models[/{model}[/versions/{version}]]/stats: Triton's statistics extension. */

static void
put_duration(struct berth_jw *w, const char *key, struct berth_duration d)
{
    berth_jw_key(w, key);
    berth_jw_object(w);
    berth_jw_pair_uint(w, "count", d.count);
    berth_jw_pair_uint(w, "ns", d.ns);
    berth_jw_object_end(w);
}

static void
put_batches(struct berth_jw *w, const struct berth_version_stats *s)
{
    berth_jw_key(w, "batch_stats");
    berth_jw_array(w);
    for (size_t i = 0; i < s->batch_count; i++) {
        const struct berth_batch_stats *b = &s->batches[i];

        berth_jw_object(w);
        berth_jw_pair_uint(w, "batch_size", b->rows);
        put_duration(w, "compute_input", (struct berth_duration){b->count, b->input_ns});
        put_duration(w, "compute_infer", (struct berth_duration){b->count, b->infer_ns});
        put_duration(w, "compute_output", (struct berth_duration){b->count, b->output_ns});
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
put_memory(struct berth_jw *w, const struct berth_model_version_info *v)
{
    berth_jw_key(w, "memory_usage");
    berth_jw_array(w);
    if (v->memory_bytes > 0) {
        berth_jw_object(w);
        berth_jw_key(w, "type");
        berth_jw_string(w, "CPU");
        berth_jw_pair_uint(w, "id", 0);
        berth_jw_pair_uint(w, "byte_size", v->memory_bytes);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
put_version(struct berth_jw *w, const char *name, const struct berth_model_version_info *v)
{
    const struct berth_version_stats *s = &v->stats;

    berth_jw_object(w);
    berth_jw_key(w, "name");
    berth_jw_string(w, name);
    berth_jw_key(w, "version");
    berth_jw_string(w, v->version);
    berth_jw_pair_uint(w, "last_inference", s->last_wall_ns / BERTH_MS);
    berth_jw_pair_uint(w, "inference_count", s->inferences);
    berth_jw_pair_uint(w, "execution_count", s->executions);
    berth_jw_key(w, "inference_stats");
    berth_jw_object(w);
    put_duration(w, "success", s->success);
    put_duration(w, "fail", s->fail);
    put_duration(w, "queue", s->queue);
    put_duration(w, "compute_input", s->input);
    put_duration(w, "compute_infer", s->infer);
    put_duration(w, "compute_output", s->output);
    put_duration(w, "cache_hit", s->cache_hit);
    put_duration(w, "cache_miss", s->cache_miss);
    berth_jw_object_end(w);
    berth_jw_key(w, "response_stats"); /* of models that answer one request several times: none */
    berth_jw_raw(w, "{}", 2);
    put_batches(w, s);
    put_memory(w, v);
    berth_jw_object_end(w);
}

/* Every version, or the one that is asked for.  How many were put. */
static size_t
put_model(struct berth_jw *w, const struct berth_model_info *m, struct berth_slice version)
{
    size_t n = 0;

    for (size_t i = 0; i < m->version_count; i++) {
        if (version.len > 0 && !berth_v2_is_version(&m->versions[i], version))
            continue;
        put_version(w, m->name, &m->versions[i]);
        n++;
    }
    return n;
}

void
berth_v2_stats(struct berth_call *c)
{
    struct berth_model_info one, *all = &one;
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;
    size_t n = 1, put = 0;
    int r = c->name.len > 0
                ? berth_registry_info(c->api->conf.registry, &c->x->arena, c->name, &one, &e)
                : berth_registry_list(c->api->conf.registry, &c->x->arena, &all, &n, &e);

    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "model_stats");
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++)
        put += put_model(&w, &all[i], c->version);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    if (put == 0 && c->version.len > 0) {
        (void)berth_err_set(&e, BERTH_ENOENT,
                            "Request for unknown model: '%s' version %.*s is not found", one.name,
                            (int)c->version.len, c->version.at);
        berth_call_fail(c, -BERTH_ENOENT, NULL, e.msg);
        return;
    }
    berth_call_json(c, 200, &b);
}
