#ifndef BERTH_KUBE_INFORMER_H
#define BERTH_KUBE_INFORMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "kube/client.h"
#include "kube/store.h"

struct berth_arena;
struct berth_json;

/*
 * What there is of one kind, kept up to date by one watch on one thread: a list, then what changes.
 * A watch that breaks off is taken up where it was, with growing pauses; one that is too old lists
 * again.  Nothing is asked for while nothing happens, but for a new watch every five minutes.
 */
struct berth_kube_informer;

struct berth_kube_informer_conf {
    struct berth_kube_selection selection; /* its texts are copied, its kind stays the caller's */
    const char *index_label;               /* find objects by this label's value; NULL: none */
    berth_kube_index_fn *index;            /* and by these values; NULL: none */
    uint64_t bytes_max;                    /* of all objects; 0: 256 MiB */
    bool names_only;    /* of each, its name and version are kept: changed() has read the rest */
    uint64_t resync_ns; /* tell every object anew so often (a watch's end later); 0: never */
    /* An object is new, another, or gone (then object is what it was last).  On the informer's
     * thread, no lock held; must not wait long.  May be NULL. */
    void (*changed)(void *arg, const struct berth_json *object, bool gone);
    /* A list could not be had or a watch broke off, after that worked or for another kind of
     * reason: the failure of client.h, and why.  Or 0 and NULL: it works again.  May be NULL. */
    void (*troubled)(void *arg, int r, const char *why);
    void *arg;
};

/* Starts the thread.  k must outlive the informer. */
int berth_kube_informer_start(struct berth_kube *k, const struct berth_kube_informer_conf *conf,
                              struct berth_kube_informer **ret, struct berth_err *e);
/* Ends the thread, within moments; nothing is told afterwards.  NULL is fine. */
void berth_kube_informer_stop(struct berth_kube_informer *i);

/* Wait until the first list is in.  -BERTH_EDEADLINE with why it is not, -BERTH_ECANCELED. */
int berth_kube_informer_wait(struct berth_kube_informer *i, const struct berth_kube_until *until,
                             struct berth_err *e);

/* Any thread.  Copies are in the arena.
 *   -BERTH_ENOENT     it is not there, as far as is known
 *   -BERTH_ENOTREADY  nothing is known yet
 *   -BERTH_ELIMIT     not there, and some objects did not fit into bytes_max: ask the server */
int berth_kube_informer_get(struct berth_kube_informer *i, struct berth_arena *a, const char *space,
                            const char *name, const struct berth_json **ret, struct berth_err *e);
/* Those that have that index value (NULL: all), at most cap of them.  *ret_count is how many
 * were written; more than cap is -BERTH_ELIMIT. */
int berth_kube_informer_find(struct berth_kube_informer *i, struct berth_arena *a,
                             const char *index, const struct berth_json **ret, size_t cap,
                             size_t *ret_count, struct berth_err *e);

/* How many of those that are kept have that index value. */
size_t berth_kube_informer_count(struct berth_kube_informer *i, const char *index);
/* Where those are that have that index value (NULL: all), however many; in the arena.  Where not
 * all objects fit, those that are kept. */
struct berth_kube_place {
    const char *space, *name;
};
int berth_kube_informer_names(struct berth_kube_informer *i, struct berth_arena *a,
                              const char *index, const struct berth_kube_place **ret,
                              size_t *ret_count, struct berth_err *e);

struct berth_kube_informer_state {
    bool synced; /* the first list is in */
    bool lossy;  /* some objects do not fit */
    size_t objects;
    uint64_t bytes;
    uint64_t lists, watches; /* so far */
    int failure;             /* of the last list or watch, as told; 0: none */
    char trouble[sizeof((struct berth_err *)NULL)->msg]; /* why the last list or watch failed; "":
                                                            it did not */
};
void berth_kube_informer_state(struct berth_kube_informer *i,
                               struct berth_kube_informer_state *ret);

#endif
