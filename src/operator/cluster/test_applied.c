#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "operator/cluster/controller_priv.h"
#include "wire/json.h"

/* What was applied, and when it is applied again. */

static const struct berth_kube_kind kind = {"v1", "Thing", "things", false};
static const char key[] = "u v1/Thing x";

static const struct berth_json *
parsed(struct berth_arena *a, const char *text)
{
    const struct berth_json *ret = NULL;

    assert_int_equal(berth_json_parse(a, text, strlen(text), NULL, &ret, NULL), 0);
    return ret;
}

static const struct {
    const char *what, *after, *live, *wish, *digest;
    bool gone, done, behind;
} cases[] = {
    {"the version of the apply, whatever the server made of it",
     "{\"metadata\":{\"resourceVersion\":\"7\"}}", "{\"metadata\":{\"resourceVersion\":\"7\"}}",
     "{\"spec\":{\"a\":1}}", "d", false, true, false},
    {"the cache has an older one", "{\"metadata\":{\"resourceVersion\":\"17\"}}",
     "{\"metadata\":{\"resourceVersion\":\"8\"}}", "{}", "d", false, true, true},
    {"the cache has none yet", "{\"metadata\":{\"resourceVersion\":\"17\"}}", NULL, "{}", "d",
     false, true, true},
    {"it was deleted since", "{\"metadata\":{\"resourceVersion\":\"17\"}}", NULL, "{}", "d", true,
     false, false},
    {"something else is wished for", "{\"metadata\":{\"resourceVersion\":\"7\"}}",
     "{\"metadata\":{\"resourceVersion\":\"7\"}}", "{}", "e", false, false, false},
    {"what the server leaves out is still left out",
     "{\"metadata\":{\"resourceVersion\":\"7\"},\"spec\":{\"b\":\"1\"}}",
     "{\"metadata\":{\"resourceVersion\":\"9\"},\"spec\":{\"b\":\"1\"},\"status\":{}}",
     "{\"spec\":{\"a\":\"\",\"b\":\"1000m\"}}", "d", false, true, false},
    {"somebody else changed it",
     "{\"metadata\":{\"resourceVersion\":\"7\"},\"spec\":{\"b\":\"1\"}}",
     "{\"metadata\":{\"resourceVersion\":\"9\"},\"spec\":{\"b\":\"2\"}}",
     "{\"spec\":{\"a\":\"\",\"b\":\"1000m\"}}", "d", false, false, false},
    /* Whether it says what is wished for is seen by looking at it. */
    {"it was taken as it is", "{\"metadata\":{\"resourceVersion\":\"7\"},\"spec\":{\"b\":1}}",
     "{\"metadata\":{\"resourceVersion\":\"9\"},\"spec\":{\"b\":1}}", "{\"spec\":{\"b\":1}}", "d",
     false, false, false},
};

static void
what_came_of_an_apply_is_known(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct berth_msvc_controller c = {.applied = NULL};
        struct msvc_applied known;
        struct berth_arena a;
        bool behind = false;
        berth_arena_init(&a, 1 << 20);
        (void)pthread_mutex_init(&c.mu, NULL);
        const struct berth_json *wish = parsed(&a, cases[i].wish);
        assert_false(msvc_recall(&c, key, &known));
        msvc_note_applied(&c, key, "d", "d", wish, parsed(&a, cases[i].after));
        if (cases[i].gone)
            msvc_forget(&c, "u", &kind, "x");
        assert_true(msvc_recall(&c, key, &known));
        const struct berth_json *live = cases[i].live != NULL ? parsed(&a, cases[i].live) : NULL;
        if (msvc_is_as_applied(&known, cases[i].digest, live, wish, &behind) != cases[i].done ||
            behind != cases[i].behind)
            fail_msg("%s", cases[i].what);
        msvc_forget(&c, "u", NULL, NULL);
        assert_false(msvc_recall(&c, key, &known));
        (void)pthread_mutex_destroy(&c.mu);
        berth_arena_fini(&a);
    }
}

static void
what_is_undone_each_time_is_held_back(void **unused)
{
    static const uint64_t waits_s[] = {0, 1, 2, 4, 8, 16, 32, 60, 60, 60};
    struct berth_msvc_controller c = {.applied = NULL};
    struct msvc_applied known;
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    (void)pthread_mutex_init(&c.mu, NULL);
    const struct berth_json *any = parsed(&a, "{}");
    for (size_t i = 0; i < sizeof waits_s / sizeof *waits_s; i++) {
        msvc_note_applied(&c, key, "d", "d", any, any);
        msvc_forget(&c, "u", &kind, "x"); /* a deletion counts, too */
        assert_true(msvc_recall(&c, key, &known));
        assert_int_equal(known.undone, i);
        known.at_ns = berth_now_ns(); /* as if it were that moment */
        const uint64_t hold_ns = msvc_hold_ns(&known);
        assert_true(hold_ns <= waits_s[i] * BERTH_S && (hold_ns > 0 || waits_s[i] == 0));
        known.at_ns -= waits_s[i] * BERTH_S;
        assert_int_equal(msvc_hold_ns(&known), 0);
    }
    /* Another wish begins anew. */
    msvc_note_applied(&c, key, "e", "e", any, any);
    assert_true(msvc_recall(&c, key, &known));
    assert_int_equal(known.undone, 0);
    msvc_forget(&c, NULL, NULL, NULL);
    assert_null(c.applied);
    (void)pthread_mutex_destroy(&c.mu);
    berth_arena_fini(&a);
}

/* With replicas that others set it is made with them, and handed over without. */
static void
one_that_is_handed_over_is_held_back_as_well(void **unused)
{
    struct berth_msvc_controller c = {.applied = NULL};
    struct msvc_applied known;
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    (void)pthread_mutex_init(&c.mu, NULL);
    const struct berth_json *any = parsed(&a, "{}");
    for (unsigned i = 0; i < 5; i++) {
        msvc_note_applied(&c, key, "made", "like", any, any);
        assert_true(msvc_recall(&c, key, &known));
        assert_int_equal(known.undone, i);
        msvc_note_applied(&c, key, "handed over", "like", any, any);
        assert_true(msvc_recall(&c, key, &known));
        assert_int_equal(known.undone, i); /* nobody undid anything */
        msvc_forget(&c, "u", &kind, "x");
    }
    msvc_forget(&c, NULL, NULL, NULL);
    (void)pthread_mutex_destroy(&c.mu);
    berth_arena_fini(&a);
}

static void
what_is_wished_for_anew_all_the_time_is_paced(void **unused)
{
    struct berth_msvc_controller c = {.applied = NULL};
    struct msvc_applied known;
    struct berth_arena a;
    char digest[16];

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    (void)pthread_mutex_init(&c.mu, NULL);
    const struct berth_json *any = parsed(&a, "{}");
    for (int i = 0; i < 5; i++) {
        if (msvc_recall(&c, key, &known))
            assert_int_equal(msvc_pace_ns(&known), 0);
        (void)snprintf(digest, sizeof digest, "d%d", i);
        msvc_note_applied(&c, key, digest, digest, any, any);
    }
    assert_true(msvc_recall(&c, key, &known));
    known.paced_ns = berth_now_ns() + 5 * BERTH_S; /* as if it were that moment */
    assert_in_range(msvc_pace_ns(&known), 1, BERTH_S);
    known.paced_ns -= BERTH_S;
    assert_int_equal(msvc_pace_ns(&known), 0);
    msvc_forget(&c, NULL, NULL, NULL);
    (void)pthread_mutex_destroy(&c.mu);
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_of_an_apply_is_known),
        cmocka_unit_test(what_is_undone_each_time_is_held_back),
        cmocka_unit_test(what_is_wished_for_anew_all_the_time_is_paced),
        cmocka_unit_test(one_that_is_handed_over_is_held_back_as_well)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
