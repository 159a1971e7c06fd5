#include "infer/stats.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { LATENCIES = 1024, SECONDS = 60 };

struct berth_stats {
    atomic_uint refs;
    pthread_mutex_t mu;
    struct berth_model_stats sum; /* all below under mu */
    float latency_ms[LATENCIES];  /* a ring */
    uint64_t latency_count;
    struct {
        uint64_t second;
        uint32_t count;
    } seconds[SECONDS]; /* a ring by the second's number */
    uint64_t first_second;
};

struct berth_stats *
berth_stats_new(void)
{
    struct berth_stats *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    atomic_init(&s->refs, 1);
    (void)pthread_mutex_init(&s->mu, NULL);
    return s;
}

void
berth_stats_ref(struct berth_stats *s)
{
    (void)atomic_fetch_add(&s->refs, 1);
}

void
berth_stats_unref(struct berth_stats *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    (void)pthread_mutex_destroy(&s->mu);
    free(s);
}

static void
add_locked(struct berth_stats *s, const struct berth_stats_item *item, uint64_t second)
{
    double ms = (double)item->latency_ns / 1e6;

    s->sum.requests++;
    s->sum.ok += item->result == 0;
    s->sum.canceled += item->result == -BERTH_ECANCELED || item->result == -BERTH_EDEADLINE;
    s->sum.failed +=
        item->result != 0 && item->result != -BERTH_ECANCELED && item->result != -BERTH_EDEADLINE;
    s->sum.tokens_in += item->tokens_in;
    s->sum.tokens_out += item->tokens_out;
    s->sum.queue_ns += item->queue_ns;
    s->sum.latency_avg_ms =
        s->latency_count == 0 ? ms : s->sum.latency_avg_ms + 0.1 * (ms - s->sum.latency_avg_ms);
    s->latency_ms[s->latency_count++ % LATENCIES] = (float)ms;
    if (s->first_second == 0)
        s->first_second = second;
    if (s->seconds[second % SECONDS].second != second) {
        s->seconds[second % SECONDS].second = second;
        s->seconds[second % SECONDS].count = 0;
    }
    s->seconds[second % SECONDS].count++;
}

void
berth_stats_add(struct berth_stats *s, const struct berth_stats_item *items, size_t n,
                uint64_t run_ns)
{
    uint64_t second = berth_now_ns() / BERTH_S + 1;

    (void)pthread_mutex_lock(&s->mu);
    for (size_t i = 0; i < n; i++)
        add_locked(s, &items[i], second);
    s->sum.batches += run_ns > 0;
    s->sum.run_ns += run_ns;
    s->sum.last_wall_ns = berth_wall_ns();
    (void)pthread_mutex_unlock(&s->mu);
}

static int
compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

void
berth_stats_get(struct berth_stats *s, struct berth_model_stats *ret)
{
    float sorted[LATENCIES];
    uint64_t second = berth_now_ns() / BERTH_S + 1, recent = 0;

    (void)pthread_mutex_lock(&s->mu);
    struct berth_model_stats sum = s->sum;
    size_t n = s->latency_count < LATENCIES ? (size_t)s->latency_count : LATENCIES;
    memcpy(sorted, s->latency_ms, n * sizeof sorted[0]);
    for (size_t i = 0; i < SECONDS; i++) {
        if (s->seconds[i].second + SECONDS > second)
            recent += s->seconds[i].count;
    }
    uint64_t age = s->first_second != 0 ? second - s->first_second + 1 : 1;
    (void)pthread_mutex_unlock(&s->mu);
    if (n > 0) {
        /* Nearest rank: the smallest value that at least that share does not exceed. */
        qsort(sorted, n, sizeof sorted[0], compare);
        sum.latency_p95_ms = sorted[(n * 95 + 99) / 100 - 1];
        sum.latency_p99_ms = sorted[(n * 99 + 99) / 100 - 1];
    }
    sum.rps = (double)recent / (double)(age < SECONDS ? age : SECONDS);
    *ret = sum;
}
