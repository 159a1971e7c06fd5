#ifndef BERTH_MSVC_SERVICE_H
#define BERTH_MSVC_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

#include "base/buf.h"
#include "operator/modelservice/artifacts.h"
#include "operator/modelservice/names.h"
#include "operator/modelservice/problems.h"
#include "template/template.h"

struct berth_arena;
struct berth_json;

/* A ModelService (llm-d.ai/v1alpha1), read; everything lives in the arena it was read with. */
struct berth_msvc {
    const char *name, *ns, *uid; /* metadata; "" without */
    const char *model;           /* spec.routing.modelName */
    const char *auth_secret;     /* spec.modelArtifacts.authSecretName; "" without */
    const char *size;            /* spec.modelArtifacts.size; "" without */
    bool read_only;              /* spec.modelArtifacts.readOnly: of a claim; true unless said */
    struct berth_msvc_artifact artifact;
    struct berth_msvc_names names;
    const struct berth_json *spec; /* its strings interpolated */
    const struct berth_json *vars; /* what templates see as "." */
};

/*
 * Read one from a document whose shape was looked at.  Templates in its strings are rendered.
 * Problems of its content go to p.  Negative: it is not one at all, or memory is gone.
 */
int berth_msvc_read(const struct berth_json *doc, struct berth_arena *a,
                    struct berth_msvc_problems *p, struct berth_msvc *ret, struct berth_err *e);

/*
 * Templates of a ModelService: its variables, and getPort beside Go's and sprig's functions.  For a
 * port that there is not, llm-d's getPort gives -1; so does this one, and says so in a warning.
 */
struct berth_msvc_templates {
    const struct berth_msvc *m;
    struct berth_msvc_problems *problems;
    const char *in, *path; /* where the next one stands, for problems */
    bool was_literal;      /* it is one of those that llm-d renders none of */
    /* Of the one that is rendered now, and what came of it. */
    struct berth_slice text;
    struct berth_template_trace trace;
};
/* Render text, appended to out.  False: why is among the problems. */
bool berth_msvc_render(struct berth_msvc_templates *t, struct berth_slice text,
                       struct berth_arena *a, struct berth_buf *out);

#endif
