#ifndef BERTH_NET_TEST_CLIENT_H
#define BERTH_NET_TEST_CLIENT_H

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

#include "net/test_support.h"

/* An HTTP/2 client for tests: nghttp2 over a blocking socket, with or without TLS. */
enum { TEST_STREAMS_MAX = 1024 };

struct test_result {
    int status;
    size_t bytes;
    char first[64];    /* of the body */
    uint32_t hash;     /* of the body */
    char trailers[96]; /* "name=value;" of headers with x- */
    unsigned heads, data_frames;
    bool end_seen; /* END_STREAM */
    bool closed;
    uint32_t error;
    unsigned order; /* the how-manieth to close */
};

struct test_client {
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    const char *body; /* to upload, body_len bytes in all */
    size_t body_len, body_sent;
    bool body_stalls; /* half of it, and no more */
    bool settings_seen, goaway_seen, ended;
    uint32_t goaway_error;
    unsigned closed;
    struct test_result results[TEST_STREAMS_MAX]; /* of stream 2i + 1 */
};

/* A name and a value for nghttp2. */
#define TEST_NV(n, v)                                             \
    {                                                             \
        .name = (uint8_t *)(uintptr_t)(n), .namelen = strlen(n),  \
        .value = (uint8_t *)(uintptr_t)(v), .valuelen = strlen(v) \
    }

struct test_result *test_client_result(struct test_client *c, int32_t id);
/* Takes fd and ssl (NULL: plain).  window 0: the protocol's own. */
void test_client_open(struct test_client *c, int fd, SSL *ssl, uint32_t window);
void test_client_close(struct test_client *c);
/* Queue a request; body is borrowed. */
int32_t test_client_ask(struct test_client *c, const char *method, const char *path,
                        const char *body, size_t len);
void test_client_send(struct test_client *c);
/* Send what is queued, wait for input and take it; fails after 10 s without any. */
void test_client_step(struct test_client *c);
/* Until n streams in all are closed; fails when the connection ends before. */
void test_client_wait_closed(struct test_client *c, unsigned n);
/* Until the server closes the connection. */
void test_client_wait_end(struct test_client *c);
/* Requests of many kinds, one after the other, on a fresh connection; returns how many. */
unsigned test_client_run_requests(struct test_client *c);
/* FNV-1a; begin with TEST_HASH. */
#define TEST_HASH 2166136261u
uint32_t test_hash(uint32_t hash, const void *at, size_t n);
/* n letters, the caller's to free. */
char *test_letters(size_t n);

#endif
