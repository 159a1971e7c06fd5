#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "cmd/bench_load.h"
#include "cmd/bench_pace.h"
#include "cmd/bench_pick.h"
#include "cmd/bench_proc.h"
#include "cmd/bench_report.h"
#include "cmd/bench_stages.h"
#include "cmd/bench_work.h"
#include "wire/json.h"

/* ---- the histogram ---- */

static void
a_percentile_is_at_most_a_hundredth_off(void **unused)
{
    (void)unused;
    for (unsigned power = 0; power < 63; power++) {
        for (uint64_t i = 0; i < 300; i++) { /* edges of buckets and what is between them */
            static struct berth_hist h;
            const uint64_t low = UINT64_C(1) << power, v = low + low / 300 * i + i % 2;

            memset(h.counts, 0, sizeof h.counts);
            h.count = h.sum_ns = h.max_ns = 0;
            berth_hist_add(&h, v);
            berth_hist_add(&h, UINT64_MAX); /* so that the largest does not cap it */
            const uint64_t got = berth_hist_at(&h, 0.4);
            assert_true(got >= v && got - v <= v / 100);
        }
    }
}

/* ---- when requests are due ---- */

static void
arrivals_keep_their_rate(void **unused)
{
    struct berth_pace even = {.rate = 3}, random = {.rate = 1000, .poisson = true, .seed = 7};
    struct berth_pace again = random;
    uint64_t last = 0;
    size_t short_gaps = 0;

    (void)unused;
    berth_pace_begin(&even, 5);
    for (uint64_t i = 0; i < 10; i++) {
        assert_in_range(berth_pace_next(&even), 5 + i * BERTH_S / 3 - (i > 0), 6 + i * BERTH_S / 3);
        berth_pace_take(&even);
    }
    berth_pace_begin(&random, 0);
    berth_pace_begin(&again, 0);
    for (size_t i = 0; i < 100000; i++) {
        const uint64_t due = berth_pace_next(&random);
        assert_true(due >= last && due == berth_pace_next(&again));
        short_gaps += i > 0 && due - last < BERTH_MS; /* shorter than the mean: 1 - 1/e of them */
        last = due;
        berth_pace_take(&random);
        berth_pace_take(&again);
    }
    assert_in_range(last, 98 * BERTH_S, 102 * BERTH_S);
    assert_in_range(short_gaps, 62200, 64200);
}

/* ---- which model is asked ---- */

static void
names_come_in_ranges(void **unused)
{
    static const struct {
        const char *text;
        size_t count;
        bool zipf;
        const char *last;
    } cases[] = {
        {"m", 1, false, "m"},
        {"m{0..127}", 128, false, "m127"},
        {"a{7..9:zipf}b", 3, true, "a9b"},
        {"m{3..3}", 1, false, "m3"},
        {"m{2..1}", 0, false, NULL},
        {"m{1..2:zip}", 0, false, NULL},
        {"m{1..}", 0, false, NULL},
        {"m{1}", 0, false, NULL},
        {"m{0..1}{0..1}", 0, false, NULL},
        {"m{0..4096}", 0, false, NULL},
        {"m{", 0, false, NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        char name[32];
        bool zipf = false;

        print_message("  %s\n", cases[i].text);
        assert_int_equal(berth_names_parse(cases[i].text, &zipf), cases[i].count);
        if (cases[i].count == 0)
            continue;
        assert_int_equal(zipf, cases[i].zipf);
        berth_names_put(cases[i].text, cases[i].count - 1, name, sizeof name);
        assert_string_equal(name, cases[i].last);
    }
}

static void
the_first_are_asked_most_or_all_in_turns(void **unused)
{
    static struct berth_pick turns = {.count = 3}, zipf = {.count = 4, .zipf = true};
    size_t times[4] = {0};

    (void)unused;
    berth_pick_begin(&turns, 1);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(berth_pick_next(&turns), i % 3);
    berth_pick_begin(&zipf, 1);
    for (size_t i = 0; i < 25000; i++)
        times[berth_pick_next(&zipf)]++;
    for (size_t k = 0; k < 4; k++) /* 1, 1/2, 1/3, 1/4 of 12/25 */
        assert_in_range(times[k], 11700 / (k + 1), 12300 / (k + 1));
}

/* ---- the server's own account ---- */

static void
stages_come_out_of_a_field(void **unused)
{
    static const struct {
        const char *why, *text;
        size_t count;
        double first_ms;
    } cases[] = {
        {"two", "queue;dur=0.5, engine;dur=2", 2, 0.5},
        {"one twice is summed", "a;dur=1,a;dur=2", 1, 3},
        {"words between", "a;desc=\"x\" ; dur=1.5", 1, 1.5},
        {"without a duration", "cache, miss;desc=x", 0, 0},
        {"what is no number", "a;dur=x, b;dur=-1, c;dur=", 0, 0},
        {"a name that is too long", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;dur=1", 0, 0},
        {"nothing", "", 0, 0},
        {"more than there is room for",
         "a;dur=1,b;dur=1,c;dur=1,d;dur=1,e;dur=1,f;dur=1,g;dur=1,h;dur=1,i;dur=1,j;dur=1,"
         "k;dur=1,l;dur=1,m;dur=1",
         BERTH_STAGES_MAX, 1},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_stages s;

        print_message("  %s\n", cases[i].why);
        berth_stages_parse(&s, berth_slice_of(cases[i].text));
        assert_int_equal(s.count, cases[i].count);
        if (s.count > 0)
            assert_float_equal(s.at[0].ms, cases[i].first_ms, 1e-9);
    }
}

static void
a_process_and_its_children_are_accounted(void **unused)
{
    struct berth_proc alone, both;
    int pipe_fd[2];

    (void)unused;
    assert_int_equal(berth_proc_read(getpid(), &alone), 0);
    assert_int_equal(pipe(pipe_fd), 0);
    const pid_t child = fork();
    if (child == 0) { /* until the parent has looked */
        char c;
        (void)close(pipe_fd[1]);
        _exit((int)read(pipe_fd[0], &c, 1));
    }
    assert_true(child > 0);
    (void)close(pipe_fd[0]);
    const int rc = berth_proc_read(getpid(), &both);
    (void)close(pipe_fd[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(rc, 0);
    assert_int_equal(both.processes, alone.processes + 1);
    assert_true(both.rss_bytes > 0 && both.cpu_ns >= alone.cpu_ns);
    assert_int_equal(berth_proc_read(child, &both), -BERTH_ENOENT);
}

/* ---- what is sent ---- */

static void
a_request_is_said_in_three_ways(void **unused)
{
    static const char text[] =
        "{\"inputs\":[{\"name\":\"x\",\"shape\":[2,300],\"datatype\":\"INT8\","
        "\"data\":[";
    static const char grpc_head[] = "\0\0\0\x02\x6e"        /* 622 bytes follow */
                                    "\x0a\x01m"             /* model_name */
                                    "\x2a\x0e"              /* inputs: 14 bytes */
                                    "\x0a\x01x\x12\x04INT8" /* name, datatype */
                                    "\x1a\x03\x02\xac\x02"  /* shape, packed */
                                    "\x3a\xd8\x04\x01\x01"; /* 600 bytes of contents */
    struct berth_slice http1;
    struct berth_arena a;
    struct berth_work w;
    struct berth_buf b;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&b, &a);
    berth_buf_puts(&b, text);
    for (int i = 0; i < 600; i++)
        berth_buf_puts(&b, i > 0 ? ",1" : "1");
    berth_buf_puts(&b, "]}]}");
    const struct berth_slice asked = {b.at, b.len};
    assert_int_equal(berth_work_make(&w, BERTH_REST, "a b", asked, &a, &e), 0);
    assert_string_equal(w.path, "/v2/models/a%20b/infer");
    assert_ptr_equal(w.body.at, asked.at);
    assert_int_equal(berth_work_make(&w, BERTH_BINARY, "m", asked, &a, &e), 0);
    assert_int_equal(w.body.len, w.json_bytes + 600);
    assert_int_equal(w.body.at[w.json_bytes], 1);
    assert_int_equal(berth_work_http1(&w, "h:1", "key", &a, &http1), 0);
    assert_non_null(memmem(http1.at, http1.len, "Authorization: Bearer key\r\n", 27));
    assert_non_null(memmem(http1.at, http1.len, "Inference-Header-Content-Length: ", 33));
    assert_int_equal(berth_work_make(&w, BERTH_GRPC, "m", asked, &a, &e), 0);
    assert_memory_equal(w.body.at, grpc_head, sizeof grpc_head - 1);
    assert_int_equal(w.body.len, 5 + 622);
    berth_arena_fini(&a);
}

static void
wrong_inputs_are_named(void **unused)
{
    static const struct {
        const char *why, *text, *says;
    } cases[] = {
        {"no type", "{\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"data\":[1]}]}", "datatype"},
        {"a negative size",
         "{\"inputs\":[{\"name\":\"x\",\"shape\":[-1],\"datatype\":\"INT8\",\"data\":[1]}]}",
         "shape"},
        {"too few elements",
         "{\"inputs\":[{\"name\":\"x\",\"shape\":[2],\"datatype\":\"INT8\",\"data\":[1]}]}",
         "inputs[0]"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_work w;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        assert_int_equal(
            berth_work_make(&w, BERTH_GRPC, "m", berth_slice_of(cases[i].text), &a, &e),
            -BERTH_EINVAL);
        assert_non_null(strstr(e.msg, cases[i].says));
        berth_arena_fini(&a);
    }
}

/* ---- what is told ---- */

static double
seconds_of(const struct berth_bench_run *run)
{
    return run->seconds;
}

static void
medians_are_of_a_server_at_a_rate(void **unused)
{
    static struct berth_bench_run runs[] = {
        {.server = 0, .round = 1, .rate = 10, .ok = 10, .seconds = 1, .server_cpu_us = -1},
        {.server = 1, .round = 1, .rate = 10, .ok = 10, .seconds = 2, .server_cpu_us = -1},
        {.server = 0, .round = 2, .rate = 10, .ok = 10, .seconds = 9, .server_cpu_us = -1},
        {.server = 0, .round = 3, .rate = 10, .ok = 10, .seconds = 4, .server_cpu_us = -1},
        {.server = 0, .round = 1, .rate = 20, .ok = 10, .seconds = 5, .server_cpu_us = -1},
        {.server = 0, .round = 2, .rate = 20, .ok = 10, .seconds = 6, .server_cpu_us = -1},
    };
    const struct berth_bench_report r = {.model = "m",
                                         .workload = "predict",
                                         .protocol = "grpc",
                                         .servers = {"http://a", "http://b"},
                                         .connections = 1,
                                         .streams = 1,
                                         .is_sweep = true,
                                         .p99_ms_max = 1,
                                         .runs = runs,
                                         .run_count = BERTH_COUNT(runs)};
    const struct berth_json *v = NULL;
    struct berth_arena a;
    struct berth_buf out;

    (void)unused;
    assert_float_equal(berth_report_median(&r, 0, 10, seconds_of), 4, 1e-9);
    assert_float_equal(berth_report_median(&r, 1, 10, seconds_of), 2, 1e-9);
    assert_float_equal(berth_report_median(&r, 0, 20, seconds_of), 5.5, 1e-9);
    assert_true(isnan(berth_report_median(&r, 1, 20, seconds_of)));
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&out, &a);
    berth_report_json(&r, &out);
    assert_int_equal(berth_json_parse(&a, out.at, out.len, NULL, &v, NULL), 0);
    assert_int_equal(berth_json_len(berth_json_get(v, "runs")), 6);
    assert_int_equal(berth_json_len(berth_json_get(v, "medians")), 3);
    out.len = 0;
    berth_report_text(&r, &out);
    assert_non_null(strstr(berth_buf_text(&out), "http://a: p99 within 1 ms and none failed up to "
                                                 "20.0 requests/s\n"));
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_percentile_is_at_most_a_hundredth_off),
        cmocka_unit_test(arrivals_keep_their_rate),
        cmocka_unit_test(names_come_in_ranges),
        cmocka_unit_test(the_first_are_asked_most_or_all_in_turns),
        cmocka_unit_test(stages_come_out_of_a_field),
        cmocka_unit_test(a_process_and_its_children_are_accounted),
        cmocka_unit_test(a_request_is_said_in_three_ways),
        cmocka_unit_test(wrong_inputs_are_named),
        cmocka_unit_test(medians_are_of_a_server_at_a_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
