#include "api/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "obs/trace.h"

#define MS(x) ((uint64_t)((x)*1e6 + 0.5))

static const struct berth_trace_note plain = {
    .id = "r-1",
    .status = 200,
    .model = "echo",
    .version = "1",
    .submit_ns = MS(0.1),
    .run_ns = MS(0.2),
    .done_ns = MS(9.2),
    .end_ns = MS(9.5),
    .engine_ns = MS(8.9),
    .batch_requests = 1,
    .batch_max = 8,
    .runs = 1,
};

static const struct {
    const char *why;
    struct berth_trace_note n;
    const char *stages; /* "name=us,name=us" */
    const char *advice; /* a part of each that there is, in order; "" none */
} cases[] = {
    {"nothing to gain", {}, "read=100,queue=100,batch=100,engine=8900,answer=300", ""},
    {"company was waited for",
     {.run_ns = MS(4.1),
      .company_ns = MS(3),
      .done_ns = MS(9.2),
      .engine_ns = MS(5),
      .batch_requests = 2},
     "read=100,queue=1000,company=3000,batch=100,engine=5000,answer=300",
     "waited 3.0 ms for company in a batch of 2 of 8|waited 1.0 ms for a free engine"},
    {"others were before it",
     {.run_ns = MS(4.1), .engine_ns = MS(5), .queue_ahead = 7},
     "read=100,queue=4000,batch=100,engine=5000,answer=300",
     "with 7 requests ahead"},
    {"cores were taken",
     {.cores_ns = MS(4), .engine_ns = MS(4.9)},
     "read=100,queue=100,cores=4000,batch=100,engine=4900,answer=300",
     "waited 4.0 ms for cores"},
    {"a load and a slow client",
     {.body_ns = MS(2),
      .load_ns = MS(4),
      .submit_ns = MS(6.1),
      .run_ns = MS(6.1),
      .engine_ns = MS(3.1),
      .body_bytes = 600000},
     "receive=2000,load=4000,read=100,engine=3100,answer=300",
     "until the model was loaded|600000 bytes of body took 2.0 ms"},
    {"a body that had to be parsed",
     {.submit_ns = MS(5), .run_ns = MS(5), .engine_ns = MS(4.2), .body_bytes = 1600000},
     "read=5000,engine=4200,answer=300",
     "reading 1600000 bytes took 5.0 ms"},
    {"a large answer",
     {.done_ns = MS(5.2), .engine_ns = MS(5), .answer_bytes = 1000000},
     "read=100,queue=100,engine=5000,answer=4300",
     "writing 1000000 bytes took 4.3 ms"},
    {"from the cache",
     {.cached = true, .run_ns = 0, .engine_ns = 0, .done_ns = MS(0.15), .end_ns = MS(0.2)},
     "read=100,cache=50,answer=50",
     ""},
    {"never read to the end",
     {.submit_ns = 0, .run_ns = 0, .done_ns = 0, .status = 400},
     "read=9500",
     ""},
    {"cut before it ran",
     {.run_ns = 0, .engine_ns = 0, .status = 504, .batch_requests = 0},
     "read=100,queue=9100,answer=300",
     "waited 9.1 ms for a free engine"},
    {"its client left while it ran",
     {.done_ns = 0, .status = 499},
     "read=100,unfinished=9400",
     "its client left"},
    {"its batch failed",
     {.runs = 2, .padded_permille = 500},
     "read=100,queue=100,batch=100,engine=8900,answer=300",
     "2 runs|50.0 % of its batch was padding"},
    {"a long prompt",
     {.first_ns = MS(5.2), .tokens_in = 900, .tokens_out = 3},
     "read=100,queue=100,batch=100,engine=8900,answer=300",
     "prompt of 900 tokens took 5.0 ms"},
    {"another server ran it, after one that failed",
     {.first_ns = MS(8.1), .done_ns = MS(9.5), .to = "r-1", .tries = 2},
     "read=100,replica=8000,answer=1400",
     "1 replicas failed it"},
};

static struct berth_trace_note
merged(const struct berth_trace_note *c)
{
    struct berth_trace_note n = plain;

#define TAKE(member)    \
    if (c->member != 0) \
    n.member = c->member
    TAKE(body_ns);
    TAKE(load_ns);
    TAKE(submit_ns);
    TAKE(run_ns);
    TAKE(first_ns);
    TAKE(done_ns);
    TAKE(end_ns);
    TAKE(company_ns);
    TAKE(cores_ns);
    TAKE(engine_ns);
    TAKE(body_bytes);
    TAKE(answer_bytes);
    TAKE(tokens_in);
    TAKE(tokens_out);
    TAKE(batch_requests);
    TAKE(queue_ahead);
    TAKE(runs);
    TAKE(padded_permille);
    TAKE(status);
    TAKE(tries);
#undef TAKE
    memcpy(n.to, c->to, sizeof n.to);
    if (n.to[0] != '\0')
        n.run_ns = n.engine_ns = 0;
    n.cached = c->cached;
    if (c->cached || c->status >= 400) {
        n.run_ns = n.engine_ns = 0;
        n.runs = 0;
    }
    if (c->status == 400)
        n.submit_ns = n.done_ns = 0;
    if (c->status == 499)
        n.done_ns = 0;
    return n;
}

static void
accounts_add_up(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct berth_trace_note n = merged(&cases[i].n);
        const char *advice = cases[i].advice;
        struct berth_account a;
        char text[400] = "";
        uint64_t sum = 0;

        print_message("  %s\n", cases[i].why);
        berth_account_of(&n, &a);
        for (size_t k = 0; k < a.stage_count; k++) {
            (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s=%u",
                           k > 0 ? "," : "", a.stages[k].name, (unsigned)(a.stages[k].ns / 1000));
            sum += a.stages[k].ns;
        }
        assert_string_equal(text, cases[i].stages);
        assert_int_equal(sum, n.end_ns);
        for (size_t k = 0; k < a.advice_count; k++) {
            char want[120];
            const size_t len = strcspn(advice, "|");

            assert_true(len > 0);
            (void)snprintf(want, sizeof want, "%.*s", (int)len, advice);
            if (strstr(a.advice[k], want) == NULL)
                fail_msg("'%s' is not in '%s'", want, a.advice[k]);
            advice += len + (advice[len] == '|');
        }
        assert_string_equal(advice, "");
    }
}

static void
accounts_are_written_as_json(void **unused)
{
    struct berth_trace_note n = merged(&cases[1].n);
    const struct berth_json *v;
    struct berth_arena a;
    struct berth_buf b;
    struct berth_jw w;
    double x;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&b, &a);
    berth_jw_init(&w, &b);
    berth_account_put(&w, &n);
    assert_int_equal(berth_json_parse(&a, b.at, b.len, NULL, &v, NULL), 0);
    assert_int_equal(berth_json_len(berth_json_get(v, "stages")), 6);
    assert_true(berth_json_real(berth_json_get(v, "total_ms"), &x) && x == 9.5);
    assert_int_equal(berth_json_type(berth_json_get(v, "error")), BERTH_JSON_NULL);
    n.status = 503;
    n.code = "RESOURCE_ERROR";
    (void)snprintf(n.why, sizeof n.why, "full \"up\"");
    b.len = 0;
    berth_jw_init(&w, &b);
    berth_account_put_short(&w, &n);
    assert_int_equal(berth_json_parse(&a, b.at, b.len, NULL, &v, NULL), 0);
    struct berth_slice text;
    assert_true(berth_json_string(berth_json_get(berth_json_get(v, "error"), "message"), &text));
    assert_true(berth_slice_is(text, "full \"up\""));
    assert_true(berth_json_string(berth_json_get(v, "longest_stage"), &text));
    assert_true(berth_slice_is(text, "engine"));
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts_add_up),
        cmocka_unit_test(accounts_are_written_as_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
