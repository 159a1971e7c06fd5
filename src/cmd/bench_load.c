#include "cmd/bench_load.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { HEAD_BYTES_MAX = 16 << 10, READ_BYTES = 64 << 10, EVENTS = 128, GRACE_S = 10 };

/* A connection with at most one request under way. */
struct conn {
    int fd;
    bool busy;
    uint64_t due_ns; /* when the request should have been sent; closed loop: when it was */
    size_t sent;     /* bytes of it */
    size_t head_len; /* bytes of the answer's head so far; SIZE_MAX once it is complete */
    uint64_t body_left;
    uint16_t status;
    char head[HEAD_BYTES_MAX];
};

struct run {
    const struct berth_load *load;
    struct berth_load_result *result;
    struct addrinfo *place;
    struct conn *conns;
    struct conn **idle; /* a stack */
    size_t idle_count, busy_count;
    int epoll, timer;
    uint64_t begin_ns, end_ns;
    uint64_t issued; /* requests sent or taken to be sent: in open loop the next one's number */
    uint32_t broken; /* connections that could not be opened again */
    char room[READ_BYTES];
};

/* ---- connections ---- */

static bool
conn_open(struct run *r, struct conn *c)
{
    const int one = 1;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

    c->fd = socket(r->place->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, r->place->ai_addr, r->place->ai_addrlen) == 0 &&
        epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0)
        return true;
    (void)close(c->fd);
    c->fd = -1;
    return false;
}

static void
watch(struct run *r, struct conn *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    (void)epoll_ctl(r->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

/* The request is over, well or badly: count it. */
static void
finish(struct run *r, struct conn *c, bool answered)
{
    const bool ok = answered && c->status >= 200 && c->status < 300;

    berth_hist_add(&r->result->latency, berth_now_ns() - c->due_ns);
    if (ok) {
        r->result->ok++;
    } else {
        r->result->failed++;
        r->result->status = answered ? c->status : 0;
    }
    c->busy = false;
    r->busy_count--;
    r->idle[r->idle_count++] = c;
}

/* The peer broke the connection: what was under way failed; open it anew. */
static void
lost(struct run *r, struct conn *c)
{
    (void)close(c->fd);
    c->fd = -1;
    if (c->busy)
        finish(r, c, false);
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
            lost(r, c);
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
    r->busy_count++;
    c->busy = true;
    c->due_ns = due_ns;
    c->sent = c->head_len = 0;
    c->body_left = 0;
    if (c->fd < 0 && !conn_open(r, c)) {
        r->broken++;
        finish(r, c, false);
        return;
    }
    push(r, c);
}

static uint64_t
due(const struct run *r, uint64_t number)
{
    return r->begin_ns + (uint64_t)((double)number * 1e9 / r->load->rate);
}

/* Send what can be sent now; in open loop set the alarm for the next one. */
static void
feed(struct run *r)
{
    uint64_t now = berth_now_ns();

    /* A server that refuses every connection must not make this spin. */
    while (r->load->rate <= 0 && r->idle_count > 0 && now < r->end_ns &&
           r->broken < 4 * r->load->connections) {
        start(r, now);
        now = berth_now_ns();
    }
    if (r->load->rate <= 0)
        return;
    while (r->idle_count > 0 && due(r, r->issued) <= now && due(r, r->issued) < r->end_ns)
        start(r, due(r, r->issued));
    uint64_t next = due(r, r->issued);
    if (next <= now || next > r->end_ns)
        next = r->end_ns > now ? r->end_ns : now + BERTH_MS;
    const struct itimerspec at = {.it_value = {(time_t)(next / BERTH_S), (long)(next % BERTH_S)}};
    (void)timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* ---- receiving ---- */

/* Status and length out of a complete head; false when it has no length. */
static bool
head_read(struct conn *c)
{
    const char *at = memmem(c->head, c->head_len, "\r\n", 2);

    c->status = c->head_len > 12 ? (uint16_t)strtoul(c->head + 9, NULL, 10) : 0;
    while (at != NULL && strncmp(at, "\r\n\r\n", 4) != 0) {
        at += 2;
        if (strncasecmp(at, "content-length:", 15) == 0) {
            c->body_left = strtoull(at + 15, NULL, 10);
            return true;
        }
        at = strstr(at, "\r\n");
    }
    return c->status == 204;
}

/* Take len bytes of the answer; false when they make no sense. */
static bool
take(struct run *r, struct conn *c, const char *bytes, size_t len)
{
    if (c->head_len != SIZE_MAX) {
        const size_t old = c->head_len;
        const size_t n = len < HEAD_BYTES_MAX - 1 - old ? len : HEAD_BYTES_MAX - 1 - old;
        memcpy(c->head + old, bytes, n);
        c->head_len += n;
        c->head[c->head_len] = '\0';
        const char *end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
        if (end == NULL)
            return c->head_len < HEAD_BYTES_MAX - 1;
        const size_t used = (size_t)(end + 4 - c->head) - old;
        if (!head_read(c))
            return false;
        c->head_len = SIZE_MAX;
        bytes += used;
        len -= used;
    }
    (void)bytes;
    if (len > c->body_left)
        return false;
    c->body_left -= len;
    if (c->body_left == 0)
        finish(r, c, true);
    return true;
}

static void
pull(struct run *r, struct conn *c)
{
    const ssize_t n = recv(c->fd, r->room, sizeof r->room, MSG_DONTWAIT);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0 || !c->busy || !take(r, c, r->room, (size_t)n))
        lost(r, c);
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
    if (c->fd >= 0 && (ev->events & EPOLLOUT) != 0) {
        watch(r, c, EPOLLIN);
        push(r, c);
    }
    if (c->fd >= 0 && (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        pull(r, c);
}

static void
drive(struct run *r)
{
    struct epoll_event events[EVENTS];

    feed(r);
    for (;;) { /* until the time is over and the last answers are in, or late */
        const uint64_t now = berth_now_ns();
        if (now >= r->end_ns && (r->busy_count == 0 || now >= r->end_ns + GRACE_S * BERTH_S))
            break;
        const int n = epoll_wait(r->epoll, events, EVENTS, 100);
        for (int i = 0; i < n; i++)
            on_event(r, &events[i]);
        feed(r);
    }
    for (size_t i = 0; i < r->load->connections; i++)
        if (r->conns[i].busy)
            finish(r, &r->conns[i], false);
    r->result->elapsed_ns = berth_now_ns() - r->begin_ns;
    while (r->load->rate > 0 && due(r, r->issued) < r->end_ns) { /* due, but never sent */
        berth_hist_add(&r->result->latency,
                       r->begin_ns + r->result->elapsed_ns - due(r, r->issued));
        r->result->failed++;
        r->issued++;
    }
}

static int
set_up(struct run *r, struct berth_err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};

    if (getaddrinfo(r->load->host, r->load->port, &hints, &r->place) != 0)
        return berth_err_set(e, BERTH_ENETWORK, "%s is not known", r->load->host);
    r->conns = calloc(r->load->connections, sizeof *r->conns);
    r->idle = calloc(r->load->connections, sizeof(struct conn *));
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (r->conns == NULL || r->idle == NULL || r->epoll < 0 || r->timer < 0 ||
        epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->timer, &tick) != 0)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory or file descriptors");
    for (size_t i = 0; i < r->load->connections; i++) {
        if (!conn_open(r, &r->conns[i]))
            return berth_err_set(e, BERTH_ENETWORK, "connection %zu of %u: %m", i + 1,
                                 r->load->connections);
        r->idle[r->idle_count++] = &r->conns[i];
    }
    return 0;
}

static uint64_t
cpu_ns(void)
{
    struct timespec t;

    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0
               ? (uint64_t)t.tv_sec * BERTH_S + (uint64_t)t.tv_nsec
               : 0;
}

int
berth_load_run(const struct berth_load *load, struct berth_load_result *ret, struct berth_err *e)
{
    struct run *r = calloc(1, sizeof *r);

    if (r == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    *r = (struct run){.load = load, .result = ret, .epoll = -1, .timer = -1};
    memset(ret, 0, sizeof *ret);
    const int rc = set_up(r, e);
    if (rc == 0) {
        const uint64_t cpu = cpu_ns();
        r->begin_ns = berth_now_ns();
        r->end_ns = r->begin_ns + load->duration_ns;
        drive(r);
        ret->cpu_ns = cpu_ns() - cpu;
    }
    for (size_t i = 0; r->conns != NULL && i < load->connections; i++)
        if (r->conns[i].fd > 0)
            (void)close(r->conns[i].fd);
    if (r->timer >= 0)
        (void)close(r->timer);
    if (r->epoll >= 0)
        (void)close(r->epoll);
    if (r->place != NULL)
        freeaddrinfo(r->place);
    free(r->conns);
    free(r->idle);
    free(r);
    return rc;
}
