#include "net/test_support.h"

#include "net/test_paths.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"

enum { BIG_BYTES = 1024 * 1024, PIECE_BYTES = 64 * 1024, WAIT_MS = 60000 };

void
test_count(struct test_server *t, unsigned *counter)
{
    (void)pthread_mutex_lock(&t->mu);
    (*counter)++;
    (void)pthread_cond_broadcast(&t->cond);
    (void)pthread_mutex_unlock(&t->mu);
}

static void
on_gone(struct berth_exchange *x)
{
    struct test_server *t = x->user;

    for (size_t i = 0; i < TEST_HELD_MAX; i++)
        if (t->held[i] == x)
            t->held[i] = NULL;
    if (x->status != 0 && berth_exchange_write(x, "late", 4) == -BERTH_ECANCELED)
        test_count(t, &t->seen.canceled);
    berth_exchange_end(x);
    test_count(t, &t->seen.gone);
}

static bool
path_is(const struct berth_exchange *x, const char *path)
{
    return berth_slice_is(x->path, path);
}

static void
begin(void *arg, struct berth_exchange *x)
{
    struct test_server *t = arg;

    x->user = t;
    x->body_max = path_is(x, "/small") ? 10 : 1024 * 1024;
    x->body_split = path_is(x, "/split") ? 13 : 0;
    test_paths_begin(t, x);
    if (path_is(x, "/begin"))
        berth_exchange_reply(x, 403, "text/plain", "no\n", 3);
    test_count(t, &t->seen.begun);
}

static void
hold(struct test_server *t, struct berth_exchange *x)
{
    size_t i = 0;

    while (i < TEST_HELD_MAX && t->held[i] != NULL)
        i++;
    berth_assert(i < TEST_HELD_MAX);
    x->gone = on_gone;
    t->held[i] = x;
}

static void
flood(struct test_server *t, struct berth_exchange *x)
{
    int r = 0;

    x->gone = on_gone;
    berth_exchange_start(x, 200, "text/plain");
    for (int i = 0; i < 4096 && r == 0; i++)
        r = berth_exchange_write(x, t->big, PIECE_BYTES);
    if (r == -BERTH_EAGAIN)
        test_count(t, &t->seen.eagain);
}

static void
in_pieces(struct berth_exchange *x, bool broken_off)
{
    berth_exchange_start(x, 200, "text/plain");
    (void)berth_exchange_write(x, "one", 3);
    if (broken_off) {
        berth_exchange_abort(x);
        return;
    }
    (void)berth_exchange_write(x, "two", 3);
    (void)berth_exchange_write(x, "three", 5);
    berth_exchange_end(x);
}

/* Goes on until the server stops. */
static void
without_end(struct berth_exchange *x)
{
    x->draining = berth_exchange_end;
    berth_exchange_start(x, 200, "text/event-stream");
    (void)berth_exchange_write(x, "begun", 5);
}

static void
handle(void *arg, struct berth_exchange *x)
{
    struct test_server *t = arg;

    (void)pthread_mutex_lock(&t->mu);
    if (t->seen.handled < TEST_HELD_MAX)
        t->handled_on[t->seen.handled] = x->loop;
    (void)pthread_mutex_unlock(&t->mu);
    berth_assert(x->body.len == 0 || (((uintptr_t)x->body.at + x->body_split) & 63) == 0);
    if (test_paths_handle(t, x)) {
        test_count(t, &t->seen.handled);
        return;
    }
    if (path_is(x, "/hello")) {
        berth_exchange_add(x, "X-Seen", "yes");
        berth_exchange_reply(x, 200, "text/plain", "hello", 5);
    } else if (path_is(x, "/echo") || path_is(x, "/small") || path_is(x, "/split")) {
        berth_exchange_reply(x, 200, "application/octet-stream", x->body.at, x->body.len);
    } else if (x->path.len > 6 && memcmp(x->path.at, "/hold/", 6) == 0) {
        hold(t, x);
    } else if (path_is(x, "/stream")) {
        in_pieces(x, false);
    } else if (path_is(x, "/abort")) {
        in_pieces(x, true);
    } else if (path_is(x, "/flood")) {
        flood(t, x);
    } else if (path_is(x, "/without-end")) {
        without_end(x);
    } else if (path_is(x, "/big")) {
        berth_exchange_reply(x, 200, "text/plain", t->big, BIG_BYTES);
    } else if (path_is(x, "/inject")) {
        berth_exchange_add(x, "x-note", "a\r\nx-forged: b");
        berth_exchange_reply(x, 200, "text/plain", "ok", 2);
    } else if (path_is(x, "/empty")) {
        berth_exchange_reply(x, 204, NULL, NULL, 0);
    } else {
        berth_exchange_reply(x, 404, "text/plain", "none", 4);
    }
    test_count(t, &t->seen.handled);
}

static void
refuse(void *arg, struct berth_exchange *x, uint16_t status, const char *why)
{
    struct test_server *t = arg;

    berth_exchange_reply(x, status, "text/plain", why, strlen(why));
    test_count(t, &t->seen.refused);
}

static void
ended(void *arg, struct berth_exchange *x)
{
    struct test_server *t = arg;

    test_count(t, &t->seen.ended);
}

struct berth_server_conf
test_conf(void)
{
    return (struct berth_server_conf){
        .connections_max = 100,
        .head_bytes_max = 16 * 1024,
        .header_count_max = 64,
        .exchange_bytes_max = 4 * 1024 * 1024,
        .unsent_bytes_max = 256 * 1024,
        .streams_max = 10,
        .head_timeout_ns = 30 * BERTH_S,
        .body_timeout_ns = 30 * BERTH_S,
        .idle_timeout_ns = 30 * BERTH_S,
        .write_timeout_ns = 30 * BERTH_S,
    };
}

void
test_start(struct test_server *t, struct berth_server_conf conf, size_t loops,
           const struct berth_tls_conf *tls, bool plain_refused)
{
    const struct berth_server_app app = {
        .arg = t, .begin = begin, .handle = handle, .refuse = refuse, .ended = ended};
    struct berth_listen_conf listen = {.host = "127.0.0.1", .plain_refused = plain_refused};
    struct berth_err e = {0};

    *t = (struct test_server){.mu = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    t->big = malloc(BIG_BYTES);
    assert_non_null(t->big);
    memset(t->big, 'b', BIG_BYTES);
    for (size_t i = 0; i < loops; i++)
        assert_int_equal(berth_loop_new("test", &t->loops[i], &e), 0);
    conf.loops = t->loops;
    conf.loop_count = loops;
    assert_int_equal(berth_server_new(&conf, &app, &t->server, &e), 0);
    if (tls != NULL)
        listen.tls = *tls;
    int r = berth_server_listen(t->server, &listen, &t->port, &e);
    if (r < 0)
        fail_msg("%s", e.msg);
}

void
test_stop(struct test_server *t)
{
    berth_server_free(t->server);
    for (size_t i = 0; i < TEST_LOOPS_MAX; i++)
        berth_loop_free(t->loops[i]);
    free(t->big);
    (void)pthread_cond_destroy(&t->cond);
    (void)pthread_mutex_destroy(&t->mu);
}

void
test_wait_at(struct test_server *t, size_t offset, unsigned n)
{
    const uint64_t until_ns = berth_now_ns() + WAIT_MS * BERTH_MS;
    const struct timespec until = {.tv_sec = (time_t)(until_ns / BERTH_S),
                                   .tv_nsec = (long)(until_ns % BERTH_S)};
    const unsigned *counter = (const unsigned *)(const void *)((const char *)&t->seen + offset);
    int r = 0;

    (void)pthread_mutex_lock(&t->mu);
    while (*counter < n && r == 0)
        r = pthread_cond_timedwait(&t->cond, &t->mu, &until);
    unsigned got = *counter;
    (void)pthread_mutex_unlock(&t->mu);
    if (got < n)
        fail_msg("waited for %u, saw %u", n, got);
}

struct release {
    struct test_server *t;
    const char *name;
    bool found;
};

static void
release(void *arg)
{
    struct release *r = arg;

    for (size_t i = 0; i < TEST_HELD_MAX; i++) {
        struct berth_exchange *x = r->t->held[i];
        if (x == NULL || x->path.len != 6 + strlen(r->name) ||
            memcmp(x->path.at + 6, r->name, strlen(r->name)) != 0)
            continue;
        r->t->held[i] = NULL;
        r->found = true;
        berth_exchange_reply(x, 200, "text/plain", r->name, strlen(r->name));
        return;
    }
}

void
test_release(struct test_server *t, const char *name)
{
    struct release r = {.t = t, .name = name};

    berth_loop_call(t->loops[0], release, &r);
    assert_true(r.found);
}

/* ---- the client ---- */

int
test_connect(uint16_t port)
{
    const struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    const int on = 1;

    assert_true(fd >= 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

void
test_send(int fd, const void *at, size_t n)
{
    const char *p = at;

    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* the server closed already: what it said is read next */
        p += sent;
        n -= (size_t)sent;
    }
}

char *
test_read(int fd, const char *until, size_t *ret_len)
{
    size_t len = 0, cap = 64 * 1024;
    char *text = malloc(cap + 1);

    assert_non_null(text);
    text[0] = '\0';
    while (until == NULL || memmem(text, len, until, strlen(until)) == NULL) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, WAIT_MS) != 1)
            fail_msg("no more input after %zu bytes: %.200s", len, text);
        if (len == cap)
            text = realloc(text, (cap *= 2) + 1);
        assert_non_null(text);
        ssize_t n = recv(fd, text + len, cap - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        text[len] = '\0';
    }
    if (ret_len != NULL)
        *ret_len = len;
    return text;
}

void
test_statuses(const char *answers, char out[64])
{
    size_t n = 0;

    out[0] = '\0';
    for (const char *p = answers; (p = strstr(p, "HTTP/1.1 ")) != NULL && n + 5 < 64; p += 9)
        n += (size_t)snprintf(out + n, 64 - n, n > 0 ? " %.3s" : "%.3s", p + 9);
}

void
test_send_text(int fd, const char *text)
{
    test_send(fd, text, strlen(text));
}

char *
test_expect(int fd, const char *until)
{
    char *text = test_read(fd, until, NULL);

    if (strstr(text, until) == NULL)
        fail_msg("the connection ended without \"%s\": %.300s", until, text);
    return text;
}

void
test_answers(int fd, const char *why, const char *statuses)
{
    char got[64];
    char *answers = test_read(fd, NULL, NULL);
    (void)close(fd);
    test_statuses(answers, got);
    if (strcmp(got, statuses) != 0)
        fail_msg("%s: wanted %s, got %s: %.300s", why, statuses, got, answers);
    free(answers);
}

void
test_bytes(struct test_server *t, const char *why, const char *bytes, size_t len,
           const char *statuses)
{
    int fd = test_connect(t->port);

    test_send(fd, bytes, len);
    test_answers(fd, why, statuses);
}
