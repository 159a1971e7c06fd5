#include "api/scores.h"

#include <math.h>
#include <string.h>

#include "api/v2_tensor.h"
#include "base/arena.h"
#include "base/num.h"
#include "wire/json.h"

int
berth_scores_of(struct berth_arena *a, const struct berth_tensor *t, float **ret, size_t *ret_count,
                struct berth_err *e)
{
    const char *from = t->bytes;
    size_t n;
    float *to;

    if (t->dtype == BERTH_BYTES || !berth_shape_count(t->shape, t->rank, &n))
        return berth_err_set(e, BERTH_EINVAL, "output '%s' has no scores: it is %s", t->name,
                             berth_dtype_name(t->dtype));
    to = BERTH_NEW_N(a, float, n);
    if (to == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
    for (size_t i = 0; i < n; i++) {
        switch (t->dtype) {
#define CASE(id, type, expression)                 \
    case id: {                                     \
        type x;                                    \
        memcpy(&x, from + i * sizeof x, sizeof x); \
        to[i] = (expression);                      \
        break;                                     \
    }
            CASE(BERTH_BOOL, uint8_t, (float)x)
            CASE(BERTH_UINT8, uint8_t, (float)x)
            CASE(BERTH_UINT16, uint16_t, (float)x)
            CASE(BERTH_UINT32, uint32_t, (float)x)
            CASE(BERTH_UINT64, uint64_t, (float)x)
            CASE(BERTH_INT8, int8_t, (float)x)
            CASE(BERTH_INT16, int16_t, (float)x)
            CASE(BERTH_INT32, int32_t, (float)x)
            CASE(BERTH_INT64, int64_t, (float)x)
            CASE(BERTH_FP16, uint16_t, berth_half_to_float(x))
            CASE(BERTH_BF16, uint16_t, berth_bf16_to_float(x))
            CASE(BERTH_FP32, float, x)
            CASE(BERTH_FP64, double, (float)x)
#undef CASE
        case BERTH_BYTES:
        case BERTH_DTYPE_COUNT:
            break;
        }
    }
    *ret = to;
    *ret_count = n;
    return 0;
}

static bool
better(const float *scores, uint32_t a, uint32_t b)
{
    if (isnan(scores[a]) || isnan(scores[b]))
        return !isnan(scores[a]);
    return scores[a] > scores[b];
}

/* Insertion into a short sorted list: k is small against n. */
void
berth_scores_best(const float *scores, size_t n, uint32_t *ret, size_t k)
{
    size_t len = 0;

    for (uint32_t i = 0; i < n && k > 0; i++) {
        size_t at;

        if (len == k && !better(scores, i, ret[len - 1]))
            continue;
        len += len < k;
        for (at = len - 1; at > 0 && better(scores, i, ret[at - 1]); at--)
            ret[at] = ret[at - 1];
        ret[at] = i;
    }
}

void
berth_scores_softmax(float *scores, size_t n)
{
    float max = -INFINITY, sum = 0;

    for (size_t i = 0; i < n; i++)
        max = scores[i] > max ? scores[i] : max;
    for (size_t i = 0; i < n; i++) {
        scores[i] = expf(scores[i] - max);
        sum += scores[i];
    }
    for (size_t i = 0; i < n && sum > 0; i++)
        scores[i] /= sum;
}

void
berth_scores_sigmoid(float *scores, size_t n)
{
    for (size_t i = 0; i < n; i++)
        scores[i] = 1 / (1 + expf(-scores[i]));
}

struct berth_slice
berth_label(const struct berth_json *labels, uint32_t index)
{
    struct berth_slice s = {"", 0};

    if (berth_json_type(labels) != BERTH_JSON_ARRAY || index >= berth_json_len(labels))
        return s;
    for (struct berth_json_iter it = berth_json_iter(labels); berth_json_next(&it);) {
        if (it.index == index) {
            (void)berth_json_string(it.value, &s);
            break;
        }
    }
    return s;
}
