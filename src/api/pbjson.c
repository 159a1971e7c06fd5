#include "api/pbjson.h"

#include <math.h>
#include <string.h>

#include "api/proto_sets.h"
#include "wire/base64.h"
#include "wire/pb.h"

/* google.protobuf.FieldDescriptorProto's types and labels, as far as our files have them. */
enum {
    TYPE_DOUBLE = 1,
    TYPE_FLOAT = 2,
    TYPE_INT64 = 3,
    TYPE_UINT64 = 4,
    TYPE_INT32 = 5,
    TYPE_BOOL = 8,
    TYPE_STRING = 9,
    TYPE_MESSAGE = 11,
    TYPE_BYTES = 12,
    TYPE_UINT32 = 13,
    LABEL_REPEATED = 3,
};

/* google.protobuf.Value's fields; Struct and ListValue have their members as field 1. */
enum {
    VALUE_NULL = 1,
    VALUE_NUMBER = 2,
    VALUE_STRING = 3,
    VALUE_BOOL = 4,
    VALUE_STRUCT = 5,
    VALUE_LIST = 6,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
};

struct field {
    struct berth_slice name, type_name;
    uint32_t number, type;
    bool repeated;
};

static struct field
field_of(struct berth_slice descriptor)
{
    struct berth_pb p = berth_pb_of(descriptor);
    struct field f = {.name = BERTH_SLICE(""), .type_name = BERTH_SLICE("")};
    struct berth_pb_field at;

    while (berth_pb_next(&p, &at)) {
        if (at.number == BERTH_NAME)
            f.name = at.bytes;
        else if (at.number == BERTH_FIELD_NUMBER)
            f.number = (uint32_t)at.value;
        else if (at.number == BERTH_FIELD_LABEL)
            f.repeated = at.value == LABEL_REPEATED;
        else if (at.number == BERTH_FIELD_TYPE)
            f.type = (uint32_t)at.value;
        else if (at.number == BERTH_FIELD_TYPE_NAME)
            f.type_name = at.bytes;
    }
    return f;
}

static bool
is_value(const struct field *f)
{
    return berth_slice_is(f->type_name, ".google.protobuf.Value");
}

static bool
is_struct(const struct field *f)
{
    return berth_slice_is(f->type_name, ".google.protobuf.Struct");
}

/* ---- from a message to JSON ---- */

static int
damaged(struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL, "the message is damaged");
}

static int
too_deep(struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL, "is deeper than %d levels", BERTH_PBJSON_DEPTH_MAX);
}

static double
real_of(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static double
single_of(uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    float x;

    memcpy(&x, &low, sizeof x);
    return x;
}

/* Whole numbers are written as such: JSON's readers tell 1 from 1.0. */
static void
put_number(struct berth_jw *w, double x)
{
    const double exact = 9007199254740992.0; /* 2^53: every whole number below is itself */

    if (x >= -exact && x <= exact && x == (double)(int64_t)x) /* NOLINT: meant to be equal */
        berth_jw_int(w, (int64_t)x);
    else
        berth_jw_double(w, x);
}

static int read_value(struct berth_jw *w, struct berth_slice message, unsigned depth,
                      struct berth_err *e);

static int
read_list(struct berth_jw *w, struct berth_slice message, unsigned depth, struct berth_err *e)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f;
    int r = 0;

    berth_jw_array(w);
    while (r == 0 && berth_pb_next(&p, &f))
        if (f.number == 1 && f.type == BERTH_PB_BYTES)
            r = read_value(w, f.bytes, depth, e);
    berth_jw_array_end(w);
    return p.bad ? damaged(e) : r;
}

static int
read_struct(struct berth_jw *w, struct berth_slice message, unsigned depth, struct berth_err *e)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f;
    int r = 0;

    berth_jw_object(w);
    while (r == 0 && berth_pb_next(&p, &f)) {
        if (f.number != 1 || f.type != BERTH_PB_BYTES)
            continue;
        const struct berth_slice key = berth_proto_bytes(f.bytes, ENTRY_KEY);
        berth_jw_key_n(w, key.at, key.len);
        r = read_value(w, berth_proto_bytes(f.bytes, ENTRY_VALUE), depth, e);
    }
    berth_jw_object_end(w);
    return p.bad ? damaged(e) : r;
}

static int
read_value(struct berth_jw *w, struct berth_slice message, unsigned depth, struct berth_err *e)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f, last = {.number = VALUE_NULL};

    if (depth >= BERTH_PBJSON_DEPTH_MAX)
        return too_deep(e);
    while (berth_pb_next(&p, &f))
        last = f; /* of a oneof the last one counts */
    if (p.bad)
        return damaged(e);
    if (last.number == VALUE_NUMBER && last.type == BERTH_PB_FIXED64)
        put_number(w, real_of(last.value));
    else if (last.number == VALUE_STRING && last.type == BERTH_PB_BYTES)
        berth_jw_string_n(w, last.bytes.at, last.bytes.len);
    else if (last.number == VALUE_BOOL && last.type == BERTH_PB_VARINT)
        berth_jw_bool(w, last.value != 0);
    else if (last.number == VALUE_STRUCT && last.type == BERTH_PB_BYTES)
        return read_struct(w, last.bytes, depth + 1, e);
    else if (last.number == VALUE_LIST && last.type == BERTH_PB_BYTES)
        return read_list(w, last.bytes, depth + 1, e);
    else
        berth_jw_null(w);
    return 0;
}

static int
read_bytes(struct berth_jw *w, struct berth_slice bytes, struct berth_err *e)
{
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    berth_base64_put(&b, bytes.at, bytes.len);
    berth_jw_object(w);
    berth_jw_key(w, "type");
    berth_jw_string(w, "Binary");
    berth_jw_key(w, "data");
    berth_jw_string_n(w, b.len > 0 ? b.at : "", b.failed ? 0 : b.len);
    berth_jw_object_end(w);
    const bool failed = b.failed;
    berth_buf_fini(&b);
    return failed ? berth_err_set(e, BERTH_ENOMEM, "out of memory") : 0;
}

static int read_members(struct berth_jw *w, struct berth_slice descriptor,
                        struct berth_slice message, unsigned depth, struct berth_err *e);

static int
read_one(struct berth_jw *w, const struct field *f, const struct berth_pb_field *at, unsigned depth,
         struct berth_err *e)
{
    static const enum berth_pb_type forms[] = {
        [TYPE_DOUBLE] = BERTH_PB_FIXED64, [TYPE_FLOAT] = BERTH_PB_FIXED32,
        [TYPE_STRING] = BERTH_PB_BYTES,   [TYPE_MESSAGE] = BERTH_PB_BYTES,
        [TYPE_BYTES] = BERTH_PB_BYTES,    [TYPE_UINT32] = BERTH_PB_VARINT};
    int r = 0;

    if (f->type > TYPE_UINT32 || forms[f->type] != at->type)
        return damaged(e);
    switch (f->type) {
    case TYPE_DOUBLE:
        put_number(w, real_of(at->value));
        break;
    case TYPE_FLOAT:
        berth_jw_float(w, (float)single_of(at->value));
        break;
    case TYPE_INT32:
    case TYPE_INT64:
        berth_jw_int(w, (int64_t)at->value);
        break;
    case TYPE_BOOL:
        berth_jw_bool(w, at->value != 0);
        break;
    case TYPE_STRING:
        berth_jw_string_n(w, at->bytes.at, at->bytes.len);
        break;
    case TYPE_BYTES:
        r = read_bytes(w, at->bytes, e);
        break;
    case TYPE_MESSAGE:
        if (is_value(f))
            return read_value(w, at->bytes, depth, e);
        if (is_struct(f))
            return read_struct(w, at->bytes, depth, e);
        berth_jw_object(w);
        r = read_members(w, berth_proto_message(f->type_name), at->bytes, depth + 1, e);
        berth_jw_object_end(w);
        break;
    default:
        berth_jw_uint(w, at->value);
    }
    return r;
}

/* One member: the last one of its number, or all of a repeated one. */
static int
read_field(struct berth_jw *w, const struct field *f, struct berth_slice message, unsigned depth,
           struct berth_err *e)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field at, last = {0};
    bool any = false;
    int r = 0;

    while (r == 0 && berth_pb_next(&p, &at)) {
        if (at.number != f->number)
            continue;
        if (f->repeated && !any) {
            berth_jw_key_n(w, f->name.at, f->name.len);
            berth_jw_array(w);
        }
        any = true;
        last = at;
        if (f->repeated)
            r = read_one(w, f, &at, depth, e);
    }
    if (any && f->repeated) {
        berth_jw_array_end(w);
    } else if (any) {
        berth_jw_key_n(w, f->name.at, f->name.len);
        r = read_one(w, f, &last, depth, e);
    }
    if (p.bad)
        r = damaged(e);
    return r < 0 ? berth_err_wrap(e, r, "%.*s", (int)f->name.len, f->name.at) : 0;
}

static int
read_members(struct berth_jw *w, struct berth_slice descriptor, struct berth_slice message,
             unsigned depth, struct berth_err *e)
{
    struct berth_pb p = berth_pb_of(descriptor);
    struct berth_pb_field at;
    int r = 0;

    if (depth >= BERTH_PBJSON_DEPTH_MAX)
        return too_deep(e);
    while (r == 0 && berth_pb_next(&p, &at)) {
        if (at.number != BERTH_MESSAGE_FIELD || at.type != BERTH_PB_BYTES)
            continue;
        const struct field f = field_of(at.bytes);
        r = read_field(w, &f, message, depth, e);
    }
    return r;
}

int
berth_pbjson_read(struct berth_jw *w, struct berth_slice descriptor, struct berth_slice message,
                  struct berth_err *e)
{
    return read_members(w, descriptor, message, 0, e);
}

/* ---- from JSON to a message ---- */

static void
put_real(struct berth_buf *b, uint32_t number, double x)
{
    berth_pb_put_tag(b, number, BERTH_PB_FIXED64);
    berth_buf_put(b, &x, sizeof x); /* little-endian, as we are */
}

static void put_value(struct berth_buf *b, uint32_t number, const struct berth_json *v);

/* As Struct or ListValue; JSON's own depth bounds it. */
static void
put_many(struct berth_buf *b, uint32_t number, const struct berth_json *v)
{
    const size_t begun = berth_pb_begin(b, number);

    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (berth_json_type(v) == BERTH_JSON_ARRAY) {
            put_value(b, 1, it.value);
            continue;
        }
        const size_t entry = berth_pb_begin(b, 1);
        berth_pb_put_bytes(b, ENTRY_KEY, it.key.at, it.key.len);
        put_value(b, ENTRY_VALUE, it.value);
        berth_pb_end(b, entry);
    }
    berth_pb_end(b, begun);
}

static void
put_value(struct berth_buf *b, uint32_t number, const struct berth_json *v)
{
    const size_t begun = berth_pb_begin(b, number);
    struct berth_slice text;
    double x = 0;
    bool yes = false;

    switch (berth_json_type(v)) {
    case BERTH_JSON_NULL:
        berth_pb_put_uint(b, VALUE_NULL, 0);
        break;
    case BERTH_JSON_BOOL:
        (void)berth_json_bool(v, &yes);
        berth_pb_put_uint(b, VALUE_BOOL, yes);
        break;
    case BERTH_JSON_INT:
    case BERTH_JSON_REAL:
        (void)berth_json_real(v, &x);
        put_real(b, VALUE_NUMBER, x);
        break;
    case BERTH_JSON_STRING:
        if (berth_json_string(v, &text))
            berth_pb_put_bytes(b, VALUE_STRING, text.at, text.len);
        break;
    case BERTH_JSON_ARRAY:
        put_many(b, VALUE_LIST, v);
        break;
    case BERTH_JSON_OBJECT:
        put_many(b, VALUE_STRUCT, v);
        break;
    }
    berth_pb_end(b, begun);
}

static void
put_text(struct berth_buf *b, uint32_t number, const struct berth_json *v)
{
    struct berth_json_iter it = berth_json_iter(v);
    struct berth_slice text;

    if (berth_json_string(v, &text))
        berth_pb_put_bytes(b, number, text.at, text.len);
    else if (berth_json_type(v) == BERTH_JSON_OBJECT && berth_json_next(&it))
        berth_pb_put_bytes(b, number, it.key.at, it.key.len);
}

static void
put_message(struct berth_buf *b, const struct field *f, const struct berth_json *v)
{
    if (is_value(f)) {
        put_value(b, f->number, v);
    } else if (berth_json_type(v) == BERTH_JSON_OBJECT && is_struct(f)) {
        put_many(b, f->number, v);
    } else if (berth_json_type(v) == BERTH_JSON_OBJECT) {
        const size_t begun = berth_pb_begin(b, f->number);
        berth_pbjson_put(b, berth_proto_message(f->type_name), v);
        berth_pb_end(b, begun);
    }
}

static void
put_one(struct berth_buf *b, const struct field *f, const struct berth_json *v)
{
    uint64_t n;
    int64_t i;
    double x;
    bool yes;

    switch (f->type) {
    case TYPE_DOUBLE:
        if (berth_json_real(v, &x))
            put_real(b, f->number, x);
        break;
    case TYPE_BOOL:
        if (berth_json_bool(v, &yes))
            berth_pb_put_uint(b, f->number, yes);
        break;
    case TYPE_UINT32:
    case TYPE_UINT64:
        if (berth_json_uint(v, &n))
            berth_pb_put_uint(b, f->number, n);
        break;
    case TYPE_INT32:
    case TYPE_INT64:
        if (berth_json_int(v, &i))
            berth_pb_put_uint(b, f->number, (uint64_t)i);
        break;
    case TYPE_STRING:
        put_text(b, f->number, v);
        break;
    case TYPE_MESSAGE:
        put_message(b, f, v);
        break;
    default: /* of requests alone */
        break;
    }
}

void
berth_pbjson_put(struct berth_buf *b, struct berth_slice descriptor,
                 const struct berth_json *object)
{
    struct berth_pb p = berth_pb_of(descriptor);
    struct berth_pb_field at;
    char name[64];

    while (berth_pb_next(&p, &at)) {
        if (at.number != BERTH_MESSAGE_FIELD || at.type != BERTH_PB_BYTES)
            continue;
        const struct field f = field_of(at.bytes);
        if (f.name.len >= sizeof name)
            continue;
        memcpy(name, f.name.at, f.name.len);
        name[f.name.len] = '\0';
        const struct berth_json *v = berth_json_get(object, name);
        if (v == NULL)
            continue;
        if (f.repeated) {
            for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);)
                put_one(b, &f, it.value);
        } else {
            put_one(b, &f, v);
        }
    }
}
