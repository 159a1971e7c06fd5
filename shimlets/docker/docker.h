#ifndef BERTH_SHIMLETS_DOCKER_H
#define BERTH_SHIMLETS_DOCKER_H

#include <berth/shimlet.h>

/* Workloads as containers of a Docker daemon, by its Engine API.  See docs/docker.md. */
extern const struct berth_shimlet_ops berth_shimlet_docker;

#endif
