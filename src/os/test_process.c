#include "os/process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include <cmocka.h>

static void
what_it_says_and_how_it_ends(void **unused)
{
    static const struct {
        const char *why, *file, *line, *want;
        int r, status;
    } cases[] = {
        {"output and status", "/bin/sh", "echo out; exit 3", "out\n", 0, 3},
        {"errors, too", "/bin/sh", "echo bad >&2", "bad\n", 0, 0},
        {"what it is given is its descriptor 3", "/bin/sh", "echo three >&3", "three\n", 0, 0},
        {"and no other is open", "/bin/sh", "test ! -e /proc/self/fd/70 && echo none", "none\n", 0,
         0},
        {"it leads a session", "/bin/sh",
         "read -r p n s pp g sid r </proc/$$/stat; echo $((sid-p))", "0\n", 0, 0},
        {"there is no such program", "/nonesuch", "", "", -BERTH_EIO, 0},
        {"it is none", "/etc/passwd", "", "", -BERTH_EIO, 0},
    };

    (void)unused;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        const size_t k = i / 2;
        const char *const argv[] = {"sh", "-c", cases[k].line, NULL};
        struct berth_err e = {""};
        char said[64] = "";
        size_t len = 0;
        ssize_t n;
        int fds[2], status = 0;
        pid_t pid = 0;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(dup2(STDERR_FILENO, 70), 70); /* not close-on-exec */
        const struct berth_spawn how = {.file = cases[k].file,
                                        .argv = argv,
                                        .out_fd = fds[1],
                                        .fds = {fds[1]},
                                        .fd_count = 1,
                                        .dies_with_us = i % 2 == 1};
        const int r = berth_process_spawn(&how, &pid, &e);
        (void)close(fds[1]);
        (void)close(70);
        while ((n = read(fds[0], said + len, sizeof said - 1 - len)) > 0)
            len += (size_t)n;
        (void)close(fds[0]);
        if (r == 0)
            assert_int_equal(waitpid(pid, &status, 0), pid);
        if (r != cases[k].r || strcmp(said, cases[k].want) != 0 ||
            WEXITSTATUS(status) != cases[k].status)
            fail_msg("%s: %d \"%s\" %d", cases[k].why, r, said, status);
    }
}

/* A parent that is killed: whether its child goes with it is seen by the end of the child's output,
 * which nobody else holds. */
static void
it_dies_with_its_parent(void **unused)
{
    static const char *const argv[] = {"cat", "/dev/zero", NULL};
    struct pollfd p = {.events = POLLIN};
    char piece[4096];
    ssize_t n = 1;
    int fds[2];

    (void)unused;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    const pid_t parent = fork();
    if (parent == 0) {
        const struct berth_spawn how = {
            .file = "/bin/cat", .argv = argv, .out_fd = fds[1], .dies_with_us = true};
        struct berth_err e;
        pid_t pid;

        if (berth_process_spawn(&how, &pid, &e) < 0)
            _exit(1);
        (void)close(fds[1]);
        for (;;)
            (void)pause();
    }
    assert_true(parent > 0);
    (void)close(fds[1]);
    p.fd = fds[0];
    assert_int_equal(poll(&p, 1, 20000), 1); /* it runs */
    assert_int_equal(read(fds[0], piece, sizeof piece), (int)sizeof piece);
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    /* A pipe's worth may still come, and no more. */
    for (int i = 0; i < 4096 && n > 0; i++) {
        assert_int_equal(poll(&p, 1, 20000), 1);
        n = read(fds[0], piece, sizeof piece);
    }
    (void)close(fds[0]);
    assert_int_equal(n, 0);
}

static void
our_own_settings_stay_here(void **unused)
{
    static const char *const keep[] = {"BERTH_TEST_KEPT", NULL};
    static const struct {
        const char *name;
        bool there, there_kept;
    } cases[] = {{"BERTH_TEST_KEPT", false, true},
                 {"BERTH_TEST_KEPT_NOT", false, false},
                 {"UNIMODEL_TEST_KEY", false, false},
                 {"TEST_BERTH_OTHER", true, true},
                 {"MORE", true, true}};
    char more_text[] = "MORE=1";
    char *const more[] = {more_text, NULL};

    (void)unused;
    for (size_t i = 0; i + 1 < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(setenv(cases[i].name, "x", 1), 0);
    for (int kept = 0; kept < 2; kept++) {
        char **list = berth_process_environ(kept ? keep : NULL, more);

        assert_non_null(list);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const size_t n = strlen(cases[i].name);
            bool found = false;

            for (size_t k = 0; list[k] != NULL; k++)
                found |= strncmp(list[k], cases[i].name, n) == 0 && list[k][n] == '=';
            if (found != (kept ? cases[i].there_kept : cases[i].there))
                fail_msg("%s, %d", cases[i].name, kept);
        }
        free(list);
    }
    for (size_t i = 0; i + 1 < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(unsetenv(cases[i].name), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_says_and_how_it_ends),
        cmocka_unit_test(it_dies_with_its_parent),
        cmocka_unit_test(our_own_settings_stay_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
