#include "api/openai.h"

#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/arena.h"
#include "infer/model.h"

bool
berth_openai_find(struct berth_call *c)
{
    struct berth_err e, second;
    struct berth_fields f = berth_fields(c->body, "", &e);
    struct berth_slice name = {"", 0}, none = {"", 0};
    int r = berth_field_string(&f, "model", &name);

    if (r == 0 && name.len == 0)
        r = berth_field_bad(&f, "model", "is missing; GET /v1/models lists what there is");
    if (r < 0) {
        berth_call_fail(c, r, "model", e.msg);
        return false;
    }
    r = berth_call_find(c, name, none, &e);
    if (r == -BERTH_ENOENT) {
        const char *colon = memrchr(name.at, ':', name.len);
        if (colon != NULL && colon > name.at && colon + 1 < name.at + name.len) {
            const struct berth_slice version = {colon + 1,
                                                (size_t)(name.at + name.len - colon - 1)};
            const int again = berth_call_find(
                c, (struct berth_slice){name.at, (size_t)(colon - name.at)}, version, &second);
            if (again != -BERTH_ENOENT) {
                r = again;
                if (r < 0)
                    e = second;
            }
        }
    }
    if (r < 0)
        berth_call_fail(c, r, r == -BERTH_ENOENT ? "model" : NULL, e.msg);
    return r == 0;
}

int
berth_openai_refuse(struct berth_fields *f, const char *key, const char *why)
{
    const struct berth_json *v = berth_field(f, key);
    bool b;

    switch (berth_json_type(v)) {
    case BERTH_JSON_NULL:
        return 0;
    case BERTH_JSON_BOOL:
        if (berth_json_bool(v, &b) && !b)
            return 0;
        break;
    case BERTH_JSON_ARRAY:
    case BERTH_JSON_OBJECT:
        if (berth_json_len(v) == 0)
            return 0;
        break;
    case BERTH_JSON_INT:
    case BERTH_JSON_REAL:
    case BERTH_JSON_STRING:
        break;
    }
    return berth_field_bad(f, key, "%s", why);
}

int
berth_openai_read(struct berth_fields *f, struct berth_call *c, struct berth_openai *o)
{
    const struct berth_json *options = berth_field(f, "stream_options");
    struct berth_fields sf = berth_fields(options, "stream_options.", f->e);
    int64_t n = 1;
    int r;

    if ((r = berth_gen_read(f, &c->x->arena, &o->gen)) < 0 ||
        (r = berth_field_int(f, "n", 1, BERTH_CHOICES_MAX, &n)) < 0 ||
        (r = berth_field_bool(f, "stream", &o->stream)) < 0 ||
        (r = berth_call_read_priority(c, f)) < 0)
        return r;
    if (options != NULL && berth_json_type(options) != BERTH_JSON_OBJECT)
        return berth_field_bad(f, "stream_options", "must be an object, not %s",
                               berth_json_type_name(options));
    if (options != NULL && !o->stream)
        return berth_field_bad(f, "stream_options", "is only for stream: true");
    if ((r = berth_field_bool(&sf, "include_usage", &o->include_usage)) < 0) {
        memcpy(f->bad, sf.bad, sizeof f->bad);
        return r;
    }
    o->n = (uint32_t)n;
    return 0;
}

static void
put_head(struct berth_jw *w, const struct berth_call *c, const char *object)
{
    const struct berth_openai *o = c->state;
    char id[64];

    (void)snprintf(id, sizeof id, "%s-%s", o->form->prefix, c->id);
    berth_jw_object(w);
    berth_jw_key(w, "id");
    berth_jw_string(w, id);
    berth_jw_key(w, "object");
    berth_jw_string(w, object);
    berth_jw_key(w, "created");
    berth_jw_int(w, berth_call_created(c));
    berth_jw_key(w, "model");
    berth_jw_string(w, berth_model_name(c->model));
    berth_jw_key(w, "system_fingerprint");
    berth_jw_string(w, "berth-" BERTH_VERSION);
}

static void
put_usage(struct berth_jw *w, const struct berth_call *c)
{
    const struct berth_openai *o = c->state;
    uint64_t in = 0, cached = 0, out = 0;

    for (uint32_t i = 0; i < c->part_count; i++) {
        const struct berth_finish *finish = &c->parts[i].r.finish;

        out += finish->completion_tokens;
        if (i % o->n == 0) {
            in += finish->prompt_tokens;
            cached += finish->cached_tokens;
        }
    }
    berth_jw_key(w, "usage");
    berth_jw_object(w);
    berth_jw_key(w, "prompt_tokens");
    berth_jw_uint(w, in);
    berth_jw_key(w, "completion_tokens");
    berth_jw_uint(w, out);
    berth_jw_key(w, "total_tokens");
    berth_jw_uint(w, in + out);
    berth_jw_key(w, "prompt_tokens_details");
    berth_jw_object(w);
    berth_jw_key(w, "cached_tokens");
    berth_jw_uint(w, cached);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

static void
put_finish(struct berth_jw *w, const struct berth_part *part)
{
    berth_jw_key(w, "finish_reason");
    if (!part->ended)
        berth_jw_null(w);
    else
        berth_jw_string(w, part->r.finish.reason == BERTH_FINISH_LENGTH ? "length" : "stop");
}

static void
begin_choice(struct berth_jw *w, const struct berth_part *part)
{
    berth_jw_object(w);
    berth_jw_key(w, "index");
    berth_jw_uint(w, part->index);
}

void
berth_openai_answer(struct berth_call *c)
{
    const struct berth_openai *o = c->state;
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    put_head(&w, c, o->form->object);
    berth_jw_key(&w, "choices");
    berth_jw_array(&w);
    for (uint32_t i = 0; i < c->part_count; i++) {
        const struct berth_part *part = &c->parts[i];

        begin_choice(&w, part);
        o->form->put_whole(&w, c, part);
        put_finish(&w, part);
        berth_jw_object_end(&w);
        b.failed |= part->text.failed | part->logprobs.failed;
    }
    berth_jw_array_end(&w);
    put_usage(&w, c);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

/* ---- streams ---- */

/* d NULL: the choice's end. */
static void
send_piece(struct berth_call *c, struct berth_part *part, const struct berth_delta *d)
{
    const struct berth_openai *o = c->state;
    struct berth_jw w;

    berth_sse_start(c);
    berth_jw_init(&w, berth_sse_data(c));
    put_head(&w, c, o->form->chunk_object);
    berth_jw_key(&w, "choices");
    berth_jw_array(&w);
    begin_choice(&w, part);
    o->form->put_piece(&w, c, part, d);
    put_finish(&w, part);
    berth_jw_object_end(&w);
    berth_jw_array_end(&w);
    if (o->include_usage) {
        berth_jw_key(&w, "usage");
        berth_jw_null(&w);
    }
    berth_jw_object_end(&w);
    berth_sse_send(c);
}

static void
stream_delta(struct berth_call *c, struct berth_part *part, const struct berth_delta *d)
{
    if (d->text_len > 0 || d->token_count > 0)
        send_piece(c, part, d);
}

static void
stream_part_done(struct berth_call *c, struct berth_part *part)
{
    send_piece(c, part, NULL);
}

static void
stream_end(struct berth_call *c)
{
    const struct berth_openai *o = c->state;

    if (o->include_usage) {
        struct berth_jw w;

        berth_jw_init(&w, berth_sse_data(c));
        put_head(&w, c, o->form->chunk_object);
        berth_jw_key(&w, "choices");
        berth_jw_array(&w);
        berth_jw_array_end(&w);
        put_usage(&w, c);
        berth_jw_object_end(&w);
        berth_sse_send(c);
    }
    berth_buf_puts(berth_sse_data(c), "[DONE]");
    berth_sse_send(c);
    berth_sse_end(c);
}

const struct berth_call_ops berth_openai_stream_ops = {.delta = stream_delta,
                                                       .part_done = stream_part_done,
                                                       .answer = stream_end,
                                                       .all_or_nothing = true};

void
berth_openai_run(struct berth_call *c, const struct berth_openai_form *form)
{
    struct berth_openai *o = BERTH_NEW(&c->x->arena, struct berth_openai);
    struct berth_err e;
    int r;

    if (!berth_call_body(c))
        return;
    if (o == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "out of memory");
        return;
    }
    *o = (struct berth_openai){.form = form};
    c->state = o;
    if (!berth_openai_find(c))
        return;
    struct berth_fields f = berth_fields(c->body, "", &e);
    r = form->read(&f, c, o);
    if (r < 0)
        berth_call_fail(c, r, f.bad[0] != '\0' ? f.bad : NULL, e.msg);
    else
        berth_call_run(c, o->stream ? &berth_openai_stream_ops : form->whole);
}
