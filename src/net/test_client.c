#include "net/test_client.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/num.h"

struct test_result *
test_client_result(struct test_client *c, int32_t id)
{
    assert_true(id > 0 && id / 2 < TEST_STREAMS_MAX);
    return &c->results[id / 2];
}

static int
on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
          const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    int64_t status = 0;

    if (name_len == 7 && memcmp(name, ":status", 7) == 0 &&
        berth_int_parse((const char *)value, value_len, 100, 999, &status))
        test_client_result(user, frame->hd.stream_id)->status = (int)status;
    struct test_result *r = test_client_result(user, frame->hd.stream_id);
    size_t len = strlen(r->trailers);
    if (name_len > 2 && memcmp(name, "x-", 2) == 0)
        (void)snprintf(r->trailers + len, sizeof r->trailers - len, "%s=%s;", (const char *)name,
                       (const char *)value);
    return 0;
}

uint32_t
test_hash(uint32_t hash, const void *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)at)[i]) * 16777619u;
    return hash;
}

static int
on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *at, size_t n, void *user)
{
    struct test_result *r = test_client_result(user, id);

    for (size_t i = 0; i < n && r->bytes + i < sizeof r->first - 1; i++)
        r->first[r->bytes + i] = (char)at[i];
    r->hash = test_hash(r->bytes == 0 ? TEST_HASH : r->hash, at, n);
    r->bytes += n;
    return 0;
}

static int
on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *user)
{
    struct test_client *c = user;

    if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) {
        struct test_result *r = test_client_result(c, frame->hd.stream_id);
        r->heads += frame->hd.type == NGHTTP2_HEADERS;
        r->data_frames += frame->hd.type == NGHTTP2_DATA;
        r->end_seen |= (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    }
    if (frame->hd.type == NGHTTP2_SETTINGS)
        c->settings_seen = true;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        c->goaway_seen = true;
        c->goaway_error = frame->goaway.error_code;
    }
    return 0;
}

static int
on_close(nghttp2_session *s, int32_t id, uint32_t error, void *user)
{
    struct test_client *c = user;
    struct test_result *r = test_client_result(c, id);

    r->closed = true;
    r->error = error;
    r->order = ++c->closed;
    return 0;
}

static ssize_t
give_body(nghttp2_session *s, int32_t id, uint8_t *at, size_t room, uint32_t *flags,
          nghttp2_data_source *source, void *user)
{
    struct test_client *c = user;
    size_t end = c->body_stalls ? c->body_len / 2 : c->body_len;
    size_t n = end - c->body_sent < room ? end - c->body_sent : room;

    if (n == 0 && c->body_stalls)
        return NGHTTP2_ERR_DEFERRED;
    memcpy(at, c->body + c->body_sent, n);
    c->body_sent += n;
    if (c->body_sent == c->body_len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

void
test_client_open(struct test_client *c, int fd, SSL *ssl, uint32_t window)
{
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}};
    nghttp2_session_callbacks *cb;

    *c = (struct test_client){.fd = fd, .ssl = ssl};
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    assert_int_equal(nghttp2_session_client_new(&c->session, cb, c), 0);
    nghttp2_session_callbacks_del(cb);
    assert_int_equal(nghttp2_submit_settings(c->session, 0, settings, window > 0 ? 1 : 0), 0);
}

void
test_client_close(struct test_client *c)
{
    nghttp2_session_del(c->session);
    SSL_free(c->ssl);
    (void)close(c->fd);
}

int32_t
test_client_ask(struct test_client *c, const char *method, const char *path, const char *body,
                size_t len)
{
    const nghttp2_nv nva[] = {TEST_NV(":method", method), TEST_NV(":scheme", "http"),
                              TEST_NV(":authority", "h"), TEST_NV(":path", path)};
    const nghttp2_data_provider data = {.read_callback = give_body};

    c->body = body;
    c->body_len = len;
    c->body_sent = 0;
    int32_t id = nghttp2_submit_request(c->session, NULL, nva, BERTH_COUNT(nva),
                                        len > 0 ? &data : NULL, NULL);
    assert_true(id > 0);
    return id;
}

void
test_client_send(struct test_client *c)
{
    const uint8_t *at;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(c->session, &at)) > 0) {
        if (c->ssl != NULL)
            (void)SSL_write(c->ssl, at, (int)n);
        else
            test_send(c->fd, at, (size_t)n);
    }
}

/* One exchange of bytes; waits for input. */
void
test_client_step(struct test_client *c)
{
    uint8_t buf[16 * 1024];
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    test_client_send(c);
    if (c->ssl == NULL || SSL_pending(c->ssl) == 0)
        if (poll(&p, 1, 60000) != 1)
            fail_msg("the server sends nothing");
    ssize_t n =
        c->ssl != NULL ? SSL_read(c->ssl, buf, sizeof buf) : recv(c->fd, buf, sizeof buf, 0);
    if (n <= 0)
        c->ended = true;
    else if (nghttp2_session_mem_recv(c->session, buf, (size_t)n) < 0)
        fail_msg("the server broke the protocol");
    test_client_send(c);
}

void
test_client_wait_closed(struct test_client *c, unsigned n)
{
    while (c->closed < n && !c->ended)
        test_client_step(c);
    assert_int_equal(c->closed, n);
}

void
test_client_wait_end(struct test_client *c)
{
    while (!c->ended)
        test_client_step(c);
}

static const struct {
    const char *why, *method, *path;
    size_t body_len;
    int status;
    size_t bytes;
} request_rows[] = {
    {"a request", "GET", "/hello", 0, 200, 5},
    {"a body", "POST", "/echo", 3, 200, 3},
    {"no body after HEAD", "HEAD", "/big", 0, 200, 0},
    {"a large answer", "GET", "/big", 0, 200, 1024 * 1024},
    {"a large body", "POST", "/echo", 614400, 200, 614400},
    {"a body behind a head", "POST", "/split", 614400, 200, 614400},
    {"pieces", "GET", "/stream", 0, 200, 11},
    {"204", "GET", "/empty", 0, 204, 0},
    {"answered before the body", "POST", "/begin", 3, 403, 3},
    {"answered before a large body", "POST", "/begin", 614400, 403, 3},
    {"at the limit", "POST", "/small", 10, 200, 10},
    {"over the limit", "POST", "/small", 11, 413, 21},
    {"far over the limit", "POST", "/small", 614400, 413, 21},
    {"CONNECT-like method", "BREW", "/none", 0, 404, 4},
};

char *
test_letters(size_t n)
{
    char *at = malloc(n + 1);

    assert_non_null(at);
    for (size_t i = 0; i < n; i++)
        at[i] = (char)('a' + i % 23);
    return at;
}

unsigned
test_client_run_requests(struct test_client *c)
{
    char *body = test_letters(1024 * 1024);

    for (size_t i = 0; i < BERTH_COUNT(request_rows); i++) {
        int32_t id = test_client_ask(c, request_rows[i].method, request_rows[i].path, body,
                                     request_rows[i].body_len);
        test_client_wait_closed(c, (unsigned)i + 1);
        const struct test_result *r = test_client_result(c, id);
        if (r->status != request_rows[i].status || r->bytes != request_rows[i].bytes)
            fail_msg("%s: status %d, %zu bytes", request_rows[i].why, r->status, r->bytes);
    }
    free(body);
    return BERTH_COUNT(request_rows);
}
