#include <stdio.h>
#include <string.h>

#include "shimlets/ollama/ollama_priv.h"
#include "shimlets/rollout.h"

/* A round of steps towards a unit, and its end. */

struct round {
    struct berth_shimlet *s;
    const struct berth_op *op;
    const struct berth_unit *u;
    struct berth_arena *a;
    struct berth_ollama_plan plan;
    struct berth_ollama_record *r;
};

static bool
same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static void
forget(struct berth_ollama_record *r, const char *name)
{
    for (size_t i = 0; i < r->made_count; i++)
        if (strcmp(r->made[i].name, name) == 0) {
            r->made[i] = r->made[--r->made_count];
            return;
        }
}

/* What is on the server is in the record, and nothing else. */
static void
join(struct berth_ollama_record *r, struct berth_ollama_seen *seen, size_t count)
{
    struct berth_ollama_made made[BERTH_OLLAMA_MADE_MAX];

    for (size_t i = 0; i < count; i++) {
        made[i] =
            seen[i].made != NULL ? *seen[i].made : (struct berth_ollama_made){.name = seen[i].name};
        if (r->number < seen[i].tag.number)
            r->number = seen[i].tag.number;
    }
    memcpy(r->made, made, count * sizeof *made);
    r->made_count = count;
    for (size_t i = 0; i < count; i++)
        seen[i].made = &r->made[i];
}

/* ---- one model ---- */

/* Load it and keep in the record how that went.  Only what is not the model's own fault fails. */
static int
load(struct round *k, const char *name, struct berth_err *e)
{
    struct berth_ollama_made *m = NULL;

    for (size_t i = 0; i < k->r->made_count; i++)
        if (strcmp(k->r->made[i].name, name) == 0)
            m = &k->r->made[i];
    if (m == NULL) /* it went in this round */
        return 0;
    const bool before = m->loaded && !m->cold;
    const int r = berth_ollama_load(k->s, k->op, k->r->host, name, k->u->start_timeout_ns, e);
    if (r == 0 || r == -BERTH_EBACKEND) {
        m->loaded = r == 0;
        m->reason = r == 0 ? NULL : berth_arena_strdup(k->a, e->msg);
    }
    if (r != -BERTH_ENETWORK) /* loading may take longer than this operation may: asked once */
        m->cold = false;
    const int kept = before && r == 0 ? 0 : berth_ollama_record_put(k->s, k->r, e);
    return kept < 0 ? kept : r == -BERTH_EBACKEND ? 0 : r;
}

static int
begin(struct round *k, struct berth_err *e)
{
    struct berth_ollama_tag tag = {.revision = k->u->revision, .number = k->r->number + 1};
    char name[BERTH_OLLAMA_NAME];

    (void)snprintf(tag.hash, sizeof tag.hash, "%s", k->u->hash);
    if (strlen(k->u->hash) >= sizeof tag.hash ||
        !berth_ollama_name(k->s->owner, k->u->name, &tag, name))
        return berth_err_set(e, BERTH_EINVAL, "ollama: %s: no name can be made of it", k->u->name);
    if (k->r->made_count == BERTH_OLLAMA_MADE_MAX)
        return berth_err_set(e, BERTH_ELIMIT, "ollama: %s has %zu models", k->u->name,
                             k->r->made_count);
    k->r->number++;
    int r = berth_ollama_record_put(k->s, k->r, e); /* a number is used once */
    if (r == 0)
        r = berth_ollama_make(k->s, k->op, k->r, &k->plan, name, k->a, e);
    if (r < 0)
        return r == -BERTH_EBACKEND || r == -BERTH_ENOENT ? -BERTH_EIO : r; /* tried again */
    const char *kept = berth_arena_strdup(k->a, name);
    if (kept == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
    k->r->made[k->r->made_count++] = (struct berth_ollama_made){.name = kept};
    return load(k, kept, e);
}

static int
end(struct berth_shimlet *s, const struct berth_op *op, struct berth_ollama_record *r,
    const char *name, struct berth_err *e)
{
    (void)s->h->drain(op, name, r->drain_ns); /* it goes whatever comes back */
    if (s->h->cancelled(op))
        return berth_err_set(e, BERTH_ECANCELED, "ollama: cut short");
    const int rc = berth_ollama_drop(s, op, r->host, name, e);
    if (rc == 0)
        forget(r, name);
    return rc;
}

/* ---- all of a unit ---- */

/* Everything that was made for the unit goes from the record's host. */
static int
clear(struct berth_shimlet *s, const struct berth_op *op, struct berth_ollama_record *r,
      struct berth_arena *a, struct berth_err *e)
{
    struct berth_ollama_seen *seen = NULL;
    size_t count = 0;
    int rc = berth_ollama_look(s, op, r, a, &seen, &count, e);

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = end(s, op, r, seen[i].name, e);
    if (rc == 0 && r->pulled != NULL)
        rc = berth_ollama_drop(s, op, r->host, r->pulled, e);
    if (rc < 0)
        return rc;
    r->pulled = NULL;
    r->made_count = 0;
    return 0;
}

static int
take_steps(struct round *k, struct berth_ollama_seen *seen, size_t count, bool *ret_ended,
           struct berth_err *e)
{
    const struct berth_rollout_want want = {
        .replicas = k->u->replicas,
        .surge_max = k->u->surge_max,
        .unavailable_max = k->u->unavailable_max,
        .hash = k->u->hash,
    };
    struct berth_rollout_seen as[BERTH_OLLAMA_MADE_MAX];
    struct berth_rollout_step steps[BERTH_OLLAMA_MADE_MAX];
    int r = 0;

    for (size_t i = 0; i < count; i++)
        as[i] = (struct berth_rollout_seen){.index = (uint32_t)seen[i].tag.number,
                                            .hash = seen[i].tag.hash,
                                            .state = seen[i].made->loaded ? BERTH_REPLICA_READY
                                                     : seen[i].made->reason != NULL
                                                         ? BERTH_REPLICA_FAILED
                                                         : BERTH_REPLICA_STARTING};
    const size_t n = berth_rollout_plan(&want, as, count, steps, BERTH_OLLAMA_MADE_MAX);
    for (size_t i = 0; i < n && r == 0; i++) {
        if (k->s->h->cancelled(k->op))
            return berth_err_set(e, BERTH_ECANCELED, "ollama: cut short");
        if (steps[i].what == BERTH_ROLLOUT_START) {
            r = begin(k, e);
            continue;
        }
        r = end(k->s, k->op, k->r, seen[steps[i].at].name, e);
        *ret_ended = true;
    }
    return r;
}

static int
round_of(struct round *k, struct berth_err *e)
{
    struct berth_ollama_seen *seen = NULL;
    const char *fresh[BERTH_OLLAMA_MADE_MAX];
    size_t count = 0, fresh_count = 0;
    bool ended = false;
    int r = berth_ollama_look(k->s, k->op, k->r, k->a, &seen, &count, e);

    if (r < 0)
        return r;
    join(k->r, seen, count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(seen[i].tag.hash, k->u->hash) == 0)
            fresh[fresh_count++] = seen[i].name;
    for (size_t i = 0; r == 0 && i < count; i++)
        if (strcmp(seen[i].tag.hash, k->u->hash) == 0 &&
            (!seen[i].made->loaded || seen[i].made->cold))
            r = load(k, seen[i].name, e);
    if (r == 0)
        r = take_steps(k, seen, count, &ended, e);
    if (r < 0 || !ended)
        return r;
    /* Models of the same file share what is loaded: it went with the old one. */
    for (size_t i = 0; r == 0 && i < fresh_count && k->u->replicas > 0; i++)
        r = load(k, fresh[i], e);
    return r < 0 ? r : berth_ollama_record_put(k->s, k->r, e);
}

int
berth_ollama_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                   struct berth_err *e)
{
    struct berth_ollama_record old = {0}, now;
    struct berth_arena a;

    berth_arena_init(&a, BERTH_OLLAMA_ARENA_MAX);
    struct round k = {.s = s, .op = op, .u = u, .a = &a, .r = &now};
    int r = berth_ollama_plan(s, u, &a, &k.plan, e);
    if (r == 0)
        r = berth_ollama_record_get(s, u->name, &a, &old, e);
    if (r > 0 && !same(old.host, k.plan.host)) /* it moves: first away from where it was */
        r = clear(s, op, &old, &a, e);
    if (r >= 0) {
        now = old;
        now.unit = u->name;
        now.service_id = u->service_id;
        now.track = u->track;
        now.hash = u->hash;
        now.host = k.plan.host;
        now.replicas = u->replicas;
        now.drain_ns = u->drain_timeout_ns;
        r = same(old.hash, now.hash) && same(old.host, now.host) && old.replicas == now.replicas
                ? 0
                : berth_ollama_record_put(s, &now, e);
    }
    if (r == 0)
        r = round_of(&k, e);
    berth_arena_fini(&a);
    return r;
}

int
berth_ollama_remove(struct berth_shimlet *s, const struct berth_op *op, const char *unit,
                    struct berth_err *e)
{
    struct berth_ollama_record rec = {.unit = unit, .host = s->host};
    struct berth_arena a;

    berth_arena_init(&a, BERTH_OLLAMA_ARENA_MAX);
    int r = berth_ollama_record_get(s, unit, &a, &rec, e);
    const bool nothing = r == 0 || (r > 0 && rec.number == 0 && rec.pulled == NULL);
    if (r >= 0)
        r = clear(s, op, &rec, &a, e);
    if (r == -BERTH_ENETWORK && nothing) /* nothing was ever made there */
        r = 0;
    if (r == 0)
        r = berth_ollama_record_drop(s, unit, e);
    berth_arena_fini(&a);
    return r;
}
