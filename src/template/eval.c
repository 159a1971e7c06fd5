#include <string.h>

#include "template/text_priv.h"
#include "template/tree_priv.h"

/* The member of "." that a template names must be there. */
static int
no_member(struct berth_trun *r, const struct berth_tname *name, const struct berth_tvalue *v)
{
    r->pos = name->pos;
    if (v->kind == BERTH_T_MAP || v->kind == BERTH_T_OBJECT)
        return berth_tnear_member(r, name->name,
                                  v->kind == BERTH_T_MAP ? v->map : v->object->fields);
    if (v->kind == BERTH_T_NIL)
        return berth_trun_fail(r, ".%.*s of something that is nil", (int)name->name.len,
                               name->name.at);
    return berth_trun_fail(r, "%s has no member .%.*s", berth_tv_type_name(v), (int)name->name.len,
                           name->name.at);
}

/* Go along .a.b.c from v.  The map of all the data is strict, as a struct of Go is; of other maps a
 * missing member is nothing. */
static int
fields(struct berth_trun *r, const struct berth_tname *name, struct berth_tvalue v,
       struct berth_tvalue *ret)
{
    const struct berth_tmap *strict =
        r->var_len > 0 && r->vars[0].value.kind == BERTH_T_MAP ? r->vars[0].value.map : NULL;

    for (; name != NULL; name = name->next) {
        if (v.kind == BERTH_T_NONE)
            continue;
        const struct berth_tmap *m = v.kind == BERTH_T_MAP      ? v.map
                                     : v.kind == BERTH_T_OBJECT ? v.object->fields
                                                                : NULL;
        const struct berth_tvalue *got = berth_tmap_get(m, name->name);
        if (got == NULL && (m == NULL || m == strict || v.kind == BERTH_T_OBJECT))
            return no_member(r, name, &v);
        v = got != NULL ? *got : (struct berth_tvalue){0};
    }
    *ret = v;
    return 0;
}

static int
variable(struct berth_trun *r, const struct berth_tnode *n, struct berth_tvalue *ret)
{
    const struct berth_tvalue *v = berth_tvar_find(r, n->text);

    if (v == NULL) /* declared in parentheses that were not computed */
        return berth_trun_fail(r, "undefined variable %.*s", (int)n->text.len, n->text.at);
    return fields(r, n->fields, *v, ret);
}

int
berth_teval_operand(struct berth_trun *r, const struct berth_tnode *n,
                    const struct berth_tvalue *dot, struct berth_tvalue *ret)
{
    struct berth_tvalue v = *dot;
    int got = berth_trun_work(r, 1);

    if (got < 0)
        return got;
    r->pos = n->pos;
    switch ((int)n->kind) {
    case BERTH_TN_DOT:
        *ret = *dot;
        return 0;
    case BERTH_TN_NIL:
        *ret = berth_tv_nil();
        return 0;
    case BERTH_TN_CONST:
        *ret = n->value;
        return 0;
    case BERTH_TN_TOOBIG:
        return berth_trun_fail(r, "this number is beyond 64 bits");
    case BERTH_TN_FIELD:
        return fields(r, n->fields, v, ret);
    case BERTH_TN_VARIABLE:
        return variable(r, n, ret);
    case BERTH_TN_CHAIN:
        got = berth_teval_operand(r, n->a, dot, &v);
        return got < 0 ? got : fields(r, n->fields, v, ret);
    case BERTH_TN_PIPE:
        return berth_teval_pipe(r, n, dot, ret);
    default:
        return berth_tcall(r, n, NULL, dot, NULL, ret);
    }
}

/* One stage of a pipeline: its first operand is a function, or it stands alone. */
static int
command(struct berth_trun *r, const struct berth_tnode *cmd, const struct berth_tvalue *dot,
        const struct berth_tvalue *tail, struct berth_tvalue *ret)
{
    const struct berth_tnode *first = cmd->a;

    if (first->kind == BERTH_TN_CALL)
        return berth_tcall(r, first, first->next, dot, tail, ret);
    r->pos = first->pos;
    if (first->next != NULL || tail != NULL)
        return berth_trun_fail(r, "this is no function: it takes no argument");
    if (first->kind == BERTH_TN_NIL)
        return berth_trun_fail(r, "nil is not a command");
    return berth_teval_operand(r, first, dot, ret);
}

int
berth_teval_pipe(struct berth_trun *r, const struct berth_tnode *pipe,
                 const struct berth_tvalue *dot, struct berth_tvalue *ret)
{
    struct berth_tvalue v[2] = {{0}};
    unsigned which = 0;
    int got = 0;

    if (r->depth >= BERTH_TEMPLATE_DEPTH_MAX)
        return berth_err_set(r->e, BERTH_ELIMIT,
                             "templates and blocks run within each other deeper than %d",
                             BERTH_TEMPLATE_DEPTH_MAX);
    r->depth++;
    for (const struct berth_tnode *cmd = pipe->a; cmd != NULL && got == 0; cmd = cmd->next) {
        which ^= 1;
        got = command(r, cmd, dot, cmd == pipe->a ? NULL : &v[which ^ 1], &v[which]);
        if (v[which].kind == BERTH_T_NIL)
            v[which].kind = BERTH_T_NONE; /* as Go: a nil that comes out of a pipeline is nothing */
    }
    r->depth--;
    for (size_t i = 0; i < pipe->decl_len && got == 0; i++) {
        struct berth_tvalue *to = pipe->assign ? berth_tvar_find(r, pipe->decl[i]) : NULL;
        if (to != NULL)
            *to = v[which];
        else
            got = berth_tvar_push(r, pipe->decl[i], &v[which]);
    }
    if (got == 0)
        *ret = v[which];
    return got;
}
