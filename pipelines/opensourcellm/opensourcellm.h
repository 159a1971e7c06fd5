#ifndef BERTH_PIPELINE_OPENSOURCELLM_H
#define BERTH_PIPELINE_OPENSOURCELLM_H

#include <berth/pipeline.h>

berth_pipeline_entry_fn berth_pipeline_opensourcellm;

#endif
