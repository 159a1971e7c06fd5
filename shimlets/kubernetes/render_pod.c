#include "shimlets/kubernetes/render.h"

#include <string.h>

#include "base/assert.h"

enum {
    PROBE_S = 5,
    LIVE_FAILURES = 12, /* a minute without an answer, once it was ready */
    STOP_S = 5,         /* beyond the time to drain */
};

/* $(PORT) and $(HOST) are known here; what else there is in $( ) is Kubernetes' to expand, which
 * has the same rule for $$. */
static const char *
expand(struct draft *d, const char *text)
{
    struct berth_buf b;

    berth_buf_init(&b, d->a);
    for (const char *at = text; *at != '\0';) {
        if (strncmp(at, "$$", 2) == 0) {
            berth_buf_puts(&b, "$$");
            at += 2;
        } else if (strncmp(at, "$(PORT)", 7) == 0) {
            berth_buf_printf(&b, "%u", d->p->port);
            at += 7;
        } else if (strncmp(at, "$(HOST)", 7) == 0) {
            berth_buf_puts(&b, "0.0.0.0");
            at += 7;
        } else {
            berth_buf_putc(&b, *at++);
        }
    }
    return berth_buf_text(&b);
}

static bool
user_sets(const struct draft *d, const char *key)
{
    for (size_t i = 0; i < d->u->env_count; i++)
        if (strcmp(d->u->env[i].key, key) == 0)
            return true;
    return false;
}

static void
env_one(struct draft *d, const char *name, const char *value)
{
    berth_jw_object(&d->w);
    pair(d, "name", name);
    pair(d, "value", value);
    end(d);
}

/* Ours, unless the user says otherwise. */
static void
env_ours(struct draft *d, const char *name, const char *value)
{
    if (value != NULL && !user_sets(d, name))
        env_one(d, name, value);
}

static void
env_replica(struct draft *d)
{
    if (user_sets(d, "REPLICA"))
        return;
    if (!d->stateful) { /* a Deployment's pods have no number; each has an address of its own */
        env_one(d, "REPLICA", "0");
        return;
    }
    berth_jw_object(&d->w);
    pair(d, "name", "REPLICA");
    begin(d, "valueFrom");
    begin(d, "fieldRef");
    pair(d, "fieldPath", "metadata.labels['apps.kubernetes.io/pod-index']");
    end(d);
    end(d);
    end(d);
}

static void
env(struct draft *d)
{
    const int64_t context = berth_kube_int(d->spec, "contextLength", 0);
    char port[8], length[24];

    (void)snprintf(port, sizeof port, "%u", d->p->port);
    (void)snprintf(length, sizeof length, "%lld", (long long)context);
    begin_list(d, "env");
    env_ours(d, "MODEL", d->u->model_name);
    env_ours(d, "SERVING_ENGINE", "openai");
    env_ours(d, "PORT", port);
    env_ours(d, "TRANSFORMERS_OFFLINE", "1");
    env_ours(d, "HF_HOME", "/tmp");
    env_ours(d, "SERVICE_ID", d->u->service_id);
    env_ours(d, "CONTEXT_LENGTH", context > 0 ? length : NULL);
    env_ours(d, "HOST", "0.0.0.0");
    env_replica(d);
    for (size_t i = 0; i < d->u->env_count; i++)
        env_one(d, d->u->env[i].key, expand(d, d->u->env[i].value));
    end_list(d);
}

static void
put_words(struct draft *d, const char *key, const char *const *words, size_t n)
{
    if (n == 0)
        return;
    begin_list(d, key);
    for (size_t i = 0; i < n; i++)
        berth_jw_string(&d->w, expand(d, words[i]));
    end_list(d);
}

static void
command(struct draft *d)
{
    const char *const *argv = d->u->command;

    if (argv == NULL) /* the image's own */
        return;
    /* The program, and what it is told, where people and other controllers look for it; without a
     * program the options are for the image's own. */
    size_t program = argv[0] == NULL || argv[0][0] == '-' ? 0 : 1;
    while (program > 0 && argv[program] != NULL && strncmp(argv[program], "--", 2) != 0)
        program++;
    put_words(d, "command", argv, program);
    size_t all = program;
    while (argv[all] != NULL)
        all++;
    put_words(d, "args", argv + program, all - program);
}

static void
quantity(struct draft *d, const char *key, uint64_t milli)
{
    char text[32];

    if (milli % 1000 == 0)
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)(milli / 1000));
    else
        (void)snprintf(text, sizeof text, "%llum", (unsigned long long)milli);
    pair(d, key, text);
}

static void
bytes(struct draft *d, const char *key, uint64_t n)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi"};
    char text[32];
    size_t unit = 0;

    while (unit + 1 < BERTH_COUNT(units) && n % 1024 == 0) {
        n /= 1024;
        unit++;
    }
    (void)snprintf(text, sizeof text, "%llu%s", (unsigned long long)n, units[unit]);
    pair(d, key, text);
}

static void
resources(struct draft *d)
{
    static const char *const sides[] = {"requests", "limits"};

    begin(d, "resources");
    for (size_t i = 0; i < BERTH_COUNT(sides); i++) {
        begin(d, sides[i]);
        if (d->u->cpu_milli > 0)
            quantity(d, "cpu", d->u->cpu_milli);
        if (d->u->memory_bytes > 0)
            bytes(d, "memory", d->u->memory_bytes);
        if (d->u->accelerator_count > 0 && d->u->accelerator_resource != NULL)
            quantity(d, d->u->accelerator_resource, (uint64_t)d->u->accelerator_count * 1000);
        end(d);
    }
    end(d);
}

static void
probe(struct draft *d, const char *which, int64_t period_s, int64_t failures)
{
    begin(d, which);
    begin(d, "httpGet");
    pair(d, "path", d->u->health_path);
    pair(d, "port", "http");
    end(d);
    number(d, "periodSeconds", period_s);
    number(d, "timeoutSeconds", PROBE_S);
    number(d, "failureThreshold", failures);
    end(d);
}

/* A slow start is no failure: only once it is over does Kubernetes look whether it lives. */
static void
probes(struct draft *d)
{
    if (d->u->health_path == NULL)
        return;
    probe(d, "startupProbe", PROBE_S, seconds(d->u->start_timeout_ns, PROBE_S) / PROBE_S);
    probe(d, "readinessProbe", PROBE_S, 3);
    probe(d, "livenessProbe", PROBE_S, LIVE_FAILURES);
}

const char *
kubernetes_claim_sub(const struct draft *d)
{
    const size_t n = strlen(d->c->model_root);

    if (strncmp(d->model_dir, d->c->model_root, n) != 0)
        return NULL;
    const char *rest = d->model_dir + n;
    if (*rest != '\0' && *rest != '/' && n > 1)
        return NULL;
    return rest + strspn(rest, "/");
}

static void
mounts(struct draft *d)
{
    if (d->model_dir == NULL)
        return;
    begin_list(d, "volumeMounts");
    berth_jw_object(&d->w);
    pair(d, "name", "models");
    pair(d, "mountPath", d->model_dir);
    if (is_claim(d) && kubernetes_claim_sub(d)[0] != '\0')
        pair(d, "subPath", kubernetes_claim_sub(d));
    berth_jw_key(&d->w, "readOnly");
    berth_jw_bool(&d->w, true);
    end(d);
    end_list(d);
}

static void
volumes(struct draft *d)
{
    if (d->model_dir == NULL)
        return;
    begin_list(d, "volumes");
    berth_jw_object(&d->w);
    pair(d, "name", "models");
    begin(d, is_claim(d) ? "persistentVolumeClaim" : "hostPath");
    if (is_claim(d)) {
        pair(d, "claimName", d->c->model_volume);
    } else {
        pair(d, "path", d->model_dir);
        pair(d, "type", "Directory");
    }
    end(d);
    end(d);
    end_list(d);
}

static void
container(struct draft *d)
{
    begin_list(d, "containers");
    berth_jw_object(&d->w);
    pair(d, "name", d->container);
    pair(d, "image", image_of(d));
    pair(d, "imagePullPolicy", d->c->pull_policy);
    command(d);
    env(d);
    begin_list(d, "ports");
    berth_jw_object(&d->w);
    pair(d, "name", "http");
    number(d, "containerPort", d->p->port);
    if (d->c->host_network)
        number(d, "hostPort", d->p->port); /* so that two never meet on one machine */
    pair(d, "protocol", "TCP");
    end(d);
    end_list(d);
    resources(d);
    probes(d);
    mounts(d);
    end(d);
    end_list(d);
}

/* ---- where pods may go ---- */

static void
node_selector(struct draft *d)
{
    const char *at = d->c->node_selector;

    if (at[0] == '\0')
        return;
    begin(d, "nodeSelector");
    while (*at != '\0') {
        const size_t n = strcspn(at, ","), k = strcspn(at, "=");
        berth_jw_key_n(&d->w, at, k);
        berth_jw_string_n(&d->w, at + k + 1, n - k - 1);
        at += n + (at[n] == ',');
    }
    end(d);
}

static void
affinity(struct draft *d)
{
    if (d->p->products == NULL)
        return;
    begin(d, "affinity");
    begin(d, "nodeAffinity");
    begin(d, "requiredDuringSchedulingIgnoredDuringExecution");
    begin_list(d, "nodeSelectorTerms");
    berth_jw_object(&d->w);
    begin_list(d, "matchExpressions");
    berth_jw_object(&d->w);
    pair(d, "key", d->c->product_label);
    pair(d, "operator", "In");
    begin_list(d, "values");
    for (size_t i = 0; d->p->products[i] != NULL; i++)
        berth_jw_string(&d->w, d->p->products[i]);
    end_list(d);
    end(d);
    end_list(d);
    end(d);
    end_list(d);
    end(d);
    end(d);
    end(d);
}

static void
tolerations(struct draft *d)
{
    const bool all = strcmp(d->c->tolerations, "all") == 0;
    const bool own = strcmp(d->c->tolerations, "accelerator") == 0 && d->u->accelerator_count > 0 &&
                     d->u->accelerator_resource != NULL;

    if (!all && !own)
        return;
    begin_list(d, "tolerations");
    berth_jw_object(&d->w);
    if (own)
        pair(d, "key", d->u->accelerator_resource);
    pair(d, "operator", "Exists");
    end(d);
    end_list(d);
}

void
kubernetes_put_pod(struct draft *d)
{
    begin(d, "template");
    begin(d, "metadata");
    kubernetes_put_labels(d);
    begin(d, "annotations");
    note(d, "service-id", d->u->service_id);
    note(d, "spec-hash", d->u->hash);
    end(d);
    end(d);
    begin(d, "spec");
    if (d->c->host_network) {
        berth_jw_key(&d->w, "hostNetwork");
        berth_jw_bool(&d->w, true);
        pair(d, "dnsPolicy", "ClusterFirstWithHostNet");
    }
    if (d->c->service_account[0] != '\0')
        pair(d, "serviceAccountName", d->c->service_account);
    if (d->c->pull_secret[0] != '\0') {
        begin_list(d, "imagePullSecrets");
        berth_jw_object(&d->w);
        pair(d, "name", d->c->pull_secret);
        end(d);
        end_list(d);
    }
    number(d, "terminationGracePeriodSeconds", seconds(d->u->drain_timeout_ns, 0) + STOP_S);
    node_selector(d);
    affinity(d);
    tolerations(d);
    container(d);
    volumes(d);
    end(d);
    end(d);
}
