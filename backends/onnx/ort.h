#ifndef BERTH_ONNX_ORT_H
#define BERTH_ONNX_ORT_H

#include <pthread.h>

#include <onnxruntime_c_api.h>

#include <berth/backend.h>

/* What the files of this backend share.  Nobody else includes it. */

/* ONNX Runtime in this process: filled once when the plugin is opened, constant from then on. */
struct ort_engine {
    const OrtApi *api;
    uint32_t api_level; /* of api: members added later must not be touched */
    OrtEnv *env;        /* one for all sessions: log and global state */
    OrtMemoryInfo *cpu;
    OrtAllocator *alloc; /* the engine's own plain one: for names and string tensors */
    char version[32];
};

/* One input or output.  `type_info` owns the strings of `symbols`. */
struct ort_port {
    struct berth_tensor_spec spec; /* name: from alloc */
    ONNXTensorElementDataType type;
    OrtTypeInfo *type_info;
    const char *symbols[BERTH_RANK_MAX]; /* a varying dimension's name; "" when it has none */
    /* Outputs only: where a varying dimension's length is to be read, as input * RANK_MAX + dim. */
    uint32_t from[BERTH_RANK_MAX];
    bool known;                   /* every dimension is fixed or can be read from the inputs */
    bool checked;                 /* and a run has given the shape `seen` as expected */
    int64_t seen[BERTH_RANK_MAX]; /* the instance's thread only, as `checked` */
};

struct berth_instance {
    const struct ort_engine *o;
    const struct berth_host *h;
    OrtSession *session;
    OrtRunOptions *run_options;
    OrtAllocator *session_alloc; /* NULL when the engine cannot tell its memory */

    struct berth_describe describe;
    struct ort_port *inputs, *outputs;
    struct berth_tensor_spec *input_specs, *output_specs;
    const char **input_names;

    pthread_mutex_t mu;
    bool running, cancelled; /* under mu */

    /* Room for one run; the instance's thread only. */
    const struct berth_tensor **tensors; /* a request's inputs in the model's order */
    OrtValue **input_values, **output_values;
    const char **wanted_names;
    size_t *wanted; /* indices into outputs */
    unsigned char *scratch;
    size_t scratch_cap;
};

/* Turn a failed status into -CODE with its message behind `what`, and release it. */
int ort_fail(const struct ort_engine *o, OrtStatus *status, const char *what, struct berth_err *e);

/* session.c: everything of m but h, o and mu.  `path` is a file. */
int ort_session_open(struct berth_instance *m, const char *path, const struct berth_load *how,
                     struct berth_err *e);
void ort_session_close(struct berth_instance *m);
/* Cores that a run keeps busy at most. */
uint32_t ort_session_threads(const struct berth_load *how);

/* ports.c: inputs, outputs and what follows from them, for an open session. */
int ort_ports_open(struct berth_instance *m, struct berth_err *e);
void ort_ports_close(struct berth_instance *m);

/* run.c: berth_backend_ops.run and .cancel. */
int ort_run(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
            struct berth_err *e);
void ort_cancel(struct berth_instance *m);

/* values.c: tensors to the engine's values and back.  Values are the caller's to release. */

/* A value over t's bytes, with `rows` instead of dimension 0 where rows >= 0; BYTES are copied. */
int ort_value_over(const struct berth_instance *m, const struct ort_port *port,
                   const struct berth_tensor *t, int64_t rows, OrtValue **ret, struct berth_err *e);
/* A string value of t's shape but `rows` rows, to be filled. */
int ort_value_strings(const struct berth_instance *m, const struct berth_tensor *t, int64_t rows,
                      OrtValue **ret, struct berth_err *e);
/* Put t's elements into v from element `at` on; *ret_at gets the next one. */
int ort_value_put_strings(const struct berth_instance *m, OrtValue *v, const struct berth_tensor *t,
                          size_t at, size_t *ret_at, struct berth_err *e);
/* What v is: *ret has no name, and bytes only where it is not BYTES (borrowed from v). */
int ort_value_tensor(const struct berth_instance *m, const struct ort_port *port, OrtValue *v,
                     struct berth_tensor *ret, struct berth_err *e);
/* Give `rows` rows of v from row `row` on to r as the output `port`; all of v when rows < 0.
 * `whole` is what ort_value_tensor() said of v. */
int ort_value_give(const struct berth_instance *m, const struct ort_port *port, OrtValue *v,
                   const struct berth_tensor *whole, int64_t row, int64_t rows,
                   struct berth_request *r, struct berth_err *e);

/* Bytes of one element; 0 for BYTES. */
size_t ort_width(enum berth_dtype dtype);

#endif
