#ifndef BERTH_TEMPLATE_LEX_PRIV_H
#define BERTH_TEMPLATE_LEX_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* The words of a template.  Keywords stand last, as in the table of lex.c. */
enum berth_ttok {
    BERTH_TTOK_EOF,
    BERTH_TTOK_ERROR, /* text says what is wrong */
    BERTH_TTOK_TEXT,
    BERTH_TTOK_LEFT,
    BERTH_TTOK_RIGHT,
    BERTH_TTOK_SPACE,
    BERTH_TTOK_FIELD,    /* .name, with the dot */
    BERTH_TTOK_VARIABLE, /* $name, with the dollar */
    BERTH_TTOK_NAME,
    BERTH_TTOK_BOOL,
    BERTH_TTOK_CHAR,
    BERTH_TTOK_NUMBER,
    BERTH_TTOK_STRING, /* with its quotes */
    BERTH_TTOK_RAW,
    BERTH_TTOK_PIPE,
    BERTH_TTOK_OPEN,
    BERTH_TTOK_CLOSE,
    BERTH_TTOK_ASSIGN,
    BERTH_TTOK_DECLARE,
    BERTH_TTOK_COMMA,
    BERTH_TTOK_DOT,
    BERTH_TTOK_NIL,
    BERTH_TTOK_BLOCK,
    BERTH_TTOK_BREAK,
    BERTH_TTOK_CONTINUE,
    BERTH_TTOK_DEFINE,
    BERTH_TTOK_ELSE,
    BERTH_TTOK_END,
    BERTH_TTOK_IF,
    BERTH_TTOK_RANGE,
    BERTH_TTOK_TEMPLATE,
    BERTH_TTOK_WITH,
};

struct berth_ttoken {
    enum berth_ttok type;
    uint32_t pos; /* in the text */
    struct berth_slice text;
};

struct berth_tlex {
    struct berth_slice in;
    size_t pos;
    bool inside; /* an action */
    unsigned parens;
    uint32_t action; /* where the action began */
    char why[48];    /* of an error that names a character: its text */
};

/* The next word; after an error or the end, the same again. */
struct berth_ttoken berth_tlex_next(struct berth_tlex *l);

#endif
