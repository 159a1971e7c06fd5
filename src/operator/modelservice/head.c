#include "operator/modelservice/head.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "kube/object.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/problems.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

static const char of_server[] = "the API server says that";

struct unsaid {
    const char *name, *why;
    const char *of_pods; /* why, of a template of pods; NULL: the same */
};

static const struct unsaid unsaid_meta[] = {
    {"creationTimestamp", of_server, NULL},
    {"deletionGracePeriodSeconds", of_server, NULL},
    {"deletionTimestamp", of_server, NULL},
    {"finalizers", "nobody would take them away, and without that the object cannot be deleted",
     "nobody would take them away, and without that no pod can be deleted"},
    {"generateName", "the object has a name", "who makes the pods names them"},
    {"generation", of_server, NULL},
    {"managedFields", of_server, NULL},
    {"ownerReferences", "the ModelService is the owner", "who makes the pods is their owner"},
    {"resourceVersion", of_server, NULL},
    {"selfLink", of_server, NULL},
    {"uid", of_server, NULL},
};
/* A Deployment's controller counts in it, and would count on for ever against who sets it back. */
static const struct unsaid unsaid_notes[] = {
    {"deployment.kubernetes.io/revision", "the Deployment's controller says that", NULL},
};
static const struct unsaid unsaid_top[] = {
    {"status", "who looks after the object says that", NULL},
};

/* Where an object has metadata: its own, and its pods'. */
static const char *const places[] = {"", "spec.template",
                                     "spec.leaderWorkerTemplate.leaderTemplate",
                                     "spec.leaderWorkerTemplate.workerTemplate"};
enum { PATH_BYTES = 192 };

/* Of one of the places of an object: the patch that takes away what is left out. */
struct head {
    struct berth_msvc_problems *problems;
    const char *in, *at, *place;
    struct berth_jw patch;
    bool any;
};

/* What tools write where there is nothing: "creationTimestamp: null", "status: {}". */
static bool
says_something(const struct berth_json *v)
{
    struct berth_slice text;

    switch (berth_json_type(v)) {
    case BERTH_JSON_NULL:
        return false;
    case BERTH_JSON_ARRAY:
    case BERTH_JSON_OBJECT:
        return berth_json_len(v) > 0;
    case BERTH_JSON_STRING:
        return berth_json_string(v, &text) && text.len > 0;
    case BERTH_JSON_BOOL:
    case BERTH_JSON_INT:
    case BERTH_JSON_REAL:
        break;
    }
    return true;
}

/* "[2].metadata.uid" */
static const char *
path_of(const struct head *h, const char *before, const char *name, char ret[static PATH_BYTES])
{
    (void)snprintf(ret, PATH_BYTES, "%s%s%s%s%s%s", h->at, h->at[0] != '\0' ? "." : "", h->place,
                   h->place[0] != '\0' ? "." : "", before, name);
    return ret;
}

static void
leave_out(struct head *h, const struct berth_json *from, const char *before,
          const struct unsaid *all, size_t count)
{
    const bool of_pods = h->place[0] != '\0';
    char path[PATH_BYTES];

    for (size_t i = 0; i < count; i++) {
        const struct berth_json *v = berth_json_get(from, all[i].name);
        if (v == NULL)
            continue;
        berth_jw_key(&h->patch, all[i].name);
        berth_jw_null(&h->patch);
        h->any = true;
        if (says_something(v))
            berth_msvc_problem(h->problems, true, h->in, path_of(h, before, all[i].name, path),
                               h->problems->is_preview
                                   ? "%s: what is applied, and -o yaml, are without it"
                                   : "%s: it is left out",
                               of_pods && all[i].of_pods != NULL ? all[i].of_pods : all[i].why);
    }
}

static void
leave_out_of_meta(struct head *h, const struct berth_json *meta)
{
    const struct berth_json *notes = berth_json_get(meta, "annotations");

    berth_jw_key(&h->patch, "metadata");
    berth_jw_object(&h->patch);
    leave_out(h, meta, "metadata.", unsaid_meta, BERTH_COUNT(unsaid_meta));
    if (h->place[0] == '\0' && berth_json_type(notes) == BERTH_JSON_OBJECT) {
        berth_jw_key(&h->patch, "annotations");
        berth_jw_object(&h->patch);
        leave_out(h, notes, "metadata.annotations.", unsaid_notes, BERTH_COUNT(unsaid_notes));
        berth_jw_object_end(&h->patch);
    }
    berth_jw_object_end(&h->patch);
}

/* The object without what its metadata at h->place may not say.  NULL: no memory. */
static const struct berth_json *
without(struct head *h, const struct berth_json *v, struct berth_arena *a)
{
    const struct berth_json *of = h->place[0] != '\0' ? berth_kube_at(v, h->place) : v;
    const struct berth_json *meta = berth_json_get(of, "metadata"), *patch = NULL, *ret = NULL;
    struct berth_buf text;
    struct berth_jw w;
    size_t depth = 1;

    h->any = false;
    berth_buf_init(&text, a);
    berth_jw_init(&h->patch, &text);
    berth_jw_object(&h->patch);
    for (const char *at = h->place; *at != '\0'; depth++) {
        const size_t n = strcspn(at, ".");
        berth_jw_key_n(&h->patch, at, n);
        berth_jw_object(&h->patch);
        at += n + (at[n] == '.');
    }
    if (h->place[0] == '\0')
        leave_out(h, v, "", unsaid_top, BERTH_COUNT(unsaid_top));
    if (berth_json_type(meta) == BERTH_JSON_OBJECT)
        leave_out_of_meta(h, meta);
    while (depth-- > 0)
        berth_jw_object_end(&h->patch);
    if (!h->any || h->problems->is_preview)
        return v;
    if (text.failed || berth_json_parse(a, text.at, text.len, NULL, &patch, NULL) < 0)
        return NULL;
    berth_buf_init(&text, a);
    berth_jw_init(&w, &text);
    berth_jw_merged(&w, v, patch);
    return !text.failed && berth_json_parse(a, text.at, text.len, NULL, &ret, NULL) == 0 ? ret
                                                                                         : NULL;
}

static void
check_type(const struct head *h, const struct berth_json *v, const char *member, const char *made)
{
    const char *is = berth_json_member_text(v, member, "");
    char path[PATH_BYTES];

    if (is[0] != '\0' && strcmp(is, made) != 0)
        berth_msvc_problem(h->problems, true, h->in, path_of(h, "", member, path),
                           "%.128s: %s is read as %s", is, h->in, made);
}

static void
check_space(const struct head *h, const struct berth_json *meta, const struct berth_msvc *m)
{
    const char *is = berth_json_member_text(meta, "namespace", "");
    char path[PATH_BYTES];

    if (is[0] != '\0' && m->ns[0] != '\0' && strcmp(is, m->ns) != 0)
        berth_msvc_problem(h->problems, true, h->in, path_of(h, "metadata.", "namespace", path),
                           "%.63s: it is made in %.63s, where the ModelService is", is, m->ns);
}

const struct berth_json *
berth_msvc_headed(struct berth_msvc_problems *p, const struct berth_msvc *m,
                  const struct berth_msvc_kind *kind, const char *at, const struct berth_json *v,
                  struct berth_arena *a)
{
    struct head h = {.problems = p, .in = kind->key, .at = at, .place = ""};

    check_type(&h, v, "kind", kind->kube->kind);
    check_type(&h, v, "apiVersion", kind->kube->group_version);
    if (kind != berth_msvc_kind_of(BERTH_MSVC_CONFIG_MAPS)) /* theirs are looked at by themselves */
        check_space(&h, berth_json_get(v, "metadata"), m);
    for (size_t i = 0; v != NULL && i < BERTH_COUNT(places); i++) {
        h.place = places[i];
        v = without(&h, v, a);
    }
    return v;
}
