#include <string.h>

#include "api/api_priv.h"
#include "api/openai.h"
#include "base/arena.h"
#include "infer/model.h"

/* POST /v1/completions */

/* ---- log-probabilities: four arrays side by side ---- */

enum column { TOKENS, LOGPROBS, TOP, OFFSETS, COLUMNS };

static void
put_cell(struct berth_jw *w, enum column column, const struct berth_token *t, size_t offset)
{
    switch (column) {
    case TOKENS:
        berth_jw_string_n(w, t->text, t->text_len);
        break;
    case LOGPROBS:
        berth_jw_float(w, t->logprob);
        break;
    case TOP:
        berth_jw_object(w);
        for (size_t k = 0; k < t->top_count; k++) {
            berth_jw_key_n(w, t->top[k].text, t->top[k].text_len);
            berth_jw_float(w, t->top[k].logprob);
        }
        berth_jw_object_end(w);
        break;
    case OFFSETS:
        berth_jw_uint(w, offset);
        break;
    case COLUMNS:
        break;
    }
}

static const char *const column_names[COLUMNS] = {"tokens", "token_logprobs", "top_logprobs",
                                                  "text_offset"};

/* The columns of one delta; *offset goes on by the tokens' lengths. */
static void
put_logprobs(struct berth_jw *w, const struct berth_delta *d, size_t *offset)
{
    size_t at = *offset;

    berth_jw_object(w);
    for (enum column column = TOKENS; column < COLUMNS; column++) {
        berth_jw_key(w, column_names[column]);
        berth_jw_array(w);
        at = *offset;
        for (uint32_t i = 0; d->tokens != NULL && i < d->token_count; i++) {
            put_cell(w, column, &d->tokens[i], at);
            at += d->tokens[i].text_len;
        }
        berth_jw_array_end(w);
    }
    berth_jw_object_end(w);
    *offset = at;
}

/* A whole answer's columns are collected apart from each other, each as elements of an array. */
struct columns {
    struct berth_buf of[COLUMNS];
};

static void
collect(struct berth_call *c, struct berth_part *part, const struct berth_delta *d)
{
    struct berth_openai *o = c->state;
    struct columns *columns = part->user;

    berth_buf_put(&part->text, d->text, d->text_len);
    for (uint32_t i = 0; columns != NULL && d->tokens != NULL && i < d->token_count; i++) {
        const struct berth_token *t = &d->tokens[i];

        for (enum column column = TOKENS; column < COLUMNS; column++) {
            struct berth_buf *b = &columns->of[column];
            struct berth_jw w;

            if (b->len > 0)
                berth_buf_putc(b, ',');
            berth_jw_init(&w, b);
            put_cell(&w, column, t, o->text_offset[part->index]);
            part->text.failed |= b->failed;
        }
        o->text_offset[part->index] += t->text_len;
    }
}

/* ---- whole answers ---- */

static void
put_whole(struct berth_jw *w, const struct berth_call *c, const struct berth_part *part)
{
    const struct columns *columns = part->user;

    berth_jw_key(w, "text");
    berth_jw_string_n(w, part->text.len > 0 ? part->text.at : "", part->text.len);
    berth_jw_key(w, "logprobs");
    if (columns == NULL) {
        berth_jw_null(w);
    } else {
        berth_jw_object(w);
        for (enum column column = TOKENS; column < COLUMNS; column++) {
            berth_jw_key(w, column_names[column]);
            berth_jw_array(w);
            if (columns->of[column].len > 0)
                berth_jw_raw(w, columns->of[column].at, columns->of[column].len);
            berth_jw_array_end(w);
        }
        berth_jw_object_end(w);
    }
}

static const struct berth_call_ops completions_ops = {
    .delta = collect, .answer = berth_openai_answer, .all_or_nothing = true};

/* ---- streams ---- */

static void
put_piece(struct berth_jw *w, struct berth_call *c, const struct berth_part *part,
          const struct berth_delta *d)
{
    struct berth_openai *o = c->state;

    berth_jw_key(w, "text");
    berth_jw_string_n(w, d != NULL ? d->text : "", d != NULL ? d->text_len : 0);
    berth_jw_key(w, "logprobs");
    if (o->logprobs && d != NULL)
        put_logprobs(w, d, &o->text_offset[part->index]);
    else
        berth_jw_null(w);
}

/* ---- the request ---- */

static int
read_logprobs(struct berth_fields *f, struct berth_openai *o)
{
    int64_t top = -1;
    const int r = berth_field_int(f, "logprobs", 0, BERTH_TOP_LOGPROBS_MAX, &top);

    o->logprobs = top >= 0;
    o->gen.logprobs = (int32_t)top;
    return r;
}

static int
refuse_unsupported(struct berth_fields *f, const struct berth_openai *o)
{
    struct berth_slice suffix = {"", 0};
    int64_t best_of = o->n;
    int r;

    if ((r = berth_field_int(f, "best_of", 1, BERTH_CHOICES_MAX, &best_of)) < 0 ||
        (r = berth_field_string(f, "suffix", &suffix)) < 0)
        return r;
    if (best_of != (int64_t)o->n)
        return berth_field_bad(f, "best_of", "is not offered; ask for n choices and pick one");
    if (suffix.len > 0)
        return berth_field_bad(f, "suffix", "filling in the middle is not offered");
    return 0;
}

static int
make_parts(struct berth_fields *f, struct berth_call *c, struct berth_openai *o,
           const struct berth_openai_prompt *prompts, size_t count)
{
    const size_t n = count * o->n;

    if (n > BERTH_CHOICES_MAX)
        return berth_field_bad(f, "n", "prompts times n must be at most %d, not %zu",
                               BERTH_CHOICES_MAX, n);
    o->text_offset = BERTH_NEW_N(&c->x->arena, size_t, n);
    if (o->text_offset == NULL || berth_call_parts(c, (uint32_t)n) == NULL)
        return berth_err_set(f->e, BERTH_ENOMEM, "the request is larger than its memory limit");
    for (size_t i = 0; i < n; i++) {
        const struct berth_openai_prompt *p = &prompts[i / o->n];
        struct berth_part *part = &c->parts[i];
        struct columns *columns = NULL;

        part->r.task = BERTH_TASK_COMPLETION;
        part->r.gen = o->gen;
        part->r.gen.seed += i % o->n;
        part->r.gen.prompt = p->tokens == NULL ? p->text.at : NULL;
        part->r.gen.prompt_len = p->text.len;
        part->r.gen.prompt_tokens = p->tokens;
        part->r.gen.prompt_token_count = p->token_count;
        if (o->logprobs && !o->stream) {
            columns = BERTH_NEW(&c->x->arena, struct columns);
            if (columns == NULL)
                return berth_err_set(f->e, BERTH_ENOMEM, "out of memory");
            for (int k = 0; k < COLUMNS; k++)
                berth_buf_init(&columns->of[k], &c->x->arena);
        }
        part->user = columns;
    }
    return 0;
}

static int
read_completions(struct berth_fields *f, struct berth_call *c, struct berth_openai *o)
{
    static const char *const max_tokens[] = {"max_tokens", "max_completion_tokens", NULL};
    struct berth_openai_prompt *prompts;
    size_t count;
    int r;

    berth_gen_init(&o->gen);
    o->gen.max_tokens = 16; /* OpenAI's default for this old API */
    if ((r = berth_openai_read(f, c, o)) < 0 || (r = refuse_unsupported(f, o)) < 0 ||
        (r = berth_gen_read_max_tokens(f, max_tokens, &o->gen)) < 0 ||
        (r = berth_field_bool(f, "echo", &o->gen.echo)) < 0 || (r = read_logprobs(f, o)) < 0 ||
        (r = berth_openai_prompts(f, &c->x->arena, "prompt", &prompts, &count)) < 0)
        return r;
    return make_parts(f, c, o, prompts, count);
}

static const struct berth_openai_form form = {.read = read_completions,
                                              .whole = &completions_ops,
                                              .prefix = "cmpl",
                                              .object = "text_completion",
                                              .chunk_object = "text_completion",
                                              .put_whole = put_whole,
                                              .put_piece = put_piece};

void
berth_openai_completions(struct berth_call *c)
{
    berth_openai_run(c, &form);
}
