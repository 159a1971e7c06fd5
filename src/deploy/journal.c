#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/* A service's changes, with the events that tell of them: one transaction. */

enum { EVENT_BYTES_MAX = 8 * 1024 };

void
berth_pending_begin(struct pending *p, struct berth_buf *b, struct berth_jw *w, const char *type,
                    const struct service *s)
{
    berth_buf_init(b, p->a);
    b->max = EVENT_BYTES_MAX;
    berth_jw_init(w, b);
    berth_jw_object(w);
    p->type = type;
    p->service_id = s != NULL ? s->id : NULL;
}

void
berth_pending_end(struct pending *p, struct berth_buf *b, struct berth_jw *w)
{
    berth_jw_object_end(w);
    const char *members = berth_buf_text(b);
    if (members == NULL || p->count >= BERTH_EVENTS_AT_ONCE_MAX) {
        berth_warn("deploy: an event was left out: %s",
                   members == NULL ? "it is too long" : "too many at once");
        return;
    }
    p->at[p->count++] = (struct berth_event){p->type, p->service_id, members};
}

/* What a record is about, where there is no more to it than the revision, if that. */
static void
put_parameters(struct berth_jw *w, const struct revision *wish)
{
    berth_jw_key(w, "parameters");
    berth_jw_object(w);
    if (wish != NULL) {
        berth_jw_key(w, "revision");
        berth_jw_uint(w, wish->number);
    }
    berth_jw_object_end(w);
}

void
berth_pending_note(struct pending *p, const struct service *s, const char *level, const char *text)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_pending_begin(p, &b, &w, "service.note", s);
    berth_jw_key(&w, "level");
    berth_jw_string(&w, level);
    berth_jw_key(&w, "message");
    berth_jw_string_n(&w, text, strnlen(text, EVENT_BYTES_MAX / 8));
    berth_jw_key(&w, "durationMs");
    berth_jw_uint(&w, 0);
    berth_jw_key(&w, "operator");
    berth_jw_string(&w, ""); /* a step's or the control plane's own; mu may not be held here */
    put_parameters(&w, NULL);
    berth_pending_end(p, &b, &w);
}

/* from: a phase's name, or "" for a service that came. */
static void
tell_move(struct service *s, const char *from, uint64_t took_ns, struct pending *p)
{
    const struct seen *seen = s->tracks[STABLE].seen;
    const bool there = s->phase == BERTH_PHASE_RUNNING && seen != NULL && seen->as.endpoint != NULL;
    struct berth_buf b;
    struct berth_jw w;

    berth_pending_begin(p, &b, &w, "service.status", s);
    berth_jw_key(&w, "from");
    berth_jw_string(&w, from);
    berth_jw_key(&w, "to");
    berth_jw_string(&w, berth_phase_name(s->phase));
    berth_jw_key(&w, "status");
    berth_jw_string(&w, berth_phase_status(s->phase));
    berth_jw_key(&w, "durationMs");
    berth_jw_uint(&w, took_ns / BERTH_MS);
    berth_jw_key(&w, "endpoint");
    berth_jw_string(&w, there ? seen->as.endpoint : "");
    berth_jw_key(&w, "operator");
    berth_jw_string(&w, s->asker);
    put_parameters(&w, s->tracks[STABLE].wish);
    if (s->reason[0] != '\0') {
        berth_jw_key(&w, "reason");
        berth_jw_string(&w, s->reason);
    }
    berth_pending_end(p, &b, &w);
}

void
berth_service_came(struct berth_deploy *d, struct service *s, struct pending *p)
{
    (void)d;
    tell_move(s, "", 0, p);
}

int
berth_service_move(struct berth_deploy *d, struct service *s, enum berth_phase to,
                   const char *reason, struct pending *p)
{
    const enum berth_phase from = s->phase;

    if (reason != NULL)
        (void)snprintf(s->reason, sizeof s->reason, "%s", reason);
    if (from == to)
        return 0;
    const uint64_t wall = berth_deploy_wall(d);
    const uint64_t since = s->phase_wall_ns;
    if (berth_phase_move(&s->phase, to) < 0) {
        atomic_fetch_add(&d->illegal_moves, 1);
        berth_error("service %s: illegal transition from %s to %s; it stays", s->id,
                    berth_phase_name(from), berth_phase_name(to));
        return -BERTH_EINVAL;
    }
    s->phase_wall_ns = wall;
    tell_move(s, berth_phase_name(from), wall > since ? wall - since : 0, p);
    berth_deploy_count_move(d, from, to);
    return 0;
}

/* ---- writing ---- */

int
berth_deploy_commit(struct berth_deploy *d, struct service *s, struct pending *p,
                    const struct berth_store_op *ops, size_t count, struct berth_err *e)
{
    enum { OPS_MAX = 64 };
    struct berth_store_op all[OPS_MAX];
    struct berth_arena a;
    struct berth_buf b;
    int r = 0;

    if (s == NULL && p->count == 0 && count == 0)
        return 0;
    berth_assert(count < OPS_MAX);
    for (size_t i = 0; i < count; i++)
        all[i] = ops[i];
    berth_arena_init(&a, 4 << 20);
    if (s != NULL) {
        berth_buf_init(&b, &a);
        berth_record_put(s, &b);
        const char *key = berth_arena_printf(&a, "service/%s", s->id);
        if (b.failed || key == NULL)
            r = berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", s->id);
        all[count++] =
            (struct berth_store_op){.kind = BERTH_STORE_PUT, .key = key, .value = {b.at, b.len}};
    }
    if (r == 0)
        r = berth_events_commit(d->events, all, count, p->at, p->count, e);
    if (r == 0)
        p->count = 0;
    berth_arena_fini(&a);
    return r;
}

/* ---- what could not be written ---- */

struct unsaved {
    uint32_t count;
    struct {
        const char *type;
        char *members;
    } at[BERTH_EVENTS_AT_ONCE_MAX];
};

void
berth_service_forget_kept(struct service *s)
{
    for (uint32_t i = 0; s->kept != NULL && i < s->kept->count; i++)
        free(s->kept->at[i].members);
    free(s->kept);
    s->kept = NULL;
}

static void
keep_pending(struct service *s, struct pending *p)
{
    if (s->kept == NULL && p->count > 0)
        s->kept = calloc(1, sizeof *s->kept);
    for (uint32_t i = 0; i < p->count; i++) {
        const bool room = s->kept != NULL && s->kept->count < BERTH_EVENTS_AT_ONCE_MAX;
        char *members = room ? strdup(p->at[i].members) : NULL;

        if (members == NULL) {
            berth_warn("service %s: the store cannot be written: an event %s is left out", s->id,
                       p->at[i].type);
            continue;
        }
        s->kept->at[s->kept->count].type = p->at[i].type;
        s->kept->at[s->kept->count++].members = members;
    }
    p->count = 0;
}

/* What was kept, with the record as it is now. */
static int
commit_kept(struct berth_deploy *d, struct service *s, struct berth_err *e)
{
    struct pending p = {.count = 0};

    if (s->kept == NULL)
        return 0;
    for (; p.count < s->kept->count; p.count++)
        p.at[p.count] =
            (struct berth_event){s->kept->at[p.count].type, s->id, s->kept->at[p.count].members};
    const int r = berth_deploy_commit(d, s, &p, NULL, 0, e);
    if (r == 0)
        berth_service_forget_kept(s);
    return r;
}

int
berth_deploy_save(struct berth_deploy *d, struct service *s, struct pending *p, struct berth_err *e)
{
    const uint64_t good = s->tracks[STABLE].good;
    struct berth_store_op mark;
    struct berth_arena a;
    int marked = 1;

    berth_arena_init(&a, 4 << 20);
    if (good > 0 && good != s->marked)
        marked = berth_revision_mark(d, s->id, good, &a, &mark, e);
    if (marked < 0) /* its own record must not wait for that */
        berth_warn("service %s: that revision %" PRIu64 " was good is not kept: %s", s->id, good,
                   e->msg);
    int r = commit_kept(d, s, e);
    if (r == 0)
        r = berth_deploy_commit(d, s, p, &mark, marked == 0, e);
    berth_arena_fini(&a);
    if (r == 0 && marked >= 0)
        s->marked = good;
    if (r < 0)
        keep_pending(s, p);
    s->unsaved = r < 0;
    return r;
}

/* ---- reading ---- */

int
berth_deploy_events(struct berth_deploy *d, const struct berth_event_query *q,
                    bool (*each)(void *arg, uint64_t seq, struct berth_slice json), void *arg,
                    uint64_t *ret_last, struct berth_err *e)
{
    return berth_events_read(d->events, q, each, arg, ret_last, e);
}

void
berth_deploy_watch(struct berth_deploy *d, struct berth_event_watch *w)
{
    berth_events_watch(d->events, w);
}

void
berth_deploy_unwatch(struct berth_deploy *d, struct berth_event_watch *w)
{
    berth_events_unwatch(d->events, w);
}
