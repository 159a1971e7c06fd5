#include <stdint.h>
#include <string.h>

#include "api/forward.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"

/* A body that is JSON stays JSON, with the new name for the model and all else as it was. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const struct berth_slice body = {(const char *)bytes, len};
    const struct berth_json *before, *after;
    struct berth_arena a;
    struct berth_slice got, name;

    berth_arena_init(&a, 8 << 20);
    const bool right = berth_json_parse(&a, body.at, body.len, NULL, &before, NULL) == 0 &&
                       berth_json_type(before) == BERTH_JSON_OBJECT;
    bool streams;
    const int r = berth_forward_rename(&a, body, "new \"name\"", &got, &streams);
    if (right && r != -BERTH_ENOMEM) {
        berth_assert(r == 0 && berth_json_parse(&a, got.at, got.len, NULL, &after, NULL) == 0);
        berth_assert(berth_json_len(before) == berth_json_len(after));
        struct berth_json_iter x = berth_json_iter(before), y = berth_json_iter(after);
        while (berth_json_next(&x) && berth_json_next(&y)) {
            berth_assert(x.key.len == y.key.len && memcmp(x.key.at, y.key.at, x.key.len) == 0);
            berth_assert(!berth_slice_is(x.key, "model") || (berth_json_string(y.value, &name) &&
                                                             berth_slice_is(name, "new \"name\"")));
            berth_assert(berth_slice_is(x.key, "model") ||
                         berth_json_type(x.value) == berth_json_type(y.value));
        }
    }
    berth_arena_fini(&a);
    return 0;
}
