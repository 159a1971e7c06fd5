#ifndef BERTH_TRACE_H
#define BERTH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A flight recorder: where the time of the last requests went.
 *
 * Each writer (an event loop) has rings of its own, so that a record costs some stores and neither
 * a lock nor a shared cache line.  Three rings: failed requests, slow ones (more than four times
 * what its group took lately) and all others; so the first two are kept longer.  Readers are on any
 * thread and never stop a writer: a record that is written over while it is read is read again, or
 * left out.
 */
struct berth_trace;

enum {
    BERTH_TRACE_ID = 40,
    BERTH_TRACE_NAME = 64,
    BERTH_TRACE_VERSION = 24,
    BERTH_TRACE_WHY = 160,
    BERTH_TRACE_TO = 64,
    BERTH_TRACE_RINGS_MAX = 64
};

/* What is kept of one request.  Texts are NUL-ended, cut where they are too long. */
struct berth_trace_note {
    char id[BERTH_TRACE_ID];
    uint64_t wall_ns; /* CLOCK_REALTIME when its head had come */
    uint64_t end_ns;  /* how long all of it took */
    /* Nanoseconds after its first byte; 0: it did not come to that. */
    uint64_t body_ns;   /* the body was complete; 0: with the head */
    uint64_t submit_ns; /* read, checked and given to the model */
    uint64_t run_ns;    /* taken from the queue */
    uint64_t first_ns;  /* the first piece of its output */
    uint64_t done_ns;   /* the model was done with it */
    /* Nanoseconds. */
    uint64_t load_ns;    /* waited for the model to be loaded, before submit */
    uint64_t company_ns; /* of the queue: for others to run with */
    uint64_t cores_ns;   /* waited for cores, after run */
    uint64_t engine_ns;  /* in the engine */
    uint64_t body_bytes, answer_bytes;
    uint64_t who;      /* of the key that sent it; 0: none */
    const char *route; /* static text: the path's pattern; or NULL */
    const char *code;  /* static text: what kind of failure; or NULL */
    uint32_t tokens_in, tokens_out;
    uint32_t parts; /* requests to the model; the times are of the one that ended last */
    uint32_t batch_requests, batch_max, padded_permille, queue_ahead, runs, instance;
    uint32_t tries; /* of replicas that it was passed on to */
    uint16_t status;
    uint8_t dialect; /* the api's enum */
    bool cached, streamed;
    bool on_loop;                             /* it ran on a loop, not on an instance's thread */
    bool retried;                             /* its first instance failed it */
    _Alignas(8) char model[BERTH_TRACE_NAME]; /* records are copied in words */
    char version[BERTH_TRACE_VERSION];
    char to[BERTH_TRACE_TO];   /* replica of a service that it was passed on to; or empty */
    char why[BERTH_TRACE_WHY]; /* kept only when it failed */
};

/* Did it fail?  Also when its client left (499). */
static inline bool
berth_trace_failed(const struct berth_trace_note *n)
{
    return n->status >= 400;
}

/* About `records` together (at least 64 for each of `writers`).  Memory is touched as it is used.
 * NULL: out of memory. */
struct berth_trace *berth_trace_new(uint32_t records, uint32_t writers);
void berth_trace_free(struct berth_trace *t); /* NULL is fine */

/* Keep a copy of n.  writer: who calls, always on the same thread; those beyond `writers` are not
 * recorded.  group: requests that should take about as long (the model). */
void berth_trace_add(struct berth_trace *t, const void *writer, const void *group,
                     const struct berth_trace_note *n);

/* The newest one of that id for which want() is true (NULL: any).  False: none, or forgotten. */
typedef bool berth_trace_want(const struct berth_trace_note *n, const void *arg);
bool berth_trace_find(const struct berth_trace *t, const char *id, berth_trace_want *want,
                      const void *arg, struct berth_trace_note *ret);

enum berth_trace_order { BERTH_TRACE_NEWEST, BERTH_TRACE_SLOWEST };
/* The first n of those for which want() is true; how many were written to ret. */
size_t berth_trace_list(const struct berth_trace *t, enum berth_trace_order order,
                        berth_trace_want *want, const void *arg, struct berth_trace_note *ret,
                        size_t n);

#endif
