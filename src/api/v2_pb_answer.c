#include <string.h>

#include "api/timing.h"
#include "api/v2_pb.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "wire/pb.h"

/* Fields of proto/inference.proto. */
enum { ANS_MODEL = 1, ANS_VERSION, ANS_ID, ANS_PARAMETERS, ANS_OUTPUTS, ANS_RAW };
enum { OUT_NAME = 1, OUT_DTYPE, OUT_SHAPE, OUT_PARAMETERS, OUT_CONTENTS };

/* n elements from `at` as varints, one after the other. */
static void
put_packed(struct berth_buf *b, const struct berth_tensor *t, uint32_t number, size_t width,
           bool is_signed)
{
    const size_t begun = berth_pb_begin(b, number);
    const unsigned char *at = t->bytes;

    for (size_t i = 0; i + width <= t->size && !b->failed; i += width) {
        uint64_t n = 0;
        memcpy(&n, at + i, width);
        if (is_signed && width < sizeof n && (n >> (8 * width - 1)) != 0)
            n |= ~UINT64_C(0) << (8 * width);
        berth_pb_put_varint(b, n);
    }
    berth_pb_end(b, begun);
}

/* FP16 and BF16 have no typed form: they stay raw, whatever the request was like. */
static bool
has_typed_form(enum berth_dtype d)
{
    return d != BERTH_FP16 && d != BERTH_BF16;
}

static void
put_contents(struct berth_buf *b, const struct berth_tensor *t)
{
    const size_t width = berth_dtype_width(t->dtype);
    struct berth_slice s;

    switch (t->dtype) {
    case BERTH_BOOL:
        put_packed(b, t, 1, width, false);
        break;
    case BERTH_INT8:
    case BERTH_INT16:
    case BERTH_INT32:
        put_packed(b, t, 2, width, true);
        break;
    case BERTH_INT64:
        put_packed(b, t, 3, width, true);
        break;
    case BERTH_UINT8:
    case BERTH_UINT16:
    case BERTH_UINT32:
        put_packed(b, t, 4, width, false);
        break;
    case BERTH_UINT64:
        put_packed(b, t, 5, width, false);
        break;
    case BERTH_FP32:
        berth_pb_put_bytes(b, 6, t->bytes, t->size); /* packed as a tensor is */
        break;
    case BERTH_FP64:
        berth_pb_put_bytes(b, 7, t->bytes, t->size);
        break;
    case BERTH_BYTES:
        for (size_t at = 0; berth_bytes_next(t, &at, &s);)
            berth_pb_put_bytes(b, 8, s.at, s.len);
        break;
    case BERTH_FP16:
    case BERTH_BF16:
    case BERTH_DTYPE_COUNT:
        break;
    }
}

static bool
all_typed(const struct berth_v2_answer *from)
{
    bool typed = from->asked->typed;

    for (size_t i = 0; i < from->output_count && typed; i++)
        typed = has_typed_form(from->outputs[i].dtype);
    return typed;
}

/* A parameter, up to its value: end both. */
static void
param_begin(struct berth_buf *b, uint32_t number, const char *name, size_t begun[2])
{
    begun[0] = berth_pb_begin(b, number);
    berth_pb_put_text(b, 1, name);
    begun[1] = berth_pb_begin(b, 2);
}

static void
param_end(struct berth_buf *b, const size_t begun[2])
{
    berth_pb_end(b, begun[1]);
    berth_pb_end(b, begun[0]);
}

static void
put_shm(struct berth_buf *b, const struct berth_shm_span *shm)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"shared_memory_byte_size", shm->size}, {"shared_memory_offset", shm->offset}};
    size_t begun[2];

    param_begin(b, OUT_PARAMETERS, "shared_memory_region", begun);
    berth_pb_put_text(b, 3, shm->region);
    param_end(b, begun);
    for (size_t i = 0; i < (shm->offset > 0 ? 2 : 1); i++) {
        param_begin(b, OUT_PARAMETERS, numbers[i].name, begun);
        berth_pb_put_uint(b, 2, numbers[i].value);
        param_end(b, begun);
    }
}

static bool
in_shm(const struct berth_v2_answer *from, const struct berth_tensor *t)
{
    const struct berth_v2_output *o = berth_v2_asked_for(from->asked, t->name);

    return o != NULL && o->shm.region != NULL;
}

static void
put_output(struct berth_buf *b, const struct berth_v2_answer *from, const struct berth_tensor *t,
           bool typed)
{
    const size_t output = berth_pb_begin(b, ANS_OUTPUTS);
    size_t inner;

    berth_pb_put_text(b, OUT_NAME, t->name);
    berth_pb_put_text(b, OUT_DTYPE, berth_dtype_name(t->dtype));
    if (t->rank > 0) {
        inner = berth_pb_begin(b, OUT_SHAPE);
        for (uint32_t i = 0; i < t->rank; i++)
            berth_pb_put_varint(b, (uint64_t)t->shape[i]);
        berth_pb_end(b, inner);
    }
    if (in_shm(from, t)) {
        put_shm(b, &berth_v2_asked_for(from->asked, t->name)->shm);
    } else if (typed && t->size > 0) {
        inner = berth_pb_begin(b, OUT_CONTENTS);
        put_contents(b, t);
        berth_pb_end(b, inner);
    }
    berth_pb_end(b, output);
}

static void
put_head(struct berth_buf *b, const struct berth_v2_answer *from,
         const struct berth_v2_pb_flag *flag, bool typed)
{
    berth_pb_put_text(b, ANS_MODEL, from->model);
    berth_pb_put_text(b, ANS_VERSION, from->version);
    if (from->asked->id.len > 0)
        berth_pb_put_bytes(b, ANS_ID, from->asked->id.at, from->asked->id.len);
    if (flag->name != NULL) {
        size_t begun[2];
        param_begin(b, ANS_PARAMETERS, flag->name, begun);
        berth_pb_put_uint(b, 1, flag->value);
        param_end(b, begun);
    }
    for (size_t i = 0; i < from->timing_count; i++) {
        const size_t entry = berth_pb_begin(b, ANS_PARAMETERS);
        berth_pb_put_text(b, 1, from->timings[i].name);
        const size_t value = berth_pb_begin(b, 2);
        berth_pb_put_uint(b, 2, (uint64_t)from->timings[i].value); /* int64_param */
        berth_pb_end(b, value);
        berth_pb_end(b, entry);
    }
    for (size_t i = 0; i < from->output_count; i++)
        put_output(b, from, &from->outputs[i], typed);
}

/* One that lies in shared memory has an empty place among the raw ones: clients count them. */
static size_t
raw_size(const struct berth_v2_answer *from, const struct berth_tensor *t)
{
    return in_shm(from, t) ? 0 : t->size;
}

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the answer is larger than the request's memory limit");
}

int
berth_v2_pb_put_whole(struct berth_buf *b, const struct berth_v2_answer *from,
                      const struct berth_v2_pb_flag *flag, struct berth_err *e)
{
    const bool typed = all_typed(from);

    put_head(b, from, flag, typed);
    for (size_t i = 0; i < from->output_count && !typed; i++)
        berth_pb_put_bytes(b, ANS_RAW, from->outputs[i].bytes, raw_size(from, &from->outputs[i]));
    return b->failed ? no_memory(e) : 0;
}

/* Small outputs are copied behind what is there; the first large one ends that, and from then on
 * each is a part of its own behind a part with its tag and length. */
int
berth_v2_pb_put(struct berth_buf *b, struct berth_arena *a, const struct berth_v2_answer *from,
                const struct berth_v2_pb_flag *flag, struct berth_slice **ret_parts,
                size_t *ret_count, struct berth_err *e)
{
    enum { TAG_BYTES = 1 + 10 };
    const bool typed = all_typed(from);
    struct berth_slice *parts = NULL;
    size_t n = 0;

    put_head(b, from, flag, typed);
    for (size_t i = 0; i < from->output_count && !typed; i++) {
        const struct berth_tensor *t = &from->outputs[i];
        const size_t size = raw_size(from, t);

        if (n == 0 && size < BERTH_V2_PB_LEND_FROM) {
            berth_pb_put_bytes(b, ANS_RAW, t->bytes, size);
            continue;
        }
        if (parts == NULL &&
            (parts = BERTH_NEW_N(a, struct berth_slice, 2 * (from->output_count - i))) == NULL)
            return no_memory(e);
        if (n == 0) {
            berth_pb_put_tag(b, ANS_RAW, BERTH_PB_BYTES);
            berth_pb_put_varint(b, size);
        } else {
            struct berth_buf tag = {.at = berth_arena_alloc(a, TAG_BYTES), .cap = TAG_BYTES};
            if (tag.at == NULL)
                return no_memory(e);
            berth_pb_put_tag(&tag, ANS_RAW, BERTH_PB_BYTES);
            berth_pb_put_varint(&tag, size);
            parts[n++] = (struct berth_slice){tag.at, tag.len};
        }
        parts[n++] = (struct berth_slice){t->bytes, size};
    }
    *ret_parts = parts;
    *ret_count = n;
    return b->failed ? no_memory(e) : 0;
}
