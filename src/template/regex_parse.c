#include <string.h>

#include "base/arena.h"
#include "template/regex_priv.h"
#include "template/text_priv.h"

/* A regular expression to its tree. */

enum { NEST_MAX = 100, REPEAT_MAX = 1000 };

struct flags {
    bool fold, lines, dot_all, lazy;
};

struct parser {
    struct berth_trun *r;
    struct berth_re *re;
    struct berth_slice expr;
    size_t i;
    unsigned depth;
    struct flags flags;
    bool quoting; /* behind \Q */
};

static int
bad(struct parser *p, const char *why)
{
    const size_t left = p->expr.len - p->i;

    if (left == 0)
        return berth_trun_fail(p->r, "regular expression: %s, at its end", why);
    return berth_trun_fail(p->r, "regular expression: %s, before \"%.*s\"", why,
                           left < 20 ? (int)left : 20, p->expr.at + p->i);
}

static bool
take(struct parser *p, const char *what)
{
    const size_t n = strlen(what);

    if (p->expr.len - p->i < n || memcmp(p->expr.at + p->i, what, n) != 0)
        return false;
    p->i += n;
    return true;
}

static int
node(struct parser *p, enum berth_re_kind kind, struct berth_re_node *a, struct berth_re_node *b,
     struct berth_re_node **ret)
{
    struct berth_re_node *n = BERTH_NEW(p->r->a, struct berth_re_node);

    if (n == NULL)
        return berth_trun_nomem(p->r);
    n->kind = kind;
    n->a = a;
    n->b = b;
    *ret = n;
    return 0;
}

static int
leaf(struct parser *p, struct berth_re_inst inst, struct berth_re_node **ret)
{
    const int err = node(p, BERTH_REN_LEAF, NULL, NULL, ret);

    if (err == 0)
        (*ret)->inst = inst;
    return err;
}

static int
rune_leaf(struct parser *p, uint32_t rune, struct berth_re_node **ret)
{
    return leaf(p, (struct berth_re_inst){.op = BERTH_RE_RUNE, .x = rune, .fold = p->flags.fold},
                ret);
}

static int
assert_leaf(struct parser *p, enum berth_re_assert what, struct berth_re_node **ret)
{
    return leaf(p, (struct berth_re_inst){.op = BERTH_RE_ASSERT, .x = what}, ret);
}

static int alternatives(struct parser *p, struct berth_re_node **ret);

/* "i-s:" or "i-s)": behind the question mark.  *ret_scoped: a colon ended it. */
static int
read_flags(struct parser *p, bool *ret_scoped)
{
    bool on = true, any = false;

    for (;;) {
        if (p->i >= p->expr.len)
            return bad(p, "unknown group or flag");
        const char c = p->expr.at[p->i];
        if (c == ')' || c == ':') {
            if (!on && !any)
                return bad(p, "a - without a flag");
            p->i++;
            *ret_scoped = c == ':';
            return 0;
        }
        if (c == 'i')
            p->flags.fold = on;
        else if (c == 'm')
            p->flags.lines = on;
        else if (c == 's')
            p->flags.dot_all = on;
        else if (c == 'U')
            p->flags.lazy = on;
        else if (c != '-' || !on)
            return bad(p, "unknown group or flag");
        any = c != '-';
        on = on && c != '-';
        p->i++;
    }
}

/* The name of a group, behind "(?P<". */
static int
group_name(struct parser *p, struct berth_slice *ret)
{
    const size_t start = p->i;

    while (p->i < p->expr.len && p->expr.at[p->i] != '>') {
        const char c = p->expr.at[p->i];
        if (c != '_' && !berth_trune_is_letter((unsigned char)c & 0x7fu) &&
            !berth_trune_is_digit((unsigned char)c))
            return bad(p, "a group's name is made of letters, digits and _");
        p->i++;
    }
    *ret = (struct berth_slice){p->expr.at + start, p->i - start};
    if (p->i >= p->expr.len || ret->len == 0)
        return bad(p, "a group has no name");
    p->i++;
    return 0;
}

static int
group_body(struct parser *p, struct flags after, struct berth_re_node **ret)
{
    if (p->depth >= NEST_MAX)
        return bad(p, "groups are nested too deep");
    p->depth++;
    const int err = alternatives(p, ret);
    p->depth--;
    if (err < 0)
        return err;
    if (!take(p, ")"))
        return bad(p, "a ( is not closed");
    p->flags = after;
    return 0;
}

/* Behind the (. */
static int
group(struct parser *p, struct berth_re_node **ret)
{
    const struct flags after = p->flags;
    struct berth_slice name = {"", 0};
    struct berth_re_node *inner;
    bool scoped = false;
    int err = 0;

    if (take(p, "?P<") || take(p, "?<")) {
        err = group_name(p, &name);
    } else if (take(p, "?")) {
        err = read_flags(p, &scoped); /* those for what follows were taken before */
        return err == 0 ? group_body(p, after, ret) : err;
    }
    if (err < 0)
        return err;
    if (p->re->groups >= BERTH_RE_GROUPS_MAX)
        return bad(p, "there are too many groups");
    const size_t n = p->re->groups++;
    p->re->names[n] = name;
    err = group_body(p, after, &inner);
    if (err == 0)
        err = node(p, BERTH_REN_GROUP, inner, NULL, ret);
    if (err == 0)
        (*ret)->n = (uint32_t)n;
    return err;
}

static int
escaped(struct parser *p, struct berth_re_node **ret)
{
    struct berth_re_inst c;
    uint32_t rune;
    bool is_class;

    if (take(p, "A"))
        return assert_leaf(p, BERTH_RE_TEXT_BEGIN, ret);
    if (take(p, "z"))
        return assert_leaf(p, BERTH_RE_TEXT_END, ret);
    if (take(p, "b"))
        return assert_leaf(p, BERTH_RE_WORD, ret);
    if (take(p, "B"))
        return assert_leaf(p, BERTH_RE_NO_WORD, ret);
    const int err = berth_re_escape(p->r, p->expr, &p->i, &is_class, &c, &rune);
    if (err < 0)
        return err;
    c.fold = p->flags.fold;
    return is_class ? leaf(p, c, ret) : rune_leaf(p, rune, ret);
}

/* One that stands for itself. */
static int
character(struct parser *p, struct berth_re_node **ret)
{
    uint32_t rune;
    const size_t n = berth_trune(p->expr.at + p->i, p->expr.len - p->i, &rune);

    if (n == 1 && rune == BERTH_TRUNE_BAD)
        return bad(p, "this is no UTF-8");
    p->i += n;
    p->quoting = p->quoting && !take(p, "\\E");
    return rune_leaf(p, rune, ret);
}

static int
atom(struct parser *p, struct berth_re_node **ret)
{
    struct berth_re_inst c;

    if (p->quoting)
        return character(p, ret);
    if (take(p, "("))
        return group(p, ret);
    if (take(p, "\\"))
        return escaped(p, ret);
    if (take(p, "^"))
        return assert_leaf(p, p->flags.lines ? BERTH_RE_LINE_BEGIN : BERTH_RE_TEXT_BEGIN, ret);
    if (take(p, "$"))
        return assert_leaf(p, p->flags.lines ? BERTH_RE_LINE_END : BERTH_RE_TEXT_END, ret);
    if (take(p, "."))
        return leaf(p, (struct berth_re_inst){.op = BERTH_RE_ANY, .x = p->flags.dot_all}, ret);
    if (take(p, "[")) {
        const int err = berth_re_class(p->r, p->expr, &p->i, p->flags.fold, &c);
        return err == 0 ? leaf(p, c, ret) : err;
    }
    return character(p, ret);
}

static bool
small_number(struct parser *p, int *ret)
{
    const size_t start = p->i;
    int v = 0;

    for (; p->i < p->expr.len && berth_trune_is_digit((unsigned char)p->expr.at[p->i]); p->i++)
        v = v > REPEAT_MAX ? v : v * 10 + (p->expr.at[p->i] - '0');
    *ret = v;
    return p->i > start && (p->i == start + 1 || p->expr.at[start] != '0');
}

/* "{2,5}": false when it is none, and then its characters stand for themselves. */
static bool
braces(struct parser *p, int *min, int *max)
{
    const size_t start = p->i;

    if (take(p, "{") && small_number(p, min)) {
        *max = *min;
        if (take(p, "}"))
            return true;
        *max = -1;
        if (take(p, ",") && (take(p, "}") || (small_number(p, max) && take(p, "}"))))
            return true;
    }
    p->i = start;
    return false;
}

static bool
repetition(struct parser *p, int *min, int *max)
{
    *min = 0;
    *max = -1;
    if (take(p, "*"))
        return true;
    if (take(p, "+")) {
        *min = 1;
        return true;
    }
    if (take(p, "?")) {
        *max = 1;
        return true;
    }
    return braces(p, min, max);
}

/* "(?i)": flags for what follows; they stand for nothing, so that a repetition behind them is one
 * of what was before. */
static int
take_flags(struct parser *p, bool *ret_any)
{
    bool scoped = false;

    *ret_any = false;
    while (!p->quoting && p->expr.len - p->i > 2 && memcmp(p->expr.at + p->i, "(?", 2) == 0 &&
           strchr("imsU-)", p->expr.at[p->i + 2]) != NULL && p->expr.at[p->i + 2] != '\0') {
        const struct flags before = p->flags;
        const size_t start = p->i;
        p->i += 2;
        const int err = read_flags(p, &scoped);
        if (err < 0)
            return err;
        if (scoped) {
            p->flags = before;
            p->i = start;
            return 0;
        }
        *ret_any = true;
    }
    return 0;
}

/* How often what is in *ret comes, once or more often if flags are between. */
static int
repeated(struct parser *p, struct berth_re_node **ret)
{
    int min, max, err = 0;
    bool flags = true;

    while (flags && !p->quoting) {
        if (repetition(p, &min, &max)) {
            if (min > REPEAT_MAX || max > REPEAT_MAX || (max >= 0 && max < min))
                return bad(p, "a repetition is too large or goes backwards");
            err = node(p, BERTH_REN_REPEAT, *ret, NULL, ret);
            if (err < 0)
                return err;
            (*ret)->min = min;
            (*ret)->max = max;
            (*ret)->lazy = take(p, "?") != p->flags.lazy;
            if (repetition(p, &min, &max))
                return bad(p, "a repetition of a repetition");
        }
        err = take_flags(p, &flags);
        if (err < 0)
            return err;
    }
    return 0;
}

static int
sequence(struct parser *p, struct berth_re_node **ret)
{
    struct berth_re_node *one;
    int min, max, err = node(p, BERTH_REN_EMPTY, NULL, NULL, ret);
    bool flags;

    err = err == 0 ? take_flags(p, &flags) : err;
    while (err == 0 && p->i < p->expr.len &&
           (p->quoting || (p->expr.at[p->i] != '|' && p->expr.at[p->i] != ')'))) {
        if (!p->quoting && take(p, "\\Q")) {
            p->quoting = !take(p, "\\E");
            continue;
        }
        if (!p->quoting && repetition(p, &min, &max))
            return bad(p, "a repetition of nothing");
        err = atom(p, &one);
        if (err == 0)
            err = repeated(p, &one);
        if (err == 0)
            err = node(p, BERTH_REN_CAT, one, *ret, ret);
        if (err == 0)
            ret = &(*ret)->b;
    }
    return err;
}

static int
alternatives(struct parser *p, struct berth_re_node **ret)
{
    struct berth_re_node *other;
    int err = sequence(p, ret);

    while (err == 0 && take(p, "|")) {
        err = sequence(p, &other);
        if (err == 0)
            err = node(p, BERTH_REN_ALT, *ret, other, ret);
        if (err == 0)
            ret = &(*ret)->b;
    }
    return err;
}

int
berth_re_parse(struct berth_trun *r, struct berth_slice expr, struct berth_re *re,
               struct berth_re_node **ret)
{
    struct parser p = {.r = r, .re = re, .expr = expr};

    re->groups = 1;
    const int err = alternatives(&p, ret);
    if (err == 0 && p.i < expr.len)
        return bad(&p, "a ) without its (");
    return err;
}
