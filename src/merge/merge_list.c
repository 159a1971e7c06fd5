#include <string.h>

#include "base/arena.h"
#include "merge/merge_priv.h"

/* What equals what: elements are compared by their text, in which they are written anyway. */
static int
no_memory(struct merge *m)
{
    return berth_err_set(m->e, BERTH_ENOMEM, "a merge needs more memory than allowed");
}

static int
texts_read(struct merge *m, const struct berth_json *list, struct berth_slice **ret)
{
    struct berth_slice *all = BERTH_NEW_N(m->arena, struct berth_slice, berth_json_len(list) + 1);

    if (all == NULL)
        return no_memory(m);
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        struct berth_buf b;

        berth_buf_init(&b, m->arena);
        berth_json_put(&b, it.value);
        if (b.failed)
            return no_memory(m);
        all[it.index] = (struct berth_slice){b.at, b.len};
    }
    *ret = all;
    return 0;
}

static int
is_among(struct merge *m, struct berth_slice text, const struct berth_slice *all, size_t count,
         bool *ret)
{
    *ret = false;
    for (size_t i = 0; i < count && !*ret; i++)
        *ret = text.len == all[i].len && memcmp(text.at, all[i].at, text.len) == 0;
    return merge_work(m, count);
}

/* An element of the overlay's or the base's that nothing is merged with. */
static int
put_element(struct merge *m, size_t index, const struct berth_json *b, const struct berth_json *o)
{
    const char *name = berth_arena_printf(m->arena, "%zu", index);
    int rc = name != NULL ? merge_enter(m, berth_slice_of(name), true) : no_memory(m);

    if (rc != 0)
        return rc;
    rc = merge_value(m, b, o);
    m->at.depth--;
    return rc;
}

/* ---- without keys ---- */

static int
put_all(struct merge *m, const struct berth_json *list, size_t first)
{
    int rc = 0;

    for (struct berth_json_iter it = berth_json_iter(list); rc == 0 && berth_json_next(&it);)
        if (it.index >= first)
            rc = put_element(m, it.index, NULL, it.value);
    return rc;
}

static void
put_base(struct merge *m, const struct berth_json *list)
{
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);)
        berth_jw_value(&m->out, it.value);
}

static int
append(struct merge *m, const struct berth_json *b, const struct berth_json *o)
{
    struct berth_slice *there, *texts;
    int rc = texts_read(m, b, &there);

    if (rc == 0)
        rc = texts_read(m, o, &texts);
    put_base(m, b);
    for (struct berth_json_iter it = berth_json_iter(o); rc == 0 && berth_json_next(&it);) {
        bool known;
        rc = is_among(m, texts[it.index], there, berth_json_len(b), &known);
        if (rc == 0 && !known)
            rc = put_element(m, it.index, NULL, it.value);
    }
    return rc;
}

static int
prepend(struct merge *m, bool distinct, const struct berth_json *b, const struct berth_json *o)
{
    struct berth_slice *there, *texts;
    int rc = put_all(m, o, 0);

    if (rc == 0)
        rc = texts_read(m, b, &texts);
    if (rc == 0)
        rc = texts_read(m, o, &there);
    for (struct berth_json_iter it = berth_json_iter(b); rc == 0 && berth_json_next(&it);) {
        bool known = false;
        if (distinct)
            rc = is_among(m, texts[it.index], there, berth_json_len(o), &known);
        if (rc == 0 && !known)
            berth_jw_value(&m->out, it.value);
    }
    return rc;
}

static int
prepend_flags(struct merge *m, const struct berth_json *b, const struct berth_json *o)
{
    const int rc = put_all(m, o, 0);

    return rc == 0 ? merge_flags(m, b, o) : rc;
}

/* ---- node selector terms ---- */

/* The requirements of both, in one list; those of the overlay that are there already are left out.
 */
static int
put_requirements(struct merge *m, const char *name, const struct berth_json *b,
                 const struct berth_json *o)
{
    const struct berth_json *of_base = berth_json_get(b, name), *of_over = berth_json_get(o, name);

    if (berth_json_len(of_base) + berth_json_len(of_over) == 0)
        return 0;
    berth_jw_key(&m->out, name);
    berth_jw_array(&m->out);
    const int rc = append(m, of_base, of_over);
    berth_jw_array_end(&m->out);
    return rc;
}

static int
put_both_terms(struct merge *m, const struct berth_json *b, const struct berth_json *o)
{
    static const char *const names[] = {"matchExpressions", "matchFields"};
    int rc = 0;

    berth_jw_object(&m->out);
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof names[0]; i++)
        rc = put_requirements(m, names[i], b, o);
    berth_jw_object_end(&m->out);
    return rc;
}

/* A term without requirements fits no node, and stays so. */
static bool
fits_nothing(const struct berth_json *term)
{
    return berth_json_len(berth_json_get(term, "matchExpressions")) +
               berth_json_len(berth_json_get(term, "matchFields")) ==
           0;
}

static int
put_terms(struct merge *m, const struct berth_json *b, const struct berth_json *o)
{
    int rc = 0;

    for (struct berth_json_iter i = berth_json_iter(b); berth_json_next(&i);) {
        if (fits_nothing(i.value)) {
            berth_jw_value(&m->out, i.value);
            continue;
        }
        for (struct berth_json_iter k = berth_json_iter(o); rc == 0 && berth_json_next(&k);) {
            rc = merge_work(m, berth_json_len(b));
            if (rc == 0)
                rc = put_both_terms(m, i.value, k.value);
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- with keys ---- */

struct keyed_merge {
    struct keys keys;
    struct keyed *base, *over, *done; /* done: what was written, by what its keys are now */
    size_t base_count, over_count, done_count;
    bool *used; /* of the overlay's: it paired */
    bool units;
};

static int
put_keyed(struct merge *m, const struct keyed_merge *km, size_t index, const struct keyed *b,
          const struct keyed *o)
{
    const char *name = keyed_label(&km->keys, o != NULL ? o : b, index, m->arena);
    int rc = name != NULL ? merge_enter(m, berth_slice_of(name), true) : no_memory(m);

    if (rc != 0)
        return rc;
    rc = merge_value(m, b != NULL ? b->value : NULL, o != NULL ? o->value : NULL);
    m->at.depth--;
    return rc;
}

/* The overlay's element that pairs with this one: the last of those that are the same, or else the
 * first that fits.  NULL: none. */
static struct keyed *
find_pair(const struct keyed_merge *km, const struct keyed *b)
{
    struct keyed *fit = NULL, *same = NULL;

    for (size_t i = 0; i < km->over_count; i++) {
        struct keyed *o = &km->over[i];

        if (keyed_same(&km->keys, b, o))
            same = o;
        else if (fit == NULL && keyed_pair(&km->keys, b, o))
            fit = o;
    }
    return same != NULL ? same : fit;
}

/* A pair's keys when it is merged; false: that is there already. */
static bool
note_done(struct keyed_merge *km, const struct keyed *b, const struct keyed *o)
{
    struct keyed now = *b;

    for (size_t i = 0; o != NULL && i < km->keys.count; i++)
        if (o->text[i].len > 0)
            now.text[i] = o->text[i];
    if (km->keys.graded && o != NULL)
        for (size_t i = 0; i < km->done_count; i++)
            if (keyed_same(&km->keys, &km->done[i], &now))
                return false;
    km->done[km->done_count++] = now;
    return true;
}

/* Not paired itself, and not the same as one that is. */
static bool
is_new(const struct keyed_merge *km, size_t index)
{
    for (size_t i = 0; i < km->over_count; i++)
        if (km->used[i] && (i == index || keyed_same(&km->keys, &km->over[i], &km->over[index])))
            return false;
    return true;
}

static int
put_pairs(struct merge *m, struct keyed_merge *km)
{
    for (size_t i = 0; i < km->base_count; i++) {
        const struct keyed *b = &km->base[i];
        struct keyed *o = find_pair(km, b);
        int rc = merge_work(m, km->over_count + km->done_count);

        if (o != NULL)
            km->used[o - km->over] = true;
        if (rc == 0 && note_done(km, b, o))
            rc = put_keyed(m, km, i, o != NULL && km->units ? NULL : b, o);
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; i < km->over_count; i++) {
        int rc = merge_work(m, km->over_count);

        if (rc == 0 && is_new(km, i))
            rc = put_keyed(m, km, i, NULL, &km->over[i]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int
keyed(struct merge *m, const struct berth_merge_rule *rule, const struct berth_json *b,
      const struct berth_json *o)
{
    struct keyed_merge km = {.units = rule->mode == BERTH_MERGE_KEYED_UNITS,
                             .base_count = berth_json_len(b),
                             .over_count = berth_json_len(o)};

    keys_read(&km.keys, rule->keys);
    int rc = keyed_read(&km.keys, b, &m->at, m->arena, &km.base, m->e);
    if (rc == 0)
        rc = keyed_read(&km.keys, o, &m->at, m->arena, &km.over, m->e);
    if (rc != 0)
        return rc;
    km.used = BERTH_NEW_N(m->arena, bool, km.over_count + 1);
    km.done = BERTH_NEW_N(m->arena, struct keyed, km.base_count + 1);
    if (km.used == NULL || km.done == NULL)
        return no_memory(m);
    return put_pairs(m, &km);
}

/* ---- all ---- */

static bool
says_replace(const struct berth_json *list)
{
    struct berth_json_iter it = berth_json_iter(list);
    struct berth_slice text;

    return berth_json_next(&it) && berth_json_string(it.value, &text) &&
           berth_slice_is(text, BERTH_MERGE_REPLACE_MARK);
}

static int
put_list(struct merge *m, const struct berth_json *b, const struct berth_json *o)
{
    const struct berth_merge_rule *rule = merge_rule(m);

    if (says_replace(o))
        return put_all(m, o, 1);
    if (b == NULL || rule == NULL)
        return put_all(m, o, 0);
    switch (rule->mode) {
    case BERTH_MERGE_APPEND:
        return append(m, b, o);
    case BERTH_MERGE_FLAGS:
        return prepend_flags(m, b, o);
    case BERTH_MERGE_PREPEND:
        return prepend(m, rule->keys != NULL, b, o);
    case BERTH_MERGE_KEYED:
    case BERTH_MERGE_KEYED_UNITS:
        return keyed(m, rule, b, o);
    case BERTH_MERGE_AND:
        return berth_json_len(b) > 0 ? put_terms(m, b, o) : put_all(m, o, 0);
    case BERTH_MERGE_REPLACE:
    case BERTH_MERGE_ATOMIC:
    case BERTH_MERGE_ONE_OF:
        break;
    }
    return put_all(m, o, 0);
}

int
merge_list(struct merge *m, const struct berth_json *b, const struct berth_json *o)
{
    int rc = 0;

    berth_jw_array(&m->out);
    if (b != NULL && berth_json_len(o) == 0)
        put_base(m, b);
    else
        rc = put_list(m, b, o);
    berth_jw_array_end(&m->out);
    return rc;
}
