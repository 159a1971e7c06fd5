#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "operator/modelservice/build_priv.h"
#include "operator/modelservice/problems.h"
#include "wire/json.h"

/* What selects pods, beside the pods that there are to be. */

#define PODS(labels) "\"template\":{\"metadata\":{\"labels\":{" labels "}}}"
#define DEPLOYMENT(selector, labels) \
    "{\"spec\":{\"selector\":{\"matchLabels\":{" selector "}}," PODS(labels) "}}"
#define GROUPS(leaders, workers) \
    "{\"spec\":{\"leaderWorkerTemplate\":{" leaders "\"workerTemplate\":" workers "}}}"
#define LABELLED(labels)  "{\"metadata\":{\"labels\":{" labels "}}}"
#define SERVICE(selector) "{\"spec\":{\"selector\":{" selector "}}}"
#define POOL_V1(selector) "{\"spec\":{\"selector\":{\"matchLabels\":{" selector "}}}}"
#define A                 "\"a\":\"1\""
#define B                 "\"x.ai/b\":\"2\""

enum {
    D = BERTH_MSVC_DECODE_DEPLOYMENT,
    P = BERTH_MSVC_PREFILL_DEPLOYMENT,
    L = BERTH_MSVC_DECODE_LWS,
    S = BERTH_MSVC_DECODE_SERVICE,
    E = BERTH_MSVC_EPP_SERVICE,
    POOL = BERTH_MSVC_POOL,
    V1 = BERTH_MSVC_POOL_V1
};

static const struct {
    const char *why;
    struct {
        int child;
        const char *text;
    } wish[3];
    size_t errors, warnings;
    const char *in, *says;
} cases[] = {
    {"as it is made", {{D, DEPLOYMENT(A, A "," B)}, {S, SERVICE(A)}}, 0, 0, "", ""},
    {"what a controller gives them",
     {{L, GROUPS("", LABELLED(A))},
      {S, SERVICE(A ",\"leaderworkerset.sigs.k8s.io/worker-index\":\"0\"")}},
     0,
     0,
     "",
     ""},
    {"a Deployment's own pods lack one",
     {{D, DEPLOYMENT(A "," B, A)}},
     1,
     0,
     "decodeDeployment",
     "x.ai/b: 2"},
    {"they have another", {{D, DEPLOYMENT(A, "\"a\":\"2\"")}}, 1, 0, "decodeDeployment", "a: 1"},
    {"they have none",
     {{D, "{\"spec\":{\"selector\":{\"matchLabels\":{" A "}}}}"}},
     1,
     0,
     "decodeDeployment",
     "a: 1"},
    {"a Service's pods lack one",
     {{D, DEPLOYMENT(A, A)}, {S, SERVICE(A "," B)}},
     0,
     1,
     "decodeService",
     "x.ai/b: 2"},
    {"another role's pods have it",
     {{D, DEPLOYMENT(A, A)}, {P, DEPLOYMENT(B, B)}, {S, SERVICE(B)}},
     0,
     0,
     "",
     ""},
    {"it selects nothing: others say its endpoints",
     {{D, DEPLOYMENT(A, A)}, {S, SERVICE("")}},
     0,
     0,
     "",
     ""},
    {"its pods are made elsewhere", {{D, DEPLOYMENT(A, A)}, {E, SERVICE(B)}}, 0, 0, "", ""},
    {"leaders bear it",
     {{L, GROUPS("\"leaderTemplate\":" LABELLED(A) ",", LABELLED(""))}, {S, SERVICE(A)}},
     0,
     0,
     "",
     ""},
    {"workers bear it", {{L, GROUPS("", LABELLED(A))}, {S, SERVICE(A)}}, 0, 0, "", ""},
    {"neither do", {{L, GROUPS("", LABELLED(A))}, {S, SERVICE(B)}}, 0, 1, "decodeService", "b: 2"},
    {"a pool of either role", {{P, DEPLOYMENT(A, A)}, {POOL, SERVICE(A)}}, 0, 0, "", ""},
    {"a pool of none", {{P, DEPLOYMENT(A, A)}, {POOL, SERVICE(B)}}, 0, 1, "inferencePool", "b: 2"},
    {"a pool of v1 of none",
     {{P, DEPLOYMENT(A, A)}, {V1, POOL_V1(B)}},
     0,
     1,
     "inferencePool",
     "b: 2"},
    {"a pool of v1", {{P, DEPLOYMENT(A, A)}, {V1, POOL_V1(A)}}, 0, 0, "", ""},
};

static void
pods_bear_what_is_selected_by(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct berth_msvc_set wish = {.of = {NULL}};
        struct berth_arena a;
        berth_arena_init(&a, 1 << 20);
        struct berth_msvc_problems p = {.arena = &a};
        for (size_t j = 0; j < 3 && cases[i].wish[j].text != NULL; j++) {
            const char *text = cases[i].wish[j].text;
            assert_int_equal(berth_json_parse(&a, text, strlen(text), NULL,
                                              &wish.of[cases[i].wish[j].child], NULL),
                             0);
        }
        build_check_selectors(&wish, &p);
        print_message("  %s: %s\n", cases[i].why, p.count > 0 ? p.at[0].text : "");
        assert_int_equal(p.errors, cases[i].errors);
        assert_int_equal(p.warnings, cases[i].warnings);
        if (p.count > 0) {
            assert_string_equal(p.at[0].in, cases[i].in);
            assert_non_null(strstr(p.at[0].text, cases[i].says));
        }
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pods_bear_what_is_selected_by)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
