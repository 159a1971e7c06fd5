#include "net/test_client.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"

static void
client_start(struct test_client *c, struct test_server *t)
{
    test_client_open(c, test_connect(t->port), NULL, 0);
}

static void
requests_are_answered(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    unsigned n = test_client_run_requests(&c);
    test_client_close(&c);
    test_wait(&t, ended, n);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 0);
}

static void
streams_end_in_their_own_order(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    int32_t a = test_client_ask(&c, "GET", "/hold/a", NULL, 0);
    int32_t b = test_client_ask(&c, "GET", "/hold/b", NULL, 0);
    test_client_send(&c);
    test_wait(&t, handled, 2);
    test_release(&t, "b");
    test_client_wait_closed(&c, 1);
    test_release(&t, "a");
    test_client_wait_closed(&c, 2);
    assert_int_equal(test_client_result(&c, b)->order, 1);
    assert_string_equal(test_client_result(&c, b)->first, "b");
    assert_int_equal(test_client_result(&c, a)->order, 2);
    assert_string_equal(test_client_result(&c, a)->first, "a");
    test_client_close(&c);
    test_stop(&t);
}

static void
a_reset_stream_is_gone_and_the_other_stays(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    int32_t a = test_client_ask(&c, "GET", "/hold/a", NULL, 0);
    int32_t b = test_client_ask(&c, "GET", "/hold/b", NULL, 0);
    test_client_send(&c);
    test_wait(&t, handled, 2);
    assert_int_equal(nghttp2_submit_rst_stream(c.session, 0, a, NGHTTP2_CANCEL), 0);
    test_client_send(&c);
    test_wait(&t, gone, 1);
    test_wait(&t, ended, 1);
    test_release(&t, "b");
    test_client_wait_closed(&c, 2);
    assert_int_equal(test_client_result(&c, b)->status, 200);
    test_client_close(&c);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 1);
}

static void
a_closed_connection_is_gone_for_all(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    (void)test_client_ask(&c, "GET", "/hold/a", NULL, 0);
    (void)test_client_ask(&c, "GET", "/hold/b", NULL, 0);
    test_client_send(&c);
    test_wait(&t, handled, 2);
    test_client_close(&c);
    test_wait(&t, gone, 2);
    test_wait(&t, ended, 2);
    test_stop(&t);
}

static void
an_aborted_answer_is_reset(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    int32_t id = test_client_ask(&c, "GET", "/abort", NULL, 0);
    test_client_wait_closed(&c, 1);
    assert_int_equal(test_client_result(&c, id)->error, NGHTTP2_INTERNAL_ERROR);
    test_client_close(&c);
    test_stop(&t);
}

static void
a_reader_that_opens_no_window_is_dropped(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;
    struct test_client c;

    conf.write_timeout_ns = 100 * BERTH_MS;
    test_start(&t, conf, 1, NULL, false);
    test_client_open(&c, test_connect(t.port), NULL, 1);
    nghttp2_session_set_local_window_size(c.session, 0, 0, 1);
    int32_t id = test_client_ask(&c, "GET", "/flood", NULL, 0);
    test_client_send(&c);
    test_wait(&t, eagain, 1);
    /* The client reads, and so opens its window by a byte each time: stop reading, too. */
    test_wait(&t, gone, 1);
    test_client_wait_closed(&c, 1);
    assert_int_equal(test_client_result(&c, id)->error, NGHTTP2_CANCEL);
    test_client_close(&c);
    test_stop(&t);
}

static void
a_slow_body_gets_408(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;
    struct test_client c;
    char *body = test_letters(1000);

    conf.body_timeout_ns = 50 * BERTH_MS;
    test_start(&t, conf, 1, NULL, false);
    client_start(&c, &t);
    c.body_stalls = true;
    int32_t id = test_client_ask(&c, "POST", "/echo", body, 1000);
    while (test_client_result(&c, id)->bytes == 0)
        test_client_step(&c);
    assert_int_equal(test_client_result(&c, id)->status, 408);
    test_client_close(&c);
    free(body);
    test_stop(&t);
}

static void
an_idle_connection_is_closed(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;
    struct test_client c;

    conf.idle_timeout_ns = 2 * BERTH_S; /* what the client says first comes sooner */
    test_start(&t, conf, 1, NULL, false);
    client_start(&c, &t);
    test_client_wait_end(&c);
    assert_true(c.goaway_seen);
    assert_int_equal(c.goaway_error, NGHTTP2_NO_ERROR);
    test_client_close(&c);
    test_stop(&t);
}

static void
connections_beyond_the_limit_get_503(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;
    struct test_client first, second;

    conf.connections_max = 1;
    test_start(&t, conf, 1, NULL, false);
    client_start(&first, &t);
    (void)test_client_ask(&first, "GET", "/hello", NULL, 0);
    test_client_wait_closed(&first, 1);
    client_start(&second, &t);
    int32_t id = test_client_ask(&second, "GET", "/hello", NULL, 0);
    test_client_wait_closed(&second, 1);
    assert_int_equal(test_client_result(&second, id)->status, 503);
    test_client_wait_end(&second);
    test_client_close(&second);
    (void)test_client_ask(&first, "GET", "/hello", NULL, 0);
    test_client_wait_closed(&first, 2);
    test_client_close(&first);
    test_stop(&t);
}

static void
the_limits_are_announced(void **unused)
{
    struct test_server t;
    struct test_client c;

    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    while (!c.settings_seen)
        test_client_step(&c);
    assert_int_equal(
        nghttp2_session_get_remote_settings(c.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
        10);
    assert_int_equal(
        nghttp2_session_get_remote_settings(c.session, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE),
        16 * 1024);
    test_client_close(&c);
    test_stop(&t);
}

static void
a_long_path_gets_414(void **unused)
{
    struct test_server t;
    struct test_client c;
    char path[9001];

    memset(path, 'a', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    int32_t id = test_client_ask(&c, "GET", path, NULL, 0);
    test_client_wait_closed(&c, 1);
    assert_int_equal(test_client_result(&c, id)->status, 414);
    test_client_close(&c);
    test_stop(&t);
}

static void
many_headers_get_431(void **unused)
{
    struct test_server t;
    struct test_client c;
    nghttp2_nv nva[80] = {TEST_NV(":method", "GET"), TEST_NV(":scheme", "http"),
                          TEST_NV(":authority", "h"), TEST_NV(":path", "/hello")};

    for (size_t i = 4; i < BERTH_COUNT(nva); i++)
        nva[i] = (nghttp2_nv)TEST_NV("x", "y");
    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    int32_t id = nghttp2_submit_request(c.session, NULL, nva, BERTH_COUNT(nva), NULL, NULL);
    test_client_wait_closed(&c, 1);
    assert_int_equal(test_client_result(&c, id)->status, 431);
    test_client_close(&c);
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
drain_lets_streams_finish(void **unused)
{
    struct test_server t;
    struct test_client c;
    pthread_t thread;

    test_start(&t, test_conf(), 1, NULL, false);
    client_start(&c, &t);
    int32_t id = test_client_ask(&c, "GET", "/hold/a", NULL, 0);
    test_client_send(&c);
    test_wait(&t, handled, 1);
    assert_int_equal(pthread_create(&thread, NULL, drain, &t), 0);
    while (!c.goaway_seen)
        test_client_step(&c);
    assert_int_equal(c.goaway_error, NGHTTP2_NO_ERROR);
    test_release(&t, "a");
    test_client_wait_closed(&c, 1);
    assert_int_equal(test_client_result(&c, id)->status, 200);
    test_client_wait_end(&c);
    test_client_close(&c);
    (void)pthread_join(thread, NULL);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 0);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* the client writes to connections that the server closed */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_answered),
        cmocka_unit_test(streams_end_in_their_own_order),
        cmocka_unit_test(a_reset_stream_is_gone_and_the_other_stays),
        cmocka_unit_test(a_closed_connection_is_gone_for_all),
        cmocka_unit_test(an_aborted_answer_is_reset),
        cmocka_unit_test(a_reader_that_opens_no_window_is_dropped),
        cmocka_unit_test(a_slow_body_gets_408),
        cmocka_unit_test(an_idle_connection_is_closed),
        cmocka_unit_test(connections_beyond_the_limit_get_503),
        cmocka_unit_test(the_limits_are_announced),
        cmocka_unit_test(a_long_path_gets_414),
        cmocka_unit_test(many_headers_get_431),
        cmocka_unit_test(drain_lets_streams_finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
