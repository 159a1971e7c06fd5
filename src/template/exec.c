#include <string.h>

#include "base/arena.h"
#include "template/text_priv.h"
#include "template/tree_priv.h"

enum { JUMP_BREAK = 1, JUMP_CONTINUE = 2, VARS_MAX = 10000 };

int
berth_tvar_push(struct berth_trun *r, struct berth_slice name, const struct berth_tvalue *v)
{
    if (r->var_len >= VARS_MAX)
        return berth_err_set(r->e, BERTH_ELIMIT, "more than %d variables at once", VARS_MAX);
    if (r->var_len == r->var_cap) {
        const size_t cap = r->var_cap > 0 ? 2 * r->var_cap : 16;
        struct berth_tvar *at = BERTH_NEW_N(r->a, struct berth_tvar, cap);
        if (at == NULL)
            return berth_trun_nomem(r);
        if (r->var_len > 0)
            memcpy(at, r->vars, r->var_len * sizeof *at);
        r->vars = at;
        r->var_cap = cap;
    }
    r->vars[r->var_len++] = (struct berth_tvar){name, *v};
    return 0;
}

struct berth_tvalue *
berth_tvar_find(struct berth_trun *r, struct berth_slice name)
{
    for (size_t i = r->var_len; i-- > r->var_base;)
        if (berth_tslice_cmp(r->vars[i].name, name) == 0)
            return &r->vars[i].value;
    return NULL;
}

static int
put(struct berth_trun *r, const char *at, size_t len)
{
    if (r->out->len > r->out_max || len > r->out_max - r->out->len)
        return berth_err_set(r->e, BERTH_ELIMIT, "the result has more than %zu bytes",
                             r->t->out_max);
    const int got = berth_trun_work(r, len);
    if (got < 0)
        return got;
    berth_buf_put(r->out, at, len);
    if (r->out->failed)
        return berth_trun_nomem(r);
    return r->t->trace != NULL ? berth_ttrace_put(r, at, len) : 0;
}

static int
print_value(struct berth_trun *r, const struct berth_tvalue *v)
{
    struct berth_buf b;

    if (v->kind == BERTH_T_STRING)
        return put(r, v->s.at, v->s.len);
    if (v->kind == BERTH_T_NONE)
        return put(r, "<no value>", 10);
    berth_trun_buf(r, &b);
    int got = berth_tprint(r, &b, v, 1);
    struct berth_tvalue text;
    if (got == 0)
        got = berth_trun_text(r, &b, &text);
    return got == 0 ? put(r, text.s.at, text.s.len) : got;
}

static int walk(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot);

static int
if_or_with(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot)
{
    const size_t vars = r->var_len;
    struct berth_tvalue v;
    int got = berth_teval_pipe(r, n->a, dot, &v);

    if (got < 0)
        return got;
    if (berth_tv_truth(&v))
        got = walk(r, n->b, n->kind == BERTH_TN_WITH ? &v : dot);
    else
        got = walk(r, n->c, dot);
    r->var_len = vars;
    return got;
}

/* One turn: its variables are set, or made anew at `mark`. */
static int
turn(struct berth_trun *r, const struct berth_tnode *n, size_t mark, const struct berth_tvalue *key,
     const struct berth_tvalue *v)
{
    const struct berth_tnode *pipe = n->a;
    const struct berth_tvalue *got_by[2] = {pipe->decl_len > 1 ? key : v, v};

    int got = berth_trun_work(r, 1);
    for (size_t i = 0; i < pipe->decl_len && got == 0; i++) {
        if (pipe->assign) {
            struct berth_tvalue *to = berth_tvar_find(r, pipe->decl[i]);
            if (to != NULL)
                *to = *got_by[i];
        } else {
            r->vars[mark - pipe->decl_len + i].value = *got_by[i];
        }
    }
    if (got == 0)
        got = walk(r, n->b, v);
    r->var_len = mark;
    return got == JUMP_CONTINUE ? 0 : got;
}

static int
range_list(struct berth_trun *r, const struct berth_tnode *n, size_t mark,
           const struct berth_tlist *l)
{
    int got = 0;

    for (size_t i = 0; i < l->len && got == 0; i++) {
        const struct berth_tvalue key = berth_tv_int((int64_t)i);
        got = turn(r, n, mark, &key, &l->at[i]);
    }
    return got;
}

/* The members as they were when it began: what is done in it may change the map. */
static int
range_map(struct berth_trun *r, const struct berth_tnode *n, size_t mark,
          const struct berth_tmap *m)
{
    const size_t len = m->len;
    int got = berth_trun_work(r, len);

    if (got < 0)
        return got;
    struct berth_tentry *at = BERTH_NEW_N(r->a, struct berth_tentry, len);
    if (at == NULL)
        return berth_trun_nomem(r);
    memcpy(at, m->at, len * sizeof *at);
    for (size_t i = 0; i < len && got == 0; i++) {
        const struct berth_tvalue key = berth_tv_slice(at[i].key);
        got = turn(r, n, mark, &key, &at[i].value);
    }
    return got;
}

static int
range_int(struct berth_trun *r, const struct berth_tnode *n, size_t mark,
          const struct berth_tvalue *v)
{
    int got = 0;

    if (n->a->decl_len > 1)
        return berth_trun_fail(r, "a range over a number has one variable");
    for (int64_t i = 0; i < v->i && got == 0; i++) {
        const struct berth_tvalue turn_of = {.kind = v->kind, .type = v->type, .i = i};
        got = turn(r, n, mark, &turn_of, &turn_of);
    }
    return got;
}

static int
range(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot)
{
    const size_t vars = r->var_len;
    struct berth_tvalue v;
    int got = berth_teval_pipe(r, n->a, dot, &v);

    if (got < 0)
        return got;
    r->pos = n->a->pos;
    const size_t mark = r->var_len;
    if (v.kind == BERTH_T_STRING || v.kind == BERTH_T_BOOL || v.kind == BERTH_T_FLOAT ||
        v.kind == BERTH_T_OBJECT)
        return berth_trun_fail(r, "range goes over lists, maps and numbers, not over %s",
                               berth_tv_type_name(&v));
    if (!berth_tv_truth(&v) || (v.kind == BERTH_T_INT && v.i < 0))
        got = walk(r, n->c, dot);
    else if (v.kind == BERTH_T_LIST)
        got = range_list(r, n, mark, v.list);
    else if (v.kind == BERTH_T_MAP)
        got = range_map(r, n, mark, v.map);
    else
        got = range_int(r, n, mark, &v);
    r->var_len = vars;
    return got == JUMP_BREAK ? 0 : got;
}

static int
call_template(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot)
{
    const struct berth_ttemplate *t = r->templates;
    struct berth_tvalue v = {0};
    int got = 0;

    while (t != NULL && berth_tslice_cmp(t->name, n->text) != 0)
        t = t->next;
    if (t == NULL)
        return berth_trun_fail(r, "no template \"%.*s\" is defined here", (int)n->text.len,
                               n->text.at);
    if (n->a != NULL)
        got = berth_teval_pipe(r, n->a, dot, &v);
    if (got < 0)
        return got;
    const size_t vars = r->var_len, base = r->var_base;
    r->var_base = vars;
    got = berth_tvar_push(r, BERTH_SLICE("$"), &v);
    if (got == 0)
        got = walk(r, t->root, &v);
    r->var_len = vars;
    r->var_base = base;
    return got;
}

static int
action(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot)
{
    const size_t vars = r->var_len, base = r->var_base;
    const unsigned depth = r->depth;
    struct berth_tvalue v;
    const int got = berth_teval_pipe(r, n->a, dot, &v);

    if (got == -BERTH_EINVAL && n->a->decl_len == 0 && r->t->trace != NULL &&
        berth_ttrace_fail(r)) {
        r->var_len = vars;
        r->var_base = base;
        r->depth = depth;
        return 0;
    }
    if (got < 0 || n->a->decl_len > 0)
        return got;
    r->pos = n->pos;
    return print_value(r, &v);
}

static int
step(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot)
{
    r->pos = n->pos;
    switch ((int)n->kind) {
    case BERTH_TN_TEXT:
        return put(r, n->text.at, n->text.len);
    case BERTH_TN_ACTION:
        return action(r, n, dot);
    case BERTH_TN_IF:
    case BERTH_TN_WITH:
        return if_or_with(r, n, dot);
    case BERTH_TN_RANGE:
        return range(r, n, dot);
    case BERTH_TN_TEMPLATE:
        return call_template(r, n, dot);
    case BERTH_TN_BREAK:
        return JUMP_BREAK;
    case BERTH_TN_CONTINUE:
        return JUMP_CONTINUE;
    default:
        return 0;
    }
}

static int
walk(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot)
{
    int got = 0;

    if (r->depth >= BERTH_TEMPLATE_DEPTH_MAX)
        return berth_err_set(r->e, BERTH_ELIMIT,
                             "templates and blocks run within each other deeper than %d",
                             BERTH_TEMPLATE_DEPTH_MAX);
    r->depth++;
    for (; n != NULL && got == 0; n = n->next) {
        got = berth_trun_work(r, 1);
        if (got == 0)
            got = step(r, n, dot);
    }
    r->depth--;
    return got;
}

int
berth_texec(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot)
{
    return walk(r, n, dot);
}
