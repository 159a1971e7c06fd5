/*
 * The floor: llama_decode() alone, without Berth.  n sequences get a prompt of P tokens each and
 * then one token a step for G steps, greedy by argmax.
 *
 *   llama_loop MODEL LIBDIR THREADS SEQUENCES P G [unified 0|1] [chunk]
 *
 * Prints one line: tokens a second of prompt and of generation.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <llama.h>

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
quiet(enum ggml_log_level level, const char *text, void *unused)
{
    (void)unused;
    if (level == GGML_LOG_LEVEL_ERROR)
        (void)fputs(text, stderr);
}

static void
add(struct llama_batch *b, llama_token t, llama_pos pos, llama_seq_id s, bool last)
{
    const int32_t i = b->n_tokens++;

    b->token[i] = t;
    b->pos[i] = pos;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = s;
    b->logits[i] = last;
}

static llama_token
argmax(const float *x, int32_t n)
{
    int32_t best = 0;

    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

struct span {
    double wall_s, cpu_s;
};

static struct span
mark(void)
{
    return (struct span){now_s(CLOCK_MONOTONIC), now_s(CLOCK_PROCESS_CPUTIME_ID)};
}

static int
measure(struct llama_context *lc, const struct llama_vocab *v, const int arg[6])
{
    const int n = arg[1], p = arg[2], g = arg[3], chunk = arg[5];
    const int32_t vocab = llama_vocab_n_tokens(v);
    struct llama_batch b = llama_batch_init(chunk > n ? chunk : n, 0, 1);
    llama_token *next = calloc((size_t)n, sizeof *next);
    const struct span t0 = mark();

    for (int s = 0; s < n; s++) {
        for (int i = 0; i < p; i += chunk) {
            b.n_tokens = 0;
            for (int k = i; k < p && k < i + chunk; k++)
                add(&b, 100 + (k * 7 + s * 13) % 20000, k, s, k == p - 1);
            if (llama_decode(lc, b) != 0)
                return 1;
        }
        next[s] = argmax(llama_get_logits_ith(lc, -1), vocab);
    }
    const struct span t1 = mark();
    for (int k = 0; k < g; k++) {
        b.n_tokens = 0;
        for (int s = 0; s < n; s++)
            add(&b, next[s], p + k, s, true);
        if (llama_decode(lc, b) != 0)
            return 1;
        for (int s = 0; s < n; s++)
            next[s] = argmax(llama_get_logits_ith(lc, s), vocab);
    }
    const struct span t2 = mark();
    (void)printf(
        "loop threads %d sequences %d unified %d chunk %d: prompt %.0f tokens/s (%.0f a CPU "
        "second), generation %.0f (%.0f), all %.0f ms (CPU %.0f)\n",
        arg[0], n, arg[4], chunk, n * p / (t1.wall_s - t0.wall_s), n * p / (t1.cpu_s - t0.cpu_s),
        n * g / (t2.wall_s - t1.wall_s), n * g / (t2.cpu_s - t1.cpu_s),
        (t2.wall_s - t0.wall_s) * 1e3, (t2.cpu_s - t0.cpu_s) * 1e3);
    llama_batch_free(b);
    free(next);
    return 0;
}

int
main(int argc, char **argv)
{
    int arg[6] = {1, 1, 32, 64, 0, 512};

    if (argc < 3)
        return 2;
    for (int i = 3; i < argc && i < 9; i++)
        arg[i - 3] = (int)strtol(argv[i], NULL, 10);
    llama_log_set(quiet, NULL);
    ggml_backend_load_all_from_path(argv[2]);
    struct llama_model_params mp = llama_model_default_params();
    struct llama_model *m = llama_model_load_from_file(argv[1], mp);
    if (m == NULL)
        return 1;
    struct llama_context_params cp = llama_context_default_params();
    cp.n_seq_max = (uint32_t)arg[1];
    cp.n_ctx = (uint32_t)(arg[1] * 1024);
    cp.n_batch = cp.n_ubatch = 512;
    cp.kv_unified = arg[4] != 0;
    cp.n_threads = cp.n_threads_batch = arg[0];
    struct llama_context *lc = llama_init_from_model(m, cp);
    if (lc == NULL)
        return 1;
    const int r = measure(lc, llama_model_get_vocab(m), arg);
    llama_free(lc);
    llama_model_free(m);
    return r;
}
