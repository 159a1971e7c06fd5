#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "net/blocks.h"

static void
a_given_block_is_taken_again(void **unused)
{
    struct berth_blocks b = {0};
    char *first = berth_block_take(&b, 600 * 1024);

    assert_non_null(first);
    assert_int_equal((uintptr_t)first & 63, 0);
    memset(first, 1, 1024 * 1024); /* its whole class */
    berth_block_give(first);
    assert_int_equal(b.kept_bytes, 1024 * 1024);
    assert_ptr_equal(berth_block_take(&b, 1024 * 1024), first);
    assert_int_equal(b.kept_bytes, 0);
    berth_block_give(first);
    berth_blocks_drop(&b);
    assert_int_equal(b.kept_bytes, 0);
}

static void
sizes_that_are_not_kept_are_refused(void **unused)
{
    static const size_t sizes[] = {0, 1, 64 * 1024 - 1, 4 * 1024 * 1024 + 1, SIZE_MAX};
    struct berth_blocks b = {0};

    for (size_t i = 0; i < BERTH_COUNT(sizes); i++)
        assert_null(berth_block_take(&b, sizes[i]));
}

static void
no_more_than_the_limit_is_kept(void **unused)
{
    struct berth_blocks b = {0};
    void *taken[6];

    for (size_t i = 0; i < BERTH_COUNT(taken); i++)
        assert_non_null(taken[i] = berth_block_take(&b, 4 * 1024 * 1024));
    for (size_t i = 0; i < BERTH_COUNT(taken); i++)
        berth_block_give(taken[i]);
    assert_int_equal(b.kept_bytes, BERTH_BLOCKS_KEPT_MAX);
    berth_blocks_drop(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_given_block_is_taken_again),
        cmocka_unit_test(sizes_that_are_not_kept_are_refused),
        cmocka_unit_test(no_more_than_the_limit_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
