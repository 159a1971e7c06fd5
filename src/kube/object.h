#ifndef BERTH_KUBE_OBJECT_H
#define BERTH_KUBE_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct berth_arena;
struct berth_json;

/*
 * API objects as JSON trees: where they live at the API server, and reading their fields.
 */

/* One kind of object; static const tables of the caller's. */
struct berth_kube_kind {
    const char *group_version; /* "v1", "apps/v1" */
    const char *kind;          /* "Deployment" */
    const char *plural;        /* "deployments", as in paths */
    bool cluster_wide;         /* has no namespace */
};

extern const struct berth_kube_kind berth_kube_deployments, berth_kube_stateful_sets,
    berth_kube_replica_sets, berth_kube_pods, berth_kube_services, berth_kube_nodes,
    berth_kube_config_maps, berth_kube_claims, berth_kube_autoscalers, berth_kube_leases;

/* Append "/apis/apps/v1/namespaces/SPACE/deployments/NAME/SUB"; space, name and sub may be NULL
 * (all namespaces, the collection, no subresource).  Every part is percent-encoded. */
void berth_kube_path_put(struct berth_buf *b, const struct berth_kube_kind *kind, const char *space,
                         const char *name, const char *sub);

/* The member at "spec.template.spec", or NULL.  Keys that hold dots: berth_json_get(). */
const struct berth_json *berth_kube_at(const struct berth_json *object, const char *dotted);
/* Its text; empty (at "") when it is not there or no string.  NUL-ended. */
struct berth_slice berth_kube_text(const struct berth_json *object, const char *dotted);
/* Its number, or `otherwise`. */
int64_t berth_kube_int(const struct berth_json *object, const char *dotted, int64_t otherwise);
bool berth_kube_flag(const struct berth_json *object, const char *dotted);
/* The first of a list with that name (a container, a variable, a volume); NULL: none has it. */
const struct berth_json *berth_kube_named(const struct berth_json *list, const char *name);
/* The value of a label or an annotation; empty when there is none. */
struct berth_slice berth_kube_label(const struct berth_json *object, const char *key);
struct berth_slice berth_kube_annotation(const struct berth_json *object, const char *key);

/* "OOMKilled, exit code 137: its last words", of how a container ended (state.terminated of its
 * status), in the arena; "" when it did not. */
const char *berth_kube_how_ended(struct berth_arena *a, const struct berth_json *terminated);

/* RFC 3339 as the API writes it, to ns since 1970; 0: not one. */
uint64_t berth_kube_time(struct berth_slice text);

/* The object with a merge patch (RFC 7386) in it, in the arena.  NULL: no JSON, or out of memory.
 */
const struct berth_json *berth_kube_patched(struct berth_arena *a, const struct berth_json *object,
                                            struct berth_slice patch);

#endif
