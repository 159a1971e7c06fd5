#ifndef BERTH_PIPELINES_EDGE_H
#define BERTH_PIPELINES_EDGE_H

#include <berth/pipeline.h>

/*
 * A small machine with no network: the model is a file here, it is quantised when quantConfig says
 * so, what does not fit is refused with the sums before anything is deployed, and the engine is
 * told to stay offline.
 */
berth_pipeline_entry_fn berth_pipeline_edge;

#endif
