#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "deploy/route/routes.h"
#include "deploy/spec/mask.h"
#include "wire/json.h"

/* Services as people look at them. */

static const char *
time_or_empty(uint64_t wall_ns, char buf[BERTH_TIME_TEXT])
{
    return wall_ns > 0 ? berth_time_text(wall_ns, buf) : "";
}

static void
put_time(struct berth_jw *w, const char *key, uint64_t wall_ns)
{
    char time[BERTH_TIME_TEXT];

    berth_jw_key(w, key);
    berth_jw_string(w, time_or_empty(wall_ns, time));
}

static void
put_text(struct berth_jw *w, const char *key, const char *text)
{
    berth_jw_key(w, key);
    berth_jw_string(w, text != NULL ? text : "");
}

/* What clients call: the environment's own address, else the first ready replica's. */
static const char *
base_of(const struct service *s)
{
    const struct seen *seen = s->tracks[STABLE].seen;

    if (seen == NULL || s->deleting)
        return NULL;
    if (seen->as.endpoint != NULL)
        return seen->ready > 0 ? seen->as.endpoint : NULL;
    for (size_t i = 0; i < seen->as.replica_count; i++) {
        const struct berth_replica *one = &seen->as.replicas[i];
        if (one->state == BERTH_REPLICA_READY && one->endpoint != NULL)
            return one->endpoint;
    }
    return NULL;
}

static const char *
endpoint_of(const struct service *s, struct berth_arena *a)
{
    const char *base = base_of(s);

    return base != NULL ? berth_arena_printf(a, "%s/v1/chat/completions", base) : "";
}

static const struct progress *
progress_of(const struct service *s, enum which which)
{
    return which == STABLE && s->removal != NULL ? s->removal : s->tracks[which].progress;
}

static void
put_step_names(struct berth_deploy *d, struct berth_jw *w, const struct service *s,
               enum which which)
{
    const struct progress *p = progress_of(s, which);

    berth_jw_key(w, "totalSteps");
    berth_jw_array(w);
    if (p != NULL) {
        for (uint32_t i = 0; i < p->run->step_count; i++)
            berth_jw_string(w, p->infos[i].name);
    } else if (s->tracks[which].wish != NULL) {
        struct flow *f = berth_flow_get(d, s->tracks[which].wish->spec.pipeline);
        const struct berth_goal *goals;
        const char *const *names;
        struct berth_err e;
        uint32_t n;
        if (f != NULL && berth_flow_steps(f, false, &goals, &names, &n, &e) == 0) {
            for (uint32_t i = 0; i < n; i++)
                berth_jw_string(w, goals != NULL ? goals[i].name : names[i]);
        }
        berth_flow_put(d, f);
    }
    berth_jw_array_end(w);
}

/* The step that is under way; the first one before anything began. */
static const char *
current_step(struct berth_deploy *d, const struct service *s, enum which which,
             struct berth_arena *a)
{
    const struct progress *p = progress_of(s, which);
    const char *name = "";

    if (p != NULL)
        return p->infos[p->run->state == BERTH_RUN_FAILED ? p->run->failed : p->run->at].name;
    if (s->tracks[which].wish == NULL)
        return name;
    struct flow *f = berth_flow_get(d, s->tracks[which].wish->spec.pipeline);
    const struct berth_goal *goals;
    const char *const *names;
    struct berth_err e;
    uint32_t n;
    if (f != NULL && berth_flow_steps(f, false, &goals, &names, &n, &e) == 0)
        name = berth_arena_strdup(a, goals != NULL ? goals[0].name : names[0]);
    berth_flow_put(d, f);
    return name;
}

static void
put_head(struct berth_deploy *d, struct berth_jw *w, const struct service *s,
         const struct reach *reach, struct berth_arena *a)
{
    const struct revision *wish = s->tracks[STABLE].wish;
    const struct seen *seen = s->tracks[STABLE].seen;
    char time[BERTH_TIME_TEXT];

    put_text(w, "serviceId", s->id);
    put_text(w, "status", berth_phase_status(s->phase));
    put_text(w, "phase", berth_phase_name(s->phase));
    put_text(w, "endpoint", endpoint_of(s, a));
    /* "YYYY-MM-DD HH:MM:SS", as the program that this carries on has it */
    (void)berth_time_text(
        s->changed_wall_ns > s->phase_wall_ns ? s->changed_wall_ns : s->phase_wall_ns, time);
    time[10] = ' ';
    time[19] = '\0';
    put_text(w, "updateTime", time);
    put_text(w, "modelName", wish != NULL ? wish->spec.model_name : "");
    put_text(w, "pipeline", wish != NULL ? wish->spec.pipeline : "");
    put_text(w, "shimlet", s->shimlet);
    berth_jw_pair_uint(w, "revision", s->last_revision);
    berth_jw_pair_uint(w, "runningRevision", s->tracks[STABLE].good);
    berth_jw_key(w, "retrying");
    berth_jw_bool(w, s->retry);
    put_text(w, "currentStep", current_step(d, s, STABLE, a));
    put_step_names(d, w, s, STABLE);
    berth_jw_pair_uint(w, "replicaCount", wish != NULL ? wish->spec.replicas : 0);
    berth_jw_pair_uint(w, "replicasReady", seen != NULL && !s->deleting ? seen->ready : 0);
    berth_reach_put(w, reach,
                    s->reason[0] != '\0' || seen == NULL ? s->reason : berth_seen_says(seen, a));
    put_time(w, "createdAt", s->created_wall_ns);
    put_time(w, "updatedAt", s->changed_wall_ns);
}

static const char *const replica_states[] = {"starting", "ready", "failed", "stopping"};

/* What clients of a replica's own endpoint ask for. */
static const char *
model_name_of(const struct track *t, size_t replica)
{
    const char *const *names = t->seen->as.model_names;

    if (names != NULL && names[replica] != NULL)
        return names[replica];
    return t->wish != NULL ? t->wish->spec.model_name : NULL;
}

static void
put_replicas(struct berth_jw *w, const struct service *s)
{
    berth_jw_key(w, "replicas");
    berth_jw_array(w);
    for (int k = 0; k < TRACK_COUNT; k++) {
        const struct seen *seen = s->tracks[k].seen;
        for (size_t i = 0; seen != NULL && i < seen->as.replica_count; i++) {
            const struct berth_replica *one = &seen->as.replicas[i];
            berth_jw_object(w);
            put_text(w, "id", one->id);
            put_text(w, "track", k == CANARY ? "canary" : "stable");
            put_text(w, "state", replica_states[one->state & 3]);
            put_text(w, "endpoint", one->endpoint);
            put_text(w, "modelName", model_name_of(&s->tracks[k], i));
            put_text(w, "reason", one->reason);
            put_text(w, "node", one->node);
            berth_jw_pair_uint(w, "revision", one->revision);
            put_text(w, "hash", one->hash);
            berth_jw_pair_uint(w, "restarts", one->restarts);
            berth_jw_pair_uint(w, "memoryBytes", one->memory_bytes);
            berth_jw_pair_uint(w, "cpuMilli", one->cpu_milli);
            berth_jw_object_end(w);
        }
    }
    berth_jw_array_end(w);
}

/* Quantities as the spec has them: "16Gi". */
static void
put_requested(struct berth_jw *w, const struct service *s, struct berth_arena *a)
{
    const struct revision *wish = s->tracks[STABLE].wish;
    const struct berth_json *v = NULL, *asked;
    struct berth_err e;

    if (berth_json_parse(a, wish->spec.json, wish->spec.json_len, NULL, &v, &e) < 0)
        v = NULL;
    asked = berth_json_get(v, "resourceRequirements");
    berth_jw_key(w, "requested");
    berth_jw_object(w);
    put_text(w, "acceleratorType", wish->spec.accelerator_type);
    put_text(w, "acceleratorResource", wish->spec.accelerator_resource);
    berth_jw_pair_uint(w, "acceleratorCount", wish->spec.accelerator_count);
    static const char *const quantities[] = {"cpu", "memory"};
    for (size_t i = 0; i < 2; i++) {
        struct berth_slice text = {"", 0};
        (void)berth_json_string(berth_json_get(asked, quantities[i]), &text);
        put_text(w, quantities[i], text.at);
    }
    berth_jw_pair_uint(w, "replicaCount", wish->spec.replicas);
    berth_jw_object_end(w);
}

static void
put_observed(struct berth_jw *w, const struct service *s)
{
    const struct seen *seen = s->tracks[STABLE].seen;
    const size_t n = seen != NULL ? seen->as.replica_count : 0;
    uint64_t memory = 0, cpu = 0;

    berth_jw_key(w, "observed");
    berth_jw_object(w);
    berth_jw_pair_uint(w, "replicasDesired",
                       s->deleting ? 0 : berth_spec_wanted(&s->tracks[STABLE].wish->spec));
    berth_jw_pair_uint(w, "replicasReady", seen != NULL ? seen->ready : 0);
    berth_jw_pair_uint(w, "replicas", n);
    berth_jw_key(w, "nodes");
    berth_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        const struct berth_replica *one = &seen->as.replicas[i];
        bool said = one->node == NULL;
        memory += one->memory_bytes;
        cpu += one->cpu_milli;
        for (size_t k = 0; k < i && !said; k++)
            said = seen->as.replicas[k].node != NULL &&
                   strcmp(seen->as.replicas[k].node, one->node) == 0;
        if (!said)
            berth_jw_string(w, one->node);
    }
    berth_jw_array_end(w);
    berth_jw_pair_uint(w, "cpuMilli", cpu);
    berth_jw_pair_uint(w, "memoryBytes", memory);
    put_time(w, "at", seen != NULL ? seen->wall_ns : 0);
    berth_jw_object_end(w);
}

static void
put_resources(struct berth_jw *w, const struct service *s, struct berth_arena *a)
{
    if (s->tracks[STABLE].wish == NULL)
        return;
    berth_jw_key(w, "resources");
    berth_jw_object(w);
    put_requested(w, s, a);
    put_observed(w, s);
    berth_jw_object_end(w);
}

static void
put_canary(struct berth_jw *w, const struct service *s)
{
    const struct track *t = &s->tracks[CANARY];

    berth_jw_key(w, "canary");
    if (t->wish == NULL) {
        berth_jw_null(w);
        return;
    }
    const bool failed = t->progress != NULL && t->progress->run->state == BERTH_RUN_FAILED &&
                        t->progress->revision == t->wish->number;
    berth_jw_object(w);
    berth_jw_pair_uint(w, "revision", t->wish->number);
    berth_jw_pair_uint(w, "weight", s->canary_percent);
    put_text(w, "state",
             t->leaving                   ? "leaving"
             : failed                     ? "failed"
             : s->promoting               ? "promoting"
             : t->good == t->wish->number ? "running"
                                          : "starting");
    berth_jw_pair_uint(w, "replicas", t->wish->spec.canary_replicas);
    berth_jw_pair_uint(w, "ready", t->seen != NULL ? t->seen->ready : 0);
    berth_jw_object_end(w);
}

/* A service that is for some alone: who, and where what one needs at its own endpoint is. */
static void
put_security(struct berth_jw *w, const struct service *s)
{
    enum { NAMES_BYTES_MAX = 1 << 20 };
    const struct track *t = &s->tracks[STABLE];
    const char *allow;
    struct berth_arena a;

    berth_jw_key(w, "security");
    berth_arena_init(&a, NAMES_BYTES_MAX);
    if (!berth_track_allow(t, &a, &allow))
        allow = ""; /* as requests are answered then: nobody's */
    if (allow == NULL) {
        berth_arena_fini(&a);
        berth_jw_null(w);
        return;
    }
    berth_jw_object(w);
    berth_jw_key(w, "allow");
    berth_jw_array(w);
    while (*allow != '\0') {
        const size_t len = strcspn(allow, " ");

        if (len > 0)
            berth_jw_string_n(w, allow, len);
        allow += len + (allow[len] == ' ');
    }
    berth_jw_array_end(w);
    berth_arena_fini(&a);
    put_text(w, "caPath", berth_values_get(t, "caPath"));
    put_text(w, "keyPath", berth_values_get(t, "keyPath"));
    berth_jw_object_end(w);
}

static void
put_condition(struct berth_jw *w, const char *type, bool is, const char *reason)
{
    berth_jw_object(w);
    put_text(w, "type", type);
    put_text(w, "status", is ? "True" : "False");
    put_text(w, "reason", reason);
    berth_jw_object_end(w);
}

static void
put_conditions(struct berth_jw *w, const struct service *s)
{
    const struct track *t = &s->tracks[STABLE];
    const bool ready = t->wish != NULL && t->seen != NULL && !s->deleting &&
                       t->seen->ready >= berth_spec_wanted(&t->wish->spec) && t->seen->as.exists;

    berth_jw_key(w, "conditions");
    berth_jw_array(w);
    put_condition(w, "Accepted", true, "");
    put_condition(w, "Deployed", t->wish != NULL && t->good == t->wish->number, s->reason);
    put_condition(w, "Ready", ready, ready ? "" : s->reason);
    berth_jw_array_end(w);
}

/* The spec with what looks secret masked. */
static void
put_spec(struct berth_jw *w, const struct revision *r, struct berth_arena *a)
{
    const struct berth_json *v;
    struct berth_err e;

    if (berth_json_parse(a, r->spec.json, r->spec.json_len, NULL, &v, &e) == 0)
        berth_mask_put(w, v, false);
    else
        berth_jw_null(w);
}

static int
no_room(struct berth_buf *out, size_t before, struct berth_err *e)
{
    if (!out->failed)
        return 0;
    out->len = before;
    return berth_err_set(e, BERTH_ENOMEM, "the answer takes more memory than it may");
}

static struct service *
find(struct berth_deploy *d, const char *id, struct berth_err *e)
{
    struct service *s = berth_deploy_service(d, id);

    if (s == NULL)
        (void)berth_err_set(e, BERTH_ENOENT, "there is no service %s", id);
    return s;
}

int
berth_deploy_describe(struct berth_deploy *d, const char *id, struct berth_arena *a,
                      struct berth_buf *out, struct berth_err *e)
{
    struct service *s = find(d, id, e);
    const size_t before = out->len;
    struct berth_jw w;

    if (s == NULL)
        return -BERTH_ENOENT;
    berth_jw_init(&w, out);
    berth_jw_object(&w);
    const struct reach reach = berth_service_reach(d, s, a);
    (void)pthread_mutex_lock(&s->mu);
    put_head(d, &w, s, &reach, a);
    if (s->tracks[STABLE].wish != NULL) {
        berth_jw_key(&w, "spec");
        put_spec(&w, s->tracks[STABLE].wish, a);
    }
    put_resources(&w, s, a);
    put_replicas(&w, s);
    put_canary(&w, s);
    put_security(&w, s);
    put_conditions(&w, s);
    (void)pthread_mutex_unlock(&s->mu);
    berth_jw_key(&w, "routes");
    if (d->conf.routes != NULL)
        berth_routes_put(d->conf.routes, s->id, &w);
    else
        berth_jw_null(&w);
    berth_jw_object_end(&w);
    berth_service_unref(d, s);
    return no_room(out, before, e);
}

int
berth_deploy_spec(struct berth_deploy *d, const char *id, struct berth_arena *a,
                  struct berth_slice *ret, uint64_t *ret_revision, struct berth_err *e)
{
    struct service *s = find(d, id, e);
    char *json = NULL;
    size_t len = 0;

    if (s == NULL)
        return -BERTH_ENOENT;
    (void)pthread_mutex_lock(&s->mu);
    const struct revision *wish = s->tracks[STABLE].wish;
    const uint64_t revision = s->last_revision;
    if (wish != NULL)
        json = berth_arena_strndup(a, wish->spec.json, len = wish->spec.json_len);
    (void)pthread_mutex_unlock(&s->mu);
    berth_service_unref(d, s);
    if (json == NULL)
        return berth_err_set(e, len > 0 ? BERTH_ENOMEM : BERTH_ENOENT, "service %s: %s", id,
                             len > 0 ? "out of memory" : "it has no spec any more");
    *ret = (struct berth_slice){json, len};
    *ret_revision = revision;
    return 0;
}

static int
by_age(const void *a, const void *b)
{
    const struct service *const *x = a, *const *y = b;

    if ((*x)->created_wall_ns != (*y)->created_wall_ns)
        return (*x)->created_wall_ns < (*y)->created_wall_ns ? -1 : 1;
    return strcmp((*x)->id, (*y)->id);
}

int
berth_deploy_list(struct berth_deploy *d, struct berth_arena *a, struct berth_buf *out,
                  struct berth_err *e)
{
    const size_t before = out->len;
    struct service **all;
    struct berth_jw w;
    size_t n;

    if (berth_deploy_all(d, &all, &n) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "services: out of memory");
    qsort(all, n, sizeof *all, by_age);
    berth_jw_init(&w, out);
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        berth_jw_object(&w);
        const struct reach reach = berth_service_reach(d, all[i], a);
        (void)pthread_mutex_lock(&all[i]->mu);
        put_head(d, &w, all[i], &reach, a);
        put_resources(&w, all[i], a);
        put_canary(&w, all[i]);
        (void)pthread_mutex_unlock(&all[i]->mu);
        berth_jw_object_end(&w);
        berth_service_unref(d, all[i]);
    }
    free(all);
    berth_jw_array_end(&w);
    return no_room(out, before, e);
}

static const char *const run_states[] = {"running", "rollingback", "succeeded", "failed"};

static void
put_steps(struct berth_jw *w, const struct progress *p)
{
    berth_jw_key(w, "steps");
    berth_jw_array(w);
    for (uint32_t i = 0; p != NULL && i < p->run->step_count; i++) {
        const struct berth_step_run *s = &p->run->steps[i];
        berth_jw_object(w);
        put_text(w, "name", p->infos[i].name);
        put_text(w, "state", berth_step_state_name(s->state));
        berth_jw_pair_uint(w, "attempts", s->attempts);
        berth_jw_pair_uint(w, "maxRetries", p->infos[i].max_retries);
        berth_jw_pair_uint(w, "timeoutMs", p->infos[i].timeout_ns / BERTH_MS);
        put_time(w, "startedAt", s->started_wall_ns);
        put_time(w, "finishedAt", s->finished_wall_ns);
        berth_jw_pair_uint(w, "durationMs",
                           s->finished_wall_ns > s->started_wall_ns
                               ? (s->finished_wall_ns - s->started_wall_ns) / BERTH_MS
                               : s->spent_ns / BERTH_MS);
        put_text(w, "error", s->error);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

int
berth_deploy_pipeline(struct berth_deploy *d, const char *id, const char *track,
                      struct berth_arena *a, struct berth_buf *out, struct berth_err *e)
{
    const enum which which = track != NULL && strcmp(track, "canary") == 0 ? CANARY : STABLE;
    struct service *s = find(d, id, e);
    const size_t before = out->len;
    struct berth_jw w;

    if (s == NULL)
        return -BERTH_ENOENT;
    berth_jw_init(&w, out);
    berth_jw_object(&w);
    (void)pthread_mutex_lock(&s->mu);
    const struct progress *p = progress_of(s, which);
    const struct revision *wish = s->tracks[which].wish;
    put_text(&w, "serviceId", s->id);
    put_text(&w, "track", which == CANARY ? "canary" : "stable");
    berth_jw_pair_uint(&w, "revision", p != NULL ? p->revision : wish != NULL ? wish->number : 0);
    put_text(&w, "pipeline", wish != NULL ? wish->spec.pipeline : "");
    put_text(&w, "shimlet", s->shimlet);
    put_text(&w, "state", p != NULL ? run_states[p->run->state] : "pending");
    put_text(&w, "currentStep", current_step(d, s, which, a));
    put_step_names(d, &w, s, which);
    put_steps(&w, p);
    (void)pthread_mutex_unlock(&s->mu);
    berth_jw_object_end(&w);
    berth_service_unref(d, s);
    return no_room(out, before, e);
}

static void
put_revision(struct berth_jw *w, const struct berth_json *v, uint64_t current,
             struct berth_arena *a)
{
    struct berth_slice text = {"", 0};
    uint64_t number = 0, created = 0;

    (void)berth_json_uint(berth_json_get(v, "revision"), &number);
    (void)berth_json_uint(berth_json_get(v, "createdAt"), &created);
    berth_jw_object(w);
    berth_jw_pair_uint(w, "revision", number);
    put_time(w, "createdAt", created);
    (void)berth_json_string(berth_json_get(v, "operator"), &text);
    put_text(w, "operator", text.at);
    text = BERTH_SLICE("");
    (void)berth_json_string(berth_json_get(v, "hash"), &text);
    put_text(w, "hash", text.at);
    berth_jw_key(w, "current");
    berth_jw_bool(w, number == current);
    berth_jw_key(w, "spec");
    berth_mask_put(w, berth_json_get(v, "spec"), false);
    berth_jw_object_end(w);
}

int
berth_deploy_revisions(struct berth_deploy *d, const char *id, struct berth_arena *a,
                       struct berth_buf *out, struct berth_err *e)
{
    struct service *s = find(d, id, e);
    const size_t before = out->len;
    struct berth_record *list;
    struct berth_jw w;
    size_t n = 0;

    if (s == NULL)
        return -BERTH_ENOENT;
    (void)pthread_mutex_lock(&s->mu);
    const uint64_t current = s->tracks[STABLE].wish != NULL ? s->tracks[STABLE].wish->number : 0;
    (void)pthread_mutex_unlock(&s->mu);
    berth_service_unref(d, s);
    const char *prefix = berth_arena_printf(a, "revision/%s/", id);
    if (prefix == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", id);
    int r = berth_store_list(d->conf.store, a, prefix, &list, &n, e);
    if (r < 0)
        return r;
    berth_jw_init(&w, out);
    berth_jw_array(&w);
    for (size_t i = n; r == 0 && i > 0; i--) {
        const struct berth_json *v;
        r = berth_json_parse(a, list[i - 1].value.at, list[i - 1].value.len, NULL, &v, e);
        if (r == 0)
            put_revision(&w, v, current, a);
    }
    berth_jw_array_end(&w);
    if (r == 0)
        return no_room(out, before, e);
    out->len = before;
    return r;
}
