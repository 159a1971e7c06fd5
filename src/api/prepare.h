#ifndef BERTH_PREPARE_H
#define BERTH_PREPARE_H

#include <stdbool.h>

#include <berth/err.h>

struct berth_call;

/*
 * A few threads for what would hold up a loop: inflating bodies, decoding pictures, parsing large
 * JSON.  A bounded queue; beyond it calls are answered 503.
 *
 * While a call is there, it and its exchange's arena are the thread's alone: it may answer (kept
 * until the call is back), and berth_call_find() and berth_call_run() do what is right there.
 */
struct berth_prepare;

int berth_prepare_new(struct berth_prepare **ret, struct berth_err *e);
/* Do what waits, take no more, and end the threads.  NULL is fine.  Loops must still run. */
void berth_prepare_stop(struct berth_prepare *p);
void berth_prepare_free(struct berth_prepare *p);

/* On c's loop: run work(c) on such a thread and then, unless work answered or the client left
 * meanwhile, then(c) on the loop.  c is not to be touched until that. */
void berth_prepare(struct berth_call *c, void (*work)(struct berth_call *c),
                   void (*then)(struct berth_call *c));
/* Likewise, with the body inflated in between; a small one on the loop. */
void berth_prepare_inflated(struct berth_call *c, void (*then)(struct berth_call *c));
/* For a handler whose model is found and whose body is much work: true, and it returns at once: it
 * runs again from its beginning on such a thread, and berth_call_run() there ends its work.  False:
 * it is on one. */
bool berth_prepare_handler(struct berth_call *c, void (*handler)(struct berth_call *c));

/* Bytes of compressed data, of a picture's request, and of JSON, that are no work for a loop. */
enum {
    BERTH_PREPARE_GZIP_BYTES = 4 << 10,
    BERTH_PREPARE_IMAGE_BYTES = 4 << 10,
    BERTH_PREPARE_JSON_BYTES = 256 << 10
};

#endif
