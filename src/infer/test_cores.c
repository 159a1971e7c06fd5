#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/random.h"
#include "infer/cores.h"
#include "obs/metrics.h"

enum { TURNS_MAX = 12 };

/* A machine under a virtual clock: engines that ask, run for a while, and ask again. */
struct engine {
    struct berth_cores_account account;
    struct berth_cores_turn turn;
    uint64_t run_ns;           /* on one core, as it were: fixed, or up to this when random */
    uint64_t pause_ns;         /* between the end of a run and the next ask */
    bool sequences;            /* asks for its next step when it ends one */
    uint64_t ends_ns, asks_ns; /* UINT64_MAX: not */
    uint64_t used_ns, wait_ns_max;
    uint32_t runs, threads_max;
};

struct machine {
    struct berth_cores_book book;
    struct engine e[TURNS_MAX];
    size_t n;
    uint64_t now_ns, seed;
    bool random;
};

static uint64_t
draw(struct machine *m, uint64_t max)
{
    m->seed ^= m->seed << 13; /* xorshift: the same run for the same seed */
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return 1 + m->seed % max;
}

static struct engine *
add(struct machine *m, uint32_t threads, bool flexible, uint32_t weight, uint64_t run_ns)
{
    struct engine *e = &m->e[m->n++];

    *e = (struct engine){.run_ns = run_ns, .sequences = weight > 1, .ends_ns = UINT64_MAX};
    berth_cores_turn_init(&e->turn, &e->account, threads, flexible);
    e->turn.weight = weight;
    return e;
}

static void
settle(struct machine *m)
{
    struct berth_cores_turn *t;

    while ((t = berth_cores_book_next(&m->book, m->now_ns)) != NULL) {
        for (size_t i = 0; i < m->n; i++) {
            struct engine *e = &m->e[i];
            if (&e->turn != t)
                continue;
            uint64_t wait = m->now_ns - t->asked_ns;
            e->wait_ns_max = wait > e->wait_ns_max ? wait : e->wait_ns_max;
            e->threads_max = t->given > e->threads_max ? t->given : e->threads_max;
            e->runs++;
            e->ends_ns = m->now_ns + (m->random ? draw(m, e->run_ns) : e->run_ns);
        }
    }
    assert_true(m->book.used <= m->book.cores);
}

/* Everybody at work until the clock says end_ns. */
static void
play(struct machine *m, uint64_t end_ns)
{
    while (m->now_ns < end_ns) {
        uint64_t next = UINT64_MAX;
        for (size_t i = 0; i < m->n; i++) {
            next = m->e[i].ends_ns < next ? m->e[i].ends_ns : next;
            next = m->e[i].asks_ns < next ? m->e[i].asks_ns : next;
        }
        assert_true(next != UINT64_MAX); /* else all of them would wait for nobody */
        m->now_ns = next;
        for (size_t i = 0; i < m->n; i++) {
            struct engine *e = &m->e[i];
            if (e->ends_ns == next) {
                e->used_ns += (next - e->turn.given_ns) * e->turn.given;
                e->ends_ns = UINT64_MAX;
                berth_cores_book_end(&m->book, &e->turn, UINT64_MAX, next);
                e->asks_ns = e->sequences ? UINT64_MAX : next + e->pause_ns + 1;
                if (e->sequences)
                    berth_cores_book_ask(&m->book, &e->turn, next);
            } else if (e->asks_ns == next) {
                e->asks_ns = UINT64_MAX;
                berth_cores_book_ask(&m->book, &e->turn, next);
            }
            settle(m);
        }
    }
}

static void
machine_init(struct machine *m, uint32_t cores)
{
    *m = (struct machine){0};
    berth_cores_book_init(&m->book, cores);
}

static void
the_cores_are_shared_by_who_is_at_work(void **unused)
{
    static const struct {
        const char *why;
        uint32_t cores;
        struct {
            uint32_t threads;
            bool flexible;
            uint32_t want;
        } of[4];
    } cases[] = {
        {"one alone has all", 8, {{8, true, 8}}},
        {"never more than it was loaded with", 8, {{3, true, 3}}},
        {"nor than there are", 2, {{8, false, 2}}},
        {"two share", 8, {{8, true, 4}, {8, true, 4}}},
        {"a core that is left over is not left idle", 3, {{3, true, 2}, {3, true, 1}}},
        {"one each when there are no more", 2, {{2, true, 1}, {2, true, 1}, {2, true, 0}}},
        {"beside one that cannot share", 4, {{1, false, 1}, {4, true, 3}}},
        {"two beside it", 4, {{2, false, 2}, {4, true, 1}, {4, true, 1}}},
        {"one that needs all runs alone", 4, {{4, false, 4}, {4, true, 0}}},
        {"and leaves all to the others meanwhile", 4, {{4, true, 4}, {4, false, 0}}},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct machine m;
        print_message("  %s\n", cases[i].why);
        machine_init(&m, cases[i].cores);
        for (size_t k = 0; k < 4 && cases[i].of[k].threads > 0; k++) {
            struct engine *e =
                add(&m, cases[i].of[k].threads, cases[i].of[k].flexible, 1, BERTH_MS);
            berth_cores_book_ask(&m.book, &e->turn, 0);
        }
        settle(&m);
        for (size_t k = 0; k < m.n; k++)
            assert_int_equal(m.e[k].turn.given, cases[i].of[k].want);
    }
}

static void
a_share_follows_who_comes_and_goes(void **unused)
{
    struct machine m;

    (void)unused;
    machine_init(&m, 4);
    struct engine *a = add(&m, 4, true, 2, 10 * BERTH_MS);
    play(&m, 100 * BERTH_MS);
    assert_int_equal(a->turn.given, 4);
    struct engine *b = add(&m, 4, true, 2, 10 * BERTH_MS);
    b->asks_ns = m.now_ns;
    play(&m, 200 * BERTH_MS);
    assert_int_equal(a->turn.given, 2);
    assert_int_equal(b->turn.given, 2);
    b->sequences = false;
    b->pause_ns = BERTH_S;
    play(&m, 300 * BERTH_MS); /* b has ended: a pause of 20 ms is an end */
    assert_int_equal(a->turn.given, 4);
}

static void
core_seconds_go_by_weight(void **unused)
{
    struct machine m;

    (void)unused;
    machine_init(&m, 2);
    struct engine *talk = add(&m, 2, false, 2, 7 * BERTH_MS);
    struct engine *batch = add(&m, 2, false, 1, 3 * BERTH_MS);
    struct engine *other = add(&m, 2, false, 1, 11 * BERTH_MS);
    play(&m, 20 * BERTH_S);
    const uint64_t sum = talk->used_ns + batch->used_ns + other->used_ns;
    assert_true(sum > 39 * BERTH_S); /* of 40: nothing was idle */
    assert_true(talk->used_ns > sum * 45 / 100 && talk->used_ns < sum * 55 / 100);
    /* Who is not in line when it ends a run may be passed over once. */
    assert_true(batch->used_ns > sum * 15 / 100);
    assert_true(other->used_ns > sum * 20 / 100);
}

/* Any mix of engines: nobody waits longer than the rule allows, and the cores suffice. */
static void
nobody_starves(void **unused)
{
    const char *given = getenv("BERTH_TEST_SEED");
    const uint64_t first = given != NULL ? strtoull(given, NULL, 10) : berth_random_u64() | 1;
    const uint64_t longest = 20 * BERTH_MS;
    struct machine m;

    (void)unused;
    for (uint64_t seed = first; seed < first + 200; seed++) {
        machine_init(&m, 1);
        m.random = true;
        m.seed = seed | 1;
        m.book.cores = (uint32_t)draw(&m, 8);
        const size_t n = draw(&m, TURNS_MAX);
        for (size_t i = 0; i < n; i++) {
            struct engine *e = add(&m, (uint32_t)draw(&m, 10), draw(&m, 2) == 1,
                                   (uint32_t)draw(&m, 2), draw(&m, longest));
            e->pause_ns = draw(&m, 3) == 1 ? draw(&m, 100 * BERTH_MS) : 0;
        }
        play(&m, 5 * BERTH_S);
        /* What is running, then for each core-nanosecond that it had in its last run two of every
         * other (their weight), and the run with which each passes that. */
        const uint64_t bound = longest + 3 * n * m.book.cores * longest;
        for (size_t i = 0; i < n; i++) {
            if (m.e[i].runs == 0 || m.e[i].wait_ns_max > bound)
                fail_msg("BERTH_TEST_SEED=%llu: engine %zu of %zu: %u runs, waited %llu ms",
                         (unsigned long long)seed, i, n, m.e[i].runs,
                         (unsigned long long)(m.e[i].wait_ns_max / BERTH_MS));
        }
    }
    print_message("  BERTH_TEST_SEED=%llu\n", (unsigned long long)first);
}

static void
a_run_without_end_does_not_stop_the_others(void **unused)
{
    struct machine m;

    (void)unused;
    machine_init(&m, 2);
    struct engine *stuck = add(&m, 2, false, 1, BERTH_S), *b = add(&m, 2, true, 2, BERTH_MS);
    struct engine *c = add(&m, 2, false, 1, BERTH_MS);
    const uint64_t late = BERTH_CORES_WAIT_NS + 1;
    berth_cores_book_ask(&m.book, &stuck->turn, 0);
    berth_cores_book_ask(&m.book, &b->turn, 0);
    assert_ptr_equal(berth_cores_book_next(&m.book, 0), &stuck->turn);
    assert_null(berth_cores_book_next(&m.book, 0));
    berth_cores_book_force(&m.book, &b->turn, late);
    assert_int_equal(b->turn.given, 1);
    assert_int_equal(m.book.used, 1);
    berth_cores_book_end(&m.book, &b->turn, UINT64_MAX, late + 1);
    /* From then on nobody waits for it, with all the cores that there are. */
    berth_cores_book_ask(&m.book, &c->turn, late + 1);
    assert_ptr_equal(berth_cores_book_next(&m.book, late + 1), &c->turn);
    assert_int_equal(c->turn.given, 2);
    berth_cores_book_end(&m.book, &c->turn, UINT64_MAX, late + 2);
    berth_cores_book_ask(&m.book, &b->turn, late + 2);
    assert_ptr_equal(berth_cores_book_next(&m.book, late + 2), &b->turn);
    assert_int_equal(b->turn.given, 2);
    /* What it had is not given back twice when it ends after all, and then it is one like others.
     */
    berth_cores_book_end(&m.book, &stuck->turn, UINT64_MAX, late + 3);
    assert_int_equal(m.book.used, 2);
    berth_cores_book_ask(&m.book, &stuck->turn, late + 3);
    assert_null(berth_cores_book_next(&m.book, late + 3));
    berth_cores_book_end(&m.book, &b->turn, UINT64_MAX, late + 4);
    assert_ptr_equal(berth_cores_book_next(&m.book, late + 4), &stuck->turn);
    assert_int_equal(m.book.used, 2);
    berth_cores_book_end(&m.book, &stuck->turn, UINT64_MAX, late + 5);
    assert_int_equal(m.book.used, 0);
    for (size_t i = 0; i < m.n; i++)
        berth_cores_book_leave(&m.book, &m.e[i].account);
    assert_null(m.book.active);
}

/* Many short runs make a wait as long as one that is stuck: these go on, and count. */
static void
who_holds_cores_shortly_keeps_them(void **unused)
{
    struct machine m;

    (void)unused;
    machine_init(&m, 2);
    struct engine *a = add(&m, 1, false, 1, BERTH_MS), *stuck = add(&m, 1, false, 1, BERTH_S);
    struct engine *b = add(&m, 2, false, 1, BERTH_MS);
    berth_cores_book_ask(&m.book, &stuck->turn, 0);
    assert_ptr_equal(berth_cores_book_next(&m.book, 0), &stuck->turn);
    berth_cores_book_ask(&m.book, &a->turn, BERTH_CORES_WAIT_NS);
    assert_ptr_equal(berth_cores_book_next(&m.book, BERTH_CORES_WAIT_NS), &a->turn);
    berth_cores_book_ask(&m.book, &b->turn, BERTH_CORES_WAIT_NS);
    berth_cores_book_force(&m.book, &b->turn, BERTH_CORES_WAIT_NS * 2);
    assert_int_equal(m.book.used, 3); /* of a, and of b beside it */
    berth_cores_book_end(&m.book, &stuck->turn, UINT64_MAX, BERTH_CORES_WAIT_NS * 2);
    assert_int_equal(m.book.used, 3);
    berth_cores_book_end(&m.book, &a->turn, UINT64_MAX, BERTH_CORES_WAIT_NS * 2);
    berth_cores_book_end(&m.book, &b->turn, UINT64_MAX, BERTH_CORES_WAIT_NS * 2);
    assert_int_equal(m.book.used, 0);
    assert_null(m.book.running);
}

static void
time_lost_to_others_costs_threads(void **unused)
{
    struct berth_cores_account account = {0};
    struct berth_cores_book b;
    struct berth_cores_turn t;
    uint64_t now = 0;

    (void)unused;
    berth_cores_book_init(&b, 4);
    berth_cores_turn_init(&t, &account, 4, true);
    static const struct {
        const char *why;
        uint32_t steps, cpu_percent, want;
    } phases[] = {
        {"all goes well", 20, 100, 4},
        {"a small loss is none", 20, 90, 4},
        {"half of the time is lost", 10, 50, 2},
        {"and again with two", 10, 50, 1},
        {"in a while it is tried again, and goes well", 400, 100, 4},
    };
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        print_message("  %s\n", phases[i].why);
        for (uint32_t k = 0; k < phases[i].steps; k++, now += 10 * BERTH_MS) {
            berth_cores_book_ask(&b, &t, now);
            assert_ptr_equal(berth_cores_book_next(&b, now), &t);
            berth_cores_book_end(&b, &t, phases[i].cpu_percent * BERTH_MS / 10,
                                 now + 10 * BERTH_MS);
            if (t.given == phases[i].want && i >= 2)
                k = phases[i].steps;
        }
        assert_int_equal(t.given, phases[i].want);
    }
}

/* ---- the lock around it ---- */

struct worker {
    pthread_t thread;
    struct berth_cores *c;
    struct berth_cores_account account;
    struct berth_cores_turn turn;
    _Atomic(uint32_t) *running;
    uint32_t runs, cores;
    bool passed; /* more were running than there are cores */
};

static void *
work(void *arg)
{
    struct worker *w = arg;
    uint64_t waited;

    for (uint32_t i = 0; i < w->runs; i++) {
        uint32_t n = berth_cores_take(w->c, &w->turn, 1, &waited);
        uint32_t now = (*w->running += n);
        w->passed = w->passed || now > w->cores;
        *w->running -= n;
        const bool again = i % 3 == 0 && i + 1 < w->runs;
        /* Said to be long: it must go on asking. */
        berth_cores_give(w->c, &w->turn, 10 * BERTH_MS, again);
        if (again) /* another one gives it its turn meanwhile */
            (void)usleep(100);
    }
    return NULL;
}

/* Was no turn forced, since somebody had waited for BERTH_CORES_WAIT_NS? */
static bool
is_unforced(struct berth_metrics *metrics)
{
    struct berth_buf text;

    berth_buf_init(&text, NULL);
    berth_metrics_render(metrics, &text);
    const bool none = strstr(berth_buf_text(&text), "berth_cores_forced_total 0\n") != NULL;
    berth_buf_fini(&text);
    return none;
}

/* Everybody at work; false when a turn was forced: this machine was halted for that long. */
static bool
work_together(void)
{
    struct berth_metrics *metrics = berth_metrics_new();
    struct berth_cores *c = berth_cores_new(3, metrics);
    _Atomic(uint32_t) running = 0;
    struct worker w[6] = {0};
    bool passed = false;

    for (size_t i = 0; i < 6; i++) {
        w[i].c = c;
        w[i].running = &running;
        w[i].runs = 300;
        w[i].cores = 3;
        berth_cores_turn_init(&w[i].turn, &w[i].account, 1 + i % 4, i % 2 == 0);
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (size_t i = 0; i < 6; i++) {
        (void)pthread_join(w[i].thread, NULL);
        passed = passed || w[i].passed;
        berth_cores_leave(c, &w[i].account);
        berth_cores_turn_fini(&w[i].turn);
    }
    const bool unforced = is_unforced(metrics);
    assert_false(passed && unforced);
    berth_cores_free(c);
    berth_metrics_free(metrics);
    return unforced;
}

static void
threads_never_pass_the_cores(void **unused)
{
    (void)unused;
    for (int tries = 0; !work_together(); tries++)
        assert_true(tries < 20);
}

static void
tiny_runs_do_not_ask(void **unused)
{
    struct berth_metrics *metrics = berth_metrics_new();
    struct berth_cores *c = berth_cores_new(2, metrics);
    struct berth_cores_account account = {0}, small_account = {0};
    struct berth_cores_turn big, small;
    uint64_t waited;

    (void)unused;
    berth_cores_turn_init(&big, &account, 2, false);
    berth_cores_turn_init(&small, &small_account, 1, false);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(berth_cores_take(c, &small, 1, &waited), 1);
        berth_cores_give(c, &small, 2000, false);
    }
    assert_int_equal(berth_cores_take(c, &big, 1, &waited), 2); /* all there are */
    assert_int_equal(berth_cores_take(c, &small, 1, &waited), 1);
    assert_int_equal(small.state, BERTH_CORES_IDLE);
    for (int i = 0; i < 8; i++) /* they grow */
        berth_cores_give(c, &small, 10 * BERTH_MS, false);
    berth_cores_give(c, &big, 10 * BERTH_MS, false);
    assert_int_equal(berth_cores_take(c, &small, 1, &waited), 1);
    assert_int_equal(small.state, BERTH_CORES_RUNS);
    berth_cores_give(c, &small, 10 * BERTH_MS, false);
    berth_cores_leave(c, &account);
    berth_cores_leave(c, &small_account);
    berth_cores_turn_fini(&small);
    berth_cores_turn_fini(&big);
    berth_cores_free(c);
    berth_metrics_free(metrics);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cores_are_shared_by_who_is_at_work),
        cmocka_unit_test(a_share_follows_who_comes_and_goes),
        cmocka_unit_test(core_seconds_go_by_weight),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(a_run_without_end_does_not_stop_the_others),
        cmocka_unit_test(who_holds_cores_shortly_keeps_them),
        cmocka_unit_test(time_lost_to_others_costs_threads),
        cmocka_unit_test(threads_never_pass_the_cores),
        cmocka_unit_test(tiny_runs_do_not_ask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
