#include "pipelines/pipelines.h"

#include "pipelines/edge/edge.h"
#include "pipelines/multimodal/multimodal.h"
#include "pipelines/opensourcellm/opensourcellm.h"
#include "pipelines/privatellm/privatellm.h"
#include "pipelines/quant/quant.h"
#include "pipelines/secure/secure.h"

/* A row for each folder here that is compiled in. */
berth_pipeline_entry_fn *const berth_pipelines_builtin[] = {
    berth_pipeline_opensourcellm,
    berth_pipeline_quant,
    berth_pipeline_edge,
    berth_pipeline_privatellm,
    berth_pipeline_multimodal,
    berth_pipeline_secure,
    NULL,
};
