#include "infer/batcher.h"

#include <string.h>

#include "base/assert.h"
#include "infer/check.h"
#include "infer/request.h"

enum { PROBE_PERIOD_MIN = 16, PROBE_PERIOD_MAX = 256, COSTS_SEEN_MIN = 4 };
/* A share of a batch that is at least this much of a single run is no gain. */
static const double no_gain = 0.8;

void
berth_batcher_init(struct berth_batcher *b, const struct berth_batch_conf *conf, uint32_t rows_max,
                   bool learn)
{
    berth_assert(conf->batch_requests_max >= 1 && conf->batch_requests_max <= BERTH_BATCH_MAX);
    *b = (struct berth_batcher){
        .conf = *conf,
        .rows_max = rows_max,
        .learn = learn,
        .expected = UINT32_MAX,
        .probe_period = PROBE_PERIOD_MIN,
    };
}

uint32_t
berth_batcher_requests_max(const struct berth_batcher *b)
{
    return b->rows_max <= 1 ? 1 : b->conf.batch_requests_max;
}

uint64_t
berth_batcher_wait_ns(const struct berth_batcher *b)
{
    if (berth_batcher_requests_max(b) == 1 || b->at_once)
        return 0;
    if (!b->learn)
        return b->conf.wait_ns_max;
    if (b->single_count < COSTS_SEEN_MIN ||
        (b->shared_count >= COSTS_SEEN_MIN && b->shared_ns >= no_gain * b->single_ns))
        return 0;
    uint64_t run_ns = (uint64_t)b->single_ns;
    return run_ns < b->conf.wait_ns_max ? run_ns : b->conf.wait_ns_max;
}

static struct berth_batch_group *
group_for(struct berth_batcher *b, const struct berth_request *r)
{
    struct berth_batch_group *empty = NULL;

    for (size_t i = 0; i < BERTH_BATCH_GROUPS_MAX - 1; i++) {
        struct berth_batch_group *g = &b->groups[i];
        if (g->len > 0 && berth_check_same_shape(g->first, r))
            return g;
        if (g->len == 0 && empty == NULL)
            empty = g;
    }
    return empty != NULL ? empty : &b->groups[BERTH_BATCH_GROUPS_MAX - 1];
}

int
berth_batcher_put(struct berth_batcher *b, struct berth_request *r)
{
    if (b->len + b->seq_len >= b->conf.queue_len_max)
        return -BERTH_EAGAIN;
    r->next = NULL;
    if (r->task == BERTH_TASK_COMPLETION || r->task == BERTH_TASK_CHAT) {
        if (b->seq_first == NULL)
            b->seq_first = r;
        else
            b->seq_last->next = r;
        b->seq_last = r;
        b->seq_len++;
        return 0;
    }
    struct berth_batch_group *g = group_for(b, r);
    if (g->first == NULL)
        g->first = r;
    else
        g->last->next = r;
    g->last = r;
    g->len++;
    g->rows += r->rows;
    b->len++;
    return 0;
}

static bool
is_mixed(const struct berth_batcher *b, const struct berth_batch_group *g)
{
    return g == &b->groups[BERTH_BATCH_GROUPS_MAX - 1];
}

static bool
is_full(const struct berth_batcher *b, const struct berth_batch_group *g)
{
    return g->len >= berth_batcher_requests_max(b) || g->rows >= b->rows_max || is_mixed(b, g) ||
           (b->learn && b->probe_in > 0 && g->len >= b->expected);
}

/* The group to run next: a full one before others, the one with the oldest request among those. */
static const struct berth_batch_group *
choose(const struct berth_batcher *b, bool *ret_full)
{
    const struct berth_batch_group *best = NULL;
    bool best_full = false;

    for (size_t i = 0; b->len > 0 && i < BERTH_BATCH_GROUPS_MAX; i++) {
        const struct berth_batch_group *g = &b->groups[i];
        if (g->len == 0)
            continue;
        bool full = is_full(b, g);
        if (best == NULL || (full && !best_full) ||
            (full == best_full && g->first->submit_ns < best->first->submit_ns)) {
            best = g;
            best_full = full;
        }
    }
    *ret_full = best_full;
    return best;
}

bool
berth_batcher_due(const struct berth_batcher *b, uint64_t now_ns)
{
    bool full;
    const struct berth_batch_group *g = choose(b, &full);

    return g != NULL && (full || now_ns - g->first->submit_ns >= berth_batcher_wait_ns(b));
}

/* A batch of n goes out.  waited: because of its age, not its size. */
static void
learn(struct berth_batcher *b, uint32_t n, bool waited)
{
    if (waited) {
        b->probe_period = n == b->expected && b->probe_period < PROBE_PERIOD_MAX
                              ? b->probe_period * 2
                              : PROBE_PERIOD_MIN;
        b->expected = n;
        b->probe_in = b->probe_period;
        return;
    }
    if (n > b->expected) {
        b->expected = n;
        b->probe_period = PROBE_PERIOD_MIN;
    }
    if (b->probe_in > 0)
        b->probe_in--;
}

uint32_t
berth_batcher_take(struct berth_batcher *b, uint64_t now_ns, struct berth_request *reqs[],
                   uint64_t *ret_wake_ns)
{
    bool full;
    struct berth_batch_group *g = (struct berth_batch_group *)choose(b, &full);
    uint64_t rows = 0, wait_ns = berth_batcher_wait_ns(b);
    uint32_t n = 0;

    *ret_wake_ns = UINT64_MAX;
    if (g == NULL)
        return 0;
    if (!full && now_ns - g->first->submit_ns < wait_ns) {
        *ret_wake_ns = g->first->submit_ns + wait_ns;
        return 0;
    }
    uint32_t max = is_mixed(b, g) ? 1 : berth_batcher_requests_max(b);
    while (g->first != NULL && n < max && (n == 0 || rows + g->first->rows <= b->rows_max)) {
        struct berth_request *r = g->first;
        g->first = r->next;
        r->next = NULL;
        rows += r->rows;
        reqs[n++] = r;
    }
    g->rows -= rows;
    g->len -= n;
    b->len -= n;
    if (wait_ns > 0)
        learn(b, n, !full);
    return n;
}

struct berth_request *
berth_batcher_take_sequence(struct berth_batcher *b)
{
    struct berth_request *r = b->seq_first;

    if (r == NULL)
        return NULL;
    b->seq_first = r->next;
    r->next = NULL;
    b->seq_len--;
    return r;
}

static bool
is_it(struct berth_request *r, void *arg)
{
    return r == arg;
}

bool
berth_batcher_remove(struct berth_batcher *b, struct berth_request *r)
{
    return berth_batcher_sweep(b, is_it, r) != NULL;
}

/* Move the dead of one list to *dead_last; returns how many. */
static uint32_t
sweep_list(struct berth_request **first, struct berth_request **last, uint64_t *rows,
           bool (*dead)(struct berth_request *, void *), void *arg,
           struct berth_request ***dead_last)
{
    struct berth_request *kept_last = NULL, **at = first;
    uint32_t n = 0;

    for (struct berth_request *r = *first, *next; r != NULL; r = next) {
        next = r->next;
        if (!dead(r, arg)) {
            *at = r;
            at = &r->next;
            kept_last = r;
            continue;
        }
        r->next = NULL;
        **dead_last = r;
        *dead_last = &r->next;
        *rows -= r->rows;
        n++;
    }
    *at = NULL;
    *last = kept_last;
    return n;
}

struct berth_request *
berth_batcher_sweep(struct berth_batcher *b, bool (*dead)(struct berth_request *r, void *arg),
                    void *arg)
{
    struct berth_request *first = NULL, **last = &first;
    uint64_t no_rows = UINT64_MAX;

    for (size_t i = 0; b->len > 0 && i < BERTH_BATCH_GROUPS_MAX; i++) {
        struct berth_batch_group *g = &b->groups[i];
        if (g->len == 0)
            continue;
        uint32_t n = sweep_list(&g->first, &g->last, &g->rows, dead, arg, &last);
        g->len -= n;
        b->len -= n;
    }
    b->seq_len -= sweep_list(&b->seq_first, &b->seq_last, &no_rows, dead, arg, &last);
    return first;
}

static void
average(double *at, uint32_t *count, double v)
{
    *at = *count == 0 ? v : *at + 0.2 * (v - *at);
    if (*count < COSTS_SEEN_MIN)
        ++*count;
}

void
berth_batcher_ran(struct berth_batcher *b, uint32_t n, uint64_t run_ns)
{
    if (n == 1)
        average(&b->single_ns, &b->single_count, (double)run_ns);
    else if (n > 1)
        average(&b->shared_ns, &b->shared_count, (double)run_ns / n);
}
