#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "infer/ledger.h"

/*
 * 1,000 models with room for 16, two loaders and clients that send one request after the other, in
 * virtual time: what the registry does with the ledger, without threads and engines.
 */
enum { MODELS = 1000, ROOM = 16, CLIENTS = 64, LOADERS = 2, QUEUE = MODELS };
static const uint64_t MS = UINT64_C(1000000), LOAD = 5 * 1000000, RUN = 1000000;

struct model {
    struct berth_ledger_item item;
    uint64_t since_ns, load_end_ns;
    uint32_t waiting, running;
    bool queued;
};

struct client {
    int model; /* it waits for, or runs on; -1: done */
    bool waits, thinks;
    uint64_t begin_ns, end_ns;
};

struct sim {
    struct berth_ledger l;
    struct model models[MODELS];
    struct client clients[CLIENTS];
    uint32_t client_count;
    int queue[QUEUE];
    uint32_t queue_len, loading;
    uint64_t now, seed, think_ns;
    unsigned sent, total, loads, evictions, waits, braked;
    uint64_t wait_max, wait_sum;
    int (*choose)(struct sim *s);
    bool unbraked;       /* as if nobody had used anything since the asker came */
    double zipf[MODELS]; /* running sums */
};

static uint64_t
next(struct sim *s)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    return s->seed;
}

static int
by_zipf(struct sim *s)
{
    const double x = (double)(next(s) >> 11) / (double)(UINT64_C(1) << 53);
    int low = 0, high = MODELS - 1;

    while (low < high) {
        const int mid = (low + high) / 2;
        if (s->zipf[mid] < x)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int
in_turn(struct sim *s)
{
    return (int)(s->sent % MODELS);
}

static int
in_turn_of_three(struct sim *s)
{
    return (int)(s->sent % 3);
}

static int
two_at_once(struct sim *s)
{
    return (int)(next(s) % 2);
}

static void
run_on(struct sim *s, struct client *c)
{
    struct model *m = &s->models[c->model];

    berth_ledger_use(&m->item, 1, s->now);
    c->waits = false;
    c->end_ns = s->now + RUN;
    m->running++;
    m->item.in_use = true;
}

static void
send(struct sim *s, struct client *c)
{
    if (s->sent == s->total) {
        c->model = -1;
        return;
    }
    c->model = s->choose(s);
    s->sent++;
    c->begin_ns = s->now;
    struct model *m = &s->models[c->model];
    if (m->item.held.on[0] > 0) {
        run_on(s, c);
        return;
    }
    c->waits = true;
    s->waits++;
    if (m->waiting++ > 0)
        return;
    m->since_ns = s->now;
    if (!m->queued && m->load_end_ns == 0) {
        assert_true(s->queue_len < QUEUE);
        m->queued = true;
        s->queue[s->queue_len++] = c->model;
    }
}

/* Begin the loads that may begin, oldest first. */
static void
begin_loads(struct sim *s)
{
    for (uint32_t k = 0; k < s->queue_len && s->loading < LOADERS;) {
        struct model *m = &s->models[s->queue[k]];
        const struct berth_ledger_ask ask = {.need = {{1}},
                                             .self = &m->item,
                                             .since_ns = s->unbraked ? s->now : m->since_ns,
                                             .now_ns = s->now,
                                             .evict = true};
        const struct berth_ledger_bytes none = {{0}};
        const struct berth_ledger_choice c = berth_ledger_choose(&s->l, &ask);

        assert_int_not_equal(c.verdict, BERTH_LEDGER_NEVER);
        if (c.verdict == BERTH_LEDGER_WAIT) {
            s->braked += c.braked;
            k++;
            continue;
        }
        for (uint32_t v = 0; v < c.victim_count; v++) {
            assert_false(c.victims[v]->in_use);
            berth_ledger_settle(&s->l, c.victims[v], &none, 0);
            s->evictions++;
        }
        berth_ledger_promise(&s->l, &m->item, &ask.need);
        m->load_end_ns = s->now + LOAD;
        m->queued = false;
        s->loading++;
        s->loads++;
        s->queue_len--;
        memmove(&s->queue[k], &s->queue[k + 1], (s->queue_len - k) * sizeof s->queue[0]);
    }
}

static void
end_load(struct sim *s, int which)
{
    struct model *m = &s->models[which];
    const struct berth_ledger_bytes held = {{1}};

    berth_ledger_settle(&s->l, &m->item, &held, 0);
    m->item.load_ns = LOAD;
    m->item.loaded_ns = s->now;
    m->load_end_ns = 0;
    s->loading--;
    assert_true(m->waiting > 0); /* no load without somebody to serve */
    for (uint32_t k = 0; k < s->client_count; k++) {
        struct client *c = &s->clients[k];
        if (!c->waits || c->model != which)
            continue;
        const uint64_t waited = s->now - c->begin_ns;
        s->wait_sum += waited;
        s->wait_max = waited > s->wait_max ? waited : s->wait_max;
        run_on(s, c);
    }
    m->waiting = 0;
}

/* Everything that is due now; then the time of what comes next. */
static uint64_t
step(struct sim *s)
{
    uint64_t soon = UINT64_MAX;

    for (int k = 0; k < MODELS; k++) {
        if (s->models[k].load_end_ns != 0 && s->models[k].load_end_ns <= s->now)
            end_load(s, k);
    }
    for (uint32_t k = 0; k < s->client_count; k++) {
        struct client *c = &s->clients[k];
        if (c->model < 0 || c->waits || c->end_ns > s->now)
            continue;
        struct model *m = &s->models[c->model];
        if (!c->thinks)
            m->item.in_use = --m->running > 0;
        c->thinks = !c->thinks && s->think_ns > 0;
        if (c->thinks)
            c->end_ns = s->now + 1 + next(s) % (2 * s->think_ns);
        else
            send(s, c);
    }
    begin_loads(s);
    for (int k = 0; k < MODELS; k++) {
        if (s->models[k].load_end_ns != 0 && s->models[k].load_end_ns < soon)
            soon = s->models[k].load_end_ns;
    }
    for (uint32_t k = 0; k < s->client_count; k++) {
        const struct client *c = &s->clients[k];
        if (c->model >= 0 && !c->waits && c->end_ns < soon)
            soon = c->end_ns;
    }
    if (s->queue_len > 0 && s->loading < LOADERS && soon > s->now + MS)
        soon = s->now + MS; /* braked: looked at again */
    return soon;
}

struct run {
    const char *what;
    int (*choose)(struct sim *s);
    uint32_t clients, room;
    unsigned total, loads_max;
    uint64_t wait_ms_max, think_ms;
    bool unbraked;
};

static unsigned
simulate(const struct run *run)
{
    struct sim *s = calloc(1, sizeof *s);
    const struct berth_ledger_device d = {.budget_bytes = run->room};
    double sum = 0;

    assert_non_null(s);
    s->seed = 0x9e3779b97f4a7c15;
    s->total = run->total;
    s->choose = run->choose;
    s->client_count = run->clients;
    s->unbraked = run->unbraked;
    s->think_ns = run->think_ms * MS;
    s->now = 1;
    for (uint32_t k = 0; k < BERTH_LEDGER_DEVICES; k++)
        berth_ledger_measure(&s->l, k, &d);
    for (int k = 0; k < MODELS; k++)
        sum += 1.0 / (k + 1);
    for (int k = 0; k < MODELS; k++)
        s->zipf[k] = (k > 0 ? s->zipf[k - 1] : 0) + 1.0 / (k + 1) / sum;
    for (uint32_t k = 0; k < run->clients; k++)
        send(s, &s->clients[k]);
    for (uint64_t soon = s->now; soon != UINT64_MAX;) {
        s->now = soon;
        soon = step(s);
    }
    print_message("  %-31s %5u requests in %5.1f s: %5u waited, %5.1f ms on average, %5.1f at "
                  "most; %5u loads, %5u evictions, braked %u times\n",
                  run->what, s->sent, (double)s->now / 1e9, s->waits,
                  s->waits > 0 ? (double)s->wait_sum / s->waits / 1e6 : 0.0,
                  (double)s->wait_max / 1e6, s->loads, s->evictions, s->braked);
    assert_int_equal(s->queue_len, 0); /* nobody was left waiting */
    assert_int_equal(s->l.devices[0].promised_bytes, 0);
    assert_true(s->loads <= s->waits);
    assert_true(s->loads <= run->loads_max);
    assert_true(s->wait_max <= run->wait_ms_max * MS);
    const unsigned loads = s->loads;
    free(s);
    return loads;
}

static void
traffic_over_many_models(void **unused)
{
    static const struct run runs[] = {
        /* The 16 most wanted of 1,000 take 45 % of a Zipf traffic: what can be hit at best. */
        {"Zipf, one client", by_zipf, 1, ROOM, 20000, 20000 * 60 / 100, 10, 0, false},
        {"Zipf, 64 clients", by_zipf, 64, ROOM, 20000, 20000 * 60 / 100, 500, 0, false},
        /* Every request is a miss, whatever one does: one load for each, and no more. */
        {"round robin, one client", in_turn, 1, ROOM, 5000, 5000, 10, 0, false},
        {"round robin, 64 clients", in_turn, 64, ROOM, 5000, 5000, 500, 0, false},
        {"all at once", in_turn, CLIENTS, ROOM, MODELS, MODELS, 500, 0, false},
        {"A, B, C, room for two", in_turn_of_three, 1, 2, 300, 300, 10, 0, false},
    };
    /* The spiral: two that are wanted all the time, but with gaps, and room for one. */
    struct run two = {
        "two, room for one, now and then", two_at_once, 64, 1, 20000, 600, 100, 20, false};

    (void)unused;
    for (size_t k = 0; k < sizeof runs / sizeof runs[0]; k++)
        (void)simulate(&runs[k]);
    const unsigned braked = simulate(&two);
    two.what = "the same without the brake";
    two.loads_max = two.total;
    two.unbraked = true;
    assert_true(simulate(&two) > 2 * braked);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(traffic_over_many_models)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
