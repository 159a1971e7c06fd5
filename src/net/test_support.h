#ifndef BERTH_NET_TEST_SUPPORT_H
#define BERTH_NET_TEST_SUPPORT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/server.h"
#include "os/loop.h"

/*
 * A server with an application whose paths each do one thing, and a client that sends what it is
 * told and waits with a deadline.
 *
 *   /hello            200 "hello"
 *   /echo             the body; its address is checked
 *   /small            as /echo, with body_max 10
 *   /begin            403 from begin()
 *   /hold/NAME        waits for test_release(), then "NAME"; ends at gone()
 *   /stream           "one", "two", "three" as pieces
 *   /flood            64 KiB pieces until EAGAIN, then waits for gone()
 *   /big              1 MiB
 *   /inject           a header value that holds a line end
 *   /abort            a piece, then breaks off
 *   /empty            204
 * and those of test_paths.h.
 */
enum { TEST_LOOPS_MAX = 2, TEST_HELD_MAX = 16 };

/* What the application saw; under mu. */
struct test_seen {
    unsigned begun, handled, refused, gone, ended, eagain, canceled, pieces;
};

struct test_server {
    struct berth_loop *loops[TEST_LOOPS_MAX];
    struct berth_server *server;
    uint16_t port;
    char *big;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    struct test_seen seen;
    struct berth_exchange *held[TEST_HELD_MAX]; /* each loop touches its own */
    const struct berth_loop *handled_on[TEST_HELD_MAX];
};

/* Generous times and small sizes; change what a test is about. */
struct berth_server_conf test_conf(void);
void test_start(struct test_server *t, struct berth_server_conf conf, size_t loops,
                const struct berth_tls_conf *tls, bool plain_refused);
void test_stop(struct test_server *t);
/* Wait until the counter at `offset` in struct test_seen is at least n; fails after 10 s. */
void test_wait_at(struct test_server *t, size_t offset, unsigned n);
#define test_wait(t, counter, n) test_wait_at((t), offsetof(struct test_seen, counter), (n))
/* For applications: one more of what a test may wait for. */
void test_count(struct test_server *t, unsigned *counter);
/* Answer the held exchange of that name. */
void test_release(struct test_server *t, const char *name);

int test_connect(uint16_t port);
void test_send(int fd, const void *at, size_t n);
/* Read until the text holds `until` (NULL: until the end of input); fails after 10 s.  NUL-ended,
 * the caller's to free. */
char *test_read(int fd, const char *until, size_t *ret_len);
/* "200 404": the status codes in a stream of HTTP/1.1 answers, the test's bodies hold none. */
void test_statuses(const char *answers, char out[64]);
void test_send_text(int fd, const char *text);
/* Read until `until`; fails unless it came.  The caller's to free. */
char *test_expect(int fd, const char *until);
/* Read until the connection is closed, and close it; fails unless the statuses of the answers are
 * these. */
void test_answers(int fd, const char *why, const char *statuses);
/* Send the bytes on a new connection, and that. */
void test_bytes(struct test_server *t, const char *why, const char *bytes, size_t len,
                const char *statuses);

#endif
