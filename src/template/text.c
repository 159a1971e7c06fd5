#include "template/text_priv.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template/unicode_tables.h"

/* How many bytes the first one calls for; 0: it begins nothing. */
static size_t
rune_bytes(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

size_t
berth_trune(const char *text, size_t len, uint32_t *ret)
{
    const unsigned char *s = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}, bits[] = {0, 0x7f, 0x1f, 0xf, 7};
    const size_t n = rune_bytes(s[0]);
    uint32_t v = s[0] & bits[n];

    *ret = BERTH_TRUNE_BAD;
    if (n == 0 || n > len)
        return 1;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 1;
        v = v << 6 | (s[i] & 0x3fu);
    }
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return 1;
    *ret = v;
    return n;
}

size_t
berth_trune_put(uint32_t v, char ret[4])
{
    if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        v = BERTH_TRUNE_BAD;
    if (v < 0x80) {
        ret[0] = (char)v;
        return 1;
    }
    const size_t n = v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; v >>= 6)
        ret[i] = (char)(0x80 | (v & 0x3f));
    ret[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | v);
    return n;
}

void
berth_trune_append(struct berth_buf *b, uint32_t rune)
{
    char bytes[4];

    berth_buf_put(b, bytes, berth_trune_put(rune, bytes));
}

size_t
berth_trune_count(struct berth_slice s)
{
    size_t n = 0;
    uint32_t rune;

    for (size_t i = 0; i < s.len; n++)
        i += berth_trune(s.at + i, s.len - i, &rune);
    return n;
}

static bool
within(const struct span *at, size_t len, uint32_t v)
{
    size_t low = 0, high = len;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (v > at[mid].last)
            low = mid + 1;
        else if (v < at[mid].first)
            high = mid;
        else
            return true;
    }
    return false;
}

/* The row of an upper case letter, or, with back, of a lower case one. */
static const struct case_span *
case_of(uint32_t v, bool back)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint32_t u = back ? v - (uint32_t)cases[i].to_lower : v;
        if (u >= cases[i].first && u <= cases[i].last && (u - cases[i].first) % cases[i].step == 0)
            return &cases[i];
    }
    return NULL;
}

uint32_t
berth_trune_lower(uint32_t v)
{
    if (v < 0x80)
        return v >= 'A' && v <= 'Z' ? v + 32 : v;
    const struct case_span *c = case_of(v, false);
    return c != NULL ? v + (uint32_t)c->to_lower : v;
}

uint32_t
berth_trune_upper(uint32_t v)
{
    if (v < 0x80)
        return v >= 'a' && v <= 'z' ? v - 32 : v;
    if (v == 0xb5) /* the micro sign's upper case is the Greek letter */
        return 0x39c;
    if (v == 0x17f) /* the long s */
        return 'S';
    if (v == 0xdf) /* the sharp s has no single upper case letter in Go */
        return v;
    const struct case_span *c = case_of(v, true);
    return c != NULL ? v - (uint32_t)c->to_lower : v;
}

bool
berth_trune_is_upper(uint32_t v)
{
    return v < 0x80 ? v >= 'A' && v <= 'Z' : case_of(v, false) != NULL;
}

bool
berth_trune_is_lower(uint32_t v)
{
    if (v < 0x80)
        return v >= 'a' && v <= 'z';
    return case_of(v, true) != NULL;
}

bool
berth_trune_is_letter(uint32_t v)
{
    if (v < 0x80)
        return berth_trune_is_upper(v) || berth_trune_is_lower(v);
    return within(letters, sizeof letters / sizeof *letters, v);
}

bool
berth_trune_is_digit(uint32_t v)
{
    return v >= '0' && v <= '9';
}

bool
berth_trune_is_space(uint32_t v)
{
    return (v >= '\t' && v <= '\r') || v == ' ' || v == 0x85 || v == 0xa0 || v == 0x1680 ||
           (v >= 0x2000 && v <= 0x200a) || v == 0x2028 || v == 0x2029 || v == 0x202f ||
           v == 0x205f || v == 0x3000;
}

bool
berth_trune_is_print(uint32_t v)
{
    if (v < 0x80)
        return v >= ' ' && v < 0x7f;
    return within(printable, sizeof printable / sizeof *printable, v);
}

static void
quote_rune(struct berth_buf *b, uint32_t v, char quote, bool ascii)
{
    static const char from[] = "\a\b\f\n\r\t\v", to[] = "abfnrtv";
    const char *c = v > 0 && v < 0x80 ? strchr(from, (int)v) : NULL;

    if (v == (unsigned char)quote || v == '\\')
        berth_buf_printf(b, "\\%c", (char)v);
    else if (c != NULL)
        berth_buf_printf(b, "\\%c", to[c - from]);
    else if (v < 0x80 ? berth_trune_is_print(v) : !ascii && berth_trune_is_print(v))
        berth_trune_append(b, v);
    else if (v < 0x80)
        berth_buf_printf(b, "\\x%02x", v);
    else
        berth_buf_printf(b, v < 0x10000 ? "\\u%04x" : "\\U%08x", v);
}

void
berth_tquote(struct berth_buf *b, struct berth_slice s, char quote, bool ascii)
{
    berth_buf_putc(b, quote);
    for (size_t i = 0; i < s.len && !b->failed;) {
        uint32_t v;
        const size_t n = berth_trune(s.at + i, s.len - i, &v);
        if (n == 1 && v == BERTH_TRUNE_BAD)
            berth_buf_printf(b, "\\x%02x", (unsigned char)s.at[i]);
        else
            quote_rune(b, v, quote, ascii);
        i += n;
    }
    berth_buf_putc(b, quote);
}

/* The fewest digits that read back as f: into d as 1.2345e+06, and how many there are. */
static int
shortest(double f, char *d, size_t cap)
{
    for (int prec = 0; prec < DBL_DECIMAL_DIG; prec++) {
        (void)snprintf(d, cap, "%.*e", prec, f);
        const double again = strtod(d, NULL);
        if (again >= f && again <= f)
            return prec + 1;
    }
    return DBL_DECIMAL_DIG;
}

void
berth_tfloat_put(struct berth_buf *b, double f, char verb, int prec, int exp_from)
{
    char d[40];

    if (isnan(f) || isinf(f)) {
        berth_buf_puts(b, isnan(f) ? "NaN" : f > 0 ? "+Inf" : "-Inf");
        return;
    }
    if (prec >= 0) {
        const char fmt[] = {'%', '.', '*', verb, '\0'};
        char *at = berth_buf_reserve(b, (size_t)prec + 330);
        const int n = at != NULL ? snprintf(at, (size_t)prec + 330, fmt, prec, f) : 0;
        b->len += n > 0 ? (size_t)n : 0;
        return;
    }
    const int digits = shortest(f, d, sizeof d);
    const char *e = strchr(d, 'e');
    const int exponent = e != NULL ? (int)strtol(e + 1, NULL, 10) : 0;
    const bool general = verb == 'g' || verb == 'G';
    if (verb == 'e' || verb == 'E' || (general && (exponent < -4 || exponent >= exp_from))) {
        for (char *c = d; verb <= 'Z' && *c != '\0'; c++) /* as the verb is written */
            if (*c == 'e')
                *c = 'E';
        berth_buf_puts(b, d);
        return;
    }
    const int decimals = digits - 1 - exponent;
    if (decimals >= 0) {
        berth_tfloat_put(b, f, 'f', decimals, 0);
        return;
    }
    /* Beyond the digits that it needs, zeros stand. */
    for (const char *c = d; *c != 'e'; c++)
        if (*c != '.')
            berth_buf_putc(b, *c);
    for (int i = decimals; i < 0; i++)
        berth_buf_putc(b, '0');
}
