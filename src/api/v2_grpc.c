#include <string.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "api/timing.h"
#include "api/v2_check.h"
#include "api/v2_class.h"
#include "api/v2_grpc.h"
#include "api/v2_pb.h"
#include "api/v2_shm.h"
#include "base/arena.h"
#include "base/utf8.h"
#include "infer/model.h"
#include "infer/registry.h"
#include "wire/pb.h"

/* inference.GRPCInferenceService: inference.  The rest is in v2_grpc_models.c. */

enum { SMALL_BYTES = 1 << 20 }; /* of requests without tensors */

#define SERVICE "/inference.GRPCInferenceService/"

/* ---- what unary calls and streams do alike ---- */

static int
read_text(struct berth_call *c, struct berth_v2_grpc_asked *asked, struct berth_slice message,
          struct berth_err *e)
{
    struct berth_buf parameters;
    int r;

    berth_buf_init(&parameters, c->arena);
    if ((r = berth_v2_pb_parameters(&parameters, message, e)) < 0)
        return r;
    if (parameters.failed)
        return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
    asked->is_text = true;
    return berth_v2_text_read(c->arena, &asked->infer,
                              (struct berth_slice){parameters.at, parameters.len}, &asked->text, e);
}

/* The names go into messages and accounts. */
static int
read_names(struct berth_call *c, struct berth_slice message, struct berth_err *e)
{
    struct berth_slice name, version;
    const int r = berth_v2_pb_model(message, &name, &version, e);

    if (r < 0)
        return r;
    if (memchr(name.at, '\0', name.len) != NULL || !berth_utf8_valid(name.at, name.len))
        return berth_err_set(e, BERTH_EINVAL, "model_name: must be text in UTF-8");
    if (memchr(version.at, '\0', version.len) != NULL || !berth_utf8_valid(version.at, version.len))
        return berth_err_set(e, BERTH_EINVAL, "model_version: must be text in UTF-8");
    c->name = name;
    c->version = version;
    return 0;
}

/* The model first: whoever asks for an unknown one is told so before the tensors are looked at. */
int
berth_v2_grpc_read(struct berth_call *c, struct berth_slice message, struct berth_err *e)
{
    struct berth_v2_grpc_asked *asked = BERTH_NEW(c->arena, struct berth_v2_grpc_asked);
    const struct berth_describe *d;
    int r;

    if (asked == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
    if ((r = read_names(c, message, e)) < 0 ||
        (r = berth_call_find(c, c->name, c->version, e)) != 0 ||
        (r = berth_v2_pb_read(c->arena, message, &asked->infer, e)) < 0 ||
        (r = berth_v2_shm_fetch(c->api->shm, c->arena, &asked->infer, e)) < 0)
        return r;
    c->state = asked;
    d = berth_model_describe(c->model);
    return berth_v2_is_text(d) ? read_text(c, asked, message, e)
                               : berth_v2_check(d, berth_model_name(c->model), &asked->infer, e);
}

void
berth_v2_grpc_run(struct berth_call *c, const struct berth_call_ops *ops)
{
    struct berth_v2_grpc_asked *asked = c->state;
    struct berth_part *part;

    if (!asked->is_text) {
        berth_v2_run(c, &asked->infer, ops);
        return;
    }
    part = berth_call_parts(c, 1);
    if (part == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "the request is larger than its memory limit");
        return;
    }
    part->r.task = BERTH_TASK_COMPLETION;
    part->r.gen = asked->text.gen;
    part->r.priority = asked->infer.priority;
    berth_call_run(c, ops);
}

/* c->state is the request: its answer, but for how a text is generated. */
int
berth_v2_grpc_answer(struct berth_call *c, struct berth_v2_answer *ret, struct berth_err *e)
{
    struct berth_v2_grpc_asked *asked = c->state;
    const struct berth_part *part = &c->parts[0];

    *ret = (struct berth_v2_answer){.model = berth_model_name(c->model),
                                    .version = berth_model_version(c->model),
                                    .asked = &asked->infer,
                                    .outputs = part->r.outputs,
                                    .output_count = part->r.output_count,
                                    .labels =
                                        berth_json_get(berth_model_manifest(c->model), "labels")};
    if (asked->infer.timing)
        ret->timings = berth_call_timings(c, &ret->timing_count);
    if (!asked->is_text) {
        const int r = berth_v2_classify(c->arena, &asked->infer, ret, e);
        return r < 0 ? r : berth_v2_shm_put(c->api->shm, &asked->infer, ret, e);
    }
    ret->outputs = &asked->output;
    ret->output_count = 1;
    return berth_v2_text_output(c->arena, (struct berth_slice){part->text.at, part->text.len},
                                &asked->output, e);
}

/* ---- ModelInfer ---- */

static void
infer_answer(struct berth_call *c)
{
    const struct berth_v2_pb_flag none = {NULL, false};
    struct berth_v2_answer from;
    struct berth_slice *parts;
    struct berth_err e;
    struct berth_buf b;
    size_t count;
    int r = berth_v2_grpc_answer(c, &from, &e);

    berth_grpc_begin(&b, c->arena);
    if (r == 0)
        r = berth_v2_pb_put(&b, c->arena, &from, &none, &parts, &count, &e);
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    r = berth_grpc_send_parts(c->grpc, &b, parts, count);
    if (r < 0)
        berth_call_fail(c, r, NULL, "the answer could not be sent");
    else
        berth_grpc_end(c->grpc, 0, NULL);
}

static const struct berth_call_ops infer_ops = {.answer = infer_answer, .all_or_nothing = true};

static void
infer(struct berth_call *c)
{
    struct berth_err e;
    const int r = berth_v2_grpc_read(c, berth_grpc_message(c->grpc), &e);

    if (r == BERTH_CALL_PARKED)
        return;
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_v2_grpc_run(c, &infer_ops);
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
    {.path = SERVICE "ModelInfer",
     .scope = BERTH_SCOPE_INFER,
     .aligned = BERTH_V2_PB_RAW,
     .message = model_infer},
    {.path = SERVICE "ModelStreamInfer",
     .scope = BERTH_SCOPE_INFER,
     .aligned = BERTH_V2_PB_RAW,
     .client_streams = true,
     .server_streams = true,
     .message = berth_v2_grpc_stream_message,
     .half_closed = berth_v2_grpc_stream_half_closed,
     .writable = berth_v2_grpc_stream_writable,
     .cut = berth_v2_grpc_stream_cut},
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
    {.path = SERVICE "SystemSharedMemoryStatus",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES,
     .message = berth_v2_grpc_shm_status},
    {.path = SERVICE "SystemSharedMemoryRegister",
     .scope = BERTH_SCOPE_MANAGE,
     .message_max = SMALL_BYTES,
     .blocks = true,
     .message = berth_v2_grpc_shm_register},
    {.path = SERVICE "SystemSharedMemoryUnregister",
     .scope = BERTH_SCOPE_MANAGE,
     .message_max = SMALL_BYTES,
     .blocks = true,
     .message = berth_v2_grpc_shm_unregister},
    {.path = NULL},
};
