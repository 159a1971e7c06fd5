#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "deploy/routes.h"
#include "deploy/test_world.h"
#include "net/forward.h"
#include "store/store.h"
#include "wire/json.h"

static struct world w;
static struct berth_arena a;
static const struct berth_actor tester = {.name = "tester", .peer = "127.0.0.1"};

static int
setup(void **unused)
{
    (void)unused;
    berth_arena_init(&a, 64 << 20);
    world_init(&w, 42);
    world_start(&w);
    return 0;
}

static int
teardown(void **unused)
{
    (void)unused;
    world_fini(&w);
    berth_arena_fini(&a);
    return 0;
}

static const char *
create(const char *json)
{
    static char id[BERTH_SERVICE_ID_MAX];
    struct berth_spec spec;
    struct berth_err e = {""};

    world_spec(&w, json, &a, &spec);
    if (berth_deploy_create(w.d, &spec, &tester, id, &e) < 0)
        fail_msg("%s", e.msg);
    return id;
}

static uint64_t
update(const char *id, const char *json)
{
    struct berth_spec spec;
    struct berth_err e = {""};
    uint64_t revision = 0;

    world_spec(&w, json, &a, &spec);
    if (berth_deploy_update(w.d, id, &spec, 0, &tester, &revision, &e) < 0)
        fail_msg("%s", e.msg);
    return revision;
}

static const struct berth_json *
describe(const char *id)
{
    const struct berth_json *v;
    struct berth_err e = {""};
    struct berth_buf b;

    berth_buf_init(&b, &a);
    if (berth_deploy_describe(w.d, id, &a, &b, &e) < 0 ||
        berth_json_parse(&a, b.at, b.len, NULL, &v, &e) < 0)
        fail_msg("%s", e.msg);
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
    uint64_t n = UINT64_MAX;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

static void
phase_is(const char *id, const char *want)
{
    const struct berth_json *v = describe(id);

    if (strcmp(text_of(v, "phase"), want) != 0)
        fail_msg("%s is %s (%s), should be %s", id, text_of(v, "phase"), text_of(v, "message"),
                 want);
}

/* All phases that a service went through, from its events. */
static bool
note_phase(void *arg, uint64_t seq, struct berth_slice json)
{
    const struct berth_json *v;
    struct berth_err e;
    char *to = arg;

    (void)seq;
    assert_int_equal(berth_json_parse(&a, json.at, json.len, NULL, &v, &e), 0);
    (void)snprintf(to + strlen(to), 1000 - strlen(to), "%s ", text_of(v, "to"));
    return true;
}

static const char *
phases(const char *id)
{
    static char text[1000];
    const struct berth_event_query q = {.service_id = id, .type = "service.status"};
    struct berth_err e;
    uint64_t last;

    text[0] = '\0';
    assert_int_equal(berth_deploy_events(w.d, &q, note_phase, text, &last, &e), 0);
    return text;
}

static void
a_service_is_brought_about_and_taken_away(void **unused)
{
    struct berth_err e = {""};
    const char *id = create("{\"modelName\":\"llama-3-8b\",\"replicaCount\":2}");

    (void)unused;
    phase_is(id, "initializing");
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    const struct world_unit *u = world_unit_of(&w, id, "stable");
    assert_non_null(u);
    assert_int_equal(world_ready(&w, u), 2);
    assert_string_equal(phases(id),
                        "initializing pipeline-executing environment-deploying health-checking "
                        "running ");
    assert_string_equal(text_of(describe(id), "endpoint"),
                        "http://127.0.0.1:1/v1/chat/completions");
    assert_int_equal(berth_deploy_delete(w.d, id, &tester, &e), 0);
    phase_is(id, "terminating");
    world_run(&w, 20 * BERTH_S);
    phase_is(id, "terminated");
    assert_null(world_unit_of(&w, id, "stable"));
    assert_int_equal(berth_deploy_delete(w.d, id, &tester, &e), 0);
    assert_int_equal(berth_deploy_delete(w.d, "nobody", &tester, &e), 0);
    world_run(&w, 700 * BERTH_S);
    struct berth_buf b;
    berth_buf_init(&b, &a);
    assert_int_equal(berth_deploy_describe(w.d, id, &a, &b, &e), -BERTH_ENOENT);
    /* Nothing of it is left in the store but its events. */
    struct berth_record *list;
    size_t n;
    assert_int_equal(berth_store_list(w.store, &a, "service/", &list, &n, &e), 0);
    assert_int_equal(n, 0);
    assert_int_equal(berth_store_list(w.store, &a, "revision/", &list, &n, &e), 0);
    assert_int_equal(n, 0);
}

static void
an_update_rolls_and_a_rollback_goes_back(void **unused)
{
    struct berth_err e = {""};
    uint64_t revision = 0;
    char hash[24];
    const char *id = create("{\"modelName\":\"m\",\"replicaCount\":3}");

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    (void)snprintf(hash, sizeof hash, "%s", world_unit_of(&w, id, "stable")->hash);
    assert_int_equal(update(id, "{\"modelName\":\"m\",\"replicaCount\":3,\"contextLength\":512}"),
                     2);
    world_run(&w, 2 * BERTH_S);
    const struct world_unit *u = world_unit_of(&w, id, "stable");
    assert_string_not_equal(u->hash, hash);
    world_run(&w, 60 * BERTH_S);
    phase_is(id, "running");
    assert_int_equal(world_ready(&w, u), 3);
    assert_int_equal(u->replica_count, 3);
    /* The same again is no revision. */
    assert_int_equal(update(id, "{\"modelName\":\"m\",\"replicaCount\":3,\"contextLength\":512}"),
                     2);
    assert_int_equal(berth_deploy_rollback(w.d, id, 0, &tester, &revision, &e), 0);
    assert_int_equal(revision, 3);
    world_run(&w, 60 * BERTH_S);
    phase_is(id, "running");
    assert_string_equal(world_unit_of(&w, id, "stable")->hash, hash);
    assert_int_equal(berth_deploy_rollback(w.d, id, 2, &tester, &revision, &e), 0);
    assert_int_equal(berth_deploy_rollback(w.d, id, 77, &tester, &revision, &e), -BERTH_ENOENT);
    world_run(&w, 60 * BERTH_S);
    assert_string_not_equal(world_unit_of(&w, id, "stable")->hash, hash);
    /* Somebody else was first. */
    struct berth_spec spec;
    world_spec(&w, "{\"modelName\":\"m\"}", &a, &spec);
    assert_int_equal(berth_deploy_update(w.d, id, &spec, 3, &tester, &revision, &e), -BERTH_EEXIST);
    world_spec(&w, "{\"modelName\":\"m\",\"shimlet\":\"other\"}", &a, &spec);
    assert_int_equal(berth_deploy_update(w.d, id, &spec, 0, &tester, &revision, &e), -BERTH_EINVAL);
}

static void
scaling_rolls_nothing(void **unused)
{
    struct berth_err e = {""};
    uint64_t revision = 0;
    const char *id = create("{\"modelName\":\"m\"}");

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    const uint64_t first = world_unit_of(&w, id, "stable")->replicas[0].id;
    assert_int_equal(berth_deploy_scale(w.d, id, 3, &tester, &revision, &e), 0);
    assert_int_equal(revision, 2);
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    const struct world_unit *u = world_unit_of(&w, id, "stable");
    assert_int_equal(world_ready(&w, u), 3);
    assert_int_equal(u->replicas[0].id, first);
    assert_int_equal(berth_deploy_scale(w.d, id, 0, &tester, &revision, &e), 0);
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    assert_int_equal(world_unit_of(&w, id, "stable")->replica_count, 0);
    assert_int_equal(berth_deploy_scale(w.d, id, 1001, &tester, &revision, &e), -BERTH_EINVAL);
}

static void
a_canary_runs_beside_and_is_promoted_or_ended(void **unused)
{
    static const char spec[] = "{\"modelName\":\"m\",\"replicaCount\":2,\"contextLength\":99,"
                               "\"strategy\":{\"type\":\"canary\",\"canary\":{\"weight\":10}}}";
    struct berth_err e = {""};
    uint64_t revision = 0;
    const char *id = create("{\"modelName\":\"m\",\"replicaCount\":2}");

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(berth_deploy_promote(w.d, id, &tester, &revision, &e), -BERTH_EINVAL);
    for (int end = 0; end < 2; end++) {
        assert_int_not_equal(update(id, spec), 0);
        world_run(&w, 30 * BERTH_S);
        phase_is(id, "running");
        const struct world_unit *canary = world_unit_of(&w, id, "canary");
        assert_non_null(canary);
        assert_int_equal(world_ready(&w, canary), 1);
        assert_int_equal(world_ready(&w, world_unit_of(&w, id, "stable")), 2);
        assert_int_equal(uint_of(berth_json_get(describe(id), "canary"), "weight"), 10);
        assert_int_equal(berth_deploy_weight(w.d, id, 101, &tester, &e), -BERTH_EINVAL);
        assert_int_equal(berth_deploy_weight(w.d, id, 50, &tester, &e), 0);
        assert_int_equal(uint_of(berth_json_get(describe(id), "canary"), "weight"), 50);
        char hash[24];
        (void)snprintf(hash, sizeof hash, "%s", canary->hash);
        if (end == 0)
            assert_int_equal(berth_deploy_rollback(w.d, id, 0, &tester, &revision, &e), 0);
        else
            assert_int_equal(berth_deploy_promote(w.d, id, &tester, &revision, &e), 0);
        world_run(&w, 60 * BERTH_S);
        phase_is(id, "running");
        assert_null(world_unit_of(&w, id, "canary"));
        assert_int_equal(strcmp(world_unit_of(&w, id, "stable")->hash, hash) == 0, end);
        assert_int_equal(world_ready(&w, world_unit_of(&w, id, "stable")), 2);
        assert_int_equal(berth_json_type(berth_json_get(describe(id), "canary")), BERTH_JSON_NULL);
    }
}

static void
a_rollback_goes_back_to_what_ran(void **unused)
{
    static const char canary[] = "{\"modelName\":\"m\",\"contextLength\":99,"
                                 "\"strategy\":{\"type\":\"canary\"}}";
    struct berth_err e = {""};
    uint64_t revision = 0;
    char hash[24];
    const char *id = create("{\"modelName\":\"m\"}");

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    (void)snprintf(hash, sizeof hash, "%s", world_unit_of(&w, id, "stable")->hash);
    assert_int_equal(update(id, canary), 2);
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(berth_deploy_rollback(w.d, id, 0, &tester, &revision, &e), 0);
    world_run(&w, 30 * BERTH_S);
    /* The canary was rejected: it is not what was there before. */
    assert_int_equal(berth_deploy_rollback(w.d, id, 0, &tester, &revision, &e), -BERTH_ENOENT);
    assert_string_equal(world_unit_of(&w, id, "stable")->hash, hash);
    /* One that is promoted just now goes back on both tracks. */
    assert_int_not_equal(update(id, canary), 0);
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(berth_deploy_promote(w.d, id, &tester, &revision, &e), 0);
    assert_int_equal(berth_deploy_rollback(w.d, id, 0, &tester, &revision, &e), 0);
    world_run(&w, 60 * BERTH_S);
    phase_is(id, "running");
    assert_null(world_unit_of(&w, id, "canary"));
    assert_string_equal(world_unit_of(&w, id, "stable")->hash, hash);
    /* One that was promoted ran: after another update it is what was there before. */
    assert_int_not_equal(update(id, canary), 0);
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(berth_deploy_promote(w.d, id, &tester, &revision, &e), 0);
    world_run(&w, 60 * BERTH_S);
    assert_int_not_equal(update(id, "{\"modelName\":\"m\",\"contextLength\":5}"), 0);
    world_run(&w, 60 * BERTH_S);
    assert_int_equal(berth_deploy_rollback(w.d, id, 0, &tester, &revision, &e), 0);
    assert_int_equal(uint_of(berth_json_get(describe(id), "spec"), "contextLength"), 99);
}

static bool
is_kept(const char *id, unsigned number)
{
    char key[200];
    struct berth_record record;
    struct berth_err e;

    (void)snprintf(key, sizeof key, "revision/%s/%08u", id, number);
    return berth_store_get(w.store, &a, key, &record, &e) == 0;
}

static void
old_revisions_go_once_nobody_has_them(void **unused)
{
    char spec[160];
    struct berth_err e = {""};
    uint64_t revision = 0;

    (void)unused;
    w.conf.revisions_max = 2;
    world_kill(&w);
    world_start(&w);
    const char *id = create("{\"modelName\":\"m\"}");
    world_run(&w, 30 * BERTH_S);
    for (unsigned i = 2; i <= 4; i++) {
        (void)snprintf(spec, sizeof spec,
                       "{\"modelName\":\"m\",\"contextLength\":%u,"
                       "\"strategy\":{\"type\":\"canary\"}}",
                       i);
        assert_int_equal(update(id, spec), i);
        world_run(&w, 30 * BERTH_S);
    }
    assert_true(is_kept(id, 1)); /* the stable track has it */
    assert_false(is_kept(id, 2));
    assert_int_equal(berth_deploy_promote(w.d, id, &tester, &revision, &e), 0);
    world_run(&w, 60 * BERTH_S);
    assert_int_equal(update(id, "{\"modelName\":\"m\"}"), 6);
    assert_false(is_kept(id, 1));
    assert_true(is_kept(id, 5));
}

static bool
is_routed(struct berth_routes *routes)
{
    struct berth_trip trip = {0};
    struct berth_err e;

    const bool is = berth_trip_find(&trip, routes, berth_slice_of("m")) == 0 &&
                    berth_trip_next(&trip, 1, &e) == 0;
    if (is)
        berth_trip_done(&trip, &(struct berth_forward_end){.result = BERTH_FORWARD_OK}, 2);
    berth_trip_end(&trip, 2);
    return is;
}

/* An update has failed, Berth starts again: what ran before still answers. */
static void
what_runs_is_reached_though_its_update_failed(void **unused)
{
    struct berth_routes *routes;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(berth_routes_new(&(struct berth_routes_conf){.arg = NULL}, &routes, &e), 0);
    w.conf.routes = routes;
    world_kill(&w);
    world_start(&w);
    const char *id = create("{\"modelName\":\"m\"}");
    world_run(&w, 30 * BERTH_S);
    assert_true(is_routed(routes));
    w.broken_model = "m";
    assert_int_equal(update(id, "{\"modelName\":\"m\",\"contextLength\":5,\"strategy\":{"
                                "\"type\":\"rolling\",\"maxSurge\":1,\"maxUnavailable\":0},"
                                "\"steps\":{\"resource-deployment\":{\"timeoutMs\":20000}}}"),
                     2);
    for (int i = 0; i < 60 && strcmp(text_of(describe(id), "phase"), "failed") != 0; i++)
        world_run(&w, BERTH_S);
    phase_is(id, "failed");
    berth_routes_remove(routes, id); /* as after a restart */
    world_kill(&w);
    world_start(&w);
    world_run(&w, 4 * BERTH_S);
    phase_is(id, "failed");
    assert_true(is_routed(routes));
    world_fini(&w);
    berth_routes_free(routes);
    world_init(&w, 42); /* for the teardown */
    world_start(&w);
}

static void
what_a_spec_says_of_requests_is_routed(void **unused)
{
    struct berth_trip trip = {0};
    struct berth_routes *routes;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(berth_routes_new(&(struct berth_routes_conf){.arg = NULL}, &routes, &e), 0);
    w.conf.routes = routes;
    world_kill(&w);
    world_start(&w);
    const char *id = create("{\"modelName\":\"m\"}");
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(berth_trip_find(&trip, routes, berth_slice_of("m")), 0);
    assert_false(trip.service->has_side_effects);
    assert_int_equal(trip.service->first_ns_max, 0);
    berth_trip_end(&trip, 1);
    const uint64_t first = world_unit_of(&w, id, "stable")->replicas[0].id;
    assert_int_equal(update(id, "{\"modelName\":\"m\",\"hasSideEffects\":true,"
                                "\"firstAnswerTimeoutMs\":700}"),
                     2);
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(berth_trip_find(&trip, routes, berth_slice_of("m")), 0);
    assert_true(trip.service->has_side_effects);
    assert_int_equal(trip.service->first_ns_max, 700 * BERTH_MS);
    berth_trip_end(&trip, 1);
    /* Its replicas need not know. */
    assert_int_equal(world_unit_of(&w, id, "stable")->replicas[0].id, first);
    berth_routes_remove(routes, id);
    world_fini(&w);
    berth_routes_free(routes);
    world_init(&w, 42); /* for the teardown */
    world_start(&w);
}

static const char *changing; /* the service that somebody updates meanwhile */

static void
update_meanwhile(struct world *to)
{
    const char *id = changing;

    if (id == NULL || to->now_ns < 51 * BERTH_S)
        return;
    changing = NULL;
    assert_int_equal(update(id, "{\"modelName\":\"better\",\"replicaCount\":2}"), 3);
}

/* The failed one is taken back, not the newer one that was acknowledged while it failed. */
static void
a_newer_update_is_not_taken_back(void **unused)
{
    static const char bad[] = "{\"modelName\":\"bad\",\"replicaCount\":2,\"steps\":{"
                              "\"resource-deployment\":{\"timeoutMs\":20000,"
                              "\"onFailure\":\"rollback\"}}}";
    const char *id = create("{\"modelName\":\"good\",\"replicaCount\":2}");

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    w.broken_model = "bad";
    assert_int_equal(update(id, bad), 2);
    changing = id;
    w.meanwhile = update_meanwhile;
    world_run(&w, 180 * BERTH_S);
    assert_null(changing);
    w.meanwhile = NULL;
    phase_is(id, "running");
    assert_int_equal(uint_of(describe(id), "revision"), 3);
}

static void
drift_is_mended(void **unused)
{
    const char *id = create("{\"modelName\":\"m\",\"replicaCount\":3}");
    struct world_unit *u;

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    u = world_unit_of(&w, id, "stable");
    u->replicas[1].dead = true; /* killed */
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    assert_int_equal(world_ready(&w, u), 3);
    u->desired = 1; /* scaled by somebody else */
    u->replica_count = 1;
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(world_ready(&w, u), 3);
    u->drifted = true; /* changed by somebody else */
    world_run(&w, 30 * BERTH_S);
    assert_false(u->drifted);
    u->exists = false; /* deleted by somebody else */
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(world_ready(&w, world_unit_of(&w, id, "stable")), 3);
    assert_non_null(strstr(phases(id), "running degraded running"));
}

/* A record that is too large for the store stands for one that cannot write. */
static void
what_could_not_be_written_is_written_later(void **unused)
{
    enum { TOO_LARGE = 2 << 20 };
    struct berth_err e;
    const char *id = create("{\"modelName\":\"m\",\"replicaCount\":2}");

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    struct service *s = berth_deploy_service(w.d, id);
    struct track *t = &s->tracks[STABLE];
    assert_int_equal(berth_values_set(t, "bulk", "", &e), 0);
    char **text = &t->values[t->value_count - 1].text, *small = *text;
    *text = malloc(TOO_LARGE);
    assert_non_null(*text);
    memset(*text, 'x', TOO_LARGE - 1);
    (*text)[TOO_LARGE - 1] = '\0';
    world_unit_of(&w, id, "stable")->replicas[0].dead = true;
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running"); /* it is kept all the same */
    assert_null(strstr(phases(id), "degraded"));
    free(*text);
    *text = small;
    berth_service_unref(w.d, s);
    world_run(&w, 300 * BERTH_S);
    assert_non_null(strstr(phases(id), "running degraded running"));
}

static void
a_service_that_fails_is_tried_again(void **unused)
{
    struct berth_err e = {""};
    w.broken_model = "m";
    const char *id = create("{\"modelName\":\"m\",\"startTimeoutMs\":10000,"
                            "\"steps\":{\"health-check\":{\"timeoutMs\":20000}}}");

    (void)unused;
    world_run(&w, 25 * BERTH_S);
    phase_is(id, "failed");
    assert_non_null(strstr(text_of(describe(id), "message"), "health-check: timeout after 20s"));
    assert_non_null(strstr(text_of(describe(id), "message"), "the last error was: replica"));
    w.broken_model = NULL;
    w.units[0].exists = false; /* the next attempt gets a new one */
    w.units[0].replica_count = 0;
    world_run(&w, 60 * BERTH_S);
    phase_is(id, "running");
    w.offline = true;
    assert_int_equal(update(id, "{\"modelName\":\"m\",\"contextLength\":5}"), 2);
    world_run(&w, 300 * BERTH_S);
    assert_non_null(strstr(phases(id), "environment-deploying failed updating"));
    w.offline = false;
    assert_int_equal(berth_deploy_retry(w.d, id, &tester, &e), 0);
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
}

static void
an_update_that_fails_is_taken_back_when_it_says_so(void **unused)
{
    static const char bad[] = "{\"modelName\":\"bad\",\"replicaCount\":2,\"steps\":{"
                              "\"resource-deployment\":{\"timeoutMs\":20000,"
                              "\"onFailure\":\"rollback\"}}}";
    const char *id = create("{\"modelName\":\"good\",\"replicaCount\":2}");
    char hash[24];

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    (void)snprintf(hash, sizeof hash, "%s", world_unit_of(&w, id, "stable")->hash);
    w.broken_model = "bad";
    assert_int_equal(update(id, bad), 2);
    world_run(&w, 10 * BERTH_S);
    assert_string_not_equal(world_unit_of(&w, id, "stable")->hash, hash);
    assert_int_not_equal(world_unit_of(&w, id, "stable")->replica_count, 0);
    world_run(&w, 120 * BERTH_S);
    phase_is(id, "running");
    assert_int_equal(uint_of(describe(id), "revision"), 3);
    assert_string_equal(world_unit_of(&w, id, "stable")->hash, hash);
    assert_int_equal(world_ready(&w, world_unit_of(&w, id, "stable")), 2);
}

static const struct berth_pipeline_ops *
alias_entry(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static struct berth_pipeline_ops ops = {.abi = BERTH_PIPELINE_ABI,
                                            .struct_size = sizeof ops,
                                            .name = "opensource-llm",
                                            .version = "1"};

    (void)e;
    ops.deploy = h->goal("model-validation");
    return &ops;
}

static void
what_is_wrong_is_said(void **unused)
{
    char id[BERTH_SERVICE_ID_MAX];
    struct berth_spec spec;
    struct berth_err e = {""};

    (void)unused;
    world_spec(&w, "{\"modelName\":\"m\",\"pipeline\":\"nonesuch\"}", &a, &spec);
    assert_int_equal(berth_deploy_create(w.d, &spec, &tester, id, &e), -BERTH_ENOENT);
    assert_non_null(strstr(e.msg, "plain"));
    world_spec(&w, "{\"modelName\":\"m\",\"shimlet\":\"nonesuch\"}", &a, &spec);
    assert_int_equal(berth_deploy_create(w.d, &spec, &tester, id, &e), -BERTH_ENOENT);
    assert_non_null(strstr(e.msg, "fake"));
    assert_int_equal(berth_deploy_find(w.d, "m", false, id, &e), -BERTH_ENOENT);
    char one[BERTH_SERVICE_ID_MAX];
    (void)snprintf(one, sizeof one, "%s", create("{\"modelName\":\"m\"}"));
    assert_int_equal(berth_deploy_find(w.d, "m", false, id, &e), 0);
    assert_string_equal(id, one);
    (void)create("{\"modelName\":\"m\",\"pipeline\":\"opensource-llm\"}");
    assert_int_equal(berth_deploy_find(w.d, "m", false, id, &e), -BERTH_EINVAL);
    /* A plan is refused as the update would be. */
    struct berth_buf b;
    berth_buf_init(&b, &a);
    world_spec(&w, "{\"modelName\":\"m\"}", &a, &spec);
    assert_int_equal(berth_deploy_plan(w.d, one, &spec, &a, &b, &e), 0);
    char gone[BERTH_SERVICE_ID_MAX];
    (void)snprintf(gone, sizeof gone, "%s", create("{\"modelName\":\"going\"}"));
    assert_int_equal(berth_deploy_delete(w.d, gone, &tester, &e), 0);
    assert_int_equal(berth_deploy_plan(w.d, gone, &spec, &a, &b, &e), -BERTH_ENOTREADY);
    one[10] = '\0';
    assert_int_equal(berth_deploy_find(w.d, one, false, id, &e), 0);
    assert_int_equal(berth_deploy_retire_shimlet(w.d, "fake", 0, &e), -BERTH_EPERM);
    assert_int_equal(berth_deploy_retire_pipeline(w.d, "plain", 0, &e), -BERTH_EPERM);
    assert_int_equal(berth_deploy_retire_pipeline(w.d, "none", 0, &e), -BERTH_ENOENT);
    /* What has another's other name does not take over the whole of it. */
    assert_int_equal(berth_deploy_add_pipeline(w.d, alias_entry, NULL, true, &e), -BERTH_EEXIST);
    assert_non_null(strstr(e.msg, "plain"));
}

static bool
count_event(void *arg, uint64_t seq, struct berth_slice json)
{
    (void)seq;
    (void)json;
    ++*(int *)arg;
    return true;
}

static int
events_of(const char *id, const char *type)
{
    const struct berth_event_query q = {.service_id = id, .type = type};
    struct berth_err e;
    uint64_t last;
    int n = 0;

    assert_int_equal(berth_deploy_events(w.d, &q, count_event, &n, &last, &e), 0);
    return n;
}

/* The state of a unit as `services --units` has it; "": it is not there. */
static const char *
unit_state(const char *service_id, const char *track)
{
    const struct berth_json *all;
    struct berth_err e;
    struct berth_buf b;

    berth_buf_init(&b, &a);
    assert_int_equal(berth_deploy_units(w.d, &a, &b, &e), 0);
    assert_int_equal(berth_json_parse(&a, b.at, b.len, NULL, &all, &e), 0);
    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        if (strcmp(text_of(it.value, "serviceId"), service_id) == 0 &&
            strcmp(text_of(it.value, "track"), track) == 0)
            return text_of(it.value, "state");
    }
    return "";
}

static void
what_no_record_wishes_for_is_found(void **unused)
{
    char gone[BERTH_SERVICE_ID_MAX];
    struct berth_err e = {""};

    (void)unused;
    (void)snprintf(gone, sizeof gone, "%s", create("{\"modelName\":\"gone\"}"));
    const char *id = create("{\"modelName\":\"m\"}");
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(berth_deploy_delete(w.d, gone, &tester, &e), 0);
    world_run(&w, 700 * BERTH_S);
    assert_int_equal(berth_deploy_find(w.d, gone, false, gone, &e), -BERTH_ENOENT);
    /* One that nobody knows is told once and left alone, over restarts, too. */
    assert_non_null(world_leave(&w, "lost-1", "stable"));
    /* What was deleted goes, and a canary that its service does not know. */
    assert_non_null(world_leave(&w, gone, "stable"));
    assert_non_null(world_leave(&w, id, "canary"));
    assert_string_equal(unit_state(id, "stable"), "known");
    assert_string_equal(unit_state(id, "canary"), "stray");
    assert_string_equal(unit_state(gone, "stable"), "deleted");
    assert_string_equal(unit_state("lost-1", "stable"), "orphan");
    world_run(&w, 700 * BERTH_S);
    assert_string_equal(unit_state(id, "canary"), "");
    assert_string_equal(unit_state(gone, "stable"), "");
    assert_string_equal(unit_state("lost-1", "stable"), "orphan");
    assert_int_equal(events_of("lost-1", "service.orphan"), 1);
    assert_int_equal(events_of(NULL, "service.orphan"), 1);
    phase_is(id, "running");
    assert_int_equal(world_ready(&w, world_unit_of(&w, id, "stable")), 1);
}

/* What waited goes on waiting after a restart, and a host that dies in a loop asks ever less. */
static void
a_crash_loop_is_no_storm(void **unused)
{
    (void)unused;
    (void)create("{\"modelName\":\"m\"}");
    world_run(&w, 30 * BERTH_S);
    for (int i = 1; i <= 8; i++) {
        world_kill(&w);
        world_start(&w);
        const uint64_t calls = w.calls;
        world_run(&w, 900 * BERTH_MS);
        if ((w.calls > calls) != (i <= 2))
            fail_msg("start %d: %llu calls", i, (unsigned long long)(w.calls - calls));
    }
    uint64_t calls = w.calls;
    world_run(&w, 8 * BERTH_S); /* the last one waits for ten seconds, and none for longer */
    assert_int_equal(w.calls, calls);
    world_run(&w, 2 * BERTH_S);
    assert_true(w.calls > calls);
    world_run(&w, 80 * BERTH_S); /* it lived: the next death is the first one */
    world_kill(&w);
    world_start(&w);
    calls = w.calls;
    world_run(&w, 900 * BERTH_MS);
    assert_true(w.calls > calls);
    for (int i = 0; i < 5; i++) { /* ends that were asked for do not count */
        berth_deploy_stop(w.d, BERTH_S);
        world_kill(&w);
        world_start(&w);
    }
    calls = w.calls;
    world_run(&w, 900 * BERTH_MS);
    assert_true(w.calls > calls);
    /* A service that fails for good is not tried at each start. */
    w.broken_model = "bad";
    const char *id = create("{\"modelName\":\"bad\",\"startTimeoutMs\":10000,"
                            "\"steps\":{\"health-check\":{\"timeoutMs\":20000}}}");
    world_run(&w, 60 * BERTH_S); /* twice by now */
    phase_is(id, "failed");
    berth_deploy_stop(w.d, BERTH_S);
    world_kill(&w);
    world_start(&w);
    world_run(&w, BERTH_S);
    phase_is(id, "failed");
}

/* A service whose model is named as another's id begins is found by its name, and nothing is
 * deleted by a beginning. */
static void
the_nearest_name_is_meant(void **unused)
{
    char id[BERTH_SERVICE_ID_MAX], one[BERTH_SERVICE_ID_MAX], other[BERTH_SERVICE_ID_MAX];
    struct berth_err e = {""};

    (void)unused;
    (void)snprintf(other, sizeof other, "%s", create("{\"modelName\":\"llama-3-8b\"}"));
    const struct {
        const char *why, *name;
        bool whole;
        int want;
        const char *found;
    } before[] = {
        {"a beginning will do", "llama", false, 0, other},
        {"but not for what cannot be taken back", "llama", true, -BERTH_EINVAL, NULL},
        {"a model's name is whole", "llama-3-8b", true, 0, other},
        {"an id, too", other, true, 0, other},
        {"nothing begins like that", "gemma", true, -BERTH_ENOENT, NULL},
        {"nothing is no beginning", "", false, -BERTH_ENOENT, NULL},
    };
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        print_message("  %s\n", before[i].why);
        assert_int_equal(berth_deploy_find(w.d, before[i].name, before[i].whole, id, &e),
                         before[i].want);
        if (before[i].found != NULL)
            assert_string_equal(id, before[i].found);
    }
    (void)snprintf(one, sizeof one, "%s", create("{\"modelName\":\"llama\"}"));
    for (int whole = 0; whole < 2; whole++) {
        assert_int_equal(berth_deploy_find(w.d, "llama", whole, id, &e), 0);
        assert_string_equal(id, one);
    }
    assert_int_equal(berth_deploy_find(w.d, "llama-", false, id, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "2 services"));
}

/* Where the environment reads elsewhere, the model root is there, too; where it reads here, it
 * would have been found. */
static void
a_model_without_a_path_is_below_the_model_root(void **unused)
{
    (void)unused;
    const char *id = create("{\"modelName\":\"m\",\"engine\":\"vllm\"}");
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    assert_string_equal(world_unit_of(&w, id, "stable")->model_path, "/models/m");
    w.sees_files = true;
    for (size_t i = 0; i < 2; i++) {
        id = create(i == 0 ? "{\"modelName\":\"n\",\"engine\":\"vllm\"}" : "{\"modelName\":\"o\"}");
        world_run(&w, BERTH_S);
        phase_is(id, "failed");
        const char *message = text_of(describe(id), "message");
        assert_ptr_equal(strstr(message, "config-rendering: modelFile: is missing"), message);
    }
}

/* A model that is not there fails at its step, before anything is started; where the environment
 * reads elsewhere nobody here can know. */
static void
a_model_that_is_not_there_is_told_at_once(void **unused)
{
    static const char json[] = "{\"modelName\":\"m\",\"modelFile\":\"/nowhere/m.gguf\"}";
    struct berth_err e = {""};
    struct berth_spec spec;
    struct berth_buf b;

    (void)unused;
    const char *id = create(json);
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    w.sees_files = true;
    id = create("{\"modelName\":\"n\",\"modelFile\":\"/nowhere/n.gguf\"}");
    const uint64_t applies = w.applies;
    world_run(&w, BERTH_S);
    phase_is(id, "failed");
    const char *message = text_of(describe(id), "message");
    assert_ptr_equal(strstr(message, "model-validation: modelFile: /nowhere/n.gguf: No such file"),
                     message);
    assert_non_null(strstr(message, "retry"));
    world_run(&w, 900 * BERTH_S); /* it does not come by itself */
    phase_is(id, "failed");
    assert_null(world_unit_of(&w, id, "stable"));
    assert_int_equal(w.applies, applies);
    berth_buf_init(&b, &a);
    world_spec(&w, json, &a, &spec);
    assert_int_equal(berth_deploy_plan(w.d, NULL, &spec, &a, &b, &e), 0);
    assert_non_null(strstr(berth_buf_text(&b), "\"fits\":false,\"why\":\"modelFile: /nowhere/"));
    assert_int_equal(update(id, "{\"modelName\":\"n\",\"modelFile\":\"/\"}"), 2);
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
}

/* What a plugin was built with that knew fewer members of a replica. */
static void
replicas_of_an_older_plugin_are_read(void **unused)
{
    enum { OLD = offsetof(struct berth_replica, ca_path), COUNT = 3 };
    _Alignas(struct berth_replica) char bytes[COUNT * OLD];
    static const char *const ids[COUNT] = {"a", "b", "c"};
    struct berth_observed as = {.struct_size = sizeof as, .exists = true, .replica_count = COUNT};

    (void)unused;
    for (uint32_t said = 0; said < 2; said++) { /* one that says its size, and one that does not */
        for (size_t i = 0; i < COUNT; i++) {
            const struct berth_replica one = {.struct_size = said ? OLD : 0,
                                              .id = ids[i],
                                              .hash = "h",
                                              .state = BERTH_REPLICA_READY,
                                              .cpu_milli = i};
            memcpy(bytes + i * OLD, &one, OLD);
        }
        as.replicas = (const struct berth_replica *)(const void *)bytes;
        struct seen *seen = berth_seen_new(&as, 1);
        assert_non_null(seen);
        for (size_t i = 0; i < COUNT; i++) {
            assert_string_equal(seen->as.replicas[i].id, ids[i]);
            assert_int_equal(seen->as.replicas[i].cpu_milli, i);
            assert_null(seen->as.replicas[i].ca_path);
        }
        berth_seen_free(seen);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_of_an_older_plugin_are_read),
        cmocka_unit_test_setup_teardown(a_service_is_brought_about_and_taken_away, setup, teardown),
        cmocka_unit_test_setup_teardown(an_update_rolls_and_a_rollback_goes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(scaling_rolls_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_canary_runs_beside_and_is_promoted_or_ended, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_rollback_goes_back_to_what_ran, setup, teardown),
        cmocka_unit_test_setup_teardown(old_revisions_go_once_nobody_has_them, setup, teardown),
        cmocka_unit_test_setup_teardown(what_runs_is_reached_though_its_update_failed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_a_spec_says_of_requests_is_routed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_update_is_not_taken_back, setup, teardown),
        cmocka_unit_test_setup_teardown(drift_is_mended, setup, teardown),
        cmocka_unit_test_setup_teardown(what_could_not_be_written_is_written_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_service_that_fails_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_update_that_fails_is_taken_back_when_it_says_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(what_no_record_wishes_for_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_loop_is_no_storm, setup, teardown),
        cmocka_unit_test_setup_teardown(the_nearest_name_is_meant, setup, teardown),
        cmocka_unit_test_setup_teardown(a_model_that_is_not_there_is_told_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_model_without_a_path_is_below_the_model_root, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
