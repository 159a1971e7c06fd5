#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "test_bench.h"

/* ---- the life of a unit ---- */

static void
a_unit_is_made_rolled_and_removed(void **unused)
{
    struct berth_unit u = unit("a", 2, plain);
    struct bench b = {.program = NULL};
    struct berth_err e;

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen was = test_look(ops, b.s, "u");
    assert_true(was.exists);
    assert_int_equal(was.desired, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(test_host.probe(was.r[i].endpoint, 60 * BERTH_S, &e), 0);
    assert_int_equal(running(b.dir), 2);
    assert_string_equal(was.message, "no limits");
    u.hash = "b";
    u.revision = 2;
    test_drained[0] = '\0';
    assert_true(test_settle(ops, b.s, &u));
    for (size_t i = 0; i < 2; i++)
        assert_non_null(strstr(test_drained, was.r[i].id));
    const struct test_seen is = test_look(ops, b.s, "u");
    assert_int_equal(is.r[0].revision, 2);
    assert_int_equal(running(b.dir), 2);
    u.replicas = 0;
    assert_true(test_settle(ops, b.s, &u));
    assert_true(test_look(ops, b.s, "u").exists);
    end(&b, "u");
}

static void
a_killed_replica_comes_back_at_its_port(void **unused)
{
    struct berth_unit u = unit("a", 1, plain);
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, "{\"look_ms\":20,\"restart_ms\":600000}"); /* long enough to be seen */
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen was = test_look(ops, b.s, "u");
    const uint64_t told = test_who_changes(&b.who);
    assert_int_equal(kill(pid_of(&b, was.r[0].id), SIGKILL), 0);
    assert_true(test_who_wait(&b.who, told)); /* without being asked */
    await(&b, BERTH_REPLICA_FAILED, "ended by signal 9 (Killed)", 0);
    restart_now(&b, was.r[0].id);
    await(&b, BERTH_REPLICA_READY, NULL, 1);
    const struct test_seen is = test_look(ops, b.s, "u");
    assert_string_equal(is.r[0].id, was.r[0].id);
    assert_string_equal(is.r[0].endpoint, was.r[0].endpoint);
    end(&b, "u");
}

/* Listen at a port; 0: any.  The descriptor. */
static int
listen_at(uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 8) < 0) {
        (void)close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

/* A connection that was ended from this side keeps its port busy for a minute, for whoever does not
 * say SO_REUSEADDR. */
static void
leave_closing(int listener, uint16_t port)
{
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char end;

    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    (void)close(accept(listener, NULL, NULL));
    assert_int_equal(read(fd, &end, 1), 0);
    (void)close(fd);
    (void)close(listener);
}

/* Not every engine can have a port that is still being closed: it is not tried there for ever. */
static void
an_engine_that_cannot_have_its_port_gets_another(void **unused)
{
    static const char *const share[] = {engine, "$(PORT)", "share", NULL};
    struct berth_unit u = unit("a", 1, share);
    struct bench b = {.program = NULL};
    char settings[160], url[64];
    uint16_t port = 0, next = 0;
    int first = -1, second = -1;

    (void)unused;
    while (second < 0) { /* two ports side by side, one of them free only later */
        (void)close(first);
        assert_in_range(first = listen_at(0, &port), 0, INT_MAX);
        second = listen_at((uint16_t)(port + 1), &next);
    }
    leave_closing(first, port);
    (void)snprintf(settings, sizeof settings,
                   "{\"look_ms\":20,\"restart_ms\":10,\"stop_ms\":300,\"port_min\":%u,"
                   "\"port_max\":%u}",
                   port, next);
    begin(&b, settings);
    assert_int_equal(apply(&b, &u), 0);
    await(&b, BERTH_REPLICA_FAILED, "Address already in use", 1);
    (void)close(second);
    await(&b, BERTH_REPLICA_READY, NULL, 2);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", next);
    assert_string_equal(test_look(ops, b.s, "u").r[0].endpoint, url);
    end(&b, "u");
}

static void
a_failing_engine_says_why(void **unused)
{
    static const char *const broken[] = {engine, "$(PORT)", "say", "model.gguf: no such file",
                                         "exit", "3",       NULL};
    static const char *const sick[] = {engine, "$(PORT)", "sick", NULL};
    char much[400]; /* more than is told: whole lines of it are */
    const char *const talks[] = {engine, "$(PORT)", "say", much, "exit", "3", NULL};
    struct berth_unit u = unit("a", 1, talks);
    struct bench b = {.program = NULL};

    (void)unused;
    memset(much, 'x', sizeof much);
    (void)snprintf(much + 300, sizeof much - 300, "\nmodel.gguf: no such file\nthat is all");
    begin(&b, quick);
    assert_int_equal(apply(&b, &u), 0);
    await(&b, BERTH_REPLICA_FAILED,
          "status 3; its last lines: model.gguf: no such file; that is all", 1);
    u = unit("b", 1, broken);
    assert_int_equal(apply(&b, &u), 0);
    await(
        &b, BERTH_REPLICA_FAILED,
        "times in a row): ended by itself with status 3; its last lines: model.gguf: no such file",
        2);
    assert_true(test_remove(ops, b.s, "u"));
    u.command = sick;
    u.start_timeout_ns = 100 * BERTH_MS;
    assert_int_equal(apply(&b, &u), 0);
    await(&b, BERTH_REPLICA_FAILED, "not ready after", 0);
    assert_true(test_look(ops, b.s, "u").ready == 0);
    end(&b, "u");
}

static void
what_cannot_be_started_is_refused(void **unused)
{
    static const char *const nothing[] = {"no-such-engine", NULL};
    struct berth_unit u = unit("a", 1, nothing);
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, quick);
    assert_int_equal(ops->apply(b.s, &op, &u, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "there is no program no-such-engine"));
    assert_int_equal(ops->check(b.s, &op, &u, &e), -BERTH_EINVAL);
    u.command = NULL;
    assert_int_equal(ops->apply(b.s, &op, &u, &e), -BERTH_EINVAL);
    end(&b, "u");
}

static void
all_of_a_replica_ends_with_it(void **unused)
{
    static const char *const family[] = {engine, "$(PORT)", "deaf", "child", "daemon", NULL};
    struct berth_unit u = unit("a", 1, family);
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    assert_int_equal(running(b.dir), 3);
    assert_int_equal(kill(pid_of(&b, test_look(ops, b.s, "u").r[0].id), SIGKILL), 0);
    await(&b, BERTH_REPLICA_READY, NULL, 1);
    assert_true(await_running(&b, 3)); /* those of the first are gone */
    end(&b, "u");                      /* SIGTERM is not heard by any */
}

/* ---- what bears no mark ---- */

/* Its number, which the engine's shell prints into `file`. */
static pid_t
survivor(const char *file)
{
    FILE *f = fopen(file, "re");
    int pid = 0;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &pid), 1); /* NOLINT(cert-err34-c): a shell's number */
    (void)fclose(f);
    assert_true(pid > 1);
    return pid;
}

static bool
is_gone(void *arg)
{
    struct process_stat p;

    return !process_stat_read(*(pid_t *)arg, &p) || p.state == 'Z';
}

/* A helper without the engine's environment holds its lock, and perhaps the accelerator. */
static void
what_bears_no_mark_ends_with_it(void **unused)
{
    static const struct {
        const char *why, *shell;
    } cases[] = {
        {"in its group", "env -i sleep 777 & echo $! >\"$2\"; exec \"$0\" \"$1\""},
        {"in its group, without the lock",
         "env -i sleep 777 3>&- & echo $! >\"$2\"; exec \"$0\" \"$1\""},
        {"in a session of its own",
         "env -i setsid sleep 777 & echo $! >\"$2\"; exec \"$0\" \"$1\""},
    };

    (void)unused;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        const bool watched = i % 2 == 0;
        struct bench b = {.program = NULL};
        char file[96];
        const char *const words[] = {"sh", "-c", cases[i / 2].shell, engine, "$(PORT)", file, NULL};
        struct berth_unit u = unit("a", 1, words);
        struct berth_err e = {{0}};

        if (!watched && strstr(cases[i / 2].shell, "3>&-") != NULL)
            continue; /* nothing tells it from a stranger then */
        print_message("  %s%s\n", cases[i / 2].why, watched ? "" : ", ended unwatched");
        begin(&b, quick);
        (void)snprintf(file, sizeof file, "%s/pid", b.dir);
        assert_true(test_settle(ops, b.s, &u));
        const pid_t leader = pid_of(&b, test_look(ops, b.s, "u").r[0].id);
        pid_t left = survivor(file);
        assert_false(is_gone(&left));
        if (!watched)
            ops->close(b.s);
        assert_int_equal(kill(leader, SIGKILL), 0);
        if (!watched) {
            assert_int_equal(waitpid(leader, NULL, 0), leader);
            assert_int_equal(open_again(&b, quick, &e), 0);
        }
        await(&b, BERTH_REPLICA_READY, NULL, 1);
        assert_true(test_until(is_gone, &left));
        left = survivor(file);
        assert_int_equal(unlink(file), 0);
        end(&b, "u");
        assert_true(test_until(is_gone, &left));
    }
}

/* ---- over the end of the program ---- */

static void
what_runs_is_taken_over(void **unused)
{
    struct berth_unit u = unit("a", 2, plain);
    struct berth_err e = {{0}};
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen was = test_look(ops, b.s, "u");
    const pid_t pids[] = {pid_of(&b, was.r[0].id), pid_of(&b, was.r[1].id)};
    ops->close(b.s);
    assert_int_equal(running(b.dir), 2);
    assert_int_equal(kill(pids[0], SIGKILL), 0); /* nobody watches */
    assert_int_equal(waitpid(pids[0], NULL, 0), pids[0]);
    assert_int_equal(open_again(&b, quick, &e), 0);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen is = test_look(ops, b.s, "u");
    assert_int_equal(is.count, 2);
    for (size_t i = 0; i < 2; i++) {
        const bool killed = strcmp(is.r[i].id, was.r[0].id) == 0;

        assert_int_equal(is.r[i].restarts, killed);
        assert_int_equal(pid_of(&b, is.r[i].id) == pids[1], !killed);
    }
    assert_string_equal(is.hash, "a");
    end(&b, "u");
}

static void
what_nobody_knows_of_is_ended(void **unused)
{
    struct berth_unit u = unit("a", 2, plain);
    struct berth_err e = {{0}};
    char path[PROCESS_PATH_MAX];
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen was = test_look(ops, b.s, "u");
    ops->close(b.s);
    (void)snprintf(path, sizeof path, "%s/units/u/%s.json", b.dir, was.r[0].id);
    assert_int_equal(truncate(path, 10), 0); /* as after a power cut */
    (void)snprintf(path, sizeof path, "%s/units/u/%s.run", b.dir, was.r[1].id);
    assert_int_equal(unlink(path), 0); /* killed before it was written */
    assert_int_equal(open_again(&b, quick, &e), 0);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen is = test_look(ops, b.s, "u");
    assert_int_equal(is.count, 2);
    assert_true(await_running(&b, 2));
    assert_string_equal(is.r[0].id, was.r[1].id);
    assert_int_equal(is.r[0].restarts, 0); /* found by its mark */
    end(&b, "u");
}

/* Between fork and exec a child bears no mark yet, only the lock: the test holds it in its place.
 */
static void
what_is_about_to_run_is_waited_for(void **unused)
{
    struct berth_unit u = unit("a", 1, plain);
    struct berth_err e = {{0}};
    char path[PROCESS_PATH_MAX];
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen was = test_look(ops, b.s, "u");
    ops->close(b.s);
    const pid_t pid = pid_of(&b, was.r[0].id);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)snprintf(path, sizeof path, "%s/units/u/%s.lock", b.dir, was.r[0].id);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(open_again(&b, quick, &e), 0);
    /* Long enough for many looks at it; another would be a second one. */
    for (const uint64_t until = berth_now_ns() + 300 * BERTH_MS; berth_now_ns() < until;) {
        assert_int_equal(apply(&b, &u), 0);
        assert_int_equal(test_look(ops, b.s, "u").r[0].state, BERTH_REPLICA_STARTING);
        assert_int_equal(running(b.dir), 0);
    }
    (void)close(fd);
    await(&b, BERTH_REPLICA_READY, NULL, 1);
    end(&b, "u");
}

static void
a_number_that_was_given_again_is_not_taken(void **unused)
{
    struct berth_unit u = unit("a", 1, plain);
    struct berth_err e = {{0}};
    char path[PROCESS_PATH_MAX];
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen was = test_look(ops, b.s, "u");
    ops->close(b.s);
    const pid_t pid = pid_of(&b, was.r[0].id);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)snprintf(path, sizeof path, "%s/units/u/%s.run", b.dir, was.r[0].id);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f, "%d 1 0 0\n", (int)getpid()); /* ours, which did not start then */
    (void)fclose(f);
    assert_int_equal(open_again(&b, quick, &e), 0);
    await(&b, BERTH_REPLICA_READY, NULL, 1);
    end(&b, "u");
}

/* Start times count from the machine's start: a stranger may have both number and time. */
static void
what_ran_before_the_machine_started_is_not_taken(void **unused)
{
    struct berth_unit u = unit("a", 1, plain);
    struct berth_err e = {{0}};
    char path[PROCESS_PATH_MAX];
    struct bench b = {.program = NULL};
    struct process_stat p;

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen was = test_look(ops, b.s, "u");
    ops->close(b.s);
    const pid_t pid = pid_of(&b, was.r[0].id);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    pid_t stranger = fork();
    if (stranger == 0) {
        (void)setsid();
        for (;;)
            (void)pause();
    }
    assert_true(process_stat_read(stranger, &p));
    (void)snprintf(path, sizeof path, "%s/units/u/%s.run", b.dir, was.r[0].id);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    (void)fprintf(f, "%d %llu 0 0 0af1c7e2-another-start\n", (int)stranger,
                  (unsigned long long)p.start_ticks);
    (void)fclose(f);
    assert_int_equal(open_again(&b, quick, &e), 0);
    await(&b, BERTH_REPLICA_READY, NULL, 1);
    end(&b, "u");
    const bool alive = !is_gone(&stranger);
    (void)kill(stranger, SIGKILL);
    (void)waitpid(stranger, NULL, 0);
    assert_true(alive);
}

/* A folder in place of a record is an error of reading (EISDIR), as a full table of files is. */
static void
a_record_that_cannot_be_read_ends_nothing(void **unused)
{
    struct berth_unit u = unit("a", 1, plain);
    struct berth_err e = {{0}};
    char path[PROCESS_PATH_MAX], aside[PROCESS_PATH_MAX];
    struct bench b = {.program = NULL};
    static const char *const records[] = {"unit", NULL};

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen was = test_look(ops, b.s, "u");
    const pid_t pid = pid_of(&b, was.r[0].id);
    for (size_t i = 0; i < 2; i++) {
        ops->close(b.s);
        (void)snprintf(path, sizeof path, "%s/units/u/%s.json", b.dir,
                       records[i] != NULL ? records[i] : was.r[0].id);
        (void)snprintf(aside, sizeof aside, "%s/aside", b.dir);
        assert_int_equal(rename(path, aside), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(open_again(&b, quick, &e), -BERTH_EIO);
        assert_non_null(strstr(e.msg, path));
        assert_int_equal(rmdir(path), 0); /* still there */
        assert_int_equal(rename(aside, path), 0);
        assert_int_equal(open_again(&b, quick, &e), 0);
        await(&b, BERTH_REPLICA_READY, NULL, 0);
    }
    assert_int_equal(pid_of(&b, was.r[0].id), pid);
    end(&b, "u");
}

/* The lowest number that is free. */
static int
next_descriptor(void)
{
    const int next = dup(STDIN_FILENO);

    assert_true(next >= 0);
    (void)close(next);
    return next;
}

/* From here on no file can be opened: all below `next` are in use for good.  Returns the limit that
 * was. */
static struct rlimit
use_up_descriptors(int next)
{
    struct rlimit was, now;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    now = was;
    now.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    return was;
}

static bool
has_left(void *arg)
{
    siginfo_t how = {.si_pid = 0};

    return waitid(P_PID, (id_t) * (pid_t *)arg, &how, WEXITED | WNOHANG | WNOWAIT) < 0;
}

/* At the limit of open files pidfd_open() fails: then there is only the number. */
static void
one_without_a_descriptor_is_signalled_and_its_end_seen(void **unused)
{
    static const char *const deaf[] = {engine, "$(PORT)", "deaf", NULL};
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;

    (void)unused;
    for (int i = 0; i < 2; i++) {
        struct berth_unit u = unit("a", 1, i == 0 ? plain : deaf);
        struct bench b = {.program = NULL};

        begin(&b, quick);
        const int next = next_descriptor(); /* nothing is looked at yet, which opens and closes */
        assert_true(test_settle(ops, b.s, &u));
        const struct test_seen was = test_look(ops, b.s, "u");
        pid_t pid = pid_of(&b, was.r[0].id);
        (void)pthread_mutex_lock(&b.s->machine->mu);
        const struct rlimit limit = use_up_descriptors(next);
        struct process_replica *r = process_replica_find(b.s, was.r[0].id);
        const int pidfd = r->pidfd;
        r->pidfd = -1;
        (void)pthread_mutex_unlock(&b.s->machine->mu);
        assert_int_equal(ops->remove(b.s, &op, "u", &e), 1);
        const bool left = test_until(has_left, &pid);
        const bool forgotten = !test_look(ops, b.s, "u").exists; /* what else there is of it? */
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        (void)close(pidfd);
        assert_true(left);
        assert_false(forgotten);
        end(&b, "u");
    }
}

static void
a_folder_is_kept_by_one(void **unused)
{
    struct bench b = {.program = NULL}, other;
    struct berth_err e = {{0}};

    (void)unused;
    begin(&b, quick);
    other = b;
    assert_int_equal(open_again(&other, quick, &e), -BERTH_EAGAIN);
    end(&b, "u");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_is_made_rolled_and_removed),
        cmocka_unit_test(a_killed_replica_comes_back_at_its_port),
        cmocka_unit_test(an_engine_that_cannot_have_its_port_gets_another),
        cmocka_unit_test(a_failing_engine_says_why),
        cmocka_unit_test(what_cannot_be_started_is_refused),
        cmocka_unit_test(all_of_a_replica_ends_with_it),
        cmocka_unit_test(what_bears_no_mark_ends_with_it),
        cmocka_unit_test(what_runs_is_taken_over),
        cmocka_unit_test(what_nobody_knows_of_is_ended),
        cmocka_unit_test(what_is_about_to_run_is_waited_for),
        cmocka_unit_test(a_number_that_was_given_again_is_not_taken),
        cmocka_unit_test(what_ran_before_the_machine_started_is_not_taken),
        cmocka_unit_test(a_record_that_cannot_be_read_ends_nothing),
        cmocka_unit_test(one_without_a_descriptor_is_signalled_and_its_end_seen),
        cmocka_unit_test(a_folder_is_kept_by_one),
    };

    bench_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
