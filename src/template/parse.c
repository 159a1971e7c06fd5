#include "template/parse_priv.h"

#include <string.h>

#include "base/arena.h"

static int items(struct berth_tparser *p, const char *where, struct berth_tnode **ret,
                 struct berth_tnode **ret_end);

static int control(struct berth_tparser *p, enum berth_tnode_kind kind, uint32_t pos,
                   struct berth_tnode **ret);

/* What is behind {{else}}, up to its {{end}}; "else if" and "else with" nest without one. */
static int
else_part(struct berth_tparser *p, struct berth_tnode *n, const char *where)
{
    const struct berth_ttoken t = berth_tp_peek_word(p);
    struct berth_tnode *end;

    if ((n->kind == BERTH_TN_IF && t.type == BERTH_TTOK_IF) ||
        (n->kind == BERTH_TN_WITH && t.type == BERTH_TTOK_WITH)) {
        (void)berth_tp_next_word(p);
        return control(p, n->kind, t.pos, &n->c);
    }
    int r = berth_tp_expect_right(p, "else");
    if (r == 0)
        r = items(p, where, &n->c, &end);
    if (r == 0 && end->kind != BERTH_TN_END)
        return BERTH_TP_FAIL(p, end->pos, "a second {{else}} in {{%s}}", where);
    return r;
}

static int
control(struct berth_tparser *p, enum berth_tnode_kind kind, uint32_t pos, struct berth_tnode **ret)
{
    const char *where = kind == BERTH_TN_IF ? "if" : kind == BERTH_TN_WITH ? "with" : "range";
    const size_t vars = p->var_len;
    const uint32_t outer = p->block;
    struct berth_tnode *n = berth_tp_node(p, kind, pos), *end;

    if (n == NULL)
        return -BERTH_ENOMEM;
    if (p->depth >= BERTH_TP_DEPTH_MAX)
        return BERTH_TP_FAIL(p, pos, "more than %d parentheses or blocks within each other",
                             BERTH_TP_DEPTH_MAX);
    p->depth++;
    p->block = pos;
    int r = berth_tp_pipeline(p, where, BERTH_TTOK_RIGHT, &n->a);
    p->ranges += kind == BERTH_TN_RANGE;
    if (r == 0)
        r = items(p, where, &n->b, &end);
    p->ranges -= kind == BERTH_TN_RANGE;
    if (r == 0 && end->kind == BERTH_TN_ELSE)
        r = else_part(p, n, where);
    p->depth--;
    p->block = outer;
    p->var_len = vars;
    *ret = n;
    return r;
}

static int
name_of(struct berth_tparser *p, const char *where, struct berth_slice *ret)
{
    const struct berth_ttoken t = berth_tp_next_word(p);

    if (t.type != BERTH_TTOK_STRING && t.type != BERTH_TTOK_RAW)
        return berth_tp_unexpected(p, t, where);
    p->r->pos = t.pos;
    return berth_tliteral_text(p->r, t.text, ret);
}

static bool
is_blank_text(struct berth_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (strchr(" \t\r\n\v\f", s.at[i]) == NULL || s.at[i] == '\0')
            return false;
    return true;
}

static int
add_template(struct berth_tparser *p, struct berth_slice name, struct berth_tnode *root,
             uint32_t pos)
{
    bool empty = true;

    for (const struct berth_tnode *n = root; n != NULL && empty; n = n->next)
        empty = n->kind == BERTH_TN_TEXT && is_blank_text(n->text);
    for (struct berth_ttemplate *t = p->templates; t != NULL; t = t->next) {
        if (berth_tslice_cmp(t->name, name) != 0)
            continue;
        if (!t->empty && !empty)
            return BERTH_TP_FAIL(p, pos, "template \"%.*s\" is defined a second time",
                                 (int)name.len, name.at);
        if (t->empty) {
            t->root = root;
            t->empty = empty;
        }
        return 0;
    }
    if (p->template_count++ >= BERTH_TP_TEMPLATES_MAX)
        return BERTH_TP_FAIL(p, pos, "more than %d templates", BERTH_TP_TEMPLATES_MAX);
    struct berth_ttemplate *t = BERTH_NEW(p->r->a, struct berth_ttemplate);
    if (t == NULL)
        return berth_trun_nomem(p->r);
    *t = (struct berth_ttemplate){name, root, empty, p->templates};
    p->templates = t;
    return 0;
}

/* The body of a define or block: it sees no variables but "$". */
static int
body(struct berth_tparser *p, const char *where, struct berth_slice name, uint32_t pos)
{
    const size_t vars = p->var_len;
    const unsigned ranges = p->ranges;
    const uint32_t block = p->block;
    struct berth_slice *outer = p->vars;
    struct berth_tnode *root, *end;

    if (p->depth >= BERTH_TP_DEPTH_MAX)
        return BERTH_TP_FAIL(p, pos, "more than %d parentheses or blocks within each other",
                             BERTH_TP_DEPTH_MAX);
    p->vars = BERTH_NEW_N(p->r->a, struct berth_slice, BERTH_TP_VARS_MAX);
    if (p->vars == NULL)
        return berth_trun_nomem(p->r);
    p->vars[0] = BERTH_SLICE("$");
    p->var_len = 1;
    p->ranges = 0;
    p->depth++;
    p->block = pos;
    int r = items(p, where, &root, &end);
    if (r == 0 && end->kind != BERTH_TN_END)
        r = BERTH_TP_FAIL(p, end->pos, "unexpected {{else}} in %s", where);
    if (r == 0)
        r = add_template(p, name, root, pos);
    p->depth--;
    p->block = block;
    p->vars = outer;
    p->var_len = vars;
    p->ranges = ranges;
    return r;
}

static int
template_or_block(struct berth_tparser *p, struct berth_ttoken word, struct berth_tnode **ret)
{
    const bool block = word.type == BERTH_TTOK_BLOCK;
    struct berth_tnode *n = berth_tp_node(p, BERTH_TN_TEMPLATE, word.pos);

    if (n == NULL)
        return -BERTH_ENOMEM;
    *ret = n;
    int r = name_of(p, block ? "block" : "template", &n->text);
    if (r < 0)
        return r;
    const struct berth_ttoken t = berth_tp_next_word(p);
    if (t.type != BERTH_TTOK_RIGHT || block) {
        berth_tp_give_back(p, t);
        r = berth_tp_pipeline(p, block ? "block" : "template", BERTH_TTOK_RIGHT, &n->a);
    }
    return r == 0 && block ? body(p, "block", n->text, word.pos) : r;
}

static int
jump(struct berth_tparser *p, struct berth_ttoken word, struct berth_tnode **ret)
{
    const bool is_break = word.type == BERTH_TTOK_BREAK;
    const int r = berth_tp_expect_right(p, is_break ? "break" : "continue");

    if (r < 0)
        return r;
    if (p->ranges == 0)
        return BERTH_TP_FAIL(p, word.pos, "{{%s}} outside of a range",
                             is_break ? "break" : "continue");
    *ret = berth_tp_node(p, is_break ? BERTH_TN_BREAK : BERTH_TN_CONTINUE, word.pos);
    return *ret != NULL ? 0 : -BERTH_ENOMEM;
}

/* What is between {{ and }}. */
static int
action(struct berth_tparser *p, struct berth_tnode **ret)
{
    const struct berth_ttoken word = berth_tp_next_word(p);
    int r;

    switch ((int)word.type) {
    case BERTH_TTOK_BLOCK:
    case BERTH_TTOK_TEMPLATE:
        return template_or_block(p, word, ret);
    case BERTH_TTOK_BREAK:
    case BERTH_TTOK_CONTINUE:
        return jump(p, word, ret);
    case BERTH_TTOK_IF:
        return control(p, BERTH_TN_IF, word.pos, ret);
    case BERTH_TTOK_RANGE:
        return control(p, BERTH_TN_RANGE, word.pos, ret);
    case BERTH_TTOK_WITH:
        return control(p, BERTH_TN_WITH, word.pos, ret);
    case BERTH_TTOK_DEFINE:
        return BERTH_TP_FAIL(p, word.pos, "{{define}} within another block");
    case BERTH_TTOK_ELSE: /* what is behind it is looked at by the block */
    case BERTH_TTOK_END:
        *ret =
            berth_tp_node(p, word.type == BERTH_TTOK_END ? BERTH_TN_END : BERTH_TN_ELSE, word.pos);
        if (*ret == NULL)
            return -BERTH_ENOMEM;
        return word.type == BERTH_TTOK_END ? berth_tp_expect_right(p, "end") : 0;
    default:
        break;
    }
    berth_tp_give_back(p, word);
    *ret = berth_tp_node(p, BERTH_TN_ACTION, word.pos);
    if (*ret == NULL)
        return -BERTH_ENOMEM;
    r = berth_tp_pipeline(p, "this command", BERTH_TTOK_RIGHT, &(*ret)->a);
    return r;
}

static int
text_or_action(struct berth_tparser *p, const char *where, struct berth_tnode **ret)
{
    const struct berth_ttoken t = berth_tp_next_word(p);

    if (t.type == BERTH_TTOK_LEFT)
        return action(p, ret);
    if (t.type != BERTH_TTOK_TEXT)
        return berth_tp_unexpected(p, t, where);
    *ret = berth_tp_node(p, BERTH_TN_TEXT, t.pos);
    if (*ret == NULL)
        return -BERTH_ENOMEM;
    (*ret)->text = t.text;
    return 0;
}

/* Up to {{end}} or {{else}}, which is *ret_end. */
static int
items(struct berth_tparser *p, const char *where, struct berth_tnode **ret,
      struct berth_tnode **ret_end)
{
    struct berth_tnode *n;

    *ret = NULL;
    for (;;) {
        const int r = text_or_action(p, where, &n);
        if (r < 0)
            return r;
        if (n->kind == BERTH_TN_END || n->kind == BERTH_TN_ELSE) {
            *ret_end = n;
            return 0;
        }
        *ret = n;
        ret = &n->next;
    }
}

/* {{define "name"}} ... {{end}}, behind the word. */
static int
definition(struct berth_tparser *p, uint32_t pos)
{
    struct berth_slice name;
    int r = name_of(p, "define", &name);

    if (r == 0)
        r = berth_tp_expect_right(p, "define");
    return r == 0 ? body(p, "define", name, pos) : r;
}

int
berth_tparse(struct berth_trun *r, struct berth_tnode **ret)
{
    struct berth_tparser p = {.r = r, .lex = {.in = r->text}, .var_len = 1};
    struct berth_tnode **tail = ret, *n;

    *ret = NULL;
    const int read = berth_trun_work(r, r->text.len / 4);
    if (read < 0)
        return read;
    p.vars = BERTH_NEW_N(r->a, struct berth_slice, BERTH_TP_VARS_MAX);
    if (p.vars == NULL)
        return berth_trun_nomem(r);
    p.vars[0] = BERTH_SLICE("$");
    for (;;) {
        const struct berth_ttoken t = berth_tp_next_word(&p);
        int got = 0;
        if (t.type == BERTH_TTOK_EOF)
            break;
        const struct berth_ttoken word =
            t.type == BERTH_TTOK_LEFT ? berth_tp_next_word(&p) : (struct berth_ttoken){0};
        if (word.type == BERTH_TTOK_DEFINE) {
            got = definition(&p, word.pos);
            if (got < 0)
                return got;
            continue;
        }
        if (t.type == BERTH_TTOK_LEFT)
            berth_tp_give_back(&p, word);
        berth_tp_give_back(&p, t);
        got = text_or_action(&p, "the text", &n);
        if (got < 0)
            return got;
        if (n->kind == BERTH_TN_END || n->kind == BERTH_TN_ELSE)
            return BERTH_TP_FAIL(&p, n->pos, "an {{%s}} that closes nothing",
                                 n->kind == BERTH_TN_END ? "end" : "else");
        *tail = n;
        tail = &n->next;
    }
    r->templates = p.templates;
    return 0;
}
