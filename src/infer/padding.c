#include <stdio.h>

#include "infer/model_priv.h"

/* Padding (infer/pad.h) in a model's life: its copy of the configuration, its metrics. */

bool
berth_model_pad_init(struct berth_model *m, const struct berth_pad_conf *conf,
                     struct berth_metrics *metrics)
{
    char length[24];

    if (!berth_pad_copy(&m->arena, conf, &m->conf.pad))
        return false;
    if (conf->input_len == 0)
        return true;
    m->series.pad_data = berth_metrics_series(metrics, BERTH_METRIC_PAD_ELEMENTS,
                                              (const char *const[]){m->name, "data", NULL});
    m->series.pad_padding = berth_metrics_series(metrics, BERTH_METRIC_PAD_ELEMENTS,
                                                 (const char *const[]){m->name, "padding", NULL});
    for (uint32_t i = 0; i <= conf->bucket_len; i++) {
        (void)snprintf(length, sizeof length, "%lld",
                       i < conf->bucket_len ? (long long)conf->buckets[i] : 0LL);
        m->series.pad_lengths[i] = berth_metrics_series(
            metrics, BERTH_METRIC_PAD_BATCHES,
            (const char *const[]){m->name, i < conf->bucket_len ? length : "longest", NULL});
    }
    return true;
}

int
berth_instance_pad(struct berth_instance_thread *i, struct berth_request *const reqs[], uint32_t n,
                   struct berth_err *e)
{
    const struct berth_model_series *s = &i->model->series;
    struct berth_pad_seen seen;
    const int r = berth_pad_begin(&i->pad_room, reqs, n, &seen, e);

    if (r < 0)
        return r;
    berth_series_add(s->pad_lengths[seen.bucket], 1);
    berth_series_add(s->pad_data, seen.data);
    berth_series_add(s->pad_padding, seen.padding);
    return 0;
}
