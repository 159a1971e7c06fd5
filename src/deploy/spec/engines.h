#ifndef BERTH_DEPLOY_ENGINES_H
#define BERTH_DEPLOY_ENGINES_H

#include <berth/err.h>

#include "deploy/spec/spec.h"

struct berth_arena;

/*
 * How an inference engine is started for a service: its command line, and what goes with it.  A
 * table of engines; pure.
 */
struct berth_rendered {
    const char *engine;         /* which: "vllm" */
    const char *const *command; /* NULL-ended; with $(PORT) and $(HOST); NULL: the image's own */
    const char *health_path;
    const char *image;      /* that has it, where containers run; NULL: the environment's default */
    const char *model_path; /* as the engine takes it */
    const struct berth_pair *env; /* besides the spec's own */
    size_t env_count;
};

/*
 * Render the spec's engine, or the one that fits: Berth itself, but vLLM on Kubernetes, and on
 * Docker for models with accelerators.  model_path: of the model, as the environment sees it.
 * What the spec says (command, image, healthPath, args) wins.  Everything is in the arena.
 *
 * Before the first argument that begins with "--" stands the program: an environment that tells a
 * container's program from its arguments (Kubernetes) parts them there.  "berth" as the first word
 * is this program, where it runs as a process.
 *   -BERTH_EINVAL the path does not fit the engine; -BERTH_ENOMEM
 */
int berth_engine_render(const struct berth_spec *spec, const char *model_path,
                        struct berth_arena *a, struct berth_rendered *ret, struct berth_err *e);

/* The arguments of a command as JSON, for set("command"). */
char *berth_engine_command_json(const char *const *command, struct berth_arena *a);

#endif
