#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/informer.h"
#include "kube/limit.h"
#include "kube/store.h"
#include "kube/watch.h"
#include "net/test_peer.h"
#include "wire/json.h"

/* The client against a server that says what is written down here. */

struct script {
    const char
        *texts[8]; /* one a request; the last is said again.  NULL first: close without one */
};

static void
answer(void *arg, int fd, unsigned n, const char *request)
{
    const struct script *s = arg;
    char head[128];
    size_t i = 0;

    while (i < n && i + 1 < BERTH_COUNT(s->texts) && s->texts[i + 1] != NULL)
        i++;
    const char *text = s->texts[i];
    if (strncmp(text, "HTTP/", 5) == 0) {
        test_peer_say(fd, text);
        return;
    }
    const int status = (int)strtol(text, (char **)(uintptr_t)&text, 10);
    (void)snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n", status,
                   strlen(text + 1));
    test_peer_say(fd, head);
    test_peer_say(fd, text + 1);
}

struct stage {
    struct test_peer peer;
    struct berth_kube_config config;
    struct berth_kube *k;
    struct berth_arena a;
    char server[64];
};

static void
set_up(struct stage *s, struct script *script, struct berth_kube_conf conf)
{
    struct berth_err e;

    *s = (struct stage){.peer = {.answer = answer, .arg = script}};
    test_peer_start(&s->peer);
    (void)snprintf(s->server, sizeof s->server, "http://127.0.0.1:%u", s->peer.port);
    s->config = (struct berth_kube_config){
        .server = s->server, .space = "default", .user = "me", .token = "t"};
    berth_arena_init(&s->a, 8 << 20);
    assert_int_equal(berth_kube_new(&s->config, &conf, &s->k, &e), 0);
}

static void
tear_down(struct stage *s)
{
    berth_kube_free(s->k);
    test_peer_stop(&s->peer);
    berth_arena_fini(&s->a);
}

static const struct berth_kube_ref deploy_x = {&berth_kube_deployments, "default", "x", NULL};

#define STATUS(rest) "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\"," rest "}"

static void
answers_and_refusals(void **unused)
{
    static const struct {
        const char *text, *says[3];
        int want;
    } cases[] = {
        {"200 {\"kind\":\"Deployment\"}", {"", "", ""}, 0},
        {"404 " STATUS(
             "\"message\":\"deployments.apps \\\"x\\\" not found\",\"reason\":\"NotFound\","
             "\"details\":{\"name\":\"x\",\"kind\":\"deployments\"},\"code\":404"),
         {"get Deployment default/x: 404 NotFound: deployments.apps \"x\" not found", "", ""},
         -BERTH_ENOENT},
        {"404 404 page not found", {"404", "does this cluster serve that API?", ""}, -BERTH_ENOENT},
        {"401 " STATUS("\"message\":\"Unauthorized\",\"reason\":\"Unauthorized\",\"code\":401"),
         {"user me", "renew the credentials", ""},
         -BERTH_EAUTH},
        {"403 " STATUS("\"message\":\"User \\\"u\\\" cannot get resource \\\"deployments\\\"\","
                       "\"reason\":\"Forbidden\",\"code\":403"),
         {"cannot get resource", "RoleBinding", ""},
         -BERTH_EPERM},
        {"422 " STATUS(
             "\"message\":\"Deployment.apps \\\"x\\\" is invalid\",\"reason\":\"Invalid\","
             "\"details\":{\"causes\":[{\"field\":\"spec.replicas\",\"message\":\"must be >= "
             "0\"}]},\"code\":422"),
         {"422 Invalid", "spec.replicas: must be >= 0", ""},
         -BERTH_EINVAL},
        {"409 " STATUS(
             "\"message\":\"Apply failed with 1 conflict\",\"reason\":\"Conflict\","
             "\"details\":{\"causes\":[{\"field\":\".spec.replicas\",\"message\":\"conflict "
             "with \\\"kubectl\\\"\"}]},\"code\":409"),
         {"conflict with \"kubectl\"", ".spec.replicas", "another manager"},
         -BERTH_EEXIST},
        {"410 " STATUS("\"reason\":\"Expired\",\"code\":410"),
         {"410 Expired", "", ""},
         -BERTH_ENOTREADY},
        {"413 x", {"413", "", ""}, -BERTH_ETOOBIG},
        {"418 x", {"418", "", ""}, -BERTH_EINVAL},
        {"200 no json", {"the answer is no JSON", "", ""}, -BERTH_ENETWORK},
        {"500 x", {"get Deployment default/x: 500", "", ""}, -BERTH_ENETWORK},
        {"504 x", {"504", "", ""}, -BERTH_EDEADLINE},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct script script = {.texts = {cases[i].text}};
        const struct berth_json *got = NULL;
        struct berth_err e = {{0}};
        struct stage s;
        set_up(&s, &script, (struct berth_kube_conf){.tries_max = 1});
        const int r = berth_kube_get(s.k, NULL, &s.a, &deploy_x, &got, &e);
        print_message("  %d %s\n", r, e.msg);
        assert_int_equal(r, cases[i].want);
        for (size_t j = 0; j < BERTH_COUNT(cases[i].says); j++)
            assert_non_null(strstr(e.msg, cases[i].says[j]));
        tear_down(&s);
    }
}

static void
what_may_pass_is_tried_again(void **unused)
{
    static const struct {
        struct script script;
        unsigned tries_max, requests;
        uint64_t at_least_ns;
        int want;
    } cases[] = {
        {{{"503 x", "500 x", "200 {}"}}, 6, 3, 100 * BERTH_MS, 0},
        /* storage that starts anew says so in its body; proxies say it in a header */
        {{{"429 " STATUS("\"details\":{\"retryAfterSeconds\":1},\"code\":429"), "200 {}"}},
         6,
         2,
         BERTH_S,
         0},
        {{{"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", "200 {}"}},
         6,
         2,
         BERTH_S,
         0},
        {{{"HTTP/1.1 429 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n", "200 {}"}},
         6,
         1,
         0,
         -BERTH_EAGAIN},                                           /* longer than we have */
        {{{"HTTP/", "HTTP/", "200 {}"}}, 6, 3, 100 * BERTH_MS, 0}, /* an answer that is lost */
        {{{"503 x"}}, 3, 3, 100 * BERTH_MS, -BERTH_ENETWORK},
        {{{"404 x"}}, 6, 1, 0, -BERTH_ENOENT},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct script script = cases[i].script;
        const struct berth_json *got;
        struct berth_err e = {{0}};
        struct stage s;
        set_up(&s, &script, (struct berth_kube_conf){.tries_max = cases[i].tries_max});
        const uint64_t begin_ns = berth_now_ns();
        const int r = berth_kube_get(s.k, NULL, &s.a, &deploy_x, &got, &e);
        const uint64_t took_ns = berth_now_ns() - begin_ns;
        print_message("  %d %s, %llu ms\n", r, e.msg, (unsigned long long)(took_ns / BERTH_MS));
        assert_int_equal(r, cases[i].want);
        assert_int_equal(berth_kube_counts(s.k).calls, cases[i].requests);
        assert_true(took_ns >= cases[i].at_least_ns);
        tear_down(&s);
    }
}

static bool
is_cancelled(void *arg)
{
    return --*(int *)arg < 0;
}

static void
a_call_ends_when_its_caller_does(void **unused)
{
    struct script script = {.texts = {"503 x"}};
    const struct berth_json *got;
    struct berth_err e;
    struct stage s;
    int asked = 3;

    (void)unused;
    set_up(&s, &script, (struct berth_kube_conf){.tries_max = 1000});
    const struct berth_kube_until cancelled = {.cancelled = is_cancelled, .arg = &asked};
    const int r = berth_kube_get(s.k, &cancelled, &s.a, &deploy_x, &got, &e);
    assert_true(r == -BERTH_ENETWORK || r == -BERTH_ECANCELED);
    const struct berth_kube_until soon = {.deadline_ns = berth_now_ns() + 300 * BERTH_MS};
    const int late = berth_kube_get(s.k, &soon, &s.a, &deploy_x, &got, &e);
    assert_true(late == -BERTH_ENETWORK || late == -BERTH_EDEADLINE); /* no answer came by then */
    berth_kube_stop(s.k);
    assert_int_equal(berth_kube_get(s.k, NULL, &s.a, &deploy_x, &got, &e), -BERTH_ECANCELED);
    tear_down(&s);
}

static void
verbs_are_what_the_api_wants(void **unused)
{
    struct script script = {.texts = {"200 {}", "200 {}", "200 {}", "200 {}", "404 x", "201 {}"}};
    const struct berth_kube_apply how = {.object = BERTH_SLICE("{\"a\":1}"), .force = true};
    const struct berth_kube_ref eviction = {&berth_kube_pods, "a b", "p", "eviction"};
    static const char version[] = "{\"metadata\":{\"uid\":\"u1\",\"resourceVersion\":\"7\"}}";
    const struct berth_json *got, *live;
    struct berth_err e;
    struct stage s;

    (void)unused;
    set_up(&s, &script, (struct berth_kube_conf){.tries_max = 1, .manager = "the manager"});
    assert_int_equal(berth_kube_apply(s.k, NULL, &s.a, &deploy_x, &how, &got, &e), 0);
    assert_int_equal(
        berth_kube_merge(s.k, NULL, &s.a, &deploy_x, BERTH_SLICE("{\"b\":2}"), &got, &e), 0);
    assert_int_equal(berth_kube_json_patch(s.k, NULL, &s.a, &deploy_x, BERTH_SLICE("[]"), &got, &e),
                     0);
    assert_int_equal(berth_json_parse(&s.a, version, sizeof version - 1, NULL, &live, NULL), 0);
    assert_int_equal(berth_kube_delete(s.k, NULL, &deploy_x, live, &e), 0);
    assert_int_equal(berth_kube_delete(s.k, NULL, &deploy_x, NULL, &e), 1);
    assert_int_equal(berth_kube_create(s.k, NULL, &s.a, &eviction, BERTH_SLICE("{}"), &got, &e), 0);
    static const char *const lines[] = {
        "PATCH "
        "/apis/apps/v1/namespaces/default/deployments/x?fieldManager=the%20manager&force=true"
        "&fieldValidation=Ignore ",
        "PATCH /apis/apps/v1/namespaces/default/deployments/x?fieldValidation=Ignore ",
        "PATCH /apis/apps/v1/namespaces/default/deployments/x?fieldValidation=Ignore ",
        "DELETE /apis/apps/v1/namespaces/default/deployments/x ",
        "DELETE /apis/apps/v1/",
        "POST /api/v1/namespaces/a%20b/pods/p/eviction ",
    };
    static const char *const has[] = {"Content-Type: application/apply-patch+yaml\r\n",
                                      "Content-Type: application/merge-patch+json\r\n",
                                      "Content-Type: application/json-patch+json\r\n",
                                      "\"propagationPolicy\":\"Background\",\"preconditions\":"
                                      "{\"uid\":\"u1\",\"resourceVersion\":\"7\"}}",
                                      "\"propagationPolicy\":\"Background\"}",
                                      "Content-Type: application/json\r\n"};
    tear_down(&s);
    for (size_t i = 0; i < BERTH_COUNT(lines); i++) {
        assert_ptr_equal(strstr(s.peer.log[i], lines[i]), s.peer.log[i]);
        assert_non_null(strstr(s.peer.log[i], has[i]));
        assert_non_null(strstr(s.peer.log[i], "Authorization: Bearer t\r\n"));
    }
}

/* ---- lists ---- */

static bool
count_objects(void *arg, const struct berth_json *object)
{
    struct berth_buf *names = arg;

    berth_buf_puts(names, berth_kube_text(object, "metadata.name").at);
    return true;
}

#define ITEM(name, version)                                                                        \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"s\",\"resourceVersion\":\"" version "\"" \
    "}}"
#define PAGE(version, next, items)                                                \
    "200 {\"metadata\":{\"resourceVersion\":\"" version "\",\"continue\":\"" next \
    "\"},\"items\":[" items "]}"

static void
lists_go_on_until_their_end(void **unused)
{
    static const struct {
        struct script script;
        const char *names;
        int want;
    } cases[] = {
        {{{PAGE("5", "", ITEM("a", "1") "," ITEM("b", "2"))}}, "ab", 0},
        {{{PAGE("5", "n&1", ITEM("a", "1")), PAGE("5", "", ITEM("b", "2"))}}, "ab", 0},
        /* the place is forgotten: from the start again */
        {{{PAGE("5", "n", ITEM("a", "1")), "410 " STATUS("\"code\":410"),
           PAGE("6", "", ITEM("c", "3"))}},
         "ac",
         0},
        {{{PAGE("5", "n", ITEM("a", "1")), "410 " STATUS("\"code\":410")}}, "a", -BERTH_ENOTREADY},
        {{{"200 {\"items\":[]}"}}, "", -BERTH_ENETWORK},
        {{{"200 {\"metadata\":{\"resourceVersion\":\"1\"},\"items\":null}"}}, "", 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_kube_selection sel = {.kind = &berth_kube_pods, .labels = "app=x,y"};
        struct script script = cases[i].script;
        char version[BERTH_KUBE_VERSION_TEXT];
        struct berth_err e = {{0}};
        struct berth_buf names;
        struct stage s;
        set_up(&s, &script, (struct berth_kube_conf){.tries_max = 1});
        berth_buf_init(&names, &s.a);
        assert_int_equal(berth_kube_list(s.k, NULL, &sel, count_objects, &names, version, &e),
                         cases[i].want);
        assert_string_equal(berth_buf_text(&names), cases[i].names);
        tear_down(&s);
        assert_non_null(
            strstr(s.peer.log[0], "GET /api/v1/pods?&labelSelector=app%3Dx%2Cy&limit="));
        if (i == 1)
            assert_non_null(strstr(s.peer.log[1], "&continue=n%261 "));
    }
}

/* ---- the limit ---- */

/* Without a clock of its own: 100 calls at 10 a second after a burst of 20 take 8 seconds. */
static void
calls_keep_to_their_rate(void **unused)
{
    struct berth_kube_limit l;
    uint64_t now_ns = 7 * BERTH_S, begin_ns = now_ns;

    (void)unused;
    berth_kube_limit_init(&l, 10, 20, now_ns);
    for (int i = 0; i < 100; i++)
        now_ns += berth_kube_limit_take(&l, now_ns, UINT64_MAX - 1);
    assert_true(now_ns - begin_ns > 7900 * BERTH_MS && now_ns - begin_ns < 8100 * BERTH_MS);
    /* Who may not wait so long takes nothing from the others. */
    assert_true(berth_kube_limit_take(&l, now_ns, 10 * BERTH_MS) == UINT64_MAX);
    const uint64_t wait_ns = berth_kube_limit_take(&l, now_ns, BERTH_S);
    assert_true(wait_ns > 90 * BERTH_MS && wait_ns <= 100 * BERTH_MS);
    /* An hour of rest gives no more than the burst. */
    now_ns += 3600 * BERTH_S;
    for (int i = 0; i < 20; i++)
        assert_true(berth_kube_limit_take(&l, now_ns, 0) == 0);
    assert_true(berth_kube_limit_take(&l, now_ns, 0) == UINT64_MAX);
    berth_kube_limit_init(&l, -1, 0, now_ns);
    for (int i = 0; i < 1000; i++)
        assert_true(berth_kube_limit_take(&l, now_ns, 0) == 0);
}

/* ---- a watch's bytes ---- */

struct heard {
    char text[256];
    bool stop;
};

static bool
hear(void *arg, enum berth_kube_event event, const struct berth_json *object, const char *version)
{
    struct heard *h = arg;
    const size_t n = strlen(h->text);

    (void)snprintf(h->text + n, sizeof h->text - n, "%c%s@%s ", "AMDB"[event],
                   berth_kube_text(object, "metadata.name").at, version);
    return !h->stop;
}

#define EVENT(type, name, version) "{\"type\":\"" type "\",\"object\":" ITEM(name, version) "}\n"

static void
events_may_be_cut_anywhere(void **unused)
{
    static const struct {
        const char *text, *heard;
        int want;
    } cases[] = {
        {EVENT("ADDED", "a", "1") EVENT("MODIFIED", "a", "2") EVENT("BOOKMARK", "", "7")
             EVENT("DELETED", "a", "9"),
         "Aa@1 Ma@2 B@7 Da@9 ", 0},
        {EVENT("ADDED", "a", "1") "\n\n" EVENT("ADDED", "b", "2"), "Aa@1 Ab@2 ", 0},
        {EVENT("ADDED", "a", "1") "{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n", "Aa@1 ", 1},
        {"{\"type\":\"ERROR\",\"object\":{\"code\":403,\"message\":\"no\"}}\n", "", -BERTH_EPERM},
        {"{\"type\":\"ERROR\",\"object\":{\"code\":-1}}\n", "", -BERTH_ENETWORK},
        {"{\"type\":\"WHAT\",\"object\":" ITEM("a", "1") "}\n", "", -BERTH_ENETWORK},
        {"{\"type\":\"ADDED\",\"object\":{}}\n", "", -BERTH_ENETWORK},
        {"nonsense\n", "", -BERTH_ENETWORK},
        {"{\"type\":\"ADDED\"", "", 0}, /* cut off: nothing is known of it */
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        for (size_t piece = 1; piece <= strlen(cases[i].text); piece += piece < 8 ? 1 : 37) {
            struct heard h = {.text = ""};
            const struct berth_kube_watch w = {.each = hear, .arg = &h};
            struct berth_kube_lines l;
            struct berth_err e;
            int r = 0;
            berth_kube_lines_init(&l, &w);
            for (size_t at = 0; r == 0 && at < strlen(cases[i].text); at += piece) {
                const size_t left = strlen(cases[i].text) - at;
                r = berth_kube_lines_feed(&l, cases[i].text + at, left < piece ? left : piece, &e);
            }
            berth_kube_lines_fini(&l);
            assert_int_equal(r, cases[i].want);
            assert_string_equal(h.text, cases[i].heard);
        }
    }
    struct heard h = {.stop = true};
    const struct berth_kube_watch w = {.each = hear, .arg = &h};
    struct berth_kube_lines l;
    struct berth_err e;
    berth_kube_lines_init(&l, &w);
    assert_int_equal(
        berth_kube_lines_feed(&l, EVENT("ADDED", "a", "1"), strlen(EVENT("ADDED", "a", "1")), &e),
        -BERTH_ECANCELED);
    l.line.max = 10;
    assert_int_equal(berth_kube_lines_feed(&l, "0123456789abc", 13, &e), -BERTH_ETOOBIG);
    berth_kube_lines_fini(&l);
}

/* ---- the store ---- */

static const struct berth_json *
object_of(struct berth_arena *a, const char *name, const char *label, const char *version)
{
    const struct berth_json *v;
    const char *text = berth_arena_printf(
        a,
        "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"s\",\"resourceVersion\":\"%s\","
        "\"labels\":{\"app\":\"%s\"},\"managedFields\":[{\"manager\":\"m\"}]},\"spec\":{\"a\":1}}",
        name, version, label);

    assert_int_equal(berth_json_parse(a, text, strlen(text), NULL, &v, NULL), 0);
    return v;
}

static bool
put_name(void *arg, const struct berth_kube_stored *one)
{
    berth_buf_puts(arg, one->name);
    return true;
}

static void
put_gone(void *arg, const struct berth_kube_stored *one)
{
    (void)put_name(arg, one);
}

static const char *
names_of(struct berth_arena *a, const struct berth_kube_store *s, const char *index)
{
    struct berth_buf b;

    berth_buf_init(&b, a);
    berth_kube_store_each(s, index, put_name, &b);
    return berth_buf_text(&b);
}

static void
objects_are_found_by_label_and_have_a_bound(void **unused)
{
    struct berth_kube_store *s = berth_kube_store_new("app", NULL, 2000);
    struct berth_kube_stored one;
    struct berth_arena a;
    struct berth_buf gone;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_non_null(s);
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "a", "x", "1")), 1);
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "a", "x", "1")), 0); /* the same */
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "b", "x", "2")), 1);
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "c", "y", "3")), 1);
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "", "y", "3")), -BERTH_EINVAL);
    assert_string_equal(names_of(&a, s, "x"), "ab");
    assert_string_equal(names_of(&a, s, "y"), "c");
    assert_string_equal(names_of(&a, s, "z"), "");
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "a", "y", "4")), 1); /* moves over */
    assert_string_equal(names_of(&a, s, "x"), "b");
    assert_string_equal(names_of(&a, s, "y"), "ca");
    assert_true(berth_kube_store_get(s, "s", "a", &one));
    assert_null(strstr(one.text.at, "managedFields"));
    assert_non_null(strstr(one.text.at, "\"spec\":{\"a\":1}"));
    assert_false(berth_kube_store_get(s, "", "a", &one));
    /* A list that lacks b: it goes, and the others stay. */
    berth_buf_init(&gone, &a);
    berth_kube_store_begin(s);
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "a", "y", "4")), 0);
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "c", "y", "5")), 1);
    berth_kube_store_sweep(s, put_gone, &gone);
    assert_string_equal(berth_buf_text(&gone), "b");
    assert_int_equal(berth_kube_store_count(s), 2);
    /* What does not fit is not there, not even in its old version, and the sums stay right. */
    const uint64_t before = berth_kube_store_bytes(s);
    char label[2000];
    memset(label, 'l', sizeof label);
    label[sizeof label - 1] = '\0';
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "d", label, "6")), -BERTH_ELIMIT);
    assert_true(berth_kube_store_bytes(s) == before);
    assert_int_equal(berth_kube_store_put(s, object_of(&a, "a", label, "7")), -BERTH_ELIMIT);
    assert_false(berth_kube_store_get(s, "s", "a", &one));
    assert_true(berth_kube_store_remove(s, "s", "c"));
    assert_false(berth_kube_store_remove(s, "s", "c"));
    assert_true(berth_kube_store_bytes(s) == 0);
    berth_kube_store_free(s);
    berth_arena_fini(&a);
}

/* Each word of spec.values is a value. */
static void
put_values(const struct berth_json *object, void (*put)(void *arg, struct berth_slice value),
           void *arg)
{
    const struct berth_slice all = berth_kube_text(object, "spec.values");

    for (size_t at = 0; at < all.len;) {
        const size_t len = strcspn(all.at + at, " ");
        put(arg, (struct berth_slice){all.at + at, len});
        at += len + 1;
    }
}

static const struct berth_json *
valued(struct berth_arena *a, const char *name, const char *values, const char *version)
{
    const char *text = berth_arena_printf(
        a,
        "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"s\",\"resourceVersion\":\"%s\","
        "\"labels\":{\"app\":\"x\"}},\"spec\":{\"values\":\"%s\"}}",
        name, version, values);
    const struct berth_json *ret = NULL;

    assert_int_equal(berth_json_parse(a, text, strlen(text), NULL, &ret, NULL), 0);
    return ret;
}

static void
objects_are_found_by_several_values(void **unused)
{
    struct berth_kube_store *s = berth_kube_store_new("app", put_values, 1 << 20);
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_non_null(s);
    /* One value said twice, or equal to the label, is one. */
    assert_int_equal(berth_kube_store_put(s, valued(&a, "a", "p q p x", "1")), 1);
    assert_int_equal(berth_kube_store_put(s, valued(&a, "b", "q", "2")), 1);
    assert_string_equal(names_of(&a, s, "p"), "a");
    assert_string_equal(names_of(&a, s, "q"), "ab");
    assert_string_equal(names_of(&a, s, "x"), "ab");
    assert_int_equal(berth_kube_store_put(s, valued(&a, "a", "r", "3")), 1);
    assert_string_equal(names_of(&a, s, "p"), "");
    assert_string_equal(names_of(&a, s, "q"), "b");
    assert_string_equal(names_of(&a, s, "r"), "a");
    assert_true(berth_kube_store_remove(s, "s", "a"));
    assert_string_equal(names_of(&a, s, "r"), "");
    assert_true(berth_kube_store_remove(s, "s", "b"));
    assert_true(berth_kube_store_bytes(s) == 0);
    berth_kube_store_free(s);
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_and_refusals),
        cmocka_unit_test(what_may_pass_is_tried_again),
        cmocka_unit_test(a_call_ends_when_its_caller_does),
        cmocka_unit_test(verbs_are_what_the_api_wants),
        cmocka_unit_test(lists_go_on_until_their_end),
        cmocka_unit_test(calls_keep_to_their_rate),
        cmocka_unit_test(events_may_be_cut_anywhere),
        cmocka_unit_test(objects_are_found_by_label_and_have_a_bound),
        cmocka_unit_test(objects_are_found_by_several_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
