#include "pipelines/pipelines.h"

#include "pipelines/opensourcellm/opensourcellm.h"

/* A row for each folder here that is compiled in. */
berth_pipeline_entry_fn *const berth_pipelines_builtin[] = {
    berth_pipeline_opensourcellm,
    NULL,
};
