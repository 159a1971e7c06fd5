#include "merge/shape_priv.h"

/* Gateway API v1 (1.3, with its experimental fields) and its Inference Extension (0.3 and 1.3). */

static const struct shape_field route_parent_refs_fields[] = {
    STRING("group"),     STRING("kind"), STRING("name"),
    STRING("namespace"), INT32("port"),  STRING("sectionName")};
const struct berth_shape shape_route_parent_refs = SHAPE(route_parent_refs_fields);

static const struct shape_field route_cors_fields[] = {
    BOOL("allowCredentials"), STRINGS("allowHeaders"),  STRINGS("allowMethods"),
    STRINGS("allowOrigins"),  STRINGS("exposeHeaders"), INT32("maxAge")};
static const struct berth_shape shape_route_cors = SHAPE(route_cors_fields);

static const struct shape_field route_extension_ref_fields[] = {STRING("group"), STRING("kind"),
                                                                STRING("name")};
static const struct berth_shape shape_route_extension_ref = SHAPE(route_extension_ref_fields);

static const struct shape_field http_header_fields[] = {STRING("name"), STRING("value")};
static const struct berth_shape shape_http_header = SHAPE(http_header_fields);

static const struct shape_field route_header_modifier_fields[] = {
    OBJECTS("add", http_header), STRINGS("remove"), OBJECTS("set", http_header)};
static const struct berth_shape shape_route_header_modifier = SHAPE(route_header_modifier_fields);

static const struct shape_field route_backend_ref_fields[] = {
    STRING("group"), STRING("kind"), STRING("name"), STRING("namespace"), INT32("port")};
static const struct berth_shape shape_route_backend_ref = SHAPE(route_backend_ref_fields);

static const struct shape_field route_fraction_fields[] = {INT32("denominator"),
                                                           INT32("numerator")};
static const struct berth_shape shape_route_fraction = SHAPE(route_fraction_fields);

static const struct shape_field route_request_mirror_fields[] = {
    OBJECT("backendRef", route_backend_ref), OBJECT("fraction", route_fraction), INT32("percent")};
static const struct berth_shape shape_route_request_mirror = SHAPE(route_request_mirror_fields);

static const struct shape_field route_path_fields[] = {
    STRING("replaceFullPath"), STRING("replacePrefixMatch"), STRING("type")};
static const struct berth_shape shape_route_path = SHAPE(route_path_fields);

static const struct shape_field route_request_redirect_fields[] = {
    STRING("hostname"), OBJECT("path", route_path), INT32("port"), STRING("scheme"),
    INT32("statusCode")};
static const struct berth_shape shape_route_request_redirect = SHAPE(route_request_redirect_fields);

static const struct shape_field route_url_rewrite_fields[] = {STRING("hostname"),
                                                              OBJECT("path", route_path)};
static const struct berth_shape shape_route_url_rewrite = SHAPE(route_url_rewrite_fields);

static const struct shape_field route_filters_fields[] = {
    OBJECT("cors", route_cors),
    OBJECT("extensionRef", route_extension_ref),
    OBJECT("requestHeaderModifier", route_header_modifier),
    OBJECT("requestMirror", route_request_mirror),
    OBJECT("requestRedirect", route_request_redirect),
    OBJECT("responseHeaderModifier", route_header_modifier),
    STRING("type"),
    OBJECT("urlRewrite", route_url_rewrite)};
static const struct berth_shape shape_route_filters = SHAPE(route_filters_fields);

static const struct shape_field route_backend_refs_fields[] = {OBJECTS("filters", route_filters),
                                                               STRING("group"),
                                                               STRING("kind"),
                                                               STRING("name"),
                                                               STRING("namespace"),
                                                               INT32("port"),
                                                               INT32("weight")};
static const struct berth_shape shape_route_backend_refs = SHAPE(route_backend_refs_fields);

static const struct shape_field route_headers_fields[] = {STRING("name"), STRING("type"),
                                                          STRING("value")};
static const struct berth_shape shape_route_headers = SHAPE(route_headers_fields);

static const struct shape_field route_path2_fields[] = {STRING("type"), STRING("value")};
static const struct berth_shape shape_route_path2 = SHAPE(route_path2_fields);

static const struct shape_field route_matches_fields[] = {
    OBJECTS("headers", route_headers), STRING("method"), OBJECT("path", route_path2),
    OBJECTS("queryParams", route_headers)};
static const struct berth_shape shape_route_matches = SHAPE(route_matches_fields);

static const struct shape_field route_retry_fields[] = {INT32("attempts"), STRING("backoff"),
                                                        INTS("codes")};
static const struct berth_shape shape_route_retry = SHAPE(route_retry_fields);

static const struct shape_field route_cookie_config_fields[] = {STRING("lifetimeType")};
static const struct berth_shape shape_route_cookie_config = SHAPE(route_cookie_config_fields);

static const struct shape_field route_session_persistence_fields[] = {
    STRING("absoluteTimeout"), OBJECT("cookieConfig", route_cookie_config), STRING("idleTimeout"),
    STRING("sessionName"), STRING("type")};
static const struct berth_shape shape_route_session_persistence =
    SHAPE(route_session_persistence_fields);

static const struct shape_field route_timeouts_fields[] = {STRING("backendRequest"),
                                                           STRING("request")};
static const struct berth_shape shape_route_timeouts = SHAPE(route_timeouts_fields);

static const struct shape_field route_rules_fields[] = {
    OBJECTS("backendRefs", route_backend_refs),
    OBJECTS("filters", route_filters),
    OBJECTS("matches", route_matches),
    STRING("name"),
    OBJECT("retry", route_retry),
    OBJECT("sessionPersistence", route_session_persistence),
    OBJECT("timeouts", route_timeouts)};
static const struct berth_shape shape_route_rules = SHAPE(route_rules_fields);

static const struct shape_field route_spec_fields[] = {
    STRINGS("hostnames"), OBJECTS("parentRefs", route_parent_refs), OBJECTS("rules", route_rules)};
static const struct berth_shape shape_route_spec = SHAPE(route_spec_fields);

static const struct shape_field route_fields[] = {STRING("apiVersion"), STRING("kind"),
                                                  OBJECT("metadata", object_meta),
                                                  OBJECT("spec", route_spec), ANY("status")};
const struct berth_shape shape_route = SHAPE(route_fields);

static const struct shape_field pool_port_fields[] = {INT32("number")};
static const struct berth_shape shape_pool_port = SHAPE(pool_port_fields);

static const struct shape_field pool_endpoint_picker_ref_fields[] = {
    STRING("failureMode"), STRING("group"), STRING("kind"), STRING("name"),
    OBJECT("port", pool_port)};
static const struct berth_shape shape_pool_endpoint_picker_ref =
    SHAPE(pool_endpoint_picker_ref_fields);

static const struct shape_field pool_selector_fields[] = {STRING_MAP("matchLabels")};
static const struct berth_shape shape_pool_selector = SHAPE(pool_selector_fields);

static const struct shape_field pool_spec_fields[] = {
    STRING("appProtocol"), OBJECT("endpointPickerRef", pool_endpoint_picker_ref),
    OBJECT("selector", pool_selector), OBJECTS("targetPorts", pool_port)};
static const struct berth_shape shape_pool_spec = SHAPE(pool_spec_fields);

static const struct shape_field pool_fields[] = {STRING("apiVersion"), STRING("kind"),
                                                 OBJECT("metadata", object_meta),
                                                 OBJECT("spec", pool_spec), ANY("status")};
const struct berth_shape shape_pool = SHAPE(pool_fields);

static const struct shape_field old_pool_extension_ref_fields[] = {
    STRING("failureMode"), STRING("group"), STRING("kind"), STRING("name"), INT32("portNumber")};
static const struct berth_shape shape_old_pool_extension_ref = SHAPE(old_pool_extension_ref_fields);

static const struct shape_field old_pool_spec_fields[] = {
    OBJECT("extensionRef", old_pool_extension_ref), STRING_MAP("selector"),
    INT32("targetPortNumber")};
static const struct berth_shape shape_old_pool_spec = SHAPE(old_pool_spec_fields);

static const struct shape_field old_pool_fields[] = {STRING("apiVersion"), STRING("kind"),
                                                     OBJECT("metadata", object_meta),
                                                     OBJECT("spec", old_pool_spec), ANY("status")};
const struct berth_shape shape_old_pool = SHAPE(old_pool_fields);

static const struct shape_field model_target_models_fields[] = {STRING("name"), INT32("weight")};
static const struct berth_shape shape_model_target_models = SHAPE(model_target_models_fields);

static const struct shape_field model_spec_fields[] = {
    STRING("criticality"), STRING("modelName"), OBJECT("poolRef", route_extension_ref),
    OBJECTS("targetModels", model_target_models)};
static const struct berth_shape shape_model_spec = SHAPE(model_spec_fields);

static const struct shape_field model_fields[] = {STRING("apiVersion"), STRING("kind"),
                                                  OBJECT("metadata", object_meta),
                                                  OBJECT("spec", model_spec), ANY("status")};
const struct berth_shape shape_model = SHAPE(model_fields);

static const struct shape_field objective_spec_fields[] = {OBJECT("poolRef", route_extension_ref),
                                                           INT32("priority")};
static const struct berth_shape shape_objective_spec = SHAPE(objective_spec_fields);

static const struct shape_field objective_fields[] = {
    STRING("apiVersion"), STRING("kind"), OBJECT("metadata", object_meta),
    OBJECT("spec", objective_spec), ANY("status")};
const struct berth_shape shape_objective = SHAPE(objective_fields);
