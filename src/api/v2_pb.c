#include "api/v2_pb.h"

#include <math.h>
#include <string.h>

#include "api/v2_tensor.h"
#include "base/arena.h"
#include "base/num.h"
#include "base/utf8.h"
#include "wire/json.h"
#include "wire/pb.h"

/* Fields of proto/inference.proto. */
enum {
    REQ_MODEL = 1,
    REQ_VERSION,
    REQ_ID,
    REQ_PARAMETERS,
    REQ_INPUTS,
    REQ_OUTPUTS,
    REQ_RAW = BERTH_V2_PB_RAW
};
enum { IN_NAME = 1, IN_DTYPE, IN_SHAPE, IN_PARAMETERS, IN_CONTENTS };
enum { OUT_NAME = 1, OUT_PARAMETERS };

enum { PATH_BYTES = 48 };

struct reading {
    struct berth_arena *arena;
    struct berth_v2_infer *ret;
    const struct berth_slice *raw; /* raw_input_contents */
    size_t raw_count, raw_used, input_room;
    struct berth_err *e;
};

/* "inputs[7]." by hand, since every tensor comes here. */
static void
put_path(char to[PATH_BYTES], const char *what, size_t i)
{
    char digits[24], *d = digits + sizeof digits;
    const size_t len = strlen(what);

    do
        *--d = (char)('0' + i % 10);
    while ((i /= 10) > 0);
    memcpy(to, what, len);
    to += len;
    *to++ = '[';
    memcpy(to, d, (size_t)(digits + sizeof digits - d));
    to += digits + sizeof digits - d;
    memcpy(to, "].", 3);
}

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
}

static int
damaged(struct berth_err *e, const char *what)
{
    return berth_err_set(e, BERTH_EINVAL, "%s: is no such message of inference.proto", what);
}

/* ---- parameters ---- */

struct param {
    struct berth_slice key;
    struct berth_pb_field choice; /* of InferParameter; number 0: none is set */
};

static bool
read_param(struct berth_slice entry, struct param *ret)
{
    struct berth_pb p = berth_pb_of(entry), inner;
    struct berth_pb_field f;
    *ret = (struct param){.key = {"", 0}};
    while (berth_pb_next(&p, &f)) {
        if (f.type != BERTH_PB_BYTES)
            continue;
        if (f.number == 1)
            ret->key = f.bytes;
        if (f.number != 2)
            continue;
        inner = berth_pb_of(f.bytes);
        while (berth_pb_next(&inner, &ret->choice))
            ;
        if (inner.bad)
            return false;
    }
    return !p.bad;
}

/* bool_param 1, int64_param 2, uint64_param 5 */
static int
param_uint(const struct param *p, const char *path, uint64_t *ret, struct berth_err *e)
{
    const struct berth_pb_field *f = &p->choice;

    if (f->type != BERTH_PB_VARINT || (f->number != 2 && f->number != 5) ||
        (f->number == 2 && f->value > INT64_MAX))
        return berth_err_set(e, BERTH_EINVAL,
                             "%sparameters.%.*s: must be a whole number, at least 0", path,
                             (int)(p->key.len < 64 ? p->key.len : 64), p->key.at);
    *ret = f->value;
    return 0;
}

static int
param_bool(const struct param *p, const char *path, bool *ret, struct berth_err *e)
{
    if (p->choice.number != 1 || p->choice.type != BERTH_PB_VARINT)
        return berth_err_set(e, BERTH_EINVAL, "%sparameters.%.*s: must be true or false", path,
                             (int)(p->key.len < 64 ? p->key.len : 64), p->key.at);
    *ret = p->choice.value != 0;
    return 0;
}

/* shared_memory_region, _byte_size or _offset; any other is left alone. */
static int
shm_param(struct reading *g, const struct param *p, const char *path, struct berth_shm_span *ret)
{
    const struct berth_slice s = p->choice.bytes;

    if (berth_slice_is(p->key, "shared_memory_byte_size"))
        return param_uint(p, path, &ret->size, g->e);
    if (berth_slice_is(p->key, "shared_memory_offset"))
        return param_uint(p, path, &ret->offset, g->e);
    if (!berth_slice_is(p->key, "shared_memory_region"))
        return 0;
    if (p->choice.number != 3 || p->choice.type != BERTH_PB_BYTES || s.len == 0)
        return berth_err_set(g->e, BERTH_EINVAL,
                             "%sparameters.shared_memory_region: must be a region's name", path);
    ret->region = berth_arena_strndup(g->arena, s.at, s.len);
    return ret->region != NULL ? 0 : no_memory(g->e);
}

static int
request_param(struct reading *g, struct berth_slice entry)
{
    struct param p;
    uint64_t n = 0;
    int r = 0;

    if (!read_param(entry, &p))
        return damaged(g->e, "parameters");
    if (berth_slice_is(p.key, "timeout"))
        return param_uint(&p, "", &g->ret->timeout_us, g->e);
    if (berth_slice_is(p.key, "priority")) {
        r = param_uint(&p, "", &n, g->e);
        g->ret->priority = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    } else if (berth_slice_is(p.key, "berth_timing")) {
        r = param_bool(&p, "", &g->ret->timing, g->e);
    } else if (berth_slice_is(p.key, "triton_enable_empty_final_response")) {
        r = param_bool(&p, "", &g->ret->final_empty, g->e);
    }
    return r;
}

static void
put_choice(struct berth_jw *w, const struct berth_pb_field *f)
{
    double real;

    switch (f->number) {
    case 1:
        berth_jw_bool(w, f->value != 0);
        break;
    case 2:
        berth_jw_int(w, (int64_t)f->value);
        break;
    case 3:
        berth_jw_string_n(w, f->bytes.at, f->bytes.len);
        break;
    case 4:
        memcpy(&real, &f->value, sizeof real);
        if (isfinite(real))
            berth_jw_double(w, real);
        else
            berth_jw_null(w);
        break;
    case 5:
        berth_jw_uint(w, f->value);
        break;
    default:
        berth_jw_null(w);
        break;
    }
}

int
berth_v2_pb_parameters(struct berth_buf *b, struct berth_slice message, struct berth_err *e)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f;
    struct berth_jw w;
    struct param param;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    while (berth_pb_next(&p, &f)) {
        if (f.number != REQ_PARAMETERS || f.type != BERTH_PB_BYTES)
            continue;
        if (!read_param(f.bytes, &param))
            return damaged(e, "parameters");
        const uint32_t n = param.choice.number;
        if (n == 0 || n > 5)
            continue;
        if (param.choice.type != (n == 3   ? BERTH_PB_BYTES
                                  : n == 4 ? BERTH_PB_FIXED64
                                           : BERTH_PB_VARINT) ||
            !berth_utf8_valid(param.key.at, param.key.len) ||
            (n == 3 && !berth_utf8_valid(param.choice.bytes.at, param.choice.bytes.len)))
            return damaged(e, "parameters");
        berth_jw_key_n(&w, param.key.at, param.key.len);
        put_choice(&w, &param.choice);
    }
    berth_jw_object_end(&w);
    return p.bad ? damaged(e, "ModelInferRequest") : 0;
}

/* ---- inputs ---- */

/* A name as the core has it: NUL-ended. */
static int
read_name(struct reading *g, struct berth_slice s, const char *path, const char **ret)
{
    if (s.len == 0 || memchr(s.at, '\0', s.len) != NULL || !berth_utf8_valid(s.at, s.len))
        return berth_err_set(g->e, BERTH_EINVAL, "%sname: must be a string that is not empty",
                             path);
    *ret = berth_arena_strndup(g->arena, s.at, s.len);
    return *ret != NULL ? 0 : no_memory(g->e);
}

static int
read_shape(struct reading *g, struct berth_pb_field f, const char *path, struct berth_tensor *t)
{
    uint64_t n;
    bool bad = false;

    while (berth_pb_number(&f, BERTH_PB_VARINT, &n, &bad)) {
        if (t->rank == BERTH_RANK_MAX)
            return berth_err_set(g->e, BERTH_EINVAL, "%sshape: must have at most %u dimensions",
                                 path, BERTH_RANK_MAX);
        if (n > INT64_MAX)
            return berth_err_set(g->e, BERTH_EINVAL, "%sshape[%u]: must not be negative", path,
                                 t->rank);
        t->shape[t->rank++] = (int64_t)n;
    }
    return bad ? damaged(g->e, path) : 0;
}

/* How InferTensorContents has the elements of a datatype. */
static const struct {
    uint32_t field;
    enum berth_pb_type form;
    int64_t min, max; /* of a signed one */
    uint64_t umax;    /* of an unsigned one */
    const char *name;
} kinds[BERTH_DTYPE_COUNT] = {
    [BERTH_BOOL] = {1, BERTH_PB_VARINT, 0, 0, UINT64_MAX, "bool_contents"},
    [BERTH_INT8] = {2, BERTH_PB_VARINT, INT8_MIN, INT8_MAX, 0, "int_contents"},
    [BERTH_INT16] = {2, BERTH_PB_VARINT, INT16_MIN, INT16_MAX, 0, "int_contents"},
    [BERTH_INT32] = {2, BERTH_PB_VARINT, INT32_MIN, INT32_MAX, 0, "int_contents"},
    [BERTH_INT64] = {3, BERTH_PB_VARINT, INT64_MIN, INT64_MAX, 0, "int64_contents"},
    [BERTH_UINT8] = {4, BERTH_PB_VARINT, 0, 0, UINT8_MAX, "uint_contents"},
    [BERTH_UINT16] = {4, BERTH_PB_VARINT, 0, 0, UINT16_MAX, "uint_contents"},
    [BERTH_UINT32] = {4, BERTH_PB_VARINT, 0, 0, UINT32_MAX, "uint_contents"},
    [BERTH_UINT64] = {5, BERTH_PB_VARINT, 0, 0, UINT64_MAX, "uint64_contents"},
    [BERTH_FP32] = {6, BERTH_PB_FIXED32, 0, 0, UINT64_MAX, "fp32_contents"},
    [BERTH_FP64] = {7, BERTH_PB_FIXED64, 0, 0, UINT64_MAX, "fp64_contents"},
    [BERTH_BYTES] = {8, BERTH_PB_BYTES, 0, 0, 0, "bytes_contents"},
};

static int
take_numbers(struct reading *g, const char *path, struct berth_pb_field f, struct berth_tensor *t,
             struct berth_buf *b)
{
    const enum berth_dtype d = t->dtype;
    const size_t width = berth_dtype_width(d);
    uint64_t n;
    bool bad = false;

    if (f.type == BERTH_PB_BYTES && kinds[d].form != BERTH_PB_VARINT) {
        berth_buf_put(b, f.bytes.at, f.bytes.len); /* packed as a tensor is */
        return f.bytes.len % width == 0 ? 0 : damaged(g->e, path);
    }
    while (berth_pb_number(&f, kinds[d].form, &n, &bad)) {
        const int64_t i = (int64_t)n;
        if (kinds[d].umax > 0 ? n > kinds[d].umax : i < kinds[d].min || i > kinds[d].max)
            return berth_err_set(g->e, BERTH_EINVAL, "%scontents.%s[%zu]: does not fit %s", path,
                                 kinds[d].name, b->len / width, berth_dtype_name(d));
        if (d == BERTH_BOOL)
            n = n != 0;
        berth_buf_put(b, &n, width); /* little-endian: the low bytes come first */
    }
    return bad ? damaged(g->e, path) : 0;
}

static int
read_contents(struct reading *g, const char *path, struct berth_slice contents,
              struct berth_tensor *t)
{
    struct berth_pb p = berth_pb_of(contents);
    struct berth_pb_field f;
    struct berth_buf b;
    int r = 0;

    berth_buf_init(&b, g->arena);
    while (r == 0 && berth_pb_next(&p, &f)) {
        if (f.number != kinds[t->dtype].field) {
            if (f.number <= 8)
                return berth_err_set(g->e, BERTH_EINVAL, "%scontents: datatype %s is sent %s%s",
                                     path, berth_dtype_name(t->dtype),
                                     kinds[t->dtype].field != 0 ? "in " : "raw",
                                     kinds[t->dtype].field != 0 ? kinds[t->dtype].name : " only");
            continue;
        }
        if (t->dtype != BERTH_BYTES) {
            r = take_numbers(g, path, f, t, &b);
        } else if (f.type != BERTH_PB_BYTES || f.bytes.len > UINT32_MAX) {
            r = damaged(g->e, path);
        } else {
            const uint32_t len = (uint32_t)f.bytes.len;
            berth_buf_put(&b, &len, sizeof len);
            berth_buf_put(&b, f.bytes.at, f.bytes.len);
        }
    }
    if (r == 0 && p.bad)
        r = damaged(g->e, path);
    if (r == 0 && b.failed)
        r = no_memory(g->e);
    t->bytes = b.at;
    t->size = b.len;
    return r;
}

/* The next raw tensor; copied only when a backend could not read it where it lies. */
static int
take_raw(struct reading *g, const char *path, struct berth_tensor *t)
{
    if (g->raw_used == g->raw_count)
        return berth_err_set(g->e, BERTH_EINVAL,
                             "raw_input_contents: has %zu tensors, but %snone is left for it",
                             g->raw_count, path);
    const struct berth_slice s = g->raw[g->raw_used++];
    t->size = s.len;
    t->bytes = s.len > 0 ? s.at : NULL;
    if (s.len > 0 && (uintptr_t)s.at % 8 != 0) {
        void *copy = berth_arena_alloc_raw(g->arena, s.len);
        if (copy == NULL)
            return no_memory(g->e);
        t->bytes = memcpy(copy, s.at, s.len);
    }
    return 0;
}

/* Where the elements are: in shared memory, among the raw ones, or in contents (at NULL: none). */
static int
read_elements(struct reading *g, size_t i, const struct berth_shm_span *shm,
              struct berth_slice contents)
{
    struct berth_tensor *t = &g->ret->inputs[i];
    char path[PATH_BYTES];
    int r;

    put_path(path, "inputs", i);
    if (shm->region != NULL) {
        if (contents.len > 0)
            return berth_err_set(g->e, BERTH_EINVAL,
                                 "%scontents: give either contents or shared_memory_region", path);
        return berth_v2_shm_input(g->arena, g->ret, i, g->input_room, shm, g->e);
    }
    if (g->raw_count == 0) {
        g->ret->typed |= contents.at != NULL;
        r = read_contents(g, path, contents.at != NULL ? contents : (struct berth_slice){"", 0}, t);
    } else if (contents.len > 0) {
        r = berth_err_set(g->e, BERTH_EINVAL,
                          "%scontents: give either contents or raw_input_contents, not both", path);
    } else {
        r = take_raw(g, path, t);
    }
    path[strlen(path) - 1] = '\0';
    return r < 0 ? r : berth_tensor_check_bytes(t, path, g->e);
}

static int
read_input_fields(struct reading *g, struct berth_slice input, size_t i)
{
    struct berth_tensor *t = &g->ret->inputs[i];
    struct berth_pb p = berth_pb_of(input);
    struct berth_pb_field f;
    struct berth_slice dtype = {"", 0}, contents = {NULL, 0}, name = {"", 0};
    struct berth_shm_span shm = {.region = NULL};
    struct param param;
    char path[PATH_BYTES];
    int r = 0;

    put_path(path, "inputs", i);
    while (r == 0 && berth_pb_next(&p, &f)) {
        if (f.number == IN_SHAPE)
            r = read_shape(g, f, path, t);
        if (f.type != BERTH_PB_BYTES)
            continue;
        if (f.number == IN_NAME)
            name = f.bytes;
        else if (f.number == IN_DTYPE)
            dtype = f.bytes;
        else if (f.number == IN_CONTENTS)
            contents = f.bytes;
        else if (f.number == IN_PARAMETERS && read_param(f.bytes, &param))
            r = shm_param(g, &param, path, &shm);
        else if (f.number == IN_PARAMETERS)
            r = damaged(g->e, path);
    }
    if (r < 0 || (p.bad && (r = damaged(g->e, path)) < 0) ||
        (r = read_name(g, name, path, &t->name)) < 0)
        return r;
    if (!berth_dtype_parse(dtype, &t->dtype))
        return berth_v2_dtype_unknown(g->e, path, dtype);
    for (size_t k = 0; k < i; k++) {
        if (strcmp(g->ret->inputs[k].name, t->name) == 0)
            return berth_err_set(g->e, BERTH_EINVAL, "%sname: '%s' is there twice", path, t->name);
    }
    return read_elements(g, i, &shm, contents);
}

/* ---- outputs ---- */

static int
read_output(struct reading *g, struct berth_slice output, size_t i)
{
    struct berth_v2_output *o = &g->ret->outputs[i];
    struct berth_pb p = berth_pb_of(output);
    struct berth_pb_field f;
    struct berth_slice name = {"", 0};
    struct param param;
    uint64_t classes = 0;
    char path[PATH_BYTES];
    int r = 0;

    put_path(path, "outputs", i);
    while (r == 0 && berth_pb_next(&p, &f)) {
        if (f.type != BERTH_PB_BYTES)
            continue;
        if (f.number == OUT_NAME)
            name = f.bytes;
        if (f.number != OUT_PARAMETERS)
            continue;
        if (!read_param(f.bytes, &param))
            return damaged(g->e, path);
        if (berth_slice_is(param.key, "classification")) {
            r = param_uint(&param, path, &classes, g->e);
            if (r == 0 && (classes == 0 || classes > BERTH_V2_CLASSES_MAX))
                r = berth_err_set(g->e, BERTH_EINVAL,
                                  "%sparameters.classification: must be 1 to %d", path,
                                  BERTH_V2_CLASSES_MAX);
        } else {
            r = shm_param(g, &param, path, &o->shm);
        }
    }
    if (r < 0 || (p.bad && (r = damaged(g->e, path)) < 0) ||
        (r = read_name(g, name, path, &o->name)) < 0)
        return r;
    o->binary = true;
    o->classes = (uint32_t)classes;
    for (size_t k = 0; k < i; k++) {
        if (strcmp(g->ret->outputs[k].name, o->name) == 0)
            return berth_err_set(g->e, BERTH_EINVAL, "%sname: '%s' is there twice", path, o->name);
    }
    g->ret->wanted[i] = o->name;
    return 0;
}

/* ---- the request ---- */

int
berth_v2_pb_model(struct berth_slice message, struct berth_slice *ret_name,
                  struct berth_slice *ret_version, struct berth_err *e)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f;

    *ret_name = *ret_version = (struct berth_slice){"", 0};
    /* Writers put fields in the order of their numbers: the names come first. */
    while (berth_pb_next(&p, &f)) {
        if (f.number == REQ_MODEL && f.type == BERTH_PB_BYTES)
            *ret_name = f.bytes;
        else if (f.number == REQ_VERSION && f.type == BERTH_PB_BYTES)
            *ret_version = f.bytes;
    }
    return p.bad ? damaged(e, "ModelInferRequest") : 0;
}

struct counts {
    size_t inputs, outputs, raw;
    const char *raw_at; /* where the first raw field begins */
};

/* How many there are of each; and what is needed before the tensors are read. */
static int
read_head(struct reading *g, struct berth_slice message, struct counts *ret)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f;
    const char *at = p.at;
    int r = 0;

    for (; r == 0 && berth_pb_next(&p, &f); at = p.at) {
        if (f.type != BERTH_PB_BYTES)
            continue;
        if (f.number == REQ_RAW && ret->raw++ == 0)
            ret->raw_at = at;
        ret->inputs += f.number == REQ_INPUTS;
        ret->outputs += f.number == REQ_OUTPUTS;
        if (f.number == REQ_ID)
            g->ret->id = f.bytes;
        else if (f.number == REQ_PARAMETERS)
            r = request_param(g, f.bytes);
    }
    if (r < 0)
        return r;
    if (p.bad)
        return damaged(g->e, "ModelInferRequest");
    if (ret->inputs > BERTH_V2_TENSORS_MAX || ret->outputs > BERTH_V2_TENSORS_MAX ||
        ret->raw > BERTH_V2_TENSORS_MAX)
        return berth_err_set(g->e, BERTH_EINVAL, "inputs: must be at most %d tensors",
                             BERTH_V2_TENSORS_MAX);
    if (g->ret->id.len > BERTH_V2_ID_MAX)
        return berth_err_set(g->e, BERTH_EINVAL, "id: must be a string of at most %d bytes",
                             BERTH_V2_ID_MAX);
    return 0;
}

static int
make_room(struct reading *g, const struct counts *n, struct berth_slice **ret_raw)
{
    g->input_room = n->inputs;
    g->ret->inputs = BERTH_NEW_N(g->arena, struct berth_tensor, n->inputs);
    g->ret->outputs = BERTH_NEW_N(g->arena, struct berth_v2_output, n->outputs);
    g->ret->wanted = BERTH_NEW_N(g->arena, const char *, n->outputs);
    *ret_raw = BERTH_NEW_N(g->arena, struct berth_slice, n->raw);
    g->raw = *ret_raw;
    return g->ret->inputs == NULL || g->ret->outputs == NULL || g->ret->wanted == NULL ||
                   g->raw == NULL
               ? no_memory(g->e)
               : 0;
}

/* Raw contents, which come behind the inputs that they are of. */
static void
collect_raw(struct reading *g, struct berth_slice message, const struct counts *n,
            struct berth_slice *raw)
{
    struct berth_pb p = {n->raw_at, message.at + message.len, false};
    struct berth_pb_field f;

    while (g->raw_count < n->raw && berth_pb_next(&p, &f)) {
        if (f.number == REQ_RAW && f.type == BERTH_PB_BYTES)
            raw[g->raw_count++] = f.bytes;
    }
}

int
berth_v2_pb_read(struct berth_arena *a, struct berth_slice message, struct berth_v2_infer *ret,
                 struct berth_err *e)
{
    struct reading g = {.arena = a, .ret = ret, .e = e};
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f;
    struct counts n = {0};
    struct berth_slice *raw;
    int r;

    *ret = (struct berth_v2_infer){.id = {"", 0}, .binary = true, .allow_nan = true};
    if ((r = read_head(&g, message, &n)) < 0 || (r = make_room(&g, &n, &raw)) < 0)
        return r;
    if (n.raw > 0)
        collect_raw(&g, message, &n, raw);
    while (r == 0 && berth_pb_next(&p, &f)) {
        if (f.type != BERTH_PB_BYTES)
            continue;
        if (f.number == REQ_INPUTS) {
            r = read_input_fields(&g, f.bytes, ret->input_count);
            r = berth_v2_name_in_error(r, ret->inputs[ret->input_count].name, e);
            ret->input_count += r == 0;
        }
        if (f.number == REQ_OUTPUTS && (r = read_output(&g, f.bytes, ret->output_count)) == 0)
            ret->output_count++;
    }
    if (r == 0 && g.raw_used < g.raw_count)
        r = berth_err_set(e, BERTH_EINVAL,
                          "raw_input_contents: has %zu tensors, but the request has %zu inputs%s",
                          g.raw_count, g.raw_used,
                          ret->shm != NULL ? " that are not in shared memory" : "");
    return r;
}
