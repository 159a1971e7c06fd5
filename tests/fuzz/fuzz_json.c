#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"

/* What parses can be written, and what was written parses to the same text again. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_arena a;
    struct berth_err e;
    const struct berth_json *v, *again;

    berth_arena_init(&a, 16 << 20);
    if (berth_json_parse(&a, (const char *)bytes, len, NULL, &v, &e) == 0) {
        struct berth_buf first, second;
        berth_buf_init(&first, &a);
        berth_buf_init(&second, &a);
        berth_json_put(&first, v);
        const char *text = berth_buf_text(&first);
        if (text != NULL) {
            berth_assert(berth_json_parse(&a, text, first.len, NULL, &again, &e) == 0);
            berth_json_put(&second, again);
            const char *same = berth_buf_text(&second);
            berth_assert(same == NULL ||
                         (first.len == second.len && memcmp(text, same, first.len) == 0));
        }
    }
    berth_arena_fini(&a);
    return 0;
}
