#include "api/jobs.h"

#include "api/api_priv.h"
#include "api/grpc.h"
#include "base/assert.h"

static void
job_reply(struct berth_msg *m)
{
    struct berth_call *c = (struct berth_call *)((char *)m - offsetof(struct berth_call, msg));
    struct berth_exchange *x = c->x;

    c->off_loop = false;
    if (c->grpc != NULL)
        berth_grpc_job_done(c->grpc);
    else
        berth_call_send(c);
    berth_exchange_unref(x);
}

static void *
jobs_main(void *arg)
{
    struct berth_jobs *j = arg;

    (void)pthread_mutex_lock(&j->mu);
    for (;;) {
        struct berth_call *c = j->first;

        if (c == NULL && j->stop)
            break;
        if (c == NULL) {
            (void)pthread_cond_wait(&j->wake, &j->mu);
            continue;
        }
        j->first = c->next_job;
        if (j->first == NULL)
            j->last = &j->first;
        j->count--;
        (void)pthread_mutex_unlock(&j->mu);
        c->job(c);
        berth_assert(c->reply.status != 0 || c->grpc != NULL);
        c->msg.run = job_reply;
        berth_loop_post(c->x->loop, &c->msg);
        (void)pthread_mutex_lock(&j->mu);
    }
    (void)pthread_mutex_unlock(&j->mu);
    return NULL;
}

int
berth_jobs_init(struct berth_jobs *j, const char *name, uint32_t threads, struct berth_err *e)
{
    berth_assert(threads <= BERTH_JOB_THREADS_MAX);
    *j = (struct berth_jobs){.mu = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    j->last = &j->first;
    for (; j->thread_count < threads; j->thread_count++) {
        if (pthread_create(&j->threads[j->thread_count], NULL, jobs_main, j) != 0)
            return berth_err_set(e, BERTH_ENOMEM, "api: no thread for it");
        (void)pthread_setname_np(j->threads[j->thread_count], name);
    }
    return 0;
}

void
berth_jobs_stop(struct berth_jobs *j)
{
    if (j->thread_count == 0)
        return;
    (void)pthread_mutex_lock(&j->mu);
    j->stop = true;
    (void)pthread_cond_broadcast(&j->wake);
    (void)pthread_mutex_unlock(&j->mu);
    while (j->thread_count > 0)
        (void)pthread_join(j->threads[--j->thread_count], NULL);
}

void
berth_jobs_fini(struct berth_jobs *j)
{
    berth_jobs_stop(j);
    if (j->last == NULL)
        return;
    (void)pthread_cond_destroy(&j->wake);
    (void)pthread_mutex_destroy(&j->mu);
}

bool
berth_jobs_put(struct berth_jobs *j, struct berth_call *c)
{
    bool taken;

    berth_exchange_ref(c->x);
    c->off_loop = true;
    (void)pthread_mutex_lock(&j->mu);
    taken = j->count < BERTH_JOBS_MAX && !j->stop;
    if (taken) {
        j->count++;
        c->next_job = NULL;
        *j->last = c;
        j->last = &c->next_job;
        (void)pthread_cond_signal(&j->wake);
    }
    (void)pthread_mutex_unlock(&j->mu);
    if (!taken) {
        c->off_loop = false;
        berth_exchange_unref(c->x); /* the exchange's own keeps it: it is not answered yet */
    }
    return taken;
}
