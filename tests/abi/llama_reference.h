#ifndef BERTH_TESTS_LLAMA_REFERENCE_H
#define BERTH_TESTS_LLAMA_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

/* What llama.cpp itself generates: llama_decode() of the prompt in pieces of `chunk` tokens, then
 * of one token at a time, the largest logit each time.  Nothing of Berth is in it. */
struct reference;

struct reference *reference_new(const char *model, int threads, uint32_t context, uint32_t chunk);
void reference_free(struct reference *r);
/* Tokens of a text, control marks counting; returns how many, at most cap. */
size_t reference_tokens(struct reference *r, const char *text, int32_t *ret, size_t cap);
/* Up to `max` answer tokens; ends before one that ends the answer.  Returns how many.  *ret_margin
 * is the smallest lead that a chosen logit had. */
size_t reference_greedy(struct reference *r, const int32_t *prompt, size_t n, int32_t *ret,
                        size_t max, float *ret_margin);
/* The text of tokens, NUL-ended, at most cap bytes; control tokens are no text. */
void reference_text(struct reference *r, const int32_t *tokens, size_t n, char *ret, size_t cap);

#endif
