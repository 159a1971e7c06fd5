#include "template/parse_priv.h"

#include <string.h>

#include "base/arena.h"

static struct berth_ttoken
next_token(struct berth_tparser *p)
{
    return p->back_len > 0 ? p->back[--p->back_len] : berth_tlex_next(&p->lex);
}

void
berth_tp_give_back(struct berth_tparser *p, struct berth_ttoken t)
{
    if (p->back_len < BERTH_TP_BACK_MAX)
        p->back[p->back_len++] = t;
}

static struct berth_ttoken
peek(struct berth_tparser *p)
{
    const struct berth_ttoken t = next_token(p);

    berth_tp_give_back(p, t);
    return t;
}

struct berth_ttoken
berth_tp_next_word(struct berth_tparser *p)
{
    struct berth_ttoken t = next_token(p);

    while (t.type == BERTH_TTOK_SPACE)
        t = next_token(p);
    return t;
}

struct berth_ttoken
berth_tp_peek_word(struct berth_tparser *p)
{
    const struct berth_ttoken t = berth_tp_next_word(p);

    berth_tp_give_back(p, t);
    return t;
}

int
berth_tp_unexpected(struct berth_tparser *p, struct berth_ttoken t, const char *where)
{
    if (t.type == BERTH_TTOK_ERROR)
        return BERTH_TP_FAIL(p, t.pos, "%.*s", (int)t.text.len, t.text.at);
    if (t.type == BERTH_TTOK_EOF)
        return BERTH_TP_FAIL(p, p->block > 0 ? p->block : t.pos,
                             "the text ends within %s: an {{end}} is missing", where);
    return BERTH_TP_FAIL(p, t.pos, "unexpected %.*s in %s", t.text.len < 40 ? (int)t.text.len : 40,
                         t.text.at, where);
}

struct berth_tnode *
berth_tp_node(struct berth_tparser *p, enum berth_tnode_kind kind, uint32_t pos)
{
    struct berth_tnode *n = BERTH_NEW(p->r->a, struct berth_tnode);

    if (n == NULL) {
        (void)berth_trun_nomem(p->r);
        return NULL;
    }
    n->kind = kind;
    n->pos = pos;
    return n;
}

int
berth_tp_expect_right(struct berth_tparser *p, const char *where)
{
    const struct berth_ttoken t = berth_tp_next_word(p);

    return t.type == BERTH_TTOK_RIGHT ? 0 : berth_tp_unexpected(p, t, where);
}

static int
declare(struct berth_tparser *p, struct berth_tnode *pipe, struct berth_ttoken var)
{
    if (p->var_len >= BERTH_TP_VARS_MAX)
        return BERTH_TP_FAIL(p, var.pos, "more than %d variables", BERTH_TP_VARS_MAX);
    p->vars[p->var_len++] = var.text;
    pipe->decl[pipe->decl_len++] = var.text;
    return 0;
}

static bool
declared(const struct berth_tparser *p, struct berth_slice name)
{
    for (size_t i = p->var_len; i-- > 0;)
        if (berth_tslice_cmp(p->vars[i], name) == 0)
            return true;
    return false;
}

/* ".a.b" behind an operand. */
static int
take_fields(struct berth_tparser *p, struct berth_tname **tail)
{
    while (peek(p).type == BERTH_TTOK_FIELD) {
        const struct berth_ttoken t = next_token(p);
        *tail = BERTH_NEW(p->r->a, struct berth_tname);
        if (*tail == NULL)
            return berth_trun_nomem(p->r);
        (*tail)->name = (struct berth_slice){t.text.at + 1, t.text.len - 1};
        (*tail)->pos = t.pos;
        tail = &(*tail)->next;
    }
    return 0;
}

static int
function(struct berth_tparser *p, struct berth_ttoken t, struct berth_tnode *n)
{
    const struct berth_template *conf = p->r->t;

    n->kind = BERTH_TN_CALL;
    n->text = t.text;
    for (size_t i = 0; i < conf->fn_count; i++)
        if (berth_slice_is(t.text, conf->fns[i].name)) {
            n->outer_fn = &conf->fns[i];
            return 0;
        }
    n->fn = berth_tfn_find(t.text);
    if (n->fn != NULL && n->fn->call == NULL)
        return BERTH_TP_FAIL(p, t.pos, "function \"%s\" is not offered: %s", n->fn->name,
                             n->fn->sig);
    if (n->fn != NULL)
        return 0;
    p->r->pos = t.pos;
    return berth_tnear_function(p->r, t.text);
}

static int
parenthesis(struct berth_tparser *p, struct berth_ttoken t, struct berth_tnode **ret)
{
    if (p->depth >= BERTH_TP_DEPTH_MAX)
        return BERTH_TP_FAIL(p, t.pos, "more than %d parentheses or blocks within each other",
                             BERTH_TP_DEPTH_MAX);
    p->depth++;
    const int r = berth_tp_pipeline(p, "parentheses", BERTH_TTOK_CLOSE, ret);
    p->depth--;
    return r;
}

/* One operand without what is behind it; *ret NULL: the next word is none. */
static int
term(struct berth_tparser *p, struct berth_tnode **ret)
{
    const struct berth_ttoken t = berth_tp_next_word(p);
    struct berth_tnode *n = berth_tp_node(p, BERTH_TN_CONST, t.pos);

    if (n == NULL)
        return -BERTH_ENOMEM;
    *ret = n;
    p->r->pos = t.pos;
    switch ((int)t.type) {
    case BERTH_TTOK_NAME:
        return function(p, t, n);
    case BERTH_TTOK_DOT:
        n->kind = BERTH_TN_DOT;
        return 0;
    case BERTH_TTOK_NIL:
        n->kind = BERTH_TN_NIL;
        return 0;
    case BERTH_TTOK_VARIABLE:
        n->kind = BERTH_TN_VARIABLE;
        n->text = t.text;
        if (!declared(p, t.text))
            return BERTH_TP_FAIL(p, t.pos, "undefined variable %.*s", (int)t.text.len, t.text.at);
        return 0;
    case BERTH_TTOK_FIELD:
        n->kind = BERTH_TN_FIELD;
        berth_tp_give_back(p, t);
        return 0;
    case BERTH_TTOK_BOOL:
        n->value = berth_tv_bool(berth_slice_is(t.text, "true"));
        return 0;
    case BERTH_TTOK_CHAR:
        return berth_tliteral_char(p->r, t.text, n);
    case BERTH_TTOK_NUMBER:
        return berth_tliteral_number(p->r, t.text, n);
    case BERTH_TTOK_OPEN:
        return parenthesis(p, t, ret);
    case BERTH_TTOK_STRING:
    case BERTH_TTOK_RAW:
        n->value.kind = BERTH_T_STRING;
        return berth_tliteral_text(p->r, t.text, &n->value.s);
    default:
        berth_tp_give_back(p, t);
        *ret = NULL;
        return 0;
    }
}

static int
operand(struct berth_tparser *p, struct berth_tnode **ret)
{
    struct berth_tnode *n;
    int r = term(p, &n);

    if (r < 0)
        return r;
    *ret = n;
    if (n == NULL || peek(p).type != BERTH_TTOK_FIELD)
        return 0;
    if (n->kind == BERTH_TN_FIELD || n->kind == BERTH_TN_VARIABLE)
        return take_fields(p, &n->fields);
    if (n->kind != BERTH_TN_PIPE && n->kind != BERTH_TN_CALL)
        return BERTH_TP_FAIL(p, peek(p).pos, "a field of something that has none");
    struct berth_tnode *chain = berth_tp_node(p, BERTH_TN_CHAIN, n->pos);
    if (chain == NULL)
        return -BERTH_ENOMEM;
    chain->a = n;
    *ret = chain;
    return take_fields(p, &chain->fields);
}

static int
command(struct berth_tparser *p, const char *where, struct berth_tnode **ret)
{
    struct berth_tnode *cmd = berth_tp_node(p, BERTH_TN_COMMAND, berth_tp_peek_word(p).pos);
    struct berth_tnode **tail;

    if (cmd == NULL)
        return -BERTH_ENOMEM;
    tail = &cmd->a;
    for (;;) {
        const int r = operand(p, tail);
        if (r < 0)
            return r;
        if (*tail != NULL)
            tail = &(*tail)->next;
        const struct berth_ttoken t = next_token(p);
        if (t.type == BERTH_TTOK_SPACE)
            continue;
        if (t.type == BERTH_TTOK_RIGHT || t.type == BERTH_TTOK_CLOSE)
            berth_tp_give_back(p, t);
        else if (t.type != BERTH_TTOK_PIPE)
            return berth_tp_unexpected(p, t, where);
        break;
    }
    if (cmd->a == NULL)
        return BERTH_TP_FAIL(p, cmd->pos, "an empty command");
    *ret = cmd;
    return 0;
}

/* "$x :=", "$x =", in range "$i, $e :=" too. */
static int
declarations(struct berth_tparser *p, const char *where, struct berth_tnode *pipe)
{
    for (;;) {
        const struct berth_ttoken var = berth_tp_peek_word(p);
        if (var.type != BERTH_TTOK_VARIABLE)
            return 0;
        (void)next_token(p);
        const struct berth_ttoken after = peek(p), t = berth_tp_next_word(p);
        if (t.type == BERTH_TTOK_ASSIGN || t.type == BERTH_TTOK_DECLARE) {
            pipe->assign = t.type == BERTH_TTOK_ASSIGN;
            if (pipe->assign && !declared(p, var.text))
                return BERTH_TP_FAIL(p, var.pos, "undefined variable %.*s: it is declared with :=",
                                     (int)var.text.len, var.text.at);
            return declare(p, pipe, var);
        }
        if (t.type != BERTH_TTOK_COMMA) {
            berth_tp_give_back(p, t);
            if (after.type == BERTH_TTOK_SPACE)
                berth_tp_give_back(p, after);
            berth_tp_give_back(p, var);
            return 0;
        }
        if (strcmp(where, "range") != 0 || pipe->decl_len > 0)
            return BERTH_TP_FAIL(p, var.pos, "too many declarations in %s", where);
        const int r = declare(p, pipe, var);
        if (r < 0)
            return r;
        const struct berth_ttoken more = berth_tp_peek_word(p);
        if (more.type != BERTH_TTOK_VARIABLE && more.type != BERTH_TTOK_RIGHT)
            return BERTH_TP_FAIL(p, more.pos, "range can only initialize variables");
    }
}

int
berth_tp_pipeline(struct berth_tparser *p, const char *where, enum berth_ttok end,
                  struct berth_tnode **ret)
{
    struct berth_tnode *pipe = berth_tp_node(p, BERTH_TN_PIPE, berth_tp_peek_word(p).pos);

    if (pipe == NULL)
        return -BERTH_ENOMEM;
    int r = declarations(p, where, pipe);
    struct berth_tnode **tail = &pipe->a;
    while (r == 0) {
        const struct berth_ttoken t = berth_tp_next_word(p);
        if (t.type == end)
            break;
        if ((t.type < BERTH_TTOK_FIELD || t.type > BERTH_TTOK_RAW) && t.type != BERTH_TTOK_OPEN &&
            t.type != BERTH_TTOK_DOT && t.type != BERTH_TTOK_NIL)
            return berth_tp_unexpected(p, t, where);
        berth_tp_give_back(p, t);
        r = command(p, where, tail);
        if (r < 0)
            return r;
        const enum berth_tnode_kind first = (*tail)->a->kind;
        if (tail != &pipe->a && (first == BERTH_TN_DOT || first == BERTH_TN_NIL ||
                                 first == BERTH_TN_CONST || first == BERTH_TN_TOOBIG))
            return BERTH_TP_FAIL(p, (*tail)->pos, "what is behind a | must be a function");
        tail = &(*tail)->next;
    }
    if (r == 0 && pipe->a == NULL)
        return BERTH_TP_FAIL(p, pipe->pos, "missing value for %s", where);
    *ret = pipe;
    return r;
}
