#include <string.h>

#include "template/fn_priv.h"

/* sprig's functions on maps.  set, unset and merge change the map that they are given. */

BERTH_TFN(dict)
{
    const struct berth_tvalue none = berth_tv_slice((struct berth_slice){"", 0});
    struct berth_slice key;
    int err = berth_trun_map(r, BERTH_TT_PLAIN, ret);

    for (size_t i = 0; i < argc && err == 0; i += 2) {
        err = berth_trun_strval(r, &argv[i], &key);
        if (err == 0)
            err = berth_trun_set(r, ret->map, key, i + 1 < argc ? &argv[i + 1] : &none);
    }
    return err;
}

BERTH_TFN(get)
{
    const struct berth_tvalue *v = berth_tmap_get(argv[0].map, argv[1].s);

    *ret = v != NULL ? *v : berth_tv_slice((struct berth_slice){"", 0});
    return 0;
}

BERTH_TFN(set)
{
    *ret = argv[0];
    return berth_trun_set(r, argv[0].map, argv[1].s, &argv[2]);
}

BERTH_TFN(unset)
{
    berth_tmap_unset(argv[0].map, argv[1].s);
    *ret = argv[0];
    return berth_trun_work(r, argv[0].map->len / 16);
}

BERTH_TFN(has_key)
{
    *ret = berth_tv_bool(berth_tmap_get(argv[0].map, argv[1].s) != NULL);
    return 0;
}

BERTH_TFN(pluck)
{
    struct berth_tstrings l = {0};
    int err = 0;

    for (size_t i = 1; i < argc && err == 0; i++) {
        const struct berth_tvalue *v = berth_tmap_get(argv[i].map, argv[0].s);
        if (v != NULL)
            err = berth_trun_add(r, &l, *v);
    }
    return err == 0 ? berth_trun_added(r, &l, BERTH_TT_PLAIN, ret) : err;
}

/* sprig gives them in no order; here they are sorted. */
BERTH_TFN(keys)
{
    struct berth_tstrings l = {0};
    int err = 0;

    for (size_t i = 0; i < argc; i++)
        for (size_t j = 0; j < argv[i].map->len && err == 0; j++)
            err = berth_trun_add(r, &l, berth_tv_slice(argv[i].map->at[j].key));
    return err == 0 ? berth_trun_added(r, &l, BERTH_TT_OF_STRING, ret) : err;
}

BERTH_TFN(values)
{
    struct berth_tstrings l = {0};
    int err = 0;

    for (size_t j = 0; j < argv[0].map->len && err == 0; j++)
        err = berth_trun_add(r, &l, argv[0].map->at[j].value);
    return err == 0 ? berth_trun_added(r, &l, BERTH_TT_PLAIN, ret) : err;
}

static bool
named(struct berth_slice key, const struct berth_tvalue *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (berth_tslice_cmp(names[i].s, key) == 0)
            return true;
    return false;
}

/* The members that are named, or those that are not. */
static int
picked(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, bool wanted,
       struct berth_tvalue *ret)
{
    const struct berth_tmap *m = argv[0].map;
    int err = berth_trun_work(r, m->len * (uint64_t)argc);

    if (err == 0)
        err = berth_trun_map(r, BERTH_TT_PLAIN, ret);
    for (size_t i = 0; i < m->len && err == 0; i++)
        if (named(m->at[i].key, argv + 1, argc - 1) == wanted)
            err = berth_trun_set(r, ret->map, m->at[i].key, &m->at[i].value);
    return err;
}

BERTH_TFN(pick)
{
    return picked(r, argv, argc, true, ret);
}

BERTH_TFN(omit)
{
    return picked(r, argv, argc, false, ret);
}

/* What from has and to lacks, or has empty; with over, all that from has. */
static int
merge_into(struct berth_trun *r, struct berth_tmap *to, const struct berth_tmap *from, bool over,
           unsigned depth)
{
    int err = 0;

    if (to == from)
        return 0;
    if (depth > BERTH_TEMPLATE_NEST_MAX)
        return berth_trun_fail(r, "maps are nested deeper than %d", BERTH_TEMPLATE_NEST_MAX);
    for (size_t i = 0; i < from->len && err == 0; i++) {
        const struct berth_tvalue v = from->at[i].value;
        const struct berth_tvalue *old = berth_tmap_get(to, from->at[i].key);
        err = berth_trun_work(r, 1);
        if (err < 0)
            break;
        const bool maps = old != NULL && old->kind == BERTH_T_MAP && v.kind == BERTH_T_MAP &&
                          old->type == BERTH_TT_PLAIN && v.type == BERTH_TT_PLAIN;
        if (maps)
            err = merge_into(r, old->map, v.map, over, depth + 1);
        else if (over || (!berth_tv_is_nil(&v) && (old == NULL || !berth_tv_truth(old))))
            err = berth_trun_set(r, to, from->at[i].key, &v);
    }
    return err;
}

static int
merged(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, bool over,
       struct berth_tvalue *ret)
{
    int err = 0;

    for (size_t i = 1; i < argc && err == 0; i++)
        err = merge_into(r, argv[0].map, argv[i].map, over, 0);
    *ret = argv[0];
    return err;
}

BERTH_TFN(merge)
{
    return merged(r, argv, argc, false, ret);
}

BERTH_TFN(merge_overwrite)
{
    return merged(r, argv, argc, true, ret);
}

static int
copy(struct berth_trun *r, const struct berth_tvalue *v, unsigned depth, struct berth_tvalue *ret)
{
    int err = berth_trun_work(r, 1);

    if (err < 0)
        return err;
    if (depth > BERTH_TEMPLATE_NEST_MAX)
        return berth_trun_fail(r, "lists and maps are nested deeper than %d",
                               BERTH_TEMPLATE_NEST_MAX);
    if (v->kind == BERTH_T_LIST && !v->list->is_nil) {
        struct berth_tvalue *at = berth_trun_values(r, v->list->len, &err);
        for (size_t i = 0; at != NULL && i < v->list->len && err == 0; i++)
            err = copy(r, &v->list->at[i], depth + 1, &at[i]);
        return err == 0 ? berth_trun_list(r, at, v->list->len, (enum berth_ttype)v->type, ret)
                        : err;
    }
    if (v->kind != BERTH_T_MAP) {
        *ret = *v;
        return 0;
    }
    err = berth_trun_map(r, (enum berth_ttype)v->type, ret);
    for (size_t i = 0; i < v->map->len && err == 0; i++) {
        struct berth_tvalue member;
        err = copy(r, &v->map->at[i].value, depth + 1, &member);
        if (err == 0)
            err = berth_trun_set(r, ret->map, v->map->at[i].key, &member);
    }
    return err;
}

BERTH_TFN(deep_copy)
{
    return copy(r, &argv[0], 0, ret);
}

BERTH_TFN(dig)
{
    struct berth_tvalue v = argv[argc - 1];

    for (size_t i = 0; i + 2 < argc; i++) {
        if (v.kind != BERTH_T_MAP || argv[i].kind != BERTH_T_STRING)
            return berth_trun_fail(r, "goes through maps, with texts as keys, not through %s",
                                   berth_tv_type_name(v.kind != BERTH_T_MAP ? &v : &argv[i]));
        const struct berth_tvalue *next = berth_tmap_get(v.map, argv[i].s);
        v = next != NULL ? *next : argv[argc - 2];
        if (next == NULL)
            break;
    }
    *ret = v;
    return 0;
}

/* clang-format off */
const struct berth_tfn berth_tfns_dicts[] = {
    {"dict", "a*", dict}, {"get", "ms", get}, {"set", "msa", set}, {"unset", "ms", unset},
    {"hasKey", "ms", has_key}, {"pluck", "sm*", pluck}, {"keys", "m*", keys},
    {"values", "m", values}, {"pick", "ms*", pick}, {"omit", "ms*", omit},
    {"merge", "mm*", merge}, {"mustMerge", "mm*", merge},
    {"mergeOverwrite", "mm*", merge_overwrite}, {"mustMergeOverwrite", "mm*", merge_overwrite},
    {"deepCopy", "a", deep_copy}, {"mustDeepCopy", "a", deep_copy}, {"dig", "aaaa*", dig},
    {0},
};
/* clang-format on */
