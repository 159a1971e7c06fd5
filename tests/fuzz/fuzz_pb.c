#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/pb.h"

/* What is read keeps within the message, and is the same when it is written again. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const struct berth_slice message = {(const char *)bytes, len};
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f, g;
    struct berth_arena a;
    struct berth_buf b;

    berth_arena_init(&a, 1 << 22);
    berth_buf_init(&b, &a);
    while (berth_pb_next(&p, &f)) {
        berth_assert(f.number > 0);
        if (f.type == BERTH_PB_BYTES) {
            berth_assert(f.bytes.at >= message.at && f.bytes.at + f.bytes.len <= message.at + len);
            const size_t begun = berth_pb_begin(&b, f.number);
            berth_buf_put(&b, f.bytes.at, f.bytes.len);
            berth_pb_end(&b, begun);
            static const enum berth_pb_type forms[] = {BERTH_PB_VARINT, BERTH_PB_FIXED32,
                                                       BERTH_PB_FIXED64, BERTH_PB_BYTES};
            for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
                struct berth_pb_field numbers = f;
                uint64_t n;
                bool bad = false;
                size_t count = 0;
                while (berth_pb_number(&numbers, forms[i], &n, &bad))
                    count++;
                berth_assert(count <= f.bytes.len);
            }
        } else if (f.type == BERTH_PB_VARINT) {
            berth_pb_put_uint(&b, f.number, f.value);
        }
    }
    p = berth_pb_of(message);
    struct berth_pb q = berth_pb_of((struct berth_slice){b.len > 0 ? b.at : "", b.len});
    while (!b.failed && berth_pb_next(&p, &f)) {
        if (f.type != BERTH_PB_BYTES && f.type != BERTH_PB_VARINT)
            continue;
        berth_assert(berth_pb_next(&q, &g) && g.number == f.number && g.type == f.type);
        berth_assert(
            f.type == BERTH_PB_BYTES
                ? g.bytes.len == f.bytes.len &&
                      (f.bytes.len == 0 || memcmp(g.bytes.at, f.bytes.at, f.bytes.len) == 0)
                : g.value == f.value);
    }
    berth_arena_fini(&a);
    return 0;
}
