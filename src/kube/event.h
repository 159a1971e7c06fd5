#ifndef BERTH_KUBE_EVENT_H
#define BERTH_KUBE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include <berth/err.h>

struct berth_kube;

/*
 * Events of the API server (events.k8s.io/v1) about an object: what `kubectl describe` shows of it.
 *
 * Telling is for any thread and waits for nothing: one thread of the recorder's sends what waits,
 * at most 512 at a time, 50 at once and then 20 a second.  What is told again within six minutes is
 * counted in the event that is there (its series), in one call however often it was told meanwhile.
 * What has no room is dropped and counted: an event is a courtesy, and never in anybody's way.
 */
struct berth_kube_events;

struct berth_kube_events_conf {
    const char *controller; /* who tells: "berth-modelservice" */
    const char *instance;   /* which of them; copied, cut at 128 bytes */
    /* Asked before each call and during one: false drops what waits.  On the recorder's thread.
     * NULL: it may. */
    bool (*may_send)(void *arg);
    /* The first failure after what worked, and NULL when it works again.  On the recorder's thread.
     * May be NULL. */
    void (*troubled)(void *arg, const char *why);
    void *arg;
};

struct berth_kube_event {
    /* About whom; everything is copied. */
    const char *api_version, *kind, *space, *name, *uid;
    const char *version; /* its resourceVersion; the same event is told once of each, if not NULL */
    bool warning;
    const char *reason; /* "Ready": a word for programs, at most 128 bytes */
    const char *action; /* what was done: "Apply" */
    const char *note;   /* for people; cut at 1,024 bytes */
};

/* controller is borrowed until the end; k outlives it.  -BERTH_ENOMEM, -BERTH_ELIMIT (no thread) */
int berth_kube_events_new(struct berth_kube *k, const struct berth_kube_events_conf *conf,
                          struct berth_kube_events **ret, struct berth_err *e);
/* What waits is sent within a second, or not any more.  NULL is fine. */
void berth_kube_events_free(struct berth_kube_events *r);

/* False: it was told of that version already.  NULL for r: nothing happens. */
bool berth_kube_events_tell(struct berth_kube_events *r, const struct berth_kube_event *event);

struct berth_kube_events_stats {
    uint64_t sent;    /* calls that the server took */
    uint64_t failed;  /* calls that it did not */
    uint64_t dropped; /* events that had no room */
    uint32_t waiting;
};
struct berth_kube_events_stats berth_kube_events_stats(struct berth_kube_events *r);

#endif
