#ifndef BERTH_DEPLOY_PHASE_H
#define BERTH_DEPLOY_PHASE_H

#include <stdint.h>

/*
 * Where a service stands.  A move that the table does not have is refused.  The second column is
 * the word that ModelServeShim's clients know ("status"); the first, in lower case with dashes, is
 * "phase".
 */
#define BERTH_PHASE_TO(s) (1u << BERTH_PHASE_##s)
/*      phase                  status         may move to */
#define BERTH_PHASES(X)                                                                          \
    X(INITIALIZING, "pending",                                                                   \
      BERTH_PHASE_TO(PIPELINE_EXECUTING) | BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(TERMINATING)) \
    X(PIPELINE_EXECUTING, "creating",                                                            \
      BERTH_PHASE_TO(ENVIRONMENT_DEPLOYING) | BERTH_PHASE_TO(HEALTH_CHECKING) |                  \
          BERTH_PHASE_TO(RUNNING) | BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(UPDATING) |          \
          BERTH_PHASE_TO(TERMINATING))                                                           \
    X(ENVIRONMENT_DEPLOYING, "creating",                                                         \
      BERTH_PHASE_TO(HEALTH_CHECKING) | BERTH_PHASE_TO(RUNNING) | BERTH_PHASE_TO(FAILED) |       \
          BERTH_PHASE_TO(UPDATING) | BERTH_PHASE_TO(TERMINATING))                                \
    X(HEALTH_CHECKING, "creating",                                                               \
      BERTH_PHASE_TO(RUNNING) | BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(UPDATING) |              \
          BERTH_PHASE_TO(TERMINATING))                                                           \
    X(RUNNING, "running",                                                                        \
      BERTH_PHASE_TO(UPDATING) | BERTH_PHASE_TO(DEGRADED) | BERTH_PHASE_TO(TERMINATING))         \
    X(UPDATING, "creating",                                                                      \
      BERTH_PHASE_TO(PIPELINE_EXECUTING) | BERTH_PHASE_TO(ENVIRONMENT_DEPLOYING) |               \
          BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(TERMINATING))                                  \
    X(DEGRADED, "failed",                                                                        \
      BERTH_PHASE_TO(RUNNING) | BERTH_PHASE_TO(FAILED) | BERTH_PHASE_TO(UPDATING) |              \
          BERTH_PHASE_TO(TERMINATING))                                                           \
    X(FAILED, "failed",                                                                          \
      BERTH_PHASE_TO(PIPELINE_EXECUTING) | BERTH_PHASE_TO(UPDATING) | BERTH_PHASE_TO(RUNNING) |  \
          BERTH_PHASE_TO(TERMINATING))                                                           \
    X(TERMINATING, "terminating", BERTH_PHASE_TO(TERMINATED))                                    \
    X(TERMINATED, "terminated", 0)

enum berth_phase {
#define X(name, status, to) BERTH_PHASE_##name,
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
