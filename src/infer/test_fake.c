#include "infer/test_fake.h"

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

#include "base/assert.h"

enum { SEQUENCES = 8 };

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct fake_seen seen;
static bool run_open = true, load_open = true, unload_open = true, any_thread;
static uint64_t said_bytes;
static pthread_t last_thread;

struct sequence {
    struct berth_request *r;
    const struct berth_gen *gen;
    size_t at;
};

struct berth_instance {
    const struct berth_host *h;
    struct berth_describe describe;
    struct berth_tensor_spec in, out;
    struct sequence seq[SEQUENCES];
    size_t len;
    bool free;               /* runs of this instance do not wait for the gate */
    bool broken;             /* every run and step of this instance fails */
    bool running, cancelled; /* under mu */
};

/* ---- what the test says and sees ---- */

void
fake_reset(void)
{
    (void)pthread_mutex_lock(&mu);
    seen = (struct fake_seen){0};
    run_open = load_open = unload_open = true;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mu);
}

void
fake_gate_run(bool open)
{
    (void)pthread_mutex_lock(&mu);
    run_open = open;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mu);
}

void
fake_gate_load(bool open)
{
    (void)pthread_mutex_lock(&mu);
    load_open = open;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mu);
}

void
fake_gate_unload(bool open)
{
    (void)pthread_mutex_lock(&mu);
    unload_open = open;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mu);
}

struct fake_seen
fake_seen(void)
{
    (void)pthread_mutex_lock(&mu);
    struct fake_seen copy = seen;
    (void)pthread_mutex_unlock(&mu);
    return copy;
}

static void
wait_until(const unsigned *counter, unsigned n, const char *what)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(PATIENCE_NS / BERTH_S);
    (void)pthread_mutex_lock(&mu);
    while (*counter < n) {
        if (pthread_cond_timedwait(&changed, &mu, &until) == ETIMEDOUT) {
            (void)pthread_mutex_unlock(&mu);
            fail_msg("%u %s, waited for %u", *counter, what, n);
        }
    }
    (void)pthread_mutex_unlock(&mu);
}

void
fake_wait_runs(unsigned n)
{
    wait_until(&seen.runs, n, "runs");
}

void
fake_wait_cancels(unsigned n)
{
    wait_until(&seen.cancels, n, "cancels");
}

void
fake_wait_loads(unsigned n)
{
    wait_until(&seen.loads, n, "loads");
}

void
fake_wait_unloads(unsigned n)
{
    wait_until(&seen.unloads, n, "unloads");
}

/* ---- the backend ---- */

static int
fake_load(const struct berth_host *h, const struct berth_load *how, struct berth_instance **ret,
          struct berth_err *e)
{
    struct berth_instance *m = calloc(1, sizeof *m);
    const char *batch = strstr(how->settings_json, "\"batch\":");
    char path[600], text[4] = "";
    struct stat st;

    berth_assert(m != NULL);
    (void)pthread_mutex_lock(&mu);
    seen.loads++;
    const char *broken = strstr(how->settings_json, "\"broken\":");
    const char *stuck = strstr(how->settings_json, "\"stuck\":");
    m->free = stuck != NULL && strtoul(stuck + 8, NULL, 10) != seen.loads;
    m->broken = broken != NULL && strtoul(broken + 9, NULL, 10) == seen.loads;
    (void)pthread_cond_broadcast(&changed);
    while (!load_open)
        (void)pthread_cond_wait(&changed, &mu);
    (void)pthread_mutex_unlock(&mu);
    (void)snprintf(path, sizeof path, "%s", how->path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        (void)snprintf(path, sizeof path, "%s/m.fake", how->path);
    FILE *f = fopen(path, "r");
    if (f == NULL || fread(text, 1, 3, f) == 0 || strncmp(text, "bad", 3) == 0) {
        if (f != NULL)
            (void)fclose(f);
        free(m);
        return berth_err_set(e, BERTH_EINVAL, "%s: not a model", path);
    }
    (void)fclose(f);
    m->h = h;
    m->in =
        (struct berth_tensor_spec){.name = "x", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 2}};
    m->out = m->in;
    m->out.name = "y";
    m->describe = (struct berth_describe){
        .struct_size = sizeof m->describe,
        .tasks = BERTH_TASK_TENSOR | BERTH_TASK_COMPLETION,
        .platform = "fake",
        .inputs = &m->in,
        .outputs = &m->out,
        .input_count = 1,
        .output_count = 1,
        .batch_rows_max = batch != NULL ? (uint32_t)strtoul(batch + 8, NULL, 10) : 1000,
        .sequence_max = SEQUENCES,
        .context_len = 4096,
    };
    *ret = m;
    return 0;
}

static void
fake_unload(struct berth_instance *m)
{
    (void)pthread_mutex_lock(&mu);
    seen.unloads++;
    (void)pthread_cond_broadcast(&changed);
    while (!unload_open)
        (void)pthread_cond_wait(&changed, &mu);
    (void)pthread_mutex_unlock(&mu);
    free(m);
}

static const struct berth_describe *
fake_describe(const struct berth_instance *m)
{
    return &m->describe;
}

static bool
all_cancelled(const struct berth_instance *m, struct berth_request *const reqs[], size_t n)
{
    size_t i = 0;

    while (i < n && m->h->cancelled(reqs[i]))
        i++;
    return i == n;
}

/* Wait for the gate; false when cancelled. */
static bool
pass(struct berth_instance *m, struct berth_request *const reqs[], size_t n)
{
    (void)pthread_mutex_lock(&mu);
    seen.batches[seen.runs % 256] = n;
    seen.runs++;
    last_thread = pthread_self();
    m->running = true;
    m->cancelled = all_cancelled(m, reqs, n);
    (void)pthread_cond_broadcast(&changed);
    seen.held++;
    while (!run_open && !m->free && !m->cancelled)
        (void)pthread_cond_wait(&changed, &mu);
    seen.held--;
    bool cancelled = m->cancelled;
    m->running = false;
    (void)pthread_mutex_unlock(&mu);
    return !cancelled;
}

static int
fake_run(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
         struct berth_err *e)
{
    int r;

    if (!pass(m, reqs, n))
        return berth_err_set(e, BERTH_ECANCELED, "cut short");
    if (m->broken)
        return berth_err_set(e, BERTH_EBACKEND, "this instance is broken");
    for (size_t i = 0; i < n; i++) {
        const struct berth_tensor *in = m->h->input(reqs[i], 0);
        const float *x = in->bytes;
        struct berth_tensor out = *in;
        void *buf;
        if (in->size > 0 && x[0] == 13.0f)
            return berth_err_set(e, BERTH_EBACKEND, "13 brings bad luck");
        out.name = "y";
        if ((r = m->h->output(reqs[i], &out, &buf, e)) < 0)
            return r;
        if (in->size > 0 && x[0] == 14.0f) {
            (m->h->fail)(reqs[i], BERTH_EINVAL, "14 is not liked");
            continue;
        }
        for (size_t k = 0; k < in->size / sizeof *x; k++)
            ((float *)buf)[k] = 2 * x[k];
    }
    return 0;
}

static void
fake_cancel(struct berth_instance *m)
{
    (void)pthread_mutex_lock(&mu);
    m->cancelled = m->running;
    seen.cancels++;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mu);
}

static bool
finish_if_over(struct berth_instance *m, struct sequence *s)
{
    struct berth_finish f = {.reason = s->at == s->gen->prompt_len ? BERTH_FINISH_STOP
                                                                   : BERTH_FINISH_LENGTH,
                             .prompt_tokens = (uint32_t)s->gen->prompt_len,
                             .completion_tokens = (uint32_t)s->at};

    if (m->h->cancelled(s->r)) {
        (m->h->fail)(s->r, BERTH_ECANCELED, "nobody waits");
        return true;
    }
    if (s->at < s->gen->prompt_len && (s->gen->max_tokens == 0 || s->at < s->gen->max_tokens))
        return false;
    m->h->finish(s->r, &f);
    return true;
}

static int
fake_step(struct berth_instance *m, struct berth_queue *q, struct berth_err *e)
{
    struct berth_request *r;

    (void)pthread_mutex_lock(&mu);
    seen.steps++;
    while (!run_open)
        (void)pthread_cond_wait(&changed, &mu);
    (void)pthread_mutex_unlock(&mu);
    while (m->len < SEQUENCES && (r = m->h->next(q)) != NULL)
        m->seq[m->len++] = (struct sequence){.r = r, .gen = m->h->gen(r)};
    if (m->broken && m->len > 0)
        return berth_err_set(e, BERTH_EBACKEND, "this instance is broken");
    (void)pthread_mutex_lock(&mu);
    seen.in_hand_max = m->len > seen.in_hand_max ? m->len : seen.in_hand_max;
    (void)pthread_mutex_unlock(&mu);
    for (size_t i = 0; i < m->len;) {
        struct sequence *s = &m->seq[i];
        if (finish_if_over(m, s)) {
            *s = m->seq[--m->len];
            continue;
        }
        if (s->gen->prompt[s->at] == '!')
            return berth_err_set(e, BERTH_EBACKEND, "the engine stumbled");
        struct berth_delta d = {.text = s->gen->prompt + s->at, .text_len = 1, .token_count = 1};
        m->h->emit(s->r, &d);
        s->at++;
        i++;
    }
    return (int)m->len;
}

static void
fake_forget(struct berth_instance *m)
{
    m->len = 0;
    (void)pthread_mutex_lock(&mu);
    seen.resets++;
    (void)pthread_mutex_unlock(&mu);
}

static uint64_t
fake_memory(const struct berth_instance *m)
{
    (void)m;
    return TIB;
}

static const char *const suffixes[] = {".fake", NULL};
static const struct berth_setting settings[] = {
    {"batch", BERTH_SETTING_INT, 0, 1000, "1000", "rows at once"},
    {"broken", BERTH_SETTING_INT, 0, 1000, "0", "the load, from 1, whose instance always fails"},
    {"greedy", BERTH_SETTING_BOOL, 0, 0, "false", "nothing"},
    {"stuck", BERTH_SETTING_INT, 0, 1000, "0", "only that load's instance waits for the gate"},
    {"scale", BERTH_SETTING_FLOAT, 0, 1, "1", "nothing"},
    {NULL, BERTH_SETTING_INT, 0, 0, NULL, NULL},
};
void
fake_any_thread(bool may)
{
    (void)pthread_mutex_lock(&mu);
    any_thread = may;
    (void)pthread_mutex_unlock(&mu);
}

void
fake_forecast(uint64_t bytes)
{
    (void)pthread_mutex_lock(&mu);
    said_bytes = bytes;
    (void)pthread_mutex_unlock(&mu);
}

static uint64_t
fake_say(const struct berth_host *h, const struct berth_load *how)
{
    (void)pthread_mutex_lock(&mu);
    const uint64_t bytes = how->path != NULL && h->struct_size > 0 ? said_bytes : 0;
    (void)pthread_mutex_unlock(&mu);
    return bytes;
}

pthread_t
fake_thread(void)
{
    (void)pthread_mutex_lock(&mu);
    const pthread_t t = last_thread;
    (void)pthread_mutex_unlock(&mu);
    return t;
}

static bool
fake_may_run_anywhere(const struct berth_instance *m)
{
    (void)m;
    (void)pthread_mutex_lock(&mu);
    const bool may = any_thread;
    (void)pthread_mutex_unlock(&mu);
    return may;
}

const struct berth_backend_ops fake_ops = {
    .abi = BERTH_BACKEND_ABI,
    .struct_size = sizeof fake_ops,
    .name = "fake",
    .version = "1",
    .suffixes = suffixes,
    .settings = settings,
    .load = fake_load,
    .unload = fake_unload,
    .describe = fake_describe,
    .run = fake_run,
    .step = fake_step,
    .reset = fake_forget,
    .cancel = fake_cancel,
    .memory = fake_memory,
    .any_thread = fake_may_run_anywhere,
    .forecast = fake_say,
};
