#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/random.h"
#include "shimlets/process/process_priv.h"

/* The address of host:port; only numbers, as no name is to be looked up for a port. */
static socklen_t
address(const char *host, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof *ret);
    if (strchr(host, ':') != NULL && inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return sizeof *v6;
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    if (inet_pton(AF_INET, host, &v4->sin_addr) != 1)
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* "localhost" */
    return sizeof *v4;
}

const char *
process_reach(const char *host)
{
    if (strcmp(host, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(host, "::") == 0 ? "[::1]" : host;
}

bool
process_port_free(const char *host, uint16_t port)
{
    struct sockaddr_storage at;
    const socklen_t len = address(host, port, &at);
    const int on = 1;
    BERTH_AUTO_CLOSE int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* What a dead process left in TIME_WAIT is no hindrance; one that listens is. */
    return fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
           bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 1) == 0;
}

bool
process_port_answers(const char *host, uint16_t port)
{
    struct sockaddr_storage at;
    const char *to = strcmp(host, "::") == 0 ? "::1" : process_reach(host);
    const socklen_t len = address(to, port, &at);
    BERTH_AUTO_CLOSE int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0 && connect(fd, (struct sockaddr *)&at, len) == 0;
}

uint16_t
process_port_pick(struct berth_shimlet *s, uint16_t but)
{
    const uint32_t span = (uint32_t)(s->conf.port_max - s->conf.port_min) + 1;
    const uint32_t from = (uint32_t)(berth_random_u64() % span);

    /* From anywhere, so that a port is seldom given again soon. */
    for (uint32_t i = 0; i < span; i++) {
        const uint16_t port = (uint16_t)(s->conf.port_min + (from + i) % span);

        if (port != but && !process_port_taken(s, port) && process_port_free(s->conf.host, port))
            return port;
    }
    return but != 0 && process_port_free(s->conf.host, but) ? but : 0;
}

const char *
process_scheme(const struct process_record *rec)
{
    return rec->ca_path != NULL ? "https" : "http";
}
