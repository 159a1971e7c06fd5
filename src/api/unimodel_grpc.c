#include <string.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "api/pbjson.h"
#include "api/proto_sets.h"
#include "base/arena.h"

/*
 * UniModel over gRPC (proto/unimodel.proto).  A message and the JSON of /v1 have the same members,
 * so a request becomes JSON, the handlers of /v1 do the work, and their answer becomes a message.
 * Who wants tensors without such a way uses inference.GRPCInferenceService.
 */

#define MODELS    "/unimodel.v1.ModelService/"
#define INFERENCE "/unimodel.v1.InferenceService/"

enum { SMALL_BYTES_MAX = 1024 * 1024 };

/* A method's answer, for berth_call.state is the handler's. */
struct answer {
    struct berth_slice descriptor; /* of its message */
    void (*handle)(struct berth_call *c);
};

static struct answer *
answer_of(struct berth_call *c)
{
    return *berth_grpc_state(c->grpc);
}

static int
send_json(struct berth_call *c, struct berth_slice text, struct berth_err *e)
{
    const struct berth_json *v;
    struct berth_arena scratch;
    struct berth_buf b;

    berth_arena_init(&scratch, c->api->conf.output_bytes_max);
    berth_buf_init(&b, NULL);
    int r = berth_json_parse(&scratch, text.at, text.len, NULL, &v, e);
    if (r == 0) {
        berth_pbjson_put(&b, answer_of(c)->descriptor, v);
        r = b.failed ? -BERTH_ENOMEM : berth_grpc_send(c->grpc, b.len > 0 ? b.at : "", b.len);
        if (r < 0)
            (void)berth_err_set(e, (enum berth_code) - r, "the answer could not be sent");
    }
    berth_buf_fini(&b);
    berth_arena_fini(&scratch);
    return r;
}

/* As berth_call.json. */
static void
json(struct berth_call *c, struct berth_slice text, bool last)
{
    struct berth_err e;
    const int r = send_json(c, text, &e);

    if (r < 0) {
        const struct berth_fault f = {.code = r, .message = e.msg};
        berth_call_cut(c, &f);
    } else if (last) {
        berth_grpc_end(c->grpc, 0, NULL);
    }
}

static void
again(struct berth_call *c)
{
    answer_of(c)->handle(c);
}

struct method {
    const char *request, *response; /* messages' names */
    void (*handle)(struct berth_call *c);
    bool streams;
};

static int
read_request(struct berth_call *c, const struct method *m, struct berth_slice message,
             struct berth_err *e)
{
    struct berth_buf text;
    struct berth_jw w;

    berth_buf_init(&text, NULL);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    if (m->streams) {
        berth_jw_key(&w, "stream");
        berth_jw_bool(&w, true);
    }
    int r = berth_pbjson_read(&w, berth_proto_message(berth_slice_of(m->request)), message, e);
    berth_jw_object_end(&w);
    if (r == 0 && text.failed)
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0)
        r = berth_json_parse(c->arena, text.at, text.len, NULL, &c->body, e);
    berth_buf_fini(&text);
    const struct berth_json *custom =
        berth_json_get(berth_json_get(c->body, "parameters"), "custom");
    if (r == 0 && !m->streams && berth_json_get(custom, "stream") != NULL)
        r = berth_err_set(e, BERTH_EINVAL, "parameters.custom.stream: call PredictStream for that");
    return r;
}

static void
run(struct berth_grpc *g, struct berth_slice message, const struct method *m)
{
    struct berth_call *c = berth_grpc_call(g);
    struct answer *to = BERTH_NEW(c->arena, struct answer);
    struct berth_err e;
    int r = to != NULL
                ? read_request(c, m, message, &e)
                : berth_err_set(&e, BERTH_ENOMEM, "the request is larger than its memory limit");

    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    *to = (struct answer){.descriptor = berth_proto_message(berth_slice_of(m->response)),
                          .handle = m->handle};
    *berth_grpc_state(g) = to;
    (void)berth_json_string(berth_json_get(c->body, "model"), &c->name);
    (void)berth_json_string(berth_json_get(c->body, "version"), &c->version);
    c->json = json;
    c->again = again;
    m->handle(c);
}

#define METHOD(name, ask, tell, handler, streaming)                      \
    static void name(struct berth_grpc *g, struct berth_slice message)   \
    {                                                                    \
        static const struct method m = {.request = "unimodel.v1." ask,   \
                                        .response = "unimodel.v1." tell, \
                                        .handle = (handler),             \
                                        .streams = (streaming)};         \
        run(g, message, &m);                                             \
    }
METHOD(register_model, "RegisterModelRequest", "RegisterModelResponse", berth_unimodel_register,
       false)
METHOD(unregister_model, "UnregisterModelRequest", "UnregisterModelResponse", berth_unimodel_delete,
       false)
METHOD(get_model, "GetModelRequest", "ModelInfo", berth_unimodel_get, false)
METHOD(list_models, "ListModelsRequest", "ListModelsResponse", berth_unimodel_list, false)
METHOD(get_status, "GetModelStatusRequest", "ModelStatus", berth_unimodel_status, false)
METHOD(predict, "PredictRequest", "PredictResponse", berth_unimodel_predict, false)
METHOD(predict_stream, "PredictRequest", "PredictResponse", berth_unimodel_predict, true)
METHOD(batch_predict, "BatchPredictRequest", "BatchPredictResponse", berth_unimodel_batch, false)

const struct berth_grpc_method berth_unimodel_grpc_methods[] = {
    {.path = INFERENCE "Predict", .scope = BERTH_SCOPE_INFER, .message = predict},
    {.path = INFERENCE "PredictStream",
     .scope = BERTH_SCOPE_INFER,
     .server_streams = true,
     .message = predict_stream},
    {.path = INFERENCE "BatchPredict", .scope = BERTH_SCOPE_INFER, .message = batch_predict},
    {.path = MODELS "GetModel",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES_MAX,
     .message = get_model},
    {.path = MODELS "GetModelStatus",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES_MAX,
     .message = get_status},
    {.path = MODELS "ListModels",
     .scope = BERTH_SCOPE_READ,
     .message_max = SMALL_BYTES_MAX,
     .blocks = true,
     .message = list_models},
    {.path = MODELS "RegisterModel",
     .scope = BERTH_SCOPE_MANAGE,
     .message_max = SMALL_BYTES_MAX,
     .blocks = true,
     .message = register_model},
    {.path = MODELS "UnregisterModel",
     .scope = BERTH_SCOPE_MANAGE,
     .message_max = SMALL_BYTES_MAX,
     .blocks = true,
     .message = unregister_model},
    {.path = NULL},
};
