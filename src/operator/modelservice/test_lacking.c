#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "operator/modelservice/test_generate.h"

/* What a base configuration should have and has not: of llm-d's mapping a warning, of what is to be
 * applied an error, and where it should be. */

#define DECODE     "  decode:\n    containers: [{name: c, image: i}]\n"
#define IN_POD(s)  BASE "  decodeDeployment: |\n    spec: {template: {spec: {" s "}}}\n"
#define CONTAINERS "spec.template.spec."
#define IMAGE_OF(name, key) \
    ": " name " has no image, here or in spec.decode." key " of the ModelService"
#define NOTHING(s) s ": an object is wanted, there is nothing: leave the element out"

static const struct {
    const char *why, *service, *base;
    const char *told; /* "base:4:67 PATH: TEXT" of the one problem; "": there is none */
} cases[] = {
    /* Elements of lists. */
    {"a variable", HF DECODE, IN_POD("containers: [{name: d, image: i, env: [{name: A}, ~]}]"),
     NOTHING("base:4:80 spec.template.spec.containers[0].env[1]")},
    {"a toleration", HF DECODE, IN_POD("tolerations: [~]"),
     NOTHING("base:4:44 spec.template.spec.tolerations[0]")},
    {"a volume", HF DECODE,
     BASE "  decodeDeployment: |\n    spec:\n      template:\n        spec:\n          volumes:\n"
          "          -\n          - name: a\n",
     NOTHING("base:8:12 spec.template.spec.volumes[0]")},
    {"a port", HF DECODE, BASE "  decodeService: |\n    spec:\n      ports:\n      - \n",
     NOTHING("base:6:8 spec.ports[0]")},
    /* Containers. */
    {"no image", HF DECODE, IN_POD("containers: [{name: d}]"),
     "base:4:43 " CONTAINERS "containers[0]" IMAGE_OF("d", "containers")},
    {"an image that is null", HF DECODE, IN_POD("containers: [{name: d, image: ~}]"),
     "base:4:43 " CONTAINERS "containers[0]" IMAGE_OF("d", "containers")},
    {"an image of no letters", HF DECODE,
     IN_POD("initContainers: [{name: a, image: x}, {name: d, image: ''}]"),
     "base:4:68 " CONTAINERS "initContainers[1]" IMAGE_OF("d", "initContainers")},
    {"no name", HF DECODE, IN_POD("containers: [{image: d}]"),
     "base:4:43 " CONTAINERS "containers[0]: this container has no name"},
    {"an image of the service's", HF DECODE, IN_POD("containers: [{name: c}]"), ""},
    {"nowhere an image, and the service names it", HF "  decode: {containers: [{name: c}]}\n",
     IN_POD("containers: [{name: c}]"), "service:7:25 spec.decode.containers[0]: c has no image"},
    {"of a group's workers, once", HF "  decode: {multinode: true}\n",
     BASE "  decodeLeaderWorkerSet: |\n    spec: {leaderWorkerTemplate: {workerTemplate: {spec:\n"
          "      {containers: [{name: d}]}}}}\n",
     "base:5:21 spec.leaderWorkerTemplate.workerTemplate.spec.containers[0]" IMAGE_OF(
         "d", "containers")},
    {"of a Deployment that a group is made of", HF "  decode: {multinode: true}\n",
     IN_POD("containers: [{name: d}]"),
     "base:4:43 " CONTAINERS "containers[0]" IMAGE_OF("d", "containers")},
    {"of a group's leaders", HF "  decode: {multinode: true, containers: [{name: d}]}\n",
     BASE "  decodeLeaderWorkerSet: |\n    spec: {leaderWorkerTemplate: {workerTemplate: {spec:\n"
          "      {containers: [{name: d, image: i}]}}, leaderTemplate: {spec:\n"
          "      {containers: [{name: d}]}}}}\n",
     "base:6:21 spec.leaderWorkerTemplate.leaderTemplate.spec.containers[0]" IMAGE_OF(
         "d", "containers")},
    {"of a picker's", HF DECODE,
     BASE "  eppDeployment: |\n    spec: {template: {spec: {containers: [{name: e}]}}}\n",
     "base:4:43 " CONTAINERS
     "containers[0]: e has no image, here or in spec.endpointPicker.containers of the "
     "ModelService"},
};

/* Some warnings are always there: no rules, no containers, ... */
static const char *
told(bool as_warning)
{
    const char *ret = "";

    for (size_t i = 0; i < problems.count; i++) {
        const struct berth_msvc_problem *p = &problems.at[i];
        if (strstr(p->text, "there is nothing") == NULL &&
            strstr(p->text, "has no image") == NULL && strstr(p->text, "has no name") == NULL)
            continue;
        assert_int_equal(p->warning, as_warning);
        ret = berth_arena_printf(&arena, "%s%s%s:%zu:%zu %s: %s", ret, ret[0] != '\0' ? ", " : "",
                                 p->in_service ? "service" : "base", p->line, p->column, p->path,
                                 p->text);
        assert_non_null(ret);
    }
    return ret;
}

static void
what_the_base_lacks_is_told(void **unused)
{
    static const struct berth_msvc_conf conf = {.epp_cluster_role = "picker"};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_msvc_files files = {.service = berth_slice_of(cases[i].service),
                                               .base = berth_slice_of(cases[i].base)};
        const struct berth_json *map = NULL;
        struct berth_err e = {""};
        struct berth_buf out;

        print_message("  %s\n", cases[i].why);
        assert_int_equal(generate(cases[i].service, cases[i].base, false, &out), 0);
        assert_string_equal(told(true), cases[i].told);
        assert_int_equal(berth_yaml_parse(&arena, out.at, out.len, &map, NULL), 0);
        assert_string_equal(at(map, "pdServiceAccount.kind"), "\"ServiceAccount\"");
        problems = (struct berth_msvc_problems){.arena = &arena};
        berth_buf_init(&out, &arena);
        const int r =
            berth_msvc_generate(&files, &conf, BERTH_MSVC_YAML, &arena, &problems, &out, &e);
        assert_string_equal(told(false), cases[i].told);
        assert_int_equal(r < 0, cases[i].told[0] != '\0');
        berth_arena_reset(&arena);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_base_lacks_is_told, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
