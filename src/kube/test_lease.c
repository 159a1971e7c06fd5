#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/lease.h"
#include "net/test_peer.h"

/* A lease against a server whose answers get lost, or that never answers. */

enum write_fate { DONE, LOST /* done, and not told */, REFUSED /* 409 */, HUNG };

struct world {
    /* The server's, on its thread until it is stopped. */
    bool there;
    char holder[64];
    unsigned version, writes;
    enum write_fate fates[8]; /* of the first writes; then the last of them, ... */
    unsigned fate_count;      /* ... or DONE */
    const char *stolen_by;    /* who has it when a write was refused, for 1 s; NULL: who had it */
    /* The lease's, under mu. */
    pthread_mutex_t mu;
    pthread_cond_t cond;
    unsigned begun, ended;
    const struct berth_kube_lease *lease; /* since it began */
    bool held, held_at_end;               /* when it began and when it ended last */
    int begins_with;                      /* what begin() returns */
    char why[256], told[2048];
};

static void
say(int fd, const char *status, const char *body)
{
    char head[128];

    (void)snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status,
                   strlen(body));
    test_peer_say(fd, head);
    test_peer_say(fd, body);
}

static void
say_lease(struct world *w, int fd)
{
    char body[512];

    (void)snprintf(body, sizeof body,
                   "{\"metadata\":{\"name\":\"l\",\"resourceVersion\":\"%u\"},\"spec\":{"
                   "\"holderIdentity\":\"%s\",\"leaseDurationSeconds\":%d}}",
                   w->version, w->holder,
                   w->stolen_by != NULL && strcmp(w->holder, w->stolen_by) == 0 ? 1 : 3);
    say(fd, "200 OK", body);
}

static void
keep_holder(struct world *w, const char *request)
{
    const char *at = strstr(request, "\"holderIdentity\":\"");

    assert_non_null(at);
    at += strlen("\"holderIdentity\":\"");
    (void)snprintf(w->holder, sizeof w->holder, "%.*s", (int)strcspn(at, "\""), at);
    w->there = true;
    w->version++;
}

static void
answer(void *arg, int fd, unsigned n, const char *request)
{
    struct world *w = arg;

    (void)n;
    if (strncmp(request, "GET", 3) == 0) {
        if (w->there)
            say_lease(w, fd);
        else
            say(fd, "404 Not Found", "{\"reason\":\"NotFound\"}");
        return;
    }
    const enum write_fate fate = w->writes < w->fate_count ? w->fates[w->writes] : DONE;
    w->writes++;
    if (fate == HUNG) {
        test_peer_wait_closed(fd);
        return;
    }
    if (fate == REFUSED) {
        w->version++;
        if (w->stolen_by != NULL)
            (void)snprintf(w->holder, sizeof w->holder, "%s", w->stolen_by);
        say(fd, "409 Conflict", "{\"reason\":\"Conflict\"}");
        return;
    }
    keep_holder(w, request);
    if (fate == DONE)
        say_lease(w, fd);
}

/* ---- what it says ---- */

static int
begin(void *arg, const struct berth_kube_lease *l, struct berth_err *e)
{
    struct world *w = arg;

    (void)pthread_mutex_lock(&w->mu);
    w->begun++;
    w->lease = l;
    w->held = berth_kube_lease_is_held(l);
    const int r = w->begins_with < 0 ? berth_err_set(e, BERTH_ELIMIT, "no room") : 0;
    (void)pthread_cond_broadcast(&w->cond);
    (void)pthread_mutex_unlock(&w->mu);
    return r;
}

static void
end(void *arg, const char *why)
{
    struct world *w = arg;

    (void)pthread_mutex_lock(&w->mu);
    w->ended++;
    w->held_at_end = berth_kube_lease_is_held(w->lease);
    (void)snprintf(w->why, sizeof w->why, "%s", why);
    (void)pthread_cond_broadcast(&w->cond);
    (void)pthread_mutex_unlock(&w->mu);
}

static void
told(void *arg, bool bad, const char *what)
{
    struct world *w = arg;

    (void)pthread_mutex_lock(&w->mu);
    const size_t n = strlen(w->told);
    (void)snprintf(w->told + n, sizeof w->told - n, "%s%s\n", bad ? "! " : "", what);
    (void)pthread_cond_broadcast(&w->cond);
    (void)pthread_mutex_unlock(&w->mu);
}

/* Until *count is that many, or a text was told; fails after 120 s. */
static void
wait_until(struct world *w, const unsigned *count, unsigned many, const char *text)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 120;
    (void)pthread_mutex_lock(&w->mu);
    while (count != NULL ? *count < many : strstr(w->told, text) == NULL)
        if (pthread_cond_timedwait(&w->cond, &w->mu, &until) != 0)
            break;
    const bool came = count != NULL ? *count >= many : strstr(w->told, text) != NULL;
    (void)pthread_mutex_unlock(&w->mu);
    if (!came)
        print_message("  told: %s\n", w->told);
    assert_true(came);
}

struct stage {
    struct world w;
    struct test_peer peer;
    struct berth_kube_config config;
    struct berth_kube *k;
    struct berth_kube_lease *l;
    char server[64];
};

/* It may be held for two thirds of its time without a renewal, which comes after one third: a
 * machine that pauses for the third in between loses it. */
static void
set_up(struct stage *s, uint64_t duration_ns)
{
    const struct berth_kube_conf conf = {.qps = -1};
    const struct berth_kube_lease_conf how = {.space = "s",
                                              .name = "l",
                                              .identity = "me",
                                              .duration_ns = duration_ns,
                                              .begin = begin,
                                              .end = end,
                                              .told = told,
                                              .arg = &s->w};
    struct berth_err e;

    (void)pthread_mutex_init(&s->w.mu, NULL);
    (void)pthread_cond_init(&s->w.cond, NULL);
    s->peer = (struct test_peer){.answer = answer, .arg = &s->w};
    test_peer_start(&s->peer);
    (void)snprintf(s->server, sizeof s->server, "http://127.0.0.1:%u", s->peer.port);
    s->config = (struct berth_kube_config){.server = s->server, .space = "s"};
    assert_int_equal(berth_kube_new(&s->config, &conf, &s->k, &e), 0);
    assert_int_equal(berth_kube_lease_start(s->k, &how, &s->l, &e), 0);
}

static void
tear_down(struct stage *s)
{
    berth_kube_lease_stop(s->l);
    berth_kube_free(s->k);
    test_peer_stop(&s->peer);
    (void)pthread_cond_destroy(&s->w.cond);
    (void)pthread_mutex_destroy(&s->w.mu);
}

static void
wait_requests(const struct test_peer *p, unsigned many)
{
    const uint64_t until = berth_now_ns() + 120 * BERTH_S;

    while (atomic_load(&p->requests) < many && berth_now_ns() < until)
        (void)usleep(1000);
    assert_true(atomic_load(&p->requests) >= many);
}

/* ---- tests ---- */

static void
who_cannot_renew_stops_by_the_clock(void **unused)
{
    struct stage s = {.w = {.fates = {DONE, HUNG, HUNG, HUNG, HUNG}, .fate_count = 5}};
    const uint64_t began = berth_now_ns();

    (void)unused;
    set_up(&s, 6 * BERTH_S);
    wait_until(&s.w, &s.w.begun, 1, NULL);
    wait_until(&s.w, &s.w.ended, 1, NULL);
    print_message("  stopped %llu ms after it began\n",
                  (unsigned long long)((berth_now_ns() - began) / BERTH_MS));
    assert_string_equal(s.w.why, "the lease could not be renewed in time");
    assert_true(berth_now_ns() - began >= 3900 * BERTH_MS); /* not before it has to */
    tear_down(&s);
}

static void
an_answer_that_was_lost_is_no_loss(void **unused)
{
    struct stage s = {.w = {.fates = {LOST, DONE, LOST, LOST}, .fate_count = 4}};

    (void)unused;
    set_up(&s, 30 * BERTH_S);
    wait_until(&s.w, &s.w.begun, 1, NULL);
    assert_true(s.w.held);
    wait_until(&s.w, NULL, 0, "can be asked for again\n");
    assert_true(berth_kube_lease_is_held(s.l));
    tear_down(&s);
    assert_int_equal(s.w.begun, 1);
    assert_string_equal(s.w.why, "it is to stop");
    assert_string_equal(s.w.holder, ""); /* given back */
}

static void
one_that_others_wrote_to_stays_ours_and_one_that_they_took_does_not(void **unused)
{
    struct stage ours = {.w = {.fates = {DONE, REFUSED, DONE}, .fate_count = 3}};
    struct stage theirs = {
        .w = {.fates = {DONE, REFUSED}, .fate_count = 2, .stolen_by = "somebody"}};

    (void)unused;
    set_up(&theirs, 18 * BERTH_S);
    set_up(&ours, 18 * BERTH_S);
    wait_until(&theirs.w, &theirs.w.ended, 1, NULL);
    assert_string_equal(theirs.w.why, "somebody has the lease");
    assert_false(theirs.w.held_at_end);
    /* It was not renewed by that somebody: after its time it may be had. */
    wait_until(&theirs.w, &theirs.w.begun, 2, NULL);
    wait_requests(&ours.peer, 5); /* a look and a write, one that is refused, and both again */
    tear_down(&ours);
    tear_down(&theirs);
    assert_int_equal(ours.w.begun, 1);
    assert_string_equal(ours.w.why, "it is to stop");
    assert_true(ours.w.writes >= 3);
}

static void
who_cannot_begin_gives_it_back(void **unused)
{
    struct stage s = {.w = {.begins_with = -1}};

    (void)unused;
    set_up(&s, 3 * BERTH_S);
    wait_until(&s.w, NULL, 0, "! cannot lead: no room\n");
    tear_down(&s);
    assert_int_equal(s.w.ended, 0);
    assert_string_equal(s.w.holder, "");
}

static void
what_cannot_be_meant_is_refused(void **unused)
{
    const struct berth_kube_conf conf = {.qps = -1};
    const struct berth_kube_config config = {.server = "http://127.0.0.1:1", .space = "s"};
    static const struct {
        const char *identity;
        uint64_t duration_ns;
    } rows[] = {{"me", BERTH_S / 2}, {"me", 2 * 3600 * BERTH_S}, {"", BERTH_S}};
    struct berth_kube_lease *l = NULL;
    struct berth_kube *k;
    struct berth_err e;

    (void)unused;
    assert_int_equal(berth_kube_new(&config, &conf, &k, &e), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct berth_kube_lease_conf how = {.space = "s",
                                                  .name = "l",
                                                  .identity = rows[i].identity,
                                                  .duration_ns = rows[i].duration_ns,
                                                  .begin = begin,
                                                  .end = end};
        assert_int_equal(berth_kube_lease_start(k, &how, &l, &e), -BERTH_EINVAL);
    }
    assert_null(l);
    berth_kube_lease_stop(l);
    berth_kube_free(k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_cannot_renew_stops_by_the_clock),
        cmocka_unit_test(an_answer_that_was_lost_is_no_loss),
        cmocka_unit_test(one_that_others_wrote_to_stays_ours_and_one_that_they_took_does_not),
        cmocka_unit_test(who_cannot_begin_gives_it_back),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
