#include "net/forward.h"

#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "net/test_front.h"
#include "net/test_paths.h"
#include "net/test_peer.h"

/* Exchanges passed on to the real server, and what goes up to it. */

static void
answers_come_through(void **unused)
{
    static const struct {
        const char *why, *request, *contains, *lacks;
    } cases[] = {
        {"a short one, whole", FRONT_GET("/hello"), "content-length: 5\r\n", "transfer-encoding"},
        {"its headers", FRONT_GET("/hello"), "x-seen: yes\r\n", "x-request-id"},
        {"and ours", FRONT_GET("/hello"), "x-upstream-status: fine\r\n",
         "x-upstream-status: other"},
        {"a body that goes up and comes back",
         "POST /echo HTTP/1.1\r\nHost: front\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"
         "up & down",
         "\r\n\r\nup & down", "expect"},
        {"in pieces", FRONT_GET("/stream"), "transfer-encoding: chunked", "content-length"},
        {"no body at all", FRONT_GET("/empty"), "HTTP/1.1 204 ", "content-length"},
        {"an error's own status", FRONT_GET("/nowhere"), "HTTP/1.1 404 ", "502"},
        {"HEAD", "HEAD /hello HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n",
         "HTTP/1.1 200 ", "hello"},
        {"a header that would forge another one", FRONT_GET("/inject"), "HTTP/1.1 200 ",
         "x-forged"},
        {"another method", "DELETE /hello HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n",
         "hello", "502"},
    };
    struct test_server t;
    struct front f = {.decline = false};

    (void)unused;
    test_start(&t, test_conf(), 1, NULL, false);
    front_start(&f, "http://127.0.0.1", t.port, NULL);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        char *got = front_ask(&f, cases[i].request);

        if (strstr(got, cases[i].contains) == NULL || strstr(got, cases[i].lacks) != NULL)
            fail_msg("%s: %s", cases[i].why, got);
        free(got);
    }
    front_wait(&f, &f.end_count, BERTH_COUNT(cases));
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        assert_int_equal(f.ends[i], BERTH_FORWARD_OK);
    /* All of them over one connection, as none was broken. */
    assert_int_equal(berth_server_stats(t.server).connections_total, 1);
    front_stop(&f);
    test_stop(&t);
}

static void
large_ones_come_through(void **unused)
{
    enum { LEN = 1024 * 1024 };
    struct test_server t;
    struct front f = {.decline = false};
    char *body = malloc(LEN);
    size_t len;

    (void)unused;
    assert_non_null(body);
    for (size_t i = 0; i < LEN; i++)
        body[i] = (char)('a' + i % 23);
    test_start(&t, test_conf(), 1, NULL, false);
    front_start(&f, "http://127.0.0.1", t.port, NULL);
    const int fd = test_connect(f.port);
    test_send_text(fd, "POST /echo HTTP/1.0\r\nHost: front\r\nContent-Length: 1048576\r\n\r\n");
    test_send(fd, body, LEN);
    char *got = test_read(fd, NULL, &len);
    (void)close(fd);
    const char *back = strstr(got, "\r\n\r\n");
    assert_non_null(back);
    assert_int_equal(len - (size_t)(back + 4 - got), LEN);
    assert_memory_equal(back + 4, body, LEN);
    free(got);
    free(body);
    front_stop(&f);
    test_stop(&t);
}

/* Upstream writes 24 MiB as fast as it may; the client reads nothing for a while. */
static void
a_slow_client_stops_its_upstream(void **unused)
{
    struct test_server t;
    struct front f = {.decline = false};
    size_t len;

    (void)unused;
    test_start(&t, test_conf(), 1, NULL, false);
    front_start(&f, "http://127.0.0.1", t.port, NULL);
    const int fd = test_connect(f.port);
    test_send_text(fd, "GET /feed HTTP/1.0\r\nHost: front\r\n\r\n");
    test_wait(&t, eagain, 1); /* the pressure came back to it */
    char *got = test_read(fd, NULL, &len);
    (void)close(fd);
    const char *body = strstr(got, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(len - (size_t)(body + 4 - got), TEST_FEED_BYTES);
    free(got);
    front_wait(&f, &f.end_count, 1);
    assert_int_equal(f.ends[0], BERTH_FORWARD_OK);
    front_stop(&f);
    test_stop(&t);
}

static void
a_client_that_leaves_cuts_its_upstream(void **unused)
{
    static const char *const paths[] = {"/hold/a", "/flood"};
    struct test_server t;
    struct front f = {.decline = false};
    char request[128];

    (void)unused;
    test_start(&t, test_conf(), 1, NULL, false);
    front_start(&f, "http://127.0.0.1", t.port, NULL);
    for (unsigned i = 0; i < BERTH_COUNT(paths); i++) {
        const int fd = test_connect(f.port);

        (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: front\r\n\r\n", paths[i]);
        test_send_text(fd, request);
        test_wait(&t, handled, i + 1);
        (void)close(fd);
        test_wait(&t, gone, i + 1);
    }
    front_stop(&f);
    test_stop(&t);
}

static void
many_at_once(void **unused)
{
    enum { CLIENTS = 40, EACH = 20 };
    struct test_server t;
    struct front f = {.decline = false};
    int fds[CLIENTS];

    (void)unused;
    test_start(&t, test_conf(), 2, NULL, false);
    front_start(&f, "http://127.0.0.1", t.port, NULL);
    for (size_t i = 0; i < CLIENTS; i++)
        fds[i] = test_connect(f.port);
    for (size_t k = 0; k < EACH; k++) {
        for (size_t i = 0; i < CLIENTS; i++)
            test_send_text(fds[i], "GET /hello HTTP/1.1\r\nHost: front\r\n\r\n");
        for (size_t i = 0; i < CLIENTS; i++)
            free(test_expect(fds[i], "\r\n\r\nhello"));
    }
    for (size_t i = 0; i < CLIENTS; i++)
        (void)close(fds[i]);
    assert_true(berth_server_stats(t.server).connections_total <= CLIENTS);
    front_stop(&f);
    test_stop(&t);
}

static void
no_more_than_allowed_run(void **unused)
{
    const struct berth_forwarder_conf conf = {.running_max = 1};
    struct test_server t;
    struct front f = {.decline = false};

    (void)unused;
    test_start(&t, test_conf(), 1, NULL, false);
    front_start(&f, "http://127.0.0.1", t.port, &conf);
    const int fd = test_connect(f.port);
    test_send_text(fd, "GET /hold/a HTTP/1.1\r\nHost: front\r\n\r\n");
    test_wait(&t, handled, 1);
    char *got = front_ask(&f, FRONT_GET("/hello"));
    assert_non_null(strstr(got, "not started"));
    free(got);
    test_release(&t, "a");
    free(test_expect(fd, "\r\n\r\na"));
    (void)close(fd);
    front_stop(&f);
    test_stop(&t);
}

static void
a_declined_answer_leaves_nothing(void **unused)
{
    struct test_server t;
    struct front f = {.decline = true};

    (void)unused;
    test_start(&t, test_conf(), 1, NULL, false);
    front_start(&f, "http://127.0.0.1", t.port, NULL);
    for (int i = 0; i < 2; i++) {
        char *got = front_ask(&f, i == 0 ? FRONT_GET("/hello") : FRONT_GET("/stream"));
        assert_non_null(strstr(got, "\r\n\r\ndeclined"));
        assert_null(strstr(got, "x-seen"));
        free(got);
    }
    front_stop(&f);
    test_stop(&t);
}

static void
say(void *arg, int fd, unsigned n, const char *request)
{
    (void)n;
    (void)request;
    test_peer_say(fd, arg);
}

/* Only what is meant for the upstream goes up. */
static void
what_goes_up(void **unused)
{
    static const char request[] =
        "POST /a%20b?c=d HTTP/1.1\r\nHost: front:1\r\nAuthorization: Bearer client\r\n"
        "X-API-Key: client\r\nCookie: a=b\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\n"
        "Connection: X-Own\r\nX-Own: 1\r\n"
        "X-Request-Id: client's\r\nX-Forwarded-For: 10.0.0.1\r\nX-Other: stays\r\nX-More: "
        "client\r\nX-Empty:\r\n"
        "Content-Type: application/json\r\nTE: trailers\r\nContent-Length: 2\r\n\r\n{}";
    static const char *const has[] = {"POST /a%20b?c=d",
                                      "\r\nHost: 127.0.0.1:",
                                      "\r\nauthorization: Bearer ours\r\n",
                                      "\r\nx-other: stays\r\n",
                                      "\r\nx-empty:\r\n",
                                      "\r\nx-request-id: ours\r\n",
                                      "\r\nContent-Length: 2\r\n",
                                      "\r\nx-more: yes\r\n",
                                      "\r\nx-forwarded-for: 10.0.0.1, 127.0.0.1\r\n",
                                      "\r\nx-forwarded-proto: http\r\n",
                                      "\r\nx-forwarded-host: front:1\r\n",
                                      "\r\ncontent-type: application/json\r\n",
                                      "\r\n\r\n{}"};
    static const char *const lacks[] = {
        "client", "cookie",    "x-mine", "x-own", "trailers", "expect", "transfer-encoding",
        "accept", "user-agent"};
    static const struct berth_header more = {.name = {"x-more", 6}, .value = {"yes", 3}};
    char ok[] = "HTTP/1.1 200 OK\r\nX-One: 1\r\nConnection: X-One\r\nContent-Length: 2\r\n"
                "Connection: close\r\nConnection: X-Two\r\nX-Two: 2\r\nX-Three: 3\r\n\r\nok";
    struct test_peer p = {.answer = say, .arg = ok};
    struct front f = {
        .to = {
            .authorization = "Bearer ours", .request_id = "ours", .more = &more, .more_count = 1}};

    (void)unused;
    test_peer_start(&p);
    front_start(&f, "http://127.0.0.1", p.port, NULL);
    char *got = front_ask(&f, request);
    if (strstr(got, "x-one") != NULL || strstr(got, "x-two") != NULL ||
        strstr(got, "x-three: 3") == NULL)
        fail_msg("%s", got);
    free(got);
    front_stop(&f);
    test_peer_stop(&p);
    for (size_t i = 0; i < BERTH_COUNT(has); i++)
        if (strstr(p.log[0], has[i]) == NULL)
            fail_msg("lacks %s: %s", has[i], p.log[0]);
    for (size_t i = 0; i < BERTH_COUNT(lacks); i++)
        if (strcasestr(p.log[0], lacks[i]) != NULL)
            fail_msg("has %s: %s", lacks[i], p.log[0]);
}

static void
which_headers(void **unused)
{
    static const struct {
        const char *name, *connection;
        bool up, down;
    } cases[] = {
        {"accept", "", true, true},
        {"connection", "", false, false},
        {"transfer-encoding", "", false, false},
        {"upgrade", "", false, false},
        {"x-a", "close", true, true},
        {"x-a", "close , X-A", false, false},
        {"x-a", "x-ab,x", true, true},
        {":path", "", false, true},
        {"authorization", "", false, true},
        {"content-type", "", true, false},
        {"content-encoding", "", false, true},
        {"set-cookie", "", true, false},
        {"access-control-allow-origin", "", true, false},
        {"", "", false, false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_slice name = berth_slice_of(cases[i].name),
                                 connection = berth_slice_of(cases[i].connection);

        if (berth_forward_goes_up(name, connection) != cases[i].up ||
            berth_forward_comes_down(name, connection) != cases[i].down)
            fail_msg("%s with %s", cases[i].name, cases[i].connection);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_headers),
        cmocka_unit_test(answers_come_through),
        cmocka_unit_test(large_ones_come_through),
        cmocka_unit_test(a_slow_client_stops_its_upstream),
        cmocka_unit_test(a_client_that_leaves_cuts_its_upstream),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(no_more_than_allowed_run),
        cmocka_unit_test(a_declined_answer_leaves_nothing),
        cmocka_unit_test(what_goes_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
