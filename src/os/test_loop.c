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

    a->set_ns = berth_now_ns();
    berth_assert(berth_timer_start(&a->timer, a->loop, 5 * BERTH_MS, rang) == 0);
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
    assert_true(a.fired_ns - a.set_ns >= 4 * BERTH_MS); /* libuv counts whole milliseconds */
    berth_loop_free(a.loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_runs_once_and_in_order),
        cmocka_unit_test(timers_fire_once_and_not_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
