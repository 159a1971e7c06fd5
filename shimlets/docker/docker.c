#include "shimlets/docker/docker.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/num.h"
#include "shimlets/docker/docker_priv.h"
#include "wire/json.h"

/* ---- open, close ---- */

static void
docker_close(struct berth_shimlet *s)
{
    if (s == NULL)
        return;
    berth_docker_watch_free(s->watch); /* its events end what the health has */
    berth_docker_health_free(s->health);
    berth_docker_engine_free(s->g);
    berth_docker_records_free(s);
    free(s->units_dir);
    berth_arena_fini(&s->arena);
    (void)pthread_mutex_destroy(&s->mu);
    free(s);
}

static int
docker_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
            struct berth_shimlet **ret, struct berth_err *e)
{
    struct berth_shimlet *s = calloc(1, sizeof *s);

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    s->h = h;
    s->followed_max = BERTH_DOCKER_FOLLOWED_MAX;
    (void)pthread_mutex_init(&s->mu, NULL);
    berth_arena_init(&s->arena, 1024 * 1024);
    int r = berth_docker_conf_read(how->settings_json, how->owner, &s->arena, &s->conf, e);
    if (r == 0 && how->state_dir != NULL &&
        asprintf(&s->units_dir, "%s/units", how->state_dir) < 0) {
        s->units_dir = NULL;
        r = berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    }
    if (r == 0)
        r = berth_docker_engine_new(h, s->conf.host, s->conf.cert_dir, &s->g, e);
    if (r == 0 && berth_docker_engine_local(s->g)) /* elsewhere its name is not known here */
        (void)gethostname(s->node, sizeof s->node - 1);
    if (r == 0)
        r = berth_docker_records_load(s, e);
    if (r == 0)
        r = berth_docker_health_new(h, how->who, s->conf.health_ns, &s->health, e);
    if (r == 0)
        r = berth_docker_watch_new(h, how->who, &s->conf, s->g, s->health, &s->watch, e);
    if (r < 0) {
        docker_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

static bool
docker_watches(const struct berth_shimlet *s)
{
    return berth_docker_watch_is_open(s->watch);
}

/* ---- status ---- */

static struct berth_replica
replica_of(const struct berth_shimlet *s, const struct berth_docker_seen *c)
{
    return (struct berth_replica){
        .struct_size = sizeof(struct berth_replica),
        .id = c->short_id,
        .hash = c->hash,
        .revision = c->revision,
        .state = c->state,
        .endpoint = c->endpoint,
        .reason = c->reason,
        .node = s->node[0] != '\0' ? s->node : NULL,
        .restarts = c->restarts,
        .memory_bytes = c->memory_bytes,
        .cpu_milli = c->cpu_milli,
    };
}

/* What was wanted, by the record, or by the newest containers when there is none. */
static void
wanted(const struct berth_docker_record *record, bool has_record,
       const struct berth_docker_seen *seen, size_t count, struct berth_observed *ret)
{
    uint64_t newest = 0;

    if (has_record) {
        ret->hash = record->hash;
        ret->replicas_desired = record->replicas;
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (ret->hash == NULL || seen[i].revision > newest) {
            newest = seen[i].revision;
            ret->hash = seen[i].hash;
        }
    for (size_t i = 0; i < count; i++)
        ret->replicas_desired += strcmp(seen[i].hash, ret->hash) == 0;
}

/* Did somebody change what apply() had made?  Says what was met first. */
static const char *
drift_of(const struct berth_observed *o, const struct berth_docker_seen *seen, size_t count,
         struct berth_arena *a)
{
    for (size_t i = 0; i < count; i++) {
        const struct berth_docker_seen *c = &seen[i];

        if (o->hash == NULL || strcmp(c->hash, o->hash) != 0)
            continue; /* it goes anyway */
        if (c->limits_changed)
            return berth_arena_printf(a, "%s has other limits than it was made with", c->name);
        switch (c->need) {
        case BERTH_DOCKER_NEEDS_START:
            return berth_arena_printf(a, "%s does not run: %s", c->name,
                                      c->reason != NULL ? c->reason : "it was never started");
        case BERTH_DOCKER_NEEDS_UNPAUSE:
            return berth_arena_printf(a, "%s is paused", c->name);
        case BERTH_DOCKER_NEEDS_RESTART:
            return berth_arena_printf(a, "%s has to be restarted: %s", c->name, c->reason);
        case BERTH_DOCKER_NEEDS_REMOVAL:
        case BERTH_DOCKER_NEEDS_NOTHING:
            break;
        }
    }
    return NULL;
}

static int
docker_status(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
              void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
              struct berth_err *e)
{
    struct berth_observed o = {.struct_size = sizeof o};
    struct berth_docker_record record = {0};
    struct berth_docker_seen *seen = NULL;
    struct berth_arena a;
    size_t count = 0;
    int has = 0;

    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    int r = berth_docker_look(s, op, unit_name, &a, &seen, &count, e);
    if (r == 0)
        r = has = berth_docker_record_get(s, unit_name, &a, &record, e);
    struct berth_replica *replicas =
        r >= 0 ? BERTH_NEW_N(&a, struct berth_replica, count + 1) : NULL;
    if (r >= 0 && replicas == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    if (r >= 0) {
        wanted(&record, has > 0, seen, count, &o);
        for (size_t i = 0; i < count; i++)
            replicas[i] = replica_of(s, &seen[i]);
        o.exists = has > 0 || count > 0;
        o.replicas = replicas;
        o.replica_count = count;
        o.message = drift_of(&o, seen, count, &a);
        o.drifted = o.message != NULL || (has > 0 && count < o.replicas_desired);
        if (o.drifted && o.message == NULL)
            o.message =
                berth_arena_printf(&a, "%zu of %u containers are there", count, o.replicas_desired);
        tell(arg, &o);
        r = 0;
    }
    berth_arena_fini(&a);
    return r;
}

/* ---- list ---- */

/* Has an earlier container of the list the same unit? */
static bool
is_told(const struct berth_shimlet *s, const struct berth_json *listed, size_t before,
        const char *unit)
{
    for (struct berth_json_iter it = berth_json_iter(listed);
         berth_json_next(&it) && it.index < before;) {
        const char *other = berth_docker_label_of(s, berth_json_get(it.value, "Labels"), "unit");
        if (other != NULL && strcmp(other, unit) == 0)
            return true;
    }
    return false;
}

static int
docker_list(struct berth_shimlet *s, const struct berth_op *op,
            void (*each)(void *arg, const struct berth_listed *one), void *arg, struct berth_err *e)
{
    struct berth_docker_record *records = NULL;
    const struct berth_json *listed = NULL;
    struct berth_arena a;

    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    int r = berth_docker_list(s, op, NULL, &a, &listed, e);
    if (r == 0)
        r = berth_docker_record_all(s, &a, &records, e);
    for (const struct berth_docker_record *k = records; k != NULL; k = k->next)
        each(arg, &(struct berth_listed){k->service_id, k->track, k->name, k->hash});
    for (struct berth_json_iter it = berth_json_iter(r == 0 ? listed : NULL);
         berth_json_next(&it);) {
        const struct berth_json *labels = berth_json_get(it.value, "Labels");
        const struct berth_listed one = {
            .service_id = berth_docker_label_of(s, labels, "service"),
            .track = berth_docker_label_of(s, labels, "track"),
            .name = berth_docker_label_of(s, labels, "unit"),
            .hash = berth_docker_label_of(s, labels, "hash"),
        };
        bool told = one.name == NULL || one.service_id == NULL || one.track == NULL;

        for (const struct berth_docker_record *k = records; k != NULL && !told; k = k->next)
            told = strcmp(k->name, one.name) == 0;
        if (!told && !is_told(s, listed, it.index, one.name))
            each(arg, &one);
    }
    berth_arena_fini(&a);
    return r;
}

/* ---- what the daemon's machine has ---- */

/* NVIDIA devices of this machine; 0: none, or the daemon is elsewhere. */
static uint32_t
gpus_here(const struct berth_shimlet *s)
{
    DIR *dir = berth_docker_engine_local(s->g) ? opendir("/dev") : NULL;
    uint32_t n = 0;

    if (dir == NULL)
        return 0;
    for (const struct dirent *d; (d = readdir(dir)) != NULL;)
        n += strncmp(d->d_name, "nvidia", 6) == 0 && d->d_name[6] >= '0' && d->d_name[6] <= '9';
    (void)closedir(dir);
    return n;
}

static uint64_t
less(uint64_t all, uint64_t taken)
{
    return all > taken ? all - taken : 0;
}

static int
docker_resources(struct berth_shimlet *s, const struct berth_op *op, struct berth_resources *ret,
                 struct berth_err *e)
{
    const struct berth_docker_ask ask = {.path = "/info", .op = op};
    const struct berth_json *root = NULL, *listed = NULL;
    uint64_t cores = 0, bytes = 0, cpu = 0, memory = 0, gpus = 0;
    struct berth_arena a;

    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    int r = berth_docker_ask(s->g, &ask, &a, &root, e);
    if (r == 0)
        r = berth_docker_list(s, op, NULL, &a, &listed, e);
    if (r == 0) {
        (void)berth_json_uint(berth_json_get(root, "NCPU"), &cores);
        (void)berth_json_uint(berth_json_get(root, "MemTotal"), &bytes);
        for (struct berth_json_iter it = berth_json_iter(listed); berth_json_next(&it);) {
            const struct berth_json *labels = berth_json_get(it.value, "Labels");
            cpu += berth_docker_label_number(s, labels, "cpu_milli");
            memory += berth_docker_label_number(s, labels, "memory_bytes");
            gpus += berth_docker_label_number(s, labels, "accelerators");
        }
        const uint32_t here = gpus_here(s);
        *ret = (struct berth_resources){
            .struct_size = sizeof *ret,
            .cpu_milli_total = cores * 1000,
            .cpu_milli_free = less(cores * 1000, cpu),
            .memory_bytes_total = bytes,
            .memory_bytes_free = less(bytes, memory),
            .accelerators_total = here,
            .accelerators_free = (uint32_t)less(here, gpus),
        };
    }
    berth_arena_fini(&a);
    return r;
}

/* The sums: a container that wants more than the whole machine never runs. */
static int
check_sums(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
           struct berth_err *e)
{
    struct berth_resources m;
    const int r = docker_resources(s, op, &m, e);

    if (r < 0)
        return r;
    if (m.memory_bytes_total > 0 && u->memory_bytes > m.memory_bytes_total)
        return berth_err_set(e, BERTH_ELIMIT,
                             "docker: a replica wants %llu MiB of memory; the machine has %llu MiB",
                             (unsigned long long)(u->memory_bytes >> 20),
                             (unsigned long long)(m.memory_bytes_total >> 20));
    if (m.cpu_milli_total > 0 && u->cpu_milli > m.cpu_milli_total)
        return berth_err_set(
            e, BERTH_ELIMIT, "docker: a replica wants %llu.%03llu cores; the machine has %llu",
            (unsigned long long)(u->cpu_milli / 1000), (unsigned long long)(u->cpu_milli % 1000),
            (unsigned long long)(m.cpu_milli_total / 1000));
    if (m.accelerators_total > 0 && u->accelerator_count > m.accelerators_total)
        return berth_err_set(e, BERTH_ELIMIT, "docker: a replica wants %u GPUs; the machine has %u",
                             u->accelerator_count, m.accelerators_total);
    return 0;
}

static int
docker_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
             struct berth_err *e)
{
    struct berth_docker_plan p;
    struct berth_arena a;

    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    int r = berth_docker_plan_make(&s->conf, u, &a, &p, e);
    if (r == 0)
        r = check_sums(s, op, u, e);
    if (r == 0)
        r = berth_docker_image_can(s, op, &p, e);
    if (r == 0 && p.model_dir != NULL && berth_docker_engine_local(s->g) &&
        access(p.model_dir, F_OK) < 0)
        r = berth_err_set(e, BERTH_EINVAL, "docker: the model's folder %.300s: %m", p.model_dir);
    berth_arena_fini(&a);
    return r;
}

/* ---- the rest ---- */

static int
docker_render(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
              void (*text)(void *arg, const char *json, size_t len), void *arg, struct berth_err *e)
{
    struct berth_docker_plan p;
    struct berth_arena a;
    struct berth_buf out;

    (void)op;
    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    berth_buf_init(&out, &a);
    int r = berth_docker_plan_make(&s->conf, u, &a, &p, e);
    berth_buf_putc(&out, '[');
    for (uint32_t i = 0; r == 0 && i < u->replicas; i++) {
        /* A port that is chosen when a container is made is not known before: 0. */
        const struct berth_docker_ports ports = {
            .inner = u->port,
            .outer = p.host_network ? u->port : 0,
        };
        if (i > 0)
            berth_buf_putc(&out, ',');
        berth_buf_printf(&out,
                         "{\"name\":\"%s\",\"create\":", berth_docker_container_name(u, i, &a));
        r = berth_docker_body(&p, i, ports, &a, &out, e);
        berth_buf_putc(&out, '}');
    }
    berth_buf_putc(&out, ']');
    if (r == 0 && out.failed)
        r = berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    if (r == 0)
        text(arg, out.at, out.len);
    berth_arena_fini(&a);
    return r;
}

static int
docker_held(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
            uint32_t *ret_accelerators, struct berth_err *e)
{
    const struct berth_json *listed = NULL;
    struct berth_arena a;
    uint64_t n = 0;

    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    const int r = berth_docker_list(s, op, unit_name, &a, &listed, e);
    for (struct berth_json_iter it = berth_json_iter(r == 0 ? listed : NULL); berth_json_next(&it);)
        n += berth_docker_label_number(s, berth_json_get(it.value, "Labels"), "accelerators");
    berth_arena_fini(&a);
    if (r == 0)
        *ret_accelerators = (uint32_t)n;
    return r;
}

const struct berth_shimlet_ops berth_shimlet_docker = {
    .abi = BERTH_SHIMLET_ABI,
    .struct_size = sizeof berth_shimlet_docker,
    .name = "docker",
    .version = BERTH_VERSION,
    .description = "containers of a Docker daemon, by its Engine API",
    .settings = berth_docker_settings,
    .open = docker_open,
    .close = docker_close,
    .apply = berth_docker_apply,
    .remove = berth_docker_remove,
    .status = docker_status,
    .list = docker_list,
    .check = docker_check,
    .logs = berth_docker_logs,
    .resources = docker_resources,
    .render = docker_render,
    .watches = docker_watches,
    .held = docker_held,
};
