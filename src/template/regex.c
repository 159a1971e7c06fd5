#include "template/regex_priv.h"

#include <string.h>

#include "base/arena.h"
#include "template/text_priv.h"

/* From the tree to a program, and the program run over a text: all its threads at once, those
 * before others that a backtracking search would try first (Pike's machine). */

struct compiling {
    struct berth_trun *r;
    struct berth_re *re;
    size_t cap;
};

static int
emit(struct compiling *c, struct berth_re_inst inst, uint32_t *ret)
{
    struct berth_re *re = c->re;

    if (re->len >= BERTH_RE_PROGRAM_MAX)
        return berth_trun_fail(c->r, "regular expression: it is too large");
    if (re->len == c->cap) {
        const size_t cap = c->cap > 0 ? 2 * c->cap : 32;
        struct berth_re_inst *at = BERTH_NEW_N(c->r->a, struct berth_re_inst, cap);
        if (at == NULL)
            return berth_trun_nomem(c->r);
        if (re->len > 0)
            memcpy(at, re->at, re->len * sizeof *at);
        re->at = at;
        c->cap = cap;
    }
    *ret = (uint32_t)re->len;
    re->at[re->len++] = inst;
    return berth_trun_work(c->r, 1);
}

/* Can it be without a character? */
static bool
nullable(const struct berth_re_node *n)
{
    if (n->kind == BERTH_REN_ALT) {
        for (; n->kind == BERTH_REN_ALT; n = n->b)
            if (nullable(n->a))
                return true;
    }
    for (; n->kind == BERTH_REN_CAT; n = n->b) /* a list ends with an empty one */
        if (!nullable(n->a))
            return false;
    switch (n->kind) {
    case BERTH_REN_LEAF:
        return n->inst.op == BERTH_RE_ASSERT;
    case BERTH_REN_REPEAT:
        return n->min == 0 || nullable(n->a);
    case BERTH_REN_GROUP:
        return nullable(n->a);
    case BERTH_REN_EMPTY:
    case BERTH_REN_CAT:
    case BERTH_REN_ALT:
        break;
    }
    return true;
}

static int compile(struct compiling *c, const struct berth_re_node *n);

/* The way into a loop or past it, what is tried first being first; *ret is the split. */
static int
split(struct compiling *c, uint32_t *ret)
{
    return emit(c, (struct berth_re_inst){.op = BERTH_RE_SPLIT}, ret);
}

static void
aim(struct compiling *c, uint32_t at, uint32_t in, uint32_t past, bool lazy)
{
    c->re->at[at].x = lazy ? past : in;
    c->re->at[at].y = lazy ? in : past;
}

/* a+ : a, and then again. */
static int
plus(struct compiling *c, const struct berth_re_node *n, bool lazy)
{
    const uint32_t begin = (uint32_t)c->re->len;
    uint32_t at;
    int err = compile(c, n);

    if (err == 0)
        err = split(c, &at);
    if (err == 0)
        aim(c, at, begin, at + 1, lazy);
    return err;
}

/* a* : what may be empty is (a+)?, so that an empty turn ends the loop as Go has it. */
static int
star(struct compiling *c, const struct berth_re_node *n, bool lazy)
{
    uint32_t at, back;
    int err = split(c, &at);

    if (err == 0 && nullable(n)) {
        err = plus(c, n, lazy);
    } else if (err == 0) {
        err = compile(c, n);
        if (err == 0)
            err = emit(c, (struct berth_re_inst){.op = BERTH_RE_JUMP, .x = at}, &back);
    }
    if (err == 0)
        aim(c, at, at + 1, (uint32_t)c->re->len, lazy);
    return err;
}

/* a{2,5} is aa(a(a(a)?)?)?: what was not taken ends all. */
static int
repeat(struct compiling *c, const struct berth_re_node *n)
{
    uint32_t at, first = 0, count = 0;
    int err = 0;

    if (n->max < 0 && n->min > 0) {
        for (int i = 1; i < n->min && err == 0; i++)
            err = compile(c, n->a);
        return err == 0 ? plus(c, n->a, n->lazy) : err;
    }
    if (n->max < 0)
        return star(c, n->a, n->lazy);
    for (int i = 0; i < n->min && err == 0; i++)
        err = compile(c, n->a);
    for (int i = n->min; i < n->max && err == 0; i++, count++) {
        err = split(c, &at);
        if (err < 0)
            return err;
        c->re->at[at].y = first; /* the splits are a list until their end is known */
        first = at;
        err = compile(c, n->a);
    }
    for (; err == 0 && count > 0; count--) {
        const uint32_t next = c->re->at[first].y;
        aim(c, first, first + 1, (uint32_t)c->re->len, n->lazy);
        first = next;
    }
    return err;
}

static int
alternatives(struct compiling *c, const struct berth_re_node *n)
{
    uint32_t at, jump, first = 0, count = 0;
    int err = 0;

    for (; n->kind == BERTH_REN_ALT && err == 0; n = n->b, count++) {
        err = split(c, &at);
        if (err == 0)
            err = compile(c, n->a);
        if (err == 0)
            err = emit(c, (struct berth_re_inst){.op = BERTH_RE_JUMP, .x = first}, &jump);
        if (err < 0)
            return err;
        first = jump;
        aim(c, at, at + 1, (uint32_t)c->re->len, false);
    }
    if (err == 0)
        err = compile(c, n);
    for (; err == 0 && count > 0; count--) {
        const uint32_t next = c->re->at[first].x;
        c->re->at[first].x = (uint32_t)c->re->len;
        first = next;
    }
    return err;
}

static int
compile(struct compiling *c, const struct berth_re_node *n)
{
    uint32_t at;
    int err = berth_trun_work(c->r, 1); /* what is empty comes to no instruction, but takes time */

    for (; n->kind == BERTH_REN_CAT && err == 0; n = n->b)
        err = compile(c, n->a);
    if (err < 0)
        return err;
    switch (n->kind) {
    case BERTH_REN_EMPTY:
        return 0;
    case BERTH_REN_LEAF:
        return emit(c, n->inst, &at);
    case BERTH_REN_ALT:
        return alternatives(c, n);
    case BERTH_REN_REPEAT:
        return repeat(c, n);
    case BERTH_REN_GROUP:
        err = emit(c, (struct berth_re_inst){.op = BERTH_RE_SAVE, .x = 2 * n->n}, &at);
        if (err == 0)
            err = compile(c, n->a);
        return err == 0
                   ? emit(c, (struct berth_re_inst){.op = BERTH_RE_SAVE, .x = 2 * n->n + 1}, &at)
                   : err;
    case BERTH_REN_CAT:
        break;
    }
    return 0;
}

int
berth_re_compile(struct berth_trun *r, struct berth_slice expr, struct berth_re *ret)
{
    struct compiling c = {.r = r, .re = ret};
    struct berth_re_node *root;
    uint32_t at;

    *ret = (struct berth_re){0};
    int err = berth_trun_work(r, expr.len);
    if (err == 0)
        err = berth_re_parse(r, expr, ret, &root);
    if (err == 0)
        err = compile(&c, root);
    return err == 0 ? emit(&c, (struct berth_re_inst){.op = BERTH_RE_MATCH}, &at) : err;
}

/* The threads of one place in the text, in their order; at[i] is in seen[] by its pc. */
struct threads {
    uint32_t *pc, *seen;
    int64_t *places; /* 2 * groups of each, by its rank */
    size_t len;
};

struct berth_re_machine {
    struct berth_trun *r;
    const struct berth_re *re;
    struct berth_slice text;
    size_t width; /* places of a thread */
    struct todo {
        uint32_t pc;
        int32_t slot; /* >= 0: put the old place back */
        int64_t old;
    } * stack;
    int64_t *now; /* places of the thread that is being followed */
    uint64_t steps;
    struct threads lists[2];
};

/* As many steps as there are to a search in the tables of Unicode. */
enum { TABLE_STEPS = 8 };

static bool
in_ranges(struct berth_re_machine *m, const struct berth_re_inst *i, uint32_t v)
{
    for (uint32_t n = 0; n < i->x; n++) {
        const struct berth_re_range *at = &i->at[n];
        m->steps++;
        if (v >= at->first && v <= at->last)
            return true;
        if (at->first < 0x110000)
            continue;
        const uint32_t property = at->first - 0x110000; /* L, Lu, Ll */
        m->steps += TABLE_STEPS;
        if (property == 0   ? berth_trune_is_letter(v)
            : property == 1 ? berth_trune_is_upper(v)
                            : berth_trune_is_lower(v))
            return true;
    }
    return false;
}

/* Each range that is looked at is a step: a class may have hundreds. */
static bool
takes(struct berth_re_machine *m, const struct berth_re_inst *i, uint32_t v)
{
    if (i->op == BERTH_RE_ANY)
        return i->x != 0 || v != '\n';
    m->steps += i->fold ? 2 * TABLE_STEPS : 0;
    if (i->op == BERTH_RE_RUNE)
        return i->x == v || (i->fold && berth_trune_lower(i->x) == berth_trune_lower(v));
    const bool in = in_ranges(m, i, v) || (i->fold && (in_ranges(m, i, berth_trune_lower(v)) ||
                                                       in_ranges(m, i, berth_trune_upper(v))));
    return in != i->negate;
}

static bool
is_word(struct berth_slice s, size_t i)
{
    const unsigned char c = i < s.len ? (unsigned char)s.at[i] : ' ';

    return c == '_' || (c < 0x80 && (berth_trune_is_letter(c) || berth_trune_is_digit(c)));
}

static bool
holds(struct berth_slice s, size_t i, uint32_t what)
{
    const bool before = i > 0 && is_word(s, i - 1), after = is_word(s, i);

    switch ((enum berth_re_assert)what) {
    case BERTH_RE_TEXT_BEGIN:
        return i == 0;
    case BERTH_RE_TEXT_END:
        return i == s.len;
    case BERTH_RE_LINE_BEGIN:
        return i == 0 || s.at[i - 1] == '\n';
    case BERTH_RE_LINE_END:
        return i == s.len || s.at[i] == '\n';
    case BERTH_RE_WORD:
        return before != after;
    case BERTH_RE_NO_WORD:
        return before == after;
    }
    return false;
}

/* Follow all ways from pc that need no character, each once. */
static void
follow(struct berth_re_machine *m, struct threads *to, uint32_t pc, size_t i)
{
    size_t top = 0;

    m->stack[top++] = (struct todo){pc, -1, 0};
    while (top > 0) {
        const struct todo t = m->stack[--top];
        if (t.slot >= 0) {
            m->now[t.slot] = t.old;
            continue;
        }
        m->steps++;
        if (to->seen[t.pc] < to->len && to->pc[to->seen[t.pc]] == t.pc)
            continue;
        const struct berth_re_inst *inst = &m->re->at[t.pc];
        to->seen[t.pc] = (uint32_t)to->len;
        to->pc[to->len] = t.pc;
        memcpy(to->places + to->len * m->width, m->now, m->width * sizeof *m->now);
        m->steps += m->width / 8;
        to->len++;
        if (inst->op == BERTH_RE_JUMP) {
            m->stack[top++] = (struct todo){inst->x, -1, 0};
        } else if (inst->op == BERTH_RE_SPLIT) {
            m->stack[top++] = (struct todo){inst->y, -1, 0};
            m->stack[top++] = (struct todo){inst->x, -1, 0};
        } else if (inst->op == BERTH_RE_SAVE) {
            m->stack[top++] = (struct todo){0, (int32_t)inst->x, m->now[inst->x]};
            m->now[inst->x] = (int64_t)i;
            m->stack[top++] = (struct todo){t.pc + 1, -1, 0};
        } else if (inst->op == BERTH_RE_ASSERT && holds(m->text, i, inst->x)) {
            m->stack[top++] = (struct todo){t.pc + 1, -1, 0};
        }
    }
}

/* Each thread over one character; the first that matches ends those behind it. */
static bool
step(struct berth_re_machine *m, const struct threads *from, struct threads *to, size_t i,
     size_t next, uint32_t rune, int64_t *at)
{
    for (size_t n = 0; n < from->len; n++) {
        const struct berth_re_inst *inst = &m->re->at[from->pc[n]];
        const int64_t *places = from->places + n * m->width;
        m->steps++;
        if (inst->op == BERTH_RE_MATCH) {
            memcpy(at, places, m->width * sizeof *at);
            at[1] = (int64_t)i;
            return true;
        }
        if (inst->op > BERTH_RE_CLASS || next == i || !takes(m, inst, rune))
            continue;
        memcpy(m->now, places, m->width * sizeof *m->now);
        follow(m, to, from->pc[n] + 1, next);
    }
    return false;
}

/* What matching needs, once for an expression. */
static int
prepare(struct berth_trun *r, struct berth_re *re)
{
    struct berth_re_machine *m = BERTH_NEW(r->a, struct berth_re_machine);
    const size_t n = re->len, width = 2 * re->groups;
    const int err = berth_trun_work(r, n / 4 + n * width / 8); /* that memory is cleared */

    if (err < 0 || m == NULL)
        return err < 0 ? err : berth_trun_nomem(r);
    *m = (struct berth_re_machine){.r = r, .re = re, .width = width};
    for (size_t k = 0; k < 2; k++) {
        struct threads *l = &m->lists[k];
        l->pc = BERTH_NEW_N(r->a, uint32_t, n);
        l->seen = BERTH_NEW_N(r->a, uint32_t, n);
        l->places = BERTH_NEW_N(r->a, int64_t, n * width);
        if (l->pc == NULL || l->seen == NULL || l->places == NULL)
            return berth_trun_nomem(r);
    }
    m->stack = BERTH_NEW_N(r->a, struct todo, 3 * n + 3);
    m->now = BERTH_NEW_N(r->a, int64_t, width);
    if (m->stack == NULL || m->now == NULL)
        return berth_trun_nomem(r);
    re->machine = m;
    return 0;
}

int
berth_re_match(struct berth_trun *r, struct berth_re *re, struct berth_slice text, size_t from,
               bool *ret_found, int64_t at[2 * BERTH_RE_GROUPS_MAX])
{
    int err = re->machine == NULL ? prepare(r, re) : 0;
    struct berth_re_machine *m = re->machine;

    if (err < 0)
        return err;
    *ret_found = false;
    m->text = text;
    m->lists[0].len = 0;
    for (size_t i = from, next; err == 0; i = next) {
        uint32_t rune = 0;
        next = i < text.len ? i + berth_trune(text.at + i, text.len - i, &rune) : i;
        if (!*ret_found) {
            for (size_t n = 0; n < m->width; n++)
                m->now[n] = BERTH_RE_NOWHERE;
            m->now[0] = (int64_t)i;
            m->steps += m->width / 8;
            follow(m, &m->lists[0], 0, i);
        }
        if (m->lists[0].len == 0)
            break;
        m->lists[1].len = 0;
        if (step(m, &m->lists[0], &m->lists[1], i, next, rune, at))
            *ret_found = true;
        const struct threads swap = m->lists[0];
        m->lists[0] = m->lists[1];
        m->lists[1] = swap;
        err = berth_trun_work(r, m->steps / 4 + 1);
        m->steps = 0;
        if (next == i)
            break;
    }
    return err;
}
