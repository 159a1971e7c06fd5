#ifndef BERTH_LOG_H
#define BERTH_LOG_H

#include <stdbool.h>

#include <berth/backend.h> /* enum berth_log_level */

/*
 * One line per event on standard error (or a file), for operators.  Library folders log nothing
 * above debug; loops, controllers and main decide what is worth a line.  Any thread.
 */
enum berth_log_format { BERTH_LOG_TEXT, BERTH_LOG_JSON };

/* At the start, and again when the configuration changes.  fd is borrowed and stays open. */
void berth_log_init(enum berth_log_level least, enum berth_log_format format, int fd);
bool berth_log_wanted(enum berth_log_level level);
/* "debug", "info", "warn", "error"; false when the name is none of them. */
bool berth_log_level_parse(const char *name, enum berth_log_level *ret);

__attribute__((format(printf, 2, 3))) void berth_log(enum berth_log_level level, const char *fmt,
                                                     ...);

#define berth_debug(...) \
    (berth_log_wanted(BERTH_LOG_DEBUG) ? berth_log(BERTH_LOG_DEBUG, __VA_ARGS__) : (void)0)
#define berth_info(...)  berth_log(BERTH_LOG_INFO, __VA_ARGS__)
#define berth_warn(...)  berth_log(BERTH_LOG_WARN, __VA_ARGS__)
#define berth_error(...) berth_log(BERTH_LOG_ERROR, __VA_ARGS__)

#endif
