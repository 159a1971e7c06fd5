#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/client.h"
#include "net/test_peer.h"

/* What the peer says, one text for each request; the last is said again. */
struct script {
    const char *texts[4];
    uint16_t other_port; /* not 0: a %u in a text is that port */
    bool hold;           /* keep the connection open after the text until the client closes */
};

static void
answer(void *arg, int fd, unsigned n, const char *request)
{
    const struct script *s = arg;
    char text[1024];
    size_t i = 0;

    while (i < n && i + 1 < BERTH_COUNT(s->texts) && s->texts[i + 1] != NULL)
        i++;
    const char *mark = strstr(s->texts[i], "@PORT");
    if (mark != NULL) {
        (void)snprintf(text, sizeof text, "%.*s%u%s", (int)(mark - s->texts[i]), s->texts[i],
                       s->other_port, mark + 5);
        test_peer_say(fd, text);
    } else {
        test_peer_say(fd, s->texts[i]);
    }
    if (s->hold)
        test_peer_wait_closed(fd);
}

struct heard {
    char text[64];
    size_t len, heads;
    uint16_t status;
    size_t stop_after; /* pieces */
    bool stop;
    struct berth_client_answer head;
};

static bool
hear(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct heard *h = arg;

    h->status = status;
    if (len > sizeof h->text - 1 - h->len)
        len = sizeof h->text - 1 - h->len;
    memcpy(h->text + h->len, bytes, len);
    h->len += len;
    return !h->stop;
}

static bool
hear_head(void *arg, const struct berth_client_answer *a)
{
    struct heard *h = arg;

    h->heads++;
    h->head = *a;
    return true;
}

static bool
never(void *arg, uint64_t got, uint64_t total)
{
    return false;
}

/* One call to a peer that follows the script. */
static int
ask(struct script *s, struct berth_client_call call, struct berth_client_answer *ret,
    struct berth_err *e)
{
    struct test_peer peer = {.answer = answer, .arg = s};
    struct berth_client *c;
    char url[64];

    test_peer_start(&peer);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/a", peer.port);
    if (call.url == NULL)
        call.url = url;
    assert_int_equal(berth_client_new(&c, e), 0);
    const int r = berth_client_call(c, &call, ret, e);
    berth_client_free(c);
    test_peer_stop(&peer);
    return r;
}

static void
answers_are_given_back_whole(void **unused)
{
    static const struct {
        const char *text, *body;
        uint16_t status;
        uint64_t length;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"v1\"\r\nContent-Type: a/b\r\n\r\nhello",
         "hello", 200, 5},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag:\"v1\"\r\nContent-Type: a/b\r\n\r\n"
         "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
         "hello", 200, UINT64_MAX},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\netag: \"v1\"\r\ncontent-type:a/b\r\n\r\n"
         "none",
         "none", 404, 4},
        {"HTTP/1.1 204 No Content\r\nETag: \"v1\"\r\nContent-Type: a/b\r\n\r\n", "", 204,
         UINT64_MAX},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct script s = {.texts = {cases[i].text}};
        struct berth_client_answer a;
        struct berth_err e;
        assert_int_equal(ask(&s, (struct berth_client_call){0}, &a, &e), 0);
        assert_int_equal(a.status, cases[i].status);
        assert_string_equal(a.body.at, cases[i].body);
        assert_int_equal(a.body.len, strlen(cases[i].body));
        assert_string_equal(a.etag, "\"v1\"");
        assert_string_equal(a.content_type, "a/b");
        assert_true(a.content_length == cases[i].length);
        assert_false(a.partial);
        berth_buf_fini(&a.body);
    }
}

#define FIVE "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

static void
failures_name_the_host_and_the_reason(void **unused)
{
    static const struct {
        const char *text;
        struct berth_client_call call;
        bool hold;
        int want;
        const char *says;
    } cases[] = {
        {FIVE "hel", {0}, false, -BERTH_ENETWORK, "127.0.0.1:"},
        {"garbage\r\n\r\n", {0}, false, -BERTH_ENETWORK, "127.0.0.1:"},
        {"", {0}, false, -BERTH_ENETWORK, "127.0.0.1:"},
        {FIVE "hel", {.silent_ns_max = 150 * BERTH_MS}, true, -BERTH_EDEADLINE, "silent"},
        {"HTTP/1.1 200", {.silent_ns_max = 150 * BERTH_MS}, true, -BERTH_EDEADLINE, "silent"},
        {FIVE "hel", {.total_ns_max = 150 * BERTH_MS}, true, -BERTH_EDEADLINE, "complete"},
        {FIVE "hello", {.body_bytes_max = 4}, false, -BERTH_ETOOBIG, "4 bytes"},
        {"HTTP/1.1 200 OK\r\n\r\nhello", {.body_bytes_max = 4}, false, -BERTH_ETOOBIG, "4 bytes"},
        {FIVE "hel", {.go_on = never}, true, -BERTH_ECANCELED, "stopped"},
        {FIVE "hello", {.url = "http://127.0.0.1:1/"}, false, -BERTH_ENETWORK, "127.0.0.1:1"},
        {FIVE "hello", {.url = "file:///etc/passwd"}, false, -BERTH_ENETWORK, "rotocol"},
        {FIVE "hello", {.url = "no url at all"}, false, -BERTH_EINVAL, "not a URL"},
        {FIVE "hello", {.bearer = "a\r\nX-Forged: b"}, false, -BERTH_EINVAL, "line end"},
        {"HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n",
         {0},
         false,
         -BERTH_ENETWORK,
         "redirects"},
        {"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
         {0},
         false,
         -BERTH_ENETWORK,
         "rotocol"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct script s = {.texts = {cases[i].text}, .hold = cases[i].hold};
        struct berth_client_answer a = {.status = 77};
        struct berth_err e;
        const int r = ask(&s, cases[i].call, &a, &e);
        print_message("  %zu: %d %s\n", i, r, r < 0 ? e.msg : "");
        assert_int_equal(r, cases[i].want);
        assert_non_null(strstr(e.msg, cases[i].says));
        assert_int_equal(a.status, 77);
    }
}

static void
pieces_come_after_the_head(void **unused)
{
    struct script s = {
        .texts = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\nhello"}};
    struct heard h = {0};
    struct berth_client_answer a;
    struct berth_err e;

    (void)unused;
    assert_int_equal(
        ask(&s, (struct berth_client_call){.body_part = hear, .head = hear_head, .arg = &h}, &a,
            &e),
        0);
    assert_string_equal(h.text, "hello");
    assert_int_equal(h.status, 200);
    assert_int_equal(h.heads, 1);
    assert_string_equal(h.head.etag, "\"x\"");
    assert_int_equal(a.body.len, 0);
    berth_buf_fini(&a.body);
    h = (struct heard){.stop = true};
    assert_int_equal(ask(&s, (struct berth_client_call){.body_part = hear, .arg = &h}, &a, &e),
                     -BERTH_ECANCELED);
}

static void
a_rest_begins_where_it_was_asked_for(void **unused)
{
    static const char rest[] = "HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n"
                               "Content-Range: bytes 3-4/5\r\n\r\nlo";
    static const struct {
        uint64_t at;
        int want;
    } cases[] = {{3, 0}, {2, -BERTH_ENETWORK}, {4, -BERTH_ENETWORK}};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct test_peer peer = {.answer = answer, .arg = &(struct script){.texts = {rest}}};
        struct berth_client_answer a;
        struct berth_client *c;
        struct berth_err e;
        char url[64];
        test_peer_start(&peer);
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/a", peer.port);
        const struct berth_client_call call = {
            .url = url, .resume_at = cases[i].at, .if_range = "\"v1\""};
        assert_int_equal(berth_client_new(&c, &e), 0);
        assert_int_equal(berth_client_call(c, &call, &a, &e), cases[i].want);
        test_peer_stop(&peer);
        assert_non_null(strstr(peer.log[0], "\r\nIf-Range: \"v1\"\r\n"));
        assert_non_null(strstr(peer.log[0], "\r\nRange: bytes="));
        if (cases[i].want == 0) {
            assert_true(a.partial);
            assert_true(a.content_length == 5);
            assert_string_equal(a.body.at, "lo");
            berth_buf_fini(&a.body);
        }
        berth_client_free(c);
    }
}

/* Credentials follow a redirect within the host and port that was asked, and go nowhere else. */
static void
redirects_keep_credentials_at_home(void **unused)
{
    struct script there = {.texts = {FIVE "there"}};
    struct test_peer other = {.answer = answer, .arg = &there};
    static const char *const headers[] = {"X-API-Key: secret2", NULL};
    struct berth_client_answer a;
    struct berth_client *c;
    struct berth_err e;
    char url[64];

    (void)unused;
    assert_int_equal(berth_client_new(&c, &e), 0);
    test_peer_start(&other);
    struct script here = {
        .texts = {"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 3\r\n\r\nmvd",
                  "HTTP/1.1 307 Moved\r\nX-Linked-ETag: \"abc\"\r\nContent-Length: 0\r\n"
                  "Location: http://127.0.0.1:@PORT/c?d=e\r\n\r\n"},
        .other_port = other.port};
    struct test_peer first = {.answer = answer, .arg = &here};
    test_peer_start(&first);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/a", first.port);
    struct heard h = {0};
    const struct berth_client_call call = {.url = url,
                                           .bearer = "secret1",
                                           .headers = headers,
                                           .body_part = hear,
                                           .head = hear_head,
                                           .arg = &h};
    assert_int_equal(berth_client_call(c, &call, &a, &e), 0);
    test_peer_stop(&first);
    test_peer_stop(&other);
    assert_string_equal(h.text, "there");
    assert_int_equal(h.heads, 1);
    assert_string_equal(a.linked_etag, "\"abc\"");
    for (int i = 0; i < 2; i++) {
        assert_non_null(strstr(first.log[i], "secret1"));
        assert_non_null(strstr(first.log[i], "secret2"));
    }
    assert_non_null(strstr(first.log[1], "GET /b "));
    assert_non_null(strstr(other.log[0], "GET /c?d=e "));
    assert_null(strstr(other.log[0], "secret"));
    berth_buf_fini(&a.body);
    berth_client_free(c);
}

static void
methods_and_bodies_arrive(void **unused)
{
    static const struct {
        struct berth_client_call call;
        const char *begins, *ends;
    } cases[] = {
        {{0}, "GET /a HTTP/1.1\r\n", "\r\n\r\n"},
        {{.body = "{}", .body_len = 2}, "POST /a HTTP/1.1\r\n", "\r\n\r\n{}"},
        {{.method = "POST"}, "POST /a HTTP/1.1\r\n", "\r\n\r\n"},
        {{.method = "PUT", .body = "{}", .body_len = 2}, "PUT /a HTTP/1.1\r\n", "\r\n\r\n{}"},
        {{.method = "PATCH", .body = "{}", .body_len = 2}, "PATCH /a HTTP/1.1\r\n", "\r\n\r\n{}"},
        {{.method = "DELETE", .body = "{}", .body_len = 2}, "DELETE /a HTTP/1.1\r\n", "\r\n\r\n{}"},
        {{.method = "DELETE"}, "DELETE /a HTTP/1.1\r\n", "\r\n\r\n"},
        {{.method = "HEAD"}, "HEAD /a HTTP/1.1\r\n", "\r\n\r\n"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct script s = {.texts = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}};
        struct test_peer peer = {.answer = answer, .arg = &s};
        struct berth_client_call call = cases[i].call;
        struct berth_client_answer a;
        struct berth_client *c;
        struct berth_err e;
        char url[64];
        test_peer_start(&peer);
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/a", peer.port);
        call.url = url;
        assert_int_equal(berth_client_new(&c, &e), 0);
        assert_int_equal(berth_client_call(c, &call, &a, &e), 0);
        berth_client_free(c);
        test_peer_stop(&peer);
        print_message("%s\n", peer.log[0]);
        const size_t n = strlen(peer.log[0]), m = strlen(cases[i].ends);
        assert_memory_equal(peer.log[0], cases[i].begins, strlen(cases[i].begins));
        assert_true(n > m && strcmp(peer.log[0] + n - m, cases[i].ends) == 0);
        berth_buf_fini(&a.body);
    }
}

/* A body out of a file arrives whole; a file that became shorter meanwhile ends the call. */
static void
a_files_bytes_are_sent(void **unused)
{
    enum { BYTES = 600 };
    char path[] = "/tmp/berth-client-XXXXXX", text[BYTES + 1];
    const int fd = mkstemp(path);

    (void)unused;
    assert_true(fd >= 0);
    (void)unlink(path);
    memset(text, 'x', BYTES);
    memcpy(text, "{begin", 6);
    memcpy(text + BYTES - 4, "end}", 5);
    assert_int_equal(write(fd, text, BYTES), BYTES);
    for (size_t beyond = 0; beyond < 2; beyond++) {
        struct script s = {.texts = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}};
        struct test_peer peer = {.answer = answer, .arg = &s};
        struct berth_client_answer a;
        struct berth_client *c;
        struct berth_err e;
        char url[64];

        test_peer_start(&peer);
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/a", peer.port);
        const struct berth_client_call call = {
            .url = url, .body_fd = &fd, .body_len = BYTES + beyond};
        assert_int_equal(berth_client_new(&c, &e), 0);
        assert_int_equal(berth_client_call(c, &call, &a, &e), beyond ? -BERTH_ENETWORK : 0);
        berth_client_free(c);
        test_peer_stop(&peer);
        if (beyond > 0)
            continue;
        assert_non_null(strstr(peer.log[0], "POST /a HTTP/1.1\r\n"));
        assert_non_null(strstr(peer.log[0], "\r\nContent-Length: 600\r\n"));
        assert_non_null(strstr(peer.log[0], "\r\n\r\n{begin"));
        assert_int_equal(peer.log[0][strlen(peer.log[0]) - 1], '}');
        berth_buf_fini(&a.body);
    }
    (void)close(fd);
}

static void
a_socket_stands_in_for_host_and_port(void **unused)
{
    struct script s = {.texts = {FIVE "hello"}};
    char path[64];
    struct berth_client_answer a;
    struct berth_client *c;
    struct berth_err e;

    (void)unused;
    (void)snprintf(path, sizeof path, "/tmp/berth-peer-%d.sock", (int)getpid());
    struct test_peer peer = {.answer = answer, .arg = &s, .unix_path = path};
    const struct berth_client_call call = {.url = "http://docker/v1/x", .unix_path = path};
    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0); /* not for a socket */
    assert_int_equal(berth_client_new(&c, &e), 0);
    test_peer_start(&peer);
    assert_int_equal(berth_client_call(c, &call, &a, &e), 0);
    test_peer_stop(&peer);
    assert_string_equal(a.body.at, "hello");
    assert_ptr_equal(strstr(peer.log[0], "GET /v1/x HTTP/1.1\r\nHost: docker\r\n"), peer.log[0]);
    berth_buf_fini(&a.body);
    assert_int_equal(berth_client_call(c, &call, &a, &e), -BERTH_ENETWORK); /* nobody there */
    berth_client_free(c);
    assert_int_equal(unsetenv("http_proxy"), 0);
}

static void
a_peer_says_how_long_to_wait(void **unused)
{
    static const struct {
        const char *text;
        uint32_t want;
    } cases[] = {
        {"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 7},
        {"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n", 0},
        {"HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", 0},
        {"HTTP/1.1 503 No\r\nRetry-After: 9\r\nContent-Length: 2\r\n\r\nno", 9},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct script s = {.texts = {cases[i].text}};
        struct berth_client_answer a;
        struct berth_err e;
        assert_int_equal(ask(&s, (struct berth_client_call){0}, &a, &e), 0);
        assert_int_equal(a.retry_after_s, cases[i].want);
        berth_buf_fini(&a.body);
    }
}

struct stopper {
    struct berth_client *client;
    pthread_t *thread;
};

static void *
stop(void *c)
{
    berth_client_stop(c);
    return NULL;
}

/* Once there is a piece, the call is known to wait for the rest. */
static bool
stop_elsewhere(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct stopper *s = arg;

    assert_int_equal(pthread_create(s->thread, NULL, stop, s->client), 0);
    return true;
}

static void
a_call_that_waits_is_stopped_from_elsewhere(void **unused)
{
    struct script s = {.texts = {FIVE "hel"}, .hold = true};
    struct test_peer peer = {.answer = answer, .arg = &s};
    struct berth_client_answer a;
    struct berth_client *c;
    struct berth_err e;
    pthread_t thread;
    char url[64];

    (void)unused;
    test_peer_start(&peer);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/a", peer.port);
    assert_int_equal(berth_client_new(&c, &e), 0);
    struct stopper stopper = {.client = c, .thread = &thread};
    const struct berth_client_call call = {
        .url = url, .body_part = stop_elsewhere, .arg = &stopper};
    assert_int_equal(berth_client_call(c, &call, &a, &e), -BERTH_ECANCELED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(berth_client_call(c, &call, &a, &e), -BERTH_ECANCELED); /* and for good */
    berth_client_free(c);
    test_peer_stop(&peer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_given_back_whole),
        cmocka_unit_test(failures_name_the_host_and_the_reason),
        cmocka_unit_test(pieces_come_after_the_head),
        cmocka_unit_test(a_rest_begins_where_it_was_asked_for),
        cmocka_unit_test(redirects_keep_credentials_at_home),
        cmocka_unit_test(methods_and_bodies_arrive),
        cmocka_unit_test(a_files_bytes_are_sent),
        cmocka_unit_test(a_socket_stands_in_for_host_and_port),
        cmocka_unit_test(a_peer_says_how_long_to_wait),
        cmocka_unit_test(a_call_that_waits_is_stopped_from_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
