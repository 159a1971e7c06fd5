#include "net/digest.h"

#include <assert.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/assert.h"

struct berth_digest {
    EVP_MD_CTX *sum;
};

static_assert(BERTH_DIGEST_BYTES == SHA256_DIGEST_LENGTH, "bytes of a SHA-256");

static void
hex(const unsigned char *sum, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[sum[i] >> 4];
        ret[2 * i + 1] = digits[sum[i] & 15];
    }
    ret[2 * n] = '\0';
}

struct berth_digest *
berth_digest_new(void)
{
    struct berth_digest *d = malloc(sizeof *d);

    if (d == NULL)
        return NULL;
    d->sum = EVP_MD_CTX_new();
    /* The first initialisation allocates what the later ones use again. */
    if (d->sum == NULL || EVP_DigestInit_ex(d->sum, EVP_sha256(), NULL) != 1) {
        berth_digest_free(d);
        return NULL;
    }
    return d;
}

void
berth_digest_free(struct berth_digest *d)
{
    if (d == NULL)
        return;
    EVP_MD_CTX_free(d->sum);
    free(d);
}

void
berth_digest_reset(struct berth_digest *d)
{
    berth_assert(EVP_DigestInit_ex(d->sum, NULL, NULL) == 1);
}

void
berth_digest_put(struct berth_digest *d, const void *bytes, size_t n)
{
    berth_assert(EVP_DigestUpdate(d->sum, bytes, n) == 1);
}

void
berth_digest_hex(struct berth_digest *d, char ret[BERTH_DIGEST_HEX])
{
    unsigned char sum[BERTH_DIGEST_BYTES];

    berth_assert(EVP_DigestFinal_ex(d->sum, sum, NULL) == 1);
    hex(sum, sizeof sum, ret);
    berth_digest_reset(d);
}

void
berth_digest_of(const void *bytes, size_t n, char ret[BERTH_DIGEST_HEX])
{
    unsigned char sum[BERTH_DIGEST_BYTES];

    (void)SHA256(bytes, n, sum);
    hex(sum, sizeof sum, ret);
}

void
berth_digest_sum(enum berth_digest_kind kind, const void *bytes, size_t n,
                 char ret[BERTH_DIGEST_HEX_MAX])
{
    unsigned char sum[SHA512_DIGEST_LENGTH];
    size_t len = 0;

    static_assert(2 * sizeof sum + 1 == BERTH_DIGEST_HEX_MAX, "the longest of them");
    switch (kind) {
    case BERTH_DIGEST_SHA1:
        (void)SHA1(bytes, n, sum);
        len = SHA_DIGEST_LENGTH;
        break;
    case BERTH_DIGEST_SHA256:
        (void)SHA256(bytes, n, sum);
        len = SHA256_DIGEST_LENGTH;
        break;
    case BERTH_DIGEST_SHA512:
        (void)SHA512(bytes, n, sum);
        len = SHA512_DIGEST_LENGTH;
        break;
    }
    hex(sum, len, ret);
}

bool
berth_digest_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

bool
berth_digest_parse(const char *text, size_t len, char ret[BERTH_DIGEST_HEX])
{
    char lower[BERTH_DIGEST_HEX];

    if (len != BERTH_DIGEST_HEX - 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        const char c = text[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))
            lower[i] = c;
        else if (c >= 'A' && c <= 'F')
            lower[i] = (char)(c - 'A' + 'a');
        else
            return false;
    }
    for (size_t i = 0; i < len; i++)
        ret[i] = lower[i];
    ret[len] = '\0';
    return true;
}
