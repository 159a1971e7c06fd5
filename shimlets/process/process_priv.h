#ifndef BERTH_SHIMLET_PROCESS_PRIV_H
#define BERTH_SHIMLET_PROCESS_PRIV_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <berth/shimlet.h>

#include "base/arena.h"
#include "base/buf.h"

/*
 * Engines as processes of this machine.
 *
 * On the disk, below the state folder: lock; units/NAME/unit.json (what apply() was last given) and
 * for each replica ID.json (what it is started from: the intent, written before anything is
 * started), ID.run (pid, its start time, restarts), ID.log, ID.lock (held by the processes of the
 * replica themselves, which inherit it) and ID.d/ (its state folder).
 *
 * All of it is under the machine's `mu` but what a comment says; no host function is called with it
 * held.
 */

enum {
    PROCESS_ID_MAX = 80,
    PROCESS_NAME_MAX = 56,
    PROCESS_TEXT_MAX = 128,
    PROCESS_PATH_MAX = 512,
    PROCESS_REPLICAS_MAX = 1000,    /* of a unit */
    PROCESS_FILE_MAX = 1024 * 1024, /* of a record */
    PROCESS_DEVICES_MAX = 64,
    PROCESS_BOOT_MAX = 40,
    PROCESS_LOCK_FD = 3, /* an engine's descriptor of its lock */
};

struct process_conf {
    char host[64];                 /* to listen on */
    char cgroup[PROCESS_PATH_MAX]; /* the folder for groups; "": none */
    uint16_t port_min, port_max;
    uint64_t stop_ns, restart_ns, restart_ns_max, look_ns;
    uint64_t log_bytes_max;
};

/* What a replica is started from; constant but for port, in its arena. */
struct process_record {
    const char *id, *hash, *cwd, *health_path; /* health_path: NULL for none */
    const char *ca_path, *key_path;            /* as in berth_unit; NULL: plain HTTP, no key */
    const char *const *command;                /* as it was given, NULL-ended */
    const struct berth_pair *env;
    size_t env_count;
    uint64_t revision, cpu_milli, memory_bytes, start_timeout_ns, drain_timeout_ns;
    uint32_t index;
    uint16_t port;
    bool port_fixed;
    bool stopping;                         /* is to go; restarts of the program go on with that */
    uint32_t devices[PROCESS_DEVICES_MAX]; /* accelerators by number */
    size_t device_count;
};

struct process_replica {
    struct process_unit *unit;
    struct process_record rec;
    struct berth_arena arena;
    enum berth_replica_state state;
    char reason[480];
    char verdict[256];           /* why we killed it, for when it ends; "" */
    char heard[200];             /* what the last look at its health met; "": none yet */
    pid_t pid;                   /* 0: none runs */
    uint64_t start_ticks;        /* of the process of the last run */
    pid_t session;               /* that it leads or led; 0 once nobody is left of it */
    int pidfd;                   /* -1 with pid 0, or while there is no descriptor left for it */
    bool sought;                 /* its lock is held, and it is not known yet by whom */
    uint32_t restarts, failures; /* failures in a row, for the back-off */
    uint32_t unready_ends;       /* of these, the last ones that came before it was ready */
    uint64_t begun_ns;           /* this try to get ready */
    uint64_t ready_ns;           /* since; 0: not */
    uint64_t due_ns;   /* FAILED: the next start.  STOPPING: SIGKILL.  sought: the next look */
    uint64_t probe_ns; /* the next look at its health */
    bool asked;        /* one is under way */
    uint32_t silent;   /* looks in a row that health_path did not answer */
    uint64_t memory_bytes, cpu_milli;
    uint64_t cpu_ticks, cpu_at_ns; /* of the last look at its figures */
    struct process_replica *next;
};

struct process_unit {
    char name[PROCESS_NAME_MAX], service_id[PROCESS_TEXT_MAX], track[PROCESS_TEXT_MAX];
    char hash[PROCESS_TEXT_MAX];
    uint32_t desired, accelerators;
    uint64_t memory_bytes, cpu_milli; /* of a replica, as last given */
    bool dirty;                       /* changed by itself since changed() was told */
    struct process_replica *replicas;
    size_t replica_count;
    struct process_unit *next;
};

enum { PROCESS_LOOKERS_MAX = 4 };

/* What every environment of this program shares, as they are on one machine ("process" and "edge"):
 * its ports, memory, cores and accelerators are given once. */
struct process_machine {
    pthread_mutex_t mu;
    struct berth_shimlet *shimlets; /* those that are open, by `neighbour` */
};

struct berth_shimlet {
    struct process_machine *machine;
    struct berth_shimlet *neighbour;
    const struct berth_shimlet_host *h;
    void *who;
    struct process_conf conf;
    char state_dir[PROCESS_PATH_MAX], owner[48], program[PROCESS_PATH_MAX];
    char boot[PROCESS_BOOT_MAX];
    int lock_fd, event_fd;
    pthread_cond_t look; /* wakes those who look; on CLOCK_MONOTONIC */
    pthread_t watch_thread, lookers[PROCESS_LOOKERS_MAX];
    uint32_t looker_count, asking; /* of them, and how many wait for an answer */
    bool watch_runs, ends;
    struct process_unit *units;
};

/* ---- units and replicas (process_unit.c) ---- */

struct process_unit *process_unit_find(struct berth_shimlet *s, const char *name);
struct process_unit *process_unit_new(struct berth_shimlet *s, const char *name);
/* Forget it; its replicas are gone. */
void process_unit_drop(struct berth_shimlet *s, struct process_unit *u);
struct process_replica *process_replica_find(struct berth_shimlet *s, const char *id);
/* A place for one, with an empty record. */
struct process_replica *process_replica_new(struct process_unit *u);
void process_replica_drop(struct process_replica *r);
/* Open its pidfd if that could not be done before.  False: there is no descriptor left. */
bool process_hold(struct process_replica *r);
/* Has its process ended? */
bool process_has_ended(struct process_replica *r);
/* To its process and the rest of its group, if it still runs. */
void process_signal(struct process_replica *r, int sig);
/* Begin the end of it: SIGTERM now, SIGKILL after stop_ns.  Kept, so that a restart goes on. */
void process_stop(struct berth_shimlet *s, struct process_replica *r);
/* It runs no more: the reason, and when the next try is.  how: "ended by signal 9 (Killed)". */
void process_failed(struct berth_shimlet *s, struct process_replica *r, const char *how);
/* Into and out of the machine's list. */
void process_enter(struct process_machine *m, struct berth_shimlet *s);
void process_leave(struct berth_shimlet *s);
/* Has a replica of this machine, of any environment, that port or accelerator? */
bool process_port_taken(const struct berth_shimlet *s, uint16_t port);
bool process_device_taken(const struct berth_shimlet *s, uint32_t device);
/* Can this machine give the kind of accelerator that is wanted?  -BERTH_EUNSUPPORTED */
int process_accelerator_check(const struct berth_unit *u, struct berth_err *e);
/* Wake all threads, as something is due at another time than before. */
void process_wake(struct berth_shimlet *s);

/* ---- the records (process_keep.c) ---- */

/* Where something of a replica lies: suffix ".log"; of the unit when id is NULL: "unit.json". */
void process_path(const struct berth_shimlet *s, const char *unit, const char *id,
                  const char *suffix, char ret[PROCESS_PATH_MAX]);
int process_keep_unit(const struct berth_shimlet *s, const struct process_unit *u,
                      struct berth_err *e);
int process_keep_record(const struct berth_shimlet *s, const struct process_replica *r,
                        struct berth_err *e);
int process_keep_run(const struct berth_shimlet *s, const struct process_replica *r,
                     struct berth_err *e);
/* Everything of the disk into s->units; pids are those of the last run and may be gone. */
int process_load(struct berth_shimlet *s, struct berth_err *e);
/* All files of a replica, or of the unit with its folder. */
void process_erase_replica(const struct berth_shimlet *s, const struct process_replica *r);
void process_erase_unit(const struct berth_shimlet *s, const struct process_unit *u);

/* ---- starting (process_start.c) ---- */

/* Start its process; STARTING then, or FAILED with the reason.  Never a second one. */
void process_start(struct berth_shimlet *s, struct process_replica *r);
/* The program that a command names, with a slash: of PATH, or berth itself. */
int process_program(const struct berth_shimlet *s, const char *name, char ret[PROCESS_PATH_MAX],
                    struct berth_err *e);
/* Take over what runs of it, if something does: after open(), and for one that is sought. */
void process_adopt(struct berth_shimlet *s, struct process_replica *r);
/* Does somebody hold the replica's lock?  True without being sure when it cannot be opened. */
bool process_is_held(const struct berth_shimlet *s, const struct process_replica *r,
                     bool *ret_sure);

/* ---- ports (process_port.c) ---- */

bool process_port_free(const char *host, uint16_t port);
/* One that is free and no replica's, if possible not `but`.  0: there is none. */
uint16_t process_port_pick(struct berth_shimlet *s, uint16_t but);
/* Does something accept connections there? */
bool process_port_answers(const char *host, uint16_t port);
/* Where to reach what listens on `host`. */
const char *process_reach(const char *host);
/* "https" where the engine speaks TLS. */
const char *process_scheme(const struct process_record *rec);

/* ---- /proc (process_find.c); any thread where no shimlet is given ---- */

enum { PROCESS_SEEN_MAX = 32768 };
struct process_stat {
    pid_t pid, session;
    char state; /* 'Z' for a zombie */
    uint64_t start_ticks, cpu_ticks, memory_bytes;
};
/* What tells this start of the machine from others; "-": not known. */
void process_boot(char ret[PROCESS_BOOT_MAX]);
/* False: there is none of that number, or it cannot be looked at. */
bool process_stat_read(pid_t pid, struct process_stat *ret);
/* Call fn for every process; false stops.  False: for want of descriptors or memory not every one
 * could be looked at. */
bool process_stat_all(bool (*fn)(void *arg, const struct process_stat *p), void *arg);
/* Was it started for that replica of that state folder?  By its environment. */
bool process_is_of(pid_t pid, const char *state_dir, const char *id);
/* The process that leads the session of the replica; 0: none. */
pid_t process_find_leader(const char *state_dir, const char *id);
/* SIGKILL to everything that was started for the replica, wherever it went: what is in its control
 * group or its session, holds its lock, or bears its mark; false: something was there still when
 * all tries (50 ms) were used up, or not everything could be looked at.  Under mu. */
bool process_sweep(const struct berth_shimlet *s, struct process_replica *r);
/* SIGKILL to everything of this state folder whose replica is in no record. */
void process_sweep_orphans(struct berth_shimlet *s);

/* ---- limits (process_limit.c) ---- */

/* What the child does before exec; made before fork(). */
struct process_limits {
    uint64_t data_bytes; /* RLIMIT_DATA; 0: none */
    bool pin;            /* to cpus */
    cpu_set_t cpus;
    char group[PROCESS_PATH_MAX]; /* its cgroup.procs; "": none */
};
/* The folder for cgroups if one can be made here: *ret is "" if not. */
void process_cgroup_find(const char *asked, char ret[PROCESS_PATH_MAX]);
int process_limits_make(struct berth_shimlet *s, const struct process_replica *r,
                        struct process_limits *ret, struct berth_err *e);
/* In the child, between fork and exec; 0 or an errno: they are not in force. */
int process_limits_take(const struct process_limits *l);
/* SIGKILL to everything in its group, if it has one. */
void process_group_kill(const struct berth_shimlet *s, const char *id);
/* Its group goes, with everything in it. */
void process_group_remove(const struct berth_shimlet *s, const char *id);
/* "limits: memory by RLIMIT_DATA, cpu by affinity" */
const char *process_limits_text(const struct berth_shimlet *s, const struct process_unit *u);
uint32_t process_devices(void); /* accelerators of this machine */

/* ---- logs (process_log.c) ---- */

/* Keep the log within its bound: the oldest of it is given back to the file system. */
void process_log_trim(const struct berth_shimlet *s, const struct process_replica *r);
/* The last lines of it in one line, "a; b; c", at most cap - 1 bytes. */
void process_log_last(const struct berth_shimlet *s, const struct process_replica *r, char *ret,
                      size_t cap);
int process_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                 const struct berth_log_query *q,
                 bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                 void *arg, struct berth_err *e);

/* ---- the threads (process_watch.c, process_look.c) ---- */

void *process_watch(void *shimlet); /* ends of processes, restarts, kills */
/* One more who looks.  False: there is no thread to be had, or there are enough. */
bool process_look_more(struct berth_shimlet *s);
/* Tell of units that changed by themselves; mu is held, and open while it tells. */
void process_tell(struct berth_shimlet *s);

/* ---- operations that only look (process_show.c); as in shimlet.h ---- */

int process_status(struct berth_shimlet *s, const struct berth_op *op, const char *name,
                   void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
                   struct berth_err *e);
int process_list(struct berth_shimlet *s, const struct berth_op *op,
                 void (*each)(void *arg, const struct berth_listed *one), void *arg,
                 struct berth_err *e);
int process_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                  struct berth_err *e);
int process_resources(struct berth_shimlet *s, const struct berth_op *op,
                      struct berth_resources *ret, struct berth_err *e);
int process_render(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                   void (*text)(void *arg, const char *json, size_t len), void *arg,
                   struct berth_err *e);
int process_held(struct berth_shimlet *s, const struct berth_op *op, const char *name,
                 uint32_t *ret_accelerators, struct berth_err *e);

#endif
