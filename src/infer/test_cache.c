#include "infer/cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "infer/request.h"
#include "obs/metrics.h"

static const char *const stops[] = {"end", "stop"};
static const int32_t tokens[] = {1, 2};
static const struct berth_logit_bias bias[] = {{7, -1.5f}};
static const float bytes[] = {1, 2, 3, 4};
static const char *const wanted[] = {"y"};
static const struct berth_tensor input = {
    .name = "x", .dtype = BERTH_FP32, .rank = 2, .shape = {2, 2}, .bytes = bytes, .size = 16};

static void
tensors(struct berth_request *r)
{
    memset(r, 0, sizeof *r);
    r->task = BERTH_TASK_TENSOR;
    r->inputs = &input;
    r->input_count = 1;
}

static void
generation(struct berth_request *r)
{
    memset(r, 0, sizeof *r);
    r->task = BERTH_TASK_COMPLETION;
    r->gen = (struct berth_gen){.prompt = "once", .prompt_len = 4, .logprobs = -1, .top_p = 1};
}

static struct berth_cache_key
key_of(const struct berth_cache_space *s, const struct berth_request *r)
{
    struct berth_cache_key key;

    assert_true(berth_cache_key(s, r, &key));
    return key;
}

static bool
same(const struct berth_cache_key *a, const struct berth_cache_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* What a request is known by changes with everything that its answer depends on. */
static void
keys_tell_requests_apart(void **unused)
{
    struct berth_metrics *metrics = berth_metrics_new();
    struct berth_cache *c = berth_cache_new(1 << 20, metrics);
    struct berth_cache_space *s = berth_cache_space_new(c, "m"),
                             *other = berth_cache_space_new(c, "m");
    struct berth_cache_key seen[40];
    struct berth_request r;
    struct berth_tensor t[2];
    size_t n = 0;

    (void)unused;
    tensors(&r);
    r.inputs = t;
#define NOTE() (seen[n++] = key_of(s, &r))
#define WITH(change) \
    t[0] = input;    \
    t[1] = input;    \
    change;          \
    NOTE()
    WITH((void)0);
    const struct berth_cache_key again = key_of(s, &r);
    assert_true(same(&seen[0], &again));
    WITH(t[0].name = "z");
    WITH(t[0].dtype = BERTH_INT32);
    WITH(t[0].shape[0] = 4; t[0].shape[1] = 1);
    WITH(t[0].rank = 1);
    WITH(t[0].bytes = bytes + 1; t[0].size = 12);
    WITH(t[0].bytes = bytes + 1; t[0].size = 8);
    WITH(r.input_count = 2);
    r.input_count = 1;
    WITH(r.wanted = wanted; r.wanted_count = 1);
    r.wanted_count = 0;
    WITH(r.task = BERTH_TASK_EMBEDDING);
    t[0] = input;
    r.task = BERTH_TASK_TENSOR;
    seen[n++] = key_of(other, &r);
#define GEN(change) \
    generation(&r); \
    change;         \
    NOTE()
    GEN((void)0);
    GEN(r.task = BERTH_TASK_CHAT);
    GEN(r.gen.prompt = "twice"; r.gen.prompt_len = 5);
    GEN(r.gen.prompt = NULL; r.gen.chat_json = "once"; r.gen.chat_json_len = 4);
    GEN(r.gen.prompt = NULL; r.gen.prompt_tokens = tokens; r.gen.prompt_token_count = 2);
    GEN(r.gen.max_tokens = 9);
    GEN(r.gen.temperature = 1; r.gen.seeded = true; r.gen.seed = 5);
    GEN(r.gen.temperature = 1; r.gen.seeded = true; r.gen.seed = 6);
    GEN(r.gen.top_p = 0.5f);
    GEN(r.gen.min_p = 0.5f);
    GEN(r.gen.top_k = 3);
    GEN(r.gen.presence_penalty = 1);
    GEN(r.gen.frequency_penalty = 1);
    GEN(r.gen.repeat_penalty = 2);
    GEN(r.gen.stop = stops; r.gen.stop_count = 1);
    GEN(r.gen.stop = stops; r.gen.stop_count = 2);
    GEN(r.gen.bias = bias; r.gen.bias_count = 1);
    GEN(r.gen.echo = true);
    GEN(r.gen.ignore_eos = true);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++) {
            if (same(&seen[i], &seen[k]))
                fail_msg("requests %zu and %zu have one key", i, k);
        }
    }
    /* Greedy, the seed says nothing. */
    generation(&r);
    const struct berth_cache_key greedy = key_of(s, &r);
    r.gen.seed = 77;
    const struct berth_cache_key seeded = key_of(s, &r);
    assert_true(same(&greedy, &seeded));
    berth_cache_space_free(s);
    berth_cache_space_free(other);
    berth_cache_unref(c);
    berth_metrics_free(metrics);
}

static void
what_chance_decides_has_no_key(void **unused)
{
    struct berth_metrics *metrics = berth_metrics_new();
    struct berth_cache *c = berth_cache_new(1 << 20, metrics);
    struct berth_cache_space *s = berth_cache_space_new(c, "m");
    struct berth_cache_key key;
    struct berth_request r;

    (void)unused;
    generation(&r);
    r.gen.temperature = 0.1f;
    assert_false(berth_cache_key(s, &r, &key));
    r.gen.seeded = true;
    assert_true(berth_cache_key(s, &r, &key));
    r.gen.logprobs = 0;
    assert_false(berth_cache_key(s, &r, &key));
    berth_cache_space_free(s);
    berth_cache_unref(c);
    berth_metrics_free(metrics);
}

/* An answer of n bytes to the request numbered i. */
static void
put(struct berth_cache_space *s, uint64_t i, const char *text, size_t n)
{
    const struct berth_tensor out = {.name = "y",
                                     .dtype = BERTH_UINT8,
                                     .rank = 1,
                                     .shape = {(int64_t)n},
                                     .bytes = text,
                                     .size = n};
    struct berth_cache_key key = {{0}};
    struct berth_request r;

    tensors(&r);
    r.outputs = (struct berth_tensor *)&out;
    r.output_count = 1;
    memcpy(key.bytes, &i, sizeof i);
    berth_cache_put(s, &key, &r, NULL, 0);
}

static const struct berth_cached *
get(struct berth_cache_space *s, uint64_t i)
{
    struct berth_cache_key key = {{0}};

    memcpy(key.bytes, &i, sizeof i);
    return berth_cache_get(s, &key);
}

static bool
has(struct berth_cache_space *s, uint64_t i)
{
    const struct berth_cached *a = get(s, i);

    if (a != NULL)
        berth_cached_unref(a);
    return a != NULL;
}

static double
metric(struct berth_metrics *m, const char *name)
{
    struct berth_buf b;
    double v = -1;

    berth_buf_init(&b, NULL);
    berth_metrics_render(m, &b);
    const char *at = strstr(berth_buf_text(&b), name);
    while (at != NULL && at > b.at && at[-1] != '\n')
        at = strstr(at + 1, name);
    if (at != NULL)
        (void)sscanf(at + strlen(name), "%lf", &v);
    berth_buf_fini(&b);
    return v;
}

static void
bytes_are_bounded_and_the_least_used_goes_first(void **unused)
{
    enum { BYTES = 1 << 16, ONE = 4000 };
    struct berth_metrics *metrics = berth_metrics_new();
    struct berth_cache *c = berth_cache_new(BYTES, metrics);
    struct berth_cache_space *s = berth_cache_space_new(c, "m"), *t = berth_cache_space_new(c, "n");
    static char text[BYTES];

    (void)unused;
    for (uint64_t i = 0; i < 100; i++) {
        memset(text, (int)i, sizeof text);
        put(s, i, text, ONE);
        assert_true(has(s, 0)); /* asked for again and again, it stays */
        assert_true(metric(metrics, "berth_cache_bytes ") <= BYTES);
    }
    const struct berth_cached *a = get(s, 99);
    assert_int_equal(a->output_count, 1);
    assert_string_equal(a->outputs[0].name, "y");
    assert_int_equal(a->outputs[0].size, ONE);
    assert_memory_equal(a->outputs[0].bytes, text, ONE);
    assert_false(has(s, 1));
    assert_true(metric(metrics, "berth_cache_evictions_total ") > 80);
    put(s, 1000, text, BYTES / 8); /* too large to be worth it */
    assert_false(has(s, 1000));
    put(t, 2000, text, ONE);
    berth_cache_space_drop(s);
    assert_false(has(s, 0));
    assert_true(has(t, 2000));
    assert_int_equal(metric(metrics, "berth_cache_entries "), 1);
    put(s, 5, text, ONE);
    assert_false(has(s, 5)); /* the model is gone */
    berth_cache_limit(c, 0);
    assert_false(has(t, 2000));
    assert_int_equal(metric(metrics, "berth_cache_bytes "), 0);
    berth_cache_space_free(s);
    berth_cache_unref(c);
    berth_cache_space_free(t);                           /* the last one turns off the light */
    assert_memory_equal(a->outputs[0].bytes, text, ONE); /* whoever holds it still has it */
    berth_cached_unref(a);
    berth_metrics_free(metrics);
}

static void
texts_come_back_with_their_end(void **unused)
{
    struct berth_metrics *metrics = berth_metrics_new();
    struct berth_cache *c = berth_cache_new(1 << 20, metrics);
    struct berth_cache_space *s = berth_cache_space_new(c, "m");
    struct berth_request r;

    (void)unused;
    generation(&r);
    r.gen.stop = stops;
    r.gen.stop_count = 2;
    r.finish = (struct berth_finish){
        .reason = BERTH_FINISH_STOP, .stop = stops[1], .prompt_tokens = 3, .completion_tokens = 4};
    const struct berth_cache_key key = key_of(s, &r);
    berth_cache_put(s, &key, &r, "a text", 6);
    const struct berth_cached *a = berth_cache_get(s, &key);
    assert_non_null(a);
    assert_int_equal(a->text_len, 6);
    assert_memory_equal(a->text, "a text", 6);
    assert_int_equal(a->stop_index, 1);
    assert_null(a->finish.stop);
    assert_int_equal(a->finish.completion_tokens, 4);
    berth_cached_unref(a);
    berth_cache_space_free(s);
    berth_cache_unref(c);
    berth_metrics_free(metrics);
}

/* ---- many threads at once ---- */

struct race {
    struct berth_cache *c;
    struct berth_cache_space *s;
    atomic_bool wrong;
};

static void *
use(void *arg)
{
    struct race *race = arg;
    char text[200];

    for (uint64_t i = 0; i < 4000; i++) {
        const uint64_t k = i % 2 == 0 ? i % 8 : i * 7919 % 97; /* some more often than others */
        const struct berth_cached *a = get(race->s, k);
        memset(text, (int)k, sizeof text);
        if (a == NULL) {
            put(race->s, k, text, sizeof text);
            continue;
        }
        if (memcmp(a->outputs[0].bytes, text, sizeof text) != 0)
            atomic_store(&race->wrong, true);
        berth_cached_unref(a);
    }
    return NULL;
}

static void
threads_share_it(void **unused)
{
    struct berth_metrics *metrics = berth_metrics_new();
    struct race race = {.c = berth_cache_new(16384, metrics)};
    pthread_t threads[4];

    (void)unused;
    race.s = berth_cache_space_new(race.c, "m");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, &race), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_false(atomic_load(&race.wrong));
    assert_true(metric(metrics, "berth_cache_hits_total{model=\"m\"} ") > 0);
    assert_true(metric(metrics, "berth_cache_evictions_total ") > 0);
    berth_cache_space_free(race.s);
    berth_cache_unref(race.c);
    berth_metrics_free(metrics);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_tell_requests_apart),
        cmocka_unit_test(what_chance_decides_has_no_key),
        cmocka_unit_test(bytes_are_bounded_and_the_least_used_goes_first),
        cmocka_unit_test(texts_come_back_with_their_end),
        cmocka_unit_test(threads_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
