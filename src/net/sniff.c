#include <string.h>

#include "net/server_priv.h"

/* What a new connection speaks: TLS begins with 0x16, HTTP/2 with its preface, the rest is
 * HTTP/1. */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE_BYTES = sizeof preface - 1, TLS_HANDSHAKE = 0x16 };

static void
become(struct berth_conn *c, const struct berth_proto *proto)
{
    c->proto = proto;
    if (proto == &berth_proto_h2 && !berth_h2_open(c)) {
        berth_conn_break(c);
        return;
    }
    struct berth_outbuf first = c->in;
    c->in = (struct berth_outbuf){0};
    proto->input(c, first.at, first.len);
    berth_outbuf_drop(&first, &c->nl->bufs);
}

static void
sniff_input(struct berth_conn *c, const char *at, size_t n)
{
    const struct berth_listener *from = c->from;

    if (n > 0 && berth_outbuf_left(&c->in) == 0 && (unsigned char)at[0] == TLS_HANDSHAKE &&
        from != NULL && from->tls != NULL && c->tls == NULL) {
        c->tls = berth_tls_new(from->tls, &c->tls_out, &c->nl->bufs);
        if (c->tls == NULL)
            berth_conn_break(c);
        else
            berth_conn_input_records(c, at, n);
        return;
    }
    if (!berth_outbuf_put(&c->in, &c->nl->bufs, at, n)) {
        berth_conn_break(c);
        return;
    }
    size_t have = c->in.len < PREFACE_BYTES ? c->in.len : PREFACE_BYTES;
    if (memcmp(c->in.at, preface, have) != 0)
        become(c, &berth_proto_h1);
    else if (have == PREFACE_BYTES)
        become(c, &berth_proto_h2);
}

static char *
sniff_room(struct berth_conn *c, size_t *ret_room)
{
    return NULL;
}

static void
sniff_nothing(struct berth_conn *c)
{
}

/* Protocols answer; here nobody knows yet how. */
static void
sniff_close(struct berth_conn *c)
{
    berth_conn_break(c);
}

const struct berth_proto berth_proto_sniff = {
    .input = sniff_input,
    .room = sniff_room,
    .eof = sniff_close,
    .resume = sniff_nothing,
    .expired = sniff_close,
    .drain = sniff_close,
    .gone = sniff_nothing,
};
