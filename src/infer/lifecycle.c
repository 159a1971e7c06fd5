#include "infer/lifecycle.h"

#include <berth/err.h>

static const struct {
    const char *name;
    uint32_t to;
} states[BERTH_MODEL_STATE_COUNT] = {
#define X(n, allowed) [BERTH_MODEL_##n] = {#n, allowed},
    BERTH_MODEL_STATES(X)
#undef X
};

const char *
berth_model_state_name(enum berth_model_state s)
{
    return states[s].name;
}

int
berth_model_move(enum berth_model_state *s, enum berth_model_state next)
{
    if ((states[*s].to & (1u << next)) == 0)
        return -BERTH_EINVAL;
    *s = next;
    return 0;
}
