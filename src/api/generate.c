#include <string.h>

#include "api/api_priv.h"
#include "api/fields.h"
#include "base/arena.h"
#include "infer/model.h"

/* The Open Inference Protocol's text generation: /generate and /generate_stream. */

struct generate {
    struct berth_gen gen;
    struct berth_slice id;
    bool details;
};

static void
put_head(struct berth_jw *w, const struct berth_call *c)
{
    const struct generate *g = c->state;

    berth_jw_object(w);
    if (g->id.len > 0) {
        berth_jw_key(w, "id");
        berth_jw_string_n(w, g->id.at, g->id.len);
    }
    berth_jw_key(w, "model_name");
    berth_jw_string(w, berth_model_name(c->model));
    berth_jw_key(w, "model_version");
    berth_jw_string(w, berth_model_version(c->model));
    berth_jw_key(w, "text_output");
}

static const char *
finish_name(const struct berth_finish *f)
{
    return f->reason == BERTH_FINISH_LENGTH ? "length"
           : f->stop != NULL                ? "stop_sequence"
                                            : "eos_token";
}

static void
put_token(struct berth_jw *w, const struct berth_token *t)
{
    berth_jw_object(w);
    berth_jw_key(w, "id");
    berth_jw_int(w, t->id);
    berth_jw_key(w, "text");
    berth_jw_string_n(w, t->text, t->text_len);
    berth_jw_key(w, "logprob");
    berth_jw_float(w, t->logprob);
    berth_jw_key(w, "special");
    berth_jw_bool(w, false);
    berth_jw_object_end(w);
}

static void
put_finish(struct berth_jw *w, const struct berth_finish *f)
{
    berth_jw_key(w, "finish_reason");
    berth_jw_string(w, finish_name(f));
    berth_jw_key(w, "prompt_tokens");
    berth_jw_uint(w, f->prompt_tokens);
    berth_jw_key(w, "generated_tokens");
    berth_jw_uint(w, f->completion_tokens);
}

static void
collect(struct berth_call *c, struct berth_part *part, const struct berth_delta *d)
{
    berth_buf_put(&part->text, d->text, d->text_len);
    for (uint32_t i = 0; d->tokens != NULL && i < d->token_count; i++) {
        struct berth_jw w;

        if (part->logprobs.len > 0)
            berth_buf_putc(&part->logprobs, ',');
        berth_jw_init(&w, &part->logprobs);
        put_token(&w, &d->tokens[i]);
    }
}

static void
generate_answer(struct berth_call *c)
{
    const struct generate *g = c->state;
    const struct berth_part *part = &c->parts[0];
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    put_head(&w, c);
    berth_jw_string_n(&w, part->text.len > 0 ? part->text.at : "", part->text.len);
    if (g->details) {
        berth_jw_key(&w, "details");
        berth_jw_object(&w);
        put_finish(&w, &part->r.finish);
        berth_jw_key(&w, "logprobs");
        berth_jw_array(&w);
        if (part->logprobs.len > 0)
            berth_jw_raw(&w, part->logprobs.at, part->logprobs.len);
        berth_jw_array_end(&w);
        berth_jw_object_end(&w);
    }
    berth_jw_object_end(&w);
    b.failed |= part->text.failed | part->logprobs.failed;
    berth_call_json(c, 200, &b);
}

static const struct berth_call_ops generate_ops = {
    .delta = collect, .answer = generate_answer, .all_or_nothing = true};

static void
stream_delta(struct berth_call *c, struct berth_part *part, const struct berth_delta *d)
{
    const struct generate *g = c->state;
    struct berth_jw w;

    if (d->text_len == 0 && d->token_count == 0)
        return;
    berth_sse_start(c);
    berth_jw_init(&w, berth_sse_data(c));
    put_head(&w, c);
    berth_jw_string_n(&w, d->text, d->text_len);
    if (g->details && d->tokens != NULL && d->token_count > 0) {
        berth_jw_key(&w, "details");
        berth_jw_object(&w);
        berth_jw_key(&w, "token");
        put_token(&w, &d->tokens[d->token_count - 1]);
        berth_jw_object_end(&w);
    }
    berth_jw_object_end(&w);
    berth_sse_send(c);
}

static void
stream_answer(struct berth_call *c)
{
    struct berth_jw w;

    berth_sse_start(c);
    berth_jw_init(&w, berth_sse_data(c));
    put_head(&w, c);
    berth_jw_string(&w, "");
    berth_jw_key(&w, "details");
    berth_jw_object(&w);
    put_finish(&w, &c->parts[0].r.finish);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    berth_sse_send(c);
    berth_sse_end(c);
}

static const struct berth_call_ops stream_ops = {
    .delta = stream_delta, .answer = stream_answer, .all_or_nothing = true};

/* The members lie in `parameters`, or, as Triton's clients send them, beside text_input. */
static int
read_generate(struct berth_call *c, struct generate *g, struct berth_err *e)
{
    static const char *const max_tokens[] = {"max_tokens", "max_new_tokens", NULL};
    const struct berth_json *parameters = berth_json_get(c->body, "parameters");
    struct berth_fields f[] = {berth_fields(c->body, "", e),
                               berth_fields(parameters, "parameters.", e)};
    struct berth_slice text = {NULL, 0};
    int r;

    if (berth_json_type(parameters) != BERTH_JSON_NULL &&
        berth_json_type(parameters) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL, "parameters: must be an object, not %s",
                             berth_json_type_name(parameters));
    berth_gen_init(&g->gen);
    g->gen.max_tokens = 20; /* the protocol's default */
    if ((r = berth_field_string(&f[0], "text_input", &text)) < 0 ||
        (r = berth_field_string(&f[0], "id", &g->id)) < 0)
        return r;
    if (text.at == NULL)
        return berth_field_bad(&f[0], "text_input", "is missing; give the text to go on from");
    for (size_t i = 0; i < 2; i++) {
        if ((r = berth_gen_read(&f[i], &c->x->arena, &g->gen)) < 0 ||
            (r = berth_gen_read_max_tokens(&f[i], max_tokens, &g->gen)) < 0 ||
            (r = berth_field_bool(&f[i], "details", &g->details)) < 0 ||
            (r = berth_call_read_priority(c, &f[i])) < 0)
            return r;
    }
    g->gen.logprobs = g->details ? 0 : -1;
    g->gen.prompt = text.at;
    g->gen.prompt_len = text.len;
    return 0;
}

static void
generate(struct berth_call *c, const struct berth_call_ops *ops)
{
    struct generate *g = BERTH_NEW(&c->x->arena, struct generate);
    struct berth_part *part;
    struct berth_err e;
    int r = berth_call_find(c, c->name, c->version, &e);

    if (r == BERTH_CALL_PARKED)
        return;
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    if (!berth_call_body(c))
        return;
    c->state = g;
    if (g != NULL && (r = read_generate(c, g, &e)) < 0) {
        const struct berth_fault f = {
            .code = r, .status = r == -BERTH_EINVAL ? 422 : 0, .message = e.msg};
        berth_call_fault(c, &f);
        return;
    }
    part = g != NULL ? berth_call_parts(c, 1) : NULL;
    if (part == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "the request is larger than its memory limit");
        return;
    }
    part->r.task = BERTH_TASK_COMPLETION;
    part->r.gen = g->gen;
    berth_call_run(c, ops);
}

void
berth_v2_generate(struct berth_call *c)
{
    generate(c, &generate_ops);
}

void
berth_v2_generate_stream(struct berth_call *c)
{
    generate(c, &stream_ops);
}
