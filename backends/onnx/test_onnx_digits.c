#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fakehost.h"

/* The digits model that tools/setup makes: all that were held out, as Python's runs tell them.
 * argv: berth-onnx.so. */

static const struct berth_backend_ops *ops;

/* The number behind the next `"key": ` from *s on. */
static double
next_number(const char **s, const char *key)
{
    char quoted[32];

    (void)snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    *s = strstr(*s, quoted);
    assert_non_null(*s);
    *s += strlen(quoted) + (strncmp(*s + strlen(quoted), "[", 1) == 0);
    return strtod(*s, NULL);
}

static char *
read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 4 << 20);

    if (f == NULL) {
        free(text);
        return NULL;
    }
    assert_non_null(text);
    assert_true(fread(text, 1, (4 << 20) - 1, f) > 0);
    (void)fclose(f);
    return text;
}

enum { SAMPLES = 449, SIDE = 64, CLASSES = 10, BATCH = 32 };

struct digits {
    float x[SAMPLES][SIDE], want[SAMPLES][CLASSES];
    int label[SAMPLES];
    int python_correct;
};

static void
read_digits(const char *text, struct digits *d)
{
    const char *s = text;
    char *end;

    assert_int_equal(next_number(&s, "count"), SAMPLES);
    d->python_correct = (int)next_number(&s, "python_correct");
    for (size_t i = 0; i < SAMPLES; i++) {
        (void)next_number(&s, "pixels");
        for (size_t k = 0; k < SIDE; k++, s = end + 1)
            d->x[i][k] = strtof(s, &end) / 255;
        d->label[i] = (int)next_number(&s, "label");
        (void)next_number(&s, "python_scores");
        for (size_t k = 0; k < CLASSES; k++, s = end + 1)
            d->want[i][k] = strtof(s, &end);
    }
}

static int
check_scores(const struct digits *d, size_t i, const struct berth_request *r)
{
    const struct berth_tensor *y = fake_get(r, "scores");
    const float *score = y->bytes;
    int best = 0;

    assert_int_equal(y->shape[0], 1);
    assert_int_equal(y->shape[1], CLASSES);
    for (int k = 0; k < CLASSES; k++) {
        assert_true(fabsf(score[k] - d->want[i][k]) < 1e-5F);
        best = score[k] > score[best] ? k : best;
    }
    return best == d->label[i];
}

static void
digits_are_told_as_in_python(void **unused)
{
    const char *home = getenv("HOME"), *set = getenv("BERTH_TEST_DIGITS");
    char folder[512], path[600], *text;
    struct digits *d = calloc(1, sizeof *d);
    struct berth_request *r = calloc(BATCH, sizeof *r), *reqs[BATCH];
    struct berth_load how = {
        .struct_size = sizeof how, .path = folder, .settings_json = "{}", .threads = 1};
    struct berth_instance *m = NULL;

    (void)unused;
    assert_true(d != NULL && r != NULL);
    (void)snprintf(folder, sizeof folder, "%s%s",
                   set != NULL    ? set
                   : home != NULL ? home
                                  : "",
                   set != NULL ? "" : "/.cache/berth/models/digits");
    (void)snprintf(path, sizeof path, "%s/heldout.json", folder);
    text = read_text(path);
    if (text == NULL)
        fail_msg("no %s; tools/setup models makes it", path);
    read_digits(text, d);
    assert_int_equal(ops->load(&fake_host, &how, &m, NULL), 0);
    for (size_t step = 1; step <= BATCH; step += BATCH - 1) {
        int correct = 0;

        for (size_t i = 0; i < SAMPLES; i += step) {
            size_t n = SAMPLES - i < step ? SAMPLES - i : step;

            for (size_t k = 0; k < n; k++) {
                reqs[k] = &r[k];
                r[k].input_count = 0;
                fake_add(&r[k],
                         &(struct berth_tensor){
                             "image", BERTH_FP32, 4, {1, 1, 8, 8}, d->x[i + k], sizeof d->x[0]});
            }
            assert_int_equal(ops->run(m, reqs, n, NULL), 0);
            for (size_t k = 0; k < n; k++) {
                correct += check_scores(d, i + k, &r[k]);
                fake_clear(&r[k]);
            }
        }
        print_message("  %d of %d by %zu\n", correct, SAMPLES, step);
        assert_int_equal(correct, d->python_correct);
    }
    ops->unload(m);
    free(text);
    free(d);
    free(r);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_are_told_as_in_python),
    };
    struct berth_err e = {""};

    if (argc < 2) {
        (void)fprintf(stderr, "usage: test_onnx_digits berth-onnx.so\n");
        return 1;
    }
    ops = fake_open(argv[1], &e);
    if (ops == NULL) {
        (void)fprintf(stderr, "%s: %s\n", argv[1], e.msg);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
