#include "pipelines/opensourcellm/opensourcellm.h"

#include <stddef.h>

/* An open model on an engine that speaks OpenAI's API: what the host brings along, in order. */

static const char *const aliases[] = {"opensource_llm", "opensource-llm-deploy", "llm-deploy",
                                      NULL};

static const struct berth_pipeline_ops *
fill(const struct berth_pipeline_host *h)
{
    /* Filled in once, by the one call of the entry. */
    static struct berth_goal deploy[5], removal[3];
    static const struct berth_pipeline_ops ops = {
        .abi = BERTH_PIPELINE_ABI,
        .struct_size = sizeof ops,
        .name = "opensourcellm",
        .version = "1",
        .description = "an open language model on vLLM, SGLang, llama-server or Berth itself",
        .aliases = aliases,
        .deploy = deploy,
        .remove = removal,
    };
    static const char *const forth[] = {"model-validation", "config-rendering",
                                        "resource-deployment", "health-check"};
    static const char *const back[] = {"resource-removal", "accelerator-release"};

    for (size_t i = 0; i < sizeof forth / sizeof forth[0]; i++)
        deploy[i] = *h->goal(forth[i]);
    for (size_t i = 0; i < sizeof back / sizeof back[0]; i++)
        removal[i] = *h->goal(back[i]);
    return &ops;
}

const struct berth_pipeline_ops *
berth_pipeline_opensourcellm(const struct berth_pipeline_host *h, struct berth_err *e)
{
    (void)e;
    return fill(h);
}
