#include <stddef.h>

#include <berth/pipeline.h>

/*
 * The first way to write a pipeline: a list of goals.  Two are our own, the others the host brings
 * along.  A goal looks whether it is achieved, and brings itself about if not.
 */
static const struct berth_pipeline_host *host;

static int
validate(struct berth_deployment *d, struct berth_err *e)
{
    if (host->get(d, "modelName") == NULL)
        return berth_err_set(e, BERTH_EINVAL, "modelName: is missing");
    host->note(d, "my-pipeline: validate");
    return 0;
}

/* What a step sets is there in later ones, and makes the workload. */
static int
config(struct berth_deployment *d, struct berth_err *e)
{
    host->note(d, "my-pipeline: config");
    return host->set(d, "env.MADE_BY", "my-pipeline", e);
}

static int
config_undo(struct berth_deployment *d, struct berth_err *e)
{
    return host->set(d, "env.MADE_BY", NULL, e);
}

const struct berth_pipeline_ops *
berth_pipeline_entry(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static struct berth_goal goals[] = {
        {.name = "validate", .ensure = validate},
        {.name = "config", .ensure = config, .rollback = config_undo},
        {.name = NULL}, /* the host's: config-rendering, resource-deployment, health-check */
        {.name = NULL},
        {.name = NULL},
        {.name = NULL},
    };
    static const struct berth_pipeline_ops ops = {
        .abi = BERTH_PIPELINE_ABI,
        .struct_size = sizeof ops,
        .name = "my-pipeline",
        .version = "1.0",
        .description = "a list of goals",
        .deploy = goals,
        .policy = {.retries_max = 3, .timeout_ms = 60000},
    };
    static const char *const rest[] = {"config-rendering", "resource-deployment", "health-check"};

    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        const struct berth_goal *goal = h->goal(rest[i]);
        if (goal == NULL) {
            (void)berth_err_set(e, BERTH_EABI, "the host has no goal %s", rest[i]);
            return NULL;
        }
        goals[2 + i] = *goal;
    }
    goals[3].name = "resources"; /* under a name of our own */
    host = h;
    return &ops;
}
