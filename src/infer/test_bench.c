#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/host.h"
#include "infer/model.h"
#include "infer/test_fake.h"
#include "obs/metrics.h"
#include "plugin/plugins.h"
#include "store/store.h"
#include "wire/json.h"

/* ---- clients ---- */

static pthread_mutex_t clients_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t clients_changed = PTHREAD_COND_INITIALIZER;

static void
on_done(struct berth_request *r)
{
    struct client *c = r->user;

    berth_assert(berth_loop_is_mine(r->loop));
    (void)pthread_mutex_lock(&clients_mu);
    c->done = true;
    (void)pthread_cond_broadcast(&clients_changed);
    (void)pthread_mutex_unlock(&clients_mu);
}

static void
on_delta(struct berth_request *r, const struct berth_delta *d)
{
    struct client *c = r->user;

    berth_assert(!c->done);
    if (c->text_len + d->text_len < sizeof c->text) {
        memcpy(c->text + c->text_len, d->text, d->text_len);
        c->text_len += d->text_len;
    }
}

static void
client_init(struct client *c, struct berth_loop *l)
{
    memset(c, 0, sizeof *c);
    c->r.loop = l;
    c->r.user = c;
    c->r.done = on_done;
    berth_arena_init(&c->r.arena, 1 << 20);
}

void
client_tensor(struct client *c, struct berth_loop *l, float value, int64_t rows)
{
    client_init(c, l);
    for (size_t i = 0; i < 16; i++)
        c->x[i] = value + (float)i;
    c->input = (struct berth_tensor){.name = "x",
                                     .dtype = BERTH_FP32,
                                     .rank = 2,
                                     .shape = {rows, 2},
                                     .bytes = c->x,
                                     .size = (size_t)rows * 2 * sizeof(float)};
    c->r.task = BERTH_TASK_TENSOR;
    c->r.inputs = &c->input;
    c->r.input_count = 1;
}

void
client_prompt(struct client *c, struct berth_loop *l, const char *prompt)
{
    client_init(c, l);
    c->r.delta = on_delta;
    c->r.task = BERTH_TASK_COMPLETION;
    c->r.gen.prompt = prompt;
    c->r.gen.prompt_len = strlen(prompt);
}

static void
submit(void *arg)
{
    struct client *c = arg;

    c->submitted = berth_model_submit(c->m, &c->r, &c->err);
}

void
client_submit(struct client *c, struct berth_model *m)
{
    c->m = m;
    berth_loop_call(c->r.loop, submit, c);
}

static void
cancel(void *arg)
{
    struct client *c = arg;

    berth_request_cancel(&c->r);
}

void
client_cancel(struct client *c)
{
    berth_loop_call(c->r.loop, cancel, c);
}

void
client_wait(struct client *c)
{
    struct timespec until;

    berth_assert(c->submitted == 0);
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(PATIENCE_NS / BERTH_S);
    (void)pthread_mutex_lock(&clients_mu);
    while (!c->done) {
        if (pthread_cond_timedwait(&clients_changed, &clients_mu, &until) == ETIMEDOUT)
            berth_assert(!"no done() in time");
    }
    (void)pthread_mutex_unlock(&clients_mu);
}

bool
client_is_done(struct client *c)
{
    (void)pthread_mutex_lock(&clients_mu);
    bool done = c->done;
    (void)pthread_mutex_unlock(&clients_mu);
    return done;
}

void
client_fini(struct client *c)
{
    berth_arena_fini(&c->r.arena);
}

/* ---- everything around ---- */

void
bench_open(struct bench *b, const struct berth_batch_conf *batch, uint32_t models_max,
           const char *store_path)
{
    struct berth_err e = {""};
    int r = store_path != NULL ? berth_store_open_sqlite(store_path, &b->store, &e)
                               : berth_store_open_memory(&b->store, &e);

    if (r < 0)
        fail_msg("%s", e.msg);
    const struct berth_registry_conf conf = {.store = b->store,
                                             .plugins = b->plugins,
                                             .metrics = b->metrics,
                                             .models_max = models_max,
                                             .cores = 2,
                                             .loaders = b->loaders > 0 ? b->loaders : 2,
                                             .batch = *batch,
                                             .memory = b->memory,
                                             .cache_bytes_max = 1 << 20};
    if (berth_registry_new(&conf, &b->g, &e) < 0)
        fail_msg("%s", e.msg);
}

void
bench_init(struct bench *b, const struct berth_batch_conf *batch, uint32_t models_max,
           const char *store_path)
{
    struct berth_err e = {""};

    fake_reset();
    memset(b, 0, sizeof *b);
    b->memory.unmeasured = true; /* what the fake engine says of its memory is no measure */
    (void)snprintf(b->dir, sizeof b->dir, "/tmp/berth-infer-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    b->metrics = berth_metrics_new();
    assert_non_null(b->metrics);
    assert_int_equal(berth_plugins_new(NULL, berth_host_calls(), &b->plugins, &e), 0);
    assert_int_equal(berth_plugins_add(b->plugins, &fake_ops, &e), 0);
    assert_int_equal(berth_loop_new("test", &b->loop, &e), 0);
    bench_open(b, batch, models_max, store_path);
}

void
bench_close(struct bench *b)
{
    berth_registry_free(b->g);
    berth_store_close(b->store);
    b->g = NULL;
    b->store = NULL;
}

void
bench_init_room(struct bench *b, const struct berth_batch_conf *batch, uint64_t room_tib)
{
    bench_init(b, batch, 64, NULL);
    bench_close(b);
    b->memory.max_bytes = room_tib * TIB + TIB / 2;
    b->memory.load_wait_ns = 100 * BERTH_MS;
    bench_open(b, batch, 64, NULL);
}

void
bench_fini(struct bench *b)
{
    char command[128];

    bench_close(b);
    berth_loop_free(b->loop);
    berth_plugins_free(b->plugins);
    berth_metrics_free(b->metrics);
    (void)snprintf(command, sizeof command, "rm -r %s", b->dir);
    assert_int_equal(system(command), 0);
    struct fake_seen s = fake_seen();
    assert_true(s.unloads <= s.loads);
}

const char *
bench_file(struct bench *b, const char *name, const char *text)
{
    static char path[256]; /* of the last call: tests use one at a time */
    char *at = path + snprintf(path, sizeof path, "%s/", b->dir);

    (void)snprintf(at, sizeof path - (size_t)(at - path), "%s", name);
    for (at = strchr(at, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    if (text != NULL) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        (void)fputs(text, f);
        (void)fclose(f);
    }
    return path;
}

int
bench_register(struct bench *b, const char *name, const char *path, const char *config,
               struct berth_err *e)
{
    const struct berth_json *v = NULL;
    struct berth_arena a;
    char id[BERTH_UUID_TEXT];

    berth_arena_init(&a, 1 << 20);
    if (config != NULL)
        assert_int_equal(berth_json_parse(&a, config, strlen(config), NULL, &v, e), 0);
    const struct berth_model_spec spec = {.name = name, .path = path, .config = v};
    int r = berth_registry_register(b->g, &spec, id, e);
    berth_arena_fini(&a);
    return r;
}

void
bench_add(struct bench *b, const char *name, const char *config)
{
    char file[64];
    struct berth_err e = {""};

    (void)snprintf(file, sizeof file, "%s.fake", name);
    if (bench_register(b, name, bench_file(b, file, "good"), config, &e) < 0)
        fail_msg("%s", e.msg);
}

void
bench_wait_state(struct bench *b, const char *name, enum berth_model_state state)
{
    uint64_t end = berth_now_ns() + PATIENCE_NS;

    for (;;) {
        struct berth_model_info info;
        struct berth_arena a;
        struct berth_err e = {""};
        berth_arena_init(&a, 4 << 20);
        int r = berth_registry_info(b->g, &a, berth_slice_of(name), &info, &e);
        enum berth_model_state now = r == 0 ? info.state : BERTH_MODEL_STATE_COUNT;
        if (now != state && berth_now_ns() > end)
            fail_msg("%s is %s (%s), waited for %s", name,
                     r == 0 ? berth_model_state_name(now) : e.msg, r == 0 ? info.why : "",
                     berth_model_state_name(state));
        berth_arena_fini(&a);
        if (now == state)
            return;
        (void)usleep(1000); /* nothing to wait on from outside: a condition with a deadline */
    }
}

struct berth_model_info
bench_info(struct bench *b, struct berth_arena *a, const char *name)
{
    struct berth_model_info info;
    struct berth_err e = {""};

    if (berth_registry_info(b->g, a, berth_slice_of(name), &info, &e) < 0)
        fail_msg("%s", e.msg);
    return info;
}

enum berth_model_state
bench_state(struct bench *b, const char *name, char why[480])
{
    struct berth_arena a;

    berth_arena_init(&a, 1 << 20);
    const struct berth_model_info info = bench_info(b, &a, name);
    if (why != NULL)
        (void)snprintf(why, 480, "%s", info.why);
    berth_arena_fini(&a);
    return info.state;
}

struct berth_model *
bench_find(struct bench *b, const char *name)
{
    struct berth_model *m = NULL;
    struct berth_err e = {""};

    if (berth_registry_find(b->g, berth_slice_of(name), (struct berth_slice){NULL, 0}, &m, &e) < 0)
        fail_msg("%s", e.msg);
    return m;
}
