#include "net/lent.h"

#include "base/assert.h"

static struct berth_lent *
first(const struct berth_lents *l)
{
    if (berth_outbuf_left(&l->list) == 0)
        return NULL;
    return (struct berth_lent *)(void *)(l->list.at + l->list.sent);
}

bool
berth_lents_add(struct berth_lents *l, struct berth_outpool *p, const struct berth_outbuf *own,
                struct berth_slice run, struct berth_xchg *x)
{
    const struct berth_lent lent = {
        .before = berth_outbuf_left(own) - l->before_bytes, .run = run, .x = x};

    berth_assert(run.len > 0);
    if (!berth_outbuf_put(&l->list, p, &lent, sizeof lent))
        return false;
    l->before_bytes += lent.before;
    l->bytes += run.len;
    return true;
}

struct berth_slice
berth_lents_next(const struct berth_lents *l, const struct berth_outbuf *own, bool *ret_lent)
{
    const struct berth_lent *lent = first(l);

    *ret_lent = lent != NULL && lent->before == 0;
    if (*ret_lent)
        return lent->run;
    if (own->at == NULL)
        return (struct berth_slice){"", 0};
    return (struct berth_slice){own->at + own->sent,
                                lent != NULL ? lent->before : berth_outbuf_left(own)};
}

struct berth_xchg *
berth_lents_consume(struct berth_lents *l, struct berth_outpool *p, struct berth_outbuf *own,
                    size_t n)
{
    struct berth_lent *lent = first(l);

    if (lent == NULL || lent->before > 0) {
        if (lent != NULL) {
            berth_assert(n <= lent->before);
            lent->before -= n;
            l->before_bytes -= n;
        }
        berth_outbuf_consume(own, p, n);
        return NULL;
    }
    berth_assert(n <= lent->run.len);
    l->bytes -= n;
    lent->run.at += n;
    lent->run.len -= n;
    if (lent->run.len > 0)
        return NULL;
    struct berth_xchg *x = lent->x;
    berth_outbuf_consume(&l->list, p, sizeof *lent);
    return x;
}
