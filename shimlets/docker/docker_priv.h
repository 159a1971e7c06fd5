#ifndef BERTH_SHIMLETS_DOCKER_PRIV_H
#define BERTH_SHIMLETS_DOCKER_PRIV_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/shimlet.h>

#include "base/arena.h"
#include "shimlets/docker/engine.h"
#include "shimlets/docker/health.h"
#include "shimlets/docker/unit.h"
#include "shimlets/docker/watch.h"

enum {
    BERTH_DOCKER_ARENA_MAX = 256 * 1024 * 1024, /* of one operation */
    BERTH_DOCKER_PORTS_RECENT = 256,
    BERTH_DOCKER_FOLLOWED_MAX = 64, /* containers whose output one reader follows at once */
};

/* One opened environment.  Operations run on any thread; each has an arena of its own. */
struct berth_shimlet {
    const struct berth_shimlet_host *h;
    struct berth_arena arena; /* conf's strings; written in open() alone */
    struct berth_docker_conf conf;
    struct berth_docker_engine *g;
    struct berth_docker_health *health;
    struct berth_docker_watch *watch;
    char *units_dir; /* a file for each record; NULL: none is kept */
    char node[80];
    size_t followed_max; /* BERTH_DOCKER_FOLLOWED_MAX; a test has less */
    pthread_mutex_t mu;
    struct {
        uint16_t port;
        uint64_t until_ns;
    } recent[BERTH_DOCKER_PORTS_RECENT]; /* under mu: ports that a container is being made for */
    size_t recent_at;
    struct berth_docker_record *records; /* under mu */
};

/* ---- seen.c: what there is ---- */

enum berth_docker_need { /* to be as it was made */
                         BERTH_DOCKER_NEEDS_NOTHING,
                         BERTH_DOCKER_NEEDS_START, /* made, never started; or stopped by somebody */
                         BERTH_DOCKER_NEEDS_UNPAUSE,
                         BERTH_DOCKER_NEEDS_RESTART, /* runs and does not answer */
                         BERTH_DOCKER_NEEDS_REMOVAL, /* what is left of a removal */
};

struct berth_docker_seen {
    const char *id; /* the daemon's, whole */
    char short_id[13];
    const char *name, *hash;
    uint64_t revision, start_ns, drain_ns;
    uint32_t index, restarts;
    uint32_t accelerators;
    uint64_t cpu_milli_limit, memory_limit; /* that it was made with */
    bool limits_changed;                    /* one of those is another now */
    bool running;
    enum berth_docker_need need;
    enum berth_replica_state state;
    const char *reason, *endpoint; /* or NULL */
    uint64_t memory_bytes, cpu_milli;
};

/* Every container of a unit, by index, all in the arena. */
int berth_docker_look(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                      struct berth_arena *a, struct berth_docker_seen **ret, size_t *ret_count,
                      struct berth_err *e);
/* The containers of a unit (NULL: of this owner) as the daemon lists them. */
int berth_docker_list(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                      struct berth_arena *a, const struct berth_json **ret, struct berth_err *e);
/* A label of a listed or inspected container; NULL: it has none. */
const char *berth_docker_label_of(const struct berth_shimlet *s, const struct berth_json *labels,
                                  const char *key);
uint64_t berth_docker_label_number(const struct berth_shimlet *s, const struct berth_json *labels,
                                   const char *key);

/* ---- image.c ---- */

/* The image is there, pulled if need be and the policy allows.
 *   -BERTH_EINVAL not there and not to be pulled, or no such image; -BERTH_ENETWORK, -BERTH_EPERM
 */
int berth_docker_image_get(struct berth_shimlet *s, const struct berth_op *op,
                           const struct berth_docker_plan *p, struct berth_err *e);
/* Would berth_docker_image_get() work?  Nothing is pulled; the registry may be asked.  As above. */
int berth_docker_image_can(struct berth_shimlet *s, const struct berth_op *op,
                           const struct berth_docker_plan *p, struct berth_err *e);
/* "reg.example/x/y:1" -> path "reg.example/x/y", tag "1" ("latest", or a digest); the registry, or
 * "" for docker's own.  In the arena; false: no memory, or no reference. */
struct berth_docker_reference {
    const char *path, *tag, *registry;
};
bool berth_docker_reference_parse(const char *image, struct berth_arena *a,
                                  struct berth_docker_reference *ret);
/* The credentials of a registry in the text of a config.json, as the JSON that X-Registry-Auth
 * wants; NULL: there are none.  In the arena. */
const char *berth_docker_auth_of(const char *text, size_t len, const char *registry,
                                 struct berth_arena *a);

/* ---- logs.c ---- */

int berth_docker_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                      const struct berth_log_query *q,
                      bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                      void *arg, struct berth_err *e);
/* The last lines that a container printed, as a reason needs them; in the arena; NULL: none. */
const char *berth_docker_last_lines(struct berth_shimlet *s, const struct berth_op *op,
                                    const char *id, struct berth_arena *a);

/* ---- ports.c ---- */

/* A port that nothing of ours has, and nothing on this machine when the daemon runs here.  The same
 * for a name again if it is free.  -BERTH_ELIMIT */
int berth_docker_port_pick(struct berth_shimlet *s, const struct berth_json *listed,
                           const char *name, uint16_t *ret, struct berth_err *e);

/* ---- record.c: what was wanted, for when no container is there to tell ---- */

struct berth_docker_record {
    struct berth_docker_record *next; /* record.c's */
    char *name, *service_id, *track, *hash;
    uint32_t replicas;
};
/* The records of the folder (if there is one) into memory; one that cannot be read is told of and
 * left out: containers tell the most of it. */
int berth_docker_records_load(struct berth_shimlet *s, struct berth_err *e);
void berth_docker_records_free(struct berth_shimlet *s);
/* Durable when it returns, if there is a folder.  -BERTH_EIO, -BERTH_ENOMEM */
int berth_docker_record_put(struct berth_shimlet *s, const struct berth_unit *u,
                            struct berth_err *e);
/* A copy in the arena.  1: found, 0: none, or -BERTH_ENOMEM. */
int berth_docker_record_get(struct berth_shimlet *s, const char *unit_name, struct berth_arena *a,
                            struct berth_docker_record *ret, struct berth_err *e);
int berth_docker_record_drop(struct berth_shimlet *s, const char *unit_name, struct berth_err *e);
/* Copies of all, linked by next, in the arena. */
int berth_docker_record_all(struct berth_shimlet *s, struct berth_arena *a,
                            struct berth_docker_record **ret, struct berth_err *e);

/* ---- apply.c ---- */

int berth_docker_apply(struct berth_shimlet *s, const struct berth_op *op,
                       const struct berth_unit *u, struct berth_err *e);
int berth_docker_remove(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                        struct berth_err *e);

#endif
