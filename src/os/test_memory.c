#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/memory.h"

enum { KB = 1024, MB = 1024 * KB };

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

struct file {
    const char *path, *text;
};

#define MACHINE                                                                                \
    {"proc/meminfo", "MemTotal:       1048576 kB\nMemFree:  1 kB\nMemAvailable: 524288 kB\n"}, \
    {                                                                                          \
        "proc/self/statm", "90000 4096 1024 10 0 20 0\n"                                       \
    }

static void
the_tightest_bound_counts(void **unused)
{
    static const struct {
        const char *why;
        struct file files[12];
        uint64_t total_mb, free_mb;
        bool grouped;
    } cases[] = {
        {"no groups", {MACHINE}, 1024, 512, false},
        {"a group of version 2",
         {MACHINE,
          {"proc/self/cgroup", "0::/app\n"},
          {"sys/fs/cgroup/app/memory.max", "268435456\n"},
          {"sys/fs/cgroup/app/memory.current", "209715200\n"},
          {"sys/fs/cgroup/app/memory.stat",
           "anon 1\nfile 2\ninactive_file 52428800\nactive_file 52428800\n"}},
         256,
         156,
         true},
        {"without a limit",
         {MACHINE,
          {"proc/self/cgroup", "0::/app\n"},
          {"sys/fs/cgroup/app/memory.max", "max\n"},
          {"sys/fs/cgroup/app/memory.current", "209715200\n"}},
         1024,
         512,
         false},
        {"the one above is tighter",
         {MACHINE,
          {"proc/self/cgroup", "0::/a/b\n"},
          {"sys/fs/cgroup/a/memory.max", "104857600\n"},
          {"sys/fs/cgroup/a/memory.current", "73400320\n"},
          {"sys/fs/cgroup/a/b/memory.max", "209715200\n"},
          {"sys/fs/cgroup/a/b/memory.current", "10485760\n"}},
         100,
         30,
         true},
        {"version 1, among other controllers",
         {MACHINE,
          {"proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/t\n0::/\n"},
          {"sys/fs/cgroup/memory/t/memory.limit_in_bytes", "134217728\n"},
          {"sys/fs/cgroup/memory/t/memory.usage_in_bytes", "67108864\n"},
          {"sys/fs/cgroup/memory/t/memory.stat",
           "cache 9\ntotal_inactive_file 33554432\ntotal_active_file 0\n"},
          {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
          {"sys/fs/cgroup/memory/memory.usage_in_bytes", "999\n"}},
         128,
         96,
         true},
        {"a container that sees its group as the root",
         {MACHINE,
          {"proc/self/cgroup", "0::/../../docker/abc\n"},
          {"sys/fs/cgroup/memory.max", "104857600\n"},
          {"sys/fs/cgroup/memory.current", "104857600\n"}},
         100,
         0,
         true},
        {"a limit beyond the machine",
         {MACHINE,
          {"proc/self/cgroup", "0::/\n"},
          {"sys/fs/cgroup/memory.max", "10737418240\n"},
          {"sys/fs/cgroup/memory.current", "104857600\n"}},
         1024,
         512,
         false},
        {"broken files harm nothing",
         {MACHINE,
          {"proc/self/cgroup", "nonsense\n0:\n:::\n1:memory\n"},
          {"sys/fs/cgroup/memory.max", "\n"}},
         1024,
         512,
         false},
    };

    (void)unused;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char root[] = "/tmp/test-memory-XXXXXX", command[64];
        struct berth_memory m;
        struct berth_err e = {""};

        print_message("  %s\n", cases[k].why);
        assert_non_null(mkdtemp(root));
        for (const struct file *f = cases[k].files; f->path != NULL; f++)
            put(root, f->path, f->text);
        assert_int_equal(berth_memory_read(root, &m, &e), 0);
        assert_int_equal(m.total_bytes, cases[k].total_mb * MB);
        assert_int_equal(m.free_bytes, cases[k].free_mb * MB);
        assert_int_equal(m.self_bytes, 3072 * (uint64_t)sysconf(_SC_PAGESIZE));
        assert_int_equal(m.grouped, cases[k].grouped);
        (void)snprintf(command, sizeof command, "rm -r %s", root);
        assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    }
}

static void
what_cannot_be_read_is_named(void **unused)
{
    struct berth_memory m;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(berth_memory_read("/nowhere", &m, &e), -BERTH_EIO);
    assert_string_equal(e.msg, "/nowhere/proc/meminfo: no MemTotal and MemAvailable in it");
}

static void
this_machine_is_understood(void **unused)
{
    enum { MORE = 64 * MB };
    struct berth_memory before, after;
    struct berth_err e;

    (void)unused;
    assert_int_equal(berth_memory_read(NULL, &before, &e), 0);
    assert_true(before.total_bytes > 0 && before.free_bytes <= before.total_bytes);
    const uint64_t pss = berth_memory_self_pss();
    char *more = malloc(MORE);
    assert_non_null(more);
    memset(more, 1, MORE);
    assert_int_equal(berth_memory_read(NULL, &after, &e), 0);
    assert_true(after.self_bytes >= before.self_bytes + MORE / 2);
    assert_true(berth_memory_self_pss() >= pss + MORE / 2);
    free(more);
    berth_memory_trim();
}

static void *
ask(void *start)
{
    (void)pthread_barrier_wait(start);
    (void)berth_memory_heap();
    berth_memory_trim();
    return NULL;
}

/* Where another allocator serves malloc() (a preloaded one, a sanitizer's), these are the first
 * that the C library's own hears of, and it does not expect several at once.  One process sees that
 * once. */
static void
the_first_to_ask_for_the_heap_may_be_several(void **unused)
{
    enum { TIMES = 100, ASKERS = 4 };

    (void)unused;
    for (int i = 0; i < TIMES; i++) {
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            pthread_barrier_t start;
            pthread_t t[ASKERS];
            (void)pthread_barrier_init(&start, NULL, ASKERS);
            for (int k = 0; k < ASKERS; k++)
                (void)pthread_create(&t[k], NULL, ask, &start);
            for (int k = 0; k < ASKERS; k++)
                (void)pthread_join(t[k], NULL);
            _exit(0);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_to_ask_for_the_heap_may_be_several), /* nobody asked before */
        cmocka_unit_test(the_tightest_bound_counts),
        cmocka_unit_test(what_cannot_be_read_is_named),
        cmocka_unit_test(this_machine_is_understood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
