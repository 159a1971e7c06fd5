#ifndef BERTH_RECONCILER_H
#define BERTH_RECONCILER_H

#include <stdint.h>

#include "recon/workq.h"

/*
 * A few threads that reconcile the keys of a work queue.  One key is never in two of them.  The
 * calls below are for any thread and wait for nothing but a short lock, except where said.
 */
struct berth_reconciler;

enum { BERTH_RECONCILER_THREADS_MAX = 64 };

struct berth_reconciler_conf {
    const char *name;              /* of the threads, at most 15 bytes; NULL: "reconcile" */
    uint32_t thread_count;         /* 1..BERTH_RECONCILER_THREADS_MAX; 0: 5 */
    struct berth_workq_conf queue; /* random may be NULL: the kernel's is used */
    /*
     * Bring one key about; on a worker's thread, with no lock held.  It may block; a stop waits for
     * it.  0 and *ret set (it comes in as OK and never again), or < 0, which is FAILED.
     */
    int (*reconcile)(void *arg, const char *key, struct berth_outcome *ret);
    void *arg; /* stays the caller's until berth_reconciler_free() */
};

/* Create them, running.  -BERTH_EINVAL, -BERTH_ENOMEM, -BERTH_ELIMIT (no more threads to be had) */
int berth_reconciler_new(const struct berth_reconciler_conf *conf, struct berth_reconciler **ret,
                         struct berth_err *e);
/* As the queue's; -BERTH_ECANCELED after berth_reconciler_stop(). */
int berth_reconciler_add(struct berth_reconciler *w, const char *key);
int berth_reconciler_add_after(struct berth_reconciler *w, const char *key, uint64_t after_ns);

/* Take nothing new and wait up to limit_ns for what is in work.  0, or -BERTH_EDEADLINE when some
 * of it goes on.  May be called again. */
int berth_reconciler_stop(struct berth_reconciler *w, uint64_t limit_ns);
/* Stops, waits for what is in work however long it takes, and frees.  NULL is fine. */
void berth_reconciler_free(struct berth_reconciler *w);

struct berth_reconciler_stats {
    struct berth_workq_stats queue;
    uint32_t threads, busy;
    uint64_t done, failed; /* reconciles that ended; of these, failed */
    uint64_t busy_ns;      /* the sum of their times */
    uint64_t wait_ns;      /* the sum of the times that keys were due before they were taken */
    uint64_t longest_ns;   /* the one in work for longest now; 0: none */
    char longest_key[BERTH_WORKQ_KEY_MAX + 1];
};
void berth_reconciler_stats(struct berth_reconciler *w, struct berth_reconciler_stats *ret);

#endif
