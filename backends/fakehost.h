#ifndef BERTH_FAKEHOST_H
#define BERTH_FAKEHOST_H

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <berth/backend.h>

/*
 * The smallest host that a backend can run under, for unit tests of backends only: one request is
 * one struct on the test's stack, and whatever the backend says is kept in it to be looked at.
 * Include it in one file of a test program.  Everything is the test's; one thread, but for
 * `cancelled`, which any thread may set.
 */

enum { FAKE_TENSOR_MAX = 24, FAKE_TEXT_MAX = 4096, FAKE_QUEUE_MAX = 128 };

struct berth_request {
    struct berth_tensor inputs[FAKE_TENSOR_MAX];
    size_t input_count;
    const char *wants[FAKE_TENSOR_MAX];
    size_t wants_count; /* 0: all */
    struct berth_tensor outputs[FAKE_TENSOR_MAX];
    size_t output_count;
    atomic_bool cancelled;
    enum berth_code failed;
    char fail_msg[480];
    /* sequences */
    struct berth_gen gen;
    char text[FAKE_TEXT_MAX];
    size_t text_len;
    uint32_t emits, tokens;
    bool finished;
    struct berth_finish finish;
};

struct berth_queue {
    struct berth_request *waiting[FAKE_QUEUE_MAX];
    size_t head, len;
};

static atomic_uint fake_log_count;
static char fake_log_last[2048]; /* written by the test's thread when it loads or runs */

static void
fake_log(enum berth_log_level level, const char *msg)
{
    if (level >= BERTH_LOG_WARN) {
        atomic_fetch_add(&fake_log_count, 1);
        (void)snprintf(fake_log_last, sizeof fake_log_last, "%s", msg);
    }
}

static bool
fake_cancelled(const struct berth_request *r)
{
    return atomic_load(&r->cancelled);
}

static size_t
fake_input_count(const struct berth_request *r)
{
    return r->input_count;
}

static const struct berth_tensor *
fake_input(const struct berth_request *r, size_t i)
{
    return &r->inputs[i];
}

static bool
fake_wants(const struct berth_request *r, const char *name)
{
    for (size_t i = 0; i < r->wants_count; i++) {
        if (strcmp(r->wants[i], name) == 0)
            return true;
    }
    return r->wants_count == 0;
}

static int
fake_output(struct berth_request *r, const struct berth_tensor *shape, void **ret_buf,
            struct berth_err *e)
{
    for (size_t i = 0; i < r->output_count; i++) {
        if (strcmp(r->outputs[i].name, shape->name) == 0)
            return berth_err_set(e, BERTH_EINVAL, "output %s given twice", shape->name);
    }
    if (r->output_count == FAKE_TENSOR_MAX)
        return berth_err_set(e, BERTH_ENOMEM, "too many outputs");
    struct berth_tensor *t = &r->outputs[r->output_count];

    *t = *shape;
    t->name = strdup(shape->name);
    t->bytes = aligned_alloc(64, (shape->size + 64) / 64 * 64);
    if (t->name == NULL || t->bytes == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    r->output_count++;
    *ret_buf = (void *)(uintptr_t)t->bytes;
    return 0;
}

static void
fake_fail(struct berth_request *r, enum berth_code code, const char *msg)
{
    r->failed = code;
    r->finished = true;
    (void)snprintf(r->fail_msg, sizeof r->fail_msg, "%s", msg);
}

static struct berth_request *
fake_next(struct berth_queue *q)
{
    return q->head < q->len ? q->waiting[q->head++] : NULL;
}

static const struct berth_gen *
fake_gen(const struct berth_request *r)
{
    return &r->gen;
}

static void
fake_emit(struct berth_request *r, const struct berth_delta *d)
{
    size_t n = d->text_len < FAKE_TEXT_MAX - 1 - r->text_len ? d->text_len
                                                             : FAKE_TEXT_MAX - 1 - r->text_len;

    memcpy(r->text + r->text_len, d->text, n);
    r->text_len += n;
    r->text[r->text_len] = '\0';
    r->emits++;
    r->tokens += d->token_count;
}

static void
fake_finish(struct berth_request *r, const struct berth_finish *finish)
{
    r->finish = *finish;
    r->finished = true;
}

static const struct berth_host fake_host = {
    .struct_size = sizeof fake_host,
    .log = fake_log,
    .cancelled = fake_cancelled,
    .input_count = fake_input_count,
    .input = fake_input,
    .wants = fake_wants,
    .output = fake_output,
    .fail = fake_fail,
    .next = fake_next,
    .gen = fake_gen,
    .emit = fake_emit,
    .finish = fake_finish,
};

/* Open a backend as the program does; NULL with *e filled. */
static inline const struct berth_backend_ops *
fake_open(const char *path, struct berth_err *e)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    berth_backend_entry_fn *entry = NULL;

    if (so != NULL)
        *(void **)&entry = dlsym(so, BERTH_BACKEND_ENTRY);
    if (entry == NULL) {
        (void)berth_err_set(e, BERTH_EABI, "%s", dlerror());
        return NULL;
    }
    return entry(&fake_host, e);
}

/* Add an input over the caller's bytes. */
static inline void
fake_add(struct berth_request *r, const struct berth_tensor *t)
{
    if (r->input_count == FAKE_TENSOR_MAX)
        abort();
    r->inputs[r->input_count++] = *t;
}

/* The output of that name, or NULL. */
static inline const struct berth_tensor *
fake_get(const struct berth_request *r, const char *name)
{
    for (size_t i = 0; i < r->output_count; i++) {
        if (strcmp(r->outputs[i].name, name) == 0)
            return &r->outputs[i];
    }
    return NULL;
}

/* Free what output() gave, so that r can run again. */
static inline void
fake_clear(struct berth_request *r)
{
    for (size_t i = 0; i < r->output_count; i++) {
        free((void *)(uintptr_t)r->outputs[i].name);
        free((void *)(uintptr_t)r->outputs[i].bytes);
    }
    r->output_count = 0;
    r->failed = BERTH_OK;
    r->finished = false;
    r->text_len = r->emits = r->tokens = 0;
}

#endif
