#ifndef BERTH_TESTS_FUZZ_CONN_FEED_H
#define BERTH_TESTS_FUZZ_CONN_FEED_H

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/server_priv.h"

/*
 * Input for a connection without a socket: bytes go where the socket's would, output is thrown
 * away.  The application answers at once, in pieces, while the body comes, or when the input has
 * ended, by path.
 */
enum { HELD_MAX = 64 };

struct feed_app {
    struct berth_exchange *held[HELD_MAX];
    size_t held_len;
};

static struct feed_app feed_app;
static struct berth_server *feed_server;

static void
feed_gone(struct berth_exchange *x)
{
    for (size_t i = 0; i < feed_app.held_len; i++)
        if (feed_app.held[i] == x)
            feed_app.held[i] = feed_app.held[--feed_app.held_len];
    berth_exchange_end(x);
}

static char feed_large[10000];

/* /p: what comes goes back, paused now and then.  /q: ends at the first piece. */
static void
feed_on_piece(struct berth_exchange *x, const char *at, size_t n)
{
    bool is_short = x->path.at[1] == 'q';

    if (x->status == 0)
        berth_exchange_start(x, 200, "text/plain");
    (void)berth_exchange_write(x, at, n);
    if (n > 0 && !is_short) {
        berth_exchange_pause(x, n % 2 == 1);
        return;
    }
    (void)berth_exchange_lend(x, feed_large, is_short ? 1 : sizeof feed_large);
    berth_exchange_trailer(x, "x-ended", "yes");
    berth_exchange_end(x);
}

static void
feed_begin(void *arg, struct berth_exchange *x)
{
    x->body_max = 4096;
    berth_assert(x->path.len > 0);
    if (x->path.len == 2 && x->path.at[1] == 'b')
        berth_exchange_reply(x, 403, "text/plain", "no", 2);
    else if (x->path.len == 2 && (x->path.at[1] == 'p' || x->path.at[1] == 'q'))
        x->piece = feed_on_piece;
}

static void
feed_handle(void *arg, struct berth_exchange *x)
{
    const char kind = x->path.len > 1 ? x->path.at[1] : 0;

    berth_assert(x->body.len <= x->body_max);
    if (x->piece != NULL) {
        x->gone = berth_exchange_end;
        return;
    }
    if (kind == 's') {
        berth_exchange_start(x, 200, "text/plain");
        (void)berth_exchange_write(x, "piece", 5);
        (void)berth_exchange_write(x, feed_large, sizeof feed_large);
        berth_exchange_end(x);
    } else if (kind == 'h' && feed_app.held_len < HELD_MAX) {
        x->gone = feed_gone;
        feed_app.held[feed_app.held_len++] = x;
    } else if (kind == 'l') {
        berth_exchange_reply(x, 200, "text/plain", feed_large, sizeof feed_large);
    } else if (kind == 'a') {
        berth_exchange_start(x, 200, "text/plain");
        berth_exchange_abort(x);
    } else {
        berth_exchange_add(x, "x-method", "seen");
        berth_exchange_reply(x, 200, "text/plain", x->body.at, x->body.len);
    }
}

static void
feed_refuse(void *arg, struct berth_exchange *x, uint16_t status, const char *why)
{
    berth_exchange_reply(x, status, "text/plain", why, strlen(why));
}

static void
feed_start(void)
{
    const struct berth_server_app app = {
        .begin = feed_begin, .handle = feed_handle, .refuse = feed_refuse};
    struct berth_loop *loop;

    berth_assert(berth_loop_new("fuzz", &loop, NULL) == 0);
    const struct berth_server_conf conf = {
        .loops = &loop,
        .loop_count = 1,
        .connections_max = 10,
        .head_bytes_max = 2048,
        .header_count_max = 20,
        .exchange_bytes_max = 64 * 1024,
        .unsent_bytes_max = 16 * 1024,
        .streams_max = 10,
        .head_timeout_ns = 3600 * BERTH_S,
        .body_timeout_ns = 3600 * BERTH_S,
        .idle_timeout_ns = 3600 * BERTH_S,
        .write_timeout_ns = 3600 * BERTH_S,
    };
    berth_assert(berth_server_new(&conf, &app, &feed_server, NULL) == 0);
}

struct feed_input {
    const char *first; /* before data: a preface */
    size_t first_len;
    const uint8_t *data;
    size_t len;
    size_t piece_bytes;
};

static void
feed_piece(struct berth_conn *c, const char *at, size_t n)
{
    while (n > 0 && !c->closed && !c->shut) {
        size_t room = 4096;
        c->busy = true;
        char *direct = c->proto->room(c, &room);
        size_t part = n < room ? n : room;
        if (direct != NULL) {
            memcpy(direct, at, part);
            c->proto->filled(c, part);
        } else {
            char *exact = malloc(part);
            berth_assert(exact != NULL);
            memcpy(exact, at, part);
            berth_conn_input(c, exact, part);
            free(exact);
        }
        c->busy = false;
        berth_conn_work(c);
        at += part;
        n -= part;
    }
}

static void
feed_run(void *arg)
{
    const struct feed_input *in = arg;
    struct berth_net_loop *nl = feed_server->loops[0];
    const struct berth_conn_start start = {.fd = -1};

    atomic_fetch_add(&feed_server->connections, 1);
    berth_conn_new(nl, &start);
    struct berth_conn *c = TAILQ_LAST(&nl->conns, berth_conn_list);
    feed_piece(c, in->first, in->first_len);
    for (size_t i = 0; i < in->len; i += in->piece_bytes) {
        size_t left = in->len - i;
        feed_piece(c, (const char *)in->data + i, left < in->piece_bytes ? left : in->piece_bytes);
    }
    while (feed_app.held_len > 0) { /* an answer may bring on the next request */
        struct berth_exchange *x = feed_app.held[--feed_app.held_len];
        berth_exchange_reply(x, 200, "text/plain", "late", 4);
        berth_conn_work(c);
    }
    if (!c->closed)
        c->proto->drain(c);
    berth_conn_work(c);
    berth_conn_close(c);
    berth_assert(nl->live == 0 && TAILQ_EMPTY(&nl->conns) && TAILQ_EMPTY(&nl->work));
    free(c);
}

/* The first byte says how the rest is cut into pieces. */
static int
feed_one(const char *first, const uint8_t *data, size_t len)
{
    if (feed_server == NULL)
        feed_start();
    if (len == 0)
        return 0;
    struct feed_input in = {.first = first,
                            .first_len = strlen(first),
                            .data = data + 1,
                            .len = len - 1,
                            .piece_bytes = data[0] == 0 ? 4096 : data[0]};
    berth_loop_call(feed_server->loops[0]->loop, feed_run, &in);
    return 0;
}

#endif
