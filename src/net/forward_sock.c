#include "net/forward_priv.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * A socket is watched for as long as curl says.  One on which an answer has come is watched until
 * it is closed, so that a kept connection costs no system calls for each request: between two of
 * them its events are set aside, and an event then (the other side closed it) only ends the
 * watching. Not before: curl closes a socket that is still connecting without telling anybody, and
 * a handle whose descriptor is another one's by now would take that one's events along.
 */
struct berth_forward_sock {
    UT_hash_handle hh;
    uv_poll_t poll;
    struct berth_forwarder *f;
    curl_socket_t fd;
    int events;
    bool ours, idle;
};

static struct berth_forward_sock *
find(struct berth_forwarder *f, curl_socket_t fd)
{
    struct berth_forward_sock *s;

    HASH_FIND(hh, f->socks, &fd, sizeof fd, s);
    return s;
}

static struct berth_forward_sock *
add(struct berth_forwarder *f, curl_socket_t fd, bool ours)
{
    struct berth_forward_sock *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    if (uv_poll_init_socket(berth_loop_uv(f->loop), &s->poll, fd) < 0) {
        free(s);
        return NULL;
    }
    s->f = f;
    s->fd = fd;
    s->ours = ours;
    s->poll.data = s;
    f->socks_open++;
    HASH_ADD(hh, f->socks, fd, sizeof s->fd, s);
    return s;
}

static void
closed(uv_handle_t *h)
{
    struct berth_forward_sock *s = h->data;
    struct berth_forwarder *f = s->f;

    free(s);
    berth_forwarder_less(f);
}

static void
drop(struct berth_forwarder *f, struct berth_forward_sock *s)
{
    HASH_DEL(f->socks, s);
    uv_close((uv_handle_t *)&s->poll, closed);
}

static void on_event(uv_poll_t *poll, int status, int events);

static int
watch(struct berth_forward_sock *s, int events)
{
    if (events == s->events)
        return 0;
    s->events = events;
    return events == 0 ? uv_poll_stop(&s->poll) : uv_poll_start(&s->poll, events, on_event);
}

static void
on_event(uv_poll_t *poll, int status, int events)
{
    struct berth_forward_sock *s = poll->data;
    struct berth_forwarder *f = s->f;
    const curl_socket_t fd = s->fd;
    const int wanted = s->events;
    int flags = 0;

    if (s->idle) { /* closed by the other side: curl sees that when it wants to use it */
        (void)uv_poll_stop(poll);
        s->events = 0;
        return;
    }
    if (status < 0) { /* an error on it: libuv has stopped the handle, curl reads what it is */
        s->events = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if ((events & UV_READABLE) != 0)
        flags |= CURL_CSELECT_IN;
    if ((events & UV_WRITABLE) != 0)
        flags |= CURL_CSELECT_OUT;
    berth_forwarder_act(f, fd, flags); /* s may be gone */
    if (status < 0 && (s = find(f, fd)) != NULL && s->events == 0 && !s->idle)
        (void)watch(s, wanted);
}

/* Has an answer come on the transfer's connection?  Then curl tells when it closes it. */
static bool
has_answered(CURL *easy)
{
    const struct berth_forward *w = NULL;

    return curl_easy_getinfo(easy, CURLINFO_PRIVATE, &w) == CURLE_OK && w != NULL && w->headed;
}

int
berth_forward_on_socket(CURL *easy, curl_socket_t fd, int what, void *forwarder, void *unused)
{
    struct berth_forwarder *f = forwarder;
    struct berth_forward_sock *s = find(f, fd);

    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (s == NULL)
            return 0;
        if (!s->ours || !has_answered(easy)) {
            drop(f, s);
            return 0;
        }
        s->idle = true;
        return watch(s, s->events & UV_READABLE) < 0 ? -1 : 0;
    }
    if (s == NULL)
        s = add(f, fd, false);
    if (s == NULL)
        return -1;
    s->idle = false;
    return watch(s, ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) |
                        ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0)) < 0
               ? -1
               : 0;
}

/* Let go of the handle that watches fd. */
static void
forget(struct berth_forwarder *f, curl_socket_t fd)
{
    struct berth_forward_sock *s = find(f, fd);

    if (s != NULL)
        drop(f, s);
}

void
berth_forward_forget_all(struct berth_forwarder *f)
{
    struct berth_forward_sock *s, *next;

    HASH_ITER(hh, f->socks, s, next)
    {
        drop(f, s);
    }
}

curl_socket_t
berth_forward_open(void *forwarder, curlsocktype purpose, struct curl_sockaddr *a)
{
    const int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);

    (void)purpose;
    if (fd < 0)
        return CURL_SOCKET_BAD;
    forget(forwarder, fd); /* of a socket that was closed without a word */
    if (add(forwarder, fd, true) == NULL) {
        (void)close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

int
berth_forward_close(void *forwarder, curl_socket_t fd)
{
    forget(forwarder, fd); /* before the number can be another socket's */
    return close(fd);
}
