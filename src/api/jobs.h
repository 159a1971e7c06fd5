#ifndef BERTH_API_JOBS_H
#define BERTH_API_JOBS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <berth/err.h>

struct berth_call;

/*
 * Threads for handlers that may block.  One for changes of models, which are in order; some for
 * services, whose environments may take their time.  Bounded: what does not fit is refused.
 */
enum { BERTH_JOB_THREADS_MAX = 4, BERTH_JOBS_MAX = 256 };

struct berth_jobs {
    pthread_mutex_t mu;
    pthread_cond_t wake;
    struct berth_call *first, **last; /* under mu */
    uint32_t count;                   /* under mu */
    bool stop;                        /* under mu */
    pthread_t threads[BERTH_JOB_THREADS_MAX];
    uint32_t thread_count;
};

/* name: of the threads, in ps.  -BERTH_ENOMEM */
int berth_jobs_init(struct berth_jobs *j, const char *name, uint32_t threads, struct berth_err *e);
/* Finish what waits, refuse more.  Idempotent; also for one that is zeroed. */
void berth_jobs_stop(struct berth_jobs *j);
void berth_jobs_fini(struct berth_jobs *j); /* stopped first */
/* Run c->job on one of the threads, and send c->reply on c's loop.  False: too many wait, or they
 * are stopped. */
bool berth_jobs_put(struct berth_jobs *j, struct berth_call *c);

#endif
