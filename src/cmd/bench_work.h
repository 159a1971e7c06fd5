#ifndef BERTH_BENCH_WORK_H
#define BERTH_BENCH_WORK_H

#include <stdbool.h>

#include <berth/err.h>

#include "base/buf.h"
#include "net/h2_client.h"

struct berth_arena;
struct berth_json;

/*
 * The one request that a load repeats: what is asked (a request of the Open Inference Protocol, or
 * any bytes for a path) and how it is said to one server.  Pure; everything is in the arena.
 */
enum berth_protocol { BERTH_REST, BERTH_BINARY, BERTH_GRPC };

struct berth_work {
    enum berth_protocol protocol;
    const char *path; /* of the request */
    struct berth_slice body;
    size_t json_bytes; /* BINARY: how much of the body is JSON; else 0 */
};

/* "rest", "binary" or "grpc"; false: none of them. */
bool berth_protocol_parse(const char *text, enum berth_protocol *ret);
const char *berth_protocol_name(enum berth_protocol p);

/* A request in the shapes that a model says it takes (inputs of its metadata), dimensions that vary
 * being 1: numbers between 0 and 1, 0 and 1, "hello".  -BERTH_ETOOBIG, -BERTH_ENOMEM. */
int berth_work_generate(const struct berth_json *inputs, struct berth_buf *ret,
                        struct berth_err *e);
/* Does v look like a request of the Open Inference Protocol? */
bool berth_work_is_infer(const struct berth_json *v);
/*
 * Such a request (text as JSON) for model in a protocol.  BINARY and GRPC carry the tensors as
 * bytes and ask for bytes.  -BERTH_EINVAL: a tensor is wrong; the message says where.
 */
int berth_work_make(struct berth_work *ret, enum berth_protocol protocol, const char *model,
                    struct berth_slice text, struct berth_arena *a, struct berth_err *e);
/* Head and body for HTTP/1.1.  key NULL: none. */
int berth_work_http1(const struct berth_work *w, const char *authority, const char *key,
                     struct berth_arena *a, struct berth_slice *ret);
/* The same for HTTP/2. */
int berth_work_http2(const struct berth_work *w, const char *authority, const char *key,
                     struct berth_arena *a, struct berth_h2_request *ret);

#endif
