#include "net/forward.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/test_front.h"
#include "net/test_peer.h"
#include "net/test_support.h"

/* Upstreams that say what they like. */

struct script {
    const char *why;
    const char *says; /* NULL: nothing */
    bool keeps_open;  /* until the client closes; else it closes after its words */
    const char *gets; /* in what the client of the front reads */
    enum berth_forward_result result;
};

static const struct script scripts[] = {
    {"closes without a word", NULL, false, "unanswered", BERTH_FORWARD_UNANSWERED},
    {"half a head", "HTTP/1.1 200 O", false, "unanswered", BERTH_FORWARD_UNANSWERED},
    {"a head, and dies before its body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false,
     "unanswered", BERTH_FORWARD_UNANSWERED},
    {"half of a short body: nothing was passed on",
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal", false, "unanswered",
     BERTH_FORWARD_UNANSWERED},
    {"a stream that breaks off",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", false, "part",
     BERTH_FORWARD_BROKEN},
    {"a stream without its last chunk's end",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n", false, "part",
     BERTH_FORWARD_BROKEN},
    {"a chunk that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", true,
     "unanswered", BERTH_FORWARD_UNANSWERED},
    {"a chunk's length beyond all numbers",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx", true,
     "unanswered", BERTH_FORWARD_UNANSWERED},
    {"no HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n\r\n", true, "malformed", BERTH_FORWARD_MALFORMED},
    {"an upgrade that nobody asked for",
     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", true,
     "malformed", BERTH_FORWARD_MALFORMED},
    {"interim answers before the real one",
     "HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
     "real",
     true, "\r\n\r\nreal", BERTH_FORWARD_OK},
    {"more than it announced", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal and more", false,
     "\r\n\r\nreal", BERTH_FORWARD_OK},
    {"a length that is negative", "HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nreal", false,
     "malformed", BERTH_FORWARD_MALFORMED},
    {"an end by closing", "HTTP/1.1 200 OK\r\n\r\nuntil the end", false, "until the end",
     BERTH_FORWARD_OK},
    {"header names that are none, folds and forged types",
     "HTTP/1.1 200 OK\r\nbad name: 1\r\nX-A: one\r\n two\r\nX-B: b\r\nContent-Type: text/a\rX-F: "
     "1\r\nContent-Length: 2\r\n\r\nok",
     false, "x-b: b\r\n", BERTH_FORWARD_OK},
    {"a trailer",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", true,
     "ok", BERTH_FORWARD_OK},
    {"says nothing, for ever", "", true, "late", BERTH_FORWARD_LATE},
    {"a head, and then nothing for ever", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true,
     "late", BERTH_FORWARD_LATE},
    {"falls silent in the middle", "HTTP/1.1 200 OK\r\n\r\npart", true, "part",
     BERTH_FORWARD_BROKEN},
};

static void
say(void *arg, int fd, unsigned n, const char *request)
{
    const struct script *s = arg;

    (void)n;
    (void)request;
    if (s->says != NULL)
        test_peer_say(fd, s->says);
    if (s->keeps_open)
        test_peer_wait_closed(fd);
}

static void
whatever_it_says(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(scripts); i++) {
        struct script s = scripts[i];
        struct test_peer p = {.answer = say, .arg = &s};
        const bool waits =
            s.keeps_open && (s.result == BERTH_FORWARD_LATE || s.result == BERTH_FORWARD_BROKEN);
        const bool late = waits && s.result == BERTH_FORWARD_LATE;
        /* What came before the silence has to be there by then. */
        const uint64_t silent_ns = !waits ? 60 * BERTH_S : late ? 300 * BERTH_MS : 2 * BERTH_S;
        struct front f = {.to = {.once = true, .silent_ns_max = silent_ns}, /* one try each */
                          .first_ns = late ? 300 * BERTH_MS : 60 * BERTH_S,
                          .total_ns = late ? 600 * BERTH_MS : 0};

        test_peer_start(&p);
        front_start(&f, "http://127.0.0.1", p.port, NULL);
        char *got = front_ask(&f, FRONT_GET("/"));
        front_wait(&f, &f.end_count, 1);
        if (f.ends[0] != s.result || strstr(got, s.gets) == NULL ||
            strcasestr(got, "x-f:") != NULL || strcasestr(got, "x-early") != NULL)
            fail_msg("%s: %s (%s): %s", s.why, front_result(f.ends[0]), f.whys[0], got);
        /* Broken off so that a client can tell: no last chunk. */
        if (s.result == BERTH_FORWARD_BROKEN && strstr(got, "0\r\n\r\n") != NULL)
            fail_msg("%s: looks whole: %s", s.why, got);
        free(got);
        front_stop(&f);
        test_peer_stop(&p);
    }
}

static void
flood_head(void *arg, int fd, unsigned n, const char *request)
{
    static const char line[] = "X-More: 0123456789012345678901234567890123456789\r\n";
    const bool *trailers = arg;

    (void)n;
    (void)request;
    test_peer_say(fd, *trailers
                          ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
                          : "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 100000; i++)
        if (send(fd, line, sizeof line - 1, MSG_NOSIGNAL) <= 0)
            return;
}

static void
heads_have_an_end(void **unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        bool trailers = i == 1;
        struct test_peer p = {.answer = flood_head, .arg = &trailers};
        struct front f = {.to = {.once = true}};

        test_peer_start(&p);
        front_start(&f, "http://127.0.0.1", p.port, NULL);
        free(front_ask(&f, FRONT_GET("/")));
        front_wait(&f, &f.end_count, 1);
        assert_int_equal(f.ends[0], trailers ? BERTH_FORWARD_BROKEN : BERTH_FORWARD_MALFORMED);
        front_stop(&f);
        test_peer_stop(&p);
    }
}

static void
nobody_there(void **unused)
{
    struct front f = {.to = {.connect_ns_max = BERTH_S}};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;

    (void)unused;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0); /* and does not listen */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    front_start(&f, "http://127.0.0.1", ntohs(sa.sin_port), NULL);
    char *got = front_ask(&f, FRONT_GET("/"));
    assert_non_null(strstr(got, "unreached"));
    free(got);
    front_stop(&f);
    (void)close(fd);
}

/* A port that takes no connection: what waits to be taken is full, so that connecting hangs. */
static void
nobody_takes_it(void **unused)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof sa;
    int fill[8];

    (void)unused;
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    for (size_t i = 0; i < BERTH_COUNT(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr *)&sa, sizeof sa);
    }
    for (int by_client = 0; by_client < 3; by_client++) { /* by curl, by us, by a client */
        struct front f = {.to = {.connect_ns_max = by_client == 0 ? 100 * BERTH_MS : 60 * BERTH_S},
                          .first_ns = by_client == 1 ? 100 * BERTH_MS : 0};

        front_start(&f, "http://127.0.0.1", ntohs(sa.sin_port), NULL);
        if (by_client < 2) {
            for (int i = 0; i < 3; i++) {
                char *got = front_ask(&f, FRONT_GET("/"));
                assert_non_null(strstr(got, by_client == 0 ? "unreached" : "late"));
                free(got);
            }
        } else {
            const int fd = test_connect(f.port);
            test_send_text(fd, FRONT_GET("/"));
            (void)shutdown(fd, SHUT_RDWR);
            (void)close(fd);
        }
        front_stop(&f); /* would say so if a handle was left */
    }
    for (size_t i = 0; i < BERTH_COUNT(fill); i++)
        (void)close(fill[i]);
    (void)close(listener);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_it_says),
        cmocka_unit_test(heads_have_an_end),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(nobody_takes_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
