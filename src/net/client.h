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
 * call at a time for a client, by HTTP/1.1; it keeps its connection between calls.
 */
struct berth_client;

int berth_client_new(struct berth_client **ret, struct berth_err *e);
void berth_client_free(struct berth_client *c);

/* The call that runs, and every later one, ends with -BERTH_ECANCELED.  Any thread: for a caller
 * that must go away while another thread is in a call that may last. */
void berth_client_stop(struct berth_client *c);

struct berth_client_answer;

/* Whom to believe over TLS, and who we are.  Of a pair, the bytes come before the file. */
struct berth_client_tls {
    struct berth_slice ca_pem; /* authorities in place of the system's */
    const char *ca_file;
    struct berth_slice cert_pem, key_pem; /* what we show to a peer that asks who we are */
    const char *cert_file, *key_file;
    bool unverified; /* believe anybody */
};

struct berth_client_call {
    const char *method; /* NULL: GET, or POST with a body */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-ended; NULL: none */
    const char *bearer;         /* a token for Authorization; NULL: none */
    const void *body;
    size_t body_len;
    const int *body_fd; /* NULL, or: body_len bytes from the beginning of this file are the body;
                           one that is shorter ends the call with -BERTH_ENETWORK */
    uint64_t connect_ns_max; /* 0: 10 s */
    uint64_t silent_ns_max;  /* without a byte; 0: 60 s */
    uint64_t total_ns_max;   /* 0: no limit */
    uint64_t body_bytes_max; /* of the answer; 0: 64 MiB */
    uint32_t receive_bytes;  /* at once; memory of the client while it lives; 0: 256 KiB */
    uint64_t resume_at;      /* > 0: ask for the rest from this byte on */
    /* The way to the URL's host; none of it is for a host that a redirect names. */
    const struct berth_client_tls *tls; /* NULL: the system's certificates, no identity */
    const char *unix_path;              /* a socket to connect to */
    const char *connect_to; /* "HOST:PORT" to connect to, while the URL has the name to check */
    const char *proxy;      /* its URL; NULL: what the environment says */
    const char *if_range;   /* ETag that the rest must belong to; NULL: any */
    /* The answer's head, once, before its body (which is empty yet); return false to stop.  May be
     * NULL. */
    bool (*head)(void *arg, const struct berth_client_answer *answer);
    /* A piece of the answer's body, once the status is known; return false to stop.  NULL: the body
     * is collected and given back. */
    bool (*body_part)(void *arg, uint16_t status, const char *bytes, size_t len);
    /* Asked for right before the request goes out, and several times a second; return false to
     * stop. May be NULL. */
    bool (*go_on)(void *arg, uint64_t got, uint64_t total);
    void *arg;
};

struct berth_client_answer {
    uint16_t status;
    struct berth_buf body; /* NUL-ended; empty with body_part; berth_buf_fini() it */
    char etag[128], linked_etag[128], content_type[96];
    uint64_t content_length; /* of the whole resource; UINT64_MAX: not said */
    uint32_t retry_after_s; /* the peer asks to wait so long before the next call; 0: it does not */
    bool partial;           /* 206: the answer starts at resume_at */
};

/* 0 for any HTTP answer (look at status), or -BERTH_ENETWORK, -BERTH_EDEADLINE, -BERTH_ETOOBIG,
 * -BERTH_ECANCELED (a callback said stop, or berth_client_stop()), -BERTH_EINVAL (no URL, a line
 * end in a header), -BERTH_ECONFIG (a certificate or key of ours cannot be used), -BERTH_ENOMEM;
 * the message names the URL's host and the reason.  Neither a redirect's body nor its head is shown
 * to the callbacks; the caller's headers and bearer go to the first host alone.
 */
int berth_client_call(struct berth_client *c, const struct berth_client_call *call,
                      struct berth_client_answer *ret, struct berth_err *e);

#endif
