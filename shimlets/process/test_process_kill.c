#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "shimlets/process/process.h"
#include "shimlets/process/process_priv.h"
#include "shimlets/test_host.h"

/*
 * A host that is killed (SIGKILL) at any point of bringing a unit about, again and again: the next
 * one takes over what runs.  After each round no replica may have two processes, and at the end
 * there is what was wanted, and after its removal nothing.
 */
enum { ROUNDS = 100, REPLICAS = 3, LEADERS_MAX = 64 };

static const struct berth_shimlet_ops *const ops = &berth_shimlet_process;
static char engine[PATH_MAX];

static struct berth_shimlet *
open_in(const char *dir)
{
    const struct berth_shimlet_open how = {.struct_size = sizeof how,
                                           .settings_json =
                                               "{\"look_ms\":20,\"restart_ms\":10,\"stop_ms\":500}",
                                           .state_dir = dir,
                                           .owner = "test",
                                           .program = engine};
    struct berth_shimlet *s = NULL;
    struct berth_err e = {{0}};

    if (ops->open(&test_host, &how, &s, &e) < 0) {
        print_message("%s\n", e.msg);
        return NULL;
    }
    return s;
}

static struct berth_unit
unit(unsigned revision)
{
    static const char *const command[] = {engine, "$(PORT)", "share", NULL};
    static const char *const hashes[] = {"a", "b", "c"};

    return (struct berth_unit){.struct_size = sizeof(struct berth_unit),
                               .name = "u",
                               .service_id = "service",
                               .track = "stable",
                               .revision = revision,
                               .hash = hashes[revision % 3],
                               .replicas = REPLICAS,
                               .command = command,
                               .health_path = "/health",
                               .start_timeout_ns = 20 * BERTH_S,
                               .drain_timeout_ns = BERTH_S,
                               .surge_max = REPLICAS};
}

/* ---- who runs ---- */

struct census {
    const char *dir;
    size_t count;
    pid_t pids[LEADERS_MAX];
    char ids[LEADERS_MAX][PROCESS_ID_MAX];
};

static bool
count_leader(void *arg, const struct process_stat *p)
{
    struct census *c = arg;
    char path[64], text[65536];

    if (p->state == 'Z' || p->session != p->pid || !process_is_of(p->pid, c->dir, NULL))
        return true;
    (void)snprintf(path, sizeof path, "/proc/%d/environ", (int)p->pid);
    FILE *f = fopen(path, "re");
    const size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL)
        (void)fclose(f);
    text[n] = '\0';
    for (const char *at = text; at < text + n; at += strlen(at) + 1) {
        if (strncmp(at, "BERTH_REPLICA=", 14) == 0 && c->count < LEADERS_MAX) {
            c->pids[c->count] = p->pid;
            (void)snprintf(c->ids[c->count++], PROCESS_ID_MAX, "%s", at + 14);
        }
    }
    return true;
}

/* Those that were there at one moment, its end: during the walk one may go and another come. */
static struct census
take_census(const char *dir)
{
    struct census walked = {.dir = dir}, c = {.dir = dir};

    while (waitpid(-1, NULL, WNOHANG) > 0) /* the engines of a killed host are left to us */
        ;
    (void)process_stat_all(count_leader, &walked);
    for (size_t i = 0; i < walked.count; i++) {
        if (process_is_of(walked.pids[i], dir, walked.ids[i]))
            memcpy(c.ids[c.count++], walked.ids[i], PROCESS_ID_MAX);
    }
    return c;
}

static void
assert_no_double(const char *dir)
{
    const struct census c = take_census(dir);

    for (size_t i = 0; i < c.count; i++) {
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(c.ids[i], c.ids[k]);
    }
    assert_true(c.count <= 2 * REPLICAS); /* and never more than the roll allows */
}

/* ---- the host that is killed ---- */

__attribute__((noreturn)) static void
be_host(const char *dir, unsigned round)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test give up */
    struct berth_shimlet *s = open_in(dir);
    const struct berth_unit u = unit(round / 2);
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;

    while (s != NULL) {
        (void)(round % 7 == 6 ? ops->remove(s, &op, "u", &e) : ops->apply(s, &op, &u, &e));
        (void)test_look(ops, s, "u");
    }
    _exit(1);
}

/* How long a host needs from its first instruction until all is up: other work of the machine may
 * make that ten times longer. */
static uint64_t
measure(const char *dir)
{
    const uint64_t from = berth_now_ns();
    const pid_t host = fork();
    int status;

    if (host == 0) {
        struct berth_shimlet *s = open_in(dir);
        const struct berth_unit u = unit(0);

        _exit(s != NULL && test_settle(ops, s, &u) ? 0 : 1);
    }
    assert_int_equal(waitpid(host, &status, 0), host);
    assert_int_equal(status, 0);
    return berth_now_ns() - from;
}

static void
a_killed_host_leaves_nothing_twice_and_nothing_behind(void **unused)
{
    char dir[] = "/tmp/berth-process-XXXXXX", path[64];
    uint64_t random = 88172645463325252u;

    (void)unused;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    const uint64_t measured_ns = measure(dir);
    const uint64_t whole_ns =
        measured_ns < BERTH_S ? measured_ns : BERTH_S; /* it may have paused */
    for (unsigned round = 0; round < ROUNDS; round++) {
        const uint64_t from = berth_now_ns();
        const pid_t host = fork();

        if (host == 0)
            be_host(dir, round);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        /* Watched all the time, as a double shows only once it is an engine. */
        do {
            assert_no_double(dir);
            (void)nanosleep(&(struct timespec){.tv_nsec = (long)(random % (2 * BERTH_MS))}, NULL);
        } while (berth_now_ns() - from < random % whole_ns);
        assert_int_equal(kill(host, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(host, &status, 0), host);
        assert_true(WIFSIGNALED(status)); /* it had not given up before */
    }
    struct berth_shimlet *s = open_in(dir);
    assert_non_null(s);
    struct berth_unit u = unit(1);
    assert_true(test_settle(ops, s, &u));
    assert_int_equal(take_census(dir).count, REPLICAS);
    assert_no_double(dir);
    assert_true(test_remove(ops, s, "u"));
    assert_int_equal(take_census(dir).count, 0);
    ops->close(s);
    (void)snprintf(path, sizeof path, "%s/lock", dir);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/units", dir);
    assert_int_equal(rmdir(path), 0); /* no file is left either */
    assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_host_leaves_nothing_twice_and_nothing_behind),
    };
    const ssize_t n = readlink("/proc/self/exe", engine, sizeof engine - 64);

    berth_assert(n > 0);
    engine[n] = '\0';
    (void)strcpy(strrchr(engine, '/'), "/shimlets/process/process-engine");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
