#include "template/lex_priv.h"

#include <stdio.h>
#include <string.h>

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Bytes beyond ASCII count as letters: names may be in any script. */
static bool
is_word(char c)
{
    return c == '_' || is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c >= 0x80;
}

static bool
at(const struct berth_tlex *l, size_t pos, const char *what)
{
    const size_t n = strlen(what);

    return pos <= l->in.len && l->in.len - pos >= n && memcmp(l->in.at + pos, what, n) == 0;
}

static char
peek(const struct berth_tlex *l)
{
    if (l->pos < l->in.len)
        return l->in.at[l->pos];
    return '\0';
}

static struct berth_ttoken
token(const struct berth_tlex *l, enum berth_ttok type, size_t start)
{
    return (struct berth_ttoken){type, (uint32_t)start, {l->in.at + start, l->pos - start}};
}

/* The lexer stands still from here on. */
static struct berth_ttoken
wrong(struct berth_tlex *l, size_t where, const char *why)
{
    l->pos = l->in.len;
    l->inside = false;
    l->in.len = 0;
    return (struct berth_ttoken){BERTH_TTOK_ERROR, (uint32_t)where, berth_slice_of(why)};
}

/* Is "}}" or " -}}" here?  *ret_len is how long it is. */
static bool
at_right(const struct berth_tlex *l, size_t pos, size_t *ret_len, bool *ret_trim)
{
    if (pos < l->in.len && is_blank(l->in.at[pos]) && at(l, pos + 1, "-}}")) {
        *ret_len = 4;
        *ret_trim = true;
        return true;
    }
    *ret_len = 2;
    *ret_trim = false;
    return at(l, pos, "}}");
}

static void
skip_blanks(struct berth_tlex *l)
{
    while (l->pos < l->in.len && is_blank(l->in.at[l->pos]))
        l->pos++;
}

/* Behind the opening braces of a comment: false when it does not end as it must. */
static bool
skip_comment(struct berth_tlex *l, const char **ret_why)
{
    const char *end = memmem(l->in.at + l->pos + 2, l->in.len - l->pos - 2, "*/", 2);
    size_t n;
    bool trim;

    if (end == NULL) {
        *ret_why = "a comment is not closed with */";
        return false;
    }
    l->pos = (size_t)(end - l->in.at) + 2;
    if (!at_right(l, l->pos, &n, &trim)) {
        *ret_why = "a comment must end with */}} or */ -}}";
        return false;
    }
    l->pos += n;
    if (trim)
        skip_blanks(l);
    return true;
}

static struct berth_ttoken
lex_text(struct berth_tlex *l)
{
    for (;;) {
        const size_t start = l->pos;
        const char *open =
            l->pos < l->in.len ? memmem(l->in.at + start, l->in.len - start, "{{", 2) : NULL;

        if (open == NULL) {
            l->pos = l->in.len;
            return token(l, l->pos > start ? BERTH_TTOK_TEXT : BERTH_TTOK_EOF, start);
        }
        const size_t left = (size_t)(open - l->in.at);
        const bool trim =
            at(l, left + 2, "-") && left + 3 < l->in.len && is_blank(l->in.at[left + 3]);
        size_t end = left;
        while (trim && end > start && is_blank(l->in.at[end - 1]))
            end--;
        if (end > start) {
            struct berth_ttoken t = token(l, BERTH_TTOK_TEXT, start);
            t.text.len = end - start;
            l->pos = left;
            return t;
        }
        l->pos = left + (trim ? 4 : 2);
        if (!at(l, l->pos, "/*")) {
            l->inside = true;
            l->parens = 0;
            l->action = (uint32_t)left;
            return (struct berth_ttoken){BERTH_TTOK_LEFT, (uint32_t)left, {l->in.at + left, 2}};
        }
        const char *why;
        if (!skip_comment(l, &why))
            return wrong(l, left, why);
    }
}

static bool
at_terminator(const struct berth_tlex *l)
{
    const char c = peek(l);

    return l->pos >= l->in.len || is_blank(c) || (c != '\0' && strchr(".,|:()", c) != NULL) ||
           at(l, l->pos, "}}");
}

/* Does the action that pos is in end on its line? */
static bool
has_right(const struct berth_tlex *l, size_t pos)
{
    while (pos < l->in.len && l->in.at[pos] != '\n' && !at(l, pos, "{{") && !at(l, pos, "}}"))
        pos++;
    return at(l, pos, "}}");
}

static struct berth_ttoken
wrong_sign(struct berth_tlex *l, size_t where)
{
    const char c = where < l->in.len ? l->in.at[where] : '\0';
    const char quote = c == '"' ? '\'' : '"';

    if (c == '}')
        return wrong(l, where, "unexpected \"}\": an action ends with }}");
    if (c <= ' ' || c > '~')
        return wrong(l, where, "unexpected character");
    (void)snprintf(l->why, sizeof l->why, "unexpected %c%c%c%s", quote, c, quote,
                   has_right(l, where) ? "" : ": is a }} missing?");
    return wrong(l, where, l->why);
}

static struct berth_ttoken
lex_word(struct berth_tlex *l, enum berth_ttok type, size_t start)
{
    static const struct {
        const char *word;
        enum berth_ttok type;
    } words[] = {
        {"true", BERTH_TTOK_BOOL},     {"false", BERTH_TTOK_BOOL},
        {"nil", BERTH_TTOK_NIL},       {"block", BERTH_TTOK_BLOCK},
        {"break", BERTH_TTOK_BREAK},   {"continue", BERTH_TTOK_CONTINUE},
        {"define", BERTH_TTOK_DEFINE}, {"else", BERTH_TTOK_ELSE},
        {"end", BERTH_TTOK_END},       {"if", BERTH_TTOK_IF},
        {"range", BERTH_TTOK_RANGE},   {"template", BERTH_TTOK_TEMPLATE},
        {"with", BERTH_TTOK_WITH},
    };

    while (l->pos < l->in.len && is_word(l->in.at[l->pos]))
        l->pos++;
    if (!at_terminator(l))
        return wrong_sign(l, l->pos);
    struct berth_ttoken t = token(l, type, start);
    for (size_t i = 0; type == BERTH_TTOK_NAME && i < sizeof words / sizeof *words; i++)
        if (berth_slice_is(t.text, words[i].word))
            t.type = words[i].type;
    return t;
}

static bool
take(struct berth_tlex *l, const char *set)
{
    if (l->pos >= l->in.len || peek(l) == '\0' || strchr(set, peek(l)) == NULL)
        return false;
    l->pos++;
    return true;
}

static void
take_all(struct berth_tlex *l, const char *set)
{
    while (take(l, set))
        ;
}

static struct berth_ttoken
lex_number(struct berth_tlex *l, size_t start)
{
    const char *digits = "0123456789_";
    bool hex = false;

    (void)take(l, "+-");
    if (take(l, "0")) {
        if (take(l, "xX")) {
            digits = "0123456789abcdefABCDEF_";
            hex = true;
        } else if (take(l, "oO")) {
            digits = "01234567_";
        } else if (take(l, "bB")) {
            digits = "01_";
        }
    }
    take_all(l, digits);
    if (take(l, "."))
        take_all(l, digits);
    if (take(l, hex ? "pP" : "eE")) {
        (void)take(l, "+-");
        take_all(l, "0123456789_");
    }
    const char c = peek(l);
    if (c == 'i' || c == '+' || c == '-')
        return wrong(l, start, "complex numbers are not offered");
    if (is_word(c))
        return wrong(l, start, "this is no number");
    return token(l, BERTH_TTOK_NUMBER, start);
}

/* Text or a character between quotes; the first one is behind us. */
static struct berth_ttoken
lex_quoted(struct berth_tlex *l, size_t start, char quote)
{
    const enum berth_ttok type = quote == '"'    ? BERTH_TTOK_STRING
                                 : quote == '\'' ? BERTH_TTOK_CHAR
                                                 : BERTH_TTOK_RAW;

    while (l->pos < l->in.len) {
        const char c = l->in.at[l->pos++];
        if (c == quote)
            return token(l, type, start);
        if (quote == '`')
            continue;
        if (c == '\n')
            break;
        if (c == '\\' && l->pos < l->in.len && l->in.at[l->pos] != '\n')
            l->pos++;
    }
    return wrong(l, start,
                 quote == '`'    ? "a raw text has no closing `"
                 : quote == '\'' ? "a character has no closing '"
                                 : "a text has no closing \" on its line");
}

static struct berth_ttoken
lex_sign(struct berth_tlex *l, size_t start)
{
    const char c = l->in.at[l->pos++];

    switch (c) {
    case '=':
        return token(l, BERTH_TTOK_ASSIGN, start);
    case '|':
        return token(l, BERTH_TTOK_PIPE, start);
    case ',':
        return token(l, BERTH_TTOK_COMMA, start);
    case ':':
        if (!take(l, "="))
            return wrong(l, start, "expected :=");
        return token(l, BERTH_TTOK_DECLARE, start);
    case '(':
        l->parens++;
        return token(l, BERTH_TTOK_OPEN, start);
    case ')':
        if (l->parens-- == 0)
            return wrong(l, start, "a ) without its (");
        return token(l, BERTH_TTOK_CLOSE, start);
    case '"':
    case '`':
    case '\'':
        return lex_quoted(l, start, c);
    default:
        return wrong_sign(l, start);
    }
}

static struct berth_ttoken
lex_right(struct berth_tlex *l, size_t start)
{
    size_t n;
    bool trim;

    if (l->parens > 0)
        return wrong(l, start, "a ( is not closed");
    (void)at_right(l, start, &n, &trim);
    l->pos += n;
    struct berth_ttoken t = token(l, BERTH_TTOK_RIGHT, start);
    if (trim)
        skip_blanks(l);
    l->inside = false;
    return t;
}

static struct berth_ttoken
lex_blanks(struct berth_tlex *l, size_t start)
{
    skip_blanks(l);
    if (at(l, l->pos, "-}}"))
        l->pos--; /* the blank before the sign belongs to it */
    if (l->pos == start)
        return lex_right(l, start);
    return token(l, BERTH_TTOK_SPACE, start);
}

struct berth_ttoken
berth_tlex_next(struct berth_tlex *l)
{
    size_t n;
    bool trim;

    if (!l->inside)
        return lex_text(l);
    const size_t start = l->pos;
    if (at_right(l, start, &n, &trim))
        return lex_right(l, start);
    if (start >= l->in.len)
        return wrong(l, l->action, "this {{ is not closed with }}");
    const char c = peek(l);
    if (is_blank(c))
        return lex_blanks(l, start);
    if (c == '$') {
        l->pos++;
        return lex_word(l, BERTH_TTOK_VARIABLE, start);
    }
    if (c == '.' && !(start + 1 < l->in.len && is_digit(l->in.at[start + 1]))) {
        l->pos++;
        if (at_terminator(l))
            return token(l, BERTH_TTOK_DOT, start);
        return lex_word(l, BERTH_TTOK_FIELD, start);
    }
    if (c == '.' || c == '+' || c == '-' || is_digit(c))
        return lex_number(l, start);
    if (is_word(c))
        return lex_word(l, BERTH_TTOK_NAME, start);
    return lex_sign(l, start);
}
