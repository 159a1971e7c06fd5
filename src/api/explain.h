#ifndef BERTH_API_EXPLAIN_H
#define BERTH_API_EXPLAIN_H

#include <stddef.h>
#include <stdint.h>

#include "wire/json.h"

struct berth_trace_note;

/*
 * What a request's time went into, in words, and what would have been faster.  Pure: a record in,
 * an account out.
 */
enum { BERTH_STAGES_MAX = 10, BERTH_ADVICE_MAX = 10, BERTH_ADVICE_TEXT = 240 };

struct berth_stage {
    const char *name, *what; /* static texts */
    uint64_t ns;
};

struct berth_account {
    struct berth_stage stages[BERTH_STAGES_MAX]; /* in the order of time; those of 0 ns left out */
    size_t stage_count;
    char advice[BERTH_ADVICE_MAX][BERTH_ADVICE_TEXT];
    size_t advice_count;
};
void berth_account_of(const struct berth_trace_note *n, struct berth_account *ret);
/* As GET /v1/requests/{id}/explain answers. */
void berth_account_put(struct berth_jw *w, const struct berth_trace_note *n);
/* A line of GET /v1/requests. */
void berth_account_put_short(struct berth_jw *w, const struct berth_trace_note *n);

#endif
