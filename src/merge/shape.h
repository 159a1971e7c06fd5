#ifndef BERTH_SHAPE_H
#define BERTH_SHAPE_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

struct berth_arena;
struct berth_json;

/*
 * What a document of a kind may have in it, as a table of its fields, and a check of a document by
 * that table: all its problems in one go, each with its path, and the document as it is meant.
 */
struct berth_shape; /* static storage */

/*
 * ModelService, Deployment, LeaderWorkerSet, HorizontalPodAutoscaler, Service, ConfigMap,
 * ServiceAccount, HTTPRoute, InferencePool (by api_version: inference.networking.k8s.io/... is the
 * newer form), InferenceModel, InferenceObjective.  api_version may be NULL.  NULL: no such kind.
 */
const struct berth_shape *berth_shape_of(const char *kind, const char *api_version);

struct berth_shape_problem {
    const char *path; /* "spec.template.spec.containers[0].image": for berth_yaml_places_near() */
    bool is_error;    /* else a warning */
    bool is_refused;  /* a program such as llm-d's takes it, and an API server does not: nothing as
                       * an element of a list of objects or, with how.is_typed, what is right as it
                       * is meant and not as it is written */
    const char *text; /* "no such field: do you mean imagePullPolicy?" */
};
struct berth_shape_problems {
    const struct berth_shape_problem *at; /* in the arena, in the order of the document */
    size_t count;  /* BERTH_SHAPE_PROBLEMS_MAX at most, errors before warnings */
    size_t errors; /* how many of them are errors, with those beyond */
    size_t beyond; /* how many more there are */
};
enum { BERTH_SHAPE_PROBLEMS_MAX = 100 };

struct berth_shape_how {
    bool strict;        /* unknown fields are errors, not warnings */
    bool prunes;        /* unknown fields are left out, as an API server does */
    bool is_whole;      /* of the document itself unknown members are left out, as an apply refuses
                         * them; without a word if they begin with "x-" and so hold anchors */
    bool is_typed;      /* told, too, is what is of another type than is meant: an API server does
                         * not guess, "should be string, this is 8000" */
    const char *prefix; /* put before each path, NULL: "" */
};

/*
 * The document as it is meant: where a string is wanted, 8000 is "8000", true is "true", 1.50 is
 * "1.5", and nothing in a list or map of strings is ""; 80.0 is a whole number; quantities are as
 * Kubernetes prints them (1.5Gi is 1536Mi).  Unknown fields, unless `how` says otherwise, and
 * values of a wrong type stay as they are.  null is no wrong value of a member.  Of members of one
 * name the last is kept.  0 whatever the problems are: look at problems.errors.  how may be NULL.
 * -BERTH_ENOMEM
 */
int berth_shape_check(const struct berth_shape *shape, const struct berth_json *v,
                      const struct berth_shape_how *how, struct berth_arena *a,
                      const struct berth_json **ret, struct berth_shape_problems *ret_problems,
                      struct berth_err *e);

#endif
