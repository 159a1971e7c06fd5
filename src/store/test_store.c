#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "store/store.h"

static char dir[] = "/tmp/berth-store-XXXXXX";
static char path[64];

static void
remove_files(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    char name[96];

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        (void)snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        (void)unlink(name);
    }
}

static int
setup(void **unused)
{
    (void)unused;
    if (mkdtemp(dir) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/state.db", dir);
    return 0;
}

static int
clean(void **unused)
{
    (void)unused;
    remove_files();
    return 0;
}

static int
teardown(void **unused)
{
    (void)unused;
    return rmdir(dir);
}

static struct berth_store *
open_it(void)
{
    struct berth_store *s = NULL;
    struct berth_err e = {""};

    if (berth_store_open_sqlite(path, &s, &e) != 0)
        fail_msg("%s", e.msg);
    return s;
}

static void
records_are_kept_in_order(void **unused)
{
    struct berth_store *s = open_it();
    struct berth_record *list, one;
    struct berth_arena a;
    struct berth_err e;
    size_t n;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_store_put(s, "model/b", BERTH_SLICE("2"), 0, &e), 0);
    assert_int_equal(berth_store_put(s, "model/a", BERTH_SLICE("1\0x"), 0, &e), 0);
    assert_int_equal(berth_store_put(s, "model_x", BERTH_SLICE("no"), 0, &e), 0);
    assert_int_equal(berth_store_put(s, "modem", BERTH_SLICE(""), 0, &e), 0);
    berth_store_close(s);
    s = open_it();
    assert_int_equal(berth_store_list(s, &a, "model/", &list, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_string_equal(list[0].key, "model/a");
    assert_int_equal(list[0].value.len, 3);
    assert_memory_equal(list[0].value.at, "1\0x", 3);
    assert_true(list[0].revision > list[1].revision);
    assert_int_equal(berth_store_get(s, &a, "modem", &one, &e), 0);
    assert_int_equal(one.value.len, 0);
    assert_int_equal(berth_store_delete(s, "model/a", &e), 0);
    assert_int_equal(berth_store_delete(s, "model/a", &e), 0);
    assert_int_equal(berth_store_get(s, &a, "model/a", &one, &e), -BERTH_ENOENT);
    assert_int_equal(berth_store_list(s, &a, "", &list, &n, &e), 0);
    assert_int_equal(n, 3);
    berth_store_close(s);
    berth_arena_fini(&a);
}

static void
revisions_guard_changes(void **unused)
{
    struct berth_store *s;
    struct berth_record one;
    struct berth_arena a;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_store_open_memory(&s, &e), 0);
    assert_int_equal(berth_store_put(s, "k", BERTH_SLICE("1"), 5, &e), -BERTH_EEXIST);
    assert_int_equal(berth_store_put(s, "k", BERTH_SLICE("1"), BERTH_STORE_NEW, &e), 0);
    assert_int_equal(berth_store_put(s, "k", BERTH_SLICE("2"), BERTH_STORE_NEW, &e), -BERTH_EEXIST);
    assert_int_equal(berth_store_get(s, &a, "k", &one, &e), 0);
    assert_int_equal(berth_store_put(s, "k", BERTH_SLICE("3"), one.revision, &e), 0);
    assert_int_equal(berth_store_put(s, "k", BERTH_SLICE("4"), one.revision, &e), -BERTH_EEXIST);
    assert_int_equal(berth_store_get(s, &a, "k", &one, &e), 0);
    assert_memory_equal(one.value.at, "3", 1);
    berth_store_close(s);
    berth_arena_fini(&a);
}

static struct berth_store_op
put_op(const char *key, const char *value, uint64_t expected)
{
    return (struct berth_store_op){
        .kind = BERTH_STORE_PUT, .key = key, .value = berth_slice_of(value), .expected = expected};
}

/* The value of key as text in the arena, or "" when there is none; its revision in *ret. */
static const char *
value_of(struct berth_store *s, struct berth_arena *a, const char *key, uint64_t *ret)
{
    struct berth_record one;
    struct berth_err e;

    if (berth_store_get(s, a, key, &one, &e) != 0)
        return "";
    *ret = one.revision;
    return berth_arena_strndup(a, one.value.at, one.value.len);
}

static void
a_transaction_is_all_or_nothing(void **unused)
{
    static char big[BERTH_STORE_VALUE_MAX + 1];
    static const struct {
        const char *why;
        struct berth_store_op second;
        size_t count;
        int want;
    } cases[] = {
        {"a record is not where it should be", {.key = "b", .expected = 99}, 2, -BERTH_EEXIST},
        {"one that should be new is there",
         {.key = "b", .expected = BERTH_STORE_NEW},
         2,
         -BERTH_EEXIST},
        {"a delete of another revision",
         {.kind = BERTH_STORE_DELETE, .key = "b", .expected = 99},
         2,
         -BERTH_EEXIST},
        {"a value too long", {.key = "b", .value = {big, sizeof big}}, 2, -BERTH_ETOOBIG},
        {"a key of no length", {.key = ""}, 2, -BERTH_EINVAL},
        {"a delete without a key", {.kind = BERTH_STORE_DELETE, .key = ""}, 2, -BERTH_EINVAL},
        {"nothing at all", {.key = "b"}, 0, -BERTH_EINVAL},
        {"the first one's record is seen by the second",
         {.key = "a", .expected = BERTH_STORE_NEW},
         2,
         -BERTH_EEXIST},
    };
    uint64_t before = 0, after = 0, revision = 77;
    struct berth_store *s = open_it();
    struct berth_arena a;
    struct berth_err e = {""};

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    struct berth_store_op ops[BERTH_STORE_OPS_MAX + 1] = {put_op("a", "1", BERTH_STORE_NEW),
                                                          put_op("b", "1", BERTH_STORE_NEW)};
    assert_int_equal(berth_store_txn(s, ops, 2, &revision, &e), 0);
    assert_string_equal(value_of(s, &a, "a", &before), "1");
    assert_int_equal(before, revision);
    assert_string_equal(value_of(s, &a, "b", &before), "1");
    assert_int_equal(before, revision);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].why);
        ops[0] = put_op("a", "2", revision);
        ops[1] = cases[i].second;
        uint64_t untouched = 4711;
        assert_int_equal(berth_store_txn(s, ops, cases[i].count, &untouched, &e), cases[i].want);
        assert_int_equal(untouched, 4711);
        assert_string_equal(value_of(s, &a, "a", &after), "1");
        assert_int_equal(after, revision);
    }
    for (size_t i = 0; i <= BERTH_STORE_OPS_MAX; i++)
        ops[i] = put_op("many", "x", 0);
    assert_int_equal(berth_store_txn(s, ops, BERTH_STORE_OPS_MAX + 1, NULL, &e), -BERTH_EINVAL);
    assert_int_equal(berth_store_txn(s, ops, BERTH_STORE_OPS_MAX, NULL, &e), 0);
    ops[0] = put_op("a", "3", revision);
    ops[1] = (struct berth_store_op){.kind = BERTH_STORE_DELETE, .key = "b", .expected = revision};
    assert_int_equal(berth_store_txn(s, ops, 2, &revision, &e), 0);
    berth_store_close(s);
    s = open_it();
    assert_string_equal(value_of(s, &a, "a", &after), "3");
    assert_int_equal(after, revision);
    assert_string_equal(value_of(s, &a, "b", &after), "");
    berth_store_close(s);
    berth_arena_fini(&a);
}

static void
limits_are_named(void **unused)
{
    static char big[BERTH_STORE_VALUE_MAX + 1], key[BERTH_STORE_KEY_MAX + 2];
    struct berth_store *s;
    struct berth_err e;

    (void)unused;
    assert_int_equal(berth_store_open_memory(&s, &e), 0);
    memset(key, 'k', sizeof key - 1);
    assert_int_equal(berth_store_put(s, key, BERTH_SLICE(""), 0, &e), -BERTH_EINVAL);
    assert_int_equal(berth_store_put(s, "", BERTH_SLICE(""), 0, &e), -BERTH_EINVAL);
    assert_int_equal(berth_store_put(s, "k", (struct berth_slice){big, sizeof big}, 0, &e),
                     -BERTH_ETOOBIG);
    assert_int_equal(berth_store_put(s, "k", (struct berth_slice){big, sizeof big - 1}, 0, &e), 0);
    berth_store_close(s);
}

static void
a_second_process_is_told_who_has_it(void **unused)
{
    struct berth_store *s = open_it(), *second = NULL;
    struct berth_err e;
    char pid[32];

    (void)unused;
    assert_int_equal(berth_store_open_sqlite(path, &second, &e), -BERTH_EEXIST);
    (void)snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
    assert_non_null(strstr(e.msg, pid));
    assert_non_null(strstr(e.msg, path));
    berth_store_close(s);
    berth_store_close(open_it());
}

static mode_t
mode_of(const char *suffix)
{
    struct stat st;
    char name[96];

    (void)snprintf(name, sizeof name, "%s%s", path, suffix);
    assert_int_equal(stat(name, &st), 0);
    return st.st_mode & 07777;
}

/* Whatever the umask, and whatever an earlier version left, as after a kill. */
static void
it_is_for_its_owner_alone(void **unused)
{
    static const char *const suffixes[] = {"", "-wal"};
    const mode_t before = umask(0);
    struct berth_err e;
    char name[96];

    (void)unused;
    for (int left = 0; left < 2; left++) {
        const pid_t pid = fork();

        if (pid == 0) {
            struct berth_store *s = open_it();
            _exit(berth_store_put(s, "k", BERTH_SLICE("secret"), 0, &e) == 0 ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
            assert_int_equal(mode_of(suffixes[i]), 0600);
            (void)snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
            assert_int_equal(chmod(name, 0644), 0);
        }
    }
    struct berth_store *s = open_it();
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++)
        assert_int_equal(mode_of(suffixes[i]), 0600);
    berth_store_close(s);
    (void)umask(before);
}

static void
strange_files_are_refused(void **unused)
{
    static const struct {
        const char *why, *sql, *want;
    } cases[] = {
        {"a text file", NULL, "damaged"},
        {"a later version's file", "PRAGMA user_version = 99", "newer"},
        {"somebody else's database", "CREATE TABLE songs (name)", "another program"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_store *s = NULL;
        struct berth_err e;
        char command[256];
        print_message("  %s\n", cases[i].why);
        if (cases[i].sql == NULL) {
            FILE *f = fopen(path, "w");
            for (int n = 0; n < 500; n++)
                (void)fputs("this is no database, it is a text\n", f);
            (void)fclose(f);
        } else {
            (void)snprintf(command, sizeof command, "sqlite3 %s '%s'", path, cases[i].sql);
            if (system(command) != 0) {
                print_message("  (no sqlite3 program: left out)\n");
                continue;
            }
        }
        assert_int_equal(berth_store_open_sqlite(path, &s, &e), -BERTH_EIO);
        if (strstr(e.msg, cases[i].want) == NULL)
            fail_msg("%s", e.msg);
        remove_files();
    }
}

/* Put numbered records for ever and say each on fd once it is acknowledged. */
__attribute__((noreturn)) static void
put_forever(int fd, int first)
{
    struct berth_store *s;
    struct berth_err e;
    char key[32], value[600];

    if (berth_store_open_sqlite(path, &s, &e) < 0)
        _exit(2);
    memset(value, 'v', sizeof value);
    for (int i = first;; i++) {
        (void)snprintf(key, sizeof key, "k/%08d", i);
        memcpy(value, &i, sizeof i);
        if (berth_store_put(s, key, (struct berth_slice){value, sizeof value}, 0, &e) < 0)
            _exit(3);
        if (write(fd, &i, sizeof i) != sizeof i)
            _exit(4);
    }
}

static void
kill_9_loses_nothing_acknowledged(void **unused)
{
    int next = 0;
    unsigned seed = 4711;

    (void)unused;
    for (int round = 0; round < 30; round++) {
        int fds[2], said, acked = next - 1, status;
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)close(fds[0]);
            put_forever(fds[1], next);
        }
        (void)close(fds[1]);
        int until = next + 1 + rand_r(&seed) % 40;
        while (acked < until && read(fds[0], &said, sizeof said) == sizeof said)
            acked = said;
        assert_int_equal(acked, until); /* else the child failed */
        for (int spin = rand_r(&seed) % 200000; spin > 0; spin--)
            __asm__ volatile("" ::: "memory"); /* land anywhere within a put */
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(fds[0], &said, sizeof said) == sizeof said)
            acked = said;
        (void)close(fds[0]);

        struct berth_store *s = open_it();
        struct berth_record *list;
        struct berth_arena a;
        struct berth_err e;
        size_t n;
        berth_arena_init(&a, 64 << 20);
        assert_int_equal(berth_store_list(s, &a, "k/", &list, &n, &e), 0);
        assert_true(n == (size_t)acked + 1 || n == (size_t)acked + 2); /* one may be unsaid */
        for (size_t i = 0; i < n; i++) {
            int value = (int)i;
            assert_int_equal(list[i].value.len, 600);
            assert_memory_equal(list[i].value.at, &value, sizeof value);
        }
        next = (int)n;
        berth_arena_fini(&a);
        berth_store_close(s);
    }
    print_message("  %d records over 30 kills\n", next);
}

/* Move a token from one record to another for ever, counting the moves in a third. */
__attribute__((noreturn)) static void
move_forever(int fd, int first)
{
    struct berth_store *s;
    struct berth_err e;
    char from[32], to[32], count[32];

    if (berth_store_open_sqlite(path, &s, &e) < 0)
        _exit(2);
    for (int i = first;; i++) {
        (void)snprintf(from, sizeof from, "token/%d", i);
        (void)snprintf(to, sizeof to, "token/%d", i + 1);
        (void)snprintf(count, sizeof count, "%d", i + 1);
        const struct berth_store_op ops[] = {
            {.kind = BERTH_STORE_DELETE, .key = from},
            put_op(to, count, BERTH_STORE_NEW),
            put_op("count", count, 0),
        };
        if (berth_store_txn(s, ops, 3, NULL, &e) < 0)
            _exit(3);
        if (write(fd, &i, sizeof i) != sizeof i)
            _exit(4);
    }
}

static void
kill_9_halves_no_transaction(void **unused)
{
    unsigned seed = 815;
    int next = 0;

    (void)unused;
    for (int round = 0; round < 30; round++) {
        int fds[2], said, acked = next - 1, status;
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)close(fds[0]);
            move_forever(fds[1], next);
        }
        (void)close(fds[1]);
        int until = next + rand_r(&seed) % 20;
        while (acked < until && read(fds[0], &said, sizeof said) == sizeof said)
            acked = said;
        assert_int_equal(acked, until);
        for (int spin = rand_r(&seed) % 200000; spin > 0; spin--)
            __asm__ volatile("" ::: "memory");
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(fds[0], &said, sizeof said) == sizeof said)
            acked = said;
        (void)close(fds[0]);

        struct berth_store *s = open_it();
        struct berth_record *list;
        struct berth_arena a;
        struct berth_err e;
        uint64_t revision;
        char key[32];
        size_t n;
        berth_arena_init(&a, 1 << 20);
        int count = (int)strtol(value_of(s, &a, "count", &revision), NULL, 10);
        assert_true(count == acked + 1 || count == acked + 2); /* one may be unsaid */
        assert_int_equal(berth_store_list(s, &a, "token/", &list, &n, &e), 0);
        assert_int_equal(n, 1); /* neither lost nor doubled */
        (void)snprintf(key, sizeof key, "token/%d", count);
        assert_string_equal(list[0].key, key);
        assert_int_equal(list[0].revision, revision);
        next = count;
        berth_arena_fini(&a);
        berth_store_close(s);
    }
    print_message("  %d transactions over 30 kills\n", next);
}

static void
writes_that_fail_change_nothing(void **unused)
{
    int fds[2], acked = -1, said, status;

    (void)unused;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit limit = {256 * 1024, 256 * 1024};
        (void)close(fds[0]);
        (void)signal(SIGXFSZ, SIG_IGN); /* writes fail instead */
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(1);
        put_forever(fds[1], 0);
    }
    (void)close(fds[1]);
    while (read(fds[0], &said, sizeof said) == sizeof said)
        acked = said;
    (void)close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3); /* a put failed, and said so */
    struct berth_store *s = open_it();
    struct berth_record *list;
    struct berth_arena a;
    struct berth_err e;
    size_t n;
    berth_arena_init(&a, 64 << 20);
    assert_int_equal(berth_store_list(s, &a, "k/", &list, &n, &e), 0);
    assert_int_equal(n, acked + 1);
    assert_int_equal(berth_store_put(s, "k/more", BERTH_SLICE("x"), 0, &e), 0);
    berth_arena_fini(&a);
    berth_store_close(s);
}

/* What SQLite writes with here, while the disk is full. */
static ssize_t
write_nothing(int fd, const void *bytes, size_t n, off_t at)
{
    (void)fd;
    (void)bytes;
    (void)n;
    (void)at;
    errno = ENOSPC;
    return -1;
}

static void
fill_the_disk(bool full)
{
    static const char *const calls[] = {"pwrite", "pwrite64"};
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    for (size_t i = 0; i < BERTH_COUNT(calls); i++)
        (void)vfs->xSetSystemCall(vfs, calls[i], full ? (sqlite3_syscall_ptr)write_nothing : NULL);
}

static void
a_full_disk_is_told_and_changes_nothing(void **unused)
{
    struct berth_store *s = open_it();
    struct berth_record *list;
    struct berth_arena a;
    struct berth_err e;
    size_t n;

    (void)unused;
    assert_int_equal(berth_store_put(s, "k/before", BERTH_SLICE("x"), 0, &e), 0);
    fill_the_disk(true);
    const int r = berth_store_put(s, "k/while", BERTH_SLICE("x"), 0, &e);
    fill_the_disk(false);
    assert_int_equal(r, -BERTH_ENOSPC);
    assert_non_null(strstr(e.msg, "the disk is full; nothing was changed: free some space on it"));
    assert_int_equal(berth_store_put(s, "k/since", BERTH_SLICE("x"), 0, &e), 0);
    berth_arena_init(&a, 64 << 20);
    assert_int_equal(berth_store_list(s, &a, "k/", &list, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_string_equal(list[1].key, "k/since");
    berth_arena_fini(&a);
    berth_store_close(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(records_are_kept_in_order, clean),
        cmocka_unit_test_teardown(revisions_guard_changes, clean),
        cmocka_unit_test_teardown(a_transaction_is_all_or_nothing, clean),
        cmocka_unit_test_teardown(limits_are_named, clean),
        cmocka_unit_test_teardown(a_second_process_is_told_who_has_it, clean),
        cmocka_unit_test_teardown(it_is_for_its_owner_alone, clean),
        cmocka_unit_test_teardown(strange_files_are_refused, clean),
        cmocka_unit_test_teardown(kill_9_loses_nothing_acknowledged, clean),
        cmocka_unit_test_teardown(kill_9_halves_no_transaction, clean),
        cmocka_unit_test_teardown(writes_that_fail_change_nothing, clean),
        cmocka_unit_test_teardown(a_full_disk_is_told_and_changes_nothing, clean),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
