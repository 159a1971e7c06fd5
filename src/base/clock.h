#ifndef BERTH_CLOCK_H
#define BERTH_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define BERTH_MS UINT64_C(1000000)
#define BERTH_S  UINT64_C(1000000000)

/* CLOCK_MONOTONIC in nanoseconds: for every duration and deadline. */
uint64_t berth_now_ns(void);
/* CLOCK_REALTIME in nanoseconds since 1970: for what people and other machines read. */
uint64_t berth_wall_ns(void);
/* "2026-11-21T09:11:18.123456Z"; buf holds at least BERTH_TIME_TEXT bytes. */
enum { BERTH_TIME_TEXT = 32 };
const char *berth_time_text(uint64_t wall_ns, char buf[BERTH_TIME_TEXT]);

#endif
