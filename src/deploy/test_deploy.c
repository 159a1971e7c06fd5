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
#include "deploy/test_people.h"
#include "deploy/test_world.h"
#include "store/store.h"
#include "wire/json.h"

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

/* What is missing is told also while the environment refuses to mend it. */
static void
a_service_that_cannot_be_mended_is_degraded(void **unused)
{
    const char *id = create("{\"modelName\":\"m\",\"replicaCount\":2}");
    struct world_unit *u;

    (void)unused;
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "running");
    u = world_unit_of(&w, id, "stable");
    u->replica_count = 1; /* taken away by somebody else */
    w.sealed = true;
    world_run(&w, 30 * BERTH_S);
    phase_is(id, "degraded");
    w.sealed = false;
    world_run(&w, 120 * BERTH_S);
    phase_is(id, "running");
    assert_int_equal(world_ready(&w, u), 2);
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
    assert_int_equal(berth_deploy_plan(w.d, gone, &spec, &a, &b, &e), -BERTH_EEXIST);
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
    /* ... nor once more when its environment could not be asked for a while. */
    w.offline = true;
    world_run(&w, 700 * BERTH_S);
    w.offline = false;
    world_run(&w, 700 * BERTH_S);
    assert_int_equal(events_of("lost-1", "service.orphan"), 1);
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
        if (i == 3) /* it ends by itself, as one whose port is taken: that counts, too */
            berth_deploy_stop(w.d, BERTH_S);
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
        berth_deploy_end_well(w.d);
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
    berth_deploy_end_well(w.d);
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

/* An environment that has just been opened has not asked its replicas yet: that they are not known
 * to be ready is no fault of theirs.  One that does not answer then, or is missing, is told. */
static void
what_is_taken_over_is_asked_before_it_is_degraded(void **unused)
{
    static const struct {
        const char *why;
        uint64_t answers_ns; /* after the start */
        bool dead, degraded;
    } cases[] = {
        {"it answers at once", 10 * BERTH_MS, false, false},
        {"it answers late", 20 * BERTH_S, false, true},
        {"it has ended meanwhile", 10 * BERTH_MS, true, true},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const char *id = create(berth_arena_printf(&a, "{\"modelName\":\"m%zu\"}", i));
        print_message("  %s\n", cases[i].why);
        world_run(&w, 30 * BERTH_S);
        phase_is(id, "running");
        world_kill(&w);
        struct world_unit *u = world_unit_of(&w, id, "stable");
        u->replicas[0].ready_ns = w.now_ns + cases[i].answers_ns;
        u->replicas[0].dead = cases[i].dead;
        world_start(&w);
        world_run(&w, 5 * BERTH_MS);
        w.host->changed(w.who, u->name); /* it tells that it has found them, and not more */
        world_run(&w, 60 * BERTH_S);
        phase_is(id, "running");
        assert_int_equal(strstr(phases(id), "degraded") != NULL, cases[i].degraded);
    }
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
        cmocka_unit_test_setup_teardown(an_image_is_the_services_the_environments_or_the_engines,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_service_that_cannot_be_mended_is_degraded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(drift_is_mended, setup, teardown),
        cmocka_unit_test_setup_teardown(a_service_that_fails_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(what_no_record_wishes_for_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_loop_is_no_storm, setup, teardown),
        cmocka_unit_test_setup_teardown(the_nearest_name_is_meant, setup, teardown),
        cmocka_unit_test_setup_teardown(a_model_that_is_not_there_is_told_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_taken_over_is_asked_before_it_is_degraded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_model_without_a_path_is_below_the_model_root, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
