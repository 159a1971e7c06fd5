#include "shimlets/process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <berth/settings.h>

#include "base/clock.h"
#include "base/random.h"
#include "shimlets/process/process_priv.h"
#include "shimlets/rollout.h"

enum { STEPS_MAX = 64 };

/* At file scope because open() is handed nothing that two environments have in common, and there is
 * one machine under a program.  What changes in it is under its mutex. */
static struct process_machine machine = {.mu = PTHREAD_MUTEX_INITIALIZER};

static const struct berth_setting settings[] = {
    {"host", BERTH_SETTING_STRING, 0, 0, "127.0.0.1", "address that engines listen on"},
    {"port_min", BERTH_SETTING_INT, 1, 65535, "20000", "first port that replicas are given"},
    {"port_max", BERTH_SETTING_INT, 1, 65535, "29999", "last port that replicas are given"},
    {"stop_ms", BERTH_SETTING_INT, 0, 3600000, "10000", "from SIGTERM to SIGKILL"},
    {"restart_ms", BERTH_SETTING_INT, 1, 3600000, "200", "from a crash to the restart; doubles"},
    {"restart_max_ms", BERTH_SETTING_INT, 1, 3600000, "60000", "up to this"},
    {"look_ms", BERTH_SETTING_INT, 10, 3600000, "5000", "between looks at health and figures"},
    {"log_bytes_max", BERTH_SETTING_INT, 65536, 1e12, "8388608", "kept of what a replica prints"},
    {"cgroup", BERTH_SETTING_STRING, 0, 0, "",
     "delegated control group for limits; empty: found if there is one; none: rlimit and affinity"},
    {.key = NULL},
};

/* ---- apply ---- */

/* Accelerators that no replica has, up to cap of them. */
static size_t
free_devices(const struct berth_shimlet *s, uint32_t *ret, size_t cap)
{
    const uint32_t all = process_devices();
    size_t n = 0;

    for (uint32_t device = 0; device < all && n < cap; device++) {
        if (!process_device_taken(s, device))
            ret[n++] = device;
    }
    return n;
}

static const char *const *
copy_command(struct berth_arena *a, const char *const *command)
{
    size_t n = 0;

    while (command[n] != NULL)
        n++;
    const char **all = BERTH_NEW_N(a, const char *, n + 1);
    for (size_t i = 0; all != NULL && i < n; i++) {
        all[i] = berth_arena_strdup(a, command[i]);
        if (all[i] == NULL)
            return NULL;
    }
    return all;
}

static int
fill_record(struct berth_shimlet *s, struct process_replica *r, const struct berth_unit *u,
            uint32_t index, struct berth_err *e)
{
    struct berth_arena *a = &r->arena;
    char cwd[PATH_MAX];
    struct berth_pair *env = BERTH_NEW_N(a, struct berth_pair, u->env_count + 1);
    bool ok = env != NULL;

    r->rec = (struct process_record){
        .id = berth_arena_printf(a, "%s-%08x", u->name, (unsigned)berth_random_u64()),
        .hash = berth_arena_strdup(a, u->hash),
        .cwd = berth_arena_strdup(a, getcwd(cwd, sizeof cwd) != NULL ? cwd : "/"),
        .health_path = u->health_path != NULL ? berth_arena_strdup(a, u->health_path) : NULL,
        .ca_path = u->ca_path != NULL ? berth_arena_strdup(a, u->ca_path) : NULL,
        .key_path = u->key_path != NULL ? berth_arena_strdup(a, u->key_path) : NULL,
        .command = copy_command(a, u->command),
        .env = env,
        .revision = u->revision,
        .cpu_milli = u->cpu_milli,
        .memory_bytes = u->memory_bytes,
        .start_timeout_ns = u->start_timeout_ns,
        .drain_timeout_ns = u->drain_timeout_ns,
        .index = index,
        .port = u->port != 0 ? (uint16_t)(u->port + index) : 0,
        .port_fixed = u->port != 0,
    };
    for (size_t i = 0; ok && i < u->env_count; i++) {
        env[i] = (struct berth_pair){berth_arena_strdup(a, u->env[i].key),
                                     berth_arena_strdup(a, u->env[i].value)};
        ok = env[i].key != NULL && env[i].value != NULL;
        r->rec.env_count++;
    }
    ok = ok && (u->ca_path == NULL || r->rec.ca_path != NULL) &&
         (u->key_path == NULL || r->rec.key_path != NULL);
    if (!ok || r->rec.id == NULL || r->rec.hash == NULL || r->rec.cwd == NULL ||
        r->rec.command == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "no memory for a replica of %s", u->name);
    r->rec.device_count = free_devices(
        s, r->rec.devices,
        u->accelerator_count < PROCESS_DEVICES_MAX ? u->accelerator_count : PROCESS_DEVICES_MAX);
    if (r->rec.device_count < u->accelerator_count)
        return berth_err_set(e, BERTH_ELIMIT, "%u accelerators are needed, %zu are free",
                             u->accelerator_count, r->rec.device_count);
    return 0;
}

/* The intent first: whatever happens from there on, it is known that this one is to be. */
static int
add_replica(struct berth_shimlet *s, struct process_unit *u, const struct berth_unit *want,
            uint32_t index, struct berth_err *e)
{
    struct process_replica *r = process_replica_new(u);

    if (r == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "no memory for a replica of %s", u->name);
    r->rec.id = "";
    int ret = fill_record(s, r, want, index, e);
    if (ret == 0)
        ret = process_keep_record(s, r, e);
    if (ret < 0) {
        process_replica_drop(r);
        return ret;
    }
    process_start(s, r);
    return 0;
}

/* How this unit can be rolled here: where the new replica needs what only the old one can give (a
 * fixed port, the last accelerators), the old one goes first. */
static struct berth_rollout_want
how_to_roll(const struct berth_shimlet *s, const struct berth_unit *u)
{
    struct berth_rollout_want want = {
        .replicas = u->replicas,
        .surge_max = u->surge_max,
        .unavailable_max = u->unavailable_max,
        .hash = u->hash,
        .index_exclusive = u->port != 0,
    };
    uint32_t devices[PROCESS_DEVICES_MAX];

    if (u->port != 0 || (u->accelerator_count > 0 &&
                         free_devices(s, devices, PROCESS_DEVICES_MAX) < u->accelerator_count)) {
        want.surge_max = 0;
        want.unavailable_max = u->unavailable_max > 0 ? u->unavailable_max : 1;
    }
    return want;
}

/* Drain it with mu open, then begin its end if it is still there. */
static void
drain_and_stop(struct berth_shimlet *s, const struct berth_op *op, const char *id,
               uint64_t drain_ns)
{
    (void)pthread_mutex_unlock(&s->machine->mu);
    (void)s->h->drain(op, id, drain_ns);
    (void)pthread_mutex_lock(&s->machine->mu);
    struct process_replica *r = process_replica_find(s, id);
    if (r != NULL && r->state != BERTH_REPLICA_STOPPING)
        process_stop(s, r);
}

static int
roll(struct berth_shimlet *s, const struct berth_op *op, struct process_unit *u,
     const struct berth_unit *unit, struct berth_err *e)
{
    struct berth_rollout_seen seen[PROCESS_REPLICAS_MAX];
    struct berth_rollout_step steps[STEPS_MAX];
    const struct process_replica *at[PROCESS_REPLICAS_MAX];
    struct {
        char id[PROCESS_ID_MAX];
        uint64_t drain_ns;
    } stops[STEPS_MAX];
    const struct berth_rollout_want want = how_to_roll(s, unit);
    size_t n = 0, stop_count = 0;
    int ret = 0;

    for (const struct process_replica *r = u->replicas; r != NULL && n < PROCESS_REPLICAS_MAX;
         r = r->next) {
        at[n] = r;
        seen[n++] = (struct berth_rollout_seen){r->rec.index, r->rec.hash, r->state};
    }
    const size_t step_count = berth_rollout_plan(&want, seen, n, steps, STEPS_MAX);
    for (size_t i = 0; i < step_count; i++) {
        if (steps[i].what != BERTH_ROLLOUT_STOP)
            continue;
        (void)snprintf(stops[stop_count].id, PROCESS_ID_MAX, "%s", at[steps[i].at]->rec.id);
        stops[stop_count++].drain_ns = at[steps[i].at]->rec.drain_timeout_ns;
    }
    for (size_t i = 0; i < step_count && ret == 0; i++) {
        if (steps[i].what == BERTH_ROLLOUT_START)
            ret = add_replica(s, u, unit, steps[i].index, e);
    }
    for (size_t i = 0; i < stop_count && ret == 0; i++) {
        if (s->h->cancelled(op))
            return berth_err_set(e, BERTH_ECANCELED, "cut short while replicas were drained");
        drain_and_stop(s, op, stops[i].id, stops[i].drain_ns);
    }
    return ret;
}

/* Keep what is wanted now, where it differs from what was. */
static int
keep_unit(struct berth_shimlet *s, struct process_unit *u, const struct berth_unit *want,
          struct berth_err *e)
{
    if (strcmp(u->hash, want->hash) == 0 && u->desired == want->replicas &&
        strcmp(u->service_id, want->service_id) == 0)
        return 0;
    (void)snprintf(u->service_id, sizeof u->service_id, "%s", want->service_id);
    (void)snprintf(u->track, sizeof u->track, "%s", want->track);
    (void)snprintf(u->hash, sizeof u->hash, "%s", want->hash);
    u->desired = want->replicas;
    u->accelerators = want->accelerator_count;
    u->memory_bytes = want->memory_bytes;
    u->cpu_milli = want->cpu_milli;
    return process_keep_unit(s, u, e);
}

static int
process_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *want,
              struct berth_err *e)
{
    char program[PROCESS_PATH_MAX];

    if (want->command == NULL || want->command[0] == NULL)
        return berth_err_set(e, BERTH_EINVAL, "an engine that is a process needs a command");
    if (strlen(want->name) >= PROCESS_NAME_MAX || strlen(want->hash) >= PROCESS_TEXT_MAX ||
        want->replicas + want->surge_max > PROCESS_REPLICAS_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: a name or hash is too long, or there are more "
                             "than %d replicas",
                             want->name, PROCESS_REPLICAS_MAX);
    int r = process_program(s, want->command[0], program, e);
    if (r < 0 || (r = process_accelerator_check(want, e)) < 0)
        return r;
    (void)pthread_mutex_lock(&s->machine->mu);
    struct process_unit *u = process_unit_find(s, want->name);
    if (u == NULL)
        u = process_unit_new(s, want->name);
    r = u != NULL ? keep_unit(s, u, want, e) : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0)
        r = roll(s, op, u, want, e);
    (void)pthread_mutex_unlock(&s->machine->mu);
    return r;
}

/* ---- remove ---- */

static struct process_replica *
next_to_stop(const struct process_unit *u)
{
    for (struct process_replica *r = u->replicas; r != NULL; r = r->next) {
        if (r->state != BERTH_REPLICA_STOPPING)
            return r;
    }
    return NULL;
}

static int
process_remove(struct berth_shimlet *s, const struct berth_op *op, const char *name,
               struct berth_err *e)
{
    struct process_replica *r;
    int ret = 0;

    (void)pthread_mutex_lock(&s->machine->mu);
    struct process_unit *u = process_unit_find(s, name);
    while (u != NULL && ret == 0 && (r = next_to_stop(u)) != NULL) {
        char id[PROCESS_ID_MAX];

        if (s->h->cancelled(op)) {
            ret = berth_err_set(e, BERTH_ECANCELED, "cut short while replicas were drained");
            break;
        }
        (void)snprintf(id, sizeof id, "%s", r->rec.id);
        drain_and_stop(s, op, id, r->rec.drain_timeout_ns);
    }
    if (u != NULL && ret == 0) {
        u->desired = 0;
        ret = u->replica_count > 0;
        if (ret == 0) {
            process_erase_unit(s, u);
            process_unit_drop(s, u);
        }
    }
    (void)pthread_mutex_unlock(&s->machine->mu);
    return ret;
}

static bool
process_watches(const struct berth_shimlet *s)
{
    (void)s;
    return true;
}

/* ---- open, close ---- */

static int
read_conf(const char *json, struct process_conf *ret, struct berth_err *e)
{
    char cgroup[PROCESS_PATH_MAX];

    (void)berth_setting_string(json, "host", "127.0.0.1", ret->host, sizeof ret->host);
    (void)berth_setting_string(json, "cgroup", "", cgroup, sizeof cgroup);
    ret->port_min = (uint16_t)berth_setting_int(json, "port_min", 20000);
    ret->port_max = (uint16_t)berth_setting_int(json, "port_max", 29999);
    ret->stop_ns = (uint64_t)berth_setting_int(json, "stop_ms", 10000) * BERTH_MS;
    ret->restart_ns = (uint64_t)berth_setting_int(json, "restart_ms", 200) * BERTH_MS;
    ret->restart_ns_max = (uint64_t)berth_setting_int(json, "restart_max_ms", 60000) * BERTH_MS;
    ret->look_ns = (uint64_t)berth_setting_int(json, "look_ms", 5000) * BERTH_MS;
    ret->log_bytes_max = (uint64_t)berth_setting_int(json, "log_bytes_max", 8 << 20);
    if (ret->port_min > ret->port_max)
        return berth_err_set(e, BERTH_ECONFIG, "port_min (%u) is above port_max (%u)",
                             ret->port_min, ret->port_max);
    process_cgroup_find(cgroup, ret->cgroup);
    if (cgroup[0] != '\0' && strcmp(cgroup, "none") != 0 && ret->cgroup[0] == '\0')
        return berth_err_set(e, BERTH_ECONFIG,
                             "no groups can be made in %s: it has to exist, be writable, and give "
                             "its cpu and memory controllers on",
                             cgroup);
    return 0;
}

/* One at a time keeps a state folder: two would each start what they find missing. */
static int
take_state_dir(struct berth_shimlet *s, const char *dir, struct berth_err *e)
{
    const uint64_t until = berth_now_ns() + 2 * BERTH_S;
    char path[PATH_MAX], whole[PATH_MAX];

    if (dir == NULL)
        return berth_err_set(e, BERTH_ECONFIG,
                             "processes outlive the program: set state_dir, where they are kept");
    (void)snprintf(path, sizeof path, "%s/units", dir);
    if ((mkdir(path, 0700) < 0 && errno != EEXIST) || realpath(dir, whole) == NULL)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    if (strlen(whole) + 2 * (size_t)PROCESS_NAME_MAX + PROCESS_ID_MAX > PROCESS_PATH_MAX)
        return berth_err_set(e, BERTH_ECONFIG, "%s: the path is too long", whole);
    (void)snprintf(s->state_dir, sizeof s->state_dir, "%s", whole);
    (void)snprintf(path, sizeof path, "%.*s/lock", PROCESS_PATH_MAX, whole);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    while (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        /* The last one may have a child left that has not become an engine yet. */
        if (errno != EWOULDBLOCK || berth_now_ns() > until)
            return berth_err_set(e, BERTH_EAGAIN, "%s: another program keeps its processes there",
                                 whole);
        (void)nanosleep(&(struct timespec){.tv_nsec = 20 * (long)BERTH_MS}, NULL);
    }
    return 0;
}

static void
process_close(struct berth_shimlet *s)
{
    if (s == NULL)
        return;
    (void)pthread_mutex_lock(&s->machine->mu);
    s->ends = true;
    process_wake(s);
    (void)pthread_mutex_unlock(&s->machine->mu);
    if (s->watch_runs)
        (void)pthread_join(s->watch_thread, NULL);
    for (uint32_t i = 0; i < s->looker_count; i++)
        (void)pthread_join(s->lookers[i], NULL);
    process_leave(s); /* from here on nobody else sees its units */
    while (s->units != NULL)
        process_unit_drop(s, s->units);
    if (s->event_fd >= 0)
        (void)close(s->event_fd);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    (void)pthread_cond_destroy(&s->look);
    free(s);
}

/* What was there: taken over, or started again. */
static void
take_up(struct berth_shimlet *s)
{
    process_sweep_orphans(s);
    for (struct process_unit *u = s->units; u != NULL; u = u->next) {
        for (struct process_replica *r = u->replicas; r != NULL; r = r->next)
            process_adopt(s, r);
    }
}

static struct berth_shimlet *
new_shimlet(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how)
{
    struct berth_shimlet *s = calloc(1, sizeof *s);
    pthread_condattr_t attr;

    if (s == NULL)
        return NULL;
    s->h = h;
    s->who = how->who;
    s->lock_fd = -1;
    process_boot(s->boot);
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    (void)snprintf(s->owner, sizeof s->owner, "%s", how->owner != NULL ? how->owner : "");
    (void)snprintf(s->program, sizeof s->program, "%s", how->program != NULL ? how->program : "");
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->look, &attr);
    (void)pthread_condattr_destroy(&attr);
    process_enter(&machine, s);
    return s;
}

static int
process_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
             struct berth_shimlet **ret, struct berth_err *e)
{
    struct berth_shimlet *s = new_shimlet(h, how);

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "process: out of memory");
    int r = s->event_fd >= 0 ? read_conf(how->settings_json, &s->conf, e)
                             : berth_err_set(e, BERTH_ELIMIT, "process: an event: %m");
    if (r == 0)
        r = take_state_dir(s, how->state_dir, e);
    (void)pthread_mutex_lock(&s->machine->mu);
    if (r == 0)
        r = process_load(s, e);
    if (r == 0)
        take_up(s);
    (void)pthread_mutex_unlock(&s->machine->mu);
    if (r == 0) {
        s->watch_runs = pthread_create(&s->watch_thread, NULL, process_watch, s) == 0;
        (void)pthread_mutex_lock(&s->machine->mu);
        const bool looks = process_look_more(s);
        (void)process_look_more(s); /* one alone does it, too */
        (void)pthread_mutex_unlock(&s->machine->mu);
        if (!s->watch_runs || !looks)
            r = berth_err_set(e, BERTH_ELIMIT, "process: cannot start a thread");
    }
    if (r < 0) {
        process_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

static bool
process_sees_files(const struct berth_shimlet *s)
{
    (void)s;
    return true;
}

static const char *const features[] = {"tls", NULL};

#define OPS(its_name, its_description)                                                        \
    {                                                                                         \
        .abi = BERTH_SHIMLET_ABI, .struct_size = sizeof(struct berth_shimlet_ops),            \
        .name = its_name, .version = BERTH_VERSION, .description = its_description,           \
        .settings = settings, .open = process_open, .close = process_close,                   \
        .apply = process_apply, .remove = process_remove, .status = process_status,           \
        .list = process_list, .check = process_check, .logs = process_logs,                   \
        .resources = process_resources, .render = process_render, .watches = process_watches, \
        .held = process_held, .sees_files = process_sees_files, .features = features,         \
    }

const struct berth_shimlet_ops berth_shimlet_process =
    OPS("process", "engines as processes of this machine");
const struct berth_shimlet_ops berth_shimlet_edge =
    OPS("edge", "engines as processes of this machine, for edge nodes");
