#ifndef BERTH_WORKERS_PRIV_H
#define BERTH_WORKERS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/arena.h"
#include "plugin/control.h"
#include "plugin/message.h"
#include "plugin/noise.h"
#include "plugin/region.h"
#include "plugin/workers.h"

/*      state      may move to */
#define BERTH_WORKER_STATES(X)                                                                 \
    X(STARTING, BERTH_WORKER_TO(READY) | BERTH_WORKER_TO(DOWN) | BERTH_WORKER_TO(BROKEN) |     \
                    BERTH_WORKER_TO(ENDING) | BERTH_WORKER_TO(GONE))                           \
    X(READY, BERTH_WORKER_TO(DOWN) | BERTH_WORKER_TO(BROKEN) | BERTH_WORKER_TO(ENDING) |       \
                 BERTH_WORKER_TO(GONE))                                                        \
    X(DOWN, BERTH_WORKER_TO(STARTING) | BERTH_WORKER_TO(GONE)) /* waits to be started again */ \
    X(BROKEN, BERTH_WORKER_TO(GONE))                           /* given up */                  \
    X(ENDING, BERTH_WORKER_TO(GONE))                                                           \
    X(GONE, 0)
#define BERTH_WORKER_TO(s) (1u << BERTH_WORKER_##s)
enum berth_worker_state {
#define X(name, to) BERTH_WORKER_##name,
    BERTH_WORKER_STATES(X)
#undef X
        BERTH_WORKER_STATE_COUNT
};

enum {
    BERTH_SOCKET_NAME_MAX = 64,
    BERTH_CRASHES_MAX = 5, /* within crash_window_ns: then the model is given up */
    BERTH_WORKERS_MAX = 4096,
};

/* A worker, as the server has it.  This is also what the core has as its berth_instance. */
struct berth_worker {
    /* Constant. */
    struct berth_workers *all;
    const struct berth_backend_ops *real;
    const struct berth_host *host;
    char *name, *key, *path, *settings_json, *plugin_dir;
    uint64_t model_hash, key_hash;
    uint32_t threads;
    uint64_t memory_bytes_max, run_ns_max;
    bool keep_core;
    void (*failed)(void *arg, const char *why);
    void (*restarted)(void *arg, const char *why);
    void *failed_arg;

    atomic_bool unwanted; /* its first load is to end */
    /* The warden's. */
    int log_fd;
    struct berth_noise noise;
    bool is_child; /* of this process: else adopted */
    bool adopting, adopt_tried, loaded_once;
    char socket_name[BERTH_SOCKET_NAME_MAX]; /* "": it cannot be found again */
    uint64_t start_by_ns, restart_ns, end_by_ns, memory_at_ns, log_at_ns, hangup_ns;
    uint64_t crashes_ns[BERTH_CRASHES_MAX]; /* when, the oldest overwritten */
    uint32_t crash_count;
    uint32_t load_seq;

    pthread_mutex_t mu; /* this and all below */
    pthread_cond_t changed;
    enum berth_worker_state state;
    bool end_asked, adopted;
    pid_t pid; /* 0: none */
    int pid_fd, control_fd;
    char kill_why[320]; /* why we killed it; "": we did not */
    char why[480];      /* of the last death, or of a load that failed */
    int load_result;    /* of the last load: 0 or -BERTH_E... */
    uint32_t calls;     /* lane calls that use the region */
    uint64_t restarts;
    uint64_t loaded_bytes; /* that it took after its load, as it says; 0: asked once already */
    struct berth_region region;
    struct berth_arena describe_arena;
    const struct berth_describe *describe; /* of the first load; constant then */
    uint32_t working_seq;                  /* a run's, while it is in the lane */
    bool run_active, run_cancelled;
    uint64_t cancelled_ns;

    /* The instance's thread's: see proxy.c. */
    uint32_t run_seq;
    unsigned char *copy; /* of the worker's last message */
    size_t copy_cap;
    struct berth_arena event_arena;
    struct berth_request *sequences[BERTH_SEQUENCES_MAX];
    uint32_t sequence_len;
    uint64_t cpu_ns;      /* of the worker in the last call */
    uint32_t threads_now; /* the engine is to use; 0: as loaded */
    /* Of whoever holds side_mu. */
    pthread_mutex_t side_mu;
    uint32_t side_seq;

    struct berth_worker *next; /* under all->mu */
};

struct berth_workers {
    struct berth_workers_conf conf;
    char *program;
    int dir_fd;     /* of the folder workers/; -1: none */
    char *core_dir; /* or NULL */
    int wake_fd;    /* an eventfd: the warden is to look around */
    pthread_t warden;
    atomic_bool stop, keep, closing;
    pthread_mutex_t mu;
    struct berth_worker *first; /* this and all below under mu */
    uint32_t len;
    struct isolated_ops {
        const struct berth_backend_ops *real;
        struct berth_backend_ops ops;
        struct isolated_ops *next;
    } * ops;
};

/* warden.c: the thread's body; and what others may do. */
void *berth_warden_main(void *workers);
void berth_workers_wake(struct berth_workers *all);
/* SIGKILL; why is what its requests are told. */
void berth_worker_kill_locked(struct berth_worker *w, const char *why);
/* Is this file of a worker that we have? */
bool berth_workers_own(struct berth_workers *all, const char *socket_name);

/* start.c: on the warden's thread.  A worker that is found again, else a new one; -BERTH_E... */
int berth_worker_start(struct berth_worker *w, struct berth_err *e);
/* What a worker must have in common with one that is wanted; malloc'ed, NULL: no memory. */
char *berth_worker_key(const struct berth_backend_ops *real, const char *plugin_file,
                       const struct berth_load *how, uint64_t memory_bytes_max);
uint64_t berth_worker_hash(const char *text);
/* Remove the sockets of workers that are gone. */
void berth_workers_sweep(int dir_fd);

/* proxy.c: a worker as the core has it, and the other way round. */
struct berth_worker *berth_worker_of(const struct berth_instance *m);
void berth_proxy_fill(const struct berth_backend_ops *real, struct berth_backend_ops *ret);
/* proxy_load.c */
int berth_proxy_load(const struct berth_host *h, const struct berth_load *how,
                     struct berth_instance **ret, struct berth_err *e);
void berth_proxy_unload(struct berth_instance *m);
uint64_t berth_proxy_memory(const struct berth_instance *m);

#endif
