#include <string.h>

#include <proto/inference.pb-c.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "api/grpc_pb.h"
#include "api/v2_grpc.h"
#include "api/v2_models.h"
#include "base/arena.h"
#include "base/clock.h"
#include "infer/registry.h"
#include "infer/stats.h"

/* ModelStatistics: what GET /v2/models/.../stats tells (v2_stats.c), as messages. */

/* One version's messages, so that they are allocated as one. */
struct version {
    Inference__ModelStatistics stats;
    Inference__InferStatistics infer;
    Inference__StatisticDuration durations[8];
    Inference__MemoryUsage memory, *memories;
};

/* One batch size's. */
struct batch {
    Inference__InferBatchStatistics stats;
    Inference__StatisticDuration durations[3];
};

static Inference__StatisticDuration *
duration(Inference__StatisticDuration *to, uint64_t count, uint64_t ns)
{
    inference__statistic_duration__init(to);
    to->count = count;
    to->ns = ns;
    return to;
}

static bool
put_batches(struct berth_arena *a, const struct berth_version_stats *s,
            Inference__ModelStatistics *to)
{
    struct batch *all = BERTH_NEW_N(a, struct batch, s->batch_count);

    to->batch_stats = BERTH_NEW_N(a, Inference__InferBatchStatistics *, s->batch_count);
    if (all == NULL || to->batch_stats == NULL)
        return false;
    for (size_t i = 0; i < s->batch_count; i++) {
        const struct berth_batch_stats *b = &s->batches[i];
        Inference__InferBatchStatistics *m = &all[i].stats;

        inference__infer_batch_statistics__init(m);
        m->batch_size = b->rows;
        m->compute_input = duration(&all[i].durations[0], b->count, b->input_ns);
        m->compute_infer = duration(&all[i].durations[1], b->count, b->infer_ns);
        m->compute_output = duration(&all[i].durations[2], b->count, b->output_ns);
        to->batch_stats[i] = m;
    }
    to->n_batch_stats = s->batch_count;
    return true;
}

static bool
put_version(struct berth_arena *a, const char *name, const struct berth_model_version_info *v,
            struct version *to)
{
    const struct berth_version_stats *s = &v->stats;
    const struct berth_duration from[] = {s->success, s->fail,   s->queue,     s->input,
                                          s->infer,   s->output, s->cache_hit, s->cache_miss};
    Inference__InferStatistics *infer = &to->infer;
    Inference__StatisticDuration **const into[] = {
        &infer->success,       &infer->fail,           &infer->queue,     &infer->compute_input,
        &infer->compute_infer, &infer->compute_output, &infer->cache_hit, &infer->cache_miss};

    inference__model_statistics__init(&to->stats);
    inference__infer_statistics__init(infer);
    for (size_t i = 0; i < sizeof from / sizeof *from; i++)
        *into[i] = duration(&to->durations[i], from[i].count, from[i].ns);
    to->stats.name = berth_pb_text(name);
    to->stats.version = berth_pb_text(v->version);
    to->stats.last_inference = s->last_wall_ns / BERTH_MS;
    to->stats.inference_count = s->inferences;
    to->stats.execution_count = s->executions;
    to->stats.inference_stats = infer;
    if (v->memory_bytes > 0) {
        inference__memory_usage__init(&to->memory);
        to->memory.type = berth_pb_text("CPU");
        to->memory.byte_size = v->memory_bytes;
        to->memories = &to->memory;
        to->stats.memory_usage = &to->memories;
        to->stats.n_memory_usage = 1;
    }
    return put_batches(a, s, &to->stats);
}

/* Every version of the models, or the one that is asked for. */
static bool
put_models(struct berth_arena *a, const struct berth_model_info *models, size_t n,
           const char *version, Inference__ModelStatisticsResponse *to)
{
    size_t rows = 0;

    for (size_t i = 0; i < n; i++)
        rows += models[i].version_count;
    struct version *all = BERTH_NEW_N(a, struct version, rows);
    to->model_stats = BERTH_NEW_N(a, Inference__ModelStatistics *, rows);
    if (all == NULL || to->model_stats == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < models[i].version_count; k++) {
            const struct berth_model_version_info *v = &models[i].versions[k];

            if (version[0] != '\0' && !berth_v2_is_version(v, berth_slice_of(version)))
                continue;
            if (!put_version(a, models[i].name, v, &all[to->n_model_stats]))
                return false;
            to->model_stats[to->n_model_stats] = &all[to->n_model_stats].stats;
            to->n_model_stats++;
        }
    }
    return true;
}

void
berth_v2_grpc_stats(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__ModelStatisticsRequest *asked =
        berth_grpc_unpack(g, &inference__model_statistics_request__descriptor, message);
    Inference__ModelStatisticsResponse answer = INFERENCE__MODEL_STATISTICS_RESPONSE__INIT;
    struct berth_registry *registry = c->api->conf.registry;
    struct berth_model_info one, *all = &one;
    struct berth_err e;
    size_t n = 1;
    int r;

    if (asked == NULL)
        return;
    r = asked->name[0] != '\0'
            ? berth_registry_info(registry, c->arena, berth_slice_of(asked->name), &one, &e)
            : berth_registry_list(registry, c->arena, &all, &n, &e);
    if (r == 0 && !put_models(c->arena, all, n, asked->version, &answer))
        r = berth_err_set(&e, BERTH_ENOMEM, "the answer is larger than the request's memory limit");
    if (r == 0 && answer.n_model_stats == 0 && asked->version[0] != '\0')
        r = berth_err_set(&e, BERTH_ENOENT,
                          "Request for unknown model: '%s' version %s is not found", asked->name,
                          asked->version);
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_grpc_reply_pb(g, &answer.base);
}
