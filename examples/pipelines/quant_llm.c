#include <stdio.h>
#include <string.h>

#include <berth/pipeline.h>

/*
 * The second way to write a pipeline: the names of the steps, and one function that runs any of
 * them.  A step is done when the function returns 0.
 */
static const struct berth_pipeline_host *host;

static const char *const *
steps(void)
{
    static const char *const names[] = {"model-validation",
                                        "model-quantization",
                                        "config-rendering",
                                        "resource-deployment",
#ifdef WITH_UNKNOWN
                                        "model-polishing",
#endif
                                        NULL};
    return names;
}

/* One of the host's goals, as a step: until it is achieved. */
static int
run_goal(const char *name, struct berth_deployment *d, struct berth_err *e)
{
    const struct berth_goal *goal = host->goal(name);
    int r = goal->ensure != NULL ? goal->ensure(d, e) : 0;

    if (r < 0 || goal->achieved == NULL)
        return r;
    r = goal->achieved(d, e);
    return r == 0 ? berth_err_set(e, BERTH_EAGAIN, "%s: not yet", name) : r < 0 ? r : 0;
}

static int
quantise(struct berth_deployment *d, struct berth_err *e)
{
    const char *type = host->get(d, "quantConfig.type");
    char text[120];

    if (type == NULL)
        return berth_err_set(e, BERTH_EINVAL, "quantConfig.type: is missing");
    (void)snprintf(text, sizeof text, "this is where a tool would make %.40s of it", type);
    host->note(d, text);
    return host->set(d, "env.QUANT_TYPE", type, e);
}

static int
run_step(const char *name, struct berth_deployment *d, struct berth_err *e)
{
    if (strcmp(name, "model-quantization") == 0)
        return quantise(d, e);
    if (host->goal(name) != NULL)
        return run_goal(name, d, e);
    return berth_err_set(e, BERTH_EUNSUPPORTED, "unsupported step: %s", name);
}

const struct berth_pipeline_ops *
berth_pipeline_entry(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static const struct berth_pipeline_ops ops = {
        .abi = BERTH_PIPELINE_ABI,
        .struct_size = sizeof ops,
        .name = "quant-llm",
        .version = "1.0",
        .description = "steps by name",
        .steps = steps,
        .run_step = run_step,
    };

    (void)e;
    host = h;
    return &ops;
}
