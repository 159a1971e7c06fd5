#include <stdint.h>
#include <string.h>

#include "api/v2_infer.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"

/* An inference request, with the first two bytes as Inference-Header-Content-Length (0xffff: no
 * such header).  What is taken has tensors whose bytes fit their shapes, and an answer made of
 * them can be written and, when it is all JSON, read again. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct berth_tensor_spec spec = {
        .name = "x", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 3}};
    static const struct berth_describe describe = {
        .inputs = &spec, .input_count = 1, .batch_rows_max = 8};
    struct berth_v2_body from = {.describe = &describe};
    struct berth_v2_infer q;
    struct berth_arena a;
    struct berth_err e;
    struct berth_buf b;
    size_t header_len;

    if (len < 2)
        return 0;
    berth_arena_init(&a, 8 << 20);
    const size_t body_len = len - 2;
    char *body = berth_arena_alloc_raw(&a, body_len + 1);
    berth_assert(body != NULL);
    memcpy(body, bytes + 2, body_len);
    from.body = (struct berth_slice){body, body_len};
    from.header_len = (size_t)bytes[0] | (size_t)bytes[1] << 8;
    from.has_header_len = from.header_len != 0xffff;
    if (berth_v2_infer_read(&a, &from, &q, &e) == 0 && q.shm == NULL) {
        for (size_t i = 0; i < q.input_count; i++) {
            berth_assert((uintptr_t)q.inputs[i].bytes % 8 == 0);
            berth_assert(berth_tensor_check_bytes(&q.inputs[i], "input", &e) == 0);
        }
        const struct berth_v2_answer answer = {.model = "m",
                                               .version = "1",
                                               .asked = &q,
                                               .outputs = q.inputs,
                                               .output_count = q.input_count};
        const struct berth_json_parse nan = {.allow_nan = true};
        const struct berth_json *v;
        berth_buf_init(&b, &a);
        if (berth_v2_answer_put(&b, &answer, &header_len, &e) == 0 && !b.failed) {
            const int r =
                berth_json_parse(&a, b.at, header_len > 0 ? header_len : b.len, &nan, &v, &e);
            berth_assert(r == 0 || r == -BERTH_ENOMEM);
        }
    }
    berth_arena_fini(&a);
    return 0;
}
