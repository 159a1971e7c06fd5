#include "test_bench.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"

const struct berth_shimlet_ops *const ops = &berth_shimlet_process;
char engine[PATH_MAX], berth[PATH_MAX];

const char quick[] = "{\"look_ms\":20,\"restart_ms\":10,\"stop_ms\":300}";

int
open_again(struct bench *b, const char *settings, struct berth_err *e)
{
    const struct berth_shimlet_open how = {.struct_size = sizeof how,
                                           .settings_json = settings,
                                           .state_dir = b->dir,
                                           .owner = "test",
                                           .program = b->program,
                                           .who = &b->who};

    return ops->open(b->host != NULL ? b->host : &test_host, &how, &b->s, e);
}

void
begin(struct bench *b, const char *settings)
{
    struct berth_err e = {{0}};

    (void)snprintf(b->dir, sizeof b->dir, "/tmp/berth-process-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    test_who_init(&b->who);
    b->program = b->program != NULL ? b->program : engine;
    if (open_again(b, settings, &e) < 0)
        fail_msg("%s", e.msg);
}

static bool
count_marked(void *arg, const struct process_stat *p)
{
    struct {
        const char *dir;
        size_t n;
    } *c = arg;

    c->n += p->state != 'Z' && process_is_of(p->pid, c->dir, NULL);
    return true;
}

size_t
running(const char *dir)
{
    struct {
        const char *dir;
        size_t n;
    } c = {dir, 0};

    while (waitpid(-1, NULL, WNOHANG) > 0) /* those that were left to us */
        ;
    (void)process_stat_all(count_marked, &c);
    return c.n;
}

static size_t
files_in(const char *dir, const char *sub)
{
    char path[128];
    size_t n = 0;

    (void)snprintf(path, sizeof path, "%s/%s", dir, sub);
    DIR *d = opendir(path);
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;)
        n += f->d_name[0] != '.';
    if (d != NULL)
        (void)closedir(d);
    return n;
}

void
end(struct bench *b, const char *unit)
{
    char path[128];

    assert_true(test_remove(ops, b->s, unit));
    assert_false(test_look(ops, b->s, unit).exists);
    assert_int_equal(running(b->dir), 0);
    assert_int_equal(files_in(b->dir, "units"), 0);
    ops->close(b->s);
    test_who_fini(&b->who);
    (void)snprintf(path, sizeof path, "%s/lock", b->dir);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/units", b->dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(b->dir), 0);
}

struct berth_unit
unit(const char *hash, uint32_t replicas, const char *const *command)
{
    return (struct berth_unit){.struct_size = sizeof(struct berth_unit),
                               .name = "u",
                               .service_id = "service",
                               .track = "stable",
                               .revision = 1,
                               .hash = hash,
                               .replicas = replicas,
                               .command = command,
                               .health_path = "/health",
                               .start_timeout_ns = 20 * BERTH_S,
                               .drain_timeout_ns = BERTH_S,
                               .surge_max = 1};
}

const char *const plain[] = {engine, "$(PORT)", NULL};

int
apply(struct bench *b, const struct berth_unit *u)
{
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    const int r = ops->apply(b->s, &op, u, &e);

    if (r < 0)
        print_message("apply: %s\n", e.msg);
    return r;
}

pid_t
pid_of(const struct bench *b, const char *id)
{
    return process_find_leader(b->dir, id);
}

struct they {
    const char *dir;
    size_t n;
};

static bool
only_they_run(void *arg)
{
    const struct they *they = arg;

    return running(they->dir) == they->n;
}

bool
await_running(const struct bench *b, size_t n)
{
    struct they they = {b->dir, n};

    return test_until(only_they_run, &they);
}

void
restart_now(struct bench *b, const char *id)
{
    (void)pthread_mutex_lock(&b->s->machine->mu);
    struct process_replica *r = process_replica_find(b->s, id);
    if (r != NULL) {
        r->due_ns = berth_now_ns();
        process_wake(b->s);
    }
    (void)pthread_mutex_unlock(&b->s->machine->mu);
    assert_non_null(r);
}

/* ---- waiting for one state ---- */

struct wait {
    struct bench *b;
    enum berth_replica_state state;
    const char *reason; /* in it */
    uint32_t restarts;  /* at least */
};

static bool
is_so(void *arg)
{
    const struct wait *w = arg;
    const struct test_seen seen = test_look(ops, w->b->s, "u");

    return seen.count > 0 && seen.r[0].state == w->state &&
           strstr(seen.r[0].reason, w->reason != NULL ? w->reason : "") != NULL &&
           seen.r[0].restarts >= w->restarts;
}

void
await(struct bench *b, enum berth_replica_state state, const char *reason, uint32_t restarts)
{
    struct wait w = {b, state, reason, restarts};

    if (!test_until(is_so, &w)) {
        const struct test_seen seen = test_look(ops, b->s, "u");

        fail_msg("state %d, %u restarts, \"%s\"", (int)seen.r[0].state, seen.r[0].restarts,
                 seen.r[0].reason);
    }
}

void
bench_init(void)
{
    const ssize_t n = readlink("/proc/self/exe", engine, sizeof engine - 64);

    berth_assert(n > 0);
    engine[n] = '\0';
    (void)snprintf(berth, sizeof berth, "%.*s/berth", (int)(strrchr(engine, '/') - engine), engine);
    (void)strcpy(strrchr(engine, '/'), "/shimlets/process/process-engine");
}
