#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/admit.h"
#include "api/errors.h"
#include "api/fields.h"
#include "api/routes.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"

/* ---- errors ---- */

static void
every_code_has_its_look(void **unused)
{
    static const struct {
        int code;
        uint16_t status;
        const char *unimodel, *openai;
    } cases[] = {
        {-BERTH_EINVAL, 400, "VALIDATION_ERROR", NULL},
        {-BERTH_ENOENT, 404, "MODEL_ERROR", "model_not_found"},
        {-BERTH_EAUTH, 401, "AUTH_ERROR", "invalid_api_key"},
        {-BERTH_EPERM, 403, "AUTHZ_ERROR", "permission_denied"},
        {-BERTH_EAGAIN, 429, "SCHEDULE_ERROR", "rate_limit_exceeded"},
        {-BERTH_ENOTREADY, 503, "MODEL_ERROR", "model_not_ready"},
        {-BERTH_EDEADLINE, 504, "SCHEDULE_ERROR", "timeout"},
        {-BERTH_EBACKEND, 500, "PLUGIN_ERROR", NULL},
        {-BERTH_ENETWORK, 502, "NETWORK_ERROR", NULL},
        {-BERTH_ECONFIG, 500, "CONFIG_ERROR", NULL},
        {-BERTH_EIO, 500, "IO_ERROR", NULL},
        {-BERTH_EEXIST, 409, "MODEL_ERROR", "model_exists"},
        {-BERTH_ELIMIT, 409, "RESOURCE_ERROR", "limit_reached"},
        {-BERTH_ENOSPC, 507, "RESOURCE_ERROR", "insufficient_storage"},
        {-12345, 500, "INTERNAL_ERROR", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_error_look *look = berth_error_look(cases[i].code);

        assert_int_equal(look->status, cases[i].status);
        assert_string_equal(look->unimodel, cases[i].unimodel);
        if (cases[i].openai == NULL)
            assert_null(look->openai_code);
        else
            assert_string_equal(look->openai_code, cases[i].openai);
    }
}

static void
each_dialect_has_its_shape(void **unused)
{
    static const struct {
        enum berth_dialect dialect;
        struct berth_fault fault;
        const char *body;
    } cases[] = {
        {BERTH_DIALECT_UNIMODEL,
         {.code = -BERTH_ENOENT, .message = "no \"m\""},
         "{\"error\":\"MODEL_ERROR\",\"message\":\"no \\\"m\\\"\"}"},
        {BERTH_DIALECT_UNIMODEL,
         {.code = -BERTH_EINVAL, .kind = "SERIALIZATION_ERROR", .message = "x"},
         "{\"error\":\"SERIALIZATION_ERROR\",\"message\":\"x\"}"},
        {BERTH_DIALECT_OPENAI,
         {.code = -BERTH_ENOENT, .param = "model", .message = "x"},
         "{\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\",\"param\":\"model\","
         "\"code\":\"model_not_found\"}}"},
        {BERTH_DIALECT_V2, {.code = -BERTH_EINVAL, .message = "x"}, "{\"error\":\"x\"}"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_buf b;

        berth_buf_init(&b, NULL);
        berth_fault_put(&b, cases[i].dialect, &cases[i].fault);
        assert_string_equal(berth_buf_text(&b), cases[i].body);
        berth_buf_fini(&b);
    }
    assert_int_equal(berth_fault_of_status(405, "x").code, -BERTH_EINVAL);
    const struct berth_fault f = berth_fault_of_status(405, "x");
    assert_int_equal(berth_fault_status(&f), 405);
}

/* ---- routes ---- */

static void
paths_find_their_route(void **unused)
{
    static const struct {
        const char *why, *method, *path, *pattern, *name, *version;
    } cases[] = {
        {"the verb is cut off the name", "POST", "/v1/models/a.b-1:predict",
         "/v1/models/{model}:predict", "a.b-1", ""},
        {"also when it is encoded", "POST", "/v1/models/m%3Apredict", "/v1/models/{model}:predict",
         "m", ""},
        {"a name with a colon keeps it", "POST", "/v1/models/m:2:predict",
         "/v1/models/{model}:predict", "m:2", ""},
        {"a name with an encoded slash", "GET", "/v2/models/a%2Fb", "/v2/models/{model}", "a%2Fb",
         ""},
        {"with a version", "POST", "/v2/models/m/versions/3/infer",
         "/v2/models/{model}/versions/{version}/infer", "m", "3"},
        {"without v1, as UniModel's code has it", "POST", "/models/m/predict",
         "/models/{model}/predict", "m", ""},
        {"a trailing slash", "GET", "/v2/", "/v2", "", ""},
        {"HEAD is GET", "HEAD", "/health", "/health", "", ""},
        {"all statistics, not a model called stats", "GET", "/v2/models/stats", "/v2/models/stats",
         "", ""},
        {"statistics of one", "GET", "/v2/models/m/stats", "/v2/models/{model}/stats", "m", ""},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_route_match m =
            berth_route_find(berth_slice_of(cases[i].method), berth_slice_of(cases[i].path));

        print_message("  %s\n", cases[i].why);
        assert_non_null(m.route);
        assert_string_equal(m.route->pattern, cases[i].pattern);
        assert_true(berth_slice_is(m.name, cases[i].name));
        assert_true(berth_slice_is(m.version, cases[i].version));
    }
}

static void
others_do_not(void **unused)
{
    static const struct {
        const char *why, *method, *path;
        bool known;
        const char *allow;
    } cases[] = {
        {"no such path", "GET", "/nope", false, ""},
        {"an empty name", "GET", "/v2/models/", false, ""},
        {"an empty name before the verb", "POST", "/v1/models/:predict", true,
         "GET, DELETE, PATCH"},
        {"one segment too many", "GET", "/v2/models/m/ready/x", false, ""},
        {"an empty path", "GET", "", false, ""},
        {"another method", "PUT", "/v1/models", true, "POST, GET"},
        {"methods are in capitals", "get", "/health", true, "GET"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_route_match m =
            berth_route_find(berth_slice_of(cases[i].method), berth_slice_of(cases[i].path));

        print_message("  %s\n", cases[i].why);
        assert_null(m.route);
        assert_int_equal(m.path_known, cases[i].known);
        assert_string_equal(m.allow, cases[i].allow);
    }
}

static void
what_changes_something_wants_manage(void **unused)
{
    size_t n;
    const struct berth_route *routes = berth_routes(&n);

    (void)unused;
    for (size_t i = 0; i < n; i++) {
        const bool changes = strcmp(routes[i].method, "DELETE") == 0 ||
                             strcmp(routes[i].method, "PATCH") == 0 ||
                             strcmp(routes[i].pattern, "/v1/models") == 0 ||
                             strcmp(routes[i].pattern, "/models") == 0 ||
                             strncmp(routes[i].pattern, "/v2/repository/models/", 22) == 0 ||
                             strncmp(routes[i].pattern, "/v2/systemsharedmemory/", 23) == 0 ||
                             strncmp(routes[i].pattern, "/api/v1/", 8) == 0;
        if (changes && strcmp(routes[i].method, "GET") != 0)
            assert_int_equal(routes[i].scope, BERTH_SCOPE_MANAGE);
        else if (strcmp(routes[i].pattern, "/v1/plan") == 0) /* looks at any path of the machine */
            assert_int_equal(routes[i].scope, BERTH_SCOPE_MANAGE);
        else
            assert_int_not_equal(routes[i].scope, BERTH_SCOPE_MANAGE);
    }
}

static void
the_document_has_every_route(void **unused)
{
    const struct berth_json *doc, *paths;
    struct berth_arena a;
    struct berth_err e;
    struct berth_buf b;
    struct berth_slice version;
    size_t n;
    const struct berth_route *routes = berth_routes(&n);

    (void)unused;
    berth_arena_init(&a, 4 << 20);
    berth_buf_init(&b, &a);
    berth_routes_openapi(&b, "1.2.3");
    assert_int_equal(berth_json_parse(&a, b.at, b.len, NULL, &doc, &e), 0);
    assert_true(berth_json_string(berth_json_get(doc, "openapi"), &version));
    assert_true(berth_slice_is(version, "3.0.3"));
    paths = berth_json_get(doc, "paths");
    for (size_t i = 0; i < n; i++) {
        char method[8] = "";
        for (size_t k = 0; routes[i].method[k] != '\0'; k++)
            method[k] = (char)(routes[i].method[k] | 0x20);
        const struct berth_json *op =
            berth_json_get(berth_json_get(paths, routes[i].pattern), method);
        assert_non_null(op);
        assert_int_equal(berth_json_get(berth_json_get(op, "responses"), "507") != NULL,
                         routes[i].scope == BERTH_SCOPE_MANAGE && strcmp(method, "get") != 0);
    }
    berth_arena_fini(&a);
}

/* ---- who may come in ---- */

static const struct berth_admit_who at_home = {.key = {"", 0},
                                               .origin = {"", 0},
                                               .host = {"localhost:8000", 14},
                                               .peer = "127.0.0.1:1",
                                               .loopback = true};

static void
scopes_decide(void **unused)
{
    static const struct {
        const char *why, *key;
        enum berth_scope scope;
        int want;
    } cases[] = {
        {"health needs none", "", BERTH_SCOPE_PUBLIC, 0},
        {"none is not enough", "", BERTH_SCOPE_READ, -BERTH_EAUTH},
        {"nor a wrong one", "k", BERTH_SCOPE_READ, -BERTH_EAUTH},
        {"nor one that begins well", "root1", BERTH_SCOPE_READ, -BERTH_EAUTH},
        {"a user infers", "alice", BERTH_SCOPE_INFER, 0},
        {"and does not manage", "alice", BERTH_SCOPE_MANAGE, -BERTH_EPERM},
        {"a viewer does not infer", "bob", BERTH_SCOPE_INFER, -BERTH_EPERM},
        {"an operator manages", "carol", BERTH_SCOPE_MANAGE, 0},
        {"and does not infer", "carol", BERTH_SCOPE_INFER, -BERTH_EPERM},
        {"a key for all", "root", BERTH_SCOPE_MANAGE, 0},
    };
    static const struct {
        const char *text;
        uint32_t scopes;
    } known[] = {
        {"root", BERTH_SCOPE_READ | BERTH_SCOPE_INFER | BERTH_SCOPE_MANAGE},
        {"alice", BERTH_SCOPE_READ | BERTH_SCOPE_INFER},
        {"bob", BERTH_SCOPE_READ},
        {"carol", BERTH_SCOPE_READ | BERTH_SCOPE_MANAGE},
    };
    struct berth_api_key keys[BERTH_COUNT(known)];
    const struct berth_api_conf conf = {.keys = keys, .key_count = BERTH_COUNT(keys)};
    struct berth_admit *a = calloc(1, sizeof *a);

    (void)unused;
    assert_non_null(a);
    for (size_t i = 0; i < BERTH_COUNT(known); i++) {
        keys[i].scopes = known[i].scopes;
        berth_api_key_hash(known[i].text, strlen(known[i].text), keys[i].sha256_hex);
    }
    berth_admit_init(a, &conf);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_admit_who who = at_home;
        struct berth_fault f;

        print_message("  %s\n", cases[i].why);
        who.key = berth_slice_of(cases[i].key);
        assert_int_equal(berth_admit_check(a, cases[i].scope, &who, &f), cases[i].want);
    }
    free(a);
}

static void
without_keys_only_this_machine_manages(void **unused)
{
    static const char *const origins[] = {"*", "http://console.example"};
    static const struct {
        const char *why, *origin;
        bool loopback;
        enum berth_scope scope;
        int want;
    } cases[] = {
        {"anybody infers", "", false, BERTH_SCOPE_INFER, 0},
        {"this machine manages", "", true, BERTH_SCOPE_MANAGE, 0},
        {"another one does not", "", false, BERTH_SCOPE_MANAGE, -BERTH_EPERM},
        {"nor a page from elsewhere", "http://evil.example", true, BERTH_SCOPE_MANAGE,
         -BERTH_EPERM},
        {"nor a sandboxed one", "null", true, BERTH_SCOPE_MANAGE, -BERTH_EPERM},
        {"a page of ours does", "http://localhost:8000", true, BERTH_SCOPE_MANAGE, 0},
        {"but not of another port", "http://localhost:80", true, BERTH_SCOPE_MANAGE, -BERTH_EPERM},
        {"and one that is named", "http://console.example", true, BERTH_SCOPE_MANAGE, 0},
    };
    const struct berth_api_conf conf = {.cors_origins = origins, .cors_origin_count = 2};
    struct berth_admit *a = calloc(1, sizeof *a);

    (void)unused;
    assert_non_null(a);
    berth_admit_init(a, &conf);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_admit_who who = at_home;
        struct berth_fault f;

        print_message("  %s\n", cases[i].why);
        who.origin = berth_slice_of(cases[i].origin);
        who.loopback = cases[i].loopback;
        assert_int_equal(berth_admit_check(a, cases[i].scope, &who, &f), cases[i].want);
    }
    free(a);
}

/* A page that was loaded from its owner's machine, whose name then came to mean this one. */
static void
a_page_manages_under_nobody_s_name_only(void **unused)
{
    static const struct {
        const char *host;
        int want;
    } cases[] = {
        {"localhost", 0},
        {"127.0.0.1:80", 0},
        {"[::1]:80", 0},
        {"a.LOCALHOST:80", 0},
        {"evil.example:80", -BERTH_EPERM},
        {"notlocalhost", -BERTH_EPERM},
        {"localhost.example", -BERTH_EPERM},
        {"127.0.0.1.example", -BERTH_EPERM},
        {":80", -BERTH_EPERM},
    };
    const struct berth_api_conf conf = {0};
    struct berth_admit *a = calloc(1, sizeof *a);

    (void)unused;
    assert_non_null(a);
    berth_admit_init(a, &conf);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_admit_who who = at_home;
        struct berth_fault f;
        char origin[64];

        print_message("  %s\n", cases[i].host);
        (void)snprintf(origin, sizeof origin, "http://%s", cases[i].host);
        who.host = berth_slice_of(cases[i].host);
        who.origin = berth_slice_of(origin);
        assert_int_equal(berth_admit_check(a, BERTH_SCOPE_MANAGE, &who, &f), cases[i].want);
    }
    free(a);
}

static void
a_rate_lets_a_burst_through(void **unused)
{
    const uint64_t s = UINT64_C(1000000000);
    const struct berth_api_conf conf = {.rate = {.requests_per_minute = 60, .burst = 3}};
    struct berth_admit *a = calloc(1, sizeof *a);
    struct berth_admit_who other = at_home;

    (void)unused;
    assert_non_null(a);
    berth_admit_init(a, &conf);
    for (int i = 0; i < 3; i++)
        assert_int_equal(berth_admit_rate(a, &at_home, 100 * s), 0);
    assert_int_equal(berth_admit_rate(a, &at_home, 100 * s), 1 + 1);
    assert_int_equal(berth_admit_rate(a, &at_home, 100 * s + s / 2), 1);
    assert_int_equal(berth_admit_rate(a, &at_home, 101 * s), 0); /* one a second */
    assert_int_not_equal(berth_admit_rate(a, &at_home, 101 * s), 0);
    other.peer = "127.0.0.1:2"; /* the same address by another port */
    assert_int_not_equal(berth_admit_rate(a, &other, 101 * s), 0);
    other.peer = "127.0.0.2:2";
    assert_int_equal(berth_admit_rate(a, &other, 101 * s), 0);
    free(a);
}

/* ---- fields ---- */

static void
sampling_is_checked_by_field(void **unused)
{
    static const struct {
        const char *body, *message; /* NULL: fine */
    } cases[] = {
        {"{}", NULL},
        {"{\"temperature\":null,\"stop\":null}", NULL},
        {"{\"temperature\":0,\"top_p\":0,\"top_k\":-1,\"seed\":-7}", NULL},
        {"{\"temperature\":2.5}", "p.temperature: must be a number from 0 to 2"},
        {"{\"temperature\":\"1\"}", "p.temperature: must be a number from 0 to 2, not a string"},
        {"{\"top_k\":1.5}", "p.top_k: must be a whole number from -1 to 2147483647"},
        {"{\"stop\":[\"a\",\"\"]}", "p.stop: each must have 1 to 1024 bytes and no U+0000"},
        {"{\"stop\":7}", "p.stop: must be a string or an array of strings"},
        {"{\"stop\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}",
         "p.stop: must have at most 16 strings"},
        {"{\"logit_bias\":{\"5\":-100,\"7\":1.5}}", NULL},
        {"{\"logit_bias\":{\"five\":1}}",
         "p.logit_bias: each key must be a token's number and each value a number from -100 to "
         "100"},
        {"{\"logit_bias\":{\"5\":101}}",
         "p.logit_bias: each key must be a token's number and each value a number from -100 to "
         "100"},
        {"{\"ignore_eos\":1}", "p.ignore_eos: must be true or false, not a whole number"},
    };
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *v;
        struct berth_err e = {""};
        struct berth_gen g;

        print_message("  %s\n", cases[i].body);
        assert_int_equal(berth_json_parse(&a, cases[i].body, strlen(cases[i].body), NULL, &v, &e),
                         0);
        struct berth_fields f = berth_fields(v, "p.", &e);
        berth_gen_init(&g);
        const int r = berth_gen_read(&f, &a, &g);
        assert_int_equal(r, cases[i].message == NULL ? 0 : -BERTH_EINVAL);
        if (r < 0)
            assert_string_equal(e.msg, cases[i].message);
        else
            assert_true(g.top_p > 0 && g.top_k >= 0 && g.temperature >= 0);
    }
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_look),
        cmocka_unit_test(each_dialect_has_its_shape),
        cmocka_unit_test(paths_find_their_route),
        cmocka_unit_test(others_do_not),
        cmocka_unit_test(what_changes_something_wants_manage),
        cmocka_unit_test(the_document_has_every_route),
        cmocka_unit_test(scopes_decide),
        cmocka_unit_test(without_keys_only_this_machine_manages),
        cmocka_unit_test(a_page_manages_under_nobody_s_name_only),
        cmocka_unit_test(a_rate_lets_a_burst_through),
        cmocka_unit_test(sampling_is_checked_by_field),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
