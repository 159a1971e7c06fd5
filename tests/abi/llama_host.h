#ifndef BERTH_TESTS_LLAMA_HOST_H
#define BERTH_TESTS_LLAMA_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

/*
 * The smallest host that a backend can be driven by, in one thread: requests are structs of the
 * test's, what the backend says about one is kept in it.  Faults of the backend (an emit after the
 * end, a request ended twice, text that is no UTF-8) end the test.
 */
enum host_state { HOST_WAITING, HOST_RUNNING, HOST_FINISHED, HOST_FAILED };

struct berth_request {
    struct berth_gen gen;
    enum host_state state;
    bool cancelled;
    char *text; /* NUL-ended; all deltas together */
    size_t text_len;
    size_t deltas;
    uint32_t told; /* tokens that the deltas account for */
    int32_t *ids;  /* told of them when logprobs were asked for */
    float *logprobs;
    int32_t *best; /* the first of each token's top */
    struct berth_finish finish;
    enum berth_code code;
    char message[480];
    /* tensors */
    struct berth_tensor input;
    float *output;
    int64_t rows, columns;
};

struct berth_queue {
    struct berth_request **reqs;
    size_t count, taken;
};

extern const struct berth_host host_calls;
/* How many times the backend has logged that a sequence moved. */
extern size_t host_moves;

/* A greedy request with every option off. */
struct berth_request host_request(uint32_t max_tokens);
void host_request_fini(struct berth_request *r);
/* Text input for run(): BYTES [n]. */
void host_request_texts(struct berth_request *r, const char *const *texts, size_t n);

/* dlopen $BERTH_LLAMA_PLUGIN; ends the test when that fails. */
const struct berth_backend_ops *host_plugin(void);
/* The file `name` in $BERTH_LLAMA_MODELS, else in the cache of models; NULL when it is not there.
 */
const char *host_model(const char *name);
/* step() until nothing is in hand and nothing waits; returns the number of steps.  More than max
 * steps end the test. */
size_t host_drive(const struct berth_backend_ops *ops, struct berth_instance *m,
                  struct berth_queue *q, size_t max);

#endif
