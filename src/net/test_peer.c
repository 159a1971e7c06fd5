#include "net/test_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static size_t
body_length(const char *head)
{
    const char *at = strcasestr(head, "\r\ncontent-length:");

    return at != NULL ? strtoul(at + 17, NULL, 10) : 0;
}

/* A head and its body, or what came until the client closed. */
static size_t
read_request(int fd, char text[TEST_PEER_HEAD_MAX])
{
    size_t len = 0, want = TEST_PEER_HEAD_MAX - 1;

    text[0] = '\0';
    while (len < want) {
        const ssize_t n = recv(fd, text + len, want - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        text[len] = '\0';
        const char *end = strstr(text, "\r\n\r\n");
        if (end != NULL && (size_t)(end - text) + 4 + body_length(text) <= len)
            break;
    }
    return len;
}

static void *
run(void *arg)
{
    struct test_peer *p = arg;
    char *text = malloc(TEST_PEER_HEAD_MAX);

    for (;;) {
        const int fd = accept(p->listener, NULL, NULL);
        if (fd < 0)
            break;
        if (text != NULL)
            text[0] = '\0';
        if (text != NULL && (p->silent || read_request(fd, text) > 0)) {
            const unsigned n = atomic_fetch_add(&p->requests, 1);
            if (n < TEST_PEER_LOG_MAX) {
                memcpy(p->log[n], text, sizeof p->log[n] - 1);
                p->log[n][sizeof p->log[n] - 1] = '\0';
            }
            p->answer(p->arg, fd, n, text);
        }
        (void)shutdown(fd, SHUT_WR);
        (void)close(fd);
    }
    free(text);
    return NULL;
}

static int
listen_inet(uint16_t *ret_port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *ret_port = ntohs(sa.sin_port);
    return fd;
}

static int
listen_unix(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_true(strlen(path) < sizeof sa.sun_path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (const struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

void
test_peer_start(struct test_peer *p)
{
    memset(p->log, 0, sizeof p->log);
    atomic_init(&p->requests, 0);
    p->listener = p->unix_path != NULL ? listen_unix(p->unix_path) : listen_inet(&p->port);
    assert_int_equal(listen(p->listener, 16), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, run, p), 0);
}

void
test_peer_stop(struct test_peer *p)
{
    (void)shutdown(p->listener, SHUT_RDWR); /* accept() fails from now on */
    (void)pthread_join(p->thread, NULL);
    (void)close(p->listener);
    if (p->unix_path != NULL)
        (void)unlink(p->unix_path);
}

void
test_peer_write(int fd, const void *at, size_t n)
{
    const char *p = at;

    while (n > 0) {
        const ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        p += sent;
        n -= (size_t)sent;
    }
}

void
test_peer_say(int fd, const char *text)
{
    test_peer_write(fd, text, strlen(text));
}

void
test_peer_wait_closed(int fd)
{
    char one;

    while (recv(fd, &one, 1, 0) > 0)
        ;
}
