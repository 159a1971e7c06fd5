#include "infer/expiry.h"

#include <stddef.h>

#include "infer/request.h"

/* Two heaps into one: the later root becomes the first child of the earlier one. */
static struct berth_request *
meld(struct berth_request *a, struct berth_request *b)
{
    if (a == NULL)
        return b;
    if (b == NULL)
        return a;
    if (b->expire_ns < a->expire_ns) {
        struct berth_request *t = a;
        a = b;
        b = t;
    }
    b->heap_prev = a;
    b->heap_next = a->heap_child;
    if (b->heap_next != NULL)
        b->heap_next->heap_prev = b;
    a->heap_child = b;
    return a;
}

/* Siblings into one heap: neighbours first, then all of those from the last to the first. */
static struct berth_request *
meld_siblings(struct berth_request *first)
{
    struct berth_request *pairs = NULL, *root = NULL;

    while (first != NULL) {
        struct berth_request *a = first, *b = a->heap_next;
        first = b != NULL ? b->heap_next : NULL;
        a->heap_next = a->heap_prev = NULL;
        if (b != NULL)
            b->heap_next = b->heap_prev = NULL;
        a = meld(a, b);
        a->heap_next = pairs;
        pairs = a;
    }
    while (pairs != NULL) {
        struct berth_request *next = pairs->heap_next;
        pairs->heap_next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void
berth_expiry_put(struct berth_request **heap, struct berth_request *r, uint64_t at_ns)
{
    r->expire_ns = at_ns;
    r->heap_child = r->heap_next = r->heap_prev = NULL;
    *heap = meld(*heap, r);
}

void
berth_expiry_remove(struct berth_request **heap, struct berth_request *r)
{
    struct berth_request *below = meld_siblings(r->heap_child);

    if (*heap == r) {
        *heap = below;
    } else {
        if (r->heap_prev->heap_child == r)
            r->heap_prev->heap_child = r->heap_next;
        else
            r->heap_prev->heap_next = r->heap_next;
        if (r->heap_next != NULL)
            r->heap_next->heap_prev = r->heap_prev;
        *heap = meld(*heap, below);
    }
    r->heap_child = r->heap_next = r->heap_prev = NULL;
}
