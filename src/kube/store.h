#ifndef BERTH_KUBE_STORE_H
#define BERTH_KUBE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

struct berth_json;

/*
 * Objects by namespace and name, as JSON text, with an index by values of their own and a bound
 * on their bytes.  metadata.managedFields is left out: nobody reads it, and it is the larger half.
 * The caller locks.
 */
struct berth_kube_store;

/* By what an object is found: give each value to put().  Reads the object and nothing else; it is
 * called with the caller's lock held.  Values beyond the first BERTH_KUBE_VALUES_MAX are left out.
 */
typedef void berth_kube_index_fn(const struct berth_json *object,
                                 void (*put)(void *arg, struct berth_slice value), void *arg);
enum { BERTH_KUBE_VALUES_MAX = 256 };

/* index_label: a label whose value is an index value, copied; index: for more.  Each may be NULL.
 * NULL: out of memory. */
struct berth_kube_store *berth_kube_store_new(const char *index_label, berth_kube_index_fn *index,
                                              uint64_t bytes_max);
/* From now on objects are kept as a name and a version, for whoever is told of each has read it. */
void berth_kube_store_keep_names(struct berth_kube_store *s);
void berth_kube_store_free(struct berth_kube_store *s);

/* One object's text, and its place.  Borrowed until the store is changed. */
struct berth_kube_stored {
    const char *space, *name;
    struct berth_slice text;
};

/* 1: new or another version; 0: it is there in this version; -BERTH_ELIMIT: it does not fit, and is
 * not there; -BERTH_EINVAL: it has no name; -BERTH_ENOMEM. */
int berth_kube_store_put(struct berth_kube_store *s, const struct berth_json *object);
/* True: it was there. */
bool berth_kube_store_remove(struct berth_kube_store *s, const char *space, const char *name);
bool berth_kube_store_get(const struct berth_kube_store *s, const char *space, const char *name,
                          struct berth_kube_stored *ret);
/* Every object, or those that have that index value; return false to stop. */
void berth_kube_store_each(const struct berth_kube_store *s, const char *index,
                           bool (*each)(void *arg, const struct berth_kube_stored *one), void *arg);
/* For a list that replaces everything: begin, put() all of it, then each object that was not put is
 * removed, and told before. */
void berth_kube_store_begin(struct berth_kube_store *s);
void berth_kube_store_sweep(struct berth_kube_store *s,
                            void (*gone)(void *arg, const struct berth_kube_stored *one),
                            void *arg);
uint64_t berth_kube_store_bytes(const struct berth_kube_store *s);
size_t berth_kube_store_count(const struct berth_kube_store *s);

#endif
