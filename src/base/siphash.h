#ifndef BERTH_SIPHASH_H
#define BERTH_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * SipHash-2-4 with 128 bits (Aumasson, Bernstein: "SipHash: a fast short-input PRF"): without the
 * key nobody can tell its values from chance, or make two texts that have the same one.  One thread
 * at a time; no memory, no failure.
 */
enum { BERTH_SIPHASH_KEY = 16, BERTH_SIPHASH_BYTES = 16 };

struct berth_siphash {
    uint64_t v[4];
    uint64_t len;  /* bytes put */
    uint64_t tail; /* the last len % 8 of them */
};

void berth_siphash_init(struct berth_siphash *s, const uint8_t key[BERTH_SIPHASH_KEY]);
void berth_siphash_put(struct berth_siphash *s, const void *bytes, size_t n);
/* A number, as 8 bytes. */
void berth_siphash_put_u64(struct berth_siphash *s, uint64_t n);
/* The value of all that was put; s is used up. */
void berth_siphash_end(struct berth_siphash *s, uint8_t ret[BERTH_SIPHASH_BYTES]);

#endif
