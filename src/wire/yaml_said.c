#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wire/yaml_priv.h"

/*
 * Why a text is no YAML, for the mistakes that people make most: a tab, lines that are not in one
 * column, a colon without its space, a quote or a bracket that is not closed.  What the parser says
 * of these is about its own state; here the lines around the place are looked at as a person looks
 * at them.
 */
enum { LINES_MAX = 1000 /* empty ones and comments, in a row */ };

struct line {
    struct berth_slice s;
    size_t number; /* from 1 */
};

struct failure {
    struct berth_slice text;
    const char *problem, *context; /* the parser's words; "" for none */
    struct line at;
    size_t column; /* from 0, in bytes of the line */
    size_t context_line, context_column;
    size_t bracket_line, bracket_column; /* that it is within; line 0: none */
    struct berth_err *e;
};

/* ---- lines ---- */

static struct line
line_from(struct berth_slice text, size_t from, size_t number)
{
    const char *end = from < text.len ? memchr(text.at + from, '\n', text.len - from) : NULL;
    struct line ret = {{text.at + from, (end != NULL ? (size_t)(end - text.at) : text.len) - from},
                       number};

    if (ret.s.len > 0 && ret.s.at[ret.s.len - 1] == '\r')
        ret.s.len--;
    return ret;
}

static struct line
line_of(struct berth_slice text, size_t number)
{
    size_t from = 0, n = 1;

    for (; n < number && from < text.len; n++) {
        const char *end = memchr(text.at + from, '\n', text.len - from);
        from = end != NULL ? (size_t)(end - text.at) + 1 : text.len;
    }
    return line_from(text, from, number);
}

static size_t
indent_of(struct berth_slice s)
{
    size_t n = 0;

    while (n < s.len && s.at[n] == ' ')
        n++;
    return n;
}

/* Not empty, and no comment. */
static bool
is_content(struct berth_slice s)
{
    const size_t n = indent_of(s);

    return n < s.len && s.at[n] != '#';
}

/* The next line above that says something. */
static bool
go_up(struct berth_slice text, struct line *l)
{
    for (int i = 0; i < LINES_MAX && l->s.at > text.at; i++) {
        const size_t end = (size_t)(l->s.at - text.at) - 1;
        const char *before = end > 0 ? memrchr(text.at, '\n', end) : NULL;
        *l = line_from(text, before != NULL ? (size_t)(before - text.at) + 1 : 0, l->number - 1);
        if (is_content(l->s))
            return true;
    }
    return false;
}

static bool
is_item(struct berth_slice s, size_t at)
{
    return at < s.len && s.at[at] == '-' && (at + 1 == s.len || s.at[at + 1] == ' ');
}

/* Where the key begins: behind what begins items of lists. */
static size_t
key_column(struct berth_slice s)
{
    size_t n = indent_of(s);

    while (is_item(s, n))
        for (n++; n < s.len && s.at[n] == ' ';)
            n++;
    return n;
}

static size_t
bytes_of(struct berth_slice s, size_t characters)
{
    size_t n = 0;

    for (; n < s.len && (characters > 0 || ((unsigned char)s.at[n] & 0xc0) == 0x80); n++)
        characters -= ((unsigned char)s.at[n] & 0xc0) != 0x80;
    return n;
}

static size_t
characters_of(struct berth_slice s, size_t bytes)
{
    size_t n = 0;

    for (size_t i = 0; i < bytes && i < s.len; i++)
        n += ((unsigned char)s.at[i] & 0xc0) != 0x80;
    return n;
}

/* "line 3, column 5: " and what is said: -BERTH_EINVAL. */
__attribute__((format(printf, 4, 5))) static int
say(const struct failure *f, struct line l, size_t bytes, const char *fmt, ...)
{
    char text[224];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return berth_err_set(f->e, BERTH_EINVAL, "line %zu, column %zu: %s", l.number,
                         characters_of(l.s, bytes) + 1, text);
}

/* ---- one mistake each: 0, it is not this one ---- */

static int
tab(struct failure *f)
{
    const size_t n = indent_of(f->at.s);

    if (n == f->at.s.len || f->at.s.at[n] != '\t')
        return 0;
    return say(f, f->at, n, "a tab indents this line: indent it by spaces");
}

/* The quote in the line that is not closed there; SIZE_MAX: each is. */
static size_t
open_quote(struct berth_slice s)
{
    size_t open = SIZE_MAX;

    for (size_t i = 0; i < s.len; i++) {
        const char c = s.at[i], before = i > 0 ? s.at[i - 1] : ' ';
        if (open == SIZE_MAX && c == '#' && before == ' ')
            return SIZE_MAX;
        if (open == SIZE_MAX && (c == '"' || c == '\'') && strchr(" [{,", before) != NULL)
            open = i;
        else if (open != SIZE_MAX && c == '\\' && s.at[open] == '"')
            i++;
        else if (open != SIZE_MAX && c == s.at[open])
            open = SIZE_MAX;
    }
    return open;
}

static int
quote(struct failure *f)
{
    struct line l = f->at;
    size_t n = f->column < l.s.len ? f->column : l.s.len;

    if (strstr(f->context, "quoted scalar") != NULL) {
        if (strstr(f->problem, "escape") != NULL)
            return 0;
        l = line_of(f->text, f->context_line);
        return say(f, l, bytes_of(l.s, f->context_column),
                   "the quote that begins here is not closed: put another where the text ends");
    }
    while (n > 0 && l.s.at[n - 1] == ' ')
        n--;
    if (n == 0 || strchr("\"'", l.s.at[n - 1]) == NULL)
        return 0;
    const char mark = l.s.at[n - 1];
    const size_t begin = open_quote((struct berth_slice){l.s.at, n - 1});
    /* If none begins before it in its line, it closed one of a line above. */
    while ((begin == SIZE_MAX || l.s.at[begin] != mark) && go_up(f->text, &l)) {
        const size_t open = open_quote(l.s);
        if (open != SIZE_MAX && l.s.at[open] == mark)
            return say(f, l, open,
                       "the quote that begins here is not closed on its line: it ends at the next "
                       "one, in line %zu",
                       f->at.number);
    }
    if (strstr(f->context, "flow") != NULL)
        return 0; /* within brackets it may be a comma that is missing */
    return say(f, f->at, f->column,
               "text behind a closing quote: put all of the value in one pair of quotes");
}

/* ---- brackets ---- */

/* Where the quote at text.at[n] ends: its last byte. */
static size_t
quote_end(struct berth_slice text, size_t n)
{
    const char mark = text.at[n];

    for (n++; n < text.len; n++) {
        if (mark == '"' && text.at[n] == '\\')
            n++;
        else if (text.at[n] == mark && (mark == '"' || n + 1 == text.len || text.at[n + 1] != mark))
            break;
        else if (text.at[n] == mark)
            n++; /* '' is one of the text */
    }
    return n;
}

/* Of the bracket that the text begins with. */
static bool
is_closed(struct berth_slice text)
{
    char open[BERTH_JSON_DEPTH_MAX];
    size_t depth = 0;

    for (size_t i = 0; i < text.len; i++) {
        const char c = text.at[i], before = i > 0 ? text.at[i - 1] : ' ';
        if ((c == '"' || c == '\'') && strchr(" \n[{,:", before) != NULL) {
            i = quote_end(text, i);
        } else if (c == '#' && strchr(" \n", before) != NULL) {
            const char *end = memchr(text.at + i, '\n', text.len - i);
            i = end != NULL ? (size_t)(end - text.at) : text.len;
        } else if (c == '[' || c == '{') {
            if (depth == sizeof open)
                return true; /* who knows */
            open[depth++] = c == '[' ? ']' : '}';
        } else if (c == ']' || c == '}') {
            if (open[--depth] != c)
                return false;
            if (depth == 0)
                return true;
        }
    }
    return false;
}

static int
bracket(struct failure *f)
{
    struct line l = line_of(f->text, f->bracket_line);
    const size_t n = bytes_of(l.s, f->bracket_column);

    if (f->bracket_line == 0 || n >= l.s.len || (l.s.at[n] != '[' && l.s.at[n] != '{') ||
        is_closed(
            (struct berth_slice){l.s.at + n, (size_t)(f->text.at + f->text.len - l.s.at) - n}))
        return 0;
    return say(f, l, n, "the %c that begins here is not closed: put a %c where its %s ends",
               l.s.at[n], l.s.at[n] == '[' ? ']' : '}', l.s.at[n] == '[' ? "list" : "mapping");
}

/* "key:value", and no address ("hf://o/m") or image ("- docker.io/x:1"). */
static size_t
bare_colon(struct berth_slice s)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./";
    size_t n = key_column(s);
    const size_t from = n;

    while (n < s.len && strchr(word, s.at[n]) != NULL)
        n++;
    if (n == from || n + 1 >= s.len || s.at[n] != ':' || strchr(" \t/", s.at[n + 1]) != NULL)
        return SIZE_MAX;
    return is_item(s, indent_of(s)) && memchr(s.at + from, '/', n - from) != NULL ? SIZE_MAX : n;
}

static int
colon(struct failure *f)
{
    const bool is_key = strstr(f->problem, "expected ':'") != NULL;
    struct line l = is_key ? line_of(f->text, f->context_line) : f->at;

    if (!is_key && (strstr(f->problem, "mapping values") == NULL || !go_up(f->text, &l)))
        return 0;
    const size_t n = bare_colon(l.s);
    if (n != SIZE_MAX)
        return say(f, l, n + 1, "a space is missing behind the colon: write %.*s: VALUE",
                   (int)(n - key_column(l.s) < 64 ? n - key_column(l.s) : 64),
                   l.s.at + key_column(l.s));
    return is_key ? say(f, l, key_column(l.s),
                        "this is neither \"key: value\" nor an item of a list (\"- value\")")
                  : 0;
}

/* "a: b: c", or a line that is indented more than the one that it should be beside. */
static int
too_deep(struct failure *f)
{
    const size_t indent = indent_of(f->at.s), own = key_column(f->at.s);
    struct line l = f->at;

    if (strstr(f->problem, "mapping values") == NULL)
        return 0;
    for (size_t i = own; i + 1 < f->column && i + 1 < f->at.s.len; i++)
        if (f->at.s.at[i] == ':' && f->at.s.at[i + 1] == ' ')
            return say(f, f->at, f->column, "a second \": \" on one line: put the value in quotes");
    if (!go_up(f->text, &l) || key_column(l.s) >= indent)
        return 0;
    return say(
        f, f->at, indent,
        "this key is indented by %zu spaces, and the one above (line %zu) by %zu: keys of one "
        "mapping begin in one column",
        indent, l.number, key_column(l.s));
}

static int
item(struct failure *f)
{
    const size_t indent = indent_of(f->at.s);
    struct line l = f->at;

    while (go_up(f->text, &l)) {
        const size_t n = indent_of(l.s);
        if (is_item(l.s, n))
            return say(
                f, f->at, indent,
                "this item is indented by %zu spaces, and the one of line %zu by %zu: items of one "
                "list begin in one column",
                indent, l.number, n);
        if (n == 0)
            break;
    }
    return say(f, f->at, indent,
               "an item of a list (\"- \") among keys: indent it below the key that has the list");
}

/* Does what is above, "key: |", have a text whose lines are indented more than this one? */
static bool
is_of_text(const struct failure *f, struct line *ret)
{
    const size_t indent = indent_of(f->at.s);
    struct line l = f->at;

    while (go_up(f->text, &l) && indent_of(l.s) > indent)
        continue;
    size_t n = l.s.len;
    while (n > 0 && strchr(" +-123456789", l.s.at[n - 1]) != NULL)
        n--;
    *ret = l;
    return l.number < f->at.number && n > 1 && strchr("|>", l.s.at[n - 1]) != NULL &&
           l.s.at[n - 2] == ' ';
}

/* A line that goes on with nothing that is above it. */
static int
beside(struct failure *f)
{
    const size_t indent = indent_of(f->at.s);
    struct line l = f->at;

    if (f->column != indent || strstr(f->problem, "did not find expected") == NULL ||
        strstr(f->context, "block") == NULL)
        return 0;
    if (strstr(f->problem, "'-'") != NULL)
        return say(f, f->at, indent,
                   "an item of the list that begins in line %zu is wanted here, \"- value\": what "
                   "belongs to the item above is indented more",
                   f->context_line);
    if (is_of_text(f, &l))
        return say(f, f->at, indent,
                   "this line is indented less than the first of the text that line %zu begins: "
                   "indent all of its lines alike",
                   l.number);
    l = f->at;
    if (is_item(f->at.s, indent))
        return item(f);
    if (!go_up(f->text, &l))
        return 0;
    return say(
        f, f->at, indent,
        "this line is indented by %zu spaces, and what is above (line %zu) by %zu: keys of one "
        "mapping begin in one column",
        indent, l.number, key_column(l.s));
}

static int
reserved(struct failure *f)
{
    if (strstr(f->problem, "cannot start any token") == NULL || f->column >= f->at.s.len ||
        strchr("@`%", f->at.s.at[f->column]) == NULL)
        return 0;
    return say(f, f->at, f->column, "a value cannot begin with %c: put it in quotes",
               f->at.s.at[f->column]);
}

/* Within "{{" and "}}" of its line: what is there is not in quotes, or ends those that it is in. */
static int template(struct failure *f)
{
    const size_t end = f->column + 2 < f->at.s.len ? f->column + 2 : f->at.s.len;
    bool open = false;

    for (size_t i = 0; i + 1 < end; i++) {
        if (memcmp(f->at.s.at + i, "{{", 2) == 0)
            open = true;
        else if (memcmp(f->at.s.at + i, "}}", 2) == 0 && i + 1 < f->column)
            open = false;
    }
    return open ? say(f, f->at, f->column, YAML_IS_TEMPLATE) : 0;
}

/* at NULL: none. */
static void
set_bracket(struct failure *f, const yaml_mark_t *at)
{
    f->bracket_line = at != NULL ? at->line + 1 : 0;
    f->bracket_column = at != NULL ? at->column : 0;
}

int
yaml_said(const yaml_parser_t *p, const char *text, size_t len, struct berth_err *e)
{
    static int (*const mistakes[])(struct failure *) = {tab,   template, quote,  bracket,
                                                        colon, too_deep, beside, reserved};
    struct failure f = {.text = {text, len},
                        .problem = p->problem != NULL ? p->problem : "",
                        .context = p->context != NULL ? p->context : "",
                        .at = line_of((struct berth_slice){text, len}, p->problem_mark.line + 1),
                        .context_line = p->context_mark.line + 1,
                        .context_column = p->context_mark.column,
                        .e = e};

    f.column = bytes_of(f.at.s, p->problem_mark.column);
    if (strstr(f.problem, "did not find expected node content") != NULL)
        set_bracket(&f, p->marks.top > p->marks.start ? &p->marks.top[-1] : NULL);
    else if (strstr(f.problem, "did not find expected ',' or") != NULL)
        set_bracket(&f, &p->context_mark);
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        const int r = mistakes[i](&f);
        if (r < 0)
            return r;
    }
    return 0;
}
