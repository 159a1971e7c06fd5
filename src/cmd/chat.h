#ifndef BERTH_CHAT_H
#define BERTH_CHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct berth_remote;

/* One streamed answer of a conversation, by OpenAI's API. */
struct berth_chat {
    const char *model;
    struct berth_slice messages; /* JSON: {"role":..,"content":..},... without brackets */
    long long max_tokens;        /* 0: the model's own */
    double temperature;          /* < 0: the model's own */
    /* Each piece of text as it comes; false: stop.  interrupted: asked several times a second. */
    bool (*on_text)(void *arg, struct berth_slice text);
    bool (*interrupted)(void *arg);
    void *arg;
    bool quiet; /* what goes wrong is in the result alone */
};

struct berth_chat_result {
    uint64_t first_ns, total_ns; /* to the first text; to the end */
    uint64_t prompt_tokens, completion_tokens;
    bool stopped;    /* by a callback */
    int error;       /* without a whole answer: -BERTH_E..., else 0 */
    uint16_t status; /* of an answer that is an error, else 0 */
};

/* The exit status; what went wrong is told, unless quiet. */
int berth_chat(struct berth_remote *r, const struct berth_chat *chat,
               struct berth_chat_result *ret);
/* Append a message to a conversation. */
void berth_chat_say(struct berth_buf *messages, const char *role, struct berth_slice text);

#endif
