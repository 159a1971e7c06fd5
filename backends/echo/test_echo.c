#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "fakehost.h"

#include <berth/settings.h>

/* argv[1]: berth-echo.so */
static const struct berth_backend_ops *ops;

static struct berth_instance *
load(const char *settings)
{
    struct berth_load how = {
        .struct_size = sizeof how, .path = "any", .settings_json = settings, .threads = 1};
    struct berth_instance *m = NULL;
    struct berth_err e;

    assert_int_equal(ops->load(&fake_host, &how, &m, &e), 0);
    return m;
}

static void
every_input_comes_back(void **unused)
{
    static const float x[] = {1.5F, 2, 3, 4};
    static const char words[] = "\2\0\0\0hi";
    struct berth_instance *m = load("{}");
    struct berth_request r = {.input_count = 0}, *reqs[] = {&r};
    struct berth_err e;

    (void)unused;
    fake_add(&r, &(struct berth_tensor){"x", BERTH_FP32, 2, {2, 2}, x, sizeof x});
    fake_add(&r, &(struct berth_tensor){"w", BERTH_BYTES, 1, {1}, words, 6});
    fake_add(&r, &(struct berth_tensor){"none", BERTH_INT8, 1, {0}, NULL, 0});
    assert_int_equal(ops->run(m, reqs, 1, &e), 0);
    assert_int_equal(r.output_count, 3);
    assert_memory_equal(fake_get(&r, "x")->bytes, x, sizeof x);
    assert_int_equal(fake_get(&r, "x")->shape[1], 2);
    assert_memory_equal(fake_get(&r, "w")->bytes, words, 6);
    assert_int_equal(fake_get(&r, "none")->size, 0);
    fake_clear(&r);
    r.wants[r.wants_count++] = "w";
    assert_int_equal(ops->run(m, reqs, 1, &e), 0);
    assert_int_equal(r.output_count, 1);
    fake_clear(&r);
    ops->unload(m);
}

static void
it_holds_the_memory_it_is_told_to(void **unused)
{
    struct berth_instance *m = load("{\"memory_mb\": 3, \"load_ms\": 1}");

    (void)unused;
    assert_int_equal(ops->memory(m), 3 << 20);
    ops->unload(m);
    m = load("{}");
    assert_int_equal(ops->memory(m), 0);
    ops->unload(m);
}

static void
only_the_bad_request_fails(void **unused)
{
    static const int64_t numbers[] = {7, -13, 7};
    static const float floats[] = {0.5F};
    static const char words[] = "\2\0\0\0ok\3\0\0\0bad";
    static const struct {
        const char *why, *settings;
        struct berth_tensor t;
        bool fails;
    } cases[] = {
        {"a text", "{\"fail_on\":\"bad\"}", {"x", BERTH_BYTES, 1, {2}, words, 13}, true},
        {"a text's beginning is another text",
         "{\"fail_on\":\"ba\"}",
         {"x", BERTH_BYTES, 1, {2}, words, 13},
         false},
        {"an integer", "{\"fail_on\":\"-13\"}", {"x", BERTH_INT64, 1, {3}, numbers, 24}, true},
        {"no such integer", "{\"fail_on\":\"13\"}", {"x", BERTH_INT64, 1, {3}, numbers, 24}, false},
        {"a float", "{\"fail_on\":\"0.5\"}", {"x", BERTH_FP32, 1, {1}, floats, 4}, true},
        {"nothing set", "{}", {"x", BERTH_BYTES, 1, {2}, words, 13}, false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const char good[] = "\4\0\0\0good";
        struct berth_instance *m = load(cases[i].settings);
        struct berth_request r[2] = {{.input_count = 0}}, *reqs[] = {&r[0], &r[1]};
        struct berth_err e;

        print_message("  %s\n", cases[i].why);
        fake_add(&r[0], &cases[i].t);
        fake_add(&r[1], &(struct berth_tensor){"x", BERTH_BYTES, 1, {1}, good, 8});
        assert_int_equal(ops->run(m, reqs, 2, &e), 0);
        assert_int_equal(r[0].failed, cases[i].fails ? BERTH_EINVAL : BERTH_OK);
        assert_int_equal(r[0].output_count, cases[i].fails ? 0 : 1);
        assert_int_equal(r[1].output_count, 1);
        fake_clear(&r[0]);
        fake_clear(&r[1]);
        ops->unload(m);
    }
}

struct runner {
    struct berth_instance *m;
    struct berth_request *r;
    int rc;
};

static void *
run_it(void *arg)
{
    struct runner *it = arg;

    it->rc = ops->run(it->m, &it->r, 1, NULL);
    return NULL;
}

static void
cancel_ends_a_run_and_no_later_one(void **unused)
{
    struct berth_instance *slow = load("{\"delay_ms\": 3600000}"), *fast = load("{\"delay_ms\":1}");
    struct berth_request r = {.input_count = 0};
    struct runner it = {slow, &r, 0};
    pthread_t thread;

    (void)unused;
    assert_int_equal(pthread_create(&thread, NULL, run_it, &it), 0);
    atomic_store(&r.cancelled, true); /* the mark comes first: this order closes the race */
    ops->cancel(slow);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(it.rc, -BERTH_ECANCELED);

    ops->cancel(fast);
    atomic_store(&r.cancelled, false);
    it = (struct runner){fast, &r, 1};
    assert_null(run_it(&it));
    assert_int_equal(it.rc, 0);
    ops->unload(slow);
    ops->unload(fast);
}

static void
settings_are_described(void **unused)
{
    static const struct {
        const char *settings;
        uint32_t rows;
    } cases[] = {
        {"{}", UINT32_MAX}, {"{\"batch\":0}", 0}, {"{ \"x\":\"batch\", \"batch\": 4 }", 4}};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_instance *m = load(cases[i].settings);

        assert_int_equal(ops->describe(m)->batch_rows_max, cases[i].rows);
        assert_int_equal(ops->describe(m)->input_count, 0);
        ops->unload(m);
    }
}

#define CHAT(messages) "{\"messages\":[" messages "]}"

static void
text_comes_back_word_by_word(void **unused)
{
    static const char *const stops[] = {"never", "two"};
    static const int32_t tokens[] = {5, -6};
    static const struct {
        const char *why;
        struct berth_gen gen;
        const char *want;
        enum berth_finish_reason reason;
        const char *stop;
        uint32_t words;
    } cases[] = {
        {"a prompt",
         {.prompt = "one two  three", .prompt_len = 14},
         "one two  three",
         BERTH_FINISH_STOP,
         NULL,
         3},
        {"an empty prompt", {.prompt = "", .prompt_len = 0}, "", BERTH_FINISH_STOP, NULL, 0},
        {"a limit",
         {.prompt = "one two three", .prompt_len = 13, .max_tokens = 2},
         "one two",
         BERTH_FINISH_LENGTH,
         NULL,
         2},
        {"a stop string",
         {.prompt = "one two three", .prompt_len = 13, .stop = stops, .stop_count = 2},
         "one ",
         BERTH_FINISH_STOP,
         "two",
         2},
        {"the prompt first",
         {.prompt = "a b", .prompt_len = 3, .echo = true},
         "a ba b",
         BERTH_FINISH_STOP,
         NULL,
         2},
        {"tokens",
         {.prompt_tokens = tokens, .prompt_token_count = 2},
         "5 -6",
         BERTH_FINISH_STOP,
         NULL,
         2},
        {"the last message, with escapes",
         {.chat_json =
              CHAT("{\"role\":\"system\",\"content\":\"no\"},"
                   "{\"role\":\"user\", \"content\": \"\\\"caf\\u00e9\\\" \\ud83d\\ude00\"}")},
         "\"caf\xc3\xa9\" \xf0\x9f\x98\x80",
         BERTH_FINISH_STOP,
         NULL,
         2},
        {"the parts of a message",
         {.chat_json =
              CHAT("{\"content\":\"no\"},{\"content\":[{\"type\":\"text\",\"text\":\"a \"},"
                   "{\"type\":\"text\",\"text\":\"b\"}],\"role\":\"user\"}")},
         "a b",
         BERTH_FINISH_STOP,
         NULL,
         2},
    };
    enum { N = sizeof cases / sizeof cases[0] };
    struct berth_instance *m = load("{}");
    struct berth_request *r = calloc(N, sizeof *r);
    struct berth_queue q = {.len = N};
    size_t steps = 0;

    (void)unused;
    assert_non_null(r);
    for (size_t i = 0; i < N; i++) {
        q.waiting[i] = &r[i];
        r[i].gen = cases[i].gen;
        r[i].gen.logprobs = -1;
        r[i].gen.chat_json_len = r[i].gen.chat_json != NULL ? strlen(r[i].gen.chat_json) : 0;
    }
    while (ops->step(m, &q, NULL) > 0)
        assert_true(++steps < 100);
    assert_int_equal(steps, 2); /* all at once: as many steps as the longest has words, less one */
    for (size_t i = 0; i < N; i++) {
        print_message("  %s\n", cases[i].why);
        assert_true(r[i].finished);
        assert_string_equal(r[i].text, cases[i].want);
        assert_int_equal(r[i].finish.reason, cases[i].reason);
        assert_int_equal(r[i].finish.completion_tokens, r[i].tokens);
        assert_int_equal(r[i].tokens, cases[i].words);
        if (cases[i].stop != NULL)
            assert_string_equal(r[i].finish.stop, cases[i].stop);
        else
            assert_null(r[i].finish.stop);
    }
    free(r);
    ops->unload(m);
}

static void
sequences_end_early(void **unused)
{
    struct berth_instance *m = load("{\"fail_on\":\"bad text\"}");
    struct berth_request r[3] = {{.gen = {.prompt = "a b c d", .prompt_len = 7}},
                                 {.gen = {.prompt = "bad text", .prompt_len = 8}},
                                 {.gen = {.prompt = "x y", .prompt_len = 3}}};
    struct berth_queue q = {.waiting = {&r[0], &r[1], &r[2]}, .len = 3};

    (void)unused;
    assert_int_equal(ops->step(m, &q, NULL), 2);
    assert_int_equal(r[1].failed, BERTH_EINVAL);
    atomic_store(&r[0].cancelled, true);
    assert_int_equal(ops->step(m, &q, NULL), 0);
    assert_int_equal(r[0].failed, BERTH_ECANCELED);
    assert_string_equal(r[0].text, "a");
    assert_string_equal(r[2].text, "x y");

    q = (struct berth_queue){.waiting = {&r[2]}, .len = 1};
    fake_clear(&r[2]);
    assert_int_equal(ops->step(m, &q, NULL), 1);
    ops->reset(m);
    assert_int_equal(ops->step(m, &q, NULL), 0);
    assert_false(r[2].finished);
    ops->unload(m);
}

static void
settings_are_read(void **unused)
{
    static const char json[] =
        "{\"a\":\"b\",\"n\":-12,\"t\":true,\"s\":\"x\\ny\\u20ac\\\\\",\"f\":2e3}";
    static const char *const broken[] = {"",        "{",        "{\"n",
                                         "{\"n\"",  "{\"n\":",  "{\"n\":\"\\",
                                         "\"\\u12", "{\"n\":}", "{\"n\":\"\\ud800\\u"};
    char text[32], cut[4];

    (void)unused;
    assert_int_equal(berth_setting_int(json, "n", 5), -12);
    assert_int_equal(berth_setting_int(json, "f", 5), 2000);
    assert_int_equal(berth_setting_int(json, "b", 5), 5); /* a value is no key */
    assert_true(berth_setting_bool(json, "t", false));
    assert_true(berth_setting_bool(json, "n", true));
    assert_int_equal(berth_setting_string(json, "s", "no", text, sizeof text), 7);
    assert_string_equal(text, "x\ny\xe2\x82\xac\\");
    assert_int_equal(berth_setting_string(json, "none", "dflt", text, sizeof text), 4);
    assert_string_equal(text, "dflt");
    assert_int_equal(berth_setting_string(json, "none", "dflt", cut, sizeof cut), 4);
    assert_string_equal(cut, "dfl");
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        assert_int_equal(berth_setting_int(broken[i], "n", 5), 5);
        (void)berth_setting_string(broken[i], "n", "", text, sizeof text);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_input_comes_back),
        cmocka_unit_test(it_holds_the_memory_it_is_told_to),
        cmocka_unit_test(only_the_bad_request_fails),
        cmocka_unit_test(cancel_ends_a_run_and_no_later_one),
        cmocka_unit_test(settings_are_described),
        cmocka_unit_test(text_comes_back_word_by_word),
        cmocka_unit_test(sequences_end_early),
        cmocka_unit_test(settings_are_read),
    };
    struct berth_err e = {""};

    ops = argc > 1 ? fake_open(argv[1], &e) : NULL;
    if (ops == NULL) {
        (void)fprintf(stderr, "usage: test_echo berth-echo.so: %s\n", e.msg);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
