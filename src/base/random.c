#include "base/random.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/assert.h"

void
berth_random_bytes(void *at, size_t n)
{
    unsigned char *p = at;

    while (n > 0) {
        ssize_t got = getrandom(p, n < 256 ? n : 256, 0);
        berth_assert(got > 0); /* reads up to 256 bytes are never cut short or refused */
        p += got;
        n -= (size_t)got;
    }
}

uint64_t
berth_random_u64(void)
{
    uint64_t r;

    berth_random_bytes(&r, sizeof r);
    return r;
}

const char *
berth_uuid_text(char buf[BERTH_UUID_TEXT])
{
    unsigned char b[16];

    berth_random_bytes(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    (void)snprintf(buf, BERTH_UUID_TEXT,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
    return buf;
}
