#include "kube/covers.h"

#include <string.h>

#include "base/buf.h"
#include "wire/json.h"

static bool
covers_scalar(const struct berth_json *live, const struct berth_json *wish)
{
    struct berth_slice x, y;
    double a, b;
    bool p, q;

    if (berth_json_string(wish, &x))
        return berth_json_string(live, &y) && x.len == y.len && memcmp(x.at, y.at, x.len) == 0;
    if (berth_json_bool(wish, &p))
        return berth_json_bool(live, &q) && p == q;
    return berth_json_real(wish, &a) && berth_json_real(live, &b) && a == b;
}

static bool
covers_object(const struct berth_json *live, const struct berth_json *wish)
{
    if (live != NULL && berth_json_type(live) != BERTH_JSON_OBJECT)
        return false;
    for (struct berth_json_iter it = berth_json_iter(wish); berth_json_next(&it);) {
        if (!berth_kube_covers(berth_json_get(live, it.key.at), it.value))
            return false;
    }
    return true;
}

static bool
are_all_named(const struct berth_json *list)
{
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        if (berth_json_type(berth_json_get(it.value, "name")) != BERTH_JSON_STRING)
            return false;
    }
    return true;
}

static bool
has_named(const struct berth_json *live, const struct berth_json *wish)
{
    const char *name = berth_json_member_text(wish, "name", "");

    for (struct berth_json_iter it = berth_json_iter(live); berth_json_next(&it);) {
        if (strcmp(berth_json_member_text(it.value, "name", ""), name) == 0 &&
            berth_kube_covers(it.value, wish))
            return true;
    }
    return false;
}

static bool
covers_list(const struct berth_json *live, const struct berth_json *wish)
{
    const bool named = are_all_named(wish);
    bool scalars = true;

    if (berth_json_len(wish) == 0)
        return berth_json_len(live) == 0;
    if (berth_json_type(live) != BERTH_JSON_ARRAY || berth_json_len(live) < berth_json_len(wish))
        return false;
    struct berth_json_iter at = berth_json_iter(live);
    for (struct berth_json_iter it = berth_json_iter(wish); berth_json_next(&it);) {
        (void)berth_json_next(&at);
        scalars = scalars && berth_json_type(it.value) < BERTH_JSON_ARRAY;
        if (named ? !has_named(live, it.value) : !berth_kube_covers(at.value, it.value))
            return false;
    }
    return !scalars || berth_json_len(live) == berth_json_len(wish);
}

bool
berth_kube_covers(const struct berth_json *live, const struct berth_json *wish)
{
    switch (berth_json_type(wish)) {
    case BERTH_JSON_NULL:
        return berth_json_type(live) == BERTH_JSON_NULL;
    case BERTH_JSON_OBJECT:
        return covers_object(live, wish);
    case BERTH_JSON_ARRAY:
        return covers_list(live, wish);
    default:
        return covers_scalar(live, wish);
    }
}

/* ---- what both have ---- */

static const char *
name_of(const struct berth_json *element)
{
    return berth_json_member_text(element, "name", "");
}

/* The live one for the element of the wish at that place: the n-th of a name for the n-th. */
static const struct berth_json *
element_for(const struct berth_json *live, const struct berth_json *wish, size_t index, bool named)
{
    const struct berth_json *element = NULL;
    size_t before = 0;

    for (struct berth_json_iter it = berth_json_iter(wish); berth_json_next(&it);) {
        if (it.index == index)
            element = it.value;
    }
    for (struct berth_json_iter it = berth_json_iter(wish); berth_json_next(&it);)
        before += it.index < index && strcmp(name_of(it.value), name_of(element)) == 0;
    for (struct berth_json_iter it = berth_json_iter(live); berth_json_next(&it);) {
        if (named ? strcmp(name_of(it.value), name_of(element)) == 0 && before-- == 0
                  : it.index == index)
            return it.value;
    }
    return NULL;
}

static bool
has_scalar(const struct berth_json *list)
{
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        if (berth_json_type(it.value) < BERTH_JSON_ARRAY)
            return true;
    }
    return false;
}

static void
put_shared(struct berth_jw *w, const struct berth_json *live, const struct berth_json *wish)
{
    const enum berth_json_type type = berth_json_type(wish);
    const bool named = type == BERTH_JSON_ARRAY && are_all_named(wish);
    const struct berth_json *at;

    /* Lists of texts and numbers, and empty ones, are the same or another. */
    const bool whole = type < BERTH_JSON_ARRAY || (type == BERTH_JSON_ARRAY &&
                                                   (berth_json_len(wish) == 0 || has_scalar(wish)));

    if (live == NULL || berth_json_type(live) != type || whole) {
        if (live != NULL)
            berth_jw_value(w, live);
        else
            berth_jw_null(w);
    } else if (type == BERTH_JSON_ARRAY) {
        berth_jw_array(w);
        for (struct berth_json_iter it = berth_json_iter(wish); berth_json_next(&it);)
            put_shared(w, element_for(live, wish, it.index, named), it.value);
        berth_jw_array_end(w);
    } else {
        berth_jw_object(w);
        for (struct berth_json_iter it = berth_json_iter(wish); berth_json_next(&it);) {
            if ((at = berth_json_get(live, it.key.at)) == NULL)
                continue;
            berth_jw_key_n(w, it.key.at, it.key.len);
            put_shared(w, at, it.value);
        }
        berth_jw_object_end(w);
    }
}

void
berth_kube_put_shared(struct berth_buf *b, const struct berth_json *live,
                      const struct berth_json *wish)
{
    struct berth_jw w;

    berth_jw_init(&w, b);
    put_shared(&w, live, wish);
}
