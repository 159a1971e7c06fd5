#include <berth/err.h>

#include "kube/object.h"
#include "operator/modelservice/artifacts.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/overlay.h"
#include "operator/modelservice/parallelism.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

/* Pods: prefill, decode, endpoint picker. */

static const char *
role_name(enum berth_msvc_child child)
{
    switch (child) {
    case BERTH_MSVC_PREFILL_DEPLOYMENT:
    case BERTH_MSVC_PREFILL_LWS:
    case BERTH_MSVC_PREFILL_SERVICE:
    case BERTH_MSVC_PREFILL_HPA:
        return "prefill";
    case BERTH_MSVC_DECODE_DEPLOYMENT:
    case BERTH_MSVC_DECODE_LWS:
    case BERTH_MSVC_DECODE_SERVICE:
    case BERTH_MSVC_DECODE_HPA:
        return "decode";
    default:
        return NULL;
    }
}

static void
put_model_labels(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    const char *role = role_name(o->child);

    berth_jw_pair(w, BERTH_MSVC_MODEL_LABEL, o->m->names.model);
    if (role != NULL)
        berth_jw_pair(w, "llm-d.ai/role", role);
}

static void
put_label_pairs(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    if (o->child == BERTH_MSVC_EPP_DEPLOYMENT || o->child == BERTH_MSVC_EPP_SERVICE) {
        berth_jw_pair(w, "llm-d.ai/epp", o->m->names.of[BERTH_MSVC_EPP_DEPLOYMENT]);
    } else {
        berth_jw_pair(w, BERTH_MSVC_SERVES_LABEL, "true");
        put_model_labels(o, w);
    }
}

void
berth_msvc_put_labels(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    berth_jw_object(w);
    put_label_pairs(o, w);
    berth_jw_object_end(w);
}

/* Of objects that clients find by them. */
static bool
is_labelled(enum berth_msvc_child child)
{
    switch (child) {
    case BERTH_MSVC_PREFILL_DEPLOYMENT:
    case BERTH_MSVC_PREFILL_LWS:
    case BERTH_MSVC_DECODE_DEPLOYMENT:
    case BERTH_MSVC_DECODE_LWS:
    case BERTH_MSVC_EPP_DEPLOYMENT:
    case BERTH_MSVC_EPP_SERVICE:
    case BERTH_MSVC_MODEL:
    case BERTH_MSVC_OBJECTIVE:
        return true;
    default:
        return false;
    }
}

static void
put_owner(const struct berth_msvc *m, const struct berth_msvc_conf *conf, struct berth_jw *w)
{
    if (conf->applied && m->uid[0] == '\0')
        return;
    berth_jw_key(w, "ownerReferences");
    berth_jw_array(w);
    berth_jw_object(w);
    berth_jw_pair(w, "apiVersion", "llm-d.ai/v1alpha1");
    berth_jw_pair(w, "kind", "ModelService");
    berth_jw_pair(w, "name", m->name);
    berth_jw_pair(w, "uid", m->uid);
    berth_jw_object_end(w);
    berth_jw_array_end(w);
}

/* An InferenceModel has these labels and no others: the base's go. */
static void
drop_labels(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    static const char *const own[] = {BERTH_MSVC_SERVES_LABEL, BERTH_MSVC_MODEL_LABEL,
                                      BERTH_MSVC_UID_LABEL};
    const struct berth_json *labels = berth_json_get(berth_json_get(o->base, "metadata"), "labels");

    for (struct berth_json_iter it = berth_json_iter(labels); berth_json_next(&it);) {
        bool stays = false;
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            stays = stays || berth_slice_is(it.key, own[i]);
        if (stays)
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_jw_null(w);
    }
}

void
berth_msvc_put_head(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    const struct berth_msvc_kind *kind = berth_msvc_kind_of(o->child);

    berth_jw_object(w);
    berth_jw_pair(w, "apiVersion", kind->kube->group_version);
    berth_jw_pair(w, "kind", kind->kube->kind);
    berth_jw_key(w, "metadata");
    berth_jw_object(w);
    berth_jw_pair(w, "name", o->m->names.of[o->child]);
    if (o->m->ns[0] != '\0')
        berth_jw_pair(w, "namespace", o->m->ns);
    if (is_labelled(o->child) || o->conf->managed) {
        berth_jw_key(w, "labels");
        berth_jw_object(w);
        if (is_labelled(o->child))
            put_label_pairs(o, w);
        if (o->child == BERTH_MSVC_MODEL)
            drop_labels(o, w);
        if (o->conf->managed)
            berth_jw_pair(w, BERTH_MSVC_UID_LABEL, o->m->uid);
        berth_jw_object_end(w);
    }
    put_owner(o->m, o->conf, w);
    berth_jw_object_end(w);
}

void
berth_msvc_put_config_map(const struct berth_msvc *m, const struct berth_msvc_conf *conf,
                          const char *name, bool owned, struct berth_jw *w)
{
    const struct berth_msvc_kind *kind = berth_msvc_kind_of(BERTH_MSVC_CONFIG_MAPS);

    berth_jw_object(w);
    berth_jw_pair(w, "apiVersion", kind->kube->group_version);
    berth_jw_pair(w, "kind", kind->kube->kind);
    berth_jw_key(w, "metadata");
    berth_jw_object(w);
    if (name[0] != '\0')
        berth_jw_pair(w, "name", name);
    if (m->ns[0] != '\0')
        berth_jw_pair(w, "namespace", m->ns);
    if (conf->managed) {
        berth_jw_key(w, "labels");
        berth_jw_object(w);
        berth_jw_pair(w, BERTH_MSVC_UID_LABEL, m->uid);
        berth_jw_object_end(w);
    }
    if (owned)
        put_owner(m, conf, w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

/* ---- containers ---- */

static void
put_token(const struct berth_msvc *m, struct berth_jw *w)
{
    berth_jw_object(w);
    berth_jw_pair(w, "name", "HF_TOKEN");
    berth_jw_key(w, "valueFrom");
    berth_jw_object(w);
    berth_jw_key(w, "secretKeyRef");
    berth_jw_object(w);
    berth_jw_pair(w, "name", m->auth_secret);
    berth_jw_pair(w, "key", "HF_TOKEN");
    berth_jw_object_end(w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

/* The variable that says where the model is; NULL: there is none. */
static const char *
place_variable(enum berth_msvc_source from)
{
    switch (from) {
    case BERTH_MSVC_HF:
        return "HF_HOME";
    case BERTH_MSVC_PVC_HF:
        return "HF_HUB_CACHE";
    case BERTH_MSVC_PVC:
    case BERTH_MSVC_OCI:
        break;
    }
    return NULL;
}

static void
put_env_pair(struct berth_jw *w, const char *name, const char *value)
{
    berth_jw_object(w);
    berth_jw_pair(w, "name", name);
    berth_jw_pair(w, "value", value);
    berth_jw_object_end(w);
}

/* What a container that mounts the model is told, but for what the service says itself. */
static void
put_env(const struct berth_msvc *m, const struct berth_json *container, struct berth_jw *w)
{
    const struct berth_json *env = berth_json_get(container, "env");
    const struct berth_msvc_artifact *from = &m->artifact;
    const char *place = place_variable(from->source);

    if (place == NULL && berth_json_len(env) == 0)
        return;
    berth_jw_key(w, "env");
    berth_jw_array(w);
    if (from->source == BERTH_MSVC_HF && m->auth_secret[0] != '\0' &&
        berth_kube_named(env, "HF_TOKEN") == NULL)
        put_token(m, w);
    if (place != NULL && berth_kube_named(env, place) == NULL)
        put_env_pair(w, place, from->mounted);
    for (struct berth_json_iter it = berth_json_iter(env); berth_json_next(&it);)
        berth_jw_value(w, it.value);
    berth_jw_array_end(w);
}

static void
put_mount(const struct berth_msvc *m, struct berth_jw *w)
{
    const enum berth_msvc_source from = m->artifact.source;

    berth_jw_key(w, "volumeMounts");
    berth_jw_array(w);
    berth_jw_object(w);
    berth_jw_pair(w, "name", BERTH_MSVC_VOLUME);
    berth_jw_pair(w, "mountPath", BERTH_MSVC_MOUNT);
    if (from == BERTH_MSVC_OCI || (from != BERTH_MSVC_HF && m->read_only)) {
        berth_jw_key(w, "readOnly");
        berth_jw_bool(w, true);
    }
    berth_jw_object_end(w);
    berth_jw_array_end(w);
}

/* "image: ''", as what makes ModelServices of values writes it where there is none. */
static bool
is_no_image(const struct berth_json_iter *member)
{
    struct berth_slice text;

    return berth_slice_is(member->key, "image") && berth_json_string(member->value, &text) &&
           text.len == 0;
}

static void
put_container(const struct berth_msvc_overlay *o, const struct berth_json *c, struct berth_jw *w)
{
    /* The endpoint picker reads no model. */
    const bool mounts =
        o->child != BERTH_MSVC_EPP_DEPLOYMENT && berth_json_member_bool(c, "mountModelVolume");

    berth_jw_object(w);
    for (struct berth_json_iter it = berth_json_iter(c); berth_json_next(&it);) {
        /* Nothing behind a key is nothing said, and so is an image that is none: the base's stays.
         */
        if (berth_json_type(it.value) == BERTH_JSON_NULL || is_no_image(&it) ||
            berth_slice_is(it.key, "mountModelVolume") || (mounts && berth_slice_is(it.key, "env")))
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_jw_value(w, it.value);
    }
    if (mounts) {
        put_env(o->m, c, w);
        put_mount(o->m, w);
    }
    berth_jw_object_end(w);
}

/* One of two templates: which containers the base has in it, and which in the other. */
struct template
{
    const struct berth_json *own, *other; /* pods' specs; NULL: nothing is said */
};

static void
put_containers(const struct berth_msvc_overlay *o, const struct template *t,
               const struct berth_json *part, const char *key, struct berth_jw *w)
{
    const struct berth_json *list = berth_json_get(part, key);

    if (berth_json_len(list) == 0)
        return;
    berth_jw_key(w, key);
    berth_jw_array(w);
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        const char *name = berth_json_member_text(it.value, "name", "");
        /* What the base has in the leader alone is no business of the workers, and the other way
         * about. */
        if (berth_kube_named(berth_json_get(t->other, key), name) == NULL ||
            berth_kube_named(berth_json_get(t->own, key), name) != NULL)
            put_container(o, it.value, w);
    }
    berth_jw_array_end(w);
}

/* ---- pods ---- */

static void
put_affinity(const struct berth_json *types, struct berth_jw *w)
{
    berth_jw_key(w, "affinity");
    berth_jw_object(w);
    berth_jw_key(w, "nodeAffinity");
    berth_jw_object(w);
    berth_jw_key(w, "requiredDuringSchedulingIgnoredDuringExecution");
    berth_jw_object(w);
    berth_jw_key(w, "nodeSelectorTerms");
    berth_jw_array(w);
    berth_jw_object(w);
    berth_jw_key(w, "matchExpressions");
    berth_jw_array(w);
    berth_jw_object(w);
    berth_jw_pair(w, "key", berth_json_member_text(types, "labelKey", ""));
    berth_jw_pair(w, "operator", "In");
    berth_jw_key(w, "values");
    berth_jw_value(w, berth_json_get(types, "labelValues"));
    berth_jw_object_end(w);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

static void
put_pod(const struct berth_msvc_overlay *o, const struct template *t, const struct berth_json *part,
        struct berth_jw *w)
{
    const bool picker = o->child == BERTH_MSVC_EPP_DEPLOYMENT;
    const struct berth_json *types = berth_json_get(part, "acceleratorTypes");

    berth_jw_object(w);
    berth_jw_pair(w, "serviceAccountName",
                  o->m->names.of[picker ? BERTH_MSVC_EPP_ACCOUNT : BERTH_MSVC_PD_ACCOUNT]);
    put_containers(o, t, part, "initContainers", w);
    put_containers(o, t, part, "containers", w);
    if (!picker && berth_json_len(berth_json_get(types, "labelValues")) > 0 &&
        berth_json_member_text(types, "labelKey", "")[0] != '\0')
        put_affinity(types, w);
    berth_jw_object_end(w);
}

static void
put_template(const struct berth_msvc_overlay *o, const struct template *t,
             void (*put_labels)(const struct berth_msvc_overlay *o, struct berth_jw *w),
             struct berth_jw *w)
{
    const char *role = role_name(o->child);
    const struct berth_json *part =
        berth_json_get(o->m->spec, role != NULL ? role : "endpointPicker");

    berth_jw_object(w);
    berth_jw_key(w, "metadata");
    berth_jw_object(w);
    berth_jw_key(w, "labels");
    berth_jw_object(w);
    put_labels(o, w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
    berth_jw_key(w, "spec");
    put_pod(o, t, part, w);
    berth_jw_object_end(w);
}

/* ---- what has pods ---- */

/*
 * Who applies the same file again and again would undo what an autoscaler does: there it has none.
 * The operator makes an object with the number that is wished for, and leaves it alone afterwards.
 */
static void
put_replicas(const struct berth_msvc_overlay *o, const struct berth_json *part, struct berth_jw *w)
{
    const struct berth_json *replicas = berth_json_get(part, "replicas");

    if (o->is_autoscaled && o->conf->leaves_replicas) {
        berth_jw_key(w, "replicas");
        berth_jw_null(w);
        return;
    }
    if (berth_json_type(replicas) != BERTH_JSON_INT)
        return;
    berth_jw_key(w, "replicas");
    berth_jw_value(w, replicas);
}

void
berth_msvc_put_deployment(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    static const struct template alone = {NULL, NULL};
    const char *role = role_name(o->child);

    berth_msvc_put_head(o, w);
    berth_jw_key(w, "spec");
    berth_jw_object(w);
    put_replicas(o, berth_json_get(o->m->spec, role != NULL ? role : "endpointPicker"), w);
    berth_jw_key(w, "selector");
    berth_jw_object(w);
    berth_jw_key(w, "matchLabels");
    berth_msvc_put_labels(o, w);
    berth_jw_object_end(w);
    berth_jw_key(w, "template");
    put_template(o, &alone, put_label_pairs, w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

/*
 * Requests come to leaders: they alone bear the label that services and pools select by.  A worker
 * bears it where the base says so.
 */
void
berth_msvc_put_worker_set(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    const struct berth_json *part = berth_json_get(o->m->spec, role_name(o->child));
    const struct berth_json *leader =
        berth_kube_at(o->base, "spec.leaderWorkerTemplate.leaderTemplate.spec");
    const struct berth_json *worker =
        berth_kube_at(o->base, "spec.leaderWorkerTemplate.workerTemplate.spec");
    struct berth_msvc_parallelism p;
    struct berth_err unsaid;

    berth_msvc_put_head(o, w);
    berth_jw_key(w, "spec");
    berth_jw_object(w);
    put_replicas(o, part, w);
    berth_jw_key(w, "leaderWorkerTemplate");
    berth_jw_object(w);
    if (berth_msvc_parallelism_of(part, &p, &unsaid) == 0 && p.says_workers) {
        berth_jw_key(w, "size");
        berth_jw_int(w, p.workers);
    }
    berth_jw_key(w, "leaderTemplate");
    put_template(o, &(struct template){leader, worker}, put_label_pairs, w);
    berth_jw_key(w, "workerTemplate");
    put_template(o, &(struct template){worker, leader}, put_model_labels, w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

static void
put_volume_source(const struct berth_msvc *m, struct berth_jw *w)
{
    switch (m->artifact.source) {
    case BERTH_MSVC_HF:
        berth_jw_key(w, "emptyDir");
        berth_jw_object(w);
        if (m->size[0] != '\0')
            berth_jw_pair(w, "sizeLimit", m->size);
        berth_jw_object_end(w);
        break;
    case BERTH_MSVC_PVC:
    case BERTH_MSVC_PVC_HF:
        berth_jw_key(w, "persistentVolumeClaim");
        berth_jw_object(w);
        berth_jw_pair(w, "claimName", m->artifact.claim);
        if (m->read_only) {
            berth_jw_key(w, "readOnly");
            berth_jw_bool(w, true);
        }
        berth_jw_object_end(w);
        break;
    case BERTH_MSVC_OCI:
        berth_jw_key(w, "image");
        berth_jw_object(w);
        berth_jw_pair(w, "reference", m->artifact.image);
        berth_jw_pair(w, "pullPolicy", "IfNotPresent");
        berth_jw_object_end(w);
        break;
    }
}

void
berth_msvc_put_volume(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    berth_jw_object(w);
    berth_jw_key(w, "volumes");
    berth_jw_array(w);
    berth_jw_object(w);
    berth_jw_pair(w, "name", BERTH_MSVC_VOLUME);
    put_volume_source(o->m, w);
    berth_jw_object_end(w);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
}
