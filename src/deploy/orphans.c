#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/*
 * Workloads that bear this control plane's mark and that no record wishes for: left by a store that
 * was put back to an earlier state, or by an answer that came after the end of its service.  What
 * the records say was deleted goes; of anything else nobody knows whether it is still needed, so
 * that a person is told.
 */

enum { UNITS_MAX = 10000, ENVIRONS_MAX = 64, FOUND_BYTES_MAX = 8 << 20 };
static const uint64_t call_limit_ns = 30 * BERTH_S;

enum standing {
    KNOWN,   /* a service has it */
    STRAY,   /* a canary of a service that has none */
    DELETED, /* its service was deleted, and is forgotten */
    ORPHAN,
};
static const char *const standing_names[] = {"known", "stray", "deleted", "orphan"};

struct found {
    struct found *next;
    const char *shimlet, *name, *service_id, *track, *hash;
};
struct search {
    struct berth_arena *a;
    struct found *first, **last;
    size_t count;
    const char *shimlet;             /* that is being asked */
    const char *asked[ENVIRONS_MAX]; /* those that have answered */
    size_t asked_count;
    bool failed;
};

static const char *
keep(struct search *s, const char *text)
{
    const char *copy = berth_arena_strdup(s->a, text != NULL ? text : "");

    s->failed = s->failed || copy == NULL;
    return copy != NULL ? copy : "";
}

/* Environments may go by two names and tell of the same workload under each. */
static bool
is_told(const struct search *s, const char *name, const char *service_id)
{
    for (const struct found *f = s->first; f != NULL && service_id[0] != '\0'; f = f->next) {
        if (f->shimlet != s->shimlet && strcmp(f->name, name) == 0 &&
            strcmp(f->service_id, service_id) == 0)
            return true;
    }
    return false;
}

static void
take(void *arg, const struct berth_listed *one)
{
    struct search *s = arg;
    struct found *f;

    if (s->count >= UNITS_MAX || one->name == NULL ||
        is_told(s, one->name, one->service_id != NULL ? one->service_id : ""))
        return;
    if ((f = BERTH_NEW(s->a, struct found)) == NULL) {
        s->failed = true;
        return;
    }
    *f = (struct found){.shimlet = s->shimlet,
                        .name = keep(s, one->name),
                        .service_id = keep(s, one->service_id),
                        .track = keep(s, one->track),
                        .hash = keep(s, one->hash)};
    *s->last = f;
    s->last = &f->next;
    s->count++;
}

/* What every environment that was ever used has.  One that cannot be asked now is left out. */
static struct search
search(struct berth_deploy *d, struct berth_arena *a)
{
    struct environ *environs[ENVIRONS_MAX];
    struct search s = {.a = a};
    struct berth_err e = {""};

    s.last = &s.first;
    const size_t n = berth_environs_used(d, environs, ENVIRONS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct berth_op op = {.d = d, .deadline_ns = berth_deploy_now(d) + call_limit_ns};
        struct berth_shimlet *shimlet;
        s.shimlet = keep(&s, environs[i]->ops->name);
        int r = berth_environ_open(environs[i], &shimlet, &e);
        if (r == 0)
            r = environs[i]->ops->list(shimlet, &op, take, &s, &e);
        if (r < 0)
            berth_info("deploy: what %s has cannot be listed now: %s", s.shimlet, e.msg);
        else
            s.asked[s.asked_count++] = s.shimlet;
        berth_environ_put(d, environs[i]);
    }
    return s;
}

static bool
note_seen(void *arg, uint64_t seq, struct berth_slice json)
{
    (void)seq;
    (void)json;
    *(bool *)arg = true;
    return false;
}

/* Records of services are forgotten after a while; who deleted them is still among the events. */
static bool
was_deleted(struct berth_deploy *d, const char *service_id)
{
    const struct berth_event_query q = {
        .service_id = service_id, .type = "service.deleted", .limit = 1};
    struct berth_err e;
    bool seen = false;
    uint64_t last;

    return berth_deploy_events(d, &q, note_seen, &seen, &last, &e) == 0 && seen;
}

static enum standing
standing_of(struct berth_deploy *d, const struct found *f)
{
    struct service *s = berth_deploy_service(d, f->service_id);
    enum standing ret = KNOWN;

    if (s == NULL)
        return f->service_id[0] != '\0' && was_deleted(d, f->service_id) ? DELETED : ORPHAN;
    (void)pthread_mutex_lock(&s->mu);
    if (strcmp(f->track, "canary") == 0 && s->tracks[CANARY].wish == NULL)
        ret = STRAY;
    (void)pthread_mutex_unlock(&s->mu);
    berth_service_unref(d, s);
    return ret;
}

/* ---- what is done about them ---- */

/* Its one reconcile takes it away: there may be a canary again by then. */
static void
hand_over(struct berth_deploy *d, const struct found *f)
{
    struct service *s = berth_deploy_service(d, f->service_id);

    if (s == NULL)
        return;
    atomic_store(&s->stray, true);
    berth_deploy_poke(d, s->id, 0);
    berth_service_unref(d, s);
}

/* Nobody else works on it: its service is gone.  True: it is to be asked again soon. */
static bool
take_away(struct berth_deploy *d, const struct found *f)
{
    const struct berth_op op = {.d = d, .deadline_ns = berth_deploy_now(d) + call_limit_ns};
    struct environ *x = berth_environ_get(d, f->shimlet);
    struct berth_shimlet *shimlet;
    struct berth_err e = {""};

    if (x == NULL)
        return false;
    int r = berth_environ_open(x, &shimlet, &e);
    if (r == 0)
        r = x->ops->remove(shimlet, &op, f->name, &e);
    if (r < 0)
        berth_warn("deploy: %s of %s, whose service was deleted, is not removed yet: %s", f->name,
                   f->shimlet, e.msg);
    else if (r == 0)
        berth_info("deploy: %s of %s is removed: its service was deleted", f->name, f->shimlet);
    berth_environ_put(d, x);
    return r > 0;
}

static void
tell(struct berth_deploy *d, const struct found *f, struct berth_arena *a)
{
    struct pending p = {.a = a};
    struct berth_err e = {""};
    struct berth_buf b;
    struct berth_jw w;

    berth_pending_begin(&p, &b, &w, "service.orphan", NULL);
    p.service_id = f->service_id[0] != '\0' ? f->service_id : NULL;
    berth_jw_key(&w, "level");
    berth_jw_string(&w, "warn");
    berth_jw_key(&w, "shimlet");
    berth_jw_string(&w, f->shimlet);
    berth_jw_key(&w, "unit");
    berth_jw_string(&w, f->name);
    berth_jw_key(&w, "track");
    berth_jw_string(&w, f->track);
    berth_jw_key(&w, "message");
    berth_jw_string(&w, "it is this control plane's, and no service has it; it is left alone");
    berth_pending_end(&p, &b, &w);
    berth_warn("deploy: %s of %s is this control plane's, and no service has it; it is left alone",
               f->name, f->shimlet);
    if (berth_deploy_commit(d, NULL, &p, NULL, 0, &e) < 0)
        berth_warn("deploy: not kept: %s", e.msg);
}

static bool
is_old(char *const *old, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(old[i], name) == 0)
            return true;
    }
    return false;
}

/* Was the environment of this "SHIMLET/UNIT" asked, and did it answer? */
static bool
was_asked(const struct search *s, const char *name)
{
    for (size_t i = 0; i < s->asked_count; i++) {
        const size_t len = strlen(s->asked[i]);
        if (strncmp(name, s->asked[i], len) == 0 && name[len] == '/')
            return true;
    }
    return false;
}

static void
free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

void
berth_orphans_free(struct berth_deploy *d)
{
    free_names(d->orphans, d->orphan_count);
    d->orphans = NULL;
    d->orphan_count = 0;
}

/* Told once, for as long as it is there; names has room. */
static void
tell_once(struct berth_deploy *d, const struct found *f, char **names, size_t *count,
          struct berth_arena *a)
{
    const char *name = berth_arena_printf(a, "%s/%s", f->shimlet, f->name);

    if (name == NULL || is_old(names, *count, name) || (names[*count] = strdup(name)) == NULL)
        return;
    if (!is_old(d->orphans, d->orphan_count, names[(*count)++]))
        tell(d, f, a);
}

/* What an environment had that could not be asked now is still there, for all that is known. */
static void
keep_old(struct berth_deploy *d, const struct search *s, char **names, size_t *count)
{
    for (size_t i = 0; i < d->orphan_count && *count < UNITS_MAX; i++) {
        char *name = d->orphans[i];
        if (!was_asked(s, name) && !is_old(names, *count, name) &&
            (names[*count] = strdup(name)) != NULL)
            (*count)++;
    }
}

struct berth_outcome
berth_orphans_sweep(struct berth_deploy *d)
{
    char **names = NULL;
    size_t count = 0;
    bool again = false;
    struct berth_arena a;

    berth_arena_init(&a, FOUND_BYTES_MAX);
    const struct search s = search(d, &a);
    names = calloc(s.count + d->orphan_count + 1, sizeof *names);
    for (const struct found *f = s.first; f != NULL && names != NULL && !s.failed; f = f->next) {
        switch (standing_of(d, f)) {
        case KNOWN:
            break;
        case STRAY:
            hand_over(d, f);
            break;
        case DELETED:
            again = take_away(d, f) || again;
            break;
        case ORPHAN:
            tell_once(d, f, names, &count, &a);
            break;
        }
    }
    if (names != NULL && !s.failed) {
        keep_old(d, &s, names, &count);
        berth_orphans_free(d);
        d->orphans = names;
        d->orphan_count = count;
    } else {
        free_names(names, count);
    }
    berth_arena_fini(&a);
    return (struct berth_outcome){.kind = BERTH_OUTCOME_AFTER,
                                  .after_ns = again ? d->conf.poll_ns : d->conf.resync_ns};
}

/* ---- a canary that its service does not know ---- */

int
berth_stray_remove(struct berth_deploy *d, struct service *s, struct berth_err *e)
{
    struct environ *x = berth_environ_get(d, s->shimlet);
    struct berth_shimlet *shimlet;
    struct berth_arena a;
    const struct berth_op op = {.d = d,
                                .s = s,
                                .generation = atomic_load(&s->generation),
                                .deadline_ns = berth_deploy_now(d) + call_limit_ns};
    int r;

    berth_arena_init(&a, 64 * 1024);
    const char *name = berth_name_unit(s->id, "canary", &a);
    if (x == NULL)
        r = berth_environ_unknown(d, s->shimlet, e);
    else if (name == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", s->id);
    else if ((r = berth_environ_open(x, &shimlet, e)) == 0)
        r = x->ops->remove(shimlet, &op, name, e);
    if (r == 0)
        atomic_store(&s->stray, false);
    berth_environ_put(d, x);
    berth_arena_fini(&a);
    return r < 0 ? r : r == 0;
}

/* ---- being looked at ---- */

int
berth_deploy_units(struct berth_deploy *d, struct berth_arena *a, struct berth_buf *out,
                   struct berth_err *e)
{
    const size_t before = out->len;
    struct berth_arena own;
    struct berth_jw w;

    berth_arena_init(&own, FOUND_BYTES_MAX);
    const struct search s = search(d, &own);
    (void)a;
    berth_jw_init(&w, out);
    berth_jw_array(&w);
    for (const struct found *f = s.first; f != NULL; f = f->next) {
        const char *const members[][2] = {{"shimlet", f->shimlet},
                                          {"unit", f->name},
                                          {"serviceId", f->service_id},
                                          {"track", f->track},
                                          {"hash", f->hash},
                                          {"state", standing_names[standing_of(d, f)]}};
        berth_jw_object(&w);
        for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
            berth_jw_key(&w, members[i][0]);
            berth_jw_string(&w, members[i][1]);
        }
        berth_jw_object_end(&w);
    }
    berth_jw_array_end(&w);
    berth_arena_fini(&own);
    if (!out->failed && !s.failed)
        return 0;
    out->len = before;
    return berth_err_set(e, BERTH_ENOMEM, "units: out of memory");
}
