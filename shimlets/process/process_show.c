#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "os/memory.h"
#include "shimlets/process/process_priv.h"
#include "shimlets/render.h"
#include "wire/json.h"

/* ---- status, list ---- */

/* Copied, so that nothing is held while it is told. */
struct seen {
    struct berth_observed o;
    struct berth_arena a;
};

/* One that starts, or hangs: for how long, what it is waited for, and how the try before ended.
 * NULL: there is nothing to say of it. */
static const char *
see_reason(const struct process_replica *r, struct berth_arena *a)
{
    const uint64_t now = berth_now_ns(), limit_s = r->rec.start_timeout_ns / BERTH_S;
    struct berth_buf b;

    if (r->state != BERTH_REPLICA_STARTING || r->pid == 0)
        return r->reason[0] != '\0' ? berth_arena_strdup(a, r->reason) : NULL;
    berth_buf_init(&b, a);
    berth_buf_printf(&b, "%s for %llu s",
                     r->ready_ns != 0 ? "does not answer any more," : "starting",
                     (unsigned long long)((now - r->begun_ns) / BERTH_S));
    if (limit_s > 0)
        berth_buf_printf(&b, " of at most %llu s", (unsigned long long)limit_s);
    berth_buf_printf(&b, ": %s", r->heard[0] != '\0' ? r->heard : "not asked yet");
    if (r->reason[0] != '\0')
        berth_buf_printf(&b, "; before that it %s", r->reason);
    return berth_buf_text(&b);
}

static void
see_replica(const struct berth_shimlet *s, const struct process_replica *r, struct berth_arena *a,
            struct berth_replica *ret)
{
    *ret = (struct berth_replica){
        .struct_size = sizeof *ret,
        .id = berth_arena_strdup(a, r->rec.id),
        .hash = berth_arena_strdup(a, r->rec.hash),
        .revision = r->rec.revision,
        .state = r->state,
        .endpoint = r->rec.port != 0 ? berth_arena_printf(a, "%s://%s:%u", process_scheme(&r->rec),
                                                          process_reach(s->conf.host), r->rec.port)
                                     : NULL,
        .ca_path = r->rec.ca_path != NULL ? berth_arena_strdup(a, r->rec.ca_path) : NULL,
        .key_path = r->rec.key_path != NULL ? berth_arena_strdup(a, r->rec.key_path) : NULL,
        .reason = see_reason(r, a),
        .restarts = r->restarts,
        .memory_bytes = r->memory_bytes,
        .cpu_milli = r->cpu_milli,
    };
}

int
process_status(struct berth_shimlet *s, const struct berth_op *op, const char *name,
               void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
               struct berth_err *e)
{
    struct seen seen = {.o = {.struct_size = sizeof seen.o}};
    bool full = false;

    (void)op;
    berth_arena_init(&seen.a, 16u << 20);
    (void)pthread_mutex_lock(&s->machine->mu);
    const struct process_unit *u = process_unit_find(s, name);
    if (u != NULL) {
        struct berth_replica *all =
            BERTH_NEW_N(&seen.a, struct berth_replica, u->replica_count + 1);
        size_t n = 0;

        for (const struct process_replica *r = u->replicas; all != NULL && r != NULL; r = r->next)
            see_replica(s, r, &seen.a, &all[n++]);
        full = all == NULL;
        seen.o.exists = true;
        seen.o.hash = berth_arena_strdup(&seen.a, u->hash);
        seen.o.replicas_desired = u->desired;
        seen.o.replicas = all;
        seen.o.replica_count = n;
        seen.o.message = process_limits_text(s, u);
    }
    (void)pthread_mutex_unlock(&s->machine->mu);
    if (!full)
        tell(arg, &seen.o);
    berth_arena_fini(&seen.a);
    return full ? berth_err_set(e, BERTH_ENOMEM, "no memory to tell of %s", name) : 0;
}

int
process_list(struct berth_shimlet *s, const struct berth_op *op,
             void (*each)(void *arg, const struct berth_listed *one), void *arg,
             struct berth_err *e)
{
    struct berth_listed *all = NULL;
    struct berth_arena a;
    size_t n = 0, cap = 1;

    (void)op;
    berth_arena_init(&a, 64u << 20);
    (void)pthread_mutex_lock(&s->machine->mu);
    for (const struct process_unit *u = s->units; u != NULL; u = u->next)
        cap++;
    all = BERTH_NEW_N(&a, struct berth_listed, cap);
    for (const struct process_unit *u = s->units; all != NULL && u != NULL; u = u->next)
        all[n++] = (struct berth_listed){
            .service_id = berth_arena_strdup(&a, u->service_id),
            .track = berth_arena_strdup(&a, u->track),
            .name = berth_arena_strdup(&a, u->name),
            .hash = berth_arena_strdup(&a, u->hash),
        };
    (void)pthread_mutex_unlock(&s->machine->mu);
    for (size_t i = 0; i < n; i++)
        each(arg, &all[i]);
    berth_arena_fini(&a);
    return all == NULL ? berth_err_set(e, BERTH_ENOMEM, "no memory for a list") : 0;
}

/* ---- what the machine has, and what is promised of it ---- */

struct sums {
    uint64_t memory_total, memory_free, memory_promised;
    uint64_t cpu_total, cpu_promised;
    uint64_t devices_total, devices_promised;
};

/* Promised to every unit of this machine but the one of that name here. */
static int
add_up(struct berth_shimlet *s, const char *but, struct sums *ret, struct berth_err *e)
{
    struct berth_memory m;
    const int r = berth_memory_read(NULL, &m, e);

    if (r < 0)
        return r;
    *ret = (struct sums){
        .memory_total = m.total_bytes,
        .memory_free = m.free_bytes,
        .cpu_total = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * 1000,
        .devices_total = process_devices(),
    };
    (void)pthread_mutex_lock(&s->machine->mu);
    for (const struct berth_shimlet *o = s->machine->shimlets; o != NULL; o = o->neighbour) {
        for (const struct process_unit *u = o->units; u != NULL; u = u->next) {
            if (o == s && but != NULL && strcmp(u->name, but) == 0)
                continue;
            ret->memory_promised += u->memory_bytes * u->desired;
            ret->cpu_promised += u->cpu_milli * u->desired;
            ret->devices_promised += (uint64_t)u->accelerators * u->desired;
        }
    }
    (void)pthread_mutex_unlock(&s->machine->mu);
    return 0;
}

static double
gib(uint64_t bytes)
{
    return (double)bytes / (double)(1u << 30);
}

static int
check_memory(const struct berth_unit *u, const struct sums *have, struct berth_err *e)
{
    uint64_t need;

    if (!__builtin_mul_overflow(u->memory_bytes, (uint64_t)u->replicas, &need) &&
        need <= have->memory_total && need <= have->memory_total - have->memory_promised)
        return 0;
    return berth_err_set(
        e, BERTH_ELIMIT,
        "does not fit: %u replica%s of %.2f GiB memory need %.2f GiB; this machine "
        "has %.2f GiB, of which %.2f GiB are promised to other services (%.2f GiB "
        "are free now)",
        u->replicas, u->replicas == 1 ? "" : "s", gib(u->memory_bytes),
        gib(u->memory_bytes) * u->replicas, gib(have->memory_total), gib(have->memory_promised),
        gib(have->memory_free));
}

int
process_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
              struct berth_err *e)
{
    char program[PROCESS_PATH_MAX];
    struct sums have;
    int r;

    (void)op;
    if (u->command == NULL || u->command[0] == NULL)
        return berth_err_set(
            e, BERTH_EINVAL,
            "an engine that is a process needs a command (an image is not run here)");
    if ((r = process_program(s, u->command[0], program, e)) < 0 ||
        (r = process_accelerator_check(u, e)) < 0 || (r = add_up(s, u->name, &have, e)) < 0)
        return r;
    if (have.memory_promised > have.memory_total)
        have.memory_promised = have.memory_total;
    if (u->memory_bytes > 0 && (r = check_memory(u, &have, e)) < 0)
        return r;
    if (u->cpu_milli > have.cpu_total)
        return berth_err_set(e, BERTH_ELIMIT,
                             "does not fit: a replica needs %.1f cores; this machine has %.1f",
                             (double)u->cpu_milli / 1000, (double)have.cpu_total / 1000);
    if ((uint64_t)u->accelerator_count * u->replicas + have.devices_promised > have.devices_total &&
        u->accelerator_count > 0)
        return berth_err_set(
            e, BERTH_ELIMIT,
            "does not fit: %u replicas need %u accelerators each; this machine has "
            "%llu, of which %llu are promised to other services",
            u->replicas, u->accelerator_count, (unsigned long long)have.devices_total,
            (unsigned long long)have.devices_promised);
    if (u->port != 0 && (uint64_t)u->port + u->replicas > UINT16_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "replicas listen at port %u and those after it: there "
                             "are not %u of them",
                             u->port, u->replicas);
    return 0;
}

int
process_resources(struct berth_shimlet *s, const struct berth_op *op, struct berth_resources *ret,
                  struct berth_err *e)
{
    struct sums have;
    const int r = add_up(s, NULL, &have, e);

    (void)op;
    if (r < 0)
        return r;
    *ret = (struct berth_resources){
        .struct_size = sizeof *ret,
        .cpu_milli_total = have.cpu_total,
        .cpu_milli_free =
            have.cpu_total > have.cpu_promised ? have.cpu_total - have.cpu_promised : 0,
        .memory_bytes_total = have.memory_total,
        .memory_bytes_free = have.memory_free,
        .accelerators_total = (uint32_t)have.devices_total,
        .accelerators_free = (uint32_t)(have.devices_total > have.devices_promised
                                            ? have.devices_total - have.devices_promised
                                            : 0),
    };
    return 0;
}

int
process_held(struct berth_shimlet *s, const struct berth_op *op, const char *name,
             uint32_t *ret_accelerators, struct berth_err *e)
{
    uint32_t held = 0;

    (void)op;
    (void)e;
    (void)pthread_mutex_lock(&s->machine->mu);
    const struct process_unit *u = process_unit_find(s, name);
    for (const struct process_replica *r = u != NULL ? u->replicas : NULL; r != NULL; r = r->next)
        held += (uint32_t)r->rec.device_count;
    (void)pthread_mutex_unlock(&s->machine->mu);
    *ret_accelerators = held;
    return 0;
}

/* ---- render ---- */

int
process_render(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
               void (*text)(void *arg, const char *json, size_t len), void *arg,
               struct berth_err *e)
{
    (void)s;
    (void)op;
    return berth_shimlet_render("Process", u, text, arg, e);
}
