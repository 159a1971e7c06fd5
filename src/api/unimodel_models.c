#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/fields.h"
#include "api/forward.h"
#include "base/arena.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/registry.h"

/* UniModel's records of models; OpenAI's clients read the same ones. */

static void
put_real(struct berth_jw *w, const char *key, double x)
{
    berth_jw_key(w, key);
    berth_jw_double(w, x);
}

static void
put_time(struct berth_jw *w, const char *key, uint64_t wall_ns)
{
    char text[BERTH_TIME_TEXT];

    berth_jw_pair(w, key, wall_ns > 0 ? berth_time_text(wall_ns, text) : NULL);
}

/* The state as UniModel's Rust enum spells it. */
static const char *
status_name(const struct berth_model_info *m)
{
    switch (m->state) {
    case BERTH_MODEL_UNLOADED:
        return "Unloaded";
    case BERTH_MODEL_LOADING:
        return "Loading";
    case BERTH_MODEL_READY:
        return m->running > 0 ? "Running" : "Ready";
    case BERTH_MODEL_DRAINING:
        return "Running";
    case BERTH_MODEL_FAILED:
    case BERTH_MODEL_STATE_COUNT:
        break;
    }
    return "Error";
}

static const char *
health_name(const struct berth_model_info *m)
{
    return m->state == BERTH_MODEL_READY    ? "Healthy"
           : m->state == BERTH_MODEL_FAILED ? "Unhealthy"
                                            : "Unknown";
}

/* Of the model's own config, under several keys that people use. */
static void
put_config_member(struct berth_jw *w, const char *key, const struct berth_json *config)
{
    berth_jw_key(w, key);
    berth_jw_value(w, berth_json_get(config, key));
}

static void
put_device(struct berth_jw *w, const struct berth_json *config)
{
    int64_t layers = 0;

    (void)berth_json_int(berth_json_get(config, "gpu_layers"), &layers);
    berth_jw_key(w, "device");
    berth_jw_object(w);
    berth_jw_pair(w, "device_type", layers > 0 ? "CUDA" : "CPU");
    berth_jw_key(w, "device_ids");
    berth_jw_array(w);
    berth_jw_int(w, 0);
    berth_jw_array_end(w);
    berth_jw_key(w, "memory_limit_mb");
    berth_jw_null(w);
    berth_jw_key(w, "mixed_precision");
    berth_jw_bool(w, false);
    berth_jw_object_end(w);
    berth_jw_key(w, "optimization");
    berth_jw_object(w);
    berth_jw_key(w, "kv_cache");
    berth_jw_bool(w, true);
    berth_jw_key(w, "quantization");
    berth_jw_null(w);
    berth_jw_key(w, "graph_optimization");
    berth_jw_bool(w, true);
    berth_jw_pair_uint(w, "inference_parallelism", 1);
    berth_jw_pair(w, "memory_optimization", "Medium");
    berth_jw_object_end(w);
}

static void
put_config(struct berth_jw *w, const struct berth_api *api, const struct berth_model_info *m)
{
    berth_jw_key(w, "config");
    berth_jw_object(w);
    berth_jw_pair(w, "model_path", m->path);
    put_config_member(w, "config_path", m->config);
    put_config_member(w, "tokenizer_path", m->config);
    berth_jw_pair(w, "backend", m->backend);
    put_device(w, m->config);
    berth_jw_key(w, "batch_config");
    berth_jw_object(w);
    berth_jw_pair_uint(w, "max_batch_size", m->batch.batch_requests_max);
    berth_jw_pair_uint(w, "max_wait_time_ms", m->batch.wait_ns_max / BERTH_MS);
    berth_jw_key(w, "dynamic_padding");
    berth_jw_bool(w, !m->batch.no_padding);
    berth_jw_pair_uint(w, "timeout_ms", api->conf.run_timeout_ns / BERTH_MS);
    berth_jw_object_end(w);
    berth_jw_key(w, "custom_params");
    if (m->config != NULL)
        berth_jw_value(w, m->config);
    else
        berth_jw_raw(w, "{}", 2);
    berth_jw_object_end(w);
}

static void
put_metadata(struct berth_jw *w, const struct berth_model_info *m)
{
    static const char *const keys[] = {"author", "description", "license"};
    const struct berth_json *tags = berth_json_get(m->manifest, "tags");

    berth_jw_key(w, "metadata");
    berth_jw_object(w);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        put_config_member(w, keys[i], m->manifest);
    berth_jw_key(w, "tags");
    if (berth_json_type(tags) == BERTH_JSON_ARRAY)
        berth_jw_value(w, tags);
    else
        berth_jw_raw(w, "[]", 2);
    berth_jw_pair(w, "version", m->version[0] != '\0' ? m->version : NULL);
    put_time(w, "created_at", m->created_wall_ns);
    put_time(w, "updated_at",
             m->used_wall_ns > m->created_wall_ns ? m->used_wall_ns : m->created_wall_ns);
    berth_jw_key(w, "custom_metadata");
    berth_jw_raw(w, "{}", 2);
    berth_jw_object_end(w);
}

static uint64_t
memory_of(const struct berth_model_info *m)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < m->version_count; i++)
        sum += m->versions[i].memory_bytes;
    return sum;
}

static void
put_resources(struct berth_jw *w, const struct berth_model_info *m)
{
    uint64_t engine = 0;
    uint32_t threads = 0, given = 0;

    for (size_t i = 0; i < m->version_count; i++) {
        const struct berth_model_version_info *v = &m->versions[i];
        engine += v->engine_bytes;
        threads = v->threads > threads ? v->threads : threads;
        given = v->cores_given > given ? v->cores_given : given;
    }
    berth_jw_key(w, "resource_usage");
    berth_jw_object(w);
    berth_jw_pair_uint(w, "memory_usage_bytes", memory_of(m));
    berth_jw_pair_uint(w, "engine_memory_bytes", engine);
    berth_jw_pair_uint(w, "threads", threads);
    berth_jw_pair_uint(w, "cores_given", given);
    berth_jw_key(w, "gpu_usage");
    berth_jw_raw(w, "[]", 2);
    put_time(w, "timestamp", berth_wall_ns());
    berth_jw_object_end(w);
}

static void
put_performance(struct berth_jw *w, const struct berth_model_info *m)
{
    const struct berth_model_stats *s = &m->stats;

    berth_jw_key(w, "performance_stats");
    berth_jw_object(w);
    berth_jw_pair_uint(w, "total_requests", s->requests);
    berth_jw_pair_uint(w, "successful_requests", s->ok);
    berth_jw_pair_uint(w, "failed_requests", s->failed);
    berth_jw_pair_uint(w, "canceled_requests", s->canceled);
    put_real(w, "avg_latency_ms", s->latency_avg_ms);
    put_real(w, "p95_latency_ms", s->latency_p95_ms);
    put_real(w, "p99_latency_ms", s->latency_p99_ms);
    put_real(w, "avg_throughput_rps", s->rps);
    berth_jw_pair_uint(w, "tokens_input", s->tokens_in);
    berth_jw_pair_uint(w, "tokens_generated", s->tokens_out);
    put_time(w, "last_updated", s->last_wall_ns);
    berth_jw_object_end(w);
}

/* ModelInfo, and OpenAI's model object in the same one. */
static void
put_model(struct berth_jw *w, const struct berth_api *api, const struct berth_model_info *m)
{
    berth_jw_object(w);
    berth_jw_pair(w, "id", m->id);
    berth_jw_pair(w, "name", m->name);
    berth_jw_pair(w, "object", "model");
    berth_jw_pair_uint(w, "created", m->created_wall_ns / BERTH_S);
    berth_jw_pair(w, "owned_by", "berth");
    berth_jw_pair(w, "model_type", m->model_type);
    berth_jw_key(w, "status");
    if (m->state == BERTH_MODEL_FAILED) { /* Rust's Error(text) */
        berth_jw_object(w);
        berth_jw_pair(w, "Error", m->why);
        berth_jw_object_end(w);
    } else {
        berth_jw_string(w, status_name(m));
    }
    berth_jw_pair(w, "reason", m->why[0] != '\0' ? m->why : NULL);
    berth_jw_pair(w, "health_status", health_name(m));
    put_config(w, api, m);
    put_metadata(w, m);
    put_resources(w, m);
    put_performance(w, m);
    berth_jw_object_end(w);
}

/* ---- handlers ---- */

/* OpenAI's clients send an entry's id as `model`: so it is the name there, as any server has it. */
static void
put_openai_model(struct berth_jw *w, const struct berth_model_info *m)
{
    berth_jw_object(w);
    berth_jw_pair(w, "id", m->name);
    berth_jw_pair(w, "object", "model");
    berth_jw_pair_uint(w, "created", m->created_wall_ns / BERTH_S);
    berth_jw_pair(w, "owned_by", "berth");
    berth_jw_object_end(w);
}

void
berth_unimodel_list(struct berth_call *c)
{
    struct berth_model_info *all;
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;
    size_t n;
    const int r = berth_registry_list(c->api->conf.registry, &c->x->arena, &all, &n, &e);

    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "object", "list");
    berth_jw_pair_uint(&w, "total", n);
    berth_jw_key(&w, "data");
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++)
        put_openai_model(&w, &all[i]);
    berth_api_forward_list(c, &w);
    berth_jw_array_end(&w);
    berth_jw_key(&w, "models");
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++)
        put_model(&w, c->api, &all[i]);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

static bool
find_info(struct berth_call *c, struct berth_model_info *ret)
{
    struct berth_err e;
    const int r = berth_registry_info(c->api->conf.registry, &c->x->arena, c->name, ret, &e);

    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    return r == 0;
}

void
berth_unimodel_get(struct berth_call *c)
{
    struct berth_model_info m;
    struct berth_buf b;
    struct berth_jw w;

    if (!find_info(c, &m))
        return;
    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    put_model(&w, c->api, &m);
    berth_call_json(c, 200, &b);
}

/* Sequences that the version that serves runs at once; 0: it has none, or was never loaded. */
static uint64_t
sequences_of(const struct berth_model_info *m)
{
    for (size_t i = 0; i < m->version_count; i++) {
        const struct berth_model_version_info *v = &m->versions[i];

        if (v->describe != NULL && strcmp(v->version, m->version) == 0)
            return (uint64_t)v->describe->sequence_max * v->instances;
    }
    return 0;
}

/* What is done about batches, and why. */
static void
put_batching(struct berth_jw *w, const struct berth_model_info *m)
{
    const struct berth_batch_view *v = &m->batching;
    char why[BERTH_BATCH_WHY];

    berth_jw_key(w, "batching");
    berth_jw_object(w);
    berth_jw_pair(w, "mode", berth_batching_name(v->mode));
    berth_jw_pair(w, "decision",
                  v->requests_max <= 1 && v->mode != BERTH_BATCHING_AUTO ? "alone"
                  : !v->batchable                                        ? "alone"
                  : v->mode == BERTH_BATCHING_AUTO ? berth_gain_name(v->choice)
                                                   : "batch");
    berth_jw_pair(w, "reason", berth_batch_why(v, why));
    berth_jw_pair_uint(w, "decisions_changed", v->changes);
    put_real(w, "single_ms", (double)v->single_ns / 1e6);
    put_real(w, "batched_ms", (double)v->shared_ns / 1e6);
    put_real(w, "wait_ms", (double)v->wait_ns / 1e6);
    berth_jw_pair_uint(w, "max_requests", v->requests_max);
    berth_jw_pair_uint(w, "max_sequences", sequences_of(m));
    berth_jw_pair_uint(w, "expected_requests", v->expected);
    berth_jw_object_end(w);
}

static void
put_versions(struct berth_jw *w, const struct berth_model_info *m)
{
    berth_jw_key(w, "instances");
    berth_jw_array(w);
    for (size_t i = 0; i < m->version_count; i++) {
        const struct berth_model_version_info *v = &m->versions[i];
        const uint64_t load_us = v->load_ns / 1000;

        berth_jw_object(w);
        berth_jw_pair(w, "version", v->version);
        berth_jw_pair(w, "state", berth_model_state_name(v->state));
        berth_jw_pair(w, "reason", v->why);
        berth_jw_key(w, "labels");
        berth_jw_array(w);
        for (size_t k = 0; k < v->label_count; k++)
            berth_jw_string(w, v->labels[k]);
        berth_jw_array_end(w);
        berth_jw_key(w, "share");
        if (v->split)
            berth_jw_double(w, v->share);
        else
            berth_jw_null(w);
        berth_jw_pair_uint(w, "count", v->instances);
        berth_jw_pair(w, "placement", v->on_loop ? "inline" : "threaded");
        berth_jw_pair(w, "isolation", v->isolated ? "process" : "none");
        if (v->isolated) {
            berth_jw_pair_uint(w, "worker_pid", (uint64_t)v->worker_pid);
            berth_jw_pair_uint(w, "worker_restarts", v->worker_restarts);
        }
        berth_jw_pair_uint(w, "threads", v->threads);
        berth_jw_pair_uint(w, "cores_given", v->cores_given);
        berth_jw_pair_uint(w, "memory_bytes", v->memory_bytes);
        put_real(w, "load_ms", (double)load_us / 1e3);
        put_time(w, "loaded_at", v->loaded_wall_ns);
        if (v->describe != NULL) {
            berth_jw_pair(w, "platform", v->describe->platform);
            berth_jw_pair_uint(w, "context_length", v->describe->context_len);
            berth_jw_pair_uint(w, "embedding_length", v->describe->embedding_len);
        }
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

/* How its states went, oldest first; the oldest are forgotten. */
static void
put_life(struct berth_jw *w, const struct berth_model_info *m)
{
    berth_jw_pair_uint(w, "life_total", m->change_total);
    berth_jw_key(w, "life");
    berth_jw_array(w);
    for (size_t i = 0; i < m->change_count; i++) {
        const struct berth_state_change *change = &m->changes[i];

        berth_jw_object(w);
        put_time(w, "time", change->wall_ns);
        berth_jw_pair(w, "version", change->version);
        berth_jw_pair(w, "state", berth_model_state_name(change->state));
        berth_jw_pair(w, "reason", change->why);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

void
berth_unimodel_status(struct berth_call *c)
{
    struct berth_model_info m;
    struct berth_buf b;
    struct berth_jw w;
    uint64_t loaded = 0;

    if (!find_info(c, &m))
        return;
    for (size_t i = 0; i < m.version_count; i++) {
        if (strcmp(m.versions[i].version, m.version) == 0)
            loaded = m.versions[i].loaded_wall_ns;
    }
    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "name", m.name);
    berth_jw_pair(&w, "id", m.id);
    berth_jw_pair(&w, "status", status_name(&m));
    berth_jw_pair(&w, "error", m.state == BERTH_MODEL_FAILED ? m.why : NULL);
    berth_jw_pair(&w, "reason", m.why[0] != '\0' ? m.why : NULL);
    berth_jw_pair(&w, "health_status", health_name(&m));
    berth_jw_key(&w, "is_warm");
    berth_jw_bool(&w, m.state == BERTH_MODEL_READY);
    put_time(&w, "loaded_at", loaded);
    put_time(&w, "last_accessed", m.used_wall_ns);
    berth_jw_pair_uint(&w, "queue_length", m.queue_len);
    berth_jw_pair_uint(&w, "running", m.running);
    put_resources(&w, &m);
    put_performance(&w, &m);
    put_batching(&w, &m);
    put_versions(&w, &m);
    berth_memory_put_model(&w, &m.memory);
    put_life(&w, &m);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}
