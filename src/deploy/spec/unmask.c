#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "deploy/spec/mask.h"
#include "deploy/spec/spec_priv.h"
#include "wire/json.h"

/* A spec that is sent back as it was shown, with stars where secrets are: they stand for what they
 * hide, and are never taken for it. */

/* ---- environment variables and hooks ---- */

/* A value as it was shown stands for what it hides.  NULL: no memory. */
static const char *
unmasked(const char *key, const char *value, const char *was, struct berth_arena *a)
{
    const char *shown = was != NULL ? berth_mask_text(key, was, a) : "";

    if (shown == NULL)
        return NULL;
    return was != NULL && value != NULL && strcmp(value, shown) == 0 ? berth_arena_strdup(a, was)
                                                                     : value;
}

static bool
unmask_steps(struct berth_spec *s, const struct berth_spec *now, struct berth_arena *a)
{
    struct berth_spec_step *steps = BERTH_NEW_N(a, struct berth_spec_step, s->step_count);

    for (size_t i = 0; steps != NULL && i < s->step_count; i++) {
        const struct berth_spec_step *was = berth_spec_step_of(now, s->steps[i].name);

        steps[i] = s->steps[i];
        if (was != NULL && steps[i].pre_hook != NULL &&
            (steps[i].pre_hook = unmasked("preHook", steps[i].pre_hook, was->pre_hook, a)) == NULL)
            return false;
        if (was != NULL && steps[i].post_hook != NULL &&
            (steps[i].post_hook = unmasked("postHook", steps[i].post_hook, was->post_hook, a)) ==
                NULL)
            return false;
    }
    s->steps = steps;
    return steps != NULL;
}

static bool
unmask_env(struct berth_spec *s, const struct berth_spec *now, struct berth_arena *a)
{
    struct berth_pair *env = BERTH_NEW_N(a, struct berth_pair, s->env_count);

    for (size_t i = 0; env != NULL && i < s->env_count; i++) {
        env[i] = s->env[i];
        for (size_t k = 0; k < now->env_count; k++) {
            if (strcmp(now->env[k].key, env[i].key) == 0 &&
                (env[i].value = unmasked(env[i].key, s->env[i].value, now->env[k].value, a)) ==
                    NULL)
                return false;
        }
    }
    s->env = env;
    return env != NULL;
}

/* ---- words and objects ---- */

struct putting {
    struct berth_jw w;
    struct berth_err *e;
    int r;
};

static bool
same_text(const struct berth_json *x, const struct berth_json *y)
{
    struct berth_slice p, q;

    return berth_json_string(x, &p) && berth_json_string(y, &q) && p.len == q.len &&
           memcmp(p.at, q.at, p.len) == 0;
}

static bool
has_stars(const struct berth_json *v)
{
    struct berth_slice text;

    return berth_json_string(v, &text) && memmem(text.at, text.len, "***", 3) != NULL;
}

/* Of two words in lists: nothing but stars says less than the word before it ("--api-key"). */
static bool
stands_for(const struct berth_json *v, const struct berth_json *before,
           const struct berth_json *shown, const struct berth_json *shown_before)
{
    struct berth_slice text;

    if (!same_text(v, shown))
        return false;
    return (berth_json_string(v, &text) && text.len > 3) ||
           (before == NULL && shown_before == NULL) || same_text(before, shown_before);
}

/* The word that v stands for at another place of a list than its own; NULL: there is none. */
static const struct berth_json *
find_elsewhere(const struct berth_json *v, const struct berth_json *before,
               const struct berth_json *shown, const struct berth_json *was)
{
    const struct berth_json *shown_before = NULL;
    struct berth_json_iter s = berth_json_iter(shown), w = berth_json_iter(was);

    if (berth_json_len(shown) > BERTH_SPEC_ARGS_MAX) /* no command line: it is not searched */
        return NULL;
    while (berth_json_next(&s) && berth_json_next(&w)) {
        if (stands_for(v, before, s.value, shown_before))
            return w.value;
        shown_before = s.value;
    }
    return NULL;
}

static void put_back(struct putting *p, const char *path, const struct berth_json *v,
                     const struct berth_json *shown, const struct berth_json *was);

static void
put_list(struct putting *p, const char *path, const struct berth_json *v,
         const struct berth_json *shown, const struct berth_json *was)
{
    struct berth_json_iter s = berth_json_iter(shown), o = berth_json_iter(was);
    const struct berth_json *before = NULL, *shown_before = NULL;

    berth_jw_array(&p->w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        const bool both = berth_json_next(&s) && berth_json_next(&o);
        const struct berth_json *seen = both ? s.value : NULL, *hidden = both ? o.value : NULL;
        char inner[160];

        (void)snprintf(inner, sizeof inner, "%.120s[%zu]", path, it.index);
        if (has_stars(it.value) && !stands_for(it.value, before, seen, shown_before)) {
            hidden = find_elsewhere(it.value, before, shown, was);
            put_back(p, inner, it.value, hidden != NULL ? it.value : NULL, hidden);
        } else {
            put_back(p, inner, it.value, seen, hidden);
        }
        before = it.value;
        shown_before = seen;
    }
    berth_jw_array_end(&p->w);
}

static void
put_back(struct putting *p, const char *path, const struct berth_json *v,
         const struct berth_json *shown, const struct berth_json *was)
{
    if (berth_json_type(v) == BERTH_JSON_OBJECT) {
        berth_jw_object(&p->w);
        for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
            char inner[160];

            (void)snprintf(inner, sizeof inner, "%.100s.%.50s", path, it.key.at);
            berth_jw_key_n(&p->w, it.key.at, it.key.len);
            put_back(p, inner, it.value, berth_json_get(shown, it.key.at),
                     berth_json_get(was, it.key.at));
        }
        berth_jw_object_end(&p->w);
    } else if (berth_json_type(v) == BERTH_JSON_ARRAY) {
        put_list(p, path, v, shown, was);
    } else if (!has_stars(v)) {
        berth_jw_value(&p->w, v);
    } else if (was != NULL && same_text(v, shown)) {
        berth_jw_value(&p->w, was);
    } else {
        berth_jw_null(&p->w);
        if (p->r == 0)
            p->r = berth_err_set(p->e, BERTH_EINVAL,
                                 "%s: \"***\" stands for a secret that is not shown, and there is "
                                 "none at that place; give the value itself",
                                 path);
    }
}

/* The spec's member of that name with what its stars stand for, as a tree in a; *ret NULL: it has
 * no such member. */
static int
unmask_member(const char *name, const struct berth_json *const trees[3], struct berth_arena *a,
              const struct berth_json **ret, struct berth_slice *ret_text, struct berth_err *e)
{
    const struct berth_json *v = berth_json_get(trees[0], name);
    struct putting p = {.e = e};
    struct berth_buf b;

    *ret = NULL;
    if (v == NULL)
        return 0;
    berth_buf_init(&b, a);
    berth_jw_init(&p.w, &b);
    put_back(&p, name, v, berth_json_get(trees[1], name), berth_json_get(trees[2], name));
    if (p.r < 0)
        return p.r;
    if (berth_buf_text(&b) == NULL || berth_json_parse(a, b.at, b.len, NULL, ret, NULL) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "the spec is too large");
    *ret_text = (struct berth_slice){b.at, b.len};
    return 0;
}

/* New, shown, and as it is. */
static int
parse_trees(const struct berth_spec *s, const struct berth_spec *now, struct berth_arena *a,
            const struct berth_json *ret[3], struct berth_err *e)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    if (berth_json_parse(a, s->json, s->json_len, NULL, &ret[0], NULL) < 0 ||
        berth_json_parse(a, now->json, now->json_len, NULL, &ret[2], NULL) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "the spec is too large");
    berth_mask_put(&w, ret[2], false);
    if (berth_buf_text(&b) == NULL || berth_json_parse(a, b.at, b.len, NULL, &ret[1], NULL) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "the spec is too large");
    return 0;
}

static int
unmask_words(struct berth_spec *s, const struct berth_spec *now, struct berth_arena *a,
             struct berth_err *e)
{
    const struct {
        const char *name;
        const char *const **words; /* either */
        const char **object;       /* or */
    } members[] = {{"command", &s->command, NULL},
                   {"args", &s->args, NULL},
                   {"parameters", NULL, &s->parameters_json},
                   {"quantConfig", NULL, &s->quant_json},
                   {"shimletConfig", NULL, &s->shimlet_json}};
    const struct berth_json *trees[3];
    int r = parse_trees(s, now, a, trees, e);

    for (size_t i = 0; r == 0 && i < BERTH_COUNT(members); i++) {
        const struct berth_json *v;
        struct berth_slice text;

        r = unmask_member(members[i].name, trees, a, &v, &text, e);
        if (r < 0 || v == NULL)
            continue;
        if (members[i].object != NULL) {
            *members[i].object = text.at;
            continue;
        }
        const char **list = BERTH_NEW_N(a, const char *, berth_json_len(v) + 1);
        if (list == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "the spec is too large");
        for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);)
            if (berth_json_string(it.value, &text))
                list[it.index] = text.at;
        *members[i].words = list;
    }
    return r;
}

int
berth_spec_unmasked(const struct berth_spec *s, const struct berth_spec *now, struct berth_arena *a,
                    struct berth_spec *ret, struct berth_err *e)
{
    struct berth_spec copy = *s;

    if (strstr(s->json, "***") != NULL) {
        if ((s->env_count > 0 && !unmask_env(&copy, now, a)) ||
            (s->step_count > 0 && !unmask_steps(&copy, now, a)))
            return berth_err_set(e, BERTH_ENOMEM, "the spec is too large");
        int r = unmask_words(&copy, now, a, e);
        if (r < 0 || (r = berth_spec_finish(&copy, a, e)) < 0)
            return r;
    }
    *ret = copy;
    return 0;
}
