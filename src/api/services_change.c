#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "api/services.h"

/* Changes of a service by a word of their own: scale, rollback, promote, weight, retry; nodes. */

/* What a body or the query says; a body may be missing. */
struct change {
    struct berth_deploy *d;
    const char *id;
    struct berth_actor who;
    int64_t n; /* the number that the change takes; 0: none was given */
};

/* Find the service, and the number called key within [min, max].  False: c is answered. */
static bool
begin(struct berth_call *c, const char *key, int64_t min, int64_t max, bool needed,
      struct change *ret)
{
    struct berth_err e = {""};
    bool given = false;

    *ret = (struct change){.d = berth_services_open(c), .who = berth_services_actor(c)};
    if (ret->d == NULL || (ret->id = berth_services_named(c, ret->d)) == NULL)
        return false;
    if (key == NULL)
        return true;
    if (berth_services_asked(c, key) != NULL) {
        given = true;
        if (!berth_services_asked_number(c, key, min, max, &ret->n))
            return false;
    } else if (c->x->body.len > 0) {
        if (!berth_call_body(c))
            return false;
        struct berth_fields f = berth_fields(c->body, "", &e);

        given = berth_field(&f, key) != NULL;
        if (berth_field_int(&f, key, min, max, &ret->n) < 0) {
            berth_services_answer(c, -BERTH_EINVAL, NULL, NULL, key, &e);
            return false;
        }
    }
    if (needed && !given) {
        (void)berth_err_set(&e, BERTH_EINVAL, "%s: is missing; give it in the body or as ?%s=", key,
                            key);
        berth_services_answer(c, -BERTH_EINVAL, NULL, NULL, key, &e);
    }
    return given || !needed;
}

static void
end(struct berth_call *c, const struct change *g, int r, const char *message, uint64_t revision,
    const struct berth_err *e)
{
    struct berth_buf data;
    struct berth_jw w;

    berth_buf_init(&data, c->arena);
    berth_jw_init(&w, &data);
    berth_jw_object(&w);
    berth_jw_key(&w, "serviceId");
    berth_jw_string(&w, g->id);
    if (revision > 0) {
        berth_jw_key(&w, "revision");
        berth_jw_uint(&w, revision);
    }
    berth_jw_object_end(&w);
    berth_services_answer(c, r, message, &data, NULL, e);
}

void
berth_services_scale(struct berth_call *c)
{
    struct change g;
    struct berth_err e = {""};
    uint64_t revision = 0;

    if (!begin(c, "replicaCount", 0, BERTH_SPEC_REPLICAS_MAX, true, &g))
        return;
    const int r = berth_deploy_scale(g.d, g.id, (uint32_t)g.n, &g.who, &revision, &e);
    end(c, &g, r, "scale submit success", revision, &e);
}

void
berth_services_rollback(struct berth_call *c)
{
    struct change g;
    struct berth_err e = {""};
    uint64_t revision = 0;

    if (!begin(c, "revision", 1, INT64_MAX, false, &g))
        return;
    int r = berth_deploy_rollback(g.d, g.id, (uint64_t)g.n, &g.who, &revision, &e);
    end(c, &g, r, "rollback submit success", revision, &e);
}

void
berth_services_promote(struct berth_call *c)
{
    struct change g;
    struct berth_err e = {""};
    uint64_t revision = 0;

    if (!begin(c, NULL, 0, 0, false, &g))
        return;
    const int r = berth_deploy_promote(g.d, g.id, &g.who, &revision, &e);
    end(c, &g, r, "promote submit success", revision, &e);
}

void
berth_services_weight(struct berth_call *c)
{
    struct change g;
    struct berth_err e = {""};

    if (!begin(c, "weight", 0, 100, true, &g))
        return;
    const int r = berth_deploy_weight(g.d, g.id, (uint32_t)g.n, &g.who, &e);
    end(c, &g, r, "weight submit success", 0, &e);
}

void
berth_services_retry(struct berth_call *c)
{
    struct change g;
    struct berth_err e = {""};

    if (!begin(c, NULL, 0, 0, false, &g))
        return;
    const int r = berth_deploy_retry(g.d, g.id, &g.who, &e);
    end(c, &g, r, "retry submit success", 0, &e);
}

/* POST /api/v1/modserv/nodes/NAME/drain or .../undrain */
void
berth_services_node(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const char *shimlet;
    struct berth_err e = {""};
    const struct berth_slice path = c->x->path;
    static const char undrain[] = "/undrain";
    const bool drain =
        path.len < sizeof undrain || memmem(path.at, path.len, undrain, sizeof undrain - 1) == NULL;

    if (d == NULL)
        return;
    shimlet = berth_services_asked(c, "shimlet");
    if (shimlet == NULL)
        shimlet = berth_deploy_defaults(d)->shimlet;
    const struct berth_actor who = berth_services_actor(c);
    const int r = berth_deploy_drain_node(d, shimlet, c->version.at, drain, &who, &e);
    berth_services_answer(c, r, drain ? "drain submit success" : "undrain submit success", NULL,
                          NULL, &e);
}
