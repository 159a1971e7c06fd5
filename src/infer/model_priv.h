#ifndef BERTH_MODEL_PRIV_H
#define BERTH_MODEL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "infer/batcher.h"
#include "infer/config.h"
#include "infer/cores.h"
#include "infer/lane.h"
#include "infer/ledger.h"
#include "infer/lifecycle.h"
#include "infer/model.h"
#include "infer/pad.h"
#include "infer/placement.h"
#include "infer/request.h"
#include "infer/stats.h"
#include "obs/metrics.h"
#include "plugin/workers.h"

/*
 * A loading of one version: made for it, moved through the states of lifecycle.h, never loaded a
 * second time.  The registry owns it and stops it; dialects and requests hold references, which
 * keep the memory and nothing else.
 */

/* One loaded copy and the thread that works it.  This is also what a backend sees as its queue. */
struct berth_instance_thread {
    struct berth_model *model;
    struct berth_instance *engine;
    pthread_t thread;
    bool started;
    /* Under the model's lock. */
    bool ended, broken; /* broken: it failed again and again, and takes no more work */
    bool asleep;        /* its thread waits for work: a loop may borrow it */
    bool lent;          /* to a loop, which is its thread meanwhile */
    struct berth_request *running[BERTH_BATCH_MAX]; /* what run() works on */
    uint32_t running_len;
    uint32_t cancelling;        /* calls of ops->cancel() going on */
    struct berth_request *hand; /* sequences, linked by ->next; changed by the thread alone */
    uint32_t hand_len;
    /* The thread's own. */
    struct berth_request *batch[BERTH_BATCH_MAX], *single[BERTH_BATCH_MAX];
    struct berth_stats_item items[BERTH_BATCH_MAX];
    uint64_t free_ns; /* when run() ended last */
    struct berth_pad_room pad_room;
    uint32_t failed_steps;
    uint32_t idle_steps; /* steps that neither had nor took a sequence */
    struct berth_cores_turn turn;
    uint64_t step_ns;               /* when the step began that goes on; 0: none */
    uint64_t cores_sum, engine_sum; /* ns waited for cores and inside step(), since the start */
    atomic_uint cores_given;        /* of its last run or step */
};

/* Looked up when the model is made: by its name later, a forgotten one would be found anew. */
struct berth_model_series { /* pointers alone: they are given back as an array */
    struct berth_series *version_ok, *version_error; /* cancelled ones are no error */
    struct berth_series *infer_ok, *infer_error, *infer_canceled, *infer_seconds, *queue_seconds,
        *queue_len, *batch_size, *tokens_in, *tokens_out, *first_token, *sequences, *canceled,
        *refused, *queue_timeouts, *retries, *memory, *load_seconds, *cores_given, *cores_wait,
        *worker_restarts;
    struct berth_series *pad_data, *pad_padding, *pad_lengths[BERTH_PAD_BUCKETS_MAX + 1];
};

struct berth_watchdog;

struct berth_model {
    atomic_uint refs;
    atomic_uint kept; /* of these, held only to tell of it later: no reason to wait when draining */
    struct berth_arena arena; /* everything below that is text or a tree */
    const char *name, *id, *version, *path;
    const struct berth_backend_ops *ops;
    const struct berth_host *host;
    struct berth_isolation isolation; /* .workers NULL: in this process */
    struct berth_model_conf conf;
    struct berth_stats *stats;       /* a reference */
    uint32_t stats_version;          /* its number there */
    struct berth_cache_space *cache; /* NULL: it keeps no answers */
    struct berth_watchdog *watchdog;
    struct berth_cores *cores; /* NULL: engines use all their threads at any time */
    struct berth_cores_account account;
    void (*failed)(void *arg); /* it became FAILED by itself; on an instance's thread */
    void *failed_arg;
    struct berth_model_series series;
    struct berth_metrics *metrics;                   /* where they are from; a reference */
    _Atomic(const struct berth_describe *) describe; /* NULL until it was ready */
    uint64_t memory_bytes, engine_bytes, load_ns, loaded_wall_ns; /* set before READY */
    atomic_size_t output_bytes; /* that a request's outputs took lately */
    uint32_t threads;           /* likewise: of an instance, at most */
    uint64_t generation;        /* the registry's: which load() made it */
    /* The registry's account of it, under the registry's lock; outside: its memory is that of child
     * processes, and engine_bytes is what they have (set before READY). */
    bool outside;
    struct berth_ledger_item parting; /* from when it no longer serves until its memory is back */
    _Atomic(const char *) leaving;    /* berth_model_leave() */

    atomic_bool padding; /* what conf.pad says is done */
    pthread_mutex_t mu;
    pthread_cond_t work;          /* on CLOCK_MONOTONIC: instances wait for requests */
    pthread_cond_t quiet;         /* on CLOCK_MONOTONIC: something ended */
    enum berth_model_state state; /* this and all below under mu */
    char why[480];
    struct berth_batcher batcher;
    bool accepting; /* submit() may queue */
    bool stopping;  /* instances end when their hands are empty */
    uint32_t sleepers;
    bool may_run_here; /* the engine allows it; set before READY */
    struct berth_placement placement;
    struct berth_lane *lanes; /* of loops that ran it */
    uint32_t visitors;        /* calls into the engine from other threads: tokenize */
    struct berth_instance_thread *instances;
    uint32_t instance_len;
    struct berth_model *watch_next, *watch_prev; /* the watchdog's */
};

struct berth_model_make {
    const char *name, *id, *version, *path;
    const struct berth_backend_ops *ops;
    const struct berth_host *host;
    const struct berth_model_conf *conf; /* copied */
    const struct berth_batch_conf *batch;
    struct berth_isolation isolation; /* .workers NULL: in this process */
    struct berth_stats *stats;
    struct berth_cache *cache; /* NULL: none */
    struct berth_metrics *metrics;
    struct berth_watchdog *watchdog;
    struct berth_cores *cores; /* NULL: none */
    void (*failed)(void *arg);
    void *failed_arg;
};
/* A model in state LOADING with one reference. */
int berth_model_new(const struct berth_model_make *make, struct berth_model **ret,
                    struct berth_err *e);
/* Load its instances and start their threads: READY, or FAILED with the reason.  Blocks for as
 * long as the engine needs.  Once. */
int berth_model_start(struct berth_model *m, uint32_t threads, struct berth_err *e);
/* READY to UNLOADED: let those that hold it finish for drain_ns (or until *cut), then cut the rest,
 * and unload. Also for FAILED ones, which stay FAILED.  Blocks.  Once. */
void berth_model_stop(struct berth_model *m, uint64_t drain_ns, const atomic_bool *cut);
/* Why m is to go, for the account of its life: a static text; the first one counts.  Before it is
 * stopped. */
void berth_model_leave(struct berth_model *m, const char *why);
/* State and, when why is not NULL, the reason (copied). */
enum berth_model_state berth_model_state(struct berth_model *m, char why[480]);
/* An engine that cannot go on: READY to FAILED, and nothing more is taken. */
void berth_model_fail(struct berth_model *m, const char *why);
/* Cancel what is dead at now_ns; returns when to come again. */
uint64_t berth_model_expire(struct berth_model *m, uint64_t now_ns);
void berth_model_batch_set(struct berth_model *m, const struct berth_batch_conf *defaults);
/* Take over what c says of batches and queues; the rest needs a load.  Under the registry's lock,
 * as whoever reads m->conf of these. */
void berth_model_conf_set(struct berth_model *m, const struct berth_model_conf *c,
                          const struct berth_batch_conf *defaults);

/* The end of r, which never ran: counted; sets result (and the message of err when it is not 0),
 * posts done().  r is gone then. */
void berth_request_drop(struct berth_request *r, int result, const char *msg);
/* Those that the batcher gave up, linked by ->next: cancelled, late, or past their timeout. */
void berth_requests_drop_dead(struct berth_request *dead, uint64_t now_ns);
/* series.c */
void berth_model_series_init(struct berth_model *m, struct berth_metrics *metrics);
void berth_model_series_release(struct berth_model *m);

/* padding.c.  False: no memory. */
bool berth_model_pad_init(struct berth_model *m, const struct berth_pad_conf *conf,
                          struct berth_metrics *metrics);
/* Before a run of requests that are padded, as berth_pad_begin(); counted. */
int berth_instance_pad(struct berth_instance_thread *i, struct berth_request *const reqs[],
                       uint32_t n, struct berth_err *e);

/* queueing.c.  r fails m's queue: -BERTH_EAGAIN that says which of its bounds. */
int berth_model_full_locked(const struct berth_model *m, const struct berth_request *r,
                            struct berth_err *e);
/* i failed q, with this result, before it gave any output: hand it to another instance, once.
 * False: there is none, or it was not the instance's fault. */
bool berth_instance_try_elsewhere(struct berth_instance_thread *i, struct berth_request *q, int r);
/* Likewise all sequences in i's hand that have said nothing yet. */
void berth_instance_retry_hand(struct berth_instance_thread *i, int result);
/* i fails again and again: it takes no more work.  False: it is the last one. */
bool berth_instance_give_up(struct berth_instance_thread *i, const char *why);
/* What a request whose client is gone ends with. */
int berth_request_dead_result(struct berth_request *r, const char **ret_msg);
bool berth_request_is_dead(struct berth_request *r, uint64_t now_ns);

/* A deep copy; NULL: no memory. */
struct berth_describe *berth_describe_copy(struct berth_arena *a, const struct berth_describe *d);

/* instance.c: the thread's body; under the model's lock: cancel the run if nobody waits for it. */
void *berth_instance_main(void *arg);
/* One batch of what waits, by whoever has the instance; false: none is due for it.  Unlocks
 * meanwhile. */
bool berth_instance_work_locked(struct berth_instance_thread *i);
void berth_instance_cancel_locked(struct berth_instance_thread *i);
struct berth_request *berth_instance_next(struct berth_instance_thread *i);
/* Take r out of the hand, count it and end it. */
void berth_instance_end_sequence(struct berth_request *r, int result, const char *msg);
void berth_model_count_queue_locked(struct berth_model *m); /* into its gauge */
/* Wake instances after a put. */
void berth_model_wake_locked(struct berth_model *m);

/* reuse.c.  Try to answer r from the model's cache: true when done() will come.  On r's loop. */
bool berth_reuse_try(struct berth_model *m, struct berth_request *r);
/* For requests with r->reuse: a piece of its text; and its answer, whole and well, before its end.
 */
void berth_reuse_text(struct berth_request *r, const char *text, size_t len);
void berth_reuse_keep(struct berth_request *r);

/* host.c: before each run of r; and after it, the result for the client. */
void berth_host_run_begin(struct berth_request *r);
int berth_host_run_end(struct berth_request *r);

/* watchdog.c: a thread that cuts what passed its deadline. */
int berth_watchdog_new(struct berth_watchdog **ret, struct berth_err *e);
void berth_watchdog_free(struct berth_watchdog *w);
void berth_watchdog_add(struct berth_watchdog *w, struct berth_model *m);
void berth_watchdog_remove(struct berth_watchdog *w, struct berth_model *m);
void berth_watchdog_note(struct berth_watchdog *w, uint64_t deadline_ns);

#endif
