#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "net/server_priv.h"

/* Reads, and turns of writing, of one connection in one event, so that a fast peer does not starve
 * the others. */
enum { READS_MAX = 8, TURNS_MAX = 16, IOV_MAX_ONCE = 66 };

static void on_poll(uv_poll_t *poll, int status, int events);

static void
arm(struct berth_conn *c)
{
    int want = 0;

    if (c->closed || c->fd < 0)
        return;
    if (!c->read_paused && !c->eof)
        want |= UV_READABLE;
    else if (!c->eof)
        want |= UV_DISCONNECT; /* a client that leaves is noticed even when we do not read */
    if (berth_conn_unsent(c) > 0 || c->more_turns)
        want |= UV_WRITABLE;
    if (want == c->events)
        return;
    c->events = want;
    int r = want != 0 ? uv_poll_start(&c->poll, want, on_poll) : uv_poll_stop(&c->poll);
    if (r < 0)
        berth_conn_break(c);
}

void
berth_conn_new(struct berth_net_loop *nl, const struct berth_conn_start *start)
{
    struct berth_server *s = nl->server;
    struct berth_conn *c = calloc(1, sizeof *c);

    if (c == NULL ||
        (start->fd >= 0 && uv_poll_init(berth_loop_uv(nl->loop), &c->poll, start->fd) < 0)) {
        free(c);
        (void)close(start->fd);
        berth_server_less(s, &s->connections);
        return;
    }
    c->poll.data = c;
    c->nl = nl;
    c->from = start->from;
    c->proto = &berth_proto_sniff;
    c->fd = start->fd;
    c->loopback = start->loopback;
    c->over_limit = start->over_limit;
    memcpy(c->peer, start->peer, sizeof c->peer);
    TAILQ_INSERT_TAIL(&nl->conns, c, all);
    c->read_deadline_ns = berth_loop_now_ns(nl->loop) + s->conf.head_timeout_ns;
    berth_net_tick(nl);
    if (nl->draining)
        berth_conn_close(c);
    else
        arm(c);
}

static void
conn_closed(uv_handle_t *h)
{
    free(h->data);
}

/* Nothing of what is lent will be sent. */
static void
drop_lents(struct berth_conn *c)
{
    const size_t n = berth_lents_count(&c->lents);

    for (size_t i = 0; i < n; i++) { /* without any, there may be no memory to point to */
        const struct berth_lent *lent = (void *)(c->lents.list.at + c->lents.list.sent);
        berth_xchg_unref(lent[i].x);
    }
    berth_outbuf_drop(&c->lents.list, &c->nl->bufs);
    c->lents = (struct berth_lents){0};
}

void
berth_conn_close(struct berth_conn *c)
{
    struct berth_net_loop *nl = c->nl;
    const struct linger rst = {.l_onoff = 1};

    if (c->closed)
        return;
    c->closed = true;
    TAILQ_REMOVE(&nl->conns, c, all);
    if (c->in_work)
        TAILQ_REMOVE(&nl->work, c, work);
    c->proto->gone(c);
    berth_h2_free(c);
    berth_tls_free(c->tls);
    c->tls = NULL;
    berth_outbuf_drop(&c->in, &nl->bufs);
    drop_lents(c);
    berth_outbuf_drop(&c->out, &nl->bufs);
    berth_outbuf_drop(&c->tls_out, &nl->bufs);
    c->tail = (struct berth_slice){0};
    berth_server_less(nl->server, &nl->server->connections);
    if (c->fd < 0) /* a test's, and freed by it */
        return;
    (void)uv_poll_stop(&c->poll);
    uv_close((uv_handle_t *)&c->poll, conn_closed);
    if (c->reset)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
    (void)close(c->fd);
}

void
berth_conn_break(struct berth_conn *c)
{
    c->broken = true;
    berth_conn_work_later(c);
}

void
berth_conn_pause(struct berth_conn *c, bool paused)
{
    if (c->read_paused == paused)
        return;
    c->read_paused = paused;
    arm(c);
}

/* ---- output ---- */

char *
berth_conn_reserve(struct berth_conn *c, size_t n)
{
    char *room = c->broken || c->closed ? NULL : berth_outbuf_reserve(&c->out, &c->nl->bufs, n);

    if (room == NULL && !c->closed)
        berth_conn_break(c);
    return room;
}

bool
berth_conn_put(struct berth_conn *c, const void *at, size_t n)
{
    char *room = berth_conn_reserve(c, n);

    if (room == NULL)
        return false;
    memcpy(room, at, n);
    c->out.len += n;
    return true;
}

bool
berth_conn_lend(struct berth_conn *c, struct berth_slice run, struct berth_xchg *x)
{
    if (c->broken || c->closed)
        return false;
    if (!berth_lents_add(&c->lents, &c->nl->bufs, &c->out, run, x)) {
        berth_conn_break(c);
        return false;
    }
    x->refs++;
    return true;
}

size_t
berth_conn_unsent(const struct berth_conn *c)
{
    return berth_outbuf_left(&c->out) + c->lents.bytes + c->tail.len +
           berth_outbuf_left(&c->tls_out);
}

/* Bytes that the kernel took, 0 when it is full, -1 when the connection is broken. */
static ssize_t
send_iov(struct berth_conn *c, struct iovec *iov, size_t n)
{
    const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};

    if (c->fd < 0) { /* a test's: everything is taken */
        ssize_t all = 0;
        for (size_t i = 0; i < n; i++)
            all += (ssize_t)iov[i].iov_len;
        return all;
    }
    for (;;) {
        ssize_t sent = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN || errno == ENOBUFS)
            return 0;
        if (errno != EINTR)
            return -1;
    }
}

/* n bytes of out, with what is lent among them, are dealt with; returns how many were left over. */
static size_t
consume_lents(struct berth_conn *c, size_t n)
{
    bool lent;

    while (n > 0 && c->lents.bytes > 0) {
        const struct berth_slice next = berth_lents_next(&c->lents, &c->out, &lent);
        size_t did = n < next.len ? n : next.len;
        struct berth_xchg *x = berth_lents_consume(&c->lents, &c->nl->bufs, &c->out, did);
        if (x != NULL)
            berth_xchg_unref(x);
        n -= did;
    }
    return n;
}

/* n bytes of out and then tail are dealt with. */
static void
consume_text(struct berth_conn *c, size_t n)
{
    if (c->lents.bytes > 0)
        n = consume_lents(c, n);
    size_t of_out = n < berth_outbuf_left(&c->out) ? n : berth_outbuf_left(&c->out);

    if (of_out > 0)
        berth_outbuf_consume(&c->out, &c->nl->bufs, of_out);
    if (n > of_out) {
        c->tail.at += n - of_out;
        c->tail.len -= n - of_out;
    }
}

/* What is lent and the bytes of out before each, as far as there is room: returns how many of iov
 * are filled, and how many bytes of out are among them; *ret_whole: nothing lent is left over. */
static size_t
gather_lents(const struct berth_conn *c, struct iovec *iov, size_t room, size_t *ret_out_bytes,
             bool *ret_whole)
{
    const struct berth_lent *lent = (const void *)(c->lents.list.at + c->lents.list.sent);
    size_t n = 0, of_out = 0, i = 0;

    for (; i < berth_lents_count(&c->lents) && n + 2 <= room; i++) {
        if (lent[i].before > 0)
            iov[n++] = (struct iovec){c->out.at + c->out.sent + of_out, lent[i].before};
        of_out += lent[i].before;
        iov[n++] = (struct iovec){(void *)lent[i].run.at, lent[i].run.len};
    }
    *ret_out_bytes = of_out;
    *ret_whole = i == berth_lents_count(&c->lents);
    return n;
}

static ssize_t
flush_plain(struct berth_conn *c)
{
    struct iovec iov[IOV_MAX_ONCE];
    size_t n = 0, of_out = 0;
    bool whole = true;

    if (c->lents.bytes > 0)
        n = gather_lents(c, iov, IOV_MAX_ONCE - 2, &of_out, &whole);
    if (whole && berth_outbuf_left(&c->out) > of_out)
        iov[n++] =
            (struct iovec){c->out.at + c->out.sent + of_out, berth_outbuf_left(&c->out) - of_out};
    if (whole && c->tail.len > 0)
        iov[n++] = (struct iovec){(void *)c->tail.at, c->tail.len};
    ssize_t sent = send_iov(c, iov, n);
    if (sent > 0)
        consume_text(c, (size_t)sent);
    return sent;
}

/* The next bytes to be encrypted. */
static struct berth_slice
next_text(const struct berth_conn *c)
{
    bool lent;

    if (c->lents.bytes > 0)
        return berth_lents_next(&c->lents, &c->out, &lent);
    if (berth_outbuf_left(&c->out) > 0)
        return (struct berth_slice){c->out.at + c->out.sent, berth_outbuf_left(&c->out)};
    return c->tail;
}

/* Encrypt up to 64 KiB of what waits. */
static bool
fill_records(struct berth_conn *c)
{
    while (berth_outbuf_left(&c->tls_out) < BERTH_READ_BYTES) {
        const struct berth_slice next = next_text(c);
        if (next.len == 0)
            return true;
        int n = berth_tls_write(c->tls, next.at, next.len);
        if (n < 0)
            return false;
        if (n == 0)
            return true;
        consume_text(c, (size_t)n);
    }
    return true;
}

static ssize_t
flush_tls(struct berth_conn *c)
{
    ssize_t all = 0;

    while (fill_records(c)) {
        if (berth_outbuf_left(&c->tls_out) == 0)
            return all;
        struct iovec iov = {c->tls_out.at + c->tls_out.sent, berth_outbuf_left(&c->tls_out)};
        ssize_t sent = send_iov(c, &iov, 1);
        if (sent < 0)
            return -1;
        all += sent;
        if (sent > 0)
            berth_outbuf_consume(&c->tls_out, &c->nl->bufs, (size_t)sent);
        if ((size_t)sent < iov.iov_len)
            return all;
    }
    return -1;
}

/* Bytes that were sent and that nobody has read. */
static bool
has_unread(const struct berth_conn *c)
{
    int n = 0;

    return berth_outbuf_left(&c->in) > 0 || c->fd < 0 || ioctl(c->fd, FIONREAD, &n) < 0 || n > 0;
}

/* Our side is done: say so, and give the client time to read it before the socket goes; closing
 * with unread input would reset the connection and lose the answer. */
static void
shut(struct berth_conn *c)
{
    if (c->shut)
        return;
    c->shut = true;
    if (c->reset || c->eof) {
        berth_conn_break(c);
        return;
    }
    if (c->tls != NULL) {
        berth_tls_bye(c->tls);
        (void)flush_tls(c);
    }
    /* On HTTP/2 the reader still writes while other streams' answers are on their way. */
    if (c->no_linger && c->h2 == NULL && berth_outbuf_left(&c->tls_out) == 0 &&
        !has_unread(c)) { /* the system sends the rest */
        berth_conn_break(c);
        return;
    }
    if (c->fd >= 0)
        (void)shutdown(c->fd, SHUT_WR);
    c->linger_left = BERTH_LINGER_BYTES_MAX;
    c->write_deadline_ns = 0;
    c->read_deadline_ns = berth_loop_now_ns(c->nl->loop) + BERTH_LINGER_NS;
    c->read_paused = false;
}

void
berth_conn_flush(struct berth_conn *c)
{
    uint64_t wait_ns = c->nl->server->conf.write_timeout_ns;

    if (c->closed || c->broken)
        return;
    if (berth_conn_unsent(c) > 0) {
        ssize_t sent = c->tls != NULL ? flush_tls(c) : flush_plain(c);
        if (sent < 0) {
            berth_conn_break(c);
            return;
        }
        if (berth_conn_unsent(c) == 0)
            c->write_deadline_ns = 0;
        else if (sent > 0 || c->write_deadline_ns == 0)
            c->write_deadline_ns = berth_loop_now_ns(c->nl->loop) + wait_ns;
    }
    if (berth_conn_unsent(c) == 0 && c->close_when_sent)
        shut(c);
    arm(c);
}

void
berth_conn_finish(struct berth_conn *c)
{
    c->close_when_sent = true;
    berth_conn_work_later(c);
}

void
berth_conn_work_later(struct berth_conn *c)
{
    if (c->busy || c->in_work || c->closed)
        return;
    c->in_work = true;
    TAILQ_INSERT_TAIL(&c->nl->work, c, work);
}

/* Each turn of the loop sent all there was, and came from input that was waiting, or from an
 * application that writes as fast as its reader reads. */
void
berth_conn_work(struct berth_conn *c)
{
    bool was_busy = c->busy;
    int turns = 0;

    c->busy = true;
    c->more_turns = false;
    while (!c->closed && !c->broken) {
        c->more_turns = ++turns > TURNS_MAX;
        berth_conn_flush(c);
        if (c->more_turns) /* when the socket says that it is writable */
            break;
        if (c->broken || berth_conn_unsent(c) > 0 || c->shut)
            break;
        c->proto->resume(c);
        if (berth_conn_unsent(c) == 0 && !c->close_when_sent)
            break;
    }
    c->busy = was_busy;
    if (c->broken)
        berth_conn_close(c);
}

/* ---- input ---- */

void
berth_conn_input(struct berth_conn *c, const char *at, size_t n)
{
    if (!c->shut) {
        c->proto->input(c, at, n);
        return;
    }
    c->linger_left -= n < c->linger_left ? n : c->linger_left;
    if (c->linger_left == 0)
        berth_conn_break(c);
}

/* The handshake is over: both sides know what they speak. */
static void
become_agreed(struct berth_conn *c)
{
    if (!berth_tls_is_h2(c->tls)) {
        c->proto = &berth_proto_h1;
        return;
    }
    c->proto = &berth_proto_h2;
    if (!berth_h2_open(c))
        berth_conn_break(c);
}

/* The peer said goodbye or broke the rules. */
static void
end_of_records(struct berth_conn *c)
{
    if (berth_outbuf_left(&c->tls_out) > 0) {
        /* The peer may learn why; whether it is sent matters no more. */
        struct iovec alert = {c->tls_out.at + c->tls_out.sent, berth_outbuf_left(&c->tls_out)};
        (void)send_iov(c, &alert, 1);
    }
    c->eof = true;
    c->proto->eof(c);
}

void
berth_conn_input_records(struct berth_conn *c, const char *at, size_t n)
{
    bool was_ready = berth_tls_is_ready(c->tls);
    int got = 1;

    if (c->shut) { /* goodbye is said; nobody would read the text */
        berth_conn_input(c, at, n);
        return;
    }
    berth_tls_feed(c->tls, at, n);
    while (!c->broken && got > 0) {
        size_t room = BERTH_READ_BYTES;
        char *direct = c->proto->room(c, &room);
        got = berth_tls_read(c->tls, direct != NULL ? direct : c->nl->plain_buf, room);
        if (!was_ready && berth_tls_is_ready(c->tls)) {
            was_ready = true;
            become_agreed(c);
        }
        if (got > 0 && direct != NULL)
            c->proto->filled(c, (size_t)got);
        else if (got > 0)
            berth_conn_input(c, c->nl->plain_buf, (size_t)got);
    }
    if (got < 0 && !c->broken)
        end_of_records(c);
}

static bool
read_some(struct berth_conn *c)
{
    size_t room = 0;
    char *direct = c->tls == NULL && !c->shut ? c->proto->room(c, &room) : NULL;
    char *at = direct != NULL ? direct : c->nl->read_buf;

    if (direct == NULL)
        room = BERTH_READ_BYTES;
    ssize_t n = recv(c->fd, at, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        if (n < 0 || c->shut) {
            berth_conn_break(c);
        } else {
            c->eof = true;
            c->proto->eof(c);
        }
        return false;
    }
    if (c->tls != NULL)
        berth_conn_input_records(c, at, (size_t)n);
    else if (direct != NULL)
        c->proto->filled(c, (size_t)n);
    else
        berth_conn_input(c, at, (size_t)n);
    return (size_t)n == room;
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct berth_conn *c = poll->data;

    c->busy = true;
    if (status < 0 || (c->read_paused && (events & UV_DISCONNECT) != 0))
        berth_conn_break(c);
    if ((events & UV_READABLE) != 0)
        for (int i = 0; i < READS_MAX && !c->broken && !c->read_paused && !c->eof; i++)
            if (!read_some(c))
                break;
    c->busy = false;
    berth_conn_work(c);
}

void
berth_conn_tick(struct berth_conn *c, uint64_t now_ns)
{
    if (c->write_deadline_ns != 0 && now_ns >= c->write_deadline_ns) {
        berth_conn_close(c);
        return;
    }
    if (c->read_deadline_ns == 0 || now_ns < c->read_deadline_ns)
        return;
    c->read_deadline_ns = 0;
    if (c->shut) {
        berth_conn_close(c);
        return;
    }
    c->busy = true;
    c->proto->expired(c);
    c->busy = false;
    berth_conn_work(c);
}
