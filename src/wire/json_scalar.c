#include "wire/json_priv.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

/* ---- strings ---- */

/* Does a byte need more than copying?  1: escape it; 2: the start of a longer UTF-8 character. */
static const unsigned char special[256] = {
    [0 ... 0x1f] = 1, ['"'] = 1, ['\\'] = 1, [0x80 ... 0xff] = 2};

/* Eight bytes at once: is any of them below a blank, a quote, a backslash or not ASCII? */
static bool
plain8(const char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    uint64_t x;

    memcpy(&x, at, sizeof x);
    const uint64_t quote = x ^ (ones * '"'), slash = x ^ (ones * '\\');
    return ((x | (x - ones * 0x20) | (quote - ones) | (slash - ones)) & tops) == 0;
}

/* Length of the well-formed UTF-8 character at `at`, or 0. */
static size_t
character(const unsigned char *at, size_t left)
{
    const unsigned char c = at[0];
    size_t n = c >= 0xc2 && c <= 0xdf   ? 2
               : c >= 0xe0 && c <= 0xef ? 3
               : c >= 0xf0 && c <= 0xf4 ? 4
                                        : 0;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */

    if (n == 0 || n > left)
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    if (c == 0xed)
        high = 0x9f;
    if (c == 0xf0)
        low = 0x90;
    if (c == 0xf4)
        high = 0x8f;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    return n;
}

static void
escape(struct berth_buf *b, unsigned char c)
{
    static const char digits[16] = "0123456789abcdef";
    static const char letters[128] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r',
                                      ['\t'] = 't', ['"'] = '"',  ['\\'] = '\\'};

    if (letters[c] != 0) {
        const char two[2] = {'\\', letters[c]};
        berth_buf_put(b, two, 2);
    } else {
        const char six[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
        berth_buf_put(b, six, 6);
    }
}

size_t
berth_json_quote_plain(char *to, const char *text, size_t len)
{
    size_t i = 0;

    *to++ = '"';
    for (; len - i >= 8; i += 8) {
        if (!plain8(text + i))
            return 0;
        memcpy(to + i, text + i, 8);
    }
    for (; i < len; i++) {
        if (special[(unsigned char)text[i]] != 0)
            return 0;
        to[i] = text[i];
    }
    to[len] = '"';
    return len + 2;
}

void
berth_json_quote(struct berth_buf *b, const char *text, size_t len)
{
    size_t from = 0, i = 0; /* [from, i) is to be copied as it is */

    berth_buf_putc(b, '"');
    while (i < len) {
        if (len - i >= 8 && plain8(text + i)) {
            i += 8;
            continue;
        }
        const unsigned char c = (unsigned char)text[i];
        const size_t n =
            special[c] == 2 ? character((const unsigned char *)text + i, len - i) : special[c] == 0;
        if (n > 0) {
            i += n;
            continue;
        }
        berth_buf_put(b, text + from, i - from);
        if (special[c] == 1)
            escape(b, c);
        else
            berth_buf_puts(b, "\xef\xbf\xbd");
        from = ++i;
    }
    if (len > from)
        berth_buf_put(b, text + from, len - from);
    berth_buf_putc(b, '"');
}

/* ---- single precision ---- */

static const double powers[] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, /* exact so far */
    1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34,
    1e35, 1e36, 1e37, 1e38, 1e39, 1e40, 1e41, 1e42, 1e43, 1e44, 1e45, 1e46};
enum { POWER_MAX = 22 };

/* y rounded to a multiple of unit, when that lies between the two. */
static inline bool
rounded(double y, uint64_t unit, double low, double high, uint64_t *ret)
{
    const uint64_t c = (uint64_t)(y * (1.0 / (double)unit) + 0.5) * unit;

    if ((double)c <= low || (double)c >= high)
        return false;
    *ret = c;
    return true;
}

/*
 * For the floats that most tensors hold, FLT_MIN to 2^24: scale v and the borders to its neighbours
 * to nine whole digits, and take the roundest number between the borders.  Six digits come first:
 * any shorter text that reads back as v shows as zeros at their end.  The borders are drawn in by
 * far more than the scaling's error, and far less than the space between them.
 */
static bool
shortest_usual(float v, uint64_t *ret_digits, int *ret_scale)
{
    const double x = (double)v, margin = 0x1p-45;
    float before, after;
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    bits--;
    memcpy(&before, &bits, sizeof before);
    bits += 2;
    memcpy(&after, &bits, sizeof after);
    const int exponent = (int)(bits >> 23) - 127;
    int scale = 8 - (exponent * 1233 >> 12); /* 1233 / 4096 is log10(2), nearly */
    if (x * powers[scale] >= 1e9)
        scale--;
    const double p = powers[scale];
    const double low = (x + (double)before) / 2 * p * (1 + margin);
    const double high = (x + (double)after) / 2 * p * (1 - margin);
    *ret_scale = scale;
    return rounded(x * p, 1000, low, high, ret_digits) ||
           rounded(x * p, 100, low, high, ret_digits) ||
           rounded(x * p, 10, low, high, ret_digits) || rounded(x * p, 1, low, high, ret_digits);
}

/*
 * Find the fewest digits n, 6 to 9 of them, so that n / 10^scale reads back as v > 0.  The
 * quotient or product of two exact doubles is the double nearest to the decimal, and the borders
 * between v and its neighbours are doubles themselves; so if it lies strictly between them, the
 * decimal does too.  Six digits always come first: any shorter text that reads back as v shows as
 * zeros at their end.  False when v is too large or small for exact powers of ten.
 */
static bool
shortest(float v, uint64_t *ret_digits, int *ret_scale)
{
    const double x = (double)v;
    const double low = (x + (double)nextafterf(v, 0.0f)) / 2;
    const double high = (x + (double)nextafterf(v, INFINITY)) / 2;
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    const bool even = (bits & 1) == 0;
    const int magnitude = (int)floor(log10(x)); /* may be one off at powers of ten: harmless */

    for (int digits = 6; digits <= 9; digits++) {
        const int scale = digits - 1 - magnitude;
        if (scale > POWER_MAX || scale < -POWER_MAX)
            return false;
        const double n = rint(scale >= 0 ? x * powers[scale] : x / powers[-scale]);
        const double back = scale >= 0 ? n / powers[scale] : n * powers[-scale];
        /* A border itself is read as the even neighbour; whole products below 2^53 are exact. */
        const bool tie = even && scale <= 0 && back < 9007199254740992.0;
        if ((back > low && back < high) || (tie && (back == low || back == high))) {
            *ret_digits = (uint64_t)n;
            *ret_scale = scale;
            return true;
        }
    }
    return false;
}

/* Too large or too small for the above: rare, so slowness does not matter.  The smallest have less
 * than six digits. */
static size_t
float_text_slow(float v, char *room)
{
    for (int digits = 1; digits <= 9; digits++) {
        (void)snprintf(room, BERTH_JSON_NUMBER_MAX, "%.*g", digits, (double)v);
        if (strtof(room, NULL) == v)
            break;
    }
    size_t len = strlen(room); /* at most 15: there is room for more */
    if (strpbrk(room, ".e") == NULL) {
        memcpy(room + len, ".0", 2);
        len += 2;
    }
    return len;
}

static size_t
digits_text(uint64_t digits, char *out)
{
    size_t n = 0;
    char back[20];

    do {
        back[n++] = (char)('0' + digits % 10);
        digits /= 10;
    } while (digits != 0);
    for (size_t i = 0; i < n; i++)
        out[i] = back[n - 1 - i];
    return n;
}

/* digits / 10^scale as text: 0.00123, 12.5, 1200000.0, 1.5e-9 */
static size_t
decimal_text(uint64_t digits, int scale, char *out)
{
    char d[20] = "";
    size_t n = digits_text(digits, d), len = 0;

    while (n > 1 && d[n - 1] == '0') {
        n--;
        scale--;
    }
    const int point = (int)n - scale; /* digits before the decimal point */
    if (point > 16 || point < -4) {
        out[len++] = d[0];
        if (n > 1)
            out[len++] = '.';
        memcpy(out + len, d + 1, n - 1);
        len += n - 1;
        return len + (size_t)snprintf(out + len, 8, "e%d", point - 1);
    }
    if (point <= 0) {
        out[len++] = '0';
        out[len++] = '.';
        for (int i = point; i < 0; i++)
            out[len++] = '0';
        memcpy(out + len, d, n);
        return len + n;
    }
    for (int i = 0; i < point; i++)
        out[len++] = (size_t)i < n ? d[i] : '0';
    out[len++] = '.';
    if ((size_t)point >= n)
        out[len++] = '0';
    for (size_t i = (size_t)point; i < n; i++)
        out[len++] = d[i];
    return len;
}

size_t
berth_json_float_text(float v, char *room)
{
    size_t len = 0;
    uint64_t digits;
    int scale;

    if (signbit(v)) {
        room[len++] = '-';
        v = -v;
    }
    if (v < 16777216.0f && v == (float)(uint32_t)v) { /* whole numbers: labels, counts, pixels */
        len += digits_text((uint32_t)v, room + len);
        memcpy(room + len, ".0", 2);
        return len + 2;
    }
    const bool usual = v >= FLT_MIN && v < 16777216.0f;
    if (!(usual && shortest_usual(v, &digits, &scale)) && !shortest(v, &digits, &scale))
        return len + float_text_slow(v, room + len);
    return len + decimal_text(digits, scale, room + len);
}

/* ---- values of a tree ---- */

void
berth_json_put_scalar(struct berth_jw *w, const struct berth_json *v)
{
    struct berth_slice text;
    uint64_t u = 0;
    int64_t i = 0;
    double d = 0;
    bool t = false;

    switch (berth_json_type(v)) {
    case BERTH_JSON_BOOL:
        (void)berth_json_bool(v, &t);
        berth_jw_bool(w, t);
        return;
    case BERTH_JSON_INT:
        if (berth_json_uint(v, &u))
            berth_jw_uint(w, u);
        else if (berth_json_int(v, &i))
            berth_jw_int(w, i);
        return;
    case BERTH_JSON_REAL:
        (void)berth_json_real(v, &d);
        berth_jw_double(w, d);
        return;
    case BERTH_JSON_STRING:
        if (berth_json_string(v, &text))
            berth_jw_string_n(w, text.at, text.len);
        return;
    case BERTH_JSON_NULL:
    case BERTH_JSON_ARRAY:
    case BERTH_JSON_OBJECT:
        berth_jw_null(w);
        return;
    }
}
