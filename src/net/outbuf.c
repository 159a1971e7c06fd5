#include "net/outbuf.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/num.h"

void
berth_outpool_fini(struct berth_outpool *p)
{
    while (p->kept_len > 0)
        free(p->kept[--p->kept_len]);
}

char *
berth_outbuf_reserve(struct berth_outbuf *b, struct berth_outpool *p, size_t n)
{
    size_t need;

    if (b->cap - b->len >= n && b->at != NULL)
        return b->at + b->len;
    if (b->at == NULL && n <= BERTH_OUTBUF_BYTES) {
        b->at = p->kept_len > 0 ? p->kept[--p->kept_len] : malloc(BERTH_OUTBUF_BYTES);
        b->cap = b->at != NULL ? BERTH_OUTBUF_BYTES : 0;
        return b->at;
    }
    if (b->at != NULL &&
        b->sent > 0) { /* what is left moves to the front before the buffer grows */
        memmove(b->at, b->at + b->sent, b->len - b->sent);
        b->len -= b->sent;
        b->sent = 0;
        if (b->cap - b->len >= n)
            return b->at + b->len;
    }
    if (!berth_add(b->len, n, &need))
        return NULL;
    size_t cap = b->cap > 0 ? b->cap : BERTH_OUTBUF_BYTES;
    while (cap < need)
        if (!berth_mul(cap, 2, &cap))
            return NULL;
    if (cap == BERTH_OUTBUF_BYTES) /* buffers of this size belong to the pool */
        cap *= 2;
    char *at = realloc(b->at, cap);
    if (at == NULL)
        return NULL;
    b->at = at;
    b->cap = cap;
    return at + b->len;
}

bool
berth_outbuf_put(struct berth_outbuf *b, struct berth_outpool *p, const void *at, size_t n)
{
    char *room = berth_outbuf_reserve(b, p, n);

    if (room == NULL)
        return false;
    if (n > 0)
        memcpy(room, at, n);
    b->len += n;
    return true;
}

void
berth_outbuf_consume(struct berth_outbuf *b, struct berth_outpool *p, size_t n)
{
    berth_assert(n <= b->len - b->sent);
    b->sent += n;
    if (b->sent == b->len)
        berth_outbuf_drop(b, p);
}

void
berth_outbuf_drop(struct berth_outbuf *b, struct berth_outpool *p)
{
    if (b->cap == BERTH_OUTBUF_BYTES && p->kept_len < BERTH_OUTPOOL_MAX)
        p->kept[p->kept_len++] = b->at;
    else
        free(b->at);
    *b = (struct berth_outbuf){0};
}
