#ifndef BERTH_MSVC_SERVICE_H
#define BERTH_MSVC_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

#include "base/buf.h"
#include "operator/modelservice/artifacts.h"
#include "operator/modelservice/names.h"

struct berth_arena;
struct berth_json;
struct berth_shape;

/*
 * What is wrong with what a person wrote: all of it in one go.  The text is one line, with the path
 * of the member first: "spec.decode.replicas: a string, should be a whole number".
 */
struct berth_msvc_problem {
    const char *in;   /* whose: "modelservice", or a key of the base configuration */
    const char *path; /* of the member; "" for all of it */
    const char *text;
    size_t line; /* of the text that `in` stands for, as rendered, from 1; 0: not known */
    bool warning;
};
enum { BERTH_MSVC_PROBLEMS_MAX = 100 };
struct berth_msvc_problems {
    struct berth_msvc_problem at[BERTH_MSVC_PROBLEMS_MAX];
    size_t count, errors; /* more than fit are counted */
    struct berth_arena *arena;
};

/* One document as kubectl reads it; what a person should be told of it goes to p as warnings.
 * False: it is none, and that is told. */
bool berth_msvc_parse(struct berth_msvc_problems *p, const char *in, struct berth_slice text,
                      const struct berth_json **ret);
/*
 * The document as its kind has it: texts where texts are wanted, quantities as Kubernetes prints
 * them; what it may not have goes to p.  at: where it is, before each path.  NULL: no memory.
 */
const struct berth_json *berth_msvc_shaped(struct berth_msvc_problems *p, const char *in,
                                           const struct berth_shape *shape, const char *at,
                                           const struct berth_json *v);
__attribute__((format(printf, 5, 6))) void berth_msvc_problem(struct berth_msvc_problems *p,
                                                              bool warning, const char *in,
                                                              const char *path, const char *fmt,
                                                              ...);

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
};
/* Render text, appended to out.  False: why is among the problems. */
bool berth_msvc_render(struct berth_msvc_templates *t, struct berth_slice text,
                       struct berth_arena *a, struct berth_buf *out);

#endif
