#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "cmd/bench_answer.h"
#include "cmd/bench_load.h"
#include "wire/json.h"

#define OK_FIELDS "HTTP/1.1 200 OK\r\n"
#define OK        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* ---- answers ---- */

static void
answers_end_where_they_should(void **unused)
{
    static const struct {
        const char *why, *text;
        uint16_t status; /* 0: wrong or cut short */
        bool closes;
    } cases[] = {
        {"a length", OK, 200, false},
        {"no body", OK_FIELDS "content-length:0\r\n\r\n", 200, false},
        {"a status without a body", "HTTP/1.1 204 No Content\r\n\r\n", 204, false},
        {"chunks",
         OK_FIELDS "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
         200, false},
        {"chunks and a trailer",
         OK_FIELDS "transfer-encoding: gzip, Chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n", 200,
         false},
        {"chunks before a length",
         OK_FIELDS "Content-Length: 900\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200,
         false},
        {"it closes", OK_FIELDS "Connection: close\r\nContent-Length: 2\r\n\r\nhi", 200, true},
        {"until it closes", OK_FIELDS "\r\nhello", 200, true},
        {"the older version closes", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, true},
        {"the older version asked to stay",
         "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi", 200, false},
        {"an interim one first", "HTTP/1.1 100 Continue\r\n\r\n" OK, 200, false},
        {"no reason", "HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", 503, false},
        {"cut short", OK_FIELDS "Content-Length: 3\r\n\r\nhi", 0, false},
        {"cut short in a chunk", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\n5\r\nhi", 0, false},
        {"no last chunk", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", 0, false},
        {"more than was asked", OK "x", 0, false},
        {"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", 0, false},
        {"a length that is none", OK_FIELDS "Content-Length: -1\r\n\r\n", 0, false},
        {"a chunk beyond all numbers",
         OK_FIELDS "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", 0, false},
        {"a chunk's size that is none", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\nx\r\n", 0,
         false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const size_t len = strlen(cases[i].text);

        print_message("  %s\n", cases[i].why);
        for (size_t piece = 1; piece <= len; piece++) {
            static struct berth_answer a;
            bool ok = true;

            berth_answer_init(&a);
            for (size_t at = 0; at < len && ok; at += piece)
                ok = berth_answer_feed(&a, cases[i].text + at, piece < len - at ? piece : len - at);
            ok = ok && berth_answer_end(&a);
            assert_int_equal(ok, cases[i].status != 0);
            if (!ok)
                continue;
            assert_int_equal(a.status, cases[i].status);
            assert_int_equal(a.closes, cases[i].closes);
        }
    }
}

static void
a_head_has_a_limit(void **unused)
{
    static struct berth_answer a;
    size_t fields = 0;

    (void)unused;
    berth_answer_init(&a);
    assert_true(berth_answer_feed(&a, OK_FIELDS, strlen(OK_FIELDS)));
    while (berth_answer_feed(&a, "A: b\r\n", 6))
        assert_true(++fields < BERTH_ANSWER_HEAD_MAX);
    berth_answer_init(&a);
    for (size_t i = 0; i < BERTH_ANSWER_LINE_MAX; i++)
        assert_true(berth_answer_feed(&a, "x", 1));
    assert_false(berth_answer_feed(&a, "x", 1));
}

/* ---- the loops, against a server that does one thing at a time ---- */

enum { PIECES_MAX = 8 };

struct server {
    const char *answers[PIECES_MAX]; /* in turns; "" is none at all; NULL: back to the first */
    bool closes;                     /* after each answer */
    uint32_t connections_max;        /* then it is gone; 0: it stays */
    uint64_t delay_ns;
    int listener;
    pthread_t thread;
    char port[8];
    atomic_uint served;
};

/* One request, which has no body; false when the client is gone. */
static bool
hear(int fd)
{
    char text[512];
    size_t len = 0;

    while (len < sizeof text && memmem(text, len, "\r\n\r\n", 4) == NULL) {
        const ssize_t n = recv(fd, text + len, sizeof text - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
    }
    return true;
}

static void *
serve(void *arg)
{
    struct server *s = arg;
    const struct timespec delay = {(time_t)(s->delay_ns / BERTH_S), (long)(s->delay_ns % BERTH_S)};
    size_t next = 0;
    uint32_t connections = 0;
    int fd;

    while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
        if (++connections == s->connections_max)
            (void)shutdown(s->listener, SHUT_RDWR);
        while (hear(fd)) {
            if (s->answers[next] == NULL)
                next = 0;
            const char *text = s->answers[next++];
            (void)nanosleep(&delay, NULL); /* the work that the server is measured at */
            atomic_fetch_add(&s->served, 1);
            if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0 || s->closes)
                break;
        }
        (void)close(fd);
    }
    return NULL;
}

static void
server_begin(struct server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;

    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listener >= 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &len), 0);
    (void)snprintf(s->port, sizeof s->port, "%u", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

/* Load it, and end it. */
static void
measure(struct server *s, struct berth_load load, struct berth_load_result *ret)
{
    struct berth_err e = {""};

    server_begin(s);
    load.host = "127.0.0.1";
    load.port = s->port;
    const struct berth_slice get = berth_slice_of("GET / HTTP/1.1\r\n\r\n");
    load.http1 = &get;
    load.connections = 1;
    const int rc = berth_load_run(&load, ret, &e);
    (void)shutdown(s->listener, SHUT_RDWR);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    (void)close(s->listener);
    if (rc != 0)
        print_message("%s\n", e.msg);
    assert_int_equal(rc, 0);
    assert_int_equal(ret->ok, ret->latency.count);
}

static void
an_open_loop_sees_the_queue(void **unused)
{
    static struct berth_load_result open, closed;
    struct server slow = {.answers = {OK}, .delay_ns = 20 * BERTH_MS};
    struct server again = slow;

    (void)unused;
    /* 200 a second are due, 50 are served: request i waits for i answers of 20 ms from i * 5 ms. */
    measure(&slow, (struct berth_load){.rate = 200, .requests = 40, .grace_ns = 300 * BERTH_S},
            &open);
    assert_int_equal(open.ok, 40);
    assert_true(open.latency.max_ns >= (40 * 20 - 39 * 5) * BERTH_MS);
    assert_true(berth_hist_at(&open.latency, 0.5) >= (21 * 20 - 20 * 5) * BERTH_MS);
    /* A closed loop of the same server shows its 20 ms alone. */
    measure(&again, (struct berth_load){.requests = 40}, &closed);
    assert_int_equal(closed.ok, 40);
    assert_true(berth_hist_at(&closed.latency, 0) >= 20 * BERTH_MS);
    assert_true(berth_hist_at(&closed.latency, 0.5) < berth_hist_at(&open.latency, 0.5) / 2);
}

static void
what_was_never_sent_is_counted(void **unused)
{
    static struct berth_load_result r;
    struct server slow = {.answers = {OK}, .delay_ns = 100 * BERTH_MS};

    (void)unused;
    /* 30 are due; one answer in 100 ms, for half a second. */
    measure(
        &slow,
        (struct berth_load){.rate = 100, .duration_ns = 300 * BERTH_MS, .grace_ns = 200 * BERTH_MS},
        &r);
    assert_int_equal(r.ok + r.failed, 30);
    assert_true(r.errors.kinds[BERTH_BENCH_UNSENT] >= 20);
    assert_int_equal(r.failed,
                     r.errors.kinds[BERTH_BENCH_UNSENT] + r.errors.kinds[BERTH_BENCH_TIMEOUT]);
}

static void
a_warm_up_is_not_counted(void **unused)
{
    static struct berth_load_result r;
    struct server quick = {.answers = {OK}, .delay_ns = BERTH_MS};

    (void)unused;
    measure(&quick, (struct berth_load){.warmup_ns = 100 * BERTH_MS, .requests = 5}, &r);
    assert_int_equal(r.ok, 5);
    assert_true(atomic_load(&quick.served) > 5);
}

static void
bodies_and_closing_are_understood(void **unused)
{
    static struct berth_load_result r;
    struct server s = {
        .answers = {OK_FIELDS "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", OK}};
    struct server closing = {.answers = {OK_FIELDS
                                         "Connection: close\r\nContent-Length: 2\r\n\r\nhi",
                                         OK_FIELDS "\r\nuntil the end"},
                             .closes = true};

    (void)unused;
    measure(&s, (struct berth_load){.requests = 20}, &r);
    assert_int_equal(r.ok, 20);
    assert_int_equal(r.failed, 0);
    measure(&closing, (struct berth_load){.requests = 20}, &r);
    assert_int_equal(r.ok, 20);
    assert_int_equal(r.failed, 0);
}

static void
errors_are_told_apart(void **unused)
{
    static struct berth_load_result r;
    struct server busy = {.answers = {OK, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
                                      "HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n", OK}};
    struct server cut = {.answers = {OK, OK_FIELDS "Content-Length: 9\r\n\r\nhi"}, .closes = true};
    struct server gone = {.answers = {OK}, .closes = true, .connections_max = 1};
    struct berth_buf out;
    struct berth_jw w;

    (void)unused;
    measure(&busy, (struct berth_load){.requests = 8}, &r);
    assert_int_equal(r.ok, 4);
    assert_int_equal(r.errors.statuses[503], 2);
    assert_int_equal(r.errors.statuses[429], 2);
    assert_int_equal(r.failed, 4);
    berth_buf_init(&out, NULL);
    berth_errors_put_text(&r.errors, &out);
    assert_string_equal(berth_buf_text(&out), "status 429: 2, status 503: 2");
    out.len = 0;
    berth_jw_init(&w, &out);
    berth_errors_put_json(&r.errors, &w);
    assert_string_equal(berth_buf_text(&out),
                        "{\"connect\":0,\"timeout\":0,\"broken\":0,\"unsent\":0,"
                        "\"status\":{\"429\":2,\"503\":2},\"grpc\":{}}");
    berth_buf_fini(&out);
    r.ok = 0;
    for (uint64_t ms = 50; r.ok == 0; ms *= 4) { /* in which the first answer comes */
        struct server mute = {.answers = {OK, ""}};
        assert_true(ms < 60 * 1000);
        measure(&mute, (struct berth_load){.requests = 2, .timeout_ns = ms * BERTH_MS}, &r);
    }
    assert_int_equal(r.ok, 1);
    assert_int_equal(r.errors.kinds[BERTH_BENCH_TIMEOUT], 1);
    measure(&cut, (struct berth_load){.requests = 1, .rate = 1000}, &r);
    assert_int_equal(r.ok, 1);
    cut.answers[0] = cut.answers[1];
    measure(&cut, (struct berth_load){.requests = 1}, &r);
    assert_int_equal(r.errors.kinds[BERTH_BENCH_BROKEN], 1);
    measure(&gone, (struct berth_load){.requests = 5}, &r);
    assert_true(r.errors.kinds[BERTH_BENCH_CONNECT] >= 3);
    assert_int_equal(r.ok + r.failed, 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_end_where_they_should),
        cmocka_unit_test(a_head_has_a_limit),
        cmocka_unit_test(an_open_loop_sees_the_queue),
        cmocka_unit_test(what_was_never_sent_is_counted),
        cmocka_unit_test(a_warm_up_is_not_counted),
        cmocka_unit_test(bodies_and_closing_are_understood),
        cmocka_unit_test(errors_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
