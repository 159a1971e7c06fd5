#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/event.h"
#include "net/test_peer.h"

/* Events: what is sent of what is told, and that nobody waits for it. */

struct stage {
    struct test_peer peer;
    struct berth_kube_config config;
    struct berth_kube *k;
    struct berth_kube_events *r;
    char server[64];
    /* The server's. */
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool shut;             /* nothing is answered until it is opened */
    const char *create_is; /* the status of a POST */
    char bodies[8][2048];
    unsigned calls;
    /* The recorder's. */
    atomic_uint troubles, recoveries;
};

static void
answer(void *arg, int fd, unsigned n, const char *request)
{
    struct stage *s = arg;
    const char *body = strstr(request, "\r\n\r\n");
    const bool create = strncmp(request, "POST", 4) == 0;
    char text[128];

    (void)pthread_mutex_lock(&s->mu);
    if (n < sizeof s->bodies / sizeof *s->bodies)
        (void)snprintf(s->bodies[n], sizeof s->bodies[n], "%.8s%s", request,
                       body != NULL ? body + 4 : "");
    s->calls++;
    (void)pthread_cond_broadcast(&s->cond);
    while (s->shut)
        (void)pthread_cond_wait(&s->cond, &s->mu);
    (void)snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\n{}",
                   create && s->create_is != NULL ? s->create_is : "200 OK");
    (void)pthread_mutex_unlock(&s->mu);
    test_peer_say(fd, text);
}

static void
troubled(void *arg, const char *why)
{
    struct stage *s = arg;

    (void)atomic_fetch_add(why != NULL ? &s->troubles : &s->recoveries, 1);
}

static void
set_up(struct stage *s)
{
    const struct berth_kube_conf conf = {.qps = -1, .tries_max = 1};
    const struct berth_kube_events_conf how = {
        .controller = "tester", .instance = "one", .troubled = troubled, .arg = s};
    struct berth_err e;

    (void)pthread_mutex_init(&s->mu, NULL);
    (void)pthread_cond_init(&s->cond, NULL);
    s->peer = (struct test_peer){.answer = answer, .arg = s};
    test_peer_start(&s->peer);
    (void)snprintf(s->server, sizeof s->server, "http://127.0.0.1:%u", s->peer.port);
    s->config = (struct berth_kube_config){.server = s->server, .space = "default"};
    assert_int_equal(berth_kube_new(&s->config, &conf, &s->k, &e), 0);
    assert_int_equal(berth_kube_events_new(s->k, &how, &s->r, &e), 0);
}

static void
tear_down(struct stage *s)
{
    berth_kube_events_free(s->r);
    berth_kube_free(s->k);
    test_peer_stop(&s->peer);
}

static void
open_it(struct stage *s)
{
    (void)pthread_mutex_lock(&s->mu);
    s->shut = false;
    (void)pthread_cond_broadcast(&s->cond);
    (void)pthread_mutex_unlock(&s->mu);
}

static void
wait_calls(struct stage *s, unsigned many)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    (void)pthread_mutex_lock(&s->mu);
    while (s->calls < many)
        if (pthread_cond_timedwait(&s->cond, &s->mu, &until) != 0)
            break;
    const bool came = s->calls >= many;
    (void)pthread_mutex_unlock(&s->mu);
    assert_true(came);
}

/* Until that many were told, on the recorder's thread: after the call's answer. */
static void
wait_told(const atomic_uint *count, unsigned many)
{
    const uint64_t until = berth_now_ns() + 60 * BERTH_S;

    while (atomic_load(count) < many && berth_now_ns() < until)
        (void)sched_yield();
    assert_int_equal(atomic_load(count), many);
}

static struct berth_kube_event
event(const char *note)
{
    return (struct berth_kube_event){.api_version = "g/v1",
                                     .kind = "Thing",
                                     .space = "default",
                                     .name = "x",
                                     .uid = "u",
                                     .reason = "Done",
                                     .action = "Do",
                                     .note = note};
}

static void
tell(struct stage *s, const char *note, const char *version)
{
    struct berth_kube_event x = event(note);

    x.version = version;
    berth_kube_events_tell(s->r, &x);
}

/* ---- tests ---- */

static void
what_is_told_again_is_counted_in_one_call(void **unused)
{
    struct stage s = {.shut = true};

    (void)unused;
    set_up(&s);
    for (int i = 0; i < 5; i++)
        tell(&s, "a", NULL);
    wait_calls(&s, 1);
    tell(&s, "b", "7");
    tell(&s, "b", "7"); /* of the same version: told already */
    tell(&s, "b", "8");
    open_it(&s);
    wait_calls(&s, 4);
    tear_down(&s);
    assert_int_equal(s.calls, 4);
    assert_non_null(strstr(s.bodies[0], "POST /ap"));
    assert_non_null(strstr(s.bodies[0], "\"note\":\"a\""));
    assert_non_null(
        strstr(s.bodies[0], "\"regarding\":{\"apiVersion\":\"g/v1\",\"kind\":\"Thing\""));
    for (unsigned i = 1; i < 4; i++)
        print_message("  %.100s\n", s.bodies[i]);
    /* Each once more, whatever their order. */
    unsigned patches = 0;
    for (unsigned i = 1; i < 4; i++)
        patches +=
            strncmp(s.bodies[i], "PATCH", 5) == 0 && (strstr(s.bodies[i], "\"count\":5") != NULL ||
                                                      strstr(s.bodies[i], "\"count\":2") != NULL);
    assert_int_equal(patches, 2);
}

static void
nobody_waits_and_what_has_no_room_is_counted(void **unused)
{
    struct stage s = {.shut = true};
    char note[32];

    (void)unused;
    set_up(&s);
    for (int i = 0; i < 600; i++) {
        (void)snprintf(note, sizeof note, "note %d", i);
        tell(&s, note, NULL);
    }
    const struct berth_kube_events_stats stats = berth_kube_events_stats(s.r);
    assert_int_equal(stats.sent, 0);
    assert_in_range(stats.waiting, 511, 512); /* one may be in work */
    assert_in_range(stats.dropped, 600 - 513, 600 - 512);
    /* The end does not wait for a server that does not answer. */
    const uint64_t began = berth_now_ns();
    berth_kube_events_free(s.r);
    print_message("  it ended in %llu ms\n",
                  (unsigned long long)((berth_now_ns() - began) / BERTH_MS));
    assert_true(berth_now_ns() - began < 9 * BERTH_S); /* a call may take 10 s */
    open_it(&s);
    berth_kube_free(s.k);
    test_peer_stop(&s.peer);
}

static void
a_server_that_refuses_is_told_of_once(void **unused)
{
    struct stage s = {.create_is = "403 Forbidden"};
    char note[32];

    (void)unused;
    set_up(&s);
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(note, sizeof note, "note %u", i);
        tell(&s, note, NULL);
    }
    wait_calls(&s, 3);
    (void)pthread_mutex_lock(&s.mu);
    s.create_is = NULL;
    (void)pthread_mutex_unlock(&s.mu);
    tell(&s, "note 0", NULL); /* it was never made */
    wait_calls(&s, 4);
    wait_told(&s.recoveries, 1);
    tear_down(&s);
    assert_int_equal(atomic_load(&s.troubles), 1);
    assert_int_equal(atomic_load(&s.recoveries), 1);
    assert_int_equal(strncmp(s.bodies[3], "POST", 4), 0);
}

/* No half characters, and no more than the server takes. */
static void
long_notes_are_cut(void **unused)
{
    struct stage s = {.shut = false};
    char note[2000];

    (void)unused;
    set_up(&s);
    memset(note, 'n', sizeof note);
    note[0] = ' ';
    for (size_t i = 1; i + 2 < sizeof note; i += 2)
        memcpy(note + i, "\xc3\xa4", 2);
    note[sizeof note - 1] = '\0';
    tell(&s, note, NULL);
    wait_calls(&s, 1);
    tear_down(&s);
    const char *at = strstr(s.bodies[0], "\"note\":\"");
    assert_non_null(at);
    assert_int_equal(strcspn(at + strlen("\"note\":\""), "\""), 1023);
    assert_null(strstr(s.bodies[0], "\xef\xbf\xbd"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_again_is_counted_in_one_call),
        cmocka_unit_test(nobody_waits_and_what_has_no_room_is_counted),
        cmocka_unit_test(a_server_that_refuses_is_told_of_once),
        cmocka_unit_test(long_notes_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
