#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/uri.h"

/* What was decoded and is escaped again decodes to the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_arena a;
    const struct berth_slice text = {(const char *)bytes, len};
    struct berth_slice plain, again;

    berth_arena_init(&a, 4 << 20);
    (void)berth_uri_query(&a, text, "key", &plain);
    if (berth_uri_decode(&a, text, true, &plain)) {
        struct berth_buf b;
        berth_buf_init(&b, &a);
        berth_uri_put(&b, plain.at, plain.len);
        if (!b.failed && berth_uri_decode(&a, (struct berth_slice){b.at, b.len}, true, &again))
            berth_assert(plain.len == again.len && memcmp(plain.at, again.at, plain.len) == 0);
    }
    berth_arena_fini(&a);
    return 0;
}
