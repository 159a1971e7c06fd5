#include "api/grpc_status.h"

#include <string.h>

#include "wire/base64.h"
#include "wire/pb.h"

/* Messages begin with the field's path: "inputs[0].shape: must ...".  0: this one does not. */
static size_t
path_len(const char *message)
{
    const size_t n = strspn(message, "abcdefghijklmnopqrstuvwxyz"
                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.[]");

    return n > 0 && message[n] == ':' && message[n + 1] == ' ' ? n : 0;
}

/* Begin a google.protobuf.Any among the details: end it twice. */
static void
any_begin(struct berth_buf *b, const char *type, size_t begun[2])
{
    begun[0] = berth_pb_begin(b, 3);
    berth_pb_put_text(b, 1, type);
    begun[1] = berth_pb_begin(b, 2);
}

static void
any_end(struct berth_buf *b, const size_t begun[2])
{
    berth_pb_end(b, begun[1]);
    berth_pb_end(b, begun[0]);
}

void
berth_grpc_details_put(struct berth_buf *b, const struct berth_fault *f, const char *request_id)
{
    const struct berth_error_look *look = berth_error_look(f->code);
    const size_t field_len = f->param != NULL             ? strlen(f->param)
                             : look->code == BERTH_EINVAL ? path_len(f->message)
                                                          : 0;
    struct berth_buf m;
    size_t any[2], inner;

    berth_buf_init(&m, b->arena);
    berth_pb_put_uint(&m, 1, look->grpc);
    berth_pb_put_text(&m, 2, f->message);
    any_begin(&m, "type.googleapis.com/google.rpc.ErrorInfo", any);
    berth_pb_put_text(&m, 1, f->kind != NULL ? f->kind : look->unimodel);
    berth_pb_put_text(&m, 2, "berth");
    inner = berth_pb_begin(&m, 3);
    berth_pb_put_text(&m, 1, "request_id");
    berth_pb_put_text(&m, 2, request_id);
    berth_pb_end(&m, inner);
    any_end(&m, any);
    if (field_len > 0) {
        any_begin(&m, "type.googleapis.com/google.rpc.BadRequest", any);
        inner = berth_pb_begin(&m, 1);
        berth_pb_put_bytes(&m, 1, f->param != NULL ? f->param : f->message, field_len);
        berth_pb_put_text(&m, 2, f->message);
        berth_pb_end(&m, inner);
        any_end(&m, any);
    }
    berth_base64_put(b, m.at, m.len);
    while (b->len > 0 && b->at[b->len - 1] == '=')
        b->len--;
    b->failed |= m.failed;
    (void)berth_buf_text(b);
    if (b->arena == NULL)
        berth_buf_fini(&m);
}
