#ifndef BERTH_LLAMA_CHAIN_H
#define BERTH_LLAMA_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

#include "vocab.h"

struct llama_sampler;

/*
 * How one sequence chooses its tokens: bias and penalties change the logits of the few tokens that
 * they concern, then the engine's own samplers choose, one chain for each sequence.  Greedy takes
 * the largest straight away, which is the same choice.
 */
struct berth_chain {
    struct llama_sampler *samplers; /* NULL: the largest logit */
    struct llama_logit_bias *bias;
    size_t bias_count;
    float repeat, frequency, presence;
    int32_t *recent; /* the last tokens, the prompt's too, for repeat: a ring */
    size_t recent_count;
    struct berth_chain_count *counts; /* of the answer's tokens, for the other two */
    size_t count_len, count_max;
    struct berth_chain_edit *edits; /* to undo: log-probabilities are those of the model */
    size_t edit_len;
};

enum { BERTH_LOGPROBS_MAX = 64 };

/* Borrows gen only during the call.  Returns 0, -BERTH_EINVAL (a bias for a token that is none) or
 * -BERTH_ENOMEM. */
int berth_chain_init(struct berth_chain *c, const struct berth_gen *gen,
                     const struct berth_vocab *v, uint32_t context_len, struct berth_err *e);
void berth_chain_fini(struct berth_chain *c);

/* Let the prompt count for the repeat penalty. */
void berth_chain_prompt(struct berth_chain *c, const int32_t *tokens, size_t n);

/* Choose one of `count` tokens by their logits, which are as before afterwards; `room` has space
 * for count candidates. */
int32_t berth_chain_sample(struct berth_chain *c, float *logits, int32_t count,
                           struct llama_token_data *room);

/* The largest of n >= 1 numbers, the first of equals. */
int32_t berth_argmax(const float *x, int32_t n);

/* Log-probability of `token` into *ret, and of the n_top most likely, best first, into top: their
 * ids and log-probabilities, with text from v.  n_top <= BERTH_LOGPROBS_MAX.  Returns how many
 * top has. */
size_t berth_logprobs(const struct berth_vocab *v, const float *logits, int32_t token, size_t n_top,
                      struct berth_token *ret, struct berth_token *top);

#endif
