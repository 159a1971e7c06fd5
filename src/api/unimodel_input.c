#include "api/unimodel_input.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/v2_tensor.h"
#include "base/arena.h"
#include "wire/base64.h"
#include "wire/json.h"

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
}

static int
check_text(struct berth_slice s, const char *path, struct berth_err *e)
{
    if (s.len == 0 || s.len > BERTH_INPUT_TEXT_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: a text must have 1 to %d bytes; this one has %zu", path,
                             BERTH_INPUT_TEXT_MAX, s.len);
    if (memchr(s.at, '\0', s.len) != NULL)
        return berth_err_set(e, BERTH_EINVAL, "%s: a text must not contain U+0000", path);
    return 0;
}

static int
check_binary(size_t len, const char *path, struct berth_err *e)
{
    if (len == 0 || len > BERTH_INPUT_BINARY_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: binary data must have 1 to %d bytes; this has %zu", path,
                             BERTH_INPUT_BINARY_MAX, len);
    return 0;
}

/* Bytes from base64 or a "data:...;base64," URL. */
static int
decode(struct berth_arena *a, struct berth_slice text, const char *path, const void **ret,
       size_t *ret_len, struct berth_err *e)
{
    void *bytes;
    size_t len;
    int r;

    if (text.len > 5 && strncasecmp(text.at, "data:", 5) == 0) {
        const char *comma = memchr(text.at, ',', text.len < 256 ? text.len : 256);
        if (comma == NULL || comma - text.at < 12 || memcmp(comma - 7, ";base64", 7) != 0)
            return berth_err_set(e, BERTH_EINVAL,
                                 "%s: a data URL must look like data:image/png;base64,...", path);
        text.len -= (size_t)(comma + 1 - text.at);
        text.at = comma + 1;
    }
    if ((r = check_binary(text.len / 4 * 3 + (text.len % 4 != 0), path, e)) < 0)
        return r;
    if (!berth_base64_decode(a, text.at, text.len, &bytes, &len))
        return berth_err_set(e, BERTH_EINVAL, "%s: must be base64 or a data: URL", path);
    *ret = bytes;
    *ret_len = len;
    return check_binary(len, path, e);
}

/* Bytes as base64, or one by one as Rust writes them. */
static int
read_binary(struct berth_arena *a, const struct berth_json *v, const char *path,
            struct berth_input *ret, struct berth_err *e)
{
    const size_t n = berth_json_len(v);
    struct berth_slice s;
    unsigned char *to;
    int64_t x;
    int r;

    if (berth_json_string(v, &s))
        return decode(a, s, path, &ret->binary, &ret->binary_len, e);
    if (berth_json_type(v) != BERTH_JSON_ARRAY)
        return berth_err_set(e, BERTH_EINVAL, "%s: must be base64 or an array of bytes, not %s",
                             path, berth_json_type_name(v));
    if ((r = check_binary(n, path, e)) < 0)
        return r;
    to = berth_arena_alloc_raw(a, n);
    if (to == NULL)
        return no_memory(e);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (!berth_json_int(it.value, &x) || x < 0 || x > 255)
            return berth_err_set(e, BERTH_EINVAL, "%s[%zu]: must be a byte, 0 to 255", path,
                                 it.index);
        to[it.index] = (unsigned char)x;
    }
    ret->binary = to;
    ret->binary_len = n;
    return 0;
}

/* {"text":..,"image":..}: each plain or tagged again. */
static int
read_multimodal(struct berth_arena *a, const struct berth_json *v, const char *path,
                struct berth_input *ret, struct berth_err *e)
{
    const size_t n = berth_json_len(v);
    char where[160];

    ret->json = v;
    if (berth_json_type(v) != BERTH_JSON_OBJECT || n == 0 || n > BERTH_INPUT_KEYS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%s: must be an object of 1 to %d inputs", path,
                             BERTH_INPUT_KEYS_MAX);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        struct berth_input one;
        const bool image = berth_slice_is(it.key, "image");
        int r;

        if (it.key.len == 0)
            return berth_err_set(e, BERTH_EINVAL, "%s: a key must not be empty", path);
        (void)snprintf(where, sizeof where, "%.80s.%.*s", path,
                       (int)(it.key.len < 64 ? it.key.len : 64), it.key.at);
        if (berth_slice_is(it.key, "type") || berth_slice_is(it.key, "data"))
            return berth_err_set(e, BERTH_EINVAL, "%s: must not be within another one", where);
        if ((r = berth_input_read(a, it.value, where, image, &one, e)) < 0)
            return r;
        if (one.kind == BERTH_INPUT_MULTIMODAL)
            return berth_err_set(e, BERTH_EINVAL, "%s: must not be Multimodal again", where);
        if (one.kind == BERTH_INPUT_TEXT && berth_slice_is(it.key, "text"))
            ret->text = one.text;
        if (one.kind == BERTH_INPUT_BINARY && image) {
            ret->binary = one.binary;
            ret->binary_len = one.binary_len;
        }
    }
    return 0;
}

static bool
is_tagged(const struct berth_json *v, struct berth_slice *ret_type)
{
    return berth_json_type(v) == BERTH_JSON_OBJECT && berth_json_len(v) == 2 &&
           berth_json_string(berth_json_get(v, "type"), ret_type) &&
           berth_json_get(v, "data") != NULL;
}

static int
read_tagged(struct berth_arena *a, const struct berth_json *v, struct berth_slice type,
            const char *path, struct berth_input *ret, struct berth_err *e)
{
    const struct berth_json *data = berth_json_get(v, "data");
    char where[128];

    (void)snprintf(where, sizeof where, "%s.data", path);
    ret->tagged = true;
    if (berth_slice_is(type, "Text")) {
        ret->kind = BERTH_INPUT_TEXT;
        if (!berth_json_string(data, &ret->text))
            return berth_err_set(e, BERTH_EINVAL, "%s: must be a string, not %s", where,
                                 berth_json_type_name(data));
        return check_text(ret->text, where, e);
    }
    if (berth_slice_is(type, "Binary")) {
        ret->kind = BERTH_INPUT_BINARY;
        return read_binary(a, data, where, ret, e);
    }
    if (berth_slice_is(type, "Json")) {
        ret->kind = BERTH_INPUT_JSON;
        ret->json = data;
        return berth_json_type(data) != BERTH_JSON_NULL
                   ? 0
                   : berth_err_set(e, BERTH_EINVAL, "%s: must not be null", where);
    }
    if (berth_slice_is(type, "Multimodal")) {
        ret->kind = BERTH_INPUT_MULTIMODAL;
        return read_multimodal(a, data, where, ret, e);
    }
    return berth_err_set(e, BERTH_EINVAL,
                         "%s.type: must be Text, Binary, Json or Multimodal, not \"%.*s\"", path,
                         (int)(type.len < 40 ? type.len : 40), type.at);
}

int
berth_input_read(struct berth_arena *a, const struct berth_json *v, const char *path, bool image,
                 struct berth_input *ret, struct berth_err *e)
{
    struct berth_slice type;

    *ret = (struct berth_input){.text = {"", 0}};
    if (is_tagged(v, &type))
        return read_tagged(a, v, type, path, ret, e);
    if (berth_json_type(v) == BERTH_JSON_NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: is missing; give a text, an image as base64, or numbers", path);
    if (!berth_json_string(v, &ret->text)) {
        ret->kind = BERTH_INPUT_JSON;
        ret->json = v;
        return 0;
    }
    if (!image) {
        ret->kind = BERTH_INPUT_TEXT;
        return check_text(ret->text, path, e);
    }
    ret->kind = BERTH_INPUT_BINARY;
    return decode(a, ret->text, path, &ret->binary, &ret->binary_len, e);
}

/* ---- tensors ---- */

/* The shape for spec out of what was given: as it is, with a batch dimension of 1 in front, or
 * flat numbers for one row of a known shape. */
static int
fit_shape(const struct berth_json *v, const struct berth_tensor_spec *spec, const char *path,
          struct berth_tensor *t, bool *ret_row, struct berth_err *e)
{
    int64_t shape[BERTH_RANK_MAX];
    uint32_t rank;
    size_t count;
    int r = berth_shape_of_json(v, shape, &rank, e);

    if (r < 0)
        return berth_err_wrap(e, r, "%s", path);
    *ret_row = false;
    t->rank = rank;
    memcpy(t->shape, shape, sizeof shape);
    if (rank == spec->rank || spec->rank == 0)
        return 0;
    const bool batch = spec->shape[0] < 0 || spec->shape[0] == 1;
    if (batch && rank + 1 == spec->rank) {
        *ret_row = true;
        t->rank = spec->rank;
        t->shape[0] = 1;
        memcpy(&t->shape[1], shape, rank * sizeof *shape);
        return 0;
    }
    memcpy(t->shape, spec->shape, sizeof shape);
    t->shape[0] = batch ? 1 : spec->shape[0];
    bool known = true;
    for (uint32_t i = 0; i < spec->rank; i++)
        known = known && t->shape[i] >= 0;
    if (rank == 1 && known && berth_shape_count(t->shape, spec->rank, &count) &&
        count == (size_t)shape[0]) {
        *ret_row = batch;
        t->rank = spec->rank;
        return 0;
    }
    return berth_err_set(e, BERTH_EINVAL,
                         "%s: has %u dimensions, but input '%s' of the model has %u", path, rank,
                         spec->name, spec->rank);
}

static int
read_tensor(struct berth_arena *a, const struct berth_json *v, const char *path,
            const struct berth_tensor_spec *spec, struct berth_tensor *t, bool *ret_row,
            struct berth_err *e)
{
    const struct berth_tensor_read how = {.path = path};
    int r;

    t->name = spec->name;
    t->dtype = spec->dtype;
    if ((r = fit_shape(v, spec, path, t, ret_row, e)) < 0)
        return r;
    struct berth_tensor given = *t;
    if (*ret_row) { /* the values are nested as they came, without the dimension put in front */
        given.rank--;
        memmove(given.shape, given.shape + 1, given.rank * sizeof *given.shape);
    }
    r = berth_tensor_read_json(&given, a, v, &how, e);
    t->bytes = given.bytes;
    t->size = given.size;
    return r;
}

/* A model that takes anything: whole numbers stay whole. */
static int
read_untyped(struct berth_arena *a, const struct berth_json *v, const char *path,
             struct berth_tensor *t, struct berth_err *e)
{
    const struct berth_tensor_read how = {.path = path};
    const struct berth_json *leaf = v;
    int r = berth_shape_of_json(v, t->shape, &t->rank, e);

    if (r < 0)
        return berth_err_wrap(e, r, "%s", path);
    for (struct berth_json_iter it; berth_json_type(leaf) == BERTH_JSON_ARRAY;) {
        it = berth_json_iter(leaf);
        leaf = berth_json_next(&it) ? it.value : NULL;
    }
    switch (berth_json_type(leaf)) {
    case BERTH_JSON_BOOL:
        t->dtype = BERTH_BOOL;
        break;
    case BERTH_JSON_STRING:
        t->dtype = BERTH_BYTES;
        break;
    case BERTH_JSON_INT:
        t->dtype = BERTH_INT64;
        r = berth_tensor_read_json(t, a, v, &how, e);
        if (r != -BERTH_EINVAL)
            return r;
        t->dtype = BERTH_FP64; /* [1, 2.5] */
        break;
    case BERTH_JSON_REAL:
    case BERTH_JSON_NULL:
    case BERTH_JSON_ARRAY:
    case BERTH_JSON_OBJECT:
        t->dtype = BERTH_FP64;
        break;
    }
    return berth_tensor_read_json(t, a, v, &how, e);
}

static int
read_untyped_all(struct berth_arena *a, const struct berth_json *v, const char *path,
                 struct berth_input_tensors *ret, struct berth_err *e)
{
    const bool named = berth_json_type(v) == BERTH_JSON_OBJECT;
    const size_t n = named ? berth_json_len(v) : 1;
    char where[160];
    int r = 0;

    if (n == 0 || n > BERTH_INPUT_KEYS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%s: must have 1 to %d members", path,
                             BERTH_INPUT_KEYS_MAX);
    ret->inputs = BERTH_NEW_N(a, struct berth_tensor, n);
    if (ret->inputs == NULL)
        return no_memory(e);
    ret->count = n;
    if (!named) {
        ret->inputs[0].name = "input";
        return read_untyped(a, v, path, &ret->inputs[0], e);
    }
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        struct berth_tensor *t = &ret->inputs[it.index];

        t->name = berth_arena_strndup(a, it.key.at, it.key.len);
        if (t->name == NULL)
            return no_memory(e);
        (void)snprintf(where, sizeof where, "%.80s.%.64s", path, t->name);
        r = read_untyped(a, it.value, where, t, e);
    }
    return r;
}

static int
check_keys(const struct berth_json *v, const char *path, const struct berth_describe *d,
           struct berth_err *e)
{
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        size_t i = 0;

        while (i < d->input_count && !berth_slice_is(it.key, d->inputs[i].name))
            i++;
        if (i == d->input_count)
            return berth_err_set(
                e, BERTH_EINVAL, "%s.%.*s: the model has no such input; its first is '%s'", path,
                (int)(it.key.len < 64 ? it.key.len : 64), it.key.at, d->inputs[0].name);
    }
    return 0;
}

int
berth_input_tensors(struct berth_arena *a, const struct berth_json *v, const char *path,
                    const struct berth_describe *d, struct berth_input_tensors *ret,
                    struct berth_err *e)
{
    char where[160];
    int r = 0;

    *ret = (struct berth_input_tensors){.count = d->input_count};
    if (d->input_count == 0)
        return read_untyped_all(a, v, path, ret, e);
    ret->inputs = BERTH_NEW_N(a, struct berth_tensor, d->input_count);
    if (ret->inputs == NULL)
        return no_memory(e);
    if (berth_json_type(v) != BERTH_JSON_OBJECT) {
        if (d->input_count > 1)
            return berth_err_set(e, BERTH_EINVAL,
                                 "%s: the model has %zu inputs; give an object with each by name",
                                 path, d->input_count);
        return read_tensor(a, v, path, &d->inputs[0], &ret->inputs[0], &ret->row, e);
    }
    if ((r = check_keys(v, path, d, e)) < 0)
        return r;
    for (size_t i = 0; i < d->input_count && r == 0; i++) {
        const struct berth_json *one = berth_json_get(v, d->inputs[i].name);
        bool row = false;

        (void)snprintf(where, sizeof where, "%.80s.%.64s", path, d->inputs[i].name);
        if (one == NULL)
            return berth_err_set(e, BERTH_EINVAL, "%s: is missing; the model needs it", where);
        r = read_tensor(a, one, where, &d->inputs[i], &ret->inputs[i], &row, e);
        ret->row = i == 0 ? row : ret->row && row;
    }
    return r;
}

int
berth_input_text_tensor(struct berth_arena *a, struct berth_slice text, const char *path,
                        const struct berth_describe *d, struct berth_input_tensors *ret,
                        struct berth_err *e)
{
    const uint32_t len = (uint32_t)text.len;
    struct berth_tensor *t = BERTH_NEW(a, struct berth_tensor);
    char *bytes = berth_arena_alloc_raw(a, sizeof len + text.len);

    if (t == NULL || bytes == NULL)
        return no_memory(e);
    if (d->input_count > 1 || (d->input_count == 1 && d->inputs[0].dtype != BERTH_BYTES))
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: the model takes numbers, not a text; see its metadata at "
                             "/v2/models",
                             path);
    memcpy(bytes, &len, sizeof len);
    memcpy(bytes + sizeof len, text.at, text.len);
    t->name = d->input_count == 1 ? d->inputs[0].name : "input";
    t->dtype = BERTH_BYTES;
    t->rank = d->input_count == 1 ? d->inputs[0].rank : 1;
    for (uint32_t i = 0; i < t->rank; i++)
        t->shape[i] = 1;
    t->bytes = bytes;
    t->size = sizeof len + text.len;
    *ret = (struct berth_input_tensors){.inputs = t, .count = 1, .row = t->rank > 0};
    return 0;
}

static int
put_one(struct berth_jw *w, const struct berth_tensor *t, bool row, struct berth_err *e)
{
    const struct berth_tensor_put how = {.nested = true,
                                         .skip = row && t->rank > 0 && t->shape[0] == 1 ? 1 : 0,
                                         .base64 =
                                             t->dtype == BERTH_BYTES && !berth_tensor_is_text(t)};

    return berth_tensor_put_json(w, t, &how, e);
}

int
berth_output_put(struct berth_jw *w, const struct berth_tensor *outputs, size_t count, bool row,
                 struct berth_err *e)
{
    int r = 0;

    if (count == 1)
        return put_one(w, &outputs[0], row, e);
    berth_jw_object(w);
    for (size_t i = 0; i < count && r == 0; i++) {
        berth_jw_key(w, outputs[i].name);
        r = put_one(w, &outputs[i], row, e);
    }
    berth_jw_object_end(w);
    return r;
}
