#include "shimlets/kubernetes/render.h"

#include <ctype.h>
#include <string.h>

enum { SCALE_CPU = 80 };

static const struct berth_kube_kind *
workload_kind(const struct berth_unit *u)
{
    return u->workload != NULL && strcmp(u->workload, "StatefulSet") == 0
               ? &berth_kube_stateful_sets
               : &berth_kube_deployments;
}

bool
kubernetes_is_scaled(const struct berth_unit *u)
{
    return u->scale_max > 0;
}

struct berth_slice
kubernetes_note(const struct kubernetes_conf *c, const struct berth_json *object, const char *key)
{
    char full[KUBERNETES_NAME_MAX + 32];

    (void)snprintf(full, sizeof full, "%s/%s", c->managed_by, key);
    return berth_kube_annotation(object, full);
}

static bool
is_label_value(const char *s)
{
    const size_t n = strlen(s);

    if (n == 0)
        return true;
    if (n > KUBERNETES_NAME_MAX || !isalnum((unsigned char)s[0]) ||
        !isalnum((unsigned char)s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.')
            return false;
    return true;
}

/* ---- metadata ---- */

static void
selector(struct draft *d)
{
    pair(d, "app", d->service_label);
    pair(d, "track", d->u->track);
}

/* The user's own, but for those that we set. */
static bool
is_ours(const struct draft *d, const char *key)
{
    const size_t n = strlen(d->c->managed_by);

    return strcmp(key, "app") == 0 || strcmp(key, "track") == 0 || strcmp(key, "managed-by") == 0 ||
           strncmp(key, "app.kubernetes.io/", 18) == 0 ||
           (strncmp(key, d->c->managed_by, n) == 0 && key[n] == '/');
}

void
kubernetes_put_labels(struct draft *d)
{
    char key[KUBERNETES_NAME_MAX + 32];

    begin(d, "labels");
    for (size_t i = 0; i < d->u->label_count; i++)
        if (!is_ours(d, d->u->labels[i].key))
            pair(d, d->u->labels[i].key, d->u->labels[i].value);
    selector(d);
    pair(d, "managed-by", d->c->managed_by);
    pair(d, "app.kubernetes.io/managed-by", d->c->managed_by);
    pair(d, "app.kubernetes.io/name", d->container);
    pair(d, "app.kubernetes.io/instance", d->u->name);
    pair(d, "app.kubernetes.io/component", "model-server");
    (void)snprintf(key, sizeof key, "%s/owner", d->c->managed_by);
    pair(d, key, d->p->owner);
    end(d);
}

/* What is known of a workload from the cluster alone, after a restart. */
static void
workload_notes(struct draft *d)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%u", d->u->replicas);
    note(d, "replicas", text);
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)d->u->revision);
    note(d, "revision", text);
    if (d->scaled)
        note(d, "scaled", "true");
    if (d->p->products != NULL) {
        struct berth_buf b;
        berth_buf_init(&b, d->a);
        for (size_t i = 0; d->p->products[i] != NULL; i++)
            berth_buf_printf(&b, "%s%s", i > 0 ? "," : "", d->p->products[i]);
        note(d, "products", berth_buf_text(&b));
    }
}

static void
notes(struct draft *d, bool workload)
{
    const struct berth_slice pipeline = berth_kube_text(d->spec, "pipeline");

    begin(d, "annotations");
    note(d, "service-id", d->u->service_id);
    note(d, "model-name", d->u->model_name);
    note(d, "model-path", d->u->model_path);
    note(d, "goal-set-name", pipeline.at);
    note(d, "shimlet-name", "kubernetes");
    note(d, "spec-hash", d->u->hash);
    if (workload)
        workload_notes(d);
    note(d, "applied", d->digest);
    end(d);
}

static void
head(struct draft *d, const struct berth_kube_kind *kind)
{
    berth_jw_object(&d->w);
    pair(d, "apiVersion", kind->group_version);
    pair(d, "kind", kind->kind);
    begin(d, "metadata");
    pair(d, "name", d->u->name);
    pair(d, "namespace", d->p->space);
    kubernetes_put_labels(d);
    notes(d, kind == &berth_kube_deployments || kind == &berth_kube_stateful_sets);
    end(d);
}

/* ---- the objects ---- */

static void
rolling(struct draft *d)
{
    const bool neither = d->u->surge_max == 0 && d->u->unavailable_max == 0;

    begin(d, d->stateful ? "updateStrategy" : "strategy");
    pair(d, "type", "RollingUpdate");
    if (!d->stateful) {
        begin(d, "rollingUpdate");
        number(d, "maxSurge", neither ? 1 : d->u->surge_max);
        number(d, "maxUnavailable", d->u->unavailable_max);
        end(d);
    }
    end(d);
}

static void
workload(struct draft *d)
{
    head(d, workload_kind(d->u));
    begin(d, "spec");
    if (!d->scaled)
        number(d, "replicas", d->u->replicas);
    begin(d, "selector");
    begin(d, "matchLabels");
    selector(d);
    end(d);
    end(d);
    if (d->stateful) {
        pair(d, "serviceName", d->u->name);
        pair(d, "podManagementPolicy", "Parallel");
    } else {
        number(d, "progressDeadlineSeconds", seconds(d->u->start_timeout_ns, 10));
    }
    rolling(d);
    kubernetes_put_pod(d);
    end(d);
    end(d);
}

static void
service(struct draft *d)
{
    head(d, &berth_kube_services);
    begin(d, "spec");
    pair(d, "type", d->c->service_type);
    begin(d, "selector");
    selector(d);
    end(d);
    begin_list(d, "ports");
    berth_jw_object(&d->w);
    pair(d, "name", "http");
    pair(d, "protocol", "TCP");
    number(d, "port", d->p->port);
    pair(d, "targetPort", "http");
    end(d);
    end_list(d);
    end(d);
    end(d);
}

static void
autoscaler(struct draft *d)
{
    const struct berth_kube_kind *kind = workload_kind(d->u);

    head(d, &berth_kube_autoscalers);
    begin(d, "spec");
    begin(d, "scaleTargetRef");
    pair(d, "apiVersion", kind->group_version);
    pair(d, "kind", kind->kind);
    pair(d, "name", d->u->name);
    end(d);
    number(d, "minReplicas", d->u->scale_min > 0 ? d->u->scale_min : 1);
    number(d, "maxReplicas", d->u->scale_max);
    begin_list(d, "metrics");
    berth_jw_object(&d->w);
    pair(d, "type", "Resource");
    begin(d, "resource");
    pair(d, "name", "cpu");
    begin(d, "target");
    pair(d, "type", "Utilization");
    number(d, "averageUtilization",
           d->u->scale_cpu_percent > 0 ? d->u->scale_cpu_percent : SCALE_CPU);
    end(d);
    end(d);
    end(d);
    end_list(d);
    end(d);
    end(d);
}

/* ---- together ---- */

static int
check_unit(struct draft *d, struct berth_err *e)
{
    const struct berth_unit *u = d->u;

    if (u->workload != NULL && strcmp(u->workload, "Deployment") != 0 &&
        strcmp(u->workload, "StatefulSet") != 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "workload is \"%.60s\"; it may be Deployment or StatefulSet",
                             u->workload);
    for (size_t i = 0; i < u->label_count; i++)
        if (!is_label_value(u->labels[i].value))
            return berth_err_set(e, BERTH_EINVAL,
                                 "labels.%.80s: \"%.80s\" is no value of a label: at most 63 of "
                                 "A-Z a-z 0-9 - _ . between letters or digits",
                                 u->labels[i].key, u->labels[i].value);
    if (u->scale_max > 0 && u->scale_min > u->scale_max)
        return berth_err_set(e, BERTH_EINVAL, "autoscale: min %u is more than max %u", u->scale_min,
                             u->scale_max);
    if (u->scale_max > 0 && u->cpu_milli == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "autoscale by cpuPercent needs resourceRequirements.cpu: it is a part "
                             "of that");
    if (image_of(d) == NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "which image is the container to run? The engine has none of its own: "
                             "set the service's image, or the environment's");
    if (u->accelerator_count > 0 && u->accelerator_resource == NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "acceleratorCount is %u, and no acceleratorType says of what",
                             u->accelerator_count);
    return 0;
}

/* Which folder is mounted: none when an engine of the user's own needs none. */
static int
find_model(struct draft *d, struct berth_err *e)
{
    if (d->u->model_path == NULL || d->u->model_path[0] != '/')
        return 0; /* a name that the engine understands */
    const int r = kubernetes_model_dir(d->a, d->u->model_path, &d->model_dir, e);
    if (r < 0)
        return r;
    if (is_claim(d) && kubernetes_claim_sub(d) == NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "the model's folder %.160s is not in model_root %.80s, which is what "
                             "claim %.80s holds",
                             d->model_dir, d->c->model_root, d->c->model_volume);
    return 0;
}

/* Twice: the digest of the first is in the second. */
static int
write_object(struct draft *d, const struct berth_kube_kind *kind, void (*write)(struct draft *d),
             struct kubernetes_object *ret, struct berth_err *e)
{
    struct berth_buf b;

    for (int pass = 0; pass < 2; pass++) {
        berth_buf_init(&b, d->a);
        berth_jw_init(&d->w, &b);
        d->digest = pass == 0 ? NULL : ret->digest;
        write(d);
        if (berth_buf_text(&b) == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "out of memory");
        if (pass == 0)
            kubernetes_digest(b.at, b.len, ret->digest);
    }
    ret->kind = kind;
    ret->json = (struct berth_slice){b.at, b.len};
    return 0;
}

int
kubernetes_render(const struct kubernetes_plan *p, struct berth_arena *a,
                  struct kubernetes_object ret[KUBERNETES_OBJECTS_MAX], size_t *ret_count,
                  struct berth_err *e)
{
    const struct berth_unit *u = p->unit;
    struct draft d = {.p = p, .u = u, .c = p->conf, .a = a, .scaled = kubernetes_is_scaled(u)};
    size_t n = 0;
    int r = check_unit(&d, e);

    if (r == 0)
        r = find_model(&d, e);
    if (r < 0)
        return r;
    if (u->spec_json != NULL &&
        berth_json_parse(a, u->spec_json, strlen(u->spec_json), NULL, &d.spec, NULL) < 0)
        d.spec = NULL;
    kubernetes_name(u->model_name != NULL ? u->model_name : u->name, d.container);
    kubernetes_label_value(u->service_id, d.service_label);
    d.stateful = workload_kind(u) == &berth_kube_stateful_sets;
    r = write_object(&d, workload_kind(u), workload, &ret[n++], e);
    if (r == 0)
        r = write_object(&d, &berth_kube_services, service, &ret[n++], e);
    if (r == 0 && d.scaled)
        r = write_object(&d, &berth_kube_autoscalers, autoscaler, &ret[n++], e);
    if (r == 0)
        *ret_count = n;
    return r;
}
