#ifndef BERTH_API_ERRORS_H
#define BERTH_API_ERRORS_H

#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

/* Whose shape an error body has. */
enum berth_dialect {
    BERTH_DIALECT_UNIMODEL, /* {"error":CODE,"message":text} */
    BERTH_DIALECT_OPENAI,   /* {"error":{"message","type","param","code"}} */
    BERTH_DIALECT_V2,       /* {"error":text} */
    BERTH_DIALECT_ADMIN,    /* as UniModel */
    BERTH_DIALECT_MODSERV,  /* {"code":HTTP,"message":text,"data":{"code":CODE,"field":path}} */
    BERTH_DIALECT_GRPC,     /* trailers; as UniModel where HTTP itself refuses */
    BERTH_DIALECT_COUNT
};
const char *berth_dialect_name(enum berth_dialect d);

/* gRPC's status codes. */
#define BERTH_GRPC_CODES(X) \
    X(OK)                   \
    X(CANCELLED)            \
    X(UNKNOWN)              \
    X(INVALID_ARGUMENT)     \
    X(DEADLINE_EXCEEDED)    \
    X(NOT_FOUND)            \
    X(ALREADY_EXISTS)       \
    X(PERMISSION_DENIED)    \
    X(RESOURCE_EXHAUSTED)   \
    X(FAILED_PRECONDITION)  \
    X(ABORTED)              \
    X(OUT_OF_RANGE) X(UNIMPLEMENTED) X(INTERNAL) X(UNAVAILABLE) X(DATA_LOSS) X(UNAUTHENTICATED)
enum berth_grpc_code {
#define X(name) BERTH_GRPC_##name,
    BERTH_GRPC_CODES(X)
#undef X
        BERTH_GRPC_CODE_COUNT
};
const char *berth_grpc_code_name(enum berth_grpc_code code); /* "NOT_FOUND" */

/* How one code looks to clients. */
struct berth_error_look {
    enum berth_code code;
    uint16_t status;
    const char *unimodel;                  /* one of UniModel's 14 codes */
    const char *openai_type, *openai_code; /* code may be NULL */
    uint32_t retry_after_s;                /* 0: no Retry-After */
    enum berth_grpc_code grpc;
};
/* For a negative result of any function (or a positive code); never NULL. */
const struct berth_error_look *berth_error_look(int code);

struct berth_fault {
    int code;            /* -BERTH_E... */
    uint16_t status;     /* 0: the code's */
    const char *kind;    /* UniModel's code; NULL: the code's */
    const char *param;   /* the field, for OpenAI; NULL: none */
    const char *message; /* what to do next */
};
uint16_t berth_fault_status(const struct berth_fault *f);
/* The body for that fault in that dialect's shape. */
void berth_fault_put(struct berth_buf *b, enum berth_dialect d, const struct berth_fault *f);

/* The fault for a status that the server or the routes give by themselves (404, 405, 413, ...). */
struct berth_fault berth_fault_of_status(uint16_t status, const char *message);

#endif
