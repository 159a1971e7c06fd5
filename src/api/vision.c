#include "api/vision.h"

#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "api/scores.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "base/num.h"
#include "wire/image.h"
#include "wire/json.h"

/* How the model wants its picture. */
struct wanted {
    uint32_t width, height, channels;
    struct berth_image_norm norm;
    float scale; /* times it: 255 for models that take 0 to 255 */
};

bool
berth_vision_is(const struct berth_json *manifest)
{
    return berth_json_type(berth_json_get(manifest, "image")) == BERTH_JSON_OBJECT;
}

bool
berth_vision_has_scores(const struct berth_json *manifest)
{
    return berth_json_type(berth_json_get(manifest, "labels")) == BERTH_JSON_ARRAY ||
           berth_json_type(berth_json_get(manifest, "output")) == BERTH_JSON_OBJECT;
}

/* A number for all channels, or an array with one for each. */
static int
read_channels(struct berth_fields *f, const char *key, uint32_t channels, float *to)
{
    const struct berth_json *v = berth_field(f, key);
    double x;

    if (v == NULL)
        return 0;
    if (berth_json_real(v, &x)) {
        for (uint32_t i = 0; i < channels; i++)
            to[i] = (float)x;
        return 0;
    }
    if (berth_json_len(v) != channels)
        return berth_field_bad(f, key, "must be a number or an array of %u", channels);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (!berth_json_real(it.value, &x))
            return berth_field_bad(f, key, "must have numbers only");
        to[it.index] = (float)x;
    }
    return 0;
}

/* What the input's shape says: [batch,] channels, height, width or height, width, channels. */
static void
guess(const struct berth_tensor_spec *spec, struct wanted *w)
{
    const int64_t *s = spec->rank == 4 ? spec->shape + 1 : spec->shape;
    const bool nhwc = spec->rank >= 3 && (s[2] == 1 || s[2] == 3) && s[0] != 1 && s[0] != 3;
    int64_t n[3] = {1, 0, 0}; /* channels, height, width */

    w->norm.layout = nhwc ? BERTH_IMAGE_NHWC : BERTH_IMAGE_NCHW;
    if (spec->rank == 3 || spec->rank == 4) {
        n[0] = s[nhwc ? 2 : 0];
        n[1] = s[nhwc ? 0 : 1];
        n[2] = s[nhwc ? 1 : 2];
    } else {
        w->norm.layout = BERTH_IMAGE_FLAT;
    }
    w->channels = n[0] == 1 ? 1 : 3;
    w->height = n[1] > 0 && n[1] <= BERTH_IMAGE_SIDE_MAX ? (uint32_t)n[1] : 0;
    w->width = n[2] > 0 && n[2] <= BERTH_IMAGE_SIDE_MAX ? (uint32_t)n[2] : 0;
}

static int
read_layout(struct berth_fields *f, struct wanted *w)
{
    struct berth_slice s = {"", 0};
    const int r = berth_field_string(f, "layout", &s);

    if (r < 0)
        return r;
    if (berth_slice_is_nocase(s, "nchw"))
        w->norm.layout = BERTH_IMAGE_NCHW;
    else if (berth_slice_is_nocase(s, "nhwc"))
        w->norm.layout = BERTH_IMAGE_NHWC;
    else if (berth_slice_is_nocase(s, "flat"))
        w->norm.layout = BERTH_IMAGE_FLAT;
    else if (s.len > 0)
        return berth_field_bad(f, "layout", "must be nchw, nhwc or flat");
    return 0;
}

static int
read_wanted(const struct berth_json *manifest, const struct berth_tensor_spec *spec,
            struct wanted *w, struct berth_err *e)
{
    struct berth_fields f = berth_fields(berth_json_get(manifest, "image"), "manifest: image.", e);
    int64_t width, height, channels;
    int r;

    *w = (struct wanted){.norm = {.std = {1, 1, 1}}, .scale = 1};
    guess(spec, w);
    width = w->width;
    height = w->height;
    channels = w->channels;
    if ((r = berth_field_int(&f, "width", 1, BERTH_IMAGE_SIDE_MAX, &width)) < 0 ||
        (r = berth_field_int(&f, "height", 1, BERTH_IMAGE_SIDE_MAX, &height)) < 0 ||
        (r = berth_field_int(&f, "channels", 1, 3, &channels)) < 0 ||
        (r = berth_field_float(&f, "scale", -1e9, 1e9, &w->scale)) < 0 ||
        (r = read_layout(&f, w)) < 0)
        return r;
    if (width == 0 || height == 0)
        return berth_field_bad(&f, width == 0 ? "width" : "height",
                               "is missing, and the model's input does not fix it");
    if (channels == 2)
        return berth_field_bad(&f, "channels", "must be 1 or 3");
    w->width = (uint32_t)width;
    w->height = (uint32_t)height;
    w->channels = (uint32_t)channels;
    if ((r = read_channels(&f, "mean", w->channels, w->norm.mean)) < 0 ||
        (r = read_channels(&f, "std", w->channels, w->norm.std)) < 0)
        return r;
    for (uint32_t i = 0; i < w->channels; i++) {
        if (!(w->norm.std[i] > 0))
            return berth_field_bad(&f, "std", "must be greater than 0");
    }
    return 0;
}

/* The floats as the input's datatype; pictures are mostly FP32, which costs nothing. */
static int
convert(struct berth_arena *a, float *from, size_t n, struct berth_tensor *t, struct berth_err *e)
{
    unsigned char *u8;
    uint16_t *half;

    t->bytes = from;
    t->size = n * sizeof *from;
    switch (t->dtype) {
    case BERTH_FP32:
        return 0;
    case BERTH_UINT8:
        u8 = berth_arena_alloc_raw(a, n);
        if (u8 == NULL)
            break;
        for (size_t i = 0; i < n; i++)
            u8[i] = from[i] >= 255 ? 255
                    : from[i] > 0
                        ? (unsigned char)(from[i] + 0.5f) /* NOLINT(bugprone-incorrect-roundings) */
                        : 0;                              /* also what is no number */
        t->bytes = u8;
        t->size = n;
        return 0;
    case BERTH_FP16:
    case BERTH_BF16:
        half = berth_arena_alloc_raw(a, n * sizeof *half);
        if (half == NULL)
            break;
        for (size_t i = 0; i < n; i++)
            half[i] = t->dtype == BERTH_FP16 ? berth_float_to_half(from[i])
                                             : berth_float_to_bf16(from[i]);
        t->bytes = half;
        t->size = n * sizeof *half;
        return 0;
    default: /* no model takes pictures as text or wide integers */
        return berth_err_set(e, BERTH_EINVAL, "the model's input '%s' is %s, which is no picture",
                             t->name, berth_dtype_name(t->dtype));
    }
    return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
}

/* Pixels at the wanted size; *ret is to be given to berth_image_fini(). */
static int
load(const struct berth_vision_image *image, const struct wanted *w, struct berth_image *ret,
     struct berth_err *e)
{
    const struct berth_image_limits limits = {.pixels_max = image->pixels_max,
                                              .scans_max = berth_image_limits_default.scans_max};
    struct berth_image decoded;
    int r = berth_image_decode(image->bytes, image->len, &limits, w->channels, &decoded, e);

    if (r == 0) {
        r = berth_image_resize(&decoded, w->width, w->height, ret, e);
        berth_image_fini(&decoded);
    }
    /* Too many pixels is the client's mistake in a field, not a body that is too long. */
    if (r == -BERTH_ETOOBIG || r == -BERTH_EUNSUPPORTED)
        r = -BERTH_EINVAL;
    return r < 0 ? berth_err_wrap(e, r, "%s", image->path) : 0;
}

static void
set_shape(const struct wanted *w, const struct berth_tensor_spec *spec, struct berth_tensor *t)
{
    const int64_t c = w->channels, h = w->height, v = w->width;
    uint32_t at = 0;

    t->rank = spec->rank;
    if (w->norm.layout == BERTH_IMAGE_FLAT || spec->rank < 3) {
        for (; at + 1 < spec->rank; at++)
            t->shape[at] = 1;
        t->shape[at] = c * h * v;
        return;
    }
    for (; at + 3 < spec->rank; at++)
        t->shape[at] = 1;
    t->shape[at] = w->norm.layout == BERTH_IMAGE_NCHW ? c : h;
    t->shape[at + 1] = w->norm.layout == BERTH_IMAGE_NCHW ? h : v;
    t->shape[at + 2] = w->norm.layout == BERTH_IMAGE_NCHW ? v : c;
}

int
berth_vision_tensor(struct berth_arena *a, const struct berth_json *manifest,
                    const struct berth_describe *d, const struct berth_vision_image *image,
                    struct berth_tensor *ret, struct berth_err *e)
{
    struct berth_image im;
    struct wanted w;
    float *to;
    size_t n;
    int r;

    if (d->input_count != 1 || d->inputs[0].rank == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "manifest: image: is for models with exactly one input");
    if ((r = read_wanted(manifest, &d->inputs[0], &w, e)) < 0)
        return r;
    n = (size_t)w.width * w.height * w.channels; /* at most 65,535 squared times 3 */
    to = n < SIZE_MAX / sizeof *to ? berth_arena_alloc_raw(a, n * sizeof *to) : NULL;
    if (to == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
    if ((r = load(image, &w, &im, e)) < 0)
        return r;
    berth_image_normalize(&im, &w.norm, to);
    berth_image_fini(&im);
    for (size_t i = 0; i < n && (w.scale < 1 || w.scale > 1); i++)
        to[i] *= w.scale;
    *ret = (struct berth_tensor){.name = d->inputs[0].name, .dtype = d->inputs[0].dtype};
    set_shape(&w, &d->inputs[0], ret);
    return convert(a, to, n, ret, e);
}

/* ---- scores ---- */

struct meaning {
    const struct berth_json *labels;
    struct berth_slice name, activation;
    int64_t top;
};

static int
read_meaning(const struct berth_json *manifest, struct meaning *m, struct berth_err *e)
{
    struct berth_fields f =
        berth_fields(berth_json_get(manifest, "output"), "manifest: output.", e);
    int r;

    *m = (struct meaning){.labels = berth_json_get(manifest, "labels"),
                          .name = {"", 0},
                          .activation = {"none", 4},
                          .top = 5};
    if ((r = berth_field_string(&f, "name", &m->name)) < 0 ||
        (r = berth_field_string(&f, "activation", &m->activation)) < 0 ||
        (r = berth_field_int(&f, "top", 1, BERTH_VISION_TOP_MAX, &m->top)) < 0)
        return r;
    if (!berth_slice_is(m->activation, "none") && !berth_slice_is(m->activation, "softmax") &&
        !berth_slice_is(m->activation, "sigmoid"))
        return berth_field_bad(&f, "activation", "must be none, softmax or sigmoid");
    return 0;
}

static void
put_class(struct berth_jw *w, const struct meaning *m, uint32_t index, float score)
{
    const struct berth_slice label = berth_label(m->labels, index);

    berth_jw_key(w, "label");
    if (label.len > 0)
        berth_jw_string_n(w, label.at, label.len);
    else
        berth_jw_null(w);
    berth_jw_key(w, "index");
    berth_jw_uint(w, index);
    berth_jw_key(w, "score");
    berth_jw_float(w, score);
}

int
berth_vision_put_scores(struct berth_jw *w, struct berth_arena *a,
                        const struct berth_json *manifest, const struct berth_tensor *outputs,
                        size_t output_count, struct berth_err *e)
{
    struct meaning m;
    uint32_t best[BERTH_VISION_TOP_MAX];
    size_t at = 0, n, k;
    float *scores;
    int r = read_meaning(manifest, &m, e);

    if (r < 0)
        return r;
    while (m.name.len > 0 && at < output_count && !berth_slice_is(m.name, outputs[at].name))
        at++;
    if (at == output_count)
        return berth_err_set(e, BERTH_EINVAL, "manifest: output.name: the model gives no '%s'",
                             m.name.at);
    const struct berth_tensor *t = &outputs[at];
    if ((r = berth_scores_of(a, t, &scores, &n, e)) < 0)
        return r;
    /* The first row: one image went in. */
    if (t->rank > 1 && t->shape[t->rank - 1] > 0 && (size_t)t->shape[t->rank - 1] < n)
        n = (size_t)t->shape[t->rank - 1];
    if (n == 0)
        return berth_err_set(e, BERTH_EBACKEND, "output '%s' is empty", t->name);
    if (berth_slice_is(m.activation, "softmax"))
        berth_scores_softmax(scores, n);
    else if (berth_slice_is(m.activation, "sigmoid"))
        berth_scores_sigmoid(scores, n);
    k = (size_t)m.top < n ? (size_t)m.top : n;
    berth_scores_best(scores, n, best, k);
    berth_jw_object(w);
    put_class(w, &m, best[0], scores[best[0]]);
    berth_jw_key(w, "top");
    berth_jw_array(w);
    for (size_t i = 0; i < k; i++) {
        berth_jw_object(w);
        put_class(w, &m, best[i], scores[best[i]]);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
    berth_jw_key(w, "scores");
    berth_jw_array(w);
    for (size_t i = 0; i < n; i++)
        berth_jw_float(w, scores[i]);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
    return 0;
}
