#ifndef BERTH_PIPELINES_MULTIMODAL_H
#define BERTH_PIPELINES_MULTIMODAL_H

#include <berth/pipeline.h>

/*
 * A model that sees: its configuration of images and text is looked at before anything is deployed,
 * and the engine gets what images need.  The model is a folder as such models come in; the engine
 * vLLM or SGLang.  Of the spec: parameters {imagesPerPrompt (1), maxPixels, gpuMemoryFraction}.
 */
berth_pipeline_entry_fn berth_pipeline_multimodal;

#endif
