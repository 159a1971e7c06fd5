#ifndef BERTH_NET_SERVER_PRIV_H
#define BERTH_NET_SERVER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <time.h>
#include <uv.h>

#include "net/blocks.h"
#include "net/lent.h"
#include "net/outbuf.h"
#include "net/server.h"
#include "net/tls.h"
#include "os/loop.h"
#include "wire/http1.h"

/*
 * What the files of the server share.  server.c accepts and drains, conn.c moves bytes, h1.c and
 * h2.c speak the protocols, exchange.c is what the application sees.  Everything but struct
 * berth_server's atomics belongs to one loop's thread.
 */
enum {
    BERTH_READ_BYTES = 64 * 1024,     /* of a loop's read buffer */
    BERTH_COPY_BYTES_MAX = 8 * 1024,  /* longer answers are sent from where they are */
    BERTH_POOL_MAX = 64,              /* idle exchanges kept by a loop */
    BERTH_PIPELINE_MAX = 64 * 1024,   /* bytes read ahead of a pending answer */
    BERTH_SKIP_BYTES_MAX = 64 * 1024, /* of a body nobody wants, to keep the connection */
    BERTH_LINGER_BYTES_MAX = 32 * 1024 * 1024,
    BERTH_URL_BYTES_MAX = 8 * 1024,
    BERTH_LENTS_MAX = 1000, /* borrowed runs that wait, of one exchange */
    BERTH_REFUSED_MAX = 64, /* connections beyond the limit that are still told 503 */
};
#define BERTH_LINGER_NS (2 * UINT64_C(1000000000))

struct berth_conn;
struct berth_xchg;
struct berth_net_loop;

/* A header of the answer, in the exchange's arena; `next` keeps their order. */
struct berth_added {
    struct berth_added *next;
    struct berth_slice name, value;
};

enum berth_answer { BERTH_ANSWER_NONE, BERTH_ANSWER_STARTED, BERTH_ANSWER_ENDED };

/* An exchange with what the application does not see. */
struct berth_xchg {
    struct berth_exchange pub; /* first: the one is the other */
    struct berth_net_loop *nl;
    struct berth_conn *conn; /* NULL: gone */
    struct berth_xchg *next; /* in the pool */
    uint32_t refs;
    enum berth_answer answer; /* what the application did */
    bool known;               /* begin() or refuse() ran: ended() is due */
    bool handled;             /* handle() or refuse() ran: the application ends it */
    bool sent;                /* nothing of the answer is left here, or it is cut off */
    bool is_head, http10, chunked;
    bool starved; /* a write was refused: writable() is due when there is room */
    struct berth_added *added, **added_last;
    struct berth_added *trailers, **trailers_last;
    /* The body on its way in. */
    char *body_at;         /* in the arena when the length is known */
    size_t body_len;       /* announced */
    struct berth_buf grow; /* malloc'd when it is not known */
    bool body_known;
    char peer[64];
    void *stream; /* h2's */
};

/* One protocol on a connection. */
struct berth_proto {
    /* All bytes are taken, buffered or dropped. */
    void (*input)(struct berth_conn *c, const char *at, size_t n);
    /* Where the next bytes could be read to without a copy: NULL, or *ret_room bytes. */
    char *(*room)(struct berth_conn *c, size_t *ret_room);
    void (*filled)(struct berth_conn *c, size_t n);
    /* The client sends no more. */
    void (*eof)(struct berth_conn *c);
    /* All output is sent: let go of what it came from, take input that was put off. */
    void (*resume)(struct berth_conn *c);
    /* A deadline passed while reading: answer 408 or close. */
    void (*expired)(struct berth_conn *c);
    /* The server drains: close when nothing is in progress. */
    void (*drain)(struct berth_conn *c);
    /* The connection is gone: let go of the exchanges with berth_xchg_gone(). */
    void (*gone)(struct berth_conn *c);
    /* Of an exchange that is still attached. */
    void (*reply)(struct berth_xchg *x, const char *type, const void *body, size_t len);
    void (*start)(struct berth_xchg *x, const char *type);
    int (*write)(struct berth_xchg *x, const void *bytes, size_t len);
    int (*lend)(struct berth_xchg *x, const void *bytes, size_t len); /* > BERTH_COPY_BYTES_MAX */
    void (*pause)(struct berth_xchg *x, bool paused);
    void (*end)(struct berth_xchg *x);
    void (*abort)(struct berth_xchg *x);
};

extern const struct berth_proto berth_proto_sniff, berth_proto_h1, berth_proto_h2;

enum berth_h1_state {
    BERTH_H1_HEAD,    /* waiting for or within a head */
    BERTH_H1_BODY,    /* of known length */
    BERTH_H1_CHUNKED, /* of unknown length */
    BERTH_H1_ANSWER,  /* the application's turn; input waits in c->in */
    BERTH_H1_SKIP,    /* a body that nobody wants */
    BERTH_H1_CLOSING, /* input is dropped */
};

struct berth_h1 {
    enum berth_h1_state state;
    struct berth_xchg *x;
    struct berth_http1_find find;
    struct berth_http1_chunks chunks;
    uint64_t left;        /* bytes of the body to come */
    uint64_t begin_ns;    /* of the head being read, 0: no byte yet */
    unsigned empty_lines; /* seen instead of a request */
    bool keep_alive, expects, body_unread;
    bool held; /* by berth_exchange_pause() */
};

struct berth_conn {
    uv_poll_t poll;
    struct berth_net_loop *nl;
    const struct berth_listener *from;
    const struct berth_proto *proto;
    TAILQ_ENTRY(berth_conn) all, work;
    int fd; /* -1: a test's */
    int events;
    bool loopback, over_limit;
    bool closed;      /* freed when libuv lets go of the handle */
    bool in_work;     /* on the loop's list of connections to look after this round */
    bool more_turns;  /* work goes on in the next round */
    bool busy;        /* in its own input: work is done on the way out */
    bool read_paused; /* enough waits in `in` */
    bool eof;         /* no input any more */
    bool shut;        /* our side is shut down: lingering */
    bool broken;      /* to be closed at the end of the round */
    bool close_when_sent;
    bool no_linger; /* a stop ended its answer, which was to go on: nobody need wait for its reader
                     */
    bool reset;     /* close so that the client sees a failure */
    uint64_t read_deadline_ns, write_deadline_ns; /* 0: none */
    uint64_t linger_left;
    struct berth_outbuf in, out;
    struct berth_lents lents;    /* among out's bytes; each holds a reference of its exchange */
    struct berth_slice tail;     /* behind out: a large answer, borrowed from its exchange */
    struct berth_tls *tls;       /* NULL: plain */
    struct berth_outbuf tls_out; /* records on their way out */
    struct berth_h1 h1;
    struct berth_h2 *h2;
    char peer[64];
};

TAILQ_HEAD(berth_conn_list, berth_conn);

/* What the server keeps on one loop. */
struct berth_net_loop {
    struct berth_server *server; /* valid while exchanges or connections live */
    struct berth_loop *loop;
    uv_prepare_t prepare;
    uv_timer_t tick, rest; /* rest: the first loop's, for listeners */
    int handles_open;
    bool ticking, draining;
    struct berth_conn_list conns, work;
    struct berth_xchg *pool;
    uint32_t pool_len;
    struct berth_outpool bufs;
    struct berth_blocks blocks; /* for bodies */
    uint64_t live;              /* exchanges in use */
    time_t date_s;
    char date[48]; /* "date: ...\r\n" */
    size_t date_len;
    char *read_buf, *plain_buf;
};

struct berth_listener {
    struct berth_listener *next;
    struct berth_server *server;
    uv_poll_t poll; /* on the first loop */
    int fd;         /* -1: closed */
    uint32_t tag;
    bool plain_refused;
    bool resting;                  /* accept() failed: not polled for a moment */
    bool polled, started, dropped; /* where it is between listen and free */
    struct berth_tls_side *tls;
};

struct berth_server {
    struct berth_server_conf conf;
    struct berth_server_app app;
    struct berth_loop **loop_list; /* conf.loops, our copy */
    struct berth_net_loop **loops; /* conf.loop_count */
    struct berth_listener *listeners;
    size_t next_loop; /* the first loop's */
    uint64_t tick_ms;
    int spare_fd; /* given up for a moment when descriptors run out */
    pthread_mutex_t mu;
    pthread_cond_t idle_cond; /* connections or live exchanges reached 0 */
    atomic_uint_fast64_t connections, connections_total, exchanges_total, refused_total, live,
        rests_total;
    atomic_bool draining;
};

/* ---- server.c ---- */
/* One connection or exchange less: wakes a waiting drain. */
void berth_server_less(struct berth_server *s, atomic_uint_fast64_t *count);
/* "date: ...\r\n", made anew once a second. */
struct berth_slice berth_net_date(struct berth_net_loop *nl);
/* Begin to look at deadlines. */
void berth_net_tick(struct berth_net_loop *nl);

/* ---- listen.c ---- */
void berth_listeners_close(void *server); /* on the first loop */
void berth_listener_drop(void *listener); /* on the first loop; frees it */

/* ---- conn.c ---- */
struct berth_conn_start {
    const struct berth_listener *from;
    int fd;
    bool over_limit, loopback;
    char peer[64];
};
/* Takes the fd in any case. */
void berth_conn_new(struct berth_net_loop *nl, const struct berth_conn_start *start);
/* At once; exchanges are let go: gone() runs.  So from events alone, never below a call of the
 * application.  The memory stays until the loop's round ends.  Idempotent. */
void berth_conn_close(struct berth_conn *c);
/* The same at the end of the round: from anywhere. */
void berth_conn_break(struct berth_conn *c);
/* Send what is left, then close; input is dropped from now on. */
void berth_conn_finish(struct berth_conn *c);
/* Room for n more bytes of output, or NULL and the connection is broken. */
char *berth_conn_reserve(struct berth_conn *c, size_t n);
bool berth_conn_put(struct berth_conn *c, const void *at, size_t n);
/* Borrow instead of copy: x is kept until the bytes are sent, or the connection is gone. */
bool berth_conn_lend(struct berth_conn *c, struct berth_slice run, struct berth_xchg *x);
size_t berth_conn_unsent(const struct berth_conn *c);
/* Try to send now. */
void berth_conn_flush(struct berth_conn *c);
/* Send, and resume the protocol, at the end of this round. */
void berth_conn_work_later(struct berth_conn *c);
void berth_conn_work(struct berth_conn *c);
/* Pass decoded input on; also what the fuzzers call. */
void berth_conn_input(struct berth_conn *c, const char *at, size_t n);
/* Input of a connection with c->tls. */
void berth_conn_input_records(struct berth_conn *c, const char *at, size_t n);
/* Stop or go on reading. */
void berth_conn_pause(struct berth_conn *c, bool paused);
void berth_conn_tick(struct berth_conn *c, uint64_t now_ns);
/* ---- exchange.c ---- */
/* From the pool or new; NULL: no memory.  Holds one reference, the protocol's, which
 * berth_xchg_sent() or berth_xchg_gone() gives back. */
struct berth_xchg *berth_xchg_new(struct berth_conn *c, uint64_t begin_ns);
/* Run begin(), handle(), refuse(); the answer may have ended on return. */
void berth_xchg_begin(struct berth_xchg *x);
void berth_xchg_handle(struct berth_xchg *x);
void berth_xchg_refuse(struct berth_xchg *x, uint16_t status, const char *why);
/* Hand over a piece, or the end (NULL, 0), unless nobody wants it any more.  x may be freed. */
void berth_xchg_piece(struct berth_xchg *x, const char *at, size_t n);
/* There is room again: writable(), if a write was refused.  x may be freed. */
void berth_xchg_writable(struct berth_xchg *x);
/* The server drains: tell the application, if it has not ended the answer.  x may be freed. */
void berth_xchg_draining(struct berth_xchg *x);
/* The protocol has nothing of the answer left; x may be freed. */
void berth_xchg_sent(struct berth_xchg *x);
/* The client is gone; x may be freed. */
void berth_xchg_gone(struct berth_xchg *x);
void berth_xchg_unref(struct berth_xchg *x);
/* The body: announce (known: len bytes to come), put, end.  0, or -BERTH_ETOOBIG. */
int berth_xchg_body_start(struct berth_xchg *x, bool known, uint64_t len);
int berth_xchg_body_put(struct berth_xchg *x, const void *at, size_t n);
int berth_xchg_body_end(struct berth_xchg *x);
/* When the client has sent too little of a body for too long, or is too slow with all of one that
 * the application takes whole. */
uint64_t berth_xchg_body_deadline_ns(const struct berth_xchg *x);
/* Frees the pool; no exchange is in use. */
void berth_xchg_pool_free(struct berth_net_loop *nl);

/* ---- h2.c ---- */
/* Make the HTTP/2 state of a connection and send its settings; false: no memory. */
bool berth_h2_open(struct berth_conn *c);
void berth_h2_free(struct berth_conn *c);

#endif
