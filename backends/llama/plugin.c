#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "instance_priv.h"
#include "quantize.h"

static const struct berth_describe *
describe(const struct berth_instance *m)
{
    return &m->about;
}

static uint64_t
memory(const struct berth_instance *m)
{
    return m->memory_bytes;
}

static void
cancel(struct berth_instance *m)
{
    atomic_store(&m->canceled, true);
}

static void
threads(struct berth_instance *m, uint32_t n)
{
    llama_set_n_threads(m->engine, (int32_t)n, (int32_t)n);
}

static int64_t
tokenize(const struct berth_instance *m, const char *text, size_t len, bool special, int32_t *ret,
         size_t cap)
{
    struct berth_err e;
    int32_t *tokens;
    size_t n;
    const int r = berth_text_tokens(m, (struct berth_text){text, len, special}, &tokens, &n, &e);

    if (r < 0)
        return r;
    if (n > 0 && cap > 0)
        (void)memcpy(ret, tokens, (n < cap ? n : cap) * sizeof *ret);
    free(tokens);
    return (int64_t)n;
}

const struct berth_backend_ops *
berth_backend_entry(const struct berth_host *h, struct berth_err *e)
{
    static const char *const suffixes[] = {".gguf", NULL};
    /* Filled here and not by its initialiser because the settings' table and the version come from
     * other modules; it does not change after the one call. */
    static struct berth_backend_ops ops = {
        .abi = BERTH_BACKEND_ABI,
        .struct_size = sizeof ops,
        .name = "llama",
        .suffixes = suffixes,
        .load = berth_instance_load,
        .unload = berth_instance_unload,
        .describe = describe,
        .run = berth_instance_embed,
        .step = berth_instance_step,
        .reset = berth_instance_reset,
        .cancel = cancel,
        .memory = memory,
        .tokenize = tokenize,
        .threads = threads,
        .forecast = berth_instance_forecast,
        .quantize = berth_llama_quantize,
    };

    if (h->struct_size < offsetof(struct berth_host, finish) + sizeof h->finish) {
        (void)berth_err_set(e, BERTH_EABI, "llama: this program is older than the plugin");
        return NULL;
    }
    ops.settings = berth_llama_settings_table();
    ops.version = llama_version();
    return &ops;
}
