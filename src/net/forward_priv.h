#ifndef BERTH_NET_FORWARD_PRIV_H
#define BERTH_NET_FORWARD_PRIV_H

#include <sys/queue.h>
#include <uv.h>

#include <curl/curl.h>
#include <uthash.h>

#include "base/buf.h"
#include "net/forward.h"
#include "os/loop.h"

/*
 * What the files of forwarding share: forward.c runs transfers, forward_answer.c takes what comes
 * back, forward_head.c makes and filters heads, forward_sock.c watches curl's sockets.
 */
struct berth_forwarder {
    struct berth_loop *loop;
    struct berth_forwarder_conf conf; /* defaults filled in */
    CURLM *multi;
    struct berth_late kick;   /* curl wants to be called at the end of this round */
    struct berth_timer alarm; /* or at a time */
    struct berth_timer tick;  /* deadlines are looked at; armed while something runs */
    bool ticking, closing;
    TAILQ_HEAD(berth_forward_list, berth_forward) running; /* in the order of their starts */
    uint32_t running_len;
    struct berth_forward *spare;
    uint32_t spare_len;
    struct berth_forward_sock *socks; /* by fd */
    uint32_t socks_open;              /* handles that libuv still has */
};

/* Why a callback of ours made curl stop. */
enum berth_forward_stop {
    BERTH_FORWARD_GO_ON,
    BERTH_FORWARD_STOP_DECLINED,
    BERTH_FORWARD_STOP_MALFORMED,
    BERTH_FORWARD_STOP_LATE,
    BERTH_FORWARD_STOP_UNWANTED,
};

struct berth_forward {
    TAILQ_ENTRY(berth_forward) all;
    struct berth_forward *next; /* in the spare ones */
    struct berth_forwarder *f;
    CURL *easy;
    struct berth_exchange *x;
    struct berth_forward_to to;
    struct berth_buf head; /* the final head's lines, each ended by CR LF as it came */
    size_t head_bytes;     /* of all heads and trailers */
    uint16_t status;
    bool headed; /* the final head is complete */
    bool passed; /* pass() said yes: the answer's head was given to the exchange */
    bool is_head;
    char *whole; /* the body, when it is passed on whole; in x's arena */
    size_t whole_len, whole_cap;
    uint64_t last_ns, first_ns; /* of the loop's clock */
    bool paused;                /* the client does not take more now */
    enum berth_forward_stop stop;
    const char *why; /* of stop */
    char curl_text[CURL_ERROR_SIZE];
};

/* ---- forward.c ---- */
/* Let curl look at what has happened on fd (or CURL_SOCKET_TIMEOUT); ends what has ended. */
void berth_forwarder_act(struct berth_forwarder *f, curl_socket_t fd, int flags);
/* A handle of libuv is closed: the last one of a freed forwarder takes it along. */
void berth_forwarder_less(struct berth_forwarder *f);

/* ---- forward_head.c ---- */
/* May the request line have these?  0 or -BERTH_EINVAL. */
int berth_forward_check(const struct berth_exchange *x, const struct berth_forward_to *to,
                        struct berth_err *e);
/* The request's headers as curl wants them, in x's arena.  NULL: its limit. */
struct curl_slist *berth_forward_headers(struct berth_exchange *x,
                                         const struct berth_forward_to *to);
/* Give the lines (which are written over; the byte behind them can be read) to the exchange.
 * Returns the Content-Type, in the exchange's arena, or NULL. */
const char *berth_forward_add_lines(struct berth_exchange *x, char *lines, size_t len);

/* ---- forward_answer.c ---- */
size_t berth_forward_on_header(char *at, size_t one, size_t len, void *w);
size_t berth_forward_on_body(char *at, size_t one, size_t len, void *w);
/* The answer is complete: pass on what was held back.  False: w->stop says why not. */
bool berth_forward_complete(struct berth_forward *w);

/* ---- forward_sock.c ---- */
int berth_forward_on_socket(CURL *easy, curl_socket_t fd, int what, void *forwarder, void *sock);
curl_socket_t berth_forward_open(void *forwarder, curlsocktype purpose, struct curl_sockaddr *a);
/* Let go of all handles that watch sockets. */
void berth_forward_forget_all(struct berth_forwarder *f);
int berth_forward_close(void *forwarder, curl_socket_t fd);

#endif
