#include "infer/cores.h"

#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "obs/metrics.h"

enum {
    LOST_PERMILLE_MAX = 150, /* of a run's time: then others want the cores as well */
    TINY_SEEN_MIN = 8
};
static const uint64_t cap_ns_min = 1 * BERTH_S, cap_ns_max = 16 * BERTH_S;

/* ---- the book ---- */

void
berth_cores_book_init(struct berth_cores_book *b, uint32_t cores)
{
    berth_assert(cores >= 1);
    *b = (struct berth_cores_book){.cores = cores};
    b->last = &b->first;
}

static uint32_t
most(const struct berth_cores_book *b, const struct berth_cores_turn *t)
{
    return t->threads < b->cores ? t->threads : b->cores;
}

static uint32_t
least(const struct berth_cores_book *b, const struct berth_cores_turn *t)
{
    return t->flexible ? 1 : most(b, t);
}

void
berth_cores_book_ask(struct berth_cores_book *b, struct berth_cores_turn *t, uint64_t now_ns)
{
    struct berth_cores_account *a = t->account;

    berth_assert(t->state == BERTH_CORES_IDLE && t->threads >= 1 && t->weight >= 1);
    /* Who was away does not come back with a claim on the time that it did not use. */
    if (a->turns == 0 && a->spent_ns < b->floor_ns)
        a->spent_ns = b->floor_ns;
    a->turns++;
    a->flexible = t->flexible;
    a->least = least(b, t);
    if (!a->listed) {
        a->listed = true;
        a->next = b->active;
        b->active = a;
    }
    t->state = BERTH_CORES_WAITS;
    t->asked_ns = now_ns;
    t->next = NULL;
    *b->last = t;
    b->last = &t->next;
}

/* The cores that t should have beside those that are at work as well.  Forgets who no longer is. */
static uint32_t
share(struct berth_cores_book *b, const struct berth_cores_turn *t, uint64_t now_ns)
{
    uint32_t flexible = 0, fixed = 0;

    for (struct berth_cores_account **at = &b->active, *a; (a = *at) != NULL;) {
        if (a->turns == 0 && now_ns - a->idle_ns > BERTH_CORES_ACTIVE_NS) {
            a->listed = false;
            *at = a->next;
            continue;
        }
        const uint32_t turns = a->turns > 0 ? a->turns : 1;
        if (a->flexible)
            flexible += turns;
        else if (a->least < b->cores && a != t->account) /* else it runs alone anyway */
            fixed += a->least * turns;
        at = &a->next;
    }
    if (!t->flexible)
        return most(b, t);
    const uint32_t left = fixed < b->cores ? b->cores - fixed : 1;
    uint32_t n = (left + flexible - 1) / flexible;
    if (t->cap != 0 && now_ns < t->cap_until_ns && n > t->cap)
        n = t->cap;
    return n < most(b, t) ? n : most(b, t);
}

static void
take_out(struct berth_cores_book *b, struct berth_cores_turn *t)
{
    struct berth_cores_turn **at = &b->first;

    berth_assert(t->state == BERTH_CORES_WAITS);
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    if (b->last == &t->next)
        b->last = at;
    t->next = NULL;
}

void
berth_cores_book_unask(struct berth_cores_book *b, struct berth_cores_turn *t, uint64_t now_ns)
{
    take_out(b, t);
    t->state = BERTH_CORES_IDLE;
    t->account->turns--;
    t->account->idle_ns = now_ns;
}

static void
start(struct berth_cores_book *b, struct berth_cores_turn *t, uint32_t cores, uint64_t now_ns)
{
    take_out(b, t);
    t->state = BERTH_CORES_RUNS;
    t->given = cores;
    t->given_ns = now_ns;
    t->overdue = false;
    t->next = b->running;
    b->running = t;
    b->used += cores;
    if (t->account->spent_ns > b->floor_ns)
        b->floor_ns = t->account->spent_ns;
}

struct berth_cores_turn *
berth_cores_book_next(struct berth_cores_book *b, uint64_t now_ns)
{
    struct berth_cores_turn *best = b->first;

    if (best == NULL || b->used >= b->cores)
        return NULL;
    for (struct berth_cores_turn *t = best->next; t != NULL; t = t->next) {
        if (t->account->spent_ns < best->account->spent_ns)
            best = t;
    }
    const uint32_t free = b->cores - b->used, want = share(b, best, now_ns);
    if (least(b, best) > free)
        return NULL; /* nobody overtakes it, or it would never fit */
    start(b, best, want < free ? want : free, now_ns);
    return best;
}

/* What t had is free, and paid for by its account. */
static void
settle_up(struct berth_cores_book *b, const struct berth_cores_turn *t, uint64_t now_ns)
{
    struct berth_cores_account *a = t->account;

    berth_assert(b->used >= t->given && a->turns > 0);
    b->used -= t->given;
    a->spent_ns += (now_ns - t->given_ns) * t->given / t->weight;
    a->turns--;
    a->idle_ns = now_ns;
}

void
berth_cores_book_force(struct berth_cores_book *b, struct berth_cores_turn *t, uint64_t now_ns)
{
    for (struct berth_cores_turn *r = b->running; r != NULL; r = r->next) {
        if (r->overdue || now_ns - r->given_ns <= BERTH_CORES_WAIT_NS)
            continue;
        settle_up(b, r, now_ns);
        r->overdue = true;
    }
    start(b, t, least(b, t), now_ns);
}

/* Time lost while running with several threads: go down to half of them, and try again later. */
static void
note_lost(struct berth_cores_turn *t, uint64_t cpu_ns, uint64_t now_ns)
{
    const uint64_t wall_ns = now_ns - t->given_ns;

    if (!t->flexible || t->given < 2 || wall_ns == 0)
        return;
    const uint64_t lost = cpu_ns < wall_ns ? (wall_ns - cpu_ns) * 1000 / wall_ns : 0;
    t->lost_permille = (uint32_t)((t->lost_permille * 3 + lost) / 4);
    if (t->lost_permille > LOST_PERMILLE_MAX) {
        t->cap_ns = t->cap_ns == 0 ? cap_ns_min : t->cap_ns * 2;
        t->cap_ns = t->cap_ns > cap_ns_max ? cap_ns_max : t->cap_ns;
        t->cap_until_ns = now_ns + t->cap_ns;
        t->cap = t->given / 2;
        t->lost_permille = 0;
    } else if (t->cap != 0 && now_ns > t->cap_until_ns + cap_ns_min) {
        t->cap = 0; /* it went well for a while */
        t->cap_ns = 0;
    }
}

void
berth_cores_book_end(struct berth_cores_book *b, struct berth_cores_turn *t, uint64_t cpu_ns,
                     uint64_t now_ns)
{
    struct berth_cores_turn **at = &b->running;

    berth_assert(t->state == BERTH_CORES_RUNS);
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->next = NULL;
    if (!t->overdue)
        settle_up(b, t, now_ns);
    t->state = BERTH_CORES_IDLE;
    if (cpu_ns != UINT64_MAX)
        note_lost(t, cpu_ns, now_ns);
}

void
berth_cores_book_leave(struct berth_cores_book *b, struct berth_cores_account *a)
{
    struct berth_cores_account **at = &b->active;

    berth_assert(a->turns == 0);
    if (!a->listed)
        return;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    a->listed = false;
}

/* ---- the governor ---- */

struct berth_cores {
    pthread_mutex_t mu;
    struct berth_cores_book book; /* under mu */
    struct berth_series *in_use, *forced;
};

struct berth_cores *
berth_cores_new(uint32_t cores, struct berth_metrics *metrics)
{
    const char *const none[] = {NULL};
    struct berth_cores *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    (void)pthread_mutex_init(&c->mu, NULL);
    berth_cores_book_init(&c->book, cores);
    berth_series_set(berth_metrics_series(metrics, BERTH_METRIC_CORES, none), cores);
    c->in_use = berth_metrics_series(metrics, BERTH_METRIC_CORES_USED, none);
    c->forced = berth_metrics_series(metrics, BERTH_METRIC_CORES_FORCED, none);
    return c;
}

void
berth_cores_free(struct berth_cores *c)
{
    if (c == NULL || c->book.running != NULL || c->book.first != NULL)
        return;
    (void)pthread_mutex_destroy(&c->mu);
    free(c);
}

void
berth_cores_turn_init(struct berth_cores_turn *t, struct berth_cores_account *account,
                      uint32_t threads, bool flexible)
{
    pthread_condattr_t attr;

    *t = (struct berth_cores_turn){
        .account = account, .threads = threads, .flexible = flexible, .weight = 1};
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

void
berth_cores_turn_fini(struct berth_cores_turn *t)
{
    berth_assert(t->state == BERTH_CORES_IDLE);
    (void)pthread_cond_destroy(&t->cond);
}

void
berth_cores_leave(struct berth_cores *c, struct berth_cores_account *account)
{
    (void)pthread_mutex_lock(&c->mu);
    berth_cores_book_leave(&c->book, account);
    (void)pthread_mutex_unlock(&c->mu);
}

static uint64_t
thread_cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * BERTH_S + (uint64_t)t.tv_nsec;
}

/* Give cores to all whose turn it is; me needs no wake-up. */
static void
settle_locked(struct berth_cores *c, const struct berth_cores_turn *me, uint64_t now_ns)
{
    struct berth_cores_turn *t;

    while ((t = berth_cores_book_next(&c->book, now_ns)) != NULL) {
        if (t != me)
            (void)pthread_cond_signal(&t->cond);
    }
    berth_series_set(c->in_use, c->book.used);
}

static void
wait_locked(struct berth_cores *c, struct berth_cores_turn *t)
{
    const uint64_t at = t->asked_ns + BERTH_CORES_WAIT_NS;
    const struct timespec until = {.tv_sec = (time_t)(at / BERTH_S),
                                   .tv_nsec = (long)(at % BERTH_S)};

    while (t->state == BERTH_CORES_WAITS) {
        if (pthread_cond_timedwait(&t->cond, &c->mu, &until) == 0 || t->state == BERTH_CORES_RUNS)
            continue;
        berth_cores_book_force(&c->book, t, berth_now_ns());
        berth_series_add(c->forced, 1);
        settle_locked(c, t, berth_now_ns()); /* who stood behind it may fit */
    }
}

uint32_t
berth_cores_take(struct berth_cores *c, struct berth_cores_turn *t, uint32_t weight,
                 uint64_t *ret_waited_ns)
{
    *ret_waited_ns = 0;
    if (!t->in_line && t->seen >= TINY_SEEN_MIN && t->run_ns < BERTH_CORES_TINY_NS)
        return t->threads;
    t->in_line = false;
    (void)pthread_mutex_lock(&c->mu);
    const uint64_t now = berth_now_ns();
    if (t->state == BERTH_CORES_IDLE) {
        t->weight = weight;
        berth_cores_book_ask(&c->book, t, now);
        settle_locked(c, t, now);
    }
    if (t->state == BERTH_CORES_WAITS) {
        wait_locked(c, t);
        *ret_waited_ns = t->given_ns > now ? t->given_ns - now : 0;
    }
    (void)pthread_mutex_unlock(&c->mu);
    t->cpu_ns = t->flexible && t->given > 1 ? thread_cpu_ns() : UINT64_MAX;
    return t->given;
}

void
berth_cores_give(struct berth_cores *c, struct berth_cores_turn *t, uint64_t run_ns, bool again)
{
    t->run_ns = t->seen == 0 ? run_ns : (t->run_ns * 7 + run_ns) / 8;
    t->seen += t->seen < TINY_SEEN_MIN;
    if (t->state != BERTH_CORES_RUNS)
        return;
    const uint64_t cpu_ns = t->cpu_ns != UINT64_MAX ? thread_cpu_ns() - t->cpu_ns : UINT64_MAX;
    t->in_line = again;
    (void)pthread_mutex_lock(&c->mu);
    const uint64_t now = berth_now_ns();
    berth_cores_book_end(&c->book, t, cpu_ns, now);
    if (again)
        berth_cores_book_ask(&c->book, t, now);
    settle_locked(c, t, now);
    (void)pthread_mutex_unlock(&c->mu);
}

void
berth_cores_drop(struct berth_cores *c, struct berth_cores_turn *t)
{
    t->in_line = false;
    (void)pthread_mutex_lock(&c->mu);
    const uint64_t now = berth_now_ns();
    if (t->state == BERTH_CORES_WAITS)
        berth_cores_book_unask(&c->book, t, now);
    else if (t->state == BERTH_CORES_RUNS)
        berth_cores_book_end(&c->book, t, UINT64_MAX, now);
    settle_locked(c, t, now);
    (void)pthread_mutex_unlock(&c->mu);
}
