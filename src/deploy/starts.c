#include <inttypes.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/*
 * What waits is kept with each service (a failed one with its next attempt, a step with its pause),
 * but every start looks at all of them.  A host that ends and is started again in a loop, maybe by
 * what it does for one of them, would do that many times a second: then each start waits longer.
 */

static const uint64_t early_ns = 60 * BERTH_S, hold_first_ns = BERTH_S, hold_max_ns = 10 * BERTH_S;
enum { EARLY_FREE = 2 /* people restart things, too */ };
static const char starts_key[] = "deploy/starts";

static uint64_t
hold_of(uint64_t early)
{
    uint64_t ns = hold_first_ns;

    if (early <= EARLY_FREE)
        return 0;
    for (uint64_t i = EARLY_FREE + 1; i < early && ns < hold_max_ns; i++)
        ns *= 2;
    return ns < hold_max_ns ? ns : hold_max_ns;
}

static int
write_start(struct berth_deploy *d, bool ended, struct berth_err *e)
{
    char text[128];

    (void)snprintf(text, sizeof text, "{\"at\":%" PRIu64 ",\"early\":%" PRIu64 ",\"ended\":%s}",
                   d->start_wall_ns, d->early_starts, ended ? "true" : "false");
    return berth_store_put(d->conf.store, starts_key, berth_slice_of(text), 0, e);
}

uint64_t
berth_starts_begin(struct berth_deploy *d)
{
    const struct berth_json *v = NULL;
    struct berth_err e = {""};
    struct berth_record record;
    struct berth_arena a;
    bool ended = true;

    d->start_wall_ns = berth_deploy_wall(d);
    d->early_starts = 0;
    berth_arena_init(&a, 64 * 1024);
    if (berth_store_get(d->conf.store, &a, starts_key, &record, NULL) == 0 &&
        berth_json_parse(&a, record.value.at, record.value.len, NULL, &v, NULL) == 0) {
        const uint64_t at = berth_json_member_uint(v, "at"),
                       early = berth_json_member_uint(v, "early");
        (void)berth_json_bool(berth_json_get(v, "ended"), &ended);
        if (!ended && d->start_wall_ns >= at && d->start_wall_ns - at < early_ns + hold_of(early) &&
            early < UINT32_MAX)
            d->early_starts = early + 1;
    }
    berth_arena_fini(&a);
    const uint64_t hold_ns = hold_of(d->early_starts);
    if (hold_ns > 0)
        berth_warn("deploy: %" PRIu64 " starts in a row ended early; services are taken up in "
                   "%" PRIu64 " s",
                   d->early_starts, hold_ns / BERTH_S);
    if (write_start(d, false, &e) < 0) /* a full disk keeps nobody from serving */
        berth_warn("deploy: that it has started is not kept: %s", e.msg);
    return hold_ns;
}

void
berth_deploy_end_well(struct berth_deploy *d)
{
    struct berth_err e;

    if (d->start_wall_ns > 0 && write_start(d, true, &e) < 0)
        berth_warn("deploy: that it ended well is not kept: %s", e.msg);
    d->start_wall_ns = 0;
}
