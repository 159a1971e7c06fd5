#include <string.h>

#include "api/api_priv.h"
#include "api/openai.h"
#include "base/arena.h"
#include "infer/model.h"

/* POST /v1/chat/completions */

/* ---- log-probabilities: {"content":[{"token","logprob","bytes","top_logprobs"},..]} ---- */

static void
put_token(struct berth_jw *w, const struct berth_token *t)
{
    berth_jw_key(w, "token");
    berth_jw_string_n(w, t->text, t->text_len);
    berth_jw_key(w, "logprob");
    berth_jw_float(w, t->logprob);
    berth_jw_key(w, "bytes");
    berth_jw_array(w);
    for (size_t i = 0; i < t->text_len; i++)
        berth_jw_uint(w, (unsigned char)t->text[i]);
    berth_jw_array_end(w);
}

static void
put_tokens(struct berth_jw *w, const struct berth_delta *d)
{
    for (uint32_t i = 0; d->tokens != NULL && i < d->token_count; i++) {
        const struct berth_token *t = &d->tokens[i];

        berth_jw_object(w);
        put_token(w, t);
        berth_jw_key(w, "top_logprobs");
        berth_jw_array(w);
        for (size_t k = 0; k < t->top_count; k++) {
            berth_jw_object(w);
            put_token(w, &t->top[k]);
            berth_jw_object_end(w);
        }
        berth_jw_array_end(w);
        berth_jw_object_end(w);
    }
}

/* Collected as the elements of an array, with commas between. */
static void
collect(struct berth_call *c, struct berth_part *part, const struct berth_delta *d)
{
    const struct berth_openai *o = c->state;
    struct berth_jw w;

    berth_buf_put(&part->text, d->text, d->text_len);
    if (!o->logprobs || d->tokens == NULL || d->token_count == 0)
        return;
    if (part->logprobs.len > 0)
        berth_buf_putc(&part->logprobs, ',');
    berth_jw_init(&w, &part->logprobs);
    w.depth = 1; /* inside the array that answer() writes; its commas are ours */
    put_tokens(&w, d);
}

/* ---- whole answers ---- */

static void
put_whole(struct berth_jw *w, const struct berth_call *c, const struct berth_part *part)
{
    const struct berth_openai *o = c->state;

    berth_jw_key(w, "message");
    berth_jw_object(w);
    berth_jw_key(w, "role");
    berth_jw_string(w, "assistant");
    berth_jw_key(w, "content");
    berth_jw_string_n(w, part->text.len > 0 ? part->text.at : "", part->text.len);
    berth_jw_key(w, "refusal");
    berth_jw_null(w);
    berth_jw_object_end(w);
    berth_jw_key(w, "logprobs");
    if (o->logprobs) {
        berth_jw_object(w);
        berth_jw_key(w, "content");
        berth_jw_array(w);
        if (part->logprobs.len > 0)
            berth_jw_raw(w, part->logprobs.at, part->logprobs.len);
        berth_jw_array_end(w);
        berth_jw_object_end(w);
    } else {
        berth_jw_null(w);
    }
}

static const struct berth_call_ops chat_ops = {
    .delta = collect, .answer = berth_openai_answer, .all_or_nothing = true};

/* ---- streams ---- */

/* The role comes with a choice's first piece. */
static void
put_piece(struct berth_jw *w, struct berth_call *c, const struct berth_part *part,
          const struct berth_delta *d)
{
    struct berth_openai *o = c->state;

    berth_jw_key(w, "delta");
    berth_jw_object(w);
    if (!o->begun[part->index]) {
        berth_jw_key(w, "role");
        berth_jw_string(w, "assistant");
        o->begun[part->index] = true;
        if (d == NULL) {
            berth_jw_key(w, "content");
            berth_jw_string(w, "");
        }
    }
    if (d != NULL) {
        berth_jw_key(w, "content");
        berth_jw_string_n(w, d->text, d->text_len);
    }
    berth_jw_object_end(w);
    berth_jw_key(w, "logprobs");
    if (o->logprobs && d != NULL) {
        berth_jw_object(w);
        berth_jw_key(w, "content");
        berth_jw_array(w);
        put_tokens(w, d);
        berth_jw_array_end(w);
        berth_jw_object_end(w);
    } else {
        berth_jw_null(w);
    }
}

/* ---- the request ---- */

/* What this server would have to ignore silently is refused instead. */
static int
refuse_unsupported(struct berth_fields *f)
{
    static const char no_tools[] = "tools are not offered by this model; leave it out";
    const struct berth_json *format = berth_field(f, "response_format");
    struct berth_slice type = {"", 0}, choice = {"", 0};
    int r;

    if (format != NULL && (!berth_json_string(berth_json_get(format, "type"), &type) ||
                           !berth_slice_is(type, "text")))
        return berth_field_bad(f, "response_format",
                               "only {\"type\":\"text\"} is offered; ask for JSON in the prompt");
    if ((r = berth_openai_refuse(f, "tools", no_tools)) < 0 ||
        (r = berth_openai_refuse(f, "functions", no_tools)) < 0 ||
        (r = berth_openai_refuse(f, "audio", "this model gives text only")) < 0)
        return r;
    if (berth_json_string(berth_field(f, "tool_choice"), &choice) &&
        (berth_slice_is(choice, "none") || berth_slice_is(choice, "auto")))
        return 0;
    return berth_openai_refuse(f, "tool_choice", no_tools);
}

static int
read_logprobs(struct berth_fields *f, struct berth_openai *o)
{
    int64_t top = 0;
    int r;

    if ((r = berth_field_bool(f, "logprobs", &o->logprobs)) < 0 ||
        (r = berth_field_int(f, "top_logprobs", 0, BERTH_TOP_LOGPROBS_MAX, &top)) < 0)
        return r;
    if (top > 0 && !o->logprobs)
        return berth_field_bad(f, "top_logprobs", "is only for logprobs: true");
    o->gen.logprobs = o->logprobs ? (int32_t)top : -1;
    return 0;
}

static int
read_chat(struct berth_fields *f, struct berth_call *c, struct berth_openai *o)
{
    static const char *const max_tokens[] = {"max_completion_tokens", "max_tokens", NULL};
    struct berth_buf b;
    int r;

    berth_gen_init(&o->gen);
    berth_buf_init(&b, &c->x->arena);
    if ((r = berth_openai_read(f, c, o)) < 0 || (r = refuse_unsupported(f)) < 0 ||
        (r = berth_gen_read_max_tokens(f, max_tokens, &o->gen)) < 0 ||
        (r = read_logprobs(f, o)) < 0 || (r = berth_openai_messages(f, &b)) < 0)
        return r;
    o->gen.chat_json = berth_buf_text(&b);
    o->gen.chat_json_len = b.len;
    o->begun = BERTH_NEW_N(&c->x->arena, bool, o->n);
    if (o->gen.chat_json == NULL || o->begun == NULL || berth_call_parts(c, o->n) == NULL)
        return berth_err_set(f->e, BERTH_ENOMEM, "the request is larger than its memory limit");
    for (uint32_t i = 0; i < o->n; i++) {
        c->parts[i].r.task = BERTH_TASK_CHAT;
        c->parts[i].r.gen = o->gen;
        c->parts[i].r.gen.seed += i; /* or all choices would be the same */
    }
    return 0;
}

static const struct berth_openai_form form = {.read = read_chat,
                                              .whole = &chat_ops,
                                              .prefix = "chatcmpl",
                                              .object = "chat.completion",
                                              .chunk_object = "chat.completion.chunk",
                                              .put_whole = put_whole,
                                              .put_piece = put_piece};

void
berth_openai_chat(struct berth_call *c)
{
    berth_openai_run(c, &form);
}
