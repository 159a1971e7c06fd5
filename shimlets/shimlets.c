#include "shimlets/shimlets.h"

#include "shimlets/docker/docker.h"
#include "shimlets/kubernetes/kubernetes.h"
#include "shimlets/ollama/ollama.h"
#include "shimlets/process/process.h"
#include "shimlets/shimmy/shimmy.h"

/* A row for each folder here that is compiled in. */
const struct berth_shimlet_ops *const berth_shimlets_builtin[] = {
    &berth_shimlet_process, &berth_shimlet_edge,   &berth_shimlet_docker, &berth_shimlet_kubernetes,
    &berth_shimlet_k8s,     &berth_shimlet_ollama, &berth_shimlet_shimmy, NULL,
};
