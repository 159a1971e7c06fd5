#include "llama_host.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t host_moves;

#define CHECK(what)                                                                             \
    do {                                                                                        \
        if (!(what)) {                                                                          \
            (void)fprintf(stderr, "%s:%d: the backend broke: %s\n", __FILE__, __LINE__, #what); \
            abort();                                                                            \
        }                                                                                       \
    } while (0)

static void
on_log(enum berth_log_level level, const char *msg)
{
    host_moves += strstr(msg, "sequence moved") != NULL;
    if (level >= BERTH_LOG_INFO || getenv("BERTH_TEST_LOG") != NULL)
        (void)fprintf(stderr, "log %d: %s\n", (int)level, msg);
}

static bool
on_cancelled(const struct berth_request *r)
{
    return r->cancelled;
}

static size_t
on_input_count(const struct berth_request *r)
{
    (void)r;
    return 1;
}

static const struct berth_tensor *
on_input(const struct berth_request *r, size_t i)
{
    CHECK(i == 0);
    return &r->input;
}

static bool
on_wants(const struct berth_request *r, const char *name)
{
    (void)r;
    (void)name;
    return true;
}

static int
on_output(struct berth_request *r, const struct berth_tensor *shape, void **ret_buf,
          struct berth_err *e)
{
    CHECK(strcmp(shape->name, "embedding") == 0 && shape->dtype == BERTH_FP32);
    CHECK(shape->rank == 2 && shape->size == (size_t)(shape->shape[0] * shape->shape[1]) * 4);
    CHECK(r->output == NULL);
    r->rows = shape->shape[0];
    r->columns = shape->shape[1];
    r->output = calloc(1, shape->size + 1);
    *ret_buf = r->output;
    return r->output == NULL ? berth_err_set(e, BERTH_ENOMEM, "test: out of memory") : 0;
}

static void
on_fail(struct berth_request *r, enum berth_code code, const char *msg)
{
    CHECK(r->state == HOST_RUNNING);
    r->state = HOST_FAILED;
    r->code = code;
    (void)snprintf(r->message, sizeof r->message, "%s", msg);
}

static struct berth_request *
on_next(struct berth_queue *q)
{
    while (q->taken < q->count) {
        struct berth_request *const r = q->reqs[q->taken++];

        if (r->cancelled)
            continue;
        CHECK(r->state == HOST_WAITING);
        r->state = HOST_RUNNING;
        return r;
    }
    return NULL;
}

static const struct berth_gen *
on_gen(const struct berth_request *r)
{
    return &r->gen;
}

static bool
is_utf8(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;

    for (size_t i = 0; i < n;) {
        const size_t len = p[i] < 0x80 ? 1 : p[i] >= 0xF0 ? 4 : p[i] >= 0xE0 ? 3 : 2;

        if ((p[i] >= 0x80 && p[i] < 0xC2) || len > n - i)
            return false;
        for (size_t k = 1; k < len; k++)
            if ((p[i + k] & 0xC0) != 0x80)
                return false;
        i += len;
    }
    return true;
}

static void
on_emit(struct berth_request *r, const struct berth_delta *d)
{
    const size_t all = r->told + d->token_count;

    CHECK(r->state == HOST_RUNNING);
    CHECK(is_utf8(d->text, d->text_len));
    CHECK((d->tokens != NULL) == (r->gen.logprobs >= 0) || d->token_count == 0);
    r->text = realloc(r->text, r->text_len + d->text_len + 1);
    (void)memcpy(r->text + r->text_len, d->text, d->text_len);
    r->text_len += d->text_len;
    r->text[r->text_len] = '\0';
    r->deltas++;
    if (d->tokens != NULL) {
        r->ids = realloc(r->ids, (all + 1) * sizeof *r->ids);
        r->logprobs = realloc(r->logprobs, (all + 1) * sizeof *r->logprobs);
        r->best = realloc(r->best, (all + 1) * sizeof *r->best);
    }
    for (uint32_t i = 0; d->tokens != NULL && i < d->token_count; i++) {
        const struct berth_token *const t = &d->tokens[i];

        CHECK(t->top_count == (size_t)r->gen.logprobs && t->logprob <= 0);
        for (size_t k = 1; k < t->top_count; k++)
            CHECK(t->top[k].logprob <= t->top[k - 1].logprob && t->top[k].top == NULL);
        r->ids[r->told + i] = t->id;
        r->logprobs[r->told + i] = t->logprob;
        r->best[r->told + i] = t->top_count > 0 ? t->top[0].id : -1;
    }
    r->told = (uint32_t)all;
}

static void
on_finish(struct berth_request *r, const struct berth_finish *f)
{
    CHECK(r->state == HOST_RUNNING);
    CHECK(f->completion_tokens == r->told);
    r->state = HOST_FINISHED;
    r->finish = *f;
}

const struct berth_host host_calls = {.struct_size = sizeof host_calls,
                                      .log = on_log,
                                      .cancelled = on_cancelled,
                                      .input_count = on_input_count,
                                      .input = on_input,
                                      .wants = on_wants,
                                      .output = on_output,
                                      .fail = on_fail,
                                      .next = on_next,
                                      .gen = on_gen,
                                      .emit = on_emit,
                                      .finish = on_finish};

struct berth_request
host_request(uint32_t max_tokens)
{
    return (struct berth_request){.gen = {.struct_size = sizeof(struct berth_gen),
                                          .max_tokens = max_tokens,
                                          .top_p = 1,
                                          .repeat_penalty = 1,
                                          .seed = 42,
                                          .logprobs = -1}};
}

void
host_request_fini(struct berth_request *r)
{
    free(r->text);
    free(r->ids);
    free(r->logprobs);
    free(r->best);
    free(r->output);
    free((void *)(uintptr_t)r->input.bytes);
}

void
host_request_texts(struct berth_request *r, const char *const *texts, size_t n)
{
    size_t size = 0, at = 0;

    for (size_t i = 0; i < n; i++)
        size += 4 + strlen(texts[i]);
    unsigned char *const bytes = malloc(size + 8);
    CHECK(bytes != NULL);
    for (size_t i = 0; i < n; i++) {
        const uint32_t len = (uint32_t)strlen(texts[i]);

        (void)memcpy(bytes + at, &len, 4);
        (void)memcpy(bytes + at + 4, texts[i], len);
        at += 4 + len;
    }
    r->state = HOST_RUNNING;
    r->input = (struct berth_tensor){.name = "text",
                                     .dtype = BERTH_BYTES,
                                     .rank = 1,
                                     .shape = {(int64_t)n},
                                     .bytes = bytes,
                                     .size = size};
}

const struct berth_backend_ops *
host_plugin(void)
{
    const char *const path = getenv("BERTH_LLAMA_PLUGIN");
    berth_backend_entry_fn *entry;
    struct berth_err e;

    CHECK(path != NULL);
    void *const so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (so == NULL)
        (void)fprintf(stderr, "%s\n", dlerror());
    CHECK(so != NULL);
    *(void **)&entry = dlsym(so, BERTH_BACKEND_ENTRY);
    CHECK(entry != NULL);
    const struct berth_backend_ops *const ops = entry(&host_calls, &e);
    CHECK(ops != NULL && ops->abi == BERTH_BACKEND_ABI);
    return ops;
}

const char *
host_model(const char *name)
{
    static char path[1024];
    const char *const given = getenv("BERTH_LLAMA_MODELS");
    const char *const home = getenv("HOME");

    if (given != NULL)
        (void)snprintf(path, sizeof path, "%s/%s", given, name);
    else
        (void)snprintf(path, sizeof path, "%s/.cache/berth/models/%s", home ? home : "", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

size_t
host_drive(const struct berth_backend_ops *ops, struct berth_instance *m, struct berth_queue *q,
           size_t max)
{
    for (size_t steps = 1; steps <= max; steps++) {
        struct berth_err e = {""};
        const int r = ops->step(m, q, &e);

        if (r < 0)
            (void)fprintf(stderr, "step: %s\n", e.msg);
        CHECK(r >= 0);
        if (r == 0 && q->taken == q->count)
            return steps;
    }
    CHECK(!"more steps than allowed");
    return 0;
}
