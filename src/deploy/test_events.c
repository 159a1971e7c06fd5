#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "deploy/events.h"
#include "store/store.h"
#include "wire/json.h"

static uint64_t
wall(void *arg)
{
    return *(uint64_t *)arg;
}

static uint64_t now = UINT64_C(1769860800) * BERTH_S; /* 2026-01-31T12:00:00Z */
static const struct berth_deploy_clock hands = {.wall_ns = wall, .arg = &now};

static void
say(struct berth_events *ev, const char *type, const char *id, const char *members)
{
    const struct berth_event event = {.type = type, .service_id = id, .members = members};
    struct berth_err e;

    assert_int_equal(berth_events_commit(ev, NULL, 0, &event, 1, &e), 0);
}

struct seen {
    uint64_t seqs[4096];
    size_t count, stop_at; /* 0: never */
    char text[512];        /* of the first */
};

static bool
note(void *arg, uint64_t seq, struct berth_slice json)
{
    struct seen *s = arg;

    if (s->count == 0)
        (void)snprintf(s->text, sizeof s->text, "%.*s", (int)json.len, json.at);
    s->seqs[s->count++] = seq;
    return s->count != s->stop_at;
}

static void
events_are_numbered_filtered_and_kept(void **unused)
{
    struct berth_store *store;
    struct berth_events *ev;
    struct berth_err e;
    struct seen s = {.count = 0};
    uint64_t last;

    (void)unused;
    assert_int_equal(berth_store_open_memory(&store, &e), 0);
    assert_int_equal(berth_events_new(store, 8, &hands, &ev, &e), 0);
    say(ev, "service.status", "a", "{\"from\":\"running\",\"n\":1}");
    say(ev, "service.step", "b", NULL);
    say(ev, "service.status", "b", "{}");

    struct berth_event_query q = {.after = 0};
    assert_int_equal(berth_events_read(ev, &q, note, &s, &last, &e), 0);
    assert_int_equal(s.count, 3);
    assert_int_equal(last, 3);
    assert_string_equal(s.text,
                        "{\"seq\":1,\"time\":\"2026-01-31T12:00:00.000000Z\",\"type\":"
                        "\"service.status\",\"serviceId\":\"a\",\"from\":\"running\",\"n\":1}");
    s.count = 0;
    q = (struct berth_event_query){.service_id = "b", .type = "service.st"};
    assert_int_equal(berth_events_read(ev, &q, note, &s, &last, &e), 0);
    assert_int_equal(s.count, 2);
    s = (struct seen){.stop_at = 1};
    assert_int_equal(berth_events_read(ev, &q, note, &s, &last, &e), 0);
    assert_int_equal(last, 2); /* where to go on */
    q = (struct berth_event_query){.after = 3};
    s = (struct seen){.count = 0};
    assert_int_equal(berth_events_read(ev, &q, note, &s, &last, &e), 0);
    assert_int_equal(s.count, 0);
    assert_int_equal(last, 3);
    static const uint64_t beyond[] = {4, 1000, UINT64_MAX}; /* of a store that is there no more */
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
        q = (struct berth_event_query){.after = beyond[i]};
        s = (struct seen){.count = 0};
        assert_int_equal(berth_events_read(ev, &q, note, &s, &last, &e), 0);
        assert_int_equal(s.count, 3);
        assert_int_equal(last, 3);
    }

    /* Eight are kept, in memory and in the store; numbers go on after a restart. */
    for (int i = 0; i < 20; i++)
        say(ev, "service.note", "c", "{}");
    berth_events_free(ev);
    assert_int_equal(berth_events_new(store, 8, &hands, &ev, &e), 0);
    say(ev, "service.note", "c", "{}");
    q = (struct berth_event_query){.after = 0};
    s = (struct seen){.count = 0};
    assert_int_equal(berth_events_read(ev, &q, note, &s, &last, &e), 0);
    assert_int_equal(s.count, 8);
    assert_int_equal(s.seqs[0], 17);
    assert_int_equal(last, 24);

    struct berth_arena a;
    struct berth_record *records;
    size_t count;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_store_list(store, &a, "event/", &records, &count, &e), 0);
    assert_int_equal(count, 8);
    berth_events_free(ev);

    assert_int_equal(berth_events_new(store, 3, &hands, &ev, &e), 0); /* fewer from now on */
    assert_int_equal(berth_store_list(store, &a, "event/", &records, &count, &e), 0);
    assert_int_equal(count, 3);
    berth_arena_fini(&a);
    berth_events_free(ev);
    berth_store_close(store);
}

static void
a_change_that_is_refused_leaves_no_event(void **unused)
{
    struct berth_store *store;
    struct berth_events *ev;
    struct berth_err e;
    struct seen s = {.count = 0};
    uint64_t last;
    const struct berth_store_op ops[] = {{.kind = BERTH_STORE_PUT,
                                          .key = "service/x",
                                          .value = BERTH_SLICE("{}"),
                                          .expected = BERTH_STORE_NEW}};
    const struct berth_event event = {.type = "service.created", .service_id = "x"};
    const struct berth_event_query q = {.after = 0};

    (void)unused;
    assert_int_equal(berth_store_open_memory(&store, &e), 0);
    assert_int_equal(berth_events_new(store, 8, &hands, &ev, &e), 0);
    assert_int_equal(berth_events_commit(ev, ops, 1, &event, 1, &e), 0);
    assert_int_equal(berth_events_commit(ev, ops, 1, &event, 1, &e), -BERTH_EEXIST);
    assert_int_equal(berth_events_commit(ev, NULL, 0, NULL, 0, &e), -BERTH_EINVAL);
    assert_int_equal(berth_events_read(ev, &q, note, &s, &last, &e), 0);
    assert_int_equal(s.count, 1);
    berth_events_free(ev);
    berth_store_close(store);
}

struct follower {
    struct berth_event_watch watch;
    atomic_uint told;
};

static void
changed(struct berth_event_watch *w)
{
    (void)atomic_fetch_add(&((struct follower *)w)->told, 1);
}

static void *
say_many(void *arg)
{
    const struct berth_event event = {.type = "service.note"};

    for (int i = 0; i < 200; i++)
        berth_assert(berth_events_commit(arg, NULL, 0, &event, 1, NULL) == 0);
    return NULL;
}

static void
many_threads_say_and_watch(void **unused)
{
    struct berth_store *store;
    struct berth_events *ev;
    struct berth_err e;
    pthread_t t[4];
    struct follower stays = {.watch.changed = changed};
    struct seen s = {.count = 0};
    const struct berth_event_query q = {.limit = 4096};
    uint64_t last;

    (void)unused;
    assert_int_equal(berth_store_open_memory(&store, &e), 0);
    assert_int_equal(berth_events_new(store, 1000, &hands, &ev, &e), 0);
    berth_events_watch(ev, &stays.watch);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, say_many, ev), 0);
    for (int i = 0; i < 200; i++) {
        struct follower comes = {.watch.changed = changed};

        berth_events_watch(ev, &comes.watch);
        berth_events_unwatch(ev, &comes.watch); /* not called any more: comes goes away */
    }
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_true(atomic_load(&stays.told) >= 1);
    berth_events_unwatch(ev, &stays.watch);
    assert_int_equal(berth_events_read(ev, &q, note, &s, &last, &e), 0);
    assert_int_equal(s.count, 800);
    for (size_t i = 0; i < s.count; i++)
        assert_int_equal(s.seqs[i], i + 1);
    berth_events_free(ev);
    berth_store_close(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_numbered_filtered_and_kept),
        cmocka_unit_test(a_change_that_is_refused_leaves_no_event),
        cmocka_unit_test(many_threads_say_and_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
