#include "shimlets/shimmy/shimmy.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <berth/settings.h>

#include "base/clock.h"
#include "shimlets/rollout.h"
#include "shimlets/shimmy/shimmy_priv.h"

enum { STEPS_MAX = 64 };

/* ---- a call, as the script has it ---- */

static enum berth_code
code_of(const char *name)
{
    static const struct {
        const char *name;
        enum berth_code code;
    } codes[] = {
#define X(id, text) {#id, BERTH_##id},
        BERTH_ERRORS(X)
#undef X
    };

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (strcmp(codes[i].name, name) == 0)
            return codes[i].code;
    }
    return BERTH_EIO;
}

static struct shimmy_call
script(const struct shimmy_conf *c, enum shimmy_op op, uint64_t number)
{
    const bool named = strcmp(c->fail_op, shimmy_op_name(op)) == 0;
    const bool fails = named && number >= (uint64_t)c->fail_from &&
                       number - (uint64_t)c->fail_from < (uint64_t)c->fail_count;

    return (struct shimmy_call){
        .delay_ms = c->op_ms[op],
        .hangs = strcmp(c->hang_op, shimmy_op_name(op)) == 0 && number <= (uint64_t)c->hang_count,
        .fails = fails && !c->fail_after,
        .fails_after = fails && c->fail_after,
        .code = code_of(c->fail_code),
        .number = number,
    };
}

int
shimmy_scripted_failure(const struct shimmy_call *c, enum shimmy_op op, struct berth_err *e)
{
    return berth_err_set(e, c->code, "shimmy: %s: call %llu fails as its settings say%s",
                         shimmy_op_name(op), (unsigned long long)c->number,
                         c->fails_after ? ", the deed done" : "");
}

int
shimmy_begin(struct berth_shimlet *s, const struct berth_op *op, enum shimmy_op which,
             const char *name, const struct shimmy_conf *conf, struct shimmy_call *ret,
             struct berth_err *e)
{
    struct shimmy_unit *u = NULL;
    uint64_t number;
    int r = 0;

    (void)pthread_mutex_lock(&s->mu);
    if (name != NULL)
        r = shimmy_unit_of(s, name, &u, e);
    if (r == 0) {
        number = u != NULL ? ++u->calls[which] : ++s->list_calls;
        *ret = script(conf != NULL ? conf : u != NULL ? &u->conf : &s->conf, which, number);
    }
    (void)pthread_mutex_unlock(&s->mu);
    if (r < 0)
        return r;
    const uint64_t until = berth_now_ns() + (uint64_t)ret->delay_ms * BERTH_MS;
    while (ret->hangs || berth_now_ns() < until) {
        const uint64_t left = ret->hangs ? 5 * BERTH_MS : until - berth_now_ns();
        const struct timespec nap = {.tv_nsec = (long)(left < 5 * BERTH_MS ? left : 5 * BERTH_MS)};

        if (s->h->cancelled(op))
            return berth_err_set(e, BERTH_ECANCELED, "shimmy: %s: cut off", shimmy_op_name(which));
        (void)nanosleep(&nap, NULL);
    }
    return ret->fails ? shimmy_scripted_failure(ret, which, e) : 0;
}

/* ---- apply, remove ---- */

/* What the unit should be, kept; the settings were read before. */
static int
keep(struct shimmy_unit *u, const struct berth_unit *want, const struct shimmy_conf *conf,
     struct berth_err *e)
{
    char *json = strdup(want->settings_json != NULL ? want->settings_json : "{}");

    if (json == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "shimmy: out of memory");
    free(u->conf_json);
    u->conf_json = json;
    u->conf = *conf;
    if (!u->exists) {
        u->applied_ns = berth_now_ns();
        u->drift_done = false;
        u->crashes = 0;
    }
    u->exists = true;
    u->drifted = false;
    u->desired = want->replicas;
    u->start_timeout_ns = want->start_timeout_ns;
    u->drain_timeout_ns = want->drain_timeout_ns;
    (void)snprintf(u->service_id, sizeof u->service_id, "%s", want->service_id);
    (void)snprintf(u->track, sizeof u->track, "%s", want->track);
    (void)snprintf(u->hash, sizeof u->hash, "%s", want->hash);
    return 0;
}

/* Drain it with mu open, then begin its end if it is still there. */
static void
stop(struct berth_shimlet *s, const struct berth_op *op, struct shimmy_unit *u, const char *id)
{
    (void)pthread_mutex_unlock(&s->mu);
    (void)s->h->drain(op, id, u->drain_timeout_ns);
    (void)pthread_mutex_lock(&s->mu);
    for (size_t i = 0; i < u->replica_count; i++) {
        struct shimmy_replica *r = &u->replicas[i];

        if (strcmp(r->id, id) == 0 && r->state != BERTH_REPLICA_STOPPING)
            shimmy_move(r, BERTH_REPLICA_STOPPING, berth_now_ns());
    }
}

/* One round of the plan.  Under mu, which is open while replicas are drained. */
static int
roll(struct berth_shimlet *s, const struct berth_op *op, struct shimmy_unit *u,
     const struct berth_unit *want, struct berth_err *e)
{
    struct berth_rollout_seen seen[SHIMMY_REPLICAS_MAX];
    struct berth_rollout_step steps[STEPS_MAX];
    char stops[STEPS_MAX][sizeof u->replicas->id];
    const struct berth_rollout_want how = {
        .replicas = want->replicas,
        .surge_max = want->surge_max,
        .unavailable_max = want->unavailable_max,
        .hash = want->hash,
    };
    size_t stop_count = 0;
    int r = 0;

    for (size_t i = 0; i < u->replica_count; i++)
        seen[i] = (struct berth_rollout_seen){u->replicas[i].index, u->replicas[i].hash,
                                              u->replicas[i].state};
    const size_t n = berth_rollout_plan(&how, seen, u->replica_count, steps, STEPS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (steps[i].what == BERTH_ROLLOUT_STOP)
            memcpy(stops[stop_count++], u->replicas[steps[i].at].id, sizeof stops[0]);
    }
    for (size_t i = 0; i < n && r == 0; i++) {
        if (steps[i].what == BERTH_ROLLOUT_START)
            r = shimmy_start(s, u, want, steps[i].index, e);
    }
    for (size_t i = 0; i < stop_count && r == 0; i++)
        stop(s, op, u, stops[i]);
    return r;
}

static int
shimmy_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *want,
             struct berth_err *e)
{
    const struct shimmy_conf conf =
        shimmy_conf_read(want->settings_json != NULL ? want->settings_json : "{}", &s->conf);
    struct shimmy_unit *u;
    struct shimmy_call c;
    int r = shimmy_begin(s, op, SHIMMY_APPLY, want->name, &conf, &c, e);

    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&s->mu);
    r = shimmy_unit_of(s, want->name, &u, e);
    if (r == 0)
        r = keep(u, want, &conf, e);
    if (r == 0) {
        (void)shimmy_advance(s, u, berth_now_ns());
        r = roll(s, op, u, want, e);
        (void)shimmy_advance(s, u, berth_now_ns());
    }
    if (r == 0)
        r = shimmy_save(s, u, e);
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->mu);
    return r == 0 && c.fails_after ? shimmy_scripted_failure(&c, SHIMMY_APPLY, e) : r;
}

/* The next one that is not being stopped yet; its id is copied. */
static bool
next_to_stop(const struct shimmy_unit *u, char *ret_id, size_t cap)
{
    for (size_t i = 0; i < u->replica_count; i++) {
        if (u->replicas[i].state != BERTH_REPLICA_STOPPING) {
            (void)snprintf(ret_id, cap, "%s", u->replicas[i].id);
            return true;
        }
    }
    return false;
}

static int
shimmy_remove(struct berth_shimlet *s, const struct berth_op *op, const char *name,
              struct berth_err *e)
{
    char id[sizeof((struct shimmy_replica *)0)->id];
    struct shimmy_call c;
    int r = shimmy_begin(s, op, SHIMMY_REMOVE, name, NULL, &c, e);

    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&s->mu);
    struct shimmy_unit *u = shimmy_find(s, name);
    if (u != NULL && u->exists) {
        u->desired = 0;
        while (next_to_stop(u, id, sizeof id))
            stop(s, op, u, id);
        (void)shimmy_advance(s, u, berth_now_ns());
        u->exists = u->replica_count > 0;
        r = shimmy_save(s, u, e);
        r = r == 0 && u->exists ? 1 : r;
    }
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->mu);
    return r >= 0 && c.fails_after ? shimmy_scripted_failure(&c, SHIMMY_REMOVE, e) : r;
}

/* ---- machines ---- */

static int
node_number(const struct berth_shimlet *s, const char *name)
{
    for (int node = 0; node < s->nodes; node++) {
        char its[24];

        (void)snprintf(its, sizeof its, "node-%d", node);
        if (strcmp(its, name) == 0)
            return node;
    }
    return -1;
}

/* The first replica on that machine that is not being stopped yet, and its unit. */
static struct shimmy_unit *
next_on_node(struct berth_shimlet *s, int node, char *ret_id, size_t cap)
{
    for (struct shimmy_unit *u = s->units; u != NULL; u = u->next) {
        for (size_t i = 0; i < u->replica_count; i++) {
            if (u->replicas[i].node == node && u->replicas[i].state != BERTH_REPLICA_STOPPING) {
                (void)snprintf(ret_id, cap, "%s", u->replicas[i].id);
                return u;
            }
        }
    }
    return NULL;
}

static int
shimmy_node(struct berth_shimlet *s, const struct berth_op *op, const char *name, bool drain,
            struct berth_err *e)
{
    const int node = node_number(s, name);
    char id[sizeof((struct shimmy_replica *)0)->id];

    if (node < 0)
        return berth_err_set(e, BERTH_ENOENT, "shimmy has no node %s", name);
    (void)pthread_mutex_lock(&s->mu);
    s->cordoned[node] = drain;
    for (struct shimmy_unit *u; drain && (u = next_on_node(s, node, id, sizeof id)) != NULL;) {
        stop(s, op, u, id);
        u->dirty = true;
        (void)shimmy_save(s, u, NULL);
    }
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->mu);
    return 0;
}

/* ---- telling of changes ---- */

/* Some of the units that changed by themselves; they are clean then. */
static size_t
take_dirty(struct berth_shimlet *s, char (*ret)[SHIMMY_TEXT_MAX], size_t cap)
{
    size_t n = 0;

    for (struct shimmy_unit *u = s->units; u != NULL && n < cap; u = u->next) {
        if (!u->dirty)
            continue;
        u->dirty = false;
        (void)shimmy_save(s, u, NULL); /* what it cannot keep it does again */
        (void)snprintf(ret[n++], SHIMMY_TEXT_MAX, "%s", u->service_id);
    }
    return n;
}

static void *
shimmy_thread(void *arg)
{
    struct berth_shimlet *s = arg;
    enum { AT_ONCE = 64 };

    (void)pthread_mutex_lock(&s->mu);
    while (!s->ends) {
        char changed[AT_ONCE][SHIMMY_TEXT_MAX];
        uint64_t next = UINT64_MAX;

        /* Twice, as what goes from one unit makes room for another. */
        for (int pass = 0; pass < 2; pass++) {
            next = UINT64_MAX;
            for (struct shimmy_unit *u = s->units; u != NULL; u = u->next) {
                const uint64_t its = shimmy_advance(s, u, berth_now_ns());

                next = its < next ? its : next;
            }
        }
        const size_t n = take_dirty(s, changed, AT_ONCE);
        if (n > 0) {
            (void)pthread_mutex_unlock(&s->mu);
            for (size_t i = 0; i < n; i++)
                s->h->changed(s->who, changed[i]);
            (void)pthread_mutex_lock(&s->mu);
            continue;
        }
        if (next == UINT64_MAX) {
            (void)pthread_cond_wait(&s->wake, &s->mu);
            continue;
        }
        const struct timespec until = {.tv_sec = (time_t)(next / BERTH_S),
                                       .tv_nsec = (long)(next % BERTH_S)};
        (void)pthread_cond_timedwait(&s->wake, &s->mu, &until);
    }
    (void)pthread_mutex_unlock(&s->mu);
    return NULL;
}

static bool
shimmy_watches(const struct berth_shimlet *s)
{
    return s->watches;
}

/* ---- open, close ---- */

static void
shimmy_close(struct berth_shimlet *s)
{
    if (s == NULL)
        return;
    if (s->thread_runs) {
        (void)pthread_mutex_lock(&s->mu);
        s->ends = true;
        (void)pthread_cond_signal(&s->wake);
        (void)pthread_mutex_unlock(&s->mu);
        (void)pthread_join(s->thread, NULL);
    }
    for (struct shimmy_unit *u = s->units, *next; u != NULL; u = next) {
        next = u->next;
        (void)shimmy_save(s, u, NULL);
        shimmy_unit_free(u);
    }
    (void)pthread_cond_destroy(&s->wake);
    (void)pthread_mutex_destroy(&s->mu);
    free(s->state_dir);
    free(s);
}

static void
init(struct berth_shimlet *s, const struct berth_shimlet_host *h,
     const struct berth_shimlet_open *how)
{
    static const struct shimmy_conf dflt = {.crash_count = 1,
                                            .restart_ms = 1000,
                                            .fail_from = 1,
                                            .fail_count = 1,
                                            .hang_count = 1,
                                            .fail_code = "EIO"};
    const char *json = how->settings_json;
    pthread_condattr_t attr;

    s->h = h;
    s->who = how->who;
    s->conf = shimmy_conf_read(json, &dflt);
    s->nodes = berth_setting_int(json, "nodes", 1);
    if (s->nodes > SHIMMY_NODES_MAX)
        s->nodes = SHIMMY_NODES_MAX;
    s->accelerators = berth_setting_int(json, "accelerators", 0);
    s->cpu_milli = berth_setting_int(json, "cpu_milli", 0);
    s->memory_bytes = berth_setting_int(json, "memory_bytes", 0);
    s->watches = berth_setting_bool(json, "watches", true);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&s->mu, NULL);
    (void)pthread_cond_init(&s->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static int
shimmy_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
            struct berth_shimlet **ret, struct berth_err *e)
{
    struct berth_shimlet *s = calloc(1, sizeof *s);
    int r = 0;

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "shimmy: out of memory");
    init(s, h, how);
    if (how->state_dir != NULL) {
        s->state_dir = strdup(how->state_dir);
        r = s->state_dir != NULL ? shimmy_load(s, e)
                                 : berth_err_set(e, BERTH_ENOMEM, "shimmy: out of memory");
    }
    if (r == 0 && s->watches) {
        s->thread_runs = pthread_create(&s->thread, NULL, shimmy_thread, s) == 0;
        if (!s->thread_runs)
            r = berth_err_set(e, BERTH_ELIMIT, "shimmy: cannot start a thread");
    }
    if (r < 0) {
        shimmy_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

const struct berth_shimlet_ops berth_shimlet_shimmy = {
    .abi = BERTH_SHIMLET_ABI,
    .struct_size = sizeof berth_shimlet_shimmy,
    .name = "shimmy",
    .version = BERTH_VERSION,
    .description = "a scripted environment in memory, for tests",
    .settings = shimmy_settings,
    .open = shimmy_open,
    .close = shimmy_close,
    .apply = shimmy_apply,
    .remove = shimmy_remove,
    .status = shimmy_status,
    .list = shimmy_list,
    .check = shimmy_check,
    .logs = shimmy_logs,
    .resources = shimmy_resources,
    .render = shimmy_render,
    .watches = shimmy_watches,
    .node = shimmy_node,
    .held = shimmy_held,
};
