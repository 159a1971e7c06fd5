#ifndef BERTH_NET_LENT_H
#define BERTH_NET_LENT_H

#include "base/buf.h"
#include "net/outbuf.h"

struct berth_xchg;

/*
 * Borrowed bytes among those that a berth_outbuf holds itself: a tensor is sent from where it is,
 * its message's first bytes from the buffer.  Zeroed is empty; an empty one holds no memory.
 */
struct berth_lent {
    size_t before; /* bytes of the buffer that come first, counted from the run before */
    struct berth_slice run;
    struct berth_xchg *x; /* whose; NULL where nobody counts */
};
struct berth_lents {
    struct berth_outbuf list; /* of struct berth_lent */
    size_t before_bytes;      /* of the buffer, in front of the last run */
    size_t bytes;             /* borrowed in all */
};

static inline size_t
berth_lents_count(const struct berth_lents *l)
{
    return berth_outbuf_left(&l->list) / sizeof(struct berth_lent);
}
/* Behind all that `own` holds now; false: no memory. */
bool berth_lents_add(struct berth_lents *l, struct berth_outpool *p, const struct berth_outbuf *own,
                     struct berth_slice run, struct berth_xchg *x);
/* The bytes that are next, whole; .len 0: none.  *ret_lent tells whether they are borrowed. */
struct berth_slice berth_lents_next(const struct berth_lents *l, const struct berth_outbuf *own,
                                    bool *ret_lent);
/* n bytes, no more than next() gave, are gone.  Returns whose run has ended by that, or NULL. */
struct berth_xchg *berth_lents_consume(struct berth_lents *l, struct berth_outpool *p,
                                       struct berth_outbuf *own, size_t n);

#endif
