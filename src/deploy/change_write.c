#include "deploy/change_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "wire/json.h"

/* A change of a service, from finding it to the store: what every one of them has in common. */

void
berth_change_init(struct change *c, struct berth_deploy *d, const struct berth_actor *who)
{
    *c = (struct change){.d = d, .who = who};
    berth_arena_init(&c->a, 16 << 20);
    c->pending.a = &c->a;
}

/* Find the service and hold its mu; berth_change_end() lets go. */
int
berth_change_begin(struct change *c, struct berth_deploy *d, const char *id,
                   const struct berth_actor *who, struct berth_err *e)
{
    berth_change_init(c, d, who);
    c->s = berth_deploy_service(d, id);
    if (c->s == NULL)
        return berth_err_set(e, BERTH_ENOENT, "there is no service %s", id);
    (void)pthread_mutex_lock(&c->s->mu);
    return 0;
}

/* Refuse when the service is going. */
int
berth_change_begin_alive(struct change *c, struct berth_deploy *d, const char *id,
                         const struct berth_actor *who, struct berth_err *e)
{
    const int r = berth_change_begin(c, d, id, who, e);

    if (r == 0 && c->s->deleting)
        return berth_err_set(e, BERTH_EEXIST, "service %s is being deleted", id);
    return r;
}

int
berth_change_end(struct change *c, int r)
{
    if (c->s != NULL) {
        char id[BERTH_SERVICE_ID_MAX];
        (void)snprintf(id, sizeof id, "%s", c->s->id);
        (void)pthread_mutex_unlock(&c->s->mu);
        if (r == 0 && c->rewished) /* who is not allowed any more is out before the answer */
            berth_deploy_told_routes(c->d, c->s);
        if (r == 0)
            berth_deploy_poke(c->d, id, 0);
        berth_service_unref(c->d, c->s);
    }
    berth_arena_fini(&c->a);
    return r;
}

/* The audit: who did what.  Writes members up to "parameters", whose value the caller adds. */
void
berth_change_audit(struct change *c, struct berth_buf *b, struct berth_jw *w, const char *type,
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

void
berth_change_audit_number(struct change *c, const char *type, const char *action, const char *key,
                          uint64_t n)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_change_audit(c, &b, &w, type, action);
    berth_jw_object(&w);
    berth_jw_key(&w, key);
    berth_jw_uint(&w, n);
    berth_jw_object_end(&w);
    berth_pending_end(&c->pending, &b, &w);
}

/* What differs from `from`; NULL: the revision alone. */
void
berth_change_audit_spec(struct change *c, const char *type, const char *action,
                        const struct berth_spec *from, const struct revision *to)
{
    struct berth_buf b, diff;
    struct berth_jw w;

    berth_change_audit(c, &b, &w, type, action);
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

void
berth_change_asker(struct change *c)
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
int
berth_change_revision(struct change *c, const struct berth_spec *spec, struct revision **ret,
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

struct before
berth_change_before(const struct service *s)
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
    memcpy(b.reason, s->reason, sizeof b.reason);
    return b;
}

void
berth_change_put_back(struct service *s, const struct before *b)
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
    memcpy(s->reason, b->reason, sizeof s->reason);
    memcpy(s->asker, b->asker, sizeof s->asker);
    s->asker_known = b->asker_known;
    s->asker_scopes = b->asker_scopes;
}

/* Write what was changed; when that fails all is as it was. */
int
berth_change_write(struct change *c, const struct before *b, struct berth_err *e)
{
    struct service *s = c->s;
    const int r = berth_deploy_commit(c->d, s, &c->pending, c->ops, c->op_count, e);

    if (r < 0) {
        if (s->phase != b->phase)
            berth_deploy_count_move(c->d, s->phase, b->phase);
        berth_change_put_back(s, b);
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
