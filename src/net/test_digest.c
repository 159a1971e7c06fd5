#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "net/digest.h"

#define SUM_ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SUM_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SUM_LONG  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"

/* The vectors of FIPS 180-4. */
static const struct {
    const char *text, *sum;
} vectors[] = {
    {"", SUM_EMPTY},
    {"abc", SUM_ABC},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", SUM_LONG},
};

static void
sums_are_those_of_the_standard(void **unused)
{
    struct berth_digest *d = berth_digest_new();
    char got[BERTH_DIGEST_HEX];

    (void)unused;
    assert_non_null(d);
    for (size_t i = 0; i < BERTH_COUNT(vectors); i++) {
        const size_t n = strlen(vectors[i].text);
        berth_digest_of(vectors[i].text, n, got);
        assert_string_equal(got, vectors[i].sum);
        for (size_t at = 0; at < n; at++) /* one byte at a time */
            berth_digest_put(d, vectors[i].text + at, 1);
        berth_digest_hex(d, got);
        assert_string_equal(got, vectors[i].sum);
    }
    berth_digest_put(d, "forgotten", 9);
    berth_digest_reset(d);
    berth_digest_put(d, "abc", 3);
    berth_digest_hex(d, got);
    assert_string_equal(got, SUM_ABC);
    berth_digest_free(d);
    berth_digest_free(NULL);
}

static void
other_sums_have_their_length(void **unused)
{
    static const struct {
        enum berth_digest_kind kind;
        const char *sum; /* of "abc", FIPS 180-4 */
    } cases[] = {
        {BERTH_DIGEST_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {BERTH_DIGEST_SHA256, SUM_ABC},
        {BERTH_DIGEST_SHA512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                              "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        char got[BERTH_DIGEST_HEX_MAX];
        berth_digest_sum(cases[i].kind, "abc", 3, got);
        assert_string_equal(got, cases[i].sum);
    }
}

static void
equal_looks_at_every_byte(void **unused)
{
    (void)unused;
    assert_true(berth_digest_equal(SUM_ABC, SUM_ABC, 64));
    for (size_t i = 0; i < 64; i++) {
        char other[] = SUM_ABC;
        other[i] ^= 1;
        assert_false(berth_digest_equal(SUM_ABC, other, 64));
    }
    assert_true(berth_digest_equal("a", "b", 0));
}

static void
parse_takes_64_hex_digits(void **unused)
{
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {SUM_ABC, true},
        {"BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", true},
        {"", false},
        {"ba7816bf", false},
        {SUM_ABC "0", false},
        {"ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", false},
        {"\"a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a\"", false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        char got[BERTH_DIGEST_HEX] = "untouched";
        print_message("  '%s'\n", cases[i].text);
        assert_int_equal(berth_digest_parse(cases[i].text, strlen(cases[i].text), got),
                         cases[i].ok);
        assert_string_equal(got, cases[i].ok ? SUM_ABC : "untouched");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_standard),
        cmocka_unit_test(other_sums_have_their_length),
        cmocka_unit_test(equal_looks_at_every_byte),
        cmocka_unit_test(parse_takes_64_hex_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
