#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/base64.h"

/* What was decoded and is encoded again decodes to the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_arena a;
    void *plain, *again;
    size_t plain_len, again_len;

    berth_arena_init(&a, 8 << 20);
    if (berth_base64_decode(&a, (const char *)bytes, len, &plain, &plain_len)) {
        struct berth_buf b;
        berth_buf_init(&b, &a);
        berth_base64_put(&b, plain, plain_len);
        if (!b.failed) {
            berth_assert(berth_base64_decode(&a, b.at, b.len, &again, &again_len));
            berth_assert(plain_len == again_len && memcmp(plain, again, plain_len) == 0);
        }
    }
    berth_arena_fini(&a);
    return 0;
}
