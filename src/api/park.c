#include <stddef.h>
#include <stdio.h>

#include "api/api_priv.h"
#include "api/forward.h"
#include "api/routes.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/registry.h"
#include "infer/waits.h"

/* Calls that wait for their model to be loaded. */

struct berth_park {
    struct berth_model_wait wait;
    struct berth_call *call;
    struct berth_timer timer;
    struct berth_slice name, version; /* in the call's arena */
    enum berth_code late;             /* what it is when the timer fires */
    bool waiting;                     /* ready() has not run */
    bool done;                        /* wait.result is for the next find() */
};

static void
drop_model(void *model)
{
    berth_model_unref(model);
}

/* Takes the reference m, to be held until the exchange goes. */
static int
hold(struct berth_call *c, struct berth_model *m, struct berth_err *e)
{
    int r = 0;

    if (berth_model_describe(m) == NULL)
        r = berth_err_set(e, BERTH_ENOTREADY, "model %s is not loaded yet; try again",
                          berth_model_name(m));
    else if (berth_arena_defer(c->arena, drop_model, m) < 0)
        r = berth_err_set(e, BERTH_ENOMEM,
                          "the request is larger than its memory limit; send less");
    if (r < 0)
        berth_model_unref(m);
    else
        c->model = m;
    return r;
}

static void
ready(struct berth_model_wait *w)
{
    struct berth_park *park = w->user;
    struct berth_call *c = park->call;
    struct berth_exchange *x = c->x;

    park->waiting = false;
    berth_timer_stop(&park->timer);
    c->parked_ns += berth_now_ns() - w->begin_ns;
    if (c->again == NULL)
        x->gone = NULL;
    if (c->ended) {
        berth_model_unref(w->model);
        if (c->released != NULL)
            c->released(c);
    } else {
        if (w->result == 0)
            w->result = hold(c, w->model, &w->err);
        park->done = true;
        if (c->again != NULL)
            c->again(c);
        else
            c->route->handle(c);
    }
    berth_exchange_unref(x);
}

void
berth_call_parked_header(const struct berth_call *c)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%.1f", (double)c->parked_ns / 1e6);
    berth_exchange_add(c->x, "x-load-wait-ms", text);
}

static void
too_late(struct berth_timer *t)
{
    struct berth_park *park =
        (struct berth_park *)(void *)((char *)t - offsetof(struct berth_park, timer));

    berth_registry_wait_end(park->call->api->conf.registry, &park->wait, park->late);
}

void
berth_call_unpark(struct berth_call *c)
{
    struct berth_park *park = c->park;

    if (park == NULL || !park->waiting || c->ended)
        return;
    c->ended = true;
    berth_registry_wait_end(c->api->conf.registry, &park->wait, BERTH_ECANCELED);
}

static void
client_gone(struct berth_exchange *x)
{
    berth_call_unpark(x->user);
    berth_exchange_abort(x);
}

/* Until when c may wait, and what it is called when that has passed. */
static uint64_t
patience_ns(const struct berth_call *c, enum berth_code *ret_late)
{
    const struct berth_api_conf *conf = &c->api->conf;
    const uint64_t now = berth_loop_now_ns(c->x->loop);
    const uint64_t asked = c->asked_timeout_ns;
    uint64_t limit = conf->request_timeout_ns;

    *ret_late = BERTH_ENOTREADY;
    if (asked > 0 && asked < limit)
        limit = asked;
    if (c->begin_ns + limit > now + conf->load_wait_ns)
        return now + conf->load_wait_ns;
    *ret_late = BERTH_EDEADLINE;
    return c->begin_ns + limit;
}

static struct berth_park *
park_new(struct berth_call *c, struct berth_slice name, struct berth_slice version)
{
    struct berth_park *park = BERTH_NEW(c->arena, struct berth_park);

    if (park == NULL)
        return NULL;
    park->call = c;
    park->name = name;
    park->version = version;
    park->wait.loop = c->x->loop;
    park->wait.ready = ready;
    park->wait.user = park;
    return park;
}

static int
find_or_park(struct berth_call *c, struct berth_slice name, struct berth_slice version,
             struct berth_err *e)
{
    struct berth_park *park = park_new(c, name, version);
    struct berth_model *m;
    int r;

    if (park == NULL)
        return berth_err_set(e, BERTH_ENOMEM,
                             "the request is larger than its memory limit; send less");
    r = berth_registry_find_or_wait(c->api->conf.registry, name, version, &park->wait, &m, e);
    if (r == 0)
        return hold(c, m, e);
    if (r < 0)
        return r;
    c->park = park;
    park->waiting = true;
    berth_exchange_ref(c->x);
    if (c->again == NULL)
        c->x->gone = client_gone;
    /* Without a timer the wait could last for ever: then it ends right away. */
    if (berth_timer_arm(&park->timer, c->x->loop, patience_ns(c, &park->late), too_late) < 0)
        berth_registry_wait_end(c->api->conf.registry, &park->wait, BERTH_ENOMEM);
    return BERTH_CALL_PARKED;
}

static bool
is_same(struct berth_slice a, struct berth_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

int
berth_call_find(struct berth_call *c, struct berth_slice name, struct berth_slice version,
                struct berth_err *e)
{
    const struct berth_park *park = c->park;
    struct berth_model *m;

    if (c->off_loop) /* found before it came there */
        return 0;
    if (park != NULL && is_same(park->name, name) && is_same(park->version, version)) {
        berth_assert(park->done); /* a parked call does not run */
        if (park->wait.result < 0)
            *e = park->wait.err;
        return park->wait.result;
    }
    int r = berth_registry_find(c->api->conf.registry, name, version, &m, e);
    if (r == 0)
        return hold(c, m, e);
    /* A name in a body; those in paths were looked for before. */
    if (r == -BERTH_ENOENT && version.len == 0 && c->name.len == 0 && berth_api_forward(c, name))
        return BERTH_CALL_PARKED;
    /* A version of a model that was never looked at is not known yet. */
    if (c->api->conf.load_wait_ns > 0 && park == NULL &&
        (r == -BERTH_ENOTREADY || (r == -BERTH_ENOENT && version.len > 0)))
        return find_or_park(c, name, version, e);
    return r;
}
