#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <pthread.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/host.h"
#include "infer/model.h"
#include "infer/registry.h"
#include "infer/request.h"
#include "obs/metrics.h"
#include "plugin/plugins.h"
#include "store/store.h"

/*
 * What the core costs a request: submit on a loop, a model that does nothing on its instance's
 * thread, done on the loop.  bench_infer [requests]
 */
enum { FLIGHT_MAX = 64 };

struct berth_instance {
    const struct berth_host *h;
    struct berth_describe describe;
    struct berth_tensor_spec in, out;
};

static int
load(const struct berth_host *h, const struct berth_load *how, struct berth_instance **ret,
     struct berth_err *e)
{
    struct berth_instance *m = calloc(1, sizeof *m);

    (void)how;
    if (m == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "no memory");
    m->h = h;
    m->in =
        (struct berth_tensor_spec){.name = "x", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 64}};
    m->out =
        (struct berth_tensor_spec){.name = "y", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 10}};
    m->describe = (struct berth_describe){.struct_size = sizeof m->describe,
                                          .tasks = BERTH_TASK_TENSOR,
                                          .inputs = &m->in,
                                          .input_count = 1,
                                          .outputs = &m->out,
                                          .output_count = 1,
                                          .batch_rows_max = UINT32_MAX};
    *ret = m;
    return 0;
}

static void
unload(struct berth_instance *m)
{
    free(m);
}

static const struct berth_describe *
describe(const struct berth_instance *m)
{
    return &m->describe;
}

static int
run(struct berth_instance *m, struct berth_request *const reqs[], size_t n, struct berth_err *e)
{
    for (size_t i = 0; i < n; i++) {
        struct berth_tensor y = {
            .name = "y", .dtype = BERTH_FP32, .rank = 2, .shape = {1, 10}, .size = 40};
        void *buf;
        int r = m->h->output(reqs[i], &y, &buf, e);
        if (r < 0)
            return r;
        memset(buf, 0, y.size);
    }
    return 0;
}

static const char *const suffixes[] = {".noop", NULL};
static const struct berth_backend_ops noop = {.abi = BERTH_BACKEND_ABI,
                                              .struct_size = sizeof noop,
                                              .name = "noop",
                                              .version = "1",
                                              .suffixes = suffixes,
                                              .load = load,
                                              .unload = unload,
                                              .describe = describe,
                                              .run = run};

struct flight {
    struct berth_request r;
    struct berth_tensor x;
    float values[64];
};

struct course {
    struct berth_loop *loop;
    struct berth_model *m;
    struct flight flights[FLIGHT_MAX];
    unsigned in_flight, left, out;
    uint64_t batches;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool over;
};

static void done(struct berth_request *r);

static void
go(struct course *k, struct flight *f)
{
    struct berth_err e;

    k->left--;
    k->out++;
    berth_arena_reset(&f->r.arena);
    berth_assert(berth_model_submit(k->m, &f->r, &e) == 0);
}

static void
done(struct berth_request *r)
{
    struct course *k = r->user;

    berth_assert(r->result == 0);
    k->out--;
    k->batches += r->batch_requests;
    if (k->left > 0) {
        go(k, (struct flight *)r);
    } else if (k->out == 0) {
        (void)pthread_mutex_lock(&k->mu);
        k->over = true;
        (void)pthread_cond_signal(&k->cond);
        (void)pthread_mutex_unlock(&k->mu);
    }
}

static void
start(void *arg)
{
    struct course *k = arg;

    for (unsigned i = 0; i < k->in_flight; i++)
        go(k, &k->flights[i]);
}

static double
cpu_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
measure(struct course *k, unsigned in_flight, unsigned n)
{
    k->in_flight = in_flight;
    k->left = n;
    k->batches = 0;
    k->over = false;
    double cpu = cpu_s();
    uint64_t begin = berth_now_ns();
    berth_loop_call(k->loop, start, k);
    (void)pthread_mutex_lock(&k->mu);
    while (!k->over)
        (void)pthread_cond_wait(&k->cond, &k->mu);
    (void)pthread_mutex_unlock(&k->mu);
    double wall_us = (double)(berth_now_ns() - begin) / 1e3;
    (void)printf("%2u in flight: %7.2f us a request, %7.2f us round trip, %5.2f us CPU, mean batch "
                 "%.1f\n",
                 in_flight, wall_us / n, wall_us / n * in_flight, (cpu_s() - cpu) * 1e6 / n,
                 (double)k->batches / n);
}

static void
prepare(struct course *k)
{
    for (size_t i = 0; i < FLIGHT_MAX; i++) {
        struct flight *f = &k->flights[i];
        f->x = (struct berth_tensor){.name = "x",
                                     .dtype = BERTH_FP32,
                                     .rank = 2,
                                     .shape = {1, 64},
                                     .bytes = f->values,
                                     .size = sizeof f->values};
        f->r.loop = k->loop;
        f->r.user = k;
        f->r.done = done;
        f->r.task = BERTH_TASK_TENSOR;
        f->r.inputs = &f->x;
        f->r.input_count = 1;
        f->r.deadline_ns = berth_now_ns() + 300 * BERTH_S;
        berth_arena_init(&f->r.arena, 1 << 20);
    }
}

int
main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20000;
    char path[] = "/tmp/berth-bench-XXXXXX.noop", id[BERTH_UUID_TEXT];
    int fd = mkstemps(path, 5);
    struct course *k = calloc(1, sizeof *k);
    struct berth_registry *g;
    struct berth_store *store;
    struct berth_plugins *plugins;
    struct berth_metrics *metrics = berth_metrics_new();
    struct berth_err e = {""};

    berth_assert(fd >= 0 && k != NULL && metrics != NULL);
    (void)close(fd);
    berth_assert(berth_store_open_memory(&store, &e) == 0);
    berth_assert(berth_plugins_new(NULL, berth_host_calls(), &plugins, &e) == 0);
    berth_assert(berth_plugins_add(plugins, &noop, &e) == 0);
    berth_assert(berth_loop_new("bench", &k->loop, &e) == 0);
    const struct berth_registry_conf conf = {
        .store = store,
        .plugins = plugins,
        .metrics = metrics,
        .models_max = 1,
        .cores = 1,
        .loaders = 1,
        .batch = {.batch_requests_max = 32, .wait_ns_max = 0, .queue_len_max = 1024}};
    const struct berth_model_spec spec = {.name = "noop", .path = path};
    berth_assert(berth_registry_new(&conf, &g, &e) == 0);
    berth_assert(berth_registry_register(g, &spec, id, &e) == 0);
    while (berth_registry_find(g, BERTH_SLICE("noop"), (struct berth_slice){NULL, 0}, &k->m, &e) !=
           0)
        (void)usleep(1000);
    prepare(k);
    static const unsigned flights[] = {1, 8, 32, 64};
    for (size_t i = 0; i < BERTH_COUNT(flights); i++)
        measure(k, flights[i], n);
    berth_model_unref(k->m);
    berth_registry_free(g);
    for (size_t i = 0; i < FLIGHT_MAX; i++)
        berth_arena_fini(&k->flights[i].r.arena);
    berth_loop_free(k->loop);
    berth_plugins_free(plugins);
    berth_store_close(store);
    berth_metrics_free(metrics);
    free(k);
    (void)unlink(path);
    return 0;
}
