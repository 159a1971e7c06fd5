#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "llama_host.h"
#include "llama_reference.h"

/* Answers of the real plugin with a real model, against llama.cpp itself. */

enum { ANSWER = 24, MANY = 8 };

static const char model_name[] = "SmolLM2-135M-Instruct.Q4_1.gguf";

static const char *const prompts[] = {
    "Once upon a time",
    "The capital of France is",
    "def fibonacci(n):\n",
    "1, 2, 3, 4, 5,",
    "Water boils at",
    "My favourite book is about",
    "SELECT name FROM",
    "The quick brown fox",
    "In 1969, the first man",
    "Roses are red,",
    "A recipe for bread: take",
    "The opposite of hot is",
    "#include <stdio.h>\n",
    "Dear Sir or Madam,",
    "The three primary colours are",
    "<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhat is two plus two?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nName a fruit.<|im_end|>\n<|im_start|>assistant\n",
    "\xE6\x97\xA5\xE6\x9C\xAC",
    "Il \xC3\xA9tait une fois",
};

enum { PROMPTS = sizeof prompts / sizeof prompts[0] };

struct world {
    const struct berth_backend_ops *ops;
    struct berth_instance *m;
    /* llama.cpp's own answers, and how near the nearest choice was */
    char want[PROMPTS][1024];
    float margin[PROMPTS];
};

static struct berth_instance *
load(const struct berth_backend_ops *ops, const char *settings)
{
    struct berth_err e = {""};
    struct berth_instance *m = NULL;
    const struct berth_load how = {.struct_size = sizeof how,
                                   .path = host_model(model_name),
                                   .settings_json = settings,
                                   .threads = 1};
    const int r = ops->load(&host_calls, &how, &m, &e);

    if (r < 0)
        print_error("%s\n", e.msg);
    assert_int_equal(r, 0);
    return m;
}

static int
set_up(void **state)
{
    static struct world w;

    w.ops = host_plugin();
    w.m = load(w.ops, "{\"context_length\": 512, \"parallel\": 8, \"cache_prompt\": false}");
    struct reference *const r = reference_new(host_model(model_name), 1, 512, 64);
    for (size_t i = 0; r != NULL && i < PROMPTS; i++) {
        int32_t tokens[512], answer[ANSWER];
        const size_t n = reference_tokens(r, prompts[i], tokens, 512);
        const size_t made = reference_greedy(r, tokens, n, answer, ANSWER, &w.margin[i]);

        reference_text(r, answer, made, w.want[i], sizeof w.want[i]);
    }
    reference_free(r);
    *state = &w;
    return r == NULL;
}

static int
tear_down(void **state)
{
    struct world *const w = *state;

    w->ops->unload(w->m);
    return 0;
}

static struct berth_request
text_request(const char *prompt, uint32_t max_tokens)
{
    struct berth_request r = host_request(max_tokens);

    r.gen.prompt = prompt;
    r.gen.prompt_len = strlen(prompt);
    return r;
}

static size_t
drive(const struct world *w, struct berth_request *reqs, size_t n)
{
    struct berth_request *list[64];
    struct berth_queue q = {list, n, 0};

    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++)
        list[i] = &reqs[i];
    return host_drive(w->ops, w->m, &q, 5000);
}

static void
greedy_is_the_engines_own(void **state)
{
    const struct world *const w = *state;

    for (size_t i = 0; i < PROMPTS; i++) {
        struct berth_request r = text_request(prompts[i], ANSWER);

        (void)drive(w, &r, 1);
        assert_int_equal(r.state, HOST_FINISHED);
        assert_string_equal(r.text == NULL ? "" : r.text, w->want[i]);
        host_request_fini(&r);
    }
}

/* Together the engine adds numbers in another order; a choice may change only where two logits were
 * next to equal. */
static void
together_differs_only_at_near_ties(void **state)
{
    const struct world *const w = *state;
    size_t equal = 0;

    for (size_t from = 0; from < PROMPTS; from += 4) {
        struct berth_request r[4];

        for (size_t i = 0; i < 4; i++)
            r[i] = text_request(prompts[from + i], ANSWER);
        (void)drive(w, r, 4);
        for (size_t i = 0; i < 4; i++) {
            const bool same = strcmp(r[i].text == NULL ? "" : r[i].text, w->want[from + i]) == 0;

            equal += same;
            assert_int_equal(r[i].state, HOST_FINISHED);
            assert_true(same || w->margin[from + i] < 0.5f);
            host_request_fini(&r[i]);
        }
    }
    print_message("  %zu of %d answers are equal when four run at once\n", equal, (int)PROMPTS);
}

static void
eight_share_their_steps(void **state)
{
    const struct world *const w = *state;
    struct berth_request r[2 * MANY];

    for (size_t i = 0; i < 2 * MANY; i++) {
        r[i] = text_request(prompts[i], ANSWER);
        r[i].gen.ignore_eos = true;
    }
    const size_t steps = drive(w, r, 2 * MANY);
    for (size_t i = 0; i < 2 * MANY; i++) {
        assert_int_equal(r[i].state, HOST_FINISHED);
        assert_int_equal(r[i].finish.reason, BERTH_FINISH_LENGTH);
        assert_int_equal(r[i].finish.completion_tokens, ANSWER);
        host_request_fini(&r[i]);
    }
    print_message("  %d answers of %d tokens in %zu steps\n", 2 * MANY, ANSWER, steps);
    assert_true(steps < 3 * ANSWER);
}

/* The first five end early; those behind them come together and go on as if nothing were. */
static void
gaps_are_closed(void **state)
{
    const struct world *const w = *state;
    const size_t moves = host_moves;
    struct berth_request r[8];

    for (size_t i = 0; i < 8; i++)
        r[i] = text_request(prompts[i], i < 5 ? 3 : ANSWER);
    (void)drive(w, r, 8);
    assert_true(host_moves >= moves + 2);
    for (size_t i = 5; i < 8; i++) {
        assert_int_equal(r[i].state, HOST_FINISHED);
        assert_true(strcmp(r[i].text, w->want[i]) == 0 || w->margin[i] < 0.5f);
    }
    for (size_t i = 0; i < 8; i++)
        host_request_fini(&r[i]);
}

static void
a_cancelled_one_goes_within_a_step(void **state)
{
    const struct world *const w = *state;
    struct berth_request r[3] = {text_request(prompts[0], 200), text_request(prompts[1], ANSWER),
                                 text_request(prompts[2], ANSWER)};
    struct berth_request *list[3] = {&r[0], &r[1], &r[2]};
    struct berth_queue q = {list, 2, 0};
    struct berth_err e;

    for (int i = 0; i < 5; i++)
        assert_int_equal(w->ops->step(w->m, &q, &e), 2);
    r[0].cancelled = true;
    assert_int_equal(w->ops->step(w->m, &q, &e), 1);
    assert_int_equal(r[0].state, HOST_FAILED);
    assert_int_equal(r[0].code, BERTH_ECANCELED);
    q.count = 3; /* the place is free for another */
    (void)host_drive(w->ops, w->m, &q, 200);
    assert_int_equal(r[1].finish.completion_tokens, ANSWER);
    assert_int_equal(r[2].state, HOST_FINISHED);
    for (size_t i = 0; i < 3; i++)
        host_request_fini(&r[i]);
}

static void
stop_strings_cross_token_borders(void **state)
{
    const struct world *const w = *state;

    for (size_t i = 0; i < 8; i++) {
        struct berth_request r = text_request(prompts[i], ANSWER), again = r;
        char stop[16] = "";
        const char *const stops[] = {"never to be seen", stop};

        (void)drive(w, &r, 1);
        assert_true(r.text_len > 20);
        /* Seven bytes from the ninth on: tokens are words, so that these hold a border. */
        (void)memcpy(stop, r.text + 9, 7);
        again.gen.stop = stops;
        again.gen.stop_count = 2;
        (void)drive(w, &again, 1);
        assert_int_equal(again.finish.reason, BERTH_FINISH_STOP);
        assert_ptr_equal(again.finish.stop, stop);
        const size_t at = (size_t)(strstr(r.text, stop) - r.text);
        assert_int_equal(again.text_len, at);
        assert_memory_equal(again.text, r.text, at);
        host_request_fini(&r);
        host_request_fini(&again);
    }
}

/* The host refuses anything but whole characters. */
static void
characters_are_never_split(void **state)
{
    const struct world *const w = *state;
    static const char smiles[] = "\xF0\x9F\x99\x82\xF0\x9F\x99\x82\xF0\x9F\x99\x82\xF0\x9F\x99\x82";
    int32_t parts[64];
    struct berth_logit_bias bias[64];
    const int64_t n = w->ops->tokenize(w->m, smiles, sizeof smiles - 1, false, parts, 64);
    struct berth_request repeated = text_request(smiles, 40), broken = text_request("a", 10);

    assert_true(n >= 8 && n <= 64); /* a smile is several tokens */
    for (int64_t i = 0; i < n; i++)
        bias[i] = (struct berth_logit_bias){parts[i], 10};
    repeated.gen.bias = bias;
    repeated.gen.bias_count = (size_t)n;
    (void)drive(w, &repeated, 1);
    assert_non_null(strstr(repeated.text, "\xF0\x9F\x99\x82"));
    broken.gen.bias = bias; /* only ever the beginning of a character */
    broken.gen.bias_count = 1;
    bias[0].bias = 100;
    (void)drive(w, &broken, 1);
    assert_int_equal(broken.finish.completion_tokens, 10);
    assert_non_null(strstr(broken.text, "\xEF\xBF\xBD"));
    host_request_fini(&repeated);
    host_request_fini(&broken);
}

static void
a_seed_says_it_all(void **state)
{
    const struct world *const w = *state;
    struct berth_request r[3];

    for (size_t i = 0; i < 3; i++) {
        r[i] = text_request(prompts[0], ANSWER);
        r[i].gen.temperature = 1.2f;
        r[i].gen.top_k = 50;
        r[i].gen.top_p = 0.95f;
        r[i].gen.min_p = 0.01f;
        r[i].gen.seed = i < 2 ? 7 : 8;
        (void)drive(w, &r[i], 1);
    }
    assert_string_equal(r[0].text, r[1].text);
    assert_string_not_equal(r[0].text, r[2].text);
    for (size_t i = 0; i < 3; i++)
        host_request_fini(&r[i]);
}

static void
the_context_ends_answers(void **state)
{
    const struct world *const w = *state;
    struct world small = *w;
    struct berth_request full = text_request("1 2 3 4 5 6 7 8", 0);
    char long_prompt[2048] = "";
    char numbers[64];

    small.m = load(w->ops, "{\"max_context_length\": 256, \"parallel\": 2}");
    const uint32_t len = w->ops->describe(small.m)->context_len;
    assert_int_equal(len, 256);
    full.gen.ignore_eos = true;
    (void)drive(&small, &full, 1);
    assert_int_equal(full.finish.reason, BERTH_FINISH_LENGTH);
    assert_int_equal(full.finish.prompt_tokens + full.finish.completion_tokens, len);

    for (int i = 0; i < 300; i++)
        (void)strcat(long_prompt, " word");
    struct berth_request refused = text_request(long_prompt, 5);
    (void)drive(&small, &refused, 1);
    assert_int_equal(refused.state, HOST_FAILED);
    assert_int_equal(refused.code, BERTH_EINVAL);
    (void)snprintf(numbers, sizeof numbers, "300 tokens; the context holds %u", len);
    assert_non_null(strstr(refused.message, numbers));
    host_request_fini(&full);
    host_request_fini(&refused);
    w->ops->unload(small.m);
}

static void
a_beginning_in_common_is_reused(void **state)
{
    const struct world *const w = *state;
    struct world own = *w;
    static const char chat[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me about the sea.\"}]}";
    struct berth_request r[2];

    own.m = load(w->ops, "{\"context_length\": 512, \"parallel\": 2}");
    for (size_t i = 0; i < 2; i++) {
        r[i] = host_request(ANSWER);
        r[i].gen.chat_json = chat;
        r[i].gen.chat_json_len = sizeof chat - 1;
        (void)drive(&own, &r[i], 1);
        assert_int_equal(r[i].state, HOST_FINISHED);
    }
    assert_int_equal(r[0].finish.cached_tokens, 0);
    assert_int_equal(r[1].finish.cached_tokens, r[1].finish.prompt_tokens - 1);
    assert_string_equal(r[0].text, r[1].text);
    host_request_fini(&r[0]);
    host_request_fini(&r[1]);
    w->ops->unload(own.m);
}

static void
options_do_what_they_say(void **state)
{
    const struct world *const w = *state;
    struct berth_request plain = text_request(prompts[1], ANSWER), r;
    int32_t paris[4];

    (void)drive(w, &plain, 1);
    assert_non_null(strstr(plain.text, "Paris"));

    r = text_request(prompts[1], ANSWER); /* the prompt comes first */
    r.gen.echo = true;
    (void)drive(w, &r, 1);
    assert_memory_equal(r.text, prompts[1], strlen(prompts[1]));
    assert_string_equal(r.text + strlen(prompts[1]), plain.text);
    host_request_fini(&r);

    r = text_request(prompts[1], ANSWER); /* a token ruled out */
    assert_int_equal(w->ops->tokenize(w->m, " Paris", 6, false, paris, 4), 1);
    const struct berth_logit_bias bias = {paris[0], -100};
    r.gen.bias = &bias;
    r.gen.bias_count = 1;
    (void)drive(w, &r, 1);
    assert_null(strstr(r.text, " Paris"));
    host_request_fini(&r);

    r = text_request(prompts[1], ANSWER); /* log-probabilities; the host checks their order */
    r.gen.logprobs = 5;
    (void)drive(w, &r, 1);
    assert_string_equal(r.text, plain.text);
    for (uint32_t i = 0; i < r.told; i++)
        assert_int_equal(r.ids[i], r.best[i]);
    host_request_fini(&r);

    r = text_request(prompts[3], 40); /* without it the numbers' comma comes again and again */
    r.gen.frequency_penalty = 2;
    r.gen.presence_penalty = 2;
    r.gen.repeat_penalty = 1.3f;
    (void)drive(w, &r, 1);
    assert_int_equal(r.state, HOST_FINISHED);
    host_request_fini(&r);

    r = text_request("", ANSWER);
    (void)drive(w, &r, 1);
    assert_int_equal(r.state, HOST_FINISHED);
    host_request_fini(&r);
    host_request_fini(&plain);
}

static void
what_is_wrong_fails_alone(void **state)
{
    const struct world *const w = *state;
    static const int32_t nonsense[] = {1, 2, 99999999};
    static const struct berth_logit_bias bias = {-5, 1};
    static const char *const empty[] = {""};
    struct berth_request r[6];
    static const char *const says[] = {"prompt: token 99999999", "logit_bias: token -5",
                                       "stop: string 0 is empty", "logprobs: 65", "control mark"};

    for (size_t i = 0; i < 6; i++)
        r[i] = text_request("Hello", 5);
    r[0].gen.prompt = NULL;
    r[0].gen.prompt_tokens = nonsense;
    r[0].gen.prompt_token_count = 3;
    r[1].gen.bias = &bias;
    r[1].gen.bias_count = 1;
    r[2].gen.stop = empty;
    r[2].gen.stop_count = 1;
    r[3].gen.logprobs = 65;
    r[4].gen.prompt = NULL;
    r[4].gen.chat_json = "{\"messages\":[{\"role\":\"user<|im_end|>\",\"content\":\"x\"}]}";
    (void)drive(w, r, 6);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(r[i].state, HOST_FAILED);
        assert_int_equal(r[i].code, BERTH_EINVAL);
        assert_non_null(strstr(r[i].message, says[i]));
        host_request_fini(&r[i]);
    }
    assert_int_equal(r[5].state, HOST_FINISHED);
    host_request_fini(&r[5]);
}

static void
after_a_reset_it_goes_on(void **state)
{
    const struct world *const w = *state;
    struct berth_request r[3] = {text_request(prompts[0], 100), text_request(prompts[1], 100),
                                 text_request(prompts[0], ANSWER)};
    struct berth_request *list[3] = {&r[0], &r[1], &r[2]};
    struct berth_queue q = {list, 2, 0};
    struct berth_err e;

    for (int i = 0; i < 5; i++)
        assert_int_equal(w->ops->step(w->m, &q, &e), 2);
    w->ops->reset(w->m); /* as after a failed step; the host has told the clients */
    assert_int_equal(w->ops->step(w->m, &q, &e), 0);
    q.count = 3;
    (void)host_drive(w->ops, w->m, &q, 200);
    assert_string_equal(r[2].text, w->want[0]);
    for (size_t i = 0; i < 3; i++)
        host_request_fini(&r[i]);
}

static void
it_tells_what_it_is(void **state)
{
    const struct world *const w = *state;
    const struct berth_describe *const d = w->ops->describe(w->m);
    int32_t two[2];

    assert_int_equal(d->tasks, BERTH_TASK_COMPLETION | BERTH_TASK_CHAT);
    assert_int_equal(d->sequence_max, 8);
    assert_int_equal(d->context_len, 512);
    assert_string_equal(d->platform, "llama_cpp");
    assert_true(w->ops->memory(w->m) > 98u * 1000 * 1000);
    assert_int_equal(w->ops->tokenize(w->m, "one two three four", 18, false, two, 2), 4);
    assert_int_equal(w->ops->tokenize(w->m, "<|im_end|>", 10, true, two, 2), 1);
    assert_true(w->ops->tokenize(w->m, "<|im_end|>", 10, false, NULL, 0) > 1);
}

static void
settings_are_checked(void **state)
{
    const struct world *const w = *state;
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"{\"flash_attention\": \"maybe\"}", "use auto, on or off"},
        {"{\"cache_type_k\": \"f17\"}", "setting cache_type_k: f17"},
        {"{\"parallel\": 1000}", "outside 0 to 256"},
        {"{\"parallel\": 256, \"context_length\": 16777216}", "more than the engine can count"},
        {"{\"parallel\": \"two\"}", "must be a whole number"},
        {"{\"mmap\": 1}", "must be true or false"},
        {"{\"n_batchh\": 1}", "setting n_batchh"},
        {"{\"chat_template\": \"{% for m in messages %}\"}", "chat template"},
        {"[]", "not a JSON object"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_err e = {""};
        struct berth_instance *m = NULL;
        const struct berth_load how = {.struct_size = sizeof how,
                                       .path = host_model(model_name),
                                       .settings_json = cases[i].json,
                                       .threads = 1};

        print_message("  %s\n", cases[i].json);
        assert_true(w->ops->load(&host_calls, &how, &m, &e) < 0);
        assert_non_null(strstr(e.msg, cases[i].says));
        assert_null(m);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_is_the_engines_own),
        cmocka_unit_test(together_differs_only_at_near_ties),
        cmocka_unit_test(eight_share_their_steps),
        cmocka_unit_test(gaps_are_closed),
        cmocka_unit_test(a_cancelled_one_goes_within_a_step),
        cmocka_unit_test(stop_strings_cross_token_borders),
        cmocka_unit_test(characters_are_never_split),
        cmocka_unit_test(a_seed_says_it_all),
        cmocka_unit_test(the_context_ends_answers),
        cmocka_unit_test(a_beginning_in_common_is_reused),
        cmocka_unit_test(options_do_what_they_say),
        cmocka_unit_test(what_is_wrong_fails_alone),
        cmocka_unit_test(after_a_reset_it_goes_on),
        cmocka_unit_test(it_tells_what_it_is),
        cmocka_unit_test(settings_are_checked),
    };

    if (host_model(model_name) == NULL) {
        (void)fprintf(stderr, "no model %s; tools/setup models fetches it\n", model_name);
        return 1;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
