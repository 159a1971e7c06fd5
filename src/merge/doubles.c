#include "base/arena.h"
#include "merge/merge_priv.h"

struct search {
    const struct berth_merge_rule *rules;
    size_t rule_count;
    struct berth_arena *arena;
    struct place at;
    struct berth_merge_double *found;
    size_t count;
    uint64_t work;
    struct berth_err *e;
};

enum { WORK_MAX = 16 << 20 };

static int
no_memory(struct search *s)
{
    return berth_err_set(s->e, BERTH_ENOMEM, "elements need more memory to compare than allowed");
}

static const struct berth_merge_rule *
keyed_rule(const struct search *s)
{
    for (size_t i = 0; i < s->rule_count; i++)
        if (place_fits(&s->at, s->rules[i].path))
            return s->rules[i].mode == BERTH_MERGE_KEYED ||
                           s->rules[i].mode == BERTH_MERGE_KEYED_UNITS
                       ? &s->rules[i]
                       : NULL;
    return NULL;
}

static int
note(struct search *s, const struct keys *k, const struct keyed *el, size_t index)
{
    const char *name = berth_arena_printf(s->arena, "%zu", index);
    struct berth_merge_double *d = &s->found[s->count];

    if (s->count == BERTH_MERGE_DOUBLES_MAX)
        return 0;
    if (name == NULL || !place_enter(&s->at, berth_slice_of(name), true))
        return no_memory(s);
    d->path = place_text(&s->at, s->arena);
    d->key = keyed_label(k, el, index, s->arena);
    s->at.depth--;
    s->count++;
    return d->path != NULL && d->key != NULL ? 0 : no_memory(s);
}

static int
look_at_list(struct search *s, const struct berth_merge_rule *rule, const struct berth_json *list)
{
    struct keys k;
    struct keyed *all;

    keys_read(&k, rule->keys);
    const int rc = keyed_read(&k, list, &s->at, s->arena, &all, s->e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < berth_json_len(list); i++) {
        size_t before = 0;
        for (size_t j = 0; j < i; j++)
            before += keyed_same(&k, &all[j], &all[i]);
        s->work += i;
        if (s->work > WORK_MAX)
            return berth_err_set(s->e, BERTH_ETOOBIG, "lists are too long to be compared");
        if (before == 1 && note(s, &k, &all[i], i) != 0)
            return no_memory(s);
    }
    return 0;
}

static int
look(struct search *s, const struct berth_json *v)
{
    const bool list = berth_json_type(v) == BERTH_JSON_ARRAY;
    const struct berth_merge_rule *rule = list ? keyed_rule(s) : NULL;
    int rc = rule != NULL ? look_at_list(s, rule, v) : 0;

    for (struct berth_json_iter it = berth_json_iter(v); rc == 0 && berth_json_next(&it);) {
        const char *index = list ? berth_arena_printf(s->arena, "%zu", it.index) : "";

        if (berth_json_len(it.value) == 0)
            continue;
        if (index == NULL || !place_enter(&s->at, list ? berth_slice_of(index) : it.key, list))
            return no_memory(s);
        rc = look(s, it.value);
        s->at.depth--;
    }
    return rc;
}

int
berth_merge_find_doubles(const struct berth_merge_rule *rules, size_t rule_count,
                         const struct berth_json *v, struct berth_arena *a,
                         struct berth_merge_doubles *ret, struct berth_err *e)
{
    struct search *s = BERTH_NEW(a, struct search);
    struct berth_merge_double *found =
        BERTH_NEW_N(a, struct berth_merge_double, BERTH_MERGE_DOUBLES_MAX);

    if (s == NULL || found == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "elements need more memory to compare than allowed");
    *s = (struct search){
        .rules = rules, .rule_count = rule_count, .arena = a, .found = found, .e = e};
    const int rc = look(s, v);
    if (rc != 0)
        return rc;
    *ret = (struct berth_merge_doubles){found, s->count};
    return 0;
}
