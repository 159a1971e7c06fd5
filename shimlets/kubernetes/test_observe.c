#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "shimlets/kubernetes/kubernetes_priv.h"
#include "wire/json.h"

/* What objects of a cluster say: pods, and who owns a workload's fields. */

#define POD(status)                                                                            \
    "{\"metadata\":{\"name\":\"p\",\"creationTimestamp\":\"2026-01-01T00:00:00Z\"},\"spec\":{" \
    "\"nodeName\":\"n1\"},\"status\":{" status "}}"
#define WAITING(reason, message)                                                                   \
    POD("\"phase\":\"Pending\",\"containerStatuses\":[{\"restartCount\":3,\"state\":{\"waiting\":" \
        "{\"reason\":\"" reason "\",\"message\":\"" message "\"}}}]")

static void
pods_say_how_they_are(void **unused)
{
    static const struct {
        const char *pod;
        enum berth_replica_state state;
        const char *says; /* NULL: no reason */
    } cases[] = {
        {POD("\"phase\":\"Pending\""), BERTH_REPLICA_STARTING, NULL},
        {WAITING("ContainerCreating", ""), BERTH_REPLICA_STARTING, NULL},
        {WAITING("PodInitializing", ""), BERTH_REPLICA_STARTING, NULL},
        {POD("\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\"}]"),
         BERTH_REPLICA_STARTING, NULL}, /* a cold start is no failure */
        {POD("\"phase\":\"Running\",\"podIP\":\"10.1.1.1\",\"conditions\":[{\"type\":\"Ready\","
             "\"status\":\"True\"}]"),
         BERTH_REPLICA_READY, NULL},
        {WAITING("CrashLoopBackOff", "back-off 40s"), BERTH_REPLICA_FAILED,
         "CrashLoopBackOff: back-off 40s"},
        {WAITING("ImagePullBackOff", "no such image"), BERTH_REPLICA_FAILED,
         "ImagePullBackOff: no such image"},
        {WAITING("ErrImagePull", "x"), BERTH_REPLICA_FAILED, "ErrImagePull"},
        {WAITING("CreateContainerConfigError", "x"), BERTH_REPLICA_FAILED, "ConfigError"},
        {POD("\"phase\":\"Running\",\"containerStatuses\":[{\"restartCount\":1,\"state\":{"
             "\"waiting\":"
             "{\"reason\":\"CrashLoopBackOff\"}},\"lastState\":{\"terminated\":{\"reason\":"
             "\"OOMKilled\","
             "\"exitCode\":137}}}]"),
         BERTH_REPLICA_FAILED, "OOMKilled, exit code 137"},
        {POD("\"phase\":\"Running\",\"containerStatuses\":[{\"restartCount\":1,\"state\":{"
             "\"running\":{}},"
             "\"lastState\":{\"terminated\":{\"reason\":\"OOMKilled\",\"exitCode\":137}}}]"),
         BERTH_REPLICA_STARTING, "started again; it ended with OOMKilled"},
        {POD("\"phase\":\"Pending\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":"
             "\"False\","
             "\"reason\":\"Unschedulable\",\"message\":\"0/1 nodes are available: 1 Insufficient "
             "nvidia.com/gpu.\"}]"),
         BERTH_REPLICA_FAILED,
         "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."},
        {POD("\"phase\":\"Failed\",\"reason\":\"Evicted\",\"message\":\"low on memory\""),
         BERTH_REPLICA_FAILED, "Evicted: low on memory"},
        {POD("\"phase\":\"Failed\",\"containerStatuses\":[{\"state\":{\"terminated\":{\"exitCode\":"
             "2,"
             "\"reason\":\"Error\"}}}]"),
         BERTH_REPLICA_FAILED, "ended with Error, exit code 2"},
        {"{\"metadata\":{\"name\":\"p\",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"}}",
         BERTH_REPLICA_STOPPING, NULL},
        {"{}", BERTH_REPLICA_STARTING, NULL},
        {"[]", BERTH_REPLICA_STARTING, NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *pod, *workload;
        struct berth_observed seen;
        struct kubernetes_conf conf;
        struct berth_arena a;
        struct berth_err e;
        static const char text[] =
            "{\"metadata\":{\"annotations\":{\"berth/replicas\":\"1\"}},\"spec\":{\"replicas\":1,"
            "\"progressDeadlineSeconds\":60}}";
        berth_arena_init(&a, 1 << 20);
        kubernetes_conf_default(&conf);
        assert_int_equal(berth_json_parse(&a, cases[i].pod, strlen(cases[i].pod), NULL, &pod, &e),
                         0);
        assert_int_equal(berth_json_parse(&a, text, strlen(text), NULL, &workload, &e), 0);
        struct kubernetes_look l = {
            .conf = &conf,
            .workload = workload,
            .service = workload, /* there is one */
            .pods = &pod,
            .pod_count = 1,
            .wall_ns = UINT64_C(1767225600) * BERTH_S + 59 * BERTH_S, /* 59 s after its creation */
        };
        assert_int_equal(kubernetes_observe(&l, &a, &seen, &e), 0);
        print_message("  %zu: %d %s\n", i, seen.replicas[0].state,
                      seen.replicas[0].reason != NULL ? seen.replicas[0].reason : "");
        assert_int_equal(seen.replicas[0].state, cases[i].state);
        if (cases[i].says == NULL)
            assert_null(seen.replicas[0].reason);
        else
            assert_non_null(strstr(seen.replicas[0].reason, cases[i].says));
        assert_false(seen.drifted);
        /* Long after it should have been ready, it has failed. */
        l.wall_ns += 3 * BERTH_S;
        assert_int_equal(kubernetes_observe(&l, &a, &seen, &e), 0);
        if (cases[i].state == BERTH_REPLICA_STARTING && strlen(cases[i].pod) > 4)
            assert_int_equal(seen.replicas[0].state, BERTH_REPLICA_FAILED);
        berth_arena_fini(&a);
    }
}

static void
what_fails_says_what_to_do(void **unused)
{
    static const struct {
        const char *pod, *says;
    } cases[] = {
        {WAITING("ImagePullBackOff", "Back-off pulling image x: ErrImagePull: x: not found"),
         "; there is no such image or tag: mend `image`"},
        {WAITING("ErrImagePull", "pull access denied for x, repository does not exist"),
         "image_pull_secret"},
        {WAITING("ErrImagePull", "failed to authorize: 401 Unauthorized"), "image_pull_secret"},
        {WAITING("ErrImagePull", "dial tcp 10.0.0.1:443: i/o timeout"), "reach the registry"},
        {WAITING("ImagePullBackOff", "Back-off pulling image x"), "is `image` right"},
        {WAITING("InvalidImageName", "x"), "mend `image`"},
        {WAITING("ErrImageNeverPull", "x"), "image_pull_policy"},
        {WAITING("CreateContainerConfigError", "secret \\\"s\\\" not found"),
         "a Secret or ConfigMap"},
        {WAITING("RunContainerError", "exec: vllm: executable file not found in $PATH"),
         "its command is not in the image"},
        {WAITING("CreateContainerError", "x"), "kubectl describe pod"},
        {WAITING("CrashLoopBackOff", "back-off 40s"), "`berth logs` has its last words"},
        {POD("\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"waiting\":{\"reason\":"
             "\"CrashLoopBackOff\"}},\"lastState\":{\"terminated\":{\"reason\":\"OOMKilled\","
             "\"exitCode\":137}}}]"),
         "it ended with OOMKilled, exit code 137; it needs more memory than it may take"},
        {POD("\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"waiting\":{\"reason\":"
             "\"CrashLoopBackOff\"}},\"lastState\":{\"terminated\":{\"reason\":\"Error\","
             "\"exitCode\":1}}}]"),
         "it ended with Error, exit code 1; `berth logs` has its last words"},
        {POD("\"phase\":\"Pending\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":"
             "\"False\","
             "\"reason\":\"Unschedulable\",\"message\":\"0/2 nodes are available: 2 Insufficient "
             "nvidia.com/gpu. preemption: 0/2 nodes are available: 2 No preemption victims "
             "found\"}]"),
         "2 Insufficient nvidia.com/gpu.; not enough accelerators are free"},
        {POD("\"phase\":\"Pending\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":"
             "\"False\","
             "\"reason\":\"Unschedulable\",\"message\":\"0/2 nodes are available: 2 node(s) didn't "
             "match Pod's node affinity/selector.\"}]"),
         "mend acceleratorType or node_selector"},
        {POD("\"phase\":\"Pending\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":"
             "\"False\","
             "\"reason\":\"Unschedulable\",\"message\":\"0/1 nodes are available: 1 node(s) had "
             "untolerated taint {x: y}.\"}]"),
         "`tolerations: all`"},
        {POD("\"phase\":\"Pending\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":"
             "\"False\","
             "\"reason\":\"Unschedulable\",\"message\":\"0/2 nodes are available: 1 node(s) "
             "had untolerated taint {control-plane: }, 1 Insufficient cpu.\"}]"),
         "lower resourceRequirements"},
        {POD("\"phase\":\"Failed\",\"reason\":\"Evicted\",\"message\":\"low on memory\""),
         "another takes its place"},
        {POD("\"phase\":\"Pending\""),
         "not ready within 60 s, and its container is not made yet: is "
         "the model's folder (or model_volume) there on n1?"},
        {POD("\"phase\":\"Running\""), "startTimeoutMs"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        static const char text[] = "{\"spec\":{\"replicas\":1,\"progressDeadlineSeconds\":60}}";
        const struct berth_json *pod, *workload;
        struct berth_observed seen;
        struct kubernetes_conf conf;
        struct berth_arena a;
        struct berth_err e;

        berth_arena_init(&a, 1 << 20);
        kubernetes_conf_default(&conf);
        assert_int_equal(berth_json_parse(&a, cases[i].pod, strlen(cases[i].pod), NULL, &pod, &e),
                         0);
        assert_int_equal(berth_json_parse(&a, text, strlen(text), NULL, &workload, &e), 0);
        const struct kubernetes_look l = {
            .conf = &conf,
            .workload = workload,
            .service = workload,
            .pods = &pod,
            .pod_count = 1,
            .wall_ns = UINT64_C(1767225600) * BERTH_S + 61 * BERTH_S,
        };
        assert_int_equal(kubernetes_observe(&l, &a, &seen, &e), 0);
        assert_int_equal(seen.replicas[0].state, BERTH_REPLICA_FAILED);
        print_message("  %s\n", seen.replicas[0].reason);
        assert_non_null(strstr(seen.replicas[0].reason, cases[i].says));
        berth_arena_fini(&a);
    }
}

/* One pod that is over a line: its name, its phase, and when it was made. */
static const struct berth_json *
pod_of(struct berth_arena *a, const char *name, const char *phase, unsigned second)
{
    const struct berth_json *pod;
    const char *text =
        berth_arena_printf(a,
                           "{\"metadata\":{\"name\":\"%s\",\"creationTimestamp\":"
                           "\"2026-01-01T00:00:%02uZ\"},\"status\":{\"phase\":\"%s\"}}",
                           name, second, phase);

    assert_int_equal(berth_json_parse(a, text, strlen(text), NULL, &pod, NULL), 0);
    return pod;
}

static void
pods_that_are_over_count_until_another_has_their_place(void **unused)
{
    static const struct {
        const char *why, *pods; /* E evicted, S succeeded, R runs; oldest first */
        unsigned wanted;
        const char *want; /* names of those that are told: a is the first */
    } cases[] = {
        {"its place is taken", "ERR", 2, "bc"},
        {"nobody has its place yet", "ER", 2, "ab"},
        {"of several, the newest has the place", "EEER", 2, "cd"},
        {"as many as there are places", "ESE", 2, "bc"},
        {"none is wanted", "EE", 0, ""},
        {"more run than are wanted: it rolls", "ERRR", 2, "bcd"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *pods[8], *workload;
        struct berth_observed seen;
        struct kubernetes_conf conf;
        struct berth_arena a;
        struct berth_err e;
        char got[16] = "";
        size_t n = 0;

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        kubernetes_conf_default(&conf);
        const char *text = berth_arena_printf(&a, "{\"spec\":{\"replicas\":%u}}", cases[i].wanted);
        assert_int_equal(berth_json_parse(&a, text, strlen(text), NULL, &workload, &e), 0);
        for (const char *p = cases[i].pods; *p != '\0'; p++, n++) {
            const char name[2] = {(char)('a' + n), '\0'};
            pods[n] = pod_of(&a, name,
                             *p == 'E'   ? "Failed"
                             : *p == 'S' ? "Succeeded"
                                         : "Running",
                             (unsigned)n);
        }
        const struct kubernetes_look l = {
            .conf = &conf, .workload = workload, .service = workload, .pods = pods, .pod_count = n};
        assert_int_equal(kubernetes_observe(&l, &a, &seen, &e), 0);
        for (size_t k = 0; k < seen.replica_count; k++)
            (void)strncat(got, seen.replicas[k].id, 1);
        assert_string_equal(got, cases[i].want);
        berth_arena_fini(&a);
    }
}

#define OWNER(manager, operation, more, fields)                                                  \
    "{\"manager\":\"" manager "\",\"operation\":\"" operation "\"" more ",\"fieldsV1\":{" fields \
    "}}"
#define OURS OWNER("berth", "Apply", "", "\"f:metadata\":{},\"f:spec\":{}")

static void
others_are_known_by_their_fields(void **unused)
{
    static const struct {
        const char *why, *owners;
        bool touched;
    } cases[] = {
        {"ours alone", OURS, false},
        {"its status, and a note",
         OURS "," OWNER("kcm", "Update", "", "\"f:metadata\":{}") "," OWNER(
             "kcm", "Update", ",\"subresource\":\"status\"", "\"f:status\":{}"),
         false},
        {"an autoscaler",
         OURS
         "," OWNER("kcm", "Update", ",\"subresource\":\"scale\"",
                   "\"f:spec\":{\"f:replicas\":{}}") "," OWNER("berth-scale", "Apply", "",
                                                               "\"f:spec\":{\"f:replicas\":{}}"),
         false},
        {"somebody's image", OURS "," OWNER("kubectl-set", "Update", "", "\"f:spec\":{}"), true},
        {"our name, but not our way", OURS "," OWNER("berth", "Update", "", "\"f:spec\":{}"), true},
        {"nothing is ours any more", OWNER("kcm", "Update", "", "\"f:metadata\":{}"), true},
        {"nobody's", "", true},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *workload;
        struct kubernetes_conf conf;
        struct berth_arena a;
        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        kubernetes_conf_default(&conf);
        const char *text =
            berth_arena_printf(&a, "{\"metadata\":{\"managedFields\":[%s]}}", cases[i].owners);
        assert_int_equal(berth_json_parse(&a, text, strlen(text), NULL, &workload, NULL), 0);
        assert_int_equal(kubernetes_is_touched(&conf, workload), cases[i].touched);
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pods_say_how_they_are),
        cmocka_unit_test(what_fails_says_what_to_do),
        cmocka_unit_test(pods_that_are_over_count_until_another_has_their_place),
        cmocka_unit_test(others_are_known_by_their_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
