#ifndef BERTH_SHIMMY_PRIV_H
#define BERTH_SHIMMY_PRIV_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <berth/shimlet.h>

/*
 * A world of units and replicas in memory that does what its settings say.  Everything in it is
 * under the shimlet's mu; no host function is called with it held.
 */

enum shimmy_op {
    SHIMMY_APPLY,
    SHIMMY_REMOVE,
    SHIMMY_STATUS,
    SHIMMY_LIST,
    SHIMMY_OP_COUNT,
};
const char *shimmy_op_name(enum shimmy_op op);

/* What a service's shimletConfig may say, too: it wins over the environment's settings. */
struct shimmy_conf {
    int64_t op_ms[SHIMMY_OP_COUNT];
    int64_t start_ms, stop_ms, restart_ms, crash_after_ms, crash_count, drift_after_ms;
    int64_t fail_from, fail_count, hang_count;
    char fail_op[16], hang_op[16], fail_code[16], endpoint[128];
    bool fail_after, never_ready;
};

enum {
    SHIMMY_NAME_MAX = 56,
    SHIMMY_TEXT_MAX = 128,
    SHIMMY_UNITS_MAX = 20000,
    SHIMMY_REPLICAS_MAX = 2048,
    SHIMMY_NODES_MAX = 256,
};

struct shimmy_replica {
    char id[SHIMMY_NAME_MAX + 24];
    char hash[SHIMMY_TEXT_MAX];
    char reason[160];
    uint64_t revision, since_ns; /* in its state */
    uint64_t cpu_milli, memory_bytes;
    uint32_t index, restarts, accelerators;
    enum berth_replica_state state;
    int node; /* -1: none has room */
};

struct shimmy_unit {
    char name[SHIMMY_NAME_MAX], service_id[SHIMMY_TEXT_MAX], track[SHIMMY_TEXT_MAX];
    char hash[SHIMMY_TEXT_MAX];
    bool exists, drifted, drift_done;
    bool dirty; /* changed by itself since changed() was told */
    uint32_t desired;
    uint64_t start_timeout_ns, drain_timeout_ns, applied_ns, seq, crashes;
    uint64_t calls[SHIMMY_OP_COUNT];
    struct shimmy_conf conf;
    char *conf_json; /* the service's */
    struct shimmy_replica *replicas;
    size_t replica_count, replica_cap;
    struct shimmy_unit *next;
};

struct berth_shimlet {
    const struct berth_shimlet_host *h;
    void *who;
    char *state_dir; /* or NULL */
    struct shimmy_conf conf;
    int64_t nodes, accelerators, cpu_milli, memory_bytes; /* the last three of a node; 0: endless */
    bool watches;
    pthread_mutex_t mu;
    pthread_cond_t wake; /* on CLOCK_MONOTONIC */
    pthread_t thread;    /* with watches */
    bool thread_runs, ends;
    bool cordoned[SHIMMY_NODES_MAX];
    uint64_t list_calls;
    struct shimmy_unit *units; /* those that were removed stay, for their counts */
    size_t unit_count;
};

extern const struct berth_setting shimmy_settings[];
struct shimmy_conf shimmy_conf_read(const char *json, const struct shimmy_conf *dflt);

/* ---- the world; under mu ---- */

struct shimmy_unit *shimmy_find(struct berth_shimlet *s, const char *name);
/* Find it or make a place for it.  -BERTH_ENOMEM, -BERTH_ELIMIT */
int shimmy_unit_of(struct berth_shimlet *s, const char *name, struct shimmy_unit **ret,
                   struct berth_err *e);
/* Let pass what was to happen until now; returns when the next thing does (UINT64_MAX: never). */
uint64_t shimmy_advance(struct berth_shimlet *s, struct shimmy_unit *u, uint64_t now_ns);
int shimmy_start(struct berth_shimlet *s, struct shimmy_unit *u, const struct berth_unit *want,
                 uint32_t index, struct berth_err *e);
void shimmy_move(struct shimmy_replica *r, enum berth_replica_state state, uint64_t now_ns);
/* What one node has left. */
struct shimmy_room {
    int64_t accelerators, cpu_milli, memory_bytes;
};
struct shimmy_room shimmy_room(const struct berth_shimlet *s, int node);
void shimmy_unit_free(struct shimmy_unit *u);

/* ---- a call, as the script has it ---- */

struct shimmy_call {
    int64_t delay_ms;
    bool hangs, fails, fails_after;
    enum berth_code code;
    uint64_t number; /* of this operation on this unit, from 1 */
};
/* Count it and go through what the script has before the deed.  name NULL: of no unit.  conf NULL:
 * the unit's. */
int shimmy_begin(struct berth_shimlet *s, const struct berth_op *op, enum shimmy_op which,
                 const char *name, const struct shimmy_conf *conf, struct shimmy_call *ret,
                 struct berth_err *e);
int shimmy_scripted_failure(const struct shimmy_call *c, enum shimmy_op op, struct berth_err *e);

/* ---- the operations that only look; as in shimlet.h ---- */

int shimmy_status(struct berth_shimlet *s, const struct berth_op *op, const char *name,
                  void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
                  struct berth_err *e);
int shimmy_list(struct berth_shimlet *s, const struct berth_op *op,
                void (*each)(void *arg, const struct berth_listed *one), void *arg,
                struct berth_err *e);
int shimmy_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                 struct berth_err *e);
int shimmy_resources(struct berth_shimlet *s, const struct berth_op *op,
                     struct berth_resources *ret, struct berth_err *e);
int shimmy_held(struct berth_shimlet *s, const struct berth_op *op, const char *name,
                uint32_t *ret_accelerators, struct berth_err *e);
int shimmy_render(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                  void (*text)(void *arg, const char *json, size_t len), void *arg,
                  struct berth_err *e);
int shimmy_logs(struct berth_shimlet *s, const struct berth_op *op, const char *name,
                const struct berth_log_query *q,
                bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                void *arg, struct berth_err *e);

/* ---- state_dir ---- */

/* Keep it as it is now, or drop it when it does not exist.  0 without a state_dir. */
int shimmy_save(const struct berth_shimlet *s, const struct shimmy_unit *u, struct berth_err *e);
int shimmy_load(struct berth_shimlet *s, struct berth_err *e);

#endif
