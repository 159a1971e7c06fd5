#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "plugin/message.h"
#include "plugin/noise.h"

static unsigned char room[1 << 16];

/* Every message is a fault when it is cut short anywhere. */
static void
a_message_comes_through_whole_or_not_at_all(void **unused)
{
    static const struct berth_tensor_spec specs[] = {
        {"in", BERTH_FP32, 2, {-1, 64}},
        {"text", BERTH_BYTES, 1, {-1}},
    };
    const struct berth_describe d = {.tasks = 7,
                                     .platform = "onnx",
                                     .inputs = specs,
                                     .outputs = specs + 1,
                                     .input_count = 2,
                                     .output_count = 1,
                                     .batch_rows_max = 32,
                                     .sequence_max = 9,
                                     .context_len = 4096,
                                     .embedding_len = 384,
                                     .threads = 2};
    struct berth_pack p = {.at = room, .cap = sizeof room};
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_message_put_describe(&p, &d);
    assert_false(p.full);
    struct berth_unpack u = {.at = room, .len = p.len};
    const struct berth_describe *got = berth_message_get_describe(&u, &a);
    assert_non_null(got);
    assert_int_equal(got->batch_rows_max, 32);
    assert_int_equal(got->threads, 2);
    assert_string_equal(got->inputs[1].name, "text");
    assert_true(got->inputs[0].shape[0] == -1 && got->inputs[0].shape[1] == 64);
    assert_int_equal(got->output_count, 1);
    for (size_t len = 0; len < p.len; len++) {
        unsigned char *cut = malloc(len > 0 ? len : 1);
        memcpy(cut, room, len);
        u = (struct berth_unpack){.at = cut, .len = len};
        assert_null(berth_message_get_describe(&u, &a));
        free(cut);
        berth_arena_reset(&a);
    }
    berth_arena_fini(&a);
}

static void
a_sequence_comes_through(void **unused)
{
    static const int32_t tokens[] = {5, 6, 7};
    static const char *const stops[] = {"END", "\n\n"};
    static const struct berth_logit_bias bias[] = {{3, -1.5f}};
    const struct berth_gen g = {.struct_size = sizeof g,
                                .max_tokens = 12,
                                .prompt_tokens = tokens,
                                .prompt_token_count = 3,
                                .temperature = 0.5f,
                                .seed = 42,
                                .stop = stops,
                                .stop_count = 2,
                                .bias = bias,
                                .bias_count = 1,
                                .logprobs = 2,
                                .echo = true};
    struct berth_pack p = {.at = room, .cap = sizeof room};
    struct berth_gen got;
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_message_put_gen(&p, &g);
    struct berth_unpack u = {.at = room, .len = p.len};
    assert_true(berth_message_get_gen(&u, &a, &got));
    assert_int_equal(u.pos, u.len);
    assert_null(got.prompt);
    assert_null(got.chat_json);
    assert_memory_equal(got.prompt_tokens, tokens, sizeof tokens);
    assert_string_equal(got.stop[1], "\n\n");
    assert_true(got.bias[0].token == 3 && got.seed == 42 && got.echo && got.logprobs == 2);
    berth_arena_fini(&a);
}

static void
events_come_through(void **unused)
{
    static const struct berth_token top[] = {
        {.id = 1, .logprob = -1, .text = "x", .text_len = 1},
        {.id = 2, .logprob = -2, .text = "\xe2", .text_len = 1}};
    static const struct berth_token token = {
        .id = 1, .logprob = -1, .text = "x", .text_len = 1, .top = top, .top_count = 2};
    const struct berth_delta d = {.text = "x", .text_len = 1, .token_count = 1, .tokens = &token};
    const struct berth_finish f = {
        .reason = BERTH_FINISH_LENGTH, .prompt_tokens = 3, .completion_tokens = 4};
    struct berth_pack p = {.at = room, .cap = sizeof room};
    struct berth_event x;
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_message_put_emit(&p, 7, &d);
    berth_message_put_finish(&p, 7, &f);
    berth_message_put_fail(&p, 8, BERTH_ETOOBIG, "so");
    berth_message_put_error(&p, "all of it");
    struct berth_unpack u = {.at = room, .len = p.len};
    assert_true(berth_message_get_event(&u, &a, &x));
    assert_true(x.kind == BERTH_EVENT_EMIT && x.slot == 7 && x.delta.token_count == 1);
    assert_memory_equal(x.delta.tokens[0].top[1].text, "\xe2", 1);
    assert_true(berth_message_get_event(&u, &a, &x));
    assert_true(x.finish.reason == BERTH_FINISH_LENGTH && x.finish.stop == NULL);
    assert_true(berth_message_get_event(&u, &a, &x));
    assert_true(x.code == BERTH_ETOOBIG && strcmp(x.msg, "so") == 0);
    assert_true(berth_message_get_event(&u, &a, &x));
    assert_string_equal(x.msg, "all of it");
    assert_int_equal(u.pos, u.len);
    berth_arena_fini(&a);
}

struct heard {
    char text[1 << 16];
    uint32_t lines;
    enum berth_log_level level;
};

static void
hear(void *arg, enum berth_log_level level, const char *line)
{
    struct heard *h = arg;
    size_t len = strlen(h->text);

    h->lines++;
    h->level = level;
    (void)snprintf(h->text + len, sizeof h->text - len, "%s|", line);
}

static void
noise_is_bounded_and_plain(void **unused)
{
    static struct heard h;
    static char big[5000];
    struct berth_noise n = {.len = 0};
    uint64_t again, now = 100 * BERTH_S;

    (void)unused;
    berth_noise_put(&n, now, "<3>bad\nha", 9, hear, &h);
    assert_string_equal(h.text, "bad|");
    assert_int_equal(h.level, BERTH_LOG_ERROR);
    berth_noise_put(&n, now, "lf\x1b[1m\xff\n\n", 9, hear, &h);
    assert_string_equal(h.text, "bad|half?[1m?|");
    assert_int_equal(h.level, BERTH_LOG_INFO);

    memset(big, 'b', sizeof big);
    berth_noise_put(&n, now, big, sizeof big, hear, &h); /* a line without an end */
    berth_noise_put(&n, now, "\n", 1, hear, &h);
    assert_true(strlen(h.text) < 1100);

    h = (struct heard){.lines = 0};
    for (int i = 0; i < 1000; i++)
        berth_noise_put(&n, now, "x\n", 2, hear, &h);
    assert_true(h.lines < 100);
    berth_noise_put(&n, now + 2 * BERTH_S, "y\n", 2, hear, &h);
    assert_non_null(strstr(h.text, "lines more were dropped|y|"));

    for (int i = 0; i < 1000 && berth_noise_room(&n, now + 2 * BERTH_S, &again) > 0; i++)
        berth_noise_put(&n, now + 2 * BERTH_S, big,
                        berth_noise_room(&n, now + 2 * BERTH_S, &again) < sizeof big
                            ? berth_noise_room(&n, now + 2 * BERTH_S, &again)
                            : sizeof big,
                        hear, &h);
    assert_int_equal(berth_noise_room(&n, now + 2 * BERTH_S, &again), 0);
    assert_true(again == now + 3 * BERTH_S);
    assert_true(berth_noise_room(&n, again, &again) > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_through_whole_or_not_at_all),
        cmocka_unit_test(a_sequence_comes_through),
        cmocka_unit_test(events_come_through),
        cmocka_unit_test(noise_is_bounded_and_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
