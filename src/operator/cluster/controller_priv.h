#ifndef BERTH_MSVC_CONTROLLER_PRIV_H
#define BERTH_MSVC_CONTROLLER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "kube/client.h"
#include "kube/informer.h"
#include "net/digest.h"
#include "operator/cluster/controller.h"
#include "operator/cluster/owner.h"
#include "operator/modelservice/service.h"

struct berth_kube_events;
struct berth_outcome;
struct berth_reconciler;

enum {
    MSVC_VERSION_MAX = 32,
    MSVC_WATCHES_MAX = 32,
    MSVC_BASES_MAX = 32,
    MSVC_DEFINITIONS_MAX = 8, /* kinds that a cluster may lack, and more */
    MSVC_KEY_MAX = 400,
    MSVC_FAILURES = 256
};
enum { MSVC_SUM = 17 /* bytes of the text of a sum: sixteen hex digits of SHA-256 */ };
/* Of one model, or with one base configuration; bytes of what they are found by. */
enum { MSVC_SERVICES_MAX = 10000, MSVC_INDEX_MAX = 1024 };

/* What is watched of one kind; started when the cluster serves it. */
struct msvc_watch {
    struct berth_msvc_controller *c;
    const struct berth_kube_kind *kind;
    const char *space;                            /* whose; NULL: of all */
    bool is_everywhere;                           /* watched from the start */
    struct berth_kube_informer *_Atomic informer; /* NULL: not served, as far as is known */
    uint64_t asked_ns;                            /* when that was asked for last; under mu */
    bool asking;                                  /* some thread is about it; under mu */
    atomic_bool unserved;                         /* the answer was no */
    bool gone; /* as the informer told last: it was served, and is not; on its thread */
};

/* One definition, watched from when its kind was wanted and not served.  c and kind: under mu until
 * they are set. */
struct msvc_definition {
    struct berth_msvc_controller *c;
    const struct berth_kube_kind *kind;
    struct berth_kube_informer *informer; /* NULL: there is none */
    atomic_bool wanted;
    _Atomic uint64_t since_ns; /* when it was seen to hold; 0: it does not */
};

/* The last apply of one object: what the cache shows may be older. */
struct msvc_applied {
    char digest[MSVC_SUM];
    char like[MSVC_SUM];            /* the same, but for replicas that others set by and by */
    char made[MSVC_SUM];            /* the sum of what the server made of it; "": what it was */
    char version[MSVC_VERSION_MAX]; /* resourceVersion after it */
    uint64_t at_ns;
    uint64_t paced_ns; /* each apply puts it off by a second, from now or from where it was */
    unsigned undone; /* applies of the same in a row, each as somebody had undone the one before */
    bool gone;       /* somebody deleted it since */
};
struct msvc_kept;  /* one, under its key */
struct msvc_short; /* pods.c */

struct berth_msvc_controller {
    struct berth_msvc_controller_conf conf;
    struct berth_reconciler *work;
    struct berth_kube_informer *_Atomic services; /* NULL: not started yet */
    struct msvc_watch watches[MSVC_WATCHES_MAX];  /* of children, each kind once */
    size_t watch_count;
    struct msvc_watch bases[MSVC_BASES_MAX]; /* ConfigMaps of other namespaces than the one */
    size_t base_count;
    bool sees_all_maps;   /* all of them are to be read, by one watch */
    pthread_cond_t asked; /* somebody has asked whether a kind is served */
    struct msvc_definition definitions[MSVC_DEFINITIONS_MAX]; /* in the order of need */
    /* One is drawn up at a time: that takes memory.  Held over no call. */
    pthread_mutex_t drawing;
    pthread_mutex_t mu; /* of applied, and of who asks; never held over a call */
    struct msvc_kept *applied;
    struct msvc_short *shorts; /* under mu */
    bool pods_asked;           /* a worker lists some; under mu */
    uint64_t swept_ns;         /* when those of what is gone were dropped last; under mu */
    bool troubled, undefined;  /* of the services' watch, on its thread */
    struct msvc_failure {
        char key[BERTH_DIGEST_HEX], text[BERTH_DIGEST_HEX]; /* sums; "": nothing */
        uint64_t at_ns;
    } failures[MSVC_FAILURES]; /* told of services, each at its key's place; under mu */
    atomic_bool stopping;
    /* The role of endpoint pickers: it is known whether there is one, or nobody waits for that any
     * longer; and there is none. */
    atomic_bool role_known, lacks_role;
    struct berth_kube_informer *role; /* NULL: it may not be seen; this and the next of its work */
    uint32_t role_tries;
    struct berth_kube_events *events;
    _Atomic uint64_t done, failed, applies, deletes, status_writes;
};

/* One look at one service. */
struct msvc_look {
    struct berth_msvc_controller *c;
    struct berth_arena *a;
    const struct berth_json *object; /* the ModelService as the cache has it */
    struct berth_msvc m;
    struct berth_msvc_problems problems;
    struct berth_msvc_set wish;
    /* Texts of all that is so; NULL: nothing is. */
    const char *conflict;  /* not ours to touch, and what to do about it */
    const char *failure;   /* a call failed */
    bool may_pass;         /* the failure, or one of them, may have ended by itself soon */
    const char *held_up;   /* it is being deleted, and somebody keeps it from going */
    const char *contested; /* somebody undoes it each time: it is mended ever more seldom */
    bool coming;           /* a kind was defined just now and is not served yet */
    bool going_on;         /* something was changed: the cache will tell */
    bool behind;           /* something that was applied before is not in the cache yet */
    bool unapplied;        /* something that is wished for may not be there, or not like that */
    uint64_t again_ns;     /* look again after that; 0: when something happens */
    struct msvc_said {
        const char *text; /* "Deployment svc-decode, Service svc-decode"; NULL: nothing */
        unsigned more;    /* that it has no room for */
    } applied, taken_away;
    const char **left; /* ConfigMaps that are not wished for, and may be there; see msvc_left() */
    size_t left_count;
};

/* ---- controller.c: whom a change concerns ---- */
/* A rollout tells of itself many times; one look after this sees all of it. */
#define MSVC_GATHER_NS (200 * BERTH_MS)
/* One service, at once (0) or after a while. */
void msvc_look_at(struct berth_msvc_controller *c, struct berth_slice space,
                  struct berth_slice name, uint64_t after_ns);
/* Every service that is found by that; see msvc_index(). */
void msvc_look_at_those(struct berth_msvc_controller *c, struct berth_slice index,
                        uint64_t after_ns);
/* Every service that is known, after a while. */
void msvc_look_at_all(struct berth_msvc_controller *c, uint64_t after_ns);
/* By what services are found: "uid" (no space), "model", "map" (base configurations, and what is
 * made of them), "ready" (no space).  Length 0: too long to be found. */
struct berth_slice msvc_index(char text[MSVC_INDEX_MAX], const char *what, struct berth_slice space,
                              struct berth_slice name);
/* By the label that pods of its model bear: of two names that come to one label as of one name. */
struct berth_slice msvc_index_model(char text[MSVC_INDEX_MAX], const struct berth_json *service);
/* Does it end, or is it another's turn?  arg: the controller. */
bool msvc_is_stopping(void *arg);
/* The time that one call has. */
struct berth_kube_until msvc_until(struct berth_msvc_controller *c);
/* msvc_has_lists(), and nobody waits for what services need any more: before, nothing is certain.
 */
bool msvc_is_synced(struct berth_msvc_controller *c);

/* ---- watches.c: children and base configurations ---- */
/* What is to be watched, before anything is asked for. */
int msvc_watches_list(struct berth_msvc_controller *c, struct berth_err *e);
/* Those of them that every cluster serves. */
int msvc_watches_start(struct berth_msvc_controller *c, struct berth_err *e);
void msvc_watches_stop(struct berth_msvc_controller *c);
/* The informer of a kind, started now if the cluster serves it by now.  NULL: it does not. */
struct berth_kube_informer *msvc_informer(struct berth_msvc_controller *c,
                                          const struct berth_kube_kind *kind);
/* The same, but a kind that the cluster did not serve is not asked for again. */
struct berth_kube_informer *msvc_informer_known(struct berth_msvc_controller *c,
                                                const struct berth_kube_kind *kind);
/* The ConfigMaps of a namespace, as far as the operator sees any; or NULL. */
struct berth_kube_informer *msvc_maps_of(struct berth_msvc_controller *c, const char *space);
/* Has the cluster said that it does not serve that kind?  False while nothing is known. */
bool msvc_is_unserved(struct berth_msvc_controller *c, const struct berth_kube_kind *kind);
/* Was it served, be it now or not?  Then its watch tells when it is again. */
bool msvc_was_served(struct berth_msvc_controller *c, const struct berth_kube_kind *kind);
/* It is asked at the next msvc_informer(), unless that was done within this second. */
void msvc_ask_again(struct berth_msvc_controller *c, const struct berth_kube_kind *kind);
/* Is the first list of everything in that is watched from the start? */
bool msvc_has_lists(struct berth_msvc_controller *c);

/* ---- reconcile.c ---- */
int msvc_reconcile(void *arg, const char *key, struct berth_outcome *ret);
/* Of two ModelServices, does the first have the right of way? */
bool msvc_is_older(const struct berth_json *a, const struct berth_json *b);

/* ---- definitions.c: which kinds there are ---- */
/* As msvc_informer(); when the kind comes to be defined, every service is looked at. */
struct berth_kube_informer *msvc_informer_awaited(struct msvc_look *x,
                                                  const struct berth_kube_kind *kind);
/* Say that a kind is not served, and what brings it: -BERTH_ENOTREADY. */
int msvc_unserved(struct msvc_look *x, const struct berth_kube_kind *kind, struct berth_err *e);
/* Which generation of pools a service with a base configuration of that data has in this cluster:
 * the newer one where it is served.  -BERTH_ENOTREADY: the cluster has not said.  May be a call */
int msvc_choose_inference(struct msvc_look *x, const struct berth_json *data,
                          struct berth_msvc_conf *conf, struct berth_err *e);
/* The rule, for whoever asks: serves() returns 0 where the cluster serves that kind, 1 where it
 * does not, or a failure, which is then the answer.  with_models: InferenceModels or objectives are
 * wished for. */
int msvc_choose_generation(int (*serves)(void *arg, enum berth_msvc_child child,
                                         struct berth_err *e),
                           void *arg, bool with_models, struct berth_msvc_conf *conf,
                           struct berth_err *e);
void msvc_definitions_stop(struct berth_msvc_controller *c);

/* ---- needs.c: what people make and services need ---- */
/* Have it looked for, at the start. */
void msvc_look_for_needs(struct berth_msvc_controller *c);
/* Is that key of work not a service's, but what services need?  Then look for it. */
bool msvc_is_need(const char *key);
struct berth_outcome msvc_find_need(struct berth_msvc_controller *c, const char *key);
/* Tell what the service needs and there is not, as far as is known. */
void msvc_check_needs(struct msvc_look *x);

/* ---- sync.c: children ---- */
/* Apply what differs and take away what is not wished for.  What failed is in the look. */
void msvc_sync(struct msvc_look *x);
/* About that object a call failed, with a code: what was refused, or is not served, is not tried
 * again soon. */
void msvc_fail(struct msvc_look *x, const struct berth_kube_ref *ref, int code, const char *why);
/* Look again no later than that. */
void msvc_again(struct msvc_look *x, uint64_t after_ns);
/* To one of the look's texts, as far as there is room; text NULL: there was no memory for it. */
void msvc_add_text(struct msvc_look *x, const char **to, const char *text);
/* By what plans for it are made: plan.h. */
struct msvc_view msvc_view_of(struct msvc_look *x);
/* The live object of a child, or NULL. */
const struct berth_json *msvc_live(struct msvc_look *x, enum berth_msvc_child child);

/* ---- going.c: what is being deleted ---- */
/* Look at it again until it is gone.  True: somebody keeps it from going, which is told unless it
 * has been.  wished: it is made anew when it is gone. */
bool msvc_see_it_go(struct msvc_look *x, const struct berth_kube_ref *ref,
                    const struct berth_json *live, bool wished, bool told);

/* ---- prune.c: what is not wished for any more ---- */
void msvc_prune(struct msvc_look *x);
/* Before a report: ConfigMaps that the status names and nobody wishes for are left where they may
 * be there and the cache, which cannot have all of them, does not say.  False: out of memory. */
bool msvc_left(struct msvc_look *x);

/* ---- applied.c: what was applied ---- */
enum { MSVC_CONTESTED = 3 /* undone so often in a row: it is told */ };
/* By what it is known. */
void msvc_key(const struct msvc_look *x, const struct berth_kube_ref *ref, char ret[MSVC_KEY_MAX]);
void msvc_sum(const void *bytes, size_t n, char ret[MSVC_SUM]);
/* A copy of what is known; false: nothing. */
bool msvc_recall(struct berth_msvc_controller *c, const char *key, struct msvc_applied *ret);
/* live: what the server answered.  Digest "": that object is not ours, and was looked at. */
void msvc_note_applied(struct berth_msvc_controller *c, const char *key, const char *digest,
                       const char *like, const struct berth_json *wish,
                       const struct berth_json *live);
/* One object of a kind is gone; or (name NULL) forget what was applied for a service, or, with uid
 * NULL, for everybody. */
void msvc_forget(struct berth_msvc_controller *c, const char *uid,
                 const struct berth_kube_kind *kind, const char *name);
/* It may not have come out of the watch yet. */
bool msvc_is_recent(const struct msvc_applied *known);
/* How long not to apply it again, since it was undone so often. */
uint64_t msvc_hold_ns(const struct msvc_applied *known);
/* How long not to apply anything to it, whatever is wished for: five at once, then one a second. */
uint64_t msvc_pace_ns(const struct msvc_applied *known);
/* Is the live object what the apply came to?  *ret_behind: it will be, when the cache knows. */
bool msvc_is_as_applied(const struct msvc_applied *known, const char *digest,
                        const struct berth_json *live, const struct berth_json *wish,
                        bool *ret_behind);

/* A status under its own key: did somebody else write it since ours? */
bool msvc_is_overwritten(const struct msvc_applied *known, const struct berth_json *object);
/* It was written, and after is what the server answered.  How often in a row that was since
 * somebody else had. */
unsigned msvc_note_status(struct berth_msvc_controller *c, const char *key, bool overwritten,
                          const struct berth_json *after);

/* ---- report.c: status ---- */
/* Write the status when it says something else than the one that is there. */
int msvc_report(struct msvc_look *x, struct berth_err *e);

/* A condition of a status; NULL: it has none of that type. */
const struct berth_json *msvc_condition_of(const struct berth_json *status, const char *type);

/* ---- pods.c: why replicas do not come ---- */
/* A workload has fewer replicas than it is to have: why, as far as its pods have said, in the
 * look's arena; or NULL.  told: why, as an earlier operator found out; NULL: it did not.  A call,
 * once it has stayed so for a while; looks again in time. */
const char *msvc_why_short(struct msvc_look *x, const struct berth_json *live, int64_t available,
                           const char *told);
/* What keeps a pod from running, in the arena; NULL: nothing that it tells of. */
const char *msvc_pod_hindrance(struct berth_arena *a, const struct berth_json *pod);
/* It is not short any more. */
void msvc_not_short(struct msvc_look *x, const char *name);
/* No workload of a service, or, with uid NULL, none at all. */
void msvc_forget_shorts(struct berth_msvc_controller *c, const char *uid);

/* ---- tell.c: events, for people ---- */
/* What was done to a child, to be told with the report. */
void msvc_said_add(struct msvc_look *x, struct msvc_said *said, const struct berth_kube_kind *kind,
                   const char *name);
/* Tell what was done; never waits. */
void msvc_tell_done(struct msvc_look *x);
/* Tell what the status says now and did not say before; never waits. */
void msvc_tell(struct msvc_look *x, const struct berth_json *before, const struct berth_json *now);
/* The recorder of a controller. */
int msvc_tell_start(struct berth_msvc_controller *c, struct berth_err *e);

#endif
