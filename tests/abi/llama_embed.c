#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "llama_host.h"

/* Embeddings, against the numbers that the model's own library gives. */

enum { SAMPLES_MAX = 16, LEN = 384 };

static const char model_name[] = "all-MiniLM-L6-v2.gguf";

struct world {
    const struct berth_backend_ops *ops;
    struct berth_instance *m;
    char *json;
    const char *texts[SAMPLES_MAX];
    float want[SAMPLES_MAX][LEN];
    size_t count;
};

/* The file is ours and flat: "text": "...", then "embedding": [...], again and again; UTF-8, with
 * nothing escaped but what JSON must. */
static char *
read_text(char *p, const char **ret)
{
    char *to = p;

    for (*ret = p; *p != '"';) {
        p += *p == '\\';
        *to++ = *p++;
    }
    *to = '\0';
    return p + 1;
}

static int
read_samples(struct world *w, const char *path)
{
    FILE *const f = fopen(path, "rbe");
    const size_t cap = 1 << 20;

    w->json = calloc(1, cap);
    if (f == NULL || w->json == NULL || fread(w->json, 1, cap - 1, f) == 0)
        return -1;
    (void)fclose(f);
    char *p = w->json;
    while (w->count < SAMPLES_MAX && (p = strstr(p, "\"text\": \"")) != NULL) {
        p = read_text(p + 9, &w->texts[w->count]);
        p = strstr(p, "\"embedding\": [");
        if (p == NULL)
            return -1;
        p += 14;
        for (size_t i = 0; i < LEN; i++) {
            w->want[w->count][i] = strtof(p, &p);
            p += 2;
        }
        w->count++;
    }
    return w->count >= 2 ? 0 : -1;
}

static struct berth_instance *
load(const struct berth_backend_ops *ops, const char *name, const char *settings)
{
    struct berth_err e = {""};
    struct berth_instance *m = NULL;
    const struct berth_load how = {.struct_size = sizeof how,
                                   .path = host_model(name),
                                   .settings_json = settings,
                                   .threads = 1};

    if (how.path == NULL)
        fail_msg("no model %s; tools/setup models fetches it", name);
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
    *state = &w;
    if (read_samples(&w, host_model("all-MiniLM-L6-v2.reference.json")) < 0)
        return -1;
    w.m = load(w.ops, model_name, "{}");
    return 0;
}

static int
tear_down(void **state)
{
    struct world *const w = *state;

    free(w->json);
    w->ops->unload(w->m);
    return 0;
}

static float
distance(const float *a, const float *b)
{
    float worst = 0;

    for (size_t i = 0; i < LEN; i++)
        worst = fmaxf(worst, fabsf(a[i] - b[i]));
    return worst;
}

static void
embeddings_equal_the_library_s(void **state)
{
    const struct world *const w = *state;
    struct berth_request r = host_request(0);
    struct berth_request *one = &r;
    struct berth_err e;

    host_request_texts(&r, w->texts, w->count);
    assert_int_equal(w->ops->run(w->m, &one, 1, &e), 0);
    assert_int_equal(r.state, HOST_RUNNING); /* not failed */
    assert_int_equal(r.rows, w->count);
    assert_int_equal(r.columns, LEN);
    for (size_t i = 0; i < w->count; i++) {
        const float d = distance(r.output + i * LEN, w->want[i]);

        print_message("  largest difference %.1e: %.50s\n", (double)d, w->texts[i]);
        assert_true(d < 1e-4f);
    }
    host_request_fini(&r);
}

static void
company_changes_nothing(void **state)
{
    const struct world *const w = *state;
    struct berth_request r[3] = {host_request(0), host_request(0), host_request(0)};
    struct berth_request *all[3] = {&r[0], &r[1], &r[2]};
    struct berth_err e;
    const char *many[100];

    for (size_t i = 0; i < 100; i++) /* more than one batch takes */
        many[i] = w->texts[i % w->count];
    host_request_texts(&r[0], w->texts, 1);
    host_request_texts(&r[1], many, 100);
    host_request_texts(&r[2], w->texts, 0);
    assert_int_equal(w->ops->run(w->m, all, 3, &e), 0);
    assert_true(distance(r[0].output, w->want[0]) < 1e-4f);
    for (size_t i = 0; i < 100; i++)
        assert_true(distance(r[1].output + i * LEN, w->want[i % w->count]) < 1e-4f);
    assert_int_equal(r[2].rows, 0);
    for (size_t i = 0; i < 3; i++)
        host_request_fini(&r[i]);
}

static void
a_long_text_fails_alone(void **state)
{
    const struct world *const w = *state;
    static char long_text[8000];
    const char *const texts[] = {long_text};
    struct berth_request r[2] = {host_request(0), host_request(0)};
    struct berth_request *all[2] = {&r[0], &r[1]};
    struct berth_err e;

    for (int i = 0; i < 1000; i++)
        (void)memcpy(long_text + (size_t)i * 6, "words ", 7);
    host_request_texts(&r[0], texts, 1);
    host_request_texts(&r[1], w->texts, 1);
    assert_int_equal(w->ops->run(w->m, all, 2, &e), 0);
    assert_int_equal(r[0].state, HOST_FAILED);
    assert_int_equal(r[0].code, BERTH_EINVAL);
    assert_non_null(strstr(r[0].message, "1002 tokens"));
    assert_non_null(strstr(r[0].message, "1 to 512"));
    assert_true(distance(r[1].output, w->want[0]) < 1e-4f);
    host_request_fini(&r[0]);
    host_request_fini(&r[1]);
}

static void
broken_tensors_are_refused(void **state)
{
    const struct world *const w = *state;
    static const struct {
        const char *why;
        size_t size;
        int64_t rows;
    } cases[] = {
        {"a length beyond the end", 6, 1},
        {"cut off in a length", 3, 1},
        {"more rows than bytes", 16, 1000000000},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_request r = host_request(0), *one = &r;
        struct berth_err e;

        print_message("  %s\n", cases[i].why);
        host_request_texts(&r, w->texts, 1);
        r.input.size = cases[i].size;
        r.input.shape[0] = cases[i].rows;
        assert_int_equal(w->ops->run(w->m, &one, 1, &e), 0);
        assert_int_equal(r.state, HOST_FAILED);
        assert_int_equal(r.code, BERTH_EINVAL);
        host_request_fini(&r);
    }
}

static void
it_tells_what_it_is(void **state)
{
    const struct world *const w = *state;
    const struct berth_describe *const d = w->ops->describe(w->m);
    struct berth_queue q = {NULL, 0, 0};
    struct berth_err e;

    assert_int_equal(d->tasks, BERTH_TASK_EMBEDDING);
    assert_int_equal(d->embedding_len, LEN);
    assert_int_equal(d->sequence_max, 0);
    assert_int_equal(d->input_count, 1);
    assert_string_equal(d->inputs[0].name, "text");
    assert_string_equal(d->outputs[0].name, "embedding");
    assert_int_equal(w->ops->step(w->m, &q, &e), -BERTH_EUNSUPPORTED);
    w->ops->reset(w->m);
    w->ops->cancel(w->m); /* nothing is going on: later runs are not touched */
    struct berth_request r = host_request(0), *one = &r;
    host_request_texts(&r, w->texts, 1);
    assert_int_equal(w->ops->run(w->m, &one, 1, &e), 0);
    assert_true(distance(r.output, w->want[0]) < 1e-4f);
    host_request_fini(&r);
}

static void
a_chat_model_can_embed_too(void **state)
{
    const struct world *const w = *state;
    static const char name[] = "SmolLM2-135M-Instruct.Q4_1.gguf";
    static const char *const texts[] = {"The cat sat on the mat.", "A cat was sitting on a mat.",
                                        "Quarterly revenue rose by four percent."};
    struct berth_request r = host_request(0), *one = &r;
    struct berth_err e;
    float length = 0, near = 0, far = 0;

    struct berth_instance *const m =
        load(w->ops, name, "{\"embedding\": true, \"pooling\": \"mean\", \"context_length\": 256}");
    const uint32_t len = w->ops->describe(m)->embedding_len;
    assert_int_equal(len, 576);
    host_request_texts(&r, texts, 3);
    assert_int_equal(w->ops->run(m, &one, 1, &e), 0);
    for (uint32_t i = 0; i < len; i++) {
        length += r.output[i] * r.output[i];
        near += r.output[i] * r.output[len + i];
        far += r.output[i] * r.output[2 * len + i];
    }
    assert_true(fabsf(length - 1) < 1e-4f);
    assert_true(near > far);
    host_request_fini(&r);
    w->ops->unload(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeddings_equal_the_library_s),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test(a_long_text_fails_alone),
        cmocka_unit_test(broken_tensors_are_refused),
        cmocka_unit_test(it_tells_what_it_is),
        cmocka_unit_test(a_chat_model_can_embed_too),
    };

    if (host_model(model_name) == NULL) {
        (void)fprintf(stderr, "no model %s; tools/setup models fetches it\n", model_name);
        return 1;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
