#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"

/* The one place of the process where lines go: it is asked for from every thread and layer, so it
 * is not passed in like everything else. */
static struct {
    atomic_int least, format, fd;
} out = {.least = BERTH_LOG_INFO, .format = BERTH_LOG_TEXT, .fd = STDERR_FILENO};

static const char *const names[] = {"debug", "info", "warn", "error"};

void
berth_log_init(enum berth_log_level least, enum berth_log_format format, int fd)
{
    atomic_store(&out.least, (int)least);
    atomic_store(&out.format, (int)format);
    atomic_store(&out.fd, fd);
}

bool
berth_log_wanted(enum berth_log_level level)
{
    return (int)level >= atomic_load_explicit(&out.least, memory_order_relaxed);
}

bool
berth_log_level_parse(const char *name, enum berth_log_level *ret)
{
    for (size_t i = 0; i < BERTH_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum berth_log_level)i;
            return true;
        }
    return false;
}

/* What a peer sent may stand in a message: no byte of it may start a line or a terminal's escape
 * sequence, or end a JSON string. */
static size_t
put_escaped(char *to, size_t cap, const char *text, bool json)
{
    size_t n = 0;

    for (; *text != '\0' && n + 7 < cap; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f)
            n += (size_t)snprintf(to + n, cap - n, json ? "\\u%04x" : "\\x%02x", c);
        else if (json && (c == '"' || c == '\\')) {
            to[n++] = '\\';
            to[n++] = (char)c;
        } else {
            to[n++] = (char)c;
        }
    }
    to[n] = '\0';
    return n;
}

void
berth_log(enum berth_log_level level, const char *fmt, ...)
{
    char msg[1024], line[2300], time[BERTH_TIME_TEXT];
    va_list ap;
    int n;

    if (!berth_log_wanted(level))
        return;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    (void)berth_time_text(berth_wall_ns(), time);
    bool json = atomic_load_explicit(&out.format, memory_order_relaxed) == BERTH_LOG_JSON;
    n = snprintf(line, sizeof line,
                 json ? "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"" : "%s %-5s ", time,
                 names[level]);
    size_t len = (size_t)n + put_escaped(line + n, sizeof line - (size_t)n - 4, msg, json);
    len += (size_t)snprintf(line + len, sizeof line - len, json ? "\"}\n" : "\n");
    (void)!write(atomic_load(&out.fd), line,
                 len); /* one write a line; there is nobody to tell when it fails */
}
