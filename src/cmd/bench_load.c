#include "cmd/bench_load.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/bench_answer.h"

enum {
    READ_BYTES = 64 << 10,
    EVENTS = 128,
    GRACE_S = 10,          /* after the end, for the last answers */
    TIMEOUT_S = 60,        /* for an answer, unless told */
    WAKE_MS = 100,         /* how often timeouts are looked for, at least */
    REFUSED_PAUSE_MS = 10, /* after a connection was refused, so that a dead server costs little */
    REFUSED_MAX = 1000,    /* in a row: then it is over */
};

/* A connection with at most one request under way. */
struct conn {
    int fd; /* -1: none now */
    bool busy, connecting;
    uint64_t due_ns;   /* when the request should have been sent; closed loop: when it was */
    uint64_t begin_ns; /* when it was begun */
    size_t sent;       /* bytes of it */
    struct berth_answer answer;
};

struct run {
    const struct berth_load *load;
    struct berth_load_result *result;
    struct addrinfo *places, *place; /* all addresses; the one that answers */
    struct conn *conns;
    struct conn **idle; /* a stack */
    size_t idle_count, busy_count;
    int epoll, timer;
    uint64_t begin_ns, measure_ns, end_ns; /* end: UINT64_MAX until the last request is sent */
    uint64_t issued;  /* requests sent or taken to be sent: in open loop the next one's number */
    uint64_t counted; /* of them, those after the warm-up */
    uint64_t timeout_ns, grace_ns, refused_ns; /* refused: when it last happened */
    uint32_t refused_in_a_row;
    char room[READ_BYTES];
};

/* ---- connections ---- */

static void
conn_drop(struct conn *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    c->connecting = false;
}

/* At the start a connection is waited for; later that would hold up the others. */
static bool
conn_open(struct run *r, struct conn *c, bool wait)
{
    const int one = 1;
    struct epoll_event ev = {.events = wait ? EPOLLIN : EPOLLIN | EPOLLOUT, .data.ptr = c};

    c->fd = socket(r->place->ai_family, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    if (c->fd < 0)
        return false;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const int rc = connect(c->fd, r->place->ai_addr, r->place->ai_addrlen);
    c->connecting = rc != 0;
    if ((rc == 0 || (!wait && errno == EINPROGRESS)) &&
        epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0)
        return true;
    const int why = errno;
    conn_drop(c);
    errno = why;
    return false;
}

static void
watch(struct run *r, struct conn *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    (void)epoll_ctl(r->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static bool
counts(const struct run *r, uint64_t due_ns)
{
    return due_ns >= r->measure_ns;
}

static void
release(struct run *r, struct conn *c)
{
    c->busy = false;
    r->busy_count--;
    r->idle[r->idle_count++] = c;
}

static void
answered(struct run *r, struct conn *c)
{
    const uint16_t status = c->answer.status;

    r->refused_in_a_row = 0;
    if (counts(r, c->due_ns) && status >= 200 && status < 300) {
        berth_hist_add(&r->result->latency, berth_now_ns() - c->due_ns);
        r->result->ok++;
    } else if (counts(r, c->due_ns)) {
        berth_errors_add_status(&r->result->errors, status);
    }
    if (c->answer.closes)
        conn_drop(c);
    release(r, c);
}

/* The connection is of no use any more: what was under way failed. */
static void
lost(struct run *r, struct conn *c, enum berth_bench_error why)
{
    conn_drop(c);
    if (!c->busy)
        return;
    if (why == BERTH_BENCH_CONNECT) {
        r->refused_ns = berth_now_ns();
        r->refused_in_a_row++;
    }
    if (counts(r, c->due_ns))
        r->result->errors.kinds[why]++;
    release(r, c);
}

/* ---- sending ---- */

static void
push(struct run *r, struct conn *c)
{
    const struct berth_slice *q = &r->load->request;

    while (c->sent < q->len) {
        const ssize_t n =
            send(c->fd, q->at + c->sent, q->len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            watch(r, c, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0) {
            lost(r, c, BERTH_BENCH_BROKEN);
            return;
        }
        c->sent += (size_t)n;
    }
}

static void
start(struct run *r, uint64_t due_ns)
{
    struct conn *c = r->idle[--r->idle_count];

    r->issued++;
    r->counted += counts(r, due_ns);
    r->busy_count++;
    c->busy = true;
    c->due_ns = due_ns;
    c->begin_ns = berth_now_ns();
    c->sent = 0;
    berth_answer_init(&c->answer);
    if (c->fd < 0 && !conn_open(r, c, false))
        lost(r, c, BERTH_BENCH_CONNECT);
    else if (!c->connecting)
        push(r, c);
}

static uint64_t
due(const struct run *r, uint64_t number)
{
    return r->begin_ns + (uint64_t)((double)number * 1e9 / r->load->rate);
}

static bool
has_more(const struct run *r)
{
    return r->load->requests == 0 || r->counted < r->load->requests;
}

static bool
is_pausing(const struct run *r, uint64_t now)
{
    return r->refused_in_a_row > 0 && now - r->refused_ns < REFUSED_PAUSE_MS * BERTH_MS;
}

/* Send what can be sent now; in open loop set the alarm for the next one. */
static void
feed(struct run *r)
{
    uint64_t now = berth_now_ns();

    while (r->load->rate <= 0 && r->idle_count > 0 && now < r->end_ns && has_more(r) &&
           !is_pausing(r, now)) {
        start(r, now);
        now = berth_now_ns();
    }
    if ((!has_more(r) || (r->load->rate <= 0 && r->refused_in_a_row >= REFUSED_MAX)) &&
        now < r->end_ns)
        r->end_ns = now;
    if (r->load->rate <= 0)
        return;
    while (r->idle_count > 0 && due(r, r->issued) <= now && due(r, r->issued) < r->end_ns &&
           has_more(r))
        start(r, due(r, r->issued));
    uint64_t next = due(r, r->issued);
    if (next <= now || next > r->end_ns)
        next = r->end_ns > now ? r->end_ns : now + BERTH_MS;
    const struct itimerspec at = {.it_value = {(time_t)(next / BERTH_S), (long)(next % BERTH_S)}};
    (void)timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* ---- receiving ---- */

static void
pull(struct run *r, struct conn *c)
{
    const ssize_t n = recv(c->fd, r->room, sizeof r->room, MSG_DONTWAIT);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    const bool fits = c->busy && (n > 0 ? berth_answer_feed(&c->answer, r->room, (size_t)n)
                                        : n == 0 && berth_answer_end(&c->answer));
    if (!fits)
        lost(r, c, BERTH_BENCH_BROKEN);
    else if (berth_answer_is_whole(&c->answer))
        answered(r, c);
}

/* The connection that was begun is there, or not. */
static void
connected(struct run *r, struct conn *c)
{
    int why = 0;
    socklen_t len = sizeof why;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &why, &len) != 0 || why != 0) {
        lost(r, c, BERTH_BENCH_CONNECT);
        return;
    }
    c->connecting = false;
}

/* ---- the run ---- */

static void
on_event(struct run *r, const struct epoll_event *ev)
{
    struct conn *c = ev->data.ptr;
    uint64_t ticks;

    if (c == NULL) {
        (void)!read(r->timer, &ticks, sizeof ticks);
        return;
    }
    if (c->fd >= 0 && c->connecting)
        connected(r, c);
    if (c->fd >= 0 && (ev->events & EPOLLOUT) != 0) {
        watch(r, c, EPOLLIN);
        push(r, c);
    }
    if (c->fd >= 0 && (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        pull(r, c);
}

static void
time_out(struct run *r, uint64_t now)
{
    for (size_t i = 0; i < r->load->connections; i++)
        if (r->conns[i].busy && now - r->conns[i].begin_ns >= r->timeout_ns)
            lost(r, &r->conns[i], BERTH_BENCH_TIMEOUT);
}

static uint64_t
cpu_ns(void)
{
    struct timespec t;

    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0
               ? (uint64_t)t.tv_sec * BERTH_S + (uint64_t)t.tv_nsec
               : 0;
}

static void
drive(struct run *r)
{
    struct epoll_event events[EVENTS];
    uint64_t now = berth_now_ns(), looked_ns = now, cpu_begin_ns = cpu_ns();

    feed(r);
    /* Until nothing more is to be sent and the last answers are in, or late. */
    while (now < r->end_ns || (r->busy_count > 0 && now - r->end_ns < r->grace_ns)) {
        const int n =
            epoll_wait(r->epoll, events, EVENTS, is_pausing(r, now) ? REFUSED_PAUSE_MS : WAKE_MS);
        for (int i = 0; i < n; i++)
            on_event(r, &events[i]);
        const uint64_t before = now;
        now = berth_now_ns();
        if (before < r->measure_ns && now >= r->measure_ns)
            cpu_begin_ns = cpu_ns();
        if (now - looked_ns >= WAKE_MS * BERTH_MS) {
            looked_ns = now;
            time_out(r, now);
        }
        feed(r);
        now = berth_now_ns();
    }
    for (size_t i = 0; i < r->load->connections; i++)
        if (r->conns[i].busy)
            lost(r, &r->conns[i], BERTH_BENCH_TIMEOUT);
    r->result->elapsed_ns = now > r->measure_ns ? now - r->measure_ns : 1;
    r->result->cpu_ns = cpu_ns() - cpu_begin_ns;
    while (r->load->rate > 0 && due(r, r->issued) < r->end_ns && has_more(r)) {
        r->result->errors.kinds[BERTH_BENCH_UNSENT] += counts(r, due(r, r->issued));
        r->counted += counts(r, due(r, r->issued));
        r->issued++;
    }
    r->result->failed = berth_errors_sum(&r->result->errors);
}

/* The first of the server's addresses that answers is the one for every connection. */
static int
connect_all(struct run *r, struct berth_err *e)
{
    for (size_t i = 0; i < r->load->connections; i++)
        r->conns[i].fd = -1;
    for (r->place = r->places; r->place != NULL; r->place = r->place->ai_next)
        if (conn_open(r, &r->conns[0], true) || r->place->ai_next == NULL)
            break;
    for (size_t i = 0; i < r->load->connections; i++) {
        if (r->conns[i].fd < 0 && !conn_open(r, &r->conns[i], true))
            return berth_err_set(e, BERTH_ENETWORK, "connection %zu of %u: %m", i + 1,
                                 r->load->connections);
        r->idle[r->idle_count++] = &r->conns[i];
    }
    return 0;
}

static int
set_up(struct run *r, struct berth_err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};

    if (getaddrinfo(r->load->host, r->load->port, &hints, &r->places) != 0)
        return berth_err_set(e, BERTH_ENETWORK, "%s is not known", r->load->host);
    r->conns = calloc(r->load->connections, sizeof *r->conns);
    r->idle = calloc(r->load->connections, sizeof(struct conn *));
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (r->conns == NULL || r->idle == NULL || r->epoll < 0 || r->timer < 0 ||
        epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->timer, &tick) != 0)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory or file descriptors");
    return connect_all(r, e);
}

/* In open loop so many requests are so much time. */
static void
set_clock(struct run *r)
{
    const struct berth_load *load = r->load;

    r->timeout_ns = load->timeout_ns > 0 ? load->timeout_ns : TIMEOUT_S * BERTH_S;
    r->grace_ns = load->grace_ns > 0 ? load->grace_ns : GRACE_S * BERTH_S;
    r->begin_ns = berth_now_ns();
    r->measure_ns = r->begin_ns + load->warmup_ns;
    if (load->duration_ns > 0)
        r->end_ns = r->measure_ns + load->duration_ns;
    else if (load->rate > 0)
        r->end_ns = r->measure_ns + (uint64_t)(((double)load->requests + 1) * 1e9 / load->rate);
    else
        r->end_ns = UINT64_MAX;
}

int
berth_load_run(const struct berth_load *load, struct berth_load_result *ret, struct berth_err *e)
{
    struct run *r = calloc(1, sizeof *r);

    if (r == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    r->load = load;
    r->result = ret;
    r->epoll = r->timer = -1;
    memset(ret, 0, sizeof *ret);
    const int rc = set_up(r, e);
    if (rc == 0) {
        set_clock(r);
        drive(r);
    }
    /* A zeroed connection has no descriptor 0: set_up() fails before it gives them any. */
    for (size_t i = 0; r->conns != NULL && r->place != NULL && i < load->connections; i++)
        conn_drop(&r->conns[i]);
    if (r->timer >= 0)
        (void)close(r->timer);
    if (r->epoll >= 0)
        (void)close(r->epoll);
    if (r->places != NULL)
        freeaddrinfo(r->places);
    free(r->conns);
    free(r->idle);
    free(r);
    return rc;
}
