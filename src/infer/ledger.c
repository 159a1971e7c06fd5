#include "infer/ledger.h"

#include <string.h>
#include <utlist.h>

#include "base/assert.h"

enum { WORTH = 4, WEIGHT_ONE = 256 };
static const uint64_t worth_ns_max = UINT64_C(10000000000);

static uint64_t
minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t
plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- weights ---- */

uint64_t
berth_ledger_weight(const struct berth_ledger_item *i, uint64_t now_ns)
{
    const uint64_t age = minus(now_ns, i->weight_ns);
    const uint64_t halves = age / BERTH_LEDGER_HALF_NS;

    if (halves >= 63)
        return 0;
    const uint64_t w = i->weight >> halves;
    /* Between two halvings a straight line is near enough. */
    const uint64_t part = age % BERTH_LEDGER_HALF_NS * 1024 / BERTH_LEDGER_HALF_NS;
    return w - w / 2 * part / 1024;
}

void
berth_ledger_use(struct berth_ledger_item *i, uint64_t n, uint64_t now_ns)
{
    static const uint64_t weight_max = UINT64_C(1) << 40; /* far from an overflow */

    i->weight = berth_ledger_weight(i, now_ns);
    i->weight_ns = now_ns;
    if (n == 0)
        return;
    i->weight = least(i->weight + least(n, weight_max / WEIGHT_ONE) * WEIGHT_ONE, weight_max);
    i->used_ns = now_ns;
}

/* ---- the account ---- */

void
berth_ledger_measure(struct berth_ledger *l, uint32_t device, const struct berth_ledger_device *now)
{
    berth_assert(device < BERTH_LEDGER_DEVICES);
    struct berth_ledger_device *d = &l->devices[device];

    d->budget_bytes = now->budget_bytes;
    d->reserve_bytes = now->reserve_bytes;
    d->total_bytes = now->total_bytes;
    d->free_bytes = now->free_bytes;
    d->self_bytes = now->self_bytes;
}

static void
relist(struct berth_ledger *l, struct berth_ledger_item *i)
{
    bool holds = false;

    for (uint32_t d = 0; d < BERTH_LEDGER_DEVICES; d++)
        holds = holds || i->held.on[d] > 0 || i->promised.on[d] > 0;
    if (holds == i->listed)
        return;
    i->listed = holds;
    if (holds) {
        DL_APPEND(l->items, i);
        l->item_count++;
    } else {
        DL_DELETE(l->items, i);
        l->item_count--;
    }
}

void
berth_ledger_promise(struct berth_ledger *l, struct berth_ledger_item *i,
                     const struct berth_ledger_bytes *need)
{
    for (uint32_t k = 0; k < BERTH_LEDGER_DEVICES; k++) {
        struct berth_ledger_device *d = &l->devices[k];
        if (d->promised_bytes == 0)
            d->self_before_bytes = d->self_bytes;
        i->promised.on[k] = plus(i->promised.on[k], need->on[k]);
        d->promised_bytes = plus(d->promised_bytes, need->on[k]);
    }
    relist(l, i);
}

void
berth_ledger_settle(struct berth_ledger *l, struct berth_ledger_item *i,
                    const struct berth_ledger_bytes *held, uint64_t outside_bytes)
{
    for (uint32_t k = 0; k < BERTH_LEDGER_DEVICES; k++) {
        struct berth_ledger_device *d = &l->devices[k];
        d->promised_bytes = minus(d->promised_bytes, i->promised.on[k]);
        d->held_bytes = plus(minus(d->held_bytes, i->held.on[k]), held->on[k]);
        i->promised.on[k] = 0;
        i->held.on[k] = held->on[k];
    }
    struct berth_ledger_device *machine = &l->devices[0];
    machine->outside_bytes = plus(minus(machine->outside_bytes, i->outside_bytes), outside_bytes);
    i->outside_bytes = outside_bytes;
    relist(l, i);
}

/* What everybody else has: what is used, less this process and its children's models. */
static uint64_t
others(const struct berth_ledger_device *d)
{
    return minus(minus(d->total_bytes, d->free_bytes), plus(d->self_bytes, d->outside_bytes));
}

/* Room for need, or how much is short: *ret_short. */
static bool
has_room(const struct berth_ledger_device *d, uint64_t need, uint64_t freed, uint64_t *ret_short)
{
    const uint64_t taken = minus(plus(plus(d->held_bytes, d->promised_bytes), need), freed);
    uint64_t missing = minus(taken, d->budget_bytes);

    if (d->total_bytes > 0) {
        const uint64_t all = minus(minus(d->total_bytes, d->reserve_bytes), others(d));
        /* Loads going on have taken a part of what they were promised already. */
        const uint64_t grown = minus(d->self_bytes, d->self_before_bytes);
        const uint64_t coming = minus(d->promised_bytes, grown);
        const uint64_t now = minus(plus(d->free_bytes, freed), d->reserve_bytes);
        const uint64_t a = minus(taken, all), b = minus(plus(need, coming), now);
        missing = missing > a ? missing : a;
        missing = missing > b ? missing : b;
    }
    *ret_short = missing;
    return missing == 0;
}

struct berth_ledger_sums
berth_ledger_sums(const struct berth_ledger *l, uint32_t device)
{
    berth_assert(device < BERTH_LEDGER_DEVICES);
    const struct berth_ledger_device *d = &l->devices[device];
    struct berth_ledger_sums s = {.budget_bytes = d->budget_bytes,
                                  .held_bytes = d->held_bytes,
                                  .promised_bytes = d->promised_bytes};
    const struct berth_ledger_item *i;

    DL_FOREACH(l->items, i)
    {
        s.pinned_bytes += i->pinned ? i->held.on[device] : 0;
        s.in_use_bytes += i->in_use ? i->held.on[device] : 0;
    }
    s.free_bytes = minus(d->budget_bytes, plus(d->held_bytes, d->promised_bytes));
    if (d->total_bytes == 0)
        return s;
    s.others_bytes = others(d);
    const uint64_t all = minus(minus(d->total_bytes, d->reserve_bytes), s.others_bytes);
    s.budget_bytes = least(s.budget_bytes, all);
    s.free_bytes = least(minus(s.budget_bytes, plus(d->held_bytes, d->promised_bytes)),
                         minus(d->free_bytes, d->reserve_bytes));
    return s;
}

/* ---- choosing ---- */

/* For how long a load of it is to be worth its cost. */
static uint64_t
worth_ns(const struct berth_ledger_item *i)
{
    return least(i->load_ns, worth_ns_max / WORTH) * WORTH;
}

static bool
is_fresh(const struct berth_ledger_item *i, uint64_t now_ns)
{
    const uint64_t last = i->loaded_ns > i->used_ns ? i->loaded_ns : i->used_ns;

    return minus(now_ns, last) < worth_ns(i);
}

static bool
is_braked(const struct berth_ledger_item *i, const struct berth_ledger_ask *ask)
{
    return i->used_ns > ask->since_ns && i->used_ns > i->loaded_ns &&
           minus(ask->now_ns, i->loaded_ns) < worth_ns(i);
}

/* A load time in ms, up to the next power of two: the same model takes now this long and now that,
 * and among alike ones their use shall decide. */
static uint64_t
rough_ms(uint64_t ns)
{
    uint64_t ms = 1;

    while (ms < UINT64_C(1) << 32 && ms * UINT64_C(1000000) < ns)
        ms *= 2;
    return ms;
}

/* What it costs to have evicted it, for each byte on the devices that are short. */
static double
cost(const struct berth_ledger_item *i, const bool *is_short, uint64_t now_ns)
{
    uint64_t bytes = 0;

    for (uint32_t d = 0; d < BERTH_LEDGER_DEVICES; d++)
        bytes = plus(bytes, is_short[d] ? i->held.on[d] : 0);
    if (bytes == 0)
        return -1;
    return (double)rough_ms(i->load_ns) * (double)(berth_ledger_weight(i, now_ns) + 1) /
           (double)bytes;
}

/* Does it fit, with freed given back?  Marks the devices that are short. */
static bool
fits(const struct berth_ledger *l, const struct berth_ledger_ask *ask,
     const struct berth_ledger_bytes *freed, bool *is_short, struct berth_ledger_choice *c)
{
    bool all = true;

    for (uint32_t d = 0; d < BERTH_LEDGER_DEVICES; d++) {
        uint64_t missing;
        is_short[d] = !has_room(&l->devices[d], ask->need.on[d], freed->on[d], &missing) &&
                      ask->need.on[d] > 0;
        if (is_short[d] && all && c != NULL) {
            c->device = d;
            c->short_bytes = missing;
        }
        all = all && !is_short[d];
    }
    return all;
}

static void
add_freed(struct berth_ledger_bytes *freed, const struct berth_ledger_item *i, bool back)
{
    for (uint32_t d = 0; d < BERTH_LEDGER_DEVICES; d++)
        freed->on[d] =
            back ? minus(freed->on[d], i->held.on[d]) : plus(freed->on[d], i->held.on[d]);
}

/* Would it fit if everything went that is not pinned? */
static bool
could_fit(const struct berth_ledger *l, const struct berth_ledger_ask *ask)
{
    struct berth_ledger_bytes freed = {{0}};
    bool is_short[BERTH_LEDGER_DEVICES];
    const struct berth_ledger_item *i;
    struct berth_ledger later = *l;

    DL_FOREACH(l->items, i)
    {
        if (i->pinned || i == ask->self)
            continue;
        add_freed(&freed, i, false);
        for (uint32_t d = 0; d < BERTH_LEDGER_DEVICES; d++) { /* its load will end, and it may go */
            struct berth_ledger_device *to = &later.devices[d];
            to->promised_bytes = minus(to->promised_bytes, i->promised.on[d]);
        }
    }
    return fits(&later, ask, &freed, is_short, NULL);
}

static bool
is_loading(const struct berth_ledger_item *i)
{
    uint32_t d = 0;

    while (d < BERTH_LEDGER_DEVICES && i->promised.on[d] == 0)
        d++;
    return d < BERTH_LEDGER_DEVICES;
}

/* Does i go before best?  Figures are measured: what differs by a sixteenth is alike, and then the
 * one used longest ago goes. */
static bool
goes_before(const struct berth_ledger_item *i, double cost_i, bool fresh,
            const struct berth_ledger_item *best, double cost_best, bool best_fresh)
{
    static const double alike = 17.0 / 16;

    if (fresh != best_fresh)
        return best_fresh;
    if (cost_i * alike < cost_best || cost_best * alike < cost_i)
        return cost_i < cost_best;
    return i->used_ns < best->used_ns;
}

/* The next to go; NULL: nobody. */
static struct berth_ledger_item *
next_victim(struct berth_ledger *l, const struct berth_ledger_ask *ask, const bool *is_short,
            bool braked_too, bool *ret_braked)
{
    struct berth_ledger_item *i, *best = NULL;
    double best_cost = 0;
    bool best_fresh = true;

    DL_FOREACH(l->items, i)
    {
        if (i->chosen || i->pinned || i->in_use || i == ask->self || is_loading(i))
            continue;
        const double c = cost(i, is_short, ask->now_ns);
        const bool fresh = is_fresh(i, ask->now_ns);
        if (c < 0)
            continue;
        if (is_braked(i, ask) && !braked_too) {
            *ret_braked = true;
            continue;
        }
        if (best != NULL && !goes_before(i, c, fresh, best, best_cost, best_fresh))
            continue;
        best = i;
        best_cost = c;
        best_fresh = fresh;
    }
    return best;
}

/* Take victims until it fits. */
static bool
gather(struct berth_ledger *l, const struct berth_ledger_ask *ask, bool braked_too,
       struct berth_ledger_choice *c)
{
    struct berth_ledger_bytes freed = {{0}};
    bool is_short[BERTH_LEDGER_DEVICES], done;

    c->victim_count = 0;
    while (!(done = fits(l, ask, &freed, is_short, NULL)) &&
           c->victim_count < BERTH_COUNT(c->victims)) {
        struct berth_ledger_item *i = next_victim(l, ask, is_short, braked_too, &c->braked);
        if (i == NULL)
            break;
        i->chosen = true;
        c->victims[c->victim_count++] = i;
        add_freed(&freed, i, false);
    }
    for (uint32_t k = 0; k < c->victim_count; k++)
        c->victims[k]->chosen = false;
    /* The last ones taken may make some of the first ones needless: let the dearest stay. */
    for (uint32_t k = c->victim_count; done && k-- > 0;) {
        add_freed(&freed, c->victims[k], true);
        if (fits(l, ask, &freed, is_short, NULL)) {
            c->victim_count--;
            memmove(&c->victims[k], &c->victims[k + 1],
                    (c->victim_count - k) * sizeof c->victims[0]);
        } else {
            add_freed(&freed, c->victims[k], false);
        }
    }
    return done || c->victim_count == BERTH_COUNT(c->victims);
}

struct berth_ledger_choice
berth_ledger_choose(struct berth_ledger *l, const struct berth_ledger_ask *ask)
{
    struct berth_ledger_choice c = {.verdict = BERTH_LEDGER_FITS};
    const struct berth_ledger_bytes none = {{0}};
    bool is_short[BERTH_LEDGER_DEVICES];

    if (fits(l, ask, &none, is_short, &c))
        return c;
    if (!could_fit(l, ask)) {
        c.verdict = BERTH_LEDGER_NEVER;
        return c;
    }
    c.verdict = BERTH_LEDGER_WAIT;
    if (!ask->evict)
        return c;
    if (gather(l, ask, false, &c)) {
        c.verdict = BERTH_LEDGER_EVICT;
        c.braked = false;
        return c;
    }
    if (c.braked) { /* would it be enough without the brake? */
        struct berth_ledger_choice without = c;
        c.braked = gather(l, ask, true, &without);
    }
    c.victim_count = 0;
    return c;
}
