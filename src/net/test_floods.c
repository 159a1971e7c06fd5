#include "net/test_client.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"

/* ---- floods, as raw frames: a well-behaved client cannot send them ---- */

static void
put_frame(struct berth_buf *b, uint8_t type, uint8_t flags, uint32_t id, const char *payload,
          size_t len)
{
    const char head[9] = {0,           (char)(len >> 8), (char)len,        (char)type,
                          (char)flags, (char)(id >> 24), (char)(id >> 16), (char)(id >> 8),
                          (char)id};

    berth_buf_put(b, head, sizeof head);
    berth_buf_put(b, payload, len);
}

/* :method GET, :scheme http, :path /hold/a, :authority h; without an index */
static const char head_block[] = "\x82\x86\x04\x07/hold/a\x01\x01h";
enum { HEAD_BLOCK = sizeof head_block - 1 };
enum { END_STREAM = 1, END_HEADERS = 4 };

static void
ping(struct berth_buf *b, uint32_t i)
{
    put_frame(b, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void
settings(struct berth_buf *b, uint32_t i)
{
    put_frame(b, NGHTTP2_SETTINGS, 0, 0, "", 0);
}

static void
priority(struct berth_buf *b, uint32_t i)
{
    put_frame(b, NGHTTP2_PRIORITY, 0, 3, "\0\0\0\0\1", 5);
}

static void
rapid_reset(struct berth_buf *b, uint32_t i)
{
    put_frame(b, NGHTTP2_HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, head_block, HEAD_BLOCK);
    put_frame(b, NGHTTP2_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x08", 4);
}

/* The peer makes us reset the stream: its window overflows. */
static void
made_reset(struct berth_buf *b, uint32_t i)
{
    put_frame(b, NGHTTP2_HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, head_block, HEAD_BLOCK);
    put_frame(b, NGHTTP2_WINDOW_UPDATE, 0, 2 * i + 1, "\x7f\xff\xff\xff", 4);
}

static void
empty_data(struct berth_buf *b, uint32_t i)
{
    if (i == 0)
        put_frame(b, NGHTTP2_HEADERS, END_HEADERS, 1, head_block, HEAD_BLOCK);
    put_frame(b, NGHTTP2_DATA, 0, 1, "", 0);
}

static void
empty_continuation(struct berth_buf *b, uint32_t i)
{
    if (i == 0)
        put_frame(b, NGHTTP2_HEADERS, END_STREAM, 1, head_block, HEAD_BLOCK);
    put_frame(b, NGHTTP2_CONTINUATION, 0, 1, "", 0);
}

static void
full_continuation(struct berth_buf *b, uint32_t i)
{
    /* x: y, a hundred times */
    char block[500];

    for (size_t k = 0; k < sizeof block; k += 5)
        memcpy(block + k, "\0\1x\1y", 5);
    if (i == 0)
        put_frame(b, NGHTTP2_HEADERS, END_STREAM, 1, head_block, HEAD_BLOCK);
    put_frame(b, NGHTTP2_CONTINUATION, 0, 1, block, sizeof block);
}

static const struct {
    const char *why;
    void (*put)(struct berth_buf *b, uint32_t i);
    uint32_t n;
    const char *told;
} flood_rows[] = {
    {"pings", ping, 3000, "too_many_pings"},
    {"settings", settings, 3000, "too_many_settings"},
    {"priorities", priority, 3000, "too_many_priorities"},
    {"streams opened and reset (CVE-2023-44487)", rapid_reset, 3000, "too_many_resets"},
    {"streams that we are made to reset", made_reset, 3000, "invalid_frames"},
    {"empty data", empty_data, 3000, "empty_data"},
    {"empty continuations", empty_continuation, 20000, ""},
    {"a head without an end", full_continuation, 1000, ""},
};

/* The error code of the last GOAWAY in a stream of frames, or -1. */
static int64_t
goaway_in(const char *at, size_t len)
{
    const unsigned char *p = (const unsigned char *)at;
    int64_t error = -1;

    while (len >= 9) {
        size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (len < 9 + n)
            break;
        if (p[3] == NGHTTP2_GOAWAY && n >= 8)
            error = (int64_t)p[13] << 24 | p[14] << 16 | p[15] << 8 | p[16];
        p += 9 + n;
        len -= 9 + n;
    }
    return error;
}

static void
floods_are_calmed(void **unused)
{
    struct test_server t;
    size_t len;

    test_start(&t, test_conf(), 1, NULL, false);
    for (size_t i = 0; i < BERTH_COUNT(flood_rows); i++) {
        struct berth_buf b;
        berth_buf_init(&b, NULL);
        berth_buf_puts(&b, NGHTTP2_CLIENT_MAGIC);
        put_frame(&b, NGHTTP2_SETTINGS, 0, 0, "", 0);
        for (uint32_t k = 0; k < flood_rows[i].n; k++)
            flood_rows[i].put(&b, k);
        assert_false(b.failed);
        int fd = test_connect(t.port);
        test_send(fd, b.at, b.len);
        char *said = test_read(fd, NULL, &len);
        int64_t error = goaway_in(said, len);
        if (error != NGHTTP2_ENHANCE_YOUR_CALM)
            fail_msg("%s: GOAWAY %lld in %zu bytes", flood_rows[i].why, (long long)error, len);
        if (memmem(said, len, flood_rows[i].told, strlen(flood_rows[i].told)) == NULL)
            fail_msg("%s: is not told %s", flood_rows[i].why, flood_rows[i].told);
        free(said);
        (void)close(fd);
        berth_buf_fini(&b);
    }
    test_stop(&t); /* waits for every exchange */
    assert_int_equal(t.seen.begun + t.seen.refused >= t.seen.ended, true);
}

/* gRPC clients measure the line by a PING for each answer. */
static void
pings_among_answers_are_welcome(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    test_client_open(&c, test_connect(t.port), NULL, 0);
    for (unsigned i = 1; i <= 800; i++) { /* more than any budget for PINGs alone */
        assert_int_equal(nghttp2_submit_ping(c.session, 0, (const uint8_t *)"12345678"), 0);
        (void)test_client_ask(&c, "GET", "/hello", NULL, 0);
        test_client_wait_closed(&c, i);
    }
    assert_false(c.goaway_seen);
    test_client_close(&c);
    test_stop(&t);
}

static void
a_head_that_never_ends_is_dropped(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;
    struct berth_buf b;
    size_t len;

    conf.head_timeout_ns = 2 * BERTH_S; /* what is sent below comes sooner */
    test_start(&t, conf, 1, NULL, false);
    berth_buf_init(&b, NULL);
    berth_buf_puts(&b, NGHTTP2_CLIENT_MAGIC);
    put_frame(&b, NGHTTP2_SETTINGS, 0, 0, "", 0);
    put_frame(&b, NGHTTP2_HEADERS, END_STREAM, 1, head_block, HEAD_BLOCK);
    int fd = test_connect(t.port);
    test_send(fd, b.at, b.len);
    char *said = test_read(fd, NULL, &len);
    assert_int_equal(goaway_in(said, len), NGHTTP2_ENHANCE_YOUR_CALM);
    free(said);
    (void)close(fd);
    berth_buf_fini(&b);
    test_stop(&t);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* the client writes to connections that the server closed */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floods_are_calmed),
        cmocka_unit_test(pings_among_answers_are_welcome),
        cmocka_unit_test(a_head_that_never_ends_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
