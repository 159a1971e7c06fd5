#ifndef BERTH_LLAMA_MEMORY_H
#define BERTH_LLAMA_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llama_context;
struct llama_model;

/* Bytes that the engine holds for a model and its context, weights mapped from the file included.
 * Takes the engine's own account where this engine's version has one that is known here, else the
 * weights alone.  will_map: nothing was allocated yet, and the file will be mapped; weights that
 * the engine rearranges are then in memory twice. */
uint64_t berth_engine_memory(const struct llama_model *model, const struct llama_context *context,
                             bool will_map);

#ifdef __cplusplus
}
#endif

#endif
