#ifndef BERTH_API_FORWARD_H
#define BERTH_API_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;
struct berth_call;
struct berth_forwarders;
struct berth_jw;
struct berth_trace_note;

/*
 * Requests for models that are not registered here but served by a deployed service: passed on to
 * one of its replicas as they are (same path, same body), whichever dialect they speak.  The
 * replica may know the model by another name: then only that is replaced, in the path or in the
 * body's member "model".  A call that was passed on is not the caller's any more: it is answered
 * sooner or later, by the replica or with an error in its dialect.
 *
 * The answer says which replica gave it (X-Berth-Replica).  gRPC is not passed on.
 */

/* Of every loop one, made at its first use. */
struct berth_forwarders *berth_forwarders_new(void); /* NULL: out of memory */
/* Before the loops go; nothing is being passed on.  NULL is fine. */
void berth_forwarders_free(struct berth_forwarders *f);

/* A name that the registry does not know: pass c on, if a service has it.  On its loop. */
bool berth_api_forward(struct berth_call *c, struct berth_slice name);
/* Likewise for routes with the name in their path, before their handlers run; asks the registry. */
bool berth_api_forward_path(struct berth_call *c);
/* What is to be told of a call that was passed on; else nothing is changed. */
void berth_api_forward_note(const struct berth_call *c, struct berth_trace_note *n);
/* OpenAI's model objects of services that the caller may ask and that are not hidden by a model of
 * the registry.  Any thread. */
void berth_api_forward_list(struct berth_call *c, struct berth_jw *w);

/* ---- pure, for tests and fuzzers ---- */

/*
 * A JSON object's text with every member "model" of its own (not of what is within) made `name`;
 * all other bytes stay.  *ret is body itself when nothing has to change, else in the arena.
 * *ret_streams: it has "stream": true.
 *   -BERTH_EINVAL  it is no JSON object   -BERTH_ENOMEM
 */
int berth_forward_rename(struct berth_arena *a, struct berth_slice body, const char *name,
                         struct berth_slice *ret, bool *ret_streams);

#endif
