#include <stdint.h>

#include "base/assert.h"
#include "cmd/bench_answer.h"

/* Whole or byte by byte, it is the same answer. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct berth_answer whole, pieces;
    bool ok = true;

    berth_answer_init(&whole);
    berth_answer_init(&pieces);
    const bool fits = berth_answer_feed(&whole, (const char *)bytes, len);
    for (size_t i = 0; i < len && ok; i++)
        ok = berth_answer_feed(&pieces, (const char *)bytes + i, 1);
    berth_assert(ok == fits);
    if (!fits)
        return 0;
    berth_assert(whole.status == pieces.status && whole.closes == pieces.closes);
    berth_assert(berth_answer_end(&whole) == berth_answer_end(&pieces));
    return 0;
}
