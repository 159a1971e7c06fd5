#include "template/time_priv.h"

#include <string.h>

#include "template/text_priv.h"

const char *const berth_tmonths[12] = {"January",   "February", "March",    "April",
                                       "May",       "June",     "July",     "August",
                                       "September", "October",  "November", "December"};
const char *const berth_tweekdays[7] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};

enum { DAY_S = 86400, ERA_DAYS = 146097 }; /* an era: 400 years */

static bool
is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

int
berth_tmonth_days(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days since 1970.  Years are counted from March, so that the leap day is the last one. */
int64_t
berth_tdays_of(int64_t year, int month, int day)
{
    const int64_t y = year - (month <= 2);
    const int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
    const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

struct berth_tcivil
berth_tcivil_of(const struct berth_ttime *t)
{
    const int64_t sec = t->sec + t->offset_s;
    const int64_t days = (sec >= 0 ? sec : sec - DAY_S + 1) / DAY_S;
    const int of_day = (int)(sec - days * DAY_S);
    const int64_t z = days + 719468, era = (z >= 0 ? z : z - ERA_DAYS + 1) / ERA_DAYS;
    const int64_t of_era = z - era * ERA_DAYS;
    const int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    const int of_year = (int)(of_era - (365 * year + year / 4 - year / 100));
    const int march = (5 * of_year + 2) / 153; /* months since March */
    struct berth_tcivil c = {.month = march + (march < 10 ? 3 : -9),
                             .day = of_year - (153 * march + 2) / 5 + 1,
                             .hour = of_day / 3600,
                             .minute = of_day / 60 % 60,
                             .second = of_day % 60,
                             .weekday = (int)(((days + 4) % 7 + 7) % 7)};

    c.year = year + era * 400 + (c.month <= 2);
    c.yday = (int)(days - berth_tdays_of(c.year, 1, 1)) + 1;
    return c;
}

static bool
has(struct berth_slice s, size_t i, const char *what)
{
    const size_t n = strlen(what);

    return s.len - i >= n && memcmp(s.at + i, what, n) == 0;
}

static bool
digit_at(struct berth_slice s, size_t i)
{
    return i < s.len && s.at[i] >= '0' && s.at[i] <= '9';
}

/* ".000" or ",999": how long it is; 0: it is none. */
static size_t
fraction_at(struct berth_slice s, size_t i)
{
    size_t end = i + 1;

    if ((s.at[i] != '.' && s.at[i] != ',') || end >= s.len ||
        (s.at[end] != '0' && s.at[end] != '9'))
        return 0;
    while (end < s.len && s.at[end] == s.at[i + 1])
        end++;
    return digit_at(s, end) ? 0 : end - i;
}

/* The part that begins at i, and how long it is; *skip bytes of it belong to the text before. */
static enum berth_tpart
part_at(struct berth_slice s, size_t i, size_t *ret_len)
{
    static const struct {
        const char *text;
        enum berth_tpart part;
        bool word; /* no small letter may follow */
    } parts[] = {
        {"January", BERTH_TIME_LONG_MONTH, false},
        {"Jan", BERTH_TIME_MONTH, true},
        {"Monday", BERTH_TIME_LONG_WEEKDAY, false},
        {"Mon", BERTH_TIME_WEEKDAY, true},
        {"MST", BERTH_TIME_ZONE, false},
        {"002", BERTH_TIME_ZERO_YEARDAY, false},
        {"01", BERTH_TIME_ZERO_MONTH, false},
        {"02", BERTH_TIME_ZERO_DAY, false},
        {"03", BERTH_TIME_ZERO_HOUR12, false},
        {"04", BERTH_TIME_ZERO_MINUTE, false},
        {"05", BERTH_TIME_ZERO_SECOND, false},
        {"06", BERTH_TIME_YEAR, false},
        {"15", BERTH_TIME_HOUR, false},
        {"1", BERTH_TIME_NUM_MONTH, false},
        {"2006", BERTH_TIME_LONG_YEAR, false},
        {"2", BERTH_TIME_DAY, false},
        {"__2", BERTH_TIME_UNDER_YEARDAY, false},
        {"_2", BERTH_TIME_UNDER_DAY, false},
        {"3", BERTH_TIME_HOUR12, false},
        {"4", BERTH_TIME_MINUTE, false},
        {"5", BERTH_TIME_SECOND, false},
        {"PM", BERTH_TIME_UPPER_PM, false},
        {"pm", BERTH_TIME_LOWER_PM, false},
        {"-070000", BERTH_TIME_OFFSET, false},
        {"-07:00:00", BERTH_TIME_OFFSET, false},
        {"-0700", BERTH_TIME_OFFSET, false},
        {"-07:00", BERTH_TIME_OFFSET, false},
        {"-07", BERTH_TIME_OFFSET, false},
        {"Z070000", BERTH_TIME_OFFSET, false},
        {"Z07:00:00", BERTH_TIME_OFFSET, false},
        {"Z0700", BERTH_TIME_OFFSET, false},
        {"Z07:00", BERTH_TIME_OFFSET, false},
        {"Z07", BERTH_TIME_OFFSET, false},
    };

    for (size_t n = 0; n < sizeof parts / sizeof *parts; n++) {
        const size_t end = i + strlen(parts[n].text);
        if (!has(s, i, parts[n].text) ||
            (parts[n].word && end < s.len && s.at[end] >= 'a' && s.at[end] <= 'z'))
            continue;
        if (parts[n].part == BERTH_TIME_UNDER_DAY && has(s, i, "_2006"))
            continue; /* the line stands for itself */
        *ret_len = end - i;
        return parts[n].part;
    }
    *ret_len = fraction_at(s, i);
    return *ret_len > 0 ? BERTH_TIME_FRACTION : BERTH_TIME_NONE;
}

struct berth_tchunk
berth_tchunk_next(struct berth_slice *layout)
{
    const struct berth_slice s = *layout;

    for (size_t i = 0, n; i < s.len; i++) {
        const enum berth_tpart part = part_at(s, i, &n);
        if (part == BERTH_TIME_NONE)
            continue;
        *layout = (struct berth_slice){s.at + i + n, s.len - i - n};
        return (struct berth_tchunk){{s.at, i}, part, {s.at + i, n}};
    }
    *layout = (struct berth_slice){s.at + s.len, 0};
    return (struct berth_tchunk){s, BERTH_TIME_NONE, {"", 0}};
}

static void
put_offset(struct berth_buf *b, struct berth_slice form, int offset)
{
    const unsigned size = (unsigned)(offset < 0 ? -offset : offset);
    const char *colon = memchr(form.at, ':', form.len) != NULL ? ":" : "";

    if (form.at[0] == 'Z' && offset == 0) {
        berth_buf_putc(b, 'Z');
        return;
    }
    berth_buf_printf(b, "%c%02u", offset < 0 ? '-' : '+', size / 3600);
    if (form.len > 3)
        berth_buf_printf(b, "%s%02u", colon, size / 60 % 60);
    if (form.len > 6)
        berth_buf_printf(b, "%s%02u", colon, size % 60);
}

static void
put_fraction(struct berth_buf *b, struct berth_slice form, int32_t ns)
{
    char digits[10];
    size_t n = form.len - 1;

    (void)snprintf(digits, sizeof digits, "%09d", ns);
    n = n > 9 ? 9 : n;
    if (form.at[1] == '9') {
        while (n > 0 && digits[n - 1] == '0')
            n--;
        if (n == 0)
            return;
    }
    berth_buf_putc(b, form.at[0]);
    berth_buf_put(b, digits, n);
}

static void
put_year(struct berth_buf *b, int64_t year)
{
    berth_buf_printf(b, year < 0 ? "-%04lld" : "%04lld", (long long)(year < 0 ? -year : year));
}

static void
put_part(struct berth_buf *b, const struct berth_tchunk *chunk, const struct berth_ttime *t,
         const struct berth_tcivil *c)
{
    const int hour12 = c->hour % 12 == 0 ? 12 : c->hour % 12;

    switch (chunk->part) {
    case BERTH_TIME_NONE:
        return;
    case BERTH_TIME_LONG_MONTH:
        return berth_buf_puts(b, berth_tmonths[c->month - 1]);
    case BERTH_TIME_MONTH:
        return berth_buf_put(b, berth_tmonths[c->month - 1], 3);
    case BERTH_TIME_NUM_MONTH:
        return berth_buf_printf(b, "%d", c->month);
    case BERTH_TIME_ZERO_MONTH:
        return berth_buf_printf(b, "%02d", c->month);
    case BERTH_TIME_LONG_WEEKDAY:
        return berth_buf_puts(b, berth_tweekdays[c->weekday]);
    case BERTH_TIME_WEEKDAY:
        return berth_buf_put(b, berth_tweekdays[c->weekday], 3);
    case BERTH_TIME_DAY:
        return berth_buf_printf(b, "%d", c->day);
    case BERTH_TIME_UNDER_DAY:
        return berth_buf_printf(b, "%2d", c->day);
    case BERTH_TIME_ZERO_DAY:
        return berth_buf_printf(b, "%02d", c->day);
    case BERTH_TIME_UNDER_YEARDAY:
        return berth_buf_printf(b, "%3d", c->yday);
    case BERTH_TIME_ZERO_YEARDAY:
        return berth_buf_printf(b, "%03d", c->yday);
    case BERTH_TIME_HOUR:
        return berth_buf_printf(b, "%02d", c->hour);
    case BERTH_TIME_HOUR12:
        return berth_buf_printf(b, "%d", hour12);
    case BERTH_TIME_ZERO_HOUR12:
        return berth_buf_printf(b, "%02d", hour12);
    case BERTH_TIME_MINUTE:
        return berth_buf_printf(b, "%d", c->minute);
    case BERTH_TIME_ZERO_MINUTE:
        return berth_buf_printf(b, "%02d", c->minute);
    case BERTH_TIME_SECOND:
        return berth_buf_printf(b, "%d", c->second);
    case BERTH_TIME_ZERO_SECOND:
        return berth_buf_printf(b, "%02d", c->second);
    case BERTH_TIME_LONG_YEAR:
        return put_year(b, c->year);
    case BERTH_TIME_YEAR:
        return berth_buf_printf(b, "%02lld", (long long)((c->year < 0 ? -c->year : c->year) % 100));
    case BERTH_TIME_UPPER_PM:
        return berth_buf_puts(b, c->hour >= 12 ? "PM" : "AM");
    case BERTH_TIME_LOWER_PM:
        return berth_buf_puts(b, c->hour >= 12 ? "pm" : "am");
    case BERTH_TIME_ZONE:
        if (t->zone.len > 0)
            return berth_buf_put(b, t->zone.at, t->zone.len);
        return put_offset(b, BERTH_SLICE("-0700"), t->offset_s);
    case BERTH_TIME_OFFSET:
        return put_offset(b, chunk->text, t->offset_s);
    case BERTH_TIME_FRACTION:
        return put_fraction(b, chunk->text, t->ns);
    }
}

void
berth_ttime_put(struct berth_buf *b, struct berth_slice layout, const struct berth_ttime *t)
{
    const struct berth_tcivil c = berth_tcivil_of(t);

    for (;;) {
        const struct berth_tchunk chunk = berth_tchunk_next(&layout);
        berth_buf_put(b, chunk.before.at, chunk.before.len);
        if (chunk.part == BERTH_TIME_NONE || b->failed)
            return;
        put_part(b, &chunk, t, &c);
    }
}
