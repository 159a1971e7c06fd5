#include "wire/base64.h"

#include <stdint.h>

#include "base/arena.h"

static const char letters[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* What a character stands for; BAD has the top bit set so that four can be checked with one or. */
enum { BAD = 0x80, SKIP = 0x81, PAD = 0x82 };

#define RANGE16(v) v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v

static const uint8_t values[256] = {
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    SKIP,
    BAD,
    BAD,
    SKIP,
    BAD,
    BAD,          /* 0x00 */
    RANGE16(BAD), /* 0x10 */
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD,
    62,
    BAD,
    BAD,
    BAD,
    63, /* 0x20 */
    52,
    53,
    54,
    55,
    56,
    57,
    58,
    59,
    60,
    61,
    BAD,
    BAD,
    BAD,
    PAD,
    BAD,
    BAD, /* 0x30 */
    BAD,
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14, /* 0x40 */
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    22,
    23,
    24,
    25,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD, /* 0x50 */
    BAD,
    26,
    27,
    28,
    29,
    30,
    31,
    32,
    33,
    34,
    35,
    36,
    37,
    38,
    39,
    40, /* 0x60 */
    41,
    42,
    43,
    44,
    45,
    46,
    47,
    48,
    49,
    50,
    51,
    BAD,
    BAD,
    BAD,
    BAD,
    BAD, /* 0x70 */
    RANGE16(BAD),
    RANGE16(BAD),
    RANGE16(BAD),
    RANGE16(BAD),
    RANGE16(BAD),
    RANGE16(BAD),
    RANGE16(BAD),
    RANGE16(BAD),
};

struct decoder {
    const uint8_t *in, *end;
    uint8_t *out;
};

/* Whole groups of four letters without anything between them: where the time goes. */
static void
decode_fast(struct decoder *d)
{
    const uint8_t *in = d->in;
    uint8_t *out = d->out;

    for (; d->end - in >= 4; in += 4, out += 3) {
        const uint32_t v0 = values[in[0]], v1 = values[in[1]], v2 = values[in[2]],
                       v3 = values[in[3]];
        if (((v0 | v1 | v2 | v3) & BAD) != 0)
            break;
        const uint32_t bits = v0 << 18 | v1 << 12 | v2 << 6 | v3;
        out[0] = (uint8_t)(bits >> 16);
        out[1] = (uint8_t)(bits >> 8);
        out[2] = (uint8_t)bits;
    }
    d->in = in;
    d->out = out;
}

/* One group of up to four letters with line ends and padding among them.  1: a whole group, more
 * may follow; 0: that was the end; -1: not base64. */
static int
decode_group(struct decoder *d)
{
    uint32_t bits = 0, have = 0, pads = 0;

    while (d->in < d->end && have + pads < 4) {
        const uint8_t v = values[*d->in++];
        if (v == SKIP)
            continue;
        if (v == PAD && have >= 2) {
            pads++;
            continue;
        }
        if ((v & BAD) != 0 || pads > 0)
            return -1;
        bits = bits << 6 | v;
        have++;
    }
    if (have == 1 || (pads > 0 && have + pads != 4))
        return -1;
    if (have >= 2) {
        bits <<= 6 * (4 - have);
        *d->out++ = (uint8_t)(bits >> 16);
    }
    if (have >= 3)
        *d->out++ = (uint8_t)(bits >> 8);
    if (have == 4) {
        *d->out++ = (uint8_t)bits;
        return 1;
    }
    for (; d->in < d->end; d->in++) /* after the padding only line ends */
        if (values[*d->in] != SKIP)
            return -1;
    return 0;
}

bool
berth_base64_decode(struct berth_arena *a, const char *text, size_t len, void **ret,
                    size_t *ret_len)
{
    uint8_t *bytes = berth_arena_alloc_raw(a, len / 4 * 3 + 3);
    struct decoder d = {(const uint8_t *)text, (const uint8_t *)text + len, bytes};
    int more = 1;

    if (bytes == NULL)
        return false;
    while (more == 1 && d.in < d.end) {
        decode_fast(&d);
        more = decode_group(&d);
    }
    if (more < 0)
        return false;
    *ret = bytes;
    *ret_len = (size_t)(d.out - bytes);
    return true;
}

void
berth_base64_put(struct berth_buf *b, const void *bytes, size_t len)
{
    const uint8_t *in = bytes;
    char *out = len <= SIZE_MAX / 2 ? berth_buf_reserve(b, (len + 2) / 3 * 4) : NULL;

    if (out == NULL) {
        b->failed = true;
        return;
    }
    b->len += (len + 2) / 3 * 4;
    for (; len >= 3; len -= 3, in += 3, out += 4) {
        const uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        out[0] = letters[bits >> 18];
        out[1] = letters[bits >> 12 & 63];
        out[2] = letters[bits >> 6 & 63];
        out[3] = letters[bits & 63];
    }
    if (len > 0) {
        const uint32_t bits = (uint32_t)in[0] << 16 | (len == 2 ? (uint32_t)in[1] << 8 : 0);
        out[0] = letters[bits >> 18];
        out[1] = letters[bits >> 12 & 63];
        out[2] = (char)(len == 2 ? letters[bits >> 6 & 63] : '=');
        out[3] = '=';
    }
}
