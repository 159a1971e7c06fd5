#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "obs/metrics.h"
#include "os/memory.h"

static const char *
rendered(struct berth_metrics *m, struct berth_buf *b)
{
    berth_buf_init(b, NULL);
    berth_metrics_render(m, b);
    const char *text = berth_buf_text(b);
    assert_non_null(text);
    return text;
}

/* Every line is a comment for the family that follows, or `name{labels} number`. */
static void
assert_text_form(const char *text)
{
    for (const char *line = text; *line != '\0';) {
        const char *end = strchr(line, '\n');
        assert_non_null(end); /* the last line ends too */
        if (strncmp(line, "# HELP ", 7) != 0 && strncmp(line, "# TYPE ", 7) != 0) {
            size_t name = strspn(line, "abcdefghijklmnopqrstuvwxyz_");
            const char *at = line + name;
            assert_true(name > 0);
            if (*at == '{') {
                bool quoted = false;
                for (; at < end && (quoted || *at != '}'); at++) {
                    if (quoted && *at == '\\')
                        at++;
                    else if (*at == '"')
                        quoted = !quoted;
                }
                assert_int_equal(*at, '}');
                at++;
            }
            assert_int_equal(*at, ' ');
            char *stop;
            (void)strtod(at + 1, &stop);
            assert_ptr_equal(stop, end);
        }
        line = end + 1;
    }
}

static void
types_render_as_prometheus_reads_them(void **unused)
{
    struct berth_metrics *m = berth_metrics_new();
    struct berth_buf b;

    (void)unused;
    struct berth_series *requests = berth_metrics_series(
        m, BERTH_METRIC_REQUESTS, (const char *const[]){"v2_rest", "200", NULL});
    assert_ptr_equal(requests, berth_metrics_series(m, BERTH_METRIC_REQUESTS,
                                                    (const char *const[]){"v2_rest", "200", NULL}));
    berth_series_add(requests, 3);
    struct berth_series *open =
        berth_metrics_series(m, BERTH_METRIC_CONNECTIONS, (const char *const[]){NULL});
    berth_series_add(open, 5);
    berth_series_sub(open, 2);
    berth_series_set(berth_metrics_series(m, BERTH_METRIC_CPU_SECONDS, (const char *const[]){NULL}),
                     0.1);
    berth_series_set(
        berth_metrics_series(m, BERTH_METRIC_RECONCILE_SECONDS, (const char *const[]){NULL}), 0.25);
    struct berth_series *size =
        berth_metrics_series(m, BERTH_METRIC_BATCH_SIZE, (const char *const[]){"digits", NULL});
    berth_series_observe(size, 1);
    berth_series_observe(size, 8);
    berth_series_observe(size, 5000);

    const char *text = rendered(m, &b);
    assert_text_form(text);
    static const char *const lines[] = {
        "# TYPE berth_requests_total counter\n",
        "berth_requests_total{dialect=\"v2_rest\",status=\"200\"} 3\n",
        "# HELP berth_connections Open client connections.\n# TYPE berth_connections gauge\n"
        "berth_connections 3\n",
        "# TYPE berth_cpu_seconds_total counter\nberth_cpu_seconds_total 0.1\n",
        "# TYPE modserv_reconcile_seconds_total counter\nmodserv_reconcile_seconds_total 0.25\n",
        "berth_batch_size_bucket{model=\"digits\",le=\"1\"} 1\n",
        "berth_batch_size_bucket{model=\"digits\",le=\"4\"} 1\n",
        "berth_batch_size_bucket{model=\"digits\",le=\"8\"} 2\n",
        "berth_batch_size_bucket{model=\"digits\",le=\"+Inf\"} 3\n",
        "berth_batch_size_sum{model=\"digits\"} 5009\n",
        "berth_batch_size_count{model=\"digits\"} 3\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (strstr(text, lines[i]) == NULL)
            fail_msg("no line %s in\n%s", lines[i], text);
    }
    assert_null(strstr(text, "berth_uptime_seconds")); /* nobody used it */
    berth_buf_fini(&b);
    berth_metrics_free(m);
}

static void
labels_cannot_break_the_format(void **unused)
{
    static const struct {
        const char *why, *value, *want;
    } cases[] = {
        {"quotes and backslashes are escaped", "a\"b\\c", "{code=\"a\\\"b\\\\c\"} 1\n"},
        {"a line stays a line", "a\nb", "{code=\"a\\nb\"} 1\n"},
        {"text stays UTF-8", "a\xff z", "{code=\"a? z\"} 1\n"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_metrics *m = berth_metrics_new();
        struct berth_buf b;
        print_message("  %s\n", cases[i].why);
        berth_series_add(berth_metrics_series(m, BERTH_METRIC_ERRORS,
                                              (const char *const[]){cases[i].value, NULL}),
                         1);
        const char *text = rendered(m, &b);
        assert_text_form(text);
        assert_non_null(strstr(text, cases[i].want));
        berth_buf_fini(&b);
        berth_metrics_free(m);
    }
}

static void
series_are_bounded_and_can_be_forgotten(void **unused)
{
    struct berth_metrics *m = berth_metrics_new();
    struct berth_series *last = NULL;
    struct berth_buf b;
    char name[32];

    (void)unused;
    for (int i = 0; i < BERTH_SERIES_MAX + 10; i++) {
        (void)snprintf(name, sizeof name, "m%d", i);
        last = berth_metrics_series(m, BERTH_METRIC_TOKENS_IN, (const char *const[]){name, NULL});
        berth_series_add(last, 1);
    }
    const char *text = rendered(m, &b);
    assert_non_null(strstr(text, "{model=\"other\"} 11\n"));
    assert_null(strstr(text, "m4100"));
    berth_buf_fini(&b);

    struct berth_series *gone =
        berth_metrics_series(m, BERTH_METRIC_TOKENS_IN, (const char *const[]){"m7", NULL});
    berth_metrics_forget(m, "m7");
    berth_series_add(gone, 1); /* still valid */
    text = rendered(m, &b);
    assert_null(strstr(text, "\"m7\""));
    assert_non_null(strstr(text, "\"m8\""));
    berth_buf_fini(&b);
    berth_metrics_forget_one(m, BERTH_METRIC_TOKENS_IN, (const char *const[]){"m8", NULL});
    berth_metrics_forget_one(m, BERTH_METRIC_TOKENS_IN, (const char *const[]){"nobody", NULL});
    text = rendered(m, &b);
    assert_null(strstr(text, "\"m8\""));
    assert_non_null(strstr(text, "\"m9\""));
    berth_buf_fini(&b);
    assert_ptr_not_equal(
        last, berth_metrics_series(m, BERTH_METRIC_TOKENS_IN, (const char *const[]){"new", NULL}));
    berth_metrics_free(m);
}

/* Memory is counted, not guessed: what malloc() has given out.  A sanitizer's malloc() counts
 * nothing. */
static void
names_that_come_and_go_leave_nothing(void **unused)
{
    static const enum berth_family of_model[] = {BERTH_METRIC_TOKENS_IN, BERTH_METRIC_QUEUE_LEN,
                                                 BERTH_METRIC_QUEUE_SECONDS};
    enum { FAMILIES = 3, NAMES = 3000 };
    struct berth_metrics *m = berth_metrics_new();
    uint64_t used_bytes = 0;

    (void)unused;
    for (int i = 0; i < NAMES; i++) {
        struct berth_series *held[FAMILIES + 1] = {NULL}; /* a NULL is left out */
        char name[32];

        (void)snprintf(name, sizeof name, "model-%d", i);
        for (size_t f = 0; f < FAMILIES; f++) {
            held[f] = berth_metrics_series(m, of_model[f], (const char *const[]){name, NULL});
            assert_ptr_equal(
                held[f], berth_metrics_series(m, of_model[f], (const char *const[]){name, NULL}));
        }
        berth_metrics_release(m, held, FAMILIES + 1);
        if (i % 2 == 0) /* it is in use when its model goes, or it is not any more */
            berth_metrics_forget(m, name);
        berth_series_add(held[0], 1);
        berth_metrics_release(m, held, FAMILIES);
        if (i % 2 == 1)
            berth_metrics_forget(m, name);
        if (i == NAMES / 10)
            used_bytes = berth_memory_heap().used_bytes;
    }
    assert_in_range(berth_memory_heap().used_bytes, 0, used_bytes + 16384);
    berth_metrics_free(m);
}

static void
a_held_series_outlives_its_name(void **unused)
{
    struct berth_metrics *m = berth_metrics_new();
    const char *const name[] = {"m", NULL};
    struct berth_buf b;

    (void)unused;
    struct berth_series *before = berth_metrics_series(m, BERTH_METRIC_QUEUE_LEN, name);
    berth_series_add(before, 2);
    berth_metrics_forget(m, "m");
    /* Its name comes again while somebody counts there still: the same gauge, so that it comes to
     * 0. */
    struct berth_series *after = berth_metrics_series(m, BERTH_METRIC_QUEUE_LEN, name);
    assert_ptr_equal(before, after);
    berth_series_sub(before, 2);
    berth_metrics_release(m, &before, 1);
    berth_series_add(after, 1);
    assert_non_null(strstr(rendered(m, &b), "berth_queue_length{model=\"m\"} 1\n"));
    berth_buf_fini(&b);
    berth_metrics_release(m, &after, 1); /* unloaded, but not gone: its numbers stay */
    assert_non_null(strstr(rendered(m, &b), "berth_queue_length{model=\"m\"} 1\n"));
    berth_buf_fini(&b);
    struct berth_metrics *late = berth_metrics_ref(m); /* a model may outlive the server's end */
    after = berth_metrics_series(m, BERTH_METRIC_QUEUE_LEN, name);
    berth_metrics_free(m);
    berth_metrics_release(late, &after, 1);
    berth_metrics_free(late);
}

static void *
add_many(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        struct berth_series *s =
            berth_metrics_series(arg, BERTH_METRIC_INFER_SECONDS, (const char *const[]){"x", NULL});
        berth_series_observe(s, 0.5);
    }
    return NULL;
}

static void
set_uptime(void *arg)
{
    berth_series_set(berth_metrics_series(arg, BERTH_METRIC_UPTIME, (const char *const[]){NULL}),
                     42);
}

static void
threads_lose_nothing(void **unused)
{
    struct berth_metrics *m = berth_metrics_new();
    pthread_t threads[3];
    struct berth_buf b;

    (void)unused;
    berth_metrics_on_render(m, set_uptime, m);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, m), 0);
    assert_text_form(rendered(m, &b)); /* while they write */
    berth_buf_fini(&b);
    for (size_t i = 0; i < 3; i++)
        (void)pthread_join(threads[i], NULL);
    const char *text = rendered(m, &b);
    assert_non_null(strstr(text, "berth_inference_duration_seconds_count{model=\"x\"} 60000\n"));
    assert_non_null(strstr(text, "berth_inference_duration_seconds_sum{model=\"x\"} 30000\n"));
    assert_non_null(strstr(text, "berth_uptime_seconds 42\n"));
    berth_buf_fini(&b);
    berth_metrics_free(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_render_as_prometheus_reads_them),
        cmocka_unit_test(labels_cannot_break_the_format),
        cmocka_unit_test(series_are_bounded_and_can_be_forgotten),
        cmocka_unit_test(names_that_come_and_go_leave_nothing),
        cmocka_unit_test(a_held_series_outlives_its_name),
        cmocka_unit_test(threads_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
