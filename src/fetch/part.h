#ifndef BERTH_FETCH_PART_H
#define BERTH_FETCH_PART_H

#include <stdbool.h>
#include <stdint.h>

#include <berth/err.h>

#include "net/digest.h"

/*
 * A file on its way: FILE.part holds what has come, FILE.part.from says what it is a part of.  It
 * is locked while it is open, so that two pulls of one file do not write into each other.  One
 * thread.
 */
struct berth_part {
    char *file, *path, *from_path;
    int fd; /* -1: not open */
    uint64_t len;
    struct berth_digest *sum;       /* of the len bytes */
    char etag[128];                 /* what they belong to; empty: unknown */
    char sha256[BERTH_DIGEST_HEX];  /* of the whole file as its source said; empty: unknown */
    char url_sum[BERTH_DIGEST_HEX]; /* the address may hold a secret: only its sum is written */
};

/*
 * Open (or make) the part of `file`, and sum up what is there of url; what belongs to something
 * else is dropped.  go_on is asked while it sums. -BERTH_EAGAIN    another process or thread is
 * writing it -BERTH_EIO, -BERTH_ENOMEM, -BERTH_ECANCELED
 */
int berth_part_open(struct berth_part *p, const char *file, const char *url,
                    bool (*go_on)(void *arg, uint64_t summed, uint64_t total), void *arg,
                    struct berth_err *e);
/* Close it; what has come stays.  Fine when it never opened. */
void berth_part_fini(struct berth_part *p);

/* Drop what has come; nothing is known of the rest. */
int berth_part_clear(struct berth_part *p, struct berth_err *e);
/* Say what the bytes belong to, before the first of them is put. */
int berth_part_describe(struct berth_part *p, const char *etag, const char *sha256,
                        struct berth_err *e);
int berth_part_put(struct berth_part *p, const void *bytes, size_t n, struct berth_err *e);
/* Everything is there: to disk, and in place under its own name. */
int berth_part_finish(struct berth_part *p, struct berth_err *e);
/* Delete it. */
void berth_part_delete(struct berth_part *p);

/* The sum of a whole file.  go_on may be NULL. */
int berth_part_sum_file(const char *path, char ret[BERTH_DIGEST_HEX],
                        bool (*go_on)(void *arg, uint64_t summed, uint64_t total), void *arg,
                        struct berth_err *e);

#endif
