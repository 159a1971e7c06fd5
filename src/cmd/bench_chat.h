#ifndef BERTH_BENCH_CHAT_H
#define BERTH_BENCH_CHAT_H

#include <stdint.h>

#include "cmd/bench_load.h"

struct berth_args;

/* Many conversations of one turn at once, a thread each.  With a rate each is due at its time and
 * its latencies count from then. */
struct berth_chat_load {
    const struct berth_args *args;
    const char *base; /* the server, "http://HOST:PORT"; NULL: as args say */
    bool with_key;    /* send the key that args or the environment hold */
    const char *model, *prompt;
    long long max_tokens;
    uint32_t threads;
    double rate;          /* 0: closed loop */
    bool poisson;         /* due at random, with that mean; else evenly */
    uint64_t seed;        /* of the randomness */
    uint64_t warmup_ns;   /* chats due earlier are not counted */
    uint64_t duration_ns; /* after the warm-up; 0: until so many chats */
    uint64_t requests;    /* to count; 0: until the time is over */
    pid_t server_pid;     /* whose CPU time is measured, with its children; 0: none */
};

struct berth_chat_load_result {
    struct berth_hist first, total; /* to the first text; to the end; of whole answers */
    struct berth_hist between;      /* from a piece of text to the next, of every answer */
    struct berth_errors errors;
    uint64_t ok, failed, prompt_tokens, completion_tokens;
    uint64_t elapsed_ns;    /* without the warm-up */
    uint64_t server_cpu_ns; /* from its end on */
};

/* One short chat first, whose error is told and ends it; then a chat that fails is counted, and its
 * thread goes on.  The exit status. */
int berth_chat_load_run(const struct berth_chat_load *load, struct berth_chat_load_result *ret);

#endif
