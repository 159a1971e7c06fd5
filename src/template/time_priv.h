#ifndef BERTH_TEMPLATE_TIME_PRIV_H
#define BERTH_TEMPLATE_TIME_PRIV_H

#include "template/run_priv.h"

/* Times and durations as Go's package time writes and reads them.  No time zones are known but UTC
 * and those of a fixed offset: the tables of others are the machine's. */

struct berth_ttime {
    int64_t sec; /* since 1970, UTC */
    int32_t ns, offset_s;
    struct berth_slice zone; /* its name; empty: it has none but its offset */
};

enum { BERTH_TTIME_SEC_MAX = 1000000000 }; /* times 1000: some 31,000 years to either side */

struct berth_tcivil {
    int64_t year;
    int month, day, hour, minute, second, weekday, yday; /* from 1, weekday from 0: Sunday */
};
/* In the time's own zone. */
struct berth_tcivil berth_tcivil_of(const struct berth_ttime *t);
int64_t berth_tdays_of(int64_t year, int month, int day);
int berth_tmonth_days(int64_t year, int month);

/* The parts that a layout is made of, by what Go's reference time has there. */
enum berth_tpart {
    BERTH_TIME_NONE, /* the layout is at its end */
    BERTH_TIME_LONG_MONTH,
    BERTH_TIME_MONTH,
    BERTH_TIME_NUM_MONTH,
    BERTH_TIME_ZERO_MONTH,
    BERTH_TIME_LONG_WEEKDAY,
    BERTH_TIME_WEEKDAY,
    BERTH_TIME_DAY,
    BERTH_TIME_UNDER_DAY,
    BERTH_TIME_ZERO_DAY,
    BERTH_TIME_UNDER_YEARDAY,
    BERTH_TIME_ZERO_YEARDAY,
    BERTH_TIME_HOUR,
    BERTH_TIME_HOUR12,
    BERTH_TIME_ZERO_HOUR12,
    BERTH_TIME_MINUTE,
    BERTH_TIME_ZERO_MINUTE,
    BERTH_TIME_SECOND,
    BERTH_TIME_ZERO_SECOND,
    BERTH_TIME_LONG_YEAR,
    BERTH_TIME_YEAR,
    BERTH_TIME_UPPER_PM,
    BERTH_TIME_LOWER_PM,
    BERTH_TIME_ZONE,
    BERTH_TIME_OFFSET, /* what follows +: its form, and whether Z stands for UTC */
    BERTH_TIME_FRACTION,
};

struct berth_tchunk {
    struct berth_slice before; /* text up to the part */
    enum berth_tpart part;
    struct berth_slice text; /* the part as the layout has it */
};
/* Takes the next part, and what is before it, from the layout. */
struct berth_tchunk berth_tchunk_next(struct berth_slice *layout);

extern const char *const berth_tmonths[12], *const berth_tweekdays[7];

void berth_ttime_put(struct berth_buf *b, struct berth_slice layout, const struct berth_ttime *t);
/* -BERTH_EINVAL: the text does not have that layout. */
int berth_ttime_parse(struct berth_trun *r, struct berth_slice layout, struct berth_slice text,
                      struct berth_ttime *ret);

/* "1h2m3.5s", in nanoseconds. */
void berth_tduration_put(struct berth_buf *b, int64_t ns);
bool berth_tduration_parse(struct berth_slice s, int64_t *ret_ns);

#endif
