#ifndef BERTH_BACKEND_H
#define BERTH_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/tensor.h>

/*
 * The plugin ABI: what a backend sees of Berth, and all of it.  A backend is a shared object
 * berth-NAME.so that exports one function, BERTH_BACKEND_ENTRY, which returns its operations.
 *
 * Structs that carry struct_size grow at the end; a member beyond the other side's struct_size is
 * not there.  BERTH_BACKEND_ABI changes only when an old plugin would misbehave.
 */
#define BERTH_BACKEND_ABI 1u

struct berth_instance; /* the plugin's own: one loaded copy of a model */
struct berth_request;  /* the host's own: read it through host->... */
struct berth_queue;    /* the host's own: sequences that wait for this instance */

/* What a model can do; dialects offer what the tasks allow. */
enum berth_task {
    BERTH_TASK_TENSOR = 1u << 0,     /* tensors in, tensors out, by run() */
    BERTH_TASK_COMPLETION = 1u << 1, /* text goes on, by step() */
    BERTH_TASK_CHAT = 1u << 2,       /* messages are answered, by step() */
    BERTH_TASK_EMBEDDING =
        1u << 3, /* by run(): input "text" BYTES [n], output "embedding" FP32 [n, d] */
};

/* ---- generation: what a sequence asks for, and what comes back ---- */

struct berth_logit_bias {
    int32_t token;
    float bias;
};

/* All pointers are borrowed and live until the sequence is finished or failed.  Values are in
 * range: the dialect has checked them. */
struct berth_gen {
    uint32_t struct_size;
    uint32_t max_tokens; /* 0: until the context is full */
    /* Exactly one of prompt, prompt_tokens, chat_json is not NULL. */
    const char *prompt; /* UTF-8, NUL-ended, prompt_len bytes */
    size_t prompt_len;
    const int32_t *prompt_tokens;
    size_t prompt_token_count;
    const char
        *chat_json; /* {"messages":[{"role":..,"content":..}..]}, OpenAI's shape, NUL-ended */
    size_t chat_json_len;
    float temperature;                         /* 0: greedy */
    float top_p;                               /* 1: off */
    float min_p;                               /* 0: off */
    int32_t top_k;                             /* 0: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    float repeat_penalty;                      /* 1: off */
    uint64_t seed;                             /* always set; random when the client gave none */
    const char *const *stop;                   /* NUL-ended strings; not part of the output */
    size_t stop_count;
    const struct berth_logit_bias *bias;
    size_t bias_count;
    int32_t logprobs; /* -1: none; n: log-probability of each token and of the n most likely */
    bool echo;        /* completion: the prompt's text comes first */
    bool ignore_eos;  /* go on to max_tokens: for measuring */
    bool seeded;      /* the client gave the seed: for the host */
};

struct berth_token {
    int32_t id;
    float logprob;
    const char *text; /* the token's bytes: not always whole UTF-8 characters */
    size_t text_len;
    const struct berth_token *top; /* the most likely ones, best first; their own top is NULL */
    size_t top_count;
};

/* A piece of output.  Borrowed by the host for the call only. */
struct berth_delta {
    const char *text; /* whole UTF-8 characters; may be empty */
    size_t text_len;
    uint32_t token_count; /* tokens that this piece accounts for */
    const struct berth_token
        *tokens; /* token_count of them when logprobs were asked for, else NULL */
};

enum berth_finish_reason {
    BERTH_FINISH_STOP,   /* end of text, or a stop string */
    BERTH_FINISH_LENGTH, /* max_tokens, or the context is full */
};

struct berth_finish {
    enum berth_finish_reason reason;
    const char *stop; /* the stop string that was met, or NULL */
    uint32_t prompt_tokens, completion_tokens;
    uint32_t cached_tokens; /* of the prompt's, those that needed no work */
};

/* ---- what the host offers ---- */

enum berth_log_level { BERTH_LOG_DEBUG, BERTH_LOG_INFO, BERTH_LOG_WARN, BERTH_LOG_ERROR };

struct berth_host {
    uint32_t struct_size;
    /* Any thread.  A line for the operator, without a newline. */
    void (*log)(enum berth_log_level level, const char *msg);
    /* Any thread.  True once nobody waits for r any more (client gone, deadline passed). */
    bool (*cancelled)(const struct berth_request *r);

    /* Tensor requests; only inside run(), on its thread.  input() is borrowed till run() ends. */
    size_t (*input_count)(const struct berth_request *r);
    const struct berth_tensor *(*input)(const struct berth_request *r, size_t i);
    /* Did the client ask for this output?  (All, when it named none.) */
    bool (*wants)(const struct berth_request *r, const char *name);
    /* Make output `shape->name` and give the buffer of shape->size bytes to fill, aligned to 64;
     * shape->bytes is ignored and everything else is copied.  Host's memory, valid till run()
     * ends.  Returns 0, -BERTH_ENOMEM (the request's limit) or -BERTH_EINVAL (given twice). */
    int (*output)(struct berth_request *r, const struct berth_tensor *shape, void **ret_buf,
                  struct berth_err *e);
    /* This request alone fails; run() still returns 0 and goes on with its neighbours.
     * For sequences see below. */
    void (*fail)(struct berth_request *r, enum berth_code code, const char *msg);

    /* Sequences; only inside step(), on its thread.  next() hands over the oldest waiting one,
     * or NULL; its berth_gen stays until finish() or fail(), after which r must not be touched.
     * Every sequence taken ends in exactly one of them. */
    struct berth_request *(*next)(struct berth_queue *q);
    const struct berth_gen *(*gen)(const struct berth_request *r);
    void (*emit)(struct berth_request *r, const struct berth_delta *delta);
    void (*finish)(struct berth_request *r, const struct berth_finish *finish);
};

/* ---- what the plugin offers ---- */

enum berth_setting_type {
    BERTH_SETTING_INT,
    BERTH_SETTING_FLOAT,
    BERTH_SETTING_BOOL,
    BERTH_SETTING_STRING
};

/* A model setting that this backend understands.  The host refuses unknown keys, wrong types and
 * numbers outside [min, max] (when min < max) before load() sees them. */
struct berth_setting {
    const char *key; /* NULL ends the table */
    enum berth_setting_type type;
    double min, max;
    const char *dflt; /* as text, for documentation */
    const char *help; /* one line */
};

#define BERTH_THREADS_NONE UINT32_MAX

/* What a loaded instance is.  Owned by the instance, constant until unload(). */
struct berth_describe {
    uint32_t struct_size;
    uint32_t tasks;       /* of enum berth_task */
    const char *platform; /* "onnx_onnxv1", "llama_cpp", ... */
    const struct berth_tensor_spec *inputs, *outputs;
    size_t input_count, output_count;
    /* Rows one run() may carry along dimension 0 of every tensor: 0 when there is no batch
     * dimension (requests run one by one), 1 when it is fixed to 1, UINT32_MAX when free. */
    uint32_t batch_rows_max;
    uint32_t sequence_max;  /* sequences at once; 0 without step() */
    uint32_t context_len;   /* tokens a sequence may have; 0 without step() */
    uint32_t embedding_len; /* floats an embedding has; 0 without it */
    /* Cores that a run or step keeps busy at most; 0: as berth_load.threads said;
     * BERTH_THREADS_NONE: it waits for something else all the time. */
    uint32_t threads;
};

struct berth_load {
    uint32_t struct_size;
    const char *path;          /* the model's file, or the version's folder */
    const char *settings_json; /* an object of this backend's settings, checked; "{}" at least */
    uint32_t threads;          /* cores this instance may keep busy, at least 1 */
    const struct berth_isolation *isolation; /* the host's own: not for plugins */
};

/* A model's file written anew with smaller numbers. */
struct berth_quantize {
    uint32_t struct_size;
    const char *path, *out; /* out: a file that is made, or written over */
    const char *type;       /* the engine's name for it, in lower case: "q8_0" */
    uint32_t threads;       /* 0: as many as there are cores */
    bool again;             /* also of numbers that are quantised already, which costs quality */
};

struct berth_backend_ops {
    uint32_t abi;                         /* = BERTH_BACKEND_ABI */
    uint32_t struct_size;                 /* = sizeof this struct in the plugin's headers */
    const char *name;                     /* "onnx"; static storage, as all below */
    const char *version;                  /* of the engine: "1.31.1" */
    const char *const *suffixes;          /* file names it takes: {".onnx", NULL} */
    const struct berth_setting *settings; /* NULL: none */

    /* Required.  One caller at a time for one instance, on any thread; may take long.
     * load: 0 and *ret, or -BERTH_EINVAL (the file), -BERTH_ENOMEM, -BERTH_EBACKEND with *e. */
    int (*load)(const struct berth_host *h, const struct berth_load *how,
                struct berth_instance **ret, struct berth_err *e);
    void (*unload)(struct berth_instance *m); /* m may be NULL */
    const struct berth_describe *(*describe)(const struct berth_instance *m);

    /* One of run and step at least.  Both are called on the instance's thread, never at once.
     * run: blocks; n >= 1 requests with equal names, types and shapes but for dimension 0, their
     * rows together at most batch_rows_max.  Returns 0 (requests failed singly included), or
     * -BERTH_E... for the whole batch: the host then tries them one by one. */
    int (*run)(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
               struct berth_err *e);
    /* step: takes new sequences with host->next(), does one engine step (10 to 50 ms), emits what
     * came of it.  Returns how many sequences are still in hand, or -BERTH_E...: the host then
     * fails every sequence in hand and calls step() again only after reset(). */
    int (*step)(struct berth_instance *m, struct berth_queue *q, struct berth_err *e);

    /* Optional from here on: NULL, or beyond struct_size, means "not offered". */
    /* Forget every sequence in hand after a failed step.  Instance's thread. */
    void (*reset)(struct berth_instance *m);
    /* Nobody waits for the batch that run() works on: end soon with -BERTH_ECANCELED.  Any
     * thread, also when no run() is going on (then without effect on later ones). */
    void (*cancel)(struct berth_instance *m);
    /* Bytes that the engine says it holds for m; 0 when it cannot tell.  Any thread. */
    uint64_t (*memory)(const struct berth_instance *m);
    /* Text to tokens and back, for sequence models; any thread.  tokenize returns how many tokens
     * the text has and writes at most cap of them. */
    int64_t (*tokenize)(const struct berth_instance *m, const char *text, size_t len, bool special,
                        int32_t *ret, size_t cap);
    /* The next run() or step(), and all after it, may keep n cores busy: 1 up to what describe()
     * said.  An engine without this gets all of its threads or waits.  Instance's thread. */
    void (*threads)(struct berth_instance *m, uint32_t n);
    /* May run() be called on any thread (still one at a time), and does it do nothing but compute?
     * Then the host runs small batches on the thread that parsed them. */
    bool (*any_thread)(const struct berth_instance *m);
    /* What memory() would say of an instance that was loaded like this, from the file's head alone:
     * at most some tenths of a second, and nothing stays.  0: it cannot tell.  Any thread. */
    uint64_t (*forecast)(const struct berth_host *h, const struct berth_load *how);
    /* Blocks for minutes, for a process of its own: it may take the memory of the whole model.
     * What is at `out` after a failure is not to be used.  -BERTH_EINVAL: the file, or a type that
     * is not known (the message lists them); -BERTH_EIO; -BERTH_EBACKEND. */
    int (*quantize)(const struct berth_host *h, const struct berth_quantize *how,
                    struct berth_err *e);
};

/* Does the plugin offer `member`?  True only when it was compiled with it and set it. */
#define BERTH_HAS(ops, member)                                                                 \
    ((ops)->struct_size >= offsetof(struct berth_backend_ops, member) + sizeof(ops)->member && \
     (ops)->member != NULL)

/* The one exported symbol.  Returns static storage, or NULL with *e filled.  Called once. */
typedef const struct berth_backend_ops *berth_backend_entry_fn(const struct berth_host *h,
                                                               struct berth_err *e);
#define BERTH_BACKEND_ENTRY "berth_backend_entry"
#ifdef __cplusplus
extern "C"
#endif
    __attribute__((visibility("default"))) const struct berth_backend_ops *
    berth_backend_entry(const struct berth_host *h, struct berth_err *e);

#endif
