#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "deploy/route/routes.h"
#include "infer/host.h"
#include "infer/registry.h"
#include "net/server.h"
#include "obs/metrics.h"
#include "os/loop.h"
#include "plugin/plugins.h"
#include "store/store.h"
#include "wire/json.h"

/*
 * Not a test but what tests/scenario/test_service_routes.py starts: the api as a server of its own,
 * with routes that it is told line by line, each line JSON and answered by one:
 *   {"publish": {"id", "name", "served", "stable", "canary", "authorization", "first_ms",
 *                "silent_ms", "side_effects", "replicas": [{"id", "endpoint", "track", "ready"}]}}
 *   {"remove": ID}   {"drain": ID, "replica": ID, "ms": N}   {"describe": ID}
 * The first line that it says is its port.  It ends with its input.
 */
enum { LOOPS = 2, REPLICAS_MAX = 16 };

struct front {
    struct berth_metrics *metrics;
    struct berth_store *store;
    struct berth_plugins *plugins;
    struct berth_registry *registry;
    struct berth_routes *routes;
    struct berth_api *api;
    struct berth_loop *loops[LOOPS];
    struct berth_server *server;
};

static bool
is_local(void *arg, const char *name)
{
    const struct front *f = arg;
    struct berth_arena arena;
    struct berth_model_info info;

    berth_arena_init(&arena, 16 << 20);
    const bool is =
        berth_registry_info(f->registry, &arena, berth_slice_of(name), &info, NULL) == 0;
    berth_arena_fini(&arena);
    return is;
}

static void
must(int r, const struct berth_err *e)
{
    if (r < 0) {
        (void)fprintf(stderr, "%s\n", e->msg);
        exit(1);
    }
}

static void
start(struct front *f, const char *plugin_dir)
{
    const char *dirs[] = {plugin_dir, NULL};
    const struct berth_routes_conf routes = {.is_local = is_local, .arg = f};
    struct berth_err e = {0};

    f->metrics = berth_metrics_new();
    must(berth_store_open_memory(&f->store, &e), &e);
    must(berth_plugins_new(dirs, berth_host_calls(), &f->plugins, &e), &e);
    const struct berth_registry_conf registry = {
        .store = f->store,
        .plugins = f->plugins,
        .metrics = f->metrics,
        .models_max = 10,
        .cores = 1,
        .loaders = 1,
        .batch = {.batch_requests_max = 8, .queue_len_max = 100}};
    must(berth_registry_new(&registry, &f->registry, &e), &e);
    struct berth_routes_conf conf = routes;
    conf.metrics = f->metrics;
    must(berth_routes_new(&conf, &f->routes, &e), &e);
    for (size_t i = 0; i < LOOPS; i++)
        must(berth_loop_new("front", &f->loops[i], &e), &e);
    const struct berth_api_conf api = {.registry = f->registry,
                                       .plugins = f->plugins,
                                       .metrics = f->metrics,
                                       .routes = f->routes,
                                       .request_timeout_ns = 30 * BERTH_S,
                                       .explain_requests = 1000,
                                       .loops = LOOPS};
    must(berth_api_new(&api, &f->api, &e), &e);
    const struct berth_server_app app = berth_api_app(f->api);
    const struct berth_server_conf server = {.loops = f->loops,
                                             .loop_count = LOOPS,
                                             .connections_max = 1000,
                                             .head_bytes_max = 32 << 10,
                                             .header_count_max = 128,
                                             .exchange_bytes_max = (size_t)1 << 30,
                                             .unsent_bytes_max = 1 << 20,
                                             .streams_max = 100,
                                             .head_timeout_ns = 30 * BERTH_S,
                                             .body_timeout_ns = 30 * BERTH_S,
                                             .idle_timeout_ns = 60 * BERTH_S,
                                             .write_timeout_ns = 30 * BERTH_S};
    must(berth_server_new(&server, &app, &f->server, &e), &e);
}

static void
stop(struct front *f)
{
    berth_server_drain(f->server, 5 * BERTH_S);
    berth_api_stop(f->api);
    berth_server_free(f->server);
    berth_api_free(f->api);
    berth_routes_free(f->routes);
    berth_registry_free(f->registry);
    berth_plugins_free(f->plugins);
    berth_store_close(f->store);
    for (size_t i = 0; i < LOOPS; i++)
        berth_loop_free(f->loops[i]);
    berth_metrics_free(f->metrics);
}

/* ---- what it is told ---- */

static const char *
text_of(const struct berth_json *v, const char *key)
{
    struct berth_slice s;

    return berth_json_string(berth_json_get(v, key), &s) ? s.at : NULL;
}

static uint64_t
number_of(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

static bool
flag_of(const struct berth_json *v, const char *key)
{
    bool b = false;

    (void)berth_json_bool(berth_json_get(v, key), &b);
    return b;
}

static int
publish(struct front *f, const struct berth_json *v, struct berth_err *e)
{
    struct berth_routed_replica replicas[REPLICAS_MAX];
    const struct berth_json *list = berth_json_get(v, "replicas");
    struct berth_routed_service s = {
        .id = text_of(v, "id"),
        .name = text_of(v, "name"),
        .served_name = text_of(v, "served"),
        .authorization = text_of(v, "authorization"),
        .weights = {(uint32_t)number_of(v, "stable"), (uint32_t)number_of(v, "canary")},
        .has_side_effects = flag_of(v, "side_effects"),
        .first_ns_max = number_of(v, "first_ms") * BERTH_MS,
        .silent_ns_max = number_of(v, "silent_ms") * BERTH_MS,
        .replicas = replicas,
    };

    for (struct berth_json_iter it = berth_json_iter(list);
         berth_json_next(&it) && s.replica_count < REPLICAS_MAX;) {
        const char *track = text_of(it.value, "track");

        replicas[s.replica_count++] = (struct berth_routed_replica){
            .id = text_of(it.value, "id"),
            .endpoint = text_of(it.value, "endpoint"),
            .served_name = text_of(it.value, "served"),
            .track = track != NULL && strcmp(track, "canary") == 0 ? BERTH_TRACK_CANARY
                                                                   : BERTH_TRACK_STABLE,
            .ready = flag_of(it.value, "ready"),
        };
    }
    return berth_routes_publish(f->routes, &s, e);
}

static void
obey(struct front *f, struct berth_arena *a, const char *line, size_t len)
{
    const struct berth_json *v;
    struct berth_err e = {0};
    struct berth_buf b;
    struct berth_jw w;
    uint64_t left = 0;
    int r = berth_json_parse(a, line, len, NULL, &v, &e);

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    if (r == 0 && berth_json_get(v, "publish") != NULL)
        r = publish(f, berth_json_get(v, "publish"), &e);
    else if (r == 0 && text_of(v, "remove") != NULL)
        berth_routes_remove(f->routes, text_of(v, "remove"));
    else if (r == 0 && text_of(v, "drain") != NULL)
        left = berth_routes_drain(f->routes, text_of(v, "drain"), text_of(v, "replica"),
                                  number_of(v, "ms") * BERTH_MS);
    berth_jw_object(&w);
    berth_jw_key(&w, "error");
    berth_jw_string(&w, r < 0 ? e.msg : NULL);
    berth_jw_key(&w, "left");
    berth_jw_uint(&w, left);
    if (r == 0 && text_of(v, "describe") != NULL) {
        berth_jw_key(&w, "routes");
        berth_routes_put(f->routes, text_of(v, "describe"), &w);
    }
    berth_jw_object_end(&w);
    (void)printf("%s\n", berth_buf_text(&b));
    (void)fflush(stdout);
}

int
main(int argc, char **argv)
{
    static struct front f;
    const struct berth_listen_conf listen = {.host = "127.0.0.1"};
    struct berth_arena arena;
    struct berth_err e = {0};
    char *line = NULL;
    size_t cap = 0;
    uint16_t port;

    start(&f, argc > 1 ? argv[1] : "");
    must(berth_server_listen(f.server, &listen, &port, &e), &e);
    (void)printf("%u\n", port);
    (void)fflush(stdout);
    berth_arena_init(&arena, 16 << 20);
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        obey(&f, &arena, line, (size_t)n);
        berth_arena_reset(&arena);
    }
    berth_arena_fini(&arena);
    free(line);
    stop(&f);
    return 0;
}
