#include <string.h>

#include "infer/model_priv.h"

void
berth_model_series_init(struct berth_model *m, struct berth_metrics *metrics)
{
    const char *const model[] = {m->name, NULL};
    struct berth_model_series *s = &m->series;

#define INFER(result) \
    berth_metrics_series(metrics, BERTH_METRIC_INFER, (const char *const[]){m->name, result, NULL})
    s->infer_ok = INFER("ok");
    s->infer_error = INFER("error");
    s->infer_canceled = INFER("canceled");
#undef INFER
    s->version_ok = berth_metrics_series(metrics, BERTH_METRIC_VERSION_INFER,
                                         (const char *const[]){m->name, m->version, "ok", NULL});
    s->version_error =
        berth_metrics_series(metrics, BERTH_METRIC_VERSION_INFER,
                             (const char *const[]){m->name, m->version, "error", NULL});
    s->infer_seconds = berth_metrics_series(metrics, BERTH_METRIC_INFER_SECONDS, model);
    s->queue_seconds = berth_metrics_series(metrics, BERTH_METRIC_QUEUE_SECONDS, model);
    s->queue_len = berth_metrics_series(metrics, BERTH_METRIC_QUEUE_LEN, model);
    s->batch_size = berth_metrics_series(metrics, BERTH_METRIC_BATCH_SIZE, model);
    s->tokens_in = berth_metrics_series(metrics, BERTH_METRIC_TOKENS_IN, model);
    s->tokens_out = berth_metrics_series(metrics, BERTH_METRIC_TOKENS_OUT, model);
    s->first_token = berth_metrics_series(metrics, BERTH_METRIC_FIRST_TOKEN_SECONDS, model);
    s->sequences = berth_metrics_series(metrics, BERTH_METRIC_SEQUENCES, model);
    s->canceled = berth_metrics_series(metrics, BERTH_METRIC_CANCELED, model);
    s->memory = berth_metrics_series(metrics, BERTH_METRIC_MODEL_BYTES, model);
    s->cores_given = berth_metrics_series(metrics, BERTH_METRIC_CORES_GIVEN, model);
    s->cores_wait = berth_metrics_series(metrics, BERTH_METRIC_CORES_WAIT, model);
    s->worker_restarts = berth_metrics_series(metrics, BERTH_METRIC_WORKER_RESTARTS, model);
    s->load_seconds = berth_metrics_series(metrics, BERTH_METRIC_MODEL_LOAD_SECONDS, model);
    s->retries = berth_metrics_series(metrics, BERTH_METRIC_RETRIES, model);
    s->queue_timeouts = berth_metrics_series(metrics, BERTH_METRIC_QUEUE_TIMEOUTS, model);
    s->refused =
        berth_metrics_series(metrics, BERTH_METRIC_REFUSED, (const char *const[]){"queue", NULL});
}

void
berth_model_series_release(struct berth_model *m)
{
    struct berth_series *held[sizeof m->series / sizeof(struct berth_series *)];

    _Static_assert(sizeof held == sizeof m->series, "pointers alone");
    memcpy(held, &m->series, sizeof held);
    berth_metrics_release(m->metrics, held, sizeof held / sizeof held[0]);
    berth_metrics_free(m->metrics);
}
