#ifndef BERTH_API_SHM_H
#define BERTH_API_SHM_H

#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;

/*
 * System shared memory: regions that clients made with shm_open() and registered by a name, so that
 * tensors need not travel.  Any thread; one lock, held for look-ups alone.
 *
 * Regions are read and written by pread() and pwrite(), never mapped: a client that cuts one short
 * gets an error where a mapping would end this program with SIGBUS, and what was checked cannot
 * change before it is used.  It costs the one copy that a message would have cost, too.
 */
struct berth_shm;

enum { BERTH_SHM_REGIONS_MAX = 1024, BERTH_SHM_NAME_MAX = 255 };

struct berth_shm_info {
    const char *name;
    const char *key;            /* of shm_open(): "/NAME" */
    uint64_t offset, byte_size; /* what of it is the region */
};

struct berth_shm *berth_shm_new(void); /* NULL: out of memory */
void berth_shm_free(struct berth_shm *t);

/*
 * Open it and keep it under that name.
 *   -BERTH_EINVAL  the name, or a key that is no plain name in /dev/shm, or a region beyond its end
 *   -BERTH_ENOENT  no such shared memory   -BERTH_EEXIST  the name is taken   -BERTH_EPERM
 *   -BERTH_ELIMIT  as many as there may be
 */
int berth_shm_register(struct berth_shm *t, const struct berth_shm_info *region,
                       struct berth_err *e);
/* Empty name: all of them.  What requests still use is closed when they are done.  -BERTH_ENOENT */
int berth_shm_unregister(struct berth_shm *t, struct berth_slice name, struct berth_err *e);
/* Copies in the arena, by name; empty name: all.  -BERTH_ENOENT, -BERTH_ENOMEM */
int berth_shm_list(struct berth_shm *t, struct berth_arena *a, struct berth_slice name,
                   struct berth_shm_info **ret, size_t *ret_count, struct berth_err *e);

/* Where in a region: offset counts from the region's. */
struct berth_shm_span {
    const char *region;
    uint64_t offset, size;
    struct berth_shm_region *held; /* by berth_shm_hold(), or NULL: looked up by its name */
};
/* From here on the span means the region that has the name now, until the arena goes: what another
 * request makes of that name does not lead results elsewhere.  Errors as below; -BERTH_ENOMEM. */
int berth_shm_hold(struct berth_shm *t, struct berth_arena *a, struct berth_shm_span *span,
                   struct berth_err *e);
/* -BERTH_ENOENT: no such region.  -BERTH_EINVAL: beyond its end, or it was cut short. */
int berth_shm_read(struct berth_shm *t, const struct berth_shm_span *from, void *to,
                   struct berth_err *e);
int berth_shm_write(struct berth_shm *t, const struct berth_shm_span *to, const void *from,
                    struct berth_err *e);

#endif
