#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "test_scene.h"

/* A port of this machine that nobody has. */
static uint16_t
some_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)close(fd);
    return ntohs(at.sin_port);
}

/* One round; true: the new one serves.  Two at once would both want the port. */
static bool
is_rolled(void *arg)
{
    const struct berth_unit *u = ((void **)arg)[1];
    struct scene *x = ((void **)arg)[0];
    struct berth_op op = {.until_ns = 0};
    struct berth_err e;

    (void)ops->apply(x->s, &op, u, &e);
    const struct test_seen seen = test_look(ops, x->s, u->name);
    assert_true(seen.count <= 1);
    return seen.ready == 1 && strcmp(seen.r[0].hash, u->hash) == 0;
}

void
a_fixed_port_of_the_host_is_rolled_over(void **unused)
{
    struct scene x;
    char endpoint[64];

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("fixed", "a1a1a1a1", 1, 1);
    u.port = some_port();
    (void)snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", u.port);
    assert_true(settle(x.s, &u));
    const struct test_seen was = test_look(ops, x.s, "fixed");
    assert_string_equal(was.r[0].endpoint, endpoint);
    u.hash = "b2b2b2b2";
    u.revision = 2;
    assert_true(until(is_rolled, (void *[]){&x, &u}));
    const struct test_seen is = test_look(ops, x.s, "fixed");
    assert_string_equal(is.r[0].endpoint, endpoint);
    assert_string_not_equal(is.r[0].id, was.r[0].id);
    assert_true(test_remove(ops, x.s, "fixed"));
    scene_end(&x);
}

void
a_limit_that_was_not_asked_for_is_no_drift(void **unused)
{
    struct scene x;
    char path[256];

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("free", "c3c3c3c3", 1, 1);
    assert_true(settle(x.s, &u));
    (void)snprintf(path, sizeof path, "/containers/%s/update", test_look(ops, x.s, "free").r[0].id);
    assert_int_equal(order_with("POST", path, "{\"NanoCpus\":900000000}"), 0);
    assert_false(test_look(ops, x.s, "free").drifted);
    /* One that was asked for is put back, and the other left alone. */
    u.hash = "d4d4d4d4";
    u.cpu_milli = 500;
    assert_true(settle(x.s, &u));
    const struct test_seen seen = test_look(ops, x.s, "free");
    (void)snprintf(path, sizeof path, "/containers/%s/update", seen.r[0].id);
    assert_int_equal(order_with("POST", path, "{\"NanoCpus\":900000000}"), 0);
    assert_true(test_look(ops, x.s, "free").drifted);
    assert_true(settle(x.s, &u));
    const struct test_seen is = test_look(ops, x.s, "free");
    assert_false(is.drifted);
    assert_string_equal(is.r[0].id, seen.r[0].id);
    assert_true(test_remove(ops, x.s, "free"));
    scene_end(&x);
}

static bool
has_failed(void *arg)
{
    const struct test_seen seen = test_look(ops, ((struct scene *)arg)->s, "hang");

    return seen.count == 1 && seen.r[0].state == BERTH_REPLICA_FAILED;
}

static bool
says_what_it_waits_for(void *arg)
{
    const struct test_seen seen = test_look(ops, ((struct scene *)arg)->s, "hang");

    return seen.count == 1 && seen.r[0].state == BERTH_REPLICA_STARTING &&
           strncmp(seen.r[0].reason, "starting for ", 13) == 0 &&
           strstr(seen.r[0].reason, " s of at most 3 s: http://127.0.0.1:") != NULL;
}

/* When it was started, by the daemon. */
static void
started_at(const char *id, char ret[64])
{
    char path[128];

    (void)snprintf(path, sizeof path, "/containers/%s/json", id);
    char *text = inspect(path);
    const char *at = strstr(text, "\"StartedAt\":\"");
    assert_non_null(at);
    (void)snprintf(ret, 64, "%.40s", at + 13);
    *strchr(ret, '"') = '\0';
    free(text);
}

void
one_that_never_gets_ready_is_restarted(void **unused)
{
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct scene x;
    char was[64], is[64];

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    struct berth_unit u = unit("hang", "e5e5e5e5", 1, 1);
    u.health_path = "/no/such/path";
    u.start_timeout_ns = 3 * BERTH_S; /* time for a look before it is over */
    assert_int_equal(ops->apply(x.s, &op, &u, &e), 0);
    const struct test_seen seen = test_look(ops, x.s, "hang");
    started_at(seen.r[0].id, was);
    assert_true(until(says_what_it_waits_for, &x));
    assert_true(until(has_failed, &x));
    const struct test_seen failed = test_look(ops, x.s, "hang");
    assert_int_equal(strncmp(failed.r[0].reason, "not ready for ", 14), 0);
    assert_true(test_look(ops, x.s, "hang").drifted);
    assert_int_equal(ops->apply(x.s, &op, &u, &e), 0);
    started_at(seen.r[0].id, is);
    assert_string_not_equal(is, was);
    assert_true(test_remove(ops, x.s, "hang"));
    scene_end(&x);
}

/* ---- following through rollouts ---- */

enum { ROLLS = 4 };

struct follower {
    struct scene *x;
    struct berth_op op;
    char heard[ROLLS][16]; /* replicas */
    struct berth_err e;
    int r;
};

/* Until the last replica was heard. */
static bool
hear(void *arg, const char *replica, const char *text, size_t len)
{
    struct follower *f = arg;
    size_t i = 0;

    (void)text;
    (void)len;
    while (i < ROLLS && f->heard[i][0] != '\0' && strcmp(f->heard[i], replica) != 0)
        i++;
    if (i < ROLLS)
        (void)snprintf(f->heard[i], sizeof f->heard[i], "%s", replica);
    if (f->heard[ROLLS - 1][0] != '\0')
        atomic_store(&f->op.cut, true);
    return true;
}

static void *
follow(void *arg)
{
    struct follower *f = arg;
    const struct berth_log_query q = {.follow = true};

    f->r = ops->logs(f->x->s, &f->op, "follow", &q, hear, f, &f->e);
    return NULL;
}

void
logs_are_followed_through_rollouts(void **unused)
{
    static const char *const hashes[ROLLS] = {"f6f6f6f6", "07070707", "18181818", "29292929"};
    struct follower f = {.r = 0};
    struct scene x;
    pthread_t thread;

    (void)unused;
    scene_begin(&x, ",\"network\":\"host\"");
    x.s->followed_max = 2; /* as many as there are at once */
    f.x = &x;
    struct berth_unit u = unit("follow", hashes[0], 1, 1);
    assert_true(settle(x.s, &u));
    assert_int_equal(pthread_create(&thread, NULL, follow, &f), 0);
    for (int i = 1; i < ROLLS; i++) {
        u.hash = hashes[i];
        assert_true(settle(x.s, &u));
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (f.r != -BERTH_ECANCELED) /* by us, when the last one was heard */
        fail_msg("%s", f.e.msg);
    assert_true(test_remove(ops, x.s, "follow"));
    scene_end(&x);
}
