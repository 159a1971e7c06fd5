#include <stdio.h>

#include "base/log.h"
#include "infer/model.h"
#include "infer/model_priv.h"

/* What a model's queue means for a request: refused, timed out, or tried again elsewhere. */

/* Its queue takes no more. */
int
berth_model_full_locked(const struct berth_model *m, const struct berth_request *r,
                        struct berth_err *e)
{
    const struct berth_batcher *b = &m->batcher;
    const uint32_t level = berth_batcher_level(b, r);

    if (b->len + b->seq_len < b->conf.queue_len_max)
        return berth_err_set(e, BERTH_EAGAIN,
                             "model '%s' has %u requests of priority %u waiting, its maximum "
                             "there; try again later",
                             m->name, b->level_len[level], level + 1);
    return berth_err_set(e, BERTH_EAGAIN,
                         "model '%s' has %u requests waiting, its maximum; try again later",
                         m->name, b->conf.queue_len_max);
}

void
berth_model_batch_set(struct berth_model *m, const struct berth_batch_conf *defaults)
{
    const struct berth_batch_conf conf = berth_config_batch(&m->conf, defaults);

    atomic_store(&m->padding, !conf.no_padding);
    (void)pthread_mutex_lock(&m->mu);
    berth_batcher_conf_set(&m->batcher, &conf);
    (void)pthread_cond_broadcast(&m->work);
    (void)pthread_mutex_unlock(&m->mu);
}

void
berth_model_conf_set(struct berth_model *m, const struct berth_model_conf *c,
                     const struct berth_batch_conf *defaults)
{
    m->conf.batch = c->batch;
    m->conf.has_batch_max = c->has_batch_max;
    m->conf.has_wait = c->has_wait;
    m->conf.has_queue = c->has_queue;
    m->conf.has_mode = c->has_mode;
    m->conf.policy = c->policy;
    m->conf.policy_levels = c->policy_levels;
    berth_model_batch_set(m, defaults);
}

bool
berth_model_takes_queue_timeout(struct berth_model *m, uint32_t priority)
{
    const struct berth_request r = {.priority = priority};

    (void)pthread_mutex_lock(&m->mu);
    const bool takes =
        m->batcher.conf.policies[berth_batcher_level(&m->batcher, &r)].allow_override;
    (void)pthread_mutex_unlock(&m->mu);
    return takes;
}

void
berth_requests_drop_dead(struct berth_request *dead, uint64_t now_ns)
{
    for (struct berth_request *r = dead, *next; r != NULL; r = next) {
        char text[160];
        const char *msg = text;
        int result = -BERTH_EDEADLINE;
        next = r->next;
        if (r->timed_out && !atomic_load(&r->cancelled)) {
            (void)snprintf(
                text, sizeof text,
                "Request timeout expired: it waited %.3f ms in the queue of model '%.64s'",
                (double)(now_ns - r->submit_ns) / 1e6, r->model->name);
            berth_series_add(r->model->series.queue_timeouts, 1);
        } else {
            r->timed_out = false;
            (void)berth_request_is_dead(r, now_ns);
            result = berth_request_dead_result(r, &msg);
        }
        berth_request_drop(r, result, msg);
    }
}

/* ---- failing instances ---- */

/* The instance failed q before it gave any output: let another one try, once.  False: there is
 * none, or it was not the instance's fault. */
bool
berth_instance_try_elsewhere(struct berth_instance_thread *i, struct berth_request *q, int r)
{
    struct berth_model *m = i->model;
    bool other = false;

    if ((r != -BERTH_EBACKEND && r != -BERTH_EINTERNAL) || q->retried || q->first_ns != 0 ||
        atomic_load(&q->cancelled))
        return false;
    (void)pthread_mutex_lock(&m->mu);
    for (uint32_t k = 0; !m->stopping && k < m->instance_len; k++)
        other =
            other || (&m->instances[k] != i && !m->instances[k].ended && !m->instances[k].broken);
    if (other) {
        q->retried = true;
        q->instance = NULL;
        berth_batcher_put_retry(&m->batcher, q, i);
        berth_model_count_queue_locked(m);
        (void)pthread_cond_broadcast(&m->work); /* not i alone may wake */
    }
    (void)pthread_mutex_unlock(&m->mu);
    if (other)
        berth_series_add(m->series.retries, 1);
    return other;
}

/* Those of the hand that have said nothing yet may go to another instance. */
void
berth_instance_retry_hand(struct berth_instance_thread *i, int result)
{
    struct berth_request **at = &i->hand, *r;
    struct berth_model *m = i->model;

    while ((r = *at) != NULL) {
        (void)pthread_mutex_lock(&m->mu);
        *at = r->next;
        i->hand_len--;
        (void)pthread_mutex_unlock(&m->mu);
        if (berth_instance_try_elsewhere(i, r, result)) {
            berth_series_sub(m->series.sequences, 1);
            continue;
        }
        (void)pthread_mutex_lock(&m->mu);
        r->next = *at;
        *at = r;
        i->hand_len++;
        (void)pthread_mutex_unlock(&m->mu);
        at = &r->next;
    }
}

/* The instance is broken; while others are not, the model goes on without it. */
bool
berth_instance_give_up(struct berth_instance_thread *i, const char *why)
{
    struct berth_model *m = i->model;
    uint32_t others = 0;

    (void)pthread_mutex_lock(&m->mu);
    for (uint32_t k = 0; k < m->instance_len; k++)
        others += &m->instances[k] != i && !m->instances[k].broken && !m->instances[k].ended;
    i->broken = others > 0;
    (void)pthread_mutex_unlock(&m->mu);
    if (others > 0)
        berth_error("model %s: instance %zu takes no more work: %s", m->name,
                    (size_t)(i - m->instances), why);
    return others > 0;
}
