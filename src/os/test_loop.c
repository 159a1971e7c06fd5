#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/assert.h"
#include "base/clock.h"
#include "os/loop.h"

enum { POSTERS = 4, POSTS = 20000 };

struct counted {
    struct berth_msg msg;
    struct berth_loop *loop;
    size_t *seen; /* of this poster; loop's thread only */
    size_t number;
};

static void
count(struct berth_msg *m)
{
    struct counted *c = (struct counted *)m;

    berth_assert(berth_loop_is_mine(c->loop));
    berth_assert(*c->seen == c->number); /* one poster's messages come in order */
    (*c->seen)++;
    free(c);
}

struct poster {
    struct berth_loop *loop;
    size_t seen;
};

static void *
post_many(void *arg)
{
    struct poster *p = arg;

    for (size_t i = 0; i < POSTS; i++) {
        struct counted *c = malloc(sizeof *c);
        berth_assert(c != NULL);
        *c = (struct counted){.msg.run = count, .loop = p->loop, .seen = &p->seen, .number = i};
        berth_loop_post(p->loop, &c->msg);
    }
    return NULL;
}

static void
every_message_runs_once_and_in_order(void **unused)
{
    struct berth_loop *l;
    struct poster p[POSTERS];
    pthread_t t[POSTERS];

    (void)unused;
    assert_int_equal(berth_loop_new("test", &l, NULL), 0);
    for (size_t i = 0; i < POSTERS; i++) {
        p[i] = (struct poster){.loop = l};
        assert_int_equal(pthread_create(&t[i], NULL, post_many, &p[i]), 0);
    }
    for (size_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    berth_loop_free(l); /* runs what is still waiting */
    for (size_t i = 0; i < POSTERS; i++)
        assert_int_equal(p[i].seen, POSTS);
}

struct alarm {
    struct berth_timer timer;
    struct berth_loop *loop;
    uint64_t set_ns, fired_ns;
    pthread_mutex_t mu;
    pthread_cond_t cond;
};

static void
rang(struct berth_timer *t)
{
    struct alarm *a = (struct alarm *)t;

    (void)pthread_mutex_lock(&a->mu);
    a->fired_ns = berth_now_ns();
    (void)pthread_cond_signal(&a->cond);
    (void)pthread_mutex_unlock(&a->mu);
    berth_timer_stop(t);
}

static void
set_alarm(void *arg)
{
    struct alarm *a = arg;
    const uint64_t begin_ns = berth_now_ns();

    do /* a round in which much is done: its own time is that of its start */
        a->set_ns = berth_now_ns();
    while (a->set_ns - begin_ns < 20 * BERTH_MS);
    berth_assert(berth_timer_arm(&a->timer, a->loop, a->set_ns + 5 * BERTH_MS, rang) == 0);
}

static void
timers_fire_once_and_not_early(void **unused)
{
    struct alarm a = {.mu = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

    (void)unused;
    assert_int_equal(berth_loop_new("test", &a.loop, NULL), 0);
    berth_loop_call(a.loop, set_alarm, &a);
    (void)pthread_mutex_lock(&a.mu);
    while (a.fired_ns == 0)
        (void)pthread_cond_wait(&a.cond, &a.mu);
    (void)pthread_mutex_unlock(&a.mu);
    assert_true(a.fired_ns - a.set_ns >= 5 * BERTH_MS);
    berth_loop_free(a.loop);
}

/* What a round brings about, in the order in which it happened. */
struct rounds {
    struct berth_late late;
    struct berth_msg msg;
    struct berth_loop *loop;
    char seen[16];
    size_t len;
    int again;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool over;
};

static void
note(struct rounds *r, char what)
{
    if (r->len < sizeof r->seen - 1)
        r->seen[r->len++] = what;
}

static void
own_message(struct berth_msg *m)
{
    struct rounds *r = (struct rounds *)(void *)((char *)m - offsetof(struct rounds, msg));

    note(r, 'm');
    if (r->again-- > 0) {
        (void)berth_loop_late(r->loop,
                              &r->late); /* in the next round, without waiting for events */
        return;
    }
    (void)pthread_mutex_lock(&r->mu);
    r->over = true;
    (void)pthread_cond_signal(&r->cond);
    (void)pthread_mutex_unlock(&r->mu);
}

static void
at_the_end(struct berth_late *t)
{
    struct rounds *r = (struct rounds *)(void *)t;

    note(r, 'l');
    r->msg.run = own_message;
    berth_loop_post(r->loop, &r->msg);
}

static void
begin_rounds(void *arg)
{
    struct rounds *r = arg;

    berth_assert(berth_loop_late(r->loop, &r->late));
    berth_assert(!berth_loop_late(r->loop, &r->late)); /* once a round */
    note(r, 'e');
}

static void
what_is_late_comes_after_the_event_and_before_own_messages(void **unused)
{
    struct rounds r = {.late.run = at_the_end,
                       .again = 2,
                       .mu = PTHREAD_MUTEX_INITIALIZER,
                       .cond = PTHREAD_COND_INITIALIZER};

    (void)unused;
    assert_int_equal(berth_loop_new("test", &r.loop, NULL), 0);
    berth_loop_call(r.loop, begin_rounds, &r);
    (void)pthread_mutex_lock(&r.mu);
    while (!r.over) /* nothing else wakes this loop */
        (void)pthread_cond_wait(&r.cond, &r.mu);
    (void)pthread_mutex_unlock(&r.mu);
    assert_string_equal(r.seen, "elmlmlm");
    berth_loop_free(r.loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_runs_once_and_in_order),
        cmocka_unit_test(what_is_late_comes_after_the_event_and_before_own_messages),
        cmocka_unit_test(timers_fire_once_and_not_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
