#include "wire/diff.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <berth/err.h>

#include "base/arena.h"

/*
 * Myers' greedy algorithm ("An O(ND) Difference Algorithm and Its Variations", 1986): how far the
 * diagonals are followed is kept for each number of edits, and the way is traced back through that.
 */

struct line {
    struct berth_slice text; /* with its newline, if it has one */
    uint32_t sum;
};

struct side {
    const struct line *lines;
    size_t count;
    bool *changed; /* lines that the other side has not got */
};

static const uint32_t sum_start = 2166136261u;

static uint32_t
sum_of(struct berth_slice s)
{
    uint32_t h = sum_start; /* FNV-1a: it only saves comparisons */

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.at[i]) * 16777619u;
    return h;
}

static bool
is_same(const struct line *x, const struct line *y)
{
    return x->sum == y->sum && x->text.len == y->text.len &&
           memcmp(x->text.at, y->text.at, x->text.len) == 0;
}

static int
split(struct berth_slice text, struct berth_arena *a, struct side *ret)
{
    size_t count = text.len > 0 && text.at[text.len - 1] != '\n';

    for (size_t i = 0; i < text.len; i++)
        count += text.at[i] == '\n';
    struct line *lines = BERTH_NEW_N(a, struct line, count + 1);
    bool *changed = BERTH_NEW_N(a, bool, count + 1);
    if (lines == NULL || changed == NULL)
        return -BERTH_ENOMEM;
    for (size_t i = 0, at = 0; i < count; i++) {
        const char *end = memchr(text.at + at, '\n', text.len - at);
        const size_t len = end != NULL ? (size_t)(end - text.at) + 1 - at : text.len - at;
        lines[i].text = (struct berth_slice){text.at + at, len};
        lines[i].sum = sum_of(lines[i].text);
        at += len;
    }
    *ret = (struct side){.lines = lines, .count = count, .changed = changed};
    return 0;
}

/* ---- what differs ---- */

struct search {
    const struct line *x, *y; /* what is left when beginning and end are taken off */
    int32_t x_len, y_len;
    int32_t *reached[BERTH_DIFF_EDITS_MAX + 1]; /* by edits and diagonal: how far in x */
    bool *x_changed, *y_changed;
};

/* Onto diagonal k (x - y) by the edit d: a line of x that goes, or one of y that comes
 * (*ret_added). How far in x that is; -1: not to be reached. */
static int32_t
step(const struct search *s, int32_t d, int32_t k, bool *ret_added)
{
    const int32_t *before = s->reached[d - 1] + (d - 1); /* by k */
    int32_t gone = k > -d ? before[k - 1] : -1, come = k < d ? before[k + 1] : -1;

    gone = gone >= 0 && gone < s->x_len ? gone + 1 : -1;
    if (come - k > s->y_len)
        come = -1;
    *ret_added = come > gone;
    return come > gone ? come : gone;
}

static int32_t
follow(const struct search *s, int32_t d, int32_t k)
{
    bool added;
    int32_t x = d > 0 ? step(s, d, k, &added) : 0;

    if (x < 0)
        return x;
    while (x < s->x_len && x - k < s->y_len && is_same(&s->x[x], &s->y[x - k]))
        x++;
    return x;
}

/* The number of edits; -1: more than there may be; -2: no memory. */
static int32_t
search(struct search *s, struct berth_arena *a)
{
    for (int32_t d = 0; d <= BERTH_DIFF_EDITS_MAX; d++) {
        int32_t *row = BERTH_NEW_N(a, int32_t, (size_t)(2 * d + 1));
        if (row == NULL)
            return -2;
        s->reached[d] = row;
        for (int32_t k = -d; k <= d; k++)
            row[d + k] = -1; /* of the other parity: never looked at */
        for (int32_t k = -d; k <= d; k += 2) {
            row[d + k] = follow(s, d, k);
            if (row[d + k] == s->x_len && row[d + k] - k == s->y_len)
                return d;
        }
    }
    return -1;
}

static void
trace_back(struct search *s, int32_t edits)
{
    int32_t x = s->x_len, y = s->y_len;

    for (int32_t d = edits; d > 0; d--) {
        const int32_t k = x - y;
        bool added = false;
        x = step(s, d, k, &added);
        y = x - k;
        if (added)
            s->y_changed[--y] = true;
        else
            s->x_changed[--x] = true;
    }
}

static int
compare(struct side *from, struct side *to, struct berth_arena *a)
{
    const size_t least = from->count < to->count ? from->count : to->count;
    size_t head = 0, tail = 0;

    while (head < least && is_same(&from->lines[head], &to->lines[head]))
        head++;
    while (tail < least - head &&
           is_same(&from->lines[from->count - 1 - tail], &to->lines[to->count - 1 - tail]))
        tail++;
    const size_t x_len = from->count - head - tail, y_len = to->count - head - tail;
    struct search *s = BERTH_NEW(a, struct search);
    if (s == NULL)
        return -BERTH_ENOMEM;
    int32_t edits = -1;
    if (x_len < INT32_MAX / 2 && y_len < INT32_MAX / 2) {
        s->x = from->lines + head;
        s->y = to->lines + head;
        s->x_len = (int32_t)x_len;
        s->y_len = (int32_t)y_len;
        s->x_changed = from->changed + head;
        s->y_changed = to->changed + head;
        if ((edits = search(s, a)) == -2)
            return -BERTH_ENOMEM;
    }
    if (edits >= 0) {
        trace_back(s, edits);
        return 0;
    }
    for (size_t i = 0; i < x_len; i++)
        from->changed[head + i] = true;
    for (size_t i = 0; i < y_len; i++)
        to->changed[head + i] = true;
    return 0;
}

/* ---- printing ---- */

static void
put_line(struct berth_buf *out, char mark, const struct line *line)
{
    berth_buf_putc(out, mark);
    berth_buf_put(out, line->text.at, line->text.len);
    if (line->text.at[line->text.len - 1] != '\n')
        berth_buf_puts(out, "\n\\ No newline at end of file\n");
}

static void
put_range(struct berth_buf *out, char mark, size_t first, size_t count)
{
    berth_buf_printf(out, "%c%zu", mark, count > 0 ? first + 1 : first);
    if (count != 1)
        berth_buf_printf(out, ",%zu", count);
}

/* Where both sides stand: lines that are the same on both go by in step. */
struct place {
    size_t x, y;
};

static bool
is_change(const struct side *from, const struct side *to, struct place p)
{
    return (p.x < from->count && from->changed[p.x]) || (p.y < to->count && to->changed[p.y]);
}

static struct place
past_change(const struct side *from, const struct side *to, struct place p)
{
    while (p.x < from->count && from->changed[p.x])
        p.x++;
    while (p.y < to->count && to->changed[p.y])
        p.y++;
    return p;
}

/* Behind the hunk that begins with a change at p: changes with few lines between are in one. */
static struct place
hunk_end(const struct side *from, const struct side *to, struct place p)
{
    struct place end = past_change(from, to, p);

    p = end;
    for (size_t same = 0; same <= 2 * BERTH_DIFF_CONTEXT;) {
        if (is_change(from, to, p)) {
            p = end = past_change(from, to, p);
            same = 0;
            continue;
        }
        if (p.x >= from->count)
            break;
        p.x++;
        p.y++;
        same++;
    }
    const size_t left = from->count - end.x;
    const size_t more = left < BERTH_DIFF_CONTEXT ? left : BERTH_DIFF_CONTEXT;
    return (struct place){end.x + more, end.y + more};
}

static void
put_hunk(const struct side *from, const struct side *to, struct place begin, struct place end,
         struct berth_buf *out)
{
    struct place p = begin;

    berth_buf_puts(out, "@@ ");
    put_range(out, '-', begin.x, end.x - begin.x);
    berth_buf_putc(out, ' ');
    put_range(out, '+', begin.y, end.y - begin.y);
    berth_buf_puts(out, " @@\n");
    while (p.x < end.x || p.y < end.y) {
        for (; p.x < end.x && from->changed[p.x]; p.x++)
            put_line(out, '-', &from->lines[p.x]);
        for (; p.y < end.y && to->changed[p.y]; p.y++)
            put_line(out, '+', &to->lines[p.y]);
        for (; p.x < end.x && !is_change(from, to, p); p.x++, p.y++)
            put_line(out, ' ', &from->lines[p.x]);
    }
}

int
berth_diff(const struct berth_diff_text *from, const struct berth_diff_text *to,
           struct berth_arena *a, struct berth_buf *out, bool *ret_differ)
{
    struct side x, y;
    struct place p = {0, 0};
    bool differ = false;

    if (split(from->text, a, &x) < 0 || split(to->text, a, &y) < 0 || compare(&x, &y, a) < 0)
        return -BERTH_ENOMEM;
    while (p.x < x.count || p.y < y.count) {
        if (!is_change(&x, &y, p)) {
            p.x++;
            p.y++;
            continue;
        }
        if (!differ)
            berth_buf_printf(out, "--- %s\n+++ %s\n", from->name, to->name);
        differ = true;
        const size_t before = p.x < BERTH_DIFF_CONTEXT ? p.x : BERTH_DIFF_CONTEXT;
        const struct place begin = {p.x - before, p.y - before}, end = hunk_end(&x, &y, p);
        put_hunk(&x, &y, begin, end, out);
        p = end;
    }
    *ret_differ = differ;
    return out->failed ? -BERTH_ENOMEM : 0;
}
