#include "api/v2_infer.h"

#include <stdio.h>
#include <string.h>

#include "api/timing.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "base/num.h"
#include "wire/json.h"

/* The body while it is read: JSON in front, blobs behind it. */
struct reading {
    struct berth_arena *arena;
    struct berth_v2_infer *ret;
    struct berth_slice blobs; /* what is left of them */
    size_t input_room;
    struct berth_err *e;
};

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
}

int
berth_v2_header_len(struct berth_slice value, size_t *ret, struct berth_err *e)
{
    int64_t n;

    if (!berth_int_parse(value.at, value.len, 0, INT64_MAX, &n))
        return berth_err_set(e, BERTH_EINVAL,
                             "Inference-Header-Content-Length: must be a number of bytes");
    *ret = (size_t)n;
    return 0;
}

/* "inputs[3].data": for a message that hardly ever comes, so it is not printed for each request. */
enum { PATH_MAX_BYTES = 48 };

static void
put_path(char to[PATH_MAX_BYTES], const char *list, size_t i, const char *member)
{
    char digits[20];
    size_t n = 0;

    to = stpcpy(to, list);
    *to++ = '[';
    do {
        digits[n++] = (char)('0' + i % 10);
        i /= 10;
    } while (i != 0);
    while (n > 0)
        *to++ = digits[--n];
    *to++ = ']';
    (void)stpcpy(to, member);
}

/* ---- parameters ---- */

/* A parameter that is true or false; missing: left as it is. */
static int
param_bool(const struct berth_json *parameters, const char *path, const char *key, bool *ret,
           struct berth_err *e)
{
    const struct berth_json *v = berth_json_get(parameters, key);

    if (berth_json_type(v) != BERTH_JSON_NULL && !berth_json_bool(v, ret))
        return berth_err_set(e, BERTH_EINVAL, "%sparameters.%s: must be true or false, not %s",
                             path, key, berth_json_type_name(v));
    return 0;
}

static int
param_uint(const struct berth_json *parameters, const char *path, const char *key, uint64_t *ret,
           bool *ret_there, struct berth_err *e)
{
    const struct berth_json *v = berth_json_get(parameters, key);

    *ret_there = berth_json_type(v) != BERTH_JSON_NULL;
    if (*ret_there && !berth_json_uint(v, ret))
        return berth_err_set(e, BERTH_EINVAL, "%sparameters.%s: must be a whole number, at least 0",
                             path, key);
    return 0;
}

/* BYTES as base64?  As KServe's clients say it: content_type "base64". */
static int
param_base64(const struct berth_json *parameters, const char *path, bool *ret, struct berth_err *e)
{
    const struct berth_json *v = berth_json_get(parameters, "content_type");
    struct berth_slice s;

    if (berth_json_type(v) == BERTH_JSON_NULL)
        return 0;
    if (!berth_json_string(v, &s))
        return berth_err_set(e, BERTH_EINVAL, "%sparameters.content_type: must be a string", path);
    *ret = berth_slice_is_nocase(s, "base64") || berth_slice_is_nocase(s, "b64");
    return 0;
}

/* Parameters are names with strings, numbers or booleans. */
static int
check_parameters(const struct berth_json *holder, const char *path, const struct berth_json **ret,
                 struct berth_err *e)
{
    const struct berth_json *p = berth_json_get(holder, "parameters");

    *ret = p;
    if (berth_json_type(p) == BERTH_JSON_NULL)
        return 0;
    if (berth_json_type(p) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL, "%sparameters: must be an object, not %s", path,
                             berth_json_type_name(p));
    for (struct berth_json_iter it = berth_json_iter(p); berth_json_next(&it);) {
        const enum berth_json_type type = berth_json_type(it.value);
        if (type == BERTH_JSON_ARRAY || type == BERTH_JSON_OBJECT)
            return berth_err_set(e, BERTH_EINVAL,
                                 "%sparameters.%.*s: must be a string, a number or a boolean", path,
                                 (int)(it.key.len < 64 ? it.key.len : 64), it.key.at);
    }
    return 0;
}

/* Does the tensor lie in shared memory, or is it to go there? */
static int
param_shm(struct berth_arena *a, const struct berth_json *parameters, const char *path,
          struct berth_shm_span *ret, struct berth_err *e)
{
    const struct berth_json *v = berth_json_get(parameters, "shared_memory_region");
    struct berth_slice s;
    bool there;
    int r;

    if (berth_json_type(v) == BERTH_JSON_NULL)
        return 0;
    if (!berth_json_string(v, &s) || s.len == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "%sparameters.shared_memory_region: must be a region's name", path);
    if ((r = param_uint(parameters, path, "shared_memory_offset", &ret->offset, &there, e)) < 0 ||
        (r = param_uint(parameters, path, "shared_memory_byte_size", &ret->size, &there, e)) < 0)
        return r;
    if (!there)
        return berth_err_set(e, BERTH_EINVAL, "%sparameters.shared_memory_byte_size: is missing",
                             path);
    ret->region = berth_arena_strndup(a, s.at, s.len);
    return ret->region != NULL ? 0 : no_memory(e);
}

int
berth_v2_shm_input(struct berth_arena *a, struct berth_v2_infer *ret, size_t i, size_t count,
                   const struct berth_shm_span *span, struct berth_err *e)
{
    if (ret->shm == NULL && (ret->shm = BERTH_NEW_N(a, struct berth_shm_span, count)) == NULL)
        return no_memory(e);
    ret->shm[i] = *span;
    return 0;
}

/* ---- inputs ---- */

static int
read_name(const struct berth_json *v, const char *path, const char **ret, struct berth_err *e)
{
    struct berth_slice s;

    if (!berth_json_string(berth_json_get(v, "name"), &s) || s.len == 0 ||
        memchr(s.at, '\0', s.len) != NULL)
        return berth_err_set(e, BERTH_EINVAL, "%sname: must be a string that is not empty", path);
    *ret = s.at;
    return 0;
}

static int
read_shape(const struct berth_json *v, const char *path, struct berth_tensor *t,
           struct berth_err *e)
{
    const struct berth_json *shape = berth_json_get(v, "shape");

    if (berth_json_type(shape) != BERTH_JSON_ARRAY || berth_json_len(shape) > BERTH_RANK_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "%sshape: must be an array of at most %u whole numbers", path,
                             BERTH_RANK_MAX);
    for (struct berth_json_iter it = berth_json_iter(shape); berth_json_next(&it);) {
        if (!berth_json_int(it.value, &t->shape[it.index])) {
            uint64_t huge;
            const bool whole = berth_json_uint(it.value, &huge);
            return berth_err_set(e, BERTH_EINVAL, "%sshape[%zu]: must be a whole number%s %s", path,
                                 it.index, whole ? " below" : ", not",
                                 whole ? "2^63" : berth_json_type_name(it.value));
        }
        if (t->shape[it.index] < 0)
            return berth_err_set(e, BERTH_EINVAL, "%sshape[%zu]: must not be negative", path,
                                 it.index);
    }
    t->rank = (uint32_t)berth_json_len(shape);
    return 0;
}

/* Cut the next blob off; copied only when a backend could not read it where it lies. */
static int
take_blob(struct reading *g, const char *path, uint64_t size, struct berth_tensor *t)
{
    if (size > g->blobs.len)
        return berth_err_set(g->e, BERTH_EINVAL,
                             "%sparameters.binary_data_size: %llu bytes, but only %zu are left in "
                             "the body",
                             path, (unsigned long long)size, g->blobs.len);
    t->size = (size_t)size;
    t->bytes = size > 0 ? g->blobs.at : NULL;
    if (size > 0 && (uintptr_t)t->bytes % 8 != 0) {
        void *copy = berth_arena_alloc_raw(g->arena, t->size);
        if (copy == NULL)
            return no_memory(g->e);
        t->bytes = memcpy(copy, t->bytes, t->size);
    }
    g->blobs.at += size;
    g->blobs.len -= size;
    return 0;
}

int
berth_v2_dtype_unknown(struct berth_err *e, const char *path, struct berth_slice dtype)
{
    return berth_err_set(e, BERTH_EINVAL,
                         "%sdatatype: must be one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, "
                         "BF16, FP32, FP64, BYTES, not \"%.*s\"",
                         path, (int)(dtype.len < 40 ? dtype.len : 40), dtype.at);
}

static int
read_input_fields(struct reading *g, const struct berth_json *v, size_t i)
{
    struct berth_tensor *t = &g->ret->inputs[i];
    struct berth_shm_span shm = {.region = NULL};
    const struct berth_json *parameters, *data = berth_json_get(v, "data");
    char path[PATH_MAX_BYTES], where[PATH_MAX_BYTES];
    struct berth_slice dtype = {"", 0};
    uint64_t size = 0;
    bool blob, base64 = false;
    int r;

    put_path(path, "inputs", i, ".");
    put_path(where, "inputs", i, ".data");
    if ((r = read_name(v, path, &t->name, g->e)) < 0 || (r = read_shape(v, path, t, g->e)) < 0 ||
        (r = check_parameters(v, path, &parameters, g->e)) < 0 ||
        (r = param_uint(parameters, path, "binary_data_size", &size, &blob, g->e)) < 0 ||
        (r = param_base64(parameters, path, &base64, g->e)) < 0)
        return r;
    if (!berth_json_string(berth_json_get(v, "datatype"), &dtype) ||
        !berth_dtype_parse(dtype, &t->dtype))
        return berth_v2_dtype_unknown(g->e, path, dtype);
    for (size_t k = 0; k < i; k++) {
        if (strcmp(g->ret->inputs[k].name, t->name) == 0)
            return berth_err_set(g->e, BERTH_EINVAL, "%sname: '%s' is there twice", path, t->name);
    }
    if ((r = param_shm(g->arena, parameters, path, &shm, g->e)) < 0)
        return r;
    if (shm.region != NULL && (blob || data != NULL))
        return berth_err_set(g->e, BERTH_EINVAL,
                             "%sdata: give either data or parameters.shared_memory_region", path);
    if (shm.region != NULL)
        return berth_v2_shm_input(g->arena, g->ret, i, g->input_room, &shm, g->e);
    if (blob == (data != NULL))
        return berth_err_set(g->e, BERTH_EINVAL,
                             "%sdata: give either data or parameters.binary_data_size", path);
    if (!blob) {
        const struct berth_tensor_read how = {
            .path = where, .base64 = base64, .allow_nan = g->ret->allow_nan};
        return berth_tensor_read_json(t, g->arena, data, &how, g->e);
    }
    if ((r = take_blob(g, path, size, t)) < 0)
        return r;
    put_path(where, "inputs", i, "");
    return berth_tensor_check_bytes(t, where, g->e);
}

/* People know their inputs by name rather than by place: a message has both. */
int
berth_v2_name_in_error(int r, const char *name, struct berth_err *e)
{
    char quoted[96];

    if (r >= 0 || name == NULL)
        return r;
    (void)snprintf(quoted, sizeof quoted, "'%.80s'", name);
    if (strstr(e->msg, quoted) == NULL) {
        const size_t len = strlen(e->msg);
        (void)snprintf(e->msg + len, sizeof e->msg - len, " (input %s)", quoted);
    }
    return r;
}

static int
read_input(struct reading *g, const struct berth_json *v, size_t i)
{
    const int r = read_input_fields(g, v, i);

    return berth_v2_name_in_error(r, g->ret->inputs[i].name, g->e);
}

/* ---- outputs ---- */

static int
read_output(struct reading *g, const struct berth_json *v, size_t i)
{
    struct berth_v2_output *o = &g->ret->outputs[i];
    const struct berth_json *parameters;
    char path[PATH_MAX_BYTES];
    uint64_t classes = 0;
    bool there;
    int r;

    put_path(path, "outputs", i, ".");
    o->binary = g->ret->binary;
    if ((r = read_name(v, path, &o->name, g->e)) < 0 ||
        (r = check_parameters(v, path, &parameters, g->e)) < 0 ||
        (r = param_bool(parameters, path, "binary_data", &o->binary, g->e)) < 0 ||
        (r = param_base64(parameters, path, &o->base64, g->e)) < 0 ||
        (r = param_shm(g->arena, parameters, path, &o->shm, g->e)) < 0 ||
        (r = param_uint(parameters, path, "classification", &classes, &there, g->e)) < 0)
        return r;
    if (there && (classes == 0 || classes > BERTH_V2_CLASSES_MAX))
        return berth_err_set(g->e, BERTH_EINVAL, "%sparameters.classification: must be 1 to %d",
                             path, BERTH_V2_CLASSES_MAX);
    o->classes = (uint32_t)classes;
    for (size_t k = 0; k < i; k++) {
        if (strcmp(g->ret->outputs[k].name, o->name) == 0)
            return berth_err_set(g->e, BERTH_EINVAL, "%sname: '%s' is there twice", path, o->name);
    }
    g->ret->wanted[i] = o->name;
    return 0;
}

static int
read_tensors(struct reading *g, const struct berth_json *body)
{
    const struct berth_json *inputs = berth_json_get(body, "inputs");
    const struct berth_json *outputs = berth_json_get(body, "outputs");
    const size_t n = berth_json_len(inputs), m = berth_json_len(outputs);
    int r = 0;

    if (berth_json_type(inputs) != BERTH_JSON_ARRAY || n > BERTH_V2_TENSORS_MAX)
        return berth_err_set(g->e, BERTH_EINVAL, "inputs: must be an array of at most %d tensors",
                             BERTH_V2_TENSORS_MAX);
    if (berth_json_type(outputs) != BERTH_JSON_NULL &&
        (berth_json_type(outputs) != BERTH_JSON_ARRAY || m > BERTH_V2_TENSORS_MAX))
        return berth_err_set(g->e, BERTH_EINVAL, "outputs: must be an array of at most %d outputs",
                             BERTH_V2_TENSORS_MAX);
    g->input_room = n;
    g->ret->inputs = BERTH_NEW_N(g->arena, struct berth_tensor, n);
    g->ret->outputs = BERTH_NEW_N(g->arena, struct berth_v2_output, m);
    g->ret->wanted = BERTH_NEW_N(g->arena, const char *, m);
    if (g->ret->inputs == NULL || g->ret->outputs == NULL || g->ret->wanted == NULL)
        return no_memory(g->e);
    for (struct berth_json_iter it = berth_json_iter(inputs); r == 0 && berth_json_next(&it);)
        r = read_input(g, it.value, it.index);
    for (struct berth_json_iter it = berth_json_iter(outputs); r == 0 && berth_json_next(&it);)
        r = read_output(g, it.value, it.index);
    g->ret->input_count = n;
    g->ret->output_count = m;
    return r;
}

/* ---- raw requests: the whole body is the one input's data ---- */

static int
deduce_shape(struct berth_tensor *t, const struct berth_describe *d, struct berth_err *e)
{
    const struct berth_tensor_spec *spec = &d->inputs[0];
    const size_t width = berth_dtype_width(spec->dtype);
    size_t known = width, rest;
    uint32_t open = spec->rank;

    t->rank = spec->rank;
    for (uint32_t i = 0; i < spec->rank; i++) {
        t->shape[i] = spec->shape[i];
        if (i == 0 && t->shape[0] < 0 && d->batch_rows_max != 0 && spec->rank > 1) {
            t->shape[0] = 1; /* one row of a batch */
        } else if (t->shape[i] < 0) {
            if (open < spec->rank)
                return berth_err_set(e, BERTH_EINVAL,
                                     "input '%s' has several dimensions that vary; send its shape "
                                     "in a JSON header",
                                     spec->name);
            open = i;
        }
        if (i != open && !berth_mul(known, (size_t)t->shape[i], &known))
            known = 0;
    }
    rest = known > 0 ? t->size % known : t->size;
    if (open < spec->rank && known > 0 && rest == 0)
        t->shape[open] = (int64_t)(t->size / known);
    if (rest != 0 || (open == spec->rank && t->size != known))
        return berth_err_set(e, BERTH_EINVAL,
                             "the body has %zu bytes, which do not fill input '%s'", t->size,
                             spec->name);
    return 0;
}

static int
read_raw(struct reading *g, const struct berth_describe *d)
{
    struct berth_tensor *t = BERTH_NEW(g->arena, struct berth_tensor);
    size_t count;

    if (d == NULL || d->input_count != 1)
        return berth_err_set(g->e, BERTH_EINVAL,
                             "a body without a JSON header is for models with exactly one input");
    if (t == NULL)
        return no_memory(g->e);
    g->ret->inputs = t;
    g->ret->input_count = 1;
    g->ret->binary = true;
    t->name = d->inputs[0].name;
    t->dtype = d->inputs[0].dtype;
    if (t->dtype != BERTH_BYTES) {
        t->bytes = g->blobs.len > 0 ? g->blobs.at : NULL; /* the body is aligned */
        t->size = g->blobs.len;
        return deduce_shape(t, d, g->e);
    }
    t->rank = d->inputs[0].rank;
    for (uint32_t i = 0; i < t->rank; i++)
        t->shape[i] = d->inputs[0].shape[i] < 0 ? 1 : d->inputs[0].shape[i];
    if (!berth_shape_count(t->shape, t->rank, &count) || count != 1 || g->blobs.len > UINT32_MAX)
        return berth_err_set(g->e, BERTH_EINVAL,
                             "a body without a JSON header can be one BYTES element only");
    const uint32_t len = (uint32_t)g->blobs.len;
    char *at = berth_arena_alloc_raw(g->arena, sizeof len + g->blobs.len);
    if (at == NULL)
        return no_memory(g->e);
    memcpy(at, &len, sizeof len);
    if (len > 0)
        memcpy(at + sizeof len, g->blobs.at, len);
    t->bytes = at;
    t->size = sizeof len + len;
    return 0;
}

int
berth_v2_infer_read(struct berth_arena *a, const struct berth_v2_body *from,
                    struct berth_v2_infer *ret, struct berth_err *e)
{
    const size_t json_len = from->has_header_len ? from->header_len : from->body.len;
    const struct berth_json_parse how = {.allow_nan = true};
    const struct berth_json *body, *parameters, *id;
    struct reading g = {.arena = a, .ret = ret, .e = e};
    uint64_t priority = 0;
    bool there;
    int r;

    *ret = (struct berth_v2_infer){.id = {"", 0}};
    if (json_len > from->body.len)
        return berth_err_set(e, BERTH_EINVAL,
                             "Inference-Header-Content-Length: %zu bytes, but the body has %zu",
                             json_len, from->body.len);
    g.blobs = (struct berth_slice){from->body.at + json_len, from->body.len - json_len};
    if (from->has_header_len && json_len == 0)
        return read_raw(&g, from->describe);
    r = berth_json_parse(a, from->body.at, json_len, &how, &body, e);
    if (r < 0)
        return berth_err_wrap(e, r, "the body is not right JSON");
    if (berth_json_type(body) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL, "the body must be a JSON object, not %s",
                             berth_json_type_name(body));
    if ((r = check_parameters(body, "", &parameters, e)) < 0 ||
        (r = param_bool(parameters, "", "binary_data_output", &ret->binary, e)) < 0 ||
        (r = param_bool(parameters, "", "allow_nan", &ret->allow_nan, e)) < 0 ||
        (r = param_bool(parameters, "", "berth_timing", &ret->timing, e)) < 0 ||
        (r = param_uint(parameters, "", "timeout", &ret->timeout_us, &there, e)) < 0 ||
        (r = param_uint(parameters, "", "priority", &priority, &there, e)) < 0)
        return r;
    ret->priority = priority < UINT32_MAX ? (uint32_t)priority : UINT32_MAX;
    id = berth_json_get(body, "id");
    if (berth_json_type(id) != BERTH_JSON_NULL &&
        (!berth_json_string(id, &ret->id) || ret->id.len > BERTH_V2_ID_MAX))
        return berth_err_set(e, BERTH_EINVAL, "id: must be a string of at most %d bytes",
                             BERTH_V2_ID_MAX);
    if ((r = read_tensors(&g, body)) < 0)
        return r;
    if (g.blobs.len > 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "%zu bytes of the body belong to no input; see binary_data_size",
                             g.blobs.len);
    return 0;
}

/* ---- the answer ---- */

const struct berth_v2_output *
berth_v2_asked_for(const struct berth_v2_infer *asked, const char *name)
{
    for (size_t i = 0; i < asked->output_count; i++) {
        if (strcmp(asked->outputs[i].name, name) == 0)
            return &asked->outputs[i];
    }
    return NULL;
}

/* Does the output go behind the JSON, as bytes? */
static bool
is_binary(const struct berth_v2_answer *from, const struct berth_v2_output *o)
{
    return o != NULL ? o->binary && o->shm.region == NULL : from->asked->binary;
}

static int
put_output(struct berth_jw *w, const struct berth_v2_answer *from, const struct berth_tensor *t,
           struct berth_err *e)
{
    const struct berth_v2_output *o = berth_v2_asked_for(from->asked, t->name);
    const bool in_shm = o != NULL && o->shm.region != NULL;
    const bool binary = is_binary(from, o);
    const bool base64 = !in_shm && t->dtype == BERTH_BYTES && !binary &&
                        ((o != NULL && o->base64) || !berth_tensor_is_text(t));
    int r = 0;

    berth_jw_object(w);
    berth_jw_key(w, "name");
    berth_jw_string(w, t->name);
    berth_jw_key(w, "datatype");
    berth_jw_string(w, berth_dtype_name(t->dtype));
    berth_jw_key(w, "shape");
    berth_jw_array(w);
    for (uint32_t i = 0; i < t->rank; i++)
        berth_jw_int(w, t->shape[i]);
    berth_jw_array_end(w);
    if (binary || base64) {
        berth_jw_key(w, "parameters");
        berth_jw_object(w);
        berth_jw_key(w, binary ? "binary_data_size" : "content_type");
        if (binary)
            berth_jw_uint(w, t->size);
        else
            berth_jw_string(w, "base64");
        berth_jw_object_end(w);
    }
    /* Of one in shared memory nothing more is said: Triton's own client takes any parameters of an
     * output for those of a binary one. */
    if (!in_shm && !binary) {
        const struct berth_tensor_put how = {.allow_nan = from->asked->allow_nan, .base64 = base64};
        berth_jw_key(w, "data");
        r = berth_tensor_put_json(w, t, &how, e);
    }
    berth_jw_object_end(w);
    return r;
}

static void
put_timings(struct berth_jw *w, const struct berth_v2_answer *from)
{
    berth_jw_key(w, "parameters");
    berth_jw_object(w);
    for (size_t i = 0; i < from->timing_count; i++) {
        berth_jw_key(w, from->timings[i].name);
        berth_jw_int(w, from->timings[i].value);
    }
    berth_jw_object_end(w);
}

int
berth_v2_answer_put(struct berth_buf *b, const struct berth_v2_answer *from, size_t *ret_header_len,
                    struct berth_err *e)
{
    struct berth_jw w;
    bool any = false;
    int r = 0;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_key(&w, "model_name");
    berth_jw_string(&w, from->model);
    berth_jw_key(&w, "model_version");
    berth_jw_string(&w, from->version);
    if (from->asked->id.len > 0) {
        berth_jw_key(&w, "id");
        berth_jw_string_n(&w, from->asked->id.at, from->asked->id.len);
    }
    if (from->timing_count > 0)
        put_timings(&w, from);
    berth_jw_key(&w, "outputs");
    berth_jw_array(&w);
    for (size_t i = 0; i < from->output_count && r == 0; i++)
        r = put_output(&w, from, &from->outputs[i], e);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    *ret_header_len = b->len;
    for (size_t i = 0; i < from->output_count && r == 0; i++) {
        const struct berth_v2_output *o = berth_v2_asked_for(from->asked, from->outputs[i].name);
        if (is_binary(from, o)) {
            any = true;
            berth_buf_put(b, from->outputs[i].bytes, from->outputs[i].size);
        }
    }
    if (!any)
        *ret_header_len = 0;
    return r;
}
