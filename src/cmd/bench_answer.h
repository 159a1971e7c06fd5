#ifndef BERTH_BENCH_ANSWER_H
#define BERTH_BENCH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/bench_stages.h"

/*
 * One HTTP/1.1 answer out of pieces of any size: where it ends, its status, and whether the
 * connection can be used again.  The body is counted, not kept.  Owned by one connection.
 */
enum { BERTH_ANSWER_LINE_MAX = 8 << 10, BERTH_ANSWER_HEAD_MAX = 64 << 10 };

enum berth_answer_part {
    BERTH_ANSWER_STATUS, /* a zeroed answer waits for its first line */
    BERTH_ANSWER_FIELDS,
    BERTH_ANSWER_LENGTH,      /* a body of known length */
    BERTH_ANSWER_UNTIL_CLOSE, /* a body without any */
    BERTH_ANSWER_CHUNK_SIZE,
    BERTH_ANSWER_CHUNK,
    BERTH_ANSWER_CHUNK_END,
    BERTH_ANSWER_TRAILER,
    BERTH_ANSWER_WHOLE,
    BERTH_ANSWER_WRONG,
};

struct berth_answer {
    enum berth_answer_part part;
    uint16_t status;
    bool closes; /* the connection ends with this answer */
    bool has_length, has_chunks;
    uint64_t left_bytes;         /* of the body or the chunk */
    size_t line_len, head_bytes; /* head_bytes: of head and trailer so far */
    struct berth_stages stages;  /* of its field Server-Timing */
    char line[BERTH_ANSWER_LINE_MAX];
};

/* Forget the last answer. */
void berth_answer_init(struct berth_answer *a);
/* Take bytes.  False when they are no answer, too long a head, or more than the answer holds. */
bool berth_answer_feed(struct berth_answer *a, const char *bytes, size_t len);
/* The peer closed the connection: false when that cuts the answer short. */
bool berth_answer_end(struct berth_answer *a);
bool berth_answer_is_whole(const struct berth_answer *a);

#endif
