#ifndef BERTH_MSVC_POOL_H
#define BERTH_MSVC_POOL_H

#include <stdbool.h>

#include <berth/err.h>

struct berth_arena;
struct berth_json;
struct berth_msvc_base;
struct berth_msvc_problems;

/*
 * The two generations of the Gateway API Inference Extension.  A base configuration is written for
 * one of them and is good for both: what it says is converted, without a cluster and without state.
 */
#define BERTH_MSVC_INFERENCE_V1       "inference.networking.k8s.io"
#define BERTH_MSVC_INFERENCE_V1ALPHA2 "inference.networking.x-k8s.io"

enum berth_msvc_inference {
    BERTH_MSVC_AS_WRITTEN,  /* whichever the base configuration is written for */
    BERTH_MSVC_TO_V1ALPHA2, /* InferencePool v1alpha2 and InferenceModel */
    BERTH_MSVC_TO_V1,       /* InferencePool v1 and InferenceObjective */
};

/* Is an InferencePool written as v1?  Its apiVersion says so or, where that says neither, the
 * members that only v1 has. */
bool berth_msvc_pool_is_v1(const struct berth_json *pool);

/*
 * Pool, model and objective of base as the wished generation has them; afterwards base has none of
 * the other one.  Who has said both a model and an objective is taken at his word.  What has no
 * equal is left out, with a warning in p that names it.  no_objectives: the cluster has none, and
 * neither these nor models come out.
 *   -BERTH_ENOMEM
 */
int berth_msvc_pool_convert(struct berth_msvc_base *base, enum berth_msvc_inference to,
                            bool no_objectives, struct berth_arena *a,
                            struct berth_msvc_problems *p, struct berth_err *e);

/* A route (NULL is fine) whose references to the pool `name` of either generation are of `group`;
 * everything else is as it was.  -BERTH_ENOMEM */
int berth_msvc_route_to_pool(const struct berth_json *route, const char *name, const char *group,
                             struct berth_arena *a, const struct berth_json **ret,
                             struct berth_err *e);

#endif
