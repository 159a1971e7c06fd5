#include "obs/logfile.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/gzip.h"

/* A folder of its own for each test; `file` is in it. */
struct place {
    char dir[64], file[96];
};

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof p->dir, "%s", "berth-logfile-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->file, sizeof p->file, "%s/log", p->dir);
    *state = p;
    return 0;
}

static int
tear_down(void **state)
{
    struct place *p = *state;
    DIR *d = opendir(p->dir);

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    (void)closedir(d);
    assert_int_equal(rmdir(p->dir), 0);
    free(p);
    return 0;
}

static struct berth_logfile *
opened(const struct place *p, struct berth_logfile_conf conf)
{
    struct berth_logfile *f = NULL;
    struct berth_err e = {""};

    conf.path = p->file;
    if (berth_logfile_new(&conf, &f, &e) < 0)
        fail_msg("%s", e.msg);
    return f;
}

/* How many files end so; the first one's name is in ret (PATH bytes). */
static unsigned
count(const struct place *p, const char *end, char ret[256])
{
    DIR *d = opendir(p->dir);
    unsigned n = 0;

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        const size_t len = strlen(e->d_name), m = strlen(end);

        if (len > 4 && len >= m && strcmp(e->d_name + len - m, end) == 0) {
            n++;
            if (ret != NULL)
                (void)snprintf(ret, 256, "%s/%s", p->dir, e->d_name);
        }
    }
    (void)closedir(d);
    return n;
}

/* Wait until so many files end so; another thread makes them. */
static void
wait_for(const struct place *p, const char *end, unsigned n)
{
    const uint64_t until = berth_now_ns() + 30 * BERTH_S;

    while (count(p, end, NULL) != n) {
        assert_true(berth_now_ns() < until);
        (void)sched_yield();
    }
}

static size_t
bytes_of(const char *path, char *to, size_t cap)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    const ssize_t n = read(fd, to, cap);

    (void)close(fd);
    assert_true(n >= 0);
    return (size_t)n;
}

static void
it_is_put_aside_when_full(void **state)
{
    const struct place *p = *state;
    struct berth_logfile *f = opened(p, (struct berth_logfile_conf){.bytes_max = 10, .keep = 5});
    char got[64], aside[256];

    berth_logfile_write(f, "first\n", 6);
    assert_int_equal(count(p, "Z", NULL), 0);
    berth_logfile_write(f, "second\n", 7); /* would be 13 bytes */
    assert_int_equal(count(p, "Z", aside), 1);
    assert_int_equal(bytes_of(p->file, got, sizeof got), 7);
    assert_int_equal(bytes_of(aside, got, sizeof got), 6);
    assert_memory_equal(got, "first\n", 6);
    berth_logfile_free(f);
    /* It goes on where it was. */
    f = opened(p, (struct berth_logfile_conf){.bytes_max = 100, .keep = 5});
    berth_logfile_write(f, "third\n", 6);
    assert_int_equal(bytes_of(p->file, got, sizeof got), 13);
    berth_logfile_free(f);
}

static void
a_line_longer_than_a_file_is_written(void **state)
{
    const struct place *p = *state;
    struct berth_logfile *f = opened(p, (struct berth_logfile_conf){.bytes_max = 3, .keep = 5});
    char got[64];

    berth_logfile_write(f, "first\n", 6);
    assert_int_equal(bytes_of(p->file, got, sizeof got), 6);
    assert_int_equal(count(p, "Z", NULL), 0); /* no empty file is put aside */
    berth_logfile_free(f);
}

static void
so_many_are_kept(void **state)
{
    const struct place *p = *state;
    struct berth_logfile *f = opened(p, (struct berth_logfile_conf){.bytes_max = 1, .keep = 2});
    char newest[256] = "", got[64], line[16];

    for (unsigned i = 0; i < 6; i++) {
        (void)snprintf(line, sizeof line, "line %u\n", i);
        berth_logfile_write(f, line, 7);
    }
    wait_for(p, "Z", 2);
    berth_logfile_free(f);
    assert_true(count(p, "Z", newest) == 2);
    assert_int_equal(bytes_of(newest, got, sizeof got), 7);
    assert_true(memcmp(got, "line 3\n", 7) == 0 || memcmp(got, "line 4\n", 7) == 0);
}

static void
what_is_aside_is_compressed(void **state)
{
    const struct place *p = *state;
    struct berth_logfile *f =
        opened(p, (struct berth_logfile_conf){.bytes_max = 8, .keep = 3, .compress = true});
    char name[256], got[256];
    const void *text;
    size_t len, text_len;
    struct berth_arena a;
    struct berth_err e = {""};

    berth_logfile_write(f, "before\n", 7);
    berth_logfile_write(f, "after\n", 6);
    wait_for(p, "Z", 0);
    wait_for(p, "Z.gz", 1);
    berth_logfile_free(f);
    assert_int_equal(count(p, ".gz", name), 1);
    assert_int_equal(count(p, ".part", NULL), 0);
    len = bytes_of(name, got, sizeof got);
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_gzip_read(&a, got, len, 1000, &text, &text_len, &e), 0);
    assert_int_equal(text_len, 7);
    assert_memory_equal(text, "before\n", 7);
    berth_arena_fini(&a);
}

static void
put_file(const struct place *p, const char *name, unsigned days)
{
    char path[256];
    const time_t then = time(NULL) - (time_t)days * 86400;
    const struct timespec times[2] = {{.tv_sec = then}, {.tv_sec = then}};

    (void)snprintf(path, sizeof path, "%s/%s", p->dir, name);
    const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(futimens(file, times), 0);
    (void)close(file);
}

static void
only_its_own_old_files_go(void **state)
{
    static const struct {
        const char *why, *name;
        unsigned days;
        bool stays;
    } cases[] = {
        {"too old", "log.20200101T000000.000000Z", 9, false},
        {"too old, compressed", "log.20200101T000001.000000Z.gz", 9, false},
        {"a compression that was cut off", "log.20200101T000002.000000Z.part", 0, false},
        {"young enough", "log.20200101T000003.000000Z", 2, true},
        {"another program's", "log.1", 9, true},
        {"another log's", "log2.20200101T000003.000000Z", 9, true},
    };
    const struct place *p = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        put_file(p, cases[i].name, cases[i].days);
    struct berth_logfile *f = opened(
        p, (struct berth_logfile_conf){.bytes_max = 1000, .keep = 9, .keep_seconds = 5 * 86400});
    wait_for(p, ".part", 0);
    wait_for(p, ".gz", 0);
    berth_logfile_free(f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[256];

        print_message("  %s\n", cases[i].why);
        (void)snprintf(path, sizeof path, "%s/%s", p->dir, cases[i].name);
        assert_int_equal(access(path, F_OK) == 0, cases[i].stays);
    }
}

static void
what_cannot_be_written_is_said(void **state)
{
    const struct place *p = *state;
    struct berth_logfile *f = NULL;
    struct berth_err e = {""};
    char path[256];

    (void)snprintf(path, sizeof path, "%s/none/none/log", p->dir);
    assert_true(berth_logfile_new(&(struct berth_logfile_conf){.path = path}, &f, &e) < 0);
    assert_non_null(strstr(e.msg, "none"));
    (void)snprintf(path, sizeof path, "%s/", p->dir);
    assert_true(berth_logfile_new(&(struct berth_logfile_conf){.path = path}, &f, &e) < 0);
    assert_null(f);
}

static void
lines_of_the_log_go_there(void **state)
{
    const struct place *p = *state;
    struct berth_logfile *f = opened(p, (struct berth_logfile_conf){.bytes_max = 9999, .keep = 5});
    const struct berth_log_field fields[] = {
        {"status", berth_slice_of("200"), true},
        {"path", berth_slice_of("/a \"b\"\n\xff"), false},
    };
    char got[1024];

    berth_log_init(BERTH_LOG_INFO, BERTH_LOG_JSON, -1);
    berth_log_sink(berth_logfile_write, f);
    berth_log_show_line(true);
    berth_info("caf\xc3\xa9 %d", 1);
    berth_debug("not this");
    berth_log_show_line(false);
    berth_log_fields(BERTH_LOG_WARN, "request", fields, 2);
    berth_log_init(BERTH_LOG_INFO, BERTH_LOG_TEXT, -1);
    berth_log_fields(BERTH_LOG_INFO, "request", fields, 2);
    berth_log_sink(NULL, NULL);
    berth_info("nor this");
    berth_log_init(BERTH_LOG_INFO, BERTH_LOG_TEXT, STDERR_FILENO);
    berth_logfile_free(f);
    got[bytes_of(p->file, got, sizeof got - 1)] = '\0';
    assert_non_null(strstr(got, "\"level\":\"info\",\"caller\":\"obs/test_logfile.c:"));
    assert_non_null(strstr(got, "\"msg\":\"caf\xc3\xa9 1\"}\n{\"time\":"));
    assert_non_null(strstr(got, "\"level\":\"warn\",\"msg\":\"request\",\"status\":200,"
                                "\"path\":\"/a \\\"b\\\"\\u000a\\u00ff\"}\n"));
    assert_non_null(strstr(got, "Z info  request status=200 path=\"/a \\\"b\\\"\\x0a\\xff\"\n"));
    assert_null(strstr(got, "this"));
}

static void
a_line_has_a_longest_length(void **state)
{
    const struct place *p = *state;
    struct berth_logfile *f = opened(p, (struct berth_logfile_conf){.bytes_max = 99999, .keep = 5});
    char text[3000], got[16384];
    const struct berth_log_field field = {"path", {text, sizeof text - 1}, false};

    berth_log_init(BERTH_LOG_INFO, BERTH_LOG_JSON, -1);
    berth_log_sink(berth_logfile_write, f);
    (void)memset(text, 1, sizeof text - 1); /* each is six bytes then */
    text[sizeof text - 1] = '\0';
    berth_info("%s", text);
    berth_log_fields(BERTH_LOG_INFO, text, &field, 1);
    berth_log_fields(BERTH_LOG_INFO, "request", &field, 1);
    berth_log_sink(NULL, NULL);
    berth_log_init(BERTH_LOG_INFO, BERTH_LOG_TEXT, STDERR_FILENO);
    berth_logfile_free(f);
    const size_t n = bytes_of(p->file, got, sizeof got - 1);
    got[n] = '\0';
    unsigned lines = 0;
    for (char *at = got; *at != '\0'; lines++) {
        char *stop = strchr(at, '\n');

        assert_non_null(stop);
        assert_true(stop - at < 4096);
        assert_memory_equal(stop - 2, "\"}", 2); /* complete, as JSON */
        at = stop + 1;
    }
    assert_int_equal(lines, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_put_aside_when_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_longer_than_a_file_is_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(so_many_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_aside_is_compressed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_its_own_old_files_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_of_the_log_go_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_has_a_longest_length, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
