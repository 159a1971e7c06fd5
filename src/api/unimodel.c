#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/fields.h"
#include "api/unimodel_answer.h"
#include "api/unimodel_input.h"
#include "api/v2_tensor.h"
#include "api/vision.h"
#include "base/arena.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/registry.h"
#include "wire/uri.h"

/* UniModel's predictions: POST /v1/models/{model}:predict, /predict and /predict/batch. */

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
}

/* ---- the request ---- */

static int
read_parameters(struct berth_call *c, struct berth_predict *p, struct berth_err *e)
{
    static const char *const max_tokens[] = {"max_tokens", "max_new_tokens", NULL};
    const struct berth_json *nested = berth_json_get(c->body, "parameters");
    const struct {
        const struct berth_json *object;
        const char *path;
    } places[] = {{c->body, ""},
                  {nested, "parameters."},
                  {berth_json_get(nested, "custom"), "parameters.custom."},
                  {berth_json_get(c->body, "options"), "options."}};

    if (berth_json_type(nested) != BERTH_JSON_NULL && berth_json_type(nested) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL, "parameters: must be an object, not %s",
                             berth_json_type_name(nested));
    berth_gen_init(&p->gen);
    p->gen.top_p = 0.9f;
    p->gen.top_k = 50;
    p->gen.max_tokens = 100;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct berth_fields f = berth_fields(places[i].object, places[i].path, e);
        int r;

        if ((r = berth_gen_read(&f, &c->x->arena, &p->gen)) < 0 ||
            (r = berth_gen_read_max_tokens(&f, max_tokens, &p->gen)) < 0 ||
            (r = berth_field_bool(&f, "stream", &p->stream)) < 0 ||
            (r = berth_call_read_priority(c, &f)) < 0)
            return r;
    }
    return 0;
}

/* One user's message for models that chat, the text itself for those that only go on. */
static int
prepare_text(struct berth_call *c, struct berth_part *part, struct berth_slice text,
             const struct berth_json *messages, struct berth_err *e)
{
    const bool chat = (berth_model_describe(c->model)->tasks & BERTH_TASK_CHAT) != 0;
    const struct berth_predict *p = c->state;
    struct berth_gen *g = &part->r.gen;
    struct berth_buf b;
    struct berth_jw w;

    *g = p->gen;
    part->r.task = chat ? BERTH_TASK_CHAT : BERTH_TASK_COMPLETION;
    if (!chat) {
        g->prompt = text.at;
        g->prompt_len = text.len;
        return 0;
    }
    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "messages");
    if (messages != NULL) {
        berth_jw_value(&w, messages);
    } else {
        berth_jw_array(&w);
        berth_jw_object(&w);
        berth_jw_key(&w, "role");
        berth_jw_string(&w, "user");
        berth_jw_key(&w, "content");
        berth_jw_string_n(&w, text.at, text.len);
        berth_jw_object_end(&w);
        berth_jw_array_end(&w);
    }
    berth_jw_object_end(&w);
    g->chat_json = berth_buf_text(&b);
    g->chat_json_len = b.len;
    return g->chat_json != NULL ? 0 : no_memory(e);
}

static int
prepare_image(struct berth_call *c, struct berth_part *part, struct berth_predict_item *item,
              const struct berth_input *in, const char *path, struct berth_err *e)
{
    const struct berth_vision_image image = {.bytes = in->binary,
                                             .len = in->binary_len,
                                             .pixels_max = c->api->conf.image_pixels_max,
                                             .path = path};
    struct berth_tensor *t = BERTH_NEW(&c->x->arena, struct berth_tensor);

    if (t == NULL)
        return no_memory(e);
    item->way = BERTH_ITEM_IMAGE;
    item->row = true;
    part->r.task = BERTH_TASK_TENSOR;
    part->r.inputs = t;
    part->r.input_count = 1;
    return berth_vision_tensor(&c->x->arena, berth_model_manifest(c->model),
                               berth_model_describe(c->model), &image, t, e);
}

/* Texts to the embedding model's one input. */
static int
prepare_embedding(struct berth_call *c, struct berth_part *part, struct berth_predict_item *item,
                  const struct berth_input *in, const char *path, struct berth_err *e)
{
    static const struct berth_tensor_spec text = {
        .name = "text", .dtype = BERTH_BYTES, .rank = 1, .shape = {-1}};
    const struct berth_describe d = {.inputs = &text, .input_count = 1};
    struct berth_input_tensors tensors;
    int r = in->kind == BERTH_INPUT_TEXT
                ? berth_input_text_tensor(&c->x->arena, in->text, path, &d, &tensors, e)
                : berth_input_tensors(&c->x->arena, in->json, path, &d, &tensors, e);

    item->way = BERTH_ITEM_EMBEDDING;
    item->single = in->kind == BERTH_INPUT_TEXT;
    item->row = item->single;
    if (r < 0)
        return r;
    part->r.task = BERTH_TASK_EMBEDDING;
    part->r.inputs = tensors.inputs;
    part->r.input_count = tensors.count;
    return 0;
}

static int
prepare_tensors(struct berth_call *c, struct berth_part *part, struct berth_predict_item *item,
                const struct berth_input *in, const char *path, struct berth_err *e)
{
    const struct berth_describe *d = berth_model_describe(c->model);
    struct berth_input_tensors tensors;
    int r;

    if (in->kind == BERTH_INPUT_BINARY)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: the model takes no image; say so in its manifest (image: "
                             "{width, height, ...}) or send numbers",
                             path);
    r = in->kind == BERTH_INPUT_TEXT
            ? berth_input_text_tensor(&c->x->arena, in->text, path, d, &tensors, e)
            : berth_input_tensors(&c->x->arena, in->json, path, d, &tensors, e);
    if (r < 0)
        return r;
    item->way = BERTH_ITEM_TENSORS;
    item->row = tensors.row;
    part->r.task = BERTH_TASK_TENSOR;
    part->r.inputs = tensors.inputs;
    part->r.input_count = tensors.count;
    return 0;
}

/* {"messages":[{"role","content"},..]} as input of a model that chats. */
static const struct berth_json *
messages_of(const struct berth_input *in)
{
    const struct berth_json *m =
        in->kind == BERTH_INPUT_JSON ? berth_json_get(in->json, "messages") : NULL;

    for (struct berth_json_iter it = berth_json_iter(m); berth_json_next(&it);) {
        if (berth_json_type(berth_json_get(it.value, "role")) != BERTH_JSON_STRING ||
            berth_json_type(berth_json_get(it.value, "content")) != BERTH_JSON_STRING)
            return NULL;
    }
    return berth_json_type(m) == BERTH_JSON_ARRAY && berth_json_len(m) > 0 ? m : NULL;
}

/* From one input to one request: what the model can do decides. */
static int
prepare(struct berth_call *c, struct berth_part *part, const struct berth_json *v, const char *path,
        struct berth_err *e)
{
    struct berth_predict *p = c->state;
    struct berth_predict_item *item = &p->items[part->index];
    const uint32_t tasks = berth_model_describe(c->model)->tasks;
    const bool image = berth_vision_is(berth_model_manifest(c->model));
    const bool chats = (tasks & BERTH_TASK_CHAT) != 0;
    struct berth_input in;
    int r = berth_input_read(&c->x->arena, v, path, image, &in, e);

    if (r < 0)
        return r;
    p->tagged = p->tagged || (in.tagged && c->grpc == NULL);
    if (image && in.binary != NULL)
        return prepare_image(c, part, item, &in, path, e);
    if (in.kind == BERTH_INPUT_MULTIMODAL && in.binary != NULL)
        return berth_err_set(e, BERTH_EINVAL, "%s: the model takes no image", path);
    if (in.kind == BERTH_INPUT_JSON && berth_json_string(in.json, &in.text))
        in.kind = BERTH_INPUT_TEXT;
    if (in.kind == BERTH_INPUT_MULTIMODAL && in.text.len > 0)
        in.kind = BERTH_INPUT_TEXT;
    item->way = BERTH_ITEM_TEXT;
    if (in.kind == BERTH_INPUT_TEXT && (tasks & (BERTH_TASK_CHAT | BERTH_TASK_COMPLETION)) != 0)
        return prepare_text(c, part, in.text, NULL, e);
    if (chats && messages_of(&in) != NULL)
        return prepare_text(c, part, in.text, messages_of(&in), e);
    if (in.kind == BERTH_INPUT_MULTIMODAL)
        in.kind = BERTH_INPUT_JSON;
    if ((tasks & BERTH_TASK_EMBEDDING) != 0 && in.kind != BERTH_INPUT_BINARY)
        return prepare_embedding(c, part, item, &in, path, e);
    if ((tasks & BERTH_TASK_TENSOR) == 0)
        return berth_err_set(e, BERTH_EINVAL, "%s: must be a text for this model", path);
    return prepare_tensors(c, part, item, &in, path, e);
}

/* ---- handlers ---- */

static struct berth_predict *
begin(struct berth_call *c, bool batch)
{
    struct berth_predict *p = BERTH_NEW(&c->x->arena, struct berth_predict);
    struct berth_slice format;
    struct berth_err e;
    int r = berth_call_find(c, c->name, c->version, &e);

    if (r == BERTH_CALL_PARKED)
        return NULL;
    if (r == 0 && p == NULL)
        r = no_memory(&e);
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return NULL;
    }
    if (c->x->body.len > (berth_vision_is(berth_model_manifest(c->model))
                              ? BERTH_PREPARE_IMAGE_BYTES
                              : BERTH_PREPARE_JSON_BYTES) &&
        berth_prepare_handler(c, batch ? berth_unimodel_batch : berth_unimodel_predict))
        return NULL;
    if (!berth_call_body(c))
        return NULL;
    c->state = p;
    p->batch = batch;
    if ((r = read_parameters(c, p, &e)) < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return NULL;
    }
    /* UniModel's own clients send tagged inputs and expect tagged outputs. */
    if (berth_uri_query(&c->x->arena, c->x->query, "format", &format))
        p->tagged = berth_slice_is(format, "tagged");
    return p;
}

/* n parts and their items; NULL: answered. */
static struct berth_part *
make_parts(struct berth_call *c, struct berth_predict *p, uint32_t n)
{
    struct berth_part *parts = berth_call_parts(c, n);

    p->items = BERTH_NEW_N(&c->x->arena, struct berth_predict_item, n);
    if (parts == NULL || p->items == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "the request is larger than its memory limit");
        return NULL;
    }
    return parts;
}

void
berth_unimodel_predict(struct berth_call *c)
{
    struct berth_predict *p = begin(c, false);
    struct berth_part *part = p != NULL ? make_parts(c, p, 1) : NULL;
    struct berth_err e;
    int r;

    if (part == NULL)
        return;
    /* Over gRPC an image comes as bytes; JSON has it as text. */
    const bool bytes = c->grpc != NULL && berth_json_get(c->body, "binary") != NULL;
    const char *member = bytes ? "binary" : "input";
    r = prepare(c, part, berth_json_get(c->body, member), member, &e);
    p->parsed_ns = berth_now_ns();
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_call_run(c, p->stream ? &berth_predict_stream_ops : &berth_predict_ops);
}

void
berth_unimodel_batch(struct berth_call *c)
{
    struct berth_predict *p = begin(c, true);
    const struct berth_json *inputs = p != NULL ? berth_json_get(c->body, "inputs") : NULL;
    const size_t n = berth_json_len(inputs);
    struct berth_part *parts;

    if (p == NULL)
        return;
    if (berth_json_type(inputs) != BERTH_JSON_ARRAY || n == 0 || n > BERTH_INPUTS_MAX) {
        char text[80];
        (void)snprintf(text, sizeof text, "inputs: must be an array of 1 to %d inputs",
                       BERTH_INPUTS_MAX);
        berth_call_fail(c, -BERTH_EINVAL, NULL, text);
        return;
    }
    if (p->stream) {
        berth_call_fail(c, -BERTH_EINVAL, NULL, "stream: a batch cannot be streamed");
        return;
    }
    parts = make_parts(c, p, (uint32_t)n);
    if (parts == NULL)
        return;
    for (struct berth_json_iter it = berth_json_iter(inputs); berth_json_next(&it);) {
        struct berth_part *part = &parts[it.index];
        char path[32];

        (void)snprintf(path, sizeof path, "inputs[%zu]", it.index);
        part->r.result = prepare(c, part, it.value, path, &part->r.err);
    }
    p->parsed_ns = berth_now_ns();
    berth_call_run(c, &berth_predict_batch_ops);
}
