#include "obs/trace.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORDS = sizeof(struct berth_trace_note) / sizeof(uint64_t),
    /* An ordinary record ends before `why`. */
    WORDS_SHORT = offsetof(struct berth_trace_note, why) / sizeof(uint64_t),
    GROUPS = 64,
    RECORDS_MIN = 64,
    KEPT_SHARE = 8, /* one in so many records is for slow ones, and one for failed ones */
    SLOW_TIMES = 4,
    TRIES = 4
};

static_assert(sizeof(struct berth_trace_note) % sizeof(uint64_t) == 0, "copied in words");
static_assert(offsetof(struct berth_trace_note, why) % sizeof(uint64_t) == 0, "copied in words");

/* A record and how often it was written, twice; odd: it is being written. */
struct slot {
    _Atomic uint64_t seq;
    _Atomic uint64_t words[];
};

struct ring {
    char *slots;
    uint32_t len, next; /* next: the writer's */
    uint32_t words;     /* of a record here */
};

enum kind { ORDINARY, SLOW, FAILED, KINDS };

struct writer {
    const void *who;
    struct ring rings[KINDS];
    uint64_t took_ns[GROUPS]; /* moving averages; the writer's */
};

struct berth_trace {
    _Atomic(struct writer *) writers[BERTH_TRACE_RINGS_MAX];
    uint32_t writer_max, records; /* records: each writer's */
};

struct berth_trace *
berth_trace_new(uint32_t records, uint32_t writers)
{
    struct berth_trace *t = calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->writer_max = writers < 1                       ? 1
                    : writers < BERTH_TRACE_RINGS_MAX ? writers
                                                      : BERTH_TRACE_RINGS_MAX;
    t->records = records / t->writer_max;
    if (t->records < RECORDS_MIN)
        t->records = RECORDS_MIN;
    return t;
}

static void
writer_free(struct writer *w)
{
    for (size_t k = 0; w != NULL && k < KINDS; k++)
        free(w->rings[k].slots);
    free(w);
}

void
berth_trace_free(struct berth_trace *t)
{
    for (uint32_t i = 0; t != NULL && i < t->writer_max; i++)
        writer_free(atomic_load(&t->writers[i]));
    free(t);
}

static size_t
slot_bytes(const struct ring *r)
{
    return sizeof(struct slot) + r->words * sizeof(uint64_t);
}

static struct slot *
slot_at(const struct ring *r, uint32_t i)
{
    return (struct slot *)(void *)(r->slots + i * slot_bytes(r));
}

static struct writer *
writer_new(const struct berth_trace *t, const void *who)
{
    struct writer *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->who = who;
    w->rings[SLOW].len = w->rings[FAILED].len = t->records / KEPT_SHARE;
    w->rings[ORDINARY].len = t->records - 2 * (t->records / KEPT_SHARE);
    for (size_t k = 0; k < KINDS; k++) {
        w->rings[k].words = k == FAILED ? WORDS : WORDS_SHORT;
        w->rings[k].slots = calloc(w->rings[k].len, slot_bytes(&w->rings[k]));
        if (w->rings[k].slots == NULL) {
            writer_free(w);
            return NULL;
        }
    }
    return w;
}

/* Only `who` itself asks for its own, so that nobody else makes it meanwhile. */
static struct writer *
writer_of(struct berth_trace *t, const void *who)
{
    struct writer *made = NULL, *none = NULL;

    for (uint32_t i = 0; i < t->writer_max; i++) {
        struct writer *w = atomic_load_explicit(&t->writers[i], memory_order_acquire);

        if (w == NULL) {
            if (made == NULL)
                made = writer_new(t, who);
            if (made == NULL)
                return NULL;
            none = NULL;
            if (atomic_compare_exchange_strong(&t->writers[i], &none, made))
                return made;
            w = none; /* another one took the place */
        }
        if (w->who == who) {
            writer_free(made);
            return w;
        }
    }
    writer_free(made);
    return NULL;
}

/* Did it take much longer than its group does lately?  Takes it into the average. */
static bool
is_slow(struct writer *w, const void *group, uint64_t took_ns)
{
    const uint64_t mixed = (uint64_t)(uintptr_t)group * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t *average = &w->took_ns[mixed >> 58];
    const bool slow = *average > 0 && took_ns / SLOW_TIMES > *average;

    static_assert(GROUPS == 1 << (64 - 58), "the hash's bits");
    if (*average == 0)
        *average = took_ns;
    else
        *average += took_ns / 64 - *average / 64;
    return slow;
}

static inline void
store(struct slot *s, size_t i, const struct berth_trace_note *n)
{
    uint64_t word;

    memcpy(&word, (const char *)n + i * sizeof word, sizeof word);
    atomic_store_explicit(&s->words[i], word, memory_order_release);
}

/*
 * A word is stored with release and loaded with acquire, so whoever saw one word of a new record
 * sees at least the odd number that was stored before it, and knows that its copy is none.
 */
static void
put(struct ring *r, const struct berth_trace_note *n)
{
    struct slot *s = slot_at(r, r->next);
    const size_t words = r->words;
    size_t i = 0;
    const uint64_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed);

    r->next = r->next + 1 < r->len ? r->next + 1 : 0;
    atomic_store_explicit(&s->seq, seq + 1, memory_order_relaxed);
    for (; i + 4 <= words; i += 4) { /* every request comes here */
        store(s, i, n);
        store(s, i + 1, n);
        store(s, i + 2, n);
        store(s, i + 3, n);
    }
    for (; i < words; i++)
        store(s, i, n);
    atomic_store_explicit(&s->seq, seq + 2, memory_order_release);
}

void
berth_trace_add(struct berth_trace *t, const void *writer, const void *group,
                const struct berth_trace_note *n)
{
    struct writer *w = writer_of(t, writer);

    if (w == NULL)
        return;
    if (berth_trace_failed(n))
        put(&w->rings[FAILED], n);
    else if (is_slow(w, group, n->end_ns))
        put(&w->rings[SLOW], n);
    else
        put(&w->rings[ORDINARY], n);
}

/* ---- reading ---- */

static bool
get(struct slot *s, size_t words, struct berth_trace_note *ret)
{
    for (int i = 0; i < TRIES; i++) {
        const uint64_t seq = atomic_load_explicit(&s->seq, memory_order_acquire);

        if (seq == 0)
            return false;
        if (seq % 2 != 0)
            continue;
        for (size_t k = 0; k < words; k++) {
            const uint64_t word = atomic_load_explicit(&s->words[k], memory_order_acquire);
            memcpy((char *)ret + k * sizeof word, &word, sizeof word);
        }
        if (atomic_load_explicit(&s->seq, memory_order_relaxed) != seq)
            continue;
        if (words < WORDS)
            ret->why[0] = '\0';
        return true;
    }
    return false;
}

typedef void take(const struct berth_trace_note *n, void *arg);

static void
each(const struct berth_trace *t, take *fn, void *arg)
{
    struct berth_trace_note n = {.status = 0};

    for (uint32_t i = 0; i < t->writer_max; i++) {
        struct writer *w =
            atomic_load_explicit((_Atomic(struct writer *) *)&t->writers[i], memory_order_acquire);

        for (size_t k = 0; w != NULL && k < KINDS; k++) {
            for (uint32_t s = 0; s < w->rings[k].len; s++) {
                if (get(slot_at(&w->rings[k], s), w->rings[k].words, &n))
                    fn(&n, arg);
            }
        }
    }
}

struct search {
    const char *id;
    berth_trace_want *want;
    const void *want_arg;
    enum berth_trace_order order;
    struct berth_trace_note *found;
    size_t count, cap;
};

/* Does a come before b? */
static bool
before(enum berth_trace_order order, const struct berth_trace_note *a,
       const struct berth_trace_note *b)
{
    if (order == BERTH_TRACE_SLOWEST && a->end_ns != b->end_ns)
        return a->end_ns > b->end_ns;
    return a->wall_ns > b->wall_ns;
}

static void
take_if_wanted(const struct berth_trace_note *n, void *arg)
{
    struct search *s = arg;
    size_t at = s->count;

    if ((s->id != NULL && strcmp(n->id, s->id) != 0) ||
        (s->want != NULL && !s->want(n, s->want_arg)))
        return;
    while (at > 0 && before(s->order, n, &s->found[at - 1]))
        at--;
    if (at == s->cap)
        return;
    if (s->count < s->cap)
        s->count++;
    memmove(&s->found[at + 1], &s->found[at], (s->count - at - 1) * sizeof *n);
    s->found[at] = *n;
}

bool
berth_trace_find(const struct berth_trace *t, const char *id, berth_trace_want *want,
                 const void *arg, struct berth_trace_note *ret)
{
    struct search s = {.id = id, .want = want, .want_arg = arg, .found = ret, .cap = 1};

    each(t, take_if_wanted, &s);
    return s.count > 0;
}

size_t
berth_trace_list(const struct berth_trace *t, enum berth_trace_order order, berth_trace_want *want,
                 const void *arg, struct berth_trace_note *ret, size_t n)
{
    struct search s = {.want = want, .want_arg = arg, .order = order, .found = ret, .cap = n};

    each(t, take_if_wanted, &s);
    return s.count;
}
