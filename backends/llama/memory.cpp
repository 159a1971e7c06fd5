#include "memory.h"

#include <dlfcn.h>

#include <cstring>
#include <map>

#include "ggml-backend.h"
#include "llama.h"

/* The engine tells its memory only through a function that it calls unfinished and leaves out of
 * its installed headers.  So it is looked up by name, and believed only in the version whose
 * declaration is repeated here. */
struct breakdown {
    size_t model, context, compute;
};

typedef std::map<ggml_backend_buffer_type_t, breakdown> breakdown_fn(const llama_context *context);

static const char known_version[] = "0.5.0";

uint64_t
berth_engine_memory(const struct llama_model *model, const struct llama_context *context,
                    bool will_map)
{
    uint64_t sum = 0;
    void *found = nullptr;

    if (strstr(llama_version(), known_version) != nullptr)
        found = dlsym(RTLD_DEFAULT, "_Z26llama_get_memory_breakdownPK13llama_context");
    if (found == nullptr)
        return llama_model_size(model);
    for (const auto &entry : reinterpret_cast<breakdown_fn *>(found)(context)) {
        sum += entry.second.model + entry.second.context + entry.second.compute;
        if (will_map && !ggml_backend_buft_is_host(entry.first))
            sum += entry.second.model;
    }
    return sum;
}
