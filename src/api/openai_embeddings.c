#include <string.h>

#include "api/api_priv.h"
#include "api/openai.h"
#include "base/arena.h"
#include "infer/model.h"
#include "wire/base64.h"

/* POST /v1/embeddings */

enum { ROWS_MAX = 32 /* texts in one request to the model: so that others get their turn */ };

struct embeddings {
    struct berth_openai base; /* first: the head is OpenAI's common one */
    struct berth_openai_prompt *prompts;
    size_t prompt_count;
    bool base64;
};

static void
put_vector(struct berth_jw *w, const float *v, size_t n, bool base64)
{
    if (!base64) {
        berth_jw_array(w);
        for (size_t i = 0; i < n; i++)
            berth_jw_float(w, v[i]);
        berth_jw_array_end(w);
        return;
    }
    struct berth_buf text;
    berth_buf_init(&text, w->b->arena);
    berth_base64_put(&text, v, n * sizeof *v); /* little-endian floats, as OpenAI's */
    berth_jw_string_n(w, text.len > 0 ? text.at : "", text.len);
    w->b->failed |= text.failed;
}

/* Tokens of all texts; 0 when the model does not say how it splits text. */
static uint64_t
count_tokens(const struct berth_call *c, const struct embeddings *m)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < m->prompt_count; i++) {
        const int64_t n =
            berth_model_tokenize(c->model, m->prompts[i].text.at, m->prompts[i].text.len, NULL, 0);
        sum += n > 0 ? (uint64_t)n : 0;
    }
    return sum;
}

/* Of each part the rows of its only output, FP32 [rows, length]. */
static int
put_vectors(struct berth_jw *w, const struct berth_call *c, struct berth_err *e)
{
    const struct embeddings *m = c->state;
    size_t index = 0;

    for (uint32_t i = 0; i < c->part_count; i++) {
        const struct berth_request *r = &c->parts[i].r;
        const struct berth_tensor *t = r->output_count > 0 ? &r->outputs[0] : NULL;

        if (t == NULL || t->dtype != BERTH_FP32 || t->rank != 2 ||
            t->shape[0] != r->inputs[0].shape[0])
            return berth_err_set(e, BERTH_EBACKEND, "the model gave no FP32 vector for each text");
        for (int64_t k = 0; k < t->shape[0]; k++, index++) {
            const float *v = (const float *)t->bytes + k * t->shape[1];

            berth_jw_object(w);
            berth_jw_key(w, "object");
            berth_jw_string(w, "embedding");
            berth_jw_key(w, "index");
            berth_jw_uint(w, index);
            berth_jw_key(w, "embedding");
            put_vector(w, v, (size_t)t->shape[1], m->base64);
            berth_jw_object_end(w);
        }
    }
    return 0;
}

static void
embeddings_answer(struct berth_call *c)
{
    const struct embeddings *m = c->state;
    const uint64_t tokens = count_tokens(c, m);
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;
    int r;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "object");
    berth_jw_string(&w, "list");
    berth_jw_key(&w, "data");
    berth_jw_array(&w);
    r = put_vectors(&w, c, &e);
    berth_jw_array_end(&w);
    berth_jw_key(&w, "model");
    berth_jw_string(&w, berth_model_name(c->model));
    berth_jw_key(&w, "usage");
    berth_jw_object(&w);
    berth_jw_key(&w, "prompt_tokens");
    berth_jw_uint(&w, tokens);
    berth_jw_key(&w, "total_tokens");
    berth_jw_uint(&w, tokens);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_call_json(c, 200, &b);
}

static const struct berth_call_ops embeddings_ops = {.answer = embeddings_answer,
                                                     .all_or_nothing = true};

/* ---- the request ---- */

static int
read_input(struct berth_fields *f, struct berth_call *c, struct embeddings *m)
{
    struct berth_slice format = BERTH_SLICE("float");
    int64_t dimensions = berth_model_describe(c->model)->embedding_len;
    int r;

    if ((r = berth_field_string(f, "encoding_format", &format)) < 0 ||
        (r = berth_field_int(f, "dimensions", 1, INT32_MAX, &dimensions)) < 0 ||
        (r = berth_openai_prompts(f, &c->x->arena, "input", &m->prompts, &m->prompt_count)) < 0)
        return r;
    m->base64 = berth_slice_is(format, "base64");
    if (!m->base64 && !berth_slice_is(format, "float"))
        return berth_field_bad(f, "encoding_format", "must be float or base64");
    if (dimensions != (int64_t)berth_model_describe(c->model)->embedding_len)
        return berth_field_bad(f, "dimensions", "this model's vectors have %u; leave it out",
                               berth_model_describe(c->model)->embedding_len);
    for (size_t i = 0; i < m->prompt_count; i++) {
        if (m->prompts[i].tokens != NULL)
            return berth_field_bad(f, "input", "tokens are not taken here; send the text");
        if (m->prompts[i].text.len == 0)
            return berth_field_bad(f, "input", "must not have an empty text");
    }
    return 0;
}

/* The rows from `first` on as one BYTES tensor. */
static int
make_part(struct berth_call *c, struct berth_part *part, size_t first, size_t rows)
{
    const struct embeddings *m = c->state;
    struct berth_tensor *t = BERTH_NEW(&c->x->arena, struct berth_tensor);
    struct berth_buf b;

    berth_buf_init(&b, &c->x->arena);
    for (size_t i = first; i < first + rows; i++) {
        const uint32_t len = (uint32_t)m->prompts[i].text.len;

        berth_buf_put(&b, &len, sizeof len);
        berth_buf_put(&b, m->prompts[i].text.at, len);
    }
    if (t == NULL || b.failed)
        return -BERTH_ENOMEM;
    *t = (struct berth_tensor){.name = "text",
                               .dtype = BERTH_BYTES,
                               .rank = 1,
                               .shape = {(int64_t)rows},
                               .bytes = b.at,
                               .size = b.len};
    part->r.task = BERTH_TASK_EMBEDDING;
    part->r.inputs = t;
    part->r.input_count = 1;
    return 0;
}

static int
make_parts(struct berth_fields *f, struct berth_call *c, struct embeddings *m)
{
    const uint32_t can = berth_model_describe(c->model)->batch_rows_max;
    const size_t rows = can == 0 ? 1 : can < ROWS_MAX ? can : ROWS_MAX;
    const size_t n = (m->prompt_count + rows - 1) / rows;
    int r = berth_call_parts(c, (uint32_t)n) != NULL ? 0 : -BERTH_ENOMEM;

    for (size_t i = 0; i < n && r == 0; i++) {
        const size_t left = m->prompt_count - i * rows;
        r = make_part(c, &c->parts[i], i * rows, left < rows ? left : rows);
    }
    if (r < 0)
        return berth_err_set(f->e, BERTH_ENOMEM, "the request is larger than its memory limit");
    return 0;
}

void
berth_openai_embeddings(struct berth_call *c)
{
    struct embeddings *m = BERTH_NEW(&c->x->arena, struct embeddings);
    struct berth_err e;
    int r;

    if (!berth_call_body(c))
        return;
    if (m == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "out of memory");
        return;
    }
    c->state = m;
    if (!berth_openai_find(c))
        return;
    struct berth_fields f = berth_fields(c->body, "", &e);
    if ((berth_model_describe(c->model)->tasks & BERTH_TASK_EMBEDDING) == 0)
        r = berth_err_set(&e, BERTH_EUNSUPPORTED, "model '%s' does not make embeddings",
                          berth_model_name(c->model));
    else if ((r = read_input(&f, c, m)) == 0)
        r = make_parts(&f, c, m);
    if (r < 0)
        berth_call_fail(c, r, f.bad[0] != '\0' ? f.bad : NULL, e.msg);
    else
        berth_call_run(c, &embeddings_ops);
}
