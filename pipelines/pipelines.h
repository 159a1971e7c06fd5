#ifndef BERTH_PIPELINES_H
#define BERTH_PIPELINES_H

#include <berth/pipeline.h>

/* A pipeline that is compiled in is made by a function, as a loaded one is. */
extern berth_pipeline_entry_fn *const berth_pipelines_builtin[]; /* NULL-ended */

#endif
