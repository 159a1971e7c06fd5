#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/assert.h"
#include "base/clock.h"
#include "kube/object.h"
#include "kube/tally.h"

#define ANSWERS "berth_modelservice_api_answers_total"
#define SECONDS "berth_modelservice_api_answer_duration_seconds"

struct stage {
    struct berth_metrics *m;
    struct berth_kube_tally *t;
};

static void
set_up(struct stage *s)
{
    s->m = berth_metrics_new();
    assert_non_null(s->m);
    s->t = berth_kube_tally_new(s->m, BERTH_METRIC_MSVC_API_ANSWERS, BERTH_METRIC_MSVC_API_SECONDS);
    assert_non_null(s->t);
}

static void
tear_down(struct stage *s)
{
    berth_kube_tally_free(s->t);
    berth_metrics_free(s->m);
}

static void
assert_shows(struct stage *s, const char *line, bool wanted)
{
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    berth_metrics_render(s->m, &b);
    const char *text = berth_buf_text(&b);
    assert_non_null(text);
    if ((strstr(text, line) != NULL) != wanted)
        fail_msg("%s %s in\n%s", line, wanted ? "is not" : "is", text);
    berth_buf_fini(&b);
}

static void
each_sort_of_call_has_its_series(void **unused)
{
    static const struct {
        const char *why;
        enum berth_kube_verb verb;
        const struct berth_kube_kind *kind;
        uint16_t status;
        const char *line;
    } cases[] = {
        {"a group", BERTH_KUBE_APPLY, &berth_kube_deployments, 201,
         "verb=\"apply\",resource=\"deployments.apps\",code=\"201\"} 1\n"},
        {"the core group has no name", BERTH_KUBE_GET, &berth_kube_services, 404,
         "verb=\"get\",resource=\"services\",code=\"404\"} 1\n"},
        {"a path of none", BERTH_KUBE_GET, NULL, 200,
         "verb=\"get\",resource=\"\",code=\"200\"} 1\n"},
        {"an odd code by its class", BERTH_KUBE_LIST, &berth_kube_pods, 418,
         "verb=\"list\",resource=\"pods\",code=\"4xx\"} 1\n"},
        {"no answer", BERTH_KUBE_DELETE, &berth_kube_pods, 0,
         "verb=\"delete\",resource=\"pods\",code=\"none\"} 1\n"},
        {"no code of HTTP", BERTH_KUBE_CREATE, &berth_kube_pods, 999,
         "verb=\"create\",resource=\"pods\",code=\"none\"} 1\n"},
        {"a watch", BERTH_KUBE_WATCH, &berth_kube_pods, 410,
         "verb=\"watch\",resource=\"pods\",code=\"410\"} 1\n"},
    };
    char line[256];

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct stage s;

        print_message("  %s\n", cases[i].why);
        set_up(&s);
        berth_kube_tally_add(s.t, cases[i].verb, cases[i].kind, cases[i].status, 20 * BERTH_MS);
        (void)snprintf(line, sizeof line, ANSWERS "{%s", cases[i].line);
        assert_shows(&s, line, true);
        /* How long a watch lasts says nothing. */
        assert_shows(&s, SECONDS "_sum{verb=", cases[i].verb != BERTH_KUBE_WATCH);
        tear_down(&s);
    }
    berth_kube_tally_add(NULL, BERTH_KUBE_GET, NULL, 200, 0);
}

static void
times_are_of_the_verb(void **unused)
{
    struct stage s;

    (void)unused;
    set_up(&s);
    berth_kube_tally_add(s.t, BERTH_KUBE_APPLY, &berth_kube_deployments, 200, 20 * BERTH_MS);
    berth_kube_tally_add(s.t, BERTH_KUBE_APPLY, &berth_kube_services, 409, 30 * BERTH_MS);
    assert_shows(&s, SECONDS "_count{verb=\"apply\"} 2\n", true);
    assert_shows(&s, SECONDS "_sum{verb=\"apply\"} 0.05\n", true);
    assert_shows(&s, SECONDS "_bucket{verb=\"apply\",le=\"0.025\"} 1\n", true);
    tear_down(&s);
}

/* However many kinds there were, there are no more series than that. */
static void
sorts_are_bounded(void **unused)
{
    static struct berth_kube_kind kinds[BERTH_KUBE_TALLY_MAX + 8];
    static char names[BERTH_COUNT(kinds)][16];
    struct stage s;

    (void)unused;
    set_up(&s);
    for (size_t i = 0; i < BERTH_COUNT(kinds); i++) {
        (void)snprintf(names[i], sizeof names[i], "kind%zu", i);
        kinds[i] = (struct berth_kube_kind){"v1", "Kind", names[i], false};
        berth_kube_tally_add(s.t, BERTH_KUBE_GET, &kinds[i], 200, 0);
    }
    berth_kube_tally_add(s.t, BERTH_KUBE_GET, &kinds[0], 200, 0);
    assert_shows(&s, "resource=\"kind0\",code=\"200\"} 2\n", true);
    assert_shows(&s, "verb=\"other\",resource=\"other\",code=\"other\"} 8\n", true);
    tear_down(&s);
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *
add_many(void *arg)
{
    const struct berth_kube_kind *const kinds[] = {&berth_kube_pods, &berth_kube_services,
                                                   &berth_kube_leases, &berth_kube_deployments};
    const struct stage *s = arg;

    for (size_t i = 0; i < ROUNDS; i++)
        berth_kube_tally_add(s->t, BERTH_KUBE_GET, kinds[i % BERTH_COUNT(kinds)], 200, BERTH_MS);
    return NULL;
}

static void
threads_lose_nothing(void **unused)
{
    pthread_t threads[THREADS];
    char line[128];
    struct stage s;

    (void)unused;
    set_up(&s);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &s), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    (void)snprintf(line, sizeof line, "resource=\"pods\",code=\"200\"} %d\n", THREADS * ROUNDS / 4);
    assert_shows(&s, line, true);
    (void)snprintf(line, sizeof line, SECONDS "_count{verb=\"get\"} %d\n", THREADS * ROUNDS);
    assert_shows(&s, line, true);
    tear_down(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_sort_of_call_has_its_series),
        cmocka_unit_test(times_are_of_the_verb),
        cmocka_unit_test(sorts_are_bounded),
        cmocka_unit_test(threads_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
