#ifndef BERTH_PLACE_H
#define BERTH_PLACE_H

#include <limits.h>
#include <stdbool.h>

#include <berth/err.h>

/* Where this process finds its plugins and keeps its records. */
struct berth_place {
    bool ephemeral;       /* state_dir is "none": nothing is kept */
    char store[PATH_MAX]; /* the database's file */
    char dirs[3][PATH_MAX];
    const char *plugin_dirs[4]; /* into dirs; NULL-ended */
};

/* Makes the state folder (readable by its owner alone) when it is missing.  plugin_dir goes before
 * the folders beside the program: backends/ and ../lib/berth/backends/.  -BERTH_EIO */
int berth_place_find(const char *state_dir, const char *plugin_dir, struct berth_place *ret,
                     struct berth_err *e);

#endif
