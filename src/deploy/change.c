#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/* What people ask for: each change is in the store before it is answered. */

struct change {
    struct berth_deploy *d;
    struct service *s;
    const struct berth_actor *who;
    struct berth_arena a;
    struct pending pending;
    struct berth_store_op ops[16];
    size_t op_count;
};

static void
change_init(struct change *c, struct berth_deploy *d, const struct berth_actor *who)
{
    *c = (struct change){.d = d, .who = who};
    berth_arena_init(&c->a, 16 << 20);
    c->pending.a = &c->a;
}

/* Find the service and hold its mu; change_end() lets go. */
static int
change_begin(struct change *c, struct berth_deploy *d, const char *id,
             const struct berth_actor *who, struct berth_err *e)
{
    change_init(c, d, who);
    c->s = berth_deploy_service(d, id);
    if (c->s == NULL)
        return berth_err_set(e, BERTH_ENOENT, "there is no service %s", id);
    (void)pthread_mutex_lock(&c->s->mu);
    return 0;
}

/* Refuse when the service is going. */
static int
change_begin_alive(struct change *c, struct berth_deploy *d, const char *id,
                   const struct berth_actor *who, struct berth_err *e)
{
    const int r = change_begin(c, d, id, who, e);

    if (r == 0 && c->s->deleting)
        return berth_err_set(e, BERTH_ENOTREADY, "service %s is being deleted", id);
    return r;
}

static int
change_end(struct change *c, int r)
{
    if (c->s != NULL) {
        char id[BERTH_SERVICE_ID_MAX];
        (void)snprintf(id, sizeof id, "%s", c->s->id);
        (void)pthread_mutex_unlock(&c->s->mu);
        if (r == 0)
            berth_deploy_poke(c->d, id, 0);
        berth_service_unref(c->d, c->s);
    }
    berth_arena_fini(&c->a);
    return r;
}

/* The audit: who did what.  Writes members up to "parameters", whose value the caller adds. */
static void
audit_begin(struct change *c, struct berth_buf *b, struct berth_jw *w, const char *type,
            const char *action)
{
    berth_pending_begin(&c->pending, b, w, type, c->s);
    berth_jw_key(w, "action");
    berth_jw_string(w, action);
    berth_jw_key(w, "operator");
    berth_jw_string(w, c->who->name != NULL ? c->who->name : "");
    berth_jw_key(w, "peer");
    berth_jw_string(w, c->who->peer != NULL ? c->who->peer : "");
    if (c->who->request_id != NULL) {
        berth_jw_key(w, "requestId");
        berth_jw_string(w, c->who->request_id);
    }
    berth_jw_key(w, "durationMs");
    berth_jw_uint(w, 0); /* it is taken down here; what follows has times of its own */
    berth_jw_key(w, "parameters");
}

static void
audit_number(struct change *c, const char *type, const char *action, const char *key, uint64_t n)
{
    struct berth_buf b;
    struct berth_jw w;

    audit_begin(c, &b, &w, type, action);
    berth_jw_object(&w);
    berth_jw_key(&w, key);
    berth_jw_uint(&w, n);
    berth_jw_object_end(&w);
    berth_pending_end(&c->pending, &b, &w);
}

/* What differs from `from`; NULL: the revision alone. */
static void
audit_spec(struct change *c, const char *type, const char *action, const struct berth_spec *from,
           const struct revision *to)
{
    struct berth_buf b, diff;
    struct berth_jw w;

    audit_begin(c, &b, &w, type, action);
    berth_jw_object(&w);
    berth_jw_key(&w, "revision");
    berth_jw_uint(&w, to->number);
    berth_jw_key(&w, "modelName");
    berth_jw_string(&w, to->spec.model_name);
    berth_jw_key(&w, "replicaCount");
    berth_jw_uint(&w, to->spec.replicas);
    berth_jw_key(&w, "hash");
    berth_jw_string(&w, to->spec.hash);
    if (from != NULL) {
        enum { DIFF_SHOWN_MAX = 4096 };
        berth_buf_init(&diff, &c->a);
        berth_spec_diff(from, &to->spec, &c->a, &diff);
        if (!diff.failed && diff.len <= DIFF_SHOWN_MAX) {
            berth_jw_key(&w, "changes");
            berth_jw_raw(&w, diff.at, diff.len);
        }
    }
    berth_jw_object_end(&w);
    berth_pending_end(&c->pending, &b, &w);
}

static void
set_asker(struct change *c)
{
    (void)snprintf(c->s->asker, sizeof c->s->asker, "%s", c->who->name != NULL ? c->who->name : "");
    c->s->asker_known = c->who->known;
    c->s->asker_scopes = c->who->scopes;
    c->s->changed_wall_ns = berth_deploy_wall(c->d);
}

/* ---- revisions ---- */

static bool
is_held(const struct service *s, uint64_t number)
{
    for (int i = 0; i < TRACK_COUNT; i++) {
        if ((s->tracks[i].wish != NULL && s->tracks[i].wish->number == number) ||
            s->tracks[i].good == number)
            return true;
    }
    return false;
}

/* Those that are too old go with the change, unless a track has them; then with a later one. */
static void
prune(struct change *c, uint64_t number)
{
    const uint64_t max = c->d->conf.revisions_max;
    struct berth_record *list;
    struct berth_arena a;
    struct berth_err e;
    size_t n = 0;

    if (number <= max)
        return;
    berth_arena_init(&a, 256 << 20);
    const char *prefix = berth_arena_printf(&a, "revision/%s/", c->s->id);
    if (prefix == NULL || berth_store_list(c->d->conf.store, &a, prefix, &list, &n, &e) < 0)
        n = 0; /* with the next change */
    for (size_t i = 0; i < n && c->op_count < BERTH_COUNT(c->ops); i++) {
        const uint64_t old = strtoull(list[i].key + strlen(prefix), NULL, 10);
        const char *key = old <= number - max && !is_held(c->s, old)
                              ? berth_revision_key(&c->a, c->s->id, old)
                              : NULL;
        if (key != NULL)
            c->ops[c->op_count++] = (struct berth_store_op){.kind = BERTH_STORE_DELETE, .key = key};
    }
    berth_arena_fini(&a);
}

/* A new revision of the service, to be written with the change. */
static int
add_revision(struct change *c, const struct berth_spec *spec, struct revision **ret,
             struct berth_err *e)
{
    const uint64_t number = c->s->last_revision + 1;
    struct berth_buf b;
    struct berth_jw w;
    int r = berth_revision_parse(c->d, spec->json, spec->json_len, number, ret, e);

    if (r < 0)
        return r;
    berth_buf_init(&b, &c->a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "revision");
    berth_jw_uint(&w, number);
    berth_jw_key(&w, "createdAt");
    berth_jw_uint(&w, berth_deploy_wall(c->d));
    berth_jw_key(&w, "operator");
    berth_jw_string(&w, c->who->name != NULL ? c->who->name : "");
    berth_jw_key(&w, "hash");
    berth_jw_string(&w, (*ret)->spec.hash);
    berth_jw_key(&w, "good"); /* it has not run yet as the stable one */
    berth_jw_bool(&w, false);
    berth_jw_key(&w, "spec");
    berth_jw_raw(&w, spec->json, spec->json_len);
    berth_jw_object_end(&w);
    const char *key = berth_revision_key(&c->a, c->s->id, number);
    if (b.failed || key == NULL) {
        berth_revision_unref(BERTH_TAKE(*ret));
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", c->s->id);
    }
    c->ops[c->op_count++] = (struct berth_store_op){
        .kind = BERTH_STORE_PUT, .key = key, .value = {b.at, b.len}, .expected = BERTH_STORE_NEW};
    prune(c, number);
    return 0;
}

/* What a change may touch, to be put back when it cannot be written. */
struct before {
    struct revision *wish[TRACK_COUNT];
    bool leaving, promoting, deleting, retry;
    uint32_t canary_percent;
    uint64_t last_revision, retry_wall_ns, changed_wall_ns, phase_wall_ns;
    enum berth_phase phase;
    char asker[OPERATOR_MAX];
    bool asker_known;
    uint32_t asker_scopes;
};

static struct before
remember(const struct service *s)
{
    struct before b = {.wish = {s->tracks[STABLE].wish, s->tracks[CANARY].wish},
                       .leaving = s->tracks[CANARY].leaving,
                       .promoting = s->promoting,
                       .deleting = s->deleting,
                       .retry = s->retry,
                       .canary_percent = s->canary_percent,
                       .last_revision = s->last_revision,
                       .retry_wall_ns = s->retry_wall_ns,
                       .changed_wall_ns = s->changed_wall_ns,
                       .phase_wall_ns = s->phase_wall_ns,
                       .phase = s->phase,
                       .asker_known = s->asker_known,
                       .asker_scopes = s->asker_scopes};
    memcpy(b.asker, s->asker, sizeof b.asker);
    return b;
}

static void
put_back(struct service *s, const struct before *b)
{
    for (int i = 0; i < TRACK_COUNT; i++) {
        if (b->wish[i] != s->tracks[i].wish)
            berth_revision_unref(s->tracks[i].wish);
        s->tracks[i].wish = b->wish[i];
    }
    s->tracks[CANARY].leaving = b->leaving;
    s->promoting = b->promoting;
    s->deleting = b->deleting;
    s->retry = b->retry;
    s->canary_percent = b->canary_percent;
    s->last_revision = b->last_revision;
    s->retry_wall_ns = b->retry_wall_ns;
    s->changed_wall_ns = b->changed_wall_ns;
    s->phase = b->phase;
    s->phase_wall_ns = b->phase_wall_ns;
    memcpy(s->asker, b->asker, sizeof s->asker);
    s->asker_known = b->asker_known;
    s->asker_scopes = b->asker_scopes;
}

/* Write what was changed; when that fails all is as it was. */
static int
write_change(struct change *c, const struct before *b, struct berth_err *e)
{
    struct service *s = c->s;
    const int r = berth_deploy_commit(c->d, s, &c->pending, c->ops, c->op_count, e);

    if (r < 0) {
        if (s->phase != b->phase)
            berth_deploy_count_move(c->d, s->phase, b->phase);
        put_back(s, b);
        return r;
    }
    for (int i = 0; i < TRACK_COUNT; i++) {
        if (b->wish[i] != s->tracks[i].wish)
            berth_revision_unref(b->wish[i]);
    }
    berth_deploy_named(c->d, s);
    atomic_fetch_add(&s->generation, 1); /* what is under way for the old wish is cut short */
    return 0;
}

/* ---- create ---- */

static int
new_id(struct berth_deploy *d, const struct berth_spec *spec, struct berth_arena *a,
       char id[BERTH_SERVICE_ID_MAX], struct berth_err *e)
{
    const uint64_t x = berth_deploy_random(d), y = berth_deploy_random(d);
    char uuid[BERTH_UUID_TEXT];

    (void)snprintf(uuid, sizeof uuid, "%08x-%04x-4%03x-%04x-%012" PRIx64, (unsigned)(x >> 32),
                   (unsigned)(x >> 16 & 0xffff), (unsigned)(x & 0xfff),
                   (unsigned)(0x8000 | (y >> 48 & 0x3fff)), y & UINT64_C(0xffffffffffff));
    const char *name = berth_name_service(spec->model_name, uuid, a);
    if (name == NULL || strlen(name) >= BERTH_SERVICE_ID_MAX)
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", spec->model_name);
    (void)snprintf(id, BERTH_SERVICE_ID_MAX, "%s", name);
    return 0;
}

static int
create(struct change *c, const struct berth_spec *spec, struct berth_err *e)
{
    struct service *s = c->s;
    int r;

    (void)snprintf(s->shimlet, sizeof s->shimlet, "%s", spec->shimlet);
    s->phase = BERTH_PHASE_INITIALIZING;
    s->created_wall_ns = s->phase_wall_ns = berth_deploy_wall(c->d);
    s->canary_percent = spec->canary_percent;
    set_asker(c);
    const struct before before = remember(s);
    if ((r = add_revision(c, spec, &s->tracks[STABLE].wish, e)) < 0)
        return r;
    s->last_revision = s->tracks[STABLE].wish->number;
    audit_spec(c, "service.created", "deploy", NULL, s->tracks[STABLE].wish);
    berth_service_came(c->d, s, &c->pending);
    if ((r = write_change(c, &before, e)) == 0)
        berth_deploy_count_move(c->d, BERTH_PHASE_COUNT, s->phase);
    return r;
}

int
berth_deploy_create(struct berth_deploy *d, const struct berth_spec *spec,
                    const struct berth_actor *who, char id[BERTH_SERVICE_ID_MAX],
                    struct berth_err *e)
{
    char made[BERTH_SERVICE_ID_MAX] = "";
    struct change c;
    int r = berth_deploy_check_names(d, spec->shimlet, spec->pipeline, e);

    if (r < 0)
        return r;
    change_init(&c, d, who);
    r = new_id(d, spec, &c.a, made, e);
    if (r == 0 && (c.s = berth_service_new(made)) == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", made);
    if (r == 0) {
        (void)pthread_mutex_lock(&c.s->mu);
        if ((r = berth_deploy_add_service(d, c.s, e)) == 0 && (r = create(&c, spec, e)) < 0) {
            c.s->deleting = true; /* for those who found it meanwhile */
            berth_deploy_drop_service(d, c.s);
        }
    }
    if ((r = change_end(&c, r)) == 0)
        (void)snprintf(id, BERTH_SERVICE_ID_MAX, "%s", made);
    return r;
}

/* ---- update, and what is one ---- */

/* A failed service is tried at once when something else is wished for. */
static void
try_at_once(struct service *s)
{
    s->failed_runs = 0;
    if (s->phase == BERTH_PHASE_FAILED)
        s->retry = true;
}

/* The stable track is to become the spec; a canary goes. */
static int
wish_stable(struct change *c, const struct before *before, const struct berth_spec *spec,
            const char *action, uint64_t *ret_revision, struct berth_err *e)
{
    struct service *s = c->s;
    struct revision *new = NULL;
    int r = add_revision(c, spec, &new, e);

    if (r < 0) {
        put_back(s, before);
        return r;
    }
    set_asker(c);
    audit_spec(c, "service.updated", action, &s->tracks[STABLE].wish->spec, new);
    s->tracks[STABLE].wish = new;
    s->last_revision = new->number;
    try_at_once(s);
    const uint64_t number = new->number;
    if ((r = write_change(c, before, e)) == 0)
        *ret_revision = number;
    return r;
}

static int
wish_canary(struct change *c, const struct berth_spec *spec, uint64_t *ret_revision,
            struct berth_err *e)
{
    struct service *s = c->s;
    struct track *t = &s->tracks[CANARY];
    struct revision *new = NULL;
    const struct before before = remember(s);
    int r = add_revision(c, spec, &new, e);

    if (r < 0)
        return r;
    set_asker(c);
    audit_spec(c, "service.updated", "canary", &s->tracks[STABLE].wish->spec, new);
    t->wish = new;
    t->leaving = false;
    s->promoting = false;
    s->canary_percent = spec->canary_percent;
    s->last_revision = new->number;
    const uint64_t number = new->number;
    if ((r = write_change(c, &before, e)) == 0)
        *ret_revision = number;
    return r;
}

int
berth_service_takes(const struct service *s, const struct berth_spec *spec, struct berth_err *e)
{
    if (s->deleting || s->tracks[STABLE].wish == NULL)
        return berth_err_set(e, BERTH_ENOTREADY, "service %s is being deleted", s->id);
    if (strcmp(spec->shimlet, s->shimlet) != 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "service %s runs on %s and cannot move to %s: deploy it there, then "
                             "delete this one",
                             s->id, s->shimlet, spec->shimlet);
    return 0;
}

static int
update(struct change *c, const struct berth_spec *spec, uint64_t expected, uint64_t *ret_revision,
       struct berth_err *e)
{
    struct service *s = c->s;
    const struct berth_spec *now = &s->tracks[STABLE].wish->spec;
    const struct track *canary = &s->tracks[CANARY];

    if (expected > 0 && expected != s->last_revision)
        return berth_err_set(e, BERTH_EEXIST,
                             "service %s is at revision %" PRIu64 " by now, not %" PRIu64
                             ": look at it and send the update again",
                             s->id, s->last_revision, expected);
    const int r = berth_service_takes(s, spec, e);
    if (r < 0)
        return r;
    const bool wants_canary =
        spec->strategy == BERTH_STRATEGY_CANARY && strcmp(spec->hash, now->hash) != 0;
    const struct berth_spec *same = wants_canary ? NULL : now;
    if (wants_canary && canary->wish != NULL && !canary->leaving)
        same = &canary->wish->spec;
    if (same != NULL && same->json_len == spec->json_len &&
        memcmp(same->json, spec->json, spec->json_len) == 0 &&
        (wants_canary || canary->wish == NULL || canary->leaving)) {
        *ret_revision = wants_canary ? canary->wish->number : s->tracks[STABLE].wish->number;
        return 0;
    }
    if (wants_canary && s->tracks[STABLE].good > 0)
        return wish_canary(c, spec, ret_revision, e);
    const struct before before = remember(s);
    s->tracks[CANARY].leaving = canary->wish != NULL;
    s->promoting = false;
    return wish_stable(c, &before, spec, "update", ret_revision, e);
}

int
berth_deploy_update(struct berth_deploy *d, const char *id, const struct berth_spec *spec,
                    uint64_t expected, const struct berth_actor *who, uint64_t *ret_revision,
                    struct berth_err *e)
{
    struct change c;
    int r = berth_deploy_check_names(d, NULL, spec->pipeline, e);

    if (r < 0)
        return r;
    if ((r = change_begin_alive(&c, d, id, who, e)) == 0)
        r = update(&c, spec, expected, ret_revision, e);
    return change_end(&c, r);
}

int
berth_deploy_scale(struct berth_deploy *d, const char *id, uint32_t replicas,
                   const struct berth_actor *who, uint64_t *ret_revision, struct berth_err *e)
{
    struct berth_spec scaled;
    struct change c;
    int r;

    if ((r = change_begin_alive(&c, d, id, who, e)) == 0) {
        const struct before before = remember(c.s);
        const struct revision *now = c.s->tracks[STABLE].wish;
        if (now->spec.replicas == replicas)
            *ret_revision = now->number;
        else if ((r = berth_spec_scaled(&now->spec, replicas, &c.a, &scaled, e)) == 0)
            r = wish_stable(&c, &before, &scaled, "scale", ret_revision, e);
    }
    return change_end(&c, r);
}

/* The number of the revision before the present one that ran as the stable one; 0: none is kept. */
static uint64_t
one_before(struct change *c, struct berth_err *e)
{
    const uint64_t now = c->s->tracks[STABLE].wish->number;
    struct revision *r;

    for (uint64_t n = now - 1; n > 0 && now - n <= c->d->conf.revisions_max; n--) {
        if (berth_revision_load(c->d, c->s->id, n, &r, e) < 0)
            continue;
        const bool fits =
            r->good && strcmp(r->spec.json, c->s->tracks[STABLE].wish->spec.json) != 0;
        berth_revision_unref(r);
        if (fits)
            return n;
    }
    return 0;
}

static int
rollback(struct change *c, uint64_t revision, uint64_t *ret_revision, struct berth_err *e)
{
    struct service *s = c->s;
    struct track *canary = &s->tracks[CANARY];
    const struct before before = remember(s);
    struct revision *old = NULL;
    int r;

    /* While it is promoted the stable track has its spec: then that goes back, too. */
    if (revision == 0 && canary->wish != NULL && !canary->leaving && !s->promoting) {
        canary->leaving = true;
        return wish_stable(c, &before, &s->tracks[STABLE].wish->spec, "rollback", ret_revision, e);
    }
    if (revision == 0 && (revision = one_before(c, e)) == 0)
        return berth_err_set(e, BERTH_ENOENT,
                             "service %s: no revision before this one ran; name the one that "
                             "is meant",
                             s->id);
    if ((r = berth_revision_load(c->d, s->id, revision, &old, e)) < 0)
        return r;
    canary->leaving = canary->wish != NULL;
    s->promoting = false;
    r = wish_stable(c, &before, &old->spec, "rollback", ret_revision, e);
    berth_revision_unref(old);
    return r;
}

int
berth_deploy_rollback(struct berth_deploy *d, const char *id, uint64_t revision,
                      const struct berth_actor *who, uint64_t *ret_revision, struct berth_err *e)
{
    struct change c;
    int r;

    if ((r = change_begin_alive(&c, d, id, who, e)) == 0)
        r = rollback(&c, revision, ret_revision, e);
    return change_end(&c, r);
}

int
berth_deploy_take_back(struct berth_deploy *d, const char *id, struct berth_err *e)
{
    /* What comes back was asked for by somebody who might. */
    static const struct berth_actor engine = {
        .name = "berth", .peer = "", .known = true, .scopes = BERTH_CALLER_MANAGE};
    struct revision *good = NULL;
    uint64_t ignored;
    struct change c;
    int r = change_begin(&c, d, id, &engine, e);

    if (r == 0) {
        const struct track *t = &c.s->tracks[STABLE];
        const uint64_t number = t->good;
        /* Only of what is wished for now: a newer wish has been acknowledged. */
        const bool is = !c.s->deleting && t->progress != NULL && t->progress->taken_back &&
                        t->progress->revision == t->wish->number && number > 0 &&
                        number != t->wish->number;
        r = is ? berth_revision_load(d, c.s->id, number, &good, e) : 1;
        if (r == 0 && strcmp(good->spec.hash, t->wish->spec.hash) == 0)
            r = 1; /* it is the good one that does not come about */
        if (r == 0)
            r = rollback(&c, number, &ignored, e);
        berth_revision_unref(good);
    }
    return change_end(&c, r);
}

static int
no_canary(const struct service *s, struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL,
                         "service %s has no canary: update it with strategy canary first", s->id);
}

int
berth_deploy_promote(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                     uint64_t *ret_revision, struct berth_err *e)
{
    struct change c;
    int r;

    if ((r = change_begin_alive(&c, d, id, who, e)) == 0) {
        struct track *canary = &c.s->tracks[CANARY];
        if (canary->wish == NULL || canary->leaving)
            r = no_canary(c.s, e);
        else {
            const struct before before = remember(c.s);
            c.s->promoting = true;
            c.s->canary_percent = 100;
            r = wish_stable(&c, &before, &canary->wish->spec, "promote", ret_revision, e);
        }
    }
    return change_end(&c, r);
}

int
berth_deploy_weight(struct berth_deploy *d, const char *id, uint32_t percent,
                    const struct berth_actor *who, struct berth_err *e)
{
    struct change c;
    int r;

    if (percent > 100)
        return berth_err_set(e, BERTH_EINVAL, "weight: %u is more than 100 percent", percent);
    if ((r = change_begin_alive(&c, d, id, who, e)) == 0) {
        const struct before before = remember(c.s);
        if (c.s->tracks[CANARY].wish == NULL || c.s->tracks[CANARY].leaving)
            r = no_canary(c.s, e);
        else {
            c.s->canary_percent = percent;
            set_asker(&c);
            audit_number(&c, "service.updated", "weight", "weight", percent);
            r = write_change(&c, &before, e);
        }
    }
    return change_end(&c, r);
}

/* ---- the rest ---- */

int
berth_deploy_delete(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                    struct berth_err *e)
{
    struct change c;
    struct berth_buf b;
    struct berth_jw w;
    int r = change_begin(&c, d, id, who, e);

    if (r == -BERTH_ENOENT)
        return change_end(&c, 0);
    if (r == 0 && !c.s->deleting) {
        const struct before before = remember(c.s);
        c.s->deleting = true;
        c.s->tracks[CANARY].leaving = c.s->tracks[CANARY].wish != NULL;
        set_asker(&c);
        audit_begin(&c, &b, &w, "service.deleted", "delete");
        berth_jw_object(&w);
        berth_jw_object_end(&w);
        berth_pending_end(&c.pending, &b, &w);
        (void)berth_service_move(d, c.s, BERTH_PHASE_TERMINATING, "", &c.pending);
        r = write_change(&c, &before, e);
    }
    return change_end(&c, r);
}

int
berth_deploy_retry(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                   struct berth_err *e)
{
    struct change c;
    int r = change_begin_alive(&c, d, id, who, e);

    if (r == 0) {
        const struct before before = remember(c.s);
        set_asker(&c);
        try_at_once(c.s);
        audit_number(&c, "service.updated", "retry", "revision", c.s->last_revision);
        r = write_change(&c, &before, e);
    }
    return change_end(&c, r);
}
