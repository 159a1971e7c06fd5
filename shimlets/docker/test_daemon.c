/*
 * The operations against a real daemon, one scene for each argument.  Not run by itself:
 * tests/scenario/test_docker.py starts a daemon and an image, and names them in the environment:
 * BERTH_TEST_DOCKER (its host), BERTH_TEST_IMAGE (with /usr/bin/berth), BERTH_TEST_NETWORK (one
 * that publishes ports), BERTH_TEST_ENTER (a command that runs another where the daemon's processes
 * are).
 */
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
#include "base/buf.h"
#include "base/clock.h"
#include "net/client.h"
#include "test_scene.h"

/* ---- scenes ---- */

static void
a_unit_is_made_rolled_scaled_and_removed(const char *network)
{
    struct scene x;
    char more[128], path[256];

    (void)snprintf(more, sizeof more, ",\"network\":\"%s\"", network);
    scene_begin(&x, more);
    struct berth_unit u = unit("roll", "aaaaaaaa11111111", 1, 2);
    assert_true(settle(x.s, &u));
    struct test_seen seen = test_look(ops, x.s, "roll");
    assert_true(seen.exists);
    assert_false(seen.drifted);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.ready, 2);
    assert_string_equal(seen.hash, u.hash);
    assert_string_not_equal(seen.r[0].endpoint, seen.r[1].endpoint);
    (void)snprintf(path, sizeof path, "/containers/%s/stats?stream=false&one-shot=true",
                   seen.r[0].id);
    char *stats = inspect(path);
    if (strstr(stats, "\"usage\":") != NULL) /* not every daemon can see what a container takes */
        assert_true(seen.r[0].memory_bytes > 0);
    free(stats);
    u.replicas = 3; /* the two that run are left alone */
    assert_true(settle(x.s, &u));
    struct test_seen three = test_look(ops, x.s, "roll");
    assert_int_equal(three.count, 3);
    assert_string_equal(three.r[0].id, seen.r[0].id);
    assert_string_equal(three.r[1].id, seen.r[1].id);
    u = unit("roll", "bbbbbbbb22222222", 2, 2);
    test_drained[0] = '\0';
    assert_true(settle(x.s, &u));
    seen = test_look(ops, x.s, "roll");
    assert_int_equal(seen.count, 2);
    for (size_t i = 0; i < 3; i++)
        assert_non_null(strstr(test_drained, three.r[i].id));
    u.replicas = 0; /* is still wanted, and has nothing */
    assert_true(settle(x.s, &u));
    seen = test_look(ops, x.s, "roll");
    assert_true(seen.exists);
    assert_int_equal(seen.count, 0);
    assert_true(test_remove(ops, x.s, "roll"));
    assert_false(test_look(ops, x.s, "roll").exists);
    assert_int_equal(containers(), 0);
    scene_end(&x);
}

static void
rolls_on_the_hosts_network(void **unused)
{
    (void)unused;
    a_unit_is_made_rolled_scaled_and_removed("host");
}

static void
rolls_on_a_network_with_published_ports(void **unused)
{
    (void)unused;
    a_unit_is_made_rolled_scaled_and_removed(getenv("BERTH_TEST_NETWORK"));
}

static void
limits_labels_and_mounts_are_what_was_asked(void **unused)
{
    static const struct berth_pair labels[] = {{"team", "blue"}}, env[] = {{"P", "$(PORT)-$$x"}};
    struct scene x;
    char path[256], port[64];

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("limits", "cccccccc", 3, 1);
    u.cpu_milli = 500;
    u.memory_bytes = 256 << 20;
    u.labels = labels;
    u.label_count = 1;
    u.env = env;
    u.env_count = 1;
    u.model_path = x.dir;
    u.spec_json = "{\"modelName\":\"m\"}";
    assert_true(settle(x.s, &u));
    struct test_seen seen = test_look(ops, x.s, "limits");
    (void)snprintf(path, sizeof path, "/containers/%s/json", seen.r[0].id);
    char *text = inspect(path);
    const char *at = strrchr(seen.r[0].endpoint, ':') + 1;
    (void)snprintf(port, sizeof port, "\"P=%s-$x\"", at);
    static const char *const wanted[] = {
        "\"NanoCpus\":500000000",
        "\"Memory\":268435456",
        "\"MemorySwap\":268435456",
        "\"team\":\"blue\"",
        "\"berth.owner\":\"test\"",
        "\"berth.service\":\"service\"",
        "\"berth.revision\":\"3\"",
        "\"berth.hash\":\"cccccccc\"",
        "\"berth.replica\":\"0\"",
        "\"/limits-cccccccc-0\"",
        "\"Name\":\"unless-stopped\"",
        "\"max-size\":\"16m\"",
        "\"RW\":false",
        "no-new-privileges",
    };
    for (size_t i = 0; i < BERTH_COUNT(wanted); i++)
        if (strstr(text, wanted[i]) == NULL)
            fail_msg("%s is not in %s", wanted[i], text);
    assert_non_null(strstr(text, port));
    assert_non_null(strstr(text, x.dir));
    free(text);
    assert_true(test_remove(ops, x.s, "limits"));
    scene_end(&x);
}

static bool
is_ready_again(void *arg)
{
    const struct scene *x = arg;
    const struct test_seen seen = test_look(ops, x->s, "back");

    return seen.ready == 1 && seen.r[0].restarts > 0;
}

static bool
is_ready(void *arg)
{
    const struct scene *x = arg;

    return test_look(ops, x->s, "back").ready == 1;
}

static void
what_crashes_comes_back_and_what_is_stopped_is_drift(void **unused)
{
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct scene x;
    char path[256];
    int64_t pid;

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("back", "dddddddd", 1, 1);
    assert_true(settle(x.s, &u));
    struct test_seen seen = test_look(ops, x.s, "back");
    assert_true(ops->watches(x.s));
    /* Killed from outside: the daemon brings it back, and it is told. */
    (void)snprintf(path, sizeof path, "/containers/%s/json", seen.r[0].id);
    char *text = inspect(path);
    pid = strtoll(strstr(text, "\"Pid\":") + 6, NULL, 10);
    free(text);
    uint64_t changes = test_who_changes(&x.who);
    (void)snprintf(path, sizeof path, "%s sh -c 'kill -9 %lld'", getenv("BERTH_TEST_ENTER"),
                   (long long)pid);
    assert_int_equal(system(path), 0);
    assert_true(test_who_wait(&x.who, changes));
    assert_true(until(is_ready_again, &x));
    /* Killed through the daemon: that counts as stopped, until somebody looks. */
    (void)snprintf(path, sizeof path, "/containers/%s/kill", seen.r[0].id);
    changes = test_who_changes(&x.who);
    assert_int_equal(order("POST", path), 0);
    assert_true(test_who_wait(&x.who, changes));
    seen = test_look(ops, x.s, "back");
    assert_true(seen.drifted);
    assert_int_equal(seen.r[0].state, BERTH_REPLICA_FAILED);
    assert_non_null(strstr(seen.r[0].reason, "signal 9 (Killed)"));
    assert_int_equal(ops->apply(x.s, &op, &u, &e), 0);
    assert_true(until(is_ready, &x));
    /* Paused. */
    (void)snprintf(path, sizeof path, "/containers/%s/pause", seen.r[0].id);
    assert_int_equal(order("POST", path), 0);
    assert_true(test_look(ops, x.s, "back").drifted);
    assert_int_equal(ops->apply(x.s, &op, &u, &e), 0);
    assert_true(until(is_ready, &x));
    /* Removed. */
    (void)snprintf(path, sizeof path, "/containers/%s?force=1", seen.r[0].id);
    assert_int_equal(order("DELETE", path), 0);
    assert_true(test_look(ops, x.s, "back").drifted);
    assert_true(settle(x.s, &u));
    assert_string_not_equal(test_look(ops, x.s, "back").r[0].id, seen.r[0].id);
    assert_true(test_remove(ops, x.s, "back"));
    scene_end(&x);
}

static bool
is_failed(void *arg)
{
    const struct scene *x = arg;
    const struct test_seen seen = test_look(ops, x->s, "crash");

    return seen.count == 1 && seen.r[0].state == BERTH_REPLICA_FAILED;
}

static void
a_crash_loop_is_told_with_the_last_lines(void **unused)
{
    static const char *const command[] = {"/usr/bin/berth", "serve", "--no-such-option", NULL};
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct scene x;

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("crash", "eeeeeeee", 1, 1);
    u.command = command;
    assert_int_equal(ops->apply(x.s, &op, &u, &e), 0);
    assert_true(until(is_failed, &x));
    const struct test_seen seen = test_look(ops, x.s, "crash");
    if (strstr(seen.r[0].reason, "no-such-option") == NULL ||
        strstr(seen.r[0].reason, "restarted") == NULL)
        fail_msg("%s", seen.r[0].reason);
    assert_true(test_remove(ops, x.s, "crash"));
    scene_end(&x);
}

static void
an_adopted_unit_is_not_made_twice(void **unused)
{
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct scene x;
    char path[256];

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("adopt", "ffffffff", 1, 2);
    assert_true(settle(x.s, &u));
    const struct test_seen before = test_look(ops, x.s, "adopt");
    ops->close(x.s);
    scene_open(&x);
    struct test_seen after = test_look(ops, x.s, "adopt");
    assert_int_equal(after.ready, 2); /* at the first look */
    assert_int_equal(after.desired, 2);
    assert_int_equal(ops->apply(x.s, &op, &u, &e), 0);
    after = test_look(ops, x.s, "adopt");
    assert_int_equal(after.count, 2);
    assert_string_equal(after.r[0].id, before.r[0].id);
    assert_string_equal(after.r[0].endpoint, before.r[0].endpoint);
    /* The same with no record: the containers tell. */
    ops->close(x.s);
    (void)snprintf(path, sizeof path, "%s/units/adopt.json", x.dir);
    assert_int_equal(unlink(path), 0);
    scene_open(&x);
    after = test_look(ops, x.s, "adopt");
    assert_int_equal(after.desired, 2);
    assert_string_equal(after.hash, "ffffffff");
    assert_true(test_remove(ops, x.s, "adopt"));
    assert_int_equal(containers(), 0);
    scene_end(&x);
}

struct heard {
    struct berth_op *op;
    size_t lines, listening;
    char replicas[4][16];
};

static bool
hear(void *arg, const char *replica, const char *text, size_t len)
{
    struct heard *h = arg;

    h->lines++;
    for (size_t i = 0; i < 4; i++) {
        if (h->replicas[i][0] == '\0')
            (void)snprintf(h->replicas[i], sizeof h->replicas[i], "%s", replica);
        if (strcmp(h->replicas[i], replica) == 0)
            break;
    }
    h->listening +=
        memmem(text, len, "listening", 9) != NULL || memmem(text, len, "ready", 5) != NULL;
    if (h->op != NULL && h->replicas[1][0] != '\0')
        atomic_store(&h->op->cut, true);
    return true;
}

static void
logs_are_told_and_followed(void **unused)
{
    struct berth_log_query q = {.tail_lines = 0};
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct heard h = {0};
    struct scene x;

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("logs", "abababab", 1, 2);
    assert_true(settle(x.s, &u));
    assert_int_equal(ops->logs(x.s, &op, "logs", &q, hear, &h, &e), 0);
    assert_true(h.lines >= 2 && h.listening >= 2);
    assert_string_not_equal(h.replicas[0], h.replicas[1]);
    struct heard one = {0};
    q.replica = h.replicas[0];
    q.tail_lines = 1;
    assert_int_equal(ops->logs(x.s, &op, "logs", &q, hear, &one, &e), 0);
    assert_int_equal(one.lines, 1);
    struct heard all = {.op = &op};
    q = (struct berth_log_query){.follow = true};
    assert_int_equal(ops->logs(x.s, &op, "logs", &q, hear, &all, &e), -BERTH_ECANCELED);
    assert_string_not_equal(all.replicas[1], "");
    atomic_store(&op.cut, false);
    q = (struct berth_log_query){.replica = "nosuch"};
    assert_int_equal(ops->logs(x.s, &op, "logs", &q, hear, &all, &e), -BERTH_ENOENT);
    assert_true(test_remove(ops, x.s, "logs"));
    scene_end(&x);
}

static void
what_does_not_fit_or_is_not_there_is_told_before(void **unused)
{
    struct berth_op op = {.until_ns = 0};
    struct berth_resources have;
    struct berth_err e = {{0}};
    struct scene x;

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("check", "acacacac", 1, 1);
    assert_int_equal(ops->check(x.s, &op, &u, &e), 0);
    assert_int_equal(ops->resources(x.s, &op, &have, &e), 0);
    assert_true(have.memory_bytes_total > 0 && have.cpu_milli_total >= 1000);
    u.memory_bytes = have.memory_bytes_total + 1;
    assert_int_equal(ops->check(x.s, &op, &u, &e), -BERTH_ELIMIT);
    u.memory_bytes = 0;
    u.cpu_milli = have.cpu_milli_total + 1;
    assert_int_equal(ops->check(x.s, &op, &u, &e), -BERTH_ELIMIT);
    u.cpu_milli = 0;
    u.image = "no-such-image:1";
    assert_int_equal(ops->check(x.s, &op, &u, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "docker load"));
    assert_int_equal(ops->apply(x.s, &op, &u, &e), -BERTH_EINVAL);
    u.image = NULL;
    u.model_path = "/no/such/folder";
    assert_int_equal(ops->check(x.s, &op, &u, &e), -BERTH_EINVAL);
    u.model_path = NULL;
    u.accelerator_count = 1;
    u.accelerator_resource = "nvidia.com/gpu";
    if (have.accelerators_total == 0) {
        assert_int_equal(ops->apply(x.s, &op, &u, &e), -BERTH_EUNSUPPORTED);
        assert_non_null(strstr(e.msg, "NVIDIA container toolkit"));
    }
    assert_true(test_remove(ops, x.s, "check"));
    assert_int_equal(containers(), 0);
    scene_end(&x);
}

static void
a_pull_that_cannot_be_says_what_to_do(void **unused)
{
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct scene x;

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("pull", "adadadad", 1, 1);
    u.settings_json = "{\"pull\":\"missing\"}";
    u.image = "127.0.0.1:1/nowhere:1"; /* nobody listens on port 1 */
    assert_int_equal(ops->apply(x.s, &op, &u, &e), -BERTH_ENETWORK);
    assert_non_null(strstr(e.msg, "its registry cannot be reached"));
    assert_int_equal(ops->check(x.s, &op, &u, &e), -BERTH_ENETWORK);
    u.image = "no image";
    assert_int_equal(ops->apply(x.s, &op, &u, &e), -BERTH_EINVAL);
    u.image = NULL; /* the environment's, which is there: nothing is pulled */
    assert_true(settle(x.s, &u));
    assert_true(test_remove(ops, x.s, "pull"));
    scene_end(&x);
}

static void
a_stranger_with_our_name_is_left_alone(void **unused)
{
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct scene x, other;

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    scene_begin(&other, ",\"network\":\"host\",\"label_prefix\":\"other\"");
    struct berth_unit u = unit("same", "aeaeaeae", 1, 1);
    assert_true(settle(other.s, &u));
    assert_false(test_look(ops, x.s, "same").exists);
    assert_int_equal(ops->apply(x.s, &op, &u, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "of somebody else"));
    assert_true(test_remove(ops, x.s, "same"));
    assert_int_equal(containers(), 1);
    assert_true(test_remove(ops, other.s, "same"));
    scene_end(&other);
    scene_end(&x);
}

/* ---- a daemon that goes and comes ---- */

static bool
is_unheard(void *arg)
{
    const struct scene *x = arg;

    return !ops->watches(x->s);
}

static bool
is_heard(void *arg)
{
    const struct scene *x = arg;

    return ops->watches(x->s);
}

static void
touch(const char *path)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
}

static void
a_daemon_comes_back(void **unused)
{
    const char *at = getenv("BERTH_TEST_AT");
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct scene x;

    (void)unused;
    assert_non_null(at);
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("again", "afafafaf", 1, 2);
    assert_true(settle(x.s, &u));
    const struct test_seen before = test_look(ops, x.s, "again");
    assert_true(ops->watches(x.s));
    touch(at); /* the scenario ends the daemon, and takes the file away when it is gone */
    assert_true(until(is_unheard, &x));
    while (access(at, F_OK) == 0)
        (void)usleep(10000);
    assert_int_equal(ops->apply(x.s, &op, &u, &e), -BERTH_ENETWORK);
    const uint64_t changes = test_who_changes(&x.who);
    touch(at); /* and starts it again */
    assert_true(until(is_heard, &x));
    assert_true(test_who_wait(&x.who, changes));
    if (!settle(x.s, &u))
        fail_msg("%s", test_look(ops, x.s, "again").r[0].reason);
    const struct test_seen after = test_look(ops, x.s, "again");
    assert_string_equal(after.r[0].id, before.r[0].id);
    assert_string_equal(after.r[0].endpoint, before.r[0].endpoint);
    assert_true(test_remove(ops, x.s, "again"));
    scene_end(&x);
}

/* ---- a language model ---- */

static void
ask_model(const char *endpoint)
{
    static const char question[] =
        "{\"model\":\"smollm2\",\"max_tokens\":6,\"temperature\":0,"
        "\"messages\":[{\"role\":\"user\",\"content\":\"What is the sea?\"}]}";
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    struct berth_client_answer answer;
    struct berth_err e = {{0}};
    struct berth_client *c;
    char url[256];

    (void)snprintf(url, sizeof url, "%s/v1/chat/completions", endpoint);
    const struct berth_client_call call = {.url = url,
                                           .headers = headers,
                                           .body = question,
                                           .body_len = sizeof question - 1,
                                           .proxy = ""};
    assert_int_equal(berth_client_new(&c, &e), 0);
    if (berth_client_call(c, &call, &answer, &e) < 0)
        fail_msg("%s", e.msg);
    if (answer.status != 200 || strstr(answer.body.at, "\"completion_tokens\":6") == NULL)
        fail_msg("%u %s", answer.status, answer.body.at);
    berth_buf_fini(&answer.body);
    berth_client_free(c);
}

static void
a_language_model_answers_from_its_containers(void **unused)
{
    struct scene x;
    char model[512];
    const char *const command[] = {
        "berth", "serve", "--host=$(HOST)", "--port=$(PORT)", "--state-dir=none", model, NULL};

    (void)unused;
    /* One thread each: engines that spin against each other lose nine tenths of their speed. */
    (void)snprintf(model, sizeof model,
                   "--model={\"smollm2\":{\"path\":\"%s\",\"config\":{\"threads\":1}}}",
                   getenv("BERTH_TEST_MODEL"));
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("model", "b0b0b0b0", 1, 1);
    u.command = command;
    u.health_path = "/ready";
    u.model_path = getenv("BERTH_TEST_MODEL");
    u.memory_bytes = UINT64_C(1) << 30;
    assert_true(settle(x.s, &u));
    ask_model(test_look(ops, x.s, "model").r[0].endpoint);
    u.replicas = 3;
    assert_true(settle(x.s, &u));
    const struct test_seen seen = test_look(ops, x.s, "model");
    assert_int_equal(seen.count, 3);
    for (size_t i = 0; i < 3; i++)
        ask_model(seen.r[i].endpoint);
    assert_true(test_remove(ops, x.s, "model"));
    assert_int_equal(containers(), 0);
    scene_end(&x);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rolls_on_the_hosts_network),
        cmocka_unit_test(rolls_on_a_network_with_published_ports),
        cmocka_unit_test(limits_labels_and_mounts_are_what_was_asked),
        cmocka_unit_test(what_crashes_comes_back_and_what_is_stopped_is_drift),
        cmocka_unit_test(a_crash_loop_is_told_with_the_last_lines),
        cmocka_unit_test(an_adopted_unit_is_not_made_twice),
        cmocka_unit_test(logs_are_told_and_followed),
        cmocka_unit_test(what_does_not_fit_or_is_not_there_is_told_before),
        cmocka_unit_test(a_pull_that_cannot_be_says_what_to_do),
        cmocka_unit_test(a_stranger_with_our_name_is_left_alone),
        cmocka_unit_test(a_fixed_port_of_the_host_is_rolled_over),
        cmocka_unit_test(a_limit_that_was_not_asked_for_is_no_drift),
        cmocka_unit_test(one_that_never_gets_ready_is_restarted),
        cmocka_unit_test(logs_are_followed_through_rollouts),
        cmocka_unit_test(a_daemon_comes_back),
        cmocka_unit_test(a_language_model_answers_from_its_containers),
    };

    if (getenv("BERTH_TEST_DOCKER") == NULL || getenv("BERTH_TEST_IMAGE") == NULL) {
        (void)fprintf(stderr, "run by tests/scenario/test_docker.py\n");
        return 2;
    }
    scene_init();
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
