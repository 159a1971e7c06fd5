#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "deploy/test_world.h"
#include "wire/json.h"

static struct world w;
static struct berth_arena a;
static char folder[64], path[96];
static const struct berth_actor tester = {.name = "tester", .peer = "127.0.0.1"};

static int
setup(void **unused)
{
    (void)unused;
    berth_arena_init(&a, 64 << 20);
    (void)snprintf(folder, sizeof folder, "/tmp/berth-hooks-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/out", folder);
    world_init(&w, 42);
    world_start(&w);
    return 0;
}

static int
teardown(void **unused)
{
    (void)unused;
    world_fini(&w);
    (void)unlink(path);
    (void)rmdir(folder);
    berth_arena_fini(&a);
    return 0;
}

/* Run a service with that hook before its first step; what is told of it then. */
static const char *
run_with(const char *hook)
{
    char id[BERTH_SERVICE_ID_MAX];
    struct berth_spec spec;
    struct berth_err e = {""};
    struct berth_buf b;
    struct berth_jw json;

    berth_buf_init(&b, &a);
    berth_jw_init(&json, &b);
    berth_jw_string(&json, hook);
    world_spec(&w,
               berth_arena_printf(&a,
                                  "{\"modelName\":\"m\",\"steps\":{\"model-validation\":{"
                                  "\"maxRetries\":0,\"timeoutMs\":20000,\"preHook\":%s}}}",
                                  berth_buf_text(&b)),
               &a, &spec);
    if (berth_deploy_create(w.d, &spec, &tester, id, &e) < 0)
        fail_msg("%s", e.msg);
    world_run(&w, 8 * BERTH_S); /* of the world's time */
    berth_buf_init(&b, &a);
    if (berth_deploy_describe(w.d, id, &a, &b, &e) < 0)
        fail_msg("%s", e.msg);
    const char *text = berth_buf_text(&b);
    return berth_arena_strdup(&a, text);
}

static const char *
written(void)
{
    static char text[65536];
    FILE *f = fopen(path, "re");

    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    return text;
}

static void
no_child_is_left(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void
a_hook_is_told_by_its_name(void **unused)
{
    (void)unused;
    assert_non_null(strstr(run_with("true"), "\"phase\":\"running\""));
    const char *told = run_with("echo no disk; exit 3 # --password hunter2");
    assert_non_null(strstr(told, "the preHook of model-validation ended by itself with status 3: "
                                 "no disk"));
    assert_null(strstr(told, "hunter2"));
    no_child_is_left();
}

/* It is over when its shell is: not when its output is closed, and not when that of what it left in
 * the background is. */
static void
a_hook_ends_with_its_shell(void **unused)
{
    (void)unused;
    const char *told = run_with("exec >/dev/null 2>&1; sleep 0.3; exit 3");
    assert_non_null(strstr(told, "with status 3"));
    no_child_is_left();
    told = run_with(berth_arena_printf(&a, "sleep 1000 & echo $! >%s", path));
    assert_non_null(strstr(told, "\"phase\":\"running\""));
    no_child_is_left();
    assert_int_equal(kill((pid_t)strtol(written(), NULL, 10), SIGKILL), 0);
}

static uint64_t
quick_clock(void *arg)
{
    struct world *on = arg;

    if (access(path, F_OK) == 0) /* the hook runs: its time is over soon */
        on->now_ns += BERTH_S;
    return on->now_ns;
}

static bool
is_over(int pid)
{
    char stat[64], state = 'Z';

    (void)snprintf(stat, sizeof stat, "/proc/%d/stat", pid);
    FILE *f = fopen(stat, "re");
    if (f == NULL)
        return true;
    (void)fscanf(f, "%*d (%*[^)]) %c", &state);
    (void)fclose(f);
    return state == 'Z'; /* whoever adopted it may not have looked yet */
}

static void
a_hook_is_cut_short_with_all_that_it_started(void **unused)
{
    (void)unused;
    w.clock.now_ns = quick_clock;
    const char *told = run_with(berth_arena_printf(
        &a, "sleep 1000 & echo $! >%s.new; mv %s.new %s; wait", path, path, path));
    assert_null(strstr(told, "\"phase\":\"running\""));
    no_child_is_left();
    const int child = (int)strtol(written(), NULL, 10);
    const uint64_t late_ns = berth_now_ns() + 20 * BERTH_S;
    while (!is_over(child)) {
        assert_true(berth_now_ns() < late_ns);
        (void)poll(NULL, 0, 10);
    }
}

static void
a_hook_gets_no_settings_of_the_server(void **unused)
{
    (void)unused;
    assert_int_equal(setenv("BERTH_STORE_TEAM_TOKEN", "hunter2", 1), 0);
    assert_int_equal(setenv("BERTH_STEP", "another", 1), 0);
    assert_non_null(strstr(run_with(berth_arena_printf(&a, "env >%s", path)), "running"));
    const char *env = written();
    assert_null(strstr(env, "hunter2"));
    assert_non_null(strstr(env, "BERTH_STEP=model-validation\n"));
    assert_non_null(strstr(env, "BERTH_SERVICE_ID=m-"));
    assert_non_null(strstr(env, "PATH="));
    (void)unsetenv("BERTH_STORE_TEAM_TOKEN");
    (void)unsetenv("BERTH_STEP");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_hook_is_told_by_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hook_ends_with_its_shell, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hook_is_cut_short_with_all_that_it_started, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_hook_gets_no_settings_of_the_server, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
