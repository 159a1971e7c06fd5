#include <string.h>

#include "template/fn_priv.h"

/* The functions of text/template itself. */

enum basic { BASIC_NONE, BASIC_BOOL, BASIC_INT, BASIC_UINT, BASIC_FLOAT, BASIC_STRING };

static enum basic
basic_of(const struct berth_tvalue *v)
{
    switch ((enum berth_tkind)v->kind) {
    case BERTH_T_BOOL:
        return BASIC_BOOL;
    case BERTH_T_INT:
        return BASIC_INT;
    case BERTH_T_UINT:
        return BASIC_UINT;
    case BERTH_T_FLOAT:
        return BASIC_FLOAT;
    case BERTH_T_STRING:
        return BASIC_STRING;
    case BERTH_T_NONE:
    case BERTH_T_NIL:
    case BERTH_T_LIST:
    case BERTH_T_MAP:
    case BERTH_T_OBJECT:
        break;
    }
    return BASIC_NONE;
}

static int
incompatible(struct berth_trun *r, const struct berth_tvalue *x, const struct berth_tvalue *y)
{
    return berth_trun_fail(r, "incompatible types for comparison: %s and %s", berth_tv_type_name(x),
                           berth_tv_type_name(y));
}

/* <0, 0, >0 of two whole numbers, with a sign or without. */
static int
int_cmp(const struct berth_tvalue *x, const struct berth_tvalue *y)
{
    const bool x_neg = x->kind == BERTH_T_INT && x->i < 0;
    const bool y_neg = y->kind == BERTH_T_INT && y->i < 0;

    if (x_neg != y_neg)
        return x_neg ? -1 : 1;
    return (x->u > y->u) - (x->u < y->u);
}

static int
equal(struct berth_trun *r, const struct berth_tvalue *x, const struct berth_tvalue *y, bool *ret)
{
    const enum basic bx = basic_of(x), by = basic_of(y);
    const bool ints =
        (bx == BASIC_INT || bx == BASIC_UINT) && (by == BASIC_INT || by == BASIC_UINT);

    *ret = false;
    if (ints) {
        *ret = int_cmp(x, y) == 0;
        return 0;
    }
    if (bx != by)
        return berth_tv_is_nil(x) || berth_tv_is_nil(y) ? 0 : incompatible(r, x, y);
    if (bx != BASIC_NONE)
        return berth_trun_equal(r, x, y, 0, ret);
    if (berth_tv_is_nil(x) || berth_tv_is_nil(y)) {
        *ret = berth_tv_is_nil(x) && berth_tv_is_nil(y);
        return 0;
    }
    if (x->kind != BERTH_T_OBJECT || y->kind != BERTH_T_OBJECT)
        return berth_trun_fail(r, "lists and maps cannot be compared (deepEqual does)");
    *ret = x->object == y->object;
    return 0;
}

static int
eq(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, struct berth_tvalue *ret)
{
    bool same = false;

    if (argc < 2)
        return berth_trun_fail(r, "needs two values at least");
    for (size_t i = 1; i < argc && !same; i++) {
        const int got = equal(r, &argv[0], &argv[i], &same);
        if (got < 0)
            return got;
    }
    *ret = berth_tv_bool(same);
    return 0;
}

static int
ne(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, struct berth_tvalue *ret)
{
    bool same;
    const int got = equal(r, &argv[0], &argv[1], &same);

    *ret = berth_tv_bool(!same);
    return got;
}

/* less: x < y; at_most: x <= y. */
static int
order(struct berth_trun *r, const struct berth_tvalue *x, const struct berth_tvalue *y,
      bool *ret_less, bool *ret_same)
{
    const enum basic bx = basic_of(x), by = basic_of(y);
    int d;

    if (bx == BASIC_NONE || by == BASIC_NONE || (bx == BASIC_BOOL && by == BASIC_BOOL))
        return berth_trun_fail(r, "invalid type for comparison: %s",
                               berth_tv_type_name(bx == BASIC_NONE || by != BASIC_NONE ? x : y));
    if ((bx == BASIC_INT || bx == BASIC_UINT) && (by == BASIC_INT || by == BASIC_UINT)) {
        d = int_cmp(x, y);
    } else if (bx != by) {
        return incompatible(r, x, y);
    } else if (bx == BASIC_STRING) {
        d = berth_tslice_cmp(x->s, y->s);
    } else {
        *ret_less = x->f < y->f;
        *ret_same = x->f <= y->f && x->f >= y->f;
        return 0;
    }
    *ret_less = d < 0;
    *ret_same = d == 0;
    return 0;
}

#define ORDER(name, expression)                                                         \
    static int name(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, \
                    struct berth_tvalue *ret)                                           \
    {                                                                                   \
        bool less = false, same = false;                                                \
        const int got = order(r, &argv[0], &argv[1], &less, &same);                     \
                                                                                        \
        *ret = berth_tv_bool(expression);                                               \
        return got;                                                                     \
    }
ORDER(lt, less)
ORDER(le, less || same)
ORDER(gt, !less && !same)
ORDER(ge, !less)

static int not(struct berth_trun * r, const struct berth_tvalue *argv, size_t argc,
               struct berth_tvalue *ret)
{
    *ret = berth_tv_bool(!berth_tv_truth(&argv[0]));
    return 0;
}

static int
and_or(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, struct berth_tvalue *ret)
{
    return berth_trun_fail(r, "is computed by the caller"); /* call.c: not all are looked at */
}

static int
len(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, struct berth_tvalue *ret)
{
    const struct berth_tvalue *v = &argv[0];

    if (v->kind == BERTH_T_STRING)
        *ret = berth_tv_int((int64_t)v->s.len);
    else if (v->kind == BERTH_T_LIST)
        *ret = berth_tv_int((int64_t)v->list->len);
    else if (v->kind == BERTH_T_MAP)
        *ret = berth_tv_int((int64_t)v->map->len);
    else
        return berth_trun_fail(r, "%s has no length", berth_tv_type_name(v));
    return 0;
}

/* What a place in a list or text must be. */
static int
place(struct berth_trun *r, const struct berth_tvalue *v, size_t len_of, size_t *ret)
{
    if (v->kind != BERTH_T_INT && v->kind != BERTH_T_UINT)
        return berth_trun_fail(r, "cannot index a list or text with %s", berth_tv_type_name(v));
    if ((v->kind == BERTH_T_INT && v->i < 0) || v->u >= len_of)
        return berth_trun_fail(r, "there is no element %lld: there are %zu", (long long)v->i,
                               len_of);
    *ret = (size_t)v->u;
    return 0;
}

static int
index_one(struct berth_trun *r, const struct berth_tvalue *at, struct berth_tvalue *v)
{
    size_t i = 0;
    int got;

    if (v->kind == BERTH_T_MAP) {
        if (at->kind != BERTH_T_STRING)
            return berth_trun_fail(r, "a map's keys are texts, not %s", berth_tv_type_name(at));
        const struct berth_tvalue *m = berth_tmap_get(v->map, at->s);
        const struct berth_tvalue none =
            v->type == BERTH_TT_OF_STRING ? berth_tv_slice(BERTH_SLICE("")) : berth_tv_nil();
        *v = m != NULL ? *m : none;
        return 0;
    }
    if (v->kind == BERTH_T_LIST) {
        got = place(r, at, v->list->len, &i);
        if (got == 0)
            *v = v->list->at[i];
        return got;
    }
    if (v->kind == BERTH_T_STRING) {
        got = place(r, at, v->s.len, &i);
        if (got == 0)
            *v = (struct berth_tvalue){
                .kind = BERTH_T_UINT, .type = BERTH_TT_UINT8, .u = (unsigned char)v->s.at[i]};
        return got;
    }
    if (berth_tv_is_nil(v))
        return berth_trun_fail(r, "index of nil");
    return berth_trun_fail(r, "cannot index %s", berth_tv_type_name(v));
}

static int
tf_index(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc,
         struct berth_tvalue *ret)
{
    *ret = argv[0];
    if (berth_tv_is_nil(ret))
        return berth_trun_fail(r, "index of nil");
    for (size_t i = 1; i < argc; i++) {
        const int got = index_one(r, &argv[i], ret);
        if (got < 0)
            return got;
    }
    return 0;
}

#define PRINT(name, call)                                                               \
    static int name(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, \
                    struct berth_tvalue *ret)                                           \
    {                                                                                   \
        struct berth_buf b;                                                             \
                                                                                        \
        berth_trun_buf(r, &b);                                                          \
        const int got = call;                                                           \
        return got == 0 ? berth_trun_text(r, &b, ret) : got;                            \
    }
PRINT(print, berth_tprint(r, &b, argv, argc))
PRINT(println, berth_tprintln(r, &b, argv, argc))
PRINT(tf_printf, berth_tprintf(r, &b, argv[0].s, argv + 1, argc - 1))

/* The arguments as print has them, but nil as a template prints it; one text is itself. */
static int
joined(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, struct berth_slice *ret)
{
    struct berth_tvalue v = argc == 1 ? argv[0] : (struct berth_tvalue){0};
    int got = 0;

    if (v.kind != BERTH_T_STRING) {
        struct berth_tvalue *shown = berth_trun_values(r, argc, &got);
        if (shown == NULL)
            return got;
        for (size_t i = 0; i < argc; i++)
            shown[i] = berth_tv_is_nil(&argv[i]) ? berth_tv_text("<no value>") : argv[i];
        got = print(r, shown, argc, &v);
    }

    *ret = v.s;
    return got;
}

static int
html(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, struct berth_tvalue *ret)
{
    static const char from[] = "\"'&<>";
    static const char *const to[] = {"&#34;", "&#39;", "&amp;", "&lt;", "&gt;"};
    struct berth_slice s;
    struct berth_buf b;
    const int got = joined(r, argv, argc, &s);

    if (got < 0)
        return got;
    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed; i++) {
        const char *c = s.at[i] != '\0' ? strchr(from, s.at[i]) : NULL;
        if (s.at[i] == '\0')
            berth_trune_append(&b, BERTH_TRUNE_BAD);
        else if (c != NULL)
            berth_buf_puts(&b, to[c - from]);
        else
            berth_buf_putc(&b, s.at[i]);
    }
    return berth_trun_text(r, &b, ret);
}

static int
js(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, struct berth_tvalue *ret)
{
    struct berth_slice s;
    struct berth_buf b;
    const int got = joined(r, argv, argc, &s);

    if (got < 0)
        return got;
    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed;) {
        uint32_t v;
        const size_t n = berth_trune(s.at + i, s.len - i, &v);
        if (v == '\\' || v == '\'' || v == '"')
            berth_buf_printf(&b, "\\%c", (char)v);
        else if (v == '<' || v == '>' || v == '&' || v == '=' ||
                 (v != 0x7f && !berth_trune_is_print(v)))
            berth_buf_printf(&b, "\\u%04X", v);
        else
            berth_buf_put(&b, s.at + i, n);
        i += n;
    }
    return berth_trun_text(r, &b, ret);
}

static int
urlquery(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc,
         struct berth_tvalue *ret)
{
    struct berth_slice s;
    struct berth_buf b;
    const int got = joined(r, argv, argc, &s);

    if (got < 0)
        return got;
    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed; i++) {
        const char c = s.at[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c != '\0' && strchr("-_.~", c) != NULL))
            berth_buf_putc(&b, c);
        else if (c == ' ')
            berth_buf_putc(&b, '+');
        else
            berth_buf_printf(&b, "%%%02X", (unsigned char)c);
    }
    return berth_trun_text(r, &b, ret);
}

/* clang-format off */
const struct berth_tfn berth_tfns_builtin[] = {
    {"and", "aa*", and_or}, {"or", "aa*", and_or}, {"not", "a", not},
    {"eq", "aa*", eq}, {"ne", "aa", ne}, {"lt", "aa", lt}, {"le", "aa", le}, {"gt", "aa", gt},
    {"ge", "aa", ge}, {"len", "a", len}, {"index", "aa*", tf_index},
    {"print", "a*", print}, {"println", "a*", println}, {"printf", "sa*", tf_printf},
    {"html", "a*", html}, {"js", "a*", js}, {"urlquery", "a*", urlquery},
    {0},
};
/* clang-format on */
