#ifndef BERTH_CMD_SERVICE_H
#define BERTH_CMD_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/remote.h"

/* What the commands about services share.  One thread. */

/* METHOD /api/v1/modservPATH with {} replaced by name; *ret is the answer's "data".  Returns the
 * exit status; what goes wrong is told. */
int berth_service_call(struct berth_remote *r, const char *method, const char *path,
                       const char *name, const struct berth_buf *body,
                       const struct berth_json **ret);
/* v to standard output, as a line of JSON.  The exit status. */
int berth_service_print(const struct berth_args *args, const struct berth_json *v);

/*
 * Follow a service until it runs the revision wanted (0: whatever is wanted of it), showing its
 * steps on standard error, for at most limit_s.  Tells how it ended: the endpoint and how to reach
 * it, or why not and what to look at.  Ctrl-C stops the watching, not the work.
 */
int berth_service_wait(struct berth_remote *r, const char *id, uint64_t revision, uint64_t limit_s);
/* Likewise until it is gone. */
int berth_service_wait_gone(struct berth_remote *r, const char *id, uint64_t limit_s);
/* What its environment's being out of reach means, for people; "": it can be reached. */
const char *berth_service_away(const struct berth_json *service);

/*
 * A stream of text as it comes, to standard output, until it ends or Ctrl-C.  sse: only what
 * stands behind "data:", a line each, or what put() makes of it.
 */
int berth_service_stream(struct berth_remote *r, const char *url, bool sse,
                         void (*put)(struct berth_buf *out, struct berth_slice data));

/* Words "path=value" from `from` on as an object: "resourceRequirements.cpu=2", "env.A=b".  A value
 * that is JSON is that, else a string.  False: told. */
bool berth_service_words(const struct berth_args *args, size_t from, struct berth_arena *a,
                         const struct berth_json **ret);

#endif
