#ifndef BERTH_API_TEST_JSON_H
#define BERTH_API_TEST_JSON_H

#include <string.h>

#include "base/arena.h"
#include "wire/json.h"

/* The memory of one test, with its setup and teardown, and JSON in it. */
static struct berth_arena arena;

static int
reset(void **unused)
{
    (void)unused;
    berth_arena_init(&arena, (size_t)8 << 20);
    return 0;
}

static int
fini(void **unused)
{
    (void)unused;
    berth_arena_fini(&arena);
    return 0;
}

static const struct berth_json *
json(const char *text)
{
    const struct berth_json_parse how = {.allow_nan = true};
    const struct berth_json *v = NULL;
    struct berth_err e;

    assert_int_equal(berth_json_parse(&arena, text, strlen(text), &how, &v, &e), 0);
    return v;
}

#endif
