#include "net/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/server_priv.h"

enum { TICK_MS_MIN = 5, TICK_MS_MAX = 1000 };

void
berth_server_less(struct berth_server *s, atomic_uint_fast64_t *count)
{
    /* Drain set `draining` and then spoke to every loop, so nobody waits when it reads false. */
    if (!atomic_load(&s->draining)) {
        atomic_fetch_sub(count, 1);
        return;
    }
    (void)pthread_mutex_lock(&s->mu);
    atomic_fetch_sub(count, 1);
    (void)pthread_cond_broadcast(&s->idle_cond);
    (void)pthread_mutex_unlock(&s->mu);
}

struct berth_slice
berth_net_date(struct berth_net_loop *nl)
{
    struct timespec now;
    struct tm tm;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != nl->date_s) {
        nl->date_s = now.tv_sec;
        (void)gmtime_r(&now.tv_sec, &tm);
        nl->date_len =
            strftime(nl->date, sizeof nl->date, "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
    }
    return (struct berth_slice){nl->date, nl->date_len};
}

/* ---- what runs on a loop ---- */

/* Before the loop waits: everything written in this round goes out, one send a connection.
 * Ends, because a connection's work comes from input that was there already. */
static void
on_prepare(uv_prepare_t *prepare)
{
    struct berth_net_loop *nl = prepare->data;
    struct berth_conn *c;

    while ((c = TAILQ_FIRST(&nl->work)) != NULL) {
        TAILQ_REMOVE(&nl->work, c, work);
        c->in_work = false;
        berth_conn_work(c);
    }
}

static void
on_tick(uv_timer_t *timer)
{
    struct berth_net_loop *nl = timer->data;
    uint64_t now_ns = berth_loop_now_ns(nl->loop);

    for (struct berth_conn *c = TAILQ_FIRST(&nl->conns), *next; c != NULL; c = next) {
        next = TAILQ_NEXT(c, all);
        berth_conn_tick(c, now_ns);
    }
    if (TAILQ_EMPTY(&nl->conns)) {
        nl->ticking = false;
        (void)uv_timer_stop(&nl->tick);
        berth_blocks_drop(&nl->blocks); /* an idle server gives memory back */
    }
}

void
berth_net_tick(struct berth_net_loop *nl)
{
    uint64_t ms = nl->server->tick_ms;

    if (!nl->ticking && uv_timer_start(&nl->tick, on_tick, ms, ms) == 0)
        nl->ticking = true;
}

static void
loop_free(struct berth_net_loop *nl)
{
    berth_xchg_pool_free(nl);
    berth_outpool_fini(&nl->bufs);
    berth_blocks_drop(&nl->blocks);
    free(nl->read_buf);
    free(nl->plain_buf);
    free(nl);
}

static void
loop_handle_closed(uv_handle_t *h)
{
    struct berth_net_loop *nl = h->data;

    if (--nl->handles_open == 0)
        loop_free(nl);
}

/* Nothing of the server is left on the loop; the struct goes when libuv lets go of it. */
static void
loop_close(void *arg)
{
    struct berth_net_loop *nl = arg;

    berth_assert(TAILQ_EMPTY(&nl->conns) && nl->live == 0);
    uv_close((uv_handle_t *)&nl->prepare, loop_handle_closed);
    uv_close((uv_handle_t *)&nl->tick, loop_handle_closed);
    uv_close((uv_handle_t *)&nl->rest, loop_handle_closed);
}

static void
loop_start(void *arg)
{
    struct berth_net_loop *nl = arg;
    uv_loop_t *uv = berth_loop_uv(nl->loop);

    nl->prepare.data = nl->tick.data = nl->rest.data = nl;
    (void)uv_prepare_init(uv, &nl->prepare); /* these four cannot fail */
    (void)uv_prepare_start(&nl->prepare, on_prepare);
    (void)uv_timer_init(uv, &nl->tick);
    (void)uv_timer_init(uv, &nl->rest);
    nl->handles_open = 3;
}

static void
loop_drain(void *arg)
{
    struct berth_net_loop *nl = arg;

    nl->draining = true;
    for (struct berth_conn *c = TAILQ_FIRST(&nl->conns), *next; c != NULL; c = next) {
        next = TAILQ_NEXT(c, all);
        c->proto->drain(c);
    }
}

static void
loop_cut(void *arg)
{
    struct berth_net_loop *nl = arg;
    struct berth_conn *c;

    while ((c = TAILQ_FIRST(&nl->conns)) != NULL)
        berth_conn_close(c);
}

/* ---- the server ---- */

static uint64_t
tick_ms_of(const struct berth_server_conf *conf)
{
    const uint64_t times[] = {conf->head_timeout_ns, conf->body_timeout_ns, conf->idle_timeout_ns,
                              conf->write_timeout_ns};
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < BERTH_COUNT(times); i++)
        least = times[i] < least ? times[i] : least;
    uint64_t ms = least / 8 / BERTH_MS;
    return ms < TICK_MS_MIN ? TICK_MS_MIN : ms > TICK_MS_MAX ? TICK_MS_MAX : ms;
}

static struct berth_net_loop *
loop_new(struct berth_server *s, struct berth_loop *loop)
{
    struct berth_net_loop *nl = calloc(1, sizeof *nl);

    if (nl == NULL)
        return NULL;
    nl->server = s;
    nl->loop = loop;
    TAILQ_INIT(&nl->conns);
    TAILQ_INIT(&nl->work);
    nl->read_buf = malloc(BERTH_READ_BYTES);
    nl->plain_buf = malloc(BERTH_READ_BYTES);
    if (nl->read_buf == NULL || nl->plain_buf == NULL) {
        loop_free(nl);
        return NULL;
    }
    return nl;
}

int
berth_server_new(const struct berth_server_conf *conf, const struct berth_server_app *app,
                 struct berth_server **ret, struct berth_err *e)
{
    berth_assert(conf->loop_count > 0 && app->begin != NULL && app->handle != NULL &&
                 app->refuse != NULL);
    struct berth_server *s = calloc(1, sizeof *s);
    struct berth_net_loop **loops = calloc(conf->loop_count, sizeof *loops);
    struct berth_loop **copy = calloc(conf->loop_count, sizeof *copy);
    bool ok = s != NULL && loops != NULL && copy != NULL;

    for (size_t i = 0; ok && i < conf->loop_count; i++)
        ok = (loops[i] = loop_new(s, conf->loops[i])) != NULL;
    if (!ok) {
        for (size_t i = 0; loops != NULL && i < conf->loop_count && loops[i] != NULL; i++)
            loop_free(loops[i]);
        free(copy);
        free(loops);
        free(s);
        return berth_err_set(e, BERTH_ENOMEM, "server: out of memory");
    }
    for (size_t i = 0; i < conf->loop_count; i++)
        copy[i] = conf->loops[i];
    s->conf = *conf;
    s->conf.loops = s->loop_list = copy;
    s->app = *app;
    s->loops = loops;
    s->tick_ms = tick_ms_of(conf);
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pthread_condattr_t attr;
    (void)pthread_mutex_init(&s->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->idle_cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    for (size_t i = 0; i < conf->loop_count; i++)
        berth_loop_call(conf->loops[i], loop_start, s->loops[i]);
    *ret = s;
    return 0;
}

static void
each_loop(struct berth_server *s, void (*fn)(void *))
{
    for (size_t i = 0; i < s->conf.loop_count; i++)
        berth_loop_call(s->loops[i]->loop, fn, s->loops[i]);
}

/* Wait until *count is 0 or the deadline (0: none) has passed. */
static void
wait_none(struct berth_server *s, const atomic_uint_fast64_t *count, uint64_t deadline_ns)
{
    const struct timespec until = {.tv_sec = (time_t)(deadline_ns / BERTH_S),
                                   .tv_nsec = (long)(deadline_ns % BERTH_S)};
    int r = 0;

    (void)pthread_mutex_lock(&s->mu);
    while (atomic_load(count) > 0 && r != ETIMEDOUT)
        r = deadline_ns == 0 ? pthread_cond_wait(&s->idle_cond, &s->mu)
                             : pthread_cond_timedwait(&s->idle_cond, &s->mu, &until);
    (void)pthread_mutex_unlock(&s->mu);
}

void
berth_server_drain(struct berth_server *s, uint64_t limit_ns)
{
    for (size_t i = 0; i < s->conf.loop_count; i++)
        berth_assert(!berth_loop_is_mine(s->loops[i]->loop));
    atomic_store(&s->draining, true);
    berth_loop_call(s->loops[0]->loop, berth_listeners_close, s);
    each_loop(s, loop_drain);
    if (limit_ns > 0)
        wait_none(s, &s->connections, berth_now_ns() + limit_ns);
    each_loop(s, loop_cut);
    wait_none(s, &s->connections, 0); /* those that were on their way to a loop */
}

void
berth_server_free(struct berth_server *s)
{
    if (s == NULL)
        return;
    berth_server_drain(s, 0);
    wait_none(s, &s->live, 0);
    each_loop(s, loop_close);
    for (struct berth_listener *l = s->listeners, *next; l != NULL; l = next) {
        next = l->next;
        berth_tls_side_free(l->tls);
        berth_loop_call(s->conf.loops[0], berth_listener_drop, l);
    }
    if (s->spare_fd >= 0)
        (void)close(s->spare_fd);
    (void)pthread_cond_destroy(&s->idle_cond);
    (void)pthread_mutex_destroy(&s->mu);
    free(s->loops);
    free(s->loop_list);
    free(s);
}

struct berth_server_stats
berth_server_stats(const struct berth_server *s)
{
    return (struct berth_server_stats){
        .connections = atomic_load(&s->connections),
        .connections_total = atomic_load(&s->connections_total),
        .exchanges_total = atomic_load(&s->exchanges_total),
        .refused_total = atomic_load(&s->refused_total),
        .rests_total = atomic_load(&s->rests_total),
    };
}
