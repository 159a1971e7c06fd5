#ifndef BERTH_LLAMA_VOCAB_H
#define BERTH_LLAMA_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llama.h>

struct berth_err;

/*
 * What every token of a model reads like, made once at load: a step then looks text up without
 * asking the engine or copying.  Constant after init; any thread.
 */
struct berth_vocab {
    const struct llama_vocab *engine; /* the model's */
    int32_t count;
    char *text;                      /* of all tokens, one after the other */
    uint32_t *offset;                /* count + 1 of them */
    uint32_t longest_bytes;          /* of a token's text */
    uint8_t *hidden;                 /* 1: a control token, which is no part of the answer */
    struct llama_logit_bias *no_end; /* minus infinity for each token that ends an answer */
    int32_t no_end_count;
};

/* Returns 0, -BERTH_ENOMEM or -BERTH_EINVAL (no tokens at all, or more text than 4 GB). */
int berth_vocab_init(struct berth_vocab *v, const struct llama_vocab *engine, struct berth_err *e);
void berth_vocab_fini(struct berth_vocab *v);

/* The token's bytes, control tokens' too; "" for an unknown number.  Not NUL-ended. */
const char *berth_vocab_text(const struct berth_vocab *v, int32_t token, size_t *ret_len);

#endif
