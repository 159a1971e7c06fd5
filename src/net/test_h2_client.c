#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "net/h2_client.h"

/* The client against nghttp2's own server side, without a socket between. */

enum { ENDS_MAX = 64, BODY_BYTES = 100000, PULL_BYTES = 4096 };

enum manner { ANSWERS, ANSWERS_AT_ONCE, FAILS_AS_GRPC, RESETS, CUTS };

struct peer {
    nghttp2_session *session;
    enum manner manner;
    size_t body_bytes; /* of all requests */
    uint32_t most_streams, streams;
};

struct end {
    void *request_arg;
    struct berth_h2_reply reply;
};

struct client {
    struct berth_h2_client *c;
    struct end ends[ENDS_MAX];
    size_t count;
};

static void
ended(void *arg, void *request_arg, const struct berth_h2_reply *reply)
{
    struct client *c = arg;

    assert_true(c->count < ENDS_MAX);
    c->ends[c->count++] = (struct end){request_arg, *reply};
}

/* ---- the peer ---- */

#define NV(name, value)                                                                           \
    {                                                                                             \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value), \
            NGHTTP2_NV_FLAG_NONE                                                                  \
    }

/* Three bytes, and gRPC's trailer unless the peer cuts its answers. */
static ssize_t
answer_body(nghttp2_session *session, int32_t id, uint8_t *room, size_t len, uint32_t *flags,
            nghttp2_data_source *source, void *user)
{
    const nghttp2_nv trailer[] = {NV("grpc-status", "0")};
    const struct peer *p = user;

    (void)source;
    assert_true(len >= 3);
    memcpy(room, "yes", 3);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (p->manner != CUTS)
        assert_int_equal(nghttp2_submit_trailer(session, id, trailer, 1), 0);
    return 3;
}

static void
answer(struct peer *p, int32_t id)
{
    const nghttp2_nv ok[] = {NV(":status", "200")};
    const nghttp2_nv failed[] = {NV(":status", "200"), NV("grpc-status", "5")};
    const nghttp2_data_provider body = {.read_callback = answer_body};

    switch (p->manner) {
    case ANSWERS:
    case ANSWERS_AT_ONCE:
    case CUTS:
        assert_int_equal(nghttp2_submit_response(p->session, id, ok, 1, &body), 0);
        break;
    case FAILS_AS_GRPC:
        assert_int_equal(nghttp2_submit_response(p->session, id, failed, 2, NULL), 0);
        break;
    case RESETS:
        assert_int_equal(nghttp2_submit_rst_stream(p->session, 0, id, NGHTTP2_REFUSED_STREAM), 0);
        break;
    }
}

static int
peer_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct peer *p = user;
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS && ++p->streams > p->most_streams)
        p->most_streams = p->streams;
    if ((frame->hd.type == NGHTTP2_HEADERS && (p->manner == ANSWERS_AT_ONCE || ends)) ||
        (frame->hd.type == NGHTTP2_DATA && ends && p->manner != ANSWERS_AT_ONCE))
        answer(p, frame->hd.stream_id);
    return 0;
}

static int
peer_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len,
          void *user)
{
    struct peer *p = user;

    (void)session;
    (void)flags;
    (void)id;
    for (size_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], 'q');
    p->body_bytes += len;
    return 0;
}

static int
peer_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    (void)session;
    (void)id;
    (void)code;
    ((struct peer *)user)->streams--;
    return 0;
}

static void
peer_begin(struct peer *p, uint32_t streams_max)
{
    const nghttp2_settings_entry limit[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams_max}};
    nghttp2_session_callbacks *on = NULL;

    assert_int_equal(nghttp2_session_callbacks_new(&on), 0);
    nghttp2_session_callbacks_set_on_frame_recv_callback(on, peer_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(on, peer_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(on, peer_close);
    assert_int_equal(nghttp2_session_server_new(&p->session, on, p), 0);
    nghttp2_session_callbacks_del(on);
    assert_int_equal(nghttp2_submit_settings(p->session, 0, limit, 1), 0);
}

/* Carry bytes between both until neither has any. */
static void
carry(struct client *c, struct peer *p)
{
    struct berth_buf out;

    berth_buf_init(&out, NULL);
    for (bool moved = true; moved;) {
        const uint8_t *bytes;
        ssize_t n;
        moved = false;
        out.len = 0;
        assert_true(berth_h2_client_pull(c->c, &out, PULL_BYTES));
        if (out.len > 0) {
            n = nghttp2_session_mem_recv(p->session, (const uint8_t *)out.at, out.len);
            assert_int_equal(n, out.len);
            moved = true;
        }
        while ((n = nghttp2_session_mem_send(p->session, &bytes)) > 0) {
            assert_int_equal(berth_h2_client_feed(c->c, bytes, (size_t)n), 0);
            moved = true;
        }
    }
    berth_buf_fini(&out);
}

static struct berth_h2_request
post(struct berth_slice body)
{
    return (struct berth_h2_request){.fields = {{":method", "POST"},
                                                {":scheme", "http"},
                                                {":authority", "x"},
                                                {":path", "/x"},
                                                {"te", "trailers"}},
                                     .field_count = 5,
                                     .body = body};
}

static void
both_begin(struct client *c, struct peer *p, uint32_t streams)
{
    struct berth_err e;

    peer_begin(p, 8);
    assert_int_equal(berth_h2_client_new(&c->c, streams, ended, c, &e), 0);
}

static void
both_end(struct client *c, struct peer *p)
{
    berth_h2_client_free(c->c);
    nghttp2_session_del(p->session);
}

/* ---- tests ---- */

static void
every_manner_of_answer_is_told(void **unused)
{
    static const struct {
        const char *why;
        enum manner manner;
        size_t ends;
        struct berth_h2_reply want;
    } cases[] = {
        {"a body and trailers", ANSWERS, 1, {200, 0, 3, true}},
        {"an answer before the request is whole", ANSWERS_AT_ONCE, 1, {200, 0, 3, true}},
        {"gRPC's failure in the head", FAILS_AS_GRPC, 1, {200, 5, 0, true}},
        {"a stream that is reset", RESETS, 1, {0, -1, 0, false}},
        {"an answer that never ends", CUTS, 0, {0, 0, 0, false}},
    };
    char body[2000];

    (void)unused;
    memset(body, 'q', sizeof body);
    const struct berth_h2_request q = post((struct berth_slice){body, sizeof body});
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct peer p = {.manner = cases[i].manner};
        struct client c = {.count = 0};

        print_message("  %s\n", cases[i].why);
        both_begin(&c, &p, 1);
        assert_int_equal(berth_h2_client_begin(c.c, &q, &c), 0);
        carry(&c, &p);
        assert_int_equal(c.count, cases[i].ends);
        if (c.count == 1) {
            const struct berth_h2_reply *got = &c.ends[0].reply;
            assert_ptr_equal(c.ends[0].request_arg, &c);
            assert_int_equal(got->status, cases[i].want.status);
            assert_int_equal(got->grpc_status, cases[i].want.grpc_status);
            assert_int_equal(got->body_bytes, cases[i].want.body_bytes);
            assert_int_equal(got->whole, cases[i].want.whole);
        }
        both_end(&c, &p);
    }
}

static void
bodies_wait_for_windows_and_streams_for_the_peer(void **unused)
{
    char *body = malloc(BODY_BYTES); /* more than a stream's first window */
    struct peer p = {.manner = ANSWERS};
    struct client c = {.count = 0};

    (void)unused;
    assert_non_null(body);
    memset(body, 'q', BODY_BYTES);
    const struct berth_h2_request q = post((struct berth_slice){body, BODY_BYTES});
    both_begin(&c, &p, 32);
    carry(&c, &p); /* the peer's limit of 8 streams is known */
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(berth_h2_client_begin(c.c, &q, &c), 0);
    assert_int_equal(berth_h2_client_begin(c.c, &q, &c), -BERTH_EAGAIN);
    carry(&c, &p);
    assert_int_equal(c.count, 32);
    assert_int_equal(p.body_bytes, 32 * BODY_BYTES);
    assert_in_range(p.most_streams, 1, 8);
    for (size_t i = 0; i < 32; i++)
        assert_true(c.ends[i].reply.whole);
    both_end(&c, &p);
    free(body);
}

static void
what_is_no_http2_is_refused(void **unused)
{
    struct client c = {.count = 0};
    struct berth_err e;
    struct berth_buf out;
    int pulls = 0;

    (void)unused;
    berth_buf_init(&out, NULL);
    assert_int_equal(berth_h2_client_new(&c.c, 1, ended, &c, &e), 0);
    if (berth_h2_client_feed(c.c, "HTTP/1.1 400 Bad\r\n\r\n", 20) == 0)
        while (berth_h2_client_pull(c.c, &out, PULL_BYTES)) { /* it says goodbye first */
            out.len = 0;
            assert_true(++pulls < 3);
        }
    berth_buf_fini(&out);
    berth_h2_client_free(c.c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_manner_of_answer_is_told),
        cmocka_unit_test(bodies_wait_for_windows_and_streams_for_the_peer),
        cmocka_unit_test(what_is_no_http2_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
