#include "deploy/route/routes_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* A copy of what is published for a service, which its requests hold; nothing here knows who does.
 */

enum { SNAPSHOT_BYTES_MAX = 4 << 20, HOST_BYTES_MAX = 256 };
#define CONNECT_NS (2 * BERTH_S)

/* ---- endpoints ---- */

static bool
is_host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr(".-_[]:", c) != NULL);
}

static bool
is_path_byte(char c)
{
    return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '\\' && c != '"';
}

bool
berth_endpoint_split(const char *endpoint, char *out, const char **ret_origin,
                     const char **ret_base)
{
    const size_t scheme = strncmp(endpoint, "http://", 7) == 0    ? 7
                          : strncmp(endpoint, "https://", 8) == 0 ? 8
                                                                  : 0;
    size_t host = 0, path = 0;

    if (scheme == 0)
        return false;
    while (is_host_byte(endpoint[scheme + host]))
        host++;
    const char *rest = endpoint + scheme + host;
    if (host == 0 || host > HOST_BYTES_MAX || (*rest != '/' && *rest != '\0'))
        return false;
    while (is_path_byte(rest[path]))
        path++;
    if (rest[path] != '\0')
        return false;
    while (path > 0 && rest[path - 1] == '/') /* what is asked for begins with one */
        path--;
    memcpy(out, endpoint, scheme + host);
    out[scheme + host] = '\0';
    char *base = out + scheme + host + 1;
    memcpy(base, rest, path);
    base[path] = '\0';
    *ret_origin = out;
    *ret_base = base;
    return true;
}

/* ---- copies ---- */

void
berth_route_snapshot_free(struct berth_route_snapshot *s)
{
    berth_arena_fini(&s->arena);
    free(s);
}

static bool
copy_text(struct berth_arena *a, const char *from, const char **to)
{
    *to = from != NULL ? berth_arena_strdup(a, from) : NULL;
    return from == NULL || *to != NULL;
}

static int
copy_service(struct berth_route_snapshot *s, const struct berth_routed_service *from,
             struct berth_err *e)
{
    struct berth_arena *a = &s->arena;
    struct berth_route_service *to = &s->service;
    const char *served = from->served_name != NULL ? from->served_name : from->name;
    uint64_t sum = 0;

    if (!copy_text(a, from->id, &to->id) || !copy_text(a, from->name, &to->name) ||
        !copy_text(a, served, &to->served_name) ||
        !copy_text(a, from->authorization, &to->authorization) ||
        !copy_text(a, from->ca_path, &to->ca_path) || !copy_text(a, from->allow, &to->allow))
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", from->id);
    to->has_side_effects = from->has_side_effects;
    to->connect_ns_max = from->connect_ns_max > 0 ? from->connect_ns_max : CONNECT_NS;
    to->first_ns_max = from->first_ns_max;
    to->silent_ns_max = from->silent_ns_max;
    for (int t = 0; t < BERTH_TRACK_COUNT; t++)
        sum += s->weights[t] = from->weights[t];
    if (sum == 0)
        s->weights[BERTH_TRACK_STABLE] = 1;
    return 0;
}

static int
copy_replica(struct berth_arena *a, struct berth_route_replica *to,
             const struct berth_routed_replica *from, const char *service, struct berth_err *e)
{
    const char *endpoint = from->endpoint != NULL ? from->endpoint : "http://none";
    char *room = berth_arena_alloc_raw(a, strlen(endpoint) + 2);

    if (room == NULL || !copy_text(a, from->id, &to->id) ||
        !copy_text(a, from->ca_path, &to->ca_path) ||
        !copy_text(a, from->authorization, &to->authorization) ||
        !copy_text(a, from->served_name, &to->served_name))
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", service);
    if (!berth_endpoint_split(endpoint, room, &to->origin, &to->base))
        return berth_err_set(e, BERTH_EINVAL,
                             "service %s: replica %s: %.200s is no endpoint; it is like "
                             "http://HOST:PORT/BASE",
                             service, from->id, endpoint);
    to->track = from->track;
    return 0;
}

/* What a replica does not say itself is the service's. */
static void
inherit(const struct berth_route_service *s, struct berth_route_replica *r)
{
    if (r->ca_path == NULL)
        r->ca_path = s->ca_path;
    if (r->authorization == NULL)
        r->authorization = s->authorization;
    if (r->served_name == NULL)
        r->served_name = s->served_name;
}

int
berth_route_snapshot_new(const struct berth_routed_service *from, struct berth_route_snapshot **ret,
                         struct berth_err *e)
{
    struct berth_route_snapshot *s = calloc(1, sizeof *s);
    const size_t n = from->replica_count;

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", from->id);
    berth_arena_init_small(&s->arena, SNAPSHOT_BYTES_MAX);
    s->refs = 1;
    s->count = n;
    int r = copy_service(s, from, e);
    s->replicas = BERTH_NEW_N(&s->arena, struct berth_route_replica, n);
    s->shared = BERTH_NEW_N(&s->arena, struct berth_route_shared *, n);
    s->balanced = BERTH_NEW_N(&s->arena, struct berth_balance_replica *, n);
    if (r == 0 && n > 0 && (s->replicas == NULL || s->shared == NULL || s->balanced == NULL))
        r = berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", from->id);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = copy_replica(&s->arena, &s->replicas[i], &from->replicas[i], from->id, e);
        inherit(&s->service, &s->replicas[i]);
    }
    if (r < 0) {
        berth_route_snapshot_free(s);
        return r;
    }
    *ret = s;
    return 0;
}
