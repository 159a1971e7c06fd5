#ifndef BERTH_MSVC_GENERATE_H
#define BERTH_MSVC_GENERATE_H

#include <stddef.h>

#include <berth/err.h>

#include "base/buf.h"
#include "operator/modelservice/build.h"

struct berth_arena;
struct berth_json;
struct berth_msvc;
struct berth_msvc_problems;

enum berth_msvc_format {
    BERTH_MSVC_MAP,  /* one YAML mapping by the keys of kinds.h: what llm-d's generate prints */
    BERTH_MSVC_YAML, /* documents after each other: `kubectl apply -f -` takes them */
    BERTH_MSVC_JSON, /* a List, for the same */
};

/* Two files as they are: a ModelService, and the ConfigMap of a base configuration (at NULL:
 * none). */
struct berth_msvc_files {
    struct berth_slice service, base;
    const struct berth_json *base_map; /* in place of base: the ConfigMap of a cluster; or NULL */
    const struct berth_json *more; /* laid over the ModelService, as a merge patch; NULL: nothing */
};

/*
 * What the two come to.  All problems of both go to p, each with its line; with an error among them
 * the answer is -BERTH_EINVAL with "" for a message, or -BERTH_ENOMEM with "" where p has that
 * memory ended.
 */
int berth_msvc_draw_up(const struct berth_msvc_files *files, const struct berth_msvc_conf *conf,
                       struct berth_arena *a, struct berth_msvc_problems *p,
                       struct berth_msvc *ret_service, struct berth_msvc_set *ret,
                       struct berth_err *e);

/*
 * What would be applied for the two, without a cluster.  All problems of both go to p; with an
 * error among them nothing is appended to out, and the answer is -BERTH_EINVAL with "" for a
 * message.
 */
int berth_msvc_generate(const struct berth_msvc_files *files, const struct berth_msvc_conf *conf,
                        enum berth_msvc_format format, struct berth_arena *a,
                        struct berth_msvc_problems *p, struct berth_buf *out, struct berth_err *e);

#endif
