#ifndef BERTH_SHIMLET_KUBERNETES_H
#define BERTH_SHIMLET_KUBERNETES_H

#include <berth/shimlet.h>

/* Workloads as Deployments or StatefulSets with a Service: see README.md. */
extern const struct berth_shimlet_ops berth_shimlet_kubernetes;
/* The same by the name that ModelServeShim has for it; a service stays with the name it came by. */
extern const struct berth_shimlet_ops berth_shimlet_k8s;

#endif
