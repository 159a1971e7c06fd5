#include "wire/gzip.h"

#include <limits.h>

#include <zlib.h>

#include "base/arena.h"
#include "base/num.h"

enum { EITHER = 32 /* zlib: gzip or zlib, by the header */ };

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the body is larger than its memory limit");
}

/* Fill up to cap bytes at to.  1: there is more, 0: that was all. */
static int
fill(z_stream *z, unsigned char *to, size_t cap, struct berth_err *e)
{
    int r;

    z->next_out = to;
    z->avail_out = (uInt)cap;
    r = inflate(z, Z_NO_FLUSH);
    if (r == Z_MEM_ERROR)
        return no_memory(e);
    if (r == Z_STREAM_END)
        return z->avail_in == 0
                   ? 0
                   : berth_err_set(e, BERTH_EINVAL, "something follows the compressed body");
    if (r == Z_OK && z->avail_out == 0)
        return 1;
    return berth_err_set(e, BERTH_EINVAL, "the compressed body is damaged or cut short");
}

/* Twice: first to know how long it becomes, then to its place.  Counting costs time, but a growing
 * buffer would cost the arena twice the memory, and claims of a size cannot be trusted. */
static int
run(const void *bytes, size_t len, unsigned char *to, size_t cap, size_t max_bytes, size_t *ret,
    struct berth_err *e)
{
    unsigned char scrap[4096];
    z_stream z = {.next_in = (z_const Bytef *)bytes, .avail_in = (uInt)len};
    int r;

    if (inflateInit2(&z, MAX_WBITS + EITHER) != Z_OK)
        return no_memory(e);
    if (to != NULL) {
        r = fill(&z, to, cap, e);
    } else {
        do {
            r = fill(&z, scrap, sizeof scrap, e);
        } while (r == 1 && z.total_out <= max_bytes);
    }
    *ret = z.total_out;
    (void)inflateEnd(&z);
    if (r >= 0 && *ret > max_bytes)
        return berth_err_set(e, BERTH_ETOOBIG, "the body becomes larger than %zu bytes", max_bytes);
    return r < 0 ? r : 0;
}

int
berth_gzip_read(struct berth_arena *a, const void *bytes, size_t len, size_t max_bytes,
                const void **ret, size_t *ret_len, struct berth_err *e)
{
    unsigned char *to;
    size_t n;
    int r;

    if (len > UINT_MAX || max_bytes > UINT_MAX - 1)
        return berth_err_set(e, BERTH_ETOOBIG, "the compressed body is too large");
    if ((r = run(bytes, len, NULL, 0, max_bytes, &n, e)) < 0)
        return r;
    to = berth_arena_alloc_raw(a, n + 1); /* one more: zlib wants room even for nothing */
    if (to == NULL)
        return no_memory(e);
    if ((r = run(bytes, len, to, n + 1, max_bytes, &n, e)) < 0)
        return r;
    *ret = to;
    *ret_len = n;
    return 0;
}

int /* NOLINTNEXTLINE(readability-function-size): each says something of its own */
berth_gzip_write(struct berth_arena *a, const struct berth_slice *parts, size_t count, bool zlib,
                 size_t skip, char **ret, size_t *ret_len, struct berth_err *e)
{
    enum { GZIP = 16 /* zlib: with gzip's header */, MEM_LEVEL = 8 };
    z_stream z = {0};
    size_t len = 0, bound;
    char *to;
    int r = Z_OK;

    for (size_t i = 0; i < count; i++) {
        if (!berth_add(len, parts[i].len, &len))
            return no_memory(e);
    }
    if (len > UINT_MAX / 2 ||
        deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + (zlib ? 0 : GZIP), MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return no_memory(e);
    bound = deflateBound(&z, (uLong)len) + 64;
    to = berth_arena_alloc_raw(a, skip + bound);
    if (to != NULL) {
        z.next_out = (unsigned char *)to + skip;
        z.avail_out = (uInt)bound;
    }
    for (size_t i = 0; i < count && to != NULL && r == Z_OK; i++) {
        z.next_in = (z_const Bytef *)parts[i].at;
        z.avail_in = (uInt)parts[i].len;
        r = deflate(&z, i + 1 == count ? Z_FINISH : Z_NO_FLUSH);
        if (r == Z_BUF_ERROR && z.avail_in == 0) /* an empty part: nothing to do */
            r = Z_OK;
    }
    *ret = to;
    *ret_len = skip + z.total_out;
    (void)deflateEnd(&z);
    return to != NULL && r == Z_STREAM_END ? 0 : no_memory(e);
}
