#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "operator/cluster/controller_priv.h"
#include "wire/json.h"

/* Workloads that are short of replicas: what their pods say, and when these are asked. */

#define WAITS(reason) \
    "{\"name\":\"llm\",\"state\":{\"waiting\":{\"reason\":\"" reason "\",\"message\":\"why\"}}}"
#define ENDED(where, code, reason) \
    "\"" where "\":{\"terminated\":{\"exitCode\":" #code ",\"reason\":\"" reason "\"}}"
#define EUROS_3 "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
#define EUROS_33 \
    EUROS_3 EUROS_3 EUROS_3 EUROS_3 EUROS_3 EUROS_3 EUROS_3 EUROS_3 EUROS_3 EUROS_3 EUROS_3
#define EUROS_99 EUROS_33 EUROS_33 EUROS_33

static void
what_hinders_a_pod_is_told(void **unused)
{
    static const struct {
        const char *why, *pod, *told; /* NULL: nothing */
    } cases[] = {
        {"no machine has room",
         "{\"status\":{\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":"
         "\"Unschedulable\",\"message\":\"0/2 nodes are available\"}]}}",
         "pod p: Unschedulable: 0/2 nodes are available"},
        {"it has one",
         "{\"status\":{\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"True\"}]}}", NULL},
        {"no image", "{\"status\":{\"containerStatuses\":[" WAITS("ImagePullBackOff") "]}}",
         "pod p, container llm: ImagePullBackOff: why"},
        {"it is under way", "{\"status\":{\"containerStatuses\":[" WAITS("ContainerCreating") "]}}",
         NULL},
        {"what comes first fails",
         "{\"status\":{\"initContainerStatuses\":[" WAITS(
             "CrashLoopBackOff") "],\"containerStatuses\":[" WAITS("PodInitializing") "]}}",
         "pod p, container llm: CrashLoopBackOff: why"},
        {"it ends again and again",
         "{\"status\":{\"containerStatuses\":[{\"name\":\"llm\"," ENDED(
             "lastState", 137,
             "OOMKilled") ",\"state\":{\"waiting\":{\"reason\":\"CrashLoopBackOff\","
                          "\"message\":\"back-off 40s\"}}}]}}",
         "pod p, container llm: CrashLoopBackOff: back-off 40s; it ended with OOMKilled, exit code "
         "137"},
        {"it has ended, and is to start again",
         "{\"status\":{\"containerStatuses\":[{\"name\":\"llm\",\"ready\":false," ENDED(
             "state", 1, "Error") "}]}}",
         "pod p, container llm: it ended with Error, exit code 1"},
        {"it has started again, and is not ready yet",
         "{\"status\":{\"containerStatuses\":[{\"name\":\"llm\",\"ready\":false," ENDED(
             "lastState", 137, "OOMKilled") ",\"state\":{\"running\":{}}}]}}",
         "pod p, container llm: started again; it ended with OOMKilled, exit code 137"},
        {"that is over: it is ready",
         "{\"status\":{\"containerStatuses\":[{\"name\":\"llm\",\"ready\":true," ENDED(
             "lastState", 137, "OOMKilled") ",\"state\":{\"running\":{}}}]}}",
         NULL},
        {"what comes first is done",
         "{\"status\":{\"initContainerStatuses\":[{\"name\":\"pull\",\"ready\":true," ENDED(
             "state", 0, "Completed") "}]}}",
         NULL},
        {"it goes",
         "{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"},\"status\":{"
         "\"containerStatuses\":[" WAITS("ErrImagePull") "]}}",
         NULL},
        {"it has just been made", "{}", NULL},
        {"what it waits for is long",
         "{\"status\":{\"containerStatuses\":[{\"name\":\"llm\"," ENDED(
             "lastState", 1,
             "Error") ",\"state\":{\"waiting\":{\"reason\":\"Oops\",\"message\":\"a" EUROS_99
             EUROS_99 "\"}}}]}}",
         "pod p, container llm: Oops: a" EUROS_99 "\xe2\x80\xa6; it ended with Error, exit code 1"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        static const char name[] = "{\"metadata\":{\"name\":\"p\"}}";
        const struct berth_json *pod = NULL;
        struct berth_arena a;
        berth_arena_init(&a, 1 << 20);
        print_message("  %s\n", cases[i].why);
        assert_int_equal(berth_json_parse(&a, cases[i].pod, strlen(cases[i].pod), NULL, &pod, NULL),
                         0);
        pod = berth_kube_patched(&a, pod, (struct berth_slice){name, sizeof name - 1});
        assert_non_null(pod);
        const char *told = msvc_pod_hindrance(&a, pod);
        if (cases[i].told == NULL)
            assert_null(told);
        else
            assert_string_equal(told != NULL ? told : "", cases[i].told);
        berth_arena_fini(&a);
    }
}

/* A rollout that goes on costs no call, however many looks there are: here there is no server. */
static void
pods_are_not_asked_for_at_once(void **unused)
{
    static const char text[] =
        "{\"metadata\":{\"name\":\"svc-decode\"},\"status\":{\"replicas\":1}}",
                      none[] = "{\"metadata\":{\"name\":\"svc-prefill\"}}";
    struct berth_msvc_controller c = {.shorts = NULL};
    const struct berth_json *live = NULL;
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    (void)pthread_mutex_init(&c.mu, NULL);
    assert_int_equal(berth_json_parse(&a, text, sizeof text - 1, NULL, &live, NULL), 0);
    for (int64_t available = 0; available < 10; available++) {
        struct msvc_look x = {.c = &c, .a = &a, .m = {.uid = "u", .ns = "n"}};
        assert_null(msvc_why_short(&x, live, available, NULL));
        assert_in_range(x.again_ns, 1, 30 * BERTH_S);
    }
    struct msvc_look idle = {.c = &c, .a = &a, .m = {.uid = "u", .ns = "n"}};
    assert_int_equal(berth_json_parse(&a, none, sizeof none - 1, NULL, &live, NULL), 0);
    assert_null(msvc_why_short(&idle, live, 0, NULL)); /* there are no pods yet */
    assert_int_equal(idle.again_ns, 0);
    /* What is known of before a restart stays until it is asked again. */
    struct msvc_look anew = {.c = &c, .a = &a, .m = {.uid = "u3", .ns = "n"}};
    assert_int_equal(berth_json_parse(&a, text, sizeof text - 1, NULL, &live, NULL), 0);
    const char *why = msvc_why_short(&anew, live, 0, "pod p: Unschedulable: why");
    assert_string_equal(why != NULL ? why : "", "pod p: Unschedulable: why");
    why = msvc_why_short(&anew, live, 0, NULL);
    assert_string_equal(why != NULL ? why : "", "pod p: Unschedulable: why");
    assert_null(msvc_why_short(&anew, live, 1, NULL)); /* it went on */
    msvc_forget_shorts(&c, "u3");
    struct msvc_look other = {.c = &c, .m = {.uid = "u2"}}, last = {.c = &c, .m = {.uid = "u"}};
    msvc_forget_shorts(&c, "u2");
    msvc_not_short(&other, "svc-decode");
    msvc_not_short(&last, "svc-prefill");
    assert_non_null(c.shorts);
    msvc_not_short(&last, "svc-decode");
    assert_null(c.shorts);
    (void)pthread_mutex_destroy(&c.mu);
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_hinders_a_pod_is_told),
                                       cmocka_unit_test(pods_are_not_asked_for_at_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
