#ifndef BERTH_LLAMA_SETTINGS_H
#define BERTH_LLAMA_SETTINGS_H

#include <stdint.h>

#include <berth/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The settings of this backend: one table, from which the host's table, the struct and the parser
 * are made.  A BOOL that was not given keeps its start value; -1 means "as the model wants".
 */
/*  type    name          start  min max      default as text, help */
#define BERTH_LLAMA_SETTINGS(X)                                                                  \
    X(INT, context_length, 0, 0, 1 << 24, "0",                                                   \
      "tokens one sequence may have, prompt and answer together; 0: the model's, at most 4096")  \
    X(INT, max_context_length, 0, 0, 1 << 24, "0", "the same as context_length")                 \
    X(INT, parallel, 0, 0, 256, "0",                                                             \
      "sequences at once; 0: 8, or 4 when 8 would need over 512 MiB")                            \
    X(INT, batch, 0, 0, 65536, "0",                                                              \
      "prompt tokens a step takes at most; 0: 64 on CPU, 512 with layers on a GPU")              \
    X(INT, ubatch, 0, 0, 65536, "0", "tokens the engine computes at once; 0: as many as a step") \
    X(INT, threads, 0, 0, 512, "0", "threads of the engine; 0: what Berth assigns")              \
    X(INT, gpu_layers, -1, -1, 100000, "-1", "layers on the GPU; -1: all, when there is one")    \
    X(INT, main_gpu, 0, 0, 255, "0", "the GPU to use when the model is not split")               \
    X(BOOL, mmap, 1, 0, 0, "true", "map the file instead of reading it")                         \
    X(BOOL, mlock, 0, 0, 0, "false", "keep the weights from being swapped out")                  \
    X(STRING, flash_attention, "auto", 0, 0, "auto", "auto, on or off")                          \
    X(STRING, cache_type_k, "f16", 0, 0, "f16",                                                  \
      "type of the cached keys: f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl")                   \
    X(STRING, cache_type_v, "f16", 0, 0, "f16", "type of the cached values, as cache_type_k")    \
    X(BOOL, kv_unified, 0, 0, 0, "false", "one key-value buffer for all sequences")              \
    X(BOOL, cache_prompt, 1, 0, 0, "true", "start from what a former prompt has in common")      \
    X(BOOL, embedding, -1, 0, 0, "the model's", "give embeddings instead of text")               \
    X(STRING, pooling, "", 0, 0, "the model's", "how embeddings are made: mean, cls or last")    \
    X(BOOL, normalize, 1, 0, 0, "true", "scale embeddings to length 1")                          \
    X(STRING, chat_template, "", 0, 0, "the model's",                                            \
      "a Jinja template, or a name llama.cpp knows")                                             \
    X(FLOAT, rope_freq_base, 0, 0, 1e12, "0", "RoPE base frequency; 0: the model's")             \
    X(FLOAT, rope_freq_scale, 0, 0, 1e6, "0", "RoPE frequency scale; 0: the model's")

struct berth_llama_settings {
#define BERTH_LLAMA_INT(name)                      int64_t name;
#define BERTH_LLAMA_FLOAT(name)                    double name;
#define BERTH_LLAMA_BOOL(name)                     int name;
#define BERTH_LLAMA_STRING(name)                   char *name;
#define X(type, name, start, min, max, dflt, help) BERTH_LLAMA_##type(name)
    BERTH_LLAMA_SETTINGS(X)
#undef X
};

/* The table for the host; static storage. */
const struct berth_setting *berth_llama_settings_table(void);

/* Read the JSON object.  Returns 0, -BERTH_ECONFIG (not an object, a wrong type or number, an
 * unknown key) or -BERTH_ENOMEM.  On success the caller calls fini; on failure *ret is untouched.
 */
int berth_llama_settings_init(const char *json, struct berth_llama_settings *ret,
                              struct berth_err *e);
/* Free the strings; zeroed is fine. */
void berth_llama_settings_fini(struct berth_llama_settings *s);

#ifdef __cplusplus
}
#endif

#endif
