#include "merge/merge.h"

#include <string.h>

#include "base/arena.h"
#include "merge/merge_priv.h"

/*
 * The result is written as JSON text, which is parsed into the tree that is given back: trees of
 * wire/json.h cannot be put together from pieces.
 */
enum { TEXT_BYTES_MAX = 16 << 20, WORK_MAX = 64 << 20 };

const struct berth_merge_rule *
merge_rule(const struct merge *m)
{
    for (size_t i = 0; i < m->rule_count; i++)
        if (place_fits(&m->at, m->rules[i].path))
            return &m->rules[i];
    return NULL;
}

int
merge_work(struct merge *m, size_t n)
{
    m->work += n;
    if (m->work <= WORK_MAX)
        return 0;
    const char *where = place_text(&m->at, m->arena);
    return berth_err_set(m->e, BERTH_ETOOBIG,
                         "%s: it takes more than %d comparisons to be merged: make it shorter",
                         where != NULL ? where : "?", WORK_MAX);
}

int
merge_enter(struct merge *m, struct berth_slice name, bool element)
{
    return place_enter(&m->at, name, element)
               ? 0
               : berth_err_set(m->e, BERTH_EINVAL, "nested more than %d deep",
                               BERTH_JSON_DEPTH_MAX);
}

/* The last member of that name; NULL when there is none.  One of berth_json_get() would stop at a
 * NUL in a name. */
static int
find_member(struct merge *m, const struct berth_json *v, struct berth_slice name,
            const struct berth_json **ret)
{
    *ret = NULL;
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);)
        if (it.key.len == name.len && memcmp(it.key.at, name.at, name.len) == 0)
            *ret = it.value;
    return merge_work(m, berth_json_len(v));
}

static bool
is_nothing(const struct berth_json *v)
{
    return berth_json_type(v) == BERTH_JSON_NULL;
}

/* ---- one of several members ---- */

static bool
is_listed(struct berth_slice name, const char *names)
{
    const bool others = names[0] == '!';

    for (const char *at = names + others; *at != '\0';) {
        const size_t len = strcspn(at, ",");

        if (len == name.len && memcmp(at, name.at, len) == 0)
            return !others;
        at += len + (at[len] == ',');
    }
    return others;
}

/* "type=RollingUpdate:rollingUpdate" */
struct tied {
    struct berth_slice by, value, member;
};

static bool
tied_read(const char *keys, struct tied *ret)
{
    const char *is = strchr(keys, '='), *colon = is != NULL ? strchr(is, ':') : NULL;

    if (colon == NULL)
        return false;
    ret->by = (struct berth_slice){keys, (size_t)(is - keys)};
    ret->value = (struct berth_slice){is + 1, (size_t)(colon - is) - 1};
    ret->member = berth_slice_of(colon + 1);
    return true;
}

static bool
is_same(struct berth_slice a, struct berth_slice b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* What of the base's members the overlay's choice removes. */
struct choice {
    const char *names;       /* all of these that the overlay has not; NULL: none */
    struct berth_slice drop; /* and this one; len 0: none */
};

static int
choice_tied(struct merge *m, const struct tied *t, const struct berth_json *o, struct choice *ret)
{
    const struct berth_json *by, *member;
    struct berth_slice text;
    int rc = find_member(m, o, t->by, &by);

    if (rc == 0)
        rc = find_member(m, o, t->member, &member);
    if (rc != 0)
        return rc;
    if (berth_json_string(by, &text) && !is_same(text, t->value))
        ret->drop = t->member;
    else if (by == NULL && !is_nothing(member))
        ret->drop = t->by; /* its default is what the member belongs to */
    return 0;
}

static int
choice_made(struct merge *m, const struct berth_merge_rule *rule, const struct berth_json *o,
            struct choice *ret)
{
    struct tied t;

    *ret = (struct choice){0};
    if (rule == NULL || rule->mode != BERTH_MERGE_ONE_OF)
        return 0;
    if (tied_read(rule->keys, &t))
        return choice_tied(m, &t, o, ret);
    for (struct berth_json_iter it = berth_json_iter(o); berth_json_next(&it);)
        if (!is_nothing(it.value) && is_listed(it.key, rule->keys))
            ret->names = rule->keys;
    return 0;
}

/* ---- objects ---- */

/* Is it the last of its name?  Those before it do not count. */
static int
is_last(struct merge *m, const struct berth_json *v, const struct berth_json_iter *it, bool *ret)
{
    const struct berth_json *last;
    const int rc = find_member(m, v, it->key, &last);

    *ret = rc == 0 && last == it->value;
    return rc;
}

static int
put_member(struct merge *m, struct berth_slice name, const struct berth_json *b,
           const struct berth_json *o)
{
    int rc = merge_enter(m, name, false);

    if (rc != 0)
        return rc;
    berth_jw_key_n(&m->out, name.at, name.len);
    rc = merge_value(m, b, o);
    m->at.depth--;
    return rc;
}

static int
put_base_members(struct merge *m, const struct choice *c, const struct berth_json *b,
                 const struct berth_json *o)
{
    for (struct berth_json_iter it = berth_json_iter(b); berth_json_next(&it);) {
        const struct berth_json *over;
        bool counts;
        int rc = is_last(m, b, &it, &counts);

        if (rc == 0)
            rc = find_member(m, o, it.key, &over);
        if (rc != 0)
            return rc;
        if (!counts || (over != NULL && is_nothing(over)))
            continue;
        if (over == NULL && ((c->names != NULL && is_listed(it.key, c->names)) ||
                             (c->drop.len > 0 && is_same(it.key, c->drop))))
            continue;
        rc = put_member(m, it.key, it.value, over);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int
merge_object(struct merge *m, const struct berth_merge_rule *rule, const struct berth_json *b,
             const struct berth_json *o)
{
    struct choice c;
    int rc = choice_made(m, rule, o, &c);

    berth_jw_object(&m->out);
    if (rc == 0)
        rc = put_base_members(m, &c, b, o);
    for (struct berth_json_iter it = berth_json_iter(o); rc == 0 && berth_json_next(&it);) {
        const struct berth_json *base;
        bool counts;

        rc = is_last(m, o, &it, &counts);
        if (rc == 0)
            rc = find_member(m, b, it.key, &base);
        if (rc == 0 && counts && base == NULL && !is_nothing(it.value))
            rc = put_member(m, it.key, NULL, it.value);
    }
    berth_jw_object_end(&m->out);
    return rc;
}

/* ---- anything ---- */

static bool
is_container(const struct berth_json *v)
{
    return berth_json_type(v) == BERTH_JSON_OBJECT || berth_json_type(v) == BERTH_JSON_ARRAY;
}

static const char *
shape_name(const struct berth_json *v)
{
    return berth_json_type(v) == BERTH_JSON_ARRAY ? "a list" : berth_json_type_name(v);
}

int
merge_value(struct merge *m, const struct berth_json *b, const struct berth_json *o)
{
    if (is_nothing(o) && b != NULL) {
        berth_jw_value(&m->out, b);
        return 0;
    }
    const struct berth_merge_rule *rule = is_container(o) ? merge_rule(m) : NULL;
    if (is_nothing(b) || (rule != NULL && rule->mode == BERTH_MERGE_ATOMIC))
        b = NULL;
    if (b != NULL && (is_container(b) || is_container(o)) &&
        berth_json_type(b) != berth_json_type(o)) {
        const char *where = place_text(&m->at, m->arena);
        return berth_err_set(m->e, BERTH_EINVAL, "%s: %s is merged with %s",
                             where != NULL ? where : "?", shape_name(b), shape_name(o));
    }
    if (berth_json_type(o) == BERTH_JSON_OBJECT)
        return merge_object(m, rule, b, o);
    if (berth_json_type(o) == BERTH_JSON_ARRAY)
        return merge_list(m, b, o);
    berth_jw_value(&m->out, o);
    return 0;
}

int
berth_merge(const struct berth_merge_rule *rules, size_t rule_count, const struct berth_json *base,
            const struct berth_json *overlay, struct berth_arena *a, const struct berth_json **ret,
            struct berth_err *e)
{
    struct merge *m = BERTH_NEW(a, struct merge);
    struct berth_buf text;

    if (m == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "a merge needs more memory than allowed");
    berth_buf_init(&text, a);
    text.max = TEXT_BYTES_MAX;
    *m = (struct merge){.rules = rules, .rule_count = rule_count, .arena = a, .e = e};
    berth_jw_init(&m->out, &text);
    const int rc = merge_value(m, base, overlay);
    if (rc != 0)
        return rc;
    if (text.failed)
        return berth_err_set(e, BERTH_ENOMEM, "a merge needs more memory than allowed");
    return berth_json_parse(a, text.at, text.len, NULL, ret, e);
}
