#ifndef BERTH_VERSIONS_H
#define BERTH_VERSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

/* The versions of a model on disk: folders 1, 2, ... in its own; else the path itself is its only
 * one, called "1". */
enum { BERTH_VERSION_DIRS_MAX = 64, BERTH_VERSION_LABEL = 24 };
struct berth_version_dir {
    uint64_t number;
    char label[BERTH_VERSION_LABEL];
};
struct berth_version_dirs {
    bool in_folders; /* the version's path is PATH/LABEL */
    size_t len;
    struct berth_version_dir at[BERTH_VERSION_DIRS_MAX]; /* lowest number first */
};

/* -BERTH_ENOENT no such path      -BERTH_EINVAL not readable, or neither a file nor a folder
 * -BERTH_ELIMIT too many */
int berth_versions_scan(const char *path, struct berth_version_dirs *ret, struct berth_err *e);

#endif
