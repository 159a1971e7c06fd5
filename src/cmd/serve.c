#include "cmd/serve.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/control.h"
#include "cmd/gauges.h"
#include "cmd/keys.h"
#include "cmd/logging.h"
#include "cmd/place.h"
#include "conf/conf.h"
#include "deploy/deploy.h"
#include "deploy/route/routes.h"
#include "infer/host.h"
#include "infer/registry.h"
#include "net/server.h"
#include "obs/metrics.h"
#include "os/cores.h"
#include "os/loop.h"
#include "plugin/plugins.h"
#include "plugin/workers.h"
#include "store/store.h"

enum {
    LOOPS_MAX = 64,
    STOP_S_MAX = 40, /* after the drain: more than the core gives engines to let go */
};
/* Beyond its body an exchange holds the parsed tree and the rendered answer. */
static const size_t exchange_spare_bytes = (size_t)512 << 20;

/* What a serving process owns; made in this order by serve_up(), undone in the reverse one. */
struct serving {
    const struct berth_conf *conf;
    struct berth_conf *reloaded; /* from the last SIGHUP: then conf points here */
    sigset_t signals;
    atomic_bool stopping, starting;
    struct berth_metrics *metrics;
    struct berth_store *store;
    struct berth_plugins *plugins;
    struct berth_workers *workers;
    struct berth_registry *registry;
    struct berth_routes *routes; /* of deployed services */
    struct berth_deploy *deploy; /* NULL: services are not deployed */
    bool asked;                  /* to stop */
    struct berth_loop *loops[LOOPS_MAX];
    size_t loop_count;
    struct berth_keys keys;
    struct berth_api *api;
    struct berth_server *server;
    struct berth_gauges gauges;
    struct berth_logging logging;
};

/* What the configuration has to be told of is told where its log goes. */
static int
log_set_up(struct serving *s, const struct berth_conf *c, struct berth_err *e)
{
    const int r = berth_logging_set(&s->logging, c, e);

    for (size_t i = 0; r == 0 && i < c->notes.count; i++)
        berth_info("%s", c->notes.at[i]);
    return r;
}

/* Every connection is a descriptor; the usual soft limit of 1,024 would be met first. */
static void
raise_file_limit(const struct berth_conf *c)
{
    struct rlimit files;
    rlim_t need = (rlim_t)c->server.max_connections + 256;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    if (files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur < need)
        berth_warn("server.max_connections is %lld, but this process may open %llu files: raise "
                   "the limit (ulimit -n) or lower the setting",
                   (long long)c->server.max_connections, (unsigned long long)files.rlim_cur);
}

/* Blocked before any thread starts, so that only this one takes them, by sigtimedwait(). */
static void
signals_block(struct serving *s)
{
    (void)sigemptyset(&s->signals);
    (void)sigaddset(&s->signals, SIGTERM);
    (void)sigaddset(&s->signals, SIGINT);
    (void)sigaddset(&s->signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &s->signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static struct berth_batch_conf
batch_conf(const struct berth_conf *c)
{
    const struct berth_conf_engine *n = &c->engine;
    const int64_t asked = n->default_batch_size < n->batch_config.max_batch_size
                              ? n->default_batch_size
                              : n->batch_config.max_batch_size;
    const int64_t size = asked < BERTH_BATCH_MAX ? asked : BERTH_BATCH_MAX;
    const int64_t wait = n->max_batch_wait_ms < n->batch_config.max_wait_time_ms
                             ? n->max_batch_wait_ms
                             : n->batch_config.max_wait_time_ms;

    return (struct berth_batch_conf){
        .batch_requests_max = (uint32_t)size,
        .wait_ns_max = (uint64_t)wait * BERTH_MS,
        .queue_len_max = (uint32_t)c->engine.queue_len,
        .no_padding = !n->batch_config.dynamic_padding,
    };
}

static struct berth_memory_conf
memory_conf(const struct berth_conf *c)
{
    const struct berth_conf_memory *m = &c->engine.memory;
    const bool limited = berth_conf_is_set(c, "engine.memory.max_memory_gb");

    return (struct berth_memory_conf){
        .max_bytes = limited ? (uint64_t)(m->max_memory_gb * 1073741824.0) : 0,
        .reserve_bytes = (uint64_t)m->reserve_mb << 20,
        .keep_alive_ns = (uint64_t)m->keep_alive_secs * BERTH_S,
        .load_wait_ns = (uint64_t)c->engine.load_wait_secs * BERTH_S,
    };
}

static int
registry_up(struct serving *s, struct berth_err *e)
{
    const struct berth_conf *c = s->conf;
    struct berth_place place;
    int r;

    s->metrics = berth_metrics_new();
    if (s->metrics == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if ((r = berth_place_find(c->state_dir, c->plugins.plugin_dir, &place, e)) < 0)
        return r;
    r = place.ephemeral ? berth_store_open_memory(&s->store, e)
                        : berth_store_open_sqlite(place.store, &s->store, e);
    if (r < 0 || (r = berth_plugins_new(place.plugin_dirs, berth_host_calls(), &s->plugins, e)) < 0)
        return r;
    struct berth_workers_conf isolated = {
        .state_dir = place.ephemeral ? NULL : c->state_dir,
        .plugins = s->plugins,
        .load_ns_max = (uint64_t)c->plugins.plugin_timeout_secs * BERTH_S,
        .adopt_ns = (uint64_t)c->plugins.adopt_secs * BERTH_S,
    };
    if ((r = berth_workers_new(&isolated, &s->workers, e)) < 0)
        return r;
    struct berth_registry_conf conf = {
        .store = s->store,
        .plugins = s->plugins,
        .metrics = s->metrics,
        .workers = s->workers,
        .isolate = strcmp(c->plugins.isolation, "process") == 0,
        .run_ns_max = (uint64_t)c->plugins.run_timeout_secs * BERTH_S,
        .models_max = (uint32_t)c->engine.max_models,
        .cores = c->engine.cores > 0 ? (uint32_t)c->engine.cores : berth_cores_usable(NULL),
        .ungoverned = !c->engine.governor,
        .loaders = (uint32_t)c->engine.loaders,
        .batch = batch_conf(c),
        .memory = memory_conf(c),
        .cache_bytes_max = (uint64_t)c->engine.memory.cache_size_mb << 20,
    };
    if ((r = berth_registry_new(&conf, &s->registry, e)) < 0)
        return r;
    return berth_registry_restore(s->registry, e);
}

/* A registration that is kept from last time may say the same as the command line does now. */
static bool
is_registered_so(struct berth_registry *g, const struct berth_conf_model *m)
{
    struct berth_arena arena;
    struct berth_model_info info;
    char path[PATH_MAX];

    berth_arena_init(&arena, 16 << 20);
    bool same = berth_registry_info(g, &arena, berth_slice_of(m->name), &info, NULL) == 0 &&
                realpath(m->path, path) != NULL && strcmp(path, info.path) == 0;
    berth_arena_fini(&arena);
    return same;
}

/* What a person does about a path that is no model. */
static int
model_refused(const struct berth_conf_model *m, int r, struct berth_err *e)
{
    struct stat st;
    const size_t len = strlen(e->msg);

    if (r == -BERTH_EINVAL && stat(m->path, &st) == 0 && S_ISDIR(st.st_mode))
        (void)snprintf(e->msg + len, sizeof e->msg - len,
                       ".  A folder of models is given with --model-dir %s", m->path);
    return berth_err_wrap(e, r, "model %s", m->name);
}

/* What the command line and the configuration name is wanted: a wrong one stops the start. */
static int
models_up(struct serving *s, struct berth_err *e)
{
    const struct berth_conf *c = s->conf;
    char id[BERTH_UUID_TEXT];

    for (size_t i = 0; i < c->models.count; i++) {
        const struct berth_conf_model *m = &c->models.at[i];
        struct berth_model_spec spec = {
            .name = m->name,
            .path = m->path,
            .backend = m->backend,
            .config = m->config,
            .ephemeral = true,
        };
        int r = berth_registry_register(s->registry, &spec, id, e);
        if (r == -BERTH_EEXIST && is_registered_so(s->registry, m))
            continue;
        if (r == -BERTH_EEXIST)
            return berth_err_set(
                e, BERTH_EEXIST,
                "model %s: registered already, with another path; take another name, "
                "or unregister that one first: berth rm %s",
                m->name, m->name);
        if (r < 0)
            return model_refused(m, r, e);
    }
    for (size_t i = 0; i < c->model_dirs.count; i++) {
        int r = berth_registry_watch_dir(s->registry, c->model_dirs.at[i], e);
        if (r < 0)
            return berth_err_wrap(e, r, "model_dirs");
    }
    return 0;
}

/* What a person would otherwise find out late. */
static void
say_hints(struct serving *s, const char *no_models)
{
    const struct berth_conf *c = s->conf;
    const char *dir = c->plugins.plugin_dir;

    if (berth_conf_is_set(c, "plugins.plugin_dir") && *dir != '\0' && access(dir, X_OK) != 0)
        berth_warn("plugins.plugin_dir: %s: %m; only the backends that came along are used", dir);
    if (s->keys.count == 0 && strncmp(c->server.host, "127.", 4) != 0 &&
        strcmp(c->server.host, "localhost") != 0 && strcmp(c->server.host, "::1") != 0)
        berth_warn("whoever reaches %s may use the models; --api-key-file FILE asks for keys",
                   c->server.host);
    if (no_models != NULL && berth_registry_counts(s->registry).registered == 0)
        berth_info("%s", no_models);
}

static bool
is_registered(void *registry, const char *name)
{
    struct berth_arena arena;
    struct berth_model_info info;

    berth_arena_init(&arena, 16 << 20);
    const bool is = berth_registry_info(registry, &arena, berth_slice_of(name), &info, NULL) == 0;
    berth_arena_fini(&arena);
    return is;
}

static int
deploy_up(struct serving *s, struct berth_err *e)
{
    const struct berth_conf *c = s->conf;
    const bool kept = strcmp(c->state_dir, "none") != 0;
    const struct berth_routes_conf routes = {
        .metrics = s->metrics, .is_local = is_registered, .arg = s->registry};
    const int r = berth_routes_new(&routes, &s->routes, e);

    if (r < 0 || !c->deploy.enabled)
        return r;
    const struct berth_control_conf how = {
        .conf = c,
        .store = s->store,
        .metrics = s->metrics,
        .routes = s->routes,
        .state_dir = kept ? c->state_dir : NULL,
        .plugin_dir = *c->plugins.plugin_dir != '\0' ? c->plugins.plugin_dir : NULL,
    };

    return berth_control_up(&how, &s->deploy, e);
}

static int
api_up(struct serving *s, struct berth_err *e)
{
    const struct berth_conf *c = s->conf;
    int r = berth_keys_init(&s->keys, c, e);

    if (r < 0)
        return r;
    struct berth_api_conf conf = {
        .registry = s->registry,
        .plugins = s->plugins,
        .deploy = s->deploy,
        .metrics = s->metrics,
        .routes = s->routes,
        .keys = s->keys.at,
        .key_count = s->keys.count,
        .cors_origins = c->security.cors_allowed_origins.at,
        .cors_origin_count = c->security.cors_enabled ? c->security.cors_allowed_origins.count : 0,
        .request_timeout_ns = (uint64_t)c->server.request_timeout_secs * BERTH_S,
        .run_timeout_ns = (uint64_t)c->engine.batch_config.timeout_ms * BERTH_MS,
        .load_wait_ns = (uint64_t)c->engine.load_wait_secs * BERTH_S,
        .body_bytes_max = (size_t)c->server.max_body_bytes,
        .stopping = &s->stopping,
        .starting = &s->starting,
        .access_log = c->monitoring.access_log,
        .explain_requests = (uint32_t)c->monitoring.explain_requests,
        .loops = (uint32_t)s->loop_count,
    };
    if (c->security.rate_limiting.enabled)
        conf.rate = (struct berth_api_rate){
            .requests_per_minute = (uint32_t)c->security.rate_limiting.requests_per_minute,
            .burst = (uint32_t)c->security.rate_limiting.burst_size,
        };
    return berth_api_new(&conf, &s->api, e);
}

static int
loops_up(struct serving *s, struct berth_err *e)
{
    int64_t want = s->conf->server.worker_threads;

    if (want == 0)
        want = berth_cores_usable(NULL);
    if (want > LOOPS_MAX)
        want = LOOPS_MAX;
    while (s->loop_count < (size_t)want) {
        char name[8];
        (void)snprintf(name, sizeof name, "loop%zu", s->loop_count);
        int r = berth_loop_new(name, &s->loops[s->loop_count], e);
        if (r < 0)
            return r;
        s->loop_count++;
    }
    return 0;
}

static int
listen_on(struct serving *s, int64_t port, uint32_t tag, const char *what, struct berth_err *e)
{
    const struct berth_conf_server *c = &s->conf->server;
    struct berth_listen_conf conf = {.host = c->host, .port = (uint16_t)port, .tag = tag};
    uint16_t got;

    if (c->enable_tls && tag == BERTH_API_LISTENER_ALL) {
        conf.tls = (struct berth_tls_conf){
            .cert_path = c->tls_cert_path,
            .key_path = c->tls_key_path,
            .client_ca_path = c->tls_client_ca_path,
        };
        conf.plain_refused = true;
    }
    int r = berth_server_listen(s->server, &conf, &got, e);
    if (r == 0)
        berth_info("listening on %s://%s:%u (%s)", conf.plain_refused ? "https" : "http", c->host,
                   (unsigned)got, what);
    return r;
}

static int
server_up(struct serving *s, struct berth_err *e)
{
    const struct berth_conf_server *c = &s->conf->server;
    struct berth_server_app app = berth_api_app(s->api);
    struct berth_server_conf conf = {
        .loops = s->loops,
        .loop_count = s->loop_count,
        .connections_max = (uint32_t)c->max_connections,
        .head_bytes_max = (size_t)c->max_head_bytes,
        .header_count_max = 128,
        .exchange_bytes_max = (size_t)c->max_body_bytes + exchange_spare_bytes,
        .unsent_bytes_max = (size_t)c->max_unsent_bytes,
        .streams_max = (uint32_t)c->max_streams,
        .head_timeout_ns = (uint64_t)c->head_timeout_secs * BERTH_S,
        .body_timeout_ns = (uint64_t)c->body_timeout_secs * BERTH_S,
        .receive_timeout_ns = (uint64_t)c->receive_timeout_secs * BERTH_S,
        .idle_timeout_ns = (uint64_t)c->idle_timeout_secs * BERTH_S,
        .write_timeout_ns = (uint64_t)c->write_timeout_secs * BERTH_S,
    };
    bool asked = s->conf->from.file_first; /* unimodel-server's commands expect these ports */
    int r = berth_server_new(&conf, &app, &s->server, e);

    if (r < 0)
        return r;
    berth_gauges_add(&s->gauges, s->metrics, s->server);
    if ((r = listen_on(s, c->port, BERTH_API_LISTENER_ALL, "every API", e)) < 0)
        return berth_err_wrap(e, r, "server.port");
    if ((asked || berth_conf_is_set(s->conf, "server.grpc_port")) &&
        (r = listen_on(s, c->grpc_port, BERTH_API_LISTENER_ALL, "every API", e)) < 0)
        return berth_err_wrap(e, r, "server.grpc_port");
    const struct berth_conf_monitoring *m = &s->conf->monitoring;
    if (m->prometheus_enabled &&
        (asked || berth_conf_is_set(s->conf, "monitoring.prometheus_port")))
        r = listen_on(s, m->prometheus_port, BERTH_API_LISTENER_METRICS, "metrics", e);
    return r < 0 ? berth_err_wrap(e, r, "monitoring.prometheus_port") : 0;
}

static int
serve_up(struct serving *s, struct berth_err *e)
{
    int r = registry_up(s, e);

    atomic_store(&s->starting, true); /* /v2/health/ready says 503 until models are registered */
    if (r < 0 || (r = loops_up(s, e)) < 0 || (r = deploy_up(s, e)) < 0 || (r = api_up(s, e)) < 0 ||
        (r = server_up(s, e)) < 0)
        return r;
    r = models_up(s, e); /* last: a port that is taken is known before a model is read */
    atomic_store(&s->starting, false);
    return r;
}

static void
give_up(int signal_number)
{
    static const char why[] = "berth serve: an engine does not end its work; stopped without it\n";

    (void)signal_number;
    (void)!write(STDERR_FILENO, why, sizeof why - 1);
    _exit(1);
}

static void
serve_down(struct serving *s)
{
    atomic_store(&s->stopping, true); /* /ready says 503 from here on */
    if (s->server != NULL)
        berth_server_drain(s->server, (uint64_t)s->conf->server.drain_timeout_secs * BERTH_S);
    /* An engine that hangs, in a load or a run, would keep us for ever: what it reads and writes is
     * not freed below it.  Nothing is lost then: what must last is in the store. */
    (void)signal(SIGALRM, give_up);
    (void)alarm(STOP_S_MAX);
    if (s->deploy != NULL) /* services stay as they are; the next start goes on with them */
        berth_deploy_stop(s->deploy, (uint64_t)s->conf->server.drain_timeout_secs * BERTH_S);
    if (s->deploy != NULL && s->asked) /* not one that ends because its port is taken */
        berth_deploy_end_well(s->deploy);
    berth_api_stop(s->api); /* a change whose client went is still one of the registry */
    if (s->conf->plugins.keep_workers && s->workers != NULL)
        berth_workers_keep(s->workers);
    if (s->workers != NULL)
        berth_workers_end_loads(s->workers);
    berth_registry_free(s->registry); /* before the server: cut requests still come back to it */
    berth_server_free(s->server);
    berth_api_free(s->api);
    berth_deploy_free(s->deploy);
    berth_routes_free(s->routes);
    berth_keys_fini(&s->keys);
    while (s->loop_count > 0)
        berth_loop_free(s->loops[--s->loop_count]);
    berth_workers_free(s->workers);
    berth_plugins_free(s->plugins);
    berth_store_close(s->store);
    berth_metrics_free(s->metrics);
    berth_conf_free(s->reloaded);
}

static void
say_changed(void *arg, const char *key, bool live)
{
    (void)arg;
    if (live)
        berth_info("configuration: %s changed", key);
    else
        berth_warn("configuration: %s changed, but takes effect only after a restart", key);
}

static void
reload(struct serving *s)
{
    struct berth_conf *now = NULL;
    struct berth_err e;

    if (berth_conf_load(&s->conf->from, &now, &e) < 0 || log_set_up(s, now, &e) < 0) {
        berth_error("SIGHUP: %s; the old configuration stays", e.msg);
        berth_conf_free(now);
        return;
    }
    berth_conf_diff(s->conf, now, say_changed, NULL);
    struct berth_batch_conf batch = batch_conf(now);
    berth_registry_batch_set(s->registry, &batch);
    berth_registry_cache_set(s->registry, (uint64_t)now->engine.memory.cache_size_mb << 20);
    berth_conf_free(s->reloaded);
    s->reloaded = now;
    s->conf = now;
}

/* Returns when it is time to stop. */
static void
wait_for_stop(struct serving *s)
{
    for (;;) {
        int signal_number = 0;
        if (sigwait(&s->signals, &signal_number) != 0)
            continue;
        if (signal_number == SIGHUP) {
            reload(s);
            continue;
        }
        berth_info("%s: finishing what runs, at most %lld s; once more stops at once",
                   signal_number == SIGINT ? "interrupt" : "SIGTERM",
                   (long long)s->conf->server.drain_timeout_secs);
        /* A second one shall not wait for anybody; a SIGHUP is no reason to hurry. */
        (void)signal(SIGTERM, SIG_DFL);
        (void)signal(SIGINT, SIG_DFL);
        (void)sigdelset(&s->signals, SIGHUP);
        (void)pthread_sigmask(SIG_UNBLOCK, &s->signals, NULL);
        return;
    }
}

/* Servers that this one starts as engines of services shall find the backends that it finds. Before
 * there are threads. */
static void
hand_on_plugin_dir(const struct berth_conf *conf)
{
    char path[PATH_MAX];

    if (berth_conf_is_set(conf, "plugins.plugin_dir") &&
        realpath(conf->plugins.plugin_dir, path) != NULL)
        (void)setenv("BERTH_PLUGINS_PLUGIN_DIR", path, 1); /* else they say what is missing */
}

/* ONNX Runtime begins to report its use to its makers, and leaves a file in /tmp, before it can be
 * told not to: it is told so by a variable, and here, while there are no threads. */
static void
keep_engines_quiet(void)
{
    (void)setenv("ORT_DISABLE_TELEMETRY", "1", 1);
}

int
berth_cmd_serve(const struct berth_conf *conf, const char *no_models)
{
    struct serving s = {.conf = conf};
    struct berth_err e = {{0}};
    uint64_t start_ns = berth_now_ns();

    hand_on_plugin_dir(conf);
    keep_engines_quiet();
    signals_block(&s);
    int r = log_set_up(&s, conf, &e);
    if (r == 0) {
        raise_file_limit(conf);
        r = serve_up(&s, &e);
    }
    if (r < 0) {
        berth_logging_failed(conf, e.msg);
    } else {
        berth_info("berth %s is up after %.1f ms", BERTH_VERSION,
                   (double)(berth_now_ns() - start_ns) / 1e6);
        say_hints(&s, no_models);
        wait_for_stop(&s);
        s.asked = true;
    }
    serve_down(&s);
    if (r == 0)
        berth_info("stopped");
    berth_logging_end(&s.logging);
    return r < 0 ? 1 : 0;
}
