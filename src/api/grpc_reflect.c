#include <stdio.h>
#include <string.h>

#include "api/call.h"
#include "api/grpc.h"
#include "api/proto_sets.h"
#include "base/arena.h"
#include "wire/pb.h"

/*
 * Server reflection (proto/grpc/reflection/): the same service under two names, v1 and v1alpha.
 * A stream of questions, each answered at once.
 */

enum { QUESTION_BYTES_MAX = 16 * 1024 };

/* Fields of a request and of a response. */
enum {
    ASK_HOST = 1,
    ASK_FILE = 3,
    ASK_SYMBOL = 4,
    ASK_EXTENSION = 5,
    ASK_EXTENSIONS = 6,
    ASK_SERVICES = 7,
    TELL_HOST = 1,
    TELL_ASKED = 2,
    TELL_FILES = 4,
    TELL_EXTENSIONS = 5,
    TELL_SERVICES = 6,
    TELL_ERROR = 7,
};

static void
put_error(struct berth_buf *b, enum berth_grpc_code code, const char *what, struct berth_slice name)
{
    const int shown = (int)(name.len < 200 ? name.len : 200);
    char text[256];
    const int len = snprintf(text, sizeof text, "%s: %.*s", what, shown, name.at);
    const size_t begun = berth_pb_begin(b, TELL_ERROR);

    berth_pb_put_uint(b, 1, (uint64_t)code);
    berth_pb_put_bytes(b, 2, text, (size_t)len);
    berth_pb_end(b, begun);
}

/* The file, and those that it imports in front of it are left for the client to ask for. */
static void
put_file(struct berth_buf *b, struct berth_slice asked, bool by_symbol)
{
    for (struct berth_proto_files it = {0}; berth_proto_files_next(&it);) {
        const bool found =
            by_symbol ? berth_proto_defines(&it, asked)
                      : it.name.len == asked.len && memcmp(it.name.at, asked.at, asked.len) == 0;
        if (!found)
            continue;
        const size_t begun = berth_pb_begin(b, TELL_FILES);
        berth_pb_put_bytes(b, 1, it.file.at, it.file.len);
        berth_pb_end(b, begun);
        return;
    }
    put_error(b, BERTH_GRPC_NOT_FOUND, by_symbol ? "no such symbol" : "no such file", asked);
}

static void
put_services(struct berth_buf *b)
{
    const size_t begun = berth_pb_begin(b, TELL_SERVICES);

    for (struct berth_proto_files it = {0}; berth_proto_files_next(&it);) {
        struct berth_pb p = berth_pb_of(it.file);
        struct berth_pb_field f;
        while (berth_pb_next(&p, &f)) {
            if (f.number != BERTH_FILE_SERVICE || f.type != BERTH_PB_BYTES)
                continue;
            const struct berth_slice name = berth_proto_bytes(f.bytes, BERTH_NAME);
            const size_t service = berth_pb_begin(b, 1);
            const size_t at = berth_pb_begin(b, 1);
            berth_buf_put(b, it.package.at, it.package.len);
            berth_buf_putc(b, '.');
            berth_buf_put(b, name.at, name.len);
            berth_pb_end(b, at);
            berth_pb_end(b, service);
        }
    }
    berth_pb_end(b, begun);
}

/* None of our messages is extended; the question is right where the message exists. */
static void
put_extensions(struct berth_buf *b, struct berth_slice type)
{
    if (berth_proto_message(type).len == 0) {
        put_error(b, BERTH_GRPC_NOT_FOUND, "no such message", type);
        return;
    }
    const size_t begun = berth_pb_begin(b, TELL_EXTENSIONS);
    berth_pb_put_bytes(b, 1, type.at, type.len);
    berth_pb_end(b, begun);
}

static void
answer(struct berth_buf *b, struct berth_slice question)
{
    const struct berth_slice host = berth_proto_bytes(question, ASK_HOST);
    struct berth_pb p = berth_pb_of(question);
    struct berth_pb_field f, asked = {0};

    while (berth_pb_next(&p, &f))
        if (f.number >= ASK_FILE && f.number <= ASK_SERVICES && f.type == BERTH_PB_BYTES)
            asked = f; /* of a oneof the last one counts */
    if (host.len > 0)
        berth_pb_put_bytes(b, TELL_HOST, host.at, host.len);
    berth_pb_put_bytes(b, TELL_ASKED, question.at, question.len);
    switch (asked.number) {
    case ASK_FILE:
    case ASK_SYMBOL:
        put_file(b, asked.bytes, asked.number == ASK_SYMBOL);
        break;
    case ASK_EXTENSION:
        put_error(b, BERTH_GRPC_NOT_FOUND, "no such extension", BERTH_SLICE("there are none"));
        break;
    case ASK_EXTENSIONS:
        put_extensions(b, asked.bytes);
        break;
    case ASK_SERVICES:
        put_services(b);
        break;
    default:
        put_error(b, BERTH_GRPC_INVALID_ARGUMENT, "the request asks for nothing",
                  BERTH_SLICE("see grpc/reflection/v1/reflection.proto"));
    }
}

static void
question(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    answer(&b, message);
    const int r = b.failed ? -BERTH_ENOMEM : berth_grpc_send(g, b.at, b.len);
    berth_buf_fini(&b);
    if (r < 0) /* -BERTH_EAGAIN: it asks on and on and reads nothing */
        berth_grpc_end(g, r, "the answer could not be sent");
}

static void
half_closed(struct berth_grpc *g)
{
    berth_grpc_end(g, 0, NULL);
}

#define REFLECTION(version)                                                                   \
    {                                                                                         \
        .path = "/grpc.reflection." version ".ServerReflection/ServerReflectionInfo",         \
        .scope = BERTH_SCOPE_READ, .message_max = QUESTION_BYTES_MAX, .client_streams = true, \
        .server_streams = true, .message = question, .half_closed = half_closed,              \
    }

const struct berth_grpc_method berth_grpc_reflect_methods[] = {
    REFLECTION("v1"),
    REFLECTION("v1alpha"),
    {.path = NULL},
};
