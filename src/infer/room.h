#ifndef BERTH_ROOM_H
#define BERTH_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"
#include "infer/config.h"
#include "infer/ledger.h"
#include "infer/registry.h"

struct berth_arena;
struct berth_json;
struct berth_registry;

/* How the memory for models stands.  Any thread. */
struct berth_ledger_sums berth_registry_memory(struct berth_registry *g);

struct berth_plan_victim {
    const char *name;
    uint64_t bytes, reload_ns;
};

/* What loading a model now would mean. */
struct berth_load_plan {
    const char *name, *backend; /* name: "" for a path */
    bool loaded;                /* it is loaded; then nothing would happen */
    enum berth_ledger_verdict verdict;
    uint64_t bytes, load_ns;
    enum berth_forecast_by by;
    const struct berth_plan_victim *victims;
    size_t victim_count;
    const char *why; /* it does not fit: the sums; else "" */
    struct berth_ledger_sums sums;
};
/* For a registered model, or, when name_or_id is empty, for what lies at path with this backend
 * (NULL: by the file) and config.  Loads and evicts nothing.  In the arena.  May read the disk.
 *   -BERTH_ENOENT, -BERTH_EINVAL  as berth_registry_register() */
int berth_registry_plan(struct berth_registry *g, struct berth_arena *a,
                        struct berth_slice name_or_id, const char *path, const char *backend,
                        const struct berth_json *config, struct berth_load_plan *ret,
                        struct berth_err *e);

#endif
