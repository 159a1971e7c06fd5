#include "chain.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <llama.h>

/* Choices against those of the engine's own samplers, over logits out of a generator. */

enum { TOKENS = 500, ROUNDS = 200 };

static struct berth_gen
plain(void)
{
    return (struct berth_gen){.struct_size = sizeof(struct berth_gen),
                              .top_p = 1,
                              .repeat_penalty = 1,
                              .seed = 11,
                              .logprobs = -1};
}

static void
fill(float *x, uint64_t *seed)
{
    for (int i = 0; i < TOKENS; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(*seed >> 40) / (1 << 21) - 4;
    }
}

static void
engine_add(struct llama_sampler *s, const struct berth_gen *g)
{
    struct llama_logit_bias bias[4];

    for (size_t i = 0; i < g->bias_count; i++)
        bias[i] = (struct llama_logit_bias){g->bias[i].token, g->bias[i].bias};
    if (g->bias_count > 0)
        llama_sampler_chain_add(
            s, llama_sampler_init_logit_bias(TOKENS, (int32_t)g->bias_count, bias));
    if (g->repeat_penalty != 1)
        llama_sampler_chain_add(s,
                                llama_sampler_init_penalties(TOKENS, 64, g->repeat_penalty, 0, 0));
    if (g->presence_penalty != 0 || g->frequency_penalty != 0)
        llama_sampler_chain_add(s, llama_sampler_init_penalties(
                                       TOKENS, 1024, 1, g->frequency_penalty, g->presence_penalty));
    if (g->temperature <= 0) {
        llama_sampler_chain_add(s, llama_sampler_init_greedy());
        return;
    }
    llama_sampler_chain_add(s, llama_sampler_init_top_k(g->top_k));
    llama_sampler_chain_add(s, llama_sampler_init_top_p(g->top_p, 1));
    llama_sampler_chain_add(s, llama_sampler_init_min_p(g->min_p, 1));
    llama_sampler_chain_add(s, llama_sampler_init_temp(g->temperature));
    llama_sampler_chain_add(s, llama_sampler_init_dist((uint32_t)g->seed));
}

static void
choices_are_the_engines_own(void **unused)
{
    static const struct berth_logit_bias bias[] = {{3, 5}, {7, -100}, {3, -2}};
    struct berth_gen cases[6];
    const struct berth_vocab v = {.count = TOKENS};

    (void)unused;
    for (size_t i = 0; i < 6; i++)
        cases[i] = plain();
    cases[1].bias = bias;
    cases[1].bias_count = 3;
    cases[2].repeat_penalty = 1.3f;
    cases[3].frequency_penalty = 0.4f;
    cases[3].presence_penalty = -0.3f;
    cases[4] = cases[1];
    cases[4].repeat_penalty = 0.9f;
    cases[4].frequency_penalty = 0.2f;
    cases[5].temperature = 0.7f;
    cases[5].top_k = 40;
    cases[5].top_p = 0.9f;
    cases[5].min_p = 0.05f;
    cases[5].repeat_penalty = 1.1f;
    for (size_t i = 0; i < 6; i++) {
        struct llama_sampler *const engine =
            llama_sampler_chain_init(llama_sampler_chain_default_params());
        static struct llama_token_data room[TOKENS], theirs[TOKENS];
        static float logits[TOKENS], before[TOKENS];
        struct berth_chain c;
        uint64_t seed = 5 + i;
        struct berth_err e;

        engine_add(engine, &cases[i]);
        assert_int_equal(berth_chain_init(&c, &cases[i], &v, 1024, &e), 0);
        for (int round = 0; round < ROUNDS; round++) {
            fill(logits, &seed);
            (void)memcpy(before, logits, sizeof before);
            for (int k = 0; k < TOKENS; k++)
                theirs[k] = (struct llama_token_data){k, logits[k], 0};
            struct llama_token_data_array a = {theirs, TOKENS, -1, false};
            llama_sampler_apply(engine, &a);
            const int32_t want = theirs[a.selected].id;
            llama_sampler_accept(engine, want);
            assert_int_equal(berth_chain_sample(&c, logits, TOKENS, room), want);
            assert_memory_equal(logits, before, sizeof before);
        }
        berth_chain_fini(&c);
        llama_sampler_free(engine);
    }
}

static void
what_ends_answers_can_be_ruled_out(void **unused)
{
    struct llama_logit_bias end = {2, -INFINITY};
    const struct berth_vocab v = {.count = 4, .no_end = &end, .no_end_count = 1};
    float logits[4] = {0, 1, 9, 2};
    struct llama_token_data room[4];
    struct berth_gen g = plain();
    struct berth_chain c;
    struct berth_err e;

    (void)unused;
    assert_int_equal(berth_chain_init(&c, &g, &v, 16, &e), 0);
    assert_int_equal(berth_chain_sample(&c, logits, 4, room), 2);
    berth_chain_fini(&c);
    g.ignore_eos = true;
    assert_int_equal(berth_chain_init(&c, &g, &v, 16, &e), 0);
    assert_int_equal(berth_chain_sample(&c, logits, 4, room), 3);
    berth_chain_fini(&c);
}

static void
the_first_of_equals_is_the_largest(void **unused)
{
    float x[100];

    (void)unused;
    for (int n = 1; n <= 100; n++)
        for (int at = 0; at < n; at += 7) {
            for (int i = 0; i < n; i++)
                x[i] = i == at || i == n - 1 ? 3 : -1;
            assert_int_equal(berth_argmax(x, n), at);
        }
}

static void
log_probabilities_add_up(void **unused)
{
    static const char text[] = "abcd";
    uint32_t offset[] = {0, 1, 2, 3, 4};
    const struct berth_vocab v = {.count = 4, .text = (char *)(uintptr_t)text, .offset = offset};
    const float logits[4] = {1, 3, 2, 0};
    struct berth_token t, top[3];
    double sum = 0;

    (void)unused;
    for (int32_t i = 0; i < 4; i++) {
        assert_int_equal(berth_logprobs(&v, logits, i, 3, &t, top), 3);
        assert_int_equal(t.id, i);
        assert_int_equal(t.text[0], text[i]);
        sum += exp((double)t.logprob);
    }
    assert_true(fabs(sum - 1) < 1e-6);
    assert_int_equal(top[0].id, 1);
    assert_int_equal(top[1].id, 2);
    assert_int_equal(top[2].id, 0);
    assert_int_equal(berth_logprobs(&v, logits, 2, 0, &t, top), 0);
    assert_null(t.top);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_are_the_engines_own),
        cmocka_unit_test(what_ends_answers_can_be_ruled_out),
        cmocka_unit_test(the_first_of_equals_is_the_largest),
        cmocka_unit_test(log_probabilities_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
