#include "api/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/forward.h"
#include "api/grpc.h"
#include "api/routes.h"
#include "api/shm.h"
#include "api/v2_infer.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "obs/trace.h"
#include "wire/uri.h"

enum {
    SMALL_BODY_BYTES = 1 << 20,
    TEXT_BODY_BYTES = 16 << 20,
    NO_BODY_BYTES = 64 << 10, /* some clients send "{}" with a GET */
    REQUEST_ID_MAX = 36,
    AT_ONCE_BYTES = 16 << 10,
};

/* ---- metrics ---- */

static struct berth_series *
series(struct berth_api *api, _Atomic(struct berth_series *) *kept, enum berth_family f,
       const char *const *labels)
{
    struct berth_series *s = atomic_load_explicit(kept, memory_order_acquire);

    if (s == NULL) { /* two threads may get here: the registry gives both the same */
        s = berth_metrics_series(api->conf.metrics, f, labels);
        atomic_store_explicit(kept, s, memory_order_release);
    }
    return s;
}

void
berth_api_count_error(struct berth_api *api, const struct berth_fault *f)
{
    const struct berth_error_look *look = berth_error_look(f->code);
    const char *const labels[] = {f->kind != NULL ? f->kind : look->unimodel, NULL};
    _Atomic(struct berth_series *) none = NULL;

    berth_series_add(series(api, f->kind != NULL ? &none : &api->errors[look->code],
                            BERTH_METRIC_ERRORS, labels),
                     1);
}

static void
count_answer(struct berth_api *api, enum berth_dialect d, uint16_t status, double seconds)
{
    const uint16_t i = status < BERTH_API_STATUS_MAX ? status : 0;
    char text[24] = "";
    const char *const labels[] = {berth_dialect_name(d), text, NULL};
    const char *const dialect[] = {berth_dialect_name(d), NULL};

    /* The label is read when the series is made. */
    if (atomic_load_explicit(&api->answered[d][i], memory_order_acquire) == NULL) {
        if (d == BERTH_DIALECT_GRPC && i < BERTH_GRPC_CODE_COUNT)
            (void)snprintf(text, sizeof text, "%s", berth_grpc_code_name(i));
        else
            (void)snprintf(text, sizeof text, "%u", i);
    }
    berth_series_add(series(api, &api->answered[d][i], BERTH_METRIC_REQUESTS, labels), 1);
    berth_series_observe(series(api, &api->seconds[d], BERTH_METRIC_REQUEST_SECONDS, dialect),
                         seconds);
}

void
berth_api_job(struct berth_call *c)
{
    struct berth_jobs *jobs = c->dialect == BERTH_DIALECT_MODSERV && c->api->conf.deploy != NULL
                                  ? &c->api->services
                                  : &c->api->models;

    if (!berth_jobs_put(jobs, c))
        berth_call_fail(c, -BERTH_EAGAIN, NULL,
                        "too many changes wait already, or the server is stopping; try again");
}

/* ---- a call's beginning ---- */

static uint64_t
mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The client's own X-Request-Id when it is a sane one, else a UUID: no secret, so a counter over
 * a random start will do and costs no system call. */
static void
choose_id(struct berth_call *c)
{
    const struct berth_slice *h = berth_exchange_header(c->x, "x-request-id");
    size_t n = 0;

    if (h != NULL && h->len > 0 && h->len <= REQUEST_ID_MAX) {
        while (n < h->len && h->at[n] > ' ' && h->at[n] <= '~' && h->at[n] != '"' &&
               h->at[n] != '\\')
            n++;
        if (n == h->len) {
            memcpy(c->id, h->at, n);
            c->id[n] = '\0';
            return;
        }
    }
    const uint64_t k = atomic_fetch_add_explicit(&c->api->id_next, 2, memory_order_relaxed);
    const uint64_t a = mix(k), b = mix(k + 1);
    const struct {
        uint64_t value;
        unsigned digits;
    } groups[] = {{a >> 32, 8},
                  {a >> 16, 4},
                  {0x4000 | (a & 0xfff), 4},
                  {0x8000 | (b >> 48 & 0x3fff), 4},
                  {b, 12}};
    char *to = c->id;
    /* By hand, since every request comes here. */
    for (size_t g = 0; g < BERTH_COUNT(groups); g++) {
        for (unsigned left = groups[g].digits; left > 0; left--)
            *to++ = "0123456789abcdef"[groups[g].value >> (4 * (left - 1)) & 0xf];
        *to++ = g + 1 < BERTH_COUNT(groups) ? '-' : '\0';
    }
}

static struct berth_call *
call_new(struct berth_api *api, struct berth_exchange *x)
{
    struct berth_call *c = BERTH_NEW(&x->arena, struct berth_call);

    if (c == NULL)
        return NULL;
    c->api = api;
    c->x = x;
    c->arena = &x->arena;
    c->begin_ns = x->begin_ns;
    c->name = c->version = c->cors_origin = (struct berth_slice){"", 0};
    c->wall_ns = berth_wall_ns();
    choose_id(c);
    x->user = c;
    return c;
}

static struct berth_slice
header(const struct berth_exchange *x, const char *name)
{
    const struct berth_slice *h = berth_exchange_header(x, name);

    return h != NULL ? *h : (struct berth_slice){"", 0};
}

static void
answer_preflight(struct berth_call *c)
{
    berth_exchange_add(c->x, "access-control-allow-methods",
                       "GET, POST, PUT, PATCH, DELETE, OPTIONS");
    berth_exchange_add(c->x, "access-control-allow-headers",
                       "Authorization, Content-Type, X-API-Key, X-Request-Id, "
                       "Inference-Header-Content-Length");
    berth_exchange_add(c->x, "access-control-max-age", "600");
    berth_call_reply(c, 204, NULL, "", 0);
}

/* A client whose base URL lacks /v1 asks for /chat/completions: what it should have asked for, to
 * be told in the shape that it reads; or an empty text. */
static void
guess_path(struct berth_call *c, char room[128])
{
    const struct berth_slice path = c->x->path;
    const int n = snprintf(room, 128, "/v1%.*s", (int)(path.len < 100 ? path.len : 100), path.at);
    const struct berth_route *r =
        berth_route_find(c->x->method, (struct berth_slice){room, (size_t)n}).route;

    if (r == NULL)
        room[0] = '\0';
    else
        c->dialect = r->dialect;
}

/* Nothing fits: 404, or 405 with the methods that would. */
static void
answer_no_route(struct berth_call *c, const struct berth_route_match *m)
{
    struct berth_exchange *x = c->x;
    char text[300], guess[128];

    if (m->path_known) {
        c->allow = berth_arena_printf(&x->arena, "%s", m->allow);
        (void)snprintf(text, sizeof text, "%.*s is not offered here; use %s", (int)x->method.len,
                       x->method.at, m->allow);
    } else {
        guess_path(c, guess);
        (void)snprintf(text, sizeof text, "there is nothing at %.*s; %s%s",
                       (int)(x->path.len < 100 ? x->path.len : 100), x->path.at,
                       guess[0] != '\0' ? "a client's base URL ends in /v1, so that it asks for "
                                        : "see /openapi.json",
                       guess);
    }
    const struct berth_fault f = berth_fault_of_status(m->path_known ? 405 : 404, text);
    berth_call_fault(c, &f);
}

bool
berth_api_admitted(struct berth_call *c, enum berth_scope scope)
{
    struct berth_exchange *x = c->x;
    const struct berth_admit_who who = {.key = berth_admit_key(x),
                                        .origin = header(x, "origin"),
                                        .host = x->authority,
                                        .peer = x->peer,
                                        .loopback = x->peer_is_loopback};
    struct berth_fault f;

    if (x->listener_tag == BERTH_API_LISTENER_METRICS)
        return true;
    if (c->api->conf.key_count > 0 && who.key.len > 0)
        c->who = berth_admit_who_hash(who.key);
    if (berth_admit_check(&c->api->admit, scope, &who, &f) < 0) {
        if (f.code == -BERTH_EAUTH)
            berth_exchange_add(x, "www-authenticate", "Bearer");
        berth_call_fault(c, &f);
        return false;
    }
    const uint32_t wait_s =
        scope != BERTH_SCOPE_PUBLIC ? berth_admit_rate(&c->api->admit, &who, x->begin_ns) : 0;
    if (wait_s > 0) {
        static const char *const limit[] = {"rate", NULL};
        berth_series_add(berth_metrics_series(c->api->conf.metrics, BERTH_METRIC_REFUSED, limit),
                         1);
        f = (struct berth_fault){.code = -BERTH_EAGAIN,
                                 .message = "too many requests; slow down, or raise "
                                            "security.rate_limiting"};
        berth_call_fault(c, &f);
    }
    return wait_s == 0;
}

static size_t
body_max(const struct berth_api *api, enum berth_body_class class)
{
    switch (class) {
    case BERTH_BODY_NONE:
        return NO_BODY_BYTES;
    case BERTH_BODY_SMALL:
        return SMALL_BODY_BYTES;
    case BERTH_BODY_TEXT:
        return TEXT_BODY_BYTES < api->conf.body_bytes_max ? TEXT_BODY_BYTES
                                                          : api->conf.body_bytes_max;
    case BERTH_BODY_LARGE:
        break;
    }
    return api->conf.body_bytes_max;
}

static bool
on_this_port(const struct berth_exchange *x, const struct berth_route *route)
{
    return x->listener_tag != BERTH_API_LISTENER_METRICS || route->handle == berth_admin_metrics ||
           route->handle == berth_admin_health || route->handle == berth_admin_ready;
}

static bool
decode_names(struct berth_call *c, const struct berth_route_match *m)
{
    struct berth_arena *a = &c->x->arena;

    if (berth_uri_decode(a, m->name, false, &c->name) &&
        berth_uri_decode(a, m->version, false, &c->version))
        return true;
    berth_call_fail(c, -BERTH_EINVAL, NULL, "the path has a bad percent escape");
    return false;
}

/* Is the body as it was sent, or compressed in a way that is known?  Looked at before it comes. */
static bool
is_encoding_known(struct berth_call *c)
{
    const struct berth_slice h = header(c->x, "content-encoding");

    c->compressed = berth_slice_is_nocase(h, "gzip") || berth_slice_is_nocase(h, "deflate");
    if (c->compressed || h.len == 0 || berth_slice_is_nocase(h, "identity"))
        return true;
    const struct berth_fault f =
        berth_fault_of_status(415, "Content-Encoding: must be gzip, deflate or identity");
    berth_call_fault(c, &f);
    return false;
}

static void
call_route(struct berth_call *c)
{
    if (berth_api_forward_path(c))
        return;
    if (c->route->blocks)
        berth_api_job(c);
    else
        c->route->handle(c);
}

/* Tensors behind a head in JSON are to be read where they lie. */
static void
split_body(struct berth_call *c)
{
    struct berth_err e;

    c->head_len = berth_exchange_header(c->x, "inference-header-content-length");
    if (c->head_len != NULL) /* one that is no number is refused when the request is read */
        (void)berth_v2_header_len(*c->head_len, &c->x->body_split, &e);
}

/* Its status is in trailers, and its streams go both ways at once: clients could not understand an
 * answer. */
static void
answer_grpc_on_http1(struct berth_call *c)
{
    const struct berth_fault f = berth_fault_of_status(
        505, "gRPC needs HTTP/2, by prior knowledge or ALPN: is a proxy in between that speaks "
             "HTTP/1.1 to this server?");

    c->dialect = berth_route_dialect(c->x->path);
    berth_call_fault(c, &f);
}

static void
api_begin(void *arg, struct berth_exchange *x)
{
    static const char last_resort[] =
        "{\"error\":\"RESOURCE_ERROR\",\"message\":\"out of memory\"}";
    struct berth_api *api = arg;
    struct berth_call *c = call_new(api, x);
    bool by_name;

    if (c == NULL) {
        berth_exchange_reply(x, 503, "application/json", last_resort, sizeof last_resort - 1);
        return;
    }
    const struct berth_slice origin = header(x, "origin");

    if (berth_grpc_is(x)) {
        if (x->http2)
            berth_grpc_accept(c);
        else
            answer_grpc_on_http1(c);
        return;
    }
    const struct berth_route_match m = berth_route_find(x->method, x->path);
    c->dialect = m.route != NULL ? m.route->dialect : berth_route_dialect(x->path);
    if (origin.len > 0)
        c->cors_origin = berth_admit_origin(&api->admit, origin, &by_name);
    if (berth_slice_is(x->method, "OPTIONS") && c->cors_origin.len > 0) {
        answer_preflight(c);
        return;
    }
    if (m.route == NULL || !on_this_port(x, m.route)) {
        answer_no_route(c, &m);
        return;
    }
    c->route = m.route;
    c->job = m.route->handle;
    x->body_max = body_max(api, m.route->body);
    if (m.route->dialect == BERTH_DIALECT_V2 && m.route->body == BERTH_BODY_LARGE)
        split_body(c);
    if (decode_names(c, &m) && berth_api_admitted(c, m.route->scope) && berth_call_read_timeout(c))
        (void)is_encoding_known(c);
}

static void
api_handle(void *arg, struct berth_exchange *x)
{
    struct berth_call *c = x->user;

    if (c->grpc != NULL) /* its messages come piece by piece */
        return;
    /* A body that came with its head needs no look at the clock. */
    if (x->body.len > AT_ONCE_BYTES || berth_loop_now_ns(x->loop) > x->begin_ns + BERTH_MS)
        c->body_ns = berth_now_ns();
    if (c->compressed)
        berth_prepare_inflated(c, call_route);
    else
        call_route(c);
}

static void
api_refuse(void *arg, struct berth_exchange *x, uint16_t status, const char *why)
{
    static const char last_resort[] = "{\"error\":\"HTTP_ERROR\",\"message\":\"refused\"}";
    struct berth_call *c = x->user != NULL ? x->user : call_new(arg, x);
    const struct berth_fault f = berth_fault_of_status(status, why);

    if (c == NULL) {
        berth_exchange_reply(x, status, "application/json", last_resort, sizeof last_resort - 1);
        return;
    }
    if (c->route == NULL && c->grpc == NULL)
        c->dialect = berth_route_dialect(x->path);
    berth_call_fault(c, &f);
}

/* The line of the access log.  Without one it is a line for who looks for faults. */
static void
say_answer(const struct berth_api *api, const struct berth_exchange *x, const struct berth_call *c,
           uint16_t status, double seconds)
{
    const bool grpc = c != NULL && c->grpc != NULL;
    const char *colon = strrchr(x->peer, ':');
    enum berth_log_level level = BERTH_LOG_DEBUG;
    char code[8], took[32], bytes[24];

    (void)snprintf(code, sizeof code, "%u", status);
    (void)snprintf(took, sizeof took, "%.3f", seconds * 1e3);
    (void)snprintf(bytes, sizeof bytes, "%" PRIu64, x->answer_bytes);
    const struct berth_log_field fields[] = {
        {"method", x->method.at != NULL ? x->method : BERTH_SLICE("-"), false},
        {"path", x->path.at != NULL ? x->path : BERTH_SLICE("-"), false},
        {grpc ? "grpc_status" : "status", berth_slice_of(code), true},
        {"client", {x->peer, colon != NULL ? (size_t)(colon - x->peer) : strlen(x->peer)}, false},
        {"duration_ms", berth_slice_of(took), true},
        {"bytes", berth_slice_of(bytes), true},
        {"id", berth_slice_of(c != NULL ? c->id : "-"), false},
    };

    if (api->conf.access_log)
        level = grpc || status < 400 ? BERTH_LOG_INFO
                : status < 500       ? BERTH_LOG_WARN
                                     : BERTH_LOG_ERROR;
    berth_log_fields(level, "request", fields, BERTH_COUNT(fields));
}

static void
api_ended(void *arg, struct berth_exchange *x)
{
    struct berth_api *api = arg;
    const struct berth_call *c = x->user;
    const enum berth_dialect d = c != NULL ? c->dialect : BERTH_DIALECT_ADMIN;
    const uint64_t now = berth_now_ns();
    const double seconds = (double)(now - x->begin_ns) / 1e9;
    const bool grpc = c != NULL && c->grpc != NULL;
    const uint16_t status = grpc             ? (uint16_t)berth_grpc_code(c->grpc)
                            : x->status != 0 ? x->status
                                             : 499; /* the client left first */

    count_answer(api, d, status, seconds);
    if (c != NULL)
        berth_requests_note(c, now);
    if (api->conf.access_log || berth_log_wanted(BERTH_LOG_DEBUG))
        say_answer(api, x, c, status, seconds);
}

struct berth_server_app
berth_api_app(struct berth_api *api)
{
    return (struct berth_server_app){.arg = api,
                                     .begin = api_begin,
                                     .handle = api_handle,
                                     .refuse = api_refuse,
                                     .ended = api_ended};
}

/* ---- new and free ---- */

static int
copy_conf(struct berth_api *api, const struct berth_api_conf *conf, struct berth_err *e)
{
    struct berth_api_conf *to = &api->conf;
    struct berth_api_key *keys = BERTH_NEW_N(&api->arena, struct berth_api_key, conf->key_count);
    const char **origins = BERTH_NEW_N(&api->arena, const char *, conf->cors_origin_count);

    *to = *conf;
    if (keys == NULL || origins == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "api: out of memory");
    for (size_t i = 0; i < conf->key_count; i++) {
        keys[i] = conf->keys[i];
        if (strspn(keys[i].sha256_hex, "0123456789abcdef") != BERTH_DIGEST_HEX - 1)
            return berth_err_set(e, BERTH_ECONFIG,
                                 "security.api_keys[%zu]: must be a SHA-256 in lower-case hex", i);
        if (keys[i].scopes == 0)
            return berth_err_set(e, BERTH_ECONFIG, "security.api_keys[%zu]: has no scope", i);
    }
    for (size_t i = 0; i < conf->cors_origin_count; i++) {
        origins[i] = berth_arena_strdup(&api->arena, conf->cors_origins[i]);
        if (origins[i] == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "api: out of memory");
    }
    to->keys = keys;
    to->cors_origins = origins;
    to->version =
        berth_arena_strdup(&api->arena, conf->version != NULL ? conf->version : BERTH_VERSION);
    if (to->request_timeout_ns == 0)
        to->request_timeout_ns = 300 * BERTH_S;
    if (to->run_timeout_ns == 0)
        to->run_timeout_ns = to->request_timeout_ns;
    if (to->body_bytes_max == 0)
        to->body_bytes_max = (size_t)128 << 20;
    if (to->output_bytes_max == 0)
        to->output_bytes_max = (size_t)256 << 20;
    if (to->image_pixels_max == 0)
        to->image_pixels_max = 100000000;
    return to->version != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "api: out of memory");
}

int
berth_api_new(const struct berth_api_conf *conf, struct berth_api **ret, struct berth_err *e)
{
    struct berth_api *api = calloc(1, sizeof *api);
    int r;

    if (api == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "api: out of memory");
    berth_arena_init(&api->arena, (size_t)16 << 20);
    api->begin_ns = berth_now_ns();
    atomic_init(&api->id_next, berth_random_u64());
    api->shm = berth_shm_new();
    api->forwarders = berth_forwarders_new();
    r = api->shm != NULL && api->forwarders != NULL
            ? copy_conf(api, conf, e)
            : berth_err_set(e, BERTH_ENOMEM, "api: out of memory");
    if (r == 0 && conf->explain_requests > 0) {
        api->trace = berth_trace_new(conf->explain_requests, conf->loops);
        if (api->trace == NULL)
            r = berth_err_set(e, BERTH_ENOMEM, "api: out of memory");
    }
    if (r == 0)
        r = berth_prepare_new(&api->prepare, e);
    if (r == 0) {
        berth_admit_init(&api->admit, &api->conf);
        r = berth_jobs_init(&api->models, "berth-api", 1, e);
        if (r == 0 && conf->deploy != NULL)
            r = berth_jobs_init(&api->services, "berth-services", BERTH_JOB_THREADS_MAX, e);
    }
    if (r < 0) {
        berth_api_free(api);
        return r;
    }
    *ret = api;
    return 0;
}

void
berth_api_stop(struct berth_api *api)
{
    if (api == NULL)
        return;
    berth_prepare_stop(
        api->prepare); /* what it has goes on with a handler: before its thread ends */
    berth_jobs_stop(&api->models);
    berth_jobs_stop(&api->services);
}

void
berth_api_free(struct berth_api *api)
{
    if (api == NULL)
        return;
    berth_api_stop(api);
    berth_prepare_free(api->prepare);
    berth_jobs_fini(&api->models);
    berth_jobs_fini(&api->services);
    berth_arena_fini(&api->arena);
    berth_trace_free(api->trace);
    berth_forwarders_free(api->forwarders);
    berth_shm_free(api->shm);
    free(api);
}
