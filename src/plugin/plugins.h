#ifndef BERTH_PLUGINS_H
#define BERTH_PLUGINS_H

#include <stddef.h>

#include <berth/backend.h>

/*
 * The backends that this process has: found in plugin folders as berth-NAME.so
 * or NAME/berth-NAME.so, opened at first
 * use (an engine's library costs start-up time), and never unloaded.  Any thread.
 */
struct berth_plugins;

/* dirs: searched in order, NULL-ended; a missing one is fine.  host is kept. */
int berth_plugins_new(const char *const *dirs, const struct berth_host *host,
                      struct berth_plugins **ret, struct berth_err *e);
void berth_plugins_free(struct berth_plugins *p);
/* A backend that is compiled in; it goes before those in the folders.  ops: static storage.
 *   -BERTH_EABI  as below      -BERTH_EEXIST  there is one of that name */
int berth_plugins_add(struct berth_plugins *p, const struct berth_backend_ops *ops,
                      struct berth_err *e);

/* The backend called name, opened when it is not yet.
 *   -BERTH_ENOENT  none of that name; the message lists the ones there are and where was looked
 *   -BERTH_EABI    it does not fit, or its engine's library is missing; with the reason */
int berth_plugins_backend(struct berth_plugins *p, const char *name,
                          const struct berth_backend_ops **ret, struct berth_err *e);
/* The backend for a model file, by its suffix; for a folder by what is in it.  -BERTH_EINVAL when
 * none takes it: the message lists what is taken. */
int berth_plugins_for_path(struct berth_plugins *p, const char *path,
                           const struct berth_backend_ops **ret, struct berth_err *e);

/* The file that ops are from, borrowed; NULL: compiled in, or none of p's. */
const char *berth_plugins_file(struct berth_plugins *p, const struct berth_backend_ops *ops);

struct berth_plugin_info {
    const char *name, *path;
    const struct berth_backend_ops *ops; /* NULL: could not be opened */
    const char *why;                     /* then: the reason */
};
/* Opens all of them.  *ret stays until berth_plugins_free(). */
size_t berth_plugins_list(struct berth_plugins *p, const struct berth_plugin_info **ret);

#endif
