#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "kube/config.h"
#include "kube/informer.h"
#include "net/test_peer.h"
#include "wire/json.h"

/* An informer against a server that forgets, breaks off and comes back. */

#define ITEM(name, version)                                                                   \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"s\",\"resourceVersion\":\"" version \
    "\",\"labels\":{\"app\":\"x\"}}}"
#define LIST(version, items) \
    "200 {\"metadata\":{\"resourceVersion\":\"" version "\"},\"items\":[" items "]}"
#define STREAM              "HTTP/1.1 200 OK\r\n\r\n"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"

/* One a request; after the last, a watch that stays open until the client goes. */
static const char *const script[] = {
    "503 x",
    LIST("5", ITEM("a", "1") "," ITEM("b", "2")),
    STREAM EVENT("MODIFIED", ITEM("a", "6")), /* and breaks off */
    STREAM EVENT("ERROR", "{\"code\":410}"),
    LIST("9", ITEM("a", "6") "," ITEM("c", "8")), /* b went unseen */
    STREAM EVENT("DELETED", ITEM("a", "10"))
        EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"77\"}}"),
    "500 x",
    STREAM EVENT("ADDED", ITEM("d", "80")),
};

static atomic_bool always_too_old;

/* Lists of one object each, and watches from versions that are too old. */
static void
answer_too_old(int fd, unsigned n)
{
    char body[256], head[128];

    if (n % 2 == 1) {
        test_peer_say(fd, STREAM EVENT("ERROR", "{\"code\":410}"));
        return;
    }
    (void)snprintf(body, sizeof body,
                   "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{\"metadata\":{\"name\":"
                   "\"n%u\",\"namespace\":\"s\",\"resourceVersion\":\"1\"}}]}",
                   n);
    (void)snprintf(head, sizeof head, "HTTP/1.1 200 X\r\nContent-Length: %zu\r\n\r\n",
                   strlen(body));
    test_peer_say(fd, head);
    test_peer_say(fd, body);
}

static void
answer(void *arg, int fd, unsigned n, const char *request)
{
    char head[128];

    if (atomic_load(&always_too_old)) {
        answer_too_old(fd, n);
    } else if (n >= BERTH_COUNT(script)) {
        test_peer_say(fd, STREAM);
        test_peer_wait_closed(fd);
    } else if (strncmp(script[n], "HTTP/", 5) == 0) {
        test_peer_say(fd, script[n]);
    } else {
        (void)snprintf(head, sizeof head, "HTTP/1.1 %.3s X\r\nContent-Length: %zu\r\n\r\n",
                       script[n], strlen(script[n] + 4));
        test_peer_say(fd, head);
        test_peer_say(fd, script[n] + 4);
    }
}

struct seen {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    char text[256];
    unsigned troubles, recoveries;
};

static void
changed(void *arg, const struct berth_json *object, bool gone)
{
    struct seen *s = arg;

    (void)pthread_mutex_lock(&s->mu);
    const size_t n = strlen(s->text);
    (void)snprintf(s->text + n, sizeof s->text - n, "%s%s@%s ", gone ? "-" : "",
                   berth_kube_text(object, "metadata.name").at,
                   berth_kube_text(object, "metadata.resourceVersion").at);
    (void)pthread_cond_broadcast(&s->cond);
    (void)pthread_mutex_unlock(&s->mu);
}

static void
troubled(void *arg, int r, const char *why)
{
    struct seen *s = arg;

    print_message("  %s\n", why != NULL ? why : "works again");
    (void)pthread_mutex_lock(&s->mu);
    s->troubles += why != NULL && r == -BERTH_ENETWORK;
    s->recoveries += why == NULL && r == 0;
    (void)pthread_mutex_unlock(&s->mu);
}

/* Until that was told; fails after 60 s. */
static void
wait_for(struct seen *s, const char *text)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    (void)pthread_mutex_lock(&s->mu);
    while (strstr(s->text, text) == NULL)
        if (pthread_cond_timedwait(&s->cond, &s->mu, &until) != 0)
            break;
    (void)pthread_mutex_unlock(&s->mu);
    assert_non_null(strstr(s->text, text));
}

struct stage {
    struct test_peer peer;
    struct berth_kube_config config;
    struct berth_kube *k;
    char server[64];
    struct seen seen;
};

static void
set_up(struct stage *s)
{
    struct berth_err e;

    *s =
        (struct stage){.peer = {.answer = answer},
                       .seen = {.mu = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER}};
    test_peer_start(&s->peer);
    (void)snprintf(s->server, sizeof s->server, "http://127.0.0.1:%u", s->peer.port);
    s->config = (struct berth_kube_config){.server = s->server, .space = "default"};
    const struct berth_kube_conf conf = {.tries_max = 1};
    assert_int_equal(berth_kube_new(&s->config, &conf, &s->k, &e), 0);
}

/* Every call was a list or a watch: one that begins just now is counted as both a moment later. */
static bool
calls_are_counted(const struct stage *s, struct berth_kube_informer *i)
{
    const uint64_t until = berth_now_ns() + 60 * BERTH_S;
    struct berth_kube_informer_state state;

    do
        berth_kube_informer_state(i, &state);
    while (berth_kube_counts(s->k).calls != state.lists + state.watches && berth_now_ns() < until);
    return berth_now_ns() < until;
}

static void
what_happens_is_known_whatever_breaks(void **unused)
{
    struct berth_kube_informer_state state;
    struct berth_kube_informer *i;
    const struct berth_json *found[4], *one;
    const struct berth_kube_place *places;
    struct berth_arena a;
    struct berth_err e;
    struct stage s;
    size_t n;

    (void)unused;
    set_up(&s);
    berth_arena_init(&a, 1 << 20);
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = &berth_kube_pods, .space = "s"},
        .index_label = "app",
        .changed = changed,
        .troubled = troubled,
        .arg = &s.seen,
    };
    assert_int_equal(berth_kube_informer_start(s.k, &conf, &i, &e), 0);
    const struct berth_kube_until until = {.deadline_ns = berth_now_ns() + 60 * BERTH_S};
    assert_int_equal(berth_kube_informer_wait(i, &until, &e), 0);
    wait_for(&s.seen, "d@80 ");
    assert_string_equal(s.seen.text, "a@1 b@2 a@6 c@8 -b@2 -a@10 d@80 ");
    assert_int_equal(berth_kube_informer_find(i, &a, "x", found, 4, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(berth_kube_informer_find(i, &a, "x", found, 1, &n, &e), -BERTH_ELIMIT);
    assert_int_equal(berth_kube_informer_find(i, &a, "y", found, 4, &n, &e), 0);
    assert_int_equal(n, 0);
    assert_int_equal(berth_kube_informer_names(i, &a, "x", &places, &n, &e), 0);
    assert_int_equal(n, 2);
    for (size_t j = 0; j < n; j++)
        assert_true(strcmp(places[j].space, "s") == 0 && strchr("cd", places[j].name[0]) != NULL);
    assert_int_equal(berth_kube_informer_get(i, &a, "s", "c", &one, &e), 0);
    assert_int_equal(berth_kube_informer_get(i, &a, "s", "a", &one, &e), -BERTH_ENOENT);
    berth_kube_informer_state(i, &state);
    assert_true(state.synced && !state.lossy);
    assert_int_equal(state.objects, 2);
    assert_int_equal(state.lists, 3); /* one that failed, one at the start, one that was too old */
    assert_true(calls_are_counted(&s, i));
    (void)pthread_mutex_lock(&s.seen.mu);
    const unsigned troubles = s.seen.troubles, recoveries = s.seen.recoveries;
    (void)pthread_mutex_unlock(&s.seen.mu);
    assert_true(troubles >= 2 && troubles <= recoveries + 1);
    berth_kube_informer_stop(i);
    berth_kube_free(s.k);
    test_peer_stop(&s.peer);
    assert_non_null(strstr(s.peer.log[2], "watch=true&allowWatchBookmarks=true&timeoutSeconds="));
    assert_non_null(strstr(s.peer.log[2], "resourceVersion=5 "));
    assert_null(strstr(s.peer.log[2], "timeoutSeconds=3&"));
    assert_non_null(strstr(s.peer.log[3], "timeoutSeconds=3&"));  /* after trouble: does it last? */
    assert_non_null(strstr(s.peer.log[3], "resourceVersion=6 ")); /* goes on where it was */
    assert_non_null(strstr(s.peer.log[5], "resourceVersion=9 "));
    assert_non_null(strstr(s.peer.log[6], "resourceVersion=77 ")); /* the bookmark's */
    berth_arena_fini(&a);
}

/* A server whose lists are too old as soon as they are given: each pause is longer. */
static void
a_version_that_is_always_too_old_is_no_busy_loop(void **unused)
{
    struct berth_kube_informer_state state;
    struct berth_kube_informer *i;
    struct berth_err e;
    struct stage s;

    (void)unused;
    atomic_store(&always_too_old, true);
    set_up(&s);
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = &berth_kube_pods, .space = "s"},
        .index_label = "app",
        .changed = changed,
        .arg = &s.seen,
    };
    const uint64_t begin_ns = berth_now_ns();
    assert_int_equal(berth_kube_informer_start(s.k, &conf, &i, &e), 0);
    wait_for(&s.seen, "n8@1 "); /* the fifth list */
    berth_kube_informer_state(i, &state);
    berth_kube_informer_stop(i);
    berth_kube_free(s.k);
    test_peer_stop(&s.peer);
    atomic_store(&always_too_old, false);
    print_message("  5 lists took %llu ms\n",
                  (unsigned long long)((berth_now_ns() - begin_ns) / BERTH_MS));
    assert_true(state.lists >= 5);
    /* One at once, then at least half of 400, 800 and 1600 ms. */
    assert_true(berth_now_ns() - begin_ns >= 1400 * BERTH_MS);
}

/* Nothing answers: it says so, and ends at once when it is to. */
static void
without_a_server_it_says_why(void **unused)
{
    const struct berth_kube_config config = {.server = "http://127.0.0.1:1", .space = "default"};
    const struct berth_kube_conf conf = {.tries_max = 1};
    const struct berth_kube_informer_conf pods = {.selection = {.kind = &berth_kube_pods}};
    struct berth_kube_informer_state state;
    struct berth_kube_informer *i;
    const struct berth_json *one;
    struct berth_arena a;
    struct berth_kube *k;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_kube_new(&config, &conf, &k, &e), 0);
    assert_int_equal(berth_kube_informer_start(k, &pods, &i, &e), 0);
    const uint64_t tried_ns = berth_now_ns() + 60 * BERTH_S;
    do
        berth_kube_informer_state(i, &state);
    while (state.failure == 0 && berth_now_ns() < tried_ns);
    assert_int_equal(state.failure, -BERTH_ENETWORK);
    const struct berth_kube_until until = {.deadline_ns = berth_now_ns() + 300 * BERTH_MS};
    assert_int_equal(berth_kube_informer_wait(i, &until, &e), -BERTH_EDEADLINE);
    print_message("  %s\n", e.msg);
    assert_non_null(strstr(e.msg, "127.0.0.1:1"));
    assert_int_equal(berth_kube_informer_get(i, &a, "s", "c", &one, &e), -BERTH_ENOTREADY);
    berth_kube_informer_stop(i);
    berth_kube_free(k);
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_happens_is_known_whatever_breaks),
        cmocka_unit_test(a_version_that_is_always_too_old_is_no_busy_loop),
        cmocka_unit_test(without_a_server_it_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
