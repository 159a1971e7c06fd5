#ifndef BERTH_NET_TLS_H
#define BERTH_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

#include "net/outbuf.h"

struct berth_tls_conf;

/* A listener's certificate and rules; shared by its connections, any thread. */
struct berth_tls_side;
int berth_tls_side_new(const struct berth_tls_conf *conf, struct berth_tls_side **ret,
                       struct berth_err *e);
/* Read the files anew: for connections that begin from now on.  <0: all stays as it was. */
int berth_tls_side_renew(struct berth_tls_side *s, const struct berth_tls_conf *conf,
                         struct berth_err *e);
void berth_tls_side_free(struct berth_tls_side *s);

/*
 * One TLS connection between two memory buffers: records are fed in and appear in `out`, which is
 * the caller's.  No I/O.  One thread.
 */
struct berth_tls;
struct berth_tls *berth_tls_new(struct berth_tls_side *s, struct berth_outbuf *out,
                                struct berth_outpool *pool);
void berth_tls_free(struct berth_tls *t);

/* Bytes from the peer, borrowed until berth_tls_read() has returned 0 or less. */
void berth_tls_feed(struct berth_tls *t, const char *at, size_t n);
/* Up to n bytes of text; 0: feed more; <0: the peer closed, or a failure. */
int berth_tls_read(struct berth_tls *t, char *at, size_t n);
/* How many bytes were taken (at most one record's); 0: not before the handshake; <0: failure. */
int berth_tls_write(struct berth_tls *t, const char *at, size_t n);
bool berth_tls_is_ready(const struct berth_tls *t); /* the handshake is over */
bool berth_tls_is_h2(const struct berth_tls *t);    /* what the two agreed on */
/* Say goodbye (close_notify). */
void berth_tls_bye(struct berth_tls *t);

#endif
