#ifndef BERTH_TEMPLATE_PARSE_PRIV_H
#define BERTH_TEMPLATE_PARSE_PRIV_H

#include "template/lex_priv.h"
#include "template/tree_priv.h"

/* What parse.c (blocks) and parse_pipe.c (what is between the braces) share. */

enum {
    BERTH_TP_DEPTH_MAX = 150,
    BERTH_TP_BACK_MAX = 3,
    BERTH_TP_VARS_MAX = 256,
    BERTH_TP_TEMPLATES_MAX = 500
};

struct berth_tparser {
    struct berth_trun *r;
    struct berth_tlex lex;
    struct berth_ttoken back[BERTH_TP_BACK_MAX]; /* handed back: the last one comes next */
    size_t back_len;
    struct berth_slice *vars;
    size_t var_len;
    unsigned depth, ranges;
    uint32_t block; /* where the innermost one that is open begins; 0: none is */
    struct berth_ttemplate *templates;
    size_t template_count;
};

/* Set the place and the message; -BERTH_EINVAL. */
#define BERTH_TP_FAIL(p, at, ...) ((p)->r->pos = (at), berth_trun_fail((p)->r, __VA_ARGS__))

void berth_tp_give_back(struct berth_tparser *p, struct berth_ttoken t);
/* Passing over blanks. */
struct berth_ttoken berth_tp_next_word(struct berth_tparser *p);
struct berth_ttoken berth_tp_peek_word(struct berth_tparser *p);
int berth_tp_unexpected(struct berth_tparser *p, struct berth_ttoken t, const char *where);
/* NULL: no memory, and the message says so. */
struct berth_tnode *berth_tp_node(struct berth_tparser *p, enum berth_tnode_kind kind,
                                  uint32_t pos);
int berth_tp_expect_right(struct berth_tparser *p, const char *where);
/* A pipeline and the word that ends it: the closing braces or parenthesis. */
int berth_tp_pipeline(struct berth_tparser *p, const char *where, enum berth_ttok end,
                      struct berth_tnode **ret);

#endif
