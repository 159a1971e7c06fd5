#include "recon/workq.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/assert.h"

static const uint64_t never = UINT64_MAX;
enum { KEYS_DEFAULT = 65536, HEAP_FIRST = 64 };

/* A key is in the heap while it waits, and in no list while it is in work. */
struct entry {
    UT_hash_handle hh;
    uint64_t due_ns, seq;
    uint64_t again_ns; /* in work: when it was asked for meanwhile; never: it was not */
    uint32_t heap_at, failures;
    bool in_work;
    char key[];
};

struct berth_workq {
    struct berth_workq_conf conf;
    struct entry *by_key; /* uthash */
    struct entry **heap;  /* waiting, smallest (due_ns, seq) first */
    uint32_t heap_len, heap_cap, in_work;
    uint64_t next_seq, adds, merged, retries, refused;
    bool closed;
};

static uint64_t
add_sat(uint64_t a, uint64_t b)
{
    return a > never - b ? never : a + b;
}

static bool
before(const struct entry *a, const struct entry *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->seq < b->seq;
}

static void
heap_set(struct berth_workq *q, uint32_t at, struct entry *x)
{
    q->heap[at] = x;
    x->heap_at = at;
}

static void
heap_up(struct berth_workq *q, uint32_t at)
{
    struct entry *x = q->heap[at];

    while (at > 0 && before(x, q->heap[(at - 1) / 2])) {
        heap_set(q, at, q->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(q, at, x);
}

static void
heap_down(struct berth_workq *q, uint32_t at)
{
    struct entry *x = q->heap[at];

    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= q->heap_len)
            break;
        if (child + 1 < q->heap_len && before(q->heap[child + 1], q->heap[child]))
            child++;
        if (!before(q->heap[child], x))
            break;
        heap_set(q, at, q->heap[child]);
        at = child;
    }
    heap_set(q, at, x);
}

/* Room for every key that there is, so that a key can always go back into the heap. */
static int
heap_reserve(struct berth_workq *q)
{
    uint32_t need = q->heap_len + q->in_work + 1;
    uint32_t cap = q->heap_cap;

    if (need <= cap)
        return 0;
    while (cap < need)
        cap = cap == 0 ? HEAP_FIRST : cap * 2; /* keys_max bounds it far from overflow */
    struct entry **heap = realloc(q->heap, cap * sizeof *heap);
    if (heap == NULL)
        return -BERTH_ENOMEM;
    q->heap = heap;
    q->heap_cap = cap;
    return 0;
}

static void
wait_until(struct berth_workq *q, struct entry *x, uint64_t due_ns)
{
    berth_assert(q->heap_len < q->heap_cap);
    x->due_ns = due_ns;
    x->seq = q->next_seq++;
    q->heap[q->heap_len] = x;
    heap_up(q, q->heap_len++);
}

/* It waits already: let it come no later than due_ns. */
static void
wait_less(struct berth_workq *q, struct entry *x, uint64_t due_ns)
{
    if (due_ns >= x->due_ns)
        return;
    x->due_ns = due_ns;
    x->seq = q->next_seq++;
    heap_up(q, x->heap_at);
}

static struct entry *
find(const struct berth_workq *q, const char *key)
{
    struct entry *x = NULL;

    HASH_FIND_STR(q->by_key, key, x);
    return x;
}

int
berth_workq_new(const struct berth_workq_conf *conf, struct berth_workq **ret)
{
    struct berth_workq *q;

    if (conf->keys_max > BERTH_WORKQ_KEYS_MAX || conf->jitter_percent > 100)
        return -BERTH_EINVAL;
    if ((q = calloc(1, sizeof *q)) == NULL)
        return -BERTH_ENOMEM;
    q->conf = *conf;
    if (q->conf.keys_max == 0)
        q->conf.keys_max = KEYS_DEFAULT;
    *ret = q;
    return 0;
}

void
berth_workq_free(struct berth_workq *q)
{
    struct entry *x, *next;

    if (q == NULL)
        return;
    HASH_ITER(hh, q->by_key, x, next)
    {
        HASH_DEL(q->by_key, x);
        free(x);
    }
    free(q->heap);
    free(q);
}

static int
new_entry(struct berth_workq *q, const char *key, size_t len, struct entry **ret)
{
    if (HASH_COUNT(q->by_key) >= q->conf.keys_max) {
        q->refused++;
        return -BERTH_ELIMIT;
    }
    struct entry *x = calloc(1, sizeof *x + len + 1);
    if (x == NULL || heap_reserve(q) < 0) {
        free(x);
        return -BERTH_ENOMEM;
    }
    memcpy(x->key, key, len + 1);
    x->again_ns = never;
    HASH_ADD_STR(q->by_key, key, x);
    if (x->hh.tbl == NULL) { /* what uthash leaves when there is no memory */
        free(x);
        return -BERTH_ENOMEM;
    }
    *ret = x;
    return 0;
}

int
berth_workq_add_after(struct berth_workq *q, const char *key, uint64_t after_ns, uint64_t now_ns)
{
    const size_t len = strnlen(key, BERTH_WORKQ_KEY_MAX + 1);
    const uint64_t due_ns = add_sat(now_ns, after_ns);

    if (len == 0 || len > BERTH_WORKQ_KEY_MAX)
        return -BERTH_EINVAL;
    if (q->closed)
        return -BERTH_ECANCELED;
    struct entry *x = find(q, key);
    if (x == NULL) {
        int r = new_entry(q, key, len, &x);
        if (r < 0)
            return r;
        wait_until(q, x, due_ns);
    } else {
        q->merged++;
        if (!x->in_work)
            wait_less(q, x, due_ns);
        else if (due_ns < x->again_ns)
            x->again_ns = due_ns;
    }
    q->adds++;
    return 0;
}

int
berth_workq_add(struct berth_workq *q, const char *key, uint64_t now_ns)
{
    return berth_workq_add_after(q, key, 0, now_ns);
}

bool
berth_workq_take(struct berth_workq *q, uint64_t now_ns, const char **ret_key, uint64_t *ret_at_ns)
{
    struct entry *x = q->heap_len > 0 && !q->closed ? q->heap[0] : NULL;

    if (x == NULL || x->due_ns > now_ns) {
        *ret_at_ns = x != NULL ? x->due_ns : never;
        return false;
    }
    struct entry *last = q->heap[--q->heap_len];
    if (q->heap_len > 0) {
        heap_set(q, 0, last);
        heap_down(q, 0);
    }
    x->in_work = true;
    x->again_ns = never;
    q->in_work++;
    *ret_key = x->key;
    *ret_at_ns = x->due_ns;
    return true;
}

uint64_t
berth_workq_backoff_ns(const struct berth_workq_conf *conf, uint32_t failures)
{
    const uint64_t first = conf->backoff_first_ns > 0 ? conf->backoff_first_ns : UINT64_C(5000000);
    const uint64_t max = conf->backoff_max_ns > 0 ? conf->backoff_max_ns : UINT64_C(1000000000000);
    uint64_t wait = first < max ? first : max;

    for (uint32_t i = 1; i < failures && wait < max; i++)
        wait = wait > max / 2 ? max : wait * 2;
    return wait;
}

static uint64_t
backoff_with_jitter(const struct berth_workq *q, uint32_t failures, uint64_t first_ns)
{
    struct berth_workq_conf conf = q->conf;

    if (first_ns > berth_workq_backoff_ns(&conf, 1))
        conf.backoff_first_ns = first_ns;
    const uint64_t wait = berth_workq_backoff_ns(&conf, failures);
    const uint64_t most = wait / 100 * q->conf.jitter_percent;

    if (q->conf.random == NULL || most == 0)
        return wait;
    return add_sat(wait, q->conf.random(q->conf.random_arg) % (most + 1));
}

void
berth_workq_done(struct berth_workq *q, const char *key, struct berth_outcome outcome,
                 uint64_t now_ns)
{
    struct entry *x = find(q, key);
    uint64_t due_ns = never;

    berth_assert(x != NULL && x->in_work);
    x->in_work = false;
    q->in_work--;
    switch (outcome.kind) {
    case BERTH_OUTCOME_OK:
        x->failures = 0;
        if (outcome.after_ns > 0)
            due_ns = add_sat(now_ns, outcome.after_ns);
        break;
    case BERTH_OUTCOME_AFTER:
        due_ns = add_sat(now_ns, outcome.after_ns);
        break;
    case BERTH_OUTCOME_FAILED:
        q->retries++;
        if (x->failures < UINT32_MAX)
            x->failures++;
        due_ns = add_sat(now_ns, backoff_with_jitter(q, x->failures, outcome.after_ns));
        break;
    }
    if (x->again_ns < due_ns) /* not before those that became due while it was in work */
        due_ns = x->again_ns > now_ns ? x->again_ns : now_ns;
    if (due_ns == never || q->closed) {
        HASH_DEL(q->by_key, x);
        free(x);
        return;
    }
    wait_until(q, x, due_ns);
}

uint32_t
berth_workq_failures(const struct berth_workq *q, const char *key)
{
    const struct entry *x = find(q, key);

    return x != NULL ? x->failures : 0;
}

void
berth_workq_close(struct berth_workq *q)
{
    q->closed = true;
}

void
berth_workq_stats(const struct berth_workq *q, uint64_t now_ns, struct berth_workq_stats *ret)
{
    *ret = (struct berth_workq_stats){.waiting = q->heap_len,
                                      .in_work = q->in_work,
                                      .adds = q->adds,
                                      .merged = q->merged,
                                      .retries = q->retries,
                                      .refused = q->refused};
    for (uint32_t i = 0; i < q->heap_len; i++)
        ret->due += q->heap[i]->due_ns <= now_ns;
}
