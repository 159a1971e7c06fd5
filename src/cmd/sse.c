#include "cmd/sse.h"

#include <string.h>

enum { LINE_BYTES_MAX = 4 << 20 };

void
berth_sse_init(struct berth_sse *s)
{
    *s = (struct berth_sse){0};
    berth_buf_init(&s->line, NULL);
    s->line.max = LINE_BYTES_MAX;
}

void
berth_sse_fini(struct berth_sse *s)
{
    berth_buf_fini(&s->line);
}

bool
berth_sse_feed(struct berth_sse *s, const char *bytes, size_t len,
               bool (*on_data)(void *arg, struct berth_slice data), void *arg)
{
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        const size_t n = end != NULL ? (size_t)(end - bytes) : len;
        berth_buf_put(&s->line, bytes, n);
        if (s->line.failed) {
            s->bad = true;
            return false;
        }
        if (end == NULL)
            return true;
        bytes += n + 1;
        len -= n + 1;
        struct berth_slice line = {s->line.at, s->line.len};
        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        s->line.len = 0;
        if (line.len < 5 || memcmp(line.at, "data:", 5) != 0)
            continue;
        const size_t skip = line.len > 5 && line.at[5] == ' ' ? 6 : 5;
        if (!on_data(arg, (struct berth_slice){line.at + skip, line.len - skip}))
            return false;
    }
    return true;
}
