#include "wire/pb.h"

#include <string.h>

enum { VARINT_MAX = 10 };

/* Of more than one byte, or cut short. */
static bool
long_varint(const char **at, const char *end, uint64_t *ret)
{
    const unsigned char *p = (const unsigned char *)*at;
    const size_t left = (size_t)(end - *at);
    const size_t max = left < VARINT_MAX ? left : VARINT_MAX;
    uint64_t n = 0;

    for (size_t i = 0; i < max; i++) {
        if (i == VARINT_MAX - 1 && p[i] > 1) /* beyond the 64th bit */
            return false;
        n |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            *ret = n;
            *at += i + 1;
            return true;
        }
    }
    return false;
}

/* n bytes in little-endian order. */
static bool
fixed(const char **at, const char *end, size_t n, uint64_t *ret)
{
    uint64_t value = 0;

    if ((size_t)(end - *at) < n)
        return false;
    memcpy(&value, *at, n);
    *at += n;
    *ret = value;
    return true;
}

/* A number at *at, which moves behind it.  False: cut short, or longer than 64 bits. */
static bool
read_varint(const char **at, const char *end, uint64_t *ret)
{
    if (*at < end && (unsigned char)**at < 0x80) {
        *ret = (unsigned char)*(*at)++;
        return true;
    }
    return long_varint(at, end, ret);
}

static bool
take(struct berth_pb *p, struct berth_pb_field *ret)
{
    uint64_t tag, len;

    if (!read_varint(&p->at, p->end, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return false;
    ret->number = (uint32_t)(tag >> 3);
    ret->type = (enum berth_pb_type)(tag & 7);
    switch (tag & 7) {
    case BERTH_PB_VARINT:
        return read_varint(&p->at, p->end, &ret->value);
    case BERTH_PB_FIXED64:
        return fixed(&p->at, p->end, 8, &ret->value);
    case BERTH_PB_FIXED32:
        return fixed(&p->at, p->end, 4, &ret->value);
    case BERTH_PB_BYTES:
        if (!read_varint(&p->at, p->end, &len) || len > (uint64_t)(p->end - p->at))
            return false;
        ret->bytes = (struct berth_slice){p->at, (size_t)len};
        p->at += len;
        return true;
    default: /* groups, which proto3 does not have, and numbers without meaning */
        return false;
    }
}

bool
berth_pb_next(struct berth_pb *p, struct berth_pb_field *ret)
{
    if (p->bad || p->at == p->end)
        return false;
    p->bad = !take(p, ret);
    return !p->bad;
}

bool
berth_pb_number(struct berth_pb_field *f, enum berth_pb_type form, uint64_t *ret, bool *ret_bad)
{
    const char *at = f->bytes.at, *end = at + f->bytes.len;
    bool ok = false;

    if (f->type != BERTH_PB_BYTES) {
        *ret_bad |= f->type != form;
        *ret = f->value;
        f->type = BERTH_PB_BYTES; /* taken */
        f->bytes = (struct berth_slice){"", 0};
        return !*ret_bad;
    }
    if (at == end)
        return false;
    switch (form) {
    case BERTH_PB_VARINT:
        ok = read_varint(&at, end, ret);
        break;
    case BERTH_PB_FIXED32:
        ok = fixed(&at, end, 4, ret);
        break;
    case BERTH_PB_FIXED64:
        ok = fixed(&at, end, 8, ret);
        break;
    case BERTH_PB_BYTES:
        ok = false;
        break;
    }
    f->bytes = (struct berth_slice){at, (size_t)(end - at)};
    *ret_bad |= !ok;
    return ok;
}

/* ---- writing ---- */

static size_t
varint_len(uint64_t n)
{
    size_t len = 1;

    for (; n >= 0x80; n >>= 7)
        len++;
    return len;
}

void
berth_pb_put_varint(struct berth_buf *b, uint64_t n)
{
    char *to = berth_buf_reserve(b, VARINT_MAX);

    if (to == NULL)
        return;
    for (; n >= 0x80; n >>= 7, b->len++)
        *to++ = (char)(n | 0x80);
    *to = (char)n;
    b->len++;
}

void
berth_pb_put_tag(struct berth_buf *b, uint32_t number, enum berth_pb_type type)
{
    berth_pb_put_varint(b, (uint64_t)number << 3 | type);
}

void
berth_pb_put_uint(struct berth_buf *b, uint32_t number, uint64_t n)
{
    berth_pb_put_tag(b, number, BERTH_PB_VARINT);
    berth_pb_put_varint(b, n);
}

void
berth_pb_put_bytes(struct berth_buf *b, uint32_t number, const void *at, size_t len)
{
    berth_pb_put_tag(b, number, BERTH_PB_BYTES);
    berth_pb_put_varint(b, len);
    if (len > 0)
        berth_buf_put(b, at, len);
}

void
berth_pb_put_text(struct berth_buf *b, uint32_t number, const char *text)
{
    berth_pb_put_bytes(b, number, text, strlen(text));
}

/* One byte is left for the length, as most are that short; others push what follows. */
size_t
berth_pb_begin(struct berth_buf *b, uint32_t number)
{
    berth_pb_put_tag(b, number, BERTH_PB_BYTES);
    berth_buf_putc(b, 0);
    return b->len;
}

void
berth_pb_end(struct berth_buf *b, size_t begun)
{
    const size_t len = b->len - begun, more = varint_len(len) - 1;
    uint64_t n = len;

    if (b->failed || (more > 0 && berth_buf_reserve(b, more) == NULL))
        return;
    char *to = b->at + begun - 1;
    if (more > 0)
        memmove(to + 1 + more, to + 1, len);
    b->len += more;
    for (; n >= 0x80; n >>= 7)
        *to++ = (char)(n | 0x80);
    *to = (char)n;
}
