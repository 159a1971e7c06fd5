#include "api/grpc_pb.h"

#include "api/call.h"
#include "api/grpc.h"
#include "base/arena.h"

static void *
arena_alloc(void *arena, size_t n)
{
    return berth_arena_alloc_raw(arena, n);
}

static void
arena_free(void *arena, void *at)
{
}

ProtobufCMessage *
berth_pb_unpack(struct berth_arena *a, const ProtobufCMessageDescriptor *type,
                struct berth_slice message)
{
    ProtobufCAllocator allocator = {.alloc = arena_alloc, .free = arena_free, .allocator_data = a};

    return protobuf_c_message_unpack(type, &allocator, message.len, (const uint8_t *)message.at);
}

void *
berth_grpc_unpack(struct berth_grpc *g, const ProtobufCMessageDescriptor *type,
                  struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    ProtobufCMessage *m = berth_pb_unpack(c->arena, type, message);
    struct berth_err e;

    if (m == NULL) {
        (void)berth_err_set(&e, BERTH_EINVAL, "the message is no %s", type->name);
        berth_call_fail(c, -BERTH_EINVAL, NULL, e.msg);
    }
    return m;
}

/* Send a message; the results of berth_grpc_send_parts(). */
static int
send_pb(struct berth_grpc *g, const ProtobufCMessage *message)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    struct berth_buf b;

    berth_grpc_begin(&b, berth_grpc_call(g)->arena);
    char *to = berth_buf_reserve(&b, len);
    if (to != NULL)
        b.len += protobuf_c_message_pack(message, (uint8_t *)to);
    return berth_grpc_send_parts(g, &b, NULL, 0);
}

void
berth_grpc_reply_pb(struct berth_grpc *g, const ProtobufCMessage *message)
{
    const int r = send_pb(g, message);

    if (r < 0)
        berth_call_fail(berth_grpc_call(g), r, NULL, "the answer could not be sent");
    else
        berth_grpc_end(g, 0, NULL);
}
