#ifndef BERTH_LOG_H
#define BERTH_LOG_H

#include <stdbool.h>

#include <berth/backend.h> /* enum berth_log_level */

#include "base/buf.h"

/*
 * One line per event on standard error (or standard output, or a file), for operators.  Library
 * folders log nothing above debug; loops, controllers and main decide what is worth a line.  Any
 * thread.
 */
enum berth_log_format { BERTH_LOG_TEXT, BERTH_LOG_JSON };

/* At the start, and again when the configuration changes.  fd is borrowed and stays open; -1: no
 * line goes to a descriptor. */
void berth_log_init(enum berth_log_level least, enum berth_log_format format, int fd);
/* Say with each line where in the source it was written, as "folder/file.c:123". */
void berth_log_show_line(bool show);
/* Every line, its newline included, also goes to fn, one call at a time; NULL: to none.  Once this
 * has returned, the one before is not called any more.  fn must not log. */
typedef void berth_log_sink_fn(void *arg, const char *line, size_t len);
void berth_log_sink(berth_log_sink_fn *fn, void *arg);

bool berth_log_wanted(enum berth_log_level level);
/* "debug", "info", "warn", "error"; false when the name is none of them. */
bool berth_log_level_parse(const char *name, enum berth_log_level *ret);

/* 1,023 bytes of a message; a longer one ends with an ellipsis. */
__attribute__((format(printf, 4, 5))) void
berth_log_at(enum berth_log_level level, const char *file, int line, const char *fmt, ...);

/* One of the things that an event is told with: KEY=VALUE in text, "KEY":VALUE in JSON. */
struct berth_log_field {
    const char *key;
    struct berth_slice value;
    bool number; /* the value is a number and stands in JSON as one */
};
void berth_log_fields_at(enum berth_log_level level, const char *file, int line, const char *msg,
                         const struct berth_log_field *fields, size_t n);

#define berth_log(level, ...) berth_log_at((level), __FILE__, __LINE__, __VA_ARGS__)
#define berth_log_fields(level, msg, fields, n) \
    berth_log_fields_at((level), __FILE__, __LINE__, (msg), (fields), (n))
#define berth_debug(...) \
    (berth_log_wanted(BERTH_LOG_DEBUG) ? berth_log(BERTH_LOG_DEBUG, __VA_ARGS__) : (void)0)
#define berth_info(...)  berth_log(BERTH_LOG_INFO, __VA_ARGS__)
#define berth_warn(...)  berth_log(BERTH_LOG_WARN, __VA_ARGS__)
#define berth_error(...) berth_log(BERTH_LOG_ERROR, __VA_ARGS__)

#endif
