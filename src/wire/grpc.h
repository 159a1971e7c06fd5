#ifndef BERTH_WIRE_GRPC_H
#define BERTH_WIRE_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/pb_align.h"

/* What gRPC adds to HTTP/2: messages behind a flag and a length, timeouts, text in trailers. */

enum { BERTH_GRPC_HEAD = 5 }; /* bytes before a message */

/* Messages out of a body that comes in pieces. */
struct berth_grpc_frames {
    unsigned char head[BERTH_GRPC_HEAD];
    uint8_t head_len; /* of head */
    bool in_message;  /* head is complete and told */
    bool compressed;
    uint32_t len, got;           /* of the message */
    char *to;                    /* set by the caller on BEGUN: room for len bytes */
    struct berth_pb_align align; /* on BEGUN: whose field is set, to's room has the spare */
};

enum berth_grpc_event {
    BERTH_GRPC_MORE,    /* everything is taken; more must come */
    BERTH_GRPC_BEGUN,   /* a message of f->len bytes follows: set f->to, or stop */
    BERTH_GRPC_MESSAGE, /* it is complete at f->to */
    BERTH_GRPC_BAD,     /* a flag that means nothing: the stream cannot be understood */
};

/* Go on with the piece: *at and *n move over what was taken.  Call again until MORE. */
enum berth_grpc_event berth_grpc_frames_put(struct berth_grpc_frames *f, const char **at,
                                            size_t *n);
/* Is the body complete, with no message cut short? */
bool berth_grpc_frames_whole(const struct berth_grpc_frames *f);
/* The bytes before a message. */
void berth_grpc_head_put(char to[BERTH_GRPC_HEAD], bool compressed, size_t len);

/* "300m": at most 8 digits and one of H M S m u n.  False: not understood.  0 becomes 1, and
 * centuries that ns cannot tell UINT64_MAX. */
bool berth_grpc_timeout_parse(struct berth_slice text, uint64_t *ret_ns);

/* Text as grpc-message has it: all but printable ASCII, and %, as %XX. */
void berth_grpc_percent_put(struct berth_buf *b, const char *text);

#endif
