#include "api/prepare.h"

#include <pthread.h>
#include <stdlib.h>

#include "api/api_priv.h"
#include "wire/gzip.h"

enum { THREADS = 2, JOBS_MAX = 1024 };

struct berth_prepare {
    pthread_t threads[THREADS];
    uint32_t thread_len;
    pthread_mutex_t mu;
    pthread_cond_t wake;
    struct berth_call *jobs, **jobs_last; /* this and all below under mu */
    uint32_t job_count;
    bool stop;
};

/* On the loop again. */
static void
prepared(struct berth_msg *m)
{
    struct berth_call *c =
        (struct berth_call *)(void *)((char *)m - offsetof(struct berth_call, msg));
    struct berth_exchange *x = c->x;

    c->off_loop = false;
    x->gone = NULL;
    if (c->reply.status != 0) /* the work ended with an answer */
        berth_call_send(c);
    else if (c->left)
        berth_call_fail(c, -BERTH_ECANCELED, NULL, "the client left");
    else
        c->then(c);
    berth_exchange_unref(x);
}

static void *
prepare_main(void *arg)
{
    struct berth_prepare *p = arg;

    (void)pthread_setname_np(pthread_self(), "berth-prepare");
    (void)pthread_mutex_lock(&p->mu);
    for (;;) {
        struct berth_call *c = p->jobs;

        if (c == NULL && p->stop)
            break;
        if (c == NULL) {
            (void)pthread_cond_wait(&p->wake, &p->mu);
            continue;
        }
        p->jobs = c->next_job;
        if (p->jobs == NULL)
            p->jobs_last = &p->jobs;
        p->job_count--;
        (void)pthread_mutex_unlock(&p->mu);
        c->work(c);
        c->msg.run = prepared;
        berth_loop_post(c->x->loop, &c->msg);
        (void)pthread_mutex_lock(&p->mu);
    }
    (void)pthread_mutex_unlock(&p->mu);
    return NULL;
}

static void
client_left(struct berth_exchange *x)
{
    struct berth_call *c = x->user;

    c->left = true;
}

void
berth_prepare(struct berth_call *c, void (*work)(struct berth_call *c),
              void (*then)(struct berth_call *c))
{
    struct berth_prepare *p = c->api->prepare;

    berth_exchange_ref(c->x);
    c->work = work;
    c->then = then;
    c->next_job = NULL;
    c->off_loop = true;
    c->x->gone = client_left;
    (void)pthread_mutex_lock(&p->mu);
    const bool taken = p->job_count < JOBS_MAX && !p->stop;
    if (taken) {
        p->job_count++;
        *p->jobs_last = c;
        p->jobs_last = &c->next_job;
        (void)pthread_cond_signal(&p->wake);
    }
    (void)pthread_mutex_unlock(&p->mu);
    if (!taken) {
        struct berth_exchange *x = c->x;

        c->off_loop = false;
        x->gone = NULL;
        berth_call_fail(c, -BERTH_EAGAIN, NULL,
                        "too many large requests wait to be read, or the server is stopping; "
                        "try again");
        berth_exchange_unref(x);
    }
}

/* The whole compressed body is there: put what it stands for in its place, or answer. */
static void
inflate(struct berth_call *c)
{
    const struct berth_slice body = c->x->body;
    struct berth_err e;
    const void *at;
    size_t len;
    const int r = berth_gzip_read(&c->x->arena, body.at, body.len, c->x->body_max, &at, &len, &e);

    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        c->x->body = (struct berth_slice){at, len};
}

void
berth_prepare_inflated(struct berth_call *c, void (*then)(struct berth_call *c))
{
    if (c->x->body.len > BERTH_PREPARE_GZIP_BYTES) {
        berth_prepare(c, inflate, then);
        return;
    }
    /* The answer, if there is one, ends the call: keep it until that is seen. */
    struct berth_exchange *x = c->x;
    berth_exchange_ref(x);
    inflate(c);
    if (c->reply.status == 0)
        then(c);
    berth_exchange_unref(x);
}

static void
run_prepared(struct berth_call *c)
{
    berth_call_run(c, c->ops);
}

bool
berth_prepare_handler(struct berth_call *c, void (*handler)(struct berth_call *c))
{
    if (c->off_loop)
        return false;
    berth_prepare(c, handler, run_prepared);
    return true;
}

int
berth_prepare_new(struct berth_prepare **ret, struct berth_err *e)
{
    struct berth_prepare *p = calloc(1, sizeof *p);

    if (p == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "api: out of memory");
    (void)pthread_mutex_init(&p->mu, NULL);
    (void)pthread_cond_init(&p->wake, NULL);
    p->jobs_last = &p->jobs;
    while (p->thread_len < THREADS) {
        if (pthread_create(&p->threads[p->thread_len], NULL, prepare_main, p) != 0) {
            berth_prepare_free(p);
            return berth_err_set(e, BERTH_ENOMEM, "api: cannot start its threads");
        }
        p->thread_len++;
    }
    *ret = p;
    return 0;
}

void
berth_prepare_stop(struct berth_prepare *p)
{
    if (p == NULL)
        return;
    (void)pthread_mutex_lock(&p->mu);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->wake);
    (void)pthread_mutex_unlock(&p->mu);
    while (p->thread_len > 0)
        (void)pthread_join(p->threads[--p->thread_len], NULL);
}

void
berth_prepare_free(struct berth_prepare *p)
{
    if (p == NULL)
        return;
    berth_prepare_stop(p);
    (void)pthread_cond_destroy(&p->wake);
    (void)pthread_mutex_destroy(&p->mu);
    free(p);
}
