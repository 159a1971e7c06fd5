#ifndef BERTH_DEPLOY_PHASE_H
#define BERTH_DEPLOY_PHASE_H

#include <stdint.h>

/*
 * Where a service stands.  A move that the table does not have is refused.  The third column is the
 * word that ModelServeShim's clients know ("status").
 */
#define BERTH_PHASE_TO(s) (1u << BERTH_PHASE_##s)
/*  phase, its name, status, what it may move to */
#define BERTH_PHASES(X)                                                                          \
    X(INITIALIZING, "initializing", "pending",                                                   \
      BERTH_PHASE_TO(PIPELINE_EXECUTING) | BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(TERMINATING)) \
    X(PIPELINE_EXECUTING, "pipeline-executing", "creating",                                      \
      BERTH_PHASE_TO(ENVIRONMENT_DEPLOYING) | BERTH_PHASE_TO(HEALTH_CHECKING) |                  \
          BERTH_PHASE_TO(RUNNING) | BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(UPDATING) |          \
          BERTH_PHASE_TO(TERMINATING))                                                           \
    X(ENVIRONMENT_DEPLOYING, "environment-deploying", "creating",                                \
      BERTH_PHASE_TO(HEALTH_CHECKING) | BERTH_PHASE_TO(RUNNING) | BERTH_PHASE_TO(FAILED) |       \
          BERTH_PHASE_TO(UPDATING) | BERTH_PHASE_TO(TERMINATING))                                \
    X(HEALTH_CHECKING, "health-checking", "creating",                                            \
      BERTH_PHASE_TO(RUNNING) | BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(UPDATING) |              \
          BERTH_PHASE_TO(TERMINATING))                                                           \
    X(RUNNING, "running", "running",                                                             \
      BERTH_PHASE_TO(UPDATING) | BERTH_PHASE_TO(DEGRADED) | BERTH_PHASE_TO(TERMINATING))         \
    X(UPDATING, "updating", "creating",                                                          \
      BERTH_PHASE_TO(PIPELINE_EXECUTING) | BERTH_PHASE_TO(ENVIRONMENT_DEPLOYING) |               \
          BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(TERMINATING))                                  \
    X(DEGRADED, "degraded", "failed",                                                            \
      BERTH_PHASE_TO(RUNNING) | BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(UPDATING) |              \
          BERTH_PHASE_TO(TERMINATING))                                                           \
    X(FAILED, "failed", "failed",                                                                \
      BERTH_PHASE_TO(PIPELINE_EXECUTING) | BERTH_PHASE_TO(UPDATING) | BERTH_PHASE_TO(RUNNING) |  \
          BERTH_PHASE_TO(TERMINATING))                                                           \
    X(TERMINATING, "terminating", "terminating", BERTH_PHASE_TO(TERMINATED))                     \
    X(TERMINATED, "terminated", "terminated", 0)

enum berth_phase {
#define X(id, name, status, to) BERTH_PHASE_##id,
    BERTH_PHASES(X)
#undef X
        BERTH_PHASE_COUNT
};

const char *berth_phase_name(enum berth_phase p);   /* "pipeline-executing" */
const char *berth_phase_status(enum berth_phase p); /* "creating" */
/* By its name; -1: none. */
int berth_phase_parse(const char *name);
/* Move *p to `next`; to the phase that it is in: 0.  -BERTH_EINVAL: not in the table, *p stays. */
int berth_phase_move(enum berth_phase *p, enum berth_phase next);

#endif
