#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "operator/cluster/controller_priv.h"
#include "wire/json.h"

/* Children that are being deleted: when it is told who keeps them from going. */

static const struct berth_json *
going(struct berth_arena *a, const char *finalizers, time_t seconds)
{
    const time_t at = time(NULL) - seconds;
    const struct berth_json *ret = NULL;
    char text[40];
    struct tm utc;

    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &utc));
    const char *object = berth_arena_printf(
        a, "{\"metadata\":{\"deletionTimestamp\":\"%s\",\"finalizers\":[%s]}}", text, finalizers);
    assert_int_equal(berth_json_parse(a, object, strlen(object), NULL, &ret, NULL), 0);
    return ret;
}

static void
who_keeps_it_is_told_in_time(void **unused)
{
    static const struct {
        const char *why, *finalizers;
        time_t seconds;
        bool wished, told_before, held_up;
        const char *says; /* NULL: nothing is told */
    } cases[] = {
        {"it has just begun", "\"x/y\"", 0, true, false, false, NULL},
        {"a minute", "\"x/y\",\"z\"", 60, true, false, true,
         "the finalizer x/y, z: it is made anew"},
        {"of one that is not wished for", "\"x/y\"", 60, false, false, true,
         "x/y: it is not wished for any more; let it go (kubectl edit -n n services svc)"},
        {"it was told already", "\"x/y\"", 60, true, true, true, NULL},
        {"pods have a while to end", "\"foregroundDeletion\"", 60, true, false, false, NULL},
        {"so has a cloud", "\"service.kubernetes.io/load-balancer-cleanup\"", 60, false, false,
         false, NULL},
        {"but not for ever", "\"service.kubernetes.io/load-balancer-cleanup\"", 600, false, false,
         true, "load-balancer-cleanup"},
        {"nor beside another", "\"orphan\",\"x/y\"", 60, true, false, true, "orphan, x/y"},
        {"nobody keeps it", "", 600, true, false, true, "the API server"},
    };
    const struct berth_kube_ref ref = {.kind = &berth_kube_services, .space = "n", .name = "svc"};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct berth_arena a;
        berth_arena_init(&a, 1 << 20);
        struct msvc_look x = {.a = &a};
        const struct berth_json *live = going(&a, cases[i].finalizers, cases[i].seconds);
        print_message("  %s\n", cases[i].why);
        assert_int_equal(msvc_see_it_go(&x, &ref, live, cases[i].wished, cases[i].told_before),
                         cases[i].held_up);
        assert_true(x.again_ns > 0 && x.again_ns <= 120 * BERTH_S); /* it is looked at again */
        if (cases[i].says == NULL)
            assert_null(x.held_up);
        else
            assert_non_null(strstr(x.held_up != NULL ? x.held_up : "", cases[i].says));
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(who_keeps_it_is_told_in_time)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
