#ifndef BERTH_SSE_H
#define BERTH_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* Server-sent events out of pieces of any size.  An event longer than its limit is an error. */
struct berth_sse {
    struct berth_buf line;
    bool bad;
};

void berth_sse_init(struct berth_sse *s);
void berth_sse_fini(struct berth_sse *s);
/* Call on_data() with the text behind each "data:" that ends within these bytes; it returns false
 * to stop.  False: stopped, or s->bad. */
bool berth_sse_feed(struct berth_sse *s, const char *bytes, size_t len,
                    bool (*on_data)(void *arg, struct berth_slice data), void *arg);

#endif
