#ifndef BERTH_KUBE_CLIENT_PRIV_H
#define BERTH_KUBE_CLIENT_PRIV_H

#include "base/arena.h"
#include "kube/auth.h"
#include "kube/client.h"
#include "kube/tally.h"
#include "net/client.h"

/* What calls and watches share; client.c has it. */

enum { BERTH_KUBE_SCRATCH_MAX = 4 << 20 }; /* URL, credentials and headers of one call */

struct berth_kube_call {
    const char *method;
    const char *path;                  /* with its query */
    const char *content_type, *accept; /* NULL: JSON */
    const void *body;
    size_t body_len;
    const char *what; /* "apply Deployment default/x": for messages */
    enum berth_kube_verb verb;
    const struct berth_kube_kind *kind; /* NULL: of none */
};

/* One call with its tries.  status may be NULL. */
int berth_kube_call(struct berth_kube *k, const struct berth_kube_until *until,
                    struct berth_arena *a, const struct berth_kube_call *call,
                    const struct berth_json **ret, struct berth_kube_status *status,
                    struct berth_err *e);

/* Wait for the limit of calls a second, and fill in where, as whom and with what headers. */
struct berth_kube_ready {
    struct berth_client_call http;
    struct berth_kube_credential credential;
    const char *headers[5];
};
int berth_kube_prepare(struct berth_kube *k, const struct berth_kube_until *until,
                       struct berth_arena *scratch, const struct berth_kube_call *call,
                       struct berth_kube_ready *ret, struct berth_err *e);
struct berth_kube_auth *berth_kube_auth_of(struct berth_kube *k);
/* Count a try that ended; status 0: without an answer. */
void berth_kube_ended(struct berth_kube *k, const struct berth_kube_call *call, uint16_t status,
                      uint64_t took_ns);
/* For what is told of an answer. */
struct berth_kube_asked berth_kube_asked(const struct berth_kube *k, const char *what);
const char *berth_kube_manager(const struct berth_kube *k);
/* "/path?labelSelector=...": the selection's, and what the caller appends with '&'. */
void berth_kube_selection_put(struct berth_buf *b, const struct berth_kube_selection *s);

#endif
