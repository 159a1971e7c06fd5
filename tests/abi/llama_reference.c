#include "llama_reference.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

struct reference {
    struct llama_model *model;
    struct llama_context *engine;
    const struct llama_vocab *vocab;
    uint32_t chunk;
};

static void
quiet(enum ggml_log_level level, const char *text, void *unused)
{
    (void)level;
    (void)text;
    (void)unused;
}

struct reference *
reference_new(const char *model, int threads, uint32_t context, uint32_t chunk)
{
    struct reference *const r = calloc(1, sizeof *r);
    struct llama_context_params p = llama_context_default_params();
    Dl_info where;

    if (r == NULL)
        return NULL;
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == NULL &&
        dladdr((void *)(uintptr_t)llama_backend_init, &where) != 0) {
        char *const dir = strdup(where.dli_fname);

        llama_log_set(quiet, NULL);
        *strrchr(dir, '/') = '\0';
        ggml_backend_load_all_from_path(dir);
        free(dir);
    }
    r->chunk = chunk;
    r->model = llama_model_load_from_file(model, llama_model_default_params());
    p.n_ctx = context;
    p.n_threads = p.n_threads_batch = threads;
    r->engine = r->model == NULL ? NULL : llama_init_from_model(r->model, p);
    if (r->engine == NULL) {
        free(r);
        return NULL;
    }
    r->vocab = llama_model_get_vocab(r->model);
    return r;
}

void
reference_free(struct reference *r)
{
    if (r == NULL)
        return;
    llama_free(r->engine);
    llama_model_free(r->model);
    free(r);
}

size_t
reference_tokens(struct reference *r, const char *text, int32_t *ret, size_t cap)
{
    const int32_t n =
        llama_tokenize(r->vocab, text, (int32_t)strlen(text), ret, (int32_t)cap, true, true);

    return n < 0 ? 0 : (size_t)n;
}

/* The first largest of n logits; lowers *margin to its lead over the second. */
static int32_t
largest(const float *x, int32_t n, float *margin)
{
    int32_t best = 0;
    float second = -1e30f;

    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    for (int32_t i = 0; i < n; i++)
        if (i != best && x[i] > second)
            second = x[i];
    if (x[best] - second < *margin)
        *margin = x[best] - second;
    return best;
}

size_t
reference_greedy(struct reference *r, const int32_t *prompt, size_t n, int32_t *ret, size_t max,
                 float *ret_margin)
{
    int32_t *const all = malloc((n + max + 1) * sizeof *all);
    size_t made = 0;

    if (all == NULL)
        return 0;
    *ret_margin = 1e30f;
    (void)memcpy(all, prompt, n * sizeof *all);
    llama_memory_clear(llama_get_memory(r->engine), true);
    for (size_t i = 0; i < n; i += r->chunk) {
        const size_t left = n - i < r->chunk ? n - i : r->chunk;

        if (llama_decode(r->engine, llama_batch_get_one(all + i, (int32_t)left)) != 0)
            abort();
    }
    while (made < max) {
        const int32_t t = largest(llama_get_logits_ith(r->engine, -1),
                                  llama_vocab_n_tokens(r->vocab), ret_margin);

        if (llama_vocab_is_eog(r->vocab, t))
            break;
        ret[made++] = t;
        all[n] = t;
        if (made < max && llama_decode(r->engine, llama_batch_get_one(all + n, 1)) != 0)
            abort();
    }
    free(all);
    return made;
}

void
reference_text(struct reference *r, const int32_t *tokens, size_t n, char *ret, size_t cap)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        const int32_t got = llama_token_to_piece(r->vocab, tokens[i], ret + len,
                                                 (int32_t)(cap - len - 1), 0, false);

        if (got > 0)
            len += (size_t)got;
    }
    ret[len] = '\0';
}
