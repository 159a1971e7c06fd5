#ifndef BERTH_PB_H
#define BERTH_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * Protocol Buffers' wire form, read in place and written to a buffer: for messages whose bytes
 * must not be copied.  What protobuf-c generates serves for all others.
 */

enum berth_pb_type {
    BERTH_PB_VARINT = 0,
    BERTH_PB_FIXED64 = 1,
    BERTH_PB_BYTES = 2, /* strings, messages, packed numbers */
    BERTH_PB_FIXED32 = 5,
};

struct berth_pb_field {
    uint32_t number; /* 1 to 536,870,911 */
    enum berth_pb_type type;
    uint64_t value;           /* VARINT, FIXED64, FIXED32 */
    struct berth_slice bytes; /* BYTES: within the message */
};

/* A walk over a message's fields, in the order in which they came. */
struct berth_pb {
    const char *at, *end;
    bool bad; /* the message is damaged at `at` */
};

static inline struct berth_pb
berth_pb_of(struct berth_slice message)
{
    return (struct berth_pb){message.at, message.at + message.len, false};
}

/* The next field.  False at the end, or where the message is damaged: then p->bad. */
bool berth_pb_next(struct berth_pb *p, struct berth_pb_field *ret);

/*
 * The numbers of a repeated field, single or packed, taken off *f one by one.  `form` is how each
 * is written: VARINT, FIXED32 or FIXED64.  False when there are no more, or at a damaged one: then
 * *ret_bad is set.
 */
bool berth_pb_number(struct berth_pb_field *f, enum berth_pb_type form, uint64_t *ret,
                     bool *ret_bad);

/* ---- writing ---- */

void berth_pb_put_varint(struct berth_buf *b, uint64_t n);
void berth_pb_put_tag(struct berth_buf *b, uint32_t number, enum berth_pb_type type);
/* Fields; 0, false and empty are written, too: leave the call out for proto3's defaults. */
void berth_pb_put_uint(struct berth_buf *b, uint32_t number, uint64_t n);
void berth_pb_put_bytes(struct berth_buf *b, uint32_t number, const void *at, size_t len);
void berth_pb_put_text(struct berth_buf *b, uint32_t number, const char *text);
/* A message within the message: what is put between begin and end. */
size_t berth_pb_begin(struct berth_buf *b, uint32_t number);
void berth_pb_end(struct berth_buf *b, size_t begun);

#endif
