#include "pipelines/secure/secure.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "pipelines/parts.h"
#include "pipelines/secure/secure_priv.h"
#include "wire/json.h"

enum { ALLOW_MAX = 257, ARENA_BYTES_MAX = 1 << 20 };

int
secure_texts(struct berth_deployment *d, const char *key, struct berth_arena *a, const char **ret,
             size_t cap, size_t *n, struct berth_err *e)
{
    const char *text = berth_parts_host()->get(d, key);
    const struct berth_json *list = NULL;
    int r;

    if (text != NULL && (r = berth_json_parse(a, text, strlen(text), NULL, &list, e)) < 0)
        return r;
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        struct berth_slice one;

        if (*n + 1 >= cap || !berth_json_string(it.value, &one))
            return berth_err_set(e, BERTH_EINVAL, "%s: should be a list of at most %zu texts", key,
                                 cap - 1);
        ret[(*n)++] = one.at;
    }
    ret[*n] = NULL;
    return 0;
}

/* ---- who asks? ---- */

/* What cannot be audited does not go on. */
static int
refuse(struct berth_deployment *d, int code, const char *why, struct berth_err *e)
{
    const int r = berth_parts_host()->audit(d, "deploy", false, NULL, why, e);

    return r < 0 ? r : berth_err_set(e, code, "%s", why);
}

static int
check_identity(struct berth_deployment *d, struct berth_err *e)
{
    const struct berth_caller *who = berth_parts_host()->caller(d);

    if (!who->known)
        return refuse(d, BERTH_EAUTH,
                      "401: nobody known asked for this; deploy it with a key of the server "
                      "(berth deploy --api-key KEY, or Authorization: Bearer KEY), which has to "
                      "have some (berth serve --api-key-file FILE)",
                      e);
    if ((who->scopes & BERTH_CALLER_MANAGE) == 0)
        return refuse(d, BERTH_EPERM,
                      "403: this key may not deploy; use one whose role is admin or operator", e);
    return berth_parts_host()->audit(d, "deploy", true, NULL, "the caller's key may deploy", e);
}

/* ---- who may ask the service? ---- */

static int
allow(struct berth_deployment *d, struct berth_arena *a, struct berth_err *e)
{
    static const char any[] = "*";
    const char *names[ALLOW_MAX];
    char text[256];
    size_t n = 0, at = 0;
    int r = secure_texts(d, "securityConfig.allow", a, names, ALLOW_MAX, &n, e);

    if (r < 0)
        return r;
    if (berth_parts_host()->get(d, "securityConfig.allow") == NULL) {
        names[n++] = any;
        names[n] = NULL;
    }
    if ((r = berth_parts_host()->allow(d, names, e)) < 0)
        return r;
    for (size_t i = 0; i < n && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i > 0 ? ", " : "", names[i]);
    return berth_parts_host()->audit(d, "allow", true, NULL, n > 0 ? text : "nobody", e);
}

static int
control_access(struct berth_deployment *d, struct berth_err *e)
{
    struct berth_arena a;

    berth_arena_init(&a, ARENA_BYTES_MAX);
    const int r = allow(d, &a, e);
    berth_arena_fini(&a);
    return r;
}

const struct berth_pipeline_ops *
berth_pipeline_secure(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static const char *const names[] = {"identity-check", "model-validation", "tls-setup",
                                        "access-control", "config-rendering", "resource-deployment",
                                        "health-check",   "endpoint-check",   NULL};
    static const struct berth_goal own[] = {
        {.name = "identity-check", .ensure = check_identity},
        {.name = "tls-setup", .ensure = secure_tls},
        {.name = "access-control", .ensure = control_access},
        {.name = "config-rendering", .ensure = secure_render},
        /* What is open to others must not stay. */
        {.name = "endpoint-check",
         .ensure = secure_check,
         .policy = {.on_failure = BERTH_ON_FAILURE_ROLLBACK}},
        {.name = NULL},
    };
    static const char *const aliases[] = {"enterprise-security", NULL};
    /* Filled in once, by the one call of the entry. */
    static struct berth_goal deploy[9], removal[4];
    static const struct berth_pipeline_ops ops = {
        .abi = BERTH_PIPELINE_ABI,
        .struct_size = sizeof ops,
        .name = "secure",
        .version = "1",
        .description = "for some alone: known callers, TLS and a key to the engine, audited",
        .aliases = aliases,
        .deploy = deploy,
        .remove = removal,
    };

    berth_parts_begin(h);
    return berth_parts_goals(names, own, deploy, e) < 0 || berth_parts_removal(removal, e) < 0
               ? NULL
               : &ops;
}
