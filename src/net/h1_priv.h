#ifndef BERTH_NET_H1_PRIV_H
#define BERTH_NET_H1_PRIV_H

#include "net/server_priv.h"

/* What h1.c (requests) and h1_answer.c share. */

/* The answer of c->h1.x is in the connection's buffers, or cut off: x is let go of. */
void berth_h1_answer_done(struct berth_conn *c);

/* ---- h1_answer.c: what berth_proto_h1 calls ---- */
void berth_h1_reply(struct berth_xchg *x, const char *type, const void *body, size_t len);
void berth_h1_start(struct berth_xchg *x, const char *type);
int berth_h1_write(struct berth_xchg *x, const void *bytes, size_t len);
int berth_h1_lend(struct berth_xchg *x, const void *bytes, size_t len);
void berth_h1_end(struct berth_xchg *x);
void berth_h1_abort(struct berth_xchg *x);

#endif
