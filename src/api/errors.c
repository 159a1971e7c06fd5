#include "api/errors.h"

#include "base/assert.h"
#include "wire/json.h"

/*  code          HTTP  UniModel           OpenAI's type           OpenAI's code   retry after s
 * gRPC */
static const struct berth_error_look looks[] = {
    {BERTH_EINVAL, 400, "VALIDATION_ERROR", "invalid_request_error", NULL, 0,
     BERTH_GRPC_INVALID_ARGUMENT},
    {BERTH_ENOMEM, 503, "RESOURCE_ERROR", "server_error", "out_of_memory", 1,
     BERTH_GRPC_RESOURCE_EXHAUSTED},
    {BERTH_ENOENT, 404, "MODEL_ERROR", "invalid_request_error", "model_not_found", 0,
     BERTH_GRPC_NOT_FOUND},
    {BERTH_EIO, 500, "IO_ERROR", "server_error", NULL, 0, BERTH_GRPC_INTERNAL},
    {BERTH_EAGAIN, 429, "SCHEDULE_ERROR", "rate_limit_error", "rate_limit_exceeded", 1,
     BERTH_GRPC_RESOURCE_EXHAUSTED},
    {BERTH_EDEADLINE, 504, "SCHEDULE_ERROR", "server_error", "timeout", 0,
     BERTH_GRPC_DEADLINE_EXCEEDED},
    {BERTH_EABI, 500, "PLUGIN_ERROR", "server_error", NULL, 0, BERTH_GRPC_INTERNAL},
    {BERTH_EBACKEND, 500, "PLUGIN_ERROR", "server_error", NULL, 0, BERTH_GRPC_INTERNAL},
    {BERTH_ECANCELED, 503, "SCHEDULE_ERROR", "server_error", "canceled", 1, BERTH_GRPC_CANCELLED},
    {BERTH_ETOOBIG, 413, "VALIDATION_ERROR", "invalid_request_error", "too_large", 0,
     BERTH_GRPC_RESOURCE_EXHAUSTED},
    {BERTH_EEXIST, 409, "MODEL_ERROR", "invalid_request_error", "model_exists", 0,
     BERTH_GRPC_ALREADY_EXISTS},
    {BERTH_ENOTREADY, 503, "MODEL_ERROR", "server_error", "model_not_ready", 1,
     BERTH_GRPC_UNAVAILABLE},
    {BERTH_EAUTH, 401, "AUTH_ERROR", "invalid_request_error", "invalid_api_key", 0,
     BERTH_GRPC_UNAUTHENTICATED},
    {BERTH_EPERM, 403, "AUTHZ_ERROR", "invalid_request_error", "permission_denied", 0,
     BERTH_GRPC_PERMISSION_DENIED},
    {BERTH_EUNSUPPORTED, 400, "VALIDATION_ERROR", "invalid_request_error", "unsupported", 0,
     BERTH_GRPC_UNIMPLEMENTED},
    {BERTH_ELIMIT, 409, "RESOURCE_ERROR", "invalid_request_error", "limit_reached", 0,
     BERTH_GRPC_RESOURCE_EXHAUSTED},
    {BERTH_ENETWORK, 502, "NETWORK_ERROR", "server_error", NULL, 0, BERTH_GRPC_UNAVAILABLE},
    {BERTH_ECONFIG, 500, "CONFIG_ERROR", "server_error", NULL, 0, BERTH_GRPC_FAILED_PRECONDITION},
    {BERTH_ENOSPC, 507, "RESOURCE_ERROR", "server_error", "insufficient_storage", 0,
     BERTH_GRPC_RESOURCE_EXHAUSTED},
    {BERTH_EINTERNAL, 500, "INTERNAL_ERROR", "server_error", NULL, 0, BERTH_GRPC_INTERNAL},
};
#define X(name, text) +1 /* NOLINT(bugprone-macro-parentheses): a sum */
_Static_assert(BERTH_COUNT(looks) == 0 BERTH_ERRORS(X), "every code has a look");
#undef X

static const char *const dialect_names[BERTH_DIALECT_COUNT] = {
    [BERTH_DIALECT_UNIMODEL] = "unimodel",
    [BERTH_DIALECT_OPENAI] = "openai",
    [BERTH_DIALECT_V2] = "v2",
    [BERTH_DIALECT_ADMIN] = "admin",
    [BERTH_DIALECT_MODSERV] = "modserv",
    [BERTH_DIALECT_GRPC] = "grpc",
};

static const char *const grpc_names[BERTH_GRPC_CODE_COUNT] = {
#define X(name) [BERTH_GRPC_##name] = #name,
    BERTH_GRPC_CODES(X)
#undef X
};

const char *
berth_grpc_code_name(enum berth_grpc_code code)
{
    return grpc_names[code];
}

const char *
berth_dialect_name(enum berth_dialect d)
{
    return dialect_names[d];
}

const struct berth_error_look *
berth_error_look(int code)
{
    const int wanted = code < 0 ? -code : code;

    for (size_t i = 0; i < BERTH_COUNT(looks); i++) {
        if ((int)looks[i].code == wanted)
            return &looks[i];
    }
    return &looks[BERTH_COUNT(looks) - 1];
}

uint16_t
berth_fault_status(const struct berth_fault *f)
{
    return f->status != 0 ? f->status : berth_error_look(f->code)->status;
}

static void
put_modserv(struct berth_buf *b, const struct berth_fault *f)
{
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_key(&w, "code");
    berth_jw_uint(&w, berth_fault_status(f));
    berth_jw_key(&w, "message");
    berth_jw_string(&w, f->message);
    berth_jw_key(&w, "data");
    berth_jw_object(&w);
    berth_jw_key(&w, "code");
    berth_jw_string(&w, f->kind != NULL ? f->kind : berth_error_look(f->code)->unimodel);
    berth_jw_key(&w, "field");
    berth_jw_string(&w, f->param);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
}

void
berth_fault_put(struct berth_buf *b, enum berth_dialect d, const struct berth_fault *f)
{
    const struct berth_error_look *look = berth_error_look(f->code);
    struct berth_jw w;

    if (d == BERTH_DIALECT_MODSERV) {
        put_modserv(b, f);
        return;
    }
    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_key(&w, "error");
    switch (d) {
    case BERTH_DIALECT_OPENAI:
        berth_jw_object(&w);
        berth_jw_key(&w, "message");
        berth_jw_string(&w, f->message);
        berth_jw_key(&w, "type");
        berth_jw_string(&w, look->openai_type);
        berth_jw_key(&w, "param");
        berth_jw_string(&w, f->param);
        berth_jw_key(&w, "code");
        /* A status of the server's own has no more exact code than its type. */
        berth_jw_string(&w, f->status == 0 ? look->openai_code : NULL);
        berth_jw_object_end(&w);
        break;
    case BERTH_DIALECT_V2:
        berth_jw_string(&w, f->message);
        break;
    case BERTH_DIALECT_UNIMODEL:
    case BERTH_DIALECT_ADMIN:
    case BERTH_DIALECT_GRPC:
    case BERTH_DIALECT_MODSERV:
    case BERTH_DIALECT_COUNT:
        berth_jw_string(&w, f->kind != NULL ? f->kind : look->unimodel);
        berth_jw_key(&w, "message");
        berth_jw_string(&w, f->message);
        break;
    }
    berth_jw_object_end(&w);
}

struct berth_fault
berth_fault_of_status(uint16_t status, const char *message)
{
    static const struct {
        uint16_t status;
        enum berth_code code;
        const char *kind;
    } table[] = {
        {400, BERTH_EINVAL, NULL},
        {404, BERTH_ENOENT, "HTTP_ERROR"},
        {405, BERTH_EINVAL, "HTTP_ERROR"},
        {408, BERTH_EINVAL, "HTTP_ERROR"},
        {413, BERTH_ETOOBIG, NULL},
        {415, BERTH_EINVAL, "HTTP_ERROR"},
        {429, BERTH_EAGAIN, NULL},
        {431, BERTH_ETOOBIG, "HTTP_ERROR"},
        {503, BERTH_ENOTREADY, "RESOURCE_ERROR"},
        {505, BERTH_EUNSUPPORTED, "HTTP_ERROR"},
    };
    struct berth_fault f = {
        .code = -BERTH_EINTERNAL, .status = status, .kind = "HTTP_ERROR", .message = message};

    for (size_t i = 0; i < BERTH_COUNT(table); i++) {
        if (table[i].status == status) {
            f.code = -(int)table[i].code;
            f.kind = table[i].kind;
        }
    }
    return f;
}
