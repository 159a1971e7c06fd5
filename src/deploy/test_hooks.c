#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "deploy/test_world.h"

/* The command lines around steps, run by a real shell. */

struct bench {
    struct world w;
    struct berth_arena a;
    struct service *s;
    struct revision *revision;
    struct berth_deployment x;
    bool stop;
};
static struct bench b;

static bool
says_stop(void *arg)
{
    return *(bool *)arg;
}

/* A deployment whose step "one" has that line before and behind it. */
static void
set_up(const char *line)
{
    struct berth_spec spec;
    struct berth_err e = {""};

    memset(&b, 0, sizeof b);
    berth_arena_init(&b.a, 16 << 20);
    world_init(&b.w, 1);
    world_start(&b.w);
    const char *json = berth_arena_printf(
        &b.a, "{\"modelName\":\"m\",\"steps\":{\"one\":{\"preHook\":\"%s\",\"postHook\":\"%s\"}}}",
        line, line);
    world_spec(&b.w, json, &b.a, &spec);
    if (berth_revision_parse(b.w.d, spec.json, spec.json_len, 1, &b.revision, &e) < 0)
        fail_msg("%s", e.msg);
    b.s = berth_service_new("m-1");
    assert_non_null(b.s);
    b.x = (struct berth_deployment){.d = b.w.d, .s = b.s, .revision = b.revision};
    b.x.op = (struct berth_op){.d = b.w.d, .s = b.s, .cancelled = says_stop, .arg = &b.stop};
}

static void
tear_down(void)
{
    berth_service_free(b.s);
    berth_revision_unref(b.revision);
    world_fini(&b.w);
    berth_arena_fini(&b.a);
}

static const struct berth_step step_one = {.name = "one", .policy = {.timeout_ns = 60 * BERTH_S}};

static void
how_it_ends_is_told(void **unused)
{
    static const struct {
        const char *why, *line, *want; /* NULL: it succeeds */
    } cases[] = {
        {"it is fine", "true", NULL},
        {"it knows whose it is", "test $BERTH_SERVICE_ID/$BERTH_STEP = m-1/one", NULL},
        {"our settings are not its", "test -z \\\"$BERTH_API_KEY\\\"", NULL},
        {"others are", "test \\\"$HOOK_TEST\\\" = kept", NULL},
        {"a status", "exit 3", "3"},
        {"what it says", "echo no room; echo more; exit 1", ": no room"},
        {"on standard error, too", "echo broken >&2; exit 1", ": broken"},
        {"a signal", "kill -9 $$", "signal 9"},
        {"no such program", "nonesuch-program 2>/dev/null", "127"},
        {"what runs on is not waited for", "sleep 20 & exit 0", NULL},
        {"a flood is no flood of ours", "head -c 3000000 /dev/zero | tr '\\\\0' x; exit 1",
         ": xxx"},
    };

    (void)unused;
    assert_int_equal(setenv("BERTH_API_KEY", "hunter2", 1), 0);
    assert_int_equal(setenv("HOOK_TEST", "kept", 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int post = 0; post < 2; post++) {
            struct berth_err e = {""};
            set_up(cases[i].line);
            const int r =
                post ? berth_hook_post(&b.x, &step_one, &e) : berth_hook_pre(&b.x, &step_one, &e);
            if (r != (cases[i].want == NULL ? 0 : -BERTH_EBACKEND))
                fail_msg("%s: %d %s", cases[i].why, r, e.msg);
            if (cases[i].want != NULL &&
                (strstr(e.msg, post ? "the postHook of one" : "the preHook of one") == NULL ||
                 strstr(e.msg, cases[i].want) == NULL ||
                 strstr(e.msg, cases[i].line) != NULL)) /* it may hold a secret */
                fail_msg("%s: %s", cases[i].why, e.msg);
            tear_down();
        }
    }
}

static void
a_step_without_one_has_none(void **unused)
{
    const struct berth_step other = {.name = "other", .policy = {.timeout_ns = BERTH_S}};
    struct berth_err e = {""};

    (void)unused;
    set_up("exit 1");
    assert_int_equal(berth_hook_pre(&b.x, &other, &e), 0);
    assert_int_equal(berth_hook_post(&b.x, &other, &e), 0);
    tear_down();
}

static void
one_that_does_not_end_is_cut_short(void **unused)
{
    struct berth_err e = {""};

    (void)unused;
    set_up("sleep 600");
    b.stop = true;
    assert_int_equal(berth_hook_pre(&b.x, &step_one, &e), -BERTH_ECANCELED);
    assert_string_equal(e.msg, "the preHook of one was cut short");
    tear_down();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(how_it_ends_is_told),
        cmocka_unit_test(a_step_without_one_has_none),
        cmocka_unit_test(one_that_does_not_end_is_cut_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
