#ifndef BERTH_FETCH_H
#define BERTH_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

/*
 * Model files from elsewhere into a folder of ours: a path, http(s)://..., or
 * hf://ORG/REPO/FILE[@REVISION].  Resumed after a break (FILE.part beside it, with the ETag it
 * belongs to), checked, and put in place by one rename.  Blocking: for tools and pools.
 */
struct berth_fetch {
    const char *source;      /* may end in #sha256=HEX */
    const char *sha256;      /* expected, 64 hex digits; NULL: the source's own, or none */
    const char *folder;      /* where it goes; made when missing */
    const char *name;        /* file name there; NULL: the source's last part */
    const char *hf_token;    /* NULL or empty: none */
    const char *hf_endpoint; /* NULL or empty: the hub's own address */
    const char *bearer;      /* a token for http(s):// sources; NULL: none */
    uint64_t bytes_max;      /* 0: only the disk's free space bounds it */
    bool (*progress)(void *arg, uint64_t got, uint64_t total); /* total 0: unknown; false: stop */
    void *arg;
    bool *ret_there; /* NULL, or on success: was the file there already? */
};

/*
 * 0 and the path (free() it); a plain path is checked and given back as it is, absolute.
 *   -BERTH_EINVAL    the source is none of the three; the message shows one of each
 *   -BERTH_ENOENT    not there (404, no such file)
 *   -BERTH_EAUTH     a token is needed, or was refused
 *   -BERTH_ENETWORK  broken off: call again and it goes on
 *   -BERTH_EAGAIN    another process or thread is fetching that file
 *   -BERTH_EIO       the disk
 *   -BERTH_ETOOBIG   it would not fit; the message has both numbers
 *   -BERTH_EBACKEND  the checksum differs: the part is deleted
 *   -BERTH_ECANCELED progress() said stop: the part stays
 */
int berth_fetch(const struct berth_fetch *what, char **ret_path, struct berth_err *e);

#endif
