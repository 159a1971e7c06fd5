#ifndef BERTH_MSVC_ARTIFACTS_H
#define BERTH_MSVC_ARTIFACTS_H

#include <stdbool.h>

#include <berth/err.h>

struct berth_arena;

/* Where a ModelService's model comes from (spec.modelArtifacts.uri), and where containers see it.
 */
enum berth_msvc_source {
    BERTH_MSVC_HF,     /* hf://REPO/MODEL: fetched by the engine into an empty directory */
    BERTH_MSVC_PVC,    /* pvc://CLAIM/PATH: on a volume */
    BERTH_MSVC_PVC_HF, /* pvc+hf://CLAIM/CACHE/REPO/MODEL: a Hugging Face cache on a volume */
    BERTH_MSVC_OCI,    /* oci://IMAGE[::PATH]: a volume that is an image */
};

struct berth_msvc_artifact {
    enum berth_msvc_source source;
    const char *hf_model;   /* "REPO/MODEL"; "" without */
    const char *model_path; /* hf: as hf_model; pvc, oci: PATH */
    const char *claim;      /* pvc, pvc+hf */
    const char *hub_path;   /* pvc+hf: the cache within the volume; "" for its root */
    const char *image;      /* oci */
    const char *flaw;       /* what a cluster has no use for, though llm-d took it; "": nothing */
    bool has_volume;        /* false: a flaw leaves nothing to mount */
    const char *mounted;    /* the model in a container that mounts it: "/model-cache/PATH" */
};

#define BERTH_MSVC_MOUNT  "/model-cache"
#define BERTH_MSVC_VOLUME "model-storage"

/* All text lives in the arena.  With a flaw it is what llm-d made of it.
 *   -BERTH_EINVAL  what is wrong with it, and how it is written      -BERTH_ENOMEM */
int berth_msvc_artifact_parse(const char *uri, struct berth_arena *a,
                              struct berth_msvc_artifact *ret, struct berth_err *e);

#endif
