#include "merge/limits.h"

#include <inttypes.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "merge/merge_priv.h"
#include "merge/shape_priv.h"

enum { VALUES_MAX = 1 << 20, PATTERN_BYTES_MAX = 4096, INDEX_BYTES = 24 };

struct check {
    const struct berth_limit *limits;
    size_t limit_count, values;
    struct berth_arena *arena;
    struct place at;
    char indexes[BERTH_JSON_DEPTH_MAX][INDEX_BYTES]; /* of the elements that we are in */
    struct pattern {
        regex_t compiled;
        bool is_there;
    } * patterns; /* of each limit, once it is asked for */
    struct berth_shape_problem *found;
    struct berth_shape_problems count;
    struct berth_err *e;
};

static int
no_memory(struct check *c)
{
    return berth_err_set(c->e, BERTH_ENOMEM, "a document needs more memory than allowed");
}

/* False: it is too deep, which no document is that was parsed. */
static bool
enter(struct check *c, struct berth_slice name, const size_t *index)
{
    char *text = c->indexes[c->at.depth < BERTH_JSON_DEPTH_MAX ? c->at.depth : 0];

    if (index == NULL)
        return place_enter(&c->at, name, false);
    const int n = snprintf(text, INDEX_BYTES, "%zu", *index);
    return place_enter(&c->at, (struct berth_slice){text, (size_t)n}, true);
}

static bool
is_told(const struct check *c, const char *path)
{
    for (size_t i = 0; i < c->count.count; i++)
        if (strcmp(c->found[i].path, path) == 0)
            return true;
    return false;
}

__attribute__((format(printf, 3, 4))) static int
tell(struct check *c, const struct berth_limit *l, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (c->count.count == BERTH_SHAPE_PROBLEMS_MAX && !l->stricter)
        shape_drop_warning(c->found, &c->count);
    if (c->count.count == BERTH_SHAPE_PROBLEMS_MAX) {
        c->count.errors += !l->stricter;
        c->count.beyond++;
        return 0;
    }
    const char *path = place_text(&c->at, c->arena);
    if (path == NULL)
        return no_memory(c);
    if (is_told(c, path))
        return 0;
    c->count.errors += !l->stricter;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct berth_shape_problem *p = &c->found[c->count.count++];
    *p = (struct berth_shape_problem){
        .path = path, .is_error = !l->stricter, .text = berth_arena_strdup(c->arena, text)};
    return p->text != NULL ? 0 : no_memory(c);
}

/* ---- numbers ---- */

static int
check_range(struct check *c, const struct berth_limit *l, int64_t n, const char *what)
{
    if (n >= l->min && n <= l->max)
        return 0;
    if (n < l->min && l->max >= INT32_MAX) /* which is as many as there can be */
        return tell(c, l, "%" PRId64 "%s: it is %" PRId64 " or more", n, what, l->min);
    return tell(c, l, "%" PRId64 "%s: it is from %" PRId64 " to %" PRId64, n, what, l->min, l->max);
}

/* An empty one has no bytes to count. */
static int
check_size(struct check *c, const struct berth_limit *l, size_t n, const char *what)
{
    if (n == 0 && l->min > 0)
        return tell(c, l, "it is empty: %s", l->says != NULL ? l->says : "say at least one");
    return check_range(c, l, (int64_t)n, what);
}

static size_t
characters(struct berth_slice s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.at[i] & 0xc0) != 0x80;
    return n;
}

/* ---- patterns ---- */

static int
fits(struct check *c, const struct berth_limit *l, struct berth_slice s, bool *ret)
{
    struct pattern *p = &c->patterns[l - c->limits];

    *ret = false;
    if (s.len > PATTERN_BYTES_MAX || strlen(s.at) != s.len)
        return 0;
    if (!p->is_there && regcomp(&p->compiled, l->text, REG_EXTENDED | REG_NOSUB) != 0)
        return no_memory(c); /* each of them is tried by a test */
    p->is_there = true;
    *ret = regexec(&p->compiled, s.at, 0, NULL, 0) == 0;
    return 0;
}

static int
check_pattern(struct check *c, const struct berth_limit *l, struct berth_slice s)
{
    bool is;
    const int rc = fits(c, l, s, &is);

    if (rc != 0 || is == (l->kind != BERTH_LIMIT_NO_MATCH))
        return rc;
    return tell(c, l, "\"%.*s\": it should be %s", (int)(s.len < 64 ? s.len : 64), s.at, l->says);
}

/* ---- lists ---- */

struct entry {
    struct keyed of;
    size_t at;
};

static int
by_keys(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;

    for (size_t i = 0; i < KEYS_MAX; i++) {
        const struct berth_slice s = a->of.text[i], t = b->of.text[i];
        const size_t n = s.len < t.len ? s.len : t.len;
        const int r = n > 0 ? memcmp(s.at, t.at, n) : 0;
        if (r != 0)
            return r;
        if (s.len != t.len)
            return s.len < t.len ? -1 : 1;
    }
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Of a list: which of its elements repeat others. */
struct doubles {
    const struct berth_limit *limit; /* NULL: none is asked for */
    const struct keyed *read;
    size_t *first; /* for the last of those with one key the first of them, else SIZE_MAX */
};

static void
find_doubles(const struct keys *keys, struct entry *all, size_t count, size_t *ret_first)
{
    qsort(all, count, sizeof *all, by_keys);
    for (size_t i = 0, end = 0; i < count; i = end) {
        while (end < count && keyed_same(keys, &all[i].of, &all[end].of))
            end++;
        for (size_t k = i; k < end; k++)
            ret_first[all[k].at] = SIZE_MAX;
        if (end - i > 1 && all[i].of.text[0].len > 0)
            ret_first[all[end - 1].at] = all[i].at;
    }
}

/* What is found here is told when its element comes, so that all is told in the document's order.
 */
static int
check_distinct(struct check *c, const struct berth_limit *l, const struct berth_json *list,
               struct doubles *ret)
{
    const size_t count = berth_json_len(list);
    struct entry *all = BERTH_NEW_N(c->arena, struct entry, count + 1);
    size_t *first = BERTH_NEW_N(c->arena, size_t, count + 1);
    struct keyed *read;
    struct keys keys;

    keys_read(&keys, l->text);
    if (all == NULL || first == NULL)
        return no_memory(c);
    const int rc = keyed_read(&keys, list, &c->at, c->arena, &read, c->e);
    if (rc == -BERTH_EINVAL)
        return 0; /* its shape has told so */
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < count; i++)
        all[i] = (struct entry){read[i], i};
    find_doubles(&keys, all, count, first);
    *ret = (struct doubles){l, read, first};
    return 0;
}

static int
tell_of_double(struct check *c, const struct doubles *d, size_t index)
{
    if (d->limit == NULL || d->first[index] == SIZE_MAX)
        return 0;
    const struct berth_slice key = d->read[index].text[0];
    return tell(c, d->limit, "%s %.*s is there already, at [%zu]: each once", d->limit->text,
                (int)(key.len < 64 ? key.len : 64), key.at, d->first[index]);
}

/* ---- objects ---- */

static int
check_required(struct check *c, const struct berth_limit *l, const struct berth_json *v)
{
    if (berth_json_type(berth_json_get(v, l->text)) != BERTH_JSON_NULL)
        return 0;
    if (!enter(c, berth_slice_of(l->text), NULL))
        return no_memory(c);
    const int rc = tell(c, l, "it is missing%s%s", l->says != NULL ? ": " : "",
                        l->says != NULL ? l->says : "");
    c->at.depth--;
    return rc;
}

static int
check_rule(struct check *c, const struct berth_limit *l, const struct berth_json *v)
{
    if (l->holds == NULL || l->holds(v))
        return 0;
    if (l->at != NULL && !enter(c, berth_slice_of(l->at), NULL))
        return no_memory(c);
    const int rc = tell(c, l, "%s", l->says);
    c->at.depth -= l->at != NULL;
    return rc;
}

/* ---- all ---- */

static int
check_value(struct check *c, const struct berth_limit *l, const struct berth_json *v,
            struct doubles *ret_doubles)
{
    const enum berth_json_type is = berth_json_type(v);
    struct berth_slice s;
    int64_t n;

    switch (l->kind) {
    case BERTH_LIMIT_REQUIRED:
        return is == BERTH_JSON_OBJECT ? check_required(c, l, v) : 0;
    case BERTH_LIMIT_RANGE:
        return berth_json_int(v, &n) ? check_range(c, l, n, "") : 0;
    case BERTH_LIMIT_LENGTH:
        return berth_json_string(v, &s) ? check_size(c, l, characters(s), " characters") : 0;
    case BERTH_LIMIT_ITEMS:
        return is == BERTH_JSON_ARRAY ? check_size(c, l, berth_json_len(v), " elements") : 0;
    case BERTH_LIMIT_PATTERN:
    case BERTH_LIMIT_MATCHES:
    case BERTH_LIMIT_NO_MATCH:
        return berth_json_string(v, &s) ? check_pattern(c, l, s) : 0;
    case BERTH_LIMIT_DISTINCT:
        return is == BERTH_JSON_ARRAY ? check_distinct(c, l, v, ret_doubles) : 0;
    case BERTH_LIMIT_RULE:
        return check_rule(c, l, v);
    }
    return 0;
}

static int
look(struct check *c, const struct berth_json *v)
{
    const bool list = berth_json_type(v) == BERTH_JSON_ARRAY;
    struct doubles doubles = {.limit = NULL};
    int rc = 0;

    if (++c->values > VALUES_MAX)
        return berth_err_set(c->e, BERTH_ETOOBIG, "more than %d values", VALUES_MAX);
    for (size_t i = 0; rc == 0 && i < c->limit_count; i++)
        if (place_fits(&c->at, c->limits[i].path))
            rc = check_value(c, &c->limits[i], v, &doubles);
    for (struct berth_json_iter it = berth_json_iter(v); rc == 0 && berth_json_next(&it);) {
        if (berth_json_type(it.value) == BERTH_JSON_NULL)
            continue; /* as if it were not there */
        if (!enter(c, it.key, list ? &it.index : NULL))
            return no_memory(c);
        rc = list ? tell_of_double(c, &doubles, it.index) : 0;
        rc = rc == 0 ? look(c, it.value) : rc;
        c->at.depth--;
    }
    return rc;
}

int
berth_limits_check(const struct berth_limit *limits, size_t count, const struct berth_json *v,
                   struct berth_arena *a, struct berth_shape_problems *ret, struct berth_err *e)
{
    struct check *c = BERTH_NEW(a, struct check);

    if (c == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "a document needs more memory than allowed");
    *c = (struct check){.limits = limits, .limit_count = count, .arena = a, .e = e};
    c->found = BERTH_NEW_N(a, struct berth_shape_problem, BERTH_SHAPE_PROBLEMS_MAX);
    c->patterns = calloc(count, sizeof *c->patterns);
    const int rc = c->found != NULL && c->patterns != NULL ? look(c, v) : no_memory(c);
    for (size_t i = 0; c->patterns != NULL && i < count; i++)
        if (c->patterns[i].is_there)
            regfree(&c->patterns[i].compiled);
    free(c->patterns);
    if (rc != 0)
        return rc;
    c->count.at = c->found;
    *ret = c->count;
    return 0;
}
