#ifndef BERTH_DEPLOY_TEST_PEOPLE_H
#define BERTH_DEPLOY_TEST_PEOPLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "deploy/test_world.h"
#include "wire/json.h"

/*
 * What tests of the engine ask for in a world (test_world.h), and what they look at: one world and
 * one arena a program.
 */
static struct world w;
static struct berth_arena a;
static const struct berth_actor tester = {.name = "tester", .peer = "127.0.0.1"};

static inline int
setup(void **unused)
{
    (void)unused;
    berth_arena_init(&a, 64 << 20);
    world_init(&w, 42);
    world_start(&w);
    return 0;
}

static inline int
teardown(void **unused)
{
    (void)unused;
    world_fini(&w);
    berth_arena_fini(&a);
    return 0;
}

static inline const char *
create(const char *json)
{
    static char id[BERTH_SERVICE_ID_MAX];
    struct berth_spec spec;
    struct berth_err e = {""};

    world_spec(&w, json, &a, &spec);
    if (berth_deploy_create(w.d, &spec, &tester, id, &e) < 0)
        fail_msg("%s", e.msg);
    return id;
}

static inline uint64_t
update(const char *id, const char *json)
{
    struct berth_spec spec;
    struct berth_err e = {""};
    uint64_t revision = 0;

    world_spec(&w, json, &a, &spec);
    if (berth_deploy_update(w.d, id, &spec, 0, &tester, &revision, &e) < 0)
        fail_msg("%s", e.msg);
    return revision;
}

static inline const struct berth_json *
describe(const char *id)
{
    const struct berth_json *v = NULL;
    struct berth_err e = {""};
    struct berth_buf b;

    berth_buf_init(&b, &a);
    if (berth_deploy_describe(w.d, id, &a, &b, &e) < 0 ||
        berth_json_parse(&a, b.at, b.len, NULL, &v, &e) < 0)
        fail_msg("%s", e.msg);
    return v;
}

static inline const char *
text_of(const struct berth_json *v, const char *key)
{
    struct berth_slice s = {"", 0};

    (void)berth_json_string(berth_json_get(v, key), &s);
    return s.at;
}

static inline uint64_t
uint_of(const struct berth_json *v, const char *key)
{
    uint64_t n = UINT64_MAX;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

static inline void
phase_is(const char *id, const char *want)
{
    const struct berth_json *v = describe(id);

    if (strcmp(text_of(v, "phase"), want) != 0)
        fail_msg("%s is %s (%s), should be %s", id, text_of(v, "phase"), text_of(v, "message"),
                 want);
}

/* All phases that a service went through, from its events. */
static inline bool
note_phase(void *arg, uint64_t seq, struct berth_slice json)
{
    const struct berth_json *v;
    struct berth_err e;
    char *to = arg;

    (void)seq;
    assert_int_equal(berth_json_parse(&a, json.at, json.len, NULL, &v, &e), 0);
    (void)snprintf(to + strlen(to), 1000 - strlen(to), "%s ", text_of(v, "to"));
    return true;
}

static inline const char *
phases(const char *id)
{
    static char text[1000];
    const struct berth_event_query q = {.service_id = id, .type = "service.status"};
    struct berth_err e;
    uint64_t last;

    text[0] = '\0';
    assert_int_equal(berth_deploy_events(w.d, &q, note_phase, text, &last, &e), 0);
    return text;
}

#endif
