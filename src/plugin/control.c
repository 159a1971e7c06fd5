#include "plugin/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "plugin/message.h"

int
berth_control_pair(int ret[2], struct berth_err *e)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret) < 0)
        return berth_err_set(e, BERTH_ELIMIT, "a socket for a worker: %m");
    return 0;
}

/* Room for the descriptors of one message, aligned as CMSG_ wants it. */
union fd_room {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(BERTH_CONTROL_FDS * sizeof(int))];
};

int
berth_control_send(int fd, const struct berth_control *c, const int *fds)
{
    struct iovec iov = {.iov_base = (void *)c, .iov_len = sizeof *c};
    union fd_room room;
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fds != NULL) {
        memset(&room, 0, sizeof room);
        m.msg_control = room.bytes;
        m.msg_controllen = sizeof room.bytes;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(BERTH_CONTROL_FDS * sizeof(int));
        memcpy(CMSG_DATA(h), fds, BERTH_CONTROL_FDS * sizeof(int));
    }
    for (;;) {
        ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n == (ssize_t)sizeof *c)
            return 0;
        if (n >= 0 || errno != EINTR)
            return -BERTH_EIO;
    }
}

/* Descriptors that came along, the wanted number of them or none. */
static void
take_fds(struct msghdr *m, int ret_fds[BERTH_CONTROL_FDS])
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h != NULL; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (i < BERTH_CONTROL_FDS && ret_fds[i] < 0)
                ret_fds[i] = fd;
            else
                (void)close(fd);
        }
    }
}

int
berth_control_recv(int fd, struct berth_control *ret, int ret_fds[BERTH_CONTROL_FDS])
{
    struct iovec iov = {.iov_base = ret, .iov_len = sizeof *ret};
    union fd_room room;
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = room.bytes,
                       .msg_controllen = sizeof room.bytes};
    ssize_t n;

    for (int i = 0; i < BERTH_CONTROL_FDS; i++)
        ret_fds[i] = -1;
    do
        n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n > 0)
        take_fds(&m, ret_fds);
    if (n == (ssize_t)sizeof *ret && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
        ret->protocol == BERTH_WORKER_PROTOCOL)
        return 1;
    for (int i = 0; i < BERTH_CONTROL_FDS; i++) {
        if (ret_fds[i] >= 0)
            (void)close(ret_fds[i]);
        ret_fds[i] = -1;
    }
    return -BERTH_EIO;
}

/* A socket's path is at most 107 bytes long; by way of the folder's descriptor any folder will do.
 */
static bool
address(int dir_fd, const char *name, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
    if (n > 0 && (size_t)n < sizeof ret->sun_path)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

static int
fail_closed(int fd)
{
    int kept = errno;

    (void)close(fd);
    errno = kept;
    return -1;
}

int
berth_control_listen(int dir_fd, const char *name)
{
    struct sockaddr_un at;

    if (!address(dir_fd, name, &at))
        return -1;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4) < 0)
        return fail_closed(fd);
    return fd;
}

int
berth_control_connect(int dir_fd, const char *name)
{
    struct sockaddr_un at;

    if (!address(dir_fd, name, &at))
        return -1;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) < 0)
        return fail_closed(fd);
    return fd;
}

int
berth_control_accept(int listen_fd)
{
    return accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

bool
berth_control_peer(int fd, pid_t *ret_pid)
{
    struct ucred who;
    socklen_t len = sizeof who;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.uid != geteuid())
        return false;
    *ret_pid = who.pid;
    return true;
}
