#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "template/regex_priv.h"
#include "template/text_priv.h"

/* Classes and escapes of regular expressions. */

enum { RANGES_MAX = 500, LETTER_FIRST = 0x110000 };

/* Properties stand as ranges beyond Unicode, so that a class is one list. */
enum property { PROPERTY_L = LETTER_FIRST, PROPERTY_LU, PROPERTY_LL };

struct named {
    const char *name;
    struct berth_re_range at[4];
    uint32_t len;
};

static const struct named perl[] = {
    {"d", {{'0', '9'}}, 1},
    {"s", {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}, 3},
    {"w", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, 4},
};

static const struct named posix[] = {
    {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}, 3},
    {"alpha", {{'A', 'Z'}, {'a', 'z'}}, 2},
    {"ascii", {{0, 0x7f}}, 1},
    {"blank", {{'\t', '\t'}, {' ', ' '}}, 2},
    {"cntrl", {{0, 0x1f}, {0x7f, 0x7f}}, 2},
    {"digit", {{'0', '9'}}, 1},
    {"graph", {{'!', '~'}}, 1},
    {"lower", {{'a', 'z'}}, 1},
    {"print", {{' ', '~'}}, 1},
    {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}, 4},
    {"space", {{'\t', '\r'}, {' ', ' '}}, 2},
    {"upper", {{'A', 'Z'}}, 1},
    {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, 4},
    {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}, 3},
};

static const struct berth_re_range properties[] = {
    {PROPERTY_L, PROPERTY_L}, {PROPERTY_LU, PROPERTY_LU}, {PROPERTY_LL, PROPERTY_LL}};

static int
bad(struct berth_trun *r, struct berth_slice expr, size_t i, const char *why)
{
    return berth_trun_fail(r, "regular expression: %s, before \"%.*s\"", why,
                           expr.len - i < 20 ? (int)(expr.len - i) : 20, expr.at + i);
}

static bool
at_end(struct berth_slice expr, size_t i)
{
    return i >= expr.len;
}

/* \pL, \p{Lu}, \PL: behind the p. */
static int
property(struct berth_trun *r, struct berth_slice expr, size_t *i, struct berth_re_inst *ret)
{
    static const char *const names[] = {"L", "Lu", "Ll"};
    struct berth_slice name = {expr.at + *i, 1};

    if (at_end(expr, *i))
        return bad(r, expr, *i, "a class has no name");
    *i += 1;
    if (name.at[0] == '{') {
        const char *close = memchr(expr.at + *i, '}', expr.len - *i);
        if (close == NULL)
            return bad(r, expr, *i, "a class is not closed with }");
        name = (struct berth_slice){expr.at + *i, (size_t)(close - expr.at) - *i};
        *i += name.len + 1;
    }
    if (name.len > 0 && name.at[0] == '^') {
        ret->negate = !ret->negate;
        name.at++;
        name.len--;
    }
    for (size_t n = 0; n < 3; n++)
        if (berth_slice_is(name, names[n])) {
            ret->at = &properties[n];
            ret->x = 1;
            return 0;
        }
    return berth_trun_fail(r, "regular expression: the class \\p{%.*s} is not offered",
                           name.len < 30 ? (int)name.len : 30, name.at);
}

static int
hex(struct berth_trun *r, struct berth_slice expr, size_t *i, uint32_t *ret)
{
    const bool braces = !at_end(expr, *i) && expr.at[*i] == '{';
    size_t digits = 0;
    uint32_t v = 0;

    for (*i += braces; !at_end(expr, *i) && (braces || digits < 2); digits++, *i += 1) {
        const int d = berth_hex_digit(expr.at[*i]);
        if (d < 0 || v > 0x10ffff)
            break;
        v = v << 4 | (uint32_t)d;
    }
    const bool closed = !braces || (!at_end(expr, *i) && expr.at[*i] == '}');
    if (digits == 0 || (!braces && digits < 2) || !closed || v > 0x10ffff)
        return bad(r, expr, *i, "\\x needs two digits, or some in braces");
    *i += braces;
    *ret = v;
    return 0;
}

int
berth_re_escape(struct berth_trun *r, struct berth_slice expr, size_t *i, bool *ret_class,
                struct berth_re_inst *ret, uint32_t *ret_rune)
{
    static const char from[] = "afnrtv", to[] = "\a\f\n\r\t\v";

    *ret_class = false;
    if (at_end(expr, *i))
        return bad(r, expr, *i, "a backslash at the end");
    const char c = expr.at[*i], lower = (char)(c | 0x20);
    *i += 1;
    for (size_t n = 0; n < sizeof perl / sizeof *perl; n++)
        if (lower == perl[n].name[0]) {
            *ret_class = true;
            *ret = (struct berth_re_inst){
                .op = BERTH_RE_CLASS, .negate = c != lower, .at = perl[n].at, .x = perl[n].len};
            return 0;
        }
    if (lower == 'p') {
        *ret_class = true;
        *ret = (struct berth_re_inst){.op = BERTH_RE_CLASS, .negate = c == 'P'};
        return property(r, expr, i, ret);
    }
    if (c == 'x')
        return hex(r, expr, i, ret_rune);
    if (c >= '0' && c <= '7') {
        uint32_t v = (uint32_t)(c - '0');
        size_t digits = 1;
        for (; digits < 3 && !at_end(expr, *i) && expr.at[*i] >= '0' && expr.at[*i] <= '7';
             digits++, *i += 1)
            v = v * 8 + (uint32_t)(expr.at[*i] - '0');
        if (c != '0' && digits == 1)
            return bad(r, expr, *i - 1, "there are no references to groups");
        *ret_rune = v;
        return 0;
    }
    const char *known = c != '\0' ? strchr(from, c) : NULL;
    const bool word = (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || c == '_';
    if (known == NULL && (word || (unsigned char)c >= 0x80 || (unsigned char)c <= ' '))
        return bad(r, expr, *i - 1, "unknown escape");
    *ret_rune = known != NULL ? (uint32_t)(unsigned char)to[known - from] : (unsigned char)c;
    return 0;
}

struct making {
    struct berth_re_range at[RANGES_MAX];
    uint32_t len;
};

static int
add(struct berth_trun *r, struct making *m, uint32_t first, uint32_t last)
{
    if (m->len >= RANGES_MAX)
        return berth_trun_fail(r, "regular expression: a class has more than %d ranges",
                               RANGES_MAX);
    m->at[m->len++] = (struct berth_re_range){first, last};
    return 0;
}

/* The ranges of another class, or all that is between them. */
static int
add_class(struct berth_trun *r, struct making *m, const struct berth_re_inst *c)
{
    uint32_t next = 0;
    int err = 0;

    if (c->negate && c->at[0].first >= LETTER_FIRST)
        return berth_trun_fail(r, "regular expression: \\P within a class is not offered");
    for (uint32_t n = 0; n < c->x && err == 0; n++) {
        if (!c->negate)
            err = add(r, m, c->at[n].first, c->at[n].last);
        else if (c->at[n].first > next)
            err = add(r, m, next, c->at[n].first - 1);
        next = c->at[n].last + 1;
    }
    return err == 0 && c->negate ? add(r, m, next, 0x10ffff) : err;
}

/* "[:alpha:]", behind the [. */
static int
posix_class(struct berth_trun *r, struct berth_slice expr, size_t *i, struct making *m)
{
    const char *end = memmem(expr.at + *i, expr.len - *i, ":]", 2);
    struct berth_slice name = {expr.at + *i + 1, (size_t)(end - expr.at) - *i - 1};
    const bool negate = name.len > 0 && name.at[0] == '^';

    name.at += negate;
    name.len -= negate;
    for (size_t n = 0; n < sizeof posix / sizeof *posix; n++)
        if (berth_slice_is(name, posix[n].name)) {
            const struct berth_re_inst c = {.at = posix[n].at, .x = posix[n].len, .negate = negate};
            *i = (size_t)(end - expr.at) + 2;
            return add_class(r, m, &c);
        }
    return bad(r, expr, *i, "unknown class");
}

/* One character of a class, or a class within it (*ret_class, and it is added). */
static int
class_item(struct berth_trun *r, struct berth_slice expr, size_t *i, struct making *m,
           bool *ret_class, uint32_t *ret)
{
    struct berth_re_inst c;

    *ret_class = false;
    if (expr.at[*i] != '\\') {
        *i += berth_trune(expr.at + *i, expr.len - *i, ret);
        return 0;
    }
    *i += 1;
    const int err = berth_re_escape(r, expr, i, ret_class, &c, ret);
    return err == 0 && *ret_class ? add_class(r, m, &c) : err;
}

/* Does a "[:" at *i have its end?  What is read in vain is work: it may be all that follows, and
 * anew at the next one. */
static int
is_posix(struct berth_trun *r, struct berth_slice expr, size_t i, bool *ret)
{
    enum { BYTES_EACH = 64 };
    const size_t left = expr.len - i;

    *ret = false;
    if (left < 3 || expr.at[i] != '[' || expr.at[i + 1] != ':')
        return 0;
    const char *end = memmem(expr.at + i + 2, left - 2, ":]", 2);
    *ret = end != NULL;
    return berth_trun_work(r, (end != NULL ? (size_t)(end - expr.at) - i : left) / BYTES_EACH);
}

/* One character of a class, a range of them, or a class within it. */
static int
class_part(struct berth_trun *r, struct berth_slice expr, size_t *i, struct making *m)
{
    uint32_t low = 0, high = 0;
    bool is_class;
    int err = is_posix(r, expr, *i, &is_class);

    if (err < 0)
        return err;
    if (is_class) {
        *i += 1;
        return posix_class(r, expr, i, m);
    }
    err = class_item(r, expr, i, m, &is_class, &low);
    if (err < 0 || is_class)
        return err;
    high = low;
    if (expr.len - *i >= 2 && expr.at[*i] == '-' && expr.at[*i + 1] != ']') {
        *i += 1;
        err = class_item(r, expr, i, m, &is_class, &high);
        if (err == 0 && (is_class || high < low))
            return bad(r, expr, *i, "a range goes backwards");
    }
    return err == 0 ? add(r, m, low, high) : err;
}

int
berth_re_class(struct berth_trun *r, struct berth_slice expr, size_t *i, bool fold,
               struct berth_re_inst *ret)
{
    const size_t start = *i;
    struct making m = {.len = 0};
    bool negate = false;

    if (!at_end(expr, *i) && expr.at[*i] == '^') {
        negate = true;
        *i += 1;
    }
    for (bool first = true;; first = false) {
        if (at_end(expr, *i))
            return bad(r, expr, start, "a class is not closed with ]");
        if (expr.at[*i] == ']' && !first)
            break;
        const int err = class_part(r, expr, i, &m);
        if (err < 0)
            return err;
    }
    *i += 1;
    struct berth_re_range *at = BERTH_NEW_N(r->a, struct berth_re_range, m.len + 1);
    if (at == NULL)
        return berth_trun_nomem(r);
    memcpy(at, m.at, m.len * sizeof *at);
    *ret = (struct berth_re_inst){
        .op = BERTH_RE_CLASS, .fold = fold, .negate = negate, .at = at, .x = m.len};
    return 0;
}
