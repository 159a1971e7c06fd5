#include "infer/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/assert.h"
#include "base/num.h"
#include "base/random.h"
#include "base/siphash.h"
#include "infer/request.h"
#include "obs/metrics.h"

enum { ENTRY_SHARE = 8, ALIGN = 64, TABLE_BYTES = 64 /* of the table, for one entry */ };

struct entry {
    struct berth_cached answer; /* first: what others see */
    atomic_uint refs;
    struct berth_cache_key key;
    size_t bytes;
    /* Under the cache's lock. */
    UT_hash_handle hh;
    struct berth_cache_space *space;
    TAILQ_ENTRY(entry) by_use;
    LIST_ENTRY(entry) by_space;
    /* The outputs, their names and bytes, and the text follow. */
};

struct berth_cache_space {
    struct berth_cache *cache;
    uint64_t number; /* of no other space, ever */
    struct berth_series *hits, *misses;
    LIST_HEAD(, entry) entries; /* under the cache's lock, and so is dropped */
    bool dropped;
};

struct berth_cache {
    atomic_uint refs; /* one for each space */
    uint8_t secret[BERTH_SIPHASH_KEY];
    atomic_uint_least64_t spaces;
    struct berth_metrics *metrics; /* a reference */
    struct berth_series *bytes_now, *entries_now, *evicted;
    pthread_mutex_t mu;
    struct entry *table;            /* under mu, and all below */
    TAILQ_HEAD(uses, entry) by_use; /* the latest first */
    uint64_t bytes, bytes_max, entry_count;
};

struct berth_cache *
berth_cache_new(uint64_t bytes_max, struct berth_metrics *metrics)
{
    static const char *const none[] = {NULL};
    struct berth_cache *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    atomic_init(&c->refs, 1);
    berth_random_bytes(c->secret, sizeof c->secret);
    c->metrics = berth_metrics_ref(metrics);
    c->bytes_now = berth_metrics_series(metrics, BERTH_METRIC_CACHE_BYTES, none);
    c->entries_now = berth_metrics_series(metrics, BERTH_METRIC_CACHE_ENTRIES, none);
    c->evicted = berth_metrics_series(metrics, BERTH_METRIC_CACHE_EVICTIONS, none);
    c->bytes_max = bytes_max;
    (void)pthread_mutex_init(&c->mu, NULL);
    TAILQ_INIT(&c->by_use);
    return c;
}

void
berth_cache_unref(struct berth_cache *c)
{
    if (c == NULL || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    berth_assert(c->entry_count == 0);
    (void)pthread_mutex_destroy(&c->mu);
    berth_metrics_free(c->metrics);
    free(c);
}

void
berth_cached_unref(const struct berth_cached *answer)
{
    struct entry *e = (struct entry *)(void *)answer;

    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1)
        free(e);
}

static void
remove_locked(struct berth_cache *c, struct entry *e)
{
    berth_assert(c->table != NULL);
    HASH_DEL(c->table, e);
    TAILQ_REMOVE(&c->by_use, e, by_use);
    LIST_REMOVE(e, by_space);
    c->bytes -= e->bytes;
    c->entry_count--;
    berth_cached_unref(&e->answer);
}

/* Make room until `more` bytes fit. */
static void
evict_locked(struct berth_cache *c, uint64_t more)
{
    while (c->entry_count > 0 && c->bytes + more > c->bytes_max) {
        struct entry *last = TAILQ_LAST(&c->by_use, uses);
        remove_locked(c, last); /* NOLINT(clang-analyzer-unix.Malloc): it left the list */
        berth_series_add(c->evicted, 1);
    }
}

static void
show_locked(struct berth_cache *c)
{
    berth_series_set(c->bytes_now, (double)c->bytes);
    berth_series_set(c->entries_now, (double)c->entry_count);
}

void
berth_cache_limit(struct berth_cache *c, uint64_t bytes_max)
{
    (void)pthread_mutex_lock(&c->mu);
    c->bytes_max = bytes_max;
    evict_locked(c, 0);
    show_locked(c);
    (void)pthread_mutex_unlock(&c->mu);
}

struct berth_cache_space *
berth_cache_space_new(struct berth_cache *c, const char *model)
{
    const char *const label[] = {model, NULL};
    struct berth_cache_space *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->cache = c;
    (void)atomic_fetch_add(&c->refs, 1);
    s->number = atomic_fetch_add(&c->spaces, 1);
    s->hits = berth_metrics_series(c->metrics, BERTH_METRIC_CACHE_HITS, label);
    s->misses = berth_metrics_series(c->metrics, BERTH_METRIC_CACHE_MISSES, label);
    LIST_INIT(&s->entries);
    return s;
}

void
berth_cache_space_drop(struct berth_cache_space *s)
{
    struct berth_cache *c = s->cache;

    (void)pthread_mutex_lock(&c->mu);
    s->dropped = true;
    while (!LIST_EMPTY(&s->entries))
        remove_locked(c, LIST_FIRST(&s->entries));
    show_locked(c);
    (void)pthread_mutex_unlock(&c->mu);
}

void
berth_cache_space_free(struct berth_cache_space *s)
{
    if (s == NULL)
        return;
    berth_cache_space_drop(s);
    berth_metrics_release(s->cache->metrics, (struct berth_series *const[]){s->hits, s->misses}, 2);
    berth_cache_unref(s->cache);
    free(s);
}

/* ---- what a request is known by ---- */

/* A text, so that no two of them run into each other. */
static void
put_text(struct berth_siphash *h, const char *text, size_t len)
{
    berth_siphash_put_u64(h, len);
    berth_siphash_put(h, text, len);
}

static void
put_tensors(struct berth_siphash *h, const struct berth_request *r)
{
    berth_siphash_put_u64(h, r->input_count);
    for (size_t i = 0; i < r->input_count; i++) {
        const struct berth_tensor *t = &r->inputs[i];

        put_text(h, t->name, strlen(t->name));
        berth_siphash_put_u64(h, t->dtype);
        berth_siphash_put_u64(h, t->rank);
        for (uint32_t k = 0; k < t->rank; k++)
            berth_siphash_put_u64(h, (uint64_t)t->shape[k]);
        put_text(h, t->bytes, t->size);
    }
    berth_siphash_put_u64(h, r->wanted_count);
    for (size_t i = 0; i < r->wanted_count; i++)
        put_text(h, r->wanted[i], strlen(r->wanted[i]));
}

static void
put_float(struct berth_siphash *h, float x)
{
    berth_siphash_put(h, &x, sizeof x);
}

static void
put_gen(struct berth_siphash *h, const struct berth_gen *g)
{
    /* Whoever adds a setting adds it below: else two requests that differ in it share an answer. */
    _Static_assert(sizeof *g == 136 && offsetof(struct berth_gen, seeded) == 134,
                   "a setting of generations was added");

    berth_siphash_put_u64(h, g->max_tokens);
    put_text(h, g->prompt, g->prompt != NULL ? g->prompt_len : 0);
    put_text(h, (const char *)g->prompt_tokens, g->prompt_token_count * sizeof *g->prompt_tokens);
    put_text(h, g->chat_json, g->chat_json != NULL ? g->chat_json_len : 0);
    put_float(h, g->temperature);
    put_float(h, g->top_p);
    put_float(h, g->min_p);
    berth_siphash_put_u64(h, (uint64_t)(int64_t)g->top_k);
    put_float(h, g->presence_penalty);
    put_float(h, g->frequency_penalty);
    put_float(h, g->repeat_penalty);
    if (g->temperature > 0) /* greedy, it has no effect */
        berth_siphash_put_u64(h, g->seed);
    berth_siphash_put_u64(h, g->stop_count);
    for (size_t i = 0; i < g->stop_count; i++)
        put_text(h, g->stop[i], strlen(g->stop[i]));
    berth_siphash_put_u64(h, g->bias_count);
    for (size_t i = 0; i < g->bias_count; i++) {
        berth_siphash_put_u64(h, (uint64_t)(int64_t)g->bias[i].token);
        put_float(h, g->bias[i].bias);
    }
    berth_siphash_put_u64(h, (uint64_t)g->echo << 1 | (uint64_t)g->ignore_eos);
}

bool
berth_cache_key(const struct berth_cache_space *s, const struct berth_request *r,
                struct berth_cache_key *ret)
{
    const bool sequence = r->task == BERTH_TASK_COMPLETION || r->task == BERTH_TASK_CHAT;
    struct berth_siphash h;

    if (sequence && (r->gen.logprobs >= 0 || (r->gen.temperature > 0 && !r->gen.seeded)))
        return false;
    berth_siphash_init(&h, s->cache->secret);
    berth_siphash_put_u64(&h, s->number);
    berth_siphash_put_u64(&h, r->task);
    if (sequence)
        put_gen(&h, &r->gen);
    else
        put_tensors(&h, r);
    berth_siphash_end(&h, ret->bytes);
    return true;
}

/* ---- looking and keeping ---- */

const struct berth_cached *
berth_cache_get(struct berth_cache_space *s, const struct berth_cache_key *key)
{
    struct berth_cache *c = s->cache;
    struct entry *e;

    (void)pthread_mutex_lock(&c->mu);
    HASH_FIND(hh, c->table, key->bytes, sizeof key->bytes, e);
    if (e != NULL) {
        (void)atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
        TAILQ_REMOVE(&c->by_use, e, by_use);
        TAILQ_INSERT_HEAD(&c->by_use, e, by_use);
    }
    (void)pthread_mutex_unlock(&c->mu);
    berth_series_add(e != NULL ? s->hits : s->misses, 1);
    return e != NULL ? &e->answer : NULL;
}

/* n rounded up, and the sum; false on overflow. */
static bool
grow(size_t *sum, size_t n)
{
    return berth_add(*sum, n, sum) && berth_add(*sum, ALIGN - 1, sum) &&
           ((*sum &= ~(size_t)(ALIGN - 1)), true);
}

/* Where outputs, their names and bytes, and the text lie behind an entry: all sizes but the last
 * one are rounded. */
static bool
measure(const struct berth_request *r, size_t text_len, size_t *ret)
{
    size_t sum = 0;

    if (!grow(&sum, sizeof(struct entry)) || !grow(&sum, r->output_count * sizeof *r->outputs))
        return false;
    for (size_t i = 0; i < r->output_count; i++) {
        if (!grow(&sum, r->outputs[i].size) || !grow(&sum, strlen(r->outputs[i].name) + 1))
            return false;
    }
    if (!berth_add(sum, text_len, &sum))
        return false;
    *ret = sum;
    return true;
}

static size_t
rounded(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static const void *
copy(char **at, const void *from, size_t n)
{
    char *to = *at;

    if (n > 0)
        memcpy(to, from, n);
    *at += rounded(n);
    return to;
}

static void
fill(struct entry *e, const struct berth_request *r, const char *text, size_t text_len)
{
    char *at = (char *)e + rounded(sizeof *e);
    struct berth_tensor *outputs = (struct berth_tensor *)(void *)at;

    at += rounded(r->output_count * sizeof *outputs);
    for (size_t i = 0; i < r->output_count; i++) {
        outputs[i] = r->outputs[i];
        outputs[i].bytes = copy(&at, r->outputs[i].bytes, r->outputs[i].size);
        outputs[i].name = copy(&at, r->outputs[i].name, strlen(r->outputs[i].name) + 1);
    }
    e->answer = (struct berth_cached){.outputs = outputs,
                                      .output_count = r->output_count,
                                      .text = copy(&at, text, text_len),
                                      .text_len = text_len,
                                      .finish = r->finish,
                                      .stop_index = -1};
    e->answer.finish.stop = NULL;
    for (size_t i = 0; r->finish.stop != NULL && i < r->gen.stop_count; i++) {
        if (r->gen.stop[i] == r->finish.stop)
            e->answer.stop_index = (int32_t)i;
    }
}

static bool
insert_locked(struct berth_cache *c, struct berth_cache_space *s, struct entry *e)
{
    struct entry *there;

    HASH_FIND(hh, c->table, e->key.bytes, sizeof e->key.bytes, there);
    if (there != NULL || s->dropped || e->bytes > c->bytes_max / ENTRY_SHARE)
        return false; /* an equal one ran at the same time; or the model goes */
    evict_locked(c, e->bytes);
    HASH_ADD(hh, c->table, key.bytes, sizeof e->key.bytes, e);
    if (e->hh.tbl == NULL)
        return false;
    e->space = s;
    TAILQ_INSERT_HEAD(&c->by_use, e, by_use);
    LIST_INSERT_HEAD(&s->entries, e, by_space);
    c->bytes += e->bytes;
    c->entry_count++;
    return true;
}

void
berth_cache_put(struct berth_cache_space *s, const struct berth_cache_key *key,
                const struct berth_request *r, const char *text, size_t text_len)
{
    struct berth_cache *c = s->cache;
    size_t bytes;

    if (!measure(r, text_len, &bytes) || bytes > SIZE_MAX / 2)
        return;
    (void)pthread_mutex_lock(&c->mu);
    const bool fits = bytes + TABLE_BYTES <= c->bytes_max / ENTRY_SHARE;
    (void)pthread_mutex_unlock(&c->mu);
    struct entry *e = fits ? aligned_alloc(ALIGN, rounded(bytes)) : NULL;
    if (e == NULL)
        return;
    memset(e, 0, sizeof *e);
    atomic_init(&e->refs, 1);
    e->key = *key;
    e->bytes = bytes + TABLE_BYTES;
    fill(e, r, text, text_len);
    (void)pthread_mutex_lock(&c->mu);
    const bool kept = insert_locked(c, s, e);
    show_locked(c);
    (void)pthread_mutex_unlock(&c->mu);
    if (!kept)
        free(e);
}
