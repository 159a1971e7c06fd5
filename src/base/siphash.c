#include "base/siphash.h"

#include <endian.h>
#include <string.h>

static uint64_t
rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static uint64_t
load(const void *at)
{
    uint64_t x;

    memcpy(&x, at, sizeof x);
    return le64toh(x);
}

static void
rounds(uint64_t v[4], int n)
{
    uint64_t a = v[0], b = v[1], c = v[2], d = v[3];

    for (int i = 0; i < n; i++) {
        a += b;
        b = rotate(b, 13) ^ a;
        a = rotate(a, 32);
        c += d;
        d = rotate(d, 16) ^ c;
        a += d;
        d = rotate(d, 21) ^ a;
        c += b;
        b = rotate(b, 17) ^ c;
        c = rotate(c, 32);
    }
    v[0] = a;
    v[1] = b;
    v[2] = c;
    v[3] = d;
}

static void
word(uint64_t v[4], uint64_t m)
{
    v[3] ^= m;
    rounds(v, 2);
    v[0] ^= m;
}

void
berth_siphash_init(struct berth_siphash *s, const uint8_t key[BERTH_SIPHASH_KEY])
{
    const uint64_t k0 = load(key), k1 = load(key + 8);

    *s = (struct berth_siphash){
        .v = {UINT64_C(0x736f6d6570736575) ^ k0, UINT64_C(0x646f72616e646f6d) ^ k1 ^ 0xee,
              UINT64_C(0x6c7967656e657261) ^ k0, UINT64_C(0x7465646279746573) ^ k1}};
}

void
berth_siphash_put(struct berth_siphash *s, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    unsigned filled = (unsigned)(s->len % 8);
    uint64_t v[4];

    s->len += n;
    for (; filled > 0 && n > 0; n--, at++) {
        s->tail |= (uint64_t)*at << (8 * filled);
        filled = (filled + 1) % 8;
        if (filled == 0) {
            word(s->v, s->tail);
            s->tail = 0;
        }
    }
    memcpy(v, s->v, sizeof v);
    for (; n >= 8; n -= 8, at += 8)
        word(v, load(at));
    memcpy(s->v, v, sizeof v);
    for (; n > 0; n--, at++, filled++)
        s->tail |= (uint64_t)*at << (8 * filled);
}

void
berth_siphash_put_u64(struct berth_siphash *s, uint64_t n)
{
    n = htole64(n);
    berth_siphash_put(s, &n, sizeof n);
}

void
berth_siphash_end(struct berth_siphash *s, uint8_t ret[BERTH_SIPHASH_BYTES])
{
    uint64_t *v = s->v, half[2];

    word(v, s->len << 56 | s->tail);
    v[2] ^= 0xee;
    rounds(v, 4);
    half[0] = htole64(v[0] ^ v[1] ^ v[2] ^ v[3]);
    v[1] ^= 0xdd;
    rounds(v, 4);
    half[1] = htole64(v[0] ^ v[1] ^ v[2] ^ v[3]);
    memcpy(ret, half, sizeof half);
}
