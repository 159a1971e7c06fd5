#ifndef BERTH_LLAMA_CHAT_PROMPT_H
#define BERTH_LLAMA_CHAT_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llama_model;

/*
 * Messages to tokens: the model's own chat template, rendered by llama.cpp.
 *
 * What a user writes never becomes a control token.  When no message holds the text of one, the
 * rendered prompt is tokenised as a whole, as llama.cpp's own server does; otherwise only those
 * control marks count that the template wrote.  Instance's thread.
 */
struct berth_chat;

/* template_text: "" for the model's own.  Returns 0, -BERTH_EINVAL (template does not parse) or
 * -BERTH_ENOMEM.  *ret is the caller's, for free. */
int berth_chat_new(const struct llama_model *model, const char *template_text,
                   struct berth_chat **ret, struct berth_err *e);
void berth_chat_free(struct berth_chat *c);

/* The tokens of {"messages":[...]} and of the beginning of the answer.  *ret_tokens is the
 * caller's, to be freed.  careful: tokenise in the careful way whatever the messages hold (for
 * tests).  Returns 0, -BERTH_EINVAL or -BERTH_ENOMEM. */
int berth_chat_tokens(const struct berth_chat *c, const char *json, bool careful,
                      int32_t **ret_tokens, size_t *ret_count, struct berth_err *e);

#ifdef __cplusplus
}
#endif

#endif
