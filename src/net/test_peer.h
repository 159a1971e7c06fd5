#ifndef BERTH_NET_TEST_PEER_H
#define BERTH_NET_TEST_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>

/*
 * A peer that says exactly what a test writes down, right or wrong: one thread, one connection
 * after the other, one request each.  It waits for no clock.
 */
enum { TEST_PEER_HEAD_MAX = 16 * 1024, TEST_PEER_LOG_MAX = 16 };

struct test_peer {
    /* Answer on fd; it is closed afterwards.  n counts the requests from 0; request is the head and
     * the body, NUL-ended.  On the peer's thread. */
    void (*answer)(void *arg, int fd, unsigned n, const char *request);
    void *arg;
    bool silent;           /* nothing is read first: the request is "" */
    const char *unix_path; /* listen there, not at a port; removed at the end */
    uint16_t port;
    int listener;
    pthread_t thread;
    atomic_uint requests;
    char log[TEST_PEER_LOG_MAX][1024]; /* the first requests' beginnings; read after stop */
};

/* answer and arg are set, and silent and unix_path where wanted. */
void test_peer_start(struct test_peer *p);
void test_peer_stop(struct test_peer *p);
/* Write the whole text, or n bytes; a client that has gone is no failure. */
void test_peer_say(int fd, const char *text);
void test_peer_write(int fd, const void *at, size_t n);
/* Wait until the client has closed its end. */
void test_peer_wait_closed(int fd);

#endif
