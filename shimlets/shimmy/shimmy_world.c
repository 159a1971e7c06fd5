#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shimlets/shimmy/shimmy_priv.h"

struct shimmy_unit *
shimmy_find(struct berth_shimlet *s, const char *name)
{
    for (struct shimmy_unit *u = s->units; u != NULL; u = u->next) {
        if (strcmp(u->name, name) == 0)
            return u;
    }
    return NULL;
}

int
shimmy_unit_of(struct berth_shimlet *s, const char *name, struct shimmy_unit **ret,
               struct berth_err *e)
{
    struct shimmy_unit *u = shimmy_find(s, name);

    if (u == NULL) {
        if (s->unit_count >= SHIMMY_UNITS_MAX)
            return berth_err_set(e, BERTH_ELIMIT, "shimmy: %d units at most", SHIMMY_UNITS_MAX);
        u = calloc(1, sizeof *u);
        if (u == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "shimmy: out of memory");
        (void)snprintf(u->name, sizeof u->name, "%s", name);
        u->conf = s->conf;
        u->next = s->units;
        s->units = u;
        s->unit_count++;
    }
    *ret = u;
    return 0;
}

void
shimmy_unit_free(struct shimmy_unit *u)
{
    free(u->replicas);
    free(u->conf_json);
    free(u);
}

void
shimmy_move(struct shimmy_replica *r, enum berth_replica_state state, uint64_t now_ns)
{
    r->state = state;
    r->since_ns = now_ns;
}

struct shimmy_room
shimmy_room(const struct berth_shimlet *s, int node)
{
    struct shimmy_room left = {
        .accelerators = s->accelerators > 0 ? s->accelerators : INT64_MAX / 2,
        .cpu_milli = s->cpu_milli > 0 ? s->cpu_milli : INT64_MAX / 2,
        .memory_bytes = s->memory_bytes > 0 ? s->memory_bytes : INT64_MAX / 2,
    };

    for (const struct shimmy_unit *u = s->units; u != NULL; u = u->next) {
        for (size_t i = 0; i < u->replica_count; i++) {
            const struct shimmy_replica *r = &u->replicas[i];

            if (r->node != node)
                continue;
            left.accelerators -= r->accelerators;
            left.cpu_milli -= (int64_t)r->cpu_milli;
            left.memory_bytes -= (int64_t)r->memory_bytes;
        }
    }
    return left;
}

/* A machine for it, if one has room. */
static bool
place(const struct berth_shimlet *s, struct shimmy_replica *r, uint64_t now_ns)
{
    for (int node = 0; node < s->nodes; node++) {
        const struct shimmy_room left = shimmy_room(s, node);

        if (s->cordoned[node] || left.accelerators < r->accelerators ||
            left.cpu_milli < (int64_t)r->cpu_milli || left.memory_bytes < (int64_t)r->memory_bytes)
            continue;
        r->node = node;
        r->since_ns = now_ns;
        r->reason[0] = '\0';
        return true;
    }
    (void)snprintf(r->reason, sizeof r->reason, "not scheduled: none of %lld nodes has room for it",
                   (long long)s->nodes);
    return false;
}

int
shimmy_start(struct berth_shimlet *s, struct shimmy_unit *u, const struct berth_unit *want,
             uint32_t index, struct berth_err *e)
{
    if (u->replica_count == u->replica_cap) {
        const size_t cap = u->replica_cap > 0 ? 2 * u->replica_cap : 4;
        struct shimmy_replica *more =
            cap <= SHIMMY_REPLICAS_MAX ? reallocarray(u->replicas, cap, sizeof *more) : NULL;

        if (more == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "shimmy: no memory for %zu replicas", cap);
        u->replicas = more;
        u->replica_cap = cap;
    }
    struct shimmy_replica *r = &u->replicas[u->replica_count];

    *r = (struct shimmy_replica){
        .revision = want->revision,
        .since_ns = berth_now_ns(),
        .cpu_milli = want->cpu_milli,
        .memory_bytes = want->memory_bytes,
        .index = index,
        .accelerators = want->accelerator_count,
        .state = BERTH_REPLICA_STARTING,
        .node = -1,
    };
    (void)snprintf(r->id, sizeof r->id, "%s-%llu", u->name, (unsigned long long)++u->seq);
    (void)snprintf(r->hash, sizeof r->hash, "%s", want->hash);
    (void)place(s, r, r->since_ns);
    u->replica_count++;
    return 0;
}

static uint64_t
at(const struct shimmy_replica *r, int64_t ms)
{
    return r->since_ns + (uint64_t)ms * BERTH_MS;
}

/* What comes next for this one, and when; moves it when that is now.  True: it moved. */
static bool
step(const struct berth_shimlet *s, struct shimmy_unit *u, struct shimmy_replica *r,
     uint64_t now_ns, uint64_t *ret_next_ns)
{
    const struct shimmy_conf *c = &u->conf;
    uint64_t next = UINT64_MAX;
    enum berth_replica_state to = r->state;

    switch (r->state) {
    case BERTH_REPLICA_STARTING:
        if (r->node < 0 && !place(s, r, now_ns)) {
            next = UINT64_MAX; /* until another one makes room */
        } else if (c->never_ready) {
            next = r->since_ns + u->start_timeout_ns;
            to = BERTH_REPLICA_FAILED;
        } else {
            next = at(r, c->start_ms);
            to = BERTH_REPLICA_READY;
        }
        break;
    case BERTH_REPLICA_READY:
        if (c->crash_after_ms > 0 && u->crashes < (uint64_t)c->crash_count) {
            next = at(r, c->crash_after_ms);
            to = BERTH_REPLICA_FAILED;
        }
        break;
    case BERTH_REPLICA_FAILED:
        next = at(r, c->restart_ms);
        to = BERTH_REPLICA_STARTING;
        break;
    case BERTH_REPLICA_STOPPING:
        next = at(r, c->stop_ms); /* the caller takes it away */
        break;
    }
    *ret_next_ns = next;
    if (next > now_ns || to == r->state)
        return false;
    if (to == BERTH_REPLICA_FAILED) {
        u->crashes += r->state == BERTH_REPLICA_READY;
        (void)snprintf(r->reason, sizeof r->reason, "%s",
                       r->state == BERTH_REPLICA_READY ? "ended by signal 11 (Segmentation fault)"
                                                       : "not ready after its start timeout");
    }
    r->restarts += r->state == BERTH_REPLICA_FAILED;
    shimmy_move(r, to, next); /* when it was due: late looks do not stretch the script */
    return true;
}

/* Somebody takes the last replica away behind our back. */
static uint64_t
drift(struct shimmy_unit *u, uint64_t now_ns)
{
    const uint64_t due = u->applied_ns + (uint64_t)u->conf.drift_after_ms * BERTH_MS;

    if (u->conf.drift_after_ms == 0 || u->drift_done || !u->exists)
        return UINT64_MAX;
    if (now_ns < due)
        return due;
    u->drift_done = u->drifted = u->dirty = true;
    if (u->replica_count > 0)
        u->replica_count--;
    return UINT64_MAX;
}

uint64_t
shimmy_advance(struct berth_shimlet *s, struct shimmy_unit *u, uint64_t now_ns)
{
    uint64_t next = drift(u, now_ns);

    for (size_t i = 0; i < u->replica_count;) {
        struct shimmy_replica *r = &u->replicas[i];
        uint64_t its;

        if (step(s, u, r, now_ns, &its)) {
            u->dirty = true;
            /* With no time between two states there is no end: the rest is for the next look. */
            (void)step(s, u, r, now_ns, &its);
        }
        if (r->state == BERTH_REPLICA_STOPPING && its <= now_ns) {
            u->dirty = true;
            memmove(r, r + 1, (u->replica_count - i - 1) * sizeof *r);
            u->replica_count--;
            continue;
        }
        next = its < next ? its : next;
        i++;
    }
    return next;
}
