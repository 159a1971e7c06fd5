#ifndef BERTH_PIPELINES_QUANT_H
#define BERTH_PIPELINES_QUANT_H

#include <berth/pipeline.h>

/*
 * A GGUF model is written anew with smaller numbers, and the result is what is served.
 * Of the spec: quantConfig {type ("q8_0"), requantize (false), threads}.
 */
berth_pipeline_entry_fn berth_pipeline_quant;

/* The two goals, for other pipelines that quantise too. */
int berth_quant_check(struct berth_deployment *d, struct berth_err *e);
int berth_quant_ensure(struct berth_deployment *d, struct berth_err *e);

#endif
