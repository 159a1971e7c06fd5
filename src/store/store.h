#ifndef BERTH_STORE_H
#define BERTH_STORE_H

#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;

/*
 * Desired records: small values under keys such as "model/digits", durable when put() returns.
 * Any thread; calls are serialised inside.
 */
struct berth_store;

struct berth_record {
    const char *key; /* NUL-ended */
    struct berth_slice value;
    uint64_t revision; /* grows with every change of the store */
};

enum { BERTH_STORE_KEY_MAX = 512, BERTH_STORE_VALUE_MAX = 1 << 20 };

/* SQLite (WAL, synchronous=FULL) in the file; made when missing, checked and upgraded when older.
 *   -BERTH_ENOSPC  the disk is full (of every change here, too): nothing was changed
 *   -BERTH_EIO  cannot be opened or is damaged; the message says what to do
 *   -BERTH_EEXIST  another process has it */
int berth_store_open_sqlite(const char *path, struct berth_store **ret, struct berth_err *e);
/* For tests and `--state-dir none`: gone with the process. */
int berth_store_open_memory(struct berth_store **ret, struct berth_err *e);
void berth_store_close(struct berth_store *s); /* NULL is fine */

/* -BERTH_ENOENT when there is none.  The record is in the arena. */
int berth_store_get(struct berth_store *s, struct berth_arena *a, const char *key,
                    struct berth_record *ret, struct berth_err *e);
/* Records whose key starts with prefix, in the order of their keys. */
int berth_store_list(struct berth_store *s, struct berth_arena *a, const char *prefix,
                     struct berth_record **ret, size_t *ret_count, struct berth_err *e);
/* expected: 0 whatever is there, BERTH_STORE_NEW there must be none, else its revision must match;
 * -BERTH_EEXIST when it does not. */
#define BERTH_STORE_NEW UINT64_MAX
int berth_store_put(struct berth_store *s, const char *key, struct berth_slice value,
                    uint64_t expected, struct berth_err *e);
/* Deleting what is not there is fine. */
int berth_store_delete(struct berth_store *s, const char *key, struct berth_err *e);

/* One change among several that are made together. */
struct berth_store_op {
    enum { BERTH_STORE_PUT, BERTH_STORE_DELETE } kind;
    const char *key;
    struct berth_slice value; /* of a put */
    uint64_t expected;        /* as for berth_store_put(), of a delete too */
};
enum { BERTH_STORE_OPS_MAX = 256 };
/*
 * All of the changes or none, durable when it returns 0; in order, so that a later one sees an
 * earlier one's.  Each record that was put has the one revision *ret_revision (NULL: not wanted).
 *   -BERTH_EEXIST  a record is not at its expected revision; the message names it
 *   -BERTH_EINVAL  no change or more than BERTH_STORE_OPS_MAX, or a key; -BERTH_ETOOBIG a value
 */
int berth_store_txn(struct berth_store *s, const struct berth_store_op *ops, size_t count,
                    uint64_t *ret_revision, struct berth_err *e);

#endif
