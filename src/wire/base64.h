#ifndef BERTH_BASE64_H
#define BERTH_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct berth_arena;

/* RFC 4648, standard alphabet; padding required or absent, CR and LF skipped.  False when it is
 * not base64 or the arena is full.  *ret is in the arena, aligned to 64. */
bool berth_base64_decode(struct berth_arena *a, const char *text, size_t len, void **ret,
                         size_t *ret_len);
void berth_base64_put(struct berth_buf *b, const void *bytes, size_t len);

#endif
