#ifndef BERTH_KUBE_CLIENT_H
#define BERTH_KUBE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "kube/object.h"
#include "kube/status.h"

struct berth_arena;
struct berth_json;
struct berth_kube_config;
struct berth_kube_tally;

/*
 * A client of a Kubernetes API server.  Any thread, several at once; a call blocks.  Every call
 * keeps to the limit of calls a second, and is repeated, with growing pauses and as the server asks
 * (Retry-After), when the server is busy or cannot be reached, until its time is over.  So a call
 * whose answer was lost may have been done twice: a create() that finds its object is told so.
 *
 * Answers are JSON trees in the caller's arena.
 */
struct berth_kube;

struct berth_kube_conf {
    double qps;                     /* calls a second; 0: 10; < 0: no limit */
    double burst;                   /* calls at once; 0: 20 */
    uint64_t timeout_ns;            /* of a call with all its tries; 0: 30 s */
    uint32_t tries_max;             /* 0: 6 */
    const char *manager;            /* who owns the fields that are applied; NULL: "berth" */
    const char *denied, *ungranted; /* as status.h; borrowed */
    struct berth_kube_tally *tally; /* counts calls but streams; borrowed.  NULL: nobody does */
};

enum {
    BERTH_KUBE_CONNECTIONS_MAX = 8,
    BERTH_KUBE_ANSWER_MAX = 64 << 20, /* bytes of one answer */
    BERTH_KUBE_PAGE = 250, /* objects that one list call asks for, where it does not matter */
};

/* config and the arena it is in are borrowed until berth_kube_free().  No call is made. */
int berth_kube_new(const struct berth_kube_config *config, const struct berth_kube_conf *conf,
                   struct berth_kube **ret, struct berth_err *e);
/* No call may be under way.  NULL is fine. */
void berth_kube_free(struct berth_kube *k);
/* Calls that are under way and all later ones end with -BERTH_ECANCELED.  Any thread. */
void berth_kube_stop(struct berth_kube *k);
/* The namespace to use when none is asked for. */
const char *berth_kube_space(const struct berth_kube *k);

/* How long a call may take, and who may end it before.  NULL where one is asked for: the client's
 * own time. */
struct berth_kube_until {
    uint64_t deadline_ns;         /* monotonic; 0: the client's own time from now on */
    bool (*cancelled)(void *arg); /* asked several times a second; may be NULL */
    void *arg;
    uint32_t tries_max; /* of a caller with pauses of its own; 0, or more than the client's: that */
};

/* The failures are those of status.h; and -BERTH_ENETWORK, -BERTH_EDEADLINE, -BERTH_ECANCELED,
 * -BERTH_ENOMEM, -BERTH_ECONFIG (certificates, credentials).  ret may be NULL. */
struct berth_kube_ref {
    const struct berth_kube_kind *kind;
    const char *space; /* ignored where the kind has none */
    const char *name;
    const char *sub; /* subresource: "scale", "eviction"; NULL: none */
};
int berth_kube_get(struct berth_kube *k, const struct berth_kube_until *until,
                   struct berth_arena *a, const struct berth_kube_ref *ref,
                   const struct berth_json **ret, struct berth_err *e);
/* Server-side apply: the fields in the object become ours and what they say; ours that it lacks go.
 * force: also those that others own, else they are an -BERTH_EEXIST that names them.  dry: nothing
 * is kept. */
struct berth_kube_apply {
    struct berth_slice object; /* JSON, with apiVersion, kind and metadata.name */
    const char *manager;       /* whose the fields become; NULL: the client's */
    bool force, dry;
};
int berth_kube_apply(struct berth_kube *k, const struct berth_kube_until *until,
                     struct berth_arena *a, const struct berth_kube_ref *ref,
                     const struct berth_kube_apply *how, const struct berth_json **ret,
                     struct berth_err *e);
/* JSON merge patch (RFC 7386). */
int berth_kube_merge(struct berth_kube *k, const struct berth_kube_until *until,
                     struct berth_arena *a, const struct berth_kube_ref *ref,
                     struct berth_slice patch, const struct berth_json **ret, struct berth_err *e);
/* JSON patch (RFC 6902).  -BERTH_EINVAL also where a "test" of it fails. */
int berth_kube_json_patch(struct berth_kube *k, const struct berth_kube_until *until,
                          struct berth_arena *a, const struct berth_kube_ref *ref,
                          struct berth_slice patch, const struct berth_json **ret,
                          struct berth_err *e);
/* POST to the collection, or to a subresource of ref->name. -BERTH_EEXIST: there is one. */
int berth_kube_create(struct berth_kube *k, const struct berth_kube_until *until,
                      struct berth_arena *a, const struct berth_kube_ref *ref,
                      struct berth_slice object, const struct berth_json **ret,
                      struct berth_err *e);
/* Its dependents go after it (background).  live: only while it is that very version of it, else
 * -BERTH_EEXIST; NULL: whichever there is.  0: going or gone; 1: there was none. */
int berth_kube_delete(struct berth_kube *k, const struct berth_kube_until *until,
                      const struct berth_kube_ref *ref, const struct berth_json *live,
                      struct berth_err *e);

struct berth_kube_selection {
    const struct berth_kube_kind *kind;
    const char *space;  /* NULL: all */
    const char *labels; /* "app=x,managed-by=y"; NULL: any */
    const char *fields; /* "spec.nodeName=n1"; NULL: any */
    unsigned page;      /* objects that one list call asks for; 0: BERTH_KUBE_PAGE */
};
enum { BERTH_KUBE_VERSION_TEXT = 64 };
/*
 * Every object, page by page; each() gets it in memory that is gone afterwards, and returns false
 * to stop (-BERTH_ECANCELED).  An object may come twice, when the server forgot where a long list
 * was.  ret_version (may be NULL) is what a watch goes on from.  items and pages are not held.
 */
int berth_kube_list(struct berth_kube *k, const struct berth_kube_until *until,
                    const struct berth_kube_selection *s,
                    bool (*each)(void *arg, const struct berth_json *object), void *arg,
                    char ret_version[BERTH_KUBE_VERSION_TEXT], struct berth_err *e);

/* Does the server serve that kind?  Asked anew each time. */
int berth_kube_serves(struct berth_kube *k, const struct berth_kube_until *until,
                      const struct berth_kube_kind *kind, bool *ret, struct berth_err *e);
/* GET of any path as it comes, for as long as it lasts (a pod's log); part() returns false to stop.
 * One try.  Its connection is its own. */
int berth_kube_stream(struct berth_kube *k, const struct berth_kube_until *until, const char *path,
                      bool (*part)(void *arg, const char *bytes, size_t len), void *arg,
                      struct berth_err *e);

/* What the client has done so far. */
struct berth_kube_counts {
    uint64_t calls;        /* sent, each try; watches included */
    uint64_t retries;      /* of them, what was sent again */
    uint64_t throttled_ns; /* waited for the limit of calls a second */
};
struct berth_kube_counts berth_kube_counts(const struct berth_kube *k);

#endif
