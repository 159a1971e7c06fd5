#include "api/routes.h"

#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/assert.h"
#include "wire/json.h"

/* The dialects and scopes, short, so that a route fits a line. */
#define UM     BERTH_DIALECT_UNIMODEL
#define OAI    BERTH_DIALECT_OPENAI
#define V2     BERTH_DIALECT_V2
#define ADM    BERTH_DIALECT_ADMIN
#define MS     BERTH_DIALECT_MODSERV
#define PUBLIC BERTH_SCOPE_PUBLIC
#define READ   BERTH_SCOPE_READ
#define INFER  BERTH_SCOPE_INFER
#define MANAGE BERTH_SCOPE_MANAGE
#define NONE   BERTH_BODY_NONE
#define SMALL  BERTH_BODY_SMALL
#define TEXT   BERTH_BODY_TEXT
#define LARGE  BERTH_BODY_LARGE
#define M      "/v2/models/{model}"
#define MV     "/v2/models/{model}/versions/{version}"
#define S      "/api/v1/modserv"

/* What is called most comes first: the table is searched from the top.
 * method, pattern, dialect, scope, body, blocks, handler, summary */
static const struct berth_route routes[] = {
    {"POST", M "/infer", V2, INFER, LARGE, false, berth_v2_infer, "Run a model on tensors"},
    {"POST", "/v1/models/{model}:predict", UM, INFER, LARGE, false, berth_unimodel_predict,
     "Predict from text, an image or tensors"},
    {"POST", "/v1/chat/completions", OAI, INFER, TEXT, false, berth_openai_chat,
     "Answer a conversation"},
    {"POST", "/v1/completions", OAI, INFER, TEXT, false, berth_openai_completions, "Go on a text"},
    {"POST", "/v1/embeddings", OAI, INFER, TEXT, false, berth_openai_embeddings,
     "Vectors of texts"},
    {"POST", MV "/infer", V2, INFER, LARGE, false, berth_v2_infer,
     "Run a model's version on tensors"},
    {"POST", "/v1/models/{model}/predict", UM, INFER, LARGE, false, berth_unimodel_predict,
     "Predict from text, an image or tensors"},
    {"POST", "/models/{model}/predict", UM, INFER, LARGE, false, berth_unimodel_predict,
     "Predict from text, an image or tensors"},
    {"POST", "/v1/models/{model}/predict/batch", UM, INFER, LARGE, false, berth_unimodel_batch,
     "Predict for several inputs"},
    {"POST", "/models/{model}/predict/batch", UM, INFER, LARGE, false, berth_unimodel_batch,
     "Predict for several inputs"},

    {"GET", "/health", ADM, PUBLIC, NONE, false, berth_admin_health, "Is the server alive?"},
    {"GET", "/ready", ADM, PUBLIC, NONE, false, berth_admin_ready, "Is a model ready?"},
    {"GET", "/metrics", ADM, READ, NONE, true, berth_admin_metrics, "Metrics for Prometheus"},
    {"GET", "/openapi.json", ADM, PUBLIC, NONE, false, berth_admin_openapi, "This document"},
    {"GET", "/v1/plugins", ADM, READ, NONE, true, berth_admin_plugins,
     "Backends and the formats that they take"},
    {"GET", "/v1/memory", UM, READ, NONE, true, berth_memory_get,
     "Memory: what there is, and who has it"},
    {"GET", "/v1/plan", UM, MANAGE, NONE, true, berth_plan_get,
     "What loading ?model=NAME or ?path=PATH would take and evict"},

    {"GET", "/v1/requests", UM, READ, NONE, true, berth_requests_list,
     "Requests that went by: ?order=newest|slowest, failed=true, model, limit"},
    {"GET", "/v1/requests/{request}/explain", UM, READ, NONE, true, berth_requests_explain,
     "Where a request's time went, and what would have been faster"},

    {"POST", "/v1/models", UM, MANAGE, SMALL, true, berth_unimodel_register, "Register a model"},
    {"GET", "/v1/models", UM, READ, NONE, true, berth_unimodel_list, "All models"},
    {"GET", "/v1/models/{model}", UM, READ, NONE, false, berth_unimodel_get, "One model"},
    {"DELETE", "/v1/models/{model}", UM, MANAGE, NONE, true, berth_unimodel_delete,
     "Unregister a model"},
    {"PATCH", "/v1/models/{model}", UM, MANAGE, SMALL, true, berth_unimodel_configure,
     "Change a model's config"},
    {"GET", "/v1/models/{model}/status", UM, READ, NONE, false, berth_unimodel_status,
     "State, load and statistics of a model"},
    {"POST", "/models", UM, MANAGE, SMALL, true, berth_unimodel_register, "Register a model"},
    {"GET", "/models", UM, READ, NONE, true, berth_unimodel_list, "All models"},
    {"GET", "/models/{model}", UM, READ, NONE, false, berth_unimodel_get, "One model"},
    {"DELETE", "/models/{model}", UM, MANAGE, NONE, true, berth_unimodel_delete,
     "Unregister a model"},
    {"GET", "/models/{model}/status", UM, READ, NONE, false, berth_unimodel_status,
     "State, load and statistics of a model"},

    {"GET", "/v2", V2, READ, NONE, false, berth_v2_server, "Server metadata"},
    {"GET", "/v2/health/live", V2, PUBLIC, NONE, false, berth_v2_live, "Is the server alive?"},
    {"GET", "/v2/health/ready", V2, PUBLIC, NONE, false, berth_v2_ready, "Is the server ready?"},
    {"GET", M, V2, READ, NONE, false, berth_v2_model, "Model metadata"},
    {"GET", MV, V2, READ, NONE, false, berth_v2_model, "Metadata of a version"},
    {"GET", M "/ready", V2, READ, NONE, false, berth_v2_model_ready, "Is the model ready?"},
    {"GET", MV "/ready", V2, READ, NONE, false, berth_v2_model_ready, "Is the version ready?"},
    {"GET", M "/config", V2, READ, NONE, false, berth_v2_config, "Model configuration"},
    {"GET", MV "/config", V2, READ, NONE, false, berth_v2_config, "Configuration of a version"},
    {"GET", M "/stats", V2, READ, NONE, false, berth_v2_stats, "Statistics of a model"},
    {"GET", MV "/stats", V2, READ, NONE, false, berth_v2_stats, "Statistics of a version"},
    {"GET", "/v2/models/stats", V2, READ, NONE, true, berth_v2_stats, "Statistics of all models"},
    {"POST", M "/generate", V2, INFER, TEXT, false, berth_v2_generate, "Generate text"},
    {"POST", MV "/generate", V2, INFER, TEXT, false, berth_v2_generate, "Generate text"},
    {"POST", M "/generate_stream", V2, INFER, TEXT, false, berth_v2_generate_stream,
     "Generate text, piece by piece"},
    {"POST", MV "/generate_stream", V2, INFER, TEXT, false, berth_v2_generate_stream,
     "Generate text, piece by piece"},
    {"GET", "/v2/systemsharedmemory/status", V2, READ, NONE, false, berth_v2_shm_status,
     "Shared memory regions"},
    {"GET", "/v2/systemsharedmemory/region/{region}/status", V2, READ, NONE, false,
     berth_v2_shm_status, "A shared memory region"},
    {"POST", "/v2/systemsharedmemory/region/{region}/register", V2, MANAGE, SMALL, true,
     berth_v2_shm_register, "Register a shared memory region"},
    {"POST", "/v2/systemsharedmemory/unregister", V2, MANAGE, SMALL, true, berth_v2_shm_unregister,
     "Unregister all shared memory regions"},
    {"POST", "/v2/systemsharedmemory/region/{region}/unregister", V2, MANAGE, SMALL, true,
     berth_v2_shm_unregister, "Unregister a shared memory region"},
    {"POST", "/v2/repository/index", V2, READ, SMALL, true, berth_v2_index,
     "Models and their states"},
    {"POST", "/v2/repository/models/{model}/load", V2, MANAGE, SMALL, true, berth_v2_load,
     "Load a model, or load it again"},
    {"POST", "/v2/repository/models/{model}/unload", V2, MANAGE, SMALL, true, berth_v2_unload,
     "Unload a model"},

    {"POST", S "/deploy", MS, MANAGE, SMALL, true, berth_services_deploy, "Deploy a service"},
    {"GET", S, MS, READ, NONE, true, berth_services_list, "All services"},
    {"POST", S "/plan", MS, MANAGE, SMALL, true, berth_services_plan,
     "What deploying a service would do"},
    {"GET", S "/list", MS, READ, NONE, true, berth_services_models,
     "Models under the model root that can be deployed"},
    {"GET", S "/modellist", MS, READ, NONE, true, berth_services_models, "The same"},
    {"GET", S "/modelsfiles", MS, READ, NONE, true, berth_services_models, "The same"},
    {"GET", S "/units", MS, READ, NONE, true, berth_services_units,
     "Workloads in the environments, and which no service has"},
    {"GET", S "/metrics", MS, READ, NONE, true, berth_admin_metrics, "Metrics for Prometheus"},
    {"POST", S "/nodes/{node}/drain", MS, MANAGE, SMALL, true, berth_services_node,
     "Keep new work off a machine of ?shimlet= and move away what is there"},
    {"POST", S "/nodes/{node}/undrain", MS, MANAGE, SMALL, true, berth_services_node,
     "Take a drained machine back"},
    {"GET", S "/{service}", MS, READ, NONE, true, berth_services_get,
     "A service's state, replicas and resources"},
    {"PUT", S "/{service}", MS, MANAGE, SMALL, true, berth_services_update,
     "Update a service to a new spec"},
    {"PATCH", S "/{service}", MS, MANAGE, SMALL, true, berth_services_patch,
     "Change some of a service's spec (RFC 7386)"},
    {"DELETE", S "/{service}", MS, MANAGE, NONE, true, berth_services_delete, "Delete a service"},
    {"POST", S "/{service}/plan", MS, MANAGE, SMALL, true, berth_services_plan,
     "What updating a service would do: ?merge=1 with some of the spec"},
    {"GET", S "/{service}/pipeline", MS, READ, NONE, true, berth_services_pipeline,
     "How far a service's pipeline got: ?track=canary"},
    {"GET", S "/{service}/pipeline/logs", MS, READ, NONE, false, berth_services_pipeline_logs,
     "What its steps did: ?follow, since, format=text"},
    {"GET", S "/{service}/logs", MS, READ, NONE, false, berth_services_logs,
     "What its replicas print: ?follow, tail, replica, track"},
    {"GET", S "/{service}/revisions", MS, READ, NONE, true, berth_services_revisions,
     "A service's specs, newest first"},
    {"POST", S "/{service}/scale", MS, MANAGE, SMALL, true, berth_services_scale,
     "Another number of replicas: replicaCount"},
    {"POST", S "/{service}/rollback", MS, MANAGE, SMALL, true, berth_services_rollback,
     "Back to ?revision=, or the one before; ends a canary"},
    {"POST", S "/{service}/promote", MS, MANAGE, SMALL, true, berth_services_promote,
     "The canary becomes the service"},
    {"POST", S "/{service}/weight", MS, MANAGE, SMALL, true, berth_services_weight,
     "The canary's share of requests in percent: weight"},
    {"POST", S "/{service}/retry", MS, MANAGE, SMALL, true, berth_services_retry,
     "Try a failed service again from its first step"},
    {"GET", "/api/v1/events", MS, READ, NONE, false, berth_services_events,
     "Events as they happen (SSE; Last-Event-ID), or a list"},
    {"GET", "/api/v1/plugins", MS, READ, NONE, true, berth_extensions_list,
     "Shimlets and pipelines"},
    {"POST", "/api/v1/plugins/load", MS, MANAGE, SMALL, true, berth_extensions_load,
     "Load a shimlet or pipeline from a file"},
    {"POST", "/api/v1/plugins/reload", MS, MANAGE, SMALL, true, berth_extensions_reload,
     "Load a plugin's file again"},
    {"POST", "/api/v1/plugins/unload", MS, MANAGE, SMALL, true, berth_extensions_unload,
     "Retire a plugin"},
    {"GET", "/swagger", ADM, PUBLIC, NONE, false, berth_admin_swagger, "This document as a page"},
    {"GET", "/swagger/doc.json", ADM, PUBLIC, NONE, false, berth_admin_openapi, "This document"},
};

const struct berth_route *
berth_routes(size_t *ret_count)
{
    *ret_count = BERTH_COUNT(routes);
    return routes;
}

/* Does segment end in suffix, with something before it?  A client may have encoded the colon. */
static bool
ends_in(struct berth_slice *segment, const char *suffix, size_t len)
{
    if (segment->len > len && memcmp(segment->at + segment->len - len, suffix, len) == 0) {
        segment->len -= len;
        return true;
    }
    if (len > 0 && *suffix == ':' && segment->len > len + 2) {
        const char *at = segment->at + segment->len - len - 2;
        if (strncasecmp(at, "%3a", 3) == 0 && memcmp(at + 3, suffix + 1, len - 1) == 0) {
            segment->len -= len + 2;
            return true;
        }
    }
    return false;
}

bool
berth_route_fits(const char *pattern, struct berth_slice path, struct berth_slice *ret_name,
                 struct berth_slice *ret_version)
{
    const char *p = pattern, *s = path.at, *end = path.at + path.len;

    while (*p != '\0') {
        if (*p != '{') {
            if (s == end || *s != *p)
                return false;
            s++;
            p++;
            continue;
        }
        const char *slash = memchr(s, '/', (size_t)(end - s));
        struct berth_slice segment = {s, (size_t)((slash != NULL ? slash : end) - s)};
        const char *suffix = strchr(p, '}') + 1;
        const size_t suffix_len = strcspn(suffix, "/");

        s += segment.len;
        if (!ends_in(&segment, suffix, suffix_len))
            return false;
        *(p[1] == 'm' ? ret_name : ret_version) = segment;
        p = suffix + suffix_len;
    }
    return s == end || (end - s == 1 && *s == '/'); /* "/v2/" is "/v2" */
}

struct berth_route_match
berth_route_find(struct berth_slice method, struct berth_slice path)
{
    struct berth_route_match m = {.route = NULL};
    size_t used = 0;

    if (berth_slice_is(method, "HEAD"))
        method = BERTH_SLICE("GET");
    for (size_t i = 0; i < BERTH_COUNT(routes); i++) {
        struct berth_slice name = {"", 0}, version = {"", 0};

        if (!berth_route_fits(routes[i].pattern, path, &name, &version))
            continue;
        if (berth_slice_is(method, routes[i].method)) {
            /* "stats" is a model's name only where nothing better fits. */
            if (m.route != NULL && name.len > 0)
                continue;
            m.route = &routes[i];
            m.name = name;
            m.version = version;
            if (name.len == 0 || !berth_slice_is(name, "stats"))
                break;
        }
        m.path_known = true;
        if (strstr(m.allow, routes[i].method) == NULL && used < sizeof m.allow)
            used += (size_t)snprintf(m.allow + used, sizeof m.allow - used, "%s%s",
                                     used > 0 ? ", " : "", routes[i].method);
    }
    m.path_known |= m.route != NULL;
    return m;
}

enum berth_dialect
berth_route_dialect(struct berth_slice path)
{
    static const struct {
        const char *prefix;
        enum berth_dialect dialect;
    } prefixes[] = {
        {"/v2", V2},      {"/v1/models", UM},   {"/v1/plugins", UM}, {"/v1/memory", UM},
        {"/v1/plan", UM}, {"/v1/requests", UM}, {"/v1/", OAI},       {"/api/v1/", MS},
    };

    for (size_t i = 0; i < BERTH_COUNT(prefixes); i++) {
        const size_t n = strlen(prefixes[i].prefix);
        if (path.len >= n && memcmp(path.at, prefixes[i].prefix, n) == 0)
            return prefixes[i].dialect;
    }
    return UM;
}

/* ---- the OpenAPI document ---- */

static void
put_parameter(struct berth_jw *w, const char *name, const char *what)
{
    berth_jw_object(w);
    berth_jw_key(w, "name");
    berth_jw_string(w, name);
    berth_jw_key(w, "in");
    berth_jw_string(w, "path");
    berth_jw_key(w, "required");
    berth_jw_bool(w, true);
    berth_jw_key(w, "description");
    berth_jw_string(w, what);
    berth_jw_key(w, "schema");
    berth_jw_raw(w, "{\"type\":\"string\"}", strlen("{\"type\":\"string\"}"));
    berth_jw_object_end(w);
}

static void
put_answers(struct berth_jw *w, const struct berth_route *route)
{
    static const char done[] = "{\"description\":\"Done\"}";
    static const char full[] =
        "{\"description\":\"The store's disk is full: nothing was changed; free some space\"}";
    static const char other[] =
        "{\"description\":\"An error in the dialect's shape\",\"content\":"
        "{\"application/json\":{\"schema\":{\"type\":\"object\",\"properties\":{\"error\":{}}}}}}";

    berth_jw_key(w, "responses");
    berth_jw_object(w);
    berth_jw_key(w, "200");
    berth_jw_raw(w, done, sizeof done - 1);
    if (route->scope == MANAGE && strcmp(route->method, "GET") != 0) { /* it is to be kept */
        berth_jw_key(w, "507");
        berth_jw_raw(w, full, sizeof full - 1);
    }
    berth_jw_key(w, "default");
    berth_jw_raw(w, other, sizeof other - 1);
    berth_jw_object_end(w);
}

static void
put_operation(struct berth_jw *w, const struct berth_route *route)
{
    static const char *const scopes[] = {"public", "read", "infer", NULL, "manage"};
    static const char body[] =
        "{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}}}";

    berth_jw_object(w);
    berth_jw_key(w, "summary");
    berth_jw_string(w, route->summary);
    berth_jw_key(w, "tags");
    berth_jw_array(w);
    berth_jw_string(w, berth_dialect_name(route->dialect));
    berth_jw_array_end(w);
    berth_jw_key(w, "x-scope");
    berth_jw_string(w, scopes[route->scope]);
    if (strchr(route->pattern, '{') != NULL) {
        berth_jw_key(w, "parameters");
        berth_jw_array(w);
        if (strstr(route->pattern, "{model}") != NULL)
            put_parameter(w, "model", "A model's name or identity");
        if (strstr(route->pattern, "{request}") != NULL)
            put_parameter(w, "request", "X-Request-Id of its answer");
        if (strstr(route->pattern, "{region}") != NULL)
            put_parameter(w, "region", "A shared memory region's name");
        if (strstr(route->pattern, "{version}") != NULL)
            put_parameter(w, "version", "A version of the model");
        berth_jw_array_end(w);
    }
    if (route->body != NONE) {
        berth_jw_key(w, "requestBody");
        berth_jw_raw(w, body, sizeof body - 1);
    }
    put_answers(w, route);
    if (route->scope != PUBLIC) {
        berth_jw_key(w, "security");
        berth_jw_raw(w, "[{},{\"bearer\":[]},{\"apiKey\":[]}]",
                     strlen("[{},{\"bearer\":[]},{\"apiKey\":[]}]"));
    }
    berth_jw_object_end(w);
}

static void
put_path(struct berth_jw *w, size_t first)
{
    char method[8];

    berth_jw_key(w, routes[first].pattern);
    berth_jw_object(w);
    for (size_t i = first; i < BERTH_COUNT(routes); i++) {
        size_t n = 0;

        if (strcmp(routes[i].pattern, routes[first].pattern) != 0)
            continue;
        for (; routes[i].method[n] != '\0' && n < sizeof method - 1; n++)
            method[n] = (char)(routes[i].method[n] | 0x20); /* ASCII letters to lower case */
        method[n] = '\0';
        berth_jw_key(w, method);
        put_operation(w, &routes[i]);
    }
    berth_jw_object_end(w);
}

void
berth_routes_openapi(struct berth_buf *b, const char *version)
{
    static const char security[] =
        "{\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"},"
        "\"apiKey\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-API-Key\"}}}";
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_key(&w, "openapi");
    berth_jw_string(&w, "3.0.3");
    berth_jw_key(&w, "info");
    berth_jw_object(&w);
    berth_jw_key(&w, "title");
    berth_jw_string(&w, "Berth");
    berth_jw_key(&w, "version");
    berth_jw_string(&w, version);
    berth_jw_object_end(&w);
    berth_jw_key(&w, "paths");
    berth_jw_object(&w);
    for (size_t i = 0; i < BERTH_COUNT(routes); i++) {
        bool seen = false;

        for (size_t k = 0; k < i && !seen; k++)
            seen = strcmp(routes[k].pattern, routes[i].pattern) == 0;
        if (!seen)
            put_path(&w, i);
    }
    berth_jw_object_end(&w);
    berth_jw_key(&w, "components");
    berth_jw_raw(&w, security, sizeof security - 1);
    berth_jw_object_end(&w);
}
