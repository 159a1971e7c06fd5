#ifndef BERTH_TEMPLATE_REGEX_PRIV_H
#define BERTH_TEMPLATE_REGEX_PRIV_H

#include "template/run_priv.h"

/*
 * Regular expressions with RE2's syntax and Go's way of choosing a match (the leftmost, and of
 * those what a backtracking search would find first).  All alternatives are followed at once, so
 * that matching takes time in proportion to expression and text.  Each step is counted as work,
 * each range of a class among them.  Of Unicode classes \pL, \p{Lu} and \p{Ll} are known.
 */
enum { BERTH_RE_GROUPS_MAX = 50, BERTH_RE_PROGRAM_MAX = 5000 };

enum berth_re_op {
    BERTH_RE_RUNE,  /* x: the character; fold: in either case */
    BERTH_RE_ANY,   /* x: 1: a new line too */
    BERTH_RE_CLASS, /* at, x of them; fold; negate */
    BERTH_RE_ASSERT,
    BERTH_RE_SPLIT, /* go on at x, or else at y */
    BERTH_RE_JUMP,  /* to x */
    BERTH_RE_SAVE,  /* the place, as number x */
    BERTH_RE_MATCH,
};

enum berth_re_assert {
    BERTH_RE_TEXT_BEGIN,
    BERTH_RE_TEXT_END,
    BERTH_RE_LINE_BEGIN,
    BERTH_RE_LINE_END,
    BERTH_RE_WORD,
    BERTH_RE_NO_WORD,
};

struct berth_re_range {
    uint32_t first, last;
};

struct berth_re_inst {
    uint8_t op;
    bool fold, negate;
    uint32_t x, y;
    const struct berth_re_range *at;
};

struct berth_re {
    struct berth_re_inst *at;
    size_t len;
    size_t groups;                                 /* with the whole match, which is 0 */
    struct berth_slice names[BERTH_RE_GROUPS_MAX]; /* empty: it has none */
    struct berth_re_machine *machine;              /* of the first match on */
};

/* Into the run's arena.  -BERTH_EINVAL with what is wrong. */
int berth_re_compile(struct berth_trun *r, struct berth_slice expr, struct berth_re *ret);

enum { BERTH_RE_NOWHERE = -1 };
/* The first match at `from` or behind it: *ret_found, and the places of the groups: from at[2 i] up
 * to at[2 i + 1], BERTH_RE_NOWHERE for a group that took no part. */
int berth_re_match(struct berth_trun *r, struct berth_re *re, struct berth_slice text, size_t from,
                   bool *ret_found, int64_t at[2 * BERTH_RE_GROUPS_MAX]);

/* The syntax tree between regex_parse.c and regex.c. */
enum berth_re_kind {
    BERTH_REN_EMPTY,
    BERTH_REN_LEAF, /* inst */
    BERTH_REN_CAT,  /* a, then b, which is another of these or empty: a list */
    BERTH_REN_ALT,  /* a, or else b: a list too */
    BERTH_REN_REPEAT,
    BERTH_REN_GROUP, /* a, as number n */
};

struct berth_re_node {
    enum berth_re_kind kind;
    struct berth_re_inst inst;
    struct berth_re_node *a, *b;
    int min, max; /* of repeat; max -1: any number */
    bool lazy;
    uint32_t n;
};

int berth_re_parse(struct berth_trun *r, struct berth_slice expr, struct berth_re *re,
                   struct berth_re_node **ret);
/* Behind the [ of a class; *i goes behind its ]. */
int berth_re_class(struct berth_trun *r, struct berth_slice expr, size_t *i, bool fold,
                   struct berth_re_inst *ret);
/* Behind a backslash: a class such as \d into *ret (and true), or *ret_rune. */
int berth_re_escape(struct berth_trun *r, struct berth_slice expr, size_t *i, bool *ret_class,
                    struct berth_re_inst *ret, uint32_t *ret_rune);

#endif
