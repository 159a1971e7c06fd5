#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/utf8.h"

/* The one place of the process where lines go: it is asked for from every thread and layer, so it
 * is not passed in like everything else. */
static struct {
    atomic_int least, format, fd;
    atomic_bool show_line, has_sink;
    pthread_mutex_t mu;
    berth_log_sink_fn *sink; /* under mu */
    void *sink_arg;          /* under mu */
} out = {.least = BERTH_LOG_INFO,
         .format = BERTH_LOG_TEXT,
         .fd = STDERR_FILENO,
         .mu = PTHREAD_MUTEX_INITIALIZER};

static const char *const names[] = {"debug", "info", "warn", "error"};

/* A line that is being put together.  What does not fit is left out; its end always fits. */
struct line {
    size_t len;
    bool json;
    char at[4096];
};
enum { LINE_END = 12, ESCAPE_MAX = 6, VALUE_BYTES_MAX = 512 };

void
berth_log_init(enum berth_log_level least, enum berth_log_format format, int fd)
{
    atomic_store(&out.least, (int)least);
    atomic_store(&out.format, (int)format);
    atomic_store(&out.fd, fd);
}

void
berth_log_show_line(bool show)
{
    atomic_store(&out.show_line, show);
}

void
berth_log_sink(berth_log_sink_fn *fn, void *arg)
{
    (void)pthread_mutex_lock(&out.mu);
    out.sink = fn;
    out.sink_arg = arg;
    atomic_store(&out.has_sink, fn != NULL);
    (void)pthread_mutex_unlock(&out.mu);
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

__attribute__((format(printf, 2, 3))) static void
put(struct line *l, const char *fmt, ...)
{
    const size_t room = sizeof l->at - 4 - l->len; /* 4: what ends a line */
    va_list ap;

    va_start(ap, fmt);
    const int n = vsnprintf(l->at + l->len, room, fmt, ap);
    va_end(ap);
    if (n > 0)
        l->len += (size_t)n < room ? (size_t)n : room - 1;
}

/* What a peer sent may stand in a message: no byte of it may start a line or a terminal's escape
 * sequence, or end a JSON string; what is no UTF-8 is shown byte by byte. */
static void
put_escaped(struct line *l, struct berth_slice text, bool quoted)
{
    const bool utf8 = berth_utf8_valid(text.at, text.len);

    for (size_t i = 0; i < text.len; i++) {
        const unsigned char c = (unsigned char)text.at[i];

        if (l->len + ESCAPE_MAX + LINE_END > sizeof l->at)
            return;
        if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8)) {
            put(l, l->json ? "\\u%04x" : "\\x%02x", c);
        } else {
            if (quoted && (c == '"' || c == '\\'))
                l->at[l->len++] = '\\';
            l->at[l->len++] = (char)c;
        }
    }
}

/* At most n bytes of it, cut where a character ends. */
static struct berth_slice
cut(struct berth_slice text, size_t n)
{
    if (text.len <= n)
        return text;
    while (n > 0 && ((unsigned char)text.at[n] & 0xc0) == 0x80)
        n--;
    return (struct berth_slice){text.at, n};
}

/* "src/folder/file.c" as "folder/file.c". */
static const char *
caller(const char *file)
{
    const char *at = strrchr(file, '/');

    while (at != NULL && at > file && at[-1] != '/')
        at--;
    return at != NULL ? at : file;
}

static void
begin(struct line *l, enum berth_log_level level, const char *file, int number, const char *msg)
{
    char time[BERTH_TIME_TEXT];

    l->len = 0;
    l->json = atomic_load_explicit(&out.format, memory_order_relaxed) == BERTH_LOG_JSON;
    (void)berth_time_text(berth_wall_ns(), time);
    put(l, l->json ? "{\"time\":\"%s\",\"level\":\"%s\"" : "%s %-5s ", time, names[level]);
    if (atomic_load_explicit(&out.show_line, memory_order_relaxed))
        put(l, l->json ? ",\"caller\":\"%s:%d\"" : "%s:%d: ", caller(file), number);
    if (l->json)
        put(l, ",\"msg\":\"");
    put_escaped(l, berth_slice_of(msg), l->json);
    if (l->json)
        put(l, "\"");
}

static void
put_field(struct line *l, const struct berth_log_field *f)
{
    const struct berth_slice value = cut(f->value, VALUE_BYTES_MAX);
    bool quoted = l->json && !f->number;

    for (size_t i = 0; !quoted && !f->number && i < value.len; i++)
        quoted = value.at[i] == ' ' || value.at[i] == '"' || value.at[i] == '=';
    if (l->len + strlen(f->key) + value.len * ESCAPE_MAX + 8 + LINE_END >= sizeof l->at)
        return; /* whole or not at all, so that JSON stays JSON */
    put(l, l->json ? ",\"%s\":%s" : " %s=%s", f->key, quoted ? "\"" : "");
    put_escaped(l, value, quoted);
    if (quoted)
        l->at[l->len++] = '"';
}

/* One write a line; there is nobody to tell when it fails. */
static void
end(struct line *l)
{
    const int fd = atomic_load(&out.fd);

    if (l->json)
        l->at[l->len++] = '}';
    l->at[l->len++] = '\n';
    if (fd >= 0)
        (void)!write(fd, l->at, l->len);
    if (!atomic_load(&out.has_sink))
        return;
    (void)pthread_mutex_lock(&out.mu);
    if (out.sink != NULL)
        out.sink(out.sink_arg, l->at, l->len);
    (void)pthread_mutex_unlock(&out.mu);
}

void
berth_log_at(enum berth_log_level level, const char *file, int line, const char *fmt, ...)
{
    char msg[1024];
    struct line l;
    va_list ap;

    if (!berth_log_wanted(level))
        return;
    va_start(ap, fmt);
    const int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof msg)
        berth_utf8_mark_cut(msg, sizeof msg);
    begin(&l, level, file, line, msg);
    end(&l);
}

void
berth_log_fields_at(enum berth_log_level level, const char *file, int line, const char *msg,
                    const struct berth_log_field *fields, size_t n)
{
    struct line l;

    if (!berth_log_wanted(level))
        return;
    begin(&l, level, file, line, msg);
    for (size_t i = 0; i < n; i++)
        put_field(&l, &fields[i]);
    end(&l);
}
