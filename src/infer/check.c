#include "infer/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/num.h"
#include "infer/pad.h"
#include "infer/request.h"

static const struct {
    const char *name;
    size_t width;
} dtypes[BERTH_DTYPE_COUNT] = {
#define X(name, width) [BERTH_##name] = {#name, width},
    BERTH_DTYPES(X)
#undef X
};

enum { NAME_SHOWN = 64 };

enum { SHAPE_TEXT = 128 };

/* "[-1,64]" into buf. */
static const char *
shape_text(const int64_t *shape, uint32_t rank, char buf[SHAPE_TEXT])
{
    size_t len = 0;

    buf[len++] = '[';
    for (uint32_t i = 0; i < rank && i < BERTH_RANK_MAX && len + 24 < SHAPE_TEXT; i++)
        len +=
            (size_t)snprintf(buf + len, SHAPE_TEXT - len, "%s%" PRId64, i > 0 ? "," : "", shape[i]);
    buf[len++] = ']';
    buf[len] = '\0';
    return buf;
}

/* Elements of each kind the bytes must hold; BYTES tensors are walked. */
static int
check_size(const struct berth_tensor *t, struct berth_err *e)
{
    char text[SHAPE_TEXT];
    size_t count = 1, bytes;

    if (t->rank > BERTH_RANK_MAX)
        return berth_err_set(e, BERTH_EINVAL, "input '%.*s' has %u dimensions, at most %u",
                             NAME_SHOWN, t->name, t->rank, BERTH_RANK_MAX);
    if ((unsigned)t->dtype >= BERTH_DTYPE_COUNT)
        return berth_err_set(e, BERTH_EINVAL, "input '%.*s' has no valid datatype", NAME_SHOWN,
                             t->name);
    for (uint32_t i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0 || !berth_mul(count, (size_t)t->shape[i], &count))
            return berth_err_set(e, BERTH_EINVAL, "input '%.*s' has an impossible shape %s",
                                 NAME_SHOWN, t->name, shape_text(t->shape, t->rank, text));
    }
    if (t->dtype == BERTH_BYTES) {
        size_t seen = 0, at = 0;
        for (uint32_t len; at < t->size; seen++, at += len) {
            if (t->size - at < sizeof len)
                break;
            memcpy(&len, (const char *)t->bytes + at, sizeof len);
            at += sizeof len;
            if (len > t->size - at)
                break;
        }
        if (at != t->size || seen != count)
            return berth_err_set(e, BERTH_EINVAL,
                                 "input '%.*s' with shape %s has %zu elements in %zu bytes, "
                                 "expected %zu",
                                 NAME_SHOWN, t->name, shape_text(t->shape, t->rank, text), seen,
                                 t->size, count);
        return 0;
    }
    if (!berth_mul(count, dtypes[t->dtype].width, &bytes) || bytes != t->size)
        return berth_err_set(e, BERTH_EINVAL,
                             "input '%.*s' with shape %s of %s has %zu bytes, expected %zu",
                             NAME_SHOWN, t->name, shape_text(t->shape, t->rank, text),
                             dtypes[t->dtype].name, t->size, count * dtypes[t->dtype].width);
    return 0;
}

static int
check_spec(const struct berth_tensor_spec *spec, const struct berth_tensor *t, struct berth_err *e)
{
    char want[SHAPE_TEXT], got[SHAPE_TEXT];
    bool fits = spec->rank == t->rank;

    if (spec->dtype != t->dtype)
        return berth_err_set(e, BERTH_EINVAL,
                             "unexpected datatype for input '%.*s': expected %s, got %s",
                             NAME_SHOWN, t->name, dtypes[spec->dtype].name, dtypes[t->dtype].name);
    for (uint32_t i = 0; fits && i < t->rank; i++)
        fits = spec->shape[i] < 0 || spec->shape[i] == t->shape[i];
    if (!fits)
        return berth_err_set(
            e, BERTH_EINVAL, "unexpected shape for input '%.*s': expected %s, got %s", NAME_SHOWN,
            t->name, shape_text(spec->shape, spec->rank, want), shape_text(t->shape, t->rank, got));
    return 0;
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

/* "a, b, c" of the names there are, cut where the buffer ends. */
static const char *
names_text(const struct berth_tensor_spec *specs, size_t count, char *buf, size_t cap)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < count && len + 1 < cap; i++) {
        int n = snprintf(buf + len, cap - len, "%s%s", i > 0 ? ", " : "", specs[i].name);
        len += n > 0 ? (size_t)n : 0;
    }
    return buf;
}

/* Each of the model's inputs is there exactly once, and nothing else is. */
static int
check_inputs(const struct berth_describe *d, const struct berth_request *r, struct berth_err *e)
{
    char names[160];
    int ret;

    for (size_t i = 0; i < r->input_count; i++) {
        const struct berth_tensor *t = &r->inputs[i];
        const struct berth_tensor_spec *spec = find_spec(d->inputs, d->input_count, t->name);
        if (spec == NULL)
            return berth_err_set(
                e, BERTH_EINVAL, "unexpected input '%.*s': the model's inputs are: %s", NAME_SHOWN,
                t->name, names_text(d->inputs, d->input_count, names, sizeof names));
        if ((ret = check_spec(spec, t, e)) < 0)
            return ret;
    }
    for (size_t i = 0; i < d->input_count; i++) {
        size_t k = 0;
        while (k < r->input_count && strcmp(r->inputs[k].name, d->inputs[i].name) != 0)
            k++;
        if (k == r->input_count)
            return berth_err_set(
                e, BERTH_EINVAL, "missing input '%.*s': the model's inputs are: %s", NAME_SHOWN,
                d->inputs[i].name, names_text(d->inputs, d->input_count, names, sizeof names));
    }
    return 0;
}

static int
check_duplicates(const struct berth_request *r, struct berth_err *e)
{
    enum { INPUTS_MAX = 256 };

    if (r->input_count > INPUTS_MAX || r->wanted_count > INPUTS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "more than %d inputs or outputs", INPUTS_MAX);
    for (size_t i = 0; i < r->input_count; i++) {
        for (size_t k = i + 1; k < r->input_count; k++) {
            if (strcmp(r->inputs[i].name, r->inputs[k].name) == 0)
                return berth_err_set(e, BERTH_EINVAL, "input '%.*s' is there twice", NAME_SHOWN,
                                     r->inputs[i].name);
        }
    }
    for (size_t i = 0; i < r->wanted_count; i++) {
        for (size_t k = i + 1; k < r->wanted_count; k++) {
            if (strcmp(r->wanted[i], r->wanted[k]) == 0)
                return berth_err_set(e, BERTH_EINVAL, "output '%.*s' is asked for twice",
                                     NAME_SHOWN, r->wanted[i]);
        }
    }
    return 0;
}

/* How many rows it has along dimension 0, the same in every input. */
static int
check_rows(const struct berth_describe *d, struct berth_request *r, struct berth_err *e)
{
    r->rows = 1;
    if (d->batch_rows_max == 0 || r->input_count == 0)
        return 0;
    int64_t rows = r->inputs[0].rank > 0 ? r->inputs[0].shape[0] : 1;
    for (size_t i = 1; i < r->input_count; i++) {
        const struct berth_tensor *t = &r->inputs[i];
        int64_t own = t->rank > 0 ? t->shape[0] : 1;
        if (own != rows && d->input_count > 0)
            return berth_err_set(e, BERTH_EINVAL,
                                 "input '%.*s' has %" PRId64 " rows, input '%.*s' has %" PRId64
                                 ": all need the same first dimension",
                                 NAME_SHOWN, t->name, own, NAME_SHOWN, r->inputs[0].name, rows);
        if (own != rows)
            return 0; /* the model is free in its shapes, so that these are no rows */
    }
    if (d->batch_rows_max > 1 && rows > d->batch_rows_max)
        return berth_err_set(e, BERTH_EINVAL,
                             "input '%.*s' has %" PRId64 " rows, the model takes at most %u at "
                             "once; send it in parts",
                             NAME_SHOWN, r->inputs[0].name, rows, d->batch_rows_max);
    r->rows = rows > UINT32_MAX ? UINT32_MAX : (uint32_t)rows;
    return 0;
}

static uint64_t
mix(uint64_t h, uint64_t v)
{
    return (h ^ v) * UINT64_C(0x9e3779b97f4a7c15) ^ (h >> 29);
}

/* Dimension 0 may differ only where it is a batch dimension. */
static uint32_t
first_fixed_dim(const struct berth_request *r)
{
    return r->shape_hash & 1 ? 1 : 0;
}

static void
hash_shape(const struct berth_describe *d, struct berth_request *r)
{
    bool batch_dim = d->batch_rows_max > 0;
    uint64_t h = r->task;

    for (size_t i = 0; i < r->input_count; i++) {
        const struct berth_tensor *t = &r->inputs[i];
        for (const char *c = t->name; *c != '\0'; c++)
            h = mix(h, (unsigned char)*c);
        h = mix(h, (uint64_t)t->dtype << 8 | t->rank);
        const uint32_t ragged = r->pad != NULL ? berth_pad_dim(r->pad, t) : 0;
        for (uint32_t k = batch_dim ? 1 : 0; k < t->rank; k++)
            h = mix(h, ragged > 0 && k == ragged ? 0 : (uint64_t)t->shape[k]);
    }
    h = mix(h, r->bucket);
    r->shape_hash = (h & ~UINT64_C(1)) | batch_dim;
}

bool
berth_check_same_shape(const struct berth_request *a, const struct berth_request *b)
{
    if (a->shape_hash != b->shape_hash || a->task != b->task || a->input_count != b->input_count ||
        a->pad != b->pad || a->bucket != b->bucket)
        return false;
    for (size_t i = 0; i < a->input_count; i++) {
        const struct berth_tensor *x = &a->inputs[i], *y = &b->inputs[i];
        uint32_t from = first_fixed_dim(a);
        if (x->dtype != y->dtype || x->rank != y->rank || strcmp(x->name, y->name) != 0)
            return false;
        const uint32_t ragged = a->pad != NULL ? berth_pad_dim(a->pad, x) : 0;
        for (uint32_t k = from; k < x->rank; k++) {
            if (x->shape[k] != y->shape[k] && (ragged == 0 || k != ragged))
                return false;
        }
    }
    return true;
}

static int
check_embedding(const struct berth_request *r, struct berth_err *e)
{
    if (r->input_count != 1 || strcmp(r->inputs[0].name, "text") != 0 ||
        r->inputs[0].dtype != BERTH_BYTES || r->inputs[0].rank != 1)
        return berth_err_set(e, BERTH_EINVAL,
                             "an embedding has one input, 'text', of BYTES with shape [-1]");
    return 0;
}

static int
check_generation(const struct berth_request *r, struct berth_err *e)
{
    const struct berth_gen *g = &r->gen;

    if ((g->prompt != NULL) + (g->prompt_tokens != NULL) + (g->chat_json != NULL) != 1)
        return berth_err_set(e, BERTH_EINVAL,
                             "a generation needs exactly one of a prompt, tokens and messages");
    return 0;
}

/* "chat and completion", of the tasks in a set. */
static const char *
task_names(uint32_t tasks, char room[96])
{
    static const struct {
        uint32_t task;
        const char *name;
    } names[] = {
        {BERTH_TASK_TENSOR, "tensor inference"},
        {BERTH_TASK_COMPLETION, "text completion"},
        {BERTH_TASK_CHAT, "chat"},
        {BERTH_TASK_EMBEDDING, "embeddings"},
    };
    size_t len = 0;

    room[0] = '\0';
    for (size_t i = 0; i < BERTH_COUNT(names); i++) {
        if ((tasks & names[i].task) != 0)
            len +=
                (size_t)snprintf(room + len, 96 - len, "%s%s", len > 0 ? ", " : "", names[i].name);
    }
    return len > 0 ? room : "nothing known here";
}

int
berth_check_request(const struct berth_describe *d, const struct berth_pad_conf *pad,
                    struct berth_request *r, struct berth_err *e)
{
    char names[160], asked[96], does[96];
    int ret;

    if ((d->tasks & r->task) == 0)
        return berth_err_set(e, BERTH_EUNSUPPORTED, "this model does not do %s, but %s",
                             task_names(r->task, asked), task_names(d->tasks, does));
    r->rows = 1;
    r->pad = NULL;
    if (r->task == BERTH_TASK_COMPLETION || r->task == BERTH_TASK_CHAT)
        return check_generation(r, e);
    for (size_t i = 0; i < r->input_count; i++) {
        if ((ret = check_size(&r->inputs[i], e)) < 0)
            return ret;
    }
    if ((ret = check_duplicates(r, e)) < 0)
        return ret;
    if (r->task == BERTH_TASK_EMBEDDING)
        ret = check_embedding(r, e);
    else if (d->input_count > 0)
        ret = check_inputs(d, r, e);
    for (size_t i = 0;
         ret == 0 && r->task == BERTH_TASK_TENSOR && d->output_count > 0 && i < r->wanted_count;
         i++) {
        if (find_spec(d->outputs, d->output_count, r->wanted[i]) == NULL)
            ret = berth_err_set(
                e, BERTH_EINVAL, "unknown output '%.*s': the model's outputs are: %s", NAME_SHOWN,
                r->wanted[i], names_text(d->outputs, d->output_count, names, sizeof names));
    }
    if (ret < 0 || (ret = check_rows(d, r, e)) < 0)
        return ret;
    r->pad = pad != NULL && pad->input_len > 0 && d->batch_rows_max > 1 ? pad : NULL;
    r->bucket = r->pad != NULL ? berth_pad_bucket(r->pad, r) : 0;
    hash_shape(d, r);
    return 0;
}
