#ifndef BERTH_SHIMLETS_H
#define BERTH_SHIMLETS_H

#include <berth/shimlet.h>

/* The shimlets that are compiled in, NULL-ended; what a person is offered first comes first. */
extern const struct berth_shimlet_ops *const berth_shimlets_builtin[];

#endif
