#include "cmd/bench_wire.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "cmd/bench_answer.h"

enum { READ_BYTES = 256 << 10, EVENTS = 128, OUT_BYTES = 256 << 10 };

struct berth_wire_conn {
    int fd; /* -1: none now */
    bool connecting, dirty, wants_out;
    uint32_t busy;                /* flights under way */
    struct berth_flight *flights; /* conf->streams of them */
    size_t sent;                  /* HTTP/1.1: bytes of the request */
    struct berth_answer answer;   /* HTTP/1.1 */
    struct berth_h2_client *h2;   /* HTTP/2; NULL until it is needed */
    struct berth_buf out;         /* HTTP/2: what could not be sent yet */
    size_t out_sent;              /* of it */
    struct berth_wire_conn *next_dirty;
};

struct berth_wire {
    const struct berth_wire_conf *conf;
    struct addrinfo *places, *place; /* all addresses; the one that answers */
    struct berth_wire_conn *conns;
    struct berth_flight *flights;
    struct berth_wire_conn *dirty; /* those that have something to send */
    int epoll, timer;
    char room[READ_BYTES];
};

/* ---- ends ---- */

static void
land(struct berth_wire *w, struct berth_flight *f, const struct berth_landing *landing)
{
    berth_assert(f->busy);
    f->busy = false;
    f->conn->busy--;
    w->conf->landed(w->conf->arg, f, landing);
}

static void
conn_close(struct berth_wire_conn *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    c->connecting = c->wants_out = false;
    berth_h2_client_free(c->h2);
    c->h2 = NULL;
    berth_buf_fini(&c->out);
    berth_buf_init(&c->out, NULL);
    c->out_sent = 0;
}

/* The connection is of no use any more: what was under way failed. */
static void
lost(struct berth_wire *w, struct berth_wire_conn *c, enum berth_bench_error why)
{
    const struct berth_landing landing = {.kind = why, .grpc_status = -1};

    conn_close(c);
    for (uint32_t i = 0; i < w->conf->streams; i++)
        if (c->flights[i].busy)
            land(w, &c->flights[i], &landing);
}

static void
h2_ended(void *arg, void *request_arg, const struct berth_h2_reply *reply)
{
    struct berth_wire *w = arg;
    struct berth_landing landing = {.kind = BERTH_BENCH_ERROR_COUNT,
                                    .status = reply->status,
                                    .grpc_status = reply->grpc_status};

    if (!reply->whole || (w->conf->grpc && reply->status == 200 && reply->grpc_status < 0))
        landing.kind = BERTH_BENCH_BROKEN;
    else
        landing.ok = reply->status >= 200 && reply->status < 300 &&
                     (!w->conf->grpc || reply->grpc_status == 0);
    land(w, request_arg, &landing);
}

static void
http1_ended(struct berth_wire *w, struct berth_wire_conn *c)
{
    const uint16_t status = c->answer.status;
    const struct berth_landing landing = {
        .ok = status >= 200 && status<300, .kind = BERTH_BENCH_ERROR_COUNT, .status = status,
                                      .grpc_status = -1, .stages = c->answer.stages.count> 0
                  ? &c->answer.stages
                  : NULL};

    if (c->answer.closes)
        conn_close(c);
    land(w, &c->flights[0], &landing);
}

/* ---- connections ---- */

/* At the start a connection is waited for; later that would hold up the others. */
static bool
conn_open(struct berth_wire *w, struct berth_wire_conn *c, bool wait)
{
    const int one = 1;
    struct epoll_event ev = {.events = wait ? EPOLLIN : EPOLLIN | EPOLLOUT, .data.ptr = c};
    struct berth_err e;

    c->fd = socket(w->place->ai_family, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    if (c->fd < 0)
        return false;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const int rc = connect(c->fd, w->place->ai_addr, w->place->ai_addrlen);
    c->connecting = rc != 0;
    c->wants_out = !wait;
    if ((rc == 0 || (!wait && errno == EINPROGRESS)) &&
        epoll_ctl(w->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0 &&
        (w->conf->http2 == NULL ||
         berth_h2_client_new(&c->h2, w->conf->streams, h2_ended, w, &e) == 0))
        return true;
    const int why = errno;
    conn_close(c);
    errno = why;
    return false;
}

static void
watch_out(struct berth_wire *w, struct berth_wire_conn *c, bool wants)
{
    struct epoll_event ev = {.events = wants ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};

    if (wants != c->wants_out && epoll_ctl(w->epoll, EPOLL_CTL_MOD, c->fd, &ev) == 0)
        c->wants_out = wants;
}

/* ---- sending ---- */

enum sent { ALL_SENT, PART_SENT, SEND_FAILED };

static enum sent
push_bytes(struct berth_wire_conn *c, const char *at, size_t len, size_t *sent)
{
    while (*sent < len) {
        const ssize_t n = send(c->fd, at + *sent, len - *sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? PART_SENT : SEND_FAILED;
        *sent += (size_t)n;
    }
    return ALL_SENT;
}

static enum sent
push_http2(struct berth_wire_conn *c)
{
    for (;;) {
        const enum sent s = push_bytes(c, c->out.at, c->out.len, &c->out_sent);
        if (s != ALL_SENT)
            return s;
        c->out.len = c->out_sent = 0;
        if (!berth_h2_client_pull(c->h2, &c->out, OUT_BYTES))
            return SEND_FAILED;
        if (c->out.len == 0)
            return ALL_SENT;
    }
}

static void
push(struct berth_wire *w, struct berth_wire_conn *c)
{
    const struct berth_slice *q = c->h2 == NULL ? &w->conf->http1[c->flights[0].request] : NULL;

    if (c->fd < 0 || c->connecting || (c->h2 == NULL && c->busy == 0))
        return;
    const enum sent s = q == NULL ? push_http2(c) : push_bytes(c, q->at, q->len, &c->sent);
    if (s == SEND_FAILED)
        lost(w, c, BERTH_BENCH_BROKEN);
    else
        watch_out(w, c, s == PART_SENT);
}

static void
make_dirty(struct berth_wire *w, struct berth_wire_conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = w->dirty;
    w->dirty = c;
}

void
berth_wire_begin(struct berth_wire *w, struct berth_flight *f)
{
    struct berth_wire_conn *c = f->conn;
    const struct berth_landing refused = {.kind = BERTH_BENCH_CONNECT, .grpc_status = -1};
    const struct berth_landing full = {.kind = BERTH_BENCH_BROKEN, .grpc_status = -1};

    berth_assert(!f->busy && f->request < w->conf->request_count);
    f->busy = true;
    c->busy++;
    if (c->fd < 0 && !conn_open(w, c, false)) {
        land(w, f, &refused);
        return;
    }
    if (c->h2 != NULL && berth_h2_client_begin(c->h2, &w->conf->http2[f->request], f) != 0) {
        land(w, f, &full);
        return;
    }
    c->sent = 0;
    berth_answer_init(&c->answer);
    make_dirty(w, c);
}

void
berth_wire_flush(struct berth_wire *w)
{
    while (w->dirty != NULL) {
        struct berth_wire_conn *c = w->dirty;
        w->dirty = c->next_dirty;
        c->dirty = false;
        push(w, c);
    }
}

/* ---- receiving ---- */

static void
pull(struct berth_wire *w, struct berth_wire_conn *c)
{
    const ssize_t n = recv(c->fd, w->room, sizeof w->room, MSG_DONTWAIT);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (c->h2 != NULL) {
        if (n <= 0 || berth_h2_client_feed(c->h2, w->room, (size_t)n) != 0)
            lost(w, c, BERTH_BENCH_BROKEN);
        else
            make_dirty(w, c); /* acknowledgements, windows */
        return;
    }
    const bool fits = c->busy > 0 && (n > 0 ? berth_answer_feed(&c->answer, w->room, (size_t)n)
                                            : n == 0 && berth_answer_end(&c->answer));
    if (!fits)
        lost(w, c, BERTH_BENCH_BROKEN);
    else if (berth_answer_is_whole(&c->answer))
        http1_ended(w, c);
}

/* The connection that was begun is there, or not. */
static void
connected(struct berth_wire *w, struct berth_wire_conn *c)
{
    int why = 0;
    socklen_t len = sizeof why;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &why, &len) != 0 || why != 0)
        lost(w, c, BERTH_BENCH_CONNECT);
    else
        c->connecting = false;
}

static void
on_event(struct berth_wire *w, const struct epoll_event *ev)
{
    struct berth_wire_conn *c = ev->data.ptr;
    uint64_t ticks;

    if (c == NULL) {
        (void)!read(w->timer, &ticks, sizeof ticks);
        return;
    }
    if (c->fd >= 0 && c->connecting)
        connected(w, c);
    if (c->fd >= 0 && (ev->events & EPOLLOUT) != 0)
        push(w, c);
    if (c->fd >= 0 && (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        pull(w, c);
}

void
berth_wire_wait(struct berth_wire *w, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    const int n = epoll_wait(w->epoll, events, EVENTS, timeout_ms);

    for (int i = 0; i < n; i++)
        on_event(w, &events[i]);
}

void
berth_wire_give_up(struct berth_wire *w, struct berth_flight *f, enum berth_bench_error why)
{
    if (f->busy)
        lost(w, f->conn, why);
}

/* ---- life ---- */

int
berth_wire_watch_timer(struct berth_wire *w, int timer_fd)
{
    struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};

    w->timer = timer_fd;
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, timer_fd, &tick) == 0 ? 0 : -BERTH_EIO;
}

size_t
berth_wire_flight_count(const struct berth_wire *w)
{
    return (size_t)w->conf->connections * w->conf->streams;
}

struct berth_flight *
berth_wire_flight(struct berth_wire *w, size_t index)
{
    berth_assert(index < berth_wire_flight_count(w));
    return &w->flights[index];
}

/* The first of the server's addresses that answers is the one for every connection. */
static int
connect_all(struct berth_wire *w, struct berth_err *e)
{
    for (w->place = w->places; w->place != NULL; w->place = w->place->ai_next)
        if (conn_open(w, &w->conns[0], true) || w->place->ai_next == NULL)
            break;
    for (size_t i = 0; i < w->conf->connections; i++)
        if (w->conns[i].fd < 0 && !conn_open(w, &w->conns[i], true))
            return berth_err_set(e, BERTH_ENETWORK, "connection %zu of %u: %m", i + 1,
                                 w->conf->connections);
    return 0;
}

static int
set_up(struct berth_wire *w, struct berth_err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const struct berth_wire_conf *conf = w->conf;

    w->conns = calloc(conf->connections, sizeof *w->conns);
    w->flights = calloc(berth_wire_flight_count(w), sizeof *w->flights);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->conns == NULL || w->flights == NULL || w->epoll < 0)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory or file descriptors");
    for (size_t i = 0; i < conf->connections; i++) {
        struct berth_wire_conn *c = &w->conns[i];
        c->fd = -1;
        c->flights = &w->flights[i * conf->streams];
        berth_buf_init(&c->out, NULL);
        for (uint32_t j = 0; j < conf->streams; j++)
            c->flights[j].conn = c;
    }
    if (getaddrinfo(conf->host, conf->port, &hints, &w->places) != 0)
        return berth_err_set(e, BERTH_ENETWORK, "%s is not known", conf->host);
    return connect_all(w, e);
}

int
berth_wire_new(struct berth_wire **ret, const struct berth_wire_conf *conf, struct berth_err *e)
{
    struct berth_wire *w = calloc(1, sizeof *w);

    berth_assert(conf->connections > 0 && conf->streams > 0);
    berth_assert(conf->http2 != NULL || conf->streams == 1);
    if (w == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    w->conf = conf;
    w->epoll = w->timer = -1;
    const int rc = set_up(w, e);
    if (rc != 0) {
        berth_wire_free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void
berth_wire_free(struct berth_wire *w)
{
    if (w == NULL)
        return;
    /* flights are there only when connections have been given their descriptors' -1. */
    for (size_t i = 0;
         w->conns != NULL && w->flights != NULL && w->epoll >= 0 && i < w->conf->connections; i++)
        conn_close(&w->conns[i]);
    if (w->epoll >= 0)
        (void)close(w->epoll);
    if (w->places != NULL)
        freeaddrinfo(w->places);
    free(w->conns);
    free(w->flights);
    free(w);
}
