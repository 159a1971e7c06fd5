#include "test_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "net/client.h"
#include "shimlets/docker/docker.h"
#include "shimlets/docker/engine.h"
#include "wire/json.h"

const struct berth_shimlet_ops *const ops = &berth_shimlet_docker;
static struct berth_shimlet_host host;

/* ---- the host's side ---- */

static int
probe(const char *url, uint64_t timeout_ns, struct berth_err *e)
{
    const struct berth_client_call call = {.url = url, .total_ns_max = timeout_ns, .proxy = ""};
    struct berth_client_answer answer;
    struct berth_client *c;
    int r = berth_client_new(&c, e);

    if (r < 0)
        return r;
    r = berth_client_call(c, &call, &answer, e);
    if (r == 0) {
        if (answer.status != 200)
            r = berth_err_set(e, BERTH_ENOTREADY, "%s answers %u", url, answer.status);
        berth_buf_fini(&answer.body);
    }
    berth_client_free(c);
    return r;
}

static void
note(const struct berth_op *op, const char *text)
{
    (void)op;
    print_message("note: %s\n", text);
}

static void
say(enum berth_log_level level, const char *msg)
{
    (void)level;
    print_message("log: %s\n", msg);
}

void
scene_init(void)
{
    host = test_host;
    host.probe = probe;
    host.note = note;
    host.log = say;
}

/* ---- an environment and a unit ---- */

void
scene_open(struct scene *x)
{
    const struct berth_shimlet_open how = {
        .struct_size = sizeof how,
        .settings_json = x->settings,
        .state_dir = x->dir,
        .owner = "test",
        .program = "berth",
        .who = &x->who,
    };
    struct berth_err e = {{0}};

    if (ops->open(&host, &how, &x->s, &e) < 0)
        fail_msg("%s", e.msg);
}

void
scene_begin(struct scene *x, const char *more)
{
    *x = (struct scene){.dir = "/tmp/berth-docker-XXXXXX"};
    assert_non_null(mkdtemp(x->dir));
    test_who_init(&x->who);
    (void)snprintf(x->settings, sizeof x->settings,
                   "{\"host\":\"%s\",\"image\":\"%s\",\"pull\":\"never\",\"stop_timeout_ms\":2000,"
                   "\"health_interval_ms\":300%s}",
                   getenv("BERTH_TEST_DOCKER"), getenv("BERTH_TEST_IMAGE"), more);
    scene_open(x);
}

void
scene_end(struct scene *x)
{
    char path[256];

    ops->close(x->s);
    test_who_fini(&x->who);
    (void)snprintf(path, sizeof path, "%s/units", x->dir);
    assert_int_equal(rmdir(path), 0); /* a removed unit leaves no record */
    assert_int_equal(rmdir(x->dir), 0);
}

static const char *const serve[] = {
    "/usr/bin/berth", "serve",       "--host",     "$(HOST)", "--port",
    "$(PORT)",        "--state-dir", "/tmp/state", NULL,
};

struct berth_unit
unit(const char *name, const char *hash, uint64_t revision, uint32_t replicas)
{
    return (struct berth_unit){
        .struct_size = sizeof(struct berth_unit),
        .name = name,
        .service_id = "service",
        .track = "stable",
        .revision = revision,
        .hash = hash,
        .replicas = replicas,
        .model_name = "m",
        .command = serve,
        .health_path = "/health",
        .start_timeout_ns = 60 * BERTH_S,
        .drain_timeout_ns = BERTH_S,
        .surge_max = 1,
    };
}

/* A busy machine takes longer than the host of the tests waits. */
enum { TRIES = 6 };

bool
settle(struct berth_shimlet *s, const struct berth_unit *u)
{
    for (int i = 0; i < TRIES; i++)
        if (test_settle(ops, s, u))
            return true;
    return false;
}

bool
until(bool (*cond)(void *arg), void *arg)
{
    for (int i = 0; i < TRIES; i++)
        if (test_until(cond, arg))
            return true;
    return false;
}

/* The daemon's own word about a container, by its id; the JSON's text. */
char *
inspect(const char *path)
{
    struct berth_docker_engine *g;
    const struct berth_json *root = NULL;
    struct berth_err e = {{0}};
    struct berth_arena a;
    struct berth_buf text;
    const struct berth_docker_ask ask = {.path = path};

    berth_arena_init(&a, 16 * 1024 * 1024);
    assert_int_equal(berth_docker_engine_new(&host, getenv("BERTH_TEST_DOCKER"), NULL, &g, &e), 0);
    if (berth_docker_ask(g, &ask, &a, &root, &e) < 0)
        fail_msg("%s", e.msg);
    berth_buf_init(&text, NULL);
    berth_json_put(&text, root);
    berth_docker_engine_free(g);
    berth_arena_fini(&a);
    assert_non_null(berth_buf_text(&text));
    return text.at;
}

int
order_with(const char *method, const char *path, const char *body)
{
    struct berth_docker_engine *g;
    struct berth_err e = {{0}};
    const struct berth_docker_ask ask = {
        .method = method, .path = path, .body = body, .body_len = body != NULL ? strlen(body) : 0};

    assert_int_equal(berth_docker_engine_new(&host, getenv("BERTH_TEST_DOCKER"), NULL, &g, &e), 0);
    const int r = berth_docker_ask(g, &ask, NULL, NULL, &e);
    berth_docker_engine_free(g);
    return r;
}

int
order(const char *method, const char *path)
{
    return order_with(method, path, NULL);
}

size_t
containers(void)
{
    char *text = inspect("/containers/json?all=1");
    size_t n = 0;

    for (const char *at = text; (at = strstr(at, "\"Id\":")) != NULL; at++)
        n++;
    free(text);
    return n;
}
