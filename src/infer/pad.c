#include "infer/pad.h"

#include <stdlib.h>
#include <string.h>

#include <berth/backend.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/num.h"
#include "infer/request.h"

enum { ALIGN = 64 };
static const size_t room_bytes_max = (size_t)1 << 30;

static const size_t widths[BERTH_DTYPE_COUNT] = {
#define X(name, width) [BERTH_##name] = (width),
    BERTH_DTYPES(X)
#undef X
};

/* ---- configuration ---- */

bool
berth_pad_copy(struct berth_arena *a, const struct berth_pad_conf *from, struct berth_pad_conf *ret)
{
    bool ok = true;

    *ret = *from;
    for (uint32_t i = 0; i < from->input_len; i++)
        ok = (ret->inputs[i].name = berth_arena_strdup(a, from->inputs[i].name)) != NULL && ok;
    for (uint32_t i = 0; i < from->cut_len; i++)
        ok = (ret->cuts[i].name = berth_arena_strdup(a, from->cuts[i].name)) != NULL && ok;
    return ok;
}

static const struct berth_tensor_spec *
find_spec(const struct berth_tensor_spec *specs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(specs[i].name, name) == 0)
            return &specs[i];
    }
    return NULL;
}

int
berth_pad_check(const struct berth_pad_conf *p, const struct berth_describe *d, struct berth_err *e)
{
    for (uint32_t i = 0; d->input_count > 0 && i < p->input_len; i++) {
        const struct berth_pad_input *in = &p->inputs[i];
        const struct berth_tensor_spec *s = find_spec(d->inputs, d->input_count, in->name);
        if (s == NULL)
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.batching.pad: the model has no input '%.64s'", in->name);
        if (widths[s->dtype] == 0)
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.batching.pad: input '%.64s' is of BYTES, which cannot be "
                                 "padded",
                                 in->name);
        if (s->rank <= in->dim || s->shape[in->dim] >= 0)
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.batching.pad: dimension %u of input '%.64s' does not vary",
                                 in->dim, in->name);
    }
    if (p->input_len > 0 && d->batch_rows_max <= 1)
        return berth_err_set(e, BERTH_EINVAL,
                             "config.batching.pad: the model has no batch dimension, so that its "
                             "requests never meet");
    for (uint32_t i = 0; d->output_count > 0 && i < p->cut_len; i++) {
        const struct berth_tensor_spec *s = find_spec(d->outputs, d->output_count, p->cuts[i].name);
        if (s == NULL || s->rank <= p->cuts[i].dim)
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.batching.cut: the model has no output '%.64s' with a "
                                 "dimension %u",
                                 p->cuts[i].name, p->cuts[i].dim);
    }
    return 0;
}

/* The entry of the configuration for t; NULL: its length is fixed. */
static const struct berth_pad_input *
entry_of(const struct berth_pad_conf *p, const struct berth_tensor *t)
{
    for (uint32_t i = 0; i < p->input_len; i++) {
        if (t->rank > p->inputs[i].dim && widths[t->dtype] > 0 &&
            strcmp(p->inputs[i].name, t->name) == 0)
            return &p->inputs[i];
    }
    return NULL;
}

uint32_t
berth_pad_dim(const struct berth_pad_conf *p, const struct berth_tensor *t)
{
    const struct berth_pad_input *in = entry_of(p, t);

    return in != NULL ? in->dim : 0;
}

static uint32_t
bucket_of(const struct berth_pad_conf *p, int64_t length)
{
    uint32_t i = 0;

    while (i < p->bucket_len && p->buckets[i] < length)
        i++;
    return i;
}

uint32_t
berth_pad_bucket(const struct berth_pad_conf *p, const struct berth_request *r)
{
    int64_t longest = 0;

    for (size_t i = 0; i < r->input_count; i++) {
        const uint32_t dim = berth_pad_dim(p, &r->inputs[i]);
        if (dim > 0 && r->inputs[i].shape[dim] > longest)
            longest = r->inputs[i].shape[dim];
    }
    return bucket_of(p, longest);
}

/* ---- filling ---- */

void
berth_pad_room_fini(struct berth_pad_room *room)
{
    free(room->bytes);
    *room = (struct berth_pad_room){NULL, 0};
}

/* value as an element of this type, at most 8 bytes. */
static void
put_value(enum berth_dtype dtype, double value, unsigned char element[8])
{
    const int64_t whole = (int64_t)value;
    const float single = (float)value;
    const uint16_t half = berth_float_to_half(single), brain = berth_float_to_bf16(single);

    memset(element, 0, 8);
    switch (dtype) {
    case BERTH_FP64:
        memcpy(element, &value, sizeof value);
        break;
    case BERTH_FP32:
        memcpy(element, &single, sizeof single);
        break;
    case BERTH_FP16:
        memcpy(element, &half, sizeof half);
        break;
    case BERTH_BF16:
        memcpy(element, &brain, sizeof brain);
        break;
    case BERTH_BOOL:
        element[0] = whole != 0;
        break;
    case BERTH_UINT8:
    case BERTH_UINT16:
    case BERTH_UINT32:
    case BERTH_UINT64:
    case BERTH_INT8:
    case BERTH_INT16:
    case BERTH_INT32:
    case BERTH_INT64: /* little-endian two's complement: the low bytes are the narrower types */
        memcpy(element, &whole, sizeof whole);
        break;
    case BERTH_BYTES:
    case BERTH_DTYPE_COUNT:
        break;
    }
}

static void
fill(unsigned char *at, size_t bytes, const unsigned char *element, size_t width)
{
    bool zero = true;

    for (size_t i = 0; i < width; i++)
        zero = zero && element[i] == 0;
    if (zero) {
        memset(at, 0, bytes);
        return;
    }
    for (size_t i = 0; i < bytes; i += width)
        memcpy(at + i, element, width);
}

/* t as blocks of `len` pieces of `piece` bytes along a dimension. */
struct blocks {
    size_t count, len, piece;
};

static struct blocks
blocks_of(const struct berth_tensor *t, uint32_t dim)
{
    struct blocks b = {1, (size_t)t->shape[dim], widths[t->dtype]};

    for (uint32_t i = 0; i < dim; i++)
        b.count *= (size_t)t->shape[i];
    for (uint32_t i = dim + 1; i < t->rank; i++)
        b.piece *= (size_t)t->shape[i];
    return b;
}

/* Bytes of t when its dimension is `to` long; false: too many.  A tensor without elements may have
 * any other dimensions, so that they are multiplied with care. */
static bool
padded_size(const struct berth_tensor *t, uint32_t dim, int64_t to, size_t *ret)
{
    size_t bytes = widths[t->dtype];

    for (uint32_t i = 0; i < t->rank; i++) {
        if (!berth_mul(bytes, (size_t)(i == dim ? to : t->shape[i]), &bytes))
            return false;
    }
    *ret = bytes;
    return bytes <= room_bytes_max;
}

static void
pad_one(const struct berth_tensor *from, const struct berth_pad_input *in, int64_t to, char *at,
        struct berth_tensor *ret)
{
    const struct blocks b = blocks_of(from, in->dim);
    const size_t own = b.len * b.piece, whole = (size_t)to * b.piece;
    unsigned char element[8];

    put_value(from->dtype, in->value, element);
    for (size_t i = 0; i < b.count; i++) {
        if (own > 0)
            memcpy(at + i * whole, (const char *)from->bytes + i * own, own);
        fill((unsigned char *)at + i * whole + own, whole - own, element, widths[from->dtype]);
    }
    *ret = *from;
    ret->shape[in->dim] = to;
    ret->bytes = at;
    ret->size = b.count * whole;
}

/* ---- a batch ---- */

/* How long the inputs become that may differ, by their place in the requests.  True: some are
 * shorter than that. */
static bool
set_targets(const struct berth_pad_conf *p, struct berth_request *const reqs[], uint32_t n,
            int64_t *targets, struct berth_pad_seen *seen)
{
    bool any = false;

    for (size_t i = 0; i < reqs[0]->input_count; i++) {
        const uint32_t dim = berth_pad_dim(p, &reqs[0]->inputs[i]);
        int64_t longest = 0;
        targets[i] = -1;
        if (dim == 0)
            continue;
        for (uint32_t k = 0; k < n; k++) {
            const int64_t own = reqs[k]->inputs[i].shape[dim];
            longest = own > longest ? own : longest;
        }
        const uint32_t bucket = bucket_of(p, longest);
        targets[i] = bucket < p->bucket_len ? p->buckets[bucket] : longest;
        seen->bucket = bucket;
        for (uint32_t k = 0; k < n; k++)
            any = any || reqs[k]->inputs[i].shape[dim] != targets[i];
    }
    return any;
}

/* Bytes of all padded inputs and of the tensors that tell of them. */
static bool
room_needed(const struct berth_pad_conf *p, struct berth_request *const reqs[], uint32_t n,
            const int64_t *targets, size_t *ret)
{
    size_t sum = n * reqs[0]->input_count * sizeof(struct berth_tensor) + ALIGN;

    for (uint32_t k = 0; k < n; k++) {
        for (size_t i = 0; i < reqs[k]->input_count; i++) {
            const struct berth_tensor *t = &reqs[k]->inputs[i];
            size_t bytes;
            if (targets[i] < 0 || t->shape[berth_pad_dim(p, t)] == targets[i])
                continue;
            if (!padded_size(t, berth_pad_dim(p, t), targets[i], &bytes) ||
                !berth_add(sum, bytes + ALIGN, &sum) || sum > room_bytes_max)
                return false;
        }
    }
    *ret = sum;
    return true;
}

static char *
aligned(char *at)
{
    return at + (ALIGN - (uintptr_t)at % ALIGN) % ALIGN;
}

static void
pad_all(struct berth_pad_room *room, const struct berth_pad_conf *p,
        struct berth_request *const reqs[], uint32_t n, const int64_t *targets,
        struct berth_pad_seen *seen)
{
    struct berth_tensor *tensors = room->bytes;
    char *at = (char *)(tensors + n * reqs[0]->input_count);

    for (uint32_t k = 0; k < n; k++) {
        struct berth_request *r = reqs[k];
        for (size_t i = 0; i < r->input_count; i++) {
            const struct berth_tensor *t = &r->inputs[i];
            const struct berth_pad_input *in = entry_of(p, t);
            tensors[i] = *t;
            if (in == NULL || targets[i] < 0)
                continue;
            if (t->shape[in->dim] != targets[i]) {
                at = aligned(at);
                pad_one(t, in, targets[i], at, &tensors[i]);
                at += tensors[i].size;
            }
            seen->data += t->size / widths[t->dtype];
            seen->padding += (tensors[i].size - t->size) / widths[t->dtype];
        }
        r->run_inputs = tensors;
        tensors += r->input_count;
    }
}

int
berth_pad_begin(struct berth_pad_room *room, struct berth_request *const reqs[], uint32_t n,
                struct berth_pad_seen *ret, struct berth_err *e)
{
    enum { INPUTS_MAX = 256 }; /* as many as a request may have: infer/check.c */
    const struct berth_pad_conf *p = reqs[0]->pad;
    int64_t targets[INPUTS_MAX];
    size_t bytes;

    *ret = (struct berth_pad_seen){.bucket = 0};
    for (uint32_t k = 0; k < n; k++)
        reqs[k]->run_inputs = NULL;
    berth_assert(reqs[0]->input_count <= INPUTS_MAX);
    if (!set_targets(p, reqs, n, targets, ret))
        return 0;
    if (!room_needed(p, reqs, n, targets, &bytes))
        return berth_err_set(e, BERTH_ENOMEM, "the padded batch would need more than %zu bytes",
                             room_bytes_max);
    if (bytes > room->cap) {
        char *more = malloc(bytes);
        if (more == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "no memory for a padded batch of %zu bytes",
                                 bytes);
        berth_pad_room_fini(room);
        *room = (struct berth_pad_room){more, bytes};
    }
    ret->any = true;
    pad_all(room, p, reqs, n, targets, ret);
    for (uint32_t k = 0; k < n; k++)
        reqs[k]->padded_permille =
            (uint32_t)(ret->padding * 1000 /
                       (ret->data + ret->padding > 0 ? ret->data + ret->padding : 1));
    return 0;
}

/* ---- cutting ---- */

/* Keep the first `to` of a dimension, in place. */
static void
cut_fixed(struct berth_tensor *t, uint32_t dim, int64_t to)
{
    const struct blocks b = blocks_of(t, dim);
    const size_t whole = b.len * b.piece, own = (size_t)to * b.piece;
    char *bytes = (char *)(uintptr_t)t->bytes; /* the host's own buffer */

    for (size_t i = 1; i < b.count && own > 0; i++)
        memmove(bytes + i * own, bytes + i * whole, own);
    t->shape[dim] = to;
    t->size = b.count * own;
}

/* Likewise for elements that differ in size. */
static void
cut_bytes(struct berth_tensor *t, uint32_t dim, int64_t to)
{
    char *bytes = (char *)(uintptr_t)t->bytes;
    size_t inner = 1, kept = 0, at = 0;

    for (uint32_t i = dim + 1; i < t->rank; i++)
        inner *= (size_t)t->shape[i];
    for (size_t i = 0; t->size - at >= sizeof(uint32_t); i++) {
        uint32_t len;
        memcpy(&len, bytes + at, sizeof len);
        const size_t whole = sizeof len + len;
        if (len > t->size - at - sizeof len)
            return; /* not what a backend may give: leave it */
        if (i / inner % (size_t)t->shape[dim] < (size_t)to) {
            memmove(bytes + kept, bytes + at, whole);
            kept += whole;
        }
        at += whole;
    }
    t->shape[dim] = to;
    t->size = kept;
}

/* The length that r has of its own where a padded input is `padded` long; or `padded`. */
static int64_t
own_length(const struct berth_request *r, int64_t padded)
{
    for (uint32_t k = 0; k < r->pad->input_len; k++) {
        for (size_t i = 0; i < r->input_count; i++) {
            const struct berth_pad_input *in = &r->pad->inputs[k];
            if (entry_of(r->pad, &r->inputs[i]) == in && r->run_inputs[i].shape[in->dim] == padded)
                return r->inputs[i].shape[in->dim];
        }
    }
    return padded;
}

void
berth_pad_cut(const struct berth_request *r, const struct berth_tensor_spec *spec,
              struct berth_tensor *t)
{
    bool named = false;

    if (r->pad == NULL || r->run_inputs == NULL)
        return;
    for (uint32_t k = 0; k < r->pad->cut_len; k++)
        named = named || strcmp(r->pad->cuts[k].name, t->name) == 0;
    for (uint32_t dim = 1; dim < t->rank; dim++) {
        const int64_t own = own_length(r, t->shape[dim]);
        bool wanted = spec == NULL || spec->rank != t->rank || spec->shape[dim] < 0;
        if (named) {
            wanted = false;
            for (uint32_t k = 0; k < r->pad->cut_len; k++)
                wanted = wanted ||
                         (r->pad->cuts[k].dim == dim && strcmp(r->pad->cuts[k].name, t->name) == 0);
        }
        if (!wanted || own >= t->shape[dim])
            continue;
        if (t->dtype == BERTH_BYTES)
            cut_bytes(t, dim, own);
        else
            cut_fixed(t, dim, own);
    }
}
