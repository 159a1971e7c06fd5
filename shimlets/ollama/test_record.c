#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "shimlets/ollama/ollama_priv.h"

static void
note(void *arg, const struct berth_ollama_record *r)
{
    unsigned *seen = arg;

    assert_string_equal(r->service_id, "svc");
    assert_string_equal(r->made[0].name, "m:1");
    assert_true(r->made[0].loaded);
    assert_false(r->made[0].cold);
    assert_int_equal(r->drain_ns, 7);
    *seen |= 1U << (r->unit[0] - 'a');
}

/* What has no sense in one file says nothing of the units of the others. */
static void
a_record_that_cannot_be_read_is_left_out(void **unused)
{
    static const char *const bad[] = {"", "{", "{\"unit\":\"u\"}"};
    char dir[] = "/tmp/berth-record-XXXXXX", path[64];
    struct berth_err e = {""};
    unsigned seen = 0;

    (void)unused;
    assert_non_null(mkdtemp(dir));
    const struct berth_shimlet s = {.dir = dir};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/bad-%zu.json", dir, i);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(bad[i], f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    for (char unit[] = "a"; unit[0] < 'e'; unit[0]++) {
        const struct berth_ollama_record r = {.unit = unit,
                                              .service_id = "svc",
                                              .track = "stable",
                                              .hash = "h",
                                              .host = "http://127.0.0.1:1",
                                              .drain_ns = 7,
                                              .made = {{.name = "m:1", .loaded = true}},
                                              .made_count = 1};
        assert_int_equal(berth_ollama_record_put(&s, &r, &e), 0);
    }
    assert_int_equal(berth_ollama_record_each(&s, note, &seen, &e), 0);
    assert_int_equal(seen, 0xf);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(path, sizeof path, "bad-%zu", i);
        assert_int_equal(berth_ollama_record_drop(&s, path, &e), 0);
    }
    for (char unit[] = "a"; unit[0] < 'e'; unit[0]++)
        assert_int_equal(berth_ollama_record_drop(&s, unit, &e), 0);
    assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_that_cannot_be_read_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
