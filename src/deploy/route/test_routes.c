#include "deploy/route/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "net/forward.h"
#include "obs/metrics.h"
#include "wire/json.h"

static const struct berth_forward_end ok = {.result = BERTH_FORWARD_OK, .status = 200};
static const struct berth_forward_end refused = {.result = BERTH_FORWARD_UNREACHED};

struct table {
    struct berth_metrics *metrics;
    struct berth_routes *routes;
};

static bool
is_local(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "local") == 0;
}

static int
set_up(void **state)
{
    struct table *t = calloc(1, sizeof *t);
    struct berth_err e;

    assert_non_null(t);
    t->metrics = berth_metrics_new();
    const struct berth_routes_conf conf = {.metrics = t->metrics, .is_local = is_local};
    assert_int_equal(berth_routes_new(&conf, &t->routes, &e), 0);
    *state = t;
    return 0;
}

static int
tear_down(void **state)
{
    struct table *t = *state;

    berth_routes_free(t->routes);
    berth_metrics_free(t->metrics);
    free(t);
    return 0;
}

/* A service with replicas ID-0, ID-1, ... at ports of their own. */
static int
publish(struct table *t, const char *id, const char *name, size_t n)
{
    struct berth_routed_replica replicas[8];
    char ids[8][32], endpoints[8][48];
    struct berth_err e;

    for (size_t i = 0; i < n; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "%s-%zu", id, i);
        (void)snprintf(endpoints[i], sizeof endpoints[i], "http://127.0.0.1:%zu/base", 4000 + i);
        replicas[i] =
            (struct berth_routed_replica){.id = ids[i], .endpoint = endpoints[i], .ready = true};
    }
    const struct berth_routed_service s = {
        .id = id, .name = name, .replicas = replicas, .replica_count = n};
    return berth_routes_publish(t->routes, &s, &e);
}

static int
find(struct table *t, struct berth_trip *trip, const char *name)
{
    return berth_trip_find(trip, t->routes, berth_slice_of(name));
}

static void
endpoints_are_taken_apart(void **unused)
{
    static const struct {
        const char *endpoint, *origin, *base; /* origin NULL: it is none */
    } cases[] = {
        {"http://127.0.0.1:80", "http://127.0.0.1:80", ""},
        {"http://127.0.0.1:80/", "http://127.0.0.1:80", ""},
        {"https://models.svc:443/a/b//", "https://models.svc:443", "/a/b"},
        {"http://[::1]:80/x", "http://[::1]:80", "/x"},
        {"ftp://a", NULL, NULL},
        {"http://", NULL, NULL},
        {"http:///x", NULL, NULL},
        {"http://user@host", NULL, NULL},
        {"http://a?b", NULL, NULL},
        {"http://a/b?c", NULL, NULL},
        {"http://a/b#c", NULL, NULL},
        {"http://a b", NULL, NULL},
        {"http://a/b c", NULL, NULL},
        {"http://a\r\nx:", NULL, NULL},
        {"", NULL, NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const char *origin, *base;
        char *room = malloc(strlen(cases[i].endpoint) + 2);

        assert_non_null(room);
        const bool is = berth_endpoint_split(cases[i].endpoint, room, &origin, &base);
        if (is != (cases[i].origin != NULL))
            fail_msg("%s", cases[i].endpoint);
        if (is) {
            assert_string_equal(origin, cases[i].origin);
            assert_string_equal(base, cases[i].base);
        }
        free(room);
    }
}

/* A replica that says nothing of it has the service's name for the model. */
static void
replicas_have_names_of_their_own(void **state)
{
    struct table *t = *state;
    const struct berth_routed_replica replicas[] = {
        {.id = "a", .endpoint = "http://127.0.0.1:1", .served_name = "own", .ready = true},
        {.id = "b", .endpoint = "http://127.0.0.1:2", .ready = true},
    };
    const struct berth_routed_service s = {
        .id = "s", .name = "m", .served_name = "inner", .replicas = replicas, .replica_count = 2};
    struct berth_trip trip;
    struct berth_err e;

    assert_int_equal(berth_routes_publish(t->routes, &s, &e), 0);
    assert_int_equal(find(t, &trip, "m"), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(berth_trip_next(&trip, 0, &e), 0);
        assert_string_equal(trip.replica->served_name,
                            strcmp(trip.replica->id, "a") == 0 ? "own" : "inner");
        berth_trip_done(
            &trip, &(struct berth_forward_end){.result = BERTH_FORWARD_UNREACHED, .why = ""}, 0);
    }
    berth_trip_end(&trip, 0);
}

static void
names_and_ids_are_found(void **state)
{
    struct table *t = *state;
    struct berth_trip trip;

    assert_false(berth_routes_are(t->routes));
    assert_int_equal(find(t, &trip, "m"), -BERTH_ENOENT);
    assert_int_equal(publish(t, "m-1", "m", 1), 0);
    assert_int_equal(publish(t, "m-2", "m", 1), 0); /* younger: by its id alone */
    assert_true(berth_routes_are(t->routes));
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_string_equal(trip.service->id, "m-1");
    berth_trip_end(&trip, 0);
    assert_int_equal(find(t, &trip, "m-2"), 0);
    assert_string_equal(trip.service->served_name, "m");
    berth_trip_end(&trip, 0);
    assert_int_equal(publish(t, "m-1", "other", 1), 0); /* gives the name up */
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_string_equal(trip.service->id, "m-2");
    berth_trip_end(&trip, 0);
    assert_int_equal(publish(t, "m-1", "m", 1), 0); /* the older takes it only when it is free */
    berth_routes_remove(t->routes, "m-2");
    berth_routes_remove(t->routes, "m-2");
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_string_equal(trip.service->id, "m-1");
    berth_trip_end(&trip, 0);
    assert_int_equal(find(t, &trip, "m-2"), -BERTH_ENOENT);
}

static void
what_is_refused(void **state)
{
    static const struct berth_routed_replica bad[] = {{.id = "a", .endpoint = "nowhere"}};
    static const struct berth_routed_replica twice[] = {{.id = "a"}, {.id = "b"}, {.id = "a"}};
    struct table *t = *state;
    struct berth_routed_service s = {.id = "s", .name = "m", .replicas = bad, .replica_count = 1};
    struct berth_trip trip;
    struct berth_err e;

    assert_int_equal(berth_routes_publish(t->routes, &s, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "nowhere is no endpoint"));
    s.replicas = twice;
    s.replica_count = 3;
    assert_int_equal(berth_routes_publish(t->routes, &s, &e), -BERTH_EINVAL);
    s.replica_count = BERTH_ROUTES_REPLICAS_MAX + 1;
    assert_int_equal(berth_routes_publish(t->routes, &s, &e), -BERTH_ELIMIT);
    assert_int_equal(find(t, &trip, "m"), -BERTH_ENOENT);
    assert_int_equal(publish(t, "s", "m", 2), 0);
    s.replica_count = 3;
    assert_int_equal(berth_routes_publish(t->routes, &s, &e), -BERTH_EINVAL);
    assert_int_equal(find(t, &trip, "m"), 0); /* what was there stays */
    assert_int_equal(berth_trip_next(&trip, 1, &e), 0);
    assert_string_equal(trip.replica->id, "s-0");
    assert_string_equal(trip.replica->origin, "http://127.0.0.1:4000");
    assert_string_equal(trip.replica->base, "/base");
    berth_trip_done(&trip, &ok, 2);
    berth_trip_end(&trip, 2);
}

static void
tries_go_to_others(void **state)
{
    struct table *t = *state;
    struct berth_trip trip;
    struct berth_err e;
    char seen[4][32];

    assert_int_equal(publish(t, "s", "m", 4), 0);
    assert_int_equal(find(t, &trip, "m"), 0);
    for (size_t i = 0; i < BERTH_TRIES_MAX; i++) {
        assert_int_equal(berth_trip_next(&trip, 1, &e), 0);
        (void)snprintf(seen[i], sizeof seen[i], "%s", trip.replica->id);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(seen[k], seen[i]);
        berth_trip_done(&trip, &refused, 2);
    }
    assert_int_equal(berth_trip_next(&trip, 1, &e), -BERTH_EAGAIN);
    berth_trip_end(&trip, 2);
}

static void
why_nobody_is_asked(void **state)
{
    struct table *t = *state;
    struct berth_trip trip;
    struct berth_err e;

    assert_int_equal(publish(t, "s", "m", 0), 0);
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_int_equal(berth_trip_next(&trip, 1, &e), -BERTH_ENOTREADY);
    assert_non_null(strstr(e.msg, "none of its 0 replicas"));
    berth_trip_end(&trip, 1);
    assert_int_equal(publish(t, "s", "m", 1), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(find(t, &trip, "m"), 0);
        assert_int_equal(berth_trip_next(&trip, 1, &e), 0);
        berth_trip_done(&trip, &refused, 1);
        berth_trip_end(&trip, 1);
    }
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_int_equal(berth_trip_next(&trip, 1, &e), -BERTH_ENOTREADY);
    assert_non_null(strstr(e.msg, "the next is tried in 1.0 s"));
    berth_trip_end(&trip, 1);
}

/* A snapshot that a request holds is as it was; what replicas share is as it is now. */
static void
snapshots_outlive_changes(void **state)
{
    struct table *t = *state;
    struct berth_trip trip, second;
    struct berth_err e;

    assert_int_equal(publish(t, "s", "m", 2), 0);
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_int_equal(find(t, &second, "m"), 0);
    assert_int_equal(berth_trip_next(&trip, 1, &e), 0);
    assert_int_equal(publish(t, "s", "m", 1), 0);
    assert_int_equal(berth_trip_next(&second, 1, &e), 0);
    assert_string_equal(second.replica->id, "s-0"); /* s-1 is named no more */
    berth_routes_remove(t->routes, "s");
    assert_string_equal(trip.replica->id, "s-0");
    berth_trip_done(&trip, &refused, 2);
    assert_int_equal(berth_trip_next(&trip, 2, &e), -BERTH_ENOTREADY);
    berth_trip_end(&trip, 2);
    assert_int_equal(publish(t, "s", "m", 2), 0); /* back again, beside what still runs */
    berth_trip_done(&second, &ok, 2);
    berth_trip_end(&second, 2);
}

static void
they_are_told_of(void **state)
{
    struct table *t = *state;
    struct berth_trip trip;
    struct berth_buf b;
    struct berth_jw w;
    struct berth_err e;

    assert_int_equal(publish(t, "s", "local", 1), 0);
    assert_int_equal(find(t, &trip, "local"), 0);
    assert_int_equal(berth_trip_next(&trip, 1, &e), 0);
    berth_buf_init(&b, NULL);
    berth_jw_init(&w, &b);
    berth_routes_put(t->routes, "s", &w);
    assert_string_equal(berth_buf_text(&b),
                        "{\"name\":\"local\",\"warning\":\"a model of this name is registered here "
                        "and answers instead; ask for the service by its id\",\"replicas\":[{"
                        "\"id\":\"s-0\",\"track\":\"stable\",\"ready\":true,\"draining\":false,"
                        "\"inFlight\":1,\"breaker\":\"closed\",\"requests\":1}]}");
    b.len = 0;
    berth_jw_init(&w, &b);
    berth_routes_put(t->routes, "nobody", &w);
    assert_string_equal(berth_buf_text(&b), "null");
    berth_trip_done(&trip, &ok, 2);
    berth_trip_end(&trip, 2);
    b.len = 0;
    berth_metrics_render(t->metrics, &b);
    const char *text = berth_buf_text(&b);
    assert_non_null(strstr(text, "berth_forwarded_total{replica=\"s-0\",service=\"s\",track="
                                 "\"stable\",status=\"200\"} 1"));
    assert_non_null(strstr(text, "berth_forward_in_flight{replica=\"s-0\",service=\"s\",track="
                                 "\"stable\"} 0"));
    berth_routes_remove(t->routes, "s");
    b.len = 0;
    berth_metrics_render(t->metrics, &b);
    assert_null(strstr(berth_buf_text(&b), "s-0"));
    berth_buf_fini(&b);
}

/* ---- threads ---- */

struct rider {
    struct table *t;
    pthread_t thread;
    unsigned rides, nowhere;
};

static void *
ride(void *arg)
{
    struct rider *r = arg;

    /* At least once: it may be paused while the service is there, and run while it is not. */
    for (unsigned i = 0; i < 20000 || r->rides == 0; i++) {
        struct berth_trip trip;
        struct berth_err e;

        if (find(r->t, &trip, i % 2 == 0 ? "m" : "s") < 0) {
            r->nowhere++;
            continue;
        }
        if (berth_trip_next(&trip, berth_now_ns(), &e) == 0) {
            r->rides++;
            berth_trip_done(&trip, &ok, berth_now_ns());
        }
        berth_trip_end(&trip, berth_now_ns());
    }
    return NULL;
}

static void
many_threads_and_changes(void **state)
{
    struct table *t = *state;
    struct rider riders[3];

    assert_int_equal(publish(t, "s", "m", 3), 0);
    for (size_t i = 0; i < BERTH_COUNT(riders); i++) {
        riders[i] = (struct rider){.t = t};
        assert_int_equal(pthread_create(&riders[i].thread, NULL, ride, &riders[i]), 0);
    }
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(publish(t, "s", "m", 1 + (size_t)i % 3), 0);
        if (i % 100 == 0)
            berth_routes_remove(t->routes, "s");
    }
    for (size_t i = 0; i < BERTH_COUNT(riders); i++) {
        (void)pthread_join(riders[i].thread, NULL);
        assert_true(riders[i].rides > 0);
    }
}

struct finisher {
    struct berth_trip trip;
    pthread_t thread;
};

static void *
finish(void *arg)
{
    struct finisher *f = arg;

    berth_trip_done(&f->trip, &ok, berth_now_ns());
    berth_trip_end(&f->trip, berth_now_ns());
    return NULL;
}

static void
draining_waits_for_what_is_in_flight(void **state)
{
    struct table *t = *state;
    struct berth_trip trip;
    struct finisher f;
    struct berth_err e;

    assert_int_equal(berth_routes_drain(t->routes, "s", "s-0", BERTH_S), 0); /* not known */
    assert_int_equal(publish(t, "s", "m", 1), 0);
    assert_int_equal(find(t, &f.trip, "m"), 0);
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_int_equal(berth_trip_next(&f.trip, 1, &e), 0);
    assert_int_equal(berth_routes_drain(t->routes, "s", "s-0", BERTH_MS), 1); /* the limit */
    assert_int_equal(berth_trip_next(&trip, 1, &e), -BERTH_ENOTREADY); /* an older snapshot, too */
    berth_trip_end(&trip, 1);
    berth_routes_remove(t->routes, "s"); /* one that is removed is waited for as well */
    assert_int_equal(pthread_create(&f.thread, NULL, finish, &f), 0);
    assert_int_equal(berth_routes_drain(t->routes, "s", "s-0", 20 * BERTH_S), 0);
    (void)pthread_join(f.thread, NULL);
    assert_int_equal(berth_routes_drain(t->routes, "s", "s-0", BERTH_S), 0);
}

/* It ran out of time, or who waited was told to stop: the replica was not ended. */
static void
a_drain_that_is_given_up_is_over(void **state)
{
    struct table *t = *state;
    struct berth_trip first, trip;
    struct berth_err e;

    assert_int_equal(publish(t, "s", "m", 1), 0);
    assert_int_equal(find(t, &first, "m"), 0);
    assert_int_equal(berth_trip_next(&first, 1, &e), 0);
    assert_int_equal(berth_routes_drain(t->routes, "s", "s-0", BERTH_MS), 1);
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_int_equal(berth_trip_next(&trip, 1, &e), -BERTH_ENOTREADY);
    assert_int_equal(publish(t, "s", "m", 1), 0);
    assert_int_equal(berth_trip_next(&trip, 1, &e), 0);
    berth_trip_done(&trip, &ok, 2);
    berth_trip_end(&trip, 2);
    berth_trip_done(&first, &ok, 2);
    berth_trip_end(&first, 2);
}

/* An eviction is not seen at once, so that it is published as ready once more; one that is refused
 * leaves the replica there. */
static void
one_that_is_drained_stays_out_a_while(void **state)
{
    struct table *t = *state;
    struct berth_trip trip;
    struct berth_err e;

    assert_int_equal(publish(t, "s", "m", 1), 0);
    const uint64_t begin_ns = berth_now_ns();
    assert_int_equal(berth_routes_drain(t->routes, "s", "s-0", BERTH_S), 0);
    const uint64_t hold_ns = BERTH_ROUTES_HOLD_S * BERTH_S, end_ns = berth_now_ns();
    assert_int_equal(publish(t, "s", "m", 1), 0);
    assert_int_equal(find(t, &trip, "m"), 0);
    assert_int_equal(berth_trip_next(&trip, begin_ns + hold_ns - 1, &e), -BERTH_ENOTREADY);
    assert_int_equal(berth_trip_next(&trip, end_ns + hold_ns, &e), 0); /* nobody published */
    berth_trip_done(&trip, &ok, end_ns + hold_ns);
    berth_trip_end(&trip, end_ns + hold_ns);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_taken_apart),
        cmocka_unit_test_setup_teardown(names_and_ids_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replicas_have_names_of_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tries_go_to_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(why_nobody_is_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(snapshots_outlive_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(they_are_told_of, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_threads_and_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(draining_waits_for_what_is_in_flight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_drain_that_is_given_up_is_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_drained_stays_out_a_while, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
