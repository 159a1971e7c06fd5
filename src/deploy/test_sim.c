#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "deploy/test_world.h"
#include "store/store.h"
#include "wire/json.h"

/*
 * The engine against a world that is against it: people deploy, update, scale, roll back, promote
 * and delete at random, also while a call is under way; the environment answers with errors, loses
 * answers, is slow, is not there for a while, loses and changes what it has; the store is full for
 * a while; the process is killed at any call and starts again from its store.  Then the world calms
 * down, and all must be as was wished for last.  A broken rule prints its seed: test_sim SEED runs
 * that one alone.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 60 }; /* they look at memory and threads, and are ten times slower */
#else
enum { SEEDS = 1000 };
#endif
enum { SERVICES_MAX = 5, BOOKS_MAX = 40, ACTS = 14 };

struct tracked {
    char id[BERTH_SERVICE_ID_MAX];
    uint64_t revision; /* the last that was acknowledged */
    bool deleted;      /* acknowledged */
    bool asked;        /* to be deleted; whether it was written nobody may know */
};
struct sim {
    struct world w;
    struct berth_arena a;
    struct tracked services[BOOKS_MAX];
    size_t count;
    bool busy; /* an act is under way: no other within it */
    uint64_t restarts, acts;
};
static struct sim *sim;
static const struct berth_actor people = {.name = "people"};

static void
rule(bool kept, const char *what, const char *who)
{
    if (!kept)
        fail_msg("seed %llu at %.3f s: %s: %s", (unsigned long long)sim->w.seed,
                 (double)sim->w.now_ns / 1e9, who, what);
}

/* ---- people ---- */

static void
random_spec(struct berth_spec *ret, bool canary)
{
    struct world *w = &sim->w;
    char json[400];

    (void)snprintf(json, sizeof json,
                   "{\"modelName\":\"m%u\",\"replicaCount\":%u,\"contextLength\":%u,"
                   "\"strategy\":{\"type\":\"%s\",\"maxSurge\":%u,\"maxUnavailable\":1},"
                   "\"startTimeoutMs\":20000,\"drainTimeoutMs\":1000,"
                   "\"steps\":{\"resource-deployment\":{\"timeoutMs\":60000,\"onFailure\":\"%s\"},"
                   "\"health-check\":{\"timeoutMs\":30000}}}",
                   (unsigned)(world_random(w) % 3), (unsigned)(world_random(w) % 4),
                   (unsigned)(1 + world_random(w) % 3),
                   canary                ? "canary"
                   : world_chance(w, 20) ? "recreate"
                                         : "rolling",
                   (unsigned)(world_random(w) % 3), world_chance(w, 30) ? "rollback" : "abort");
    world_spec(w, json, &sim->a, ret);
}

static void
acknowledged(struct tracked *t, int r, uint64_t revision)
{
    if (r < 0 || sim->w.dead)
        return; /* refused, or nobody knows */
    rule(revision >= t->revision, "a revision went back", t->id);
    t->revision = revision;
}

static void
act_create(void)
{
    struct world *w = &sim->w;
    char id[BERTH_SERVICE_ID_MAX];
    struct berth_spec spec;
    struct berth_err e = {""};

    if (sim->count >= SERVICES_MAX)
        return;
    random_spec(&spec, false);
    if (berth_deploy_create(w->d, &spec, &people, id, &e) < 0 || w->dead)
        return;
    struct tracked *t = &sim->services[sim->count++];
    *t = (struct tracked){.revision = 1};
    (void)snprintf(t->id, sizeof t->id, "%s", id);
}

static void
act_on(struct tracked *t)
{
    struct world *w = &sim->w;
    struct berth_spec spec;
    struct berth_err e = {""};
    uint64_t revision = t->revision;
    int r;

    switch (world_random(w) % 10) {
    case 0:
    case 1:
    case 2:
        random_spec(&spec, false);
        r = berth_deploy_update(w->d, t->id, &spec, 0, &people, &revision, &e);
        acknowledged(t, r, revision);
        break;
    case 3:
    case 4:
        random_spec(&spec, true);
        r = berth_deploy_update(w->d, t->id, &spec, 0, &people, &revision, &e);
        acknowledged(t, r, revision);
        break;
    case 5:
        r = berth_deploy_scale(w->d, t->id, (uint32_t)(world_random(w) % 5), &people, &revision,
                               &e);
        if (r == 0 && revision > t->revision)
            acknowledged(t, r, revision);
        break;
    case 6:
        acknowledged(t, berth_deploy_promote(w->d, t->id, &people, &revision, &e), revision);
        break;
    case 7:
        acknowledged(t, berth_deploy_rollback(w->d, t->id, 0, &people, &revision, &e), revision);
        break;
    case 8:
        (void)berth_deploy_weight(w->d, t->id, (uint32_t)(world_random(w) % 101), &people, &e);
        break;
    case 9:
        if (world_chance(w, 50))
            (void)berth_deploy_retry(w->d, t->id, &people, &e);
        else {
            t->asked = true;
            r = berth_deploy_delete(w->d, t->id, &people, &e);
            t->deleted = t->deleted || (r == 0 && !w->dead);
        }
        break;
    }
}

static void
act(void)
{
    struct world *w = &sim->w;

    if (sim->busy || w->dead)
        return;
    sim->busy = true;
    sim->acts++;
    berth_arena_reset(&sim->a);
    if (sim->count == 0 || world_chance(w, 25))
        act_create();
    else
        act_on(&sim->services[world_random(w) % sim->count]);
    sim->busy = false;
}

/* Somebody asks for something while a plugin works. */
static void
meanwhile(struct world *w)
{
    if (world_chance(w, 2))
        act();
}

/* ---- the environment's own doings ---- */

#define STRANGER "stranger-1"

/* Something is there that no record wishes for: of a service that was deleted and forgotten (an
 * answer that came late), a canary, or of a service that nobody knows. */
static void
leave_something(void)
{
    struct world *w = &sim->w;

    if (world_chance(w, 10)) {
        if (world_unit_of(w, STRANGER, "stable") == NULL)
            (void)world_leave(w, STRANGER, "stable");
        return;
    }
    if (sim->count == 0)
        return;
    const struct tracked *t = &sim->services[world_random(w) % sim->count];
    const struct service *s = NULL;
    HASH_FIND_STR(w->d->services, t->id, s);
    if (s == NULL && t->deleted && world_unit_of(w, t->id, "stable") == NULL)
        (void)world_leave(w, t->id, "stable");
    else if (s != NULL && s->tracks[CANARY].wish == NULL &&
             world_unit_of(w, t->id, "canary") == NULL)
        (void)world_leave(w, t->id, "canary");
}

static void
nature(void)
{
    struct world *w = &sim->w;
    struct world_unit *u = &w->units[world_random(w) % WORLD_UNITS_MAX];

    for (int i = 0; i < WORLD_UNITS_MAX && !u->exists; i++)
        u = &w->units[(size_t)(u - w->units + 1) % WORLD_UNITS_MAX];
    if (!u->exists)
        return;
    switch (world_random(w) % 7) {
    case 6:
        leave_something();
        return;
    case 0:
    case 1:
        if (u->replica_count > 0)
            u->replicas[world_random(w) % u->replica_count].dead = true;
        break;
    case 2:
        u->desired = (uint32_t)(world_random(w) % 4);
        break;
    case 3:
        u->drifted = true;
        break;
    case 4:
        if (u->replica_count > 0)
            u->replica_count--;
        break;
    case 5:
        *u = (struct world_unit){.exists = false};
        break;
    }
    world_changed(w, u);
}

/* The store takes no record of any service, or does again: one that is too large stands for a full
 * disk. */
static void
store_full(bool full)
{
    enum { TOO_LARGE = (1 << 20) + 1 };
    struct service **all;
    struct berth_err e;
    size_t n;

    assert_int_equal(berth_deploy_all(sim->w.d, &all, &n), 0);
    for (size_t i = 0; i < n; i++) {
        struct track *t = &all[i]->tracks[STABLE];
        assert_int_equal(berth_values_set(t, "bulk", full ? "" : NULL, &e), 0);
        if (full) {
            char **text = &t->values[t->value_count - 1].text;
            free(*text);
            *text = malloc(TOO_LARGE);
            assert_non_null(*text);
            memset(*text, 'x', TOO_LARGE - 1);
            (*text)[TOO_LARGE - 1] = '\0';
        }
        berth_service_unref(sim->w.d, all[i]);
    }
    free(all);
}

/* ---- what must be ---- */

static const struct berth_json *
describe(const char *id)
{
    const struct berth_json *v = NULL;
    struct berth_err e = {""};
    struct berth_buf b;

    berth_buf_init(&b, &sim->a);
    if (berth_deploy_describe(sim->w.d, id, &sim->a, &b, &e) < 0)
        return NULL;
    rule(berth_json_parse(&sim->a, b.at, b.len, NULL, &v, &e) == 0, e.msg, id);
    return v;
}

static const char *
text_of(const struct berth_json *v, const char *key)
{
    struct berth_slice s = {"", 0};

    (void)berth_json_string(berth_json_get(v, key), &s);
    return s.at;
}

static uint64_t
uint_of(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

/* At any time: what was acknowledged is known. */
static void
check_acknowledged(void)
{
    berth_arena_reset(&sim->a);
    for (size_t i = 0; i < sim->count; i++) {
        const struct tracked *t = &sim->services[i];
        const struct berth_json *v = describe(t->id);
        const char *phase = text_of(v, "phase");
        if (t->deleted) {
            rule(v == NULL || strcmp(phase, "terminating") == 0 || strcmp(phase, "terminated") == 0,
                 "it was deleted and is back", t->id);
            continue;
        }
        rule(v != NULL || t->asked, "it was deployed and is lost", t->id);
        rule(v == NULL || uint_of(v, "revision") >= t->revision, "an acknowledged revision is lost",
             t->id);
    }
    rule(atomic_load(&sim->w.d->illegal_moves) == 0, "a phase made an illegal move", "engine");
}

/* As was wished for last?  NULL, or what is not (yet). */
static const char *
not_as_wished(const struct tracked *t)
{
    struct world *w = &sim->w;
    const struct berth_json *v = describe(t->id);
    const char *phase = text_of(v, "phase");
    const struct world_unit *stable = world_unit_of(w, t->id, "stable"),
                            *canary = world_unit_of(w, t->id, "canary");

    if (v == NULL || strcmp(phase, "terminated") == 0 || strcmp(phase, "terminating") == 0) {
        if (v != NULL && strcmp(phase, "terminating") == 0)
            return "it is still terminating";
        return stable != NULL || canary != NULL ? "an orphan is left" : NULL;
    }
    if (strcmp(phase, "running") != 0)
        return phase;
    const uint64_t wish = uint_of(berth_json_get(v, "spec"), "replicaCount");
    if (stable == NULL)
        return "there is no workload";
    if (stable->replica_count != wish || world_ready(w, stable) != wish || stable->drifted)
        return "the replicas are not as wished";
    const struct berth_json *c = berth_json_get(v, "canary");
    if (berth_json_type(c) == BERTH_JSON_NULL)
        return canary != NULL ? "a canary that nobody wishes for" : NULL;
    const char *state = text_of(c, "state");
    if (strcmp(state, "failed") == 0)
        return NULL;
    if (strcmp(state, "running") != 0)
        return "the canary is under way";
    if (canary == NULL || world_ready(w, canary) != uint_of(c, "replicas"))
        return "the canary is not as wished";
    return NULL;
}

static bool
is_known(const char *service_id)
{
    for (size_t i = 0; i < sim->count; i++) {
        if (strcmp(sim->services[i].id, service_id) == 0)
            return true;
    }
    return false;
}

/* A create whose answer nobody got may have been written: take it into the books. */
static bool
find_unknown(void *arg, uint64_t seq, struct berth_slice json)
{
    const struct berth_json *v;
    struct berth_err e;

    (void)arg;
    (void)seq;
    if (berth_json_parse(&sim->a, json.at, json.len, NULL, &v, &e) < 0)
        fail_msg("an event is no JSON: %s", e.msg);
    const char *id = text_of(v, "serviceId");
    if (!is_known(id)) {
        rule(sim->count < BOOKS_MAX, "more services than there can be", id);
        struct tracked *t = &sim->services[sim->count++];
        *t = (struct tracked){.revision = 1};
        (void)snprintf(t->id, sizeof t->id, "%s", id);
    }
    return true;
}

static bool
next_seq(void *arg, uint64_t seq, struct berth_slice json)
{
    uint64_t *last = arg;

    (void)json;
    rule(*last == 0 || seq == *last + 1, "an event's number is missing", "events");
    *last = seq;
    return true;
}

static uint64_t only_seed;

static bool
print_event(void *arg, uint64_t seq, struct berth_slice json)
{
    (void)arg;
    (void)seq;
    print_message("  %.*s\n", (int)json.len, json.at);
    return true;
}

/* What happened to a service, for whoever looks into a seed. */
static void
show(const char *id)
{
    const struct berth_event_query q = {.service_id = id, .limit = 100000};
    struct berth_err e;
    struct berth_buf b;
    uint64_t last;

    (void)berth_deploy_events(sim->w.d, &q, print_event, NULL, &last, &e);
    berth_buf_init(&b, &sim->a);
    if (berth_deploy_describe(sim->w.d, id, &sim->a, &b, &e) == 0)
        print_message("  %.*s\n", (int)b.len, b.at);
}

static bool
note_seen(void *arg, uint64_t seq, struct berth_slice json)
{
    (void)seq;
    (void)json;
    *(bool *)arg = true;
    return false;
}

/* What nobody knows stays as it is, and is told of. */
static void
check_stranger(void)
{
    const struct berth_event_query told = {.service_id = STRANGER, .type = "service.orphan"};
    struct world *w = &sim->w;
    struct berth_err e = {""};
    uint64_t ignored;
    bool seen = false;

    if (world_unit_of(w, STRANGER, "stable") == NULL)
        return; /* it never came, or the environment lost it */
    world_run(w, 301 * BERTH_S);
    rule(world_unit_of(w, STRANGER, "stable") != NULL, "it was taken away", STRANGER);
    rule(berth_deploy_events(w->d, &told, note_seen, &seen, &ignored, &e) == 0 && seen,
         "nobody was told of it", STRANGER);
}

static void
converge(void)
{
    struct world *w = &sim->w;
    const struct berth_event_query created = {.type = "service.created", .limit = 100000};
    const struct berth_event_query all = {.limit = 100000};
    const char *why = NULL;
    struct berth_err e = {""};
    uint64_t last = 0, ignored;
    size_t who = 0;

    w->error_percent = w->lost_percent = w->slow_percent = 0;
    w->offline = false;
    if (w->who != NULL && !w->dead)
        w->host->away(w->who, NULL);
    w->dies_in = 0;
    w->broken_model = NULL;
    w->meanwhile = NULL;
    store_full(false);
    berth_arena_reset(&sim->a);
    rule(berth_deploy_events(w->d, &created, find_unknown, NULL, &ignored, &e) == 0, e.msg, "");
    for (int minute = 0; minute < 60; minute++) {
        why = NULL;
        berth_arena_reset(&sim->a);
        for (size_t i = 0; i < sim->count && why == NULL; i++) {
            why = not_as_wished(&sim->services[i]);
            who = i;
        }
        if (why == NULL)
            break;
        world_run(w, 20 * BERTH_S);
    }
    if (why != NULL && only_seed > 0)
        show(sim->services[who].id);
    rule(why == NULL, why, sim->services[who].id);
    check_stranger();
    for (size_t i = 0; i < WORLD_UNITS_MAX; i++)
        rule(!w->units[i].exists || is_known(w->units[i].service_id) ||
                 strcmp(w->units[i].service_id, STRANGER) == 0,
             "an orphan", w->units[i].name);
    check_acknowledged();
    rule(berth_deploy_events(w->d, &all, next_seq, &last, &ignored, &e) == 0, e.msg, "");
}

static char state_dir[] =
    "/tmp/berth-sim-XXXXXX"; /* the environment has one, made at its first use */

static void
simulate(uint64_t seed)
{
    struct world *w = &sim->w;

    sim->count = 0;
    sim->busy = false;
    world_init(w, seed);
    w->conf = (struct berth_deploy_conf){
        .poll_ns = 3 * BERTH_S, .forget_ns = 60 * BERTH_S, .state_dir = state_dir};
    w->watches = world_chance(w, 50);
    w->error_percent = (uint32_t)(world_random(w) % 30);
    w->lost_percent = (uint32_t)(world_random(w) % 20);
    w->slow_percent = (uint32_t)(world_random(w) % 3);
    w->start_ns_max = BERTH_S + world_random(w) % (10 * BERTH_S);
    w->meanwhile = meanwhile;
    world_start(w);
    for (int i = 0; i < ACTS; i++) {
        if (world_chance(w, 40))
            w->dies_in = 1 + world_random(w) % 60;
        if (world_chance(w, 10))
            w->offline = !w->offline;
        if (world_chance(w, 15) && w->who != NULL && !w->dead)
            w->host->away(w->who, w->offline ? "no route" : NULL);
        if (world_chance(w, 15))
            w->broken_model = w->broken_model == NULL ? "m1" : NULL;
        if (world_chance(w, 10) && !w->dead)
            store_full(world_chance(w, 50));
        act();
        world_run(w, world_random(w) % (12 * BERTH_S));
        if (world_chance(w, 30))
            nature();
        if (world_chance(w, 10) && !w->dead) {
            world_kill(w);
            world_start(w);
        }
        if (!w->dead)
            check_acknowledged();
    }
    converge();
    sim->restarts += w->restarts;
    world_fini(w);
}

static void
all_comes_to_be_as_wished(void **unused)
{
    const uint64_t first = only_seed > 0 ? only_seed : 1, last = only_seed > 0 ? only_seed : SEEDS;
    uint64_t calls = 0, applies = 0;

    (void)unused;
    assert_non_null(mkdtemp(state_dir));
    sim = calloc(1, sizeof *sim);
    assert_non_null(sim);
    berth_arena_init(&sim->a, 256 << 20);
    for (uint64_t seed = first; seed <= last; seed++) {
        simulate(seed);
        calls += sim->w.calls;
        applies += sim->w.applies;
    }
    print_message(
        "  %llu seeds: %llu acts of people, %llu restarts, %llu calls of the environment, "
        "%llu of them apply\n",
        (unsigned long long)(last - first + 1), (unsigned long long)sim->acts,
        (unsigned long long)sim->restarts, (unsigned long long)calls, (unsigned long long)applies);
    berth_arena_fini(&sim->a);
    free(sim);
    static const char *const made[] = {"/shimlets/fake", "/shimlets", ""};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "%s%s", state_dir, made[i]);
        (void)rmdir(path);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_comes_to_be_as_wished),
    };

    if (argc > 1)
        only_seed = strtoull(argv[1], NULL, 10);
    /* A full store is told of at each look: worth reading for one seed alone. */
    berth_log_init(BERTH_LOG_INFO, BERTH_LOG_TEXT,
                   only_seed > 0 ? STDERR_FILENO : open("/dev/null", O_WRONLY | O_CLOEXEC));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
