#include <dlfcn.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "shimlets/test_host.h"

/* The template as people get it: a shared object, opened by its one symbol. */
static const struct berth_shimlet_ops *ops;

static struct berth_shimlet *
open_in(const char *dir, const char *settings)
{
    const struct berth_shimlet_open how = {
        .struct_size = sizeof how, .settings_json = settings, .state_dir = dir, .owner = "test"};
    struct berth_shimlet *s = NULL;
    struct berth_err e;

    assert_int_equal(ops->open(&test_host, &how, &s, &e), 0);
    return s;
}

static void
count(void *arg, const struct berth_listed *one)
{
    *(int *)arg += strcmp(one->name, "u") == 0 && strcmp(one->service_id, "service") == 0 &&
                   strcmp(one->track, "stable") == 0;
}

static void
a_workload_is_made_changed_and_removed(void **unused)
{
    struct berth_unit u = {.struct_size = sizeof u,
                           .name = "u",
                           .service_id = "service",
                           .track = "stable",
                           .revision = 1,
                           .hash = "a",
                           .replicas = 2};
    char dir[] = "/tmp/berth-template-XXXXXX";
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;
    int listed = 0;

    (void)unused;
    assert_non_null(mkdtemp(dir));
    struct berth_shimlet *s = open_in(dir, "{\"endpoint\":\"http://127.0.0.1:1\"}");
    assert_false(test_look(ops, s, "u").exists);
    assert_true(test_settle(ops, s, &u));
    u.hash = "b";
    u.revision = 2;
    assert_true(test_settle(ops, s, &u));
    ops->close(s);
    s = open_in(dir, "{}"); /* another program */
    const struct test_seen seen = test_look(ops, s, "u");
    assert_string_equal(seen.hash, "b");
    assert_int_equal(seen.ready, 2);
    assert_int_equal(seen.r[1].revision, 2);
    assert_string_equal(seen.r[1].endpoint, "http://127.0.0.1:8000");
    assert_int_equal(ops->list(s, &op, count, &listed, &e), 0);
    assert_int_equal(listed, 1);
    test_drained[0] = '\0';
    assert_true(test_remove(ops, s, "u"));
    assert_string_equal(test_drained, "u-2-0 u-2-1 ");
    assert_true(test_remove(ops, s, "u"));
    assert_false(test_look(ops, s, "u").exists);
    ops->close(s);
    assert_int_equal(rmdir(dir), 0); /* nothing is left */
}

static void
what_cannot_be_is_refused(void **unused)
{
    const struct berth_shimlet_open nowhere = {.struct_size = sizeof nowhere,
                                               .settings_json = "{}"};
    const struct berth_unit u = {.struct_size = sizeof u,
                                 .name = "u",
                                 .service_id = "service",
                                 .track = "stable",
                                 .hash = "a",
                                 .replicas = 100000};
    struct berth_op op = {.until_ns = 0};
    struct berth_shimlet *s = NULL;
    struct berth_err e;

    (void)unused;
    assert_int_equal(ops->open(&test_host, &nowhere, &s, &e), -BERTH_ECONFIG);
    s = open_in("/tmp", "{}");
    assert_int_equal(ops->apply(s, &op, &u, &e), -BERTH_EINVAL);
    atomic_store(&op.cut, true);
    assert_int_equal(ops->apply(s, &op, &u, &e), -BERTH_ECANCELED);
    ops->close(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workload_is_made_changed_and_removed),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    char path[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    berth_shimlet_entry_fn *entry = NULL;
    struct berth_err e;

    berth_assert(n > 0);
    path[n] = '\0';
    (void)strcpy(strrchr(path, '/'), "/shimlets/template/berth-shimlet-template.so");
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (so != NULL)
        *(void **)&entry = dlsym(so, BERTH_SHIMLET_ENTRY);
    if (entry == NULL) {
        print_message("%s\n", dlerror()); /* NOLINT(concurrency-mt-unsafe) */
        return 1;
    }
    ops = entry(&test_host, &e);
    berth_assert(ops != NULL && ops->abi == BERTH_SHIMLET_ABI);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
