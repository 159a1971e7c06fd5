#include "instance_priv.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Fewer tokens in common are not worth leaving the lowest free slot for: the engine computes slots
 * that lie side by side together. */
enum { COMMON_MIN = 16 };

int
berth_text_tokens(const struct berth_instance *m, struct berth_text text, int32_t **ret_tokens,
                  size_t *ret_count, struct berth_err *e)
{
    const struct llama_vocab *const v = m->vocab.engine;

    if (text.len > INT32_MAX / 8)
        return berth_err_set(e, BERTH_EINVAL, "the text has %zu bytes, at most %d fit", text.len,
                             INT32_MAX / 8);
    int32_t cap = (int32_t)text.len + 8;
    int32_t *tokens = malloc((size_t)cap * sizeof *tokens);
    if (tokens == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "tokens: out of memory");
    int32_t n =
        llama_tokenize(v, text.bytes, (int32_t)text.len, tokens, cap, text.special, text.special);
    if (n < 0 && n != INT32_MIN) { /* a token can stand for less than a byte: added blanks */
        int32_t *const bigger = realloc(tokens, (size_t)-n * sizeof *tokens);

        if (bigger == NULL) {
            free(tokens);
            return berth_err_set(e, BERTH_ENOMEM, "tokens: out of memory");
        }
        tokens = bigger;
        cap = -n;
        n = llama_tokenize(v, text.bytes, (int32_t)text.len, tokens, cap, text.special,
                           text.special);
    }
    if (n < 0) {
        free(tokens);
        return berth_err_set(e, BERTH_EINVAL, "the text cannot be tokenised");
    }
    *ret_tokens = tokens;
    *ret_count = (size_t)n;
    return 0;
}

/* A prompt in numbers, checked; *ret_tokens is the caller's. */
static int
copy_tokens(const struct berth_instance *m, const struct berth_gen *gen, int32_t **ret_tokens,
            size_t *ret_count, struct berth_err *e)
{
    const size_t n = gen->prompt_token_count;

    for (size_t i = 0; i < n; i++)
        if (gen->prompt_tokens[i] < 0 || gen->prompt_tokens[i] >= m->vocab.count)
            return berth_err_set(e, BERTH_EINVAL, "prompt: token %d; this model has 0 to %d",
                                 gen->prompt_tokens[i], m->vocab.count - 1);
    int32_t *const copy = calloc(n + 1, sizeof *copy);
    if (copy == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "prompt: out of memory");
    if (n > 0)
        (void)memcpy(copy, gen->prompt_tokens, n * sizeof *copy);
    *ret_tokens = copy;
    *ret_count = n;
    return 0;
}

/* To make tokens of megabytes takes seconds, in which every answer of this model stands still; a
 * text that cannot fit however well it packs is refused before. */
static int
check_bytes(const struct berth_instance *m, const struct berth_gen *gen, struct berth_err *e)
{
    enum {
        UNKNOWN_BYTES = 4,
        ESCAPED_BYTES = 6
    }; /* a token's for one character; "\u0041" in JSON */
    const size_t each =
        m->vocab.longest_bytes > UNKNOWN_BYTES ? m->vocab.longest_bytes : (size_t)UNKNOWN_BYTES;
    const size_t len = gen->chat_json != NULL ? gen->chat_json_len
                       : gen->prompt != NULL  ? gen->prompt_len
                                              : 0;

    if (len / (gen->chat_json != NULL ? each * ESCAPED_BYTES : each) < m->about.context_len)
        return 0;
    return berth_err_set(e, BERTH_EINVAL,
                         "the prompt has %zu bytes; the context holds %u tokens, prompt and answer "
                         "together: shorten it or raise the model's context_length",
                         len, m->about.context_len);
}

static int
prompt_tokens(const struct berth_instance *m, const struct berth_gen *gen, int32_t **ret_tokens,
              size_t *ret_count, struct berth_err *e)
{
    int32_t *tokens = NULL;
    size_t n = 0;
    int r = check_bytes(m, gen, e);

    if (r < 0)
        return r;
    if (gen->chat_json != NULL)
        r = berth_chat_tokens(m->chat, gen->chat_json, false, &tokens, &n, e);
    else if (gen->prompt_tokens != NULL)
        r = copy_tokens(m, gen, &tokens, &n, e);
    else
        r = berth_text_tokens(m, (struct berth_text){gen->prompt, gen->prompt_len, true}, &tokens,
                              &n, e);
    if (r < 0)
        return r;
    if (n >= m->about.context_len) {
        free(tokens);
        return berth_err_set(e, BERTH_EINVAL,
                             "the prompt has %zu tokens; the context holds %u, prompt and answer "
                             "together: shorten it or raise the model's context_length",
                             n, m->about.context_len);
    }
    if (n == 0) { /* the engine needs one token to go on from */
        tokens[0] = llama_vocab_bos(m->vocab.engine);
        n = 1;
    }
    if (tokens[0] == LLAMA_TOKEN_NULL) {
        free(tokens);
        return berth_err_set(e, BERTH_EINVAL,
                             "the prompt is empty, and this model has no token "
                             "to begin with");
    }
    *ret_tokens = tokens;
    *ret_count = n;
    return 0;
}

static uint32_t
common_prefix(const struct berth_slot *s, const int32_t *tokens, size_t n)
{
    uint32_t i = 0;

    while (i < s->kept && i < n && s->tokens[i] == tokens[i])
        i++;
    return i;
}

/* The free slot that has most of the prompt already, else the lowest; NULL when all are taken. */
static struct berth_slot *
choose(struct berth_instance *m, const int32_t *tokens, size_t n)
{
    struct berth_slot *best = NULL;
    uint32_t best_common = COMMON_MIN - 1;

    for (uint32_t i = 0; i < m->about.sequence_max; i++) {
        struct berth_slot *const s = &m->slots[i];

        if (s->r != NULL)
            continue;
        const uint32_t common = common_prefix(s, tokens, n);
        if (best == NULL || common > best_common) {
            best = s;
            best_common = common > best_common ? common : best_common;
        }
    }
    return best;
}

void
berth_slot_cut(struct berth_instance *m, struct berth_slot *s, uint32_t from)
{
    llama_memory_t mem = llama_get_memory(m->engine);
    const llama_seq_id id = (llama_seq_id)(s - m->slots);

    if (from >= s->kept && s->kept > 0 &&
        llama_memory_seq_pos_max(mem, id) == (llama_pos)s->kept - 1)
        return;
    /* A window that slid on, or a recurrent state, cannot go back: then it begins anew. */
    if (from > 0 && (llama_memory_seq_pos_min(mem, id) > 0 ||
                     !llama_memory_seq_rm(mem, id, (llama_pos)from, -1)))
        from = 0;
    if (from == 0)
        (void)llama_memory_seq_rm(mem, id, -1, -1);
    s->kept = from;
}

/* Everything of the request's that needs memory. */
static int
equip(struct berth_instance *m, struct berth_slot *s, struct berth_err *e)
{
    const struct berth_gen *const gen = s->gen;
    const size_t tops = gen->logprobs > 0 ? (size_t)gen->logprobs : 0;

    if (gen->logprobs > BERTH_LOGPROBS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "logprobs: %d, at most %d", gen->logprobs,
                             BERTH_LOGPROBS_MAX);
    for (size_t i = 0; i < gen->stop_count; i++)
        if (gen->stop[i][0] == '\0')
            return berth_err_set(e, BERTH_EINVAL, "stop: string %zu is empty", i);
    const int r = berth_chain_init(&s->chain, gen, &m->vocab, m->about.context_len, e);
    if (r < 0)
        return r;
    berth_textout_init(&s->out, gen->stop, gen->stop_count);
    if (gen->logprobs >= 0) {
        s->told = calloc(BERTH_PENDING_MAX, sizeof *s->told);
        s->told_top = calloc(BERTH_PENDING_MAX * (tops + 1), sizeof *s->told_top);
        if (s->told == NULL || s->told_top == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "sequence: out of memory");
    }
    return 0;
}

/* Frees what equip() made. */
static void
strip(struct berth_slot *s)
{
    berth_chain_fini(&s->chain);
    berth_textout_fini(&s->out);
    free(s->told);
    free(s->told_top);
    s->told = s->told_top = NULL;
    s->r = NULL;
    s->gen = NULL;
    s->pending = 0;
}

static void
echo_prompt(struct berth_instance *m, struct berth_slot *s)
{
    struct berth_textout out;
    const char *stop;
    int r = 0;

    berth_textout_init(&out, NULL, 0);
    if (s->gen->prompt != NULL)
        r = berth_textout_push(&out, s->gen->prompt, s->gen->prompt_len);
    else
        for (uint32_t i = 0; r == 0 && i < s->prompt_count; i++) {
            size_t n;
            const char *const text = berth_vocab_text(&m->vocab, s->tokens[i], &n);

            if (!m->vocab.hidden[s->tokens[i]])
                r = berth_textout_push(&out, text, n);
        }
    if (r == 0 && berth_textout_end(&out) == 0) {
        const struct berth_delta d = {.text = out.text,
                                      .text_len = berth_textout_ready(&out, true, &stop)};

        m->host->emit(s->r, &d);
    }
    berth_textout_fini(&out);
}

struct berth_slot *
berth_slot_begin(struct berth_instance *m, struct berth_request *r)
{
    const struct berth_gen *const gen = m->host->gen(r);
    struct berth_err e;
    int32_t *tokens = NULL;
    size_t n = 0;

    const int failed = prompt_tokens(m, gen, &tokens, &n, &e);
    if (failed < 0) {
        m->host->fail(r, (enum berth_code) - failed, e.msg);
        return NULL;
    }
    struct berth_slot *const s = choose(m, tokens, n);
    assert(s != NULL); /* the caller has seen a free one */
    s->r = r;
    s->gen = gen;
    s->order = m->admitted++;
    s->answered = 0;
    s->row = -1;
    m->in_hand++;
    /* At least one token must be computed, for its logits. */
    uint32_t common = m->conf.cache_prompt ? common_prefix(s, tokens, n) : 0;
    common = common >= n ? (uint32_t)n - 1 : common;
    berth_slot_cut(m, s, common);
    s->cached = s->kept;
    (void)memcpy(s->tokens, tokens, n * sizeof *tokens);
    free(tokens);
    s->token_count = s->prompt_count = (uint32_t)n;
    const int unequipped = equip(m, s, &e);
    if (unequipped < 0) {
        berth_slot_fail(m, s, (enum berth_code) - unequipped, e.msg);
        return NULL;
    }
    berth_chain_prompt(&s->chain, s->tokens, n);
    if (gen->echo)
        echo_prompt(m, s);
    return s;
}

void
berth_slot_drop(struct berth_instance *m, struct berth_slot *s)
{
    strip(s);
    m->in_hand--;
    /* In a buffer of their own the tokens harm nobody until the next prompt comes; in a common one
     * every other sequence would look at them. */
    if (m->conf.kv_unified || !m->conf.cache_prompt)
        berth_slot_cut(m, s, 0);
}

void
berth_slot_fail(struct berth_instance *m, struct berth_slot *s, enum berth_code code,
                const char *msg)
{
    m->host->fail(s->r, code, msg);
    berth_slot_drop(m, s);
}

/* Tell the client what is ready; with `last`, everything.  Returns the stop string that was met, or
 * NULL. */
static const char *
tell(struct berth_instance *m, struct berth_slot *s, bool last)
{
    const char *stop;
    const size_t ready = berth_textout_ready(&s->out, last, &stop);

    last = last || stop != NULL;
    if (ready == 0 && s->pending < BERTH_PENDING_MAX && !(last && s->pending > 0))
        return stop;
    const struct berth_delta d = {.text = ready > 0 ? s->out.text : "",
                                  .text_len = ready,
                                  .token_count = s->pending,
                                  .tokens = s->told};
    m->host->emit(s->r, &d);
    berth_textout_take(&s->out, ready);
    s->pending = 0;
    return stop;
}

static void
finish(struct berth_instance *m, struct berth_slot *s, enum berth_finish_reason reason,
       const char *stop)
{
    const struct berth_finish f = {.reason = reason,
                                   .stop = stop,
                                   .prompt_tokens = s->prompt_count,
                                   .completion_tokens = s->answered,
                                   .cached_tokens = s->cached};

    m->host->finish(s->r, &f);
    berth_slot_drop(m, s);
}

void
berth_slot_accept(struct berth_instance *m, struct berth_slot *s, float *logits)
{
    const struct berth_gen *const gen = s->gen;
    const int32_t token = berth_chain_sample(&s->chain, logits, m->vocab.count, m->candidates);
    size_t len;
    const char *const text = berth_vocab_text(&m->vocab, token, &len);
    int r = 0;

    if (llama_vocab_is_eog(m->vocab.engine, token) && !gen->ignore_eos) {
        if (berth_textout_end(&s->out) < 0) {
            berth_slot_fail(m, s, BERTH_ENOMEM, "text: out of memory");
            return;
        }
        const char *const met = tell(m, s, true);
        finish(m, s, BERTH_FINISH_STOP, met);
        return;
    }
    if (s->told != NULL)
        (void)berth_logprobs(&m->vocab, logits, token, (size_t)gen->logprobs, &s->told[s->pending],
                             &s->told_top[s->pending * (size_t)gen->logprobs]);
    s->tokens[s->token_count++] = token;
    s->answered++;
    s->pending++;
    if (!m->vocab.hidden[token])
        r = berth_textout_push(&s->out, text, len);
    const bool full = s->answered == gen->max_tokens || s->token_count >= m->about.context_len;
    if (r == 0 && full)
        r = berth_textout_end(&s->out);
    if (r < 0) {
        berth_slot_fail(m, s, BERTH_ENOMEM, "text: out of memory");
        return;
    }
    const char *const stop = tell(m, s, full);
    if (stop != NULL)
        finish(m, s, BERTH_FINISH_STOP, stop);
    else if (full)
        finish(m, s, BERTH_FINISH_LENGTH, NULL);
}
