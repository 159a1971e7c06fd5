#include "infer/batcher.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "infer/check.h"
#include "infer/expiry.h"
#include "infer/request.h"

enum { MIXED = BERTH_BATCH_GROUPS_MAX - 1, RETRIES_SEEN_MAX = 64 };
_Static_assert(BERTH_BATCH_GROUPS_MAX <= 32 && BERTH_BATCH_LISTS <= 32, "a bit for each");

void
berth_batcher_init(struct berth_batcher *b, const struct berth_batch_conf *conf, uint32_t rows_max)
{
    memset(b, 0, sizeof *b);
    b->rows_max = rows_max;
    berth_gain_init(&b->gain);
    berth_batcher_conf_set(b, conf);
}

void
berth_batcher_conf_set(struct berth_batcher *b, const struct berth_batch_conf *conf)
{
    berth_assert(conf->batch_requests_max >= 1 && conf->batch_requests_max <= BERTH_BATCH_MAX);
    berth_assert(conf->priority_levels <= BERTH_PRIORITIES_MAX);
    b->conf = *conf;
    b->at_once = b->at_once && berth_batcher_may_hurry(b);
}

uint32_t
berth_batcher_requests_max(const struct berth_batcher *b)
{
    return b->rows_max <= 1 || b->conf.mode == BERTH_BATCHING_OFF ? 1 : b->conf.batch_requests_max;
}

bool
berth_batcher_may_hurry(const struct berth_batcher *b)
{
    return b->conf.mode != BERTH_BATCHING_DYNAMIC || berth_batcher_requests_max(b) == 1;
}

uint64_t
berth_batcher_wait_ns(const struct berth_batcher *b)
{
    if (berth_batcher_requests_max(b) == 1 || b->at_once)
        return 0;
    return b->conf.mode == BERTH_BATCHING_AUTO ? berth_gain_wait_ns(&b->gain, b->conf.wait_ns_max)
                                               : b->conf.wait_ns_max;
}

/* Of the next run. */
static uint32_t
turn_max(const struct berth_batcher *b)
{
    const uint32_t max = berth_batcher_requests_max(b);

    return b->conf.mode == BERTH_BATCHING_AUTO ? berth_gain_requests_max(&b->gain, max) : max;
}

/* ---- lists ---- */

static bool
is_sequence(const struct berth_request *r)
{
    return r->task == BERTH_TASK_COMPLETION || r->task == BERTH_TASK_CHAT;
}

static void
link_in(struct berth_batcher *b, struct berth_request *r, uint32_t group, uint32_t list)
{
    struct berth_batch_group *g = &b->groups[group];
    struct berth_batch_list *l = &g->lists[list];

    r->next = NULL;
    r->prev = l->last;
    if (l->last != NULL)
        l->last->next = r;
    else
        l->first = r;
    l->last = r;
    r->queue_group = (uint8_t)group;
    r->queue_list = (uint8_t)list;
    r->queued = true;
    g->lists_used |= UINT32_C(1) << list;
    g->len++;
    g->rows += r->rows;
    if (group < BERTH_BATCH_GROUPS_MAX)
        b->groups_used |= UINT32_C(1) << group;
}

static void
link_out(struct berth_batcher *b, struct berth_request *r)
{
    struct berth_batch_group *g = &b->groups[r->queue_group];
    struct berth_batch_list *l = &g->lists[r->queue_list];

    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        l->first = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
    else
        l->last = r->prev;
    if (l->first == NULL)
        g->lists_used &= ~(UINT32_C(1) << r->queue_list);
    r->next = r->prev = NULL;
    r->queued = false;
    g->len--;
    g->rows -= r->rows;
    if (g->len == 0 && r->queue_group < BERTH_BATCH_GROUPS_MAX)
        b->groups_used &= ~(UINT32_C(1) << r->queue_group);
}

static void
watch_expiry(struct berth_batcher *b, struct berth_request *r)
{
    uint64_t at = r->deadline_ns != 0 ? r->deadline_ns : UINT64_MAX;

    if (r->queue_until_ns != 0 && r->queue_until_ns < at)
        at = r->queue_until_ns;
    r->expire_ns = UINT64_MAX;
    if (at != UINT64_MAX)
        berth_expiry_put(&b->expiry, r, at);
}

static void
enter(struct berth_batcher *b, struct berth_request *r, uint32_t group, uint32_t list)
{
    link_in(b, r, group, list);
    watch_expiry(b, r);
    b->level_len[list / 2]++;
    if (is_sequence(r))
        b->seq_len++;
    else
        b->len++;
}

static void
leave(struct berth_batcher *b, struct berth_request *r)
{
    link_out(b, r);
    if (r->expire_ns != UINT64_MAX)
        berth_expiry_remove(&b->expiry, r);
    b->level_len[r->queue_list / 2]--;
    if (is_sequence(r))
        b->seq_len--;
    else
        b->len--;
}

/* ---- putting ---- */

uint32_t
berth_batcher_level(const struct berth_batcher *b, const struct berth_request *r)
{
    if (b->conf.priority_levels == 0)
        return 0;
    return (r->priority >= 1 && r->priority <= b->conf.priority_levels ? r->priority
                                                                       : b->conf.priority_default) -
           1;
}

static uint32_t
group_for(const struct berth_batcher *b, const struct berth_request *r)
{
    const uint32_t all = UINT32_MAX >> (32 - MIXED);

    for (uint32_t used = b->groups_used & all; used != 0; used &= used - 1) {
        const uint32_t i = (uint32_t)__builtin_ctz(used);
        const struct berth_batch_group *g = &b->groups[i];
        if (berth_check_same_shape(g->lists[__builtin_ctz(g->lists_used)].first, r))
            return i;
    }
    const uint32_t empty = ~b->groups_used & all;
    return empty != 0 ? (uint32_t)__builtin_ctz(empty) : MIXED;
}

int
berth_batcher_put(struct berth_batcher *b, struct berth_request *r)
{
    const uint32_t level = berth_batcher_level(b, r);
    const struct berth_queue_policy *p = &b->conf.policies[level];
    uint64_t timeout = p->timeout_ns;

    if (b->len + b->seq_len >= b->conf.queue_len_max ||
        (p->queue_len_max != 0 && b->level_len[level] >= p->queue_len_max))
        return -BERTH_EAGAIN;
    if (p->allow_override && r->queue_timeout_ns != 0 &&
        (timeout == 0 || r->queue_timeout_ns < timeout))
        timeout = r->queue_timeout_ns;
    r->queue_until_ns =
        timeout != 0 && timeout < UINT64_MAX - r->submit_ns ? r->submit_ns + timeout : 0;
    enter(b, r, is_sequence(r) ? BERTH_BATCH_SEQUENCES : group_for(b, r), 2 * level);
    return 0;
}

void
berth_batcher_put_retry(struct berth_batcher *b, struct berth_request *r,
                        const struct berth_instance_thread *avoid)
{
    r->avoid = avoid;
    r->queue_until_ns = 0; /* it had its turn */
    enter(b, r, is_sequence(r) ? BERTH_BATCH_SEQUENCE_RETRIES : BERTH_BATCH_RETRIES,
          2 * berth_batcher_level(b, r));
}

/* ---- what is due ---- */

struct due {
    uint32_t group, list; /* the most urgent one that is not empty */
    uint32_t max;         /* requests to take */
    bool full;            /* by its size, not its age */
    uint64_t oldest_ns;
};

/* The first of the group, list by list, that are preferred together: how many; 0: none are. */
static uint32_t
preferred(const struct berth_batcher *b, const struct berth_batch_group *g, uint32_t max)
{
    uint32_t n = 0, best = 0, k = 0;
    uint64_t rows = 0;

    if (b->conf.preferred_len == 0 || g->rows < b->conf.preferred[0])
        return 0;
    for (uint32_t used = g->lists_used; used != 0; used &= used - 1) {
        for (const struct berth_request *r = g->lists[__builtin_ctz(used)].first; r != NULL;
             r = r->next) {
            rows += r->rows;
            if (n == max || rows > b->rows_max)
                return best;
            n++;
            while (k < b->conf.preferred_len && b->conf.preferred[k] < rows)
                k++;
            if (k == b->conf.preferred_len)
                return best;
            if (b->conf.preferred[k] == rows)
                best = n;
        }
    }
    return best;
}

/* Is a batch of group i due?  *d says which, and the oldest of those that could wait on. */
static bool
is_due(const struct berth_batcher *b, uint32_t i, uint64_t now_ns, uint64_t wait_ns, struct due *d)
{
    const struct berth_batch_group *g = &b->groups[i];
    const uint32_t max = turn_max(b);
    bool delayed = false;

    *d = (struct due){.group = i,
                      .list = (uint32_t)__builtin_ctz(g->lists_used),
                      .max = i == MIXED ? 1 : max,
                      .full = true,
                      .oldest_ns = UINT64_MAX};
    for (uint32_t used = g->lists_used; used != 0; used &= used - 1) {
        const uint32_t k = (uint32_t)__builtin_ctz(used);
        const uint64_t came = g->lists[k].first->submit_ns;
        delayed = delayed || k % 2 == 1;
        d->oldest_ns = came < d->oldest_ns ? came : d->oldest_ns;
    }
    const bool aged = wait_ns > 0 && (delayed || now_ns - d->oldest_ns >= wait_ns);
    const uint32_t best = aged || i == MIXED ? 0 : preferred(b, g, max);
    if (best > 0) {
        d->max = best;
        return true;
    }
    if (i == MIXED || g->len >= max || g->rows >= b->rows_max ||
        (b->conf.mode == BERTH_BATCHING_AUTO && berth_gain_enough(&b->gain, g->len)))
        return true;
    d->full = false;
    return aged || wait_ns == 0;
}

static bool
is_better(const struct due *a, const struct due *b)
{
    if (a->list != b->list)
        return a->list < b->list;
    if (a->full != b->full)
        return a->full;
    return a->oldest_ns < b->oldest_ns;
}

/* The batch to run next; false: none is due, and *ret_wake_ns is when. */
static bool
choose(const struct berth_batcher *b, uint64_t now_ns, struct due *ret, uint64_t *ret_wake_ns)
{
    const uint64_t wait_ns = berth_batcher_wait_ns(b);
    bool found = false;

    *ret_wake_ns = UINT64_MAX;
    for (uint32_t used = b->groups_used; used != 0; used &= used - 1) {
        struct due d;
        if (!is_due(b, (uint32_t)__builtin_ctz(used), now_ns, wait_ns, &d)) {
            if (d.oldest_ns + wait_ns < *ret_wake_ns)
                *ret_wake_ns = d.oldest_ns + wait_ns;
        } else if (!found || is_better(&d, ret)) {
            *ret = d;
            found = true;
        }
    }
    return found;
}

bool
berth_batcher_due(const struct berth_batcher *b, uint64_t now_ns)
{
    struct due d;
    uint64_t wake_ns;

    return b->groups[BERTH_BATCH_RETRIES].len > 0 || choose(b, now_ns, &d, &wake_ns);
}

/* ---- taking ---- */

/* The first of a group that this instance may have.  Those that it may not are passed over, but
 * not without end: another instance takes the first. */
static struct berth_request *
first_for(const struct berth_batch_group *g, const struct berth_instance_thread *who)
{
    uint32_t seen = 0;

    for (uint32_t used = g->lists_used; used != 0; used &= used - 1) {
        for (struct berth_request *r = g->lists[__builtin_ctz(used)].first; r != NULL;
             r = r->next) {
            if (who == NULL || r->avoid != who)
                return r;
            if (++seen == RETRIES_SEEN_MAX)
                return NULL;
        }
    }
    return NULL;
}

uint32_t
berth_batcher_take(struct berth_batcher *b, uint64_t now_ns,
                   const struct berth_instance_thread *who, struct berth_request *reqs[],
                   uint64_t *ret_wake_ns)
{
    struct berth_request *retry = first_for(&b->groups[BERTH_BATCH_RETRIES], who);
    uint64_t rows = 0;
    uint32_t n = 0;
    struct due d;

    *ret_wake_ns = UINT64_MAX;
    if (retry != NULL) {
        leave(b, retry);
        reqs[0] = retry;
        return 1;
    }
    if (!choose(b, now_ns, &d, ret_wake_ns))
        return 0;
    struct berth_batch_group *g = &b->groups[d.group];
    while (n < d.max && g->lists_used != 0) {
        struct berth_request *r = g->lists[__builtin_ctz(g->lists_used)].first;
        if (n > 0 && rows + r->rows > b->rows_max)
            break;
        leave(b, r);
        rows += r->rows;
        reqs[n++] = r;
    }
    if (b->conf.mode == BERTH_BATCHING_AUTO && berth_batcher_wait_ns(b) > 0)
        berth_gain_took(&b->gain, n, !d.full);
    *ret_wake_ns = UINT64_MAX;
    return n;
}

static struct berth_request *
next_sequence(const struct berth_batcher *b, const struct berth_instance_thread *who)
{
    struct berth_request *r = first_for(&b->groups[BERTH_BATCH_SEQUENCE_RETRIES], who);

    return r != NULL ? r : first_for(&b->groups[BERTH_BATCH_SEQUENCES], NULL);
}

bool
berth_batcher_has_sequence(const struct berth_batcher *b, const struct berth_instance_thread *who)
{
    return b->seq_len > 0 && next_sequence(b, who) != NULL;
}

struct berth_request *
berth_batcher_take_sequence(struct berth_batcher *b, const struct berth_instance_thread *who)
{
    struct berth_request *r = next_sequence(b, who);

    if (r != NULL)
        leave(b, r);
    return r;
}

bool
berth_batcher_remove(struct berth_batcher *b, struct berth_request *r)
{
    if (!r->queued)
        return false;
    leave(b, r);
    return true;
}

struct berth_request *
berth_batcher_take_all(struct berth_batcher *b)
{
    struct berth_request *first = NULL, **last = &first;

    for (uint32_t i = 0; i < BERTH_BATCH_GROUPS_ALL; i++) {
        struct berth_batch_group *g = &b->groups[i];
        while (g->lists_used != 0) {
            struct berth_request *r = g->lists[__builtin_ctz(g->lists_used)].first;
            leave(b, r);
            *last = r;
            last = &r->next;
        }
    }
    return first;
}

struct berth_request *
berth_batcher_expire(struct berth_batcher *b, uint64_t now_ns, bool *ret_delayed,
                     uint64_t *ret_next_ns)
{
    struct berth_request *first = NULL, **last = &first, *r;

    *ret_delayed = false;
    while ((r = b->expiry) != NULL && r->expire_ns <= now_ns) {
        const bool dead = r->deadline_ns != 0 && r->deadline_ns <= now_ns;
        const uint32_t group = r->queue_group, list = r->queue_list;
        leave(b, r);
        r->queue_until_ns = 0;
        if (!dead && b->conf.policies[list / 2].delay) {
            enter(b, r, group, list | 1);
            *ret_delayed = true;
            continue;
        }
        r->timed_out = !dead;
        *last = r;
        last = &r->next;
    }
    *ret_next_ns = r != NULL ? r->expire_ns : UINT64_MAX;
    return first;
}

void
berth_batcher_ran(struct berth_batcher *b, uint32_t n, uint64_t run_ns)
{
    berth_gain_ran(&b->gain, n, run_ns);
}

/* ---- for people ---- */

const char *
berth_batching_name(enum berth_batching m)
{
    static const char *const names[] = {
        [BERTH_BATCHING_AUTO] = "auto",
        [BERTH_BATCHING_DYNAMIC] = "dynamic",
        [BERTH_BATCHING_OFF] = "off",
    };

    return names[m];
}

struct berth_batch_view
berth_batcher_view(const struct berth_batcher *b)
{
    const struct berth_gain *g = &b->gain;

    return (struct berth_batch_view){
        .mode = b->conf.mode,
        .choice = g->choice,
        .batchable = b->rows_max > 1,
        .single_ns = g->single_count > 0 ? (uint64_t)g->single_ns : 0,
        .shared_ns = g->shared_count > 0 ? (uint64_t)g->shared_ns : 0,
        .wait_ns = berth_batcher_wait_ns(b),
        .requests_max = turn_max(b),
        .expected = g->expected != UINT32_MAX ? g->expected : 0,
        .changes = g->changes,
    };
}

const char *
berth_batch_why(const struct berth_batch_view *v, char buf[BERTH_BATCH_WHY])
{
    const double single = (double)v->single_ns / 1e6, shared = (double)v->shared_ns / 1e6;

    if (!v->batchable)
        (void)snprintf(buf, BERTH_BATCH_WHY, "the model has no batch dimension");
    else if (v->mode == BERTH_BATCHING_OFF)
        (void)snprintf(buf, BERTH_BATCH_WHY, "the configuration says so");
    else if (v->mode == BERTH_BATCHING_DYNAMIC)
        (void)snprintf(buf, BERTH_BATCH_WHY, "the configuration says how long to wait");
    else if (v->choice == BERTH_GAIN_MEASURING && v->shared_ns == 0)
        (void)snprintf(buf, BERTH_BATCH_WHY, "no requests have come together yet");
    else if (v->choice == BERTH_GAIN_MEASURING)
        (void)snprintf(buf, BERTH_BATCH_WHY, "too few runs have been measured yet");
    else
        (void)snprintf(buf, BERTH_BATCH_WHY, "a request costs %.3g ms in a batch and %.3g ms alone",
                       shared, single);
    return buf;
}
