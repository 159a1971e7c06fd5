#ifndef BERTH_NET_DIGEST_H
#define BERTH_NET_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * SHA-256: of a file while it arrives, of a key.  One object, one thread; different objects may be
 * used at the same time.
 */
struct berth_digest;

enum {
    BERTH_DIGEST_BYTES = 32,
    BERTH_DIGEST_HEX = 2 * BERTH_DIGEST_BYTES + 1, /* with the NUL */
};

/* NULL: no memory. */
struct berth_digest *berth_digest_new(void);
/* NULL is fine. */
void berth_digest_free(struct berth_digest *d);
/* Forget what was put; the next sum starts from nothing. */
void berth_digest_reset(struct berth_digest *d);
void berth_digest_put(struct berth_digest *d, const void *bytes, size_t n);
/* The sum of all that was put, as lower-case hex; d is reset. */
void berth_digest_hex(struct berth_digest *d, char ret[BERTH_DIGEST_HEX]);

/* The sum of n bytes at once.  Never fails, allocates nothing. */
void berth_digest_of(const void *bytes, size_t n, char ret[BERTH_DIGEST_HEX]);

/* Other sums, for those who ask for them by name: nothing here is secured by SHA-1. */
enum berth_digest_kind { BERTH_DIGEST_SHA1, BERTH_DIGEST_SHA256, BERTH_DIGEST_SHA512 };
enum { BERTH_DIGEST_HEX_MAX = 2 * 64 + 1 };
/* The sum of n bytes as lower-case hex.  Never fails, allocates nothing. */
void berth_digest_sum(enum berth_digest_kind kind, const void *bytes, size_t n,
                      char ret[BERTH_DIGEST_HEX_MAX]);

/* Takes as long whatever the two differ in: for keys and their sums. */
bool berth_digest_equal(const void *a, const void *b, size_t n);

/* 64 hex digits of either case, len of them, to lower case.  False, and ret untouched, for anything
 * else. */
bool berth_digest_parse(const char *text, size_t len, char ret[BERTH_DIGEST_HEX]);

#endif
