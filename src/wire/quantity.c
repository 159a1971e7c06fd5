#include "wire/quantity.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

/* Source: the Quantity type of Kubernetes' API conventions. */

typedef unsigned __int128 wide;

static const wide nano_per_unit = 1000000000;

enum { EXPONENT_MAX = 18 };

/* A number in the making: size / 10^decimals. */
struct number {
    wide size;
    uint32_t decimals;
    bool more; /* digits behind these that are not all nought */
};

/* Digits with at most one point; *at goes behind them. */
static bool
read_digits(const char **at, const char *end, struct number *ret)
{
    const wide room = ((wide)1 << 100) / 10;
    size_t digits = 0;
    bool point = false;

    *ret = (struct number){0};
    for (; *at < end && ((**at >= '0' && **at <= '9') || (**at == '.' && !point)); ++*at) {
        if (**at == '.') {
            point = true;
            continue;
        }
        digits++;
        if (ret->size < room && ret->decimals < EXPONENT_MAX + 9) {
            ret->size = ret->size * 10 + (unsigned)(**at - '0');
            ret->decimals += point;
        } else if (!point) {
            return false;
        } else {
            ret->more = ret->more || **at != '0';
        }
    }
    return digits > 0;
}

/* What the text behind the digits multiplies by: unit / 10^down. */
struct suffix {
    wide unit;
    uint32_t down;
    enum berth_quantity_form form;
};

static bool
read_exponent(const char *text, size_t len, struct suffix *ret)
{
    const size_t sign = len > 1 && text[1] == '+';
    int64_t by;

    ret->form = BERTH_QUANTITY_EXPONENT;
    if (!berth_int_parse(text + 1 + sign, len - 1 - sign, -EXPONENT_MAX, EXPONENT_MAX, &by) ||
        (sign > 0 && by < 0))
        return false;
    ret->down = by < 0 ? (uint32_t)-by : 0;
    for (; by > 0; by--)
        ret->unit *= 10;
    return true;
}

/* Of c in names, from 1; 0: it is not there. */
static size_t
place_of(char c, const char *names)
{
    const char *at = c != '\0' ? strchr(names, c) : NULL;

    return at != NULL ? (size_t)(at - names) + 1 : 0;
}

static bool
read_suffix(const char *text, size_t len, struct suffix *ret)
{
    size_t at;

    *ret = (struct suffix){.unit = 1};
    if (len == 0)
        return true;
    if (len == 2 && text[1] == 'i' && (at = place_of(text[0], "KMGTPE")) > 0) {
        ret->form = BERTH_QUANTITY_BINARY;
        ret->unit <<= 10 * at;
        return true;
    }
    if (len == 1 && (at = place_of(text[0], "kMGTPE")) > 0) {
        for (; at > 0; at--)
            ret->unit *= 1000;
        return true;
    }
    if (len == 1 && (at = place_of(text[0], "mun")) > 0) {
        ret->down = 3 * (uint32_t)at;
        return true;
    }
    return len > 1 && (text[0] == 'e' || text[0] == 'E') && read_exponent(text, len, ret);
}

bool
berth_quantity_parse(const char *text, size_t len, struct berth_quantity *ret)
{
    const char *at = text, *end = text + len;
    struct berth_quantity q = {0};
    struct number n;
    struct suffix s;

    if (at < end && (*at == '+' || *at == '-'))
        q.negative = *at++ == '-';
    if (!read_digits(&at, end, &n) || !read_suffix(at, (size_t)(end - at), &s))
        return false;
    q.form = s.form;
    uint32_t down = n.decimals + s.down;
    wide v = n.size;
    for (; down > 0 && v % 10 == 0 && v > 0; down--) /* so that what follows has room */
        v /= 10;
    bool more = n.more;
    if (__builtin_mul_overflow(v, s.unit, &v))
        return false;
    uint32_t up = 9;
    for (; down > 0 && up > 0; down--)
        up--;
    for (; up > 0; up--)
        if (__builtin_mul_overflow(v, (wide)10, &v))
            return false;
    for (; down > 0; down--) {
        more = more || v % 10 != 0;
        v /= 10;
    }
    q.nano = v + more;
    if (q.nano > (wide)INT64_MAX * nano_per_unit)
        return false;
    q.negative = q.negative && q.nano > 0;
    *ret = q;
    return true;
}

bool
berth_quantity_is_form(const char *text, size_t len)
{
    const char *at = text, *end = text + len;
    size_t digits = 0, points = 0;
    struct suffix s;

    at += at < end && (*at == '+' || *at == '-');
    for (; at < end && ((*at >= '0' && *at <= '9') || *at == '.'); at++) {
        points += *at == '.';
        digits += *at != '.';
    }
    if (digits == 0 || points > 1)
        return false;
    if (read_suffix(at, (size_t)(end - at), &s))
        return true;
    if (*at != 'e' && *at != 'E')
        return false;
    at += 1 + (end - at > 2 && (at[1] == '+' || at[1] == '-'));
    for (digits = 0; at < end && *at >= '0' && *at <= '9'; at++)
        digits++;
    return digits > 0 && at == end;
}

bool
berth_quantity_units(const struct berth_quantity *q, unsigned thousandths, uint64_t *ret)
{
    wide each = nano_per_unit;

    for (; thousandths > 0; thousandths--)
        each /= 1000;
    const wide units = (q->nano + each - 1) / each;
    if (q->negative || units > INT64_MAX)
        return false;
    *ret = (uint64_t)units;
    return true;
}

/* What is left of size after as many factors as there are suffixes for. */
static wide
take_out(wide size, unsigned factor, uint32_t max, uint32_t *ret_times)
{
    for (*ret_times = 0; size > 0 && size % factor == 0 && *ret_times < max; ++*ret_times)
        size /= factor;
    return size;
}

enum { DIGITS_MAX = 40 };

static const char *
digits_of(wide v, char room[DIGITS_MAX])
{
    char *at = room + DIGITS_MAX - 1;

    for (*at = '\0'; v > 0; v /= 10)
        *--at = (char)('0' + (int)(v % 10));
    return at;
}

void
berth_quantity_text(const struct berth_quantity *q, char ret[BERTH_QUANTITY_TEXT_MAX])
{
    static const char *const decimal[] = {"n", "u", "m", "", "k", "M", "G", "T", "P", "E"};
    static const char *const binary[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    const char *sign = q->negative ? "-" : "";
    char room[DIGITS_MAX];
    uint32_t times;

    if (q->nano == 0) {
        (void)snprintf(ret, BERTH_QUANTITY_TEXT_MAX, "0");
        return;
    }
    if (q->form == BERTH_QUANTITY_BINARY && q->nano % nano_per_unit == 0 &&
        q->nano / nano_per_unit >= 1024) {
        const wide left = take_out(q->nano / nano_per_unit, 1024, 6, &times);
        (void)snprintf(ret, BERTH_QUANTITY_TEXT_MAX, "%s%s%s", sign, digits_of(left, room),
                       binary[times]);
        return;
    }
    const wide left = take_out(q->nano, 1000, 9, &times);
    if (q->form == BERTH_QUANTITY_EXPONENT && times != 3)
        (void)snprintf(ret, BERTH_QUANTITY_TEXT_MAX, "%s%se%d", sign, digits_of(left, room),
                       3 * ((int)times - 3));
    else
        (void)snprintf(ret, BERTH_QUANTITY_TEXT_MAX, "%s%s%s", sign, digits_of(left, room),
                       decimal[times]);
}
