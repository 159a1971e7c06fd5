#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin/child_priv.h"

/* One write for each line: lines of several threads do not mix, as long as they fit a pipe. */
static void
host_log(enum berth_log_level level, const char *msg)
{
    char line[1024];
    int n = snprintf(line, sizeof line - 1, "<%d>%s", (int)level, msg);

    if (n < 0)
        return;
    size_t len = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    for (size_t i = 0; i < len; i++) {
        if (line[i] == '\n')
            line[i] = ' ';
    }
    line[len] = '\n';
    (void)!write(STDERR_FILENO, line, len + 1); /* there is nobody to tell when it fails */
}

static bool
host_cancelled(const struct berth_request *r)
{
    struct berth_child *c = r->child;

    if (atomic_load_explicit(&c->lonely, memory_order_relaxed))
        return true;
    if (!r->in_use)
        return atomic_load_explicit(&c->run_cancelled, memory_order_relaxed);
    return atomic_load_explicit(&c->region.head->cancelled[r->slot], memory_order_relaxed) != 0;
}

static size_t
host_input_count(const struct berth_request *r)
{
    return r->input_count;
}

static const struct berth_tensor *
host_input(const struct berth_request *r, size_t i)
{
    return i < r->input_count ? &r->inputs[i] : NULL;
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

/* Room for one output more, or NULL. */
static struct berth_tensor *
output_slot(struct berth_request *r)
{
    if (r->output_count == r->output_cap) {
        uint32_t cap = r->output_cap == 0 ? 8 : r->output_cap * 2;
        struct berth_tensor *more =
            cap <= BERTH_TENSORS_MAX ? BERTH_NEW_N(&r->child->run_arena, struct berth_tensor, cap)
                                     : NULL;
        if (more == NULL)
            return NULL;
        if (r->output_count > 0)
            memcpy(more, r->outputs, r->output_count * sizeof *more);
        r->outputs = more;
        r->output_cap = cap;
    }
    return &r->outputs[r->output_count];
}

/* The buffer is where the server will read it: no copy on this side. */
static int
host_output(struct berth_request *r, const struct berth_tensor *shape, void **ret_buf,
            struct berth_err *e)
{
    enum { ALIGN = 64 };
    struct berth_child *c = r->child;

    if (shape->name == NULL || shape->rank > BERTH_RANK_MAX ||
        (unsigned)shape->dtype >= BERTH_DTYPE_COUNT || strlen(shape->name) > BERTH_NAME_LEN_MAX)
        return berth_err_set(e, BERTH_EINVAL, "an output without a name, or of impossible shape");
    for (uint32_t i = 0; i < r->output_count; i++) {
        if (strcmp(r->outputs[i].name, shape->name) == 0)
            return berth_err_set(e, BERTH_EINVAL, "output '%s' is given twice", shape->name);
    }
    size_t at = (c->out_used + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    char *name = berth_arena_strdup(&c->run_arena, shape->name);
    struct berth_tensor *t = output_slot(r);
    if (at > c->out.cap || shape->size > c->out.cap - at || name == NULL || t == NULL)
        return berth_err_set(e, BERTH_ENOMEM,
                             "output '%s' of %zu bytes does not fit what a worker may answer",
                             shape->name, shape->size);
    r->output_count++;
    *t = *shape;
    t->name = name;
    t->bytes = c->out.at + at;
    c->out_used = at + shape->size;
    *ret_buf = c->out.at + at;
    return 0;
}

void
berth_child_free_sequence(struct berth_request *r)
{
    berth_arena_reset(&r->arena);
    r->in_use = false;
    r->child->hand_len--;
}

static void
host_fail(struct berth_request *r, enum berth_code code, const char *msg)
{
    if (r->in_use) {
        berth_message_put_fail(&r->child->answer, r->slot, code, msg);
        berth_child_free_sequence(r);
        return;
    }
    if (r->failed != 0)
        return;
    r->failed = code != 0 ? code : BERTH_EBACKEND;
    (void)snprintf(r->msg, sizeof r->msg, "%s", msg != NULL ? msg : "the model failed");
}

static struct berth_request *
host_next(struct berth_queue *q)
{
    struct berth_child *c = (struct berth_child *)(void *)q;
    struct berth_request *r = c->wait_first;

    if (r == NULL)
        return NULL;
    c->wait_first = r->next;
    if (c->wait_first == NULL)
        c->wait_last = &c->wait_first;
    c->wait_len--;
    c->hand_len++;
    return r;
}

static const struct berth_gen *
host_gen(const struct berth_request *r)
{
    return &r->gen;
}

static void
host_emit(struct berth_request *r, const struct berth_delta *delta)
{
    if (!host_cancelled(r))
        berth_message_put_emit(&r->child->answer, r->slot, delta);
}

static void
host_finish(struct berth_request *r, const struct berth_finish *finish)
{
    berth_message_put_finish(&r->child->answer, r->slot, finish);
    berth_child_free_sequence(r);
}

const struct berth_host *
berth_child_host(void)
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
