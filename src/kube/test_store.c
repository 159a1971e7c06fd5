#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "kube/store.h"
#include "kube/watch.h"
#include "wire/json.h"

/* What is not kept of objects that are large. */

enum { LARGE = 1 << 20 };

/* An object with a MiB of spec. */
static char *
large_text(void)
{
    static const char before[] = "{\"kind\":\"K\",\"metadata\":{\"name\":\"n\",\"resourceVersion\":"
                                 "\"7\",\"labels\":{\"a\":\"b\"}},\"spec\":\"",
                      after[] = "\"}";
    char *text = malloc(sizeof before + sizeof after + LARGE);

    assert_non_null(text);
    memcpy(text, before, sizeof before);
    memset(text + sizeof before - 1, 'x', LARGE);
    memcpy(text + sizeof before - 1 + LARGE, after, sizeof after);
    return text;
}

static void
of_names_nothing_else_is_kept(void **unused)
{
    struct berth_kube_store *s = berth_kube_store_new(NULL, NULL, 2 * LARGE);
    const struct berth_json *object = NULL;
    struct berth_kube_stored one;
    struct berth_arena a;
    char *text = large_text();

    (void)unused;
    berth_arena_init(&a, 16 * LARGE);
    assert_int_equal(berth_json_parse(&a, text, strlen(text), NULL, &object, NULL), 0);
    berth_kube_store_keep_names(s);
    assert_int_equal(berth_kube_store_put(s, object), 1);
    assert_int_equal(berth_kube_store_put(s, object), 0); /* the same version */
    assert_true(berth_kube_store_bytes(s) < 1000);
    assert_true(berth_kube_store_get(s, "", "n", &one));
    assert_string_equal(one.text.at, "{\"metadata\":{\"name\":\"n\",\"resourceVersion\":\"7\"}}");
    berth_kube_store_free(s);
    berth_arena_fini(&a);
    free(text);
}

static bool
count(void *arg, enum berth_kube_event event, const struct berth_json *object, const char *version)
{
    (void)event;
    (void)object;
    (void)version;
    ++*(size_t *)arg;
    return true;
}

static void
room_of_a_large_event_is_given_back(void **unused)
{
    size_t events = 0;
    const struct berth_kube_watch w = {.each = count, .arg = &events};
    struct berth_kube_lines l;
    char *text = large_text();
    struct berth_err e;

    (void)unused;
    berth_kube_lines_init(&l, &w);
    for (size_t i = 0; i < 2; i++) {
        static const char begin[] = "{\"type\":\"ADDED\",\"object\":", end[] = "}\n";
        assert_int_equal(berth_kube_lines_feed(&l, begin, sizeof begin - 1, &e), 0);
        assert_int_equal(berth_kube_lines_feed(&l, text, strlen(text), &e), 0);
        assert_true(l.line.cap >= LARGE);
        assert_int_equal(berth_kube_lines_feed(&l, end, sizeof end - 1, &e), 0);
        assert_int_equal(events, i + 1);
        assert_true(l.line.cap < LARGE / 8);
        assert_int_equal(l.line.max, BERTH_KUBE_EVENT_MAX);
    }
    berth_kube_lines_fini(&l);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(of_names_nothing_else_is_kept),
                                       cmocka_unit_test(room_of_a_large_event_is_given_back)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
