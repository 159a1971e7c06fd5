#include <string.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "api/v2_check.h"
#include "api/v2_class.h"
#include "api/v2_grpc.h"
#include "api/v2_pb.h"
#include "base/arena.h"
#include "infer/model.h"
#include "infer/registry.h"
#include "wire/pb.h"

/* inference.GRPCInferenceService: inference.  The rest is in v2_grpc_models.c. */

enum { SMALL_BYTES = 1 << 20 }; /* of requests without tensors */

#define SERVICE "/inference.GRPCInferenceService/"

static void
infer_answer(struct berth_call *c)
{
    const struct berth_v2_infer *asked = c->state;
    struct berth_request *r = &c->parts[0].r;
    struct berth_v2_answer from = {.model = berth_model_name(c->model),
                                   .version = berth_model_version(c->model),
                                   .asked = asked,
                                   .outputs = r->outputs,
                                   .output_count = r->output_count,
                                   .labels =
                                       berth_json_get(berth_model_manifest(c->model), "labels")};
    const struct berth_v2_pb_flag none = {NULL, false};
    struct berth_slice *parts;
    struct berth_err e;
    struct berth_buf b;
    size_t count;
    int rc = berth_v2_classify(c->arena, asked, &from, &e);

    berth_grpc_begin(&b, c->arena);
    if (rc == 0)
        rc = berth_v2_pb_put(&b, c->arena, &from, &none, &parts, &count, &e);
    if (rc < 0) {
        berth_call_fail(c, rc, NULL, e.msg);
        return;
    }
    rc = berth_grpc_send_parts(c->grpc, &b, parts, count);
    if (rc < 0)
        berth_call_fail(c, rc, NULL, "the answer could not be sent");
    else
        berth_grpc_end(c->grpc, 0, NULL);
}

static const struct berth_call_ops infer_ops = {.answer = infer_answer, .all_or_nothing = true};

/* The model first: whoever asks for an unknown one is told so before the tensors are looked at. */
static int
infer_read(struct berth_call *c, struct berth_slice message, struct berth_v2_infer *asked,
           struct berth_err *e)
{
    int r;

    if (asked == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
    if ((r = berth_v2_pb_model(message, &c->name, &c->version, e)) < 0 ||
        (r = berth_call_find(c, c->name, c->version, e)) != 0 ||
        (r = berth_v2_pb_read(c->arena, message, asked, e)) < 0)
        return r;
    return berth_v2_check(berth_model_describe(c->model), berth_model_name(c->model), asked, e);
}

static void
infer(struct berth_call *c)
{
    struct berth_v2_infer *asked = BERTH_NEW(c->arena, struct berth_v2_infer);
    struct berth_err e;
    const int r = infer_read(c, berth_grpc_message(c->grpc), asked, &e);

    if (r == BERTH_CALL_PARKED)
        return;
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_v2_run(c, asked, &infer_ops);
}

static void
model_infer(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);

    c->again = infer;
    infer(c);
}

/* What is called most comes first: the table is searched from the top. */
const struct berth_grpc_method berth_v2_grpc_methods[] = {
    {.path = SERVICE "ModelInfer", .scope = BERTH_SCOPE_INFER, .message = model_infer},
    {.path = SERVICE "ServerLive",
     .scope = BERTH_SCOPE_PUBLIC,
     .message_max = SMALL_BYTES,
     .message = berth_v2_grpc_server_live},
    {.path = SERVICE "ServerReady",
     .scope = BERTH_SCOPE_PUBLIC,
     .message_max = SMALL_BYTES,
     .message = berth_v2_grpc_server_ready},
    {.path = SERVICE "ModelReady",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES,
     .message = berth_v2_grpc_model_ready},
    {.path = SERVICE "ServerMetadata",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES,
     .message = berth_v2_grpc_server_metadata},
    {.path = SERVICE "ModelMetadata",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES,
     .message = berth_v2_grpc_model_metadata},
    {.path = SERVICE "ModelConfig",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES,
     .message = berth_v2_grpc_model_config},
    {.path = SERVICE "ModelStatistics",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES,
     .blocks = true,
     .message = berth_v2_grpc_stats},
    {.path = SERVICE "RepositoryIndex",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES,
     .blocks = true,
     .message = berth_v2_grpc_index},
    {.path = SERVICE "RepositoryModelLoad",
     .scope = BERTH_SCOPE_MANAGE,
     .message_max = SMALL_BYTES,
     .blocks = true,
     .message = berth_v2_grpc_load},
    {.path = SERVICE "RepositoryModelUnload",
     .scope = BERTH_SCOPE_MANAGE,
     .message_max = SMALL_BYTES,
     .blocks = true,
     .message = berth_v2_grpc_unload},
    {.path = NULL},
};
