#include "infer/host.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "infer/model_priv.h"

/* What a request may have on its way to a reader that does not keep up. */
enum { DELTA_BYTES_MAX = 4 << 20, DELTAS_MAX = 4096, OUTPUTS_MAX = 256 };

static void
host_log(enum berth_log_level level, const char *msg)
{
    berth_log(level, "%s", msg);
}

static bool
host_cancelled(const struct berth_request *r)
{
    return atomic_load_explicit(&((struct berth_request *)r)->cancelled, memory_order_relaxed);
}

static size_t
host_input_count(const struct berth_request *r)
{
    return r->input_count;
}

static const struct berth_tensor *
host_input(const struct berth_request *r, size_t i)
{
    const struct berth_tensor *inputs = r->run_inputs != NULL ? r->run_inputs : r->inputs;

    return i < r->input_count ? &inputs[i] : NULL;
}

static bool
host_wants(const struct berth_request *r, const char *name)
{
    for (size_t i = 0; i < r->wanted_count; i++) {
        if (strcmp(r->wanted[i], name) == 0)
            return true;
    }
    return r->wanted_count == 0;
}

/* An output and, behind the client's view of it, what belongs to the host. */
struct output {
    struct berth_tensor tensor;
    size_t cap; /* of its buffer */
    bool given; /* in this run, not in one before that failed */
};

static struct output *
outputs_of(const struct berth_request *r)
{
    return (struct output *)(void *)r->outputs; /* an array of these until run_end() */
}

static struct output *
output_slot(struct berth_request *r, const char *name)
{
    struct output *list = outputs_of(r);

    for (size_t i = 0; i < r->output_count; i++) {
        if (strcmp(list[i].tensor.name, name) == 0)
            return &list[i];
    }
    if (r->output_count == r->output_cap) {
        uint32_t cap = r->output_cap == 0 ? 8 : r->output_cap * 2;
        struct output *more =
            cap <= OUTPUTS_MAX ? BERTH_NEW_N(&r->arena, struct output, cap) : NULL;
        if (more == NULL)
            return NULL;
        if (r->output_count > 0)
            memcpy(more, list, r->output_count * sizeof *list);
        r->outputs = &more->tensor;
        r->output_cap = cap;
        list = more;
    }
    list[r->output_count].tensor.name = berth_arena_strdup(&r->arena, name);
    if (list[r->output_count].tensor.name == NULL)
        return NULL;
    return &list[r->output_count++];
}

static int
host_output(struct berth_request *r, const struct berth_tensor *shape, void **ret_buf,
            struct berth_err *e)
{
    if (shape->name == NULL || shape->rank > BERTH_RANK_MAX ||
        (unsigned)shape->dtype >= BERTH_DTYPE_COUNT)
        return berth_err_set(e, BERTH_EINVAL, "an output without a name, or of impossible shape");
    struct output *o = output_slot(r, shape->name);
    if (o == NULL)
        return berth_err_set(e, BERTH_ENOMEM,
                             "output '%s': no memory left for the answer (limit "
                             "%zu bytes)",
                             shape->name, r->arena.max_bytes);
    if (o->given)
        return berth_err_set(e, BERTH_EINVAL, "output '%s' is given twice", shape->name);
    if (o->tensor.bytes == NULL || o->cap < shape->size) {
        void *bytes = berth_arena_alloc_raw(&r->arena, shape->size > 0 ? shape->size : 1);
        if (bytes == NULL)
            return berth_err_set(e, BERTH_ENOMEM,
                                 "output '%s' of %zu bytes passes the answer's limit of %zu",
                                 shape->name, shape->size, r->arena.max_bytes);
        o->tensor.bytes = bytes;
        o->cap = shape->size;
    }
    const char *name = o->tensor.name;
    const void *bytes = o->tensor.bytes;
    o->tensor = *shape;
    o->tensor.name = name;
    o->tensor.bytes = bytes;
    o->given = true;
    *ret_buf = (void *)bytes;
    return 0;
}

void
berth_host_run_begin(struct berth_request *r)
{
    for (size_t i = 0; i < r->output_count; i++)
        outputs_of(r)[i].given = false;
    r->failed = false;
    r->result = 0;
}

/* Where the client wants the i-th output from: the asked one, else the model's i-th. */
static const char *
output_name(const struct berth_request *r, const struct berth_describe *d, size_t i)
{
    if (r->wanted_count > 0)
        return i < r->wanted_count ? r->wanted[i] : NULL;
    if (d->output_count > 0 && r->task == BERTH_TASK_TENSOR)
        return i < d->output_count ? d->outputs[i].name : NULL;
    return i < r->output_count ? outputs_of(r)[i].tensor.name : NULL;
}

static const struct berth_tensor_spec *
spec_of(const struct berth_describe *d, const char *name)
{
    for (size_t i = 0; i < d->output_count; i++) {
        if (strcmp(d->outputs[i].name, name) == 0)
            return &d->outputs[i];
    }
    return NULL;
}

int
berth_host_run_end(struct berth_request *r)
{
    const struct berth_describe *d = atomic_load(&r->model->describe);
    struct output *list = outputs_of(r);
    struct berth_tensor *out;
    size_t n = 0;

    if (r->failed)
        return r->result;
    while (output_name(r, d, n) != NULL)
        n++;
    out = BERTH_NEW_N(&r->arena, struct berth_tensor, n + 1);
    if (out == NULL)
        return berth_err_set(&r->err, BERTH_ENOMEM, "no memory left for the answer");
    for (size_t i = 0; i < n; i++) {
        const char *name = output_name(r, d, i);
        size_t k = 0;
        while (k < r->output_count && (!list[k].given || strcmp(list[k].tensor.name, name) != 0))
            k++;
        if (k == r->output_count)
            return berth_err_set(&r->err, r->wanted_count > 0 ? BERTH_EINVAL : BERTH_EBACKEND,
                                 "the model gave no output '%.64s'", name);
        berth_pad_cut(r, spec_of(d, name), &list[k].tensor);
        out[i] = list[k].tensor;
    }
    r->outputs = out;
    r->output_count = n;
    return 0;
}

static bool
is_sequence(const struct berth_request *r)
{
    return r->task == BERTH_TASK_COMPLETION || r->task == BERTH_TASK_CHAT;
}

static void
host_fail(struct berth_request *r, enum berth_code code, const char *msg)
{
    if (is_sequence(r)) {
        berth_instance_end_sequence(r, -(int)code, msg);
        return;
    }
    if (r->failed)
        return;
    r->failed = true;
    r->result = berth_err_set(&r->err, code, "%s", msg != NULL ? msg : "the model failed");
}

static struct berth_request *
host_next(struct berth_queue *q)
{
    return berth_instance_next((struct berth_instance_thread *)(void *)q);
}

static const struct berth_gen *
host_gen(const struct berth_request *r)
{
    return &r->gen;
}

struct delta_msg {
    struct berth_msg msg;
    struct berth_request *r;
    struct berth_delta delta;
    size_t bytes; /* of all this */
    /* tokens, their tops and all texts follow */
};

/* On the loop. */
static void
delta_run(struct berth_msg *msg)
{
    struct delta_msg *m = (struct delta_msg *)(void *)msg;
    struct berth_request *r = m->r;

    (void)atomic_fetch_sub_explicit(&r->delta_bytes, m->bytes, memory_order_relaxed);
    (void)atomic_fetch_sub_explicit(&r->delta_count, 1, memory_order_relaxed);
    if (r->delta != NULL && !host_cancelled(r))
        r->delta(r, &m->delta);
    free(m);
}

/* Bytes of d with all that it points to, or false on overflow. */
static bool
delta_size(const struct berth_delta *d, size_t *ret)
{
    size_t tokens = 0, text = 0, bytes;

    if (!berth_add(text, d->text_len, &text))
        return false;
    for (size_t i = 0; d->tokens != NULL && i < d->token_count; i++) {
        const struct berth_token *t = &d->tokens[i];
        tokens += 1 + t->top_count;
        if (tokens > DELTA_BYTES_MAX / sizeof *t || !berth_add(text, t->text_len, &text))
            return false;
        for (size_t k = 0; k < t->top_count; k++) {
            if (!berth_add(text, t->top[k].text_len, &text))
                return false;
        }
    }
    bytes = sizeof(struct delta_msg) + tokens * sizeof(struct berth_token);
    return berth_add(bytes, text, ret);
}

static const char *
copy_text(char **at, const char *text, size_t len)
{
    char *copy = *at;

    if (len > 0)
        memcpy(copy, text, len);
    *at += len;
    return copy;
}

static void
copy_delta(struct delta_msg *m, const struct berth_delta *d)
{
    struct berth_token *tokens = (struct berth_token *)(void *)(m + 1), *tops;
    size_t token_count = d->tokens != NULL ? d->token_count : 0, top_count = 0;

    for (size_t i = 0; i < token_count; i++)
        top_count += d->tokens[i].top_count;
    tops = tokens + token_count;
    char *text = (char *)(tops + top_count);
    m->delta = *d;
    m->delta.text = copy_text(&text, d->text, d->text_len);
    m->delta.tokens = d->tokens != NULL ? tokens : NULL;
    for (size_t i = 0; i < token_count; i++) {
        tokens[i] = d->tokens[i];
        tokens[i].text = copy_text(&text, d->tokens[i].text, d->tokens[i].text_len);
        tokens[i].top = tokens[i].top_count > 0 ? tops : NULL;
        for (size_t k = 0; k < d->tokens[i].top_count; k++, tops++) {
            *tops = d->tokens[i].top[k];
            tops->text = copy_text(&text, tops->text, tops->text_len);
            tops->top = NULL;
            tops->top_count = 0;
        }
    }
}

static void
host_emit(struct berth_request *r, const struct berth_delta *delta)
{
    size_t bytes;

    if (r->first_ns == 0)
        r->first_ns = berth_now_ns();
    if (r->reuse != NULL)
        berth_reuse_text(r, delta->text, delta->text_len);
    if (host_cancelled(r))
        return; /* nobody reads it */
    struct delta_msg *m = delta_size(delta, &bytes) &&
                                  bytes + atomic_load(&r->delta_bytes) <= DELTA_BYTES_MAX &&
                                  atomic_load(&r->delta_count) < DELTAS_MAX
                              ? malloc(bytes)
                              : NULL;
    if (m == NULL) {
        atomic_store(&r->slow, true);
        atomic_store(&r->cancelled, true);
        return;
    }
    m->msg.run = delta_run;
    m->r = r;
    m->bytes = bytes;
    copy_delta(m, delta);
    (void)atomic_fetch_add_explicit(&r->delta_bytes, bytes, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&r->delta_count, 1, memory_order_relaxed);
    berth_loop_post(r->loop, &m->msg);
}

static void
host_finish(struct berth_request *r, const struct berth_finish *finish)
{
    r->finish = *finish;
    r->finish.stop = NULL;
    for (size_t i = 0; finish->stop != NULL && i < r->gen.stop_count; i++) {
        if (strcmp(r->gen.stop[i], finish->stop) == 0)
            r->finish.stop = r->gen.stop[i]; /* the client's own text outlives the engine's */
    }
    if (atomic_load(&r->slow))
        berth_instance_end_sequence(r, -BERTH_ECANCELED, "the reader was too slow");
    else
        berth_instance_end_sequence(r, 0, NULL);
}

const struct berth_host *
berth_host_calls(void)
{
    static const struct berth_host host = {
        .struct_size = sizeof host,
        .log = host_log,
        .cancelled = host_cancelled,
        .input_count = host_input_count,
        .input = host_input,
        .wants = host_wants,
        .output = host_output,
        .fail = host_fail,
        .next = host_next,
        .gen = host_gen,
        .emit = host_emit,
        .finish = host_finish,
    };

    return &host;
}
