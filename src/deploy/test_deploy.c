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
#include "deploy/test_world.h"
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

/* An engine's own image is for those who name none, nowhere. */
static void
an_image_is_the_services_the_environments_or_the_engines(void **unused)
{
    static const struct {
        const char *settings, *more, *want;
    } cases[] = {
        {NULL, "", "vllm/vllm-openai:v0.10.0"},
        {"{\"image\":\"\",\"qps\":5}", "", "vllm/vllm-openai:v0.10.0"},
        {"{\"image\":\"environments:1\"}", "", ""}, /* the environment knows its own */
        {NULL, ",\"shimletConfig\":{\"image\":\"own:1\"}", ""},
        {NULL, ",\"image\":\"services:1\"", "services:1"},
        {"{\"image\":\"environments:1\"}", ",\"image\":\"services:1\"", "services:1"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        w.settings_json = cases[i].settings;
        world_kill(&w);
        world_start(&w);
        const char *id = create(berth_arena_printf(
            &a, "{\"modelName\":\"m%zu\",\"engine\":\"vllm\",\"modelFile\":\"/m/a.safetensors\"%s}",
            i, cases[i].more));
        world_run(&w, 30 * BERTH_S);
        phase_is(id, "running");
        const struct world_unit *u = world_unit_of(&w, id, "stable");
        assert_non_null(u);
        assert_string_equal(u->image, cases[i].want);
    }
    w.settings_json = NULL;
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
    assert_int_equal(berth_deploy_find(w.d, "m", id, &e), -BERTH_ENOENT);
    char one[BERTH_SERVICE_ID_MAX];
    (void)snprintf(one, sizeof one, "%s", create("{\"modelName\":\"m\"}"));
    assert_int_equal(berth_deploy_find(w.d, "m", id, &e), 0);
    assert_string_equal(id, one);
    (void)create("{\"modelName\":\"m\",\"pipeline\":\"opensource-llm\"}");
    assert_int_equal(berth_deploy_find(w.d, "m", id, &e), -BERTH_EINVAL);
    one[10] = '\0';
    assert_int_equal(berth_deploy_find(w.d, one, id, &e), 0);
    assert_int_equal(berth_deploy_retire_shimlet(w.d, "fake", 0, &e), -BERTH_EPERM);
    assert_int_equal(berth_deploy_retire_pipeline(w.d, "plain", 0, &e), -BERTH_EPERM);
    assert_int_equal(berth_deploy_retire_pipeline(w.d, "none", 0, &e), -BERTH_ENOENT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_service_is_brought_about_and_taken_away, setup, teardown),
        cmocka_unit_test_setup_teardown(an_update_rolls_and_a_rollback_goes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(scaling_rolls_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_image_is_the_services_the_environments_or_the_engines,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_canary_runs_beside_and_is_promoted_or_ended, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(drift_is_mended, setup, teardown),
        cmocka_unit_test_setup_teardown(a_service_that_fails_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_update_that_fails_is_taken_back_when_it_says_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
