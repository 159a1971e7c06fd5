#include "deploy/route/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/forward.h"

enum { REPLICAS_MAX = 8 };

/* A service of some replicas, under a clock of the test's own. */
struct world {
    struct berth_balance_conf conf;
    struct berth_balance balance;
    struct berth_balance_replica at[REPLICAS_MAX], *list[REPLICAS_MAX];
    size_t count;
    uint32_t weights[BERTH_TRACK_COUNT];
    uint64_t now_ns;
};

/* "sssc": three stable ones and a canary, all ready. */
static struct world
world_of(const char *tracks, uint32_t stable, uint32_t canary)
{
    struct world w = {
        .count = strlen(tracks), .weights = {stable, canary}, .now_ns = 100 * BERTH_S};

    w.conf = berth_balance_conf((struct berth_balance_conf){0});
    berth_balance_init(&w.balance, &w.conf);
    for (size_t i = 0; i < w.count; i++)
        w.at[i] = (struct berth_balance_replica){
            .track = tracks[i] == 'c' ? BERTH_TRACK_CANARY : BERTH_TRACK_STABLE, .ready = true};
    return w;
}

static int
pick(struct world *w, const int *tried, size_t tried_count, bool *ret_probe)
{
    struct berth_balance_replica *before[REPLICAS_MAX];
    bool probe;

    for (size_t i = 0; i < w->count; i++)
        w->list[i] = &w->at[i];
    for (size_t i = 0; i < tried_count; i++)
        before[i] = &w->at[tried[i]];
    const struct berth_balance_ask ask = {.replicas = w->list,
                                          .count = w->count,
                                          .weights = w->weights,
                                          .tried = before,
                                          .tried_count = tried_count,
                                          .now_ns = w->now_ns};
    const struct berth_balance_replica *r =
        berth_balance_pick(&w->balance, &ask, ret_probe != NULL ? ret_probe : &probe);
    return r != NULL ? (int)(r - w->at) : -1;
}

static void
done(struct world *w, int i, enum berth_verdict verdict, bool probe)
{
    berth_balance_done(&w->at[i], &w->conf, verdict, probe, w->now_ns);
}

/* ---- choosing ---- */

static void
shares_are_exact(void **unused)
{
    static const struct {
        const char *why, *tracks;
        uint32_t stable, canary;
        unsigned canary_of_1000;
    } cases[] = {
        {"ten percent", "sssc", 90, 10, 100},
        {"one percent", "sc", 99, 1, 10},
        {"half, whatever the numbers of replicas", "sccc", 50, 50, 500},
        {"none", "sc", 100, 0, 0},
        {"all", "sc", 0, 100, 1000},
        {"a canary that is not there", "ss", 90, 10, 0},
        {"nothing but canaries: they take what stable leaves", "cc", 90, 10, 1000},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct world w = world_of(cases[i].tracks, cases[i].stable, cases[i].canary);
        unsigned canary = 0;

        for (int n = 0; n < 1000; n++) {
            const int r = pick(&w, NULL, 0, NULL);
            assert_true(r >= 0);
            canary += w.at[r].track == BERTH_TRACK_CANARY;
            done(&w, r, BERTH_VERDICT_GOOD, false);
        }
        if (canary != cases[i].canary_of_1000)
            fail_msg("%s: %u of 1,000", cases[i].why, canary);
    }
}

static void
the_idlest_is_next(void **unused)
{
    struct world w = world_of("sss", 1, 0);
    const int a = pick(&w, NULL, 0, NULL), b = pick(&w, NULL, 0, NULL), c = pick(&w, NULL, 0, NULL);

    (void)unused;
    assert_true(a != b && b != c && a != c);
    done(&w, b, BERTH_VERDICT_GOOD, false);
    assert_int_equal(pick(&w, NULL, 0, NULL), b);
    done(&w, a, BERTH_VERDICT_GOOD, false);
    done(&w, c, BERTH_VERDICT_GOOD, false);
    assert_int_equal(pick(&w, NULL, 0, NULL), a); /* longest without one */
}

static void
who_gets_none(void **unused)
{
    struct world w = world_of("ss", 1, 0);
    const int both[] = {0, 1};

    (void)unused;
    w.at[0].ready = false;
    assert_int_equal(pick(&w, NULL, 0, NULL), 1);
    w.at[0].ready = true;
    w.at[1].draining = true;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pick(&w, NULL, 0, NULL), 0);
    assert_int_equal(pick(&w, both, 1, NULL), -1); /* tried, or draining */
    w.at[1].draining = false;
    assert_int_equal(pick(&w, both, 1, NULL), 1);
    assert_int_equal(pick(&w, both, 2, NULL), -1);
}

/* A retry stays in its track where it can, and takes nothing of the other's share. */
static void
retries_keep_to_their_track(void **unused)
{
    struct world w = world_of("ssc", 50, 50);

    (void)unused;
    for (int n = 0; n < 100; n++) {
        const int first = pick(&w, NULL, 0, NULL), second = pick(&w, &first, 1, NULL);

        assert_int_equal(w.at[first].track == BERTH_TRACK_CANARY, n % 2);
        assert_int_equal(w.at[second].track, BERTH_TRACK_STABLE); /* the canary is alone */
        assert_true(first != second);
        done(&w, first, BERTH_VERDICT_NONE, false);
        done(&w, second, BERTH_VERDICT_GOOD, false);
    }
}

/* ---- breakers ---- */

/* g, b, n: a request that ends so; p: likewise, and it must be the probe; +N: N tenths of a second
 * pass; x: nobody may be asked. */
static void
play(struct world *w, const char *why, const char *script)
{
    for (const char *p = script; *p != '\0'; p++) {
        bool probe = false;

        if (*p == '+') {
            char *end;
            w->now_ns += strtoul(p + 1, &end, 10) * 100 * BERTH_MS;
            p = end - 1;
            continue;
        }
        const int r = pick(w, NULL, 0, &probe);
        if ((*p == 'x') != (r < 0))
            fail_msg("%s: at '%s'", why, p);
        if (r < 0)
            continue;
        const bool wanted = *p == 'G' || *p == 'B' || *p == 'N';
        if (probe != wanted)
            fail_msg("%s: probe at '%s'", why, p);
        done(w, r,
             (*p | 0x20) == 'g'   ? BERTH_VERDICT_GOOD
             : (*p | 0x20) == 'b' ? BERTH_VERDICT_BAD
                                  : BERTH_VERDICT_NONE,
             probe);
    }
}

static void
breakers_open_and_close(void **unused)
{
    static const struct {
        const char *why, *script;
    } cases[] = {
        {"five failures in a row", "bbbbbx"},
        {"a success between them", "bbbbgbbbbgbbbbb" /* 13 of 15: not 20 yet */ "x"},
        {"half of twenty", "gbgbgbgbgbgbgbgbgbgbx"},
        {"half of nineteen is too few to say", "gbgbgbgbgbgbgbgbgbg"},
        {"old failures are forgotten", "gbgbgbgbgb+110gbgbgbgbgbg"},
        {"a client that left says nothing", "bbbbnnnnnnnnnbx"},
        {"a second later one is let through", "bbbbb+9x+1Ggg"},
        {"that fails: twice as long", "bbbbb+10Bx+19x+1Bx+39x+1G"},
        {"up to a minute", "bbbbb+10B+20B+40B+80B+160B+320B+600B+599x+1G"},
        {"its client left: the next one is the probe", "bbbbb+10NNG"},
        {"closed and soon open again: longer", "bbbbb+10Gbbbbbx+19x+1G"},
        {"well for a minute: from the first time again", "bbbbb+10Bx+20G+600bbbbbx+9x+1G"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct world w = world_of("s", 1, 0);

        play(&w, cases[i].why, cases[i].script);
    }
}

static void
only_one_probe(void **unused)
{
    struct world w = world_of("s", 1, 0);
    bool probe;

    (void)unused;
    const int old = pick(&w, NULL, 0, NULL);
    play(&w, "opens", "bbbbb");
    w.now_ns += BERTH_S;
    assert_int_equal(pick(&w, NULL, 0, &probe), 0);
    assert_true(probe);
    assert_int_equal(pick(&w, NULL, 0, NULL), -1);
    done(&w, old, BERTH_VERDICT_GOOD, false); /* from before: says nothing of now */
    assert_int_equal(pick(&w, NULL, 0, NULL), -1);
    berth_balance_answered(&w.at[0], w.now_ns); /* its answer begins */
    assert_int_equal(pick(&w, NULL, 0, &probe), 0);
    assert_false(probe);
}

static void
when_to_come_again(void **unused)
{
    struct world w = world_of("ss", 1, 0);
    struct berth_balance_replica *list[] = {&w.at[0], &w.at[1]};
    struct berth_balance_ask ask = {.replicas = list, .count = 2, .weights = w.weights};

    (void)unused;
    w.at[1].ready = false;
    play(&w, "opens", "bbbbb");
    ask.now_ns = w.now_ns;
    assert_int_equal(berth_balance_again_ns(&ask), w.now_ns + BERTH_S);
    w.at[1].ready = true;
    assert_int_equal(berth_balance_again_ns(&ask), w.now_ns);
    w.at[0].ready = w.at[1].ready = false;
    assert_int_equal(berth_balance_again_ns(&ask), 0);
}

/* ---- retries ---- */

static void
a_budget_for_retries(void **unused)
{
    struct world w = world_of("s", 1, 0);
    unsigned first = 0, then = 0;

    (void)unused;
    for (; berth_balance_affords(&w.balance); first++)
        berth_balance_spend(&w.balance);
    assert_int_equal(first, 100);
    for (int n = 0; n < 1000; n++) {
        berth_balance_fill(&w.balance, &w.conf);
        if (berth_balance_affords(&w.balance)) {
            berth_balance_spend(&w.balance);
            then++;
        }
    }
    assert_int_equal(then, 200); /* a fifth of the requests */
    for (int n = 0; n < 100000; n++)
        berth_balance_fill(&w.balance, &w.conf);
    for (first = 0; berth_balance_affords(&w.balance); first++)
        berth_balance_spend(&w.balance);
    assert_int_equal(first, 1000);
}

static void
what_may_be_sent_again(void **unused)
{
    static const struct {
        enum berth_forward_result result;
        uint16_t status;
        bool out_of_time, once, repeatable;
        enum berth_verdict verdict;
    } cases[] = {
        {BERTH_FORWARD_OK, 200, false, false, false, BERTH_VERDICT_GOOD},
        {BERTH_FORWARD_OK, 500, false, false, false, BERTH_VERDICT_GOOD}, /* of this request */
        {BERTH_FORWARD_OK, 503, false, false, false, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_DECLINED, 503, false, true, true, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_DECLINED, 429, false, true, true, BERTH_VERDICT_GOOD},
        {BERTH_FORWARD_DECLINED, 502, false, false, true, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_UNREACHED, 0, false, true, true, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_UNANSWERED, 0, false, false, true, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_UNANSWERED, 200, false, false, true, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_MALFORMED, 0, false, false, true, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_LATE, 0, false, false, false, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_LATE, 0, true, false, false, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_BROKEN, 200, false, false, false, BERTH_VERDICT_BAD},
        {BERTH_FORWARD_BROKEN, 200, true, false, false, BERTH_VERDICT_NONE},
        {BERTH_FORWARD_UNWANTED, 200, false, false, false, BERTH_VERDICT_NONE},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_forward_end end = {.result = cases[i].result,
                                              .status = cases[i].status,
                                              .out_of_time = cases[i].out_of_time};

        if (berth_retry_is_safe(&end, false) != cases[i].once ||
            berth_retry_is_safe(&end, true) != cases[i].repeatable ||
            berth_verdict_of(&end) != cases[i].verdict)
            fail_msg("case %zu", i);
    }
}

/* ---- a simulation: replicas die, hang and come back ---- */

enum { SEEDS = 300, CLIENTS = 24, STEPS = 4000, STEP_MS = 10 };

struct client {
    int at; /* its replica; -1: none */
    bool probe;
    int tried[3];
    size_t tries;
    uint64_t until_ns;
};

struct sim {
    struct world w;
    uint64_t seed;
    enum { FINE, DEAD, HANGING } really[REPLICAS_MAX];
    uint64_t changed_ns[REPLICAS_MAX];
    struct client clients[CLIENTS];
    unsigned requests, answered, failed, retried, picks[REPLICAS_MAX];
};

static uint64_t
roll(struct sim *s)
{
    s->seed ^= s->seed << 13; /* xorshift64 */
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    return s->seed;
}

static void
send_to(struct sim *s, struct client *c, int i)
{
    const uint64_t took_ms = s->really[i] == FINE   ? 20 + roll(s) % 80
                             : s->really[i] == DEAD ? 1
                                                    : 2000;

    c->at = i;
    c->tried[c->tries++] = i;
    c->until_ns = s->w.now_ns + took_ms * BERTH_MS;
    s->picks[i]++;
}

/* Nobody may be asked whose breaker is open, and of a probe there is one. */
static int
pick_checked(struct sim *s, struct client *c)
{
    struct berth_breaker before[REPLICAS_MAX];

    for (size_t i = 0; i < s->w.count; i++)
        before[i] = s->w.at[i].breaker;
    const int i = pick(&s->w, c->tried, c->tries, &c->probe);
    if (i >= 0) {
        assert_true(before[i].state != BERTH_BREAKER_PROBING);
        assert_true(before[i].state == BERTH_BREAKER_CLOSED || s->w.now_ns >= before[i].until_ns);
        assert_int_equal(c->probe, before[i].state == BERTH_BREAKER_OPEN);
        assert_true(s->w.at[i].ready && !s->w.at[i].draining);
    }
    return i;
}

static void
client_turn(struct sim *s, struct client *c)
{
    if (c->at < 0) {
        *c = (struct client){.at = -1};
        s->requests++;
        berth_balance_fill(&s->w.balance, &s->w.conf);
    } else {
        if (s->w.now_ns < c->until_ns)
            return;
        const int at = c->at;
        const bool good = s->really[at] == FINE;
        const bool hung = s->really[at] == HANGING;

        c->at = -1;
        done(&s->w, at, good ? BERTH_VERDICT_GOOD : BERTH_VERDICT_BAD, c->probe);
        s->answered += good;
        if (good)
            return;
        if (hung || c->tries == 3 || !berth_balance_affords(&s->w.balance)) {
            s->failed++;
            return;
        }
    }
    const int i = pick_checked(s, c);
    if (i < 0) {
        s->failed++;
        return;
    }
    if (c->tries > 0) {
        berth_balance_spend(&s->w.balance);
        s->retried++;
    }
    send_to(s, c, i);
}

static void
disturb(struct sim *s)
{
    const size_t i = roll(s) % s->w.count;

    if (roll(s) % 200 != 0)
        return;
    s->really[i] = roll(s) % 3 == 0 ? HANGING : roll(s) % 2 == 0 ? DEAD : FINE;
    s->changed_ns[i] = s->w.now_ns;
}

static void
simulate(uint64_t seed)
{
    struct sim s = {.w = world_of("sssscc", 80, 20), .seed = seed * 0x9e3779b97f4a7c15u + 1};

    for (size_t i = 0; i < CLIENTS; i++)
        s.clients[i].at = -1;
    for (int step = 0; step < STEPS; step++) {
        if (step < STEPS / 2)
            disturb(&s);
        for (size_t i = 0; i < CLIENTS; i++)
            client_turn(&s, &s.clients[i]);
        s.w.now_ns += STEP_MS * BERTH_MS;
    }
    /* At most a fifth more, and what was there at the start. */
    assert_true(s.retried <= 100 + s.requests / 5);
    assert_true(s.answered + s.failed + CLIENTS >= s.requests);
    /* All come back; after the longest time that a breaker can be open, all serve, evenly. */
    memset(s.really, 0, sizeof s.really);
    for (int step = 0; step < 7000; step++) {
        for (size_t i = 0; i < CLIENTS; i++)
            client_turn(&s, &s.clients[i]);
        s.w.now_ns += STEP_MS * BERTH_MS;
    }
    memset(s.picks, 0, sizeof s.picks);
    const unsigned failed = s.failed, requests = s.requests;
    for (int step = 0; step < 3000; step++) {
        for (size_t i = 0; i < CLIENTS; i++)
            client_turn(&s, &s.clients[i]);
        s.w.now_ns += STEP_MS * BERTH_MS;
    }
    assert_int_equal(s.failed, failed);
    const unsigned all = s.requests - requests;
    unsigned canary = 0;
    for (size_t i = 0; i < s.w.count; i++) {
        const unsigned fair = i < 4 ? all / 5 : all / 10; /* 80 % of four, 20 % of two */

        assert_int_equal(s.w.at[i].breaker.state, BERTH_BREAKER_CLOSED);
        assert_true(s.picks[i] > fair * 9 / 10 && s.picks[i] < fair * 11 / 10);
        canary += i < 4 ? 0 : s.picks[i];
    }
    assert_true(canary + 1 >= all / 5 && canary <= all / 5 + 2);
}

static void
replicas_die_and_come_back(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        print_message(seed % 100 == 0 ? "  seeds to %u\n" : "", (unsigned)seed);
        simulate(seed);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_exact),        cmocka_unit_test(the_idlest_is_next),
        cmocka_unit_test(who_gets_none),           cmocka_unit_test(retries_keep_to_their_track),
        cmocka_unit_test(breakers_open_and_close), cmocka_unit_test(only_one_probe),
        cmocka_unit_test(when_to_come_again),      cmocka_unit_test(a_budget_for_retries),
        cmocka_unit_test(what_may_be_sent_again),  cmocka_unit_test(replicas_die_and_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
