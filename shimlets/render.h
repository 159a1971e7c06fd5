#ifndef BERTH_SHIMLETS_RENDER_H
#define BERTH_SHIMLETS_RENDER_H

#include <berth/shimlet.h>

/* A plan's object for environments that have none of their own: what a unit asks for, as an array
 * of one, kind being what it is there.  Calls text() once.  Names of variables alone: their values
 * may be secrets.  -BERTH_ENOMEM */
int berth_shimlet_render(const char *kind, const struct berth_unit *u,
                         void (*text)(void *arg, const char *json, size_t len), void *arg,
                         struct berth_err *e);

#endif
