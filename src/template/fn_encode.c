#include <string.h>

#include "base/arena.h"
#include "net/digest.h"
#include "template/fn_priv.h"
#include "wire/base64.h"

/* Encodings and sums.  Where sprig puts the decoder's message into the text, these fail. */

BERTH_TFN(b64enc)
{
    struct berth_buf b;

    berth_trun_buf(r, &b);
    if (argv[0].s.len > 0)
        berth_base64_put(&b, argv[0].s.at, argv[0].s.len);
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(b64dec)
{
    void *at;
    size_t len;

    if (!berth_base64_decode(r->a, argv[0].s.at, argv[0].s.len, &at, &len))
        return berth_trun_fail(r, "this text is not base64");
    *ret = berth_tv_slice((struct berth_slice){at, len});
    return berth_trun_work(r, len);
}

static const char letters32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

BERTH_TFN(b32enc)
{
    const struct berth_slice s = argv[0].s;
    struct berth_buf b;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed; i += 5) {
        const size_t n = s.len - i < 5 ? s.len - i : 5;
        uint64_t v = 0;
        for (size_t j = 0; j < 5; j++)
            v = v << 8 | (j < n ? (unsigned char)s.at[i + j] : 0);
        for (size_t j = 0; j < 8; j++)
            berth_buf_put(&b, j * 5 < n * 8 ? &letters32[v >> (35 - 5 * j) & 31] : "=", 1);
    }
    return berth_trun_text(r, &b, ret);
}

/* How many bytes stand in eight letters of which the last `pads` are padding; 0: no such thing. */
static size_t
bytes_of(size_t pads)
{
    static const size_t bytes[] = {5, 4, 0, 3, 2, 0, 1, 0, 0};

    return bytes[pads];
}

BERTH_TFN(b32dec)
{
    const struct berth_slice s = argv[0].s;
    struct berth_buf b;
    size_t pads = 0;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len; i += 8) {
        uint64_t v = 0;
        if (s.len - i < 8 || pads > 0)
            return berth_trun_fail(r, "this text is not base32");
        for (size_t j = 0; j < 8; j++) {
            const char c = s.at[i + j];
            const char *at = c != '\0' ? strchr(letters32, c) : NULL;
            if ((at == NULL && c != '=') || (at != NULL && pads > 0))
                return berth_trun_fail(r, "this text is not base32");
            pads += at == NULL;
            v = v << 5 | (at != NULL ? (uint64_t)(at - letters32) : 0);
        }
        if (bytes_of(pads) == 0)
            return berth_trun_fail(r, "this text is not base32");
        for (size_t j = 0; j < bytes_of(pads); j++)
            berth_buf_putc(&b, (char)(v >> (32 - 8 * j)));
    }
    return berth_trun_text(r, &b, ret);
}

static int
summed(struct berth_trun *r, const struct berth_tvalue *v, enum berth_digest_kind kind,
       struct berth_tvalue *ret)
{
    char hex[BERTH_DIGEST_HEX_MAX];
    const int err = berth_trun_work(r, v->s.len / 4);

    if (err < 0)
        return err;
    berth_digest_sum(kind, v->s.at, v->s.len, hex);
    const char *text = berth_arena_strdup(r->a, hex);
    if (text == NULL)
        return berth_trun_nomem(r);
    *ret = berth_tv_text(text);
    return 0;
}

BERTH_TFN(sha1sum)
{
    return summed(r, &argv[0], BERTH_DIGEST_SHA1, ret);
}

BERTH_TFN(sha256sum)
{
    return summed(r, &argv[0], BERTH_DIGEST_SHA256, ret);
}

BERTH_TFN(sha512sum)
{
    return summed(r, &argv[0], BERTH_DIGEST_SHA512, ret);
}

BERTH_TFN(adler32sum)
{
    enum { PRIME = 65521 };
    uint32_t a = 1, b = 0;

    for (size_t i = 0; i < argv[0].s.len; i++) {
        a = (a + (unsigned char)argv[0].s.at[i]) % PRIME;
        b = (b + a) % PRIME;
    }
    const char *text = berth_arena_printf(r->a, "%u", b << 16 | a);
    if (text == NULL)
        return berth_trun_nomem(r);
    *ret = berth_tv_text(text);
    return 0;
}

/* clang-format off */
const struct berth_tfn berth_tfns_encode[] = {
    {"b64enc", "s", b64enc}, {"b64dec", "s", b64dec}, {"b32enc", "s", b32enc},
    {"b32dec", "s", b32dec}, {"sha1sum", "s", sha1sum}, {"sha256sum", "s", sha256sum},
    {"sha512sum", "s", sha512sum}, {"adler32sum", "s", adler32sum},
    {0},
};
/* clang-format on */
