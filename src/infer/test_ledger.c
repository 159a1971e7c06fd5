#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "infer/ledger.h"

enum { MB = 1 << 20, COUNT = 40, ROUNDS = 20000 };
static const uint64_t S = UINT64_C(1000000000), MS = UINT64_C(1000000);

static struct berth_ledger_bytes
bytes(uint64_t n)
{
    return (struct berth_ledger_bytes){{n}};
}

static void
hold(struct berth_ledger *l, struct berth_ledger_item *i, uint64_t n)
{
    const struct berth_ledger_bytes b = bytes(n);

    berth_ledger_promise(l, i, &b);
    berth_ledger_settle(l, i, &b, 0);
}

static struct berth_ledger_choice
ask(struct berth_ledger *l, uint64_t need, uint64_t now_ns)
{
    const struct berth_ledger_ask a = {
        .need = bytes(need), .since_ns = now_ns, .now_ns = now_ns, .evict = true};

    return berth_ledger_choose(l, &a);
}

static void
set_budget(struct berth_ledger *l, uint64_t n)
{
    const struct berth_ledger_device d = {.budget_bytes = n};

    for (uint32_t k = 0; k < BERTH_LEDGER_DEVICES; k++)
        berth_ledger_measure(l, k, &d);
}

/* ---- who goes first ---- */

static void
the_cheapest_to_bring_back_goes_first(void **unused)
{
    static const struct {
        const char *why;
        struct {
            uint64_t mb, load_ms, used_s, uses;
            bool pinned, in_use;
        } have[3];
        uint64_t need_mb;
        enum berth_ledger_verdict verdict;
        int victims[4]; /* ended by -1 */
    } cases[] = {
        {"all alike: the one used longest ago",
         {{10, 100, 30, 1, 0, 0}, {10, 100, 10, 1, 0, 0}, {10, 100, 20, 1, 0, 0}},
         10,
         BERTH_LEDGER_EVICT,
         {1, -1}},
        {"it loads slowly: another goes, although used later",
         {{10, 9000, 10, 1, 0, 0}, {10, 100, 20, 1, 0, 0}, {10, 9000, 5, 1, 0, 0}},
         10,
         BERTH_LEDGER_EVICT,
         {1, -1}},
        {"a large one that loads no slower is cheaper per byte",
         {{5, 100, 20, 1, 0, 0}, {20, 100, 20, 1, 0, 0}, {5, 100, 20, 1, 0, 0}},
         5,
         BERTH_LEDGER_EVICT,
         {1, -1}},
        {"one that is used often stays",
         {{10, 100, 20, 50, 0, 0}, {10, 100, 21, 50, 0, 0}, {10, 100, 22, 1, 0, 0}},
         10,
         BERTH_LEDGER_EVICT,
         {2, -1}},
        {"pinned and in use stay",
         {{10, 100, 1, 1, 1, 0}, {10, 100, 2, 1, 0, 1}, {10, 9000, 50, 99, 0, 0}},
         10,
         BERTH_LEDGER_EVICT,
         {2, -1}},
        {"what is in use will be free some time",
         {{10, 100, 1, 1, 1, 0}, {10, 100, 2, 1, 0, 1}, {10, 100, 3, 1, 0, 1}},
         20,
         BERTH_LEDGER_WAIT,
         {-1}},
        {"what is pinned will not",
         {{10, 100, 1, 1, 1, 0}, {10, 100, 2, 1, 0, 1}, {10, 100, 3, 1, 0, 0}},
         21,
         BERTH_LEDGER_NEVER,
         {-1}},
        {"no more go than must",
         {{4, 100, 10, 1, 0, 0}, {6, 150, 20, 1, 0, 0}, {20, 9000, 30, 90, 0, 0}},
         6,
         BERTH_LEDGER_EVICT,
         {1, -1}},
        {"two small ones for a large one",
         {{10, 100, 10, 1, 0, 0}, {10, 100, 20, 1, 0, 0}, {10, 100, 30, 1, 0, 0}},
         20,
         BERTH_LEDGER_EVICT,
         {0, 1, -1}},
    };
    const uint64_t now = 1000 * S;

    (void)unused;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct berth_ledger_item items[3] = {{.held = {{0}}}};
        struct berth_ledger l = {.items = NULL};

        print_message("  %s\n", cases[k].why);
        set_budget(&l, 30 * MB);
        for (size_t i = 0; i < 3; i++) {
            /* "used_s": so many seconds after the start, long ago */
            const uint64_t used = 500 * S + cases[k].have[i].used_s * S;
            items[i].load_ns = cases[k].have[i].load_ms * MS;
            items[i].loaded_ns = 100 * S;
            items[i].pinned = cases[k].have[i].pinned;
            items[i].in_use = cases[k].have[i].in_use;
            berth_ledger_use(&items[i], cases[k].have[i].uses, used);
            hold(&l, &items[i], cases[k].have[i].mb * MB);
        }
        const struct berth_ledger_choice c = ask(&l, cases[k].need_mb * MB, now);
        assert_int_equal(c.verdict, cases[k].verdict);
        uint32_t n = 0;
        while (cases[k].victims[n] >= 0)
            n++;
        assert_int_equal(c.victim_count, n);
        for (uint32_t i = 0; i < n; i++) {
            bool found = false;
            for (uint32_t v = 0; v < n; v++)
                found = found || c.victims[v] == &items[cases[k].victims[i]];
            assert_true(found);
        }
        if (n == 0)
            assert_int_equal(c.short_bytes, cases[k].need_mb * MB);
    }
}

static void
what_has_just_come_goes_last(void **unused)
{
    struct berth_ledger_item old = {.load_ns = 9 * S}, young = {.load_ns = S};
    struct berth_ledger l = {.items = NULL};

    (void)unused;
    set_budget(&l, 20 * MB);
    hold(&l, &old, 10 * MB);
    hold(&l, &young, 10 * MB);
    old.loaded_ns = 10 * S;
    young.loaded_ns = 100 * S;
    berth_ledger_use(&old, 1, 20 * S);
    /* The young one is cheaper, but has not been worth its load. */
    assert_ptr_equal(ask(&l, 10 * MB, 103 * S).victims[0], &old);
    assert_ptr_equal(ask(&l, 10 * MB, 105 * S).victims[0], &young);
    old.in_use = true; /* nothing else is there */
    assert_ptr_equal(ask(&l, 10 * MB, 103 * S).victims[0], &young);
}

static void
the_brake_holds_what_is_wanted_too(void **unused)
{
    struct berth_ledger_item i = {.load_ns = S, .loaded_ns = 100 * S};
    struct berth_ledger l = {.items = NULL};
    struct berth_ledger_ask a = {
        .need = bytes(10 * MB), .since_ns = 99 * S, .now_ns = 102 * S, .evict = true};

    (void)unused;
    set_budget(&l, 10 * MB);
    hold(&l, &i, 10 * MB);
    berth_ledger_use(&i, 1, 101 * S); /* while the asker waits */
    struct berth_ledger_choice c = berth_ledger_choose(&l, &a);
    assert_int_equal(c.verdict, BERTH_LEDGER_WAIT);
    assert_true(c.braked);
    a.now_ns = 104 * S; /* four times its load time */
    assert_int_equal(berth_ledger_choose(&l, &a).verdict, BERTH_LEDGER_EVICT);
    a.now_ns = 102 * S;
    a.since_ns = 101 * S; /* nobody has used it since then: waiting would help nobody */
    assert_int_equal(berth_ledger_choose(&l, &a).verdict, BERTH_LEDGER_EVICT);
    a.evict = false;
    c = berth_ledger_choose(&l, &a);
    assert_int_equal(c.verdict, BERTH_LEDGER_WAIT);
    assert_false(c.braked);
}

/* ---- how much there is ---- */

static void
others_and_growth_count(void **unused)
{
    static const struct {
        const char *why;
        struct berth_ledger_device d; /* in MiB */
        uint64_t held, promised, free, others, budget;
    } cases[] = {
        {"a budget alone", {.budget_bytes = 100}, 30, 20, 50, 0, 100},
        {"a machine with room: the setting counts",
         {.budget_bytes = 100, .total_bytes = 1000, .free_bytes = 900, .self_bytes = 40},
         30,
         0,
         70,
         60,
         100},
        {"others took it: what is free counts, less the reserve",
         {.budget_bytes = 500,
          .reserve_bytes = 10,
          .total_bytes = 1000,
          .free_bytes = 100,
          .self_bytes = 40},
         30,
         0,
         90,
         860,
         130},
        {"no budget of its own",
         {.budget_bytes = UINT64_MAX,
          .reserve_bytes = 50,
          .total_bytes = 1000,
          .free_bytes = 600,
          .self_bytes = 400},
         350,
         0,
         550,
         0,
         950},
        {"models in mapped files look free, and are not",
         {.budget_bytes = UINT64_MAX, .total_bytes = 1000, .free_bytes = 990, .self_bytes = 10},
         800,
         0,
         200,
         0,
         1000},
    };

    (void)unused;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct berth_ledger_item a = {.load_ns = 1}, b = {.load_ns = 1};
        struct berth_ledger_device d = cases[k].d;
        struct berth_ledger l = {.items = NULL};

        print_message("  %s\n", cases[k].why);
        d.budget_bytes = d.budget_bytes == UINT64_MAX ? UINT64_MAX : d.budget_bytes * MB;
        d.reserve_bytes *= MB;
        d.total_bytes *= MB;
        d.free_bytes *= MB;
        d.self_bytes *= MB;
        berth_ledger_measure(&l, 0, &d);
        hold(&l, &a, cases[k].held * MB);
        if (cases[k].promised > 0) {
            const struct berth_ledger_bytes n = bytes(cases[k].promised * MB);
            berth_ledger_promise(&l, &b, &n);
        }
        const struct berth_ledger_sums s = berth_ledger_sums(&l, 0);
        assert_int_equal(s.free_bytes, cases[k].free * MB);
        assert_int_equal(s.others_bytes, cases[k].others * MB);
        assert_int_equal(s.budget_bytes, cases[k].budget * MB);
        const struct berth_ledger_ask all = {.need = bytes(s.free_bytes)},
                                      more = {.need = bytes(s.free_bytes + 1)};
        assert_int_equal(berth_ledger_choose(&l, &all).verdict, BERTH_LEDGER_FITS);
        assert_int_not_equal(berth_ledger_choose(&l, &more).verdict, BERTH_LEDGER_FITS);
    }
}

static void
a_load_under_way_is_not_counted_twice(void **unused)
{
    struct berth_ledger_item a = {.load_ns = 1};
    struct berth_ledger l = {.items = NULL};
    struct berth_ledger_device d = {
        .budget_bytes = UINT64_MAX, .total_bytes = 100 * MB, .free_bytes = 100 * MB};
    const struct berth_ledger_bytes n = bytes(60 * MB);
    const struct berth_ledger_ask more = {.need = bytes(40 * MB)};

    (void)unused;
    berth_ledger_measure(&l, 0, &d);
    berth_ledger_promise(&l, &a, &n);
    assert_int_equal(berth_ledger_choose(&l, &more).verdict, BERTH_LEDGER_FITS);
    d.free_bytes = 50 * MB; /* it has taken 50 of its 60 */
    d.self_bytes = 50 * MB;
    berth_ledger_measure(&l, 0, &d);
    assert_int_equal(berth_ledger_choose(&l, &more).verdict, BERTH_LEDGER_FITS);
    d.free_bytes = 45 * MB; /* and somebody else 5 */
    berth_ledger_measure(&l, 0, &d);
    assert_int_equal(berth_ledger_choose(&l, &more).verdict, BERTH_LEDGER_WAIT);
}

static void
children_are_not_others(void **unused)
{
    struct berth_ledger_item a = {.load_ns = 1};
    struct berth_ledger l = {.items = NULL};
    const struct berth_ledger_device d = {.budget_bytes = UINT64_MAX,
                                          .total_bytes = 100 * MB,
                                          .free_bytes = 60 * MB,
                                          .self_bytes = 10 * MB};
    const struct berth_ledger_bytes n = bytes(30 * MB);

    (void)unused;
    berth_ledger_measure(&l, 0, &d);
    berth_ledger_settle(&l, &a, &n, 30 * MB);
    assert_int_equal(berth_ledger_sums(&l, 0).others_bytes, 0);
    berth_ledger_settle(&l, &a, &n, 0);
    assert_int_equal(berth_ledger_sums(&l, 0).others_bytes, 30 * MB);
}

static void
every_device_must_have_room(void **unused)
{
    struct berth_ledger_item on_cpu = {.load_ns = S}, on_gpu = {.load_ns = 9 * S};
    struct berth_ledger l = {.items = NULL};
    struct berth_ledger_device gpu = {.budget_bytes = UINT64_MAX,
                                      .total_bytes = 100 * MB,
                                      .free_bytes = 100 * MB,
                                      .reserve_bytes = 20 * MB}; /* memory_fraction 0.8 */
    struct berth_ledger_bytes n = bytes(50 * MB);
    struct berth_ledger_ask a = {
        .need = bytes(10 * MB), .since_ns = 900 * S, .now_ns = 900 * S, .evict = true};

    (void)unused;
    set_budget(&l, 60 * MB);
    berth_ledger_measure(&l, 1, &gpu);
    berth_ledger_settle(&l, &on_cpu, &n, 0);
    n = (struct berth_ledger_bytes){{0, 70 * MB}};
    berth_ledger_settle(&l, &on_gpu, &n, 0);
    gpu.free_bytes = 30 * MB;
    gpu.self_bytes = 70 * MB;
    berth_ledger_measure(&l, 1, &gpu);
    a.need.on[1] = 20 * MB;
    struct berth_ledger_choice c = berth_ledger_choose(&l, &a);
    assert_int_equal(c.verdict, BERTH_LEDGER_EVICT);
    assert_int_equal(c.device, 1);
    assert_int_equal(c.victim_count, 1); /* the cheaper one has nothing on that card */
    assert_ptr_equal(c.victims[0], &on_gpu);
    a.need.on[1] = 81 * MB;
    assert_int_equal(berth_ledger_choose(&l, &a).verdict, BERTH_LEDGER_NEVER);
}

/* ---- properties ---- */

static uint64_t
next(uint64_t *state)
{
    *state ^= *state << 13; /* xorshift */
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void
check_choice(const struct berth_ledger *l, const struct berth_ledger_ask *a,
             const struct berth_ledger_choice *c)
{
    struct berth_ledger_device d = l->devices[0];
    uint64_t freed = 0;

    for (uint32_t i = 0; i < c->victim_count; i++) {
        assert_false(c->victims[i]->pinned || c->victims[i]->in_use);
        assert_ptr_not_equal(c->victims[i], a->self);
        assert_false(c->victims[i]->chosen);
        for (uint32_t k = 0; k < i; k++)
            assert_ptr_not_equal(c->victims[i], c->victims[k]);
        freed += c->victims[i]->held.on[0];
    }
    const uint64_t taken = d.held_bytes + d.promised_bytes + a->need.on[0];
    switch (c->verdict) {
    case BERTH_LEDGER_FITS:
        assert_true(taken <= d.budget_bytes);
        assert_int_equal(c->victim_count, 0);
        break;
    case BERTH_LEDGER_EVICT:
        assert_true(c->victim_count > 0 && taken > d.budget_bytes);
        assert_true(taken - freed <= d.budget_bytes || c->victim_count == 64);
        for (uint32_t i = 0; i < c->victim_count; i++) /* none goes for nothing */
            assert_true(taken - freed + c->victims[i]->held.on[0] > d.budget_bytes);
        break;
    case BERTH_LEDGER_WAIT:
    case BERTH_LEDGER_NEVER:
        assert_int_equal(c->victim_count, 0);
        assert_int_equal(c->short_bytes, taken - d.budget_bytes);
        break;
    }
}

static void
whatever_happens_the_account_is_right(void **unused)
{
    struct berth_ledger_item items[COUNT] = {{.load_ns = 0}};
    struct berth_ledger l = {.items = NULL};
    const char *given = getenv("BERTH_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : 0x5eed5eed, now = S;
    unsigned verdicts[4] = {0};

    (void)unused;
    print_message("  BERTH_SEED=%#llx\n", (unsigned long long)seed);
    set_budget(&l, 64 * MB);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct berth_ledger_item *i = &items[next(&seed) % COUNT];
        struct berth_ledger_ask a = {.need = bytes(next(&seed) % (24 * MB) + 1),
                                     .self = i,
                                     .since_ns = now - next(&seed) % now,
                                     .now_ns = now += next(&seed) % S,
                                     .evict = true};
        const struct berth_ledger_bytes none = bytes(0);
        uint64_t held = 0, promised = 0;

        switch (next(&seed) % 5) {
        case 0:
            berth_ledger_use(i, next(&seed) % 4, now);
            i->in_use = next(&seed) % 3 == 0 && i->held.on[0] > 0;
            break;
        case 1:
            i->pinned = next(&seed) % 3 == 0;
            break;
        case 2: /* a load ends */
            if (i->promised.on[0] > 0) {
                const struct berth_ledger_bytes n = bytes(i->promised.on[0]);
                i->load_ns = next(&seed) % (2 * S);
                i->loaded_ns = now;
                berth_ledger_settle(&l, i, &n, 0);
            }
            break;
        default:
            if (i->promised.on[0] > 0 || i->held.on[0] > 0)
                break;
            const struct berth_ledger_choice c = berth_ledger_choose(&l, &a);
            verdicts[c.verdict]++;
            check_choice(&l, &a, &c);
            for (uint32_t k = 0; k < c.victim_count; k++)
                berth_ledger_settle(&l, c.victims[k], &none, 0);
            if (c.verdict == BERTH_LEDGER_FITS || c.verdict == BERTH_LEDGER_EVICT)
                berth_ledger_promise(&l, i, &a.need);
        }
        for (size_t k = 0; k < COUNT; k++) {
            held += items[k].held.on[0];
            promised += items[k].promised.on[0];
        }
        assert_int_equal(l.devices[0].held_bytes, held);
        assert_int_equal(l.devices[0].promised_bytes, promised);
        assert_true(held + promised <= 64 * MB);
    }
    print_message("  fits %u, evict %u, wait %u, never %u\n", verdicts[0], verdicts[1], verdicts[2],
                  verdicts[3]);
    for (size_t k = 0; k < 4; k++)
        assert_true(verdicts[k] > 0);
}

static void
uses_fade(void **unused)
{
    struct berth_ledger_item i = {.load_ns = 1};
    uint64_t before;

    (void)unused;
    berth_ledger_use(&i, 8, S);
    before = berth_ledger_weight(&i, S);
    assert_int_equal(berth_ledger_weight(&i, S + BERTH_LEDGER_HALF_NS), before / 2);
    assert_int_equal(berth_ledger_weight(&i, S + 2 * BERTH_LEDGER_HALF_NS), before / 4);
    for (uint64_t t = S; t < S + 3 * BERTH_LEDGER_HALF_NS; t += S / 2) {
        assert_true(berth_ledger_weight(&i, t) <= before);
        before = berth_ledger_weight(&i, t);
    }
    assert_int_equal(berth_ledger_weight(&i, UINT64_MAX), 0);
    berth_ledger_use(&i, UINT64_MAX, 2 * S); /* no overflow */
    assert_true(berth_ledger_weight(&i, 2 * S) <= UINT64_C(1) << 40);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cheapest_to_bring_back_goes_first),
        cmocka_unit_test(what_has_just_come_goes_last),
        cmocka_unit_test(the_brake_holds_what_is_wanted_too),
        cmocka_unit_test(others_and_growth_count),
        cmocka_unit_test(a_load_under_way_is_not_counted_twice),
        cmocka_unit_test(children_are_not_others),
        cmocka_unit_test(every_device_must_have_room),
        cmocka_unit_test(whatever_happens_the_account_is_right),
        cmocka_unit_test(uses_fade),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
