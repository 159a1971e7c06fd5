#include "pipelines/edge/edge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pipelines/parts.h"
#include "pipelines/quant/quant.h"

/* What an engine takes besides the weights, at the very least: its code, buffers, a short context.
 * An estimate at the low end: larger models take more, so that this refuses only what cannot work.
 */
static const uint64_t engine_bytes = UINT64_C(48) << 20;

static int
validate(struct berth_deployment *d, struct berth_err *e)
{
    const char *path = berth_parts_host()->get(d, "modelFile");

    if (path != NULL && strstr(path, "://") != NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "modelFile: %s: this pipeline works offline; fetch the file first "
                             "(berth pull)",
                             path);
    if (berth_parts_host()->get(d, "quantConfig") != NULL)
        return berth_quant_check(d, e);
    const int r = berth_parts_host()->goal("model-validation")->ensure(d, e);
    if (r < 0 || berth_parts_model(d, &path, e) < 0)
        return r < 0 ? r : -BERTH_EINVAL;
    return access(path, R_OK) == 0 ? 0 : berth_err_set(e, BERTH_EINVAL, "%s: %m", path);
}

static int
quantise(struct berth_deployment *d, struct berth_err *e)
{
    if (berth_parts_host()->get(d, "quantConfig") != NULL)
        return berth_quant_ensure(d, e);
    berth_parts_host()->note(d, "no quantConfig: the model is served as it is");
    return 0;
}

/* ---- does it fit? ---- */

struct need {
    uint64_t model, one, all;
    char sums[160];
};

static int
refuse(const struct need *n, uint64_t has, const char *whose, struct berth_err *e)
{
    char text[BERTH_PARTS_BYTES_TEXT];

    return berth_err_set(e, BERTH_ELIMIT,
                         "it does not fit: %s, and %s %s; a smaller quantConfig.type, a smaller "
                         "model or fewer replicas may",
                         n->sums, whose, berth_parts_bytes_text(has, text));
}

static void
sum_up(struct need *n, uint32_t replicas)
{
    char model[BERTH_PARTS_BYTES_TEXT], engine[BERTH_PARTS_BYTES_TEXT], one[BERTH_PARTS_BYTES_TEXT],
        all[BERTH_PARTS_BYTES_TEXT];

    n->one = n->model + engine_bytes;
    n->all = n->one * (replicas > 0 ? replicas : 1);
    (void)snprintf(
        n->sums, sizeof n->sums,
        "%s of weights and %s for the engine make %s, "
        "for %u replicas %s",
        berth_parts_bytes_text(n->model, model), berth_parts_bytes_text(engine_bytes, engine),
        berth_parts_bytes_text(n->one, one), replicas, berth_parts_bytes_text(n->all, all));
}

/* Against what the environment says that it has. */
static int
check_machine(struct berth_deployment *d, const struct berth_unit *u, const struct need *n,
              struct berth_err *e)
{
    struct berth_resources has = {.struct_size = sizeof has};
    const int r = berth_parts_host()->resources(d, &has, e);

    if (r == -BERTH_EUNSUPPORTED)
        return 0; /* it does not tell; check() of the environment has the last word */
    if (r < 0)
        return r;
    if (has.memory_bytes_total > 0 && n->all > has.memory_bytes_total)
        return refuse(n, has.memory_bytes_total, "the machine has", e);
    if (has.cpu_milli_total > 0 && u->cpu_milli > has.cpu_milli_total)
        return berth_err_set(e, BERTH_ELIMIT,
                             "it does not fit: a replica asks for %" PRIu64
                             " thousandths of a core, and the machine has %" PRIu64,
                             u->cpu_milli, has.cpu_milli_total);
    if (u->accelerator_count > has.accelerators_total && has.cpu_milli_total > 0)
        return berth_err_set(e, BERTH_ELIMIT,
                             "it does not fit: a replica asks for %u accelerators, and the "
                             "machine has %u",
                             u->accelerator_count, has.accelerators_total);
    return 0;
}

static int
check_limits(struct berth_deployment *d, struct berth_err *e)
{
    const struct berth_unit *u = berth_parts_host()->unit(d);
    struct need n = {.model = 0};
    const char *path;
    int r;

    if (u == NULL)
        return berth_err_set(e, BERTH_EINVAL, "the workload cannot be made of the spec; see above");
    if ((r = berth_parts_model(d, &path, e)) < 0 || (r = berth_parts_bytes(path, &n.model, e)) < 0)
        return r;
    if (n.model > UINT64_MAX / 2048)
        return berth_err_set(e, BERTH_EINVAL, "%s: its size makes no sense", path);
    sum_up(&n, u->replicas);
    if (u->memory_bytes > 0 && n.one > u->memory_bytes)
        return refuse(&n, u->memory_bytes, "a replica may have", e);
    if ((r = check_machine(d, u, &n, e)) < 0)
        return r;
    berth_parts_host()->note(d, n.sums);
    return 0;
}

/* ---- offline ---- */

static int
render(struct berth_deployment *d, struct berth_err *e)
{
    static const char *const keys[] = {"env.HF_HUB_OFFLINE", "env.TRANSFORMERS_OFFLINE",
                                       "env.HF_DATASETS_OFFLINE"};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof keys / sizeof keys[0]; i++)
        r = berth_parts_host()->set(d, keys[i], "1", e);
    return r < 0 ? r : berth_parts_host()->goal("config-rendering")->ensure(d, e);
}

const struct berth_pipeline_ops *
berth_pipeline_edge(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static const char *const names[] = {"model-validation",
                                        "model-quantization",
                                        "resource-check",
                                        "config-rendering",
                                        "resource-deployment",
                                        "health-check",
                                        NULL};
    static const struct berth_goal own[] = {
        {.name = "model-validation", .ensure = validate},
        {.name = "model-quantization",
         .ensure = quantise,
         .policy = {.retries_max = 2, .timeout_ms = 60 * 60 * 1000}},
        {.name = "resource-check", .ensure = check_limits},
        {.name = "config-rendering", .ensure = render},
        {.name = "health-check",
         .achieved = berth_parts_healthy,
         .ensure = berth_parts_check_health},
        {.name = NULL},
    };
    /* Filled in once, by the one call of the entry. */
    static struct berth_goal deploy[7], removal[4];
    static const struct berth_pipeline_ops ops = {
        .abi = BERTH_PIPELINE_ABI,
        .struct_size = sizeof ops,
        .name = "edge",
        .version = "1",
        .description = "a small machine with no network: sums first, quantised, offline",
        .deploy = deploy,
        .remove = removal,
    };

    berth_parts_begin(h);
    return berth_parts_goals(names, own, deploy, e) < 0 || berth_parts_removal(removal, e) < 0
               ? NULL
               : &ops;
}
