#ifndef BERTH_REMOTE_H
#define BERTH_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

struct berth_args;
struct berth_client;
struct berth_json;

/*
 * The running server as a command sees it.  One thread.  What goes wrong is told on standard error
 * with a next step, and the exit status comes back.
 */
struct berth_remote {
    const struct berth_args *args;
    struct berth_client *client;
    struct berth_arena arena; /* holds every answer until fini */
    const char *base;         /* "http://127.0.0.1:8000" */
    const char *key;          /* NULL: none */
};

/* The address is --server, BERTH_SERVER, BERTH_HOST, or the usual one. */
int berth_remote_init(struct berth_remote *r, const struct berth_args *args);
void berth_remote_fini(struct berth_remote *r);

/* A URL of the server: "/v1/models/{}/status" with name escaped in place of {}.  In the arena. */
const char *berth_remote_url(struct berth_remote *r, const char *path, const char *name);

/* A call that is no GET says who asks (X-Operator), unless a key does: for the audit.
 * GET, POST or DELETE path; *ret (may be NULL) is the parsed answer.  body NULL: none. */
int berth_remote_call(struct berth_remote *r, const char *method, const char *path,
                      const char *name, const struct berth_buf *body,
                      const struct berth_json **ret);
/* The same, but an answer that is an error is not told: *ret_status says what it was, and its
 * text is in *ret_text.  Still told: no server, no memory. */
int berth_remote_try(struct berth_remote *r, const char *method, const char *path, const char *name,
                     const struct berth_buf *body, uint16_t *ret_status,
                     struct berth_slice *ret_text);
/* Does anything answer at base? */
bool berth_remote_alive(struct berth_remote *r);
/* Tell an error answer: the server's message and what to do; returns the exit status. */
int berth_remote_tell(const struct berth_remote *r, uint16_t status, struct berth_slice text);
/* Tell that nothing answers. */
int berth_remote_absent(const struct berth_remote *r, const char *why);

/* A member's text, or dflt. */
const char *berth_remote_text(const struct berth_json *v, const char *key, const char *dflt);

#endif
