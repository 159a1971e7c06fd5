#ifndef BERTH_OPERATOR_TEST_ARENA_H
#define BERTH_OPERATOR_TEST_ARENA_H

#include "base/arena.h"

/* The memory of one test: setup and teardown of each. */
static struct berth_arena arena;

static int
begin(void **unused)
{
    berth_arena_init(&arena, 64u << 20);
    return 0;
}

static int
end(void **unused)
{
    berth_arena_fini(&arena);
    return 0;
}

#endif
