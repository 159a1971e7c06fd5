#ifndef BERTH_KUBE_CONFIG_H
#define BERTH_KUBE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

#include "net/client.h"

struct berth_arena;

/*
 * Which cluster, as whom: from a kubeconfig or from a pod's service account.  Everything is in the
 * arena it was read into; files that it names (certificates, tokens) are read when they are used.
 */

enum {
    BERTH_KUBE_CONFIG_FILES_MAX = 16,
    BERTH_KUBE_CONFIG_BYTES_MAX = 1 << 20, /* of one file */
    BERTH_KUBE_EXEC_ARGS_MAX = 64,
};

/* A program that prints credentials (client.authentication.k8s.io). */
struct berth_kube_exec {
    const char *api_version; /* "client.authentication.k8s.io/v1" or v1beta1 */
    const char *command;     /* a path, or a name to be found in PATH */
    const char *args[BERTH_KUBE_EXEC_ARGS_MAX + 1]; /* NULL-ended */
    const char *env[BERTH_KUBE_EXEC_ARGS_MAX + 1];  /* "NAME=value", NULL-ended */
    const char *install_hint;                       /* NULL: none */
    bool cluster_info;                              /* it wants to know the cluster */
};

struct berth_kube_config {
    const char *from;        /* the file, or "the pod's service account": for messages */
    const char *context;     /* NULL in a pod */
    const char *user;        /* its name in the file; NULL in a pod */
    const char *server;      /* "https://HOST:PORT" and perhaps a path, no slash at the end */
    const char *server_name; /* to be checked in the server's certificate; NULL: the server's */
    const char *proxy;       /* NULL: what the environment says */
    const char *space;       /* the namespace to use when none is asked for; never NULL */
    struct berth_client_tls tls;
    /* At most one of these; none: the certificate alone, or nobody. */
    const char *token, *token_file;
    const char *basic_user, *basic_password;
    const struct berth_kube_exec *exec;
};

struct berth_kube_config_from {
    const char *path;    /* of a kubeconfig; NULL: as kubectl looks for it */
    const char *context; /* NULL: the current one */
    /* In place of the environment and of the pod's folder, for tests. */
    const char *(*env)(const char *name);
    const char *pod_dir;
};

/*
 * A kubeconfig is, as for kubectl, `path`; else the files of KUBECONFIG, the first that names a
 * thing wins; else ~/.kube/config when it is there; else the pod's service account.
 *   -BERTH_ENOENT   none of these, or a file is missing
 *   -BERTH_ECONFIG  a file is wrong, or has no such context (the message lists those there are)
 */
int berth_kube_config_load(struct berth_arena *a, const struct berth_kube_config_from *from,
                           struct berth_kube_config *ret, struct berth_err *e);

/* One kubeconfig's text.  dir: what its relative paths start from; path: for messages. */
int berth_kube_config_parse(struct berth_arena *a, const char *text, size_t len, const char *path,
                            const char *dir, const char *context, struct berth_kube_config *ret,
                            struct berth_err *e);

#endif
