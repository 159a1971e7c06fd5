#include "cmd/bench_work.h"

#include <string.h>

#include <berth/tensor.h>

#include "api/v2_tensor.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"
#include "wire/uri.h"

enum { ELEMENTS_MAX = 64 << 20, INPUTS_MAX = 64 };

static const char *const names[] = {
    [BERTH_REST] = "rest", [BERTH_BINARY] = "binary", [BERTH_GRPC] = "grpc"};

bool
berth_protocol_parse(const char *text, enum berth_protocol *ret)
{
    for (size_t i = 0; i < BERTH_COUNT(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum berth_protocol)i;
            return true;
        }
    }
    return false;
}

const char *
berth_protocol_name(enum berth_protocol p)
{
    return names[p];
}

/* ---- generated ---- */

static void
put_element(struct berth_buf *b, const char *type, size_t i)
{
    if (strcmp(type, "BYTES") == 0)
        berth_buf_puts(b, "\"hello\"");
    else if (strcmp(type, "BOOL") == 0)
        berth_buf_puts(b, i % 2 == 0 ? "false" : "true");
    else if (type[0] == 'F' || type[0] == 'B')
        berth_buf_printf(b, "%g", (double)(i * 7919 % 1009) / 1000); /* as long as real ones are */
    else
        berth_buf_putc(b, i % 2 == 0 ? '0' : '1');
}

/* False: too many elements. */
static bool
put_generated(struct berth_buf *b, const struct berth_json *shape, const char *type)
{
    size_t count = 1;

    berth_buf_puts(b, "\"shape\":[");
    for (struct berth_json_iter it = berth_json_iter(shape); berth_json_next(&it);) {
        int64_t n = 1;
        (void)berth_json_int(it.value, &n);
        n = n > 0 ? n : 1;
        if ((uint64_t)n > ELEMENTS_MAX / count)
            return false;
        count *= (size_t)n;
        berth_buf_printf(b, "%s%lld", it.index > 0 ? "," : "", (long long)n);
    }
    berth_buf_puts(b, "],\"data\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            berth_buf_putc(b, ',');
        put_element(b, type, i);
    }
    berth_buf_puts(b, "]}");
    return true;
}

static struct berth_slice
text_of(const struct berth_json *v, const char *key)
{
    struct berth_slice s = {"", 0};

    (void)berth_json_string(berth_json_get(v, key), &s);
    return s;
}

int
berth_work_generate(const struct berth_json *inputs, struct berth_buf *ret, struct berth_err *e)
{
    struct berth_jw w;

    berth_buf_puts(ret, "{\"inputs\":[");
    for (struct berth_json_iter it = berth_json_iter(inputs); berth_json_next(&it);) {
        struct berth_slice type = text_of(it.value, "datatype");
        enum berth_dtype dtype;
        if (!berth_dtype_parse(type, &dtype))
            type = berth_slice_of("FP32");
        berth_buf_puts(ret, it.index > 0 ? ",{\"name\":" : "{\"name\":");
        berth_jw_init(&w, ret);
        const struct berth_slice name = text_of(it.value, "name");
        berth_jw_string_n(&w, name.at, name.len);
        berth_buf_printf(ret, ",\"datatype\":\"%s\",", type.at);
        if (!put_generated(ret, berth_json_get(it.value, "shape"), type.at))
            return berth_err_set(e, BERTH_ETOOBIG, "the model takes more than %d elements",
                                 ELEMENTS_MAX);
    }
    berth_buf_puts(ret, "]}");
    return ret->failed ? berth_err_set(e, BERTH_ENOMEM, "not enough memory") : 0;
}

bool
berth_work_is_infer(const struct berth_json *v)
{
    return berth_json_type(v) == BERTH_JSON_OBJECT &&
           berth_json_type(berth_json_get(v, "inputs")) == BERTH_JSON_ARRAY;
}

/* ---- tensors ---- */

static int
read_tensor(struct berth_tensor *t, const struct berth_json *v, size_t index, struct berth_arena *a,
            struct berth_err *e)
{
    const char *path = berth_arena_printf(a, "inputs[%zu].data", index);
    const struct berth_tensor_read how = {.path = path};
    const struct berth_json *shape = berth_json_get(v, "shape");
    const struct berth_slice name = text_of(v, "name");

    *t = (struct berth_tensor){.name = berth_arena_strndup(a, name.at, name.len)};
    if (t->name == NULL || path == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    if (!berth_dtype_parse(text_of(v, "datatype"), &t->dtype))
        return berth_err_set(e, BERTH_EINVAL, "inputs[%zu].datatype is none", index);
    if (berth_json_len(shape) > BERTH_RANK_MAX)
        return berth_err_set(e, BERTH_EINVAL, "inputs[%zu].shape is too long", index);
    for (struct berth_json_iter it = berth_json_iter(shape); berth_json_next(&it);)
        if (!berth_json_int(it.value, &t->shape[t->rank++]) || t->shape[t->rank - 1] < 0)
            return berth_err_set(e, BERTH_EINVAL, "inputs[%zu].shape holds what is no size", index);
    return berth_tensor_read_json(t, a, berth_json_get(v, "data"), &how, e);
}

struct tensors {
    struct berth_tensor at[INPUTS_MAX];
    size_t count;
};

static int
read_tensors(struct tensors *ts, const struct berth_json *inputs, struct berth_arena *a,
             struct berth_err *e)
{
    ts->count = berth_json_len(inputs);
    if (ts->count > INPUTS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "more than %d inputs", INPUTS_MAX);
    for (struct berth_json_iter it = berth_json_iter(inputs); berth_json_next(&it);) {
        const int rc = read_tensor(&ts->at[it.index], it.value, it.index, a, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void
put_shape(struct berth_jw *w, const struct berth_tensor *t)
{
    berth_jw_array(w);
    for (uint32_t d = 0; d < t->rank; d++)
        berth_jw_int(w, t->shape[d]);
    berth_jw_array_end(w);
}

/* The header of the binary extension, and the bytes behind it. */
static void
put_binary(struct berth_buf *b, const struct tensors *ts, size_t *ret_json_bytes)
{
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_key(&w, "inputs");
    berth_jw_array(&w);
    for (size_t i = 0; i < ts->count; i++) {
        const struct berth_tensor *t = &ts->at[i];
        berth_jw_object(&w);
        berth_jw_key(&w, "name");
        berth_jw_string(&w, t->name);
        berth_jw_key(&w, "shape");
        put_shape(&w, t);
        berth_jw_key(&w, "datatype");
        berth_jw_string(&w, berth_dtype_name(t->dtype));
        berth_jw_key(&w, "parameters");
        berth_jw_object(&w);
        berth_jw_key(&w, "binary_data_size");
        berth_jw_uint(&w, t->size);
        berth_jw_object_end(&w);
        berth_jw_object_end(&w);
    }
    berth_jw_array_end(&w);
    berth_jw_key(&w, "parameters");
    berth_jw_object(&w);
    berth_jw_key(&w, "binary_data_output");
    berth_jw_bool(&w, true);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    *ret_json_bytes = b->len;
    for (size_t i = 0; i < ts->count; i++)
        berth_buf_put(b, ts->at[i].bytes, ts->at[i].size);
}

/* ---- Protocol Buffers, as far as ModelInferRequest goes ---- */

static void
put_varint(struct berth_buf *b, uint64_t v)
{
    for (; v > 127; v >>= 7)
        berth_buf_putc(b, (char)(v | 128));
    berth_buf_putc(b, (char)v);
}

/* A field with a length: strings, messages, bytes. */
static void
put_field(struct berth_buf *b, unsigned number, const void *at, size_t len)
{
    enum { LENGTH_DELIMITED = 2 };

    put_varint(b, number << 3 | LENGTH_DELIMITED);
    put_varint(b, len);
    berth_buf_put(b, at, len);
}

static void
put_text(struct berth_buf *b, unsigned number, const char *text)
{
    put_field(b, number, text, strlen(text));
}

/* Field numbers of inference.GRPCInferenceService's messages. */
enum {
    REQUEST_MODEL_NAME = 1,
    REQUEST_INPUTS = 5,
    REQUEST_RAW_INPUT_CONTENTS = 7,
    TENSOR_NAME = 1,
    TENSOR_DATATYPE = 2,
    TENSOR_SHAPE = 3,
    GRPC_HEAD_BYTES = 5, /* not compressed, and the length */
};

static int
put_grpc(struct berth_buf *b, const char *model, const struct tensors *ts, struct berth_arena *a)
{
    struct berth_buf tensor, shape;

    berth_buf_put(b, "\0\0\0\0\0", GRPC_HEAD_BYTES);
    put_text(b, REQUEST_MODEL_NAME, model);
    berth_buf_init(&tensor, a);
    berth_buf_init(&shape, a);
    for (size_t i = 0; i < ts->count; i++) {
        const struct berth_tensor *t = &ts->at[i];
        tensor.len = shape.len = 0;
        for (uint32_t d = 0; d < t->rank; d++)
            put_varint(&shape, (uint64_t)t->shape[d]);
        put_text(&tensor, TENSOR_NAME, t->name);
        put_text(&tensor, TENSOR_DATATYPE, berth_dtype_name(t->dtype));
        put_field(&tensor, TENSOR_SHAPE, shape.at, shape.len);
        put_field(b, REQUEST_INPUTS, tensor.at, tensor.len);
    }
    for (size_t i = 0; i < ts->count; i++)
        put_field(b, REQUEST_RAW_INPUT_CONTENTS, ts->at[i].bytes, ts->at[i].size);
    if (b->failed || tensor.failed || shape.failed || b->len - GRPC_HEAD_BYTES > UINT32_MAX)
        return -BERTH_ENOMEM;
    const size_t len = b->len - GRPC_HEAD_BYTES;
    for (int i = 0; i < 4; i++)
        b->at[4 - i] = (char)(len >> 8 * i);
    return 0;
}

/* ---- requests ---- */

int
berth_work_make(struct berth_work *ret, enum berth_protocol protocol, const char *model,
                struct berth_slice text, struct berth_arena *a, struct berth_err *e)
{
    struct berth_work w = {.protocol = protocol, .body = text};
    const struct berth_json *v = NULL;
    struct tensors *ts = BERTH_NEW(a, struct tensors);
    struct berth_buf path, body;

    berth_buf_init(&path, a);
    berth_buf_puts(&path, "/v2/models/");
    berth_uri_put(&path, model, strlen(model));
    berth_buf_puts(&path, "/infer");
    w.path = protocol == BERTH_GRPC ? "/inference.GRPCInferenceService/ModelInfer"
                                    : berth_buf_text(&path);
    if (w.path == NULL || ts == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    if (protocol != BERTH_REST) {
        int rc = berth_json_parse(a, text.at, text.len, NULL, &v, e);
        if (rc == 0)
            rc = read_tensors(ts, berth_json_get(v, "inputs"), a, e);
        if (rc != 0)
            return rc;
        berth_buf_init(&body, a);
        if (protocol == BERTH_BINARY)
            put_binary(&body, ts, &w.json_bytes);
        else if (put_grpc(&body, model, ts, a) != 0)
            return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
        if (body.failed)
            return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
        w.body = (struct berth_slice){body.at, body.len};
    }
    *ret = w;
    return 0;
}

/* What a body that is not for the Open Inference Protocol looks like. */
static const char *
content_type(const struct berth_work *w)
{
    const int first = w->protocol == BERTH_REST && w->body.len > 0 ? w->body.at[0] : 0;

    if (w->protocol == BERTH_GRPC)
        return "application/grpc";
    return first == '{' || first == '[' || first == '"' ? "application/json"
                                                        : "application/octet-stream";
}

int
berth_work_http1(const struct berth_work *w, const char *authority, const char *key,
                 struct berth_arena *a, struct berth_slice *ret)
{
    struct berth_buf b;

    berth_buf_init(&b, a);
    berth_buf_printf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n", w->path, authority,
                     content_type(w));
    if (w->json_bytes > 0)
        berth_buf_printf(&b, "Inference-Header-Content-Length: %zu\r\n", w->json_bytes);
    if (key != NULL)
        berth_buf_printf(&b, "Authorization: Bearer %s\r\n", key);
    berth_buf_printf(&b, "Content-Length: %zu\r\n\r\n", w->body.len);
    berth_buf_put(&b, w->body.at, w->body.len);
    *ret = (struct berth_slice){b.at, b.len};
    return b.failed ? -BERTH_ENOMEM : 0;
}

int
berth_work_http2(const struct berth_work *w, const char *authority, const char *key,
                 struct berth_arena *a, struct berth_h2_request *ret)
{
    const char *length = berth_arena_printf(a, "%zu", w->json_bytes);
    const char *bearer = key != NULL ? berth_arena_printf(a, "Bearer %s", key) : NULL;
    struct berth_h2_request q = {
        .fields = {{":method", "POST"},
                   {":scheme", "http"},
                   {":authority", authority},
                   {":path", w->path},
                   {"content-type", content_type(w)},
                   {"user-agent", "berth-bench"}},
        .field_count = 6,
        .body = w->body,
    };

    if (length == NULL || (key != NULL && bearer == NULL))
        return -BERTH_ENOMEM;
    if (w->protocol == BERTH_GRPC)
        q.fields[q.field_count++] = (struct berth_h2_field){"te", "trailers"};
    if (w->json_bytes > 0)
        q.fields[q.field_count++] =
            (struct berth_h2_field){"inference-header-content-length", length};
    if (bearer != NULL)
        q.fields[q.field_count++] = (struct berth_h2_field){"authorization", bearer};
    *ret = q;
    return 0;
}
