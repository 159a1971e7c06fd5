#ifndef BERTH_DEPLOY_EVENTS_H
#define BERTH_DEPLOY_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "deploy/deploy.h"

struct berth_store_op;

/*
 * What happened to services: numbered from 1 without gaps, durable together with the change that
 * it tells of, and kept up to a number.  The newest ones are in memory; whoever follows them is
 * told.  Any thread; looking never waits for the disk.
 */
struct berth_events;

/* Reads what the store has.  store must outlive it. */
int berth_events_new(struct berth_store *store, uint32_t max,
                     const struct berth_deploy_clock *clock, struct berth_events **ret,
                     struct berth_err *e);
void berth_events_free(struct berth_events *ev); /* NULL is fine; no watch is left */

struct berth_event {
    const char *type;       /* "service.status" */
    const char *service_id; /* or NULL */
    const char *members;    /* further ones: a JSON object's text; NULL: none */
};
enum { BERTH_EVENTS_AT_ONCE_MAX = 32 };

/*
 * Make the changes and tell of them: all or nothing.  ops may be none, events too (not both).
 * Serialised inside; waits for the disk.  Watches are told before it returns.
 *   as berth_store_txn(); -BERTH_EINVAL too many
 */
int berth_events_commit(struct berth_events *ev, const struct berth_store_op *ops, size_t op_count,
                        const struct berth_event *events, size_t event_count, struct berth_err *e);

/* As berth_deploy_events(). */
int berth_events_read(struct berth_events *ev, const struct berth_event_query *q,
                      bool (*each)(void *arg, uint64_t seq, struct berth_slice json), void *arg,
                      uint64_t *ret_last, struct berth_err *e);
void berth_events_watch(struct berth_events *ev, struct berth_event_watch *w);
void berth_events_unwatch(struct berth_events *ev, struct berth_event_watch *w);

#endif
