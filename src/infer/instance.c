#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/model_priv.h"

enum {
    FAILED_STEPS_MAX = 3,    /* in a row: then the model is FAILED */
    STOPPING_STEPS_MAX = 64, /* steps an engine gets to let go of cancelled sequences */
    WEIGHT_STEP = 2,         /* of core-seconds: somebody reads a generation as it goes on */
    WEIGHT_RUN = 1
};
static const uint64_t idle_wait_ns = 5 * BERTH_MS;

bool
berth_request_is_dead(struct berth_request *r, uint64_t now_ns)
{
    if (r->deadline_ns != 0 && r->deadline_ns <= now_ns &&
        !atomic_load_explicit(&r->cancelled, memory_order_relaxed)) {
        atomic_store(&r->expired, true);
        atomic_store(&r->cancelled, true);
    }
    return atomic_load_explicit(&r->cancelled, memory_order_relaxed);
}

int
berth_request_dead_result(struct berth_request *r, const char **ret_msg)
{
    bool expired = atomic_load(&r->expired);

    *ret_msg = expired                 ? "the deadline passed"
               : atomic_load(&r->slow) ? "the reader was too slow"
                                       : "cancelled";
    return expired ? -BERTH_EDEADLINE : -BERTH_ECANCELED;
}

static void
done_run(struct berth_msg *msg)
{
    struct berth_request *r =
        (struct berth_request *)(void *)((char *)msg - offsetof(struct berth_request, msg));
    struct berth_model *m = r->model;

    r->model = NULL; /* from here on berth_request_cancel() has no effect */
    berth_model_unref(m);
    r->done(r);
}

/* The end of r: sets result (and the message of err when it is not 0), posts done().  r is gone
 * then.  Not for requests that are still queued or running. */
static void
end_request(struct berth_request *r, int result, const char *msg)
{
    r->result = result;
    if (result != 0) {
        if (msg != NULL)
            (void)berth_err_set(&r->err, BERTH_EINTERNAL, "%s", msg);
        r->outputs = NULL;
        r->output_count = 0;
    }
    r->done_ns = berth_now_ns();
    r->msg.run = done_run;
    berth_loop_post(r->loop, &r->msg);
}

/* The numbers of a request that is about to end, before it is given away.  end_ns: when its engine
 * was done with it; 0: it never ran. */
static struct berth_stats_item
count(struct berth_model *m, const struct berth_request *r, int result, uint64_t end_ns)
{
    uint64_t now = berth_now_ns(), taken_ns = r->run_ns != 0 ? r->run_ns + r->cores_ns : now;
    uint64_t before_ns = r->engine_ns < end_ns ? end_ns - r->engine_ns : taken_ns;
    bool canceled = result == -BERTH_ECANCELED || result == -BERTH_EDEADLINE;

    berth_series_add(result == 0 ? m->series.infer_ok
                     : canceled  ? m->series.infer_canceled
                                 : m->series.infer_error,
                     1);
    if (canceled)
        berth_series_add(m->series.canceled, 1);
    else
        berth_series_add(result == 0 ? m->series.version_ok : m->series.version_error, 1);
    return (struct berth_stats_item){
        .result = result,
        .latency_ns = now - r->submit_ns,
        .rows = r->rows,
        .queue_ns = taken_ns - r->submit_ns,
        .input_ns = end_ns != 0 && before_ns > taken_ns ? before_ns - taken_ns : 0,
        .infer_ns = r->engine_ns,
        .output_ns = end_ns != 0 ? now - end_ns : 0,
        .tokens_in = r->finish.prompt_tokens,
        .tokens_out = r->finish.completion_tokens,
    };
}

void
berth_request_drop(struct berth_request *r, int result, const char *msg)
{
    struct berth_model *m = r->model;
    struct berth_stats_item item = count(m, r, result, 0);

    berth_stats_add(m->stats, m->stats_version, &item, 1, NULL);
    end_request(r, result, msg);
}

/* ---- tensors ---- */

void
berth_instance_cancel_locked(struct berth_instance_thread *i)
{
    struct berth_model *m = i->model;

    if (i->running_len == 0 || !BERTH_HAS(m->ops, cancel))
        return;
    for (uint32_t k = 0; k < i->running_len; k++) {
        if (!atomic_load(&i->running[k]->cancelled))
            return; /* somebody still waits for this batch */
    }
    /* The instance's thread waits for us before it goes on, so that this run is the one met. */
    i->cancelling++;
    (void)pthread_mutex_unlock(&m->mu);
    m->ops->cancel(i->engine);
    (void)pthread_mutex_lock(&m->mu);
    if (--i->cancelling == 0)
        (void)pthread_cond_broadcast(&m->quiet);
}

static void
publish_running(struct berth_instance_thread *i, struct berth_request *const reqs[], uint32_t n)
{
    struct berth_model *m = i->model;

    (void)pthread_mutex_lock(&m->mu);
    i->running_len = 0;
    while (i->cancelling > 0)
        (void)pthread_cond_wait(&m->quiet, &m->mu);
    if (n > 0)
        memcpy(i->running, reqs, n * sizeof reqs[0]);
    i->running_len = n;
    (void)pthread_mutex_unlock(&m->mu);
}

/* A worker that is being started again holds no cores meanwhile. */
static void
await_worker(struct berth_instance_thread *i, bool running)
{
    if (i->model->isolation.workers != NULL)
        berth_isolated_wait(i->engine, running);
}

/* Wait for cores and tell the engine how many: what it waited. */
static uint64_t
take_cores(struct berth_instance_thread *i, uint32_t weight)
{
    struct berth_model *m = i->model;
    uint64_t waited_ns;

    if (m->cores == NULL)
        return 0;
    const uint32_t n = berth_cores_take(m->cores, &i->turn, weight, &waited_ns);
    if (n != atomic_load_explicit(&i->cores_given, memory_order_relaxed)) {
        atomic_store_explicit(&i->cores_given, n, memory_order_relaxed);
        berth_series_set(m->series.cores_given, n);
        if (i->turn.flexible)
            m->ops->threads(i->engine, n);
    }
    if (waited_ns > 0)
        berth_series_observe(m->series.cores_wait, (double)waited_ns / 1e9);
    return waited_ns;
}

static void
give_cores(struct berth_instance_thread *i, uint64_t run_ns, bool again)
{
    if (i->model->cores == NULL)
        return;
    /* What counts is the time of the thread that worked. */
    if (i->model->isolation.workers != NULL && i->turn.cpu_ns != UINT64_MAX)
        i->turn.cpu_ns -= berth_isolated_cpu_ns(i->engine);
    berth_cores_give(i->model->cores, &i->turn, run_ns, again);
}

static bool
is_wanted(struct berth_request *const reqs[], uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        if (!atomic_load_explicit(&reqs[k]->cancelled, memory_order_relaxed))
            return true;
    }
    return false;
}

/* They did not run: whoever cancels must not meet them here when they have ended. */
static int
not_run(struct berth_instance_thread *i, uint64_t *ret_end_ns, int r)
{
    publish_running(i, NULL, 0);
    *ret_end_ns = 0;
    return r;
}

/* How often this thread had to leave its core to another one.  A run in which that happened is no
 * measure of the model; where the loop shares the core that is most of them. */
static long
pushed_aside(const struct berth_instance_thread *i)
{
    struct rusage use;

    if (i->lent || !i->model->may_run_here) /* what a loop runs has no time for it */
        return 0;
    return getrusage(RUSAGE_THREAD, &use) == 0 ? use.ru_nivcsw : 0;
}

/* One call of run().  The requests' results are in them afterwards, or r < 0 for all. */
static int
run(struct berth_instance_thread *i, struct berth_request *const reqs[], uint32_t n,
    uint64_t *ret_end_ns, struct berth_err *e)
{
    struct berth_model *m = i->model;
    int r = 0;

    if (reqs[0]->pad != NULL && (r = berth_instance_pad(i, reqs, n, e)) < 0)
        return not_run(i, ret_end_ns, r);
    await_worker(i, true);
    const uint64_t waited_ns = i->lent ? 0 : take_cores(i, WEIGHT_RUN); /* a loop never waits */
    if (waited_ns > 0 && !is_wanted(reqs, n)) {
        give_cores(i, 0, false);
        return not_run(i, ret_end_ns, -BERTH_ECANCELED);
    }
    for (uint32_t k = 0; k < n; k++) {
        reqs[k]->cores_ns += waited_ns;
        reqs[k]->batch_requests = n;
        reqs[k]->runs++;
        berth_host_run_begin(reqs[k]);
    }
    publish_running(i, reqs, n);
    const long pushed = pushed_aside(i);
    uint64_t start = berth_now_ns();
    (void)snprintf(e->msg, sizeof e->msg, "the model failed without a reason");
    r = m->ops->run(i->engine, reqs, n, e);
    *ret_end_ns = berth_now_ns();
    const uint64_t run_ns = *ret_end_ns - start;
    i->free_ns = *ret_end_ns;
    const bool is_measure = pushed_aside(i) == pushed;
    for (uint32_t k = 0; k < n; k++)
        reqs[k]->engine_ns = run_ns;
    if (!i->lent)
        give_cores(i, run_ns, false);
    berth_series_observe(m->series.infer_seconds, (double)run_ns / 1e9);
    berth_series_observe(m->series.batch_size, n);
    publish_running(i, NULL, 0);
    (void)pthread_mutex_lock(&m->mu);
    if (r == 0)
        berth_batcher_ran(&m->batcher, n, run_ns);
    if (m->may_run_here && is_measure)
        m->batcher.at_once =
            berth_placement_ran(&m->placement, run_ns) && berth_batcher_may_hurry(&m->batcher);
    (void)pthread_mutex_unlock(&m->mu);
    return r;
}

/* End n requests that ran until end_ns (0: they did not): with r for all, or each with its own
 * result. */
static void
end_batch(struct berth_instance_thread *i, struct berth_request *const reqs[], uint32_t n, int r,
          const struct berth_err *e, uint64_t end_ns)
{
    struct berth_model *m = i->model;
    struct berth_stats_run run = {.rows = 0};

    for (uint32_t k = 0; k < n; k++) {
        struct berth_request *q = reqs[k];
        const char *msg;
        q->result = r < 0 ? r : berth_host_run_end(q);
        if (q->result != 0 && atomic_load(&q->cancelled)) {
            q->result = berth_request_dead_result(q, &msg);
            (void)berth_err_set(&q->err, BERTH_ECANCELED, "%s", msg);
        } else if (r < 0) {
            q->err = *e;
        }
        if (q->result == 0 && q->reuse != NULL)
            berth_reuse_keep(q);
        i->items[k] = count(m, q, q->result, end_ns);
        run.rows += i->items[k].rows;
    }
    if (r == 0)
        atomic_store_explicit(&m->output_bytes, reqs[0]->arena.used_bytes, memory_order_relaxed);
    run.input_ns = i->items[0].input_ns;
    run.infer_ns = i->items[0].infer_ns;
    run.output_ns = i->items[n - 1].output_ns;
    berth_stats_add(m->stats, m->stats_version, i->items, n, end_ns != 0 ? &run : NULL);
    for (uint32_t k = 0; k < n; k++)
        end_request(reqs[k], reqs[k]->result, NULL);
}

static void
run_batch(struct berth_instance_thread *i, uint32_t n)
{
    struct berth_err e;
    uint64_t end_ns;
    int r = run(i, i->batch, n, &end_ns, &e);

    if (r < 0 && n == 1 && berth_instance_try_elsewhere(i, i->batch[0], r))
        return;
    if (r == 0 || n == 1 || !is_wanted(i->batch, n)) {
        end_batch(i, i->batch, n, r, &e, end_ns);
        return;
    }
    /* One bad item must not fail its neighbours: find it by running them one by one. */
    memcpy(i->single, i->batch, n * sizeof i->batch[0]);
    for (uint32_t k = 0; k < n; k++) {
        if (berth_request_is_dead(i->single[k], berth_now_ns())) {
            r = -BERTH_ECANCELED;
            end_ns = 0;
        } else {
            r = run(i, &i->single[k], 1, &end_ns, &e);
            if (r < 0 && berth_instance_try_elsewhere(i, i->single[k], r))
                continue;
        }
        end_batch(i, &i->single[k], 1, r, &e, end_ns);
    }
}

/* Take a batch: the living to i->batch, the dead to a list.  Returns how many live. */
static uint32_t
take_locked(struct berth_instance_thread *i, uint64_t now, struct berth_request **ret_dead,
            uint64_t *ret_wake_ns)
{
    struct berth_model *m = i->model;
    uint32_t live = 0;
    uint64_t next_ns;
    bool delayed;
    const uint32_t batch_max = berth_batcher_requests_max(&m->batcher);

    *ret_dead = berth_batcher_expire(&m->batcher, now, &delayed, &next_ns);
    const uint32_t n = berth_batcher_take(&m->batcher, now, i, i->batch, ret_wake_ns);
    for (uint32_t k = 0; k < n; k++) {
        struct berth_request *r = i->batch[k];
        if (berth_request_is_dead(r, now)) {
            r->next = *ret_dead;
            *ret_dead = r;
            continue;
        }
        r->run_ns = now;
        if (batch_max > 1) /* else nobody was waited for */
            r->company_ns = now - (i->free_ns > r->submit_ns ? i->free_ns : r->submit_ns);
        r->batch_max = batch_max;
        r->instance_number = (uint32_t)(i - m->instances);
        r->on_loop = i->lent;
        r->instance = i;
        i->batch[live++] = r;
    }
    /* Seen by whoever cancels from here on, although run() has not begun. */
    memcpy(i->running, i->batch, live * sizeof i->batch[0]);
    i->running_len = live;
    berth_model_count_queue_locked(m);
    return live;
}

/* ---- sequences ---- */

struct berth_request *
berth_instance_next(struct berth_instance_thread *i)
{
    struct berth_model *m = i->model;
    struct berth_request *dead, *r = NULL;
    uint64_t now = berth_now_ns(), next_ns;
    bool delayed;

    (void)pthread_mutex_lock(&m->mu);
    dead = berth_batcher_expire(&m->batcher, now, &delayed, &next_ns);
    uint32_t max = atomic_load(&m->describe)->sequence_max;
    while (i->hand_len < max && (r = berth_batcher_take_sequence(&m->batcher, i)) != NULL) {
        if (!berth_request_is_dead(r, now))
            break;
        r->next = dead;
        dead = r;
    }
    if (i->hand_len == max)
        r = NULL;
    if (r != NULL) {
        r->run_ns = now;
        r->instance = i;
        r->batch_requests = i->hand_len + 1;
        r->cores_ns = i->cores_sum; /* the difference at its end is its own */
        r->engine_ns = i->engine_sum + (now - i->step_ns);
        r->batch_max = max;
        r->runs = 1;
        r->instance_number = (uint32_t)(i - m->instances);
        r->next = i->hand;
        i->hand = r;
        i->hand_len++;
        berth_series_add(m->series.sequences, 1);
        berth_series_observe(m->series.queue_seconds, (double)(now - r->submit_ns) / 1e9);
    }
    berth_model_count_queue_locked(m);
    (void)pthread_mutex_unlock(&m->mu);
    berth_requests_drop_dead(dead, now);
    return r;
}

void
berth_instance_end_sequence(struct berth_request *r, int result, const char *msg)
{
    struct berth_instance_thread *i = r->instance;
    struct berth_model *m = i->model;
    struct berth_request **at = &i->hand;

    (void)pthread_mutex_lock(&m->mu);
    while (*at != NULL && *at != r)
        at = &(*at)->next;
    berth_assert(*at == r); /* a backend ends each sequence once */
    *at = r->next;
    i->hand_len--;
    (void)pthread_mutex_unlock(&m->mu);
    berth_series_sub(m->series.sequences, 1);
    if (result != 0 && atomic_load(&r->cancelled))
        result = berth_request_dead_result(r, &msg);
    berth_series_add(m->series.tokens_in, r->finish.prompt_tokens);
    berth_series_add(m->series.tokens_out, r->finish.completion_tokens);
    uint64_t now = berth_now_ns();
    r->cores_ns = i->cores_sum - r->cores_ns;
    r->engine_ns = i->engine_sum + (i->step_ns != 0 ? now - i->step_ns : 0) - r->engine_ns;
    berth_series_observe(m->series.infer_seconds, (double)(now - r->run_ns) / 1e9);
    if (r->first_ns != 0)
        berth_series_observe(m->series.first_token, (double)(r->first_ns - r->submit_ns) / 1e9);
    if (result == 0 && r->reuse != NULL)
        berth_reuse_keep(r);
    struct berth_stats_item item = count(m, r, result, now);
    const struct berth_stats_run run = {.rows = 1, .infer_ns = item.infer_ns};
    berth_stats_add(m->stats, m->stats_version, &item, 1, &run);
    end_request(r, result, msg != NULL ? msg : "the model failed without a reason");
}

static void
fail_hand(struct berth_instance_thread *i, int result, const char *msg)
{
    while (i->hand != NULL)
        berth_instance_end_sequence(i->hand, result, msg);
}

static void
step(struct berth_instance_thread *i)
{
    struct berth_model *m = i->model;
    struct berth_err e = {"the model failed without a reason"};
    uint32_t before = i->hand_len;

    await_worker(i, false);
    i->cores_sum += take_cores(i, WEIGHT_STEP);
    i->step_ns = berth_now_ns();
    int r = m->ops->step(i->engine, (struct berth_queue *)(void *)i, &e);
    const uint64_t step_ns = berth_now_ns() - i->step_ns;

    i->engine_sum += step_ns;
    i->step_ns = 0;
    give_cores(i, step_ns, r >= 0 && i->hand_len > 0);
    if (r >= 0) {
        i->failed_steps = 0;
        i->idle_steps = before == 0 && i->hand_len == 0 ? i->idle_steps + 1 : 0;
        return;
    }
    berth_instance_retry_hand(i, r);
    fail_hand(i, r, e.msg);
    if (BERTH_HAS(m->ops, reset))
        m->ops->reset(i->engine);
    if (++i->failed_steps >= FAILED_STEPS_MAX && !berth_instance_give_up(i, e.msg))
        berth_model_fail(m, e.msg);
}

/* The model goes: give the engine a few steps to notice that its sequences are cancelled. */
static void
let_go(struct berth_instance_thread *i)
{
    struct berth_model *m = i->model;

    for (int k = 0; k < STOPPING_STEPS_MAX && i->hand_len > 0; k++)
        step(i);
    if (i->hand_len == 0)
        return;
    fail_hand(i, -BERTH_ECANCELED, "the model was unloaded");
    if (BERTH_HAS(m->ops, reset))
        m->ops->reset(i->engine);
}

/* ---- the thread ---- */

static void
sleep_locked(struct berth_instance_thread *i, uint64_t until_ns)
{
    struct berth_model *m = i->model;

    if (i->broken) { /* until the model goes; what wakes the others must not be lost on it */
        (void)pthread_cond_wait(&m->quiet, &m->mu);
        return;
    }
    m->sleepers++;
    i->asleep = true;
    if (until_ns == UINT64_MAX) {
        (void)pthread_cond_wait(&m->work, &m->mu);
    } else {
        struct timespec until = {.tv_sec = (time_t)(until_ns / BERTH_S),
                                 .tv_nsec = (long)(until_ns % BERTH_S)};
        (void)pthread_cond_timedwait(&m->work, &m->mu, &until);
    }
    i->asleep = false;
    m->sleepers--;
}

/* Take a batch and run it; false when none is due, and when one will be. */
static bool
work_batch_locked(struct berth_instance_thread *i, uint64_t *ret_wake_ns)
{
    struct berth_model *m = i->model;
    struct berth_request *dead = NULL;
    const uint64_t now = berth_now_ns();
    const uint32_t n = take_locked(i, now, &dead, ret_wake_ns);

    if (n == 0 && dead == NULL)
        return false;
    (void)pthread_mutex_unlock(&m->mu);
    berth_requests_drop_dead(dead, now);
    for (uint32_t k = 0; k < n; k++)
        berth_series_observe(m->series.queue_seconds, (double)(now - i->batch[k]->submit_ns) / 1e9);
    if (n > 0)
        run_batch(i, n);
    (void)pthread_mutex_lock(&m->mu);
    return true;
}

bool
berth_instance_work_locked(struct berth_instance_thread *i)
{
    uint64_t wake_ns;

    return work_batch_locked(i, &wake_ns);
}

/* One round of work; false when there was none, and when to look again. */
static bool
work_locked(struct berth_instance_thread *i, uint64_t *ret_wake_ns)
{
    struct berth_model *m = i->model;
    bool worked = false;

    *ret_wake_ns = UINT64_MAX;
    if (i->broken)
        return false;
    if (i->hand_len > 0 || berth_batcher_has_sequence(&m->batcher, i)) {
        (void)pthread_mutex_unlock(&m->mu);
        step(i);
        (void)pthread_mutex_lock(&m->mu);
        if (i->idle_steps > 0) /* an engine that does not take what waits: do not spin */
            *ret_wake_ns = berth_now_ns() + idle_wait_ns;
        else
            worked = true;
    }
    if (m->batcher.len == 0 || m->stopping)
        return worked;
    uint64_t wake_ns;
    if (work_batch_locked(i, &wake_ns))
        return true;
    *ret_wake_ns = wake_ns < *ret_wake_ns ? wake_ns : *ret_wake_ns;
    return worked;
}

void *
berth_instance_main(void *arg)
{
    struct berth_instance_thread *i = arg;
    struct berth_model *m = i->model;
    uint64_t wake_ns;
    char name[16];

    (void)snprintf(name, sizeof name, "m-%.13s", m->name);
    (void)pthread_setname_np(pthread_self(), name);
    (void)pthread_mutex_lock(&m->mu);
    while (!m->stopping) {
        if (i->lent)
            sleep_locked(i, UINT64_MAX);
        else if (!work_locked(i, &wake_ns) && !m->stopping)
            sleep_locked(i, wake_ns);
    }
    while (i->lent)
        sleep_locked(i, UINT64_MAX);
    (void)pthread_mutex_unlock(&m->mu);
    let_go(i);
    if (m->cores != NULL)
        berth_cores_drop(m->cores, &i->turn);
    (void)pthread_mutex_lock(&m->mu);
    i->ended = true;
    (void)pthread_cond_broadcast(&m->quiet);
    (void)pthread_mutex_unlock(&m->mu);
    return NULL;
}
