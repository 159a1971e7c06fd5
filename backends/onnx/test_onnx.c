#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakehost.h"
#include "test_models.h"

/* argv: berth-onnx.so, make_models.py, a folder to make models in. */

static const struct berth_backend_ops *ops;
static const char *models;

static int
try_load(const char *name, const char *settings, struct berth_instance **ret, struct berth_err *e)
{
    char path[1024];
    struct berth_load how = {
        .struct_size = sizeof how, .path = path, .settings_json = settings, .threads = 1};

    (void)snprintf(path, sizeof path, "%s/%s", models, name);
    return ops->load(&fake_host, &how, ret, e);
}

static struct berth_instance *
load(const char *name)
{
    struct berth_instance *m = NULL;
    struct berth_err e = {""};
    int rc = try_load(name, "{}", &m, &e);

    if (rc != 0)
        print_error("%s\n", e.msg);
    assert_int_equal(rc, 0);
    return m;
}

static struct berth_tensor
floats(const char *name, const float *x, int64_t rows, int64_t cols)
{
    return (struct berth_tensor){name, BERTH_FP32, 2, {rows, cols}, x, (size_t)(rows * cols) * 4};
}

static void
every_datatype_passes(void **unused)
{
    static const char *const names[] = {
#define X(name, width) #name,
        BERTH_DTYPES(X)
#undef X
    };
    static const size_t widths[] = {
#define X(name, width) width,
        BERTH_DTYPES(X)
#undef X
    };
    /* Six strings: empty ones, one with a NUL, one longer than the engine keeps in place. */
    static const unsigned char words[] = "\0\0\0\0"
                                         "\2\0\0\0hi"
                                         "\3\0\0\0a\0b"
                                         "\0\0\0\0"
                                         "\x1e\0\0\0thirty bytes of text in a row."
                                         "\1\0\0\0z";
    unsigned char bytes[6 * 8];

    (void)unused;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 37 + 1);
    for (enum berth_dtype d = 0; d < BERTH_DTYPE_COUNT; d++) {
        static const unsigned char bools[6] = {0, 1, 1, 0, 1, 0};
        const void *data = d == BERTH_BYTES ? words : d == BERTH_BOOL ? bools : bytes;
        size_t size = d == BERTH_BYTES ? sizeof words - 1 : 6 * widths[d];
        struct berth_tensor t = {"x", d, 2, {2, 3}, data, size};
        struct berth_request r[2] = {{.input_count = 0}}, *reqs[] = {&r[0], &r[1]};
        struct berth_instance *m;
        char file[64];

        print_message("  %s\n", names[d]);
        (void)snprintf(file, sizeof file, "identity_%s.onnx", names[d]);
        m = load(file);
        assert_int_equal(ops->describe(m)->inputs[0].dtype, d);
        fake_add(&r[0], &t);
        fake_add(&r[1], &t);
        for (size_t n = 1; n <= 2; n++) { /* alone twice: the second time without a copy */
            for (int again = 0; again < 2; again++) {
                assert_int_equal(ops->run(m, reqs, n, NULL), 0);
                for (size_t k = 0; k < n; k++) {
                    const struct berth_tensor *y = fake_get(&r[k], "y");

                    assert_int_equal(y->dtype, d);
                    assert_int_equal(y->rank, 2);
                    assert_int_equal(y->shape[0], 2);
                    assert_int_equal(y->size, size);
                    assert_memory_equal(y->bytes, data, size);
                    fake_clear(&r[k]);
                }
            }
        }
        ops->unload(m);
    }
}

static void
models_are_described(void **unused)
{
    static const struct {
        const char *why, *file;
        size_t inputs, outputs;
        uint32_t rows;
        int64_t dim0;
    } cases[] = {
        {"a named batch", "free.onnx", 1, 1, UINT32_MAX, -1},
        {"a batch without a name", "unnamed.onnx", 1, 1, UINT32_MAX, -1},
        {"one row only", "fixed1.onnx", 1, 1, 1, 1},
        {"three rows are not a batch of one", "fixed3.onnx", 1, 1, 0, 3},
        {"two names are two things", "two_names.onnx", 2, 2, 0, -1},
        {"two inputs with one batch", "two_inputs.onnx", 2, 2, UINT32_MAX, -1},
        {"an output without dimensions", "scalar.onnx", 1, 1, 0, -1},
        {"an initialiser is no input", "old_ir.onnx", 1, 1, UINT32_MAX, -1},
        {"a folder with model.onnx and another", "folder", 1, 1, UINT32_MAX, -1},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_instance *m = load(cases[i].file);
        const struct berth_describe *d = ops->describe(m);

        print_message("  %s\n", cases[i].why);
        assert_int_equal(d->input_count, cases[i].inputs);
        assert_int_equal(d->output_count, cases[i].outputs);
        assert_int_equal(d->batch_rows_max, cases[i].rows);
        assert_int_equal(d->inputs[0].shape[0], cases[i].dim0);
        assert_int_equal(d->tasks, BERTH_TASK_TENSOR);
        ops->unload(m);
    }
}

static void
bad_models_are_refused_with_advice(void **unused)
{
    static const struct {
        const char *file, *settings, *says;
    } cases[] = {
        {"none.onnx", "{}", "No such file"},
        {"nothing", "{}", "no *.onnx in this folder"},
        {"", "{}", "several *.onnx"},
        {"garbage.onnx", "{}", "no ONNX model"},
        {"empty.onnx", "{}", "no ONNX model"},
        {"new_opset.onnx", "{}", "lower opset_version"},
        {"new_ir.onnx", "{}", "lower opset_version"},
        {"no_operator.onnx", "{}", "standard operators"},
        {"external.onnx", "{}", "external data beside the model"},
        {"only_maps.onnx", "{}", "no output can be served"},
        {"sequence_input.onnx", "{}", "input x is a sequence"},
        {"free.onnx", "{\"graph_optimization\":\"most\"}", "disable, basic, extended, all"},
        {"free.onnx", "{\"execution_mode\":\"x\"}", "sequential, parallel"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_instance *m = NULL;
        struct berth_err e = {""};

        assert_int_equal(try_load(cases[i].file, cases[i].settings, &m, &e), -BERTH_EINVAL);
        print_message("  %s\n", e.msg);
        assert_null(m);
        assert_non_null(strstr(e.msg, cases[i].says));
    }
}

static void
outputs_that_are_no_tensors_are_left_out(void **unused)
{
    static const float x[] = {0.25F, 0.75F};
    struct berth_tensor t = floats("x", x, 1, 2);
    struct berth_request r = {.input_count = 0}, *reqs[] = {&r};
    struct berth_instance *m;
    unsigned before = atomic_load(&fake_log_count);

    (void)unused;
    m = load("zipmap.onnx");
    assert_int_equal(atomic_load(&fake_log_count), before + 1);
    assert_non_null(strstr(fake_log_last, "maps"));
    assert_non_null(strstr(fake_log_last, "zipmap"));
    assert_int_equal(ops->describe(m)->output_count, 1);
    fake_add(&r, &t);
    assert_int_equal(ops->run(m, reqs, 1, NULL), 0);
    assert_memory_equal(fake_get(&r, "probabilities")->bytes, x, sizeof x);
    fake_clear(&r);
    ops->unload(m);
}

static void
requests_of_different_rows_run_together(void **unused)
{
    static const float a[] = {1, 2, 3, 4, 5, 6, 7, 8}, b[] = {10, 20, 30, 40, 50, 60, 70, 80};
    static const int64_t rows[] = {1, 0, 3};
    struct berth_instance *m = load("two_inputs.onnx");
    struct berth_request r[3] = {{.input_count = 0}}, *reqs[] = {&r[0], &r[1], &r[2]};
    struct berth_tensor ta[3], tb[3];
    const float *x;

    (void)unused;
    for (size_t k = 0, at = 0; k < 3; at += (size_t)rows[k] * 2, k++) {
        ta[k] = floats("a", a + at, rows[k], 2);
        tb[k] = floats("b", b + at, rows[k], 2);
        fake_add(&r[k], &tb[k]); /* not the model's order */
        fake_add(&r[k], &ta[k]);
    }
    r[0].wants[r[0].wants_count++] = "product";
    assert_int_equal(ops->run(m, reqs, 3, NULL), 0);
    assert_int_equal(r[0].output_count, 1);
    assert_int_equal(r[1].output_count, 2);
    x = fake_get(&r[0], "product")->bytes;
    assert_true(x[0] == 10 && x[1] == 40);
    assert_int_equal(fake_get(&r[1], "sum")->size, 0);
    assert_int_equal(fake_get(&r[2], "sum")->shape[0], 3);
    x = fake_get(&r[2], "sum")->bytes;
    assert_true(x[0] == 33 && x[5] == 88);
    for (size_t k = 0; k < 3; k++)
        fake_clear(&r[k]);
    ops->unload(m);
}

static void
more_than_is_worth_gathering_runs_alone(void **unused)
{
    enum { BYTES = 130 << 20 }; /* only mapped, never touched: twice this is beyond the bound */
    struct berth_tensor t = {"x", BERTH_FP32, 3, {1, BYTES / 16, 4}, calloc(1, BYTES), BYTES};
    struct berth_request r[2] = {{.input_count = 0}}, *reqs[] = {&r[0], &r[1]};
    struct berth_instance *m = load("dynamic.onnx");
    struct berth_err e = {""};

    (void)unused;
    assert_non_null(t.bytes);
    fake_add(&r[0], &t);
    fake_add(&r[1], &t);
    assert_int_equal(ops->run(m, reqs, 2, &e), -BERTH_EUNSUPPORTED);
    assert_non_null(strstr(e.msg, "too many to gather"));
    ops->unload(m);
    free((void *)(uintptr_t)t.bytes);
}

static void
settings_are_taken(void **unused)
{
    static const char *const settings[] = {
        "{\"intra_op_threads\":2,\"inter_op_threads\":2,\"execution_mode\":\"parallel\"}",
        "{\"graph_optimization\":\"disable\",\"memory_pattern\":false,\"arena\":false}",
        "{\"graph_optimization\":\"basic\",\"allow_spinning\":true,\"intra_op_threads\":2}",
        "{\"graph_optimization\":\"extended\",\"execution_mode\":\"sequential\"}",
    };
    static const float x[] = {1, 2};

    (void)unused;
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        struct berth_request r = {.input_count = 0}, *reqs[] = {&r};
        struct berth_tensor a = floats("a", x, 1, 2), b = floats("b", x, 1, 2);
        struct berth_instance *m = NULL;

        assert_int_equal(try_load("two_inputs.onnx", settings[i], &m, NULL), 0);
        fake_add(&r, &a);
        fake_add(&r, &b);
        assert_int_equal(ops->run(m, reqs, 1, NULL), 0);
        assert_true(((const float *)fake_get(&r, "product")->bytes)[1] == 4);
        fake_clear(&r);
        ops->unload(m);
    }
}

static void
wrong_requests_are_refused(void **unused)
{
    static const float x[] = {1, 2, 3, 4};
    static const struct {
        const char *why;
        struct berth_tensor t;
    } cases[] = {
        {"another name", {"z", BERTH_FP32, 2, {2, 2}, x, 16}},
        {"another datatype", {"x", BERTH_INT32, 2, {2, 2}, x, 16}},
        {"another shape", {"x", BERTH_FP32, 2, {1, 4}, x, 16}},
        {"another rank", {"x", BERTH_FP32, 1, {4}, x, 16}},
    };
    struct berth_instance *m = load("free.onnx");

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_request r = {.input_count = 0}, *reqs[] = {&r};
        struct berth_err e = {""};

        fake_add(&r, &cases[i].t);
        assert_int_equal(ops->run(m, reqs, 1, &e), -BERTH_EINVAL);
        print_message("  %s: %s\n", cases[i].why, e.msg);
        fake_clear(&r);
    }
    ops->unload(m);
}

static void
shapes_may_change(void **unused)
{
    static const int64_t shapes[][3] = {{1, 2, 3}, {1, 2, 3}, {2, 1, 1}, {4, 4, 4}, {1, 0, 3}};
    float x[64];
    struct berth_instance *m = load("dynamic.onnx");

    (void)unused;
    for (size_t i = 0; i < 64; i++)
        x[i] = (float)i;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct berth_tensor t = {"x", BERTH_FP32, 3, {0}, x, 0};
        struct berth_request r = {.input_count = 0}, *reqs[] = {&r};
        const struct berth_tensor *y;

        memcpy(t.shape, shapes[i], sizeof shapes[i]);
        t.size = (size_t)(t.shape[0] * t.shape[1] * t.shape[2]) * 4;
        fake_add(&r, &t);
        assert_int_equal(ops->run(m, reqs, 1, NULL), 0);
        y = fake_get(&r, "y");
        assert_memory_equal(y->shape, t.shape, sizeof shapes[i]);
        assert_int_equal(y->size, t.size);
        for (size_t k = 0; k < t.size / 4; k++)
            assert_true(((const float *)y->bytes)[k] == 2 * x[k]);
        fake_clear(&r);
    }
    ops->unload(m);
}

static void
outputs_with_rows_of_their_own_are_not_split(void **unused)
{
    static const float x[] = {1, 0, 0, 0, 1, 1};
    static const char *const files[] = {"nonzero.onnx", "liar.onnx"};

    (void)unused;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct berth_instance *m = load(files[i]);
        struct berth_tensor t[] = {floats("x", x, 2, 2), floats("x", x, 3, 2)};
        struct berth_request r[2] = {{.input_count = 0}}, *reqs[] = {&r[0], &r[1]};
        struct berth_err e = {""};

        print_message("  %s\n", files[i]);
        fake_add(&r[0], &t[0]);
        fake_add(&r[1], &t[1]);
        assert_int_equal(ops->run(m, reqs, 2, &e), -BERTH_EUNSUPPORTED);
        assert_int_equal(r[0].output_count + r[1].output_count, 0);
        assert_int_equal(ops->run(m, &reqs[0], 1, &e), 0);
        assert_int_equal(ops->run(m, &reqs[1], 1, &e), 0);
        assert_int_equal(fake_get(&r[0], "y")->shape[0], 1);
        assert_int_equal(fake_get(&r[1], "y")->shape[0], i == 0 ? 3 : 1);
        fake_clear(&r[0]);
        fake_clear(&r[1]);
        ops->unload(m);
    }
}

static void
a_model_that_belies_its_shapes_serves(void **unused)
{
    static const float x[] = {1, 2, 3, 4, 5, 6};
    static const int64_t rows[] = {1, 1, 2, 1, 3, 3}; /* one row: as declared, by chance */
    struct berth_instance *m = load("liar.onnx");

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct berth_tensor t = floats("x", x, rows[i], 2);
        struct berth_request r = {.input_count = 0}, *reqs[] = {&r};

        fake_add(&r, &t);
        assert_int_equal(ops->run(m, reqs, 1, NULL), 0);
        assert_int_equal(fake_get(&r, "y")->shape[0], 1);
        assert_true(((const float *)fake_get(&r, "y")->bytes)[0] == (rows[i] == 1   ? 1
                                                                     : rows[i] == 2 ? 4
                                                                                    : 9));
        fake_clear(&r);
    }
    ops->unload(m);
}

static void
strings_are_worked_on(void **unused)
{
    static const char x[] = "\3\0\0\0abc\0\0\0\0\6\0\0\0gr\xc3\xbc"
                            "n!",
                      y[] = "\1\0\0\0q";
    struct berth_instance *m = load("strings.onnx");
    struct berth_request r[2] = {{.input_count = 0}}, *reqs[] = {&r[0], &r[1]};
    struct berth_tensor bad = {"x", BERTH_BYTES, 1, {1}, "\5\0\0\0a", 5};

    (void)unused;
    fake_add(&r[0], &(struct berth_tensor){"x", BERTH_BYTES, 1, {3}, x, sizeof x - 1});
    fake_add(&r[1], &(struct berth_tensor){"x", BERTH_BYTES, 1, {1}, y, sizeof y - 1});
    assert_int_equal(ops->run(m, reqs, 2, NULL), 0);
    assert_memory_equal(fake_get(&r[0], "y")->bytes, "\3\0\0\0ABC\0\0\0\0", 11);
    assert_int_equal(fake_get(&r[0], "y")->size, sizeof x - 1);
    assert_memory_equal(fake_get(&r[1], "y")->bytes, "\1\0\0\0Q", 5);
    fake_clear(&r[0]);
    fake_clear(&r[1]);
    r[0].inputs[0] = bad;
    assert_int_equal(ops->run(m, reqs, 1, NULL), -BERTH_EINVAL);
    fake_clear(&r[0]);
    ops->unload(m);
}

struct runner {
    struct berth_instance *m;
    struct berth_request *r;
    int rc;
    atomic_bool done;
};

static void *
run_it(void *arg)
{
    struct runner *it = arg;

    it->rc = ops->run(it->m, &it->r, 1, NULL);
    atomic_store(&it->done, true);
    return NULL;
}

static double
seconds(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
cancel_ends_a_run_and_no_later_one(void **unused)
{
    static const int64_t hours = 1000000000, short_one = 10;
    struct berth_instance *m = load("slow.onnx");
    struct berth_request r = {.input_count = 0};
    struct runner it = {.m = m, .r = &r};
    pthread_t thread;
    double start = seconds();

    (void)unused;
    fake_add(&r, &(struct berth_tensor){"count", BERTH_INT64, 0, {0}, &hours, 8});
    for (int marked = 0; marked < 2; marked++) { /* by the flag alone, and by the mark as well */
        atomic_store(&it.done, false);
        assert_int_equal(pthread_create(&thread, NULL, run_it, &it), 0);
        atomic_store(&r.cancelled, marked == 1);
        while (!atomic_load(&it.done) && seconds() - start < 60) {
            ops->cancel(m); /* again and again: the run may not have begun */
            (void)usleep(1000);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(it.rc, -BERTH_ECANCELED);
    }
    ops->cancel(m);
    atomic_store(&r.cancelled, false);
    fake_clear(&r);
    r.inputs[0].bytes = &short_one;
    assert_null(run_it(&it));
    assert_int_equal(it.rc, 0);
    assert_true(((const float *)fake_get(&r, "y")->bytes)[0] == 1.0F / 1024);
    fake_clear(&r);
    ops->unload(m);
}

/* Cancels that come at any time end the run they meet or none: the other runs are whole. */
static void *
cancel_often(void *arg)
{
    struct runner *it = arg;

    while (!atomic_load(&it->done)) {
        ops->cancel(it->m);
        (void)sched_yield();
    }
    return NULL;
}

static void
cancels_and_runs_do_not_mix(void **unused)
{
    static const int64_t count = 100;
    struct berth_instance *m = load("slow.onnx");
    struct berth_request r = {.input_count = 0}, *reqs[] = {&r};
    struct runner it = {.m = m};
    pthread_t thread;
    int ended = 0;

    (void)unused;
    fake_add(&r, &(struct berth_tensor){"count", BERTH_INT64, 0, {0}, &count, 8});
    assert_int_equal(pthread_create(&thread, NULL, cancel_often, &it), 0);
    for (int i = 0; i < 300; i++) {
        int rc = ops->run(m, reqs, 1, NULL);

        assert_true(rc == 0 || rc == -BERTH_ECANCELED);
        ended += rc != 0;
        fake_clear(&r);
    }
    atomic_store(&it.done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("  %d of 300 cancelled\n", ended);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ops->run(m, reqs, 1, NULL), 0);
        fake_clear(&r);
    }
    ops->unload(m);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_datatype_passes),
        cmocka_unit_test(models_are_described),
        cmocka_unit_test(bad_models_are_refused_with_advice),
        cmocka_unit_test(outputs_that_are_no_tensors_are_left_out),
        cmocka_unit_test(requests_of_different_rows_run_together),
        cmocka_unit_test(more_than_is_worth_gathering_runs_alone),
        cmocka_unit_test(settings_are_taken),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(shapes_may_change),
        cmocka_unit_test(outputs_with_rows_of_their_own_are_not_split),
        cmocka_unit_test(a_model_that_belies_its_shapes_serves),
        cmocka_unit_test(strings_are_worked_on),
        cmocka_unit_test(cancel_ends_a_run_and_no_later_one),
        cmocka_unit_test(cancels_and_runs_do_not_mix),
    };
    struct berth_err e = {""};

    if (argc < 4) {
        (void)fprintf(stderr, "usage: test_onnx berth-onnx.so make_models.py FOLDER\n");
        return 1;
    }
    models = argv[3];
    if (make_models(argv[2], models) != 0) {
        (void)fprintf(stderr, "no models: set BERTH_PYTHON to a Python with onnx and numpy\n");
        return 1;
    }
    ops = fake_open(argv[1], &e);
    if (ops == NULL) {
        (void)fprintf(stderr, "%s: %s\n", argv[1], e.msg);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
