#ifndef BERTH_GZIP_H
#define BERTH_GZIP_H

#include <stddef.h>

#include <berth/err.h>

struct berth_arena;

/*
 * gzip or zlib ("deflate"), told apart by its first bytes, back to what it was: into the arena,
 * aligned to 64, at most max_bytes of it.
 *   -BERTH_EINVAL  damaged, cut short, or followed by something else
 *   -BERTH_ETOOBIG  more than max_bytes      -BERTH_ENOMEM
 */
int berth_gzip_read(struct berth_arena *a, const void *bytes, size_t len, size_t max_bytes,
                    const void **ret, size_t *ret_len, struct berth_err *e);

#endif
