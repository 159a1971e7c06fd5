#include <stdint.h>

#include "api/pbjson.h"
#include "api/proto_sets.h"
#include "base/arena.h"
#include "base/assert.h"

/* A request of UniModel's gRPC services: it becomes right JSON or is refused, and what becomes JSON
 * can be put back. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char *const names[] = {
        "unimodel.v1.PredictRequest", "unimodel.v1.BatchPredictRequest",
        "unimodel.v1.RegisterModelRequest", "unimodel.v1.ModelInfo"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct berth_slice d = berth_proto_message(berth_slice_of(names[i]));
        const struct berth_slice message = {(const char *)bytes, len};
        const struct berth_json *v;
        struct berth_buf text, again;
        struct berth_arena a;
        struct berth_err e;
        struct berth_jw w;

        berth_arena_init(&a, 16 << 20);
        berth_buf_init(&text, &a);
        berth_jw_init(&w, &text);
        berth_jw_object(&w);
        const int r = berth_pbjson_read(&w, d, message, &e);
        berth_jw_object_end(&w);
        if (r == 0 && !text.failed) {
            const int parsed = berth_json_parse(&a, text.at, text.len, NULL, &v, &e);
            berth_assert(parsed == 0 || parsed == -BERTH_ENOMEM);
            berth_buf_init(&again, &a);
            if (parsed == 0)
                berth_pbjson_put(&again, d, v);
        }
        berth_arena_fini(&a);
    }
    return 0;
}
