#ifndef BERTH_API_SERVICES_H
#define BERTH_API_SERVICES_H

#include "api/api_priv.h"
#include "deploy/deploy.h"

/* What the files that answer /api/v1 share.  Answers are {"code": 0, "message", "data"}. */

/* The control plane; NULL: there is none, and c is answered. */
struct berth_deploy *berth_services_open(struct berth_call *c);
/* The service that the path names, whole, in the arena; NULL: there is none, and c is answered. */
const char *berth_services_named(struct berth_call *c, struct berth_deploy *d);
/* Who asks: the key's name or fingerprint, else X-Operator, else the peer's address.  In c's arena.
 */
struct berth_actor berth_services_actor(struct berth_call *c);
/* Answer with data (JSON; NULL: null), or with the error r < 0. */
void berth_services_answer(struct berth_call *c, int r, const char *message,
                           const struct berth_buf *data, const char *field,
                           const struct berth_err *e);
/* Answer with what fn tells of the whole control plane. */
void berth_services_all(struct berth_call *c,
                        int (*fn)(struct berth_deploy *d, struct berth_arena *a,
                                  struct berth_buf *out, struct berth_err *e));
/* A member of the query as text; NULL: it is not there. */
const char *berth_services_asked(struct berth_call *c, const char *key);
/* One that is a number: false when it is there and is none within [min, max]: c is answered. */
bool berth_services_asked_number(struct berth_call *c, const char *key, int64_t min, int64_t max,
                                 int64_t *ret);
/* A switch: "1", "true", "yes" or nothing behind the key. */
bool berth_services_asked_flag(struct berth_call *c, const char *key);

#endif
