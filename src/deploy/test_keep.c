#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "deploy/route/routes.h"
#include "deploy/test_world.h"
#include "obs/metrics.h"
#include "wire/json.h"

/* What environments do by themselves, or for a person, and what the engine makes of it. */

static struct world w;
static struct berth_arena a;
static struct berth_routes *routes;
static const struct berth_actor tester = {.name = "tester", .peer = "127.0.0.1"};

static int
setup(void **unused)
{
    const struct berth_routes_conf conf = {.metrics = NULL};
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 64 << 20);
    world_init(&w, 42);
    if (berth_routes_new(&conf, &routes, &e) < 0)
        return -1;
    w.conf.routes = routes;
    world_start(&w);
    return 0;
}

static int
teardown(void **unused)
{
    (void)unused;
    world_fini(&w);
    berth_routes_free(routes);
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
    world_run(&w, 30 * BERTH_S);
    return id;
}

static const char *
described(const char *id)
{
    struct berth_err e = {""};
    struct berth_buf b;

    berth_buf_init(&b, &a);
    if (berth_deploy_describe(w.d, id, &a, &b, &e) < 0)
        fail_msg("%s", e.msg);
    return berth_buf_text(&b);
}

/* ---- machines that are emptied ---- */

static const char *drained_id;
static uint32_t told_before;

static bool
count_event(void *arg, uint64_t seq, struct berth_slice json)
{
    (void)arg;
    (void)seq;
    (void)json;
    told_before++;
    return true;
}

/* As an environment empties a machine: one replica of it after the other. */
static void
drain_the_first(struct world *on, const struct berth_op *op)
{
    const struct berth_event_query q = {.type = "node"};
    const struct world_unit *u = world_unit_of(on, drained_id, "stable");
    struct berth_err e;
    uint64_t last;
    char id[24];

    assert_int_equal(berth_deploy_events(on->d, &q, count_event, NULL, &last, &e), 0);
    (void)snprintf(id, sizeof id, "r%llu", (unsigned long long)u->replicas[0].id);
    assert_int_equal(on->host->drain(op, id, BERTH_S), 0);
    assert_int_equal(on->host->drain(op, "nobody's", BERTH_S), 0);
}

static void
a_machine_that_is_drained_gets_no_new_requests(void **unused)
{
    struct berth_err e = {""};
    struct berth_buf b;
    struct berth_jw json;

    (void)unused;
    drained_id = create("{\"modelName\":\"m\",\"replicaCount\":2}");
    told_before = 0;
    w.drained = drain_the_first;
    assert_int_equal(berth_deploy_drain_node(w.d, "fake", "node-1", true, &tester, &e), 0);
    assert_int_equal(told_before, 1); /* who did it was kept before anything was done */
    berth_buf_init(&b, &a);
    berth_jw_init(&json, &b);
    berth_routes_put(routes, drained_id, &json);
    const char *text = berth_buf_text(&b), *first = strstr(text, "\"draining\":true");
    assert_non_null(first);
    assert_null(strstr(first + 1, "\"draining\":true")); /* the other one serves on */
}

/* ---- scaling by the environment ---- */

static void
what_the_environment_scales_is_held_against_its_least(void **unused)
{
    (void)unused;
    w.scaled = 2;
    const char *id = create("{\"modelName\":\"m\",\"replicaCount\":4,"
                            "\"resourceRequirements\":{\"cpu\":\"1\"},"
                            "\"autoscale\":{\"min\":2,\"max\":8,\"cpuPercent\":50}}");
    assert_non_null(strstr(described(id), "\"phase\":\"running\""));
    assert_non_null(strstr(described(id), "{\"type\":\"Ready\",\"status\":\"True\""));
    const uint64_t applies = w.applies;
    world_run(&w, 600 * BERTH_S);
    assert_non_null(strstr(described(id), "\"phase\":\"running\""));
    assert_int_equal(w.applies, applies); /* nothing to be mended */
}

/* ---- the queue ---- */

/* More changes than the queue has room for, of workloads that are nobody's. */
static void
what_is_nobodys_takes_no_room_in_the_queue(void **unused)
{
    struct berth_spec spec;
    char id[BERTH_SERVICE_ID_MAX];
    struct berth_err e = {""};

    (void)unused;
    world_kill(&w);
    w.conf.services_max = 4;
    world_start(&w);
    (void)create("{\"modelName\":\"m\"}"); /* the environment is opened */
    for (int i = 0; i < 4000; i++) {
        (void)snprintf(id, sizeof id, "nobodys-%d", i);
        w.host->changed(w.who, id);
    }
    world_spec(&w, "{\"modelName\":\"n\"}", &a, &spec);
    assert_int_equal(berth_deploy_create(w.d, &spec, &tester, id, &e), 0);
    world_run(&w, 30 * BERTH_S);
    assert_non_null(strstr(described(id), "\"phase\":\"running\""));
}

/* ---- what is told of a service ---- */

static void
a_service_that_is_gone_has_no_series(void **unused)
{
    struct berth_metrics *m = berth_metrics_new();
    struct berth_err e = {""};
    char id[BERTH_SERVICE_ID_MAX];
    struct berth_buf b;

    (void)unused;
    assert_non_null(m);
    world_kill(&w);
    w.conf.metrics = m;
    world_start(&w);
    (void)snprintf(id, sizeof id, "%s", create("{\"modelName\":\"m\"}"));
    for (int gone = 0; gone < 2; gone++) {
        berth_buf_init(&b, &a);
        berth_metrics_render(m, &b);
        const char *text = berth_buf_text(&b);
        assert_int_equal(strstr(text, id) == NULL, gone);
        assert_int_equal(berth_deploy_delete(w.d, id, &tester, &e), 0);
        world_run(&w, 1200 * BERTH_S); /* nobody looks until it is forgotten */
    }
    world_kill(&w);
    berth_metrics_free(m);
    w.conf.metrics = NULL;
    world_start(&w);
}

/* ---- for whom it is ---- */

/* Whom requests are passed on for, and described is the same; NULL: everybody. */
static const char *
allowed(const char *id)
{
    struct berth_trip trip;
    const struct berth_json *v;
    struct berth_err e = {""};
    struct berth_buf b;

    assert_int_equal(berth_trip_find(&trip, routes, berth_slice_of(id)), 0);
    const char *allow = trip.service->allow;
    const char *ret = allow != NULL ? berth_arena_strdup(&a, allow) : NULL;
    berth_trip_end(&trip, 1);
    const char *text = described(id);
    assert_int_equal(berth_json_parse(&a, text, strlen(text), NULL, &v, &e), 0);
    berth_buf_init(&b, &a);
    v = berth_json_get(berth_json_get(v, "security"), "allow");
    assert_int_equal(v == NULL, ret == NULL);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        struct berth_slice name;
        assert_true(berth_json_string(it.value, &name));
        berth_buf_printf(&b, "%s%s", b.len > 0 ? " " : "", name.at);
    }
    if (ret != NULL)
        assert_string_equal(ret, b.len > 0 ? berth_buf_text(&b) : "");
    return ret;
}

/* As the step access-control does, of some revision before. */
static void
set_list(const char *id, const char *text)
{
    struct service *s = berth_deploy_service(w.d, id);
    struct berth_err e;

    assert_non_null(s);
    (void)pthread_mutex_lock(&s->mu);
    assert_int_equal(berth_values_set(&s->tracks[STABLE], BERTH_VALUE_ALLOW, text, &e), 0);
    (void)pthread_mutex_unlock(&s->mu);
    berth_service_unref(w.d, s);
}

/* Nothing runs between the update's answer and the look at the routes. */
static void
who_is_taken_off_the_list_is_out_when_it_is_answered(void **unused)
{
    static const struct {
        const char *why, *set, *wished, *want;
    } cases[] = {
        {"nobody is left", "1 ann bob", "[]", ""},
        {"one is", "1 ann bob", "[\"ann\"]", "ann"},
        {"who is new waits for the steps", "1 ann", "[\"eve\",\"ann\"]", "ann"},
        {"any key was allowed", "1 *", "[\"ann\"]", "ann"},
        {"any key is wished for", "1 ann bob", "[\"*\"]", "ann bob"},
        {"nobody was allowed", "1", "[\"*\"]", ""},
        {"nothing is said any more", "1 ann", NULL, "ann"},
        {"everybody was allowed", NULL, "[\"ann\"]", "ann"},
        {"two names in one are none", "1 ann bob", "[\"ann bob\",\"\"]", ""},
        {"a beginning is another name", "1 anna", "[\"ann\"]", ""},
    };
    struct berth_err e = {""};
    struct berth_spec spec;
    uint64_t revision;
    char id[BERTH_SERVICE_ID_MAX];

    (void)unused;
    (void)snprintf(id, sizeof id, "%s", create("{\"modelName\":\"m\"}"));
    assert_null(allowed(id));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].why);
        set_list(id, cases[i].set);
        const char *json = berth_arena_printf(
            &a, "{\"modelName\":\"m\",\"env\":{\"A\":\"%zu\"},\"securityConfig\":{%s%s}}", i,
            cases[i].wished != NULL ? "\"allow\":" : "",
            cases[i].wished != NULL ? cases[i].wished : "");
        world_spec(&w, json, &a, &spec);
        if (berth_deploy_update(w.d, id, &spec, 0, &tester, &revision, &e) < 0)
            fail_msg("%s", e.msg);
        assert_string_equal(allowed(id), cases[i].want);
    }
}

/* Killed before any step of the update ran. */
static void
who_is_taken_off_the_list_stays_out_after_a_kill(void **unused)
{
    struct berth_err e = {""};
    struct berth_spec spec;
    uint64_t revision;
    char id[BERTH_SERVICE_ID_MAX];

    (void)unused;
    (void)snprintf(id, sizeof id, "%s",
                   create("{\"modelName\":\"m\",\"securityConfig\":{\"allow\":[\"bob\"]}}"));
    assert_string_equal(allowed(id), "bob");
    world_spec(&w, "{\"modelName\":\"m\",\"securityConfig\":{\"allow\":[]}}", &a, &spec);
    assert_int_equal(berth_deploy_update(w.d, id, &spec, 0, &tester, &revision, &e), 0);
    world_kill(&w);
    berth_routes_remove(routes, id);
    world_start(&w);
    world_run(&w, 30 * BERTH_S);
    assert_string_equal(allowed(id), "");
}

static const char *version; /* that the next pipeline tells */

static const struct berth_pipeline_ops *
entry(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static struct berth_pipeline_ops each[3];
    struct berth_pipeline_ops *ops = &each[version[0] - '0'];

    (void)e;
    *ops = (struct berth_pipeline_ops){.abi = BERTH_PIPELINE_ABI,
                                       .struct_size = sizeof *ops,
                                       .name = "comes-and-goes",
                                       .version = version};
    ops->deploy = h->goal("model-validation");
    return ops;
}

static void
what_is_loaded_is_shown(void **unused)
{
    static const struct {
        const char *load, *shown; /* NULL: it is retired; none is shown */
    } rows[] = {{"1", "1"}, {"2", "2"}, {"2", "2"}, {NULL, NULL}, {"1", "1"}};
    struct berth_metrics *m = berth_metrics_new();
    struct berth_err e = {""};
    char want[128];
    struct berth_buf b;

    (void)unused;
    assert_non_null(m);
    world_kill(&w);
    w.conf.metrics = m;
    world_start(&w);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        version = rows[i].load;
        assert_int_equal(version != NULL
                             ? berth_deploy_add_pipeline(w.d, entry, NULL, true, &e)
                             : berth_deploy_retire_pipeline(w.d, "comes-and-goes", BERTH_S, &e),
                         0);
        berth_buf_init(&b, &a);
        berth_metrics_render(m, &b);
        const char *at = strstr(berth_buf_text(&b), "name=\"comes-and-goes\"");
        assert_int_equal(at != NULL, rows[i].shown != NULL);
        if (at == NULL)
            continue;
        (void)snprintf(want, sizeof want, "name=\"comes-and-goes\",version=\"%s\"} 1\n",
                       rows[i].shown);
        assert_ptr_equal(strstr(at, want), at);
        assert_null(strstr(at + 1, "name=\"comes-and-goes\"")); /* only the present one */
    }
    world_kill(&w);
    berth_metrics_free(m);
    w.conf.metrics = NULL;
    world_start(&w);
}

static void
a_trial_leaves_no_folder(void **unused)
{
    char under[] = "/tmp/berth-keep-XXXXXX", path[128];

    (void)unused;
    assert_non_null(mkdtemp(under));
    assert_int_equal(setenv("TMPDIR", under, 1), 0);
    char *dir = berth_trial_folder();
    assert_non_null(dir);
    assert_ptr_equal(strstr(dir, under), dir);
    (void)snprintf(path, sizeof path, "%s/deeper", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    berth_trial_folder_end(dir);
    assert_int_equal(rmdir(under), 0); /* nothing is in it any more */
    assert_null(berth_trial_folder());
    berth_trial_folder_end(NULL);
    assert_int_equal(unsetenv("TMPDIR"), 0);
}

/* ---- what cannot be reached ---- */

static const char *
update(const char *id, const char *json)
{
    struct berth_spec spec;
    uint64_t revision = 0;
    struct berth_err e = {""};

    world_spec(&w, json, &a, &spec);
    if (berth_deploy_update(w.d, id, &spec, 0, &tester, &revision, &e) < 0)
        fail_msg("%s", e.msg);
    return id;
}

static void
what_cannot_be_reached_waits_and_is_told(void **unused)
{
    struct berth_err e = {""};
    struct berth_jw json;
    struct berth_buf b;
    char id[BERTH_SERVICE_ID_MAX], late[BERTH_SERVICE_ID_MAX];

    (void)unused;
    (void)snprintf(id, sizeof id, "%s", create("{\"modelName\":\"m\",\"replicaCount\":2}"));
    (void)snprintf(late, sizeof late, "%s", create("{\"modelName\":\"goes\"}"));
    w.host->away(w.who, "no route to it");
    w.offline = true;
    const uint64_t done = w.applies + w.removes;
    (void)update(id, "{\"modelName\":\"m\",\"replicaCount\":3,\"contextLength\":512}");
    assert_int_equal(berth_deploy_delete(w.d, late, &tester, &e), 0);
    w.host->away(w.who, "still none"); /* the same trouble: since then */
    world_run(&w, 3600 * BERTH_S);     /* more than any step may take */
    assert_int_equal(w.applies + w.removes, done);
    const char *text = described(id);
    assert_non_null(strstr(text, "\"message\":\"environment fake cannot be reached since "));
    assert_non_null(
        strstr(text, ": still none; what was seen before stays, and what is asked for"));
    assert_non_null(strstr(text, "\"away\":{\"since\":\""));
    assert_null(strstr(text, "\"phase\":\"failed\""));
    berth_buf_init(&b, &a);
    berth_jw_init(&json, &b);
    berth_routes_put(routes, id, &json);
    assert_non_null(strstr(berth_buf_text(&b), "\"ready\":true")); /* requests go where they went */

    w.offline = false;
    w.host->away(w.who, NULL);
    w.host->away(w.who, NULL);
    world_run(&w, 60 * BERTH_S);
    text = described(id);
    assert_non_null(strstr(text, "\"phase\":\"running\""));
    assert_non_null(strstr(text, "\"runningRevision\":2"));
    assert_non_null(strstr(text, "\"message\":\"\",\"away\":null"));
    assert_non_null(strstr(described(late), "\"phase\":\"terminated\""));
}

static bool
is_no_failure(void *arg, uint64_t seq, struct berth_slice json)
{
    (void)arg;
    (void)seq;
    assert_null(strstr(json.at, "\"to\":\"failed\""));
    return true;
}

/* A step that is under way when it goes has no less time when it is back, and no fewer tries. */
static void
what_waited_has_its_time_still(void **unused)
{
    char id[BERTH_SERVICE_ID_MAX];
    struct berth_err e;
    uint64_t last;

    (void)unused;
    (void)snprintf(id, sizeof id, "%s", create("{\"modelName\":\"m\"}"));
    w.offline = true;
    (void)update(id, "{\"modelName\":\"m\",\"contextLength\":512}");
    world_run(&w, 3 * BERTH_S); /* a few attempts fail */
    w.host->away(w.who, "it is gone");
    world_run(&w, 7200 * BERTH_S);
    w.offline = false;
    w.host->away(w.who, NULL);
    world_run(&w, 60 * BERTH_S);
    assert_non_null(strstr(described(id), "\"phase\":\"running\""));
    const struct berth_event_query q = {.service_id = id, .type = "service.status"};
    assert_int_equal(berth_deploy_events(w.d, &q, is_no_failure, NULL, &last, &e), 0);
}

static void
what_failed_before_is_tried_when_it_is_back(void **unused)
{
    struct berth_err e = {""};
    struct berth_spec spec;
    static char id[BERTH_SERVICE_ID_MAX];

    (void)unused;
    (void)create("{\"modelName\":\"other\"}"); /* the environment is opened */
    w.offline = true;
    world_spec(&w, "{\"modelName\":\"m\"}", &a, &spec);
    assert_int_equal(berth_deploy_create(w.d, &spec, &tester, id, &e), 0);
    for (int i = 0; i < 600 && strstr(described(id), "\"phase\":\"failed\"") == NULL; i++)
        world_run(&w, BERTH_S);
    assert_non_null(strstr(described(id), "\"phase\":\"failed\"")); /* tried again in 10 s */
    w.host->away(w.who, "it is gone");
    w.offline = false;
    w.host->away(w.who, NULL);
    world_run(&w, 8 * BERTH_S);
    assert_non_null(strstr(described(id), "\"phase\":\"running\""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_cannot_be_reached_waits_and_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(what_waited_has_its_time_still, setup, teardown),
        cmocka_unit_test_setup_teardown(what_failed_before_is_tried_when_it_is_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_machine_that_is_drained_gets_no_new_requests, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_the_environment_scales_is_held_against_its_least,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_nobodys_takes_no_room_in_the_queue, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_service_that_is_gone_has_no_series, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_taken_off_the_list_is_out_when_it_is_answered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_is_taken_off_the_list_stays_out_after_a_kill, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_loaded_is_shown, setup, teardown),
        cmocka_unit_test(a_trial_leaves_no_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
