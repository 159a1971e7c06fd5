#include <string.h>

#include "template/fn_priv.h"

/* sprig's functions on lists.  Each makes a new list; what it was made of stays as it is. */

static int
want_list(struct berth_trun *r, const struct berth_tvalue *v)
{
    if (v->kind == BERTH_T_LIST)
        return 0;
    return berth_trun_fail(r, "needs a list, not %s",
                           berth_tv_is_nil(v) ? "nil" : berth_tv_type_name(v));
}

/* n values of a new list of anything; NULL: see *ret_err. */
static int
finish(struct berth_trun *r, const struct berth_tvalue *at, size_t n, struct berth_tvalue *ret)
{
    return berth_trun_list(r, at, n, BERTH_TT_PLAIN, ret);
}

BERTH_TFN(list)
{
    return finish(r, argv, argc, ret);
}

static int
put_at(struct berth_trun *r, const struct berth_tvalue *argv, bool front, struct berth_tvalue *ret)
{
    int err = want_list(r, &argv[0]);

    if (err < 0)
        return err;
    const size_t n = argv[0].list->len;
    struct berth_tvalue *at = berth_trun_values(r, n + 1, &err);
    if (at == NULL)
        return err;
    if (n > 0)
        memcpy(at + front, argv[0].list->at, n * sizeof *at);
    at[front ? 0 : n] = argv[1];
    return finish(r, at, n + 1, ret);
}

BERTH_TFN(append)
{
    return put_at(r, argv, false, ret);
}

BERTH_TFN(prepend)
{
    return put_at(r, argv, true, ret);
}

BERTH_TFN(first)
{
    const int err = want_list(r, &argv[0]);

    if (err == 0)
        *ret = argv[0].list->len > 0 ? argv[0].list->at[0] : berth_tv_nil();
    return err;
}

BERTH_TFN(last)
{
    const int err = want_list(r, &argv[0]);

    if (err == 0)
        *ret = argv[0].list->len > 0 ? argv[0].list->at[argv[0].list->len - 1] : berth_tv_nil();
    return err;
}

/* All but the first, or all but the last; of none, Go's nil slice. */
static int
all_but(struct berth_trun *r, const struct berth_tvalue *v, bool is_first, struct berth_tvalue *ret)
{
    const int err = want_list(r, v);

    if (err < 0)
        return err;
    if (v->list->len == 0)
        return finish(r, NULL, 0, ret);
    return finish(r, v->list->at + is_first, v->list->len - 1, ret);
}

BERTH_TFN(rest)
{
    return all_but(r, &argv[0], true, ret);
}

BERTH_TFN(initial)
{
    return all_but(r, &argv[0], false, ret);
}

BERTH_TFN(reverse)
{
    int err = want_list(r, &argv[0]);

    if (err < 0)
        return err;
    const size_t n = argv[0].list->len;
    struct berth_tvalue *at = berth_trun_values(r, n, &err);
    if (at == NULL)
        return err;
    for (size_t i = 0; i < n; i++)
        at[n - 1 - i] = argv[0].list->at[i];
    return finish(r, at, n, ret);
}

static int
in_list(struct berth_trun *r, const struct berth_tvalue *at, size_t n, const struct berth_tvalue *v,
        bool *ret)
{
    int err = 0;

    *ret = false;
    for (size_t i = 0; i < n && err == 0 && !*ret; i++)
        err = berth_trun_equal(r, v, &at[i], 0, ret);
    return err;
}

/* The elements that are kept: those not empty, those not seen, those not named. */
static int
filtered(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, char how,
         struct berth_tvalue *ret)
{
    int err = want_list(r, &argv[0]);
    size_t n = 0;

    if (err < 0)
        return err;
    const struct berth_tlist *l = argv[0].list;
    struct berth_tvalue *at = berth_trun_values(r, l->len, &err);
    if (at == NULL)
        return err;
    for (size_t i = 0; i < l->len && err == 0; i++) {
        bool out = !berth_tv_truth(&l->at[i]);
        if (how == 'u')
            err = in_list(r, at, n, &l->at[i], &out);
        else if (how == 'w')
            err = in_list(r, argv + 1, argc - 1, &l->at[i], &out);
        if (!out)
            at[n++] = l->at[i];
    }
    return err == 0 ? finish(r, at, n, ret) : err;
}

BERTH_TFN(compact)
{
    return filtered(r, argv, argc, 'c', ret);
}

BERTH_TFN(uniq)
{
    return filtered(r, argv, argc, 'u', ret);
}

BERTH_TFN(without)
{
    return filtered(r, argv, argc, 'w', ret);
}

BERTH_TFN(has)
{
    bool found = false;
    int err = 0;

    if (!berth_tv_is_nil(&argv[1]))
        err = want_list(r, &argv[1]);
    if (err == 0 && argv[1].kind == BERTH_T_LIST)
        err = in_list(r, argv[1].list->at, argv[1].list->len, &argv[0], &found);
    *ret = berth_tv_bool(found);
    return err;
}

/* Of a list as sprig has it, and of a text as text/template had it before sprig took the name. */
BERTH_TFN(slice)
{
    const struct berth_tvalue *v = &argv[0];
    int err = v->kind == BERTH_T_STRING ? 0 : want_list(r, v);

    if (err < 0)
        return err;
    const int64_t len = (int64_t)(v->kind == BERTH_T_STRING ? v->s.len : v->list->len);
    const int64_t start = argc > 1 ? berth_tto_int(&argv[1]) : 0;
    const int64_t end = argc > 2 ? berth_tto_int(&argv[2]) : len;
    if (v->kind == BERTH_T_LIST && len == 0) {
        *ret = berth_tv_nil();
        return 0;
    }
    if (start < 0 || end < start || end > len)
        return berth_trun_fail(r, "from %lld to %lld goes beyond the %lld that there are",
                               (long long)start, (long long)end, (long long)len);
    if (v->kind == BERTH_T_STRING) {
        *ret = berth_tv_slice((struct berth_slice){v->s.at + start, (size_t)(end - start)});
        return 0;
    }
    return berth_trun_list(r, v->list->at + start, (size_t)(end - start), (enum berth_ttype)v->type,
                           ret);
}

BERTH_TFN(concat)
{
    size_t n = 0;
    int err = 0;

    for (size_t i = 0; i < argc && err == 0; i++) {
        err = want_list(r, &argv[i]);
        n += err == 0 ? argv[i].list->len : 0;
    }
    if (err < 0)
        return err;
    struct berth_tvalue *at = berth_trun_values(r, n, &err);
    if (at == NULL)
        return err;
    for (size_t i = 0, to = 0; i < argc; i++) {
        const struct berth_tlist *l = argv[i].list;
        if (l->len > 0)
            memcpy(at + to, l->at, l->len * sizeof *at);
        to += l->len;
    }
    return finish(r, n > 0 ? at : NULL, n, ret);
}

BERTH_TFN(chunk)
{
    int err = want_list(r, &argv[1]);

    if (err < 0)
        return err;
    if (argv[0].i <= 0)
        return berth_trun_fail(r, "%lld is no size of a part", (long long)argv[0].i);
    const struct berth_tlist *l = argv[1].list;
    const size_t size = (uint64_t)argv[0].i > l->len && l->len > 0 ? l->len : (size_t)argv[0].i;
    const size_t n = l->len / size + (l->len % size > 0);
    struct berth_tvalue *at = berth_trun_values(r, n, &err);
    for (size_t i = 0; at != NULL && i < n && err == 0; i++) {
        const size_t from = i * size;
        err = finish(r, l->at + from, l->len - from < size ? l->len - from : size, &at[i]);
    }
    return err == 0 ? berth_trun_list(r, at, n, BERTH_TT_OF_LIST, ret) : err;
}

BERTH_TFN(tf_default)
{
    *ret = argc < 2 || !berth_tv_truth(&argv[1]) ? argv[0] : argv[1];
    return 0;
}

BERTH_TFN(empty)
{
    *ret = berth_tv_bool(!berth_tv_truth(&argv[0]));
    return 0;
}

BERTH_TFN(coalesce)
{
    *ret = berth_tv_nil();
    for (size_t i = 0; i < argc && berth_tv_is_nil(ret); i++)
        if (berth_tv_truth(&argv[i]))
            *ret = argv[i];
    return 0;
}

static size_t
empty_count(const struct berth_tvalue *argv, size_t argc)
{
    size_t n = 0;

    for (size_t i = 0; i < argc; i++)
        n += !berth_tv_truth(&argv[i]);
    return n;
}

BERTH_TFN(all)
{
    *ret = berth_tv_bool(empty_count(argv, argc) == 0);
    return 0;
}

BERTH_TFN(any)
{
    *ret = berth_tv_bool(empty_count(argv, argc) < argc);
    return 0;
}

BERTH_TFN(ternary)
{
    *ret = argv[2].b ? argv[0] : argv[1];
    return 0;
}

BERTH_TFN(tf_fail)
{
    return berth_trun_fail(r, "%.*s", argv[0].s.len < 300 ? (int)argv[0].s.len : 300, argv[0].s.at);
}

/* clang-format off */
const struct berth_tfn berth_tfns_lists[] = {
    {"list", "a*", list}, {"tuple", "a*", list},
    {"append", "aa", append}, {"push", "aa", append}, {"mustAppend", "aa", append},
    {"mustPush", "aa", append}, {"prepend", "aa", prepend}, {"mustPrepend", "aa", prepend},
    {"first", "a", first}, {"mustFirst", "a", first}, {"last", "a", last}, {"mustLast", "a", last},
    {"rest", "a", rest}, {"mustRest", "a", rest}, {"initial", "a", initial},
    {"mustInitial", "a", initial}, {"reverse", "a", reverse}, {"mustReverse", "a", reverse},
    {"compact", "a", compact}, {"mustCompact", "a", compact}, {"uniq", "a", uniq},
    {"mustUniq", "a", uniq}, {"without", "aa*", without}, {"mustWithout", "aa*", without},
    {"has", "aa", has}, {"mustHas", "aa", has}, {"slice", "aa*", slice},
    {"mustSlice", "aa*", slice}, {"concat", "a*", concat}, {"chunk", "ia", chunk},
    {"mustChunk", "ia", chunk},
    {"default", "aa*", tf_default}, {"empty", "a", empty}, {"coalesce", "a*", coalesce},
    {"all", "a*", all}, {"any", "a*", any}, {"ternary", "aab", ternary}, {"fail", "s", tf_fail},
    {0},
};
/* clang-format on */
