#include <stdlib.h>
#include <time.h>

#include "fakehost.h"

/*
 * What the backend adds to the bare engine (onnx_bare): run() of berth-onnx.so in a closed loop,
 * for one request and for n requests of one row gathered into a batch.
 *
 *     onnx_run berth-onnx.so MODEL.onnx [SECONDS [REQUESTS...]]
 *
 * The host is the tests' one but for output(), which hands out a buffer kept for it, as a
 * request's arena does.  FP32 inputs; free dimensions are taken as 1.
 */

enum { ROUNDS = 5, REQUEST_MAX = 256, OUTPUT_MAX = 1 << 16 };

static int
bench_output(struct berth_request *r, const struct berth_tensor *shape, void **ret_buf,
             struct berth_err *e)
{
    if (shape->size > OUTPUT_MAX)
        return berth_err_set(e, BERTH_ENOMEM, "output %s: %zu bytes", shape->name, shape->size);
    *ret_buf = (void *)(uintptr_t)r->outputs[0].bytes;
    return 0;
}

static uint64_t
now_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
measure(const struct berth_backend_ops *ops, struct berth_instance *m,
        struct berth_request *const reqs[], size_t n, double seconds)
{
    double wall[ROUNDS], cpu[ROUNDS];
    struct berth_err e = {""};

    for (int round = -1; round < ROUNDS; round++) { /* the first is not counted */
        const uint64_t t0 = now_ns(CLOCK_MONOTONIC), c0 = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        const uint64_t until = t0 + (uint64_t)(seconds * 1e9 / (ROUNDS + 1));
        uint64_t runs = 0;

        do {
            for (int i = 0; i < 16; i++, runs++) {
                if (ops->run(m, reqs, n, &e) < 0) {
                    (void)fprintf(stderr, "onnx_run: %s\n", e.msg);
                    exit(1);
                }
            }
        } while (now_ns(CLOCK_MONOTONIC) < until);
        if (round < 0)
            continue;
        wall[round] = (double)(now_ns(CLOCK_MONOTONIC) - t0) / (double)runs;
        cpu[round] = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - c0) / (double)runs;
    }
    qsort(wall, ROUNDS, sizeof wall[0], by_size);
    qsort(cpu, ROUNDS, sizeof cpu[0], by_size);
    (void)printf("{\"bench\":\"onnx_run\",\"engine\":\"%s\",\"requests\":%zu,\"wall_ns\":%.0f,"
                 "\"cpu_ns\":%.0f}\n",
                 ops->version, n, wall[ROUNDS / 2], cpu[ROUNDS / 2]);
}

/* One row of every input, the same numbers for each request. */
static void
fill(struct berth_request *r, const struct berth_describe *d)
{
    for (size_t i = 0; i < d->input_count; i++) {
        struct berth_tensor t = {
            .name = d->inputs[i].name, .dtype = d->inputs[i].dtype, .rank = d->inputs[i].rank};
        size_t count = 1;
        float *x;

        for (uint32_t k = 0; k < t.rank; k++) {
            t.shape[k] = d->inputs[i].shape[k] < 0 ? 1 : d->inputs[i].shape[k];
            count *= (size_t)t.shape[k];
        }
        x = malloc(count * sizeof *x);
        for (size_t k = 0; x != NULL && k < count; k++)
            x[k] = (float)(k * 7919 % 17) / 16;
        t.bytes = x;
        t.size = count * sizeof *x;
        fake_add(r, &t);
    }
    r->outputs[0].bytes = aligned_alloc(64, OUTPUT_MAX);
}

int
main(int argc, char **argv)
{
    static struct berth_request requests[REQUEST_MAX];
    static struct berth_request *reqs[REQUEST_MAX];
    struct berth_host host = fake_host;
    struct berth_err e = {"usage: onnx_run berth-onnx.so MODEL.onnx [SECONDS [REQUESTS...]]"};
    struct berth_load how = {.struct_size = sizeof how, .settings_json = "{}", .threads = 1};
    const double seconds = argc > 3 ? strtod(argv[3], NULL) : 2;
    const struct berth_backend_ops *ops = argc > 2 ? fake_open(argv[1], &e) : NULL;
    struct berth_instance *m = NULL;

    host.output = bench_output;
    how.path = argc > 2 ? argv[2] : "";
    if (ops == NULL || ops->load(&host, &how, &m, &e) < 0) {
        (void)fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    for (size_t i = 0; i < REQUEST_MAX; i++) {
        fill(&requests[i], ops->describe(m));
        reqs[i] = &requests[i];
    }
    for (int i = 4; i < argc; i++) {
        size_t n = strtoul(argv[i], NULL, 10);

        measure(ops, m, reqs, n < 1 ? 1 : n > REQUEST_MAX ? REQUEST_MAX : n, seconds);
    }
    if (argc <= 4) {
        measure(ops, m, reqs, 1, seconds);
        measure(ops, m, reqs, 32, seconds);
    }
    ops->unload(m);
    return 0;
}
