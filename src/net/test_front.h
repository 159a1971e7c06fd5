#ifndef BERTH_NET_TEST_FRONT_H
#define BERTH_NET_TEST_FRONT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/forward.h"

/*
 * A server that passes everything on, before the test server or a peer that says what it likes.
 * Its own answers: 502 and the result's name when nothing was passed on.
 */
enum { FRONT_ENDS_MAX = 64 };

struct front {
    struct berth_loop *loop;
    struct berth_server *server;
    struct berth_forwarder *forwarder;
    struct berth_forward_to to; /* what a test sets beside the target, body and callbacks */
    char origin[64];
    uint16_t port;
    bool decline;
    uint64_t first_ns, total_ns;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    enum berth_forward_result ends[FRONT_ENDS_MAX]; /* under mu */
    char whys[FRONT_ENDS_MAX][128];
    unsigned end_count, cancelled;
};

/* origin: "http://127.0.0.1", the port comes behind it.  conf may be NULL. */
void front_start(struct front *f, const char *origin, uint16_t port,
                 const struct berth_forwarder_conf *conf);
void front_stop(struct front *f);
/* Wait until a counter of f is at least n; fails after 20 s. */
void front_wait(struct front *f, const unsigned *counter, unsigned n);
/* One request on a connection of its own, and all that came back; the caller's to free. */
char *front_ask(struct front *f, const char *request);
const char *front_result(enum berth_forward_result result);

#define FRONT_GET(path) "GET " path " HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n"

#endif
