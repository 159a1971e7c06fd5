#include "net/test_support.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"

#define H "Host: h\r\n"
#define C "Connection: close\r\n"

/* Bytes sent on a new connection, and the answers until the server closes it. */
struct row {
    const char *why, *bytes, *statuses;
};

static const struct row plain_rows[] = {
    {"a request", "GET /hello HTTP/1.1\r\n" H C "\r\n", "200"},
    {"keep-alive, then close", "GET /hello HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H C "\r\n",
     "200 200"},
    {"1.0 closes", "GET /hello HTTP/1.0\r\n\r\n", "200"},
    {"1.0 keeps alive when asked",
     "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /hello HTTP/1.0\r\n\r\n", "200 200"},
    {"an empty line before a request", "\r\nGET /hello HTTP/1.1\r\n" H C "\r\n", "200"},
    {"absolute URL", "GET http://h/hello HTTP/1.1\r\n" H C "\r\n", "200"},
    {"a body", "POST /echo HTTP/1.1\r\n" H C "Content-Length: 3\r\n\r\nabc", "200"},
    {"a body at its limit", "POST /small HTTP/1.1\r\n" H C "Content-Length: 10\r\n\r\n0123456789",
     "200"},
    {"chunks",
     "POST /echo HTTP/1.1\r\n" H C
     "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
     "200"},
    {"answer before the body, connection kept",
     "POST /begin HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabcGET /hello HTTP/1.1\r\n" H C "\r\n",
     "403 200"},
    {"unknown path", "GET /none HTTP/1.1\r\n" H C "\r\n", "404"},
    {"no body in 204", "GET /empty HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H C "\r\n",
     "204 200"},
};

/* Each is read in two ways by some pair of programs; here each ends the connection. */
static const struct row smuggling_rows[] = {
    {"both lengths",
     "POST /echo HTTP/1.1\r\n" H "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
     "GET /hello HTTP/1.1\r\n" H "\r\n",
     "400"},
    {"both lengths, turned round",
     "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
     "400"},
    {"two lengths",
     "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
    {"two lengths in a list", "POST /echo HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc", "400"},
    {"signed length", "POST /echo HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc", "400"},
    {"negative length", "POST /echo HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\nabc", "400"},
    {"hexadecimal length", "POST /echo HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc", "400"},
    {"empty length", "POST /echo HTTP/1.1\r\n" H "Content-Length: \r\n\r\nabc", "400"},
    {"overflowing length",
     "POST /echo HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\nabc", "400"},
    {"folded line", "GET /hello HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", "400"},
    {"folded first line", "GET /hello HTTP/1.1\r\n Host: h\r\n\r\n", "400"},
    {"bare LF", "GET /hello HTTP/1.1\n" H "\r\n", "400"},
    {"bare LF in the middle", "GET /hello HTTP/1.1\r\nX: a\nHost: h\r\n\r\n", "400"},
    {"bare LF at the end", "GET /hello HTTP/1.1\r\nHost: h\n\n", "400"},
    {"bare CR", "GET /hello HTTP/1.1\r\nX: a\rY: b\r\n" H "\r\n", "400"},
    {"blank before the colon", "POST /echo HTTP/1.1\r\n" H "Content-Length : 3\r\n\r\nabc", "400"},
    {"tab before the colon", "POST /echo HTTP/1.1\r\n" H "Content-Length\t: 3\r\n\r\nabc", "400"},
    {"no colon", "GET /hello HTTP/1.1\r\n" H "X\r\n\r\n", "400"},
    {"empty name", "GET /hello HTTP/1.1\r\n" H ": x\r\n\r\n", "400"},
    {"no Host", "GET /hello HTTP/1.1\r\n\r\n", "400"},
    {"two Hosts", "GET /hello HTTP/1.1\r\n" H "Host: i\r\n\r\n", "400"},
    {"Host with a blank", "GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
    {"Host with a path", "GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"},
    {"unknown coding", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", "501"},
    {"two codings", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", "501"},
    {"coding in disguise", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n",
     "501"},
    {"coding twice",
     "POST /echo HTTP/1.1\r\n" H
     "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "400"},
    {"coding in 1.0", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
#define CHUNKED "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
    {"chunk size not hexadecimal", CHUNKED "zz\r\n", "400"},
    {"chunk size empty", CHUNKED "\r\n\r\n", "400"},
    {"chunk size signed", CHUNKED "-3\r\nabc\r\n", "400"},
    {"chunk size 0x", CHUNKED "0x3\r\nabc\r\n", "400"},
    {"chunk size overflowing", CHUNKED "FFFFFFFFFFFFFFFF1\r\n", "400"},
    {"chunk size with a blank", CHUNKED "3 \r\nabc\r\n", "400"},
    {"chunk size with bare LF", CHUNKED "3\nabc\r\n0\r\n\r\n", "400"},
    {"chunk extension with bare LF", CHUNKED "3;x\nabc\r\n0\r\n\r\n", "400"},
    {"chunk longer than it says", CHUNKED "3\r\nabcd\r\n0\r\n\r\n", "400"},
    {"chunk ending with bare LF", CHUNKED "3\r\nabc\n0\r\n\r\n", "400"},
    {"trailer with bare LF", CHUNKED "0\r\nx: y\n\r\n", "400"},
};

static const struct row malformed_rows[] = {
    {"garbage", "\x01\x02\x03\x04\r\n\r\n", "400"},
    {"TLS on a plain port", "\x16\x03\x01\x02\r\n\r\n", "400"},
    {"unknown method", "BREW /pot HTTP/1.1\r\n" H "\r\n", "400"},
    {"method in lower case", "get /hello HTTP/1.1\r\n" H "\r\n", "400"},
    {"CONNECT", "CONNECT h:1 HTTP/1.1\r\n" H "\r\n", "400"},
    {"version 2.0", "GET /hello HTTP/2.0\r\n" H "\r\n", "505"},
    {"version 1.2", "GET /hello HTTP/1.2\r\n" H "\r\n", "505"},
    {"no version", "GET /hello\r\n\r\n", "505"},
    {"blank in the URL", "GET /hel lo HTTP/1.1\r\n" H "\r\n", "400"},
    {"relative URL", "GET hello HTTP/1.1\r\n" H "\r\n", "400"},
    {"fragment in the URL", "GET /hello#x HTTP/1.1\r\n" H "\r\n", "400"},
    {"user in the URL", "GET http://a@h/hello HTTP/1.1\r\n" H "\r\n", "400"},
    {"unknown expectation", "GET /hello HTTP/1.1\r\n" H "Expect: fish\r\n\r\n", "417"},
    {"body too large", "POST /small HTTP/1.1\r\n" H "Content-Length: 11\r\n\r\n", "413"},
    {"body too large, and asked first",
     "POST /small HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 11\r\n\r\n", "413"},
    {"chunks too large",
     "POST /small HTTP/1.1\r\n" H
     "Transfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n8\r\n01234567\r\n",
     "413"},
    {"early answer to a long body closes",
     "POST /begin HTTP/1.1\r\n" H "Content-Length: 1000000\r\n\r\n", "403"},
    {"early answer to chunks closes",
     "POST /begin HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", "403"},
};

static void
run_rows(const struct row *rows, size_t n)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    for (size_t i = 0; i < n; i++)
        test_bytes(&t, rows[i].why, rows[i].bytes, strlen(rows[i].bytes), rows[i].statuses);
    test_stop(&t);
    assert_int_equal(t.seen.gone, 0);
}

static void
requests_are_answered(void **unused)
{
    run_rows(plain_rows, BERTH_COUNT(plain_rows));
}

static void
what_could_be_read_in_two_ways_is_refused(void **unused)
{
    run_rows(smuggling_rows, BERTH_COUNT(smuggling_rows));
}

static void
malformed_requests_are_refused(void **unused)
{
    run_rows(malformed_rows, BERTH_COUNT(malformed_rows));
}

static void
a_zero_byte_in_the_head_is_refused(void **unused)
{
    static const char in_value[] = "GET /hello HTTP/1.1\r\nX: a\0b\r\n" H "\r\n";
    static const char in_name[] = "GET /hello HTTP/1.1\r\nX\0Y: b\r\n" H "\r\n";
    static const char in_url[] = "GET /hel\0lo HTTP/1.1\r\n" H "\r\n";
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    test_bytes(&t, "value", in_value, sizeof in_value - 1, "400");
    test_bytes(&t, "name", in_name, sizeof in_name - 1, "400");
    test_bytes(&t, "URL", in_url, sizeof in_url - 1, "400");
    test_stop(&t);
}

static void
requests_come_byte_by_byte(void **unused)
{
    struct test_server t;
    char got[64];

    test_start(&t, test_conf(), 1, NULL, false);
    for (size_t i = 0; i < BERTH_COUNT(plain_rows); i++) {
        int fd = test_connect(t.port);
        for (const char *p = plain_rows[i].bytes; *p != '\0'; p++)
            test_send(fd, p, 1);
        char *answers = test_read(fd, NULL, NULL);
        (void)close(fd);
        test_statuses(answers, got);
        if (strcmp(got, plain_rows[i].statuses) != 0)
            fail_msg("%s: got %s", plain_rows[i].why, got);
        free(answers);
    }
    test_stop(&t);
}

/* prefix, then `fill` n times, then suffix. */
static const struct {
    const char *why, *prefix, *fill;
    size_t n;
    const char *suffix, *statuses;
} long_rows[] = {
    {"long URL within the limit", "GET /hello?", "a", 7000, " HTTP/1.1\r\n" H C "\r\n", "200"},
    {"URL over its limit", "GET /hello?", "a", 9000, " HTTP/1.1\r\n" H "\r\n", "414"},
    {"URL without an end", "GET /", "a", 20000, "", "414"},
    {"one long header", "GET /hello HTTP/1.1\r\n" H "X: ", "a", 20000, "\r\n\r\n", "431"},
    {"too many headers", "GET /hello HTTP/1.1\r\n" H, "X: a\r\n", 64, "\r\n", "431"},
    {"as many headers as may be", "GET /hello HTTP/1.1\r\n" H C, "X: a\r\n", 62, "\r\n", "200"},
    {"empty lines without end", "", "\r\n", 100, "", "400"},
    {"chunk extensions without end", CHUNKED "3;", "x", 20000, "", "400"},
    {"trailers without end", CHUNKED "0\r\n", "x: y\r\n", 20000, "", "400"},
};

static void
every_part_of_a_request_has_a_limit(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    for (size_t i = 0; i < BERTH_COUNT(long_rows); i++) {
        struct berth_buf b;
        berth_buf_init(&b, NULL);
        berth_buf_puts(&b, long_rows[i].prefix);
        for (size_t k = 0; k < long_rows[i].n; k++)
            berth_buf_puts(&b, long_rows[i].fill);
        berth_buf_puts(&b, long_rows[i].suffix);
        assert_false(b.failed);
        test_bytes(&t, long_rows[i].why, b.at, b.len, long_rows[i].statuses);
        berth_buf_fini(&b);
    }
    test_stop(&t);
}

static void
answers_come_in_the_order_of_requests(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /hold/first HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H
                       "\r\nGET /stream HTTP/1.1\r\n" H C "\r\n");
    test_wait(&t, handled, 1);
    test_release(&t, "first");
    char *answers = test_read(fd, NULL, NULL);
    (void)close(fd);
    const char *first = strstr(answers, "\r\n\r\nfirst");
    const char *second = strstr(answers, "\r\n\r\nhello");
    const char *third = strstr(answers, "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n");
    assert_true(first != NULL && second > first && third > second);
    free(answers);
    test_stop(&t);
}

static void
many_pipelined_requests_are_all_answered(void **unused)
{
    enum { REQUESTS = 5000 };
    struct test_server t;
    struct berth_buf b;
    size_t n = 0;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    berth_buf_init(&b, NULL);
    for (int i = 0; i < REQUESTS - 1; i++)
        berth_buf_puts(&b, "GET /hello HTTP/1.1\r\n" H "\r\n");
    berth_buf_puts(&b, "GET /hello HTTP/1.1\r\n" H C "\r\n");
    test_send(fd, b.at, b.len);
    char *answers = test_read(fd, NULL, NULL);
    for (const char *p = answers; (p = strstr(p, "\r\n\r\nhello")) != NULL; p++)
        n++;
    assert_int_equal(n, REQUESTS);
    free(answers);
    berth_buf_fini(&b);
    (void)close(fd);
    test_stop(&t);
}

static void
head_has_the_length_and_no_body(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "HEAD /big HTTP/1.1\r\n" H "\r\nGET /hello HTTP/1.1\r\n" H C "\r\n");
    size_t len;
    char *answers = test_read(fd, NULL, &len);
    assert_non_null(strstr(answers, "content-length: 1048576\r\n"));
    assert_non_null(strstr(answers, "x-seen: yes\r\n"));
    assert_true(len < 1000);
    free(answers);
    (void)close(fd);
    test_stop(&t);
}

static void
a_large_answer_arrives_whole(void **unused)
{
    struct test_server t;
    size_t len;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "GET /big HTTP/1.1\r\n" H "\r\nGET /big HTTP/1.1\r\n" H C "\r\n");
    char *answers = test_read(fd, NULL, &len);
    assert_true(len > 2 * 1024 * 1024 && len < 2 * 1024 * 1024 + 1000);
    free(answers);
    (void)close(fd);
    test_wait(&t, ended, 2);
    test_stop(&t);
}

static void
a_large_body_arrives_whole(void **unused)
{
    enum { BYTES = 600 * 1024 };
    static const char *const heads[] = {
        "POST /echo HTTP/1.1\r\n" H C "Content-Length: 614400\r\n\r\n",
        "POST /split HTTP/1.1\r\n" H C "Content-Length: 614400\r\n\r\n", /* aligned within */
    };
    struct test_server t;
    char *body = malloc(BYTES);
    size_t len;

    assert_non_null(body);
    for (size_t i = 0; i < BYTES; i++)
        body[i] = (char)('a' + i % 23);
    test_start(&t, test_conf(), 1, NULL, false);
    for (size_t i = 0; i < BERTH_COUNT(heads); i++) {
        int fd = test_connect(t.port);
        test_send_text(fd, heads[i]);
        test_send(fd, body, BYTES);
        char *answers = test_read(fd, NULL, &len);
        assert_true(len > BYTES);
        assert_memory_equal(answers + len - BYTES, body, BYTES);
        free(answers);
        (void)close(fd);
    }
    free(body);
    test_stop(&t);
}

static void
a_client_that_asks_is_told_to_go_on(void **unused)
{
    struct test_server t;

    test_start(&t, test_conf(), 1, NULL, false);
    int fd = test_connect(t.port);
    test_send_text(fd, "POST /echo HTTP/1.1\r\n" H C
                       "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    free(test_expect(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
    test_send_text(fd, "abc");
    free(test_expect(fd, "\r\n\r\nabc"));
    (void)close(fd);
    test_stop(&t);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* the client writes to connections that the server closed */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_answered),
        cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
        cmocka_unit_test(malformed_requests_are_refused),
        cmocka_unit_test(a_zero_byte_in_the_head_is_refused),
        cmocka_unit_test(requests_come_byte_by_byte),
        cmocka_unit_test(every_part_of_a_request_has_a_limit),
        cmocka_unit_test(answers_come_in_the_order_of_requests),
        cmocka_unit_test(many_pipelined_requests_are_all_answered),
        cmocka_unit_test(head_has_the_length_and_no_body),
        cmocka_unit_test(a_large_answer_arrives_whole),
        cmocka_unit_test(a_large_body_arrives_whole),
        cmocka_unit_test(a_client_that_asks_is_told_to_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
