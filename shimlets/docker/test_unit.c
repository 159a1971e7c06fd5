#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "shimlets/docker/docker.h"
#include "shimlets/docker/docker_priv.h"
#include "shimlets/docker/unit.h"
#include "shimlets/test_host.h"
#include "wire/json.h"

static struct berth_docker_conf
conf_of(const char *settings, struct berth_arena *a)
{
    struct berth_docker_conf c;
    struct berth_err e;

    if (berth_docker_conf_read(settings, "me", a, &c, &e) < 0)
        fail_msg("%s", e.msg);
    return c;
}

static struct berth_unit
unit_of(void)
{
    return (struct berth_unit){
        .struct_size = sizeof(struct berth_unit),
        .name = "m-1",
        .service_id = "m-1234",
        .track = "stable",
        .revision = 7,
        .hash = "0123456789abcdef",
        .replicas = 2,
        .image = "berth:1",
        .health_path = "/health",
    };
}

static void
settings_are_read_and_checked(void **unused)
{
    static const struct {
        const char *why, *json, *part; /* part: of the message; NULL: it is right */
    } cases[] = {
        {"nothing said is right", "{}", NULL},
        {"an unknown policy", "{\"pull\":\"sometimes\"}", "pull \"sometimes\""},
        {"a range that is none", "{\"port_min\":30000,\"port_max\":20000}", "no range"},
        {"a label that would break a filter", "{\"label_prefix\":\"a=b\"}", "label_prefix"},
        {"an address that is none", "{\"address\":\"a b\"}", "no IP address"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_docker_conf c;
        struct berth_err e = {{0}};

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 65536);
        const int r = berth_docker_conf_read(cases[i].json, "me", &a, &c, &e);
        assert_int_equal(r, cases[i].part == NULL ? 0 : -BERTH_EINVAL);
        if (cases[i].part != NULL)
            assert_non_null(strstr(e.msg, cases[i].part));
        berth_arena_fini(&a);
    }
}

static void
own_settings_win_and_are_checked(void **unused)
{
    static const struct {
        const char *why, *json, *part;
        int code;
    } cases[] = {
        {"nothing said is right", NULL, NULL, 0},
        {"what wins", "{\"network\":\"lan\",\"user\":\"1000:1000\",\"shm_bytes\":1024}", NULL, 0},
        {"a key that is not known", "{\"privileged\":true}", "shimletConfig.privileged",
         -BERTH_EINVAL},
        {"a wrong type", "{\"shm_bytes\":\"1\"}", "shimletConfig.shm_bytes is a string",
         -BERTH_EINVAL},
        {"not even JSON", "{", "shimletConfig", -BERTH_EINVAL},
        {"a network that is none", "{\"network\":\"a b\"}", "network", -BERTH_EINVAL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_docker_plan p;
        struct berth_err e = {{0}};

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 65536);
        const struct berth_docker_conf c = conf_of("{}", &a);
        struct berth_unit u = unit_of();
        u.settings_json = cases[i].json;
        assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), cases[i].code);
        if (cases[i].part != NULL)
            assert_non_null(strstr(e.msg, cases[i].part));
        berth_arena_fini(&a);
    }
}

static void
what_cannot_be_is_refused(void **unused)
{
    struct berth_arena a;
    struct berth_docker_plan p;
    struct berth_err e = {{0}};

    (void)unused;
    berth_arena_init(&a, 65536);
    const struct berth_docker_conf c = conf_of("{\"network\":\"host\"}", &a);
    struct berth_unit u = unit_of();
    u.image = NULL;
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), -BERTH_EINVAL);
    u = unit_of();
    u.port = 8080; /* two replicas, one port */
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "bridge"));
    u.replicas = 1;
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), 0);
    u.model_path = "models/x";
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), -BERTH_EINVAL);
    u.model_path = "/x.gguf"; /* its folder is / */
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), -BERTH_EINVAL);
    u.model_path = "/models/x/y.gguf";
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), 0);
    assert_string_equal(p.model_dir, "/models/x");
    u.model_path = "/models/x/";
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), 0);
    assert_string_equal(p.model_dir, "/models/x");
    u.cpu_milli = UINT64_MAX;
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), -BERTH_EINVAL);
    u.cpu_milli = 0;
    u.accelerator_count = 1;
    u.accelerator_resource = "example.com/tpu";
    assert_int_equal(berth_docker_plan_make(&c, &u, &a, &p, &e), -BERTH_EUNSUPPORTED);
    berth_arena_fini(&a);
}

static void
marks_are_replaced_by_a_replicas_own(void **unused)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"--port=$(PORT)", "--port=8001"},
        {"http://$(HOST):$(PORT)/$(REPLICA)", "http://0.0.0.0:8001/3"},
        {"$$(PORT)", "$(PORT)"},
        {"$(OTHER) $PORT $", "$(OTHER) $PORT $"},
        {"", ""},
        {"plain", "plain"},
    };
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 65536);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        assert_string_equal(berth_docker_expand(&a, cases[i].text, "0.0.0.0", 8001, 3),
                            cases[i].want);
    berth_arena_fini(&a);
}

/* The value of a dotted path, as compact JSON. */
static char *
at(const struct berth_json *v, const char *path)
{
    char part[64];
    struct berth_buf b;

    while (*path != '\0') {
        const size_t n = strcspn(path, "|");
        assert_true(n < sizeof part);
        memcpy(part, path, n);
        part[n] = '\0';
        v = berth_json_get(v, part);
        path += n + (path[n] == '|');
    }
    berth_buf_init(&b, NULL);
    berth_json_put(&b, v);
    return (char *)berth_buf_text(&b);
}

static void
body_is(const char *settings, const struct berth_unit *u, const char *const *wants)
{
    const struct berth_docker_ports ports = {.inner = 8000, .outer = 21005};
    struct berth_arena a;
    struct berth_docker_plan p;
    struct berth_buf out;
    const struct berth_json *root;
    struct berth_err e = {{0}};

    berth_arena_init(&a, 1024 * 1024);
    const struct berth_docker_conf c = conf_of(settings, &a);
    assert_int_equal(berth_docker_plan_make(&c, u, &a, &p, &e), 0);
    berth_buf_init(&out, &a);
    assert_int_equal(berth_docker_body(&p, 1, ports, &a, &out, &e), 0);
    assert_int_equal(berth_json_parse(&a, out.at, out.len, NULL, &root, &e), 0);
    for (; *wants != NULL; wants += 2) {
        char *got = at(root, wants[0]);
        if (strcmp(got, wants[1]) != 0)
            fail_msg("%s is %s, not %s", wants[0], got, wants[1]);
        free(got);
    }
    berth_arena_fini(&a);
}

static void
a_container_is_asked_for_as_documented(void **unused)
{
    static const char *const command[] = {"berth", "serve", "--port", "$(PORT)", NULL};
    static const struct berth_pair env[] = {{"MODEL", "m"}, {"AT", "$(HOST):$(PORT)"}};
    static const struct berth_pair labels[] = {{"team", "blue"}, {"berth.owner", "thief"}};
    static const char *const published[] = {
        "Image",
        "\"berth:1\"",
        "Entrypoint",
        "[\"berth\"]",
        "Cmd",
        "[\"serve\",\"--port\",\"8000\"]",
        "Env",
        "[\"MODEL=m\",\"AT=0.0.0.0:8000\"]",
        "ExposedPorts",
        "{\"8000/tcp\":{}}",
        "HostConfig|PortBindings",
        "{\"8000/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"21005\"}]}",
        "HostConfig|NetworkMode",
        "\"bridge\"",
        "HostConfig|NanoCpus",
        "4000000000",
        "HostConfig|Memory",
        "17179869184",
        "HostConfig|MemorySwap",
        "17179869184",
        "HostConfig|DeviceRequests",
        "[{\"Driver\":\"nvidia\",\"Count\":2,\"Capabilities\":[[\"gpu\"]]}]",
        "HostConfig|Mounts",
        "[{\"Type\":\"bind\",\"Source\":\"/models/m\",\"Target\":\"/models/m\",\"ReadOnly\":true}]",
        "HostConfig|RestartPolicy",
        "{\"Name\":\"unless-stopped\"}",
        "HostConfig|SecurityOpt",
        "[\"no-new-privileges\"]",
        "Labels|team",
        "\"blue\"",
        "Labels|berth.owner",
        "\"me\"",
        "Labels|berth.service",
        "\"m-1234\"",
        "Labels|berth.revision",
        "\"7\"",
        "Labels|berth.replica",
        "\"1\"",
        "Labels|berth.port",
        "\"21005\"",
        NULL,
    };
    static const char *const hosts[] = {
        "Env",
        "[\"MODEL=m\",\"AT=127.0.0.1:8000\"]",
        "ExposedPorts",
        "null",
        "HostConfig|PortBindings",
        "null",
        "HostConfig|NetworkMode",
        "\"host\"",
        "HostConfig|ShmSize",
        "1048576",
        "HostConfig|Runtime",
        "\"crun\"",
        "HostConfig|DeviceRequests",
        "null",
        "HostConfig|Devices",
        "[{\"PathOnHost\":\"/dev/kfd\",\"PathInContainer\":\"/dev/kfd\",\"CgroupPermissions\":"
        "\"rwm\"},{\"PathOnHost\":\"/dev/dri\",\"PathInContainer\":\"/dev/dri\","
        "\"CgroupPermissions\":\"rwm\"}]",
        "User",
        "\"1000\"",
        NULL,
    };
    struct berth_unit u = unit_of();

    (void)unused;
    u.command = command;
    u.env = env;
    u.env_count = 2;
    u.labels = labels;
    u.label_count = 2;
    u.cpu_milli = 4000;
    u.memory_bytes = UINT64_C(16) << 30;
    u.accelerator_count = 2;
    u.accelerator_resource = "nvidia.com/gpu";
    u.model_path = "/models/m/m.gguf";
    body_is("{}", &u, published);
    u.accelerator_resource = "amd.com/gpu";
    u.settings_json = "{\"runtime\":\"crun\",\"shm_bytes\":1048576,\"user\":\"1000\"}";
    body_is("{\"network\":\"host\"}", &u, hosts);
}

static void
references_name_a_registry_or_none(void **unused)
{
    static const struct {
        const char *image, *path, *tag, *registry;
    } cases[] = {
        {"berth", "berth", "latest", ""},
        {"berth:1", "berth", "1", ""},
        {"me/berth:1", "me/berth", "1", ""},
        {"reg.example/x/y:1", "reg.example/x/y", "1", "reg.example"},
        {"reg:5000/x", "reg:5000/x", "latest", "reg:5000"},
        {"localhost/x", "localhost/x", "latest", "localhost"},
        {"x@sha256:ab", "x", "sha256:ab", ""},
        {"", NULL, NULL, NULL},
        {":1", NULL, NULL, NULL},
        {"x:", NULL, NULL, NULL},
        {"a b", NULL, NULL, NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_docker_reference r;
        struct berth_arena a;

        print_message("  %s\n", cases[i].image);
        berth_arena_init(&a, 65536);
        assert_int_equal(berth_docker_reference_parse(cases[i].image, &a, &r),
                         cases[i].path != NULL);
        if (cases[i].path != NULL) {
            assert_string_equal(r.path, cases[i].path);
            assert_string_equal(r.tag, cases[i].tag);
            assert_string_equal(r.registry, cases[i].registry);
        }
        berth_arena_fini(&a);
    }
}

static void
credentials_are_found_by_their_registry(void **unused)
{
    static const char text[] = "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"YTpi\"},"
                               "\"reg:5000\":{\"auth\":\"dTpwOnE=\"},\"bad\":{\"auth\":\"YQ==\"},"
                               "\"token\":{\"auth\":\"dTo=\",\"identitytoken\":\"abc\"}}}";
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 65536);
    assert_string_equal(berth_docker_auth_of(text, sizeof text - 1, "", &a),
                        "{\"username\":\"a\",\"password\":\"b\",\"serveraddress\":"
                        "\"https://index.docker.io/v1/\"}");
    assert_string_equal(berth_docker_auth_of(text, sizeof text - 1, "reg:5000", &a),
                        "{\"username\":\"u\",\"password\":\"p:q\",\"serveraddress\":\"reg:5000\"}");
    assert_string_equal(berth_docker_auth_of(text, sizeof text - 1, "token", &a),
                        "{\"identitytoken\":\"abc\",\"serveraddress\":\"token\"}");
    assert_null(berth_docker_auth_of(text, sizeof text - 1, "bad", &a));
    assert_null(berth_docker_auth_of(text, sizeof text - 1, "other", &a));
    assert_null(berth_docker_auth_of("{", 1, "", &a));
    berth_arena_fini(&a);
}

static void
keep(void *arg, const char *json, size_t len)
{
    berth_buf_put(arg, json, len);
}

static void
a_plan_shows_what_would_be_made(void **unused)
{
    struct test_who who;
    const struct berth_shimlet_open how = {
        .struct_size = sizeof how,
        .settings_json = "{\"host\":\"unix:///nonexistent/docker.sock\"}",
        .owner = "me",
        .who = &who,
    };
    struct berth_shimlet *s;
    struct berth_op op = {.until_ns = 0};
    struct berth_err e = {{0}};
    struct berth_unit u = unit_of();
    struct berth_buf text;

    (void)unused;
    test_who_init(&who);
    berth_buf_init(&text, NULL);
    assert_int_equal(berth_shimlet_docker.open(&test_host, &how, &s, &e), 0);
    assert_int_equal(berth_shimlet_docker.render(s, &op, &u, keep, &text, &e), 0);
    assert_non_null(berth_buf_text(&text));
    assert_non_null(strstr(text.at, "\"name\":\"m-1-01234567-0\""));
    assert_non_null(strstr(text.at, "\"name\":\"m-1-01234567-1\""));
    /* What needs the daemon says that there is none, and what to do. */
    assert_int_equal(berth_shimlet_docker.apply(s, &op, &u, &e), -BERTH_ENETWORK);
    assert_non_null(strstr(e.msg, "systemctl start docker"));
    assert_false(berth_shimlet_docker.watches(s));
    berth_shimlet_docker.close(s);
    berth_buf_fini(&text);
    test_who_fini(&who);
}

static void
stopping_takes_whole_seconds(void **unused)
{
    static const struct {
        uint64_t ms, seconds;
    } cases[] = {{0, 0}, {1, 1}, {999, 1}, {1000, 1}, {1001, 2}, {10000, 10}};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_docker_conf c = {.stop_ns = cases[i].ms * BERTH_MS};

        assert_int_equal(berth_docker_stop_s(&c), cases[i].seconds);
    }
}

/* ---- health ---- */

/* A host whose questions to "silent" stay open, once it says so, until it says otherwise. */
static struct {
    pthread_mutex_t mu;
    pthread_cond_t wake;
    bool hangs;
    unsigned answered, waiting;
} asked = {.mu = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static int
probe_some(const char *url, uint64_t timeout_ns, struct berth_err *e)
{
    const bool answers = strcmp(url, "good") == 0;

    (void)timeout_ns;
    (void)pthread_mutex_lock(&asked.mu);
    asked.answered += answers;
    asked.waiting += !answers && asked.hangs;
    while (!answers && asked.hangs)
        (void)pthread_cond_wait(&asked.wake, &asked.mu);
    (void)pthread_mutex_unlock(&asked.mu);
    return answers ? 0 : berth_err_set(e, BERTH_EDEADLINE, "no answer");
}

static void
set_hangs(bool hangs)
{
    (void)pthread_mutex_lock(&asked.mu);
    asked.hangs = hangs;
    (void)pthread_cond_broadcast(&asked.wake);
    (void)pthread_mutex_unlock(&asked.mu);
}

/* arg: how many answers there were when the first silent one was waited for; 0: not yet. */
static bool
is_asked_on(void *arg)
{
    unsigned *since = arg;

    (void)pthread_mutex_lock(&asked.mu);
    if (asked.waiting > 0 && *since == 0)
        *since = asked.answered;
    const bool so = *since != 0 && asked.answered > *since + 3;
    (void)pthread_mutex_unlock(&asked.mu);
    return so;
}

static void
silent_ones_do_not_delay_the_others(void **unused)
{
    struct berth_shimlet_host host = test_host;
    struct berth_docker_verdict v;
    struct berth_docker_health *k;
    struct test_who who;
    struct berth_err e;
    unsigned since = 0;

    (void)unused;
    host.probe = probe_some;
    test_who_init(&who);
    assert_int_equal(berth_docker_health_new(&host, &who, BERTH_MS, &k, &e), 0);
    for (int i = 0; i < 9; i++) {
        char id[8];
        const struct berth_docker_patient p = {.id = id,
                                               .run = "1",
                                               .url = i == 0 ? "good" : "silent",
                                               .service_id = "s",
                                               .unit = "u"};

        (void)snprintf(id, sizeof id, "%d", i);
        assert_int_equal(berth_docker_health_see(k, &p, &v, &e), 0);
        assert_int_equal(v.ready, i == 0);
        assert_string_equal(v.why, i == 0 ? "" : "no answer");
        assert_true(v.for_ns < 60 * BERTH_S);
    }
    set_hangs(true);
    const bool on = test_until(is_asked_on, &since);
    set_hangs(false);
    berth_docker_health_free(k);
    test_who_fini(&who);
    assert_true(on);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_are_read_and_checked),
        cmocka_unit_test(own_settings_win_and_are_checked),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(marks_are_replaced_by_a_replicas_own),
        cmocka_unit_test(a_container_is_asked_for_as_documented),
        cmocka_unit_test(references_name_a_registry_or_none),
        cmocka_unit_test(credentials_are_found_by_their_registry),
        cmocka_unit_test(a_plan_shows_what_would_be_made),
        cmocka_unit_test(stopping_takes_whole_seconds),
        cmocka_unit_test(silent_ones_do_not_delay_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
