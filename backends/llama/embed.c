#include "instance_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "guard.h"

/* One text of one request, on its way into the engine. */
struct piece {
    float *row; /* where its embedding goes, in the host's memory */
};

/* Texts that are to be computed together: they fill m->batch. */
struct group {
    struct piece *pieces; /* one for each sequence the engine takes */
    uint32_t count, cap;
};

static void
normalize(float *x, uint32_t n)
{
    double sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    const float by = sum > 0 ? (float)(1.0 / sqrt(sum)) : 0;
    for (uint32_t i = 0; i < n; i++)
        x[i] *= by;
}

struct compute_call {
    struct berth_instance *m;
    int32_t result;
};

static void
call_compute(void *arg)
{
    struct compute_call *const c = arg;

    c->result = c->m->bidirectional ? llama_encode(c->m->engine, c->m->batch)
                                    : llama_decode(c->m->engine, c->m->batch);
}

/* Compute the group and empty it. */
static int
flush(struct berth_instance *m, struct group *g, struct berth_err *e)
{
    const uint32_t len = m->about.embedding_len;

    if (g->count == 0)
        return 0;
    if (!m->bidirectional)
        llama_memory_clear(llama_get_memory(m->engine), false);
    struct compute_call c = {m, 0};

    if (berth_guard_call(false, call_compute, &c) < 0)
        return berth_err_set(e, BERTH_EBACKEND, "llama.cpp: %s", berth_engine_last_error());
    if (atomic_load(&m->canceled))
        return berth_err_set(e, BERTH_ECANCELED, "nobody waits for the embeddings any more");
    if (c.result != 0)
        return berth_err_set(e, BERTH_EBACKEND, "llama.cpp: %d tokens of %u texts gave %d",
                             m->batch.n_tokens, g->count, c.result);
    if (berth_instance_check_file(m, e) < 0)
        return -BERTH_EBACKEND;
    for (uint32_t i = 0; i < g->count; i++) {
        const float *const x = llama_get_embeddings_seq(m->engine, (llama_seq_id)i);

        if (x == NULL)
            return berth_err_set(e, BERTH_EBACKEND, "llama.cpp: no embedding for text %u", i);
        (void)memcpy(g->pieces[i].row, x, len * sizeof *x);
        if (m->conf.normalize)
            normalize(g->pieces[i].row, len);
    }
    g->count = 0;
    m->batch.n_tokens = 0;
    return 0;
}

static int
add_text(struct berth_instance *m, struct group *g, const int32_t *tokens, size_t n, float *row,
         struct berth_err *e)
{
    struct llama_batch *const b = &m->batch;

    if (g->count == g->cap || (size_t)b->n_tokens + n > (size_t)m->batch_cap) {
        const int r = flush(m, g, e);

        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < n; i++) {
        const int32_t at = b->n_tokens++;

        b->token[at] = tokens[i];
        b->pos[at] = (llama_pos)i;
        b->n_seq_id[at] = 1;
        b->seq_id[at][0] = (llama_seq_id)g->count;
        b->logits[at] = 1;
    }
    g->pieces[g->count++].row = row;
    return 0;
}

/* All texts of one request, tokenised before any is computed: a request that has a bad one fails
 * as a whole, and alone. */
struct texts {
    int32_t **tokens;
    size_t *lens;
    size_t count;
};

static void
texts_free(struct texts *t)
{
    for (size_t i = 0; t->tokens != NULL && i < t->count; i++)
        free(t->tokens[i]);
    free(t->tokens);
    free(t->lens);
}

static int
tokenize_one(const struct berth_instance *m, struct texts *t, size_t i,
             const struct berth_text *text, struct berth_err *e)
{
    const struct llama_vocab *const v = m->vocab.engine;
    const int32_t cap = (int32_t)text->len + 8;
    int32_t *const tokens = malloc((size_t)cap * sizeof *tokens);

    if (tokens == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "texts: out of memory");
    t->tokens[i] = tokens;
    /* Begin and end tokens are the model's; a mark that the text spells stays text. */
    const int32_t n = llama_tokenize(v, text->bytes, (int32_t)text->len, tokens, cap, true, false);
    if (n <= 0 || (uint32_t)n > m->text_tokens_max)
        return berth_err_set(e, BERTH_EINVAL,
                             "text %zu has %d tokens; this model takes 1 to %u: shorten it", i,
                             n < 0 ? -n : n, m->text_tokens_max);
    t->lens[i] = (size_t)n;
    return 0;
}

/* BYTES elements: a 4-byte length in little-endian order and that many bytes, one after the
 * other. */
static int
read_texts(const struct berth_instance *m, const struct berth_tensor *in, struct texts *ret,
           struct berth_err *e)
{
    const unsigned char *p = in->bytes;
    size_t left = in->size;
    const size_t count = in->rank == 0 ? 1 : (size_t)in->shape[0];

    if (in->dtype != BERTH_BYTES || in->rank > 2 || (in->rank == 2 && in->shape[1] != 1))
        return berth_err_set(e, BERTH_EINVAL, "input %s: must be BYTES of shape [n]", in->name);
    if (count > in->size / 4)
        return berth_err_set(e, BERTH_EINVAL, "input %s: %zu texts do not fit in %zu bytes",
                             in->name, count, in->size);
    ret->tokens = calloc(count + 1, sizeof *ret->tokens);
    ret->lens = calloc(count + 1, sizeof *ret->lens);
    if (ret->tokens == NULL || ret->lens == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "texts: out of memory");
    ret->count = count;
    for (size_t i = 0; i < count; i++) {
        if (left < 4)
            return berth_err_set(e, BERTH_EINVAL, "input %s: text %zu is cut off", in->name, i);
        const size_t len =
            (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
        if (len > left - 4 || len > INT32_MAX / 8)
            return berth_err_set(e, BERTH_EINVAL, "input %s: text %zu is cut off", in->name, i);
        const struct berth_text text = {(const char *)p + 4, len, true};
        const int r = tokenize_one(m, ret, i, &text, e);
        if (r < 0)
            return r;
        p += 4 + len;
        left -= 4 + len;
    }
    return 0;
}

/* Put the request's texts into the group.  Returns 0 also when the request alone has failed, which
 * the host then knows; negative fails the batch. */
static int
add_request(struct berth_instance *m, struct group *g, struct berth_request *r, struct berth_err *e)
{
    const struct berth_host *const h = m->host;
    struct texts t = {0};
    struct berth_err own = {""};
    void *buf = NULL;
    int failed, whole = 0;

    if (h->input_count(r) != 1)
        failed = berth_err_set(&own, BERTH_EINVAL, "one input is wanted: text, BYTES [n]");
    else
        failed = read_texts(m, h->input(r, 0), &t, &own);
    if (failed == 0) {
        const struct berth_tensor shape = {.name = "embedding",
                                           .dtype = BERTH_FP32,
                                           .rank = 2,
                                           .shape = {(int64_t)t.count, m->about.embedding_len},
                                           .size =
                                               t.count * m->about.embedding_len * sizeof(float)};

        failed = h->output(r, &shape, &buf, &own);
    }
    if (failed < 0)
        h->fail(r, (enum berth_code) - failed, own.msg);
    for (size_t i = 0; failed == 0 && whole == 0 && i < t.count; i++)
        whole =
            add_text(m, g, t.tokens[i], t.lens[i], (float *)buf + i * m->about.embedding_len, e);
    texts_free(&t);
    return whole;
}

int
berth_instance_embed(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
                     struct berth_err *e)
{
    struct group g = {.cap = m->engine == NULL ? 0 : llama_n_seq_max(m->engine)};
    int r = 0;

    if (m->about.embedding_len == 0)
        return berth_err_set(e, BERTH_EUNSUPPORTED,
                             "this model gives text; set embedding to true for embeddings");
    g.pieces = calloc(g.cap, sizeof *g.pieces);
    if (g.pieces == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "texts: out of memory");
    atomic_store(&m->canceled, false);
    m->batch.n_tokens = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_request(m, &g, reqs[i], e);
    if (r == 0)
        r = flush(m, &g, e);
    free(g.pieces);
    return r;
}
