#include "deploy/test_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "store/store.h"

struct world *world;

uint64_t
world_random(struct world *w)
{
    w->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = w->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

bool
world_chance(struct world *w, uint32_t percent)
{
    return world_random(w) % 100 < percent;
}

/* ---- dying ---- */

static struct berth_store *
copy_store(struct berth_store *from)
{
    struct berth_store *to;
    struct berth_record *list;
    struct berth_arena a;
    struct berth_err e = {""};
    size_t n = 0;

    berth_arena_init(&a, 256 << 20);
    if (berth_store_open_memory(&to, &e) < 0 || berth_store_list(from, &a, "", &list, &n, &e) < 0)
        fail_msg("%s", e.msg);
    for (size_t i = 0; i < n; i += 200) {
        struct berth_store_op ops[200];
        size_t k = 0;
        for (; k < 200 && i + k < n; k++)
            ops[k] = (struct berth_store_op){
                .kind = BERTH_STORE_PUT, .key = list[i + k].key, .value = list[i + k].value};
        if (berth_store_txn(to, ops, k, NULL, &e) < 0)
            fail_msg("%s", e.msg);
    }
    berth_arena_fini(&a);
    return to;
}

/* Every call may be the last one: what the store has now is all that is left. */
static bool
dies(struct world *w)
{
    if (!w->dead && w->dies_in > 0 && --w->dies_in == 0) {
        w->kept = copy_store(w->store);
        w->dead = true;
    }
    return w->dead;
}

static uint64_t
clock_now(void *arg)
{
    struct world *w = arg;

    (void)dies(w);
    return w->now_ns;
}

static uint64_t
clock_wall(void *arg)
{
    const struct world *w = arg;

    return UINT64_C(1769860800) * BERTH_S + w->now_ns;
}

static uint64_t
clock_random(void *arg)
{
    return world_random(arg);
}

/* ---- the environment ---- */

struct berth_shimlet {
    int unused;
};
static struct berth_shimlet the_shimlet;

static int
fake_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
          struct berth_shimlet **ret, struct berth_err *e)
{
    world->host = h;
    world->who = how->who;
    *ret = &the_shimlet;
    return 0;
}

/* Threads of an environment may tell of changes until it is closed. */
static void
fake_close(struct berth_shimlet *s)
{
    world->host->changed(world->who, "its-last-word");
}

/* What time has brought about. */
static void
settle(struct world *w, struct world_unit *u)
{
    size_t n = 0;

    for (size_t i = 0; i < u->replica_count; i++) {
        struct world_replica *r = &u->replicas[i];
        r->dead = r->dead || (r->ready_ns > w->now_ns && r->late_ns <= w->now_ns);
        if (r->gone_ns == 0 || r->gone_ns > w->now_ns)
            u->replicas[n++] = *r;
    }
    u->replica_count = n;
}

static bool
is_ready(const struct world *w, const struct world_replica *r)
{
    return !r->dead && r->gone_ns == 0 && r->ready_ns <= w->now_ns;
}

uint32_t
world_ready(const struct world *w, const struct world_unit *u)
{
    uint32_t n = 0;

    for (size_t i = 0; u->exists && i < u->replica_count; i++)
        n += is_ready(w, &u->replicas[i]) && strcmp(u->replicas[i].hash, u->hash) == 0;
    return n;
}

struct world_unit *
world_unit_of(struct world *w, const char *service_id, const char *track)
{
    for (size_t i = 0; i < WORLD_UNITS_MAX; i++) {
        struct world_unit *u = &w->units[i];
        if (u->exists && strcmp(u->service_id, service_id) == 0 && strcmp(u->track, track) == 0) {
            settle(w, u);
            return u;
        }
    }
    return NULL;
}

static struct world_unit *
by_name(struct world *w, const char *name)
{
    for (size_t i = 0; i < WORLD_UNITS_MAX; i++) {
        if (w->units[i].exists && strcmp(w->units[i].name, name) == 0) {
            settle(w, &w->units[i]);
            return &w->units[i];
        }
    }
    return NULL;
}

/* What comes between the engine and the environment: nothing, an error, or the end. */
static int
on_the_way(struct world *w, struct berth_err *e)
{
    w->calls++;
    if (dies(w))
        return berth_err_set(e, BERTH_ECANCELED, "dead");
    w->now_ns += 1 + world_random(w) % (20 * BERTH_MS);
    if (w->slow_percent > 0 && world_chance(w, w->slow_percent))
        w->now_ns += world_random(w) % (40 * BERTH_S);
    if (w->meanwhile != NULL)
        w->meanwhile(w);
    if (w->dead)
        return berth_err_set(e, BERTH_ECANCELED, "dead");
    if (w->offline)
        return berth_err_set(e, BERTH_ENETWORK, "no route to host");
    if (w->error_percent > 0 && world_chance(w, w->error_percent))
        return berth_err_set(e, world_chance(w, 50) ? BERTH_ENETWORK : BERTH_EIO, "a bad day");
    return 0;
}

/* The work was done; does the engine hear of it? */
static int
on_the_way_back(struct world *w, int r, struct berth_err *e)
{
    if (dies(w))
        return berth_err_set(e, BERTH_ECANCELED, "dead");
    if (w->lost_percent > 0 && world_chance(w, w->lost_percent))
        return berth_err_set(e, BERTH_EDEADLINE, "the answer was lost");
    return r;
}

static void
add_replica(struct world *w, struct world_unit *u, const char *model)
{
    const bool broken = (w->broken_model != NULL && strcmp(model, w->broken_model) == 0) ||
                        strcmp(u->hash, w->broken_hash) == 0;

    if (u->replica_count == WORLD_REPLICAS_MAX)
        fail_msg("seed %llu: unit %s has too many replicas", (unsigned long long)w->seed, u->name);
    struct world_replica *r = &u->replicas[u->replica_count++];
    *r = (struct world_replica){.id = ++w->next_replica, .revision = u->revision};
    (void)snprintf(r->hash, sizeof r->hash, "%s", u->hash);
    r->late_ns = w->now_ns + u->start_timeout_ns;
    r->ready_ns = broken
                      ? UINT64_MAX
                      : w->now_ns + (w->start_ns_max > 0 ? world_random(w) % w->start_ns_max : 0);
}

/* One round of a rolling change, as surge_max and unavailable_max allow. */
static void
roll(struct world *w, struct world_unit *u, const char *model)
{
    uint32_t current = 0, ready = 0, all = 0;

    for (size_t i = 0; i < u->replica_count; i++) {
        struct world_replica *r = &u->replicas[i];
        if (r->gone_ns > 0)
            continue;
        if (r->dead) { /* replaced */
            r->gone_ns = w->now_ns;
            continue;
        }
        all++;
        current += strcmp(r->hash, u->hash) == 0;
        ready += is_ready(w, r);
    }
    for (; current < u->desired && all < u->desired + u->surge_max; current++, all++)
        add_replica(w, u, model);
    for (size_t i = 0; i < u->replica_count; i++) {
        struct world_replica *r = &u->replicas[i];
        const bool old = strcmp(r->hash, u->hash) != 0, over = current > u->desired;
        if (r->gone_ns > 0 || (!old && !over))
            continue;
        const bool counts = is_ready(w, r);
        if (counts && old &&
            ready <= (u->desired > u->unavailable_max ? u->desired - u->unavailable_max : 0))
            continue; /* it is still needed */
        r->gone_ns = w->now_ns + world_random(w) % (500 * BERTH_MS);
        ready -= counts;
        current -= !old;
    }
    /* Without a surge: what is free now is filled at once. */
    all = 0;
    current = 0;
    for (size_t i = 0; i < u->replica_count; i++) {
        all += u->replicas[i].gone_ns == 0;
        current += u->replicas[i].gone_ns == 0 && strcmp(u->replicas[i].hash, u->hash) == 0;
    }
    for (; current < u->desired && all < u->desired + u->surge_max; current++, all++)
        add_replica(w, u, model);
}

static int
fake_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *unit,
           struct berth_err *e)
{
    struct world *w = world;
    int r = on_the_way(w, e);

    if (r < 0)
        return r;
    if (w->sealed)
        return berth_err_set(e, BERTH_ENETWORK, "it cannot be changed now");
    w->applies++;
    struct world_unit *u = by_name(w, unit->name);
    for (size_t i = 0; u == NULL && i < WORLD_UNITS_MAX; i++) {
        if (!w->units[i].exists) {
            u = &w->units[i];
            *u = (struct world_unit){.exists = true};
            (void)snprintf(u->name, sizeof u->name, "%s", unit->name);
            (void)snprintf(u->service_id, sizeof u->service_id, "%s", unit->service_id);
            (void)snprintf(u->track, sizeof u->track, "%s", unit->track);
        }
    }
    assert_non_null(u);
    if (unit->revision < u->revision)
        fail_msg("seed %llu: unit %s goes back from revision %llu to %llu",
                 (unsigned long long)w->seed, u->name, (unsigned long long)u->revision,
                 (unsigned long long)unit->revision);
    (void)snprintf(u->hash, sizeof u->hash, "%s", unit->hash);
    (void)snprintf(u->image, sizeof u->image, "%s", unit->image != NULL ? unit->image : "");
    (void)snprintf(u->model_path, sizeof u->model_path, "%s",
                   unit->model_path != NULL ? unit->model_path : "");
    u->revision = unit->revision;
    u->desired = unit->scale_max > 0 && w->scaled > 0 ? w->scaled : unit->replicas;
    u->start_timeout_ns = unit->start_timeout_ns;
    u->surge_max = unit->surge_max;
    u->unavailable_max = unit->unavailable_max;
    u->drifted = false;
    roll(w, u, unit->model_name);
    return on_the_way_back(w, 0, e);
}

static int
fake_remove(struct berth_shimlet *s, const struct berth_op *op, const char *name,
            struct berth_err *e)
{
    struct world *w = world;
    int r = on_the_way(w, e);

    if (r < 0)
        return r;
    w->removes++;
    struct world_unit *u = by_name(w, name);
    if (u == NULL)
        return on_the_way_back(w, 0, e);
    u->desired = 0;
    for (size_t i = 0; i < u->replica_count; i++) {
        if (u->replicas[i].gone_ns == 0)
            u->replicas[i].gone_ns = w->now_ns + world_random(w) % BERTH_S;
    }
    settle(w, u);
    if (u->replica_count > 0)
        return on_the_way_back(w, 1, e);
    u->exists = false;
    return on_the_way_back(w, 0, e);
}

static int
fake_status(struct berth_shimlet *s, const struct berth_op *op, const char *name,
            void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
            struct berth_err *e)
{
    struct world *w = world;
    struct berth_replica replicas[WORLD_REPLICAS_MAX];
    char ids[WORLD_REPLICAS_MAX][24];
    int r = on_the_way(w, e);

    if (r < 0)
        return r;
    const struct world_unit *u = by_name(w, name);
    struct berth_observed seen = {.struct_size = sizeof seen, .replicas = replicas};
    if (u != NULL) {
        seen.exists = true;
        seen.drifted = u->drifted;
        seen.hash = u->hash;
        seen.replicas_desired = u->desired;
        seen.replica_count = u->replica_count;
        for (size_t i = 0; i < u->replica_count; i++) {
            const struct world_replica *one = &u->replicas[i];
            (void)snprintf(ids[i], sizeof ids[i], "r%llu", (unsigned long long)one->id);
            replicas[i] =
                (struct berth_replica){.struct_size = sizeof replicas[i],
                                       .id = ids[i],
                                       .hash = one->hash,
                                       .revision = one->revision,
                                       .state = one->gone_ns > 0   ? BERTH_REPLICA_STOPPING
                                                : one->dead        ? BERTH_REPLICA_FAILED
                                                : is_ready(w, one) ? BERTH_REPLICA_READY
                                                                   : BERTH_REPLICA_STARTING,
                                       .endpoint = "http://127.0.0.1:1",
                                       .reason = one->dead ? "killed" : NULL};
        }
    }
    tell(arg, &seen);
    return on_the_way_back(w, 0, e);
}

static int
fake_list(struct berth_shimlet *s, const struct berth_op *op,
          void (*each)(void *arg, const struct berth_listed *one), void *arg, struct berth_err *e)
{
    struct world *w = world;

    const int r = on_the_way(w, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < WORLD_UNITS_MAX; i++) {
        const struct world_unit *u = &w->units[i];
        if (u->exists)
            each(arg, &(struct berth_listed){u->service_id, u->track, u->name, u->hash});
    }
    return on_the_way_back(w, 0, e);
}

static bool
fake_watches(const struct berth_shimlet *s)
{
    return world->watches;
}

static bool
fake_sees_files(const struct berth_shimlet *s)
{
    return world->sees_files;
}

static int
fake_node(struct berth_shimlet *s, const struct berth_op *op, const char *node, bool drain,
          struct berth_err *e)
{
    if (drain && world->drained != NULL)
        world->drained(world, op);
    return 0;
}

static const struct berth_shimlet_ops fake_ops = {
    .abi = BERTH_SHIMLET_ABI,
    .struct_size = sizeof fake_ops,
    .name = "fake",
    .version = "1",
    .description = "a world of its own",
    .open = fake_open,
    .close = fake_close,
    .apply = fake_apply,
    .remove = fake_remove,
    .status = fake_status,
    .list = fake_list,
    .watches = fake_watches,
    .node = fake_node,
    .sees_files = fake_sees_files,
};

/* ---- a pipeline of the host's own goals ---- */

static struct berth_goal fake_goals[5];
static const char *const fake_aliases[] = {"opensource-llm", NULL};
static struct berth_pipeline_ops fake_flow = {.abi = BERTH_PIPELINE_ABI,
                                              .struct_size = sizeof fake_flow,
                                              .name = "plain",
                                              .version = "1",
                                              .description = "the host's goals",
                                              .aliases = fake_aliases,
                                              .deploy = fake_goals};

static const struct berth_pipeline_ops *
fake_entry(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static const char *const names[] = {"model-validation", "config-rendering",
                                        "resource-deployment", "health-check"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        fake_goals[i] = *h->goal(names[i]);
    return &fake_flow;
}

/* ---- the process ---- */

void
world_init(struct world *w, uint64_t seed)
{
    struct berth_err e = {""};

    memset(w, 0, sizeof *w);
    w->seed = w->random = seed;
    w->now_ns = BERTH_S;
    w->start_ns_max = 4 * BERTH_S;
    w->clock = (struct berth_deploy_clock){clock_now, clock_wall, clock_random, w};
    if (berth_store_open_memory(&w->store, &e) < 0)
        fail_msg("%s", e.msg);
    world = w;
}

void
world_start(struct world *w)
{
    struct berth_err e = {""};

    w->who = NULL; /* until it is opened */
    w->conf.store = w->store;
    w->conf.clock = &w->clock;
    w->conf.default_shimlet = "fake";
    w->conf.default_pipeline = "plain";
    w->conf.model_root = "/models";
    if (berth_deploy_new(&w->conf, &w->d, &e) < 0 ||
        berth_deploy_add_shimlet(w->d, &fake_ops, NULL, w->settings_json, false, &e) < 0 ||
        berth_deploy_add_pipeline(w->d, fake_entry, NULL, false, &e) < 0 ||
        berth_deploy_start(w->d, &e) < 0)
        fail_msg("seed %llu: %s", (unsigned long long)w->seed, e.msg);
}

void
world_kill(struct world *w)
{
    if (w->kept == NULL)
        w->kept = copy_store(w->store);
    w->dead = true;
    berth_deploy_free(w->d);
    w->d = NULL;
    berth_store_close(w->store);
    w->store = w->kept;
    w->kept = NULL;
    w->dead = false;
    w->dies_in = 0;
    w->restarts++;
}

struct world_unit *
world_leave(struct world *w, const char *service_id, const char *track)
{
    struct berth_arena a;

    for (size_t i = 0; i < WORLD_UNITS_MAX; i++) {
        struct world_unit *u = &w->units[i];
        if (u->exists)
            continue;
        *u = (struct world_unit){.exists = true, .desired = 1, .surge_max = 1};
        berth_arena_init(&a, 4096);
        (void)snprintf(u->name, sizeof u->name, "%s", berth_name_unit(service_id, track, &a));
        berth_arena_fini(&a);
        (void)snprintf(u->service_id, sizeof u->service_id, "%s", service_id);
        (void)snprintf(u->track, sizeof u->track, "%s", track);
        (void)snprintf(u->hash, sizeof u->hash, "0123456789abcdef");
        add_replica(w, u, "left");
        return u;
    }
    return NULL;
}

void
world_changed(struct world *w, const struct world_unit *u)
{
    if (w->watches && w->who != NULL && !w->dead)
        w->host->changed(w->who, u->service_id);
}

/* When something happens in the environment by itself; and tell of what did since `since`. */
static uint64_t
next_event(struct world *w, uint64_t since)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < WORLD_UNITS_MAX; i++) {
        const struct world_unit *u = &w->units[i];
        bool changed = false;
        for (size_t k = 0; u->exists && k < u->replica_count; k++) {
            const uint64_t times[] = {u->replicas[k].ready_ns, u->replicas[k].gone_ns,
                                      u->replicas[k].ready_ns > w->now_ns ? u->replicas[k].late_ns
                                                                          : 0};
            for (size_t n = 0; n < 3; n++) {
                changed = changed || (times[n] > since && times[n] <= w->now_ns);
                if (times[n] > w->now_ns && times[n] < next)
                    next = times[n];
            }
        }
        if (changed)
            world_changed(w, u);
    }
    return next;
}

void
world_fini(struct world *w)
{
    berth_deploy_free(w->d);
    berth_store_close(w->store);
    berth_store_close(w->kept);
    world = NULL;
}

void
world_run(struct world *w, uint64_t ns)
{
    const uint64_t until = w->now_ns + ns;
    uint64_t next, told = w->now_ns;

    for (int turns = 0; w->now_ns < until; turns++) {
        if (turns > 100000)
            fail_msg("seed %llu: it goes in circles", (unsigned long long)w->seed);
        const bool did = berth_deploy_turn(w->d, &next);
        if (w->dead) {
            world_kill(w);
            world_start(w);
            continue;
        }
        const uint64_t event = next_event(w, told);
        told = w->now_ns;
        if (did)
            continue;
        next = event < next ? event : next;
        if (next > w->now_ns)
            w->now_ns = next < until ? next : until;
    }
}

void
world_spec(struct world *w, const char *json, struct berth_arena *a, struct berth_spec *ret)
{
    struct berth_spec_fault fault;
    struct berth_err e = {""};
    bool lenient;

    if (berth_spec_parse_text(berth_slice_of(json), berth_deploy_defaults(w->d), a, ret, &lenient,
                              &fault, &e) < 0)
        fail_msg("%s: %s", fault.field, e.msg);
}
