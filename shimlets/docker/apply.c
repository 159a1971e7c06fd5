#include "shimlets/docker/docker_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "shimlets/rollout.h"
#include "wire/json.h"

enum {
    STEPS_MAX = 64,    /* of one round; the next one goes on */
    STOP_SLACK_S = 30, /* for the daemon, beyond what a container may take to end */
    LIMIT_BYTES = 1024,
};

struct round {
    struct berth_shimlet *s;
    const struct berth_op *op;
    const struct berth_unit *u;
    struct berth_arena *a;
    struct berth_docker_plan plan;
    const struct berth_json *listed; /* all of ours, for their ports; NULL: not asked yet */
    bool has_image;
};

/* POST /containers/ID/WHAT */
static int
order(struct berth_shimlet *s, const struct berth_op *op, const char *id, const char *what,
      const char *body, struct berth_err *e)
{
    char path[256];

    (void)snprintf(path, sizeof path, "/containers/%s/%s", id, what);
    const struct berth_docker_ask ask = {
        .method = "POST",
        .path = path,
        .body = body,
        .body_len = body != NULL ? strlen(body) : 0,
        .silent_ns_max = s->conf.stop_ns + STOP_SLACK_S * BERTH_S,
        .op = op,
    };
    return berth_docker_ask(s->g, &ask, NULL, NULL, e);
}

static int
drop_container(struct berth_shimlet *s, const struct berth_op *op, const char *id,
               struct berth_err *e)
{
    char path[256];

    (void)snprintf(path, sizeof path, "/containers/%s?v=1&force=1", id); /* v: its volumes too */
    const struct berth_docker_ask ask = {.method = "DELETE", .path = path, .op = op};
    const int r = berth_docker_ask(s->g, &ask, NULL, NULL, e);
    return r == -BERTH_ENOENT ? 0 : r;
}

/* ---- ending a replica ---- */

/* Drain it, ask it to end, and remove it.  0: gone; 1: the daemon is at it. */
static int
end_replica(struct berth_shimlet *s, const struct berth_op *op, const struct berth_docker_seen *c,
            struct berth_err *e)
{
    char what[64];
    int r = 0;

    if (c->running)
        (void)s->h->drain(op, c->short_id, c->drain_ns); /* it is stopped whatever comes back */
    if (s->h->cancelled(op))
        return berth_err_set(e, BERTH_ECANCELED, "docker: cut short");
    berth_docker_health_forget(s->health, c->id);
    if (c->need != BERTH_DOCKER_NEEDS_REMOVAL) {
        (void)snprintf(what, sizeof what, "stop?t=%llu",
                       (unsigned long long)berth_docker_stop_s(&s->conf));
        r = order(s, op, c->id, what, NULL, e);
    }
    if (r == 0)
        r = drop_container(s, op, c->id, e);
    if (r == -BERTH_ENOENT)
        return 0;
    return r == -BERTH_EEXIST ? 1 : r; /* 409: a removal is under way */
}

/* ---- beginning one ---- */

/* What the daemon says when it cannot start a container, with what to do. */
static int
start_fault(const struct round *k, const char *id, int r, struct berth_err *e)
{
    const struct berth_err said = *e;

    if (strstr(said.msg, "could not select device driver") != NULL)
        return berth_err_set(e, BERTH_EUNSUPPORTED,
                             "docker: this daemon cannot give GPUs to containers: install the "
                             "NVIDIA container toolkit on its machine: %.250s",
                             said.msg);
    if (strstr(said.msg, "port is already allocated") != NULL ||
        strstr(said.msg, "address already in use") != NULL) {
        struct berth_err ignored;
        /* The next round makes it again with another port. */
        (void)drop_container(k->s, k->op, id, &ignored);
        return berth_err_set(e, BERTH_EAGAIN, "%.400s", said.msg);
    }
    if (r == -BERTH_ENOENT || r == -BERTH_EINVAL)
        return berth_err_set(e, BERTH_EINVAL, "%.400s", said.msg);
    return r;
}

static int
start(const struct round *k, const char *id, struct berth_err *e)
{
    const int r = order(k->s, k->op, id, "start", NULL, e);

    return r < 0 ? start_fault(k, id, r, e) : 0;
}

/* The name is taken: by what an earlier round made, or by a stranger.  *ret_id: ours. */
static int
adopt(const struct round *k, const char *name, const char **ret_id, struct berth_err *e)
{
    const struct berth_docker_ask ask = {
        .path = berth_arena_printf(k->a, "/containers/%s/json", name),
        .op = k->op,
    };
    const struct berth_err said = *e;
    const struct berth_json *root;
    struct berth_slice id;
    int r = ask.path == NULL ? berth_err_set(e, BERTH_ENOMEM, "docker: out of memory")
                             : berth_docker_ask(k->s->g, &ask, k->a, &root, e);

    if (r == -BERTH_ENOENT) /* it goes away just now, or the conflict is another */
        return berth_err_set(e, BERTH_EAGAIN, "%s", said.msg);
    if (r < 0)
        return r;
    const struct berth_json *labels = berth_json_get(berth_json_get(root, "Config"), "Labels");
    const char *owner = berth_docker_label_of(k->s, labels, "owner");
    const char *unit = berth_docker_label_of(k->s, labels, "unit");
    const char *hash = berth_docker_label_of(k->s, labels, "hash");
    if (owner == NULL || strcmp(owner, k->s->conf.owner) != 0 || unit == NULL ||
        strcmp(unit, k->u->name) != 0 || hash == NULL || strcmp(hash, k->u->hash) != 0)
        return berth_err_set(
            e, BERTH_EINVAL,
            "docker: there is a container %s of somebody else: remove or rename it", name);
    if (!berth_json_string(berth_json_get(root, "Id"), &id))
        return berth_err_set(e, BERTH_EIO, "docker: a container without an id");
    *ret_id = id.at;
    return 0;
}

static int
ports_for(struct round *k, const char *name, struct berth_docker_ports *ret, struct berth_err *e)
{
    uint16_t outer = k->u->port;
    int r = 0;

    if (k->listed == NULL)
        r = berth_docker_list(k->s, k->op, NULL, k->a, &k->listed, e);
    if (r == 0 && (outer == 0 || !k->plan.host_network))
        r = berth_docker_port_pick(k->s, k->listed, name, &outer, e);
    if (r < 0)
        return r;
    *ret = (struct berth_docker_ports){
        .inner = k->u->port != 0 ? k->u->port : outer,
        .outer = outer,
    };
    return 0;
}

static int
create(struct round *k, uint32_t index, struct berth_err *e)
{
    const char *name = berth_docker_container_name(k->u, index, k->a), *id = NULL;
    const struct berth_json *root = NULL;
    struct berth_docker_ports ports;
    struct berth_slice made;
    struct berth_buf body;
    int r = name == NULL ? berth_err_set(e, BERTH_ENOMEM, "docker: out of memory")
                         : ports_for(k, name, &ports, e);

    if (r < 0)
        return r;
    berth_buf_init(&body, k->a);
    r = berth_docker_body(&k->plan, index, ports, k->a, &body, e);
    const struct berth_docker_ask ask = {
        .method = "POST",
        .path = berth_arena_printf(k->a, "/containers/create?name=%s", name),
        .body = body.at,
        .body_len = body.len,
        .op = k->op,
    };
    if (r == 0 && ask.path == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    if (r == 0)
        r = berth_docker_ask(k->s->g, &ask, k->a, &root, e);
    if (r == -BERTH_EEXIST)
        r = adopt(k, name, &id, e);
    else if (r == 0 && berth_json_string(berth_json_get(root, "Id"), &made))
        id = made.at;
    else if (r == 0)
        r = berth_err_set(e, BERTH_EIO, "docker: made a container and did not say which");
    else if (r == -BERTH_ENOENT) /* the image or a network */
        r = -BERTH_EINVAL;
    return r < 0 ? r : start(k, id, e);
}

/* ---- as it was made ---- */

static int
put_limits_back(const struct round *k, const struct berth_docker_seen *c, struct berth_err *e)
{
    char body[LIMIT_BYTES], memory[80] = "";

    /* The daemon takes 0 for "as it is": what it was made without cannot be put back. */
    if (c->memory_limit > 0)
        (void)snprintf(memory, sizeof memory, "\"Memory\":%llu,\"MemorySwap\":%llu",
                       (unsigned long long)c->memory_limit, (unsigned long long)c->memory_limit);
    if (c->cpu_milli_limit > 0)
        (void)snprintf(body, sizeof body, "{%s%s\"NanoCpus\":%llu}", memory,
                       memory[0] != '\0' ? "," : "",
                       (unsigned long long)c->cpu_milli_limit * 1000000);
    else
        (void)snprintf(body, sizeof body, "{%s}", memory);
    return order(k->s, k->op, c->id, "update", body, e);
}

static int
mend(const struct round *k, const struct berth_docker_seen *c, struct berth_err *e)
{
    int r = 0;

    if (c->limits_changed)
        r = put_limits_back(k, c, e);
    if (r < 0)
        return r;
    switch (c->need) {
    case BERTH_DOCKER_NEEDS_NOTHING:
        return 0;
    case BERTH_DOCKER_NEEDS_START:
        return start(k, c->id, e);
    case BERTH_DOCKER_NEEDS_UNPAUSE:
        return order(k->s, k->op, c->id, "unpause", NULL, e);
    case BERTH_DOCKER_NEEDS_RESTART:
        berth_docker_health_forget(k->s->health, c->id);
        return order(k->s, k->op, c->id, "restart?t=1", NULL, e);
    case BERTH_DOCKER_NEEDS_REMOVAL:
        return drop_container(k->s, k->op, c->id, e);
    }
    return 0;
}

/* ---- a round ---- */

/* Where the new replica needs what only the old one can give (the machine's port), the old one goes
 * first. */
static struct berth_rollout_want
how_to_roll(const struct round *k)
{
    struct berth_rollout_want want = {
        .replicas = k->u->replicas,
        .surge_max = k->u->surge_max,
        .unavailable_max = k->u->unavailable_max,
        .hash = k->u->hash,
        .index_exclusive = k->plan.host_network && k->u->port != 0,
    };

    if (want.index_exclusive) {
        want.surge_max = 0;
        want.unavailable_max = want.unavailable_max > 0 ? want.unavailable_max : 1;
    }
    return want;
}

static int
take_steps(struct round *k, struct berth_docker_seen *seen, size_t count, struct berth_err *e)
{
    const struct berth_rollout_want want = how_to_roll(k);
    struct berth_rollout_seen *as = BERTH_NEW_N(k->a, struct berth_rollout_seen, count + 1);
    struct berth_rollout_step steps[STEPS_MAX];
    int r = 0;

    if (as == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    for (size_t i = 0; i < count; i++)
        as[i] = (struct berth_rollout_seen){
            .index = seen[i].index,
            .hash = seen[i].hash,
            .state = seen[i].state,
        };
    const size_t n = berth_rollout_plan(&want, as, count, steps, STEPS_MAX);
    for (size_t i = 0; i < n && r >= 0; i++) {
        if (k->s->h->cancelled(k->op))
            return berth_err_set(e, BERTH_ECANCELED, "docker: cut short");
        if (steps[i].what == BERTH_ROLLOUT_STOP) {
            r = end_replica(k->s, k->op, &seen[steps[i].at], e);
            continue;
        }
        if (!k->has_image)
            r = berth_docker_image_get(k->s, k->op, &k->plan, e);
        k->has_image = true;
        if (r == 0)
            r = create(k, steps[i].index, e);
    }
    return r < 0 ? r : 0;
}

int
berth_docker_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                   struct berth_err *e)
{
    struct berth_docker_seen *seen = NULL;
    struct berth_arena a;
    size_t count = 0;

    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    struct round k = {.s = s, .op = op, .u = u, .a = &a};
    int r = berth_docker_plan_make(&s->conf, u, &a, &k.plan, e);
    if (r == 0)
        r = berth_docker_record_put(s, u, e);
    if (r == 0)
        r = berth_docker_look(s, op, u->name, &a, &seen, &count, e);
    for (size_t i = 0; i < count && r == 0; i++)
        if (strcmp(seen[i].hash, u->hash) == 0 || seen[i].need == BERTH_DOCKER_NEEDS_REMOVAL)
            r = mend(&k, &seen[i], e);
    if (r == 0)
        r = take_steps(&k, seen, count, e);
    berth_arena_fini(&a);
    return r;
}

int
berth_docker_remove(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                    struct berth_err *e)
{
    struct berth_docker_seen *seen = NULL;
    struct berth_arena a;
    size_t count = 0;
    bool later = false;

    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    int r = berth_docker_look(s, op, unit_name, &a, &seen, &count, e);
    for (size_t i = 0; i < count && r >= 0; i++) {
        r = end_replica(s, op, &seen[i], e);
        later = later || r > 0;
    }
    if (r >= 0 && !later)
        r = berth_docker_record_drop(s, unit_name, e);
    berth_arena_fini(&a);
    return r < 0 ? r : later;
}
