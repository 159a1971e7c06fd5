#ifndef BERTH_GZIP_H
#define BERTH_GZIP_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;

/*
 * gzip or zlib ("deflate"), told apart by its first bytes, back to what it was: into the arena,
 * aligned to 64, at most max_bytes of it.
 *   -BERTH_EINVAL  damaged, cut short, or followed by something else
 *   -BERTH_ETOOBIG  more than max_bytes      -BERTH_ENOMEM
 */
int berth_gzip_read(struct berth_arena *a, const void *bytes, size_t len, size_t max_bytes,
                    const void **ret, size_t *ret_len, struct berth_err *e);

/* The parts one after the other, as gzip or zlib, in the arena behind `skip` bytes that are the
 * caller's to fill; *ret_len counts them.  -BERTH_ENOMEM */
int berth_gzip_write(struct berth_arena *a, const struct berth_slice *parts, size_t count,
                     bool zlib, size_t skip, char **ret, size_t *ret_len, struct berth_err *e);

#endif
