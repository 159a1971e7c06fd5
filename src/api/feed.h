#ifndef BERTH_API_FEED_H
#define BERTH_API_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct berth_call;

/*
 * A streamed answer whose text comes from a thread of its own, which may block: events, logs.  The
 * thread puts text in; the loop writes it as fast as the client reads.  At most BERTH_FEEDS_MAX at
 * once for an api; what waits for a slow reader is bounded, and then put() waits.
 */
enum { BERTH_FEEDS_MAX = 64, BERTH_FEED_BYTES_MAX = 256 * 1024 };

struct berth_feed;

/*
 * Answer c with 200 and that type, and run(f, arg) on a new thread; the answer ends when it
 * returns.  When the server stops it is over at once; the answer of a client that is behind with
 * reading is then aborted.  On c's loop.  arg stays until run() has returned: it may be in the
 * exchange's arena, which the thread must not allocate from.  When there are too many, c is
 * answered with 429.
 */
void berth_feed_start(struct berth_call *c, const char *content_type,
                      void (*run)(struct berth_feed *f, void *arg), void *arg);

/* ---- on its thread ---- */

/* 0, or -BERTH_ECANCELED: nobody reads any more, or the server stops; return soon. */
int berth_feed_put(struct berth_feed *f, const char *text, size_t len);
/* Likewise; for asking now and then. */
bool berth_feed_over(struct berth_feed *f);
/* Wait until berth_feed_wake(), at most for ns.  False: it is over. */
bool berth_feed_wait(struct berth_feed *f, uint64_t ns);
/* Any thread, while run() has not returned. */
void berth_feed_wake(struct berth_feed *f);

#endif
