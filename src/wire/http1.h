#ifndef BERTH_WIRE_HTTP1_H
#define BERTH_WIRE_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/header.h"

/*
 * HTTP/1 requests from bytes: find the end of a head, parse a whole head, undo chunks.  Stricter
 * than it must be, because every leniency is one that a proxy in front may not share: no bare LF,
 * no folded lines, no blank before a colon, one Host, one length.  No I/O, no memory of its own;
 * any thread, one caller at a time for each struct.
 */

/* Why a request is refused; why is a static sentence for the client. */
struct berth_http1_fault {
    uint16_t status;
    const char *why;
};

struct berth_http1_limits {
    size_t head_bytes_max, url_bytes_max;
    uint32_t header_count_max;
};

/* How far the search has come; zeroed for a new head. */
struct berth_http1_find {
    size_t scanned, line_start;
    uint32_t lines; /* ended so far, the request line and the empty one included */
};

enum { BERTH_HTTP1_MORE = 1 };
/*
 * Search at[0..len) for the empty line.  Later calls pass the same bytes and more behind them.
 * Returns 0 and the head's length, BERTH_HTTP1_MORE, or -BERTH_EINVAL with the fault.
 */
int berth_http1_find_head(struct berth_http1_find *f, const struct berth_http1_limits *limits,
                          const char *at, size_t len, size_t *ret_len,
                          struct berth_http1_fault *ret_fault);

struct berth_http1_head {
    struct berth_slice method, path, query, authority; /* empty when absent */
    struct berth_header *headers;                      /* the caller's, header_room of them */
    size_t header_count, header_room;
    uint64_t content_length; /* 0 when absent or chunked */
    bool chunked, http10, keep_alive, expect_continue;
};
/*
 * Parse a whole head as berth_http1_find_head() found it.  at[] is changed (names to lower case)
 * and pointed into; head->headers has room for as many entries as the head has lines.  Returns 0,
 * or -BERTH_EINVAL with the fault: what was understood until then (method, path) is in head even
 * so.
 */
int berth_http1_parse_head(char *at, size_t len, uint32_t url_bytes_max,
                           struct berth_http1_head *head, struct berth_http1_fault *ret_fault);

/* A chunked body on its way; zeroed for a new one. */
struct berth_http1_chunks {
    uint8_t state;
    uint8_t digits;
    uint64_t left;        /* of the chunk, or its size so far */
    uint32_t extra_bytes; /* of extensions and trailers so far */
    uint32_t line_bytes;
};

enum { BERTH_HTTP1_DATA = 2, BERTH_HTTP1_END = 3 };
/*
 * Take some of at[0..len): *ret_used bytes.  Returns BERTH_HTTP1_DATA and a run of body bytes
 * within at[], BERTH_HTTP1_END after the last chunk and its trailers (which are dropped),
 * BERTH_HTTP1_MORE when all is used, or -BERTH_EINVAL with the fault.
 */
int berth_http1_chunks_next(struct berth_http1_chunks *c, const char *at, size_t len,
                            size_t *ret_used, struct berth_slice *ret_data,
                            struct berth_http1_fault *ret_fault);

/* "Not Found" for 404; "Status" for what has no phrase. */
const char *berth_http1_reason(uint16_t status);

#endif
