#include "cmd/bench_pick.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/num.h"

/* splitmix64: a known sequence for a seed, so that a run can be repeated. */
static uint64_t
splitmix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

double
berth_bench_random_share(uint64_t *state)
{
    return ((double)(splitmix(state) >> 11) + 1) * 0x1p-53;
}

void
berth_pick_begin(struct berth_pick *p, uint64_t seed)
{
    double sum = 0;

    berth_assert(p->count > 0 && p->count <= BERTH_PICK_MAX);
    p->number = 0;
    p->random = seed;
    for (size_t i = 0; i < p->count; i++)
        p->below[i] = sum += 1 / (double)(i + 1);
    for (size_t i = 0; i < p->count; i++)
        p->below[i] /= sum;
}

size_t
berth_pick_next(struct berth_pick *p)
{
    size_t low = 0, high = p->count - 1;

    if (!p->zipf)
        return (size_t)(p->number++ % p->count);
    const double share = berth_bench_random_share(&p->random);
    while (low < high) { /* the first whose share is not below */
        const size_t middle = (low + high) / 2;
        if (p->below[middle] < share)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- names ---- */

struct range {
    size_t before; /* the text up to the brace */
    const char *after;
    int64_t from, to;
    bool zipf;
};

/* 1: a range; 0: none; -1: one that is wrong. */
static int
range_parse(const char *text, struct range *ret)
{
    const char *open = strchr(text, '{'), *end = open != NULL ? strchr(open, '}') : NULL;
    const char *dots = open != NULL ? strstr(open, "..") : NULL;

    if (open == NULL)
        return 0;
    if (end == NULL || dots == NULL || dots > end)
        return -1;
    const char *last = memchr(dots, ':', (size_t)(end - dots));
    const size_t to_len = (size_t)((last != NULL ? last : end) - dots - 2);
    ret->zipf = last != NULL;
    ret->before = (size_t)(open - text);
    ret->after = end + 1;
    return (last == NULL || (end - last == 5 && memcmp(last, ":zipf", 5) == 0)) &&
                   berth_int_parse(open + 1, (size_t)(dots - open - 1), 0, INT32_MAX, &ret->from) &&
                   berth_int_parse(dots + 2, to_len, ret->from, INT32_MAX, &ret->to) &&
                   ret->to - ret->from < BERTH_PICK_MAX && strchr(ret->after, '{') == NULL
               ? 1
               : -1;
}

size_t
berth_names_parse(const char *text, bool *ret_zipf)
{
    struct range r;
    const int found = range_parse(text, &r);

    if (found < 0)
        return 0;
    *ret_zipf = found > 0 && r.zipf;
    return found > 0 ? (size_t)(r.to - r.from + 1) : 1;
}

void
berth_names_put(const char *text, size_t index, char *room, size_t size)
{
    struct range r;

    if (range_parse(text, &r) > 0)
        (void)snprintf(room, size, "%.*s%lld%s", (int)r.before, text,
                       (long long)r.from + (long long)index, r.after);
    else
        (void)snprintf(room, size, "%s", text);
}
