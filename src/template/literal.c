#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "template/text_priv.h"
#include "template/tree_priv.h"

/* So many hexadecimal digits from at[0] on, as a byte or a character. */
static bool
hex_escape(const char *at, size_t digits, char ret[4], size_t *ret_len)
{
    uint32_t v = 0;

    for (size_t i = 0; i < digits; i++) {
        const int d = berth_hex_digit(at[i]);
        if (d < 0 || v > UINT32_MAX >> 4)
            return false;
        v = v << 4 | (uint32_t)d;
    }
    if (digits == 2) {
        ret[0] = (char)v;
        return true;
    }
    *ret_len = berth_trune_put(v, ret);
    return v <= 0x10ffff && !(v >= 0xd800 && v < 0xe000);
}

/* One escape of a text between quotes, behind the backslash; how long it is, 0: it is none. */
static size_t
escape(const char *at, size_t len, char quote, char ret[4], size_t *ret_len)
{
    static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
    const char *c = at[0] != '\0' ? strchr(from, at[0]) : NULL;
    const size_t digits = at[0] == 'x' ? 2 : at[0] == 'u' ? 4 : at[0] == 'U' ? 8 : 0;
    uint32_t v = 0;

    *ret_len = 1;
    ret[0] = quote;
    if (c != NULL)
        ret[0] = to[c - from];
    if (c != NULL || at[0] == quote)
        return 1;
    if (digits > 0)
        return len > digits && hex_escape(at + 1, digits, ret, ret_len) ? digits + 1 : 0;
    if (len < 3)
        return 0;
    for (size_t i = 0; i < 3; i++) {
        if (at[i] < '0' || at[i] > '7')
            return 0;
        v = v << 3 | (uint32_t)(at[i] - '0');
    }
    ret[0] = (char)v;
    return v <= 255 ? 3 : 0;
}

int
berth_tliteral_text(struct berth_trun *r, struct berth_slice q, struct berth_slice *ret)
{
    char *to = berth_arena_alloc(r->a, q.len + 1);
    size_t n = 0;

    if (to == NULL)
        return berth_trun_nomem(r);
    for (size_t i = 1; i + 1 < q.len; i++) {
        char got[4];
        size_t len = 1, used;
        if (q.at[0] == '`' || q.at[i] != '\\') {
            if (q.at[0] != '`' || q.at[i] != '\r')
                to[n++] = q.at[i];
            continue;
        }
        used = escape(q.at + i + 1, q.len - i - 2, q.at[0], got, &len);
        if (used == 0)
            return berth_trun_fail(r, "unknown escape \\%c in a text", q.at[i + 1]);
        memcpy(to + n, got, len);
        n += len;
        i += used;
    }
    *ret = (struct berth_slice){to, n};
    return 0;
}

int
berth_tliteral_char(struct berth_trun *r, struct berth_slice q, struct berth_tnode *n)
{
    struct berth_slice s;
    uint32_t rune;
    const int got = berth_tliteral_text(r, q, &s);

    if (got < 0)
        return got;
    const bool is_byte = s.len == 1 && q.len > 3; /* '\xff' is a number, not text */
    if (s.len == 0 || (!is_byte && berth_trune(s.at, s.len, &rune) != s.len))
        return berth_trun_fail(r, "a character constant holds one character");
    n->value = berth_tv_int(is_byte ? (unsigned char)s.at[0] : (int64_t)rune);
    return 0;
}

/* Go's rule: a _ stands between digits, or behind the base's prefix. */
static bool
underscores_ok(const char *s)
{
    char before = '^';
    bool hex = false;

    if (*s == '+' || *s == '-')
        s++;
    if (s[0] == '0' && s[1] != '\0' && strchr("xXbBoO", s[1]) != NULL) {
        hex = s[1] == 'x' || s[1] == 'X';
        s += 2;
        before = '0';
    }
    for (; *s != '\0'; s++) {
        const bool digit = (*s >= '0' && *s <= '9') || (hex && berth_hex_digit(*s) >= 0);
        if (*s == '_' && before != '0')
            return false;
        if (before == '_' && !digit)
            return false;
        before = *s;
        if (digit)
            before = '0';
    }
    return before != '_';
}

static bool
whole(const char *s, bool *ret_big, int64_t *ret)
{
    const bool minus = *s == '-';
    unsigned base = 10;
    uint64_t v = 0;

    s += *s == '+' || *s == '-';
    if (s[0] == '0' && s[1] != '\0') {
        base = s[1] == 'x' || s[1] == 'X' ? 16 : s[1] == 'b' || s[1] == 'B' ? 2 : 8;
        s += s[1] >= '0' && s[1] <= '9' ? 1 : 2;
    }
    if (*s == '\0')
        return false;
    *ret_big = false;
    for (; *s != '\0'; s++) {
        const int d = berth_hex_digit(*s);
        if (d < 0 || (unsigned)d >= base)
            return false;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, (unsigned)d, &v))
            *ret_big = true;
    }
    if (v > (uint64_t)INT64_MAX + minus)
        *ret_big = true;
    *ret = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool
berth_twhole(const char *s, int64_t *ret)
{
    char digits[80];
    size_t len = 0;
    bool big = false;
    int64_t v;

    if (!underscores_ok(s))
        return false;
    for (; *s != '\0' && len + 1 < sizeof digits; s++)
        if (*s != '_')
            digits[len++] = *s;
    digits[len] = '\0';
    if (*s != '\0' || !whole(digits, &big, &v) || big)
        return false;
    *ret = v;
    return true;
}

int
berth_tliteral_number(struct berth_trun *r, struct berth_slice text, struct berth_tnode *n)
{
    char s[128];
    size_t len = 0;
    bool big = false;
    int64_t i;

    if (text.len >= sizeof s)
        return berth_trun_fail(r, "this number is too long");
    memcpy(s, text.at, text.len);
    s[text.len] = '\0';
    const bool ok = underscores_ok(s);
    const bool prefixed = strpbrk(s, "xX") != NULL;
    for (const char *c = s; *c != '\0'; c++)
        if (*c != '_')
            s[len++] = *c;
    s[len] = '\0';
    const bool fraction = strpbrk(s, prefixed ? ".pP" : ".eE") != NULL;
    if (ok && !fraction && whole(s, &big, &i)) {
        n->value = berth_tv_int(i);
        if (big)
            n->kind = BERTH_TN_TOOBIG;
        return 0;
    }
    char *end;
    const double f = strtod(s, &end);
    if (!ok || !fraction || *end != '\0' || end == s || (prefixed && strpbrk(s, "pP") == NULL) ||
        f > 1.7976931348623157e308 || f < -1.7976931348623157e308)
        return berth_trun_fail(r, "%.*s is no number", (int)text.len, text.at);
    n->value = berth_tv_float(f);
    return 0;
}
