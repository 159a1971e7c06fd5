#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sched.h>
#include <sys/stat.h>

#include "os/cores.h"

/* root/path with this text; its folders are made. */
static void
put(const char *root, const char *path, const char *text)
{
    char full[512];

    (void)snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    FILE *f = fopen(full, "we");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void
a_quota_bounds_the_cores(void **unused)
{
    const uint32_t all = berth_cores_usable("/nowhere");
    const struct {
        const char *why;
        struct {
            const char *path, *text;
        } files[6];
        uint32_t want;
    } cases[] = {
        {"no groups", {{"proc/none", ""}}, all},
        {"one core",
         {{"proc/self/cgroup", "0::/app\n"}, {"sys/fs/cgroup/app/cpu.max", "100000 100000\n"}},
         1},
        {"half a core is one",
         {{"proc/self/cgroup", "0::/app\n"}, {"sys/fs/cgroup/app/cpu.max", "50000 100000\n"}},
         1},
        {"no quota",
         {{"proc/self/cgroup", "0::/app\n"}, {"sys/fs/cgroup/app/cpu.max", "max 100000\n"}},
         all},
        {"the one above is tighter",
         {{"proc/self/cgroup", "0::/a/b\n"},
          {"sys/fs/cgroup/a/cpu.max", "20000 100000\n"},
          {"sys/fs/cgroup/a/b/cpu.max", "99900000 100000\n"}},
         1},
        {"more than there are",
         {{"proc/self/cgroup", "0::/a\n"}, {"sys/fs/cgroup/a/cpu.max", "999999900000 100000\n"}},
         all},
        {"version 1",
         {{"proc/self/cgroup", "4:cpu,cpuacct:/x\n2:memory:/y\n0::/\n"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "10000\n"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "10000\n"}},
         1},
        {"version 1 without a quota",
         {{"proc/self/cgroup", "4:cpu:/x\n"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n"}},
         all},
        {"broken files harm nothing",
         {{"proc/self/cgroup", "nonsense\n0:\n0::/a\n4:cpu:/x\n"},
          {"sys/fs/cgroup/a/cpu.max", "100000 0\n"},
          {"sys/fs/cgroup/cpu.max", "-5\n"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "100000\n"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "\n"}},
         all},
    };

    (void)unused;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char root[] = "/tmp/test-cores-XXXXXX", command[64];

        print_message("  %s\n", cases[k].why);
        assert_non_null(mkdtemp(root));
        for (size_t i = 0; i < 6 && cases[k].files[i].path != NULL; i++)
            put(root, cases[k].files[i].path, cases[k].files[i].text);
        assert_int_equal(berth_cores_usable(root), cases[k].want);
        (void)snprintf(command, sizeof command, "rm -r %s", root);
        assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    }
}

static void
only_allowed_cores_count(void **unused)
{
    cpu_set_t was, one;
    int first = 0;

    (void)unused;
    assert_int_equal(sched_getaffinity(0, sizeof was, &was), 0);
    assert_true(berth_cores_usable("/nowhere") == (uint32_t)CPU_COUNT(&was));
    while (!CPU_ISSET(first, &was))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(berth_cores_usable("/nowhere"), 1);
    assert_int_equal(berth_cores_usable(NULL), 1);
    assert_int_equal(sched_setaffinity(0, sizeof was, &was), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quota_bounds_the_cores),
        cmocka_unit_test(only_allowed_cores_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
