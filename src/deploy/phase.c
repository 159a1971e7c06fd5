#include "deploy/phase.h"

#include <string.h>

#include <berth/err.h>

static const struct {
    const char *name, *status;
    uint32_t to;
} phases[BERTH_PHASE_COUNT] = {
#define X(id, name_, status_, to_) [BERTH_PHASE_##id] = {(name_), (status_), (to_)},
    BERTH_PHASES(X)
#undef X
};

const char *
berth_phase_name(enum berth_phase p)
{
    return phases[p].name;
}

const char *
berth_phase_status(enum berth_phase p)
{
    return phases[p].status;
}

int
berth_phase_parse(const char *name)
{
    for (int p = 0; p < BERTH_PHASE_COUNT; p++)
        if (strcmp(phases[p].name, name) == 0)
            return p;
    return -1;
}

int
berth_phase_move(enum berth_phase *p, enum berth_phase next)
{
    if (*p == next)
        return 0;
    if ((phases[*p].to & (1u << next)) == 0)
        return -BERTH_EINVAL;
    *p = next;
    return 0;
}
