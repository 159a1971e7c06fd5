#include "infer/room.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "infer/registry_priv.h"
#include "os/memory.h"

enum { MIB = 1 << 20, ROUNDS_MAX = 16 };
static const uint64_t fresh_ns = 5 * BERTH_MS, trim_bytes = (uint64_t)32 * MIB;
static const uint64_t reserve_min = (uint64_t)16 * MIB, reserve_max = (uint64_t)2048 * MIB;

enum reason { FOR_ROOM, FOR_IDLE, FOR_PRESSURE, FOR_BUDGET, FOR_LOAD, FOR_SELF };
/* As the metric has it: what Berth's own models took is "room". */
static const char *const reasons[] = {"room", "keep_alive", "pressure", "room", "room", "pressure"};
static const char *const farewells[] = {
    "evicted: its memory was needed for another model",
    "unused for as long as its keep_alive says",
    "evicted: other programs took the memory",
    "evicted: models together took more than engine.memory.max_memory_gb",
    "evicted: memory ran short while another model was being loaded",
    "evicted: the server itself took the memory",
};
static const char *const kinds[] = {"budget", "held", "promised", "others", "free", "pinned"};

void
berth_room_init(struct berth_registry *g)
{
    struct berth_metrics *m = g->conf.metrics;
    struct berth_room *room = &g->room;
    static const char *const none[] = {NULL};

    for (size_t i = 0; i < BERTH_COUNT(kinds); i++)
        room->sums[i] = berth_metrics_series(m, BERTH_METRIC_MODELS_BYTES,
                                             (const char *const[]){kinds[i], NULL});
    for (size_t i = 0; i < BERTH_COUNT(reasons); i++)
        room->evictions[i] = berth_metrics_series(m, BERTH_METRIC_EVICTIONS,
                                                  (const char *const[]){reasons[i], NULL});
    room->refused =
        berth_metrics_series(m, BERTH_METRIC_REFUSED, (const char *const[]){"memory", NULL});
    room->braked = berth_metrics_series(m, BERTH_METRIC_BRAKED, none);
    room->demand_loads = berth_metrics_series(m, BERTH_METRIC_DEMAND_LOADS, none);
    room->waiting = berth_metrics_series(m, BERTH_METRIC_LOAD_WAITING, none);
    room->wait_seconds = berth_metrics_series(m, BERTH_METRIC_LOAD_WAIT_SECONDS, none);
}

static void
set_gauges_locked(struct berth_registry *g)
{
    const struct berth_ledger_sums s = berth_ledger_sums(&g->room.ledger, 0);
    const uint64_t values[] = {s.budget_bytes, s.held_bytes, s.promised_bytes,
                               s.others_bytes, s.free_bytes, s.pinned_bytes};

    for (size_t i = 0; i < BERTH_COUNT(kinds); i++)
        berth_series_set(g->room.sums[i], (double)values[i]);
}

/* ---- looking ---- */

/* The machine as it is now, when what is known is old.  Not under the lock. */
static void
measure(struct berth_registry *g, bool anew)
{
    const struct berth_memory_conf *conf = &g->conf.memory;
    struct berth_ledger_device d = {.budget_bytes =
                                        conf->max_bytes > 0 ? conf->max_bytes : UINT64_MAX};
    struct berth_memory now = {.total_bytes = 0};
    const uint64_t at = berth_now_ns();

    (void)pthread_rwlock_rdlock(&g->lock);
    const bool old = anew || g->room.measured_ns == 0 || at - g->room.measured_ns > fresh_ns;
    (void)pthread_rwlock_unlock(&g->lock);
    if (!old)
        return;
    if (!conf->unmeasured && berth_memory_read(NULL, &now, NULL) == 0) {
        d.total_bytes = now.total_bytes;
        d.free_bytes = now.free_bytes;
        d.self_bytes = now.self_bytes;
        d.reserve_bytes = conf->reserve_bytes;
        if (d.reserve_bytes == 0) {
            d.reserve_bytes = now.total_bytes / 20;
            d.reserve_bytes = d.reserve_bytes < reserve_min ? reserve_min : d.reserve_bytes;
            d.reserve_bytes = d.reserve_bytes > reserve_max ? reserve_max : d.reserve_bytes;
        }
    }
    (void)pthread_rwlock_wrlock(&g->lock);
    berth_ledger_measure(&g->room.ledger, 0, &d);
    g->room.measured_ns = at;
    (void)pthread_rwlock_unlock(&g->lock);
}

/* Has anybody a reference on it but the registry?  Under the lock for writing nobody can get one
 * then. */
static bool
is_in_use_locked(const struct berth_entry *x)
{
    for (size_t i = 0; i < x->slot_len; i++) {
        struct berth_model *m = x->slots[i].serving;
        if (m != NULL && atomic_load(&m->refs) > 1 + atomic_load(&m->kept))
            return true;
    }
    return false;
}

static void
look_at_locked(struct berth_entry *x, uint64_t now_ns, uint64_t wall_ns)
{
    const uint64_t uses = atomic_load_explicit(&x->uses, memory_order_relaxed);
    const uint64_t used = atomic_load_explicit(&x->used_wall_ns, memory_order_relaxed);

    x->item.in_use = is_in_use_locked(x);
    if (uses != x->uses_seen) {
        berth_ledger_use(&x->item, uses - x->uses_seen, now_ns);
        x->uses_seen = uses;
        if (used != 0 && used < wall_ns && wall_ns - used < now_ns)
            x->item.used_ns = now_ns - (wall_ns - used);
    }
    if (x->item.in_use) /* since when it is idle is not told: as of the last look */
        x->item.used_ns = now_ns;
}

void
berth_room_look_locked(struct berth_registry *g, uint64_t now_ns)
{
    const uint64_t wall_ns = berth_wall_ns();
    struct berth_ledger_item *i;

    DL_FOREACH(g->room.ledger.items, i)
    {
        if (i->owner != NULL)
            look_at_locked(i->owner, now_ns, wall_ns);
    }
}

struct berth_ledger_sums
berth_registry_memory(struct berth_registry *g)
{
    measure(g, false);
    (void)pthread_rwlock_wrlock(&g->lock);
    berth_room_look_locked(g, berth_now_ns());
    const struct berth_ledger_sums s = berth_ledger_sums(&g->room.ledger, 0);
    set_gauges_locked(g);
    (void)pthread_rwlock_unlock(&g->lock);
    return s;
}

/* ---- the account ---- */

/* berth_room_settle_locked(), as if m (NULL: none) served this version. */
static void
settle_with_locked(struct berth_registry *g, struct berth_entry *x, const char *label,
                   const struct berth_model *instead)
{
    struct berth_ledger_bytes held = {{0}};
    uint64_t outside = 0;

    for (size_t i = 0; i < x->slot_len; i++) {
        const bool other = instead == NULL || strcmp(x->slots[i].dir.label, label) != 0;
        const struct berth_model *m = other ? x->slots[i].serving : instead;
        held.on[0] += m != NULL ? m->memory_bytes : 0;
        outside += m != NULL && m->outside ? m->memory_bytes : 0;
    }
    x->item.owner = x;
    berth_ledger_settle(&g->room.ledger, &x->item, &held, outside);
    set_gauges_locked(g);
}

void
berth_room_settle_locked(struct berth_registry *g, struct berth_entry *x)
{
    settle_with_locked(g, x, "", NULL);
}

void
berth_room_parting_locked(struct berth_registry *g, struct berth_model *m)
{
    const struct berth_ledger_bytes held = {{m->memory_bytes}};

    m->parting.in_use = true; /* nobody's victim */
    berth_ledger_settle(&g->room.ledger, &m->parting, &held, m->outside ? m->memory_bytes : 0);
    g->room.going_bytes += m->memory_bytes;
    set_gauges_locked(g);
}

void
berth_room_parted(struct berth_registry *g, struct berth_model *m, bool unloaded)
{
    const struct berth_ledger_bytes none = {{0}};

    (void)pthread_rwlock_wrlock(&g->lock);
    g->room.going_bytes -= m->parting.held.on[0];
    if (!unloaded) {
        (void)pthread_rwlock_unlock(&g->lock);
        return;
    }
    berth_ledger_settle(&g->room.ledger, &m->parting, &none, 0);
    g->room.untrimmed_bytes += m->outside ? 0 : m->memory_bytes;
    g->room.measured_ns = 0;
    const bool trim = g->room.untrimmed_bytes >= trim_bytes;
    if (trim)
        g->room.untrimmed_bytes = 0;
    set_gauges_locked(g);
    (void)pthread_rwlock_unlock(&g->lock);
    if (trim)
        berth_memory_trim();
}

/* ---- evicting ---- */

struct going {
    struct berth_model *models[4 * BERTH_VERSION_DIRS_MAX];
    size_t len;
};

/* Take a loaded model out of service; it is stopped without the lock. */
static void
evict_locked(struct berth_registry *g, struct berth_entry *x, enum reason reason, const char *whom,
             struct going *to)
{
    for (size_t i = 0; i < x->slot_len && to->len < BERTH_COUNT(to->models); i++) {
        if (x->slots[i].serving == NULL)
            continue;
        struct berth_model *m = berth_take_serving_locked(g, x, &x->slots[i]);
        berth_model_leave(m, farewells[reason]);
        to->models[to->len++] = m;
    }
    (void)snprintf(x->room_why, sizeof x->room_why, "%s%s%s%s; it is loaded when a request comes",
                   farewells[reason], *whom != '\0' ? " (" : "", whom, *whom != '\0' ? ")" : "");
    berth_series_add(g->room.evictions[reason], 1);
    g->room.dirty = true;
}

/* Idle as they are, this does not take long. */
static void
stop_all(struct berth_registry *g, struct going *those)
{
    for (size_t i = 0; i < those->len; i++) {
        berth_info("model %s: unloading version %s: %s", those->models[i]->name,
                   those->models[i]->version,
                   atomic_load(&those->models[i]->leaving)); /* set by evict_locked() */
        berth_stop_model(g, those->models[i]);
    }
    those->len = 0;
}

/* ---- admitting ---- */

const char *
berth_room_size_text(uint64_t bytes, char room[24])
{
    if (bytes >= (uint64_t)10240 * MIB)
        (void)snprintf(room, 24, "%.1f GiB", (double)bytes / 1073741824.0);
    else
        (void)snprintf(room, 24, "%.1f MiB", (double)bytes / MIB);
    return room;
}

int
berth_room_tell(const struct berth_ledger_sums *s, const char *name, const struct berth_forecast *f,
                const struct berth_ledger_choice *c, struct berth_err *e)
{
    char need[24], more[24], held[24], budget[24], pinned[24], used[24], promised[24], others[24];

    return berth_err_set(
        e, BERTH_ENOMEM,
        "model '%s' needs %s of memory (%s), %s more than is free: models hold %s of %s (pinned "
        "%s, "
        "in use %s), loads going on were promised %s, other programs and the server use %s; unload "
        "or unpin a model, or give more (engine.memory.max_memory_gb)",
        name, berth_room_size_text(f->bytes, need), berth_room_source(f),
        berth_room_size_text(c->short_bytes, more), berth_room_size_text(s->held_bytes, held),
        berth_room_size_text(s->budget_bytes, budget),
        berth_room_size_text(s->pinned_bytes, pinned), berth_room_size_text(s->in_use_bytes, used),
        berth_room_size_text(s->promised_bytes, promised),
        berth_room_size_text(s->others_bytes, others));
}

/* One look at the account: 0 promised, 1 wait, 2 look again when those in *going are gone. */
static int
try_locked(struct berth_registry *g, struct berth_entry *x, struct berth_forecast *f,
           const struct berth_why_load *why, struct going *going, struct berth_err *e)
{
    const uint64_t now = berth_now_ns();
    const struct berth_ledger_ask ask = {.need = {{f->bytes}},
                                         .self = &x->item,
                                         .since_ns = why->since_ns,
                                         .now_ns = now,
                                         .evict = why->demand || why->asked};

    berth_room_look_locked(g, now);
    const struct berth_ledger_choice c = berth_ledger_choose(&g->room.ledger, &ask);
    const struct berth_ledger_sums sums = berth_ledger_sums(&g->room.ledger, 0);
    switch (c.verdict) {
    case BERTH_LEDGER_FITS:
        berth_ledger_promise(&g->room.ledger, &x->item, &ask.need);
        set_gauges_locked(g);
        return 0;
    case BERTH_LEDGER_EVICT:
        for (uint32_t i = 0; i < c.victim_count; i++) {
            if (going->len + BERTH_VERSION_DIRS_MAX > BERTH_COUNT(going->models) && i > 0)
                break; /* the rest in the next round */
            evict_locked(g, c.victims[i]->owner, FOR_ROOM, x->name, going);
            f->evicted++;
        }
        return 2;
    case BERTH_LEDGER_WAIT:
        if (c.braked)
            berth_series_add(g->room.braked, 1);
        break;
    case BERTH_LEDGER_NEVER:
        if (f->by == BERTH_BY_LOAD || f->least_bytes >= f->bytes)
            break;
        f->bytes = f->least_bytes;
        return 2;
    }
    (void)berth_room_tell(&sums, x->name, f, &c, e);
    (void)snprintf(x->room_why, sizeof x->room_why, "%s", e->msg);
    return c.verdict == BERTH_LEDGER_WAIT && ask.evict ? 1 : -BERTH_ENOMEM;
}

/* The version that serves would have to go first: there is no room for both. */
static bool
give_up_own_locked(struct berth_registry *g, struct berth_entry *x,
                   const struct berth_why_load *why, struct going *going)
{
    if (!why->asked || x->item.held.on[0] == 0)
        return false;
    berth_warn("model %s: no room for two of it while it is loaded again: it goes first", x->name);
    evict_locked(g, x, FOR_ROOM, x->name, going);
    return true;
}

int
berth_room_admit(struct berth_registry *g, struct berth_entry *x, struct berth_forecast *f,
                 const struct berth_why_load *why, struct berth_err *e)
{
    struct going going = {.len = 0};
    int r = 2;

    for (int round = 0; round < ROUNDS_MAX && r == 2; round++) {
        measure(g, false);
        (void)pthread_rwlock_wrlock(&g->lock);
        r = try_locked(g, x, f, why, &going, e);
        if (r != 0 && r != 2 && give_up_own_locked(g, x, why, &going))
            r = 2;
        (void)pthread_rwlock_unlock(&g->lock);
        stop_all(g, &going);
    }
    if (r < 0)
        berth_series_add(g->room.refused, 1);
    return r == 2 ? 1 : r;
}

/* How far the account is above what models may have. */
static uint64_t
excess_locked(const struct berth_registry *g)
{
    const struct berth_ledger_sums s = berth_ledger_sums(&g->room.ledger, 0);
    const uint64_t taken = s.held_bytes + s.promised_bytes;

    return taken > s.budget_bytes ? taken - s.budget_bytes : 0;
}

/* One look with m in the account: 0 it fits, 2 look again, 1 not while others are in use, or
 * -BERTH_ENOMEM. */
static int
fit_locked(struct berth_registry *g, struct berth_entry *x, const struct berth_why_load *why,
           struct berth_forecast *f, struct going *going)
{
    const uint64_t now = berth_now_ns();
    const struct berth_ledger_ask ask = {.need = {{1}}, /* besides what it holds already */
                                         .self = &x->item,
                                         .since_ns = why->since_ns,
                                         .now_ns = now,
                                         .evict = why->demand || why->asked};

    berth_room_look_locked(g, now);
    if (excess_locked(g) == 0)
        return 0;
    const struct berth_ledger_choice c = berth_ledger_choose(&g->room.ledger, &ask);
    for (uint32_t i = 0; c.verdict == BERTH_LEDGER_EVICT && i < c.victim_count; i++) {
        if (going->len + BERTH_VERSION_DIRS_MAX > BERTH_COUNT(going->models) && i > 0)
            break; /* the rest in the next round */
        evict_locked(g, c.victims[i]->owner, FOR_ROOM, x->name, going);
        f->evicted++;
    }
    if (c.verdict == BERTH_LEDGER_WAIT && ask.evict)
        return 1;
    return c.verdict == BERTH_LEDGER_FITS ? 0 : c.verdict == BERTH_LEDGER_EVICT ? 2 : -BERTH_ENOMEM;
}

int
berth_room_confirm(struct berth_registry *g, struct berth_entry *x, const char *label,
                   struct berth_model *m, struct berth_forecast *f,
                   const struct berth_why_load *why)
{
    struct going going = {.len = 0};
    int r = m->memory_bytes > f->bytes ? 2 : 0;

    for (int round = 0; round < ROUNDS_MAX && r == 2; round++) {
        measure(g, true);
        (void)pthread_rwlock_wrlock(&g->lock);
        settle_with_locked(g, x, label, m);
        r = fit_locked(g, x, why, f, &going);
        if (r != 0 && (r != 2 || round + 1 == ROUNDS_MAX)) {
            const struct berth_ledger_sums s = berth_ledger_sums(&g->room.ledger, 0);
            berth_room_tell_excess(x, m, f, &s, g->conf.memory.max_bytes, excess_locked(g));
            berth_room_settle_locked(g, x);
            berth_room_parting_locked(g, m);
        }
        (void)pthread_rwlock_unlock(&g->lock);
        stop_all(g, &going);
    }
    if (r == 0)
        return 0;
    berth_series_add(g->room.refused, 1);
    /* What it takes is known from now on, so that to wait for room is not to load it in vain. */
    return r > 0 && f->by != BERTH_BY_LOAD ? 1 : -BERTH_ENOMEM;
}

/* ---- now and then ---- */

/* The next that nobody used for as long as it is kept; NULL: none. */
static struct berth_entry *
stale_locked(struct berth_registry *g, uint64_t now_ns)
{
    struct berth_ledger_item *i;

    DL_FOREACH(g->room.ledger.items, i)
    {
        const struct berth_entry *x = i->owner;
        const uint64_t last = i->used_ns > i->loaded_ns ? i->used_ns : i->loaded_ns;
        if (x == NULL || i->pinned || i->in_use || i->held.on[0] == 0 || i->promised.on[0] > 0 ||
            x->keep_alive_ns == UINT64_MAX)
            continue;
        if (now_ns >= last && now_ns - last >= x->keep_alive_ns)
            return i->owner;
    }
    return NULL;
}

/* Who took the memory that is short; whom: the model, or "". */
static enum reason
taker_locked(const struct berth_registry *g, const char **ret_whom)
{
    const struct berth_ledger_device *d = &g->room.ledger.devices[0];
    const struct berth_ledger_sums s = berth_ledger_sums(&g->room.ledger, 0);
    const struct berth_ledger_item *i;

    *ret_whom = "";
    if (s.held_bytes + s.promised_bytes >= d->budget_bytes)
        return FOR_BUDGET;
    DL_FOREACH(g->room.ledger.items, i)
    {
        if (i->promised.on[0] == 0 || i->owner == NULL)
            continue;
        *ret_whom = ((const struct berth_entry *)i->owner)->name;
        return FOR_LOAD;
    }
    return s.held_bytes < s.budget_bytes ? FOR_SELF : FOR_PRESSURE;
}

/* One that must go, since the memory is short; NULL: none.  What goes already is not to be made
 * room for: an engine may take seconds to unload. */
static struct berth_entry *
squeezed_locked(struct berth_registry *g, uint64_t now_ns)
{
    const struct berth_ledger_ask ask = {
        .need = {{1}}, .since_ns = now_ns, .now_ns = now_ns, .evict = true};
    struct berth_ledger soon = g->room.ledger;

    soon.devices[0].held_bytes -= g->room.going_bytes;
    const struct berth_ledger_choice c = berth_ledger_choose(&soon, &ask);
    return c.verdict == BERTH_LEDGER_EVICT ? c.victims[0]->owner : NULL;
}

/* When to look again: sooner when others could soon have taken all there is. */
static uint64_t
pause_locked(const struct berth_registry *g)
{
    const struct berth_ledger_device *d = &g->room.ledger.devices[0];

    if (g->room.ledger.items == NULL)
        return 10 * BERTH_S;
    return d->total_bytes > 0 && d->free_bytes / 8 < d->reserve_bytes ? 50 * BERTH_MS
                                                                      : 500 * BERTH_MS;
}

uint64_t
berth_room_keep(struct berth_registry *g)
{
    struct going going = {.len = 0};
    uint64_t pause = 0;
    bool more = true;

    berth_room_trim(g); /* before a model is evicted for memory that nobody uses */
    for (int round = 0; round < BERTH_VERSION_DIRS_MAX && more; round++) {
        measure(g, true);
        (void)pthread_rwlock_wrlock(&g->lock);
        const uint64_t now = berth_now_ns();
        berth_room_look_locked(g, now);
        struct berth_entry *stale = stale_locked(g, now);
        struct berth_entry *squeezed = stale == NULL ? squeezed_locked(g, now) : NULL;
        const char *whom = "";
        const enum reason reason = stale != NULL ? FOR_IDLE : taker_locked(g, &whom);
        more = stale != NULL || squeezed != NULL;
        if (more)
            evict_locked(g, stale != NULL ? stale : squeezed, reason, whom, &going);
        const bool trim = !more && g->room.untrimmed_bytes > 0;
        if (trim)
            g->room.untrimmed_bytes = 0;
        pause = pause_locked(g);
        set_gauges_locked(g);
        (void)pthread_rwlock_unlock(&g->lock);
        stop_all(g, &going);
        if (trim)
            berth_memory_trim();
    }
    return pause;
}
