#include "wire/json.h"

#include <string.h>

enum { SPACES = 2 };

static void
new_line(struct berth_buf *b, size_t depth)
{
    berth_buf_putc(b, '\n');
    for (size_t i = 0; i < depth * SPACES; i++)
        berth_buf_putc(b, ' ');
}

/* Where the string that begins at `at` is over. */
static const char *
string_end(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        at += *at == '\\';
    return at < end ? at + 1 : end;
}

void
berth_json_indent(struct berth_buf *b, const char *json, size_t len)
{
    const char *const end = json + len;
    size_t depth = 0;

    for (const char *at = json, *next; at < end; at = next) {
        const bool empty = at + 1 < end && (at[1] == '}' || at[1] == ']');
        next = at + 1;
        switch (*at) {
        case '"':
            next = string_end(at, end);
            berth_buf_put(b, at, (size_t)(next - at));
            break;
        case '{':
        case '[':
            if (empty) {
                berth_buf_put(b, at, 2);
                next++;
                break;
            }
            berth_buf_putc(b, *at);
            new_line(b, ++depth);
            break;
        case '}':
        case ']':
            depth -= depth > 0;
            new_line(b, depth);
            berth_buf_putc(b, *at);
            break;
        case ',':
            berth_buf_putc(b, ',');
            new_line(b, depth);
            break;
        case ':':
            berth_buf_puts(b, ": ");
            break;
        default:
            while (next < end && strchr("\"{}[],:", *next) == NULL)
                next++;
            berth_buf_put(b, at, (size_t)(next - at));
        }
    }
}
