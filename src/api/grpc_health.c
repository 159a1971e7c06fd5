#include <string.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "api/proto_sets.h"
#include "base/arena.h"
#include "infer/model.h"
#include "infer/registry.h"
#include "infer/states.h"
#include "wire/pb.h"

/*
 * grpc.health.v1.Health (proto/grpc/health/v1/health.proto).  Known are the server by the empty
 * name, each of our gRPC services, and each registered model by its name.
 */

#define SERVICE "/grpc.health.v1.Health/"

enum { MESSAGE_BYTES_MAX = 4 * 1024, NAME_BYTES_MAX = 256, FIELD_SERVICE = 1, FIELD_STATUS = 1 };

enum serving { UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN };

static bool
is_stopping(const struct berth_api *api)
{
    return api->conf.stopping != NULL && atomic_load(api->conf.stopping);
}

static bool
is_service(struct berth_slice name)
{
    for (struct berth_proto_files it = {0}; berth_proto_files_next(&it);) {
        struct berth_pb p = berth_pb_of(it.file);
        struct berth_pb_field f;
        if (name.len <= it.package.len + 1 || memcmp(name.at, it.package.at, it.package.len) != 0 ||
            name.at[it.package.len] != '.')
            continue;
        while (berth_pb_next(&p, &f)) {
            if (f.number != BERTH_FILE_SERVICE || f.type != BERTH_PB_BYTES)
                continue;
            const struct berth_slice own = berth_proto_bytes(f.bytes, BERTH_NAME);
            if (own.len == name.len - it.package.len - 1 &&
                memcmp(own.at, name.at + it.package.len + 1, own.len) == 0)
                return true;
        }
    }
    return false;
}

/* The server serves as long as it does not stop, with models or without: it can be given some. */
static enum serving
look(struct berth_api *api, struct berth_slice service)
{
    struct berth_model *m;
    struct berth_err e;

    if (service.len == 0 || is_service(service))
        return is_stopping(api) ? NOT_SERVING : SERVING;
    const int r = berth_registry_find(api->conf.registry, service, BERTH_SLICE(""), &m, &e);
    if (r == 0)
        berth_model_unref(m);
    return r == -BERTH_ENOENT            ? SERVICE_UNKNOWN
           : r == 0 && !is_stopping(api) ? SERVING
                                         : NOT_SERVING;
}

static int
send_status(struct berth_grpc *g, enum serving status)
{
    const char message[] = {FIELD_STATUS << 3, (char)status};

    return berth_grpc_send(g, message, sizeof message);
}

/* The name that the request asks for, within the message; false: the call is answered. */
static bool
read_name(struct berth_grpc *g, struct berth_slice message, struct berth_slice *ret)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f;

    *ret = BERTH_SLICE("");
    while (berth_pb_next(&p, &f))
        if (f.number == FIELD_SERVICE && f.type == BERTH_PB_BYTES)
            *ret = f.bytes;
    if (!p.bad && ret->len <= NAME_BYTES_MAX)
        return true;
    berth_grpc_end(g, -BERTH_EINVAL,
                   p.bad ? "the message is no HealthCheckRequest" : "service: is too long a name");
    return false;
}

static void
check(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_slice service;
    struct berth_err e;

    if (!read_name(g, message, &service))
        return;
    const enum serving status = look(berth_grpc_api(g), service);
    if (status == SERVICE_UNKNOWN) {
        (void)berth_err_set(&e, BERTH_ENOENT, "there is no service and no model '%.*s'",
                            (int)service.len, service.at);
        berth_grpc_end(g, -BERTH_ENOENT, e.msg);
        return;
    }
    (void)send_status(g, status);
    berth_grpc_end(g, 0, NULL);
}

/* ---- List ---- */

static void
put_entry(struct berth_buf *b, const char *first, size_t first_len, struct berth_slice name,
          enum serving status)
{
    const size_t entry = berth_pb_begin(b, 1);
    const size_t key = berth_pb_begin(b, 1);

    berth_buf_put(b, first, first_len);
    berth_buf_put(b, name.at, name.len);
    berth_pb_end(b, key);
    const size_t value = berth_pb_begin(b, 2);
    berth_pb_put_uint(b, FIELD_STATUS, status);
    berth_pb_end(b, value);
    berth_pb_end(b, entry);
}

static void
put_services(struct berth_buf *b, struct berth_arena *a, enum serving status)
{
    for (struct berth_proto_files it = {0}; berth_proto_files_next(&it);) {
        struct berth_pb p = berth_pb_of(it.file);
        struct berth_pb_field f;
        const char *package = berth_arena_printf(a, "%.*s.", (int)it.package.len, it.package.at);
        while (package != NULL && berth_pb_next(&p, &f))
            if (f.number == BERTH_FILE_SERVICE && f.type == BERTH_PB_BYTES)
                put_entry(b, package, strlen(package), berth_proto_bytes(f.bytes, BERTH_NAME),
                          status);
    }
}

static void
list(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_api *api = berth_grpc_api(g);
    struct berth_arena *a = berth_grpc_call(g)->arena;
    const enum serving own = look(api, BERTH_SLICE(""));
    struct berth_model_info *all;
    struct berth_err e;
    struct berth_buf b;
    size_t n;
    const int r = berth_registry_list(api->conf.registry, a, &all, &n, &e);

    if (r < 0) {
        berth_grpc_end(g, r, e.msg);
        return;
    }
    berth_grpc_begin(&b, a);
    put_entry(&b, "", 0, BERTH_SLICE(""), own);
    put_services(&b, a, own);
    for (size_t i = 0; i < n; i++)
        put_entry(&b, "", 0, berth_slice_of(all[i].name),
                  all[i].state == BERTH_MODEL_READY ? own : NOT_SERVING);
    if (b.failed || berth_grpc_send_parts(g, &b, NULL, 0) < 0)
        berth_grpc_end(g, -BERTH_ENOMEM, "the answer is larger than the request's memory limit");
    else
        berth_grpc_end(g, 0, NULL);
}

/* ---- Watch ---- */

struct watching {
    struct berth_state_watch watch;
    struct berth_grpc *g;
    struct berth_slice service;
    enum serving told;
    bool on;
};

static void
unwatch(struct watching *w)
{
    if (!w->on)
        return;
    w->on = false;
    berth_registry_state_unwatch(berth_grpc_api(w->g)->conf.registry, &w->watch);
}

static void
watch_ended(struct berth_state_watch *watch)
{
    struct watching *w = watch->user;

    berth_exchange_unref(berth_grpc_exchange(w->g));
}

/* A reader that takes nothing has its window and our buffer full of states: it is cut. */
static void
watch_tell(struct watching *w)
{
    const enum serving now = look(berth_grpc_api(w->g), w->service);

    if (now == w->told || berth_grpc_over(w->g))
        return;
    w->told = now;
    if (send_status(w->g, now) < 0) {
        berth_grpc_end(w->g, -BERTH_EAGAIN, "the states are not read");
        unwatch(w);
    }
}

static void
watch_changed(struct berth_state_watch *watch)
{
    watch_tell(watch->user);
}

static void
watch_cut(struct berth_grpc *g)
{
    struct watching *w = *berth_grpc_state(g);

    if (w != NULL)
        unwatch(w);
}

static void
watch_draining(struct berth_exchange *x)
{
    struct berth_grpc *g = ((struct berth_call *)x->user)->grpc;
    struct watching *w = *berth_grpc_state(g);

    watch_tell(w);
    berth_grpc_end(g, -BERTH_ENOTREADY, "the server is stopping");
    unwatch(w);
}

static void
watch(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_exchange *x = berth_grpc_exchange(g);
    struct watching *w = BERTH_NEW(&x->arena, struct watching);
    struct berth_slice service;

    if (!read_name(g, message, &service))
        return;
    if (w == NULL) {
        berth_grpc_end(g, -BERTH_ENOMEM, "the request is larger than its memory limit");
        return;
    }
    *w = (struct watching){
        .watch = {.loop = x->loop, .changed = watch_changed, .ended = watch_ended, .user = w},
        .g = g,
        .service = service,
        .told = UNKNOWN,
        .on = true};
    *berth_grpc_state(g) = w;
    berth_exchange_ref(x); /* until watch_ended() */
    x->draining = watch_draining;
    berth_registry_state_watch(berth_grpc_api(g)->conf.registry, &w->watch);
    watch_tell(w);
}

const struct berth_grpc_method berth_grpc_health_methods[] = {
    {.path = SERVICE "Check",
     .scope = BERTH_SCOPE_PUBLIC,
     .message_max = MESSAGE_BYTES_MAX,
     .message = check},
    {.path = SERVICE "List",
     .scope = BERTH_SCOPE_READ,
     .message_max = MESSAGE_BYTES_MAX,
     .message = list},
    {.path = SERVICE "Watch",
     .scope = BERTH_SCOPE_PUBLIC,
     .message_max = MESSAGE_BYTES_MAX,
     .server_streams = true,
     .message = watch,
     .cut = watch_cut},
    {.path = NULL},
};
