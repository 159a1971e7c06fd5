#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t
read_clock(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t); /* cannot fail for the two clocks asked here */
    return (uint64_t)t.tv_sec * BERTH_S + (uint64_t)t.tv_nsec;
}

uint64_t
berth_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t
berth_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

const char *
berth_time_text(uint64_t wall_ns, char buf[BERTH_TIME_TEXT])
{
    time_t s = (time_t)(wall_ns / BERTH_S);
    struct tm t;
    char day[24];

    (void)gmtime_r(&s, &t);
    (void)strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &t);
    (void)snprintf(buf, BERTH_TIME_TEXT, "%s.%06uZ", day, (unsigned)(wall_ns % BERTH_S / 1000));
    return buf;
}
