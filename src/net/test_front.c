#include "net/test_front.h"

#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/test_support.h"

struct ride {
    struct front *f;
    struct berth_exchange *x;
    struct berth_forward *w; /* NULL: not running */
};

static const char *const names[] = {"ok",        "declined", "unreached", "unanswered",
                                    "malformed", "late",     "broken",    "unwanted"};

const char *
front_result(enum berth_forward_result result)
{
    return names[result];
}

static bool
pass(void *arg, uint16_t status)
{
    struct ride *r = arg;

    if (r->f->decline)
        return false;
    berth_exchange_add(r->x, "x-upstream-status", status == 200 ? "fine" : "other");
    return true;
}

static void
done(void *arg, const struct berth_forward_end *end)
{
    struct ride *r = arg;
    struct front *f = r->f;

    r->w = NULL;
    (void)pthread_mutex_lock(&f->mu);
    if (f->end_count < FRONT_ENDS_MAX) {
        f->ends[f->end_count] = end->result;
        (void)snprintf(f->whys[f->end_count], sizeof f->whys[0], "%s", end->why);
    }
    f->end_count++;
    (void)pthread_cond_broadcast(&f->cond);
    (void)pthread_mutex_unlock(&f->mu);
    switch (end->result) {
    case BERTH_FORWARD_OK:
        break;
    case BERTH_FORWARD_BROKEN:
    case BERTH_FORWARD_UNWANTED:
        berth_exchange_abort(r->x);
        break;
    case BERTH_FORWARD_DECLINED:
    case BERTH_FORWARD_UNREACHED:
    case BERTH_FORWARD_UNANSWERED:
    case BERTH_FORWARD_MALFORMED:
    case BERTH_FORWARD_LATE:
        berth_exchange_reply(r->x, 502, "text/plain", front_result(end->result),
                             strlen(front_result(end->result)));
        break;
    }
}

static void
client_gone(struct berth_exchange *x)
{
    struct ride *r = x->user;

    if (r->w != NULL) {
        berth_forward_cancel(r->w);
        r->w = NULL;
        (void)pthread_mutex_lock(&r->f->mu);
        r->f->cancelled++;
        (void)pthread_cond_broadcast(&r->f->cond);
        (void)pthread_mutex_unlock(&r->f->mu);
    }
    berth_exchange_abort(x);
}

static void
client_takes_more(struct berth_exchange *x)
{
    struct ride *r = x->user;

    if (r->w != NULL)
        berth_forward_writable(r->w);
}

static void
begin(void *arg, struct berth_exchange *x)
{
    struct ride *r = BERTH_NEW(&x->arena, struct ride);

    berth_assert(r != NULL);
    r->f = arg;
    r->x = x;
    x->user = r;
    x->body_max = 2 * 1024 * 1024;
}

static void
handle(void *arg, struct berth_exchange *x)
{
    struct front *f = arg;
    struct ride *r = x->user;
    struct berth_forward_to to = f->to;
    struct berth_err e;
    char *target = berth_arena_printf(&x->arena, "%.*s%s%.*s", (int)x->path.len, x->path.at,
                                      x->query.len > 0 ? "?" : "", (int)x->query.len, x->query.at);

    x->gone = client_gone;
    x->writable = client_takes_more;
    to.origin = f->origin;
    to.target = berth_slice_of(target);
    to.body = x->body;
    to.pass = pass;
    to.done = done;
    to.arg = r;
    to.first_until_ns = f->first_ns > 0 ? berth_now_ns() + f->first_ns : 0;
    to.until_ns = f->total_ns > 0 ? berth_now_ns() + f->total_ns : 0;
    if (berth_forward_start(f->forwarder, x, &to, &r->w, &e) < 0)
        berth_exchange_reply(x, 500, "text/plain", "not started", 11);
}

static void
refuse(void *arg, struct berth_exchange *x, uint16_t status, const char *why)
{
    (void)arg;
    berth_exchange_reply(x, status, "text/plain", why, strlen(why));
}

struct make {
    struct front *f;
    const struct berth_forwarder_conf *conf;
};

static void
make_forwarder(void *arg)
{
    struct make *m = arg;
    struct berth_err e;

    assert_int_equal(berth_forwarder_new(m->f->loop, m->conf, &m->f->forwarder, &e), 0);
}

static void
free_forwarder(void *forwarder)
{
    berth_forwarder_free(forwarder);
}

void
front_start(struct front *f, const char *origin, uint16_t port,
            const struct berth_forwarder_conf *conf)
{
    const struct berth_server_app app = {
        .arg = f, .begin = begin, .handle = handle, .refuse = refuse};
    const struct berth_listen_conf listen = {.host = "127.0.0.1"};
    struct berth_server_conf server = test_conf();
    struct make m = {.f = f, .conf = conf};
    struct berth_err e = {0};
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&f->mu, NULL);
    (void)pthread_cond_init(&f->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)snprintf(f->origin, sizeof f->origin, "%s:%u", origin, port);
    assert_int_equal(berth_loop_new("front", &f->loop, &e), 0);
    berth_loop_call(f->loop, make_forwarder, &m);
    server.loops = &f->loop;
    server.loop_count = 1;
    assert_int_equal(berth_server_new(&server, &app, &f->server, &e), 0);
    assert_int_equal(berth_server_listen(f->server, &listen, &f->port, &e), 0);
}

void
front_stop(struct front *f)
{
    berth_server_free(f->server);
    berth_loop_call(f->loop, free_forwarder, f->forwarder);
    berth_loop_free(f->loop);
    (void)pthread_cond_destroy(&f->cond);
    (void)pthread_mutex_destroy(&f->mu);
}

void
front_wait(struct front *f, const unsigned *counter, unsigned n)
{
    const uint64_t until_ns = berth_now_ns() + 60 * BERTH_S;
    const struct timespec until = {.tv_sec = (time_t)(until_ns / BERTH_S),
                                   .tv_nsec = (long)(until_ns % BERTH_S)};
    int r = 0;

    (void)pthread_mutex_lock(&f->mu);
    while (*counter < n && r == 0)
        r = pthread_cond_timedwait(&f->cond, &f->mu, &until);
    const unsigned got = *counter;
    (void)pthread_mutex_unlock(&f->mu);
    if (got < n)
        fail_msg("waited for %u, saw %u", n, got);
}

char *
front_ask(struct front *f, const char *request)
{
    const int fd = test_connect(f->port);

    test_send_text(fd, request);
    char *text = test_read(fd, NULL, NULL);
    (void)close(fd);
    return text;
}
