#include "cmd/bench_chat.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/bench_pace.h"
#include "cmd/bench_proc.h"
#include "cmd/chat.h"
#include "cmd/cmd_priv.h"
#include "cmd/remote.h"

/* After a connection was refused, so that a dead server costs little; and when to stop trying. */
enum { REFUSED_PAUSE_MS = 100, REFUSED_MAX = 100 };

/* What all talkers share. */
struct pool {
    pthread_mutex_t mu;
    struct berth_pace pace; /* under mu */
    atomic_ullong counted;
};

struct talker {
    const struct berth_chat_load *load;
    struct berth_chat_load_result result;
    struct pool *pool;
    uint64_t measure_ns, end_ns;
    uint64_t last_ns; /* when a piece of this answer came; 0: none yet */
    bool counts;      /* does this chat? */
    uint32_t refused_in_a_row;
    pthread_t thread;
    bool started;
};

static int
remote_init(struct berth_remote *remote, const struct berth_chat_load *load)
{
    const int rc = berth_remote_init(remote, load->args);

    if (rc == 0 && load->base != NULL)
        remote->base = load->base;
    if (rc == 0 && !load->with_key)
        remote->key = NULL;
    return rc;
}

static bool
on_text(void *arg, struct berth_slice text)
{
    struct talker *t = arg;
    const uint64_t now = berth_now_ns();

    (void)text;
    if (t->counts && t->last_ns != 0)
        berth_hist_add(&t->result.between, now - t->last_ns);
    t->last_ns = now;
    return true;
}

static void
sleep_until(uint64_t ns)
{
    const struct timespec at = {(time_t)(ns / BERTH_S), (long)(ns % BERTH_S)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static uint64_t
take_due(struct pool *p)
{
    (void)pthread_mutex_lock(&p->mu);
    const uint64_t due = berth_pace_next(&p->pace);
    berth_pace_take(&p->pace);
    (void)pthread_mutex_unlock(&p->mu);
    return due;
}

/* When the next conversation is due; false: not any more. */
static bool
next_due(struct talker *t, uint64_t *ret)
{
    *ret = t->load->rate > 0 ? take_due(t->pool) : berth_now_ns();
    if (*ret >= t->end_ns || t->refused_in_a_row >= REFUSED_MAX)
        return false;
    t->counts = *ret >= t->measure_ns;
    if (t->counts && t->load->requests > 0 &&
        atomic_fetch_add(&t->pool->counted, 1) >= t->load->requests)
        return false;
    sleep_until(*ret);
    return true;
}

static void
failed(struct talker *t, const struct berth_chat_result *r)
{
    const bool refused = r->error == -BERTH_ENETWORK && r->first_ns == 0;

    if (t->counts && r->error == 0)
        berth_errors_add_status(&t->result.errors,
                                r->status <= BERTH_BENCH_STATUS_MAX ? r->status : 0);
    else if (t->counts)
        t->result.errors.kinds[r->error == -BERTH_EDEADLINE ? BERTH_BENCH_TIMEOUT
                               : refused                    ? BERTH_BENCH_CONNECT
                                                            : BERTH_BENCH_BROKEN]++;
    t->refused_in_a_row = refused ? t->refused_in_a_row + 1 : 0;
    if (refused)
        sleep_until(berth_now_ns() + REFUSED_PAUSE_MS * BERTH_MS);
}

static void
answered(struct talker *t, const struct berth_chat_result *r, uint64_t late_ns)
{
    t->refused_in_a_row = 0;
    if (!t->counts)
        return;
    t->result.ok++;
    t->result.prompt_tokens += r->prompt_tokens;
    t->result.completion_tokens += r->completion_tokens;
    if (r->first_ns > 0) /* an answer can be empty */
        berth_hist_add(&t->result.first, late_ns + r->first_ns);
    berth_hist_add(&t->result.total, late_ns + r->total_ns);
}

static void *
talk(void *arg)
{
    struct talker *t = arg;
    struct berth_remote remote;
    struct berth_buf messages;
    uint64_t due;

    if (remote_init(&remote, t->load) != 0)
        return NULL;
    berth_buf_init(&messages, NULL);
    berth_chat_say(&messages, "user", berth_slice_of(t->load->prompt));
    const struct berth_chat chat = {
        .model = t->load->model,
        .messages = {messages.at, messages.len},
        .max_tokens = t->load->max_tokens,
        .temperature = -1,
        .on_text = on_text,
        .arg = t,
        .quiet = true,
    };
    while (next_due(t, &due)) {
        struct berth_chat_result r;
        const uint64_t late_ns = berth_now_ns() - due;
        t->last_ns = 0;
        if (berth_chat(&remote, &chat, &r) == 0)
            answered(t, &r, late_ns);
        else
            failed(t, &r);
    }
    berth_buf_fini(&messages);
    berth_remote_fini(&remote);
    return NULL;
}

/* One token, to see that it works, and to have its error told. */
static int
try_once(const struct berth_chat_load *load)
{
    struct talker nobody = {.load = load};
    struct berth_chat_result r;
    struct berth_remote remote;
    struct berth_buf messages;
    int rc = remote_init(&remote, load);

    if (rc != 0)
        return rc;
    berth_buf_init(&messages, NULL);
    berth_chat_say(&messages, "user", berth_slice_of(load->prompt));
    const struct berth_chat chat = {.model = load->model,
                                    .messages = {messages.at, messages.len},
                                    .max_tokens = 1,
                                    .temperature = -1,
                                    .on_text = on_text,
                                    .arg = &nobody};
    rc = berth_chat(&remote, &chat, &r);
    berth_buf_fini(&messages);
    berth_remote_fini(&remote);
    return rc;
}

static void
merge(struct berth_chat_load_result *all, const struct berth_chat_load_result *one)
{
    berth_hist_merge(&all->first, &one->first);
    berth_hist_merge(&all->total, &one->total);
    berth_hist_merge(&all->between, &one->between);
    berth_errors_merge(&all->errors, &one->errors);
    all->ok += one->ok;
    all->prompt_tokens += one->prompt_tokens;
    all->completion_tokens += one->completion_tokens;
}

static uint64_t
server_cpu_ns(const struct berth_chat_load *load)
{
    struct berth_proc p;

    return load->server_pid > 0 && berth_proc_read(load->server_pid, &p) == 0 ? p.cpu_ns : 0;
}

static void
talk_all(const struct berth_chat_load *load, struct talker *all, struct berth_chat_load_result *ret)
{
    const uint64_t begin = berth_now_ns(), measure = begin + load->warmup_ns;
    struct pool pool = {.mu = PTHREAD_MUTEX_INITIALIZER,
                        .pace = {.rate = load->rate, .poisson = load->poisson, .seed = load->seed}};

    berth_pace_begin(&pool.pace, begin);
    for (uint32_t i = 0; i < load->threads; i++) {
        all[i].load = load;
        all[i].pool = &pool;
        all[i].measure_ns = measure;
        all[i].end_ns = load->duration_ns > 0 ? measure + load->duration_ns : UINT64_MAX;
        all[i].started = pthread_create(&all[i].thread, NULL, talk, &all[i]) == 0;
    }
    sleep_until(measure);
    const uint64_t cpu_ns = server_cpu_ns(load);
    for (uint32_t i = 0; i < load->threads; i++)
        if (all[i].started && pthread_join(all[i].thread, NULL) == 0)
            merge(ret, &all[i].result);
    const uint64_t now = berth_now_ns(), cpu_end_ns = server_cpu_ns(load);
    ret->elapsed_ns = now > measure ? now - measure : 1;
    ret->server_cpu_ns = cpu_end_ns > cpu_ns ? cpu_end_ns - cpu_ns : 0;
    (void)pthread_mutex_destroy(&pool.mu);
}

int
berth_chat_load_run(const struct berth_chat_load *load, struct berth_chat_load_result *ret)
{
    const int rc = try_once(load);

    if (rc != 0)
        return rc;
    struct talker *all = calloc(load->threads, sizeof *all);
    if (all == NULL)
        return berth_failed(load->args, "not enough memory");
    memset(ret, 0, sizeof *ret);
    talk_all(load, all, ret);
    ret->failed = berth_errors_sum(&ret->errors);
    free(all);
    return BERTH_EXIT_OK;
}
