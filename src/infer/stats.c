#include "infer/stats.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/clock.h"

enum { LATENCIES = 1024, SECONDS = 60, VERSIONS_MAX = 64, SIZES_FIRST = 8 };

struct version {
    char label[sizeof((struct berth_state_change *)0)->version];
    struct berth_version_stats sum; /* its batches are those below */
    struct berth_batch_stats *sizes;
    size_t size_count, size_cap;
};

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
    struct version *versions[VERSIONS_MAX];
    uint32_t version_count;
    struct berth_state_change *changes; /* a ring; made with the first */
    uint64_t change_count;
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
    for (uint32_t i = 0; i < s->version_count; i++) {
        free(s->versions[i]->sizes);
        free(s->versions[i]);
    }
    free(s->changes);
    (void)pthread_mutex_destroy(&s->mu);
    free(s);
}

/* ---- counting ---- */

uint32_t
berth_stats_version(struct berth_stats *s, const char *label)
{
    uint32_t i = 0;

    (void)pthread_mutex_lock(&s->mu);
    while (i < s->version_count && strcmp(s->versions[i]->label, label) != 0)
        i++;
    struct version *v =
        i == s->version_count && i < VERSIONS_MAX ? calloc(1, sizeof **s->versions) : NULL;
    if (v != NULL) {
        (void)snprintf(v->label, sizeof v->label, "%s", label);
        s->versions[s->version_count++] = v;
    } else if (i == s->version_count) {
        i = i > 0 ? i - 1 : UINT32_MAX; /* no room, or no memory: with another one, or nowhere */
    }
    (void)pthread_mutex_unlock(&s->mu);
    return i;
}

static void
add_duration(struct berth_duration *d, uint64_t ns)
{
    d->count++;
    d->ns += ns;
}

static void
add_locked(struct berth_stats *s, const struct berth_stats_item *item, uint64_t second)
{
    double ms = (double)item->latency_ns / 1e6;
    bool canceled = item->result == -BERTH_ECANCELED || item->result == -BERTH_EDEADLINE;

    s->sum.requests++;
    s->sum.ok += item->result == 0;
    s->sum.canceled += canceled;
    s->sum.failed += item->result != 0 && !canceled;
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

static void
add_to_version(struct berth_version_stats *v, const struct berth_stats_item *item)
{
    if (item->result != 0) {
        add_duration(&v->fail, item->latency_ns);
        return;
    }
    v->inferences += item->rows > 0 ? item->rows : 1;
    add_duration(&v->success, item->latency_ns);
    add_duration(&v->queue, item->queue_ns);
    add_duration(&v->input, item->input_ns);
    add_duration(&v->infer, item->infer_ns);
    add_duration(&v->output, item->output_ns);
}

/* The entry of a batch size, made where it belongs; NULL: no room. */
static struct berth_batch_stats *
size_of(struct version *v, uint64_t rows)
{
    size_t low = 0, high = v->size_count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        if (v->sizes[mid].rows < rows)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < v->size_count && v->sizes[low].rows == rows)
        return &v->sizes[low];
    if (v->size_count == BERTH_STATS_SIZES_MAX)
        return NULL;
    if (v->size_count == v->size_cap) {
        size_t cap = v->size_cap == 0 ? SIZES_FIRST : 2 * v->size_cap;
        struct berth_batch_stats *more = realloc(v->sizes, cap * sizeof *more);
        if (more == NULL)
            return NULL;
        v->sizes = more;
        v->size_cap = cap;
    }
    memmove(&v->sizes[low + 1], &v->sizes[low], (v->size_count - low) * sizeof *v->sizes);
    v->size_count++;
    v->sizes[low] = (struct berth_batch_stats){.rows = rows};
    return &v->sizes[low];
}

static void
add_run(struct version *v, const struct berth_stats_run *run)
{
    struct berth_batch_stats *b = size_of(v, run->rows > 0 ? run->rows : 1);

    v->sum.executions++;
    if (b == NULL)
        return;
    b->count++;
    b->input_ns += run->input_ns;
    b->infer_ns += run->infer_ns;
    b->output_ns += run->output_ns;
}

void
berth_stats_add(struct berth_stats *s, uint32_t version, const struct berth_stats_item *items,
                size_t n, const struct berth_stats_run *run)
{
    uint64_t second = berth_now_ns() / BERTH_S + 1, wall_ns = berth_wall_ns();

    (void)pthread_mutex_lock(&s->mu);
    struct version *v = version < s->version_count ? s->versions[version] : NULL;
    for (size_t i = 0; i < n; i++) {
        add_locked(s, &items[i], second);
        if (v != NULL)
            add_to_version(&v->sum, &items[i]);
    }
    if (run != NULL) {
        s->sum.batches++;
        s->sum.run_ns += run->infer_ns;
    }
    if (run != NULL && v != NULL)
        add_run(v, run);
    if (v != NULL)
        v->sum.last_wall_ns = wall_ns;
    s->sum.last_wall_ns = wall_ns;
    (void)pthread_mutex_unlock(&s->mu);
}

void
berth_stats_hit(struct berth_stats *s, uint32_t version, uint64_t lookup_ns, uint64_t latency_ns)
{
    const struct berth_stats_item item = {.latency_ns = latency_ns};
    uint64_t second = berth_now_ns() / BERTH_S + 1, wall_ns = berth_wall_ns();

    (void)pthread_mutex_lock(&s->mu);
    add_locked(s, &item, second);
    s->sum.last_wall_ns = wall_ns;
    if (version < s->version_count) {
        struct berth_version_stats *v = &s->versions[version]->sum;
        add_duration(&v->success, latency_ns);
        add_duration(&v->queue, 0);
        add_duration(&v->cache_hit, lookup_ns);
        v->last_wall_ns = wall_ns;
    }
    (void)pthread_mutex_unlock(&s->mu);
}

void
berth_stats_miss(struct berth_stats *s, uint32_t version, uint64_t lookup_ns)
{
    (void)pthread_mutex_lock(&s->mu);
    if (version < s->version_count)
        add_duration(&s->versions[version]->sum.cache_miss, lookup_ns);
    (void)pthread_mutex_unlock(&s->mu);
}

void
berth_stats_state(struct berth_stats *s, uint32_t version, enum berth_model_state state,
                  const char *why)
{
    (void)pthread_mutex_lock(&s->mu);
    if (s->changes == NULL)
        s->changes = calloc(BERTH_STATS_CHANGES_MAX, sizeof *s->changes);
    if (s->changes != NULL) { /* without memory there is no account of it */
        struct berth_state_change *c = &s->changes[s->change_count++ % BERTH_STATS_CHANGES_MAX];
        *c = (struct berth_state_change){.wall_ns = berth_wall_ns(), .state = state};
        if (version < s->version_count)
            memcpy(c->version, s->versions[version]->label, sizeof c->version);
        (void)snprintf(c->why, sizeof c->why, "%s", why != NULL ? why : "");
    }
    (void)pthread_mutex_unlock(&s->mu);
}

/* ---- telling ---- */

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

int
berth_stats_version_get(struct berth_stats *s, const char *label, struct berth_arena *a,
                        struct berth_version_stats *ret)
{
    struct berth_version_stats sum = {0};
    int r = 0;

    (void)pthread_mutex_lock(&s->mu);
    for (uint32_t i = 0; i < s->version_count; i++) {
        const struct version *v = s->versions[i];
        if (strcmp(v->label, label) != 0)
            continue;
        struct berth_batch_stats *copy =
            BERTH_NEW_N(a, struct berth_batch_stats, v->size_count + 1);
        r = copy != NULL ? 0 : -BERTH_ENOMEM;
        if (copy == NULL)
            break;
        if (v->size_count > 0)
            memcpy(copy, v->sizes, v->size_count * sizeof *copy);
        sum = v->sum;
        sum.batches = copy;
        sum.batch_count = v->size_count;
    }
    (void)pthread_mutex_unlock(&s->mu);
    if (r == 0)
        *ret = sum;
    return r;
}

int
berth_stats_changes(struct berth_stats *s, struct berth_arena *a,
                    const struct berth_state_change **ret, size_t *ret_count, uint64_t *ret_total)
{
    (void)pthread_mutex_lock(&s->mu);
    const uint64_t total = s->change_count;
    const size_t n = total < BERTH_STATS_CHANGES_MAX ? (size_t)total : BERTH_STATS_CHANGES_MAX;
    struct berth_state_change *copy = BERTH_NEW_N(a, struct berth_state_change, n + 1);
    for (size_t i = 0; copy != NULL && i < n; i++)
        copy[i] = s->changes[(total - n + i) % BERTH_STATS_CHANGES_MAX];
    (void)pthread_mutex_unlock(&s->mu);
    if (copy == NULL)
        return -BERTH_ENOMEM;
    *ret = copy;
    *ret_count = n;
    *ret_total = total;
    return 0;
}
