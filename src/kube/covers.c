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
