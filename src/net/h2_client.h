#ifndef BERTH_NET_H2_CLIENT_H
#define BERTH_NET_H2_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

/*
 * The client's side of one HTTP/2 connection, without a socket: bytes in, bytes out.  For load
 * generators: an answer's body is counted, not kept.  One thread.
 */
struct berth_h2_client;

enum { BERTH_H2_CLIENT_STREAMS_MAX = 1024, BERTH_H2_CLIENT_FIELDS_MAX = 16 };

/* One field of a head; names in lower case, ":method" and the like first. */
struct berth_h2_field {
    const char *name, *value;
};

/* Borrowed until the request has ended. */
struct berth_h2_request {
    struct berth_h2_field fields[BERTH_H2_CLIENT_FIELDS_MAX];
    size_t field_count;
    struct berth_slice body;
};

struct berth_h2_reply {
    uint16_t status;     /* 0: no head came */
    int32_t grpc_status; /* of the trailers, or of a head without a body; -1: none was said */
    uint64_t body_bytes;
    bool whole; /* it ended; false: reset, refused or cut short */
};

/* At most once for each request that was begun; one that the peer's GOAWAY left unsent, or that is
 * under way when the client is freed, does not end.  It may begin another one, but not feed, pull
 * or free. */
typedef void berth_h2_ended_fn(void *arg, void *request_arg, const struct berth_h2_reply *reply);

/* streams: how many requests there can be at once.  -BERTH_ENOMEM. */
int berth_h2_client_new(struct berth_h2_client **ret, uint32_t streams, berth_h2_ended_fn *ended,
                        void *arg, struct berth_err *e);
void berth_h2_client_free(struct berth_h2_client *c);

/* Begin a request; request_arg comes back with its end.  -BERTH_EAGAIN: as many as there can be are
 * under way.  -BERTH_ENOMEM. */
int berth_h2_client_begin(struct berth_h2_client *c, const struct berth_h2_request *q,
                          void *request_arg);
/* What came from the peer.  -BERTH_EINVAL: that is no HTTP/2; close the connection.  Some faults
 * are told to the peer first: then it is pull() that fails, once that is out. */
int berth_h2_client_feed(struct berth_h2_client *c, const void *bytes, size_t len);
/* Append what is to be sent, until there is nothing or about `enough` bytes are in out.  False: the
 * connection is of no use any more. */
bool berth_h2_client_pull(struct berth_h2_client *c, struct berth_buf *out, size_t enough);

#endif
