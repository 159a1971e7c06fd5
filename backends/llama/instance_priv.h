#ifndef BERTH_LLAMA_INSTANCE_PRIV_H
#define BERTH_LLAMA_INSTANCE_PRIV_H

#include <stdatomic.h>

#include <llama.h>

#include <berth/backend.h>

#include "chain.h"
#include "chat_prompt.h"
#include "settings.h"
#include "textout.h"
#include "torn.h"
#include "vocab.h"

/* Tokens whose text still waits for a whole character or for the rest of a stop string; more than
 * these go out before their text does. */
enum { BERTH_PENDING_MAX = 32 };

/* One sequence the engine can hold.  It has a request while r is not NULL; afterwards `tokens`
 * tells what its part of the key-value cache still holds, for a prompt that begins alike. */
struct berth_slot {
    struct berth_request *r;
    const struct berth_gen *gen; /* the host's, while r is not NULL */
    uint64_t order;              /* of admission: older prompts go first */
    int32_t *tokens;             /* prompt and answer; context_len of space */
    uint32_t token_count;
    uint32_t prompt_count;
    uint32_t cached; /* of the prompt's, those that were in the cache */
    uint32_t kept;   /* of tokens, those that the cache holds */
    uint32_t answered;
    int32_t row; /* of this step's batch, whose logits are for this slot; -1: none */
    struct berth_chain chain;
    struct berth_textout out;
    uint32_t pending;         /* tokens not told to the client yet */
    struct berth_token *told; /* BERTH_PENDING_MAX of them when logprobs are wanted, else NULL */
    struct berth_token *told_top; /* BERTH_PENDING_MAX * gen->logprobs */
};

/* One loaded model with one context.  Everything but `canceled` belongs to the instance's thread
 * once load() has returned; `vocab` and the model are constant. */
struct berth_instance {
    const struct berth_host *host;
    struct berth_llama_settings conf;
    bool only_counts; /* the engine allocates nothing: for forecast() */
    struct llama_model *model;
    struct berth_torn_file file; /* that the model is mapped from */
    struct llama_context *engine;
    struct ggml_threadpool *threads;
    struct berth_vocab vocab;
    struct berth_chat *chat; /* NULL: embeddings only */
    struct berth_describe about;
    struct berth_tensor_spec input, output;
    uint64_t memory_bytes;
    struct llama_batch batch;
    int32_t batch_cap;
    atomic_bool canceled;

    /* generation */
    struct berth_slot *slots; /* about.sequence_max of them */
    uint32_t in_hand;
    uint64_t admitted;
    uint32_t chunk_max; /* prompt tokens a step takes at most */
    uint32_t gap_steps; /* steps since a slot below a taken one became free */
    uint64_t prompt_ns; /* what one prompt token cost lately */
    struct llama_token_data *candidates;

    /* embeddings */
    uint32_t text_tokens_max;
    bool bidirectional; /* no cache to clear after a batch */
};

/* Text to tokens; *ret_tokens is the caller's.  `cap_tokens` bounds what is made: more is
 * -BERTH_EINVAL with both numbers.  Returns 0, -BERTH_EINVAL or -BERTH_ENOMEM. */
struct berth_text {
    const char *bytes;
    size_t len;
    bool special; /* control marks in it count, and begin and end tokens are added */
};
int berth_text_tokens(const struct berth_instance *m, struct berth_text text, int32_t **ret_tokens,
                      size_t *ret_count, struct berth_err *e);

/* load.c */
int berth_instance_load(const struct berth_host *h, const struct berth_load *how,
                        struct berth_instance **ret, struct berth_err *e);
/* The op forecast() of berth/backend.h. */
uint64_t berth_instance_forecast(const struct berth_host *h, const struct berth_load *how);
void berth_instance_unload(struct berth_instance *m);
/* 0, or -BERTH_EBACKEND: what was computed since the last check may come of lost weights. */
int berth_instance_check_file(const struct berth_instance *m, struct berth_err *e);

/* slot.c: a slot's life.  begin: 0, or the request has been failed and the slot is free.
 * accept: one more token was chosen; the request may be finished by it.
 * drop: forget the request, which the host has already been told about. */
struct berth_slot *berth_slot_begin(struct berth_instance *m, struct berth_request *r);
void berth_slot_accept(struct berth_instance *m, struct berth_slot *s, float *logits);
void berth_slot_fail(struct berth_instance *m, struct berth_slot *s, enum berth_code code,
                     const char *msg);
void berth_slot_drop(struct berth_instance *m, struct berth_slot *s);
/* The cache's tokens of s from `from` on go; all of them when the engine cannot cut there. */
void berth_slot_cut(struct berth_instance *m, struct berth_slot *s, uint32_t from);

/* compact.c: before a step, close a gap between slots that has stayed open. */
void berth_instance_compact(struct berth_instance *m);

/* step.c */
int berth_instance_step(struct berth_instance *m, struct berth_queue *q, struct berth_err *e);
void berth_instance_reset(struct berth_instance *m);

/* embed.c */
int berth_instance_embed(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
                         struct berth_err *e);

#endif
