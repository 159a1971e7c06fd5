/*
 * The control plane's engine with the docker environment, a real daemon and a real model: deployed,
 * killed, scaled, a canary, rolled back, deleted.  Run by test_docker.py, which names the daemon,
 * the image and the model in the environment (as for shimlets/docker/test_daemon.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "deploy/deploy.h"
#include "net/client.h"
#include "shimlets/docker/docker.h"
#include "store/store.h"
#include "wire/json.h"

enum { PATIENCE_S = 200 };

static struct berth_deploy *d;
static struct berth_arena a;
static const struct berth_actor tester = {.name = "tester", .peer = "127.0.0.1"};
static char id[BERTH_SERVICE_ID_MAX];

/* ---- a pipeline of the host's own goals ---- */

static struct berth_goal goals[3];
static struct berth_pipeline_ops flow = {.abi = BERTH_PIPELINE_ABI,
                                         .struct_size = sizeof flow,
                                         .name = "plain",
                                         .version = "1",
                                         .description = "the host's goals",
                                         .deploy = goals};

static const struct berth_pipeline_ops *
entry(const struct berth_pipeline_host *h, struct berth_err *e)
{
    (void)e;
    goals[0] = *h->goal("resource-deployment");
    goals[1] = *h->goal("health-check");
    return &flow;
}

/* ---- asking ---- */

static void
good(int r, const struct berth_err *e)
{
    if (r < 0)
        fail_msg("%s", e->msg);
}

static const struct berth_json *
describe(void)
{
    const struct berth_json *v = NULL;
    struct berth_err e = {{0}};
    struct berth_buf b;

    berth_arena_reset(&a);
    berth_buf_init(&b, &a);
    good(berth_deploy_describe(d, id, &a, &b, &e), &e);
    good(berth_json_parse(&a, b.at, b.len, NULL, &v, &e), &e);
    return v;
}

static const char *
text_of(const struct berth_json *v, const char *key)
{
    struct berth_slice s;

    return berth_json_string(berth_json_get(v, key), &s) ? s.at : "";
}

static void
spec_of(struct berth_arena *to, uint32_t revision, const char *strategy, struct berth_spec *ret)
{
    struct berth_spec_fault f;
    struct berth_err e = {{0}};
    const char *model = getenv("BERTH_TEST_MODEL");
    bool lenient;
    const char *json = berth_arena_printf(
        to,
        "{\"modelName\":\"smollm2\",\"modelFile\":\"%s\",\"shimlet\":\"docker\",\"pipeline\":"
        "\"plain\",\"engine\":\"command\",\"command\":[\"berth\",\"serve\",\"--host=$(HOST)\","
        "\"--port=$(PORT)\",\"--state-dir=none\",\"--model={\\\"smollm2\\\":{\\\"path\\\":"
        "\\\"%s\\\",\\\"config\\\":{\\\"threads\\\":1}}}\"],\"healthPath\":\"/ready\","
        "\"resourceRequirements\":{\"memory\":\"1Gi\"},\"env\":{\"REVISION\":\"%u\"}%s}",
        model, model, revision, strategy);

    if (berth_spec_parse_text(berth_slice_of(json), berth_deploy_defaults(d), to, ret, &lenient, &f,
                              &e) < 0)
        fail_msg("%s: %s", f.field, e.msg);
}

static size_t
ready(const struct berth_json *v, const char *track)
{
    size_t n = 0;

    for (struct berth_json_iter it = berth_json_iter(berth_json_get(v, "replicas"));
         berth_json_next(&it);)
        n += strcmp(text_of(it.value, "state"), "ready") == 0 &&
             strcmp(text_of(it.value, "track"), track) == 0;
    return n;
}

/* Until so many replicas are ready on both tracks, and no more are there. */
static void
wait_for(const char *status, size_t stable, size_t canary)
{
    const uint64_t end_ns = berth_now_ns() + PATIENCE_S * BERTH_S;

    for (;;) {
        const struct berth_json *v = describe();
        if (strcmp(text_of(v, "status"), status) == 0 && ready(v, "stable") == stable &&
            ready(v, "canary") == canary &&
            berth_json_len(berth_json_get(v, "replicas")) == stable + canary)
            return;
        if (berth_now_ns() > end_ns) {
            struct berth_buf b;
            berth_buf_init(&b, &a);
            berth_json_put(&b, v);
            fail_msg("not %s with %zu and %zu: %s", status, stable, canary, berth_buf_text(&b));
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 50 * (long)BERTH_MS}, NULL);
    }
}

/* The only replica was restarted, and is ready. */
static void
wait_for_restart(void)
{
    const uint64_t end_ns = berth_now_ns() + PATIENCE_S * BERTH_S;
    uint64_t restarts = 0;

    for (;;) {
        struct berth_json_iter it = berth_json_iter(berth_json_get(describe(), "replicas"));
        if (berth_json_next(&it) && strcmp(text_of(it.value, "state"), "ready") == 0 &&
            berth_json_uint(berth_json_get(it.value, "restarts"), &restarts) && restarts > 0)
            return;
        if (berth_now_ns() > end_ns)
            fail_msg("it did not come back");
        (void)nanosleep(&(struct timespec){.tv_nsec = 50 * (long)BERTH_MS}, NULL);
    }
}

static void
ask_model(const char *endpoint)
{
    static const char question[] =
        "{\"model\":\"smollm2\",\"max_tokens\":4,\"temperature\":0,"
        "\"messages\":[{\"role\":\"user\",\"content\":\"What is the sea?\"}]}";
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    struct berth_client_answer answer;
    struct berth_err e = {{0}};
    struct berth_client *c;
    char url[300];

    (void)snprintf(url, sizeof url, "%.*s/v1/chat/completions",
                   (int)(strstr(endpoint, "/v1") != NULL ? strstr(endpoint, "/v1") - endpoint
                                                         : (long)strlen(endpoint)),
                   endpoint);
    const struct berth_client_call call = {.url = url,
                                           .headers = headers,
                                           .body = question,
                                           .body_len = sizeof question - 1,
                                           .proxy = ""};
    good(berth_client_new(&c, &e), &e);
    good(berth_client_call(c, &call, &answer, &e), &e);
    if (answer.status != 200 || strstr(answer.body.at, "\"completion_tokens\":4") == NULL)
        fail_msg("%u %s", answer.status, answer.body.at);
    berth_buf_fini(&answer.body);
    berth_client_free(c);
}

static void
a_service_lives_and_goes(void **unused)
{
    struct berth_arena mine;
    struct berth_spec spec;
    struct berth_err e = {{0}};
    uint64_t revision = 0;

    (void)unused;
    berth_arena_init(&mine, 16 << 20);
    spec_of(&mine, 1, "", &spec);
    good(berth_deploy_create(d, &spec, &tester, id, &e), &e);
    wait_for("running", 1, 0);
    ask_model(text_of(describe(), "endpoint"));
    print_message("deployed, answers\n");
    assert_int_equal(system(getenv("BERTH_TEST_KILL")), 0); /* the engine, from outside */
    wait_for_restart();
    wait_for("running", 1, 0);
    ask_model(text_of(describe(), "endpoint"));
    print_message("killed, came back\n");
    good(berth_deploy_scale(d, id, 2, &tester, &revision, &e), &e);
    wait_for("running", 2, 0);
    print_message("scaled\n");
    spec_of(&mine, 2,
            ",\"replicaCount\":2,\"strategy\":{\"type\":\"canary\",\"canary\":{\"weight\":10,"
            "\"replicas\":1}}",
            &spec);
    good(berth_deploy_update(d, id, &spec, 0, &tester, &revision, &e), &e);
    wait_for("running", 2, 1);
    print_message("a canary runs beside it\n");
    good(berth_deploy_rollback(d, id, 0, &tester, &revision, &e), &e);
    wait_for("running", 2, 0);
    ask_model(text_of(describe(), "endpoint"));
    print_message("rolled back\n");
    good(berth_deploy_delete(d, id, &tester, &e), &e);
    wait_for("terminated", 0, 0);
    print_message("deleted\n");
    berth_arena_fini(&mine);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_service_lives_and_goes)};
    struct berth_deploy_conf conf = {
        .default_shimlet = "docker", .default_pipeline = "plain", .workers = 2, .program = "berth"};
    struct berth_err e = {{0}};
    char settings[600];

    if (getenv("BERTH_TEST_DOCKER") == NULL || getenv("BERTH_TEST_KILL") == NULL) {
        (void)fprintf(stderr, "run by tests/scenario/test_docker.py\n");
        return 2;
    }
    (void)snprintf(settings, sizeof settings,
                   "{\"host\":\"%s\",\"image\":\"%s\",\"pull\":\"never\",\"network\":\"host\","
                   "\"stop_timeout_ms\":2000}",
                   getenv("BERTH_TEST_DOCKER"), getenv("BERTH_TEST_IMAGE"));
    berth_arena_init(&a, 16 << 20);
    if (berth_store_open_memory(&conf.store, &e) < 0 || berth_deploy_new(&conf, &d, &e) < 0 ||
        berth_deploy_add_shimlet(d, &berth_shimlet_docker, NULL, settings, false, &e) < 0 ||
        berth_deploy_add_pipeline(d, entry, NULL, false, &e) < 0 || berth_deploy_start(d, &e) < 0) {
        (void)fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    const int r = cmocka_run_group_tests(tests, NULL, NULL);
    berth_deploy_stop(d, 10 * BERTH_S);
    berth_deploy_free(d);
    berth_store_close(conf.store);
    berth_arena_fini(&a);
    return r;
}
