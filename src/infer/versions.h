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

/* How the versions of a model are addressed: by names of their own, and by shares of the requests
 * that name none. */
enum { BERTH_VERSION_NAMES_MAX = 16, BERTH_VERSION_NAME = 24, BERTH_VERSION_SHARE_MAX = 1000000 };
struct berth_version_routes {
    struct {
        char name[BERTH_VERSION_NAME]; /* "canary"; never a number */
        uint64_t number;
    } labels[BERTH_VERSION_NAMES_MAX];
    struct {
        uint64_t number;
        uint32_t weight;
    } shares[BERTH_VERSION_NAMES_MAX];
    uint32_t label_len, share_len;
};
/* The number that a label stands for; false: there is no such label. */
bool berth_versions_labelled(const struct berth_version_routes *r, const char *name, size_t len,
                             uint64_t *ret);
/* Does a label or a share name this version? */
bool berth_versions_named(const struct berth_version_routes *r, uint64_t number);
/* Which of n weights the ticket-th request gets: in any row of tickets each by its weight, as even
 * as it can be.  Their sum is not 0. */
size_t berth_versions_pick(const uint32_t *weights, size_t n, uint64_t ticket);

#endif
