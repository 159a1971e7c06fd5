#ifndef BERTH_MSVC_DIFF_H
#define BERTH_MSVC_DIFF_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

struct berth_arena;
struct berth_buf;
struct berth_kube;
struct berth_msvc_conf;
struct berth_msvc_files;
struct berth_msvc_problems;

struct berth_msvc_diff {
    bool is_new;                     /* there is no such ModelService in the cluster */
    bool is_undefined;               /* nor any, as it has no such kind */
    size_t created, changed, pruned; /* objects */
    size_t troubles;                 /* objects of which nothing could be said */
    const char *base;                /* the ConfigMap that was read from the cluster; NULL: none */
    const char *space, *name;        /* of the service; in the arena */
};

/*
 * What the operator would do to a cluster for the two files, as unified diffs of each object, live
 * against what the server says that it would be: applied by server-side apply as the operator does,
 * but for a try (dryRun=All).  Nothing is written.  Objects that are not wished for any more are
 * there as ones that go, or lose an owner; with troubles before, as troubles that they stay.  What
 * the server alone sets (status, managedFields, versions) is left out, and so is the operator's own
 * note of what it applied.
 *
 * Without a base file the ConfigMap that the service refers to is read from the cluster.
 *
 * Problems of the files go to p as berth_msvc_draw_up() has them; with an error among them nothing
 * is asked but for the service.  space: where the service is when its file does not say.  troubles
 * (text, a line each) get what could not be tried.  Blocks; any thread.
 *   -BERTH_EINVAL with ""   the files; otherwise what a call of kube/client.h ends with
 */
int berth_msvc_diff(struct berth_kube *kube, const struct berth_msvc_files *files,
                    const struct berth_msvc_conf *conf, const char *space, struct berth_arena *a,
                    struct berth_msvc_problems *p, struct berth_buf *out,
                    struct berth_buf *troubles, struct berth_msvc_diff *ret, struct berth_err *e);

#endif
