#include "deploy/deploy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "deploy/deploy_priv.h"
#include "deploy/route/access.h"
#include "obs/metrics.h"

/* The engine as a whole: its services, its queue, its beginning and its end. */

/* Besides services' keys: ORPHANS_KEY, and those of services that are gone and not taken yet. */
enum { KEYS_SLACK = 1024 };

static const struct berth_workq_conf queue_conf = {
    .backoff_first_ns = BERTH_S, .backoff_max_ns = 300 * BERTH_S, .jitter_percent = 20};

uint64_t
berth_deploy_now(const struct berth_deploy *d)
{
    return d->conf.clock != NULL ? d->conf.clock->now_ns(d->conf.clock->arg) : berth_now_ns();
}

uint64_t
berth_deploy_wall(const struct berth_deploy *d)
{
    return d->conf.clock != NULL ? d->conf.clock->wall_ns(d->conf.clock->arg) : berth_wall_ns();
}

uint64_t
berth_deploy_random(const struct berth_deploy *d)
{
    return d->conf.clock != NULL ? d->conf.clock->random(d->conf.clock->arg) : berth_random_u64();
}

static uint64_t
random_of(void *arg)
{
    return berth_deploy_random(arg);
}

/* ---- services ---- */

struct service *
berth_service_new(const char *id)
{
    struct service *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    (void)snprintf(s->id, sizeof s->id, "%s", id);
    (void)pthread_mutex_init(&s->told_mu, NULL);
    (void)pthread_mutex_init(&s->mu, NULL);
    s->refs = 1;
    return s;
}

void
berth_service_free(struct service *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < TRACK_COUNT; i++) {
        struct track *t = &s->tracks[i];
        berth_revision_unref(t->wish);
        berth_progress_free(t->progress);
        berth_values_clear(t);
        berth_seen_free(t->seen);
    }
    berth_progress_free(s->removal);
    berth_service_forget_kept(s);
    (void)pthread_mutex_destroy(&s->mu);
    (void)pthread_mutex_destroy(&s->told_mu);
    free(s);
}

struct service *
berth_deploy_service(struct berth_deploy *d, const char *id)
{
    struct service *s = NULL;

    (void)pthread_mutex_lock(&d->mu);
    HASH_FIND_STR(d->services, id, s);
    if (s != NULL)
        s->refs++;
    (void)pthread_mutex_unlock(&d->mu);
    return s;
}

void
berth_service_unref(struct berth_deploy *d, struct service *s)
{
    (void)pthread_mutex_lock(&d->mu);
    const bool last = --s->refs == 0;
    (void)pthread_mutex_unlock(&d->mu);
    if (last)
        berth_service_free(s);
}

int
berth_deploy_add_service(struct berth_deploy *d, struct service *s, struct berth_err *e)
{
    struct service *other = NULL;
    int r = 0;

    (void)pthread_mutex_lock(&d->mu);
    HASH_FIND_STR(d->services, s->id, other);
    if (other != NULL) {
        r = berth_err_set(e, BERTH_EEXIST, "there is a service %s already", s->id);
    } else if (HASH_COUNT(d->services) >= d->conf.services_max) {
        r = berth_err_set(e, BERTH_ELIMIT,
                          "there are %u services, as many as may be; delete one first",
                          HASH_COUNT(d->services));
    } else {
        HASH_ADD_STR(d->services, id, s);
        s->refs++;
    }
    (void)pthread_mutex_unlock(&d->mu);
    return r;
}

void
berth_deploy_drop_service(struct berth_deploy *d, struct service *s)
{
    (void)pthread_mutex_lock(&d->mu);
    HASH_DEL(d->services, s);
    (void)pthread_mutex_unlock(&d->mu);
    /* Also when nobody has looked at the metrics since it was terminated. */
    if (d->conf.metrics != NULL)
        berth_metrics_forget_of(d->conf.metrics, "service", s->id);
    berth_service_unref(d, s);
}

int
berth_deploy_all(struct berth_deploy *d, struct service ***ret, size_t *ret_count)
{
    struct service *s, *next;
    size_t n = 0;

    (void)pthread_mutex_lock(&d->mu);
    struct service **all = calloc(HASH_COUNT(d->services) + 1, sizeof *all);
    if (all != NULL) {
        HASH_ITER(hh, d->services, s, next)
        {
            s->refs++;
            all[n++] = s;
        }
    }
    (void)pthread_mutex_unlock(&d->mu);
    if (all == NULL)
        return -BERTH_ENOMEM;
    *ret = all;
    *ret_count = n;
    return 0;
}

void
berth_deploy_named(struct berth_deploy *d, struct service *s)
{
    const struct revision *wish = s->tracks[STABLE].wish;

    (void)pthread_mutex_lock(&d->mu);
    (void)snprintf(s->model_name, sizeof s->model_name, "%s",
                   wish != NULL ? wish->spec.model_name : "");
    s->gone = s->phase == BERTH_PHASE_TERMINATED;
    (void)pthread_mutex_unlock(&d->mu);
}

struct found {
    const struct service *s; /* the last of them */
    size_t count, at;
    char list[300]; /* the first of them, for a person */
};

/* Services that are not gone, by their model's name or by how their id begins. */
static void
find_locked(const struct berth_deploy *d, const char *name, bool by_model, struct found *f)
{
    const size_t len = strlen(name);

    *f = (struct found){.count = 0};
    for (const struct service *s = d->services; s != NULL; s = s->hh.next) {
        if (s->gone ||
            (by_model ? strcmp(s->model_name, name) != 0 : strncmp(s->id, name, len) != 0))
            continue;
        f->s = s;
        if (++f->count <= 5 && f->at < sizeof f->list)
            f->at += (size_t)snprintf(f->list + f->at, sizeof f->list - f->at, "%s%s",
                                      f->count > 1 ? ", " : "", s->id);
    }
}

int
berth_deploy_find(struct berth_deploy *d, const char *name, bool whole,
                  char id[BERTH_SERVICE_ID_MAX], struct berth_err *e)
{
    struct found f = {.count = 0};
    const struct service *exact = NULL;
    bool begins = false;

    (void)pthread_mutex_lock(&d->mu);
    if (name[0] != '\0' && strlen(name) < BERTH_SERVICE_ID_MAX)
        HASH_FIND_STR(d->services, name, exact);
    if (exact == NULL && name[0] != '\0')
        find_locked(d, name, true, &f);
    if (exact == NULL && name[0] != '\0' && f.count == 0) {
        find_locked(d, name, false, &f);
        begins = f.count > 0;
    }
    if (exact != NULL || (f.count == 1 && !(begins && whole)))
        (void)snprintf(id, BERTH_SERVICE_ID_MAX, "%s", exact != NULL ? exact->id : f.s->id);
    (void)pthread_mutex_unlock(&d->mu);
    if (exact == NULL && f.count == 0)
        return berth_err_set(e, BERTH_ENOENT, "there is no service %s", name);
    if (begins && whole)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s is no whole id and no model's name; it begins those of %s%s", name,
                             f.list, f.count > 5 ? ", ..." : "");
    if (f.count > 1)
        return berth_err_set(e, BERTH_EINVAL, "%s may be one of %zu services: %s%s", name, f.count,
                             f.list, f.count > 5 ? ", ..." : "");
    return 0;
}

void
berth_deploy_poke(struct berth_deploy *d, const char *id, uint64_t after_ns)
{
    int r = 0;

    if (d->reconciler != NULL) {
        r = berth_reconciler_add_after(d->reconciler, id, after_ns);
    } else if (d->queue != NULL) {
        (void)pthread_mutex_lock(&d->queue_mu);
        r = berth_workq_add_after(d->queue, id, after_ns, berth_deploy_now(d));
        (void)pthread_mutex_unlock(&d->queue_mu);
    }
    if (r < 0 && r != -BERTH_ECANCELED)
        berth_warn("service %s: not queued (%d); it is looked at in the next round", id, r);
}

size_t
berth_deploy_poke_all(struct berth_deploy *d, uint64_t after_ns)
{
    struct service **all;
    size_t n = 0;

    if (berth_deploy_all(d, &all, &n) < 0) {
        berth_warn("deploy: out of memory; every service is looked at in the next round");
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        berth_deploy_poke(d, all[i]->id, after_ns);
        berth_service_unref(d, all[i]);
    }
    free(all);
    return n;
}

/* ---- beginning and end ---- */

static int
copy_text(const char **at, int *failed)
{
    if (*at != NULL && (*at = strdup(*at)) == NULL)
        *failed = 1;
    return *failed;
}

static void
free_accelerators(struct berth_accelerator *all)
{
    for (size_t i = 0; all != NULL && (all[i].prefix != NULL || all[i].resource != NULL); i++) {
        free((char *)all[i].prefix);
        free((char *)all[i].resource);
    }
    free(all);
}

static uint64_t
or_default(uint64_t value, uint64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

/* What marks the workloads of this control plane: one for each state folder, kept in the store. */
static int
load_owner(struct berth_deploy *d, struct berth_err *e)
{
    struct berth_record record;
    struct berth_arena a;
    int r;

    berth_arena_init(&a, 64 * 1024);
    r = berth_store_get(d->conf.store, &a, "deploy/owner", &record, e);
    if (r == 0) {
        (void)snprintf(d->owner, sizeof d->owner, "%.*s", (int)record.value.len, record.value.at);
    } else if (r == -BERTH_ENOENT) {
        (void)snprintf(d->owner, sizeof d->owner, "berth-%08x",
                       (unsigned)(berth_deploy_random(d) >> 32));
        r = berth_store_put(d->conf.store, "deploy/owner", berth_slice_of(d->owner),
                            BERTH_STORE_NEW, e);
    }
    berth_arena_fini(&a);
    return r;
}

/* A copy of the table, ended as it is; each text is a piece of memory of its own. */
static struct berth_accelerator *
copy_accelerators(const struct berth_accelerator *from)
{
    size_t n = 0;

    while (from[n].prefix != NULL)
        n++;
    struct berth_accelerator *to = calloc(n + 1, sizeof *to);
    for (size_t i = 0; to != NULL && i < n; i++) {
        to[i].prefix = strdup(from[i].prefix);
        to[i].resource = strdup(from[i].resource);
        if (to[i].prefix == NULL || to[i].resource == NULL) {
            free_accelerators(to);
            return NULL;
        }
    }
    return to;
}

static int
fill_conf(struct berth_deploy *d, const struct berth_deploy_conf *conf)
{
    int failed = 0;

    d->conf = *conf;
    d->conf.accelerators = NULL;
    d->conf.resync_ns = or_default(conf->resync_ns, 300 * BERTH_S);
    d->conf.poll_ns = or_default(conf->poll_ns, 2 * BERTH_S);
    d->conf.forget_ns = or_default(conf->forget_ns, 600 * BERTH_S);
    d->conf.services_max = (uint32_t)or_default(conf->services_max, 10000);
    d->conf.events_max = (uint32_t)or_default(conf->events_max, 10000);
    d->conf.revisions_max = (uint32_t)or_default(conf->revisions_max, 20);
    (void)copy_text(&d->conf.state_dir, &failed);
    (void)copy_text(&d->conf.program, &failed);
    (void)copy_text(&d->conf.default_shimlet, &failed);
    (void)copy_text(&d->conf.default_pipeline, &failed);
    (void)copy_text(&d->conf.model_root, &failed);
    (void)copy_text(&d->conf.plugin_dir, &failed);
    (void)copy_text(&d->conf.plugin_sums, &failed);
    if (conf->accelerators != NULL &&
        (d->conf.accelerators = copy_accelerators(conf->accelerators)) == NULL)
        failed = 1;
    (void)copy_text(&d->conf.plugin_settings_json, &failed);
    d->defaults = (struct berth_spec_defaults){.pipeline = d->conf.default_pipeline,
                                               .shimlet = d->conf.default_shimlet,
                                               .model_root = d->conf.model_root,
                                               .accelerators = d->conf.accelerators};
    return failed ? -BERTH_ENOMEM : 0;
}

int
berth_deploy_new(const struct berth_deploy_conf *conf, struct berth_deploy **ret,
                 struct berth_err *e)
{
    struct berth_workq_conf queue = queue_conf;
    int r;

    if (conf->store == NULL || conf->default_shimlet == NULL || conf->default_pipeline == NULL)
        return berth_err_set(
            e, BERTH_EINVAL,
            "deploy: a store, a default shimlet and a default pipeline are needed");
    struct berth_deploy *d = calloc(1, sizeof *d);
    if (d == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "deploy: out of memory");
    d->environs.type = "shimlet";
    d->flows.type = "pipeline";
    (void)pthread_mutex_init(&d->mu, NULL);
    (void)pthread_mutex_init(&d->queue_mu, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&d->released, &attr);
    (void)pthread_condattr_destroy(&attr);
    if ((r = fill_conf(d, conf)) < 0)
        r = berth_err_set(e, BERTH_ENOMEM, "deploy: out of memory");
    if (r == 0)
        r = load_owner(d, e);
    if (r == 0)
        r = berth_events_new(conf->store, d->conf.events_max, conf->clock, &d->events, e);
    if (r == 0 && (d->access = berth_access_new(d)) == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "deploy: out of memory");
    queue.keys_max = d->conf.services_max + KEYS_SLACK;
    queue.random = random_of;
    queue.random_arg = d;
    if (r == 0 && conf->workers == 0 && (r = berth_workq_new(&queue, &d->queue)) < 0)
        r = berth_err_set(e, BERTH_ENOMEM, "deploy: out of memory");
    if (r < 0) {
        berth_deploy_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

static int
load_services(struct berth_deploy *d, size_t *ret_alive, struct berth_err *e)
{
    enum { LOAD_BYTES_MAX = 1 << 30 };
    struct berth_record *list;
    struct berth_arena a;
    size_t n = 0;

    berth_arena_init(&a, LOAD_BYTES_MAX);
    int r = berth_store_list(d->conf.store, &a, "service/", &list, &n, e);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct service *s = NULL;
        if ((r = berth_record_read(d, &list[i], &s, e)) < 0)
            break;
        r = berth_deploy_add_service(d, s, e);
        berth_deploy_named(d, s);
        berth_deploy_count_move(d, BERTH_PHASE_COUNT, s->phase);
        *ret_alive += s->phase != BERTH_PHASE_TERMINATED;
        berth_service_unref(d, s);
    }
    berth_arena_fini(&a);
    return r;
}

int
berth_deploy_start(struct berth_deploy *d, struct berth_err *e)
{
    size_t alive = 0;
    int r;

    if (atomic_exchange(&d->started, true))
        return 0;
    if ((r = load_services(d, &alive, e)) < 0)
        return r;
    const uint64_t hold_ns = berth_starts_begin(d);
    if (d->conf.workers > 0) {
        struct berth_reconciler_conf conf = {.name = "deploy",
                                             .thread_count = d->conf.workers,
                                             .queue = queue_conf,
                                             .reconcile = berth_service_reconcile,
                                             .arg = d};
        conf.queue.keys_max = d->conf.services_max + KEYS_SLACK;
        if ((r = berth_reconciler_new(&conf, &d->reconciler, e)) < 0)
            return r;
    }
    if (d->conf.metrics != NULL)
        berth_metrics_on_render(d->conf.metrics, berth_deploy_render, d);
    (void)berth_deploy_poke_all(d, hold_ns);
    berth_deploy_poke(d, ORPHANS_KEY, hold_ns);
    if (alive > 0)
        berth_info("deploy: %zu service%s taken up again", alive, alive == 1 ? " is" : "s are");
    return 0;
}

void
berth_deploy_stop(struct berth_deploy *d, uint64_t limit_ns)
{
    atomic_store(&d->stopping, true);
    if (d->access != NULL)
        berth_access_stop(d->access);
    if (d->reconciler != NULL)
        (void)berth_reconciler_stop(d->reconciler, limit_ns);
    if (d->queue != NULL) {
        (void)pthread_mutex_lock(&d->queue_mu);
        berth_workq_close(d->queue);
        (void)pthread_mutex_unlock(&d->queue_mu);
    }
}

void
berth_deploy_free(struct berth_deploy *d)
{
    struct service *s, *next;

    if (d == NULL)
        return;
    berth_deploy_stop(d, UINT64_MAX); /* what is under way uses the environments ... */
    berth_environs_free(d);           /* ... and these poke the queue until they are closed */
    berth_reconciler_free(d->reconciler);
    berth_workq_free(d->queue);
    HASH_ITER(hh, d->services, s, next)
    {
        HASH_DEL(d->services, s);
        berth_service_free(s);
    }
    berth_orphans_free(d);
    berth_kept_free(d);
    berth_access_free(d->access);
    berth_events_free(d->events);
    free((char *)d->conf.state_dir);
    free((char *)d->conf.program);
    free((char *)d->conf.default_shimlet);
    free((char *)d->conf.default_pipeline);
    free((char *)d->conf.model_root);
    free((char *)d->conf.plugin_dir);
    free((char *)d->conf.plugin_sums);
    free_accelerators((struct berth_accelerator *)d->conf.accelerators);
    free((char *)d->conf.plugin_settings_json);
    (void)pthread_cond_destroy(&d->released);
    (void)pthread_mutex_destroy(&d->mu);
    (void)pthread_mutex_destroy(&d->queue_mu);
    free(d);
}

bool
berth_deploy_turn(struct berth_deploy *d, uint64_t *ret_next_ns)
{
    struct berth_outcome outcome = {.kind = BERTH_OUTCOME_OK};
    const char *key;
    uint64_t at;

    berth_assert(d->queue != NULL);
    (void)pthread_mutex_lock(&d->queue_mu);
    const bool got = berth_workq_take(d->queue, berth_deploy_now(d), &key, &at);
    (void)pthread_mutex_unlock(&d->queue_mu);
    if (!got) {
        *ret_next_ns = at;
        return false;
    }
    if (berth_service_reconcile(d, key, &outcome) < 0)
        outcome = (struct berth_outcome){.kind = BERTH_OUTCOME_FAILED};
    (void)pthread_mutex_lock(&d->queue_mu);
    berth_workq_done(d->queue, key, outcome, berth_deploy_now(d));
    (void)pthread_mutex_unlock(&d->queue_mu);
    *ret_next_ns = 0;
    return true;
}

const struct berth_spec_defaults *
berth_deploy_defaults(const struct berth_deploy *d)
{
    return &d->defaults;
}
