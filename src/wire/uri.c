#include "wire/uri.h"

#include <string.h>

#include "base/arena.h"
#include "base/num.h"

/* Decode into out, which has room for text.len bytes; -1 for a bad escape. */
static ptrdiff_t
decode(struct berth_slice text, bool plus, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '+' && plus) {
            c = ' ';
        } else if (c == '%') {
            const int high = i + 2 < text.len ? berth_hex_digit(text.at[i + 1]) : -1;
            const int low = i + 2 < text.len ? berth_hex_digit(text.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return -1;
        out[n++] = c;
    }
    return (ptrdiff_t)n;
}

bool
berth_uri_decode(struct berth_arena *a, struct berth_slice text, bool plus, struct berth_slice *ret)
{
    char *copy = berth_arena_strndup(a, text.at, text.len);
    const ptrdiff_t n = copy != NULL ? decode(text, plus, copy) : -1;

    if (n < 0)
        return false;
    copy[n] = '\0';
    *ret = (struct berth_slice){copy, (size_t)n};
    return true;
}

bool
berth_uri_query(struct berth_arena *a, struct berth_slice query, const char *key,
                struct berth_slice *ret)
{
    const char *at = query.at, *end = query.at + query.len;

    while (at < end) {
        const char *amp = memchr(at, '&', (size_t)(end - at));
        const char *stop = amp != NULL ? amp : end;
        const char *eq = memchr(at, '=', (size_t)(stop - at));
        const struct berth_slice name = {at, (size_t)((eq != NULL ? eq : stop) - at)};
        struct berth_slice plain;
        const bool same =
            memchr(name.at, '%', name.len) == NULL
                ? berth_slice_is(name, key)
                : berth_uri_decode(a, name, true, &plain) && berth_slice_is(plain, key);
        if (same) {
            const char *from = eq != NULL ? eq + 1 : stop;
            return berth_uri_decode(a, (struct berth_slice){from, (size_t)(stop - from)}, true,
                                    ret);
        }
        at = stop + 1;
    }
    return false;
}

void
berth_uri_put(struct berth_buf *b, const char *text, size_t len)
{
    static const char digits[16] = "0123456789ABCDEF";

    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~') {
            berth_buf_putc(b, (char)c);
        } else {
            const char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
            berth_buf_put(b, escape, 3);
        }
    }
}
