#include "test_host.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

static const uint64_t patience_ns = 60 * BERTH_S;
char test_drained[4096];

static void
host_log(enum berth_log_level level, const char *msg)
{
    (void)level;
    (void)msg;
}

static uint64_t
until(const struct berth_op *op)
{
    return op->until_ns != 0 ? op->until_ns : UINT64_MAX;
}

static bool
host_cancelled(const struct berth_op *op)
{
    return atomic_load(&op->cut) || berth_now_ns() >= until(op);
}

static uint64_t
host_left_ns(const struct berth_op *op)
{
    const uint64_t now = berth_now_ns();

    if (op->until_ns == 0)
        return 60 * BERTH_S;
    return now < op->until_ns ? op->until_ns - now : 0;
}

static void
host_note(const struct berth_op *op, const char *text)
{
    (void)op;
    (void)text;
}

static int
host_drain(const struct berth_op *op, const char *replica_id, uint64_t limit_ns)
{
    const size_t at = strlen(test_drained);

    (void)op;
    (void)limit_ns;
    (void)snprintf(test_drained + at, sizeof test_drained - at, "%s ", replica_id);
    return 0;
}

static int
host_probe(const char *url, uint64_t timeout_ns, struct berth_err *e)
{
    const struct timeval limit = {.tv_sec = (time_t)(timeout_ns / BERTH_S),
                                  .tv_usec = (suseconds_t)(timeout_ns % BERTH_S / 1000)};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[256];
    int port;

    if (sscanf(url, "http://127.0.0.1:%d", &port) != 1)
        return berth_err_set(e, BERTH_EINVAL, "%s: this host probes 127.0.0.1 alone", url);
    const char *path = strchr(url + strlen("http://"), '/');
    at.sin_port = htons((uint16_t)port);
    BERTH_AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    int n =
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
                 path != NULL ? path : "/");
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0 ||
        send(fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        return berth_err_set(e, BERTH_ENETWORK, "%s: %m", url);
    n = (int)recv(fd, text, sizeof text - 1, MSG_WAITALL);
    text[n > 0 ? n : 0] = '\0';
    return strncmp(text, "HTTP/1.1 200", 12) == 0
               ? 0
               : berth_err_set(e, BERTH_ENETWORK, "%s: %.20s", url, text);
}

static void
host_changed(void *who, const char *service_id)
{
    struct test_who *w = who;

    (void)service_id;
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->mu);
    w->changes++;
    (void)pthread_cond_broadcast(&w->wake);
    (void)pthread_mutex_unlock(&w->mu);
}

const struct berth_shimlet_host test_host = {
    .struct_size = sizeof test_host,
    .log = host_log,
    .cancelled = host_cancelled,
    .left_ns = host_left_ns,
    .note = host_note,
    .drain = host_drain,
    .probe = host_probe,
    .changed = host_changed,
};

void
test_who_init(struct test_who *w)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&w->mu, NULL);
    (void)pthread_cond_init(&w->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    w->changes = 0;
}

void
test_who_fini(struct test_who *w)
{
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->mu);
}

uint64_t
test_who_changes(struct test_who *w)
{
    (void)pthread_mutex_lock(&w->mu);
    const uint64_t n = w->changes;
    (void)pthread_mutex_unlock(&w->mu);
    return n;
}

bool
test_who_wait(struct test_who *w, uint64_t than)
{
    const uint64_t end = berth_now_ns() + patience_ns;
    const struct timespec t = {.tv_sec = (time_t)(end / BERTH_S), .tv_nsec = (long)(end % BERTH_S)};
    int r = 0;

    (void)pthread_mutex_lock(&w->mu);
    while (w->changes <= than && r == 0)
        r = pthread_cond_timedwait(&w->wake, &w->mu, &t);
    const bool more = w->changes > than;
    (void)pthread_mutex_unlock(&w->mu);
    return more;
}

static void
copy(char *to, size_t cap, const char *from)
{
    (void)snprintf(to, cap, "%s", from != NULL ? from : "");
}

static void
tell(void *arg, const struct berth_observed *o)
{
    struct test_seen *seen = arg;

    *seen = (struct test_seen){
        .exists = o->exists, .drifted = o->drifted, .desired = o->replicas_desired};
    copy(seen->hash, sizeof seen->hash, o->hash);
    copy(seen->message, sizeof seen->message, o->message);
    for (; seen->count < o->replica_count && seen->count < TEST_REPLICAS_MAX; seen->count++) {
        const struct berth_replica *from = &o->replicas[seen->count];
        struct test_replica *r = &seen->r[seen->count];

        copy(r->id, sizeof r->id, from->id);
        copy(r->hash, sizeof r->hash, from->hash);
        copy(r->endpoint, sizeof r->endpoint, from->endpoint);
        copy(r->reason, sizeof r->reason, from->reason);
        copy(r->node, sizeof r->node, from->node);
        r->revision = from->revision;
        r->memory_bytes = from->memory_bytes;
        r->cpu_milli = from->cpu_milli;
        r->restarts = from->restarts;
        r->state = from->state;
        seen->ready += r->state == BERTH_REPLICA_READY;
    }
}

struct test_seen
test_look(const struct berth_shimlet_ops *ops, struct berth_shimlet *s, const char *unit)
{
    struct berth_op op = {.until_ns = 0};
    struct test_seen seen = {.exists = false};
    struct berth_err e = {{0}};

    if (ops->status(s, &op, unit, tell, &seen, &e) < 0)
        copy(seen.message, sizeof seen.message, e.msg);
    return seen;
}

static void
nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 5 * (long)BERTH_MS}, NULL);
}

bool
test_until(bool (*cond)(void *arg), void *arg)
{
    for (const uint64_t end = berth_now_ns() + patience_ns; berth_now_ns() < end; nap()) {
        if (cond(arg))
            return true;
    }
    return cond(arg);
}

struct settle {
    const struct berth_shimlet_ops *ops;
    struct berth_shimlet *s;
    const struct berth_unit *u;
    const char *name;
};

static bool
settled(void *arg)
{
    const struct settle *t = arg;
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};

    if (t->ops->apply(t->s, &op, t->u, &e) < 0)
        return false;
    const struct test_seen seen = test_look(t->ops, t->s, t->u->name);
    bool done = seen.count == t->u->replicas && seen.ready == seen.count;
    for (size_t i = 0; i < seen.count; i++)
        done = done && strcmp(seen.r[i].hash, t->u->hash) == 0;
    return done;
}

bool
test_settle(const struct berth_shimlet_ops *ops, struct berth_shimlet *s,
            const struct berth_unit *u)
{
    struct settle t = {.ops = ops, .s = s, .u = u};

    return test_until(settled, &t);
}

static bool
removed(void *arg)
{
    const struct settle *t = arg;
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};

    return t->ops->remove(t->s, &op, t->name, &e) == 0;
}

bool
test_remove(const struct berth_shimlet_ops *ops, struct berth_shimlet *s, const char *unit)
{
    struct settle t = {.ops = ops, .s = s, .name = unit};

    return test_until(removed, &t);
}
