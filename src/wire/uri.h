#ifndef BERTH_URI_H
#define BERTH_URI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct berth_arena;

/* Percent-decode one path segment or query value (plus: '+' is a blank).  False for a bad escape,
 * an encoded NUL, or no memory.  *ret is NUL-ended, in the arena. */
bool berth_uri_decode(struct berth_arena *a, struct berth_slice text, bool plus,
                      struct berth_slice *ret);
/* Value of `key` in a query string, decoded; false when it is not there. */
bool berth_uri_query(struct berth_arena *a, struct berth_slice query, const char *key,
                     struct berth_slice *ret);
/* Append text with everything but RFC 3986's unreserved characters escaped. */
void berth_uri_put(struct berth_buf *b, const char *text, size_t len);

#endif
