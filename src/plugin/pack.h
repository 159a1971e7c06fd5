#ifndef BERTH_PACK_H
#define BERTH_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Numbers and texts one after the other, in this machine's byte order: both ends are the same
 * program.  A writer that is full and a reader that is at fault stay so: pack as much as you like
 * and look once at the end.  No allocation; one thread at a time.
 */
struct berth_pack {
    unsigned char *at;
    size_t cap, len;
    bool full;
};

struct berth_unpack {
    const unsigned char *at;
    size_t len, pos;
    bool bad;
};

static inline void
berth_pack_raw(struct berth_pack *p, const void *from, size_t n)
{
    if (p->full || n > p->cap - p->len) {
        p->full = true;
        return;
    }
    if (n > 0)
        memcpy(p->at + p->len, from, n);
    p->len += n;
}

static inline void
berth_pack_u32(struct berth_pack *p, uint32_t v)
{
    berth_pack_raw(p, &v, sizeof v);
}

static inline void
berth_pack_u64(struct berth_pack *p, uint64_t v)
{
    berth_pack_raw(p, &v, sizeof v);
}

static inline void
berth_pack_f32(struct berth_pack *p, float v)
{
    berth_pack_raw(p, &v, sizeof v);
}

/* len bytes with a NUL behind them, so that a reader may use them where they are. */
static inline void
berth_pack_bytes(struct berth_pack *p, const void *from, size_t len)
{
    berth_pack_u64(p, len);
    berth_pack_raw(p, from, len);
    berth_pack_raw(p, "", 1);
}

/* A text; NULL becomes "". */
static inline void
berth_pack_text(struct berth_pack *p, const char *text)
{
    berth_pack_bytes(p, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

static inline bool
berth_unpack_raw(struct berth_unpack *u, void *to, size_t n)
{
    if (u->bad || n > u->len - u->pos) {
        u->bad = true;
        memset(to, 0, n);
        return false;
    }
    memcpy(to, u->at + u->pos, n);
    u->pos += n;
    return true;
}

static inline uint32_t
berth_unpack_u32(struct berth_unpack *u)
{
    uint32_t v;

    (void)berth_unpack_raw(u, &v, sizeof v);
    return v;
}

static inline uint64_t
berth_unpack_u64(struct berth_unpack *u)
{
    uint64_t v;

    (void)berth_unpack_raw(u, &v, sizeof v);
    return v;
}

static inline float
berth_unpack_f32(struct berth_unpack *u)
{
    float v;

    (void)berth_unpack_raw(u, &v, sizeof v);
    return v;
}

/* A number that may be at most max: more is a fault. */
static inline uint32_t
berth_unpack_count(struct berth_unpack *u, uint32_t max)
{
    uint32_t v = berth_unpack_u32(u);

    if (v <= max)
        return v;
    u->bad = true;
    return 0;
}

/* Where the bytes stand in the message, with a NUL behind them; "" when at fault, never NULL. */
static inline const char *
berth_unpack_bytes(struct berth_unpack *u, size_t *ret_len)
{
    uint64_t len = berth_unpack_u64(u);

    if (u->bad || len >= u->len - u->pos || u->at[u->pos + len] != '\0') {
        u->bad = true;
        *ret_len = 0;
        return "";
    }
    const char *text = (const char *)u->at + u->pos;
    u->pos += len + 1;
    *ret_len = len;
    return text;
}

/* A text of at most len_max bytes without a NUL in it. */
static inline const char *
berth_unpack_text(struct berth_unpack *u, size_t len_max)
{
    size_t len;
    const char *text = berth_unpack_bytes(u, &len);

    if (len <= len_max && memchr(text, '\0', len) == NULL)
        return text;
    u->bad = true;
    return "";
}

#endif
