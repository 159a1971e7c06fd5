#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "shimlets/shimmy/shimmy.h"
#include "shimlets/test_host.h"

static const struct berth_shimlet_ops *const ops = &berth_shimlet_shimmy;

static struct berth_shimlet *
open_with(const char *settings, const char *dir, struct test_who *who)
{
    const struct berth_shimlet_open how = {.struct_size = sizeof how,
                                           .settings_json = settings,
                                           .state_dir = dir,
                                           .owner = "test",
                                           .program = "berth",
                                           .who = who};
    struct berth_shimlet *s = NULL;
    struct berth_err e = {{0}};

    if (ops->open(&test_host, &how, &s, &e) < 0)
        fail_msg("%s", e.msg);
    return s;
}

static struct berth_unit
unit(const char *hash, uint32_t replicas, const char *settings)
{
    return (struct berth_unit){.struct_size = sizeof(struct berth_unit),
                               .name = "u",
                               .service_id = "service",
                               .track = "stable",
                               .revision = 7,
                               .hash = hash,
                               .replicas = replicas,
                               .start_timeout_ns = 20 * BERTH_MS,
                               .surge_max = 1,
                               .settings_json = settings};
}

static void
a_unit_is_made_rolled_and_removed(void **unused)
{
    struct berth_shimlet *s = open_with("{}", NULL, NULL);
    struct berth_unit u = unit("a", 3, NULL);

    (void)unused;
    assert_true(test_settle(ops, s, &u));
    struct test_seen seen = test_look(ops, s, "u");
    assert_true(seen.exists);
    assert_string_equal(seen.hash, "a");
    assert_int_equal(seen.desired, 3);
    assert_int_equal(seen.r[0].revision, 7);
    assert_string_equal(seen.r[0].node, "node-0");
    u.hash = "b";
    test_drained[0] = '\0';
    assert_true(test_settle(ops, s, &u));
    assert_non_null(strstr(test_drained, "u-1 "));
    assert_non_null(strstr(test_drained, "u-2 "));
    assert_non_null(strstr(test_drained, "u-3 "));
    seen = test_look(ops, s, "u");
    for (size_t i = 0; i < 3; i++)
        assert_true(strcmp(seen.r[i].id, "u-4") >= 0); /* an id is never used again */
    assert_true(test_remove(ops, s, "u"));
    assert_false(test_look(ops, s, "u").exists);
    assert_true(test_remove(ops, s, "u"));
    ops->close(s);
}

static void
calls_fail_as_scripted_and_are_counted(void **unused)
{
    static const struct {
        const char *why, *settings;
        int want[4]; /* of the first calls of apply */
        size_t replicas_after_first;
    } cases[] = {
        {"none", "{}", {0, 0, 0, 0}, 1},
        {"first two",
         "{\"fail_op\":\"apply\",\"fail_count\":2}",
         {-BERTH_EIO, -BERTH_EIO, 0, 0},
         0},
        {"second, for good",
         "{\"fail_op\":\"apply\",\"fail_from\":2,\"fail_code\":\"EINVAL\"}",
         {0, -BERTH_EINVAL, 0, 0},
         1},
        {"lost answer",
         "{\"fail_op\":\"apply\",\"fail_after\":true,\"fail_code\":\"ENETWORK\"}",
         {-BERTH_ENETWORK, 0, 0, 0},
         1},
        {"another operation", "{\"fail_op\":\"remove\"}", {0, 0, 0, 0}, 1},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_shimlet *s = open_with("{}", NULL, NULL);
        const struct berth_unit u = unit("a", 1, cases[i].settings);

        print_message("  %s\n", cases[i].why);
        for (size_t k = 0; k < 4; k++) {
            struct berth_op op = {.until_ns = 0};
            struct berth_err e;

            assert_int_equal(ops->apply(s, &op, &u, &e), cases[i].want[k]);
            if (k == 0)
                assert_int_equal(test_look(ops, s, "u").count, cases[i].replicas_after_first);
        }
        const struct test_seen seen = test_look(ops, s, "u");
        assert_int_equal(seen.count, 1); /* made once, also after a lost answer */
        assert_non_null(strstr(seen.message, "apply 4, remove 0, status 2"));
        ops->close(s);
    }
}

static void
what_hangs_ends_when_it_is_cut(void **unused)
{
    struct berth_shimlet *s = open_with("{\"hang_op\":\"status\"}", NULL, NULL);
    struct berth_op op = {.until_ns = berth_now_ns() + 20 * BERTH_MS};
    struct berth_err e;

    (void)unused;
    assert_int_equal(ops->status(s, &op, "u", NULL, NULL, &e), -BERTH_ECANCELED);
    assert_false(test_look(ops, s, "u").exists); /* the second does not hang */
    ops->close(s);
}

static bool
has_failed(void *arg)
{
    const struct test_seen seen = test_look(ops, arg, "u");

    return seen.count == 1 && seen.r[0].state == BERTH_REPLICA_FAILED;
}

static bool
is_back(void *arg)
{
    const struct test_seen seen = test_look(ops, arg, "u");

    return seen.count == 1 && seen.r[0].state == BERTH_REPLICA_READY && seen.r[0].restarts == 1;
}

static void
replicas_crash_or_never_get_ready_as_scripted(void **unused)
{
    struct berth_shimlet *s = open_with("{}", NULL, NULL);
    struct berth_unit u = unit("a", 1, "{\"never_ready\":true,\"restart_ms\":60000}");
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;

    (void)unused;
    assert_int_equal(ops->apply(s, &op, &u, &e), 0);
    assert_true(test_until(has_failed, s));
    assert_string_equal(test_look(ops, s, "u").r[0].reason, "not ready after its start timeout");
    assert_true(test_remove(ops, s, "u"));
    u.settings_json = "{\"crash_after_ms\":1,\"restart_ms\":60000}";
    assert_int_equal(ops->apply(s, &op, &u, &e), 0);
    assert_true(test_until(has_failed, s));
    assert_string_equal(test_look(ops, s, "u").r[0].reason,
                        "ended by signal 11 (Segmentation fault)");
    assert_true(test_remove(ops, s, "u"));
    u.settings_json = "{\"crash_after_ms\":1,\"restart_ms\":1}";
    assert_int_equal(ops->apply(s, &op, &u, &e), 0);
    assert_true(test_until(is_back, s));
    ops->close(s);
}

static void
a_change_by_itself_is_told(void **unused)
{
    struct test_who who;
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;

    (void)unused;
    test_who_init(&who);
    struct berth_shimlet *s = open_with("{\"start_ms\":1000,\"drift_after_ms\":1500}", NULL, &who);
    assert_true(ops->watches(s));
    const struct berth_unit u = unit("a", 2, NULL);
    assert_int_equal(ops->apply(s, &op, &u, &e), 0);
    assert_int_equal(test_look(ops, s, "u").ready, 0);
    assert_true(test_who_wait(&who, 0)); /* ready */
    for (;;) {
        const uint64_t told = test_who_changes(&who);

        if (test_look(ops, s, "u").drifted)
            break;
        assert_true(test_who_wait(&who, told));
    }
    assert_int_equal(test_look(ops, s, "u").count, 1);
    assert_true(test_settle(ops, s, &u));
    assert_false(test_look(ops, s, "u").drifted);
    ops->close(s);
    test_who_fini(&who);
}

static void
replicas_take_what_their_node_has(void **unused)
{
    struct berth_shimlet *s =
        open_with("{\"nodes\":2,\"accelerators\":8,\"cpu_milli\":4000}", NULL, NULL);
    struct berth_unit u = unit("a", 3, NULL);
    struct berth_resources all = {.struct_size = sizeof all};
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;
    uint32_t held = 0;

    (void)unused;
    u.accelerator_count = 8;
    assert_int_equal(ops->check(s, &op, &u, &e), 0);
    assert_int_equal(ops->apply(s, &op, &u, &e), 0);
    const struct test_seen seen = test_look(ops, s, "u");
    assert_int_equal(seen.ready, 2);
    assert_string_equal(seen.r[2].reason, "not scheduled: none of 2 nodes has room for it");
    assert_int_equal(ops->resources(s, &op, &all, &e), 0);
    assert_int_equal(all.accelerators_total, 16);
    assert_int_equal(all.accelerators_free, 0);
    assert_int_equal(ops->held(s, &op, "u", &held, &e), 0);
    assert_int_equal(held, 16);
    u.replicas = 1;
    assert_true(test_settle(ops, s, &u));
    const char *node = test_look(ops, s, "u").r[0].node[5] == '0' ? "node-0" : "node-1";
    assert_int_equal(ops->node(s, &op, node, true, &e), 0);
    assert_true(test_settle(ops, s, &u)); /* on the other one */
    assert_string_not_equal(test_look(ops, s, "u").r[0].node, node);
    u.accelerator_count = 9;
    assert_int_equal(ops->check(s, &op, &u, &e), -BERTH_ELIMIT);
    assert_non_null(strstr(e.msg, "needs 9 accelerators; a node of shimmy has 8"));
    ops->close(s);
}

static void
count_listed(void *arg, const struct berth_listed *one)
{
    if (strcmp(one->service_id, "service") == 0 && strcmp(one->track, "stable") == 0)
        ++*(int *)arg;
}

static void
what_was_made_is_there_after_a_restart(void **unused)
{
    char dir[] = "/tmp/berth-shimmy-XXXXXX", file[64];
    struct berth_unit u = unit("a", 2, "{\"endpoint\":\"http://127.0.0.1:1\"}");
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;
    int listed = 0;

    (void)unused;
    assert_non_null(mkdtemp(dir));
    struct berth_shimlet *s = open_with("{}", dir, NULL);
    assert_true(test_settle(ops, s, &u));
    const struct test_seen was = test_look(ops, s, "u");
    ops->close(s);
    s = open_with("{}", dir, NULL);
    const struct test_seen is = test_look(ops, s, "u");
    assert_int_equal(is.ready, 2);
    assert_string_equal(is.r[0].id, was.r[0].id);
    assert_string_equal(is.r[0].endpoint, "http://127.0.0.1:1");
    assert_string_equal(is.hash, "a");
    assert_int_equal(ops->list(s, &op, count_listed, &listed, &e), 0);
    assert_int_equal(listed, 1);
    assert_true(test_remove(ops, s, "u"));
    ops->close(s);
    (void)snprintf(file, sizeof file, "%s/u.json", dir);
    assert_int_equal(access(file, F_OK), -1);
    assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_is_made_rolled_and_removed),
        cmocka_unit_test(calls_fail_as_scripted_and_are_counted),
        cmocka_unit_test(what_hangs_ends_when_it_is_cut),
        cmocka_unit_test(replicas_crash_or_never_get_ready_as_scripted),
        cmocka_unit_test(a_change_by_itself_is_told),
        cmocka_unit_test(replicas_take_what_their_node_has),
        cmocka_unit_test(what_was_made_is_there_after_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
