#ifndef BERTH_DEPLOY_SPEC_H
#define BERTH_DEPLOY_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/pipeline.h>

#include "base/buf.h"

struct berth_arena;
struct berth_json;

/*
 * What a person wants deployed: the body of a deploy request or a service file, checked and with
 * every default filled in.  Immutable; everything is in the arena it was parsed into.
 *
 * As JSON (all but one of modelName and modelFile may be left out):
 *   modelName, modelFile | modelFileDir, name (a service file's word for modelName)
 *   pipeline | goalSetName, shimlet | shimletName      names; the defaults come with the server
 *   resourceRequirements {acceleratorType, acceleratorCount, cpu: "4", memory: "16Gi"}
 *   replicaCount (1), contextLength, env [{key,value}] or {KEY: value}, labels {}
 *   engine ("berth", "llama-server", "vllm", "sglang", "ollama", "command"), command [], args [],
 *   image | modelImage, port, healthPath, workload ("Deployment", "StatefulSet")
 *   autoscale {min, max, cpuPercent}, quantConfig {}, parameters {}: read by pipelines
 *   strategy {type ("rolling", "recreate", "canary"), maxSurge, maxUnavailable,
 *             canary {weight: percent, replicas}}
 *   securityConfig {allow [names of keys], hosts [], certFile, keyFile, caFile, apiKeyFile}: for
 *   the pipeline "secure"; whom allow leaves out is out with any
 *   startTimeoutMs, drainTimeoutMs, firstAnswerTimeoutMs, hasSideEffects
 *   steps {NAME: {maxRetries, timeoutMs, backoffMs, backoffMaxMs, onFailure, preHook, postHook}}
 *   shimletConfig {}: the environment's own
 * serviceId is ignored, as the program that this carries on did.  Other members are an error.
 */
enum {
    BERTH_SPEC_ENV_MAX = 256,
    BERTH_SPEC_ARGS_MAX = 256,
    BERTH_SPEC_LABELS_MAX = 64,
    BERTH_SPEC_STEPS_MAX = 64,
    BERTH_SPEC_ALLOW_MAX = 256,
    BERTH_SPEC_HOSTS_MAX = 32,
    BERTH_SPEC_REPLICAS_MAX = 1000,
    BERTH_SPEC_BYTES_MAX = 256 * 1024, /* of its JSON */
};

enum berth_strategy { BERTH_STRATEGY_ROLLING, BERTH_STRATEGY_RECREATE, BERTH_STRATEGY_CANARY };

/* What a person said about one step. */
struct berth_spec_step {
    const char *name;
    struct berth_policy policy;       /* zeros: the pipeline's */
    const char *pre_hook, *post_hook; /* command lines for /bin/sh; NULL: none */
};

struct berth_spec {
    const char *model_name; /* also the name that clients ask for */
    const char *model_file; /* as given; NULL: from model_name and the model root */
    const char *pipeline, *shimlet;
    const char *accelerator_type;                           /* as given; NULL: none */
    const char *accelerator_resource, *accelerator_product; /* by the table; NULL: none */
    uint32_t accelerator_count;
    uint64_t cpu_milli, memory_bytes;           /* 0: no limit */
    uint32_t replicas, context_len;             /* context_len 0: the engine's default */
    const char *engine;                         /* NULL: the pipeline's choice */
    const char *const *command, *const *args;   /* NULL-ended, or NULL */
    const char *image, *health_path, *workload; /* NULL: the default */
    uint16_t port;
    uint32_t scale_min, scale_max, scale_cpu_percent;
    enum berth_strategy strategy;
    uint32_t surge_max, unavailable_max;
    uint32_t canary_percent, canary_replicas;
    uint64_t start_timeout_ns, drain_timeout_ns; /* 300 s, 30 s */
    uint64_t
        first_timeout_ns;  /* until a replica's answer begins; 0: as long as a request may take */
    bool has_side_effects; /* a request must not reach two replicas */
    const struct berth_pair *env, *labels;
    size_t env_count, label_count;
    const struct berth_spec_step *steps;
    size_t step_count;
    const char *shimlet_json;                                  /* shimletConfig, an object */
    const char *quant_json, *parameters_json;                  /* objects; NULL: none */
    const char *const *allow, *const *hosts;                   /* NULL-ended, or NULL */
    const char *cert_file, *key_file, *ca_file, *api_key_file; /* NULL: made by the pipeline */
    const char *json; /* all of it in one form: members in one order, defaults filled in */
    size_t json_len;
    /* Hex.  hash: everything but replicas, strategy and steps; replicas that run another are out of
     * date.  Equal hashes: nothing to roll. */
    char hash[17];
};

/* A kind of accelerator that people name, and what environments call it. */
struct berth_accelerator {
    const char *prefix;   /* of what people write, any case: "NVIDIA" */
    const char *resource; /* "nvidia.com/gpu" */
};

struct berth_spec_defaults {
    const char *pipeline, *shimlet;
    const char *model_root; /* "/models" */
    const struct berth_accelerator
        *accelerators; /* before the built-in ones; ended by a NULL prefix, or NULL */
};

/* Where it is wrong: "resourceRequirements.memory"; "" for the whole. */
struct berth_spec_fault {
    char field[160];
};

/* From a JSON (or YAML) tree.  -BERTH_EINVAL with the field and what it may be; -BERTH_ENOMEM,
 * -BERTH_ETOOBIG. */
int berth_spec_parse(const struct berth_json *body, const struct berth_spec_defaults *dflt,
                     struct berth_arena *a, struct berth_spec *ret, struct berth_spec_fault *f,
                     struct berth_err *e);
/* Likewise from the text of a request.  A backslash before a line end between tokens counts as a
 * blank, as a published example has them; then *ret_lenient. */
int berth_spec_parse_text(struct berth_slice text, const struct berth_spec_defaults *dflt,
                          struct berth_arena *a, struct berth_spec *ret, bool *ret_lenient,
                          struct berth_spec_fault *f, struct berth_err *e);

/* What parses, and is refused from people all the same (a record that has it can still be read): a
 * modelFile that names no model, "/" or ".".  -BERTH_EINVAL */
int berth_spec_check(const struct berth_spec *s, struct berth_spec_fault *f, struct berth_err *e);

/* What differs, as a JSON array of {"path", "from", "to"} with secrets masked. */
void berth_spec_diff(const struct berth_spec *from, const struct berth_spec *to,
                     struct berth_arena *a, struct berth_buf *out);
/* What it says about a step; NULL: nothing. */
const struct berth_spec_step *berth_spec_step_of(const struct berth_spec *s, const char *name);
/* A copy in which what is as `now` is shown, masked, is as it is in it: a client may send back what
 * it was told.  Words of command and args are found at other places, too.  -BERTH_EINVAL: stars in
 * them, or in parameters, quantConfig or shimletConfig, that stand for nothing; -BERTH_ENOMEM. */
int berth_spec_unmasked(const struct berth_spec *s, const struct berth_spec *now,
                        struct berth_arena *a, struct berth_spec *ret, struct berth_err *e);
/* A copy with another number of replicas. */
int berth_spec_scaled(const struct berth_spec *s, uint32_t replicas, struct berth_arena *a,
                      struct berth_spec *ret, struct berth_err *e);

/* ---- names ---- */

/* Lower case; '.', '_' and '/' to '-'; all else but [a-z0-9-] dropped; "model-" before what does
 * not begin with a letter; no '-' at the end; at most `max` bytes; never empty.  In the arena. */
char *berth_name_sanitise(const char *name, size_t max, struct berth_arena *a);
/* "llama-3-8b-" and a UUIDv4. */
char *berth_name_service(const char *model_name, const char *uuid, struct berth_arena *a);
/* The workload's name in the environment: at most 52 bytes, stable, different for different
 * services and tracks. */
char *berth_name_unit(const char *service_id, const char *track, struct berth_arena *a);
/* The model's folder (fetch/model_dir.h), in the arena.  -BERTH_EINVAL: it has none of its own. */
int berth_name_model_dir(const char *path, struct berth_arena *a, const char **ret,
                         struct berth_err *e);
/* "4", "500m" -> milli; "16Gi", "512M", "1e9" -> bytes (Kubernetes' quantities).  -BERTH_EINVAL */
int berth_quantity_cpu(const char *text, uint64_t *ret_milli, struct berth_err *e);
int berth_quantity_bytes(const char *text, uint64_t *ret_bytes, struct berth_err *e);
/* Is the value of that key to be masked ("password", "API_TOKEN", ...)? */
bool berth_key_is_secret(const char *key);

#endif
