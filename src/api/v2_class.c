#include "api/v2_class.h"

#include <stdio.h>
#include <string.h>

#include "api/scores.h"
#include "api/v2_infer.h"
#include "base/arena.h"
#include "base/buf.h"
#include "wire/json.h"

/* One row's best classes, appended to b as BYTES elements. */
static void
put_row(struct berth_buf *b, const float *scores, const uint32_t *best, size_t k,
        const struct berth_json *labels)
{
    for (size_t i = 0; i < k; i++) {
        struct berth_slice label = berth_label(labels, best[i]);
        char head[64];
        const int n = snprintf(head, sizeof head, "%f:%u%s", (double)scores[best[i]], best[i],
                               label.len > 0 ? ":" : "");
        const uint32_t len = (uint32_t)((size_t)n + label.len);

        berth_buf_put(b, &len, sizeof len);
        berth_buf_put(b, head, (size_t)n);
        berth_buf_put(b, label.at, label.len);
    }
}

static int
classify(struct berth_arena *a, struct berth_tensor *t, uint32_t classes,
         const struct berth_json *labels, struct berth_err *e)
{
    const size_t width = t->rank > 0 ? (size_t)t->shape[t->rank - 1] : 1;
    const size_t k = classes < width ? classes : width;
    struct berth_buf b;
    float *scores;
    uint32_t *best;
    size_t count;
    int r = berth_scores_of(a, t, &scores, &count, e);

    if (r < 0)
        return r;
    best = BERTH_NEW_N(a, uint32_t, k);
    berth_buf_init(&b, a);
    for (size_t row = 0; best != NULL && width > 0 && row < count / width; row++) {
        berth_scores_best(scores + row * width, width, best, k);
        put_row(&b, scores + row * width, best, k, labels);
    }
    if (best == NULL || b.failed)
        return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
    t->dtype = BERTH_BYTES;
    t->bytes = b.at;
    t->size = b.len;
    if (t->rank > 0)
        t->shape[t->rank - 1] = (int64_t)k;
    return 0;
}

int
berth_v2_classify(struct berth_arena *a, const struct berth_v2_infer *asked,
                  struct berth_v2_answer *from, struct berth_err *e)
{
    struct berth_tensor *outputs = NULL;
    int r = 0;

    for (size_t i = 0; i < asked->output_count && r == 0; i++) {
        if (asked->outputs[i].classes == 0)
            continue;
        if (outputs == NULL) { /* the core's own are not ours to change */
            outputs = BERTH_NEW_N(a, struct berth_tensor, from->output_count);
            if (outputs == NULL)
                return berth_err_set(e, BERTH_ENOMEM, "out of memory");
            for (size_t k = 0; k < from->output_count; k++)
                outputs[k] = from->outputs[k];
            from->outputs = outputs;
        }
        for (size_t k = 0; k < from->output_count && r == 0; k++) {
            if (strcmp(outputs[k].name, asked->outputs[i].name) == 0)
                r = classify(a, &outputs[k], asked->outputs[i].classes, from->labels, e);
        }
    }
    return r;
}
