#include "chain.h"

#include <math.h>
#include <stdlib.h>

/* As many of the last tokens count for the repeat penalty as llama.cpp's own programs take. */
enum { REPEAT_LAST = 64 };

struct berth_chain_count {
    int32_t token;
    uint32_t count;
};

struct berth_chain_edit {
    int32_t token;
    float before;
};

/* A failed init of one sampler leaves the chain shorter, which would change the distribution. */
static bool
add(struct llama_sampler *chain, struct llama_sampler *one)
{
    if (one == NULL)
        return false;
    llama_sampler_chain_add(chain, one);
    return true;
}

static bool
add_samplers(struct berth_chain *c, const struct berth_gen *gen)
{
    struct llama_sampler *const s =
        llama_sampler_chain_init((struct llama_sampler_chain_params){.no_perf = true});
    uint32_t seed = (uint32_t)(gen->seed ^ gen->seed >> 32);
    bool ok = s != NULL;

    c->samplers = s;
    if (gen->top_k > 0)
        ok = ok && add(s, llama_sampler_init_top_k(gen->top_k));
    if (gen->top_p < 1.0f)
        ok = ok && add(s, llama_sampler_init_top_p(gen->top_p, 1));
    if (gen->min_p > 0)
        ok = ok && add(s, llama_sampler_init_min_p(gen->min_p, 1));
    if (gen->temperature != 1.0f)
        ok = ok && add(s, llama_sampler_init_temp(gen->temperature));
    if (seed == LLAMA_DEFAULT_SEED)
        seed = 1; /* that value would mean "a random one" */
    return ok && add(s, llama_sampler_init_dist(seed));
}

/* Room for what changes logits; the engine's samplers for that look at every token of the model. */
static bool
add_edits(struct berth_chain *c, const struct berth_gen *gen, const struct berth_vocab *v,
          uint32_t context_len)
{
    const size_t ends = gen->ignore_eos ? (size_t)v->no_end_count : 0;
    const bool counts = gen->presence_penalty != 0 || gen->frequency_penalty != 0;

    c->repeat = gen->repeat_penalty;
    c->frequency = gen->frequency_penalty;
    c->presence = gen->presence_penalty;
    c->count_max = counts ? context_len : 0;
    c->bias = calloc(gen->bias_count + ends + 1, sizeof *c->bias);
    c->recent = calloc(REPEAT_LAST, sizeof *c->recent);
    c->counts = calloc(c->count_max + 1, sizeof *c->counts);
    c->edits = calloc(gen->bias_count + ends + REPEAT_LAST + c->count_max, sizeof *c->edits);
    if (c->bias == NULL || c->recent == NULL || c->counts == NULL || c->edits == NULL)
        return false;
    for (size_t i = 0; i < gen->bias_count; i++)
        c->bias[c->bias_count++] = (struct llama_logit_bias){gen->bias[i].token, gen->bias[i].bias};
    for (size_t i = 0; i < ends; i++)
        c->bias[c->bias_count++] = v->no_end[i];
    return true;
}

int
berth_chain_init(struct berth_chain *c, const struct berth_gen *gen, const struct berth_vocab *v,
                 uint32_t context_len, struct berth_err *e)
{
    const bool edits = gen->bias_count > 0 || gen->ignore_eos || gen->repeat_penalty != 1.0f ||
                       gen->presence_penalty != 0 || gen->frequency_penalty != 0;

    *c = (struct berth_chain){.repeat = 1};
    for (size_t i = 0; i < gen->bias_count; i++)
        if (gen->bias[i].token < 0 || gen->bias[i].token >= v->count)
            return berth_err_set(e, BERTH_EINVAL, "logit_bias: token %d; this model has 0 to %d",
                                 gen->bias[i].token, v->count - 1);
    if ((edits && !add_edits(c, gen, v, context_len)) ||
        (gen->temperature > 0 && !add_samplers(c, gen))) {
        berth_chain_fini(c);
        return berth_err_set(e, BERTH_ENOMEM, "sampling: out of memory");
    }
    return 0;
}

void
berth_chain_fini(struct berth_chain *c)
{
    if (c->samplers != NULL)
        llama_sampler_free(c->samplers);
    free(c->bias);
    free(c->recent);
    free(c->counts);
    free(c->edits);
    *c = (struct berth_chain){0};
}

void
berth_chain_prompt(struct berth_chain *c, const int32_t *tokens, size_t n)
{
    for (size_t i = n > REPEAT_LAST ? n - REPEAT_LAST : 0; c->recent != NULL && i < n; i++)
        c->recent[c->recent_count++ % REPEAT_LAST] = tokens[i];
}

/* The token was chosen: it counts for what comes next. */
static void
count(struct berth_chain *c, int32_t token)
{
    size_t i = 0;

    if (c->recent != NULL)
        c->recent[c->recent_count++ % REPEAT_LAST] = token;
    if (c->count_max == 0)
        return;
    while (i < c->count_len && c->counts[i].token != token)
        i++;
    if (i == c->count_len && c->count_len < c->count_max)
        c->counts[c->count_len++] = (struct berth_chain_count){token, 0};
    if (i < c->count_len)
        c->counts[i].count++;
}

static void
edit(struct berth_chain *c, float *logits, int32_t token, float value)
{
    c->edits[c->edit_len++] = (struct berth_chain_edit){token, logits[token]};
    logits[token] = value;
}

static bool
seen_before(const struct berth_chain *c, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (c->recent[k] == c->recent[i])
            return true;
    return false;
}

static void
edit_all(struct berth_chain *c, float *logits)
{
    const size_t recent = c->recent_count < REPEAT_LAST ? c->recent_count : REPEAT_LAST;

    c->edit_len = 0;
    for (size_t i = 0; i < c->bias_count; i++)
        edit(c, logits, c->bias[i].token, logits[c->bias[i].token] + c->bias[i].bias);
    for (size_t i = 0; c->repeat != 1.0f && i < recent; i++) {
        const float x = logits[c->recent[i]];

        /* Dividing a negative one would make it likelier. */
        if (!seen_before(c, i))
            edit(c, logits, c->recent[i], x > 0 ? x / c->repeat : x * c->repeat);
    }
    for (size_t i = 0; i < c->count_len; i++)
        edit(c, logits, c->counts[i].token,
             logits[c->counts[i].token] - (float)c->counts[i].count * c->frequency - c->presence);
}

/* Last first: a token may have been changed more than once. */
static void
undo_all(struct berth_chain *c, float *logits)
{
    while (c->edit_len > 0) {
        const struct berth_chain_edit *const x = &c->edits[--c->edit_len];

        logits[x->token] = x->before;
    }
}

int32_t
berth_argmax(const float *x, int32_t n)
{
    enum { LANES = 16 };
    float lane[LANES];
    float max = x[0];
    int32_t i = 0;

    /* Two passes that the compiler turns into vector code beat one that it cannot. */
    for (int k = 0; k < LANES; k++)
        lane[k] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
    for (int k = 0; k < LANES; k++)
        max = lane[k] > max ? lane[k] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (i = 0; i < n - 1; i++)
        if (x[i] >= max)
            break;
    return i;
}

static int32_t
choose(struct berth_chain *c, const float *logits, int32_t n, struct llama_token_data *room)
{
    if (c->samplers == NULL)
        return berth_argmax(logits, n);
    for (int32_t i = 0; i < n; i++)
        room[i] = (struct llama_token_data){i, logits[i], 0};
    struct llama_token_data_array a = {room, (size_t)n, -1, false};
    llama_sampler_apply(c->samplers, &a);
    /* Nothing selected: every candidate was ruled out, as by a bias of minus infinity on all. */
    const int32_t token = a.selected >= 0 && (size_t)a.selected < a.size ? a.data[a.selected].id
                                                                         : berth_argmax(logits, n);
    llama_sampler_accept(c->samplers, token);
    return token;
}

int32_t
berth_chain_sample(struct berth_chain *c, float *logits, int32_t n, struct llama_token_data *room)
{
    if (c->edits == NULL)
        return choose(c, logits, n, room);
    edit_all(c, logits);
    const int32_t token = choose(c, logits, n, room);
    undo_all(c, logits);
    count(c, token);
    return token;
}

/* Keep the n best of all logits in `top`, best first, by insertion: n is small. */
static size_t
best_of(const float *logits, int32_t count, size_t n, struct berth_token *top)
{
    size_t have = 0;

    for (int32_t i = 0; i < count && n > 0; i++) {
        size_t at = have;

        if (have == n && logits[i] <= top[n - 1].logprob)
            continue;
        if (have < n)
            have++;
        else
            at = n - 1;
        for (; at > 0 && top[at - 1].logprob < logits[i]; at--)
            top[at] = top[at - 1];
        top[at] = (struct berth_token){.id = i, .logprob = logits[i]};
    }
    return have;
}

size_t
berth_logprobs(const struct berth_vocab *v, const float *logits, int32_t token, size_t n_top,
               struct berth_token *ret, struct berth_token *top)
{
    const float max = logits[berth_argmax(logits, v->count)];
    double sum = 0;

    for (int32_t i = 0; i < v->count; i++)
        sum += (double)expf(logits[i] - max);
    const float base = max + (float)log(sum);
    const size_t have = best_of(logits, v->count, n_top, top);
    for (size_t i = 0; i < have; i++) {
        top[i].logprob -= base;
        top[i].text = berth_vocab_text(v, top[i].id, &top[i].text_len);
    }
    *ret = (struct berth_token){.id = token, .logprob = logits[token] - base};
    ret->text = berth_vocab_text(v, token, &ret->text_len);
    ret->top = have > 0 ? top : NULL;
    ret->top_count = have;
    return have;
}
