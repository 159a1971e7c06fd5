#include "wire/grpc.h"

#include <string.h>

#include <berth/err.h>

#include "base/num.h"

enum berth_grpc_event
berth_grpc_frames_put(struct berth_grpc_frames *f, const char **at, size_t *n)
{
    size_t take;

    if (!f->in_message) {
        take = sizeof f->head - f->head_len;
        take = take < *n ? take : *n;
        memcpy(f->head + f->head_len, *at, take);
        f->head_len = (uint8_t)(f->head_len + take);
        *at += take;
        *n -= take;
        if (f->head_len < sizeof f->head)
            return BERTH_GRPC_MORE;
        if (f->head[0] > 1)
            return BERTH_GRPC_BAD;
        f->in_message = true;
        f->compressed = f->head[0] == 1;
        f->len = (uint32_t)f->head[1] << 24 | (uint32_t)f->head[2] << 16 |
                 (uint32_t)f->head[3] << 8 | f->head[4];
        f->got = 0;
        f->to = NULL;
        f->align = (struct berth_pb_align){.field = 0};
        return BERTH_GRPC_BEGUN;
    }
    take = f->len - f->got;
    take = take < *n ? take : *n;
    if (take > 0 && f->align.field != 0)
        berth_pb_align_put(&f->align, f->to, *at, take);
    else if (take > 0)
        memcpy(f->to + f->got, *at, take);
    f->got += (uint32_t)take;
    *at += take;
    *n -= take;
    if (f->got < f->len)
        return BERTH_GRPC_MORE;
    f->in_message = false;
    f->head_len = 0;
    return BERTH_GRPC_MESSAGE;
}

bool
berth_grpc_frames_whole(const struct berth_grpc_frames *f)
{
    return !f->in_message && f->head_len == 0;
}

void
berth_grpc_head_put(char to[BERTH_GRPC_HEAD], bool compressed, size_t len)
{
    to[0] = (char)compressed;
    for (int i = 0; i < 4; i++)
        to[1 + i] = (char)(len >> (24 - 8 * i));
}

bool
berth_grpc_timeout_parse(struct berth_slice text, uint64_t *ret_ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {{'H', UINT64_C(3600000000000)},
                 {'M', UINT64_C(60000000000)},
                 {'S', UINT64_C(1000000000)},
                 {'m', 1000000},
                 {'u', 1000},
                 {'n', 1}};
    int64_t n;

    if (text.len < 2 || text.len > 9 || !berth_int_parse(text.at, text.len - 1, 0, 99999999, &n))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t ns;

        if (units[i].unit != text.at[text.len - 1])
            continue;
        if (__builtin_mul_overflow((uint64_t)n, units[i].ns, &ns))
            ns = UINT64_MAX;
        *ret_ns = ns > 0 ? ns : 1;
        return true;
    }
    return false;
}

void
berth_grpc_percent_put(struct berth_buf *b, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p >= ' ' && *p <= '~' && *p != '%') {
            berth_buf_putc(b, (char)*p);
        } else {
            const char escape[] = {'%', hex[*p >> 4], hex[*p & 15]};
            berth_buf_put(b, escape, sizeof escape);
        }
    }
}
