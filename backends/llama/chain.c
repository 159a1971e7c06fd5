#include "chain.h"

#include <math.h>
#include <stdlib.h>

/* As many of the last tokens count for the repeat penalty as llama.cpp's own programs take. */
enum { REPEAT_LAST = 64 };

/* A failed init of one sampler leaves the chain shorter, which would change the distribution. */
static bool
add(struct llama_sampler *chain, struct llama_sampler *one)
{
    if (one == NULL)
        return false;
    llama_sampler_chain_add(chain, one);
    return true;
}

static struct llama_sampler *
new_bias(const struct berth_gen *gen, const struct berth_vocab *v)
{
    const size_t extra = gen->ignore_eos ? (size_t)v->no_end_count : 0;
    struct llama_logit_bias *const all = calloc(gen->bias_count + extra + 1, sizeof *all);
    size_t n = 0;

    if (all == NULL)
        return NULL;
    for (size_t i = 0; i < gen->bias_count; i++)
        all[n++] = (struct llama_logit_bias){gen->bias[i].token, gen->bias[i].bias};
    for (size_t i = 0; i < extra; i++)
        all[n++] = v->no_end[i];
    struct llama_sampler *const s = llama_sampler_init_logit_bias(v->count, (int32_t)n, all);
    free(all);
    return s;
}

static bool
build(struct berth_chain *c, const struct berth_gen *gen, const struct berth_vocab *v,
      uint32_t context_len)
{
    struct llama_sampler *const s = c->samplers;
    bool ok = true;

    if (gen->bias_count > 0 || gen->ignore_eos)
        ok = add(s, new_bias(gen, v));
    if (gen->repeat_penalty != 1.0f) {
        c->repeat = llama_sampler_init_penalties(v->count, REPEAT_LAST, gen->repeat_penalty, 0, 0);
        ok = ok && add(s, c->repeat);
    }
    if (gen->presence_penalty != 0 || gen->frequency_penalty != 0)
        ok = ok &&
             add(s, llama_sampler_init_penalties(v->count, (int32_t)context_len, 1.0f,
                                                 gen->frequency_penalty, gen->presence_penalty));
    if (gen->temperature <= 0)
        return ok && add(s, llama_sampler_init_greedy());
    if (gen->top_k > 0)
        ok = ok && add(s, llama_sampler_init_top_k(gen->top_k));
    if (gen->top_p < 1.0f)
        ok = ok && add(s, llama_sampler_init_top_p(gen->top_p, 1));
    if (gen->min_p > 0)
        ok = ok && add(s, llama_sampler_init_min_p(gen->min_p, 1));
    if (gen->temperature != 1.0f)
        ok = ok && add(s, llama_sampler_init_temp(gen->temperature));
    uint32_t seed = (uint32_t)(gen->seed ^ gen->seed >> 32);
    if (seed == LLAMA_DEFAULT_SEED)
        seed = 1; /* that value would mean "a random one" */
    return ok && add(s, llama_sampler_init_dist(seed));
}

int
berth_chain_init(struct berth_chain *c, const struct berth_gen *gen, const struct berth_vocab *v,
                 uint32_t context_len, struct berth_err *e)
{
    const bool plain = gen->temperature <= 0 && gen->bias_count == 0 && !gen->ignore_eos &&
                       gen->repeat_penalty == 1.0f && gen->presence_penalty == 0 &&
                       gen->frequency_penalty == 0;

    *c = (struct berth_chain){0};
    for (size_t i = 0; i < gen->bias_count; i++)
        if (gen->bias[i].token < 0 || gen->bias[i].token >= v->count)
            return berth_err_set(e, BERTH_EINVAL, "logit_bias: token %d; this model has 0 to %d",
                                 gen->bias[i].token, v->count - 1);
    if (plain)
        return 0;
    c->samplers = llama_sampler_chain_init((struct llama_sampler_chain_params){.no_perf = true});
    if (c->samplers == NULL || !build(c, gen, v, context_len)) {
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
    *c = (struct berth_chain){0};
}

void
berth_chain_prompt(struct berth_chain *c, const int32_t *tokens, size_t n)
{
    const size_t from = n > REPEAT_LAST ? n - REPEAT_LAST : 0;

    for (size_t i = from; c->repeat != NULL && i < n; i++)
        llama_sampler_accept(c->repeat, tokens[i]);
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

int32_t
berth_chain_sample(struct berth_chain *c, const float *logits, int32_t count,
                   struct llama_token_data *room)
{
    if (c->samplers == NULL)
        return berth_argmax(logits, count);
    for (int32_t i = 0; i < count; i++)
        room[i] = (struct llama_token_data){i, logits[i], 0};
    struct llama_token_data_array a = {room, (size_t)count, -1, false};
    llama_sampler_apply(c->samplers, &a);
    /* Nothing selected: every candidate was ruled out, as by a bias of minus infinity on all. */
    const int32_t token = a.selected >= 0 && (size_t)a.selected < a.size
                              ? a.data[a.selected].id
                              : berth_argmax(logits, count);
    llama_sampler_accept(c->samplers, token);
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
