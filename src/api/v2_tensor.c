#include "api/v2_tensor.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/num.h"
#include "base/utf8.h"
#include "wire/base64.h"
#include "wire/json.h"

static const struct {
    const char *name;
    size_t width;
} dtypes[BERTH_DTYPE_COUNT] = {
#define X(name, width) [BERTH_##name] = {#name, width},
    BERTH_DTYPES(X)
#undef X
};

const char *
berth_dtype_name(enum berth_dtype d)
{
    return dtypes[d].name;
}

bool
berth_dtype_parse(struct berth_slice name, enum berth_dtype *ret)
{
    for (int d = 0; d < BERTH_DTYPE_COUNT; d++) {
        if (berth_slice_is(name, dtypes[d].name)) {
            *ret = (enum berth_dtype)d;
            return true;
        }
    }
    return false;
}

size_t
berth_dtype_width(enum berth_dtype d)
{
    return dtypes[d].width;
}

bool
berth_shape_count(const int64_t *shape, uint32_t rank, size_t *ret)
{
    size_t n = 1;

    for (uint32_t i = 0; i < rank; i++) {
        if (!berth_mul(n, (size_t)shape[i], &n))
            return false;
    }
    *ret = n;
    return true;
}

bool
berth_bytes_next(const struct berth_tensor *t, size_t *at, struct berth_slice *ret)
{
    uint32_t len;

    if (t->size - *at < sizeof len)
        return false;
    memcpy(&len, (const char *)t->bytes + *at, sizeof len);
    if (len > t->size - *at - sizeof len)
        return false;
    *ret = (struct berth_slice){(const char *)t->bytes + *at + sizeof len, len};
    *at += sizeof len + len;
    return true;
}

bool
berth_tensor_is_text(const struct berth_tensor *t)
{
    struct berth_slice s;

    for (size_t at = 0; berth_bytes_next(t, &at, &s);) {
        if (!berth_utf8_valid(s.at, s.len))
            return false;
    }
    return true;
}

int
berth_tensor_check_bytes(const struct berth_tensor *t, const char *path, struct berth_err *e)
{
    const size_t width = berth_dtype_width(t->dtype);
    struct berth_slice s;
    size_t count, bytes, at = 0, n = 0;

    if (!berth_shape_count(t->shape, t->rank, &count))
        return berth_err_set(e, BERTH_EINVAL, "%s: the shape is too large", path);
    if (width > 0) {
        if (!berth_mul(count, width, &bytes) || bytes != t->size)
            return berth_err_set(e, BERTH_EINVAL,
                                 "%s: has %zu bytes, but its shape has %zu elements of %s (%zu "
                                 "bytes each)",
                                 path, t->size, count, berth_dtype_name(t->dtype), width);
        return 0;
    }
    while (at < t->size && berth_bytes_next(t, &at, &s))
        n++;
    if (at != t->size)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: its bytes do not split into elements with a 4-byte length each; "
                             "byte %zu begins one that is cut short",
                             path, at);
    if (n != count)
        return berth_err_set(e, BERTH_EINVAL, "%s: has %zu BYTES elements, but its shape has %zu",
                             path, n, count);
    return 0;
}

/* ---- from JSON ---- */

/* Where the elements go. */
struct reading {
    struct berth_tensor *t;
    const struct berth_tensor_read *how;
    struct berth_arena *arena;
    struct berth_err *e;
    unsigned char *to;    /* fixed widths */
    struct berth_buf buf; /* BYTES */
    size_t count, done;
};

static int
bad(struct reading *g, const struct berth_json *v, const char *wanted)
{
    return berth_err_set(g->e, BERTH_EINVAL, "%s[%zu]: must be %s, not %s", g->how->path, g->done,
                         wanted, berth_json_type_name(v));
}

static int
out_of_range(struct reading *g)
{
    return berth_err_set(g->e, BERTH_EINVAL, "%s[%zu]: does not fit %s", g->how->path, g->done,
                         berth_dtype_name(g->t->dtype));
}

static int
read_signed(struct reading *g, const struct berth_json *v, int64_t min, int64_t max)
{
    const size_t width = dtypes[g->t->dtype].width;
    uint64_t u;
    int64_t x;

    if (!berth_json_int(v, &x))
        return berth_json_uint(v, &u) ? out_of_range(g) : bad(g, v, "a whole number");
    if (x < min || x > max)
        return out_of_range(g);
    memcpy(g->to, &x, width); /* little-endian: the low bytes come first */
    g->to += width;
    return 0;
}

static int
read_unsigned(struct reading *g, const struct berth_json *v, uint64_t max)
{
    const size_t width = dtypes[g->t->dtype].width;
    uint64_t x;
    int64_t i;

    if (!berth_json_uint(v, &x))
        return berth_json_int(v, &i) ? out_of_range(g) : bad(g, v, "a whole number");
    if (x > max)
        return out_of_range(g);
    memcpy(g->to, &x, width);
    g->to += width;
    return 0;
}

static int
read_float(struct reading *g, const struct berth_json *v)
{
    const enum berth_dtype d = g->t->dtype;
    double x;

    if (!berth_json_real(v, &x) || (!isfinite(x) && !g->how->allow_nan))
        return bad(g, v, "a finite number");
    if (d == BERTH_FP64) {
        memcpy(g->to, &x, sizeof x);
        g->to += sizeof x;
        return 0;
    }
    float f = (float)x;
    bool fits = isfinite(f) || !isfinite(x);
    if (d == BERTH_FP32) {
        memcpy(g->to, &f, sizeof f);
        g->to += sizeof f;
    } else {
        const uint16_t h = d == BERTH_FP16 ? berth_float_to_half(f) : berth_float_to_bf16(f);
        const float back = d == BERTH_FP16 ? berth_half_to_float(h) : berth_bf16_to_float(h);
        fits = fits && (isfinite(back) || !isfinite(x));
        memcpy(g->to, &h, sizeof h);
        g->to += sizeof h;
    }
    return fits ? 0 : out_of_range(g);
}

static int
read_bool(struct reading *g, const struct berth_json *v)
{
    bool b;
    int64_t n;

    if (!berth_json_bool(v, &b)) {
        if (!berth_json_int(v, &n) || n < 0 || n > 1)
            return bad(g, v, "true, false, 1 or 0");
        b = n == 1;
    }
    *g->to++ = b;
    return 0;
}

static int
read_bytes(struct reading *g, const struct berth_json *v)
{
    struct berth_slice s;
    void *raw;
    size_t raw_len;

    if (!berth_json_string(v, &s))
        return bad(g, v, "a string");
    if (g->how->base64) {
        if (!berth_base64_decode(g->arena, s.at, s.len, &raw, &raw_len))
            return bad(g, v, "base64");
        s = (struct berth_slice){raw, raw_len};
    }
    if (s.len > UINT32_MAX)
        return out_of_range(g);
    const uint32_t len = (uint32_t)s.len;
    berth_buf_put(&g->buf, &len, sizeof len);
    berth_buf_put(&g->buf, s.at, s.len);
    return 0;
}

static int
read_element(struct reading *g, const struct berth_json *v)
{
    switch (g->t->dtype) {
    case BERTH_BOOL:
        return read_bool(g, v);
    case BERTH_UINT8:
        return read_unsigned(g, v, UINT8_MAX);
    case BERTH_UINT16:
        return read_unsigned(g, v, UINT16_MAX);
    case BERTH_UINT32:
        return read_unsigned(g, v, UINT32_MAX);
    case BERTH_UINT64:
        return read_unsigned(g, v, UINT64_MAX);
    case BERTH_INT8:
        return read_signed(g, v, INT8_MIN, INT8_MAX);
    case BERTH_INT16:
        return read_signed(g, v, INT16_MIN, INT16_MAX);
    case BERTH_INT32:
        return read_signed(g, v, INT32_MIN, INT32_MAX);
    case BERTH_INT64:
        return read_signed(g, v, INT64_MIN, INT64_MAX);
    case BERTH_FP16:
    case BERTH_BF16:
    case BERTH_FP32:
    case BERTH_FP64:
        return read_float(g, v);
    case BERTH_BYTES:
        return read_bytes(g, v);
    case BERTH_DTYPE_COUNT:
        break;
    }
    return bad(g, v, "of a known datatype");
}

static int
read_flat(struct reading *g, const struct berth_json *v)
{
    const size_t len = berth_json_len(v);
    int r = 0;

    /* The common case; where it stops short, the slow way says which element is wrong. */
    if (g->t->dtype == BERTH_FP32 && len <= g->count - g->done &&
        berth_json_floats(v, (float *)g->to + g->done, len) == len) {
        g->done += len;
        return 0;
    }
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        r = read_element(g, it.value);
        g->done++;
    }
    return r;
}

/* One level of nested arrays; the depth is bounded by the rank. */
static int
read_nested(struct reading *g, const struct berth_json *v, uint32_t level)
{
    const struct berth_tensor *t = g->t;
    int r = 0;

    if (berth_json_type(v) != BERTH_JSON_ARRAY)
        return berth_err_set(g->e, BERTH_EINVAL,
                             "%s: is nested less deeply than its shape of rank %u", g->how->path,
                             t->rank);
    if (berth_json_len(v) != (size_t)t->shape[level])
        return berth_err_set(g->e, BERTH_EINVAL,
                             "%s: has %zu elements in a row of dimension %u, but its shape says "
                             "%lld",
                             g->how->path, berth_json_len(v), level, (long long)t->shape[level]);
    if (level + 1 == t->rank)
        return read_flat(g, v);
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);)
        r = read_nested(g, it.value, level + 1);
    return r;
}

static const struct berth_json *
first_of(const struct berth_json *array)
{
    struct berth_json_iter it = berth_json_iter(array);

    return berth_json_next(&it) ? it.value : NULL;
}

static int
read_all(struct reading *g, const struct berth_json *data)
{
    const bool array = berth_json_type(data) == BERTH_JSON_ARRAY;

    if (!array && g->t->rank == 0)
        return read_element(g, data);
    if (!array)
        return berth_err_set(g->e, BERTH_EINVAL, "%s: must be an array, not %s", g->how->path,
                             berth_json_type_name(data));
    if (g->t->rank > 1 && berth_json_type(first_of(data)) == BERTH_JSON_ARRAY)
        return read_nested(g, data, 0);
    if (berth_json_len(data) != g->count)
        return berth_err_set(g->e, BERTH_EINVAL, "%s: has %zu elements, but its shape has %zu",
                             g->how->path, berth_json_len(data), g->count);
    return read_flat(g, data);
}

int
berth_tensor_read_json(struct berth_tensor *t, struct berth_arena *a, const struct berth_json *data,
                       const struct berth_tensor_read *how, struct berth_err *e)
{
    const size_t width = berth_dtype_width(t->dtype);
    struct reading g = {.t = t, .how = how, .arena = a, .e = e};
    size_t bytes = 0;
    int r;

    if (!berth_shape_count(t->shape, t->rank, &g.count) ||
        (width > 0 && !berth_mul(g.count, width, &bytes)))
        return berth_err_set(e, BERTH_EINVAL, "%s: the shape is too large", how->path);
    if (bytes > 0) { /* the arena's limit is what a false claim can cost */
        g.to = berth_arena_alloc_raw(a, bytes);
        if (g.to == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "%s: %zu bytes are more than a request may have",
                                 how->path, bytes);
    }
    t->bytes = g.to;
    t->size = bytes;
    berth_buf_init(&g.buf, a);
    r = read_all(&g, data);
    if (r < 0)
        return r;
    if (width == 0) {
        if (g.buf.failed)
            return berth_err_set(e, BERTH_ENOMEM, "%s: is more than a request may have", how->path);
        t->bytes = g.buf.at;
        t->size = g.buf.len;
    }
    return 0;
}

int
berth_shape_of_json(const struct berth_json *v, int64_t shape[BERTH_RANK_MAX], uint32_t *ret_rank,
                    struct berth_err *e)
{
    uint32_t rank = 0;

    for (; berth_json_type(v) == BERTH_JSON_ARRAY; v = first_of(v)) {
        if (rank == BERTH_RANK_MAX)
            return berth_err_set(e, BERTH_EINVAL, "arrays are nested more than %u deep",
                                 BERTH_RANK_MAX);
        shape[rank++] = (int64_t)berth_json_len(v);
    }
    *ret_rank = rank;
    return 0;
}

/* ---- to JSON ---- */

struct writing {
    struct berth_jw *w;
    const struct berth_tensor *t;
    const struct berth_tensor_put *how;
    const unsigned char *from; /* fixed widths */
    size_t at;                 /* BYTES */
    bool bad;                  /* met a number that JSON does not have */
    struct berth_buf text;     /* base64 of one element */
};

static void
put_odd(struct writing *g, double x)
{
    const char *text = isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity";

    if (g->how->allow_nan)
        berth_jw_raw(g->w, text, strlen(text));
    g->bad |= !g->how->allow_nan;
}

static void
put_float(struct writing *g, float x)
{
    if (isfinite(x))
        berth_jw_float(g->w, x);
    else
        put_odd(g, (double)x);
}

static void
put_bytes(struct writing *g)
{
    struct berth_slice s = {"", 0};

    (void)berth_bytes_next(g->t, &g->at, &s);
    if (!g->how->base64) {
        berth_jw_string_n(g->w, s.at, s.len);
        return;
    }
    g->text.len = 0;
    berth_base64_put(&g->text, s.at, s.len);
    if (!g->text.failed)
        berth_jw_string_n(g->w, g->text.len > 0 ? g->text.at : "", g->text.len);
    else
        g->w->b->failed = true;
}

/* n elements from where the writing is. */
static void
put_row(struct writing *g, size_t n)
{
#define ROW(type, expression)                         \
    for (size_t i = 0; i < n; i++) {                  \
        type x;                                       \
        memcpy(&x, g->from + i * sizeof x, sizeof x); \
        expression;                                   \
    }                                                 \
    g->from += n * sizeof(type);                      \
    break;

    switch (g->t->dtype) {
    case BERTH_BOOL:
        ROW(uint8_t, berth_jw_bool(g->w, x != 0))
    case BERTH_UINT8:
        ROW(uint8_t, berth_jw_uint(g->w, x))
    case BERTH_UINT16:
        ROW(uint16_t, berth_jw_uint(g->w, x))
    case BERTH_UINT32:
        ROW(uint32_t, berth_jw_uint(g->w, x))
    case BERTH_UINT64:
        ROW(uint64_t, berth_jw_uint(g->w, x))
    case BERTH_INT8:
        ROW(int8_t, berth_jw_int(g->w, x))
    case BERTH_INT16:
        ROW(int16_t, berth_jw_int(g->w, x))
    case BERTH_INT32:
        ROW(int32_t, berth_jw_int(g->w, x))
    case BERTH_INT64:
        ROW(int64_t, berth_jw_int(g->w, x))
    case BERTH_FP16:
        ROW(uint16_t, put_float(g, berth_half_to_float(x)))
    case BERTH_BF16:
        ROW(uint16_t, put_float(g, berth_bf16_to_float(x)))
    case BERTH_FP32:
        ROW(float, put_float(g, x))
    case BERTH_FP64:
        ROW(double, isfinite(x) ? berth_jw_double(g->w, x) : put_odd(g, x))
    case BERTH_BYTES:
        for (size_t i = 0; i < n; i++)
            put_bytes(g);
        break;
    case BERTH_DTYPE_COUNT:
        break;
    }
#undef ROW
}

static void
put_nested(struct writing *g, uint32_t level)
{
    const struct berth_tensor *t = g->t;

    if (level >= t->rank) {
        put_row(g, 1);
        return;
    }
    berth_jw_array(g->w);
    if (level + 1 == t->rank)
        put_row(g, (size_t)t->shape[level]);
    else
        for (int64_t i = 0; i < t->shape[level] && !g->w->b->failed; i++)
            put_nested(g, level + 1);
    berth_jw_array_end(g->w);
}

int
berth_tensor_put_json(struct berth_jw *w, const struct berth_tensor *t,
                      const struct berth_tensor_put *how, struct berth_err *e)
{
    struct writing g = {.w = w, .t = t, .how = how, .from = t->bytes};
    size_t count;

    berth_assert(berth_shape_count(t->shape, t->rank, &count));
    berth_buf_init(&g.text, w->b->arena);
    if (how->nested) {
        /* A dimension of 0 among larger ones would write many empty rows: one will do. */
        if (count > 0)
            put_nested(&g, how->skip);
        else
            berth_jw_raw(w, "[]", 2);
    } else {
        berth_jw_array(w);
        put_row(&g, count);
        berth_jw_array_end(w);
    }
    if (w->b->arena == NULL)
        berth_buf_fini(&g.text);
    if (g.bad)
        return berth_err_set(e, BERTH_EBACKEND,
                             "output '%s' contains NaN or infinite values; request binary output",
                             t->name);
    return 0;
}
