#ifndef BERTH_KUBE_STATUS_H
#define BERTH_KUBE_STATUS_H

#include <stdint.h>

#include <berth/err.h>

struct berth_json;

/* What the API server said when it did not do what it was asked to. */
struct berth_kube_status {
    uint16_t code;          /* of HTTP */
    char reason[48];        /* "NotFound", "AlreadyExists", "Conflict", "Expired", ... or "" */
    uint32_t retry_after_s; /* 0: it did not say */
};

/* What was asked, for messages. */
struct berth_kube_asked {
    const char *what; /* "apply Deployment default/x" */
    const char *user; /* of the kubeconfig; NULL: it has no name */
    /* What to do where a right is missing, or the right to give a role away; NULL: what is true of
     * everybody. */
    const char *denied, *ungranted;
};

/*
 * An answer with status >= 400 to our error.  body is its Status object, or whatever there was
 * (NULL: no JSON).  The message has the server's
 * own words, the fields they are about, and what a person can do; words that are too long end with
 * an ellipsis.
 *   401 -BERTH_EAUTH    403 -BERTH_EPERM    404 -BERTH_ENOENT    409 -BERTH_EEXIST
 *   410 -BERTH_ENOTREADY (what was known is too old)    413 -BERTH_ETOOBIG    429 -BERTH_EAGAIN
 *   405, 406, 415 -BERTH_EUNSUPPORTED    504 -BERTH_EDEADLINE    other 5xx -BERTH_ENETWORK
 *   every other -BERTH_EINVAL
 */
int berth_kube_status_error(uint16_t code, uint32_t retry_after_s, const struct berth_json *body,
                            const struct berth_kube_asked *asked, struct berth_kube_status *ret,
                            struct berth_err *e);

#endif
