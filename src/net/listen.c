#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "net/server_priv.h"

/* Ports, and the connections that come in through them: accepted on the first loop, dealt out. */

enum { BACKLOG = 1024, ACCEPTS_MAX = 64 /* in one round of events */, REST_MS = 100 };

struct deal {
    struct berth_msg msg;
    struct berth_net_loop *nl;
    struct berth_conn_start start;
};

static void
deal_run(struct berth_msg *m)
{
    struct deal *d = (struct deal *)m;

    berth_conn_new(d->nl, &d->start);
    free(d);
}

static void
name_peer(const struct sockaddr_storage *sa, struct berth_conn_start *start)
{
    char host[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *in4 = (const void *)sa;
    const struct sockaddr_in6 *in6 = (const void *)sa;

    if (sa->ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &in4->sin_addr, host, sizeof host);
        start->loopback = ntohl(in4->sin_addr.s_addr) >> 24 == 127;
        (void)snprintf(start->peer, sizeof start->peer, "%s:%u", host, ntohs(in4->sin_port));
        return;
    }
    (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    start->loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
                      (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127);
    (void)snprintf(start->peer, sizeof start->peer, "[%s]:%u", host, ntohs(in6->sin6_port));
}

/* A peer that vanished without a word is found out by the kernel's probes. */
static void
set_options(int fd)
{
    const int on = 1, idle_s = 30, between_s = 10, probes = 3;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof between_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void
deal(struct berth_listener *l, int fd, const struct sockaddr_storage *sa)
{
    struct berth_server *s = l->server;
    uint64_t others = atomic_fetch_add(&s->connections, 1);
    struct berth_net_loop *nl = s->loops[s->next_loop];
    struct berth_conn_start start = {
        .from = l, .fd = fd, .over_limit = others >= s->conf.connections_max};

    s->next_loop = (s->next_loop + 1) % s->conf.loop_count;
    if (others >= (uint64_t)s->conf.connections_max + BERTH_REFUSED_MAX) {
        atomic_fetch_add(&s->refused_total, 1);
        (void)close(fd);
        berth_server_less(s, &s->connections);
        return;
    }
    atomic_fetch_add(&s->connections_total, 1);
    name_peer(sa, &start);
    set_options(fd);
    if (nl == s->loops[0]) {
        berth_conn_new(nl, &start);
        return;
    }
    struct deal *d = malloc(sizeof *d);
    if (d == NULL) {
        (void)close(fd);
        berth_server_less(s, &s->connections);
        return;
    }
    *d = (struct deal){.msg.run = deal_run, .nl = nl, .start = start};
    berth_loop_post(nl->loop, &d->msg);
}

static int
spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor is left: without a word the client would wait, so take the connection with the
 * spare one and close it.  False: the spare one is lost, too. */
static bool
shed(struct berth_listener *l)
{
    struct berth_server *s = l->server;

    if (s->spare_fd < 0)
        return false;
    (void)close(s->spare_fd);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    s->spare_fd = spare_open();
    atomic_fetch_add(&s->refused_total, 1);
    return fd >= 0;
}

static void on_accept(uv_poll_t *poll, int status, int events);

static void
on_rested(uv_timer_t *timer)
{
    struct berth_net_loop *nl = timer->data;
    struct berth_server *s = nl->server;

    if (s->spare_fd < 0)
        s->spare_fd = spare_open();
    for (struct berth_listener *l = s->listeners; l != NULL; l = l->next)
        if (l->resting && l->fd >= 0) {
            l->resting = false;
            (void)uv_poll_start(&l->poll, UV_READABLE, on_accept); /* it was polled before */
        }
}

/* A connection waits that cannot be taken.  Its descriptor stays readable, and looking again at
 * once would take a whole core. */
static void
rest(struct berth_listener *l)
{
    struct berth_server *s = l->server;

    l->resting = true;
    (void)uv_poll_stop(&l->poll);
    (void)uv_timer_start(&s->loops[0]->rest, on_rested, REST_MS, 0);
    atomic_fetch_add(&s->rests_total, 1);
}

/* Did accept() fail for this one connection alone?  (Linux passes on what its network told.) */
static bool
is_of_peer(int error)
{
    static const int of_peers[] = {ECONNABORTED, EINTR,        EPROTO,     EPERM,
                                   EHOSTDOWN,    EHOSTUNREACH, ENETDOWN,   ENETUNREACH,
                                   ENONET,       ENOPROTOOPT,  EOPNOTSUPP, ETIMEDOUT};

    for (size_t i = 0; i < BERTH_COUNT(of_peers); i++)
        if (error == of_peers[i])
            return true;
    return false;
}

static void
on_accept(uv_poll_t *poll, int status, int events)
{
    struct berth_listener *l = poll->data;

    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage sa = {0};
        socklen_t len = sizeof sa;
        int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            deal(l, fd, &sa);
            continue;
        }
        int error = errno;
        if (error == EAGAIN)
            return;
        if (is_of_peer(error) || ((error == EMFILE || error == ENFILE) && shed(l)))
            continue;
        rest(l);
        return;
    }
}

static int
bind_fault(const struct berth_listen_conf *conf, int error, struct berth_err *e)
{
    if (error == EADDRINUSE)
        return berth_err_set(e, BERTH_EIO,
                             "port %u is taken by another program; stop it or choose another port",
                             conf->port);
    if (error == EACCES)
        return berth_err_set(e, BERTH_EIO, "port %u needs privileges; choose one above 1023",
                             conf->port);
    errno = error;
    return berth_err_set(e, BERTH_EIO, "listen on %s port %u: %m", conf->host, conf->port);
}

static int
open_socket(const struct berth_listen_conf *conf, uint16_t *ret_port, int *ret_fd,
            struct berth_err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof sa;
    char port[8];
    const int on = 1;
    int error = EADDRNOTAVAIL;

    (void)snprintf(port, sizeof port, "%u", conf->port);
    int r = getaddrinfo(conf->host, port, &hints, &list);
    if (r != 0)
        return berth_err_set(e, BERTH_EIO, "address %s: %s", conf->host, gai_strerror(r));
    int fd = -1;
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
            bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
            break;
        error = errno;
        if (fd >= 0)
            (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0)
        return bind_fault(conf, error, e);
    (void)getsockname(fd, (struct sockaddr *)&sa, &len); /* of our own socket */
    *ret_port = ntohs(sa.ss_family == AF_INET ? ((struct sockaddr_in *)&sa)->sin_port
                                              : ((struct sockaddr_in6 *)&sa)->sin6_port);
    *ret_fd = fd;
    return 0;
}

static void
listener_start(void *arg)
{
    struct berth_listener *l = arg;
    struct berth_server *s = l->server;

    l->poll.data = l;
    if (uv_poll_init(berth_loop_uv(s->loops[0]->loop), &l->poll, l->fd) < 0)
        return;
    l->polled = true;
    if (uv_poll_start(&l->poll, UV_READABLE, on_accept) < 0)
        return;
    l->next = s->listeners;
    s->listeners = l;
    l->started = true;
}

static void
listener_closed(uv_handle_t *h)
{
    struct berth_listener *l = h->data;

    l->polled = false;
    if (l->dropped)
        free(l);
}

void
berth_listener_drop(void *arg)
{
    struct berth_listener *l = arg;

    l->dropped = true;
    if (!l->polled)
        free(l);
    else if (!uv_is_closing((uv_handle_t *)&l->poll))
        uv_close((uv_handle_t *)&l->poll, listener_closed);
}

int
berth_server_listen(struct berth_server *s, const struct berth_listen_conf *conf,
                    uint16_t *ret_port, struct berth_err *e)
{
    BERTH_AUTO_FREE struct berth_listener *l = calloc(1, sizeof *l);
    uint16_t port = 0;

    if (l == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "listen: out of memory");
    *l = (struct berth_listener){
        .server = s, .tag = conf->tag, .plain_refused = conf->plain_refused};
    if (conf->tls.cert_path != NULL) {
        int r = berth_tls_side_new(&conf->tls, &l->tls, e);
        if (r < 0)
            return r;
    }
    int r = open_socket(conf, &port, &l->fd, e);
    if (r < 0) {
        berth_tls_side_free(l->tls);
        return r;
    }
    berth_loop_call(s->loops[0]->loop, listener_start, l);
    if (!l->started) {
        berth_tls_side_free(l->tls);
        (void)close(l->fd);
        berth_loop_call(s->loops[0]->loop, berth_listener_drop, BERTH_TAKE(l));
        return berth_err_set(e, BERTH_EIO, "listen: the loop takes no more descriptors");
    }
    l = NULL; /* the server's */
    *ret_port = port;
    return 0;
}

int
berth_server_renew_tls(struct berth_server *s, uint32_t tag, const struct berth_tls_conf *conf,
                       struct berth_err *e)
{
    int r = 0;

    berth_assert(berth_loop_is_mine(s->loops[0]->loop));
    for (struct berth_listener *l = s->listeners; l != NULL && r == 0; l = l->next)
        if (l->tag == tag && l->tls != NULL)
            r = berth_tls_side_renew(l->tls, conf, e);
    return r;
}

/* On the first loop: no new connections.  The structs stay for their connections. */
void
berth_listeners_close(void *arg)
{
    struct berth_server *s = arg;

    for (struct berth_listener *l = s->listeners; l != NULL; l = l->next) {
        if (l->fd < 0)
            continue;
        uv_close((uv_handle_t *)&l->poll, listener_closed);
        (void)close(l->fd);
        l->fd = -1;
    }
}
