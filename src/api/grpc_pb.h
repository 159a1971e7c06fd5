#ifndef BERTH_API_GRPC_PB_H
#define BERTH_API_GRPC_PB_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"

struct berth_arena;
struct berth_grpc;

/*
 * Messages by protobuf-c, for methods that carry no tensors.  Everything lies in the arena, whose
 * limit bounds what a message can become; nothing is freed singly.
 */

/* NULL: damaged, or more than the arena may hold. */
ProtobufCMessage *berth_pb_unpack(struct berth_arena *a, const ProtobufCMessageDescriptor *type,
                                  struct berth_slice message);

/* The request as that type, in the call's arena.  NULL: it was none, and the call is answered. */
void *berth_grpc_unpack(struct berth_grpc *g, const ProtobufCMessageDescriptor *type,
                        struct berth_slice message);
/* Send the one answer and end the call. */
void berth_grpc_reply_pb(struct berth_grpc *g, const ProtobufCMessage *message);

/* protobuf-c's strings are not const, but it does not write to what it packs. */
static inline char *
berth_pb_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

#endif
