#include "net/test_client.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/test_paths.h"

/* Bodies in pieces, both directions at once, lent bytes, trailers: what gRPC needs. */

static void
open_client(struct test_client *c, struct test_server *t)
{
    test_client_open(c, test_connect(t->port), NULL, 0);
}

static void
a_body_comes_in_pieces_and_trailers_end_the_answer(void **unused)
{
    struct test_server t;
    struct test_client c;
    char *body = test_letters(200000);

    test_start(&t, test_conf(), 1, NULL, false);
    open_client(&c, &t);
    int32_t id = test_client_ask(&c, "POST", "/pieces", body, 200000);
    test_client_wait_closed(&c, 1);
    const struct test_result *r = test_client_result(&c, id);
    assert_int_equal(r->status, 200);
    assert_int_equal(r->bytes, 200000);
    assert_int_equal(r->hash, test_hash(TEST_HASH, body, 200000));
    assert_string_equal(r->trailers, "x-bytes=200000;");
    assert_int_equal(r->error, NGHTTP2_NO_ERROR);
    id = test_client_ask(&c, "POST", "/pieces", NULL, 0);
    test_client_wait_closed(&c, 2);
    assert_string_equal(test_client_result(&c, id)->trailers, "x-bytes=0;");
    test_client_close(&c);
    free(body);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 0);
}

static void
the_answer_comes_while_the_body_still_goes(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    open_client(&c, &t);
    c.body_stalls = true;
    int32_t id = test_client_ask(&c, "POST", "/pieces", "onetwo", 6);
    const struct test_result *r = test_client_result(&c, id);
    while (r->bytes < 3)
        test_client_step(&c);
    assert_memory_equal(r->first, "one", 3);
    assert_false(r->closed);
    c.body_stalls = false;
    assert_int_equal(nghttp2_session_resume_data(c.session, id), 0);
    test_client_wait_closed(&c, 1);
    assert_string_equal(r->first, "onetwo");
    assert_string_equal(r->trailers, "x-bytes=6;");
    test_client_close(&c);
    test_stop(&t);
}

static void
an_answer_before_the_bodys_end_ends_cleanly(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    open_client(&c, &t);
    c.body_stalls = true;
    int32_t id = test_client_ask(&c, "POST", "/early", "onetwo", 6);
    test_client_wait_closed(&c, 1);
    const struct test_result *r = test_client_result(&c, id);
    assert_int_equal(r->status, 200);
    assert_string_equal(r->trailers, "x-why=early;x-more=yes;");
    assert_int_equal(r->heads, 1); /* head and trailers in one: Trailers-Only */
    assert_int_equal(r->data_frames, 0);
    assert_true(r->end_seen);
    assert_int_equal(r->error, NGHTTP2_NO_ERROR);
    c.body_stalls = false;
    id = test_client_ask(&c, "POST", "/only", NULL, 0);
    test_client_wait_closed(&c, 2);
    assert_int_equal(test_client_result(&c, id)->heads, 1);
    test_client_close(&c);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 0);
}

static void
lent_bytes_arrive_in_their_order(void **unused)
{
    struct test_server t;
    struct test_client c;
    const size_t big = 1024 * 1024;

    test_start(&t, test_conf(), 1, NULL, false);
    open_client(&c, &t);
    (void)test_client_ask(&c, "GET", "/lend", NULL, 0);
    (void)test_client_ask(&c, "GET", "/lend", NULL, 0);
    int32_t id = test_client_ask(&c, "GET", "/lend", NULL, 0);
    test_client_wait_closed(&c, 3);
    uint32_t want = test_hash(TEST_HASH, "head", 4);
    want = test_hash(test_hash(want, t.big, big), "mid", 3);
    want = test_hash(test_hash(want, t.big, big), "few", 3);
    for (; id > 0; id -= 2) {
        assert_int_equal(test_client_result(&c, id)->bytes, 2 * big + 10);
        assert_int_equal(test_client_result(&c, id)->hash, want);
        assert_string_equal(test_client_result(&c, id)->trailers, "x-why=lent;");
    }
    test_client_close(&c);
    test_wait(&t, ended, 3);
    /* A client that leaves in the middle: what is lent is let go of. */
    open_client(&c, &t);
    (void)test_client_ask(&c, "GET", "/lend", NULL, 0);
    test_client_step(&c);
    test_client_close(&c);
    test_wait(&t, ended, 4);
    test_stop(&t);
}

static void
a_paused_stream_keeps_its_window_shut_and_no_other(void **unused)
{
    enum { LARGE = 20 * 1024 * 1024 };
    struct test_server t;
    struct test_client c;
    char *body = test_letters(LARGE);

    test_start(&t, test_conf(), 1, NULL, false);
    open_client(&c, &t);
    int32_t paused = test_client_ask(&c, "POST", "/paused/a", body, 4 * 1024 * 1024);
    while (nghttp2_session_get_stream_remote_window_size(c.session, paused) > 0 ||
           !c.settings_seen || c.body_sent < 1024 * 1024)
        test_client_step(&c);
    size_t sent = c.body_sent;
    assert_int_equal(sent, 1024 * 1024); /* the window, and not a byte more */
    struct test_client other;
    open_client(&other, &t);
    int32_t id = test_client_ask(&other, "POST", "/sink", body, LARGE);
    test_client_wait_closed(&other, 1);
    assert_string_equal(test_client_result(&other, id)->first, "20971520");
    test_client_close(&other);
    test_resume(&t, "a");
    test_client_wait_closed(&c, 1);
    assert_string_equal(test_client_result(&c, paused)->first, "4194304");
    id = test_client_ask(&c, "POST", "/sink", body, LARGE); /* more than the connection's window */
    test_client_wait_closed(&c, 2);
    assert_string_equal(test_client_result(&c, id)->first, "20971520");
    test_client_close(&c);
    free(body);
    test_stop(&t);
}

static void
a_reset_in_the_body_is_gone(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    open_client(&c, &t);
    c.body_stalls = true;
    int32_t id = test_client_ask(&c, "POST", "/quiet", "onetwo", 6);
    test_client_send(&c);
    test_wait(&t, pieces, 1);
    assert_int_equal(nghttp2_submit_rst_stream(c.session, 0, id, NGHTTP2_CANCEL), 0);
    test_client_send(&c);
    test_wait(&t, gone, 1);
    test_wait(&t, ended, 1);
    test_client_close(&c);
    test_stop(&t);
}

static void
a_quiet_body_is_cut_unless_its_answer_began(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;
    struct test_client c;

    conf.body_timeout_ns = 2 * BERTH_S; /* the first half of a body comes sooner */
    test_start(&t, conf, 1, NULL, false);
    open_client(&c, &t);
    c.body_stalls = true;
    int32_t lives = test_client_ask(&c, "POST", "/pieces", "onetwo", 6);
    while (test_client_result(&c, lives)->bytes < 3)
        test_client_step(&c);
    struct test_client other;
    open_client(&other, &t);
    other.body_stalls = true;
    int32_t dies = test_client_ask(&other, "POST", "/quiet", "onetwo", 6);
    test_client_wait_closed(&other, 1);
    assert_int_equal(test_client_result(&other, dies)->error, NGHTTP2_CANCEL);
    test_wait(&t, gone, 1);
    test_client_close(&other);
    c.body_stalls = false;
    assert_int_equal(nghttp2_session_resume_data(c.session, lives), 0);
    test_client_wait_closed(&c, 1);
    assert_string_equal(test_client_result(&c, lives)->first, "onetwo");
    test_client_close(&c);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 1);
}

static void
a_slow_reader_is_waited_for(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    open_client(&c, &t);
    int32_t id = test_client_ask(&c, "GET", "/feed", NULL, 0);
    test_client_wait_closed(&c, 1);
    assert_int_equal(test_client_result(&c, id)->bytes, TEST_FEED_BYTES);
    test_client_close(&c);
    test_stop(&t);
    assert_true(t.seen.eagain >= 1);
    assert_int_equal(t.seen.gone, 0);
}

static const struct {
    const char *why, *request, *answer_has;
} http1_rows[] = {
    {"a known length", "POST /pieces HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nonetwo",
     "6\r\nonetwo\r\n0\r\n\r\n"},
    {"chunks",
     "POST /pieces HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
     "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
     "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"},
    {"no body", "POST /sink HTTP/1.1\r\nhost: h\r\n\r\n", "\r\n\r\n0"},
    {"a length to be counted", "POST /sink HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\none",
     "\r\n\r\n3"},
    {"what follows is another request",
     "POST /sink HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\none"
     "GET /hello HTTP/1.1\r\nhost: h\r\n\r\n",
     "hello"},
    {"asked first",
     "POST /sink HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\none",
     "100 Continue\r\n\r\nHTTP/1.1 200"},
    {"an end before the body's", "POST /early HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\none",
     "HTTP/1.1 200 OK"},
    {"an end before the chunks'",
     "POST /early HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\n",
     "connection: close"},
};

static void
http1_has_pieces_too(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    for (size_t i = 0; i < BERTH_COUNT(http1_rows); i++) {
        print_message("  %s\n", http1_rows[i].why);
        int fd = test_connect(t.port);
        test_send_text(fd, http1_rows[i].request);
        free(test_expect(fd, http1_rows[i].answer_has));
        (void)close(fd);
        test_wait(&t, ended, t.seen.begun);
    }
    test_stop(&t);
    assert_int_equal(t.seen.gone, 0);
}

static void
http1_lends_waits_and_pauses(void **unused)
{
    struct test_server t;
    size_t len;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /lend HTTP/1.0\r\n\r\n");
    char *answer = test_read(fd, NULL, &len);
    const char *body = strstr(answer, "\r\n\r\n") + 4;
    assert_int_equal(len - (size_t)(body - answer), 2 * 1024 * 1024 + 10);
    assert_memory_equal(body, "headb", 5);
    assert_memory_equal(body + 4 + 1024 * 1024, "midb", 4);
    assert_memory_equal(body + 7 + 2 * 1024 * 1024, "few", 3);
    free(answer);
    (void)close(fd);
    fd = test_connect(t.port);
    test_send_text(fd, "GET /feed HTTP/1.0\r\n\r\n");
    test_wait(&t, eagain, 1);
    answer = test_read(fd, NULL, &len);
    assert_true(len > TEST_FEED_BYTES);
    free(answer);
    (void)close(fd);
    fd = test_connect(t.port);
    test_send_text(fd, "POST /paused/a HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n");
    test_wait(&t, handled, 3);
    test_send_text(fd, "some more");
    test_resume(&t, "a");
    free(test_expect(fd, "\r\n\r\n9"));
    (void)close(fd);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 0);
}

static void
http1_cuts_a_quiet_body(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;

    conf.body_timeout_ns = 50 * BERTH_MS;
    test_start(&t, conf, 1, NULL, false);
    static const char stops[] = "POST /quiet HTTP/1.1\r\ncontent-length: 3\r\nhost: h\r\n\r\n";
    static const char broken[] =
        "POST /quiet HTTP/1.1\r\ntransfer-encoding: chunked\r\nhost: h\r\n\r\nzz\r\n";
    test_bytes(&t, "a body that stops", stops, sizeof stops - 1, "");
    test_wait(&t, gone, 1);
    test_bytes(&t, "chunks that are none", broken, sizeof broken - 1, "");
    test_wait(&t, gone, 2);
    test_stop(&t);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* the client writes to connections that the server closed */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_comes_in_pieces_and_trailers_end_the_answer),
        cmocka_unit_test(the_answer_comes_while_the_body_still_goes),
        cmocka_unit_test(an_answer_before_the_bodys_end_ends_cleanly),
        cmocka_unit_test(lent_bytes_arrive_in_their_order),
        cmocka_unit_test(a_paused_stream_keeps_its_window_shut_and_no_other),
        cmocka_unit_test(a_reset_in_the_body_is_gone),
        cmocka_unit_test(a_quiet_body_is_cut_unless_its_answer_began),
        cmocka_unit_test(a_slow_reader_is_waited_for),
        cmocka_unit_test(http1_has_pieces_too),
        cmocka_unit_test(http1_lends_waits_and_pauses),
        cmocka_unit_test(http1_cuts_a_quiet_body),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
