#include "net/test_support.h"

#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/server_priv.h"

#define H "Host: h\r\n"
#define C "Connection: close\r\n"

static void
a_client_that_leaves_is_noticed(void **unused)
{
    static const char *const requests[] = {
        "GET /hold/a HTTP/1.1\r\n" H "\r\n",
        "GET /hold/a HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H "\r\n",
        "POST /hold/a HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc",
    };
    const struct linger rst = {.l_onoff = 1};

    for (size_t i = 0; i < 2 * BERTH_COUNT(requests); i++) {
        struct test_server t;
        test_start(&t, test_conf(), 1, NULL, false);
        int fd = test_connect(t.port);
        test_send_text(fd, requests[i / 2]);
        test_wait(&t, handled, 1);
        if (i % 2 == 1)
            assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst), 0);
        (void)close(fd);
        test_wait(&t, gone, 1);
        test_wait(&t, ended, 1);
        assert_int_equal(t.seen.handled, 1);
        test_stop(&t);
    }
}

static void
a_client_that_sent_too_much_ahead_is_noticed_too(void **unused)
{
    enum { AHEAD = 80 * 1024 }; /* the rest stays in the kernel, with the end behind it */
    struct test_server t;
    char *ahead = calloc(AHEAD, 1);

    assert_non_null(ahead);
    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /hold/a HTTP/1.1\r\n" H "\r\n");
    test_wait(&t, handled, 1);
    test_send(fd, ahead, AHEAD);
    (void)close(fd);
    test_wait(&t, gone, 1);
    test_wait(&t, ended, 1);
    free(ahead);
    test_stop(&t);
}

static void
a_complete_answer_reaches_a_client_that_closed_its_side(void **unused)
{
    struct test_server t;
    size_t len;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /big HTTP/1.1\r\n" H "\r\n");
    test_wait(&t, handled, 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    free(test_read(fd, NULL, &len));
    assert_true(len > 1024 * 1024);
    (void)close(fd);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 0);
}

static void
a_client_that_leaves_within_its_body_ends_the_exchange(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "POST /echo HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc");
    test_wait(&t, begun, 1);
    (void)close(fd);
    test_wait(&t, ended, 1);
    assert_int_equal(t.seen.gone + t.seen.handled, 0);
    test_stop(&t);
}

static void
a_reader_that_takes_nothing_is_dropped(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;

    conf.write_timeout_ns = 100 * BERTH_MS;
    test_start(&t, conf, 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /flood HTTP/1.1\r\n" H "\r\n");
    test_wait(&t, eagain, 1);
    test_wait(&t, gone, 1);
    test_wait(&t, canceled, 1);
    test_wait(&t, ended, 1);
    (void)close(fd);
    test_stop(&t);
}

/* What is sent, what the server says before it closes. */
static const struct {
    const char *why, *bytes, *statuses;
} slow_rows[] = {
    {"nothing", "", ""},
    {"part of a head", "GET /hello HT", "408"},
    {"part of a body", "POST /echo HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc", "408"},
    {"part of a chunk", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nA\r\nabc",
     "408"},
    {"an empty line after an answer", "GET /hello HTTP/1.1\r\n" H "\r\n\r\n", "200"},
    {"silence after an answer", "GET /hello HTTP/1.1\r\n" H "\r\n", "200"},
    {"part of the HTTP/2 preface", "PRI * HT", ""},
};

static void
slow_clients_are_dropped(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;
    int fds[BERTH_COUNT(slow_rows)];

    /* What each says has to come by then: all of them at once, so that they wait at once. */
    conf.head_timeout_ns = conf.body_timeout_ns = conf.idle_timeout_ns = 2 * BERTH_S;
    test_start(&t, conf, 1, NULL, false);
    for (size_t i = 0; i < BERTH_COUNT(slow_rows); i++) {
        fds[i] = test_connect(t.port);
        test_send_text(fds[i], slow_rows[i].bytes);
    }
    for (size_t i = 0; i < BERTH_COUNT(slow_rows); i++)
        test_answers(fds[i], slow_rows[i].why, slow_rows[i].statuses);
    test_stop(&t);
}

/* A byte now and then is no pause, but all of it takes too long. */
static void
a_steady_but_slow_body_is_cut_off(void **unused)
{
    static const char *const heads[] = {
        "POST /echo HTTP/1.1\r\n" H "Content-Length: 1000000\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nF4240\r\n",
    };
    struct berth_server_conf conf = test_conf();
    struct test_server t;

    (void)unused;
    conf.receive_timeout_ns = 50 * BERTH_MS;
    test_start(&t, conf, 1, NULL, false);
    for (size_t i = 0; i < BERTH_COUNT(heads); i++) {
        const uint64_t until = berth_now_ns() + 60 * BERTH_S;
        struct pollfd p = {.fd = test_connect(t.port), .events = POLLIN};
        char got[64] = "";

        test_send_text(p.fd, heads[i]);
        while (poll(&p, 1, 2) == 0) {
            assert_true(berth_now_ns() < until);
            (void)send(p.fd, "x", 1, MSG_NOSIGNAL);
        }
        assert_true(recv(p.fd, got, sizeof got - 1, 0) > 12);
        assert_memory_equal(got, "HTTP/1.1 408", 12);
        (void)close(p.fd);
    }
    test_stop(&t);
}

static void
connections_beyond_the_limit_get_503(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;

    conf.connections_max = 1;
    test_start(&t, conf, 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
    free(test_expect(fd, "\r\n\r\nhello"));
    test_bytes(&t, "second", "GET /hello HTTP/1.1\r\n" H "\r\n", 32, "503");
    test_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
    free(test_expect(fd, "\r\n\r\nhello"));
    (void)close(fd);
    assert_int_equal(berth_server_stats(t.server).refused_total, 1);
    test_stop(&t);
}

static void
a_header_cannot_be_forged_by_a_value(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /inject HTTP/1.1\r\n" H C "\r\n");
    char *answers = test_read(fd, NULL, NULL);
    assert_null(strstr(answers, "forged"));
    free(answers);
    (void)close(fd);
    test_stop(&t);
}

static void
an_aborted_answer_does_not_look_complete(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /abort HTTP/1.1\r\n" H "\r\n");
    char *answers = test_read(fd, NULL, NULL);
    assert_non_null(strstr(answers, "one"));
    assert_null(strstr(answers, "\r\n0\r\n"));
    free(answers);
    (void)close(fd);
    test_wait(&t, ended, 1);
    assert_int_equal(t.seen.gone, 0);
    test_stop(&t);
}

static void
connections_are_dealt_out_to_all_loops(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 2, NULL, false);
    for (int i = 0; i < 2; i++)
        test_bytes(&t, "either loop", "GET /hello HTTP/1.1\r\n" H C "\r\n", 51, "200");
    test_wait(&t, handled, 2);
    assert_ptr_not_equal(t.handled_on[0], t.handled_on[1]);
    test_stop(&t);
}

static void *
drain(void *arg)
{
    struct test_server *t = arg;

    berth_server_drain(t->server, 60 * BERTH_S);
    return NULL;
}

static void
drain_lets_the_busy_finish(void **unused)
{
    struct test_server t;
    pthread_t thread;

    test_start(&t, test_conf(), 1, NULL, false);
    int idle = test_connect(t.port), busy = test_connect(t.port);
    test_send_text(idle, "GET /hello HTTP/1.1\r\n" H "\r\n");
    free(test_expect(idle, "hello"));
    test_send_text(busy, "GET /hold/a HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H "\r\n");
    test_wait(&t, handled, 2);
    assert_int_equal(pthread_create(&thread, NULL, drain, &t), 0);
    free(test_read(idle, NULL, NULL)); /* closed: the drain has begun */
    (void)close(idle);
    test_release(&t, "a");
    char *answers = test_read(busy, NULL, NULL);
    assert_non_null(strstr(answers, "connection: close\r\n"));
    assert_non_null(strstr(answers, "\r\n\r\na"));
    assert_null(strstr(answers, "hello"));
    free(answers);
    (void)close(busy);
    (void)pthread_join(thread, NULL);
    assert_int_equal(t.seen.gone, 0);
    test_stop(&t);
}

static void
drain_cuts_off_the_rest(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 2, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /hold/a HTTP/1.1\r\n" H "\r\n");
    test_wait(&t, handled, 1);
    berth_server_drain(t.server, 20 * BERTH_MS);
    assert_int_equal(t.seen.gone, 1);
    assert_int_equal(t.seen.ended, 1);
    assert_int_equal(berth_server_stats(t.server).connections, 0);
    (void)close(fd);
    test_stop(&t);
}

/* How long the drain took. */
static uint64_t
drain_a_stream(void)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /without-end HTTP/1.1\r\n" H "\r\n");
    free(test_expect(fd, "begun"));
    const uint64_t from_ns = berth_now_ns();
    berth_server_drain(t.server, 60 * BERTH_S);
    const uint64_t took_ns = berth_now_ns() - from_ns;
    char *rest = test_read(fd, NULL, NULL); /* and who looks later finds all of it */
    assert_non_null(strstr(rest, "0\r\n\r\n"));
    free(rest);
    (void)close(fd);
    test_stop(&t);
    return took_ns;
}

/* Clients of streams that only a stop ends: they have been told all, and may never look.  A drain
 * that waits for them takes so long each time; one that does not, only where the machine pauses. */
static void
drain_does_not_wait_for_readers_of_streams(void **unused)
{
    unsigned slow = 0;

    while (drain_a_stream() >= BERTH_LINGER_NS)
        assert_true(++slow < 10);
}

static void
a_taken_port_is_named(void **unused)
{
    struct test_server t;
    struct berth_err e = {0};
    uint16_t port = 7;

    test_start(&t, test_conf(), 1, NULL, false);
    const struct berth_listen_conf conf = {.host = "127.0.0.1", .port = t.port};
    assert_int_equal(berth_server_listen(t.server, &conf, &port, &e), -BERTH_EIO);
    assert_int_equal(port, 7);
    assert_non_null(strstr(e.msg, "is taken by another program"));
    test_stop(&t);
}

static void
without_descriptors_a_port_rests_and_comes_back(void **unused)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in sa = to;
    struct rlimit was, none;
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    sa.sin_port = htons(t.port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    none.rlim_cur = 3; /* those that are open stay, the server's spare one until it is used */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int r = connect(fd, (const struct sockaddr *)&sa, sizeof sa);
    uint64_t until_ns = berth_now_ns() + 60 * BERTH_S;
    while (berth_server_stats(t.server).rests_total == 0 && berth_now_ns() < until_ns)
        (void)sched_yield();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0); /* before anything can fail */
    assert_int_equal(r, 0);
    assert_true(berth_server_stats(t.server).rests_total >= 1);
    test_send_text(fd, "GET /hello HTTP/1.1\r\nhost: h\r\n\r\n");
    free(test_expect(fd, "hello"));
    (void)close(fd);
    test_stop(&t);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* the client writes to connections that the server closed */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_leaves_is_noticed),
        cmocka_unit_test(a_client_that_sent_too_much_ahead_is_noticed_too),
        cmocka_unit_test(a_complete_answer_reaches_a_client_that_closed_its_side),
        cmocka_unit_test(a_client_that_leaves_within_its_body_ends_the_exchange),
        cmocka_unit_test(a_reader_that_takes_nothing_is_dropped),
        cmocka_unit_test(slow_clients_are_dropped),
        cmocka_unit_test(a_steady_but_slow_body_is_cut_off),
        cmocka_unit_test(connections_beyond_the_limit_get_503),
        cmocka_unit_test(a_header_cannot_be_forged_by_a_value),
        cmocka_unit_test(an_aborted_answer_does_not_look_complete),
        cmocka_unit_test(connections_are_dealt_out_to_all_loops),
        cmocka_unit_test(drain_lets_the_busy_finish),
        cmocka_unit_test(drain_cuts_off_the_rest),
        cmocka_unit_test(drain_does_not_wait_for_readers_of_streams),
        cmocka_unit_test(a_taken_port_is_named),
        cmocka_unit_test(without_descriptors_a_port_rests_and_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
