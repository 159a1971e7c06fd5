#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* Length of a character that begins so, or 0 when none does. */
static size_t
lead_len(unsigned char lead)
{
    return lead < 0x80   ? 1
           : lead < 0xc2 ? 0
           : lead < 0xe0 ? 2
           : lead < 0xf0 ? 3
           : lead < 0xf5 ? 4
                         : 0;
}

/* Length of the character at p (end bounds it), or 0 when it is not well-formed. */
static size_t
char_len(const unsigned char *p, const unsigned char *end)
{
    size_t left = (size_t)(end - p);
    unsigned char lead = p[0];
    size_t n = lead_len(lead);

    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((lead == 0xe0 && p[1] < 0xa0) || (lead == 0xed && p[1] > 0x9f) ||
        (lead == 0xf0 && p[1] < 0x90) || (lead == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

bool
berth_utf8_valid(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    const unsigned char *end = p + len;

    while (p < end) {
        uint64_t eight;
        while (end - p >= 8 && (memcpy(&eight, p, 8), (eight & UINT64_C(0x8080808080808080)) == 0))
            p += 8;
        if (p == end)
            break;
        size_t n = char_len(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

void
berth_utf8_mark_cut(char *text, size_t room)
{
    enum { REST_MAX = 3 }; /* bytes of a character behind its first */
    static const char more[] = "\xe2\x80\xa6";
    size_t end = room - sizeof more;

    for (int i = 0; i < REST_MAX && end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80; i++)
        end--;
    memcpy(text + end, more, sizeof more);
}
