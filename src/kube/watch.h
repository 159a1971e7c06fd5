#ifndef BERTH_KUBE_WATCH_H
#define BERTH_KUBE_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

#include "kube/client.h"

struct berth_client;

/*
 * A watch: what happens to the objects of a selection, as it happens.
 */
enum berth_kube_event {
    BERTH_KUBE_ADDED,
    BERTH_KUBE_MODIFIED,
    BERTH_KUBE_DELETED,
    BERTH_KUBE_BOOKMARK, /* nothing happened up to this version; the object has that alone */
};

struct berth_kube_watch {
    const struct berth_kube_selection *selection;
    const char *version; /* from a list, or of the last event */
    uint32_t seconds;    /* after which the server ends it */
    /* version: the object's.  Return false to stop.  The object is gone afterwards. */
    bool (*each)(void *arg, enum berth_kube_event event, const struct berth_json *object,
                 const char *version);
    void *arg;
};

enum { BERTH_KUBE_EVENT_MAX = 8 << 20 /* bytes of one event's line */ };

/*
 * Blocks until the watch ends; its connection is http's, which may be stopped from any thread.
 *   0  it ended as it should: go on from the version of the last event
 *   1  the version is too old: list again
 * or a failure of client.h; -BERTH_ECANCELED also when each() said so.
 */
int berth_kube_watch(struct berth_kube *k, struct berth_client *http,
                     const struct berth_kube_watch *w, struct berth_err *e);

/*
 * The decoder of a watch's bytes by itself: lines of {"type":...,"object":...}, cut anywhere.  Feed
 * returns 0, 1 (too old), or a failure.
 */
struct berth_kube_lines {
    const struct berth_kube_watch *w;
    struct berth_buf line; /* the begin of a line that is not complete */
};
void berth_kube_lines_init(struct berth_kube_lines *l, const struct berth_kube_watch *w);
void berth_kube_lines_fini(struct berth_kube_lines *l);
int berth_kube_lines_feed(struct berth_kube_lines *l, const char *bytes, size_t len,
                          struct berth_err *e);

#endif
