#ifndef BERTH_KUBE_AUTH_H
#define BERTH_KUBE_AUTH_H

#include <berth/err.h>

#include "net/client.h"

struct berth_arena;
struct berth_kube_config;
struct berth_kube_until;

/*
 * Who we are, now: credentials that change while we run.  A token file is read again when it is ten
 * seconds old, a credential program runs again shortly before what it gave expires.  Any thread.
 * Many callers start one program; its failure is all theirs, and is kept for five seconds.
 */
struct berth_kube_auth;

/* config is borrowed until berth_kube_auth_free(). */
int berth_kube_auth_new(const struct berth_kube_config *config, struct berth_kube_auth **ret,
                        struct berth_err *e);
void berth_kube_auth_free(struct berth_kube_auth *x);
/* A program that runs is ended, and nothing is given out any more.  Any thread. */
void berth_kube_auth_stop(struct berth_kube_auth *x);

struct berth_kube_credential {
    const char *bearer; /* NULL: none */
    const char *header; /* "Authorization: Basic ..."; NULL: none */
    struct berth_client_tls tls;
};
/* What to send with a call; copies are in the arena.  Waits for a credential program as long as
 * until says (NULL, or no deadline: a minute).  -BERTH_ENOENT, -BERTH_EIO (the token file), or what
 * a credential program's failure is. */
int berth_kube_auth_get(struct berth_kube_auth *x, const struct berth_kube_until *until,
                        struct berth_arena *a, struct berth_kube_credential *ret,
                        struct berth_err *e);
/* The server refused what was given: true when it is worth to get it anew and try again. */
bool berth_kube_auth_refused(struct berth_kube_auth *x);

#endif
