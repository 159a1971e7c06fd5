#ifndef BERTH_MSVC_BUILD_PRIV_H
#define BERTH_MSVC_BUILD_PRIV_H

#include <stdbool.h>

#include "operator/modelservice/build.h"
#include "operator/modelservice/overlay.h"

struct berth_buf;

/* One run of berth_msvc_build(). */
struct build {
    const struct berth_msvc *m;
    const struct berth_msvc_base *base; /* of the generation that is wished for */
    const struct berth_msvc_conf *conf;
    struct berth_arena *a;
    struct berth_msvc_problems *problems;
    struct berth_msvc_set *set;
    const char *making; /* the child's key: which one there was no memory for */
    struct berth_err *e;
    const char **map_names; /* of ConfigMaps so far, "SPACE/NAME", by their sums; NULL: free */
    size_t map_room;        /* a power of two, and never all of it taken */
};

typedef void build_put_fn(const struct berth_msvc_overlay *o, struct berth_jw *w);

/* ---- build.c ---- */
/* Could what the base has of the child, or of what may stand in its place, not be read? */
bool build_is_broken(const struct build *b, enum berth_msvc_child child);
/* What was written, read; -BERTH_ENOMEM, which is put in words at the end of all. */
int build_parsed(struct build *b, struct berth_buf *text, const struct berth_json **ret);
/* The overlay over base is the child.  What cannot be merged is a problem, and no failure. */
int build_lay_over(struct build *b, enum berth_msvc_child child, const struct berth_json *base,
                   struct berth_buf *overlay);
/* What the service says of the child, over base (which may be NULL). */
int build_make_over(struct build *b, enum berth_msvc_child child, const struct berth_json *base,
                    build_put_fn *put);

/* ---- workload.c: prefill and decode, as a Deployment or a LeaderWorkerSet ---- */
struct build_role {
    const char *name;
    enum berth_msvc_child deployment, worker_set, autoscaler;
};
extern const struct build_role build_prefill, build_decode;

/* What the role comes to; BERTH_MSVC_CHILDREN: there is no such role. */
enum berth_msvc_child build_workload_of(const struct build *b, const struct build_role *role);
int build_make_workload(struct build *b, const struct build_role *role);
/* The Deployment that could stand in the child's place, of a LeaderWorkerSet; else the child. */
enum berth_msvc_child build_deployment_of(enum berth_msvc_child child);
/* More of the pods at a path ("spec.template"), over what is made already: put writes the spec of a
 * pod. */
int build_add_to_pods(struct build *b, enum berth_msvc_child child, const char *path,
                      void (*put)(void *arg, struct berth_jw *w), void *arg);

/* ---- images.c ---- */
/* Tell of containers that spec.PART or the base names and that have no image in what is made, and
 * of those of the base that have no name. */
int build_check_images(struct build *b, enum berth_msvc_child child, const char *part);

/* ---- refused.c ---- */
/* Tell of what an API server would refuse of the workload that is made. */
int build_check_refused(struct build *b, enum berth_msvc_child child, const char *part);
/* The same of a Service, of a pool and of the route; of others nothing. */
int build_check_front(struct build *b, enum berth_msvc_child child);

/* ---- selectors.c ---- */
/* Do the pods that are made bear what is selected by?  A Deployment whose own pods do not is
 * refused by an API server.  A Service or a pool that leads to none of the pods is a warning: it is
 * taken, and nobody answers behind it. */
void build_check_selectors(const struct berth_msvc_set *set, struct berth_msvc_problems *p);

/* ---- spread.c ---- */
bool build_mounts_model(const struct berth_json *container);
/* What the role's parallelism means for the pods at a path. */
int build_spread(struct build *b, const struct build_role *role, enum berth_msvc_child child,
                 const char *path);

#endif
