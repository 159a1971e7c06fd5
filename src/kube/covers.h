#ifndef BERTH_KUBE_COVERS_H
#define BERTH_KUBE_COVERS_H

#include <stdbool.h>

struct berth_buf;
struct berth_json;

/*
 * Does a live object say all that is wished for?  What it says besides (defaults, others' fields)
 * does not matter.  Elements of a list are found by their name where all that are wished for have
 * one, else by their place; a list of texts or numbers must be the same; an empty object or list is
 * there when nothing is.  Depth as for JSON.
 */
bool berth_kube_covers(const struct berth_json *live, const struct berth_json *wish);

/*
 * Append what the live object says of that which is wished for, whatever that is: the members and
 * elements of the wish with the live object's values.  Two of these that are the same text say that
 * nothing of it has changed, also where a server writes things otherwise than they are wished for,
 * or leaves out what is empty.
 */
void berth_kube_put_shared(struct berth_buf *b, const struct berth_json *live,
                           const struct berth_json *wish);

#endif
