#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_fake.h"

static const struct berth_batch_conf at_once = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

/* A bench with one ready model "m"; *ret_m is to be unreferenced. */
static void
ready(struct bench *b, const struct berth_batch_conf *batch, const char *config,
      struct berth_model **ret_m)
{
    struct berth_err e = {""};

    bench_init(b, batch, 4, NULL);
    if (bench_register(b, "m", bench_file(b, "m.fake", "good"), config, &e) < 0)
        fail_msg("%s", e.msg);
    bench_wait_state(b, "m", BERTH_MODEL_READY);
    *ret_m = bench_find(b, "m");
}

static void
over(struct bench *b, struct berth_model *m)
{
    berth_model_unref(m);
    bench_fini(b);
}

static void
a_tensor_goes_in_and_comes_out(void **unused)
{
    struct berth_model *m;
    struct client c;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    client_tensor(&c, b.loop, 3, 2);
    client_submit(&c, m);
    client_wait(&c);
    assert_int_equal(c.r.result, 0);
    assert_int_equal(c.r.output_count, 1);
    assert_string_equal(c.r.outputs[0].name, "y");
    assert_int_equal(c.r.outputs[0].shape[0], 2);
    const float *y = c.r.outputs[0].bytes;
    for (int i = 0; i < 4; i++)
        assert_true(y[i] == 2 * (3 + (float)i));
    assert_int_equal(c.r.batch_requests, 1);
    assert_true(c.r.submit_ns <= c.r.run_ns && c.r.run_ns <= c.r.done_ns);
    client_fini(&c);
    over(&b, m);
}

static void
what_waits_while_the_engine_is_busy_runs_together(void **unused)
{
    struct client c[12];
    struct berth_model *m;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    fake_gate_run(false);
    for (int i = 0; i < 12; i++) {
        client_tensor(&c[i], b.loop, (float)(100 * i), 1);
        client_submit(&c[i], m);
        if (i == 0)
            fake_wait_runs(1);
    }
    fake_gate_run(true);
    for (int i = 0; i < 12; i++) {
        client_wait(&c[i]);
        assert_int_equal(c[i].r.result, 0);
        assert_true(*(const float *)c[i].r.outputs[0].bytes == (float)(200 * i));
        client_fini(&c[i]);
    }
    struct fake_seen s = fake_seen();
    assert_int_equal(s.runs, 3);
    assert_int_equal(s.batches[0], 1);
    assert_int_equal(s.batches[1], 8);
    assert_int_equal(s.batches[2], 3);
    over(&b, m);
}

static void
one_bad_item_fails_alone(void **unused)
{
    static const struct {
        const char *why;
        float bad;
        int result;
    } cases[] = {
        {"the engine fails the whole batch", 13, -BERTH_EBACKEND},
        {"the engine fails the one", 14, -BERTH_EINVAL},
    };

    (void)unused;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct client c[9];
        struct berth_model *m;
        struct bench b;
        print_message("  %s\n", cases[k].why);
        ready(&b, &at_once, NULL, &m);
        fake_gate_run(false);
        for (int i = 0; i < 9; i++) { /* the first one keeps the engine busy */
            client_tensor(&c[i], b.loop, i == 4 ? cases[k].bad : (float)(100 * i), 1);
            client_submit(&c[i], m);
            if (i == 0)
                fake_wait_runs(1);
        }
        fake_gate_run(true);
        for (int i = 0; i < 9; i++) {
            client_wait(&c[i]);
            assert_int_equal(c[i].r.result, i == 4 ? cases[k].result : 0);
            if (i == 4)
                assert_non_null(strstr(c[i].r.err.msg, "1"));
            else
                assert_true(*(const float *)c[i].r.outputs[0].bytes == (float)(200 * i));
            client_fini(&c[i]);
        }
        over(&b, m);
    }
}

static const struct {
    const char *why, *name, *wanted, *want;
    enum berth_dtype dtype;
    uint32_t rank;
    int64_t shape[3];
    size_t size;
} bad_requests[] = {
    {"a wrong dimension",
     "x",
     NULL,
     "unexpected shape for input 'x': expected [-1,2], got [1,3]",
     BERTH_FP32,
     2,
     {1, 3},
     12},
    {"a dimension too many",
     "x",
     NULL,
     "expected [-1,2], got [1,2,1]",
     BERTH_FP32,
     3,
     {1, 2, 1},
     8},
    {"a wrong type",
     "x",
     NULL,
     "unexpected datatype for input 'x': expected FP32, got INT64",
     BERTH_INT64,
     2,
     {1, 2},
     16},
    {"too few bytes", "x", NULL, "has 4 bytes, expected 8", BERTH_FP32, 2, {1, 2}, 4},
    {"an unknown name",
     "z",
     NULL,
     "unexpected input 'z': the model's inputs are: x",
     BERTH_FP32,
     2,
     {1, 2},
     8},
    {"an unknown output",
     "x",
     "q",
     "unknown output 'q': the model's outputs are: y",
     BERTH_FP32,
     2,
     {1, 2},
     8},
    {"a size that overflows", "x", NULL, "impossible", BERTH_FP32, 2, {INT64_MAX, INT64_MAX}, 8},
    {"a negative size", "x", NULL, "impossible", BERTH_FP32, 2, {-1, 2}, 8},
    {"too many rows",
     "x",
     NULL,
     "has 1001 rows, the model takes at most 1000",
     BERTH_FP32,
     2,
     {1001, 2},
     8008},
    {"a text in bytes that is cut off", "x", NULL, "elements", BERTH_BYTES, 1, {1}, 3},
};

static void
requests_are_checked_before_the_engine_sees_them(void **unused)
{
    struct berth_model *m;
    struct client c;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    static char bytes[8008];
    for (size_t i = 0; i < sizeof bad_requests / sizeof bad_requests[0]; i++) {
        print_message("  %s\n", bad_requests[i].why);
        client_tensor(&c, b.loop, 1, 1);
        c.input.name = bad_requests[i].name;
        c.input.dtype = bad_requests[i].dtype;
        c.input.rank = bad_requests[i].rank;
        memcpy(c.input.shape, bad_requests[i].shape, sizeof bad_requests[i].shape);
        c.input.bytes = bytes;
        c.input.size = bad_requests[i].size;
        c.r.wanted = &bad_requests[i].wanted;
        c.r.wanted_count = bad_requests[i].wanted != NULL;
        client_submit(&c, m);
        assert_int_equal(c.submitted, -BERTH_EINVAL);
        if (strstr(c.err.msg, bad_requests[i].want) == NULL)
            fail_msg("%s", c.err.msg);
        client_fini(&c);
    }
    client_tensor(&c, b.loop, 1, 1);
    c.r.input_count = 0;
    client_submit(&c, m);
    assert_non_null(strstr(c.err.msg, "missing input 'x'"));
    client_fini(&c);
    client_tensor(&c, b.loop, 1, 1);
    c.r.task = BERTH_TASK_CHAT;
    client_submit(&c, m);
    assert_int_equal(c.submitted, -BERTH_EUNSUPPORTED);
    client_fini(&c);
    assert_int_equal(fake_seen().runs, 0);
    over(&b, m);
}

static void
a_full_queue_refuses(void **unused)
{
    const struct berth_batch_conf small = {
        .batch_requests_max = 2, .wait_ns_max = 0, .queue_len_max = 3};
    struct client c[5];
    struct berth_model *m;
    struct bench b;

    (void)unused;
    ready(&b, &small, NULL, &m);
    fake_gate_run(false);
    for (int i = 0; i < 5; i++) {
        client_tensor(&c[i], b.loop, 1, 1);
        client_submit(&c[i], m);
        if (i == 0)
            fake_wait_runs(1);
    }
    assert_int_equal(c[4].submitted, -BERTH_EAGAIN);
    assert_non_null(strstr(c[4].err.msg, "3 requests waiting"));
    fake_gate_run(true);
    for (int i = 0; i < 5; i++) {
        if (i < 4)
            client_wait(&c[i]);
        client_fini(&c[i]);
    }
    over(&b, m);
}

static void
cancelling_stops_what_waits_and_what_runs(void **unused)
{
    struct client running, waiting, kept;
    struct berth_model *m;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    fake_gate_run(false);
    client_tensor(&running, b.loop, 1, 1);
    client_submit(&running, m);
    fake_wait_runs(1);
    client_tensor(&waiting, b.loop, 2, 1);
    client_submit(&waiting, m);
    client_tensor(&kept, b.loop, 3, 1);
    client_submit(&kept, m);

    client_cancel(&waiting); /* the engine is busy: it goes without having run */
    client_wait(&waiting);
    assert_int_equal(waiting.r.result, -BERTH_ECANCELED);
    assert_int_equal(waiting.r.run_ns, 0);
    assert_false(client_is_done(&running));

    client_cancel(&running); /* the gate is closed: only the engine's cancel() ends it */
    client_cancel(&running);
    client_wait(&running);
    assert_int_equal(running.r.result, -BERTH_ECANCELED);
    assert_true(fake_seen().cancels >= 1);

    fake_gate_run(true);
    client_wait(&kept);
    assert_int_equal(kept.r.result, 0);
    client_fini(&running);
    client_fini(&waiting);
    client_fini(&kept);
    over(&b, m);
}

static void
a_neighbour_keeps_the_batch_alive(void **unused)
{
    struct client first, c[2];
    struct berth_model *m;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    fake_gate_run(false);
    client_tensor(&first, b.loop, 0, 1);
    client_submit(&first, m);
    fake_wait_runs(1);
    for (int i = 0; i < 2; i++) {
        client_tensor(&c[i], b.loop, (float)i, 1);
        client_submit(&c[i], m);
    }
    client_cancel(&first); /* ends the first run; the two go in together */
    fake_wait_runs(2);
    unsigned before = fake_seen().cancels;
    client_cancel(&c[0]);
    assert_int_equal(fake_seen().cancels, before); /* c[1] still waits for that run */
    fake_gate_run(true);
    for (int i = 0; i < 2; i++)
        client_wait(&c[i]);
    assert_int_equal(c[1].r.result, 0);
    assert_int_equal(c[1].r.batch_requests, 2);
    client_wait(&first);
    client_fini(&first);
    client_fini(&c[0]);
    client_fini(&c[1]);
    over(&b, m);
}

/* With a deadline that is short, and yet was not over before the request was in line; and with
 * runs, not before it ran. */
static void
submit_in_time(struct client *c, struct bench *b, struct berth_model *m, const char *prompt,
               bool runs)
{
    for (uint64_t ms = 20;; ms *= 2) {
        bool late;
        assert_true(ms < 60 * 1000);
        if (prompt != NULL)
            client_prompt(c, b->loop, prompt);
        else
            client_tensor(c, b->loop, 1, 1);
        c->r.deadline_ns = berth_now_ns() + ms * BERTH_MS;
        client_submit(c, m);
        late = c->submitted == -BERTH_EDEADLINE;
        while (!late && runs && fake_seen().runs == 0 && !(late = client_is_done(c)))
            (void)usleep(500);
        if (!late)
            return;
        client_fini(c);
    }
}

static void
deadlines_end_what_waits_and_what_runs(void **unused)
{
    struct client running, waiting, late;
    struct berth_model *m;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    fake_gate_run(false);
    submit_in_time(&running, &b, m, NULL, true);
    submit_in_time(&waiting, &b, m, NULL, false);
    client_wait(&waiting);
    assert_int_equal(waiting.r.result, -BERTH_EDEADLINE);
    client_wait(&running); /* by cancel(): the gate stays closed */
    assert_int_equal(running.r.result, -BERTH_EDEADLINE);
    assert_true(running.r.done_ns >= running.r.deadline_ns);
    client_tensor(&late, b.loop, 3, 1);
    late.r.deadline_ns = 1;
    client_submit(&late, m);
    assert_int_equal(late.submitted, -BERTH_EDEADLINE);
    fake_gate_run(true);
    client_fini(&running);
    client_fini(&waiting);
    client_fini(&late);
    over(&b, m);
}

static void
sequences_go_on_side_by_side(void **unused)
{
    static const char *const prompts[] = {"one",  "two two", "three three three", "4",
                                          "five", "six",     "seven seven",       "eight",
                                          "nine", "ten"};
    struct client c[10];
    struct berth_model *m;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    fake_gate_run(false);
    for (int i = 0; i < 10; i++) {
        client_prompt(&c[i], b.loop, prompts[i]);
        client_submit(&c[i], m);
    }
    fake_gate_run(true);
    for (int i = 0; i < 10; i++) {
        client_wait(&c[i]);
        assert_int_equal(c[i].r.result, 0);
        assert_string_equal(c[i].text, prompts[i]);
        assert_int_equal(c[i].r.finish.completion_tokens, strlen(prompts[i]));
        assert_true(c[i].r.first_ns >= c[i].r.submit_ns);
        client_fini(&c[i]);
    }
    assert_int_equal(fake_seen().in_hand_max, 8);
    over(&b, m);
}

static char *
long_prompt(size_t len)
{
    char *text = malloc(len + 1);

    assert_non_null(text);
    memset(text, 'a', len);
    text[len] = '\0';
    return text;
}

static void
a_sequence_can_be_cut_in_the_middle(void **unused)
{
    struct client endless, dead, other;
    struct berth_model *m;
    struct bench b;
    char *prompt = long_prompt(32 << 20);

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    client_prompt(&endless, b.loop, prompt);
    client_submit(&endless, m);
    submit_in_time(&dead, &b, m, prompt, false);
    client_prompt(&other, b.loop, "short");
    client_submit(&other, m);
    client_wait(&other);
    assert_int_equal(other.r.result, 0);
    client_wait(&dead);
    assert_true(dead.r.result == -BERTH_EDEADLINE || dead.r.result == -BERTH_ECANCELED);
    client_cancel(&endless);
    client_wait(&endless);
    assert_int_equal(endless.r.result, -BERTH_ECANCELED);
    client_fini(&endless);
    client_fini(&dead);
    client_fini(&other);
    free(prompt);
    over(&b, m);
}

struct block {
    struct berth_msg msg;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool go;
};

static void
block_run(struct berth_msg *msg)
{
    struct block *k = (struct block *)(void *)msg;

    (void)pthread_mutex_lock(&k->mu);
    while (!k->go)
        (void)pthread_cond_wait(&k->cond, &k->mu);
    (void)pthread_mutex_unlock(&k->mu);
}

static void
a_reader_that_does_not_keep_up_is_cut(void **unused)
{
    struct block k = {
        .msg.run = block_run, .mu = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct client slow, other;
    struct berth_loop *busy;
    struct berth_model *m;
    struct berth_err e;
    struct bench b;
    char *prompt = long_prompt(10000);

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    assert_int_equal(berth_loop_new("busy", &busy, &e), 0);
    fake_gate_run(false);
    client_prompt(&slow, busy, prompt);
    client_submit(&slow, m);
    berth_loop_post(busy, &k.msg); /* from here on that loop reads nothing */
    fake_gate_run(true);
    client_prompt(&other, b.loop, prompt); /* as long: when it is over the slow one must be */
    other.r.gen.max_tokens = 9000;
    client_submit(&other, m);
    client_wait(&other);
    (void)pthread_mutex_lock(&k.mu);
    k.go = true;
    (void)pthread_cond_signal(&k.cond);
    (void)pthread_mutex_unlock(&k.mu);
    client_wait(&slow);
    assert_int_equal(slow.r.result, -BERTH_ECANCELED);
    assert_string_equal(slow.r.err.msg, "the reader was too slow");
    client_fini(&slow);
    client_fini(&other);
    berth_loop_free(busy);
    free(prompt);
    over(&b, m);
}

static void
a_failing_step_fails_what_is_in_hand(void **unused)
{
    struct client bad, neighbour, next;
    struct berth_model *m;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    fake_gate_run(false);
    client_prompt(&bad, b.loop, "ab!");
    client_submit(&bad, m);
    client_prompt(&neighbour, b.loop, "a long one");
    client_submit(&neighbour, m);
    fake_gate_run(true);
    client_wait(&bad);
    client_wait(&neighbour);
    assert_int_equal(bad.r.result, -BERTH_EBACKEND);
    assert_int_equal(neighbour.r.result, -BERTH_EBACKEND);
    assert_string_equal(neighbour.r.err.msg, "the engine stumbled");
    client_prompt(&next, b.loop, "fine");
    client_submit(&next, m);
    client_wait(&next);
    assert_int_equal(next.r.result, 0);
    assert_string_equal(next.text, "fine");
    assert_int_equal(fake_seen().resets, 1); /* after they were told, and before the next step */
    client_fini(&bad);
    client_fini(&neighbour);
    client_fini(&next);
    over(&b, m);
}

static void
three_failing_steps_in_a_row_fail_the_model(void **unused)
{
    struct berth_model *m;
    struct client c;
    struct bench b;

    (void)unused;
    ready(&b, &at_once, NULL, &m);
    for (int i = 0; i < 3; i++) {
        client_prompt(&c, b.loop, "!");
        client_submit(&c, m);
        client_wait(&c);
        assert_int_equal(c.r.result, -BERTH_EBACKEND);
        client_fini(&c);
    }
    bench_wait_state(&b, "m", BERTH_MODEL_FAILED);
    client_prompt(&c, b.loop, "x");
    client_submit(&c, m);
    assert_int_equal(c.submitted, -BERTH_ENOTREADY);
    client_fini(&c);
    fake_wait_unloads(1); /* its memory comes back */
    struct berth_err e;
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("m"), &e), 0);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    over(&b, m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tensor_goes_in_and_comes_out),
        cmocka_unit_test(what_waits_while_the_engine_is_busy_runs_together),
        cmocka_unit_test(one_bad_item_fails_alone),
        cmocka_unit_test(requests_are_checked_before_the_engine_sees_them),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(cancelling_stops_what_waits_and_what_runs),
        cmocka_unit_test(a_neighbour_keeps_the_batch_alive),
        cmocka_unit_test(deadlines_end_what_waits_and_what_runs),
        cmocka_unit_test(sequences_go_on_side_by_side),
        cmocka_unit_test(a_sequence_can_be_cut_in_the_middle),
        cmocka_unit_test(a_reader_that_does_not_keep_up_is_cut),
        cmocka_unit_test(a_failing_step_fails_what_is_in_hand),
        cmocka_unit_test(three_failing_steps_in_a_row_fail_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
