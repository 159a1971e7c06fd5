#include "instance_priv.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "guard.h"
#include "memory.h"
#include "model_file.h"

enum {
    CONTEXT_DEFAULT_MAX = 4096,
    CHUNK_CPU = 64, /* as fast as 512 on the CPUs that were measured, and a step stays short */
    CHUNK_GPU = 512,
    PARALLEL_DEFAULT = 8,
    PARALLEL_SMALL = 4,
    EMBED_SEQUENCES = 64, /* texts in one batch */
    EMBED_TOKENS = 512,
};

static const uint64_t cache_default_bytes = 512u << 20;

static bool
meta(const struct llama_model *model, const char *name, char *ret, size_t cap)
{
    char arch[96], key[192];

    if (llama_model_meta_val_str(model, "general.architecture", arch, sizeof arch) < 0)
        return false;
    (void)snprintf(key, sizeof key, "%s.%s", arch, name);
    return llama_model_meta_val_str(model, key, ret, cap) >= 0;
}

static int
flash_type(const char *name, enum llama_flash_attn_type *ret, struct berth_err *e)
{
    static const struct {
        const char *name;
        enum llama_flash_attn_type type;
    } rows[] = {{"auto", LLAMA_FLASH_ATTN_TYPE_AUTO},
                {"on", LLAMA_FLASH_ATTN_TYPE_ENABLED},
                {"off", LLAMA_FLASH_ATTN_TYPE_DISABLED}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *ret = rows[i].type;
            return 0;
        }
    return berth_err_set(e, BERTH_ECONFIG, "setting flash_attention: %s; use auto, on or off",
                         name);
}

static int
cache_type(const char *key, const char *name, enum ggml_type *ret, struct berth_err *e)
{
    static const struct {
        const char *name;
        enum ggml_type type;
    } rows[] = {
        {"f16", GGML_TYPE_F16},   {"f32", GGML_TYPE_F32},   {"bf16", GGML_TYPE_BF16},
        {"q8_0", GGML_TYPE_Q8_0}, {"q5_1", GGML_TYPE_Q5_1}, {"q5_0", GGML_TYPE_Q5_0},
        {"q4_1", GGML_TYPE_Q4_1}, {"q4_0", GGML_TYPE_Q4_0}, {"iq4_nl", GGML_TYPE_IQ4_NL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcasecmp(rows[i].name, name) == 0) {
            *ret = rows[i].type;
            return 0;
        }
    return berth_err_set(e, BERTH_ECONFIG,
                         "setting %s: %s; use f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or "
                         "iq4_nl",
                         key, name);
}

static int
pooling_type(const char *name, enum llama_pooling_type *ret, struct berth_err *e)
{
    static const struct {
        const char *name;
        enum llama_pooling_type type;
    } rows[] = {{"", LLAMA_POOLING_TYPE_UNSPECIFIED},
                {"mean", LLAMA_POOLING_TYPE_MEAN},
                {"cls", LLAMA_POOLING_TYPE_CLS},
                {"last", LLAMA_POOLING_TYPE_LAST}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *ret = rows[i].type;
            return 0;
        }
    return berth_err_set(e, BERTH_ECONFIG, "setting pooling: %s; use mean, cls or last", name);
}

/* The engine's own words for why, in the code that fits them. */
static int
engine_failed(struct berth_err *e, const char *what, const char *file)
{
    const char *const why = berth_engine_last_error();

    if (strstr(why, "alloc") != NULL || strstr(why, "memory") != NULL)
        return berth_err_set(e, BERTH_ENOMEM,
                             "%s: %s: %s; lower context_length, parallel or gpu_layers", file, what,
                             why);
    return berth_err_set(e, BERTH_EINVAL,
                         "%s: %s: %s; the file is damaged or of a kind that llama.cpp %s does not "
                         "know",
                         file, what, why[0] != '\0' ? why : "no reason given", llama_version());
}

struct model_call {
    struct berth_instance *m;
    const char *file;
    struct llama_model_params params;
};

static void
call_model(void *arg)
{
    struct model_call *const c = arg;

    c->m->model = llama_model_load_from_file(c->file, c->params);
}

static int
load_model(struct berth_instance *m, const char *path, struct berth_err *e)
{
    char file[PATH_MAX];
    struct llama_model_params p = llama_model_default_params();
    int r = berth_model_file_find(path, file, sizeof file, e);

    if (r == 0)
        r = berth_model_file_check(file, e);
    if (r < 0)
        return r;
    p.n_gpu_layers = (int32_t)m->conf.gpu_layers;
    p.main_gpu = (int32_t)m->conf.main_gpu;
    p.no_alloc = m->only_counts;
    if (m->only_counts)
        p.load_mode = LLAMA_LOAD_MODE_NONE; /* nothing is read */
    else if (m->conf.mmap)
        p.load_mode = m->conf.mlock ? LLAMA_LOAD_MODE_MMAP_MLOCK : LLAMA_LOAD_MODE_MMAP;
    else
        p.load_mode = m->conf.mlock ? LLAMA_LOAD_MODE_MLOCK : LLAMA_LOAD_MODE_NONE;
    berth_engine_clear_error();
    m->file = berth_torn_file(file);
    struct model_call c = {m, file, p};
    if (berth_guard_call(true, call_model, &c) < 0 || m->model == NULL)
        return engine_failed(e, "llama.cpp refused the model", file);
    return 0;
}

/* Bytes of keys and values that one token needs; close enough to choose a default by. */
static uint64_t
cache_bytes_each(const struct llama_model *model)
{
    const uint64_t heads = (uint64_t)llama_model_n_head(model);
    const uint64_t head = (uint64_t)llama_model_n_embd(model) / (heads > 0 ? heads : 1);

    return (uint64_t)llama_model_n_layer(model) * (uint64_t)llama_model_n_head_kv(model) * head * 4;
}

static bool
on_gpu(const struct berth_instance *m)
{
    return m->conf.gpu_layers != 0 && llama_supports_gpu_offload();
}

static uint32_t
context_len(const struct berth_instance *m)
{
    const int64_t asked =
        m->conf.context_length > 0 ? m->conf.context_length : m->conf.max_context_length;
    const int64_t trained = llama_model_n_ctx_train(m->model);

    if (asked > 0)
        return (uint32_t)asked;
    return (uint32_t)(trained > 0 && trained < CONTEXT_DEFAULT_MAX ? trained : CONTEXT_DEFAULT_MAX);
}

static void
for_answers(struct berth_instance *m, struct llama_context_params *p)
{
    const uint32_t len = context_len(m);
    uint32_t parallel = (uint32_t)m->conf.parallel;

    if (parallel == 0)
        parallel = cache_bytes_each(m->model) * len * PARALLEL_DEFAULT <= cache_default_bytes
                       ? PARALLEL_DEFAULT
                       : PARALLEL_SMALL;
    m->chunk_max = (uint32_t)m->conf.batch;
    if (m->chunk_max == 0)
        m->chunk_max = on_gpu(m) ? CHUNK_GPU : CHUNK_CPU;
    m->about.sequence_max = parallel;
    m->about.tasks = BERTH_TASK_COMPLETION | BERTH_TASK_CHAT;
    p->n_ctx = len * parallel;
    p->n_seq_max = parallel;
    p->n_batch = m->chunk_max + parallel;
    p->n_ubatch = m->conf.ubatch > 0 ? (uint32_t)m->conf.ubatch : p->n_batch;
    p->kv_unified = m->conf.kv_unified != 0;
    m->batch_cap = (int32_t)p->n_batch;
}

static void
for_embeddings(struct berth_instance *m, struct llama_context_params *p)
{
    const uint32_t len = context_len(m);
    uint32_t batch = m->conf.batch > 0 ? (uint32_t)m->conf.batch : EMBED_TOKENS;

    /* A text must go through in one piece: what is pooled is one computation. */
    batch = batch < len ? len : batch;
    m->text_tokens_max = len;
    m->about.tasks = BERTH_TASK_EMBEDDING;
    m->about.embedding_len = (uint32_t)llama_model_n_embd_out(m->model);
    m->about.batch_rows_max = UINT32_MAX;
    p->embeddings = true;
    p->n_ctx = p->n_batch = p->n_ubatch = batch;
    p->n_seq_max = EMBED_SEQUENCES;
    p->kv_unified = true; /* any text may take any part of the room */
    m->batch_cap = (int32_t)batch;
}

static bool
wants_embeddings(const struct berth_instance *m)
{
    char word[16];

    if (m->conf.embedding >= 0)
        return m->conf.embedding != 0;
    return meta(m->model, "pooling_type", word, sizeof word) ||
           !llama_model_has_decoder(m->model) ||
           (meta(m->model, "attention.causal", word, sizeof word) && strcmp(word, "false") == 0);
}

static bool
told_to_stop(void *arg)
{
    const struct berth_instance *const m = arg;

    return atomic_load_explicit(&m->canceled, memory_order_relaxed);
}

/* Threads that stay between steps: without them the engine starts and ends its own in each one. */
static void
attach_threads(struct berth_instance *m, int n)
{
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(cpu);
    struct ggml_threadpool *(*make)(struct ggml_threadpool_params *);
    struct ggml_threadpool_params p = ggml_threadpool_params_default(n);

    *(void **)&make = ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_new");
    if (n < 2 || make == NULL)
        return;
    p.poll = 0; /* between steps the cores are others': no spinning there */
    m->threads = make(&p);
    if (m->threads != NULL)
        llama_attach_threadpool(m->engine, m->threads, m->threads);
}

struct context_call {
    struct berth_instance *m;
    struct llama_context_params params;
};

static void
call_context(void *arg)
{
    struct context_call *const c = arg;

    c->m->engine = llama_init_from_model(c->m->model, c->params);
}

static int
make_context(struct berth_instance *m, const struct berth_load *how, struct berth_err *e)
{
    struct llama_context_params p = llama_context_default_params();
    const int threads = m->conf.threads > 0 ? (int)m->conf.threads : (int)how->threads;
    const bool embeddings = wants_embeddings(m);
    int r = flash_type(m->conf.flash_attention, &p.flash_attn_type, e);

    if (r == 0)
        r = cache_type("cache_type_k", m->conf.cache_type_k, &p.type_k, e);
    if (r == 0)
        r = cache_type("cache_type_v", m->conf.cache_type_v, &p.type_v, e);
    if (r == 0)
        r = pooling_type(m->conf.pooling, &p.pooling_type, e);
    if (r < 0)
        return r;
    if (embeddings)
        for_embeddings(m, &p);
    else
        for_answers(m, &p);
    if ((uint64_t)context_len(m) * (m->about.sequence_max + 1) > INT32_MAX)
        return berth_err_set(e, BERTH_ECONFIG,
                             "context_length %u for %u sequences at once is more than the engine "
                             "can count; lower one of them",
                             context_len(m), m->about.sequence_max);
    p.n_threads = p.n_threads_batch = threads;
    p.no_perf = true;
    p.rope_freq_base = (float)m->conf.rope_freq_base;
    p.rope_freq_scale = (float)m->conf.rope_freq_scale;
    if (embeddings) {
        p.abort_callback = told_to_stop;
        p.abort_callback_data = m;
    }
    berth_engine_clear_error();
    struct context_call c = {m, p};
    if (berth_guard_call(true, call_context, &c) < 0 || m->engine == NULL)
        return engine_failed(e, "no context", how->path);
    if (m->only_counts)
        return 0;
    attach_threads(m, threads);
    m->about.threads = (uint32_t)threads;
    if (embeddings && llama_pooling_type(m->engine) == LLAMA_POOLING_TYPE_NONE)
        return berth_err_set(e, BERTH_ECONFIG,
                             "this model does not say how to make one embedding of a text; set "
                             "pooling to mean, cls or last");
    if (embeddings && llama_pooling_type(m->engine) == LLAMA_POOLING_TYPE_RANK)
        return berth_err_set(e, BERTH_EUNSUPPORTED, "a reranking model; it has no embeddings");
    m->bidirectional = llama_get_memory(m->engine) == NULL;
    return 0;
}

static int
make_slots(struct berth_instance *m, struct berth_err *e)
{
    /* The engine may round; what it says is what a sequence gets. */
    m->about.context_len = llama_n_ctx_seq(m->engine);
    if (m->conf.kv_unified)
        m->about.context_len = llama_n_ctx(m->engine) / m->about.sequence_max;
    m->slots = calloc(m->about.sequence_max, sizeof *m->slots);
    m->candidates = calloc((size_t)m->vocab.count, sizeof *m->candidates);
    if (m->slots == NULL || m->candidates == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "sequences: out of memory");
    for (uint32_t i = 0; i < m->about.sequence_max; i++) {
        m->slots[i].tokens = calloc(m->about.context_len, sizeof *m->slots[i].tokens);
        if (m->slots[i].tokens == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "sequences: out of memory");
    }
    return berth_chat_new(m->model, m->conf.chat_template, &m->chat, e);
}

static void
describe_embeddings(struct berth_instance *m)
{
    m->input =
        (struct berth_tensor_spec){.name = "text", .dtype = BERTH_BYTES, .rank = 1, .shape = {-1}};
    m->output = (struct berth_tensor_spec){
        .name = "embedding", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, m->about.embedding_len}};
    m->about.inputs = &m->input;
    m->about.outputs = &m->output;
    m->about.input_count = m->about.output_count = 1;
}

static int
bring_up(struct berth_instance *m, const struct berth_load *how, struct berth_err *e)
{
    int r = load_model(m, how->path, e);

    if (r == 0)
        r = berth_vocab_init(&m->vocab, llama_model_get_vocab(m->model), e);
    if (r == 0)
        r = make_context(m, how, e);
    if (r < 0)
        return r;
    m->batch = llama_batch_init(m->batch_cap, 0, 1);
    if (m->about.sequence_max > 0)
        r = make_slots(m, e);
    else
        describe_embeddings(m);
    m->memory_bytes = berth_engine_memory(m->model, m->engine, false);
    return r < 0 ? r : berth_instance_check_file(m, e);
}

/* An instance with its settings and nothing of the engine's yet. */
static int
begin(const struct berth_host *h, const struct berth_load *how, struct berth_instance **ret,
      struct berth_err *e)
{
    int r = berth_engine_open(h, e);

    if (r < 0)
        return r;
    struct berth_instance *const m = calloc(1, sizeof *m);
    if (m == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "llama: out of memory");
    m->host = h;
    m->about.struct_size = sizeof m->about;
    m->about.platform = "llama_cpp";
    r = berth_llama_settings_init(how->settings_json, &m->conf, e);
    if (r < 0) {
        berth_instance_unload(m);
        return r;
    }
    *ret = m;
    return 0;
}

int
berth_instance_load(const struct berth_host *h, const struct berth_load *how,
                    struct berth_instance **ret, struct berth_err *e)
{
    struct berth_instance *m;
    int r = begin(h, how, &m, e);

    if (r < 0)
        return r;
    r = bring_up(m, how, e);
    if (r < 0) {
        berth_instance_unload(m);
        return r;
    }
    *ret = m;
    return 0;
}

uint64_t
berth_instance_forecast(const struct berth_host *h, const struct berth_load *how)
{
    struct berth_instance *m;
    struct berth_err e; /* what is wrong is told when it is loaded */
    uint64_t bytes = 0;

    if (begin(h, how, &m, &e) < 0)
        return 0;
    m->only_counts = true;
    if (load_model(m, how->path, &e) == 0 && make_context(m, how, &e) == 0)
        bytes = berth_engine_memory(m->model, m->engine, m->conf.mmap && !on_gpu(m));
    berth_instance_unload(m);
    return bytes;
}

int
berth_instance_check_file(const struct berth_instance *m, struct berth_err *e)
{
    if (!berth_torn_is(&m->file))
        return 0;
    return berth_err_set(e, BERTH_EBACKEND,
                         "the model's file was cut off or overwritten while it was in use; load "
                         "it again, and put new files in place by renaming");
}

/* The library that made the threads ends them. */
static void
end_threads(struct berth_instance *m)
{
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    void (*end)(struct ggml_threadpool *);

    *(void **)&end = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu),
                                                       "ggml_threadpool_free");
    if (end != NULL)
        end(m->threads);
}

void
berth_instance_unload(struct berth_instance *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; m->slots != NULL && i < m->about.sequence_max; i++)
        free(m->slots[i].tokens);
    free(m->slots);
    free(m->candidates);
    berth_chat_free(m->chat);
    if (m->batch_cap > 0 && m->batch.token != NULL)
        llama_batch_free(m->batch);
    if (m->engine != NULL)
        llama_free(m->engine);
    if (m->threads != NULL)
        end_threads(m);
    berth_vocab_fini(&m->vocab);
    if (m->model != NULL)
        llama_model_free(m->model);
    berth_llama_settings_fini(&m->conf);
    free(m);
}
