#include "wire/pb_align.h"

#include <string.h>

#include "wire/pb.h"

enum state {
    TAG,    /* reads a field's number and type */
    VALUE,  /* ... a number that is the value */
    LENGTH, /* ... a payload's length */
    SKIP,   /* copies `left` bytes */
    LOST,   /* the message is damaged: copies all that comes */
};

enum { FILLER_TAG = 15 << 3 | BERTH_PB_BYTES, FILLER_MIN = 2, SHIFT_MAX = 63 };

/* A payload begins where the output ends: move its field's first bytes so that it is aligned. */
static void
fill(struct berth_pb_align *a, char *to)
{
    const size_t over = a->out_len % BERTH_PB_ALIGN_TO;
    size_t n = over > 0 ? BERTH_PB_ALIGN_TO - over : 0;

    if (n > 0 && n < FILLER_MIN)
        n += BERTH_PB_ALIGN_TO;
    if (n == 0 || n > BERTH_PB_ALIGN_SPARE - a->spare_used)
        return;
    memmove(to + a->tag_at + n, to + a->tag_at, a->out_len - a->tag_at);
    memset(to + a->tag_at, 0, n);
    to[a->tag_at] = FILLER_TAG;
    to[a->tag_at + 1] = (char)(n - FILLER_MIN);
    a->out_len += n;
    a->spare_used += n;
}

static void
tag_read(struct berth_pb_align *a)
{
    a->tag = (uint32_t)a->number;
    switch (a->number & 7) {
    case BERTH_PB_VARINT:
        a->state = VALUE;
        break;
    case BERTH_PB_BYTES:
        a->state = LENGTH;
        break;
    case BERTH_PB_FIXED32:
        a->state = SKIP;
        a->left = 4;
        break;
    case BERTH_PB_FIXED64:
        a->state = SKIP;
        a->left = 8;
        break;
    default:
        a->state = LOST;
        break;
    }
}

/* One byte of a number. */
static void
take(struct berth_pb_align *a, char *to, unsigned char byte)
{
    if (a->state == TAG && a->shift == 0)
        a->tag_at = a->out_len;
    to[a->out_len++] = (char)byte;
    a->number |= (uint64_t)(byte & 0x7f) << a->shift;
    if (byte >= 0x80) {
        a->shift += 7;
        if (a->shift > SHIFT_MAX)
            a->state = LOST;
        return;
    }
    if (a->state == TAG) {
        tag_read(a);
    } else if (a->state == VALUE) {
        a->state = TAG;
    } else {
        if (a->tag >> 3 == a->field && a->number >= BERTH_PB_ALIGN_FROM)
            fill(a, to);
        a->left = a->number;
        a->state = a->left > 0 ? SKIP : TAG;
    }
    a->number = 0;
    a->shift = 0;
}

void
berth_pb_align_put(struct berth_pb_align *a, char *to, const char *at, size_t n)
{
    while (n > 0) {
        size_t step = 1;

        if (a->state == SKIP || a->state == LOST) {
            step = a->state == LOST || a->left > n ? n : (size_t)a->left;
            memcpy(to + a->out_len, at, step);
            a->out_len += step;
            a->left -= a->state == SKIP ? step : 0;
            if (a->state == SKIP && a->left == 0)
                a->state = TAG;
        } else {
            take(a, to, (unsigned char)*at);
        }
        at += step;
        n -= step;
    }
}
