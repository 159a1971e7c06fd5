#ifndef BERTH_WORKQ_H
#define BERTH_WORKQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

/*
 * A queue of keys to be reconciled: each key once, first due first served, never handed out twice
 * at a time, with a growing wait after failures.
 *
 * Pure: no clock, no lock, no randomness of its own.  One caller at a time (recon/reconciler.h
 * holds the lock).  Time is any clock that does not go back, in nanoseconds.
 */
struct berth_workq;

/* Bytes without the NUL: "SPACE/NAME" of any Kubernetes object fits. */
enum { BERTH_WORKQ_KEY_MAX = 320, BERTH_WORKQ_KEYS_MAX = 1 << 20 };

struct berth_workq_conf {
    uint32_t keys_max;             /* waiting and in work, 1..BERTH_WORKQ_KEYS_MAX; 0: 65536 */
    uint64_t backoff_first_ns;     /* after the first failure, then doubled; 0: 5 ms */
    uint64_t backoff_max_ns;       /* 0: 1000 s */
    uint32_t jitter_percent;       /* 0..100: a wait is lengthened by up to that */
    uint64_t (*random)(void *arg); /* NULL: no jitter */
    void *random_arg;
};

/* What became of a key that was in work. */
enum berth_outcome_kind {
    BERTH_OUTCOME_OK,    /* as wished: failures are forgotten, it comes again after after_ns; 0:
                            only when it is added again */
    BERTH_OUTCOME_AFTER, /* under way: it comes again after after_ns; failures stay counted */
    BERTH_OUTCOME_FAILED /* it comes again after its back-off, which begins with after_ns where that
                            is more than backoff_first_ns */
};
struct berth_outcome {
    enum berth_outcome_kind kind;
    uint64_t after_ns;
};

/* Create one.  On success *ret is the caller's, to be given to berth_workq_free().
 * -BERTH_EINVAL a setting is out of range, -BERTH_ENOMEM */
int berth_workq_new(const struct berth_workq_conf *conf, struct berth_workq **ret);
void berth_workq_free(struct berth_workq *q); /* NULL is fine; also with keys in it */

/*
 * Something about key changed: have it looked at now.  What waits (also in back-off) becomes due; a
 * key in work is marked and comes again at once when it is done.  The key is copied.
 *   -BERTH_EINVAL     empty, or longer than BERTH_WORKQ_KEY_MAX
 *   -BERTH_ELIMIT     keys_max are in the queue
 *   -BERTH_ECANCELED  closed
 *   -BERTH_ENOMEM
 */
int berth_workq_add(struct berth_workq *q, const char *key, uint64_t now_ns);
/* Look at it no later than after_ns from now; what would come earlier does. */
int berth_workq_add_after(struct berth_workq *q, const char *key, uint64_t after_ns,
                          uint64_t now_ns);

/*
 * Take the key that has been due for longest; keys due since the same time come in the order they
 * were added.  It is the caller's to work on until berth_workq_done(); *ret_key is borrowed until
 * then, and *ret_at_ns is since when it was due.  False: none is due (or closed), and *ret_at_ns is
 * when the next will be (UINT64_MAX: never, unless one is added).
 */
bool berth_workq_take(struct berth_workq *q, uint64_t now_ns, const char **ret_key,
                      uint64_t *ret_at_ns);
/* The end of a key that was taken; it is gone from the caller's hands, and so is its text. */
void berth_workq_done(struct berth_workq *q, const char *key, struct berth_outcome outcome,
                      uint64_t now_ns);
/* How often in a row it failed; 0 also for an unknown one. */
uint32_t berth_workq_failures(const struct berth_workq *q, const char *key);

/* From now on nothing is added nor handed out; what is in work ends with berth_workq_done(). */
void berth_workq_close(struct berth_workq *q);

struct berth_workq_stats {
    uint32_t waiting, due, in_work; /* due: those of the waiting whose time has come */
    uint64_t adds;                  /* keys asked for, merged ones too */
    uint64_t merged;                /* of these: were in the queue already */
    uint64_t retries;               /* outcomes that were FAILED */
    uint64_t refused;               /* -BERTH_ELIMIT */
};
/* Walks the waiting keys: for a reader of metrics, not for each key. */
void berth_workq_stats(const struct berth_workq *q, uint64_t now_ns, struct berth_workq_stats *ret);

/* The wait after the failure number `failures` (from 1) as the queue counts it, without jitter. */
uint64_t berth_workq_backoff_ns(const struct berth_workq_conf *conf, uint32_t failures);

#endif
