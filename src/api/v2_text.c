#include "api/v2_text.h"

#include <string.h>

#include "api/fields.h"
#include "api/v2_infer.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "wire/json.h"

enum { MAX_TOKENS_DEFAULT = 20 }; /* as for /generate */

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
}

bool
berth_v2_is_text(const struct berth_describe *d)
{
    return (d->tasks & BERTH_TASK_TENSOR) == 0 && (d->tasks & BERTH_TASK_COMPLETION) != 0;
}

/* Each input as a member: one element bare, several as an array. */
static int
put_inputs(struct berth_jw *w, const struct berth_v2_infer *asked, struct berth_err *e)
{
    int r = 0;

    for (size_t i = 0; i < asked->input_count && r == 0; i++) {
        struct berth_tensor t = asked->inputs[i];
        const struct berth_tensor_put how = {.nested = true};
        size_t count;

        if (!berth_shape_count(t.shape, t.rank, &count) ||
            (t.dtype == BERTH_BYTES && !berth_tensor_is_text(&t)))
            return berth_err_set(e, BERTH_EINVAL, "inputs[%zu]: must be text in UTF-8", i);
        if (strcmp(t.name, "sampling_parameters") == 0)
            continue;
        t.rank = count == 1 ? 0 : 1;
        t.shape[0] = (int64_t)count;
        berth_jw_key(w, t.name);
        r = berth_tensor_put_json(w, &t, &how, e);
    }
    return r;
}

static int
read_object(struct berth_arena *a, struct berth_slice text, const char *what,
            const struct berth_json **ret, struct berth_err *e)
{
    const int r = berth_json_parse(a, text.at, text.len, NULL, ret, e);

    if (r < 0)
        return berth_err_wrap(e, r, "%s is not right JSON", what);
    if (berth_json_type(*ret) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL, "%s: must be a JSON object", what);
    return 0;
}

/* The sampling_parameters input, or NULL. */
static int
read_sampling(struct berth_arena *a, const struct berth_v2_infer *asked,
              const struct berth_json **ret, struct berth_err *e)
{
    *ret = NULL;
    for (size_t i = 0; i < asked->input_count; i++) {
        const struct berth_tensor *t = &asked->inputs[i];
        struct berth_slice s;
        size_t at = 0;

        if (strcmp(t->name, "sampling_parameters") != 0)
            continue;
        if (t->dtype != BERTH_BYTES || !berth_bytes_next(t, &at, &s))
            return berth_err_set(e, BERTH_EINVAL,
                                 "sampling_parameters: must be BYTES, a JSON "
                                 "object");
        return s.len > 0 ? read_object(a, s, "sampling_parameters", ret, e) : 0;
    }
    return 0;
}

int
berth_v2_text_read(struct berth_arena *a, const struct berth_v2_infer *asked,
                   struct berth_slice parameters, struct berth_v2_text *ret, struct berth_err *e)
{
    static const char *const max_tokens[] = {"max_tokens", "max_new_tokens", NULL};
    const struct berth_json *body, *beside, *sampling;
    struct berth_slice text = {NULL, 0};
    struct berth_buf b;
    struct berth_jw w;
    bool stream = true;
    int r;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    if ((r = put_inputs(&w, asked, e)) < 0)
        return r;
    berth_jw_object_end(&w);
    if (b.failed)
        return no_memory(e);
    if ((r = read_object(a, (struct berth_slice){b.at, b.len}, "the request", &body, e)) < 0 ||
        (r = read_object(a, parameters, "parameters", &beside, e)) < 0 ||
        (r = read_sampling(a, asked, &sampling, e)) < 0)
        return r;
    struct berth_fields f[] = {berth_fields(body, "", e), berth_fields(beside, "parameters.", e),
                               berth_fields(sampling, "sampling_parameters.", e)};
    berth_gen_init(&ret->gen);
    ret->gen.max_tokens = MAX_TOKENS_DEFAULT;
    if ((r = berth_field_string(&f[0], "text_input", &text)) < 0 ||
        (r = berth_field_bool(&f[0], "stream", &stream)) < 0 ||
        (r = berth_field_bool(&f[1], "stream", &stream)) < 0)
        return r;
    if (text.at == NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "text_input: is missing; send the text to go on from as an input "
                             "text_input of type BYTES and shape [1]");
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        if ((r = berth_gen_read(&f[i], a, &ret->gen)) < 0 ||
            (r = berth_gen_read_max_tokens(&f[i], max_tokens, &ret->gen)) < 0)
            return r;
    }
    ret->whole = !stream;
    ret->gen.logprobs = -1;
    ret->gen.prompt = text.at;
    ret->gen.prompt_len = text.len;
    return 0;
}

int
berth_v2_text_output(struct berth_arena *a, struct berth_slice text, struct berth_tensor *ret,
                     struct berth_err *e)
{
    const uint32_t len = (uint32_t)text.len;
    char *at = berth_arena_alloc_raw(a, sizeof len + text.len);

    if (at == NULL || text.len > UINT32_MAX)
        return no_memory(e);
    memcpy(at, &len, sizeof len);
    if (len > 0)
        memcpy(at + sizeof len, text.at, len);
    *ret = (struct berth_tensor){.name = "text_output",
                                 .dtype = BERTH_BYTES,
                                 .rank = 1,
                                 .shape = {1},
                                 .bytes = at,
                                 .size = sizeof len + len};
    return 0;
}
