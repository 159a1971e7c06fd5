#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "plugin/workers_priv.h"

/*
 * A backend's operations, done by a worker.  The core sees a berth_instance as it sees any other;
 * here it is a struct berth_worker.
 */
static const uint64_t slice_ns = 50 * BERTH_MS, cancel_ns_max = 10 * BERTH_S,
                      side_ns_max = 60 * BERTH_S;
enum { COPY_BYTES_MAX = 64 << 20, ALIGN = 64 };

struct berth_worker *
berth_worker_of(const struct berth_instance *m)
{
    return (struct berth_worker *)(void *)m;
}

/* ---- calls ---- */

static int
not_there_locked(const struct berth_worker *w, struct berth_err *e)
{
    if (w->state == BERTH_WORKER_BROKEN)
        return berth_err_set(e, BERTH_ENOTREADY, "%s", w->why);
    return berth_err_set(e, BERTH_EBACKEND,
                         "%s.  It is being started again: try again, without what made it fail",
                         w->why[0] != '\0' ? w->why : "the model's process is gone");
}

static void
wait_changed_locked(struct berth_worker *w, uint64_t ns)
{
    uint64_t at = berth_now_ns() + ns;
    struct timespec until = {.tv_sec = (time_t)(at / BERTH_S), .tv_nsec = (long)(at % BERTH_S)};

    (void)pthread_cond_timedwait(&w->changed, &w->mu, &until);
}

static void
leave(struct berth_worker *w)
{
    (void)pthread_mutex_lock(&w->mu);
    w->calls--;
    (void)pthread_mutex_unlock(&w->mu);
}

struct call {
    struct berth_worker *w;
    struct berth_lane *lane;
    struct berth_area in, out;
    enum berth_lane_name name;
    uint32_t seq;
    uint64_t ns_max; /* 0: no limit */
};

static struct call
call_of(struct berth_worker *w, enum berth_lane_name name, uint64_t ns_max)
{
    return (struct call){.w = w,
                         .name = name,
                         .lane = &w->region.head->lanes[name],
                         .in = berth_region_in(&w->region, name),
                         .out = berth_region_out(&w->region, name),
                         .ns_max = ns_max};
}

/* Is it time to lose patience?  Looked at now and then while an answer is waited for. */
static bool
is_dead(struct call *k, uint64_t start_ns, struct berth_err *e)
{
    struct berth_worker *w = k->w;
    uint64_t now = berth_now_ns();
    char why[160];

    (void)pthread_mutex_lock(&w->mu);
    bool dead = w->state != BERTH_WORKER_READY;
    if (dead) {
        (void)not_there_locked(w, e);
    } else if (k->ns_max != 0 && now - start_ns >= k->ns_max) {
        (void)snprintf(why, sizeof why,
                       "the engine did not end its work within %.3g s (run_timeout_secs) and was "
                       "ended",
                       (double)k->ns_max / 1e9);
        berth_worker_kill_locked(w, why);
    } else if (k->name == BERTH_LANE_RUN && w->run_cancelled &&
               now - w->cancelled_ns >= cancel_ns_max) {
        berth_worker_kill_locked(w, "the engine did not end work that nobody waited for any more "
                                    "and was ended");
    }
    (void)pthread_mutex_unlock(&w->mu);
    return dead;
}

/* Post a command and wait for its answer: *ret_result is what the worker says, *ret_len its
 * message's length, checked.  -BERTH_EBACKEND, -BERTH_ENOTREADY: it died. */
static int
ask(struct call *k, uint32_t command, size_t in_len, int64_t *ret_result, size_t *ret_len,
    struct berth_err *e)
{
    struct berth_worker *w = k->w;
    const uint64_t start = berth_now_ns();

    k->lane->command = command;
    k->lane->threads = k->name == BERTH_LANE_RUN ? w->threads_now : 0;
    k->lane->in_len = in_len;
    berth_lane_post(k->lane, k->seq);
    uint64_t wait = k->ns_max != 0 && k->ns_max < slice_ns ? k->ns_max : slice_ns;
    while (!berth_lane_wait_answer(k->lane, k->seq, wait)) {
        if (is_dead(k, start, e))
            return -BERTH_EBACKEND;
    }
    *ret_result = k->lane->result;
    *ret_len = k->lane->out_len;
    if (k->name == BERTH_LANE_RUN) {
        const uint64_t cpu = k->lane->cpu_ns, wall = berth_now_ns() - start;
        w->cpu_ns = cpu < wall ? cpu : wall;
    }
    return 0;
}

/* What a worker says makes no sense: it is not to be trusted any further. */
static int
malformed(struct berth_worker *w, struct berth_err *e)
{
    (void)pthread_mutex_lock(&w->mu);
    berth_worker_kill_locked(w, "its worker's answer was malformed");
    (void)pthread_mutex_unlock(&w->mu);
    return berth_err_set(e, BERTH_EBACKEND, "the answer of the model's worker is malformed");
}

/* Our own copy of the answer's message, to be read in peace. */
static int
copy_message(struct call *k, size_t len, struct berth_unpack *ret, struct berth_err *e)
{
    struct berth_worker *w = k->w;

    if (len > COPY_BYTES_MAX || len > k->out.cap)
        return malformed(w, e);
    if (len > w->copy_cap) {
        unsigned char *more = realloc(w->copy, len);
        if (more == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "no memory for a worker's answer");
        w->copy = more;
        w->copy_cap = len;
    }
    if (len > 0)
        memcpy(w->copy, k->out.at, len);
    *ret = (struct berth_unpack){.at = w->copy, .len = len};
    return 0;
}

/* ---- run ---- */

/* The host does not list what is wanted: ask for each output that there is. */
static void
put_wanted(const struct call *k, const struct berth_request *r, struct berth_pack *p)
{
    const struct berth_describe *d = k->w->describe;
    const struct berth_host *h = k->w->host;
    uint32_t wanted = 0;

    for (size_t o = 0; o < d->output_count; o++)
        wanted += h->wants(r, d->outputs[o].name);
    if (wanted == d->output_count || wanted > BERTH_TENSORS_MAX)
        wanted = 0; /* all */
    berth_pack_u32(p, wanted);
    for (size_t o = 0; wanted > 0 && o < d->output_count; o++) {
        if (h->wants(r, d->outputs[o].name))
            berth_pack_text(p, d->outputs[o].name);
    }
}

/* Put the requests' tensors and names where the worker reads them.  -BERTH_ETOOBIG */
static int
put_requests(struct call *k, struct berth_request *const reqs[], size_t n, size_t *ret_len,
             size_t *ret_used, struct berth_err *e)
{
    const struct berth_host *h = k->w->host;
    struct berth_pack p = {.at = k->in.at, .cap = BERTH_MESSAGE_BYTES_MAX};
    size_t at = BERTH_MESSAGE_BYTES_MAX;

    berth_pack_u32(&p, (uint32_t)n);
    for (size_t i = 0; i < n && !p.full; i++) {
        size_t count = h->input_count(reqs[i]);
        if (count > BERTH_TENSORS_MAX)
            p.full = true;
        berth_pack_u32(&p, (uint32_t)count);
        for (size_t t = 0; t < count && !p.full; t++) {
            const struct berth_tensor *in = h->input(reqs[i], t);
            at = (at + ALIGN - 1) & ~(size_t)(ALIGN - 1);
            if (at > k->in.cap || in->size > k->in.cap - at) {
                p.full = true;
                break;
            }
            if (in->size > 0)
                memcpy(k->in.at + at, in->bytes, in->size);
            berth_message_put_tensor(&p, in, at);
            at += in->size;
        }
        put_wanted(k, reqs[i], &p);
    }
    if (p.full)
        return berth_err_set(e, BERTH_ETOOBIG, "the inputs are larger than a worker can take");
    *ret_len = p.len;
    *ret_used = at;
    return 0;
}

/* One output into the request.  -BERTH_EINTERNAL: malformed. */
static int
take_output(struct call *k, struct berth_request *r, struct berth_unpack *u, bool *failed)
{
    const struct berth_host *h = k->w->host;
    struct berth_err e = {""};
    struct berth_tensor t;
    void *to;

    if (!berth_message_get_tensor(u, k->out, &t))
        return -BERTH_EINTERNAL;
    if (*failed)
        return 0;
    int r2 = h->output(r, &t, &to, &e);
    if (r2 < 0) {
        h->fail(r, (enum berth_code) - r2, e.msg);
        *failed = true;
        return 0;
    }
    if (t.size > 0)
        memcpy(to, t.bytes, t.size);
    return t.dtype != BERTH_BYTES || berth_message_bytes_fit(&t, to) ? 0 : -BERTH_EINTERNAL;
}

static int
take_results(struct call *k, struct berth_request *const reqs[], size_t n, struct berth_unpack *u)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t code = berth_unpack_u32(u);
        bool failed = false;
        if (code != 0) {
            k->w->host->fail(reqs[i], berth_message_code(code),
                             berth_unpack_text(u, BERTH_NAME_LEN_MAX));
            continue;
        }
        uint32_t count = berth_unpack_count(u, BERTH_TENSORS_MAX);
        for (uint32_t o = 0; o < count; o++) {
            if (take_output(k, reqs[i], u, &failed) < 0)
                return -BERTH_EINTERNAL;
        }
    }
    return u->bad ? -BERTH_EINTERNAL : 0;
}

static int
run_there(struct berth_worker *w, struct berth_request *const reqs[], size_t n, struct berth_err *e)
{
    struct call k = call_of(w, BERTH_LANE_RUN, w->run_ns_max);
    struct berth_unpack u;
    size_t in_len = 0, in_used = 0, out_len;
    int64_t result;
    int r = put_requests(&k, reqs, n, &in_len, &in_used, e);

    if (r < 0)
        return r;
    k.seq = w->working_seq;
    r = ask(&k, BERTH_COMMAND_RUN, in_len, &result, &out_len, e);
    if (r < 0 || (r = copy_message(&k, out_len, &u, e)) < 0)
        return r;
    const char *msg = berth_unpack_text(&u, BERTH_MESSAGE_BYTES_MAX);
    if (result != 0)
        r = berth_err_set(e, berth_message_failure(result), "%s", msg);
    else if (u.bad || take_results(&k, reqs, n, &u) < 0)
        r = malformed(w, e);
    size_t out_used = k.lane->out_used;
    berth_region_trim(&w->region, BERTH_LANE_RUN, in_used, out_used);
    return r;
}

/* Requests wait here for a worker that is being started again, until their deadlines. */
static void
wait_ready_locked(struct berth_worker *w)
{
    w->run_active = true;
    w->run_cancelled = false;
    while ((w->state == BERTH_WORKER_DOWN || w->state == BERTH_WORKER_STARTING) &&
           !w->run_cancelled)
        (void)pthread_cond_wait(&w->changed, &w->mu);
}

void
berth_isolated_wait(struct berth_instance *m, bool running)
{
    struct berth_worker *w = berth_worker_of(m);

    (void)pthread_mutex_lock(&w->mu);
    if (running)
        wait_ready_locked(w);
    else if (w->state == BERTH_WORKER_DOWN || w->state == BERTH_WORKER_STARTING)
        wait_changed_locked(w, slice_ns); /* what waits is still the queue's, with its deadlines */
    w->run_active = false;
    (void)pthread_mutex_unlock(&w->mu);
}

static int
proxy_run(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
          struct berth_err *e)
{
    struct berth_worker *w = berth_worker_of(m);
    int r = 0;

    (void)pthread_mutex_lock(&w->mu);
    wait_ready_locked(w);
    if (w->run_cancelled)
        r = berth_err_set(e, BERTH_ECANCELED, "cancelled while the model was being started again");
    else if (w->state != BERTH_WORKER_READY)
        r = not_there_locked(w, e);
    else
        w->working_seq = ++w->run_seq;
    w->calls += r == 0;
    (void)pthread_mutex_unlock(&w->mu);
    if (r == 0)
        r = run_there(w, reqs, n, e);
    (void)pthread_mutex_lock(&w->mu);
    w->calls -= w->working_seq != 0;
    w->working_seq = 0;
    w->run_active = false;
    (void)pthread_mutex_unlock(&w->mu);
    return r;
}

/* Any thread; the caller holds locks, so nothing here waits. */
static void
proxy_cancel(struct berth_instance *m)
{
    struct berth_worker *w = berth_worker_of(m);

    (void)pthread_mutex_lock(&w->mu);
    if (w->run_active && !w->run_cancelled) {
        w->run_cancelled = true;
        w->cancelled_ns = berth_now_ns();
        (void)pthread_cond_broadcast(&w->changed);
    }
    if (w->run_active && w->working_seq != 0 && w->control_fd >= 0) {
        const struct berth_control c = {BERTH_WORKER_PROTOCOL, BERTH_CONTROL_CANCEL,
                                        w->working_seq};
        (void)berth_control_send(w->control_fd, &c, NULL);
    }
    (void)pthread_mutex_unlock(&w->mu);
}

/* ---- step ---- */

/* New sequences into the message; returns how many there are. */
static uint32_t
put_sequences(struct call *k, struct berth_queue *q, size_t *ret_len)
{
    struct berth_worker *w = k->w;
    struct berth_pack p = {.at = k->in.at, .cap = k->in.cap, .len = sizeof(uint32_t)};
    uint32_t n = 0, slot = 0;

    while (w->sequence_len < BERTH_SEQUENCES_MAX) {
        struct berth_request *r = w->host->next(q);
        if (r == NULL)
            break;
        while (w->sequences[slot] != NULL)
            slot++;
        size_t before = p.len;
        berth_pack_u32(&p, slot);
        berth_message_put_gen(&p, w->host->gen(r));
        if (p.full) {
            p.full = false;
            p.len = before;
            w->host->fail(r, BERTH_ETOOBIG, "the prompt is larger than a worker can take");
            continue;
        }
        w->sequences[slot] = r;
        w->sequence_len++;
        n++;
    }
    *ret_len = p.len;
    p.len = 0;
    berth_pack_u32(&p, n);
    return n;
}

static void
put_cancelled(struct call *k)
{
    struct berth_worker *w = k->w;

    for (uint32_t slot = 0, seen = 0; seen < w->sequence_len; slot++) {
        if (w->sequences[slot] == NULL)
            continue;
        seen++;
        atomic_store_explicit(&w->region.head->cancelled[slot],
                              w->host->cancelled(w->sequences[slot]) ? 1 : 0, memory_order_relaxed);
    }
}

static void
forget_sequences(struct berth_worker *w)
{
    memset(w->sequences, 0, sizeof w->sequences);
    w->sequence_len = 0;
}

static bool
take_event(struct berth_worker *w, const struct berth_event *x, struct berth_err *e)
{
    struct berth_request *r = w->sequences[x->slot];

    if (x->kind == BERTH_EVENT_ERROR) {
        (void)snprintf(e->msg, sizeof e->msg, "%s", x->msg);
        return true;
    }
    if (r == NULL)
        return false;
    if (x->kind == BERTH_EVENT_EMIT) {
        w->host->emit(r, &x->delta);
        return true;
    }
    w->sequences[x->slot] = NULL;
    w->sequence_len--;
    if (x->kind == BERTH_EVENT_FINISH)
        w->host->finish(r, &x->finish);
    else
        w->host->fail(r, x->code, x->msg);
    return true;
}

static int
step_there(struct berth_worker *w, struct berth_queue *q, struct berth_err *e)
{
    struct call k = call_of(w, BERTH_LANE_RUN, w->run_ns_max);
    struct berth_unpack u;
    size_t in_len, out_len;
    int64_t result;

    uint32_t fresh = put_sequences(&k, q, &in_len);
    if (fresh == 0 && w->sequence_len == 0)
        return 0;
    put_cancelled(&k);
    k.seq = ++w->run_seq;
    int r = ask(&k, BERTH_COMMAND_STEP, in_len, &result, &out_len, e);
    if (r < 0 || (r = copy_message(&k, out_len, &u, e)) < 0)
        return r;
    while (u.pos < u.len) {
        struct berth_event x;
        berth_arena_reset(&w->event_arena);
        if (!berth_message_get_event(&u, &w->event_arena, &x) || !take_event(w, &x, e))
            return malformed(w, e);
    }
    berth_region_trim(&w->region, BERTH_LANE_RUN, in_len, out_len);
    if (result < 0)
        return -(int)berth_message_failure(result);
    return result == w->sequence_len ? (int)result : malformed(w, e);
}

static int
proxy_step(struct berth_instance *m, struct berth_queue *q, struct berth_err *e)
{
    struct berth_worker *w = berth_worker_of(m);
    int r = 0;

    (void)pthread_mutex_lock(&w->mu);
    bool ready = w->state == BERTH_WORKER_READY;
    if (w->state == BERTH_WORKER_BROKEN)
        r = not_there_locked(w, e);
    w->calls += ready;
    (void)pthread_mutex_unlock(&w->mu);
    if (!ready)
        return r; /* nothing is in hand: it was failed when the worker went */
    r = step_there(w, q, e);
    if (r < 0)
        forget_sequences(w); /* the host fails them */
    leave(w);
    return r;
}

static void
proxy_reset(struct berth_instance *m)
{
    struct berth_worker *w = berth_worker_of(m);
    struct berth_err e;
    int64_t result;
    size_t len;

    forget_sequences(w);
    (void)pthread_mutex_lock(&w->mu);
    bool ready = w->state == BERTH_WORKER_READY;
    w->calls += ready;
    (void)pthread_mutex_unlock(&w->mu);
    if (!ready)
        return; /* a new worker knows of no sequence */
    struct call k = call_of(w, BERTH_LANE_RUN, w->run_ns_max);
    k.seq = ++w->run_seq;
    (void)ask(&k, BERTH_COMMAND_RESET, 0, &result, &len, &e);
    leave(w);
}

/* ---- aside ---- */

static int64_t
tokenize_there(struct berth_worker *w, const char *text, size_t len, bool special, int32_t *ret,
               size_t cap)
{
    struct call k = call_of(w, BERTH_LANE_ASIDE, side_ns_max);
    struct berth_pack p = {.at = k.in.at, .cap = k.in.cap};
    struct berth_err e;
    int64_t result;
    size_t out_len;

    berth_pack_u32(&p, special);
    berth_pack_u64(&p, cap);
    berth_pack_bytes(&p, text, len);
    if (p.full)
        return -BERTH_ETOOBIG;
    k.seq = ++w->side_seq;
    int r = ask(&k, BERTH_COMMAND_TOKENIZE, p.len, &result, &out_len, &e);
    if (r < 0)
        return r;
    if (result < 0)
        return -(int64_t)berth_message_failure(result);
    uint64_t got = (uint64_t)result < cap ? (uint64_t)result : cap;
    if (result > INT32_MAX || out_len > k.out.cap || got > out_len / sizeof *ret)
        return malformed(w, &e);
    if (got > 0)
        memcpy(ret, k.out.at, got * sizeof *ret);
    berth_region_trim(&w->region, BERTH_LANE_ASIDE, p.len, out_len);
    return result;
}

static int64_t
proxy_tokenize(const struct berth_instance *m, const char *text, size_t len, bool special,
               int32_t *ret, size_t cap)
{
    struct berth_worker *w = berth_worker_of(m);
    int64_t r = -BERTH_ENOTREADY;

    (void)pthread_mutex_lock(&w->side_mu);
    (void)pthread_mutex_lock(&w->mu);
    bool ready = w->state == BERTH_WORKER_READY;
    w->calls += ready;
    (void)pthread_mutex_unlock(&w->mu);
    if (ready) {
        r = tokenize_there(w, text, len, special, ret, cap);
        leave(w);
    }
    (void)pthread_mutex_unlock(&w->side_mu);
    return r;
}

static void
proxy_threads(struct berth_instance *m, uint32_t n)
{
    berth_worker_of(m)->threads_now = n; /* goes along with the next run or step */
}

static const struct berth_describe *
proxy_describe(const struct berth_instance *m)
{
    return berth_worker_of(m)->describe;
}

void
berth_proxy_fill(const struct berth_backend_ops *real, struct berth_backend_ops *ret)
{
    /* Only what is written here is offered: an operation that we do not know of would get our
     * instance for the backend's.  Not any_thread: a loop must not wait for another process. */
    *ret =
        (struct berth_backend_ops){.abi = real->abi,
                                   .struct_size = sizeof *ret,
                                   .name = real->name,
                                   .version = real->version,
                                   .suffixes = BERTH_HAS(real, suffixes) ? real->suffixes : NULL,
                                   .settings = BERTH_HAS(real, settings) ? real->settings : NULL};
    ret->load = berth_proxy_load;
    ret->unload = berth_proxy_unload;
    ret->describe = proxy_describe;
    if (BERTH_HAS(real, run))
        ret->run = proxy_run;
    if (BERTH_HAS(real, step))
        ret->step = proxy_step;
    ret->reset = proxy_reset;
    ret->cancel = proxy_cancel;
    ret->memory = berth_proxy_memory;
    ret->threads = BERTH_HAS(real, threads) ? proxy_threads : NULL;
    ret->tokenize = BERTH_HAS(real, tokenize) ? proxy_tokenize : NULL;
}
