#ifndef BERTH_API_OPENAI_H
#define BERTH_API_OPENAI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/call.h"
#include "api/fields.h"

/* What OpenAI's chat completions, completions and embeddings have in common. */

enum {
    BERTH_CHOICES_MAX = 128,
    BERTH_TOP_LOGPROBS_MAX = 20,
    BERTH_MESSAGES_MAX = 4096,
    BERTH_PROMPTS_MAX = 2048,
};

struct berth_openai;

/* What differs between chat completions and completions. */
struct berth_openai_form {
    /* The body's members, and the parts that they make. */
    int (*read)(struct berth_fields *f, struct berth_call *c, struct berth_openai *o);
    const struct berth_call_ops *whole;         /* of an answer in one piece */
    const char *prefix, *object, *chunk_object; /* of the answer's id; its `object` */
    /* Within a choice that is open: after "index", before "finish_reason". */
    void (*put_whole)(struct berth_jw *w, const struct berth_call *c,
                      const struct berth_part *part);
    /* d NULL: the last one. */
    void (*put_piece)(struct berth_jw *w, struct berth_call *c, const struct berth_part *part,
                      const struct berth_delta *d);
};

struct berth_openai {
    const struct berth_openai_form *form;
    struct berth_gen gen; /* what all choices have in common */
    uint32_t n;           /* choices for each prompt */
    bool stream, include_usage, logprobs;
    bool *begun; /* chat: this choice's role has been sent */
    uint32_t prompt_count;
    size_t *text_offset; /* completions: of each part, for logprobs */
};

/* Member `model`: "name", or "name:version" where no model is called so.  Finds it into c->model;
 * false: answered, or parked (then the handler runs again; see berth_call_find). */
bool berth_openai_find(struct berth_call *c);
/* The handler of both: reads, and runs what was asked for. */
void berth_openai_run(struct berth_call *c, const struct berth_openai_form *form);
/* n, stream, stream_options, the sampling members, logit_bias. */
int berth_openai_read(struct berth_fields *f, struct berth_call *c, struct berth_openai *o);
/* A member that is refused unless it is missing, null, empty or false. */
int berth_openai_refuse(struct berth_fields *f, const char *key, const char *why);

/* As berth_call_ops.answer: all choices. */
void berth_openai_answer(struct berth_call *c);
/* A stream of pieces; its last events are the usage, when asked for, and [DONE]. */
extern const struct berth_call_ops berth_openai_stream_ops;

/* ---- pure, for tests and fuzzers ---- */

/* OpenAI's messages as the backend gets them: {"messages":[{"role","content"},..]} with every
 * content a string.  Text parts are joined; anything else is refused, naming its place. */
int berth_openai_messages(struct berth_fields *f, struct berth_buf *b);

/* A prompt: text or tokens. */
struct berth_openai_prompt {
    struct berth_slice text;
    const int32_t *tokens; /* NULL: text */
    size_t token_count;
};
/* Member `key`: a string, an array of strings, of tokens, or of arrays of tokens. */
int berth_openai_prompts(struct berth_fields *f, struct berth_arena *a, const char *key,
                         struct berth_openai_prompt **ret, size_t *ret_count);

#endif
