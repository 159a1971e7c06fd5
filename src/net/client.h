#ifndef BERTH_NET_CLIENT_H
#define BERTH_NET_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

/*
 * A blocking HTTP client over libcurl, for tools and pools, never on a loop.  http and https (the
 * system's certificates); redirects are followed, credentials are not sent to another host.  One
 * call at a time for a client; it keeps its connection between calls.
 */
struct berth_client;

int berth_client_new(struct berth_client **ret, struct berth_err *e);
void berth_client_free(struct berth_client *c);

struct berth_client_answer;

struct berth_client_call {
    const char *method; /* NULL: GET, or POST with a body */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-ended; NULL: none */
    const char *bearer;         /* a token for Authorization; NULL: none */
    const void *body;
    size_t body_len;
    uint64_t connect_ns_max; /* 0: 10 s */
    uint64_t silent_ns_max;  /* without a byte; 0: 60 s */
    uint64_t total_ns_max;   /* 0: no limit */
    uint64_t body_bytes_max; /* of the answer; 0: 64 MiB */
    uint64_t resume_at;      /* > 0: ask for the rest from this byte on */
    const char *if_range;    /* ETag that the rest must belong to; NULL: any */
    /* The answer's head, once, before its body (which is empty yet); return false to stop.  May be
     * NULL. */
    bool (*head)(void *arg, const struct berth_client_answer *answer);
    /* A piece of the answer's body, once the status is known; return false to stop.  NULL: the body
     * is collected and given back. */
    bool (*body_part)(void *arg, uint16_t status, const char *bytes, size_t len);
    /* Asked for several times a second; return false to stop.  May be NULL. */
    bool (*go_on)(void *arg, uint64_t got, uint64_t total);
    void *arg;
};

struct berth_client_answer {
    uint16_t status;
    struct berth_buf body; /* NUL-ended; empty with body_part; berth_buf_fini() it */
    char etag[128], linked_etag[128], content_type[96];
    uint64_t content_length; /* of the whole resource; UINT64_MAX: not said */
    bool partial;            /* 206: the answer starts at resume_at */
};

/* 0 for any HTTP answer (look at status), or -BERTH_ENETWORK, -BERTH_EDEADLINE, -BERTH_ETOOBIG,
 * -BERTH_ECANCELED (a callback said stop), -BERTH_EINVAL (no URL, a line end in a header),
 * -BERTH_ENOMEM; the message names the URL's host and the reason.  Neither a redirect's body nor
 * its head is shown to the callbacks; the caller's headers and bearer go to the first host alone.
 */
int berth_client_call(struct berth_client *c, const struct berth_client_call *call,
                      struct berth_client_answer *ret, struct berth_err *e);

#endif
