#include <string.h>
#include <strings.h>

#include "template/text_priv.h"
#include "template/time_priv.h"

/* Times and durations from text. */

struct reading {
    struct berth_slice s;      /* what is left */
    struct berth_slice layout; /* likewise */
    int64_t year;
    int month, day, yday, hour, minute, second, offset_s; /* month, day, yday -1: not named */
    int32_t ns;
    bool pm, am, has_offset, utc;
    struct berth_slice zone;
};

static bool
digit(struct berth_slice s, size_t i)
{
    return i < s.len && s.at[i] >= '0' && s.at[i] <= '9';
}

static void
skip(struct berth_slice *s, size_t n)
{
    s->at += n;
    s->len -= n;
}

/* The text before a part: a blank stands for any number of them. */
static bool
take_text(struct berth_slice *s, struct berth_slice want)
{
    while (want.len > 0) {
        if (want.at[0] != ' ') {
            if (s->len == 0 || s->at[0] != want.at[0])
                return false;
            skip(s, 1);
            skip(&want, 1);
            continue;
        }
        if (s->len > 0 && s->at[0] != ' ')
            return false;
        while (want.len > 0 && want.at[0] == ' ')
            skip(&want, 1);
        while (s->len > 0 && s->at[0] == ' ')
            skip(s, 1);
    }
    return true;
}

/* Exactly n digits. */
static bool
digits(struct berth_slice *s, size_t n, int *ret)
{
    int v = 0;

    for (size_t i = 0; i < n; i++) {
        if (!digit(*s, i))
            return false;
        v = v * 10 + (s->at[i] - '0');
    }
    skip(s, n);
    *ret = v;
    return true;
}

/* One digit or two, and within the range. */
static bool
number(struct berth_slice *s, bool two, int min, int max, int *ret)
{
    return digits(s, two || digit(*s, 1) ? 2 : 1, ret) && *ret >= min && *ret <= max;
}

static bool
name(struct berth_slice *s, const char *const *names, size_t n, bool is_short, int *ret)
{
    for (size_t i = 0; i < n; i++) {
        const size_t len = is_short ? 3 : strlen(names[i]);
        if (s->len < len || strncasecmp(s->at, names[i], len) != 0)
            continue;
        skip(s, len);
        *ret = (int)i + 1;
        return true;
    }
    return false;
}

/* Up to nine digits of a second, behind their point; those further on do not count. */
static void
fraction(struct berth_slice *s, size_t n, int32_t *ret)
{
    int32_t ns = 0;

    for (size_t i = 0; i < 9; i++)
        ns = ns * 10 + (i < n ? s->at[i] - '0' : 0);
    skip(s, n);
    *ret = ns;
}

static size_t
digits_at(struct berth_slice s, size_t i)
{
    size_t n = 0;

    while (digit(s, i + n))
        n++;
    return n;
}

static bool
offset(struct reading *p, struct berth_slice form)
{
    const bool colon = memchr(form.at, ':', form.len) != NULL;
    int hours, minutes = 0, seconds = 0;

    if (form.at[0] == 'Z' && p->s.len > 0 && p->s.at[0] == 'Z') {
        skip(&p->s, 1);
        p->utc = true;
        return true;
    }
    if (p->s.len == 0 || (p->s.at[0] != '+' && p->s.at[0] != '-'))
        return false;
    const int sign = p->s.at[0] == '-' ? -1 : 1;
    skip(&p->s, 1);
    if (!digits(&p->s, 2, &hours) ||
        (form.len > 3 && colon && !take_text(&p->s, BERTH_SLICE(":"))) ||
        (form.len > 3 && !digits(&p->s, 2, &minutes)) ||
        (form.len > 6 && colon && !take_text(&p->s, BERTH_SLICE(":"))) ||
        (form.len > 6 && !digits(&p->s, 2, &seconds)) || hours > 24 || minutes > 60 || seconds > 60)
        return false;
    p->offset_s = sign * (hours * 3600 + minutes * 60 + seconds);
    p->has_offset = true;
    return true;
}

/* "UTC", or the letters of another zone: as no zone is known here, its offset is nothing. */
static bool
zone(struct reading *p)
{
    size_t n = 0;

    while (n < p->s.len && n < 6 && p->s.at[n] >= 'A' && p->s.at[n] <= 'Z')
        n++;
    if (p->s.len >= 3 && memcmp(p->s.at, "UTC", 3) == 0) {
        p->utc = true;
        skip(&p->s, 3);
        return true;
    }
    if (n != 3 && !(n == 4 && p->s.at[3] == 'T') && !(n == 5 && p->s.at[4] == 'T'))
        return false;
    p->zone = (struct berth_slice){p->s.at, n};
    skip(&p->s, n);
    return true;
}

static bool
half(struct reading *p, const char *am, const char *pm)
{
    p->pm = p->s.len >= 2 && memcmp(p->s.at, pm, 2) == 0;
    p->am = p->s.len >= 2 && memcmp(p->s.at, am, 2) == 0;
    if (!p->pm && !p->am)
        return false;
    skip(&p->s, 2);
    return true;
}

/* A fraction of a second may follow even where the layout has none. */
static bool
second(struct reading *p, bool two)
{
    struct berth_slice layout = p->layout;

    if (!number(&p->s, two, 0, 59, &p->second))
        return false;
    if (p->s.len < 2 || (p->s.at[0] != '.' && p->s.at[0] != ',') || !digit(p->s, 1) ||
        berth_tchunk_next(&layout).part == BERTH_TIME_FRACTION)
        return true;
    skip(&p->s, 1);
    fraction(&p->s, digits_at(p->s, 0), &p->ns);
    return true;
}

static bool
fraction_part(struct reading *p, struct berth_slice form)
{
    const bool point = p->s.len > 0 && (p->s.at[0] == '.' || p->s.at[0] == ',');
    size_t n = form.len - 1;

    if (form.at[1] == '9') {
        if (!point || !digit(p->s, 1))
            return true;
        n = digits_at(p->s, 1);
    }
    if (!point || digits_at(p->s, 1) < n || (form.at[1] == '0' && n > 9))
        return false;
    skip(&p->s, 1);
    fraction(&p->s, n, &p->ns);
    return true;
}

static void
skip_blank(struct berth_slice *s, size_t most)
{
    for (; most > 0 && s->len > 0 && s->at[0] == ' '; most--)
        skip(s, 1);
}

static bool
take_year(struct reading *p, bool is_long)
{
    int v;

    if (!digits(&p->s, is_long ? 4 : 2, &v))
        return false;
    p->year = is_long ? v : v + (v >= 69 ? 1900 : 2000);
    return true;
}

static bool
take_part(struct reading *p, const struct berth_tchunk *c)
{
    int unused;

    switch (c->part) {
    case BERTH_TIME_NONE:
        return p->s.len == 0;
    case BERTH_TIME_LONG_YEAR:
    case BERTH_TIME_YEAR:
        return take_year(p, c->part == BERTH_TIME_LONG_YEAR);
    case BERTH_TIME_LONG_MONTH:
    case BERTH_TIME_MONTH:
        return name(&p->s, berth_tmonths, 12, c->part == BERTH_TIME_MONTH, &p->month);
    case BERTH_TIME_NUM_MONTH:
    case BERTH_TIME_ZERO_MONTH:
        return number(&p->s, c->part == BERTH_TIME_ZERO_MONTH, 1, 12, &p->month);
    case BERTH_TIME_LONG_WEEKDAY:
    case BERTH_TIME_WEEKDAY:
        return name(&p->s, berth_tweekdays, 7, c->part == BERTH_TIME_WEEKDAY, &unused);
    case BERTH_TIME_UNDER_DAY:
        skip_blank(&p->s, 1);
        return number(&p->s, false, 0, 99, &p->day);
    case BERTH_TIME_DAY:
    case BERTH_TIME_ZERO_DAY:
        return number(&p->s, c->part == BERTH_TIME_ZERO_DAY, 0, 99, &p->day);
    case BERTH_TIME_UNDER_YEARDAY:
        skip_blank(&p->s, 2);
        return digits(&p->s, digits_at(p->s, 0) < 3 ? digits_at(p->s, 0) : 3, &p->yday) &&
               p->yday > 0;
    case BERTH_TIME_ZERO_YEARDAY:
        return digits(&p->s, 3, &p->yday);
    case BERTH_TIME_HOUR:
        return number(&p->s, false, 0, 23, &p->hour);
    case BERTH_TIME_HOUR12:
    case BERTH_TIME_ZERO_HOUR12:
        return number(&p->s, c->part == BERTH_TIME_ZERO_HOUR12, 0, 12, &p->hour);
    case BERTH_TIME_MINUTE:
    case BERTH_TIME_ZERO_MINUTE:
        return number(&p->s, c->part == BERTH_TIME_ZERO_MINUTE, 0, 59, &p->minute);
    case BERTH_TIME_SECOND:
    case BERTH_TIME_ZERO_SECOND:
        return second(p, c->part == BERTH_TIME_ZERO_SECOND);
    case BERTH_TIME_UPPER_PM:
        return half(p, "AM", "PM");
    case BERTH_TIME_LOWER_PM:
        return half(p, "am", "pm");
    case BERTH_TIME_ZONE:
        return zone(p);
    case BERTH_TIME_OFFSET:
        return offset(p, c->text);
    case BERTH_TIME_FRACTION:
        return fraction_part(p, c->text);
    }
    return false;
}

/* Month and day from the day of the year, or the first where none is named. */
static bool
settle_day(struct reading *p)
{
    if (p->yday >= 0) {
        int month = 1, day = p->yday;
        if (day < 1)
            return false;
        for (; month <= 12 && day > berth_tmonth_days(p->year, month); month++)
            day -= berth_tmonth_days(p->year, month);
        if (month > 12 || (p->month >= 0 && p->month != month) || (p->day >= 0 && p->day != day))
            return false;
        p->month = month;
        p->day = day;
    }
    p->month = p->month < 0 ? 1 : p->month;
    p->day = p->day < 0 ? 1 : p->day;
    return p->day >= 1 && p->day <= berth_tmonth_days(p->year, p->month);
}

int
berth_ttime_parse(struct berth_trun *r, struct berth_slice layout, struct berth_slice text,
                  struct berth_ttime *ret)
{
    struct reading p = {.s = text, .layout = layout, .month = -1, .day = -1, .yday = -1};
    struct berth_tchunk c;
    bool ok;

    do {
        c = berth_tchunk_next(&p.layout);
        ok = take_text(&p.s, c.before) && take_part(&p, &c);
    } while (ok && c.part != BERTH_TIME_NONE);
    if (!ok || !settle_day(&p))
        return berth_trun_fail(r, "\"%.*s\" is no time of the form \"%.*s\"",
                               text.len < 60 ? (int)text.len : 60, text.at,
                               layout.len < 60 ? (int)layout.len : 60, layout.at);
    if (p.pm && p.hour < 12)
        p.hour += 12;
    else if (p.am && p.hour == 12)
        p.hour = 0;
    const bool named = p.zone.len > 0 && !p.utc;
    *ret = (struct berth_ttime){
        .sec = berth_tdays_of(p.year, p.month, p.day) * 86400 + (int64_t)p.hour * 3600 +
               (int64_t)p.minute * 60 + p.second - (p.utc ? 0 : p.offset_s),
        .ns = p.ns,
        .offset_s = p.utc ? 0 : p.offset_s,
        .zone = named ? p.zone : BERTH_SLICE("UTC"),
    };
    if (p.has_offset && p.offset_s != 0 && !p.utc && !named)
        ret->zone = (struct berth_slice){"", 0};
    return 0;
}

static const struct {
    const char *name;
    uint64_t ns;
} units[] = {{"ns", 1},       {"us", 1000},      {"\xc2\xb5s", 1000},   {"\xce\xbcs", 1000},
             {"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000ULL}, {"h", 3600000000000ULL}};

/* What a number and a unit come to; a fraction of it is cut to whole nanoseconds. */
static bool
one_piece(struct berth_slice *s, uint64_t *ret)
{
    uint64_t whole = 0, part = 0;
    double scale = 1;
    const size_t n = digits_at(*s, 0);
    size_t more = 0, unit = 0;

    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(whole, 10u, &whole) ||
            __builtin_add_overflow(whole, (unsigned)(s->at[i] - '0'), &whole))
            return false;
    skip(s, n);
    if (s->len > 0 && s->at[0] == '.') {
        skip(s, 1);
        more = digits_at(*s, 0);
        for (size_t i = 0; i < more; i++)
            if (part <= (UINT64_MAX / 2 - 9) / 10) {
                part = part * 10 + (uint64_t)(s->at[i] - '0');
                scale *= 10;
            }
        skip(s, more);
    }
    if (n == 0 && more == 0)
        return false;
    size_t len = 0;
    while (len < s->len && s->at[len] != '.' && !digit(*s, len))
        len++;
    while (unit < sizeof units / sizeof *units &&
           !berth_slice_is((struct berth_slice){s->at, len}, units[unit].name))
        unit++;
    if (unit == sizeof units / sizeof *units ||
        __builtin_mul_overflow(whole, units[unit].ns, &whole))
        return false;
    skip(s, len);
    const uint64_t rest = (uint64_t)((double)part * ((double)units[unit].ns / scale));
    return !__builtin_add_overflow(whole, rest, ret);
}

bool
berth_tduration_parse(struct berth_slice s, int64_t *ret_ns)
{
    const bool minus = s.len > 0 && s.at[0] == '-';
    uint64_t sum = 0, piece;

    if (minus || (s.len > 0 && s.at[0] == '+'))
        skip(&s, 1);
    if (s.len == 0)
        return false;
    while (s.len > 0 && !berth_slice_is(s, "0")) {
        if (!one_piece(&s, &piece) || __builtin_add_overflow(sum, piece, &sum) ||
            sum > (uint64_t)INT64_MAX + 1)
            return false;
        if (berth_slice_is(s, "0"))
            return false; /* a bare 0 stands alone */
    }
    if (sum > (uint64_t)INT64_MAX + minus)
        return false;
    *ret_ns = minus ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

/* n times the unit, with the fraction of it that is not zero. */
static void
put_fraction(struct berth_buf *b, uint64_t n, uint64_t unit, const char *name_of)
{
    char at[24];
    uint64_t rest = n % unit;

    berth_buf_printf(b, "%llu", (unsigned long long)(n / unit));
    if (rest > 0) {
        int len = 0;
        for (uint64_t place = unit / 10; rest > 0; rest %= place, place /= 10) {
            at[len++] = (char)('0' + rest / place);
            if (rest % place == 0)
                break;
        }
        berth_buf_putc(b, '.');
        berth_buf_put(b, at, (size_t)len);
    }
    berth_buf_puts(b, name_of);
}

void
berth_tduration_put(struct berth_buf *b, int64_t ns)
{
    uint64_t n = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    const uint64_t second_ns = 1000000000, minutes = n / second_ns / 60;

    if (n == 0) {
        berth_buf_puts(b, "0s");
        return;
    }
    if (ns < 0)
        berth_buf_putc(b, '-');
    if (n < second_ns) {
        if (n < 1000)
            berth_buf_printf(b, "%lluns", (unsigned long long)n);
        else
            put_fraction(b, n, n < 1000000 ? 1000 : 1000000, n < 1000000 ? "\xc2\xb5s" : "ms");
        return;
    }
    if (minutes >= 60)
        berth_buf_printf(b, "%lluh", (unsigned long long)(minutes / 60));
    if (minutes > 0)
        berth_buf_printf(b, "%llum", (unsigned long long)(minutes % 60));
    put_fraction(b, n - minutes * 60 * second_ns, second_ns, "s");
}
