#ifndef BERTH_REQUEST_H
#define BERTH_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

#include "base/arena.h"
#include "os/loop.h"

/*
 * One piece of work for a model, filled by a dialect, run by an instance.
 *
 * Life: the dialect zeroes it, fills the first part, calls berth_model_submit() on its loop and
 * must then leave it alone (but for berth_request_cancel()) until done() has run on that loop.
 * What inputs, wanted and gen point to is borrowed until then.  `arena` belongs to the core from
 * submit to done(): outputs are there.
 */
struct berth_request {
    /* Filled by the dialect. */
    struct berth_loop *loop; /* where delta() and done() run */
    void *user;
    /* A piece of a sequence's output; borrowed for the call.  NULL for tensor requests. */
    void (*delta)(struct berth_request *r, const struct berth_delta *d);
    /* The end, exactly once after a successful submit: result, err, outputs, finish are set. */
    void (*done)(struct berth_request *r);
    enum berth_task task;
    const struct berth_tensor *inputs; /* TENSOR, EMBEDDING */
    size_t input_count;
    const char *const *wanted; /* names of outputs; none: all */
    size_t wanted_count;
    struct berth_gen gen;      /* COMPLETION, CHAT */
    uint64_t deadline_ns;      /* CLOCK_MONOTONIC; 0: none.  Passed: done() with -BERTH_EDEADLINE */
    uint32_t priority;         /* 1: first, ...; 0: the model's default */
    uint64_t queue_timeout_ns; /* longest wait in the queue; 0: the model's */
    struct berth_arena arena;  /* initialised by the dialect: its limit bounds the outputs */

    /* Set by the core before done(). */
    int result; /* 0, or -BERTH_E... with err */
    struct berth_err err;
    struct berth_tensor *outputs; /* in the order wanted, else the model's */
    size_t output_count;
    struct berth_finish finish;
    uint64_t submit_ns, run_ns, first_ns,
        done_ns;              /* run_ns: taken from the queue; first_ns: first delta */
    uint64_t company_ns;      /* of submit_ns to run_ns, while an engine was free: for company */
    uint64_t cores_ns;        /* waited for cores, of run_ns to done_ns */
    uint64_t engine_ns;       /* inside the engine */
    uint32_t batch_requests;  /* how many ran together, this one included */
    uint32_t batch_max;       /* how many could have */
    uint32_t queue_ahead;     /* waited already when it came */
    uint32_t runs;            /* more than 1: its batch failed, and it ran again */
    uint32_t instance_number; /* of the model's instances, the one that ran it: 0, ... */
    uint32_t padded_permille; /* of the batch's elements, those that were padding */
    bool on_loop;             /* it ran on a loop, not on the instance's thread */
    bool cached;              /* answered from the response cache: no run */

    /* The core's own. */
    atomic_bool cancelled;                  /* nobody waits for it any more */
    atomic_bool expired;                    /* ... because its deadline passed */
    atomic_bool slow;                       /* ... because deltas piled up */
    atomic_size_t delta_bytes, delta_count; /* on their way to the loop */
    struct berth_reuse *reuse;              /* its answer is to be cached; NULL: not */
    const struct berth_cached *kept;        /* where its answer came from */
    struct berth_model *model;
    struct berth_instance_thread *instance; /* under the model's lock */
    struct berth_request *next, *prev;
    struct berth_msg msg;
    uint32_t rows, output_cap;
    uint64_t shape_hash;
    bool failed; /* by host->fail() */
    /* Padding (infer/pad.c): what of its inputs may differ from its neighbours', or NULL; what the
     * backend sees instead of inputs, or NULL. */
    const struct berth_pad_conf *pad;
    const struct berth_tensor *run_inputs;
    uint32_t bucket;
    /* While it waits (infer/batcher.c, under the model's lock). */
    bool queued;
    bool timed_out;                  /* it waited longer than the policy of its queue allows */
    bool retried;                    /* its first instance failed */
    uint8_t queue_group, queue_list; /* where */
    uint64_t queue_until_ns;         /* its policy's end of waiting; 0: none, or past */
    uint64_t expire_ns;              /* deadline_ns or queue_until_ns, what comes first */
    struct berth_request *heap_child, *heap_next, *heap_prev;
    const struct berth_instance_thread *avoid; /* the instance that failed it, or NULL */
};

/* On r's loop, between submit and done(): nobody wants the answer any more.  done() still comes,
 * with -BERTH_ECANCELED (or its result, when it was faster).  Idempotent. */
void berth_request_cancel(struct berth_request *r);

#endif
