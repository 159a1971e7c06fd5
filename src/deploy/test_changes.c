#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "deploy/route/routes.h"
#include "deploy/test_people.h"
#include "net/forward.h"
#include "store/store.h"

/* Services that are changed: updated, scaled, rolled back, with a canary, and what gets in between.
 */

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

/* Who asks right after the answer reads of this change, not of what was before it. */
static void
the_phase_changes_with_the_answer(void **unused)
{
    static const char bad[] = "{\"modelName\":\"bad\",\"steps\":{"
                              "\"resource-deployment\":{\"timeoutMs\":20000},"
                              "\"health-check\":{\"timeoutMs\":20000}}}";
    struct berth_err e = {""};
    uint64_t revision = 0;
    const char *id;

    (void)unused;
    w.broken_model = "bad";
    id = create(bad);
    world_run(&w, 25 * BERTH_S);
    phase_is(id, "failed");
    assert_int_equal(update(id, "{\"modelName\":\"good\"}"), 2);
    phase_is(id, "pipeline-executing"); /* nothing of it ever ran */
    assert_string_equal(text_of(describe(id), "message"), "");
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    assert_int_equal(update(id, bad), 3);
    phase_is(id, "updating");
    world_run(&w, 25 * BERTH_S);
    phase_is(id, "failed");
    assert_int_equal(berth_deploy_rollback(w.d, id, 0, &tester, &revision, &e), 0);
    phase_is(id, "updating");
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    /* The same again is no change. */
    assert_int_equal(update(id, "{\"modelName\":\"good\"}"), revision);
    phase_is(id, "running");
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

/* A record that is too large for the store stands for one that cannot write. */
static char **
make_too_large(struct service *s)
{
    enum { TOO_LARGE = 2 << 20 };
    struct track *t = &s->tracks[STABLE];
    struct berth_err e;

    assert_int_equal(berth_values_set(t, "bulk", "", &e), 0);
    char **text = &t->values[t->value_count - 1].text;
    free(*text);
    *text = malloc(TOO_LARGE);
    assert_non_null(*text);
    memset(*text, 'x', TOO_LARGE - 1);
    (*text)[TOO_LARGE - 1] = '\0';
    return text;
}

static void
what_could_not_be_written_is_written_later(void **unused)
{
    const char *id = create("{\"modelName\":\"m\",\"replicaCount\":2}");

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    struct service *s = berth_deploy_service(w.d, id);
    char **text = make_too_large(s);
    world_unit_of(&w, id, "stable")->replicas[0].dead = true;
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running"); /* it is kept all the same */
    assert_null(strstr(phases(id), "degraded"));
    **text = '\0';
    world_run(&w, 300 * BERTH_S);
    assert_non_null(strstr(phases(id), "running degraded running"));
    /* The same for one whose environment is not loaded any more. */
    struct plug *all = w.d->environs.first;
    w.d->environs.first = NULL;
    **text = 'x';
    world_run(&w, 100 * BERTH_S);
    phase_is(id, "degraded");
    assert_null(strstr(phases(id), "running degraded running degraded"));
    **text = '\0';
    world_run(&w, 300 * BERTH_S);
    phase_is(id, "degraded");
    assert_non_null(strstr(phases(id), "running degraded running degraded"));
    w.d->environs.first = all;
    berth_service_unref(w.d, s);
}

/* The record of its revision cannot be read: what the service itself is, is kept all the same. */
static void
a_revision_that_cannot_be_marked_holds_nothing_up(void **unused)
{
    struct berth_record record;
    struct berth_err e = {""};
    const char *id = create("{\"modelName\":\"m\"}");

    (void)unused;
    assert_int_equal(berth_store_put(w.store, berth_arena_printf(&a, "revision/%s/00000001", id),
                                     berth_slice_of("no JSON"), 0, &e),
                     0);
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    assert_int_equal(
        berth_store_get(w.store, &a, berth_arena_printf(&a, "service/%s", id), &record, &e), 0);
    assert_non_null(memmem(record.value.at, record.value.len, "\"phase\":\"running\"", 17));
    assert_non_null(strstr(phases(id), "health-checking running"));
}

/* ---- a pipeline besides the world's ---- */

static struct berth_goal other_goals[4];
static const struct berth_pipeline_ops other_flow = {.abi = BERTH_PIPELINE_ABI,
                                                     .struct_size = sizeof other_flow,
                                                     .name = "other",
                                                     .version = "1",
                                                     .description = "less than the world's",
                                                     .deploy = other_goals};

static const struct berth_pipeline_ops *
other_entry(const struct berth_pipeline_host *h, struct berth_err *e)
{
    (void)e;
    other_goals[0] = *h->goal("config-rendering");
    other_goals[1] = *h->goal("resource-deployment");
    other_goals[2] = *h->goal("health-check");
    return &other_flow;
}

static void
a_pipeline_of_a_canary_alone_is_in_use(void **unused)
{
    struct berth_err e = {""};
    uint64_t revision;
    const char *id = create("{\"modelName\":\"m\"}");

    (void)unused;
    assert_int_equal(berth_deploy_add_pipeline(w.d, other_entry, NULL, false, &e), 0);
    world_run(&w, 30 * BERTH_S);
    assert_int_equal(update(id, "{\"modelName\":\"m\",\"pipeline\":\"other\",\"contextLength\":9,"
                                "\"strategy\":{\"type\":\"canary\"}}"),
                     2);
    world_run(&w, 30 * BERTH_S);
    assert_non_null(world_unit_of(&w, id, "canary"));
    assert_int_equal(berth_plug_retire(w.d, &w.d->flows, "other", BERTH_S, &e), -BERTH_EPERM);
    assert_non_null(strstr(e.msg, "1 services use it"));
    assert_int_equal(berth_deploy_rollback(w.d, id, 0, &tester, &revision, &e), 0);
    world_run(&w, 60 * BERTH_S);
    assert_int_equal(berth_plug_retire(w.d, &w.d->flows, "other", BERTH_S, &e), 0);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_update_rolls_and_a_rollback_goes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(scaling_rolls_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_canary_runs_beside_and_is_promoted_or_ended, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_rollback_goes_back_to_what_ran, setup, teardown),
        cmocka_unit_test_setup_teardown(old_revisions_go_once_nobody_has_them, setup, teardown),
        cmocka_unit_test_setup_teardown(what_runs_is_reached_though_its_update_failed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_a_spec_says_of_requests_is_routed, setup, teardown),
        cmocka_unit_test_setup_teardown(the_phase_changes_with_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_update_is_not_taken_back, setup, teardown),
        cmocka_unit_test_setup_teardown(what_could_not_be_written_is_written_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_revision_that_cannot_be_marked_holds_nothing_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_pipeline_of_a_canary_alone_is_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(an_update_that_fails_is_taken_back_when_it_says_so, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
