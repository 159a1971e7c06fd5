#include <string.h>

#include "template/tree_priv.h"

/* What an argument must be, from the letters of a function's sig. */
static char
letter(const char *sig, size_t i)
{
    const size_t len = strlen(sig);
    const bool many = len > 0 && sig[len - 1] == '*';
    const size_t fixed = many ? len - 2 : len;

    if (i < fixed)
        return sig[i];
    if (many)
        return sig[len - 2];
    return '\0';
}

static const char *
letter_name(char c)
{
    switch (c) {
    case 's':
        return "a text";
    case 'i':
        return "a whole number";
    case 'f':
        return "a number";
    case 'b':
        return "true or false";
    case 't':
        return "a time";
    default:
        return "a map";
    }
}

/* Does v go where the letter stands?  A whole number may be any of Go's; a constant that is written
 * otherwise becomes what is asked for. */
static bool
fits(char c, bool constant, struct berth_tvalue *v)
{
    switch (c) {
    case 's':
        return v->kind == BERTH_T_STRING;
    case 'b':
        return v->kind == BERTH_T_BOOL;
    case 'm':
        return v->kind == BERTH_T_MAP && v->type == BERTH_TT_PLAIN;
    case 't':
        return v->kind == BERTH_T_OBJECT && v->type == BERTH_TT_TIME;
    case 'f':
        if (v->kind == BERTH_T_INT && constant)
            *v = berth_tv_float((double)v->i);
        return v->kind == BERTH_T_FLOAT;
    case 'i':
        if (v->kind == BERTH_T_FLOAT && constant && v->f >= -9e15 && v->f <= 9e15) {
            const int64_t i = (int64_t)v->f;
            if ((double)i < v->f || (double)i > v->f)
                return false;
            *v = berth_tv_int(i);
        }
        if (v->kind == BERTH_T_UINT && v->u <= INT64_MAX)
            v->kind = BERTH_T_INT;
        v->type = v->kind == BERTH_T_INT ? BERTH_TT_PLAIN : v->type;
        return v->kind == BERTH_T_INT;
    default:
        return true;
    }
}

static int
check(struct berth_trun *r, const struct berth_tnode *call, size_t i, const struct berth_tnode *arg,
      struct berth_tvalue *v)
{
    const char c = letter(call->fn != NULL ? call->fn->sig : "a*", i);

    if (c == 'a' && v->kind == BERTH_T_NONE)
        v->kind = BERTH_T_NIL;
    if (c == 'm' && berth_tv_is_nil(v))
        return berth_trun_map(r, BERTH_TT_PLAIN, v);
    if (fits(c, arg != NULL && arg->kind == BERTH_TN_CONST, v))
        return 0;
    r->pos = arg != NULL ? arg->pos : call->pos;
    return berth_trun_fail(r, "%.*s: argument %zu must be %s, not %s", (int)call->text.len,
                           call->text.at, i + 1, letter_name(c),
                           berth_tv_is_nil(v) ? "nil" : berth_tv_type_name(v));
}

/* and, or: the first one that decides, and none behind it is computed. */
static int
and_or(struct berth_trun *r, const struct berth_tnode *call, const struct berth_tnode *args,
       const struct berth_tvalue *dot, const struct berth_tvalue *tail, struct berth_tvalue *ret)
{
    const bool is_or = berth_slice_is(call->text, "or");

    for (const struct berth_tnode *n = args; n != NULL; n = n->next) {
        const int got = berth_teval_operand(r, n, dot, ret);
        if (got < 0)
            return got;
        if (ret->kind == BERTH_T_NIL)
            ret->kind = BERTH_T_NONE;
        if (berth_tv_truth(ret) == is_or)
            return 0;
    }
    if (tail != NULL)
        *ret = *tail;
    return 0;
}

static int
count(struct berth_trun *r, const struct berth_tnode *call, size_t argc)
{
    size_t least, most;

    if (call->fn != NULL) {
        const size_t len = strlen(call->fn->sig);
        const bool many = len > 0 && call->fn->sig[len - 1] == '*';
        least = many ? len - 2 : len;
        most = many ? SIZE_MAX : len;
    } else {
        least = (size_t)call->outer_fn->min_args;
        most = call->outer_fn->max_args < 0 ? SIZE_MAX : (size_t)call->outer_fn->max_args;
    }
    if (argc >= least && argc <= most)
        return 0;
    r->pos = call->pos;
    return berth_trun_fail(r, "%.*s takes %s%zu argument%s, not %zu", (int)call->text.len,
                           call->text.at, least == most ? "" : "at least ", least,
                           least == 1 ? "" : "s", argc);
}

/* Reading an argument costs a little too. */
static uint64_t
cost(const struct berth_tvalue *argv, size_t argc)
{
    uint64_t n = 1 + argc;

    for (size_t i = 0; i < argc; i++)
        n += argv[i].kind == BERTH_T_STRING ? argv[i].s.len / 16
             : argv[i].kind == BERTH_T_LIST ? argv[i].list->len / 4
             : argv[i].kind == BERTH_T_MAP  ? argv[i].map->len / 4
                                            : 0;
    return n;
}

static int
run(struct berth_trun *r, const struct berth_tnode *call, const struct berth_tvalue *argv,
    size_t argc, struct berth_tvalue *ret)
{
    int got = berth_trun_work(r, cost(argv, argc));

    if (got < 0)
        return got;
    *ret = (struct berth_tvalue){0};
    if (call->outer_fn != NULL) {
        if (r->t->trace != NULL)
            r->t->trace->at = call->pos;
        got = call->outer_fn->call(call->outer_fn->arg, r->a, argv, argc, ret, r->e);
    } else {
        got = call->fn->call(r, argv, argc, ret);
    }
    if (got == 0)
        return 0;
    r->pos = call->pos;
    return berth_err_wrap(r->e, got, "%.*s", (int)call->text.len, call->text.at);
}

int
berth_tcall(struct berth_trun *r, const struct berth_tnode *call, const struct berth_tnode *args,
            const struct berth_tvalue *dot, const struct berth_tvalue *tail,
            struct berth_tvalue *ret)
{
    size_t argc = tail != NULL, i = 0;
    int got;

    for (const struct berth_tnode *n = args; n != NULL; n = n->next)
        argc++;
    got = count(r, call, argc);
    if (got < 0)
        return got;
    if (call->fn != NULL && call->fn->sig[0] == 'a' &&
        (berth_slice_is(call->text, "and") || berth_slice_is(call->text, "or")))
        return and_or(r, call, args, dot, tail, ret);
    struct berth_tvalue *argv = berth_trun_values(r, argc, &got);
    if (argv == NULL)
        return got;
    for (const struct berth_tnode *n = args; n != NULL; n = n->next, i++) {
        got = berth_teval_operand(r, n, dot, &argv[i]);
        if (got == 0)
            got = check(r, call, i, n, &argv[i]);
        if (got < 0)
            return got;
    }
    if (tail != NULL) {
        argv[i] = *tail;
        got = check(r, call, i, NULL, &argv[i]);
    }
    return got == 0 ? run(r, call, argv, argc, ret) : got;
}
