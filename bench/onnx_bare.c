#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <onnxruntime_c_api.h>

/*
 * The floor that serving an ONNX model is compared with: a closed loop on ONNX Runtime's C API,
 * one thread, nothing around it.
 *
 *     onnx_bare MODEL.onnx [SECONDS [ROWS...]]
 *
 * One line of JSON for each number of rows (1 and 32 when none are named): wall and CPU
 * nanoseconds a run, the median of ROUNDS rounds.  The first input is filled with FP32 numbers;
 * its first dimension is the batch, other free dimensions are taken as 1.
 */

enum { ROUNDS = 5, RANK_MAX = 8 };

static const OrtApi *api;

static void
check(OrtStatus *s)
{
    if (s == NULL)
        return;
    (void)fprintf(stderr, "onnx_bare: %s\n", api->GetErrorMessage(s));
    exit(1);
}

struct bench {
    OrtSession *session;
    OrtMemoryInfo *cpu;
    char *input, *output;
    int64_t shape[RANK_MAX];
    size_t rank;
    float *x;
    size_t bytes;
};

static uint64_t
now_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
run_once(const struct bench *b)
{
    OrtValue *in = NULL, *out = NULL;

    check(api->CreateTensorWithDataAsOrtValue(b->cpu, b->x, b->bytes, b->shape, b->rank,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &in));
    check(api->Run(b->session, NULL, (const char *const *)&b->input, (const OrtValue *const *)&in,
                   1, (const char *const *)&b->output, 1, &out));
    api->ReleaseValue(out);
    api->ReleaseValue(in);
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
measure(struct bench *b, int64_t rows, double seconds)
{
    double wall[ROUNDS], cpu[ROUNDS];
    size_t n = (size_t)rows;

    b->shape[0] = rows;
    for (size_t d = 1; d < b->rank; d++)
        n *= (size_t)b->shape[d];
    b->bytes = n * sizeof *b->x;
    b->x = malloc(b->bytes);
    if (b->x == NULL)
        exit(1);
    for (size_t i = 0; i < n; i++)
        b->x[i] = (float)(i * 7919 % 17) / 16;
    for (int i = 0; i < 200; i++)
        run_once(b);
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t t0 = now_ns(CLOCK_MONOTONIC), c0 = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        const uint64_t until = t0 + (uint64_t)(seconds * 1e9 / ROUNDS);
        uint64_t runs = 0;

        do {
            for (int i = 0; i < 16; i++)
                run_once(b);
            runs += 16;
        } while (now_ns(CLOCK_MONOTONIC) < until);
        wall[round] = (double)(now_ns(CLOCK_MONOTONIC) - t0) / (double)runs;
        cpu[round] = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - c0) / (double)runs;
    }
    free(b->x);
    qsort(wall, ROUNDS, sizeof wall[0], by_size);
    qsort(cpu, ROUNDS, sizeof cpu[0], by_size);
    (void)printf("{\"bench\":\"onnx_bare\",\"engine\":\"%s\",\"rows\":%lld,\"wall_ns\":%.0f,"
                 "\"cpu_ns\":%.0f}\n",
                 OrtGetApiBase()->GetVersionString(), (long long)rows, wall[ROUNDS / 2],
                 cpu[ROUNDS / 2]);
}

static void
bench_open(struct bench *b, const char *path)
{
    OrtEnv *env;
    OrtSessionOptions *so;
    OrtAllocator *alloc;
    OrtTypeInfo *type;
    const OrtTensorTypeAndShapeInfo *info;
    ONNXTensorElementDataType dtype;

    check(api->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "bench", &env));
    check(api->CreateSessionOptions(&so));
    check(api->SetIntraOpNumThreads(so, 1));
    check(api->SetInterOpNumThreads(so, 1));
    check(api->CreateSession(env, path, so, &b->session));
    check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &b->cpu));
    check(api->GetAllocatorWithDefaultOptions(&alloc));
    check(api->SessionGetInputName(b->session, 0, alloc, &b->input));
    check(api->SessionGetOutputName(b->session, 0, alloc, &b->output));
    check(api->SessionGetInputTypeInfo(b->session, 0, &type));
    check(api->CastTypeInfoToTensorInfo(type, &info));
    if (info == NULL) {
        (void)fprintf(stderr, "onnx_bare: the first input is no tensor\n");
        exit(1);
    }
    check(api->GetTensorElementType(info, &dtype));
    check(api->GetDimensionsCount(info, &b->rank));
    if (dtype != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || b->rank == 0 || b->rank > RANK_MAX) {
        (void)fprintf(stderr, "onnx_bare: the first input must be FP32 with 1 to %d dimensions\n",
                      RANK_MAX);
        exit(1);
    }
    check(api->GetDimensions(info, b->shape, b->rank));
    for (size_t d = 0; d < b->rank; d++)
        b->shape[d] = b->shape[d] < 0 ? 1 : b->shape[d];
    api->ReleaseTypeInfo(type);
    api->ReleaseSessionOptions(so);
}

int
main(int argc, char **argv)
{
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    struct bench b = {.session = NULL};

    api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (argc < 2 || api == NULL) {
        (void)fprintf(stderr, "usage: onnx_bare MODEL.onnx [SECONDS [ROWS...]]%s\n",
                      api == NULL ? " (the ONNX Runtime here is older than its header)" : "");
        return 1;
    }
    bench_open(&b, argv[1]);
    for (int i = 3; i < argc; i++)
        measure(&b, strtoll(argv[i], NULL, 10) > 0 ? strtoll(argv[i], NULL, 10) : 1, seconds);
    if (argc <= 3) {
        measure(&b, 1, seconds);
        measure(&b, 32, seconds);
    }
    return 0;
}
