#include "api/feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <sched.h>

#include <cmocka.h>

#include "api/api_priv.h"
#include "base/clock.h"
#include "os/loop.h"

/*
 * A stream's thread against a loop and an exchange that do what the test says: the functions below
 * stand in for theirs.
 */
static struct {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    struct berth_msg *posted; /* under mu: in the mailbox */
    unsigned ends, aborts, unrefs, fails;
    bool behind, full; /* the client's reading */
    char text[64];
} fake = {.mu = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

void
berth_loop_post(struct berth_loop *l, struct berth_msg *m)
{
    (void)l;
    (void)pthread_mutex_lock(&fake.mu);
    assert_null(fake.posted);
    fake.posted = m;
    (void)pthread_cond_broadcast(&fake.cond);
    (void)pthread_mutex_unlock(&fake.mu);
}

int
berth_exchange_write(struct berth_exchange *x, const void *bytes, size_t len)
{
    (void)x;
    if (fake.full)
        return -BERTH_EAGAIN;
    (void)strncat(fake.text, bytes, len);
    return 0;
}

bool
berth_exchange_behind(const struct berth_exchange *x)
{
    (void)x;
    return fake.behind;
}

void
berth_exchange_abort(struct berth_exchange *x)
{
    (void)x;
    fake.aborts++;
}

void
berth_exchange_add(struct berth_exchange *x, const char *name, const char *value)
{
    (void)x;
    (void)name;
    (void)value;
}

void
berth_exchange_start(struct berth_exchange *x, uint16_t status, const char *content_type)
{
    (void)x;
    (void)content_type;
    assert_int_equal(status, 200);
}

void
berth_exchange_end(struct berth_exchange *x)
{
    (void)x;
    fake.ends++;
}

void
berth_exchange_ref(struct berth_exchange *x)
{
    (void)x;
}

void
berth_exchange_unref(struct berth_exchange *x)
{
    (void)x;
    fake.unrefs++;
}

void
berth_call_headers(struct berth_call *c)
{
    (void)c;
}

void
berth_call_fail(struct berth_call *c, int code, const char *param, const char *message)
{
    (void)c;
    (void)code;
    (void)param;
    (void)message;
    fake.fails++;
}

/* What the loop does with its mailbox; waits until something is there. */
static void
take_message(void)
{
    struct berth_msg *m;

    (void)pthread_mutex_lock(&fake.mu);
    while (fake.posted == NULL)
        (void)pthread_cond_wait(&fake.cond, &fake.mu);
    m = fake.posted;
    fake.posted = NULL;
    (void)pthread_mutex_unlock(&fake.mu);
    m->run(m);
}

static atomic_bool put;

static void
say_hello(struct berth_feed *f, void *arg)
{
    (void)arg;
    assert_int_equal(berth_feed_put(f, "hello", 5), 0);
    atomic_store(&put, true);
}

/* The client can take more, and the thread is done, while its message still lies in the mailbox. */
static void
it_is_there_until_its_message_has_come(void **unused)
{
    struct berth_api *api = calloc(1, sizeof *api);
    struct berth_exchange x = {.gone = NULL};
    struct berth_call c = {.api = api, .x = &x};

    (void)unused;
    assert_non_null(api);
    x.user = &c;
    berth_feed_start(&c, "text/plain", say_hello, NULL);
    while (!atomic_load(&put))
        (void)sched_yield();
    /* Its thread ends at some time in here; nobody can see when. */
    for (int i = 0; i < 10000 && fake.ends == 0; i++) {
        x.writable(&x);
        (void)sched_yield();
    }
    assert_string_equal(fake.text, "hello");
    assert_int_equal(fake.ends, 0);
    while (fake.ends == 0)
        take_message();
    assert_int_equal(fake.ends, 1);
    assert_int_equal(fake.unrefs, 1);
    assert_int_equal(atomic_load(&api->feeds), 0);
    assert_null(x.writable);
    free(api);
}

static void
wait_for_end(struct berth_feed *f, void *arg)
{
    (void)arg;
    while (berth_feed_wait(f, BERTH_S))
        continue;
}

static void
say_much(struct berth_feed *f, void *arg)
{
    (void)arg;
    while (berth_feed_put(f, "hello", 5) == 0)
        continue;
}

/* The server stops while a stream goes on: one whose client reads is ended, one whose client does
 * not is aborted, and neither waits for it. */
static void
a_stop_ends_it_at_once(void **unused)
{
    (void)unused;
    for (int behind = 0; behind < 2; behind++) {
        struct berth_api *api = calloc(1, sizeof *api);
        struct berth_exchange x = {.gone = NULL};
        struct berth_call c = {.api = api, .x = &x};

        assert_non_null(api);
        x.user = &c;
        fake.ends = fake.aborts = 0;
        fake.behind = fake.full = behind == 1;
        berth_feed_start(&c, "text/plain", behind ? say_much : wait_for_end, NULL);
        if (behind)
            take_message();
        x.draining(&x);
        while (fake.ends + fake.aborts == 0)
            take_message();
        assert_int_equal(fake.ends, !behind);
        assert_int_equal(fake.aborts, behind);
        assert_int_equal(atomic_load(&api->feeds), 0);
        free(api);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_there_until_its_message_has_come),
        cmocka_unit_test(a_stop_ends_it_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
