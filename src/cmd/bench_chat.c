#include "cmd/bench_chat.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/chat.h"
#include "cmd/cmd_priv.h"
#include "cmd/remote.h"

struct talker {
    const struct berth_chat_load *load;
    struct berth_chat_load_result result;
    atomic_ullong *issued;
    uint64_t begin_ns, end_ns;
    pthread_t thread;
    bool started;
};

static bool
ignore(void *arg, struct berth_slice text)
{
    (void)arg;
    (void)text;
    return true;
}

/* When the next conversation is due; false: not any more. */
static bool
next_due(struct talker *t, uint64_t *ret)
{
    const unsigned long long number = atomic_fetch_add(t->issued, 1);

    *ret = t->load->rate > 0 ? t->begin_ns + (uint64_t)((double)number * 1e9 / t->load->rate)
                             : berth_now_ns();
    if (*ret >= t->end_ns)
        return false;
    const struct timespec at = {(time_t)(*ret / BERTH_S), (long)(*ret % BERTH_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
    return true;
}

static void *
talk(void *arg)
{
    struct talker *t = arg;
    struct berth_remote remote;
    struct berth_buf messages;
    uint64_t due;

    if (berth_remote_init(&remote, t->load->args) != 0)
        return NULL;
    berth_buf_init(&messages, NULL);
    berth_chat_say(&messages, "user", berth_slice_of(t->load->prompt));
    const struct berth_chat chat = {
        .model = t->load->model,
        .messages = {messages.at, messages.len},
        .max_tokens = t->load->max_tokens,
        .temperature = -1,
        .on_text = ignore,
    };
    while (next_due(t, &due)) {
        struct berth_chat_result r;
        const uint64_t late = berth_now_ns() - due;
        if (berth_chat(&remote, &chat, &r) != 0) {
            t->result.failed++;
            break; /* it was told; others go on */
        }
        t->result.ok++;
        t->result.prompt_tokens += r.prompt_tokens;
        t->result.completion_tokens += r.completion_tokens;
        berth_hist_add(&t->result.first, late + r.first_ns);
        berth_hist_add(&t->result.total, late + r.total_ns);
    }
    berth_buf_fini(&messages);
    berth_remote_fini(&remote);
    return NULL;
}

int
berth_chat_load_run(const struct berth_chat_load *load, struct berth_chat_load_result *ret)
{
    struct talker *all = calloc(load->threads, sizeof *all);
    atomic_ullong issued = 0;
    const uint64_t begin = berth_now_ns();

    if (all == NULL)
        return berth_failed(load->args, "not enough memory");
    memset(ret, 0, sizeof *ret);
    for (uint32_t i = 0; i < load->threads; i++) {
        all[i].load = load;
        all[i].issued = &issued;
        all[i].begin_ns = begin;
        all[i].end_ns = begin + load->duration_ns;
        all[i].started = pthread_create(&all[i].thread, NULL, talk, &all[i]) == 0;
    }
    for (uint32_t i = 0; i < load->threads; i++) {
        if (!all[i].started || pthread_join(all[i].thread, NULL) != 0)
            continue;
        berth_hist_merge(&ret->first, &all[i].result.first);
        berth_hist_merge(&ret->total, &all[i].result.total);
        ret->ok += all[i].result.ok;
        ret->failed += all[i].result.failed;
        ret->prompt_tokens += all[i].result.prompt_tokens;
        ret->completion_tokens += all[i].result.completion_tokens;
    }
    ret->elapsed_ns = berth_now_ns() - begin;
    free(all);
    return BERTH_EXIT_OK;
}
