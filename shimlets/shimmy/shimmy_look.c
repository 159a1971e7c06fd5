#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "shimlets/render.h"
#include "shimlets/shimmy/shimmy_priv.h"
#include "wire/json.h"

/* ---- looking ---- */

/* What is told of one unit, copied so that mu is open while it is told. */
struct seen {
    struct berth_observed o;
    struct berth_replica *replicas;
    struct berth_arena a;
};

static void
see(const struct berth_shimlet *s, const struct shimmy_unit *u, struct seen *ret)
{
    struct berth_arena *a = &ret->a;

    ret->replicas = BERTH_NEW_N(a, struct berth_replica, u->replica_count + 1);
    ret->o = (struct berth_observed){
        .struct_size = sizeof ret->o,
        .exists = u->exists,
        .drifted = u->drifted,
        .hash = u->exists ? berth_arena_strdup(a, u->hash) : NULL,
        .replicas_desired = u->desired,
        .replicas = ret->replicas,
        .message = berth_arena_printf(
            a, "%scalls: apply %llu, remove %llu, status %llu; list %llu",
            u->drifted ? "somebody took a replica away; " : "",
            (unsigned long long)u->calls[SHIMMY_APPLY], (unsigned long long)u->calls[SHIMMY_REMOVE],
            (unsigned long long)u->calls[SHIMMY_STATUS], (unsigned long long)s->list_calls),
    };
    for (size_t i = 0; ret->replicas != NULL && i < u->replica_count; i++) {
        const struct shimmy_replica *r = &u->replicas[i];

        ret->replicas[ret->o.replica_count++] = (struct berth_replica){
            .struct_size = sizeof ret->replicas[0],
            .id = berth_arena_strdup(a, r->id),
            .hash = berth_arena_strdup(a, r->hash),
            .revision = r->revision,
            .state = r->state,
            .endpoint = u->conf.endpoint[0] != '\0'
                            ? berth_arena_strdup(a, u->conf.endpoint)
                            : berth_arena_printf(a, "http://%s.invalid:8000", r->id),
            .reason = r->reason[0] != '\0' ? berth_arena_strdup(a, r->reason) : NULL,
            .node = r->node >= 0 ? berth_arena_printf(a, "node-%d", r->node) : NULL,
            .restarts = r->restarts,
            .memory_bytes = r->memory_bytes,
            .cpu_milli = r->cpu_milli,
        };
    }
}

int
shimmy_status(struct berth_shimlet *s, const struct berth_op *op, const char *name,
              void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
              struct berth_err *e)
{
    struct seen seen = {.o = {.struct_size = sizeof seen.o}};
    struct shimmy_call c;
    int r = shimmy_begin(s, op, SHIMMY_STATUS, name, NULL, &c, e);

    if (r < 0)
        return r;
    berth_arena_init(&seen.a, 8u << 20);
    (void)pthread_mutex_lock(&s->mu);
    struct shimmy_unit *u = shimmy_find(s, name);
    if (u != NULL) {
        (void)shimmy_advance(s, u, berth_now_ns());
        see(s, u, &seen);
    }
    (void)pthread_mutex_unlock(&s->mu);
    tell(arg, &seen.o);
    berth_arena_fini(&seen.a);
    return c.fails_after ? shimmy_scripted_failure(&c, SHIMMY_STATUS, e) : 0;
}

int
shimmy_list(struct berth_shimlet *s, const struct berth_op *op,
            void (*each)(void *arg, const struct berth_listed *one), void *arg, struct berth_err *e)
{
    struct berth_arena a;
    struct berth_listed *all;
    size_t n = 0;
    struct shimmy_call c;
    int r = shimmy_begin(s, op, SHIMMY_LIST, NULL, NULL, &c, e);

    if (r < 0)
        return r;
    berth_arena_init(&a, 64u << 20);
    (void)pthread_mutex_lock(&s->mu);
    all = BERTH_NEW_N(&a, struct berth_listed, s->unit_count + 1);
    for (struct shimmy_unit *u = s->units; all != NULL && u != NULL; u = u->next) {
        if (u->exists)
            all[n++] = (struct berth_listed){
                .service_id = berth_arena_strdup(&a, u->service_id),
                .track = berth_arena_strdup(&a, u->track),
                .name = berth_arena_strdup(&a, u->name),
                .hash = berth_arena_strdup(&a, u->hash),
            };
    }
    (void)pthread_mutex_unlock(&s->mu);
    for (size_t i = 0; i < n; i++)
        each(arg, &all[i]);
    berth_arena_fini(&a);
    return c.fails_after ? shimmy_scripted_failure(&c, SHIMMY_LIST, e) : 0;
}

/* ---- what it has ---- */

int
shimmy_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
             struct berth_err *e)
{
    (void)op;
    if (s->accelerators > 0 && u->accelerator_count > s->accelerators)
        return berth_err_set(e, BERTH_ELIMIT,
                             "a replica needs %u accelerators; a node of shimmy has %lld",
                             u->accelerator_count, (long long)s->accelerators);
    if (s->cpu_milli > 0 && u->cpu_milli > (uint64_t)s->cpu_milli)
        return berth_err_set(e, BERTH_ELIMIT,
                             "a replica needs %llum CPU; a node of shimmy has %lldm",
                             (unsigned long long)u->cpu_milli, (long long)s->cpu_milli);
    if (s->memory_bytes > 0 && u->memory_bytes > (uint64_t)s->memory_bytes)
        return berth_err_set(e, BERTH_ELIMIT,
                             "a replica needs %llu bytes; a node of shimmy has %lld",
                             (unsigned long long)u->memory_bytes, (long long)s->memory_bytes);
    return 0;
}

int
shimmy_resources(struct berth_shimlet *s, const struct berth_op *op, struct berth_resources *ret,
                 struct berth_err *e)
{
    struct berth_resources all = {.struct_size = sizeof all};

    (void)op;
    (void)e;
    (void)pthread_mutex_lock(&s->mu);
    for (int node = 0; node < s->nodes; node++) {
        const struct shimmy_room left = shimmy_room(s, node);

        if (s->accelerators > 0) {
            all.accelerators_total += (uint32_t)s->accelerators;
            all.accelerators_free += (uint32_t)left.accelerators;
        }
        if (s->cpu_milli > 0) {
            all.cpu_milli_total += (uint64_t)s->cpu_milli;
            all.cpu_milli_free += (uint64_t)left.cpu_milli;
        }
        if (s->memory_bytes > 0) {
            all.memory_bytes_total += (uint64_t)s->memory_bytes;
            all.memory_bytes_free += (uint64_t)left.memory_bytes;
        }
    }
    (void)pthread_mutex_unlock(&s->mu);
    *ret = all;
    return 0;
}

int
shimmy_held(struct berth_shimlet *s, const struct berth_op *op, const char *name,
            uint32_t *ret_accelerators, struct berth_err *e)
{
    uint32_t held = 0;

    (void)op;
    (void)e;
    (void)pthread_mutex_lock(&s->mu);
    const struct shimmy_unit *u = shimmy_find(s, name);
    for (size_t i = 0; u != NULL && i < u->replica_count; i++)
        held += u->replicas[i].node >= 0 ? u->replicas[i].accelerators : 0;
    (void)pthread_mutex_unlock(&s->mu);
    *ret_accelerators = held;
    return 0;
}

int
shimmy_render(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
              void (*text)(void *arg, const char *json, size_t len), void *arg, struct berth_err *e)
{
    (void)s;
    (void)op;
    return berth_shimlet_render("ShimmyUnit", u, text, arg, e);
}

int
shimmy_logs(struct berth_shimlet *s, const struct berth_op *op, const char *name,
            const struct berth_log_query *q,
            bool (*line)(void *arg, const char *replica, const char *text, size_t len), void *arg,
            struct berth_err *e)
{
    struct seen seen = {.o = {.struct_size = sizeof seen.o}};
    char text[128];
    bool more = true;

    (void)e;
    berth_arena_init(&seen.a, 8u << 20);
    (void)pthread_mutex_lock(&s->mu);
    const struct shimmy_unit *u = shimmy_find(s, name);
    if (u != NULL)
        see(s, u, &seen);
    (void)pthread_mutex_unlock(&s->mu);
    for (size_t i = 0; more && i < seen.o.replica_count; i++) {
        const struct berth_replica *r = &seen.o.replicas[i];

        if (q->replica != NULL && strcmp(q->replica, r->id) != 0)
            continue;
        (void)snprintf(text, sizeof text, "started for revision %llu",
                       (unsigned long long)r->revision);
        more = line(arg, r->id, text, strlen(text));
    }
    berth_arena_fini(&seen.a);
    while (more && q->follow && !s->h->cancelled(op))
        (void)nanosleep(&(struct timespec){.tv_nsec = 50 * (long)BERTH_MS}, NULL);
    return 0;
}
