#include "infer/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/cache.h"
#include "infer/check.h"
#include "infer/model_priv.h"

enum { ARENA_BYTES_MAX = 16 << 20 };
static const uint64_t stop_wait_ns = 30 * BERTH_S, kill_wait_ns = 3 * BERTH_S,
                      tick_ns = 10 * BERTH_MS, cancel_again_ns = 50 * BERTH_MS;

void
berth_model_ref(struct berth_model *m)
{
    (void)atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

void
berth_model_unref(struct berth_model *m)
{
    if (m == NULL || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(m->instances);
    berth_cache_space_free(m->cache);
    berth_lanes_free(m->lanes);
    berth_model_series_release(m);
    berth_stats_unref(m->stats);
    (void)pthread_cond_destroy(&m->work);
    (void)pthread_cond_destroy(&m->quiet);
    (void)pthread_mutex_destroy(&m->mu);
    struct berth_arena arena = m->arena; /* m itself may hold the arena's head no longer */
    free(m);
    berth_arena_fini(&arena);
}

static void
init_locks(struct berth_model *m)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&m->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&m->work, &attr);
    (void)pthread_cond_init(&m->quiet, &attr);
    (void)pthread_condattr_destroy(&attr);
}

/* The state moves, where the table allows it, and the account of the model's life has it. */
static bool
move_locked(struct berth_model *m, enum berth_model_state next)
{
    if (berth_model_move(&m->state, next) < 0)
        return false;
    const char *leaving = atomic_load(&m->leaving);
    berth_stats_state(m->stats, m->stats_version, next,
                      next == BERTH_MODEL_DRAINING && leaving != NULL ? leaving : m->why);
    return true;
}

static void
isolated_restarted(void *arg, const char *why)
{
    struct berth_model *m = arg;
    char text[160]; /* what an account of states has */

    (void)snprintf(text, sizeof text, "its worker was started again: %s", why);
    berth_stats_state(m->stats, m->stats_version, BERTH_MODEL_READY, text);
    berth_series_add(m->series.worker_restarts, 1);
}

/* On the warden's thread: the model's worker is given up. */
static void
isolated_failed(void *arg, const char *why)
{
    berth_model_fail(arg, why);
}

int
berth_model_new(const struct berth_model_make *make, struct berth_model **ret, struct berth_err *e)
{
    struct berth_model *m = calloc(1, sizeof *m);

    if (m == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "model %s: out of memory", make->name);
    berth_arena_init(&m->arena, ARENA_BYTES_MAX);
    atomic_init(&m->refs, 1);
    init_locks(m);
    berth_placement_init(&m->placement);
    m->metrics = berth_metrics_ref(make->metrics);
    m->name = berth_arena_strdup(&m->arena, make->name);
    m->id = berth_arena_strdup(&m->arena, make->id);
    m->version = berth_arena_strdup(&m->arena, make->version);
    m->path = berth_arena_strdup(&m->arena, make->path);
    m->conf = *make->conf;
    m->conf.settings_json = berth_arena_strdup(&m->arena, make->conf->settings_json);
    m->instances = calloc(make->conf->instances, sizeof *m->instances);
    if (m->name == NULL || m->id == NULL || m->version == NULL || m->path == NULL ||
        m->conf.settings_json == NULL || m->instances == NULL ||
        berth_config_merge(&m->arena, make->conf->merged, NULL, &m->conf.merged, NULL) < 0 ||
        !berth_model_pad_init(m, &make->conf->pad, make->metrics)) {
        berth_model_unref(m);
        return berth_err_set(e, BERTH_ENOMEM, "model %s: out of memory", make->name);
    }
    m->ops = make->ops;
    m->host = make->host;
    m->isolation = make->isolation;
    m->isolation.name = m->name;
    m->isolation.version = m->version;
    m->isolation.failed = isolated_failed;
    m->isolation.restarted = isolated_restarted;
    m->isolation.failed_arg = m;
    m->watchdog = make->watchdog;
    m->cores = make->cores;
    m->failed = make->failed;
    m->failed_arg = make->failed_arg;
    m->stats = make->stats;
    berth_stats_ref(m->stats);
    m->stats_version = berth_stats_version(m->stats, m->version);
    berth_model_series_init(m, make->metrics);
    if (m->conf.response_cache && make->cache != NULL)
        m->cache = berth_cache_space_new(make->cache, m->name); /* NULL: goes without */
    struct berth_batch_conf batch = berth_config_batch(make->conf, make->batch);
    berth_batcher_init(&m->batcher, &batch, 1);
    atomic_init(&m->padding, !batch.no_padding);
    m->state = BERTH_MODEL_UNLOADED;
    berth_assert(move_locked(m, BERTH_MODEL_LOADING));
    *ret = m;
    return 0;
}

/* What the engine says it is, checked against what it offers. */
static int
describe(struct berth_model *m, struct berth_err *e)
{
    const uint32_t tensors = BERTH_TASK_TENSOR | BERTH_TASK_EMBEDDING;
    const uint32_t sequences = BERTH_TASK_COMPLETION | BERTH_TASK_CHAT;
    const struct berth_describe *from = m->ops->describe(m->instances[0].engine);
    struct berth_describe *d = from != NULL ? berth_describe_copy(&m->arena, from) : NULL;

    if (d == NULL)
        return berth_err_set(e, BERTH_EBACKEND, "backend %s does not describe the model",
                             m->ops->name);
    if (d->tasks == 0 || ((d->tasks & tensors) != 0 && !BERTH_HAS(m->ops, run)) ||
        ((d->tasks & sequences) != 0 && (!BERTH_HAS(m->ops, step) || d->sequence_max == 0)))
        return berth_err_set(e, BERTH_EBACKEND,
                             "backend %s describes tasks (%#x) that it cannot run", m->ops->name,
                             d->tasks);
    if (m->conf.pad.input_len > 0 && berth_pad_check(&m->conf.pad, d, e) < 0)
        return -BERTH_EINVAL;
    (void)pthread_mutex_lock(&m->mu);
    m->batcher.rows_max = d->batch_rows_max;
    (void)pthread_mutex_unlock(&m->mu);
    atomic_store_explicit(&m->describe, d, memory_order_release);
    return 0;
}

static int
load_instances(struct berth_model *m, uint32_t threads, struct berth_err *e)
{
    struct berth_load how = {.struct_size = sizeof how,
                             .path = m->path,
                             .settings_json = m->conf.settings_json,
                             .threads = threads,
                             .isolation = m->isolation.workers != NULL ? &m->isolation : NULL};

    for (uint32_t i = 0; i < m->conf.instances; i++) {
        struct berth_err inner = {"the engine failed without a reason"};
        m->instances[i].model = m;
        int r = m->ops->load(m->host, &how, &m->instances[i].engine, &inner);
        if (r < 0)
            return berth_err_set(e, (enum berth_code) - r, "%s", inner.msg);
        m->instance_len = i + 1;
    }
    return describe(m, e);
}

static void
unload_instances(struct berth_model *m)
{
    for (uint32_t i = 0; i < m->instance_len; i++) {
        if (m->instances[i].started)
            (void)pthread_join(m->instances[i].thread, NULL);
        if (m->instances[i].started)
            berth_cores_turn_fini(&m->instances[i].turn);
        m->instances[i].started = false;
        m->ops->unload(m->instances[i].engine);
        m->instances[i].engine = NULL;
        berth_pad_room_fini(&m->instances[i].pad_room);
    }
    if (m->cores != NULL)
        berth_cores_leave(m->cores, &m->account);
}

static int
start_threads(struct berth_model *m, uint32_t threads, struct berth_err *e)
{
    const struct berth_describe *d = berth_model_describe(m);

    m->threads = d->threads != 0 ? d->threads : threads;
    if (m->threads == BERTH_THREADS_NONE) {
        m->threads = 0;
        m->cores = NULL;
    }
    for (uint32_t i = 0; i < m->instance_len; i++) {
        berth_cores_turn_init(&m->instances[i].turn, &m->account, m->threads,
                              BERTH_HAS(m->ops, threads));
        if (pthread_create(&m->instances[i].thread, NULL, berth_instance_main, &m->instances[i]) !=
            0) {
            (void)pthread_mutex_lock(&m->mu);
            m->stopping = true;
            (void)pthread_cond_broadcast(&m->work);
            (void)pthread_mutex_unlock(&m->mu);
            return berth_err_set(e, BERTH_ENOMEM, "cannot start a thread for the model");
        }
        m->instances[i].started = true;
    }
    return 0;
}

static bool
may_run_here(const struct berth_model *m)
{
    bool may = BERTH_HAS(m->ops, any_thread);

    for (uint32_t i = 0; may && i < m->instance_len; i++)
        may = m->ops->any_thread(m->instances[i].engine);
    return may;
}

int
berth_model_start(struct berth_model *m, uint32_t threads, struct berth_err *e)
{
    uint64_t start = berth_now_ns();
    int r = load_instances(m, threads, e);

    if (r == 0)
        r = start_threads(m, threads, e);
    if (r < 0) {
        unload_instances(m);
        m->instance_len = 0;
        (void)pthread_mutex_lock(&m->mu);
        (void)snprintf(m->why, sizeof m->why, "%s", e->msg);
        berth_assert(move_locked(m, BERTH_MODEL_FAILED));
        (void)pthread_mutex_unlock(&m->mu);
        return r;
    }
    for (uint32_t i = 0; BERTH_HAS(m->ops, memory) && i < m->instance_len; i++)
        m->engine_bytes += m->ops->memory(m->instances[i].engine);
    m->load_ns = berth_now_ns() - start;
    m->loaded_wall_ns = berth_wall_ns();
    (void)pthread_mutex_lock(&m->mu);
    m->may_run_here = may_run_here(m);
    m->accepting = true;
    berth_assert(move_locked(m, BERTH_MODEL_READY));
    (void)pthread_mutex_unlock(&m->mu);
    berth_watchdog_add(m->watchdog, m);
    return 0;
}

void
berth_model_leave(struct berth_model *m, const char *why)
{
    const char *none = NULL;

    (void)atomic_compare_exchange_strong(&m->leaving, &none, why);
}

enum berth_model_state
berth_model_state(struct berth_model *m, char why[480])
{
    (void)pthread_mutex_lock(&m->mu);
    enum berth_model_state s = m->state;
    if (why != NULL)
        memcpy(why, m->why, sizeof m->why);
    (void)pthread_mutex_unlock(&m->mu);
    return s;
}

void
berth_model_count_queue_locked(struct berth_model *m)
{
    berth_series_set(m->series.queue_len, m->batcher.len + m->batcher.seq_len);
}

/* Take no more, and let the instances end.  Returns those that wait: to be dropped without the
 * lock. */
static struct berth_request *
close_locked(struct berth_model *m)
{
    struct berth_request *waiting = berth_batcher_take_all(&m->batcher);

    m->accepting = false;
    m->stopping = true;
    berth_model_count_queue_locked(m);
    (void)pthread_cond_broadcast(&m->work);
    (void)pthread_cond_broadcast(&m->quiet);
    return waiting;
}

static void
drop_all(struct berth_request *first, int result, const char *msg)
{
    for (struct berth_request *r = first, *next; r != NULL; r = next) {
        next = r->next;
        berth_request_drop(r, result, msg);
    }
}

void
berth_model_fail(struct berth_model *m, const char *why)
{
    (void)pthread_mutex_lock(&m->mu);
    bool moved = m->state == BERTH_MODEL_READY || m->state == BERTH_MODEL_DRAINING;
    if (moved) {
        (void)snprintf(m->why, sizeof m->why, "%s", why);
        berth_assert(move_locked(m, BERTH_MODEL_FAILED));
    }
    struct berth_request *waiting = close_locked(m);
    (void)pthread_mutex_unlock(&m->mu);
    drop_all(waiting, -BERTH_ENOTREADY, "the model failed");
    if (moved && m->failed != NULL)
        m->failed(m->failed_arg);
}

/* Mark everything in the engine as cancelled, and tell it. */
static void
cut_locked(struct berth_model *m)
{
    for (uint32_t i = 0; i < m->instance_len; i++) {
        struct berth_instance_thread *t = &m->instances[i];
        for (uint32_t k = 0; k < t->running_len; k++)
            atomic_store(&t->running[k]->cancelled, true);
        for (struct berth_request *r = t->hand; r != NULL; r = r->next)
            atomic_store(&r->cancelled, true);
        berth_instance_cancel_locked(t);
    }
}

/* A process need not be asked. */
static void
kill_locked(struct berth_model *m)
{
    for (uint32_t i = 0; m->isolation.workers != NULL && i < m->instance_len; i++) {
        if (m->instances[i].started && !m->instances[i].ended)
            berth_isolated_kill(m->instances[i].engine,
                                "the model was unloaded and did not end its work");
    }
}

static bool
is_ended_locked(const struct berth_model *m)
{
    for (uint32_t i = 0; i < m->instance_len; i++) {
        if (m->instances[i].started && !m->instances[i].ended)
            return false;
    }
    return m->visitors == 0;
}

static void
tick_locked(struct berth_model *m)
{
    uint64_t at = berth_now_ns() + tick_ns;
    struct timespec until = {.tv_sec = (time_t)(at / BERTH_S), .tv_nsec = (long)(at % BERTH_S)};

    (void)pthread_cond_timedwait(&m->quiet, &m->mu, &until);
}

void
berth_model_stop(struct berth_model *m, uint64_t drain_ns, const atomic_bool *cut)
{
    uint64_t end = berth_now_ns() + drain_ns;

    (void)pthread_mutex_lock(&m->mu);
    bool draining = move_locked(m, BERTH_MODEL_DRAINING);
    /* Requests hold a reference each, and so does whoever is about to submit one: when ours is the
     * last, nothing is left to wait for.  Dropping one tells nobody, hence the ticks. */
    while (draining && atomic_load(&m->refs) > 1 + atomic_load(&m->kept) && berth_now_ns() < end &&
           !atomic_load(cut))
        tick_locked(m);
    struct berth_request *waiting = close_locked(m);
    (void)pthread_mutex_unlock(&m->mu);
    if (m->cache != NULL)
        berth_cache_space_drop(m->cache);
    drop_all(waiting, -BERTH_ENOTREADY, "the model was unloaded");

    end = berth_now_ns() + stop_wait_ns;
    const uint64_t patient_ns = berth_now_ns() + kill_wait_ns;
    (void)pthread_mutex_lock(&m->mu);
    while (!is_ended_locked(m) && berth_now_ns() < end) {
        cut_locked(m);
        if (berth_now_ns() >= patient_ns)
            kill_locked(m);
        if (!is_ended_locked(m))
            tick_locked(m);
    }
    bool ended = is_ended_locked(m);
    if (!ended) {
        (void)snprintf(m->why, sizeof m->why,
                       "its engine does not end its work; its memory comes back with a restart");
        (void)move_locked(m, BERTH_MODEL_FAILED);
    }
    (void)pthread_mutex_unlock(&m->mu);
    if (!ended) {
        berth_model_ref(m); /* its thread may still use it: keep it for good */
        return;
    }
    if (m->loaded_wall_ns != 0)
        berth_watchdog_remove(m->watchdog, m);
    unload_instances(m);
    (void)pthread_mutex_lock(&m->mu);
    m->instance_len = 0;
    if (draining && m->state == BERTH_MODEL_DRAINING)
        berth_assert(move_locked(m, BERTH_MODEL_UNLOADED));
    (void)pthread_mutex_unlock(&m->mu);
}

void
berth_model_wake_locked(struct berth_model *m)
{
    struct berth_batcher *b = &m->batcher;

    if (m->sleepers > 0 && (b->seq_len > 0 || b->len == 1 || berth_batcher_due(b, berth_now_ns())))
        (void)pthread_cond_signal(&m->work);
}

/* The core's part of a new request. */
static void
begin(struct berth_request *r, struct berth_model *m)
{
    atomic_store_explicit(&r->cancelled, false, memory_order_relaxed);
    atomic_store_explicit(&r->expired, false, memory_order_relaxed);
    atomic_store_explicit(&r->slow, false, memory_order_relaxed);
    atomic_store_explicit(&r->delta_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&r->delta_count, 0, memory_order_relaxed);
    r->model = m;
    r->instance = NULL;
    r->outputs = NULL;
    r->output_count = 0;
    r->output_cap = 0;
    r->result = 0;
    r->err.msg[0] = '\0';
    r->finish = (struct berth_finish){.reason = BERTH_FINISH_STOP};
    r->gen.struct_size = sizeof r->gen;
    r->run_ns = r->first_ns = r->done_ns = r->company_ns = r->cores_ns = r->engine_ns = 0;
    r->padded_permille = 0;
    r->run_inputs = NULL;
    r->cached = r->on_loop = false;
    r->reuse = NULL;
    r->kept = NULL;
    r->batch_requests = r->batch_max = r->queue_ahead = r->runs = r->instance_number = 0;
    r->queued = r->timed_out = r->retried = false;
    r->avoid = NULL;
}

static int
not_ready_locked(const struct berth_model *m, struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOTREADY, "model '%s' is %s%s%s", m->name,
                         berth_model_state_name(m->state), m->why[0] != '\0' ? ": " : "", m->why);
}

int
berth_model_submit(struct berth_model *m, struct berth_request *r, struct berth_err *e)
{
    const struct berth_describe *d = berth_model_describe(m);
    const uint64_t now = berth_now_ns();
    const bool tensors = r->task == BERTH_TASK_TENSOR || r->task == BERTH_TASK_EMBEDDING;
    uint64_t expire = 0;
    int ret = 0;

    const struct berth_pad_conf *pad =
        atomic_load_explicit(&m->padding, memory_order_relaxed) ? &m->conf.pad : NULL;
    if (d != NULL && (ret = berth_check_request(d, pad, r, e)) < 0)
        return ret;
    if (r->deadline_ns != 0 && r->deadline_ns <= now)
        return berth_err_set(e, BERTH_EDEADLINE, "the deadline passed before the model had it");
    begin(r, m);
    r->submit_ns = now;
    if (m->cache != NULL && berth_reuse_try(m, r))
        return 0;
    (void)pthread_mutex_lock(&m->mu);
    if (!m->accepting) {
        ret = not_ready_locked(m, e);
    } else if (berth_batcher_put(&m->batcher, r) < 0) {
        ret = berth_model_full_locked(m, r, e);
    } else {
        expire = r->expire_ns; /* r is not ours any more without the lock */
        r->queue_ahead = m->batcher.len + m->batcher.seq_len - 1;
        berth_model_ref(m);
        berth_model_count_queue_locked(m);
        if (m->batcher.at_once && tensors)
            berth_lane_note_locked(m, r->loop);
        else
            berth_model_wake_locked(m);
    }
    (void)pthread_mutex_unlock(&m->mu);
    if (ret == 0)
        berth_watchdog_note(m->watchdog, expire);
    else
        r->model = NULL;
    if (ret == -BERTH_EAGAIN)
        berth_series_add(m->series.refused, 1);
    return ret;
}

void
berth_request_cancel(struct berth_request *r)
{
    struct berth_model *m = r->model;

    if (m == NULL || atomic_exchange(&r->cancelled, true))
        return;
    (void)pthread_mutex_lock(&m->mu);
    bool queued = r->instance == NULL && berth_batcher_remove(&m->batcher, r);
    bool running = !queued && r->instance != NULL;
    berth_model_count_queue_locked(m);
    if (!queued && r->instance != NULL) {
        struct berth_instance_thread *i = r->instance;
        for (uint32_t k = 0; k < i->running_len; k++) {
            if (i->running[k] == r) {
                berth_instance_cancel_locked(i);
                break;
            }
        }
    }
    (void)pthread_mutex_unlock(&m->mu);
    if (queued)
        berth_request_drop(r, -BERTH_ECANCELED, "cancelled");
    else if (running) /* in case run() had not begun and so did not hear of it */
        berth_watchdog_note(m->watchdog, berth_now_ns() + cancel_again_ns);
}

/* Is it dead?  Else *next_ns is at most its deadline. */
static bool
expire_running(struct berth_request *r, uint64_t now_ns, uint64_t *next_ns)
{
    if (berth_request_is_dead(r, now_ns))
        return true;
    if (r->deadline_ns != 0 && r->deadline_ns < *next_ns)
        *next_ns = r->deadline_ns;
    return false;
}

uint64_t
berth_model_expire(struct berth_model *m, uint64_t now_ns)
{
    uint64_t next_ns;
    bool delayed;

    (void)pthread_mutex_lock(&m->mu);
    struct berth_request *dead = berth_batcher_expire(&m->batcher, now_ns, &delayed, &next_ns);
    berth_model_count_queue_locked(m);
    if (delayed && m->sleepers > 0)
        (void)pthread_cond_signal(&m->work);
    for (uint32_t i = 0; i < m->instance_len; i++) {
        struct berth_instance_thread *t = &m->instances[i];
        bool cut = t->running_len > 0;
        for (uint32_t k = 0; k < t->running_len; k++)
            cut = expire_running(t->running[k], now_ns, &next_ns) && cut;
        for (struct berth_request *r = t->hand; r != NULL; r = r->next)
            (void)expire_running(r, now_ns, &next_ns);
        if (cut) { /* again until it ends: a cancel() just before run() begins goes unseen */
            next_ns = now_ns + cancel_again_ns < next_ns ? now_ns + cancel_again_ns : next_ns;
            berth_instance_cancel_locked(t);
        }
    }
    (void)pthread_mutex_unlock(&m->mu);
    berth_requests_drop_dead(dead, now_ns);
    return next_ns;
}

int64_t
berth_model_tokenize(struct berth_model *m, const char *text, size_t len, int32_t *ret, size_t cap)
{
    if (!BERTH_HAS(m->ops, tokenize))
        return -BERTH_EUNSUPPORTED;
    (void)pthread_mutex_lock(&m->mu);
    bool loaded = !m->stopping && m->instance_len > 0 && m->accepting;
    m->visitors += loaded;
    (void)pthread_mutex_unlock(&m->mu);
    if (!loaded)
        return -BERTH_ENOTREADY;
    int64_t n = m->ops->tokenize(m->instances[0].engine, text, len, true, ret, cap);
    (void)pthread_mutex_lock(&m->mu);
    if (--m->visitors == 0)
        (void)pthread_cond_broadcast(&m->quiet);
    (void)pthread_mutex_unlock(&m->mu);
    return n;
}
