#ifndef BERTH_MSVC_TEST_GENERATE_H
#define BERTH_MSVC_TEST_GENERATE_H

#include <stdio.h>
#include <string.h>

#include "operator/modelservice/generate.h"
#include "operator/modelservice/service.h"
#include "operator/modelservice/test_arena.h"
#include "wire/json.h"
#include "wire/yaml.h"

/* For tests of what two files come to; after cmocka.h. */

static struct berth_msvc_problems problems;

static int
generate(const char *service, const char *base, bool strict, struct berth_buf *out)
{
    const struct berth_msvc_files files = {.service = berth_slice_of(service),
                                           .base = base != NULL ? berth_slice_of(base)
                                                                : (struct berth_slice){0}};
    static const char *const secrets[] = {"pull"};
    const struct berth_msvc_conf conf = {.strict = strict,
                                         .epp_cluster_role = "picker",
                                         .pd_pull_secrets = secrets,
                                         .pd_pull_secret_count = 1};
    struct berth_err e = {""};

    problems = (struct berth_msvc_problems){.arena = &arena};
    berth_buf_init(out, &arena);
    return berth_msvc_generate(&files, &conf, BERTH_MSVC_MAP, &arena, &problems, out, &e);
}

/* The value at "decodeDeployment.spec.replicas" or "containers[0]", as JSON; "-": not there. */
static const char *
at(const struct berth_json *v, const char *path)
{
    char step[64];
    struct berth_buf b;

    while (v != NULL && *path != '\0') {
        const size_t n = strcspn(path, ".[");
        if (*path == '[') {
            size_t index = (size_t)(path[1] - '0');
            struct berth_json_iter it = berth_json_iter(v);
            v = NULL;
            while (berth_json_next(&it)) {
                if (it.index == index)
                    v = it.value;
            }
            path += 3;
        } else {
            assert_in_range(n, 1, sizeof step - 1);
            (void)snprintf(step, sizeof step, "%.*s", (int)n, path);
            v = berth_json_get(v, step);
            path += n;
        }
        path += *path == '.';
    }
    if (v == NULL)
        return "-";
    berth_buf_init(&b, &arena);
    berth_json_put(&b, v);
    return berth_buf_text(&b);
}

#define HEAD                                                                                   \
    "apiVersion: llm-d.ai/v1alpha1\nkind: ModelService\nmetadata: {name: svc, namespace: ns, " \
    "uid: u1}\nspec:\n  routing: {modelName: Org/M, ports: [{name: app, port: 8000}], "        \
    "gatewayRefs: [{name: gw}]}\n"
#define HF   HEAD "  modelArtifacts: {uri: 'hf://org/m', authSecretName: tok, size: 5Gi}\n"
#define PVC  HEAD "  modelArtifacts: {uri: 'pvc://claim/a/m'}\n"
#define BASE "kind: ConfigMap\ndata:\n"
#define POD  "decodeDeployment.spec.template.spec"
#endif
