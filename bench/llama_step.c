/*
 * The backend alone, without the server: n sequences with prompts of P tokens and answers of G
 * tokens, driven through step() as the host does it.  To be read beside llama_loop's numbers.
 *
 *   llama_step PLUGIN MODEL THREADS SEQUENCES P G [settings]
 *
 * A negative G: every other sequence ends after a quarter of the tokens.
 *
 * Prints one line: tokens a second of generation once every prompt is in, and the longest step.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <berth/backend.h>

enum { SEQUENCES_MAX = 64, PROMPT_MAX = 4096 };

struct berth_request {
    struct berth_gen gen;
    int32_t prompt[PROMPT_MAX];
    uint32_t tokens;
    bool done;
};

struct berth_queue {
    struct berth_request *reqs;
    size_t count, taken;
};

/* Wall time, or this process's processor time: on a machine that others use too, only the latter
 * tells two programs apart (with one thread: waiting threads spin). */
static double
now_s(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
on_log(enum berth_log_level level, const char *msg)
{
    if (level >= BERTH_LOG_WARN)
        (void)fprintf(stderr, "%s\n", msg);
}

static bool
on_cancelled(const struct berth_request *r)
{
    (void)r;
    return false;
}

static void
on_fail(struct berth_request *r, enum berth_code code, const char *msg)
{
    (void)r;
    (void)fprintf(stderr, "failed %d: %s\n", (int)code, msg);
    exit(1);
}

static struct berth_request *
on_next(struct berth_queue *q)
{
    return q->taken < q->count ? &q->reqs[q->taken++] : NULL;
}

static const struct berth_gen *
on_gen(const struct berth_request *r)
{
    return &r->gen;
}

static void
on_emit(struct berth_request *r, const struct berth_delta *d)
{
    r->tokens += d->token_count;
}

static void
on_finish(struct berth_request *r, const struct berth_finish *f)
{
    r->tokens = f->completion_tokens;
    r->done = true;
}

static const struct berth_host host = {.struct_size = sizeof host,
                                       .log = on_log,
                                       .cancelled = on_cancelled,
                                       .fail = on_fail,
                                       .next = on_next,
                                       .gen = on_gen,
                                       .emit = on_emit,
                                       .finish = on_finish};

static void
make_requests(struct berth_request *reqs, int n, int p, int g)
{
    for (int s = 0; s < n; s++) {
        for (int k = 0; k < p; k++)
            reqs[s].prompt[k] = 100 + (k * 7 + s * 13) % 20000;
        reqs[s].gen = (struct berth_gen){.struct_size = sizeof reqs[s].gen,
                                         .max_tokens = (uint32_t)(g >= 0       ? g
                                                                  : s % 2 == 0 ? -g / 4
                                                                               : -g),
                                         .prompt_tokens = reqs[s].prompt,
                                         .prompt_token_count = (size_t)p,
                                         .top_p = 1,
                                         .repeat_penalty = 1,
                                         .seed = 1,
                                         .logprobs = -1,
                                         .ignore_eos = true};
    }
}

struct span {
    double wall_s, cpu_s;
};

static struct span
mark(void)
{
    return (struct span){now_s(CLOCK_MONOTONIC), now_s(CLOCK_PROCESS_CPUTIME_ID)};
}

/* Tokens that have come, and whether every sequence has one at least. */
static uint32_t
tokens_of(const struct berth_queue *q, bool *ret_all_started)
{
    uint32_t sum = 0;

    *ret_all_started = true;
    for (size_t i = 0; i < q->count; i++) {
        sum += q->reqs[i].tokens;
        *ret_all_started = *ret_all_started && q->reqs[i].tokens > 0;
    }
    return sum;
}

static int
measure(const struct berth_backend_ops *ops, struct berth_instance *m, struct berth_queue *q)
{
    const struct span t0 = mark();
    struct span t1 = t0, before = t0;
    double longest = 0;
    uint32_t early = 0;
    bool started = false;
    struct berth_err e;

    for (int left = 1; left > 0;) {
        left = ops->step(m, q, &e);
        if (left < 0) {
            (void)fprintf(stderr, "%s\n", e.msg);
            return 1;
        }
        const struct span now = mark();
        longest = now.wall_s - before.wall_s > longest ? now.wall_s - before.wall_s : longest;
        before = now;
        if (!started) {
            early = tokens_of(q, &started);
            t1 = now;
        }
    }
    const struct span t2 = mark();
    const uint32_t rest = tokens_of(q, &started) - early;
    (void)printf("step sequences %zu: prompts in after %.0f ms (CPU %.0f), generation then %.0f "
                 "tokens/s (%.0f a CPU second), all %.0f ms (CPU %.0f), longest step %.0f ms\n",
                 q->count, (t1.wall_s - t0.wall_s) * 1e3, (t1.cpu_s - t0.cpu_s) * 1e3,
                 rest / (t2.wall_s - t1.wall_s), rest / (t2.cpu_s - t1.cpu_s),
                 (t2.wall_s - t0.wall_s) * 1e3, (t2.cpu_s - t0.cpu_s) * 1e3, longest * 1e3);
    return 0;
}

int
main(int argc, char **argv)
{
    char settings[512];
    struct berth_err e = {""};
    struct berth_instance *m = NULL;
    berth_backend_entry_fn *entry;

    if (argc < 7)
        return 2;
    const int n = (int)strtol(argv[4], NULL, 10), p = (int)strtol(argv[5], NULL, 10);
    const int g = (int)strtol(argv[6], NULL, 10);
    void *const so = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (so == NULL || n < 1 || n > SEQUENCES_MAX || p < 1 || p > PROMPT_MAX) {
        (void)fprintf(stderr, "%s\n", so == NULL ? dlerror() : "a number is out of range");
        return 2;
    }
    *(void **)&entry = dlsym(so, BERTH_BACKEND_ENTRY);
    const struct berth_backend_ops *const ops = entry(&host, &e);
    (void)snprintf(settings, sizeof settings,
                   "{\"context_length\": 1024, \"parallel\": %d, \"cache_prompt\": false%s%s}", n,
                   argc > 7 ? ", " : "", argc > 7 ? argv[7] : "");
    const struct berth_load how = {.struct_size = sizeof how,
                                   .path = argv[2],
                                   .settings_json = settings,
                                   .threads = (uint32_t)strtol(argv[3], NULL, 10)};
    if (ops == NULL || ops->load(&host, &how, &m, &e) < 0) {
        (void)fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    struct berth_request *const reqs = calloc((size_t)n, sizeof *reqs);
    if (reqs == NULL)
        return 1;
    make_requests(reqs, n, p, g);
    struct berth_queue q = {reqs, (size_t)n, 0};
    const int r = measure(ops, m, &q);
    ops->unload(m);
    free(reqs);
    return r;
}
