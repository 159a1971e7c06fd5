#ifndef BERTH_SHIMMY_H
#define BERTH_SHIMMY_H

#include <berth/shimlet.h>

/* A scripted environment in memory, for tests: see README.md. */
extern const struct berth_shimlet_ops berth_shimlet_shimmy;

#endif
