#ifndef BERTH_SHIMLET_PROCESS_H
#define BERTH_SHIMLET_PROCESS_H

#include <berth/shimlet.h>

/* Engines as processes of this machine: see README.md.  "edge" is the same under the name that the
 * edge pipeline asks for. */
extern const struct berth_shimlet_ops berth_shimlet_process;
extern const struct berth_shimlet_ops berth_shimlet_edge;

#endif
