#include "api/feed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/api_priv.h"
#include "base/clock.h"

struct berth_feed {
    struct berth_call *call;
    struct berth_exchange *x;
    void (*run)(struct berth_feed *f, void *arg);
    void *arg;

    pthread_mutex_t mu;
    pthread_cond_t wake;      /* for the thread: room, over, or woken */
    struct berth_buf waiting; /* under mu: put, and not taken by the loop */
    bool posted;              /* under mu: a message is on its way to the loop */
    bool over;                /* under mu: nobody reads any more */
    bool woken;               /* under mu */
    bool done;                /* under mu: run() has returned */

    /* The loop's. */
    struct berth_buf writing; /* taken, and not written */
    size_t written;
    bool cut; /* the server stops, and the client is behind: it gets no more */
    struct berth_msg msg;
    pthread_t thread;
};

static void
feed_free(struct berth_feed *f)
{
    (void)pthread_join(f->thread, NULL); /* it is at its end */
    berth_buf_fini(&f->waiting);
    berth_buf_fini(&f->writing);
    (void)pthread_cond_destroy(&f->wake);
    (void)pthread_mutex_destroy(&f->mu);
    (void)atomic_fetch_sub(&f->call->api->feeds, 1);
    free(f);
}

static void
set_over(struct berth_feed *f)
{
    (void)pthread_mutex_lock(&f->mu);
    f->over = true;
    (void)pthread_cond_broadcast(&f->wake);
    (void)pthread_mutex_unlock(&f->mu);
}

/* Write what there is.  True: all of it. */
static bool
write_some(struct berth_feed *f)
{
    enum { PIECE = 16 * 1024 };

    while (!f->cut && f->written < f->writing.len) {
        const size_t left = f->writing.len - f->written, n = left < PIECE ? left : PIECE;
        const int r = berth_exchange_write(f->x, f->writing.at + f->written, n);

        if (r == -BERTH_EAGAIN)
            return false; /* writable() comes */
        if (r < 0) {
            set_over(f);
            f->writing.len = f->written = 0;
            return true;
        }
        f->written += n;
    }
    f->writing.len = f->written = 0;
    return true;
}

/* On the loop: take what waits, and write it; at the end, the end. */
static void
pump(struct berth_feed *f)
{
    for (;;) {
        bool done;

        if (!write_some(f))
            return;
        (void)pthread_mutex_lock(&f->mu);
        const struct berth_buf taken = f->waiting;
        f->waiting = f->writing;
        f->writing = taken;
        done = f->done && !f->posted; /* its message would run in what is freed here */
        (void)pthread_cond_broadcast(&f->wake);
        (void)pthread_mutex_unlock(&f->mu);
        f->written = 0;
        if (f->writing.len > 0)
            continue;
        if (!done)
            return;
        struct berth_exchange *x = f->x;
        const bool cut = f->cut;

        f->call->ended = true;
        f->call->state = NULL;
        x->gone = x->draining = x->writable = NULL;
        feed_free(f);
        if (cut)
            berth_exchange_abort(x);
        else
            berth_exchange_end(x);
        berth_exchange_unref(x);
        return;
    }
}

static void
arrived(struct berth_msg *m)
{
    struct berth_feed *f =
        (struct berth_feed *)(void *)((char *)m - offsetof(struct berth_feed, msg));

    (void)pthread_mutex_lock(&f->mu);
    f->posted = false;
    (void)pthread_mutex_unlock(&f->mu);
    pump(f);
}

static void
feed_writable(struct berth_exchange *x)
{
    struct berth_call *c = x->user;

    if (c->state != NULL)
        pump(c->state);
}

static void
feed_gone(struct berth_exchange *x)
{
    struct berth_call *c = x->user;

    c->left = true;
    if (c->state != NULL)
        set_over(c->state);
}

static void
feed_draining(struct berth_exchange *x)
{
    struct berth_call *c = x->user;
    struct berth_feed *f = c->state;

    if (f == NULL)
        return;
    /* One that does not read would hold the stop for as long as that may last. */
    f->cut = berth_exchange_behind(x);
    set_over(f); /* its thread ends, and posts that */
}

/* Under mu. */
static void
post_locked(struct berth_feed *f)
{
    if (f->posted)
        return;
    f->posted = true;
    f->msg.run = arrived;
    berth_loop_post(f->x->loop, &f->msg);
}

static void *
feed_main(void *arg)
{
    struct berth_feed *f = arg;

    (void)pthread_setname_np(pthread_self(), "berth-feed");
    f->run(f, f->arg);
    (void)pthread_mutex_lock(&f->mu);
    f->done = true;
    post_locked(f);
    (void)pthread_mutex_unlock(&f->mu); /* the last touch: the loop waits for this thread's end */
    return NULL;
}

static struct berth_feed *
feed_new(struct berth_call *c, void (*run)(struct berth_feed *f, void *arg), void *arg)
{
    struct berth_feed *f = calloc(1, sizeof *f);
    pthread_condattr_t attr;

    if (f == NULL)
        return NULL;
    f->call = c;
    f->x = c->x;
    f->run = run;
    f->arg = arg;
    berth_buf_init(&f->waiting, NULL);
    berth_buf_init(&f->writing, NULL);
    (void)pthread_mutex_init(&f->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&f->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    return f;
}

void
berth_feed_start(struct berth_call *c, const char *content_type,
                 void (*run)(struct berth_feed *f, void *arg), void *arg)
{
    struct berth_exchange *x = c->x;
    struct berth_feed *f;

    if (atomic_fetch_add(&c->api->feeds, 1) >= BERTH_FEEDS_MAX) {
        (void)atomic_fetch_sub(&c->api->feeds, 1);
        berth_call_fail(c, -BERTH_EAGAIN, NULL,
                        "too many streams of events and logs are open; end one and try again");
        return;
    }
    f = feed_new(c, run, arg);
    if (f == NULL) {
        (void)atomic_fetch_sub(&c->api->feeds, 1);
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "out of memory");
        return;
    }
    c->state = f;
    c->streaming = true;
    x->gone = feed_gone;
    x->draining = feed_draining;
    x->writable = feed_writable;
    berth_exchange_ref(x);
    if (pthread_create(&f->thread, NULL, feed_main, f) != 0) {
        c->state = NULL;
        c->streaming = false;
        x->gone = x->draining = x->writable = NULL;
        free(f);
        (void)atomic_fetch_sub(&c->api->feeds, 1);
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "no thread for a stream; try again later");
        berth_exchange_unref(x);
        return;
    }
    berth_call_headers(c);
    berth_exchange_add(x, "cache-control", "no-cache");
    berth_exchange_add(x, "x-accel-buffering", "no"); /* proxies must not collect the stream */
    berth_exchange_start(x, 200, content_type);
}

int
berth_feed_put(struct berth_feed *f, const char *text, size_t len)
{
    (void)pthread_mutex_lock(&f->mu);
    while (!f->over && f->waiting.len > 0 && f->waiting.len + len > BERTH_FEED_BYTES_MAX)
        (void)pthread_cond_wait(&f->wake, &f->mu);
    if (!f->over) {
        berth_buf_put(&f->waiting, text, len);
        f->over = f->waiting.failed;
        post_locked(f);
    }
    const bool over = f->over;
    (void)pthread_mutex_unlock(&f->mu);
    return over ? -BERTH_ECANCELED : 0;
}

bool
berth_feed_over(struct berth_feed *f)
{
    (void)pthread_mutex_lock(&f->mu);
    const bool over = f->over;
    (void)pthread_mutex_unlock(&f->mu);
    return over;
}

bool
berth_feed_wait(struct berth_feed *f, uint64_t ns)
{
    const uint64_t until_ns = berth_now_ns() + ns;
    const struct timespec until = {.tv_sec = (time_t)(until_ns / BERTH_S),
                                   .tv_nsec = (long)(until_ns % BERTH_S)};
    int r = 0;

    (void)pthread_mutex_lock(&f->mu);
    while (!f->over && !f->woken && r == 0)
        r = pthread_cond_timedwait(&f->wake, &f->mu, &until);
    f->woken = false;
    const bool over = f->over;
    (void)pthread_mutex_unlock(&f->mu);
    return !over;
}

void
berth_feed_wake(struct berth_feed *f)
{
    (void)pthread_mutex_lock(&f->mu);
    f->woken = true;
    (void)pthread_cond_broadcast(&f->wake);
    (void)pthread_mutex_unlock(&f->mu);
}
