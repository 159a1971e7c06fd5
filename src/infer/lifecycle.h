#ifndef BERTH_LIFECYCLE_H
#define BERTH_LIFECYCLE_H

#include <stdint.h>

/*     state     may move to */
#define BERTH_MODEL_STATES(X)                                           \
    X(UNLOADED, BERTH_TO(LOADING))                                      \
    X(LOADING, BERTH_TO(READY) | BERTH_TO(FAILED) | BERTH_TO(UNLOADED)) \
    X(READY, BERTH_TO(DRAINING) | BERTH_TO(FAILED))                     \
    X(DRAINING, BERTH_TO(UNLOADED) | BERTH_TO(FAILED))                  \
    X(FAILED, BERTH_TO(LOADING) | BERTH_TO(UNLOADED))
#define BERTH_TO(s) (1u << BERTH_MODEL_##s)

enum berth_model_state {
#define X(name, to) BERTH_MODEL_##name,
    BERTH_MODEL_STATES(X)
#undef X
        BERTH_MODEL_STATE_COUNT
};

const char *berth_model_state_name(enum berth_model_state s); /* "READY" */
/* Move *s to next; returns 0, or -BERTH_EINVAL and leaves *s when the table forbids it. */
int berth_model_move(enum berth_model_state *s, enum berth_model_state next);

#endif
