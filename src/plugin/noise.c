#include "plugin/noise.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

/* An engine that says more than this in a second has nothing to say. */
enum { LINES_MAX = 100, BYTES_MAX = 1 << 20 };

static void
say_dropped(struct berth_noise *n, berth_noise_fn *say, void *arg)
{
    char text[64];

    if (n->dropped == 0)
        return;
    (void)snprintf(text, sizeof text, "%u lines more were dropped", n->dropped);
    n->dropped = 0;
    say(arg, BERTH_LOG_WARN, text);
}

static void
new_second(struct berth_noise *n, uint64_t now_ns)
{
    if (now_ns - n->second_ns < BERTH_S)
        return;
    n->second_ns = now_ns;
    n->lines = 0;
    n->bytes = 0;
}

size_t
berth_noise_room(struct berth_noise *n, uint64_t now_ns, uint64_t *ret_again_ns)
{
    new_second(n, now_ns);
    *ret_again_ns = n->second_ns + BERTH_S;
    return BYTES_MAX - n->bytes;
}

static void
end_line(struct berth_noise *n, berth_noise_fn *say, void *arg)
{
    enum berth_log_level level = BERTH_LOG_INFO;
    char *text = n->line;
    size_t len = n->len;

    n->len = 0;
    if (len >= 3 && text[0] == '<' && text[1] >= '0' && text[1] <= '3' && text[2] == '>') {
        level = (enum berth_log_level)(text[1] - '0');
        text += 3;
        len -= 3;
    }
    if (len == 0)
        return;
    if (n->lines >= LINES_MAX) {
        n->dropped++;
        return;
    }
    bool utf8 = berth_utf8_valid(text, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f || (c >= 0x80 && !utf8))
            text[i] = '?';
    }
    text[len] = '\0';
    n->lines++;
    say(arg, level, text);
}

void
berth_noise_put(struct berth_noise *n, uint64_t now_ns, const char *bytes, size_t len,
                berth_noise_fn *say, void *arg)
{
    new_second(n, now_ns);
    if (n->lines == 0)
        say_dropped(n, say, arg);
    n->bytes += len;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n') {
            end_line(n, say, arg);
            continue;
        }
        if (n->len + 1 < sizeof n->line)
            n->line[n->len++] = bytes[i]; /* the rest of an overlong line is dropped */
    }
}

void
berth_noise_end(struct berth_noise *n, berth_noise_fn *say, void *arg)
{
    if (n->len > 0)
        end_line(n, say, arg);
    say_dropped(n, say, arg);
}
