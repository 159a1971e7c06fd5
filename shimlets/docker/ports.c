#include "shimlets/docker/docker_priv.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "wire/json.h"

/* How long a picked port is kept from others, until the daemon lists the container that has it. */
enum { RECENT_S = 120 };

/* FNV-1a: the same place to begin for the same name, so that a replica that is made again gets the
 * port that it had. */
static uint32_t
place_of(const char *name)
{
    uint32_t h = 2166136261u;

    for (const unsigned char *at = (const unsigned char *)name; *at != '\0'; at++)
        h = (h ^ *at) * 16777619u;
    return h;
}

/* Would the machine let somebody listen there?  Only asked where replicas run on this one. */
static bool
is_free_here(const char *address, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    const bool six = strchr(address, ':') != NULL;
    const int on = 1;

    if (inet_pton(six ? AF_INET6 : AF_INET, address,
                  six ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr) != 1)
        return true;
    BERTH_AUTO_CLOSE int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return bind(fd, six ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4,
                six ? sizeof v6 : sizeof v4) == 0;
}

/* Has one of our containers this port?  Stopped ones too: they are started again with it. */
static bool
is_ours(const struct berth_shimlet *s, const struct berth_json *listed, uint16_t port)
{
    for (struct berth_json_iter it = berth_json_iter(listed); berth_json_next(&it);)
        if (berth_docker_label_number(s, berth_json_get(it.value, "Labels"), "port") == port)
            return true;
    return false;
}

static bool
is_recent_locked(const struct berth_shimlet *s, uint16_t port, uint64_t now_ns)
{
    for (size_t i = 0; i < BERTH_DOCKER_PORTS_RECENT; i++)
        if (s->recent[i].port == port && s->recent[i].until_ns > now_ns)
            return true;
    return false;
}

int
berth_docker_port_pick(struct berth_shimlet *s, const struct berth_json *listed, const char *name,
                       uint16_t *ret, struct berth_err *e)
{
    const uint32_t span = (uint32_t)s->conf.port_max - s->conf.port_min + 1;
    const uint64_t now_ns = berth_now_ns();
    const uint32_t from = place_of(name) % span;
    uint16_t found = 0;

    (void)pthread_mutex_lock(&s->mu);
    for (uint32_t i = 0; i < span && found == 0; i++) {
        const uint16_t port = (uint16_t)(s->conf.port_min + (from + i) % span);
        if (!is_recent_locked(s, port, now_ns) && !is_ours(s, listed, port) &&
            (!berth_docker_engine_local(s->g) || is_free_here(s->conf.address, port)))
            found = port;
    }
    if (found != 0) {
        s->recent[s->recent_at].port = found;
        s->recent[s->recent_at].until_ns = now_ns + RECENT_S * BERTH_S;
        s->recent_at = (s->recent_at + 1) % BERTH_DOCKER_PORTS_RECENT;
    }
    (void)pthread_mutex_unlock(&s->mu);
    if (found == 0)
        return berth_err_set(e, BERTH_ELIMIT, "docker: no free port between %u and %u on %s",
                             s->conf.port_min, s->conf.port_max, s->conf.address);
    *ret = found;
    return 0;
}
