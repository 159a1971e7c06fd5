#ifndef BERTH_NET_OUTBUF_H
#define BERTH_NET_OUTBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Bytes waiting to be sent or parsed: at[sent..len).  Their memory comes from a loop's pool, so
 * that an idle connection holds none and a busy one needs no malloc.  One thread.
 */
enum { BERTH_OUTBUF_BYTES = 16 * 1024, BERTH_OUTPOOL_MAX = 64 };

struct berth_outpool {
    char *kept[BERTH_OUTPOOL_MAX]; /* of BERTH_OUTBUF_BYTES each */
    uint32_t kept_len;
};
void berth_outpool_fini(struct berth_outpool *p);

struct berth_outbuf {
    char *at;
    size_t len, sent, cap;
};
/* Room for n bytes behind at + len, or NULL: no memory.  Add to len what was used. */
char *berth_outbuf_reserve(struct berth_outbuf *b, struct berth_outpool *p, size_t n);
bool berth_outbuf_put(struct berth_outbuf *b, struct berth_outpool *p, const void *at, size_t n);
static inline size_t
berth_outbuf_left(const struct berth_outbuf *b)
{
    return b->len - b->sent;
}
/* n more bytes are gone; the memory goes back when none is left. */
void berth_outbuf_consume(struct berth_outbuf *b, struct berth_outpool *p, size_t n);
/* Forget all bytes and give the memory back. */
void berth_outbuf_drop(struct berth_outbuf *b, struct berth_outpool *p);

#endif
