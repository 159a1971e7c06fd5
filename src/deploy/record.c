#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deploy/deploy_priv.h"
#include "wire/json.h"

/* A service as it is kept in the store, and its parts in memory. */

/* ---- revisions ---- */

enum { REVISION_BYTES_MAX = 4 * BERTH_SPEC_BYTES_MAX };

int
berth_revision_parse(struct berth_deploy *d, const char *json, size_t len, uint64_t number,
                     struct revision **ret, struct berth_err *e)
{
    struct revision *r = calloc(1, sizeof *r);
    bool lenient;
    int rc;

    if (r == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "a revision: out of memory");
    atomic_init(&r->refs, 1);
    r->number = number;
    berth_arena_init_small(&r->arena, REVISION_BYTES_MAX);
    rc = berth_spec_parse_text((struct berth_slice){json, len}, &d->defaults, &r->arena, &r->spec,
                               &lenient, NULL, e);
    if (rc < 0) {
        berth_revision_unref(r);
        return rc;
    }
    *ret = r;
    return 0;
}

struct revision *
berth_revision_ref(struct revision *r)
{
    if (r != NULL)
        atomic_fetch_add(&r->refs, 1);
    return r;
}

void
berth_revision_unref(struct revision *r)
{
    if (r == NULL || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    berth_arena_fini(&r->arena);
    free(r);
}

const char *
berth_revision_key(struct berth_arena *a, const char *id, uint64_t number)
{
    return berth_arena_printf(a, "revision/%s/%08" PRIu64, id, number);
}

int
berth_revision_load(struct berth_deploy *d, const char *id, uint64_t number, struct revision **ret,
                    struct berth_err *e)
{
    const struct berth_json *v;
    struct berth_record record;
    struct berth_arena a;
    struct berth_buf b;
    int r;

    berth_arena_init(&a, REVISION_BYTES_MAX);
    const char *key = berth_revision_key(&a, id, number);
    if (key == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", id);
    else if ((r = berth_store_get(d->conf.store, &a, key, &record, e)) == 0 &&
             (r = berth_json_parse(&a, record.value.at, record.value.len, NULL, &v, e)) == 0) {
        berth_buf_init(&b, &a);
        berth_json_put(&b, berth_json_get(v, "spec"));
        r = b.failed ? berth_err_set(e, BERTH_ENOMEM, "out of memory")
                     : berth_revision_parse(d, b.at, b.len, number, ret, e);
        if (r == 0) {
            const struct berth_json *good = berth_json_get(v, "good");
            (*ret)->good = true;
            (void)berth_json_bool(good, &(*ret)->good);
        }
    }
    berth_arena_fini(&a);
    return r == -BERTH_ENOENT
               ? berth_err_set(e, BERTH_ENOENT, "service %s has no revision %" PRIu64, id, number)
               : r;
}

int
berth_revision_mark(struct berth_deploy *d, const char *id, uint64_t number, struct berth_arena *a,
                    struct berth_store_op *op, struct berth_err *e)
{
    const char *key = berth_revision_key(a, id, number);
    const struct berth_json *v = NULL;
    struct berth_record record;
    struct berth_buf b;
    struct berth_jw w;
    bool good = false;
    int r = key == NULL ? -BERTH_ENOMEM : berth_store_get(d->conf.store, a, key, &record, e);

    if (r == 0)
        r = berth_json_parse(a, record.value.at, record.value.len, NULL, &v, e);
    if (r < 0)
        return r == -BERTH_ENOENT ? 1 : berth_err_wrap(e, r, "service %s", id);
    if (berth_json_bool(berth_json_get(v, "good"), &good) && good)
        return 1;
    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (berth_slice_is(it.key, "good"))
            continue;
        berth_jw_key_n(&w, it.key.at, it.key.len);
        berth_jw_value(&w, it.value);
    }
    berth_jw_key(&w, "good");
    berth_jw_bool(&w, true);
    berth_jw_object_end(&w);
    if (b.failed)
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", id);
    *op = (struct berth_store_op){.kind = BERTH_STORE_PUT, .key = key, .value = {b.at, b.len}};
    return 0;
}

/* ---- progress ---- */

static void
put_step(struct berth_jw *w, const struct step_info *info, const struct berth_step_run *s)
{
    berth_jw_object(w);
    berth_jw_key(w, "name");
    berth_jw_string(w, info->name);
    berth_jw_key(w, "maxRetries");
    berth_jw_uint(w, info->max_retries);
    berth_jw_key(w, "timeoutNs");
    berth_jw_uint(w, info->timeout_ns);
    berth_jw_key(w, "state");
    berth_jw_string(w, berth_step_state_name(s->state));
    berth_jw_key(w, "code");
    berth_jw_uint(w, s->code);
    berth_jw_key(w, "attempts");
    berth_jw_uint(w, s->attempts);
    berth_jw_key(w, "failures");
    berth_jw_uint(w, s->failures);
    berth_jw_key(w, "startedAt");
    berth_jw_uint(w, s->started_wall_ns);
    berth_jw_key(w, "finishedAt");
    berth_jw_uint(w, s->finished_wall_ns);
    berth_jw_key(w, "spentNs");
    berth_jw_uint(w, s->spent_ns);
    berth_jw_key(w, "error");
    berth_jw_string(w, s->error);
    berth_jw_object_end(w);
}

static void
put_progress(struct berth_jw *w, const struct progress *p)
{
    if (p == NULL) {
        berth_jw_null(w);
        return;
    }
    berth_jw_object(w);
    berth_jw_key(w, "revision");
    berth_jw_uint(w, p->revision);
    berth_jw_key(w, "startedAt");
    berth_jw_uint(w, p->started_wall_ns);
    berth_jw_key(w, "takenBack");
    berth_jw_bool(w, p->taken_back);
    berth_jw_key(w, "state");
    berth_jw_uint(w, p->run->state);
    berth_jw_key(w, "at");
    berth_jw_uint(w, p->run->at);
    berth_jw_key(w, "failed");
    berth_jw_uint(w, p->run->failed);
    berth_jw_key(w, "waitNs");
    berth_jw_uint(w, p->run->wait_left_ns);
    berth_jw_key(w, "steps");
    berth_jw_array(w);
    for (uint32_t i = 0; i < p->run->step_count; i++)
        put_step(w, &p->infos[i], &p->run->steps[i]);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
}

static void
read_step(const struct berth_json *v, struct step_info *info, struct berth_step_run *s)
{
    char state[16];

    berth_json_member_copy(v, "name", info->name, sizeof info->name);
    info->max_retries = (uint32_t)berth_json_member_uint(v, "maxRetries");
    info->timeout_ns = berth_json_member_uint(v, "timeoutNs");
    berth_json_member_copy(v, "state", state, sizeof state);
    if (!berth_step_state_parse(state, &s->state))
        s->state = BERTH_STEP_PENDING;
    s->code = (enum berth_code)berth_json_member_uint(v, "code");
    s->attempts = (uint32_t)berth_json_member_uint(v, "attempts");
    s->failures = (uint32_t)berth_json_member_uint(v, "failures");
    s->started_wall_ns = berth_json_member_uint(v, "startedAt");
    s->finished_wall_ns = berth_json_member_uint(v, "finishedAt");
    s->spent_ns = berth_json_member_uint(v, "spentNs");
    berth_json_member_copy(v, "error", s->error, sizeof s->error);
}

/* NULL: there is none, or it makes no sense: then all is looked at anew. */
static struct progress *
read_progress(const struct berth_json *v)
{
    const struct berth_json *steps = berth_json_get(v, "steps");
    const size_t n = berth_json_len(steps);
    const uint64_t state = berth_json_member_uint(v, "state"), at = berth_json_member_uint(v, "at"),
                   failed = berth_json_member_uint(v, "failed");

    if (n < 1 || n > BERTH_STEPS_MAX || state > BERTH_RUN_FAILED || at >= n || failed >= n)
        return NULL;
    struct progress *p = berth_progress_new((uint32_t)n);
    if (p == NULL)
        return NULL;
    p->revision = berth_json_member_uint(v, "revision");
    p->started_wall_ns = berth_json_member_uint(v, "startedAt");
    p->taken_back = berth_json_member_bool(v, "takenBack");
    p->run->state = (enum berth_run_state)state;
    p->run->at = (uint32_t)at;
    p->run->failed = (uint32_t)failed;
    p->run->wait_left_ns = berth_json_member_uint(v, "waitNs");
    for (struct berth_json_iter it = berth_json_iter(steps); berth_json_next(&it);)
        read_step(it.value, &p->infos[it.index], &p->run->steps[it.index]);
    berth_run_restored(p->run);
    return p;
}

/* ---- values ---- */

void
berth_values_clear(struct track *t)
{
    for (uint32_t i = 0; i < t->value_count; i++) {
        free(t->values[i].key);
        free(t->values[i].text);
    }
    free(t->values);
    t->values = NULL;
    t->value_count = 0;
}

const char *
berth_values_get(const struct track *t, const char *key)
{
    for (uint32_t i = 0; i < t->value_count; i++) {
        if (strcmp(t->values[i].key, key) == 0)
            return t->values[i].text;
    }
    return NULL;
}

static void
values_remove(struct track *t, const char *key)
{
    for (uint32_t i = 0; i < t->value_count; i++) {
        if (strcmp(t->values[i].key, key) != 0)
            continue;
        free(t->values[i].key);
        free(t->values[i].text);
        memmove(&t->values[i], &t->values[i + 1], (t->value_count - i - 1) * sizeof t->values[0]);
        t->value_count--;
        return;
    }
}

int
berth_values_set(struct track *t, const char *key, const char *text, struct berth_err *e)
{
    size_t bytes = strlen(key) + (text != NULL ? strlen(text) : 0);

    values_remove(t, key);
    if (text == NULL)
        return 0;
    for (uint32_t i = 0; i < t->value_count; i++)
        bytes += strlen(t->values[i].key) + strlen(t->values[i].text);
    if (t->value_count >= VALUES_MAX || bytes > VALUES_BYTES_MAX)
        return berth_err_set(e, BERTH_ETOOBIG,
                             "%.64s: a service has room for %d values of %d bytes", key, VALUES_MAX,
                             VALUES_BYTES_MAX);
    struct value *grown = realloc(t->values, (t->value_count + 1) * sizeof *grown);
    if (grown == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%.64s: out of memory", key);
    t->values = grown;
    struct value v = {strdup(key), strdup(text)};
    if (v.key == NULL || v.text == NULL) {
        free(v.key);
        free(v.text);
        return berth_err_set(e, BERTH_ENOMEM, "%.64s: out of memory", key);
    }
    t->values[t->value_count++] = v;
    return 0;
}

void
berth_values_begin(struct track *t)
{
    for (uint32_t i = t->value_count; i > 0; i--) {
        if (strcmp(t->values[i - 1].key, BERTH_VALUE_ALLOW) != 0)
            values_remove(t, t->values[i - 1].key);
    }
}

void
berth_values_settle(struct track *t, uint64_t revision)
{
    const char *allow = berth_values_get(t, BERTH_VALUE_ALLOW);

    if (allow != NULL && strtoull(allow, NULL, 10) != revision)
        values_remove(t, BERTH_VALUE_ALLOW);
}

/* ---- what was seen ---- */

static const char *
keep(struct berth_arena *a, const char *text)
{
    return text != NULL ? berth_arena_strdup(a, text) : NULL;
}

struct seen *
berth_seen_new(const struct berth_observed *as, uint64_t wall_ns)
{
    enum { SEEN_BYTES_MAX = 4 << 20 };
    struct seen *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    berth_arena_init_small(&s->arena, SEEN_BYTES_MAX);
    s->wall_ns = wall_ns;
    s->as = (struct berth_observed){.struct_size = sizeof s->as,
                                    .exists = as->exists,
                                    .drifted = as->drifted,
                                    .hash = keep(&s->arena, as->hash),
                                    .replicas_desired = as->replicas_desired,
                                    .endpoint = keep(&s->arena, as->endpoint),
                                    .message = keep(&s->arena, as->message)};
    struct berth_replica *to = BERTH_NEW_N(&s->arena, struct berth_replica, as->replica_count);
    if (to == NULL && as->replica_count > 0) {
        berth_seen_free(s);
        return NULL;
    }
    /* A plugin may know fewer members of a replica than we do: its array has its own pace. */
    const size_t pace = as->replica_count > 0 && as->replicas[0].struct_size > 0
                            ? as->replicas[0].struct_size
                            : offsetof(struct berth_replica, ca_path);
    for (size_t i = 0; i < as->replica_count; i++) {
        memcpy(&to[i], (const char *)as->replicas + i * pace,
               pace < sizeof to[i] ? pace : sizeof to[i]);
        to[i].struct_size = sizeof to[i];
        to[i].ca_path = keep(&s->arena, to[i].ca_path);
        to[i].key_path = keep(&s->arena, to[i].key_path);
        to[i].id = keep(&s->arena, to[i].id != NULL ? to[i].id : "");
        to[i].hash = keep(&s->arena, to[i].hash != NULL ? to[i].hash : "");
        to[i].endpoint = keep(&s->arena, to[i].endpoint);
        to[i].reason = keep(&s->arena, to[i].reason);
        to[i].node = keep(&s->arena, to[i].node);
        if (to[i].id == NULL || to[i].hash == NULL) {
            berth_seen_free(s);
            return NULL;
        }
    }
    if (BERTH_OBSERVED_HAS(as, model_names) && as->model_names != NULL) {
        const char **names = BERTH_NEW_N(&s->arena, const char *, as->replica_count + 1);
        if (names == NULL) {
            berth_seen_free(s);
            return NULL;
        }
        for (size_t i = 0; i < as->replica_count; i++)
            names[i] = keep(&s->arena, as->model_names[i]);
        s->as.model_names = names;
    }
    s->as.replicas = to;
    s->as.replica_count = as->replica_count;
    return s;
}

void
berth_seen_free(struct seen *s)
{
    if (s == NULL)
        return;
    berth_arena_fini(&s->arena);
    free(s);
}

/* ---- the whole ---- */

static void
put_track(struct berth_jw *w, const struct track *t)
{
    berth_jw_object(w);
    berth_jw_key(w, "revision");
    berth_jw_uint(w, t->wish != NULL ? t->wish->number : 0);
    berth_jw_key(w, "leaving");
    berth_jw_bool(w, t->leaving);
    berth_jw_key(w, "good");
    berth_jw_uint(w, t->good);
    berth_jw_key(w, "values");
    berth_jw_object(w);
    for (uint32_t i = 0; i < t->value_count; i++) {
        berth_jw_key(w, t->values[i].key);
        berth_jw_string(w, t->values[i].text);
    }
    berth_jw_object_end(w);
    berth_jw_key(w, "progress");
    put_progress(w, t->progress);
    berth_jw_object_end(w);
}

void
berth_record_put(const struct service *s, struct berth_buf *out)
{
    struct berth_jw jw, *w = &jw;

    berth_jw_init(w, out);
    berth_jw_object(w);
    berth_jw_key(w, "id");
    berth_jw_string(w, s->id);
    berth_jw_key(w, "shimlet");
    berth_jw_string(w, s->shimlet);
    berth_jw_key(w, "phase");
    berth_jw_string(w, berth_phase_name(s->phase));
    berth_jw_key(w, "lastRevision");
    berth_jw_uint(w, s->last_revision);
    berth_jw_key(w, "canaryPercent");
    berth_jw_uint(w, s->canary_percent);
    berth_jw_key(w, "deleting");
    berth_jw_bool(w, s->deleting);
    berth_jw_key(w, "retry");
    berth_jw_bool(w, s->retry);
    berth_jw_key(w, "promoting");
    berth_jw_bool(w, s->promoting);
    berth_jw_key(w, "reason");
    berth_jw_string(w, s->reason);
    berth_jw_key(w, "asker");
    berth_jw_string(w, s->asker);
    berth_jw_key(w, "askerKnown");
    berth_jw_bool(w, s->asker_known);
    berth_jw_key(w, "askerScopes");
    berth_jw_uint(w, s->asker_scopes);
    berth_jw_key(w, "createdAt");
    berth_jw_uint(w, s->created_wall_ns);
    berth_jw_key(w, "changedAt");
    berth_jw_uint(w, s->changed_wall_ns);
    berth_jw_key(w, "phaseAt");
    berth_jw_uint(w, s->phase_wall_ns);
    berth_jw_key(w, "failedRuns");
    berth_jw_uint(w, s->failed_runs);
    berth_jw_key(w, "retryAt");
    berth_jw_uint(w, s->retry_wall_ns);
    berth_jw_key(w, "tracks");
    berth_jw_array(w);
    for (int i = 0; i < TRACK_COUNT; i++)
        put_track(w, &s->tracks[i]);
    berth_jw_array_end(w);
    berth_jw_key(w, "removal");
    put_progress(w, s->removal);
    berth_jw_object_end(w);
}

static int
read_track(struct berth_deploy *d, const struct service *s, const struct berth_json *v,
           struct track *t, struct berth_err *e)
{
    const uint64_t revision = berth_json_member_uint(v, "revision");
    int r = 0;

    t->leaving = berth_json_member_bool(v, "leaving");
    t->good = berth_json_member_uint(v, "good");
    t->progress = read_progress(berth_json_get(v, "progress"));
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(v, "values"));
         r == 0 && berth_json_next(&it);) {
        struct berth_slice text;
        if (berth_json_string(it.value, &text))
            r = berth_values_set(t, it.key.at, text.at, e);
    }
    if (r == 0 && revision > 0)
        r = berth_revision_load(d, s->id, revision, &t->wish, e);
    return r;
}

int
berth_record_read(struct berth_deploy *d, const struct berth_record *record, struct service **ret,
                  struct berth_err *e)
{
    const char *id = record->key + strlen("service/");
    const struct berth_json *v;
    struct berth_arena a;
    char phase[32];
    int r;

    berth_arena_init(&a, 4 << 20);
    r = berth_json_parse(&a, record->value.at, record->value.len, NULL, &v, e);
    struct service *s = r == 0 ? berth_service_new(id) : NULL;
    if (r == 0 && s == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0) {
        berth_json_member_copy(v, "shimlet", s->shimlet, sizeof s->shimlet);
        berth_json_member_copy(v, "phase", phase, sizeof phase);
        const int p = berth_phase_parse(phase);
        s->phase = p >= 0 ? (enum berth_phase)p : BERTH_PHASE_INITIALIZING;
        s->last_revision = berth_json_member_uint(v, "lastRevision");
        s->canary_percent = (uint32_t)berth_json_member_uint(v, "canaryPercent");
        s->deleting = berth_json_member_bool(v, "deleting");
        s->retry = berth_json_member_bool(v, "retry");
        s->promoting = berth_json_member_bool(v, "promoting");
        berth_json_member_copy(v, "reason", s->reason, sizeof s->reason);
        berth_json_member_copy(v, "asker", s->asker, sizeof s->asker);
        s->asker_known = berth_json_member_bool(v, "askerKnown");
        s->asker_scopes = (uint32_t)berth_json_member_uint(v, "askerScopes");
        s->created_wall_ns = berth_json_member_uint(v, "createdAt");
        s->changed_wall_ns = berth_json_member_uint(v, "changedAt");
        s->phase_wall_ns = berth_json_member_uint(v, "phaseAt");
        s->failed_runs = (uint32_t)berth_json_member_uint(v, "failedRuns");
        s->retry_wall_ns = berth_json_member_uint(v, "retryAt");
        s->removal = read_progress(berth_json_get(v, "removal"));
        for (struct berth_json_iter it = berth_json_iter(berth_json_get(v, "tracks"));
             r == 0 && berth_json_next(&it) && it.index < TRACK_COUNT;)
            r = read_track(d, s, it.value, &s->tracks[it.index], e);
    }
    berth_arena_fini(&a);
    if (r < 0) {
        berth_service_free(s);
        return berth_err_wrap(e, r, "service %s", id);
    }
    *ret = s;
    return 0;
}
