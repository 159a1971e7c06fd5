#ifndef BERTH_WORKERS_H
#define BERTH_WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

struct berth_plugins;

/*
 * Backends in processes of their own.  A model whose backend is isolated is loaded through
 * operations that look like the backend's, but work in a child ("worker"): when that dies, or does
 * not end a run, its own requests fail and it is started again; nothing else notices.
 *
 * One thread (the warden) starts, watches, adopts and ends the workers.  Any thread may call.
 */
struct berth_workers;

struct berth_workers_conf {
    const char *program;   /* what is started as "PROGRAM worker ..."; NULL: this program */
    const char *state_dir; /* its folder workers/ is where workers are found again; NULL: nowhere,
                              and they end with this process */
    struct berth_plugins *plugins;
    uint64_t load_ns_max; /* longest load */
    uint64_t adopt_ns;    /* how long a worker waits for the next server when this one is gone */
};
int berth_workers_new(const struct berth_workers_conf *conf, struct berth_workers **ret,
                      struct berth_err *e);
/* Every model must be unloaded.  NULL is fine. */
void berth_workers_free(struct berth_workers *w);
/* From now on unload() leaves a worker that is ready to the next server. */
void berth_workers_keep(struct berth_workers *w);
/* From now on a load fails at once, whatever the engine does, so that nobody waits for it. */
void berth_workers_end_loads(struct berth_workers *w);
/* The same for the loads of one model that are going on: nobody wants it any more.  Those that
 * begin later are none of it. */
void berth_workers_end_loads_of(struct berth_workers *w, const char *model);

/* The operations to use instead of `real` for models that are to be isolated: with its name,
 * version, suffixes and settings.  They live as long as w.  NULL: no memory. */
const struct berth_backend_ops *berth_workers_ops(struct berth_workers *w,
                                                  const struct berth_backend_ops *real);

/* How one model is isolated; berth_load.isolation points to it for these operations.  Borrowed for
 * load(), but for failed_arg, which must stay until unload(). */
struct berth_isolation {
    struct berth_workers *workers;
    const struct berth_backend_ops *real;
    const char *name, *version; /* of the model: for messages and to find its workers again */
    uint64_t memory_bytes_max;  /* of the process; 0: no limit */
    uint64_t run_ns_max;        /* longest run or step; 0: no limit */
    bool keep_core;             /* a core file is left in the state folder's workers/cores/ */
    /* It was given up: too many crashes.  On the warden's thread, once. */
    void (*failed)(void *arg, const char *why);
    /* It is back after its end, for the reason why; with failed_arg, as above. */
    void (*restarted)(void *arg, const char *why);
    void *failed_arg;
};

/* End the worker of an isolated instance at once: its run or step then fails.  Any thread. */
void berth_isolated_kill(struct berth_instance *m, const char *why);
/* Wait until it can take work: for a run until it can, or never will, or cancel() is called; for a
 * step a little.  Instance's thread. */
void berth_isolated_wait(struct berth_instance *m, bool running);
/* CPU time of the worker's own thread in the last run or step.  Instance's thread. */
uint64_t berth_isolated_cpu_ns(struct berth_instance *m);
/* Its process, or 0 while there is none; and how often it was started again. */
struct berth_isolated_state {
    int64_t pid;
    uint64_t restarts;
    bool adopted;
};
struct berth_isolated_state berth_isolated_state(struct berth_instance *m);

#endif
