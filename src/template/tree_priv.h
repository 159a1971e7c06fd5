#ifndef BERTH_TEMPLATE_TREE_PRIV_H
#define BERTH_TEMPLATE_TREE_PRIV_H

#include "template/run_priv.h"

enum berth_tnode_kind {
    BERTH_TN_TEXT,
    BERTH_TN_ACTION,   /* a: the pipeline */
    BERTH_TN_IF,       /* a: the pipeline, b: what follows when true, c: else */
    BERTH_TN_WITH,     /* as if */
    BERTH_TN_RANGE,    /* as if */
    BERTH_TN_TEMPLATE, /* text: its name, a: the pipeline or NULL */
    BERTH_TN_BREAK,
    BERTH_TN_CONTINUE,
    BERTH_TN_PIPE,    /* a: its commands; decl, decl_len, assign */
    BERTH_TN_COMMAND, /* a: its operands */
    BERTH_TN_DOT,
    BERTH_TN_NIL,
    BERTH_TN_CONST,    /* value: bool, number, text */
    BERTH_TN_TOOBIG,   /* a whole number that is beyond Go's int */
    BERTH_TN_FIELD,    /* fields of "." */
    BERTH_TN_VARIABLE, /* text: its name with the dollar; fields of it */
    BERTH_TN_CHAIN,    /* a: an operand; fields of it */
    BERTH_TN_CALL,     /* fn or outer_fn */
    BERTH_TN_END,      /* of the parser alone */
    BERTH_TN_ELSE,
};

struct berth_tnode {
    enum berth_tnode_kind kind;
    uint32_t pos;
    struct berth_tnode *next; /* beside it: of a list, a pipeline, a command */
    struct berth_tnode *a, *b, *c;
    struct berth_slice text;
    struct berth_tname {
        struct berth_slice name;
        uint32_t pos;
        struct berth_tname *next;
    } * fields;
    struct berth_tvalue value;
    const struct berth_tfn *fn;
    const struct berth_template_fn *outer_fn;
    struct berth_slice decl[2];
    uint8_t decl_len;
    bool assign;
};

/* A template that define or block has named; the whole text is the one without a name. */
struct berth_ttemplate {
    struct berth_slice name;
    struct berth_tnode *root;
    bool empty; /* blanks and comments alone: may be defined again */
    struct berth_ttemplate *next;
};

/* Parse r->text into r->templates: the first one is the whole text.  On failure r->pos is the place
 * of what r->e says. */
int berth_tparse(struct berth_trun *r, struct berth_tnode **ret);

/* A literal: text without its quotes and escapes; a number or a character into n->kind and
 * n->value.  r->pos is where it stands. */
int berth_tliteral_text(struct berth_trun *r, struct berth_slice quoted, struct berth_slice *ret);
int berth_tliteral_number(struct berth_trun *r, struct berth_slice text, struct berth_tnode *n);
int berth_tliteral_char(struct berth_trun *r, struct berth_slice quoted, struct berth_tnode *n);

/* Run the nodes from n on with dot; 0, or a failure with r->pos. */
int berth_texec(struct berth_trun *r, const struct berth_tnode *n, const struct berth_tvalue *dot);

/* The value of a pipeline (tail NULL: no value comes into it). */
int berth_teval_pipe(struct berth_trun *r, const struct berth_tnode *pipe,
                     const struct berth_tvalue *dot, struct berth_tvalue *ret);
int berth_tcall(struct berth_trun *r, const struct berth_tnode *call,
                const struct berth_tnode *args, const struct berth_tvalue *dot,
                const struct berth_tvalue *tail, struct berth_tvalue *ret);
int berth_teval_operand(struct berth_trun *r, const struct berth_tnode *n,
                        const struct berth_tvalue *dot, struct berth_tvalue *ret);

struct berth_tvar {
    struct berth_slice name;
    struct berth_tvalue value;
};
int berth_tvar_push(struct berth_trun *r, struct berth_slice name, const struct berth_tvalue *v);
/* The youngest of that name; NULL: none. */
struct berth_tvalue *berth_tvar_find(struct berth_trun *r, struct berth_slice name);

/* "no function "qoute" (did you mean quote?)". */
int berth_tnear_function(struct berth_trun *r, struct berth_slice name);
int berth_tnear_member(struct berth_trun *r, struct berth_slice name, const struct berth_tmap *m);

#endif
