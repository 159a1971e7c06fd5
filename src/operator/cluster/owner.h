#ifndef BERTH_MSVC_OWNER_H
#define BERTH_MSVC_OWNER_H

#include <stdbool.h>
#include <stddef.h>

struct berth_arena;
struct berth_json;
struct berth_kube_kind;
struct berth_msvc;
struct berth_msvc_set;

/*
 * Whose an object is: rules on what is known, without a call.  The operator keeps to them, and so
 * does who only tells what it would do.
 */

/* What a ModelService's children are seen by.  Texts that come of it are in its arena. */
struct msvc_view {
    struct berth_arena *a;
    const struct berth_msvc *m;        /* uid "": there is none of it yet */
    const struct berth_json *object;   /* itself; NULL: there is none of it yet */
    const struct berth_msvc_set *wish; /* all that it wishes for */
    /* The ModelService of its namespace that has that name now; NULL: none. */
    const struct berth_json *(*service)(void *arg, const char *name);
    void *arg;
};

/* ModelServices besides the one that is looked at. */
struct msvc_others {
    const struct berth_json *refs; /* all ownerReferences */
    size_t count;                  /* of them, other ModelServices that there are */
    const char *older;             /* one of these that is older than ours; NULL: none */
    const char *named;             /* the last that is named, be it there or not; NULL: none */
};
bool msvc_is_service(const struct berth_json *owner);
bool msvc_names_owner(const struct berth_json *object, const char *uid);
void msvc_others_of(const struct msvc_view *v, const struct berth_json *live,
                    struct msvc_others *ret);
/* ownerReferences as JSON: ours and the other ModelServices', or all but ours.  NULL: no memory. */
const char *msvc_owners_text(const struct msvc_view *v, const struct msvc_others *others,
                             bool mine);

/* Why an object is not to be touched. */
struct msvc_refusal {
    const char *why; /* what follows "it" or the object's name; NULL: no memory */
    bool passes;     /* nobody need do anything about it */
};
/* Is a live object ours to change?  It is when it names us as an owner or bears our label.  If it
 * is not, *ret says why. */
bool msvc_is_ours(const struct msvc_view *v, const struct berth_kube_kind *kind,
                  const struct berth_json *live, struct msvc_refusal *ret);

/* Did llm-d's operator set some of it?  live: with managedFields. */
bool msvc_is_llmds(const struct berth_json *live);
/* Does our manager have spec.replicas?  live: with managedFields. */
bool msvc_owns_replicas(const struct berth_json *live);
/* The merge patch after which what llm-d's operator set is ours, so that what is not wished for
 * goes with the next apply.  live: with managedFields.  NULL: no memory. */
const char *msvc_taking_over(struct berth_arena *a, const struct berth_json *live);

#endif
