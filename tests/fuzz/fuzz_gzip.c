#include <stdint.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/gzip.h"

/* What is read keeps to its limit. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    enum { MAX_BYTES = 1 << 16 };
    struct berth_arena a;
    struct berth_err e;
    const void *at;
    size_t n;

    berth_arena_init(&a, 1 << 20);
    if (berth_gzip_read(&a, bytes, len, MAX_BYTES, &at, &n, &e) == 0)
        berth_assert(n <= MAX_BYTES);
    berth_arena_fini(&a);
    return 0;
}
