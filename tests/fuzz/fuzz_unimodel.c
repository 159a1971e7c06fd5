#include <stdint.h>

#include "api/unimodel_input.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"

/* An input as UniModel's clients send it, for models of several kinds: tensors that come of it fit
 * their shapes and can be written back. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct berth_tensor_spec specs[] = {
        {.name = "x", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 4}},
        {.name = "y", .dtype = BERTH_BYTES, .rank = 1, .shape = {-1}}};
    const struct berth_json *v;
    struct berth_arena a;
    struct berth_err e;
    struct berth_input in;

    berth_arena_init(&a, 8 << 20);
    if (berth_json_parse(&a, (const char *)bytes, len, NULL, &v, &e) == 0) {
        (void)berth_input_read(&a, v, "input", true, &in, &e);
        if (berth_input_read(&a, v, "input", false, &in, &e) == 0 && in.kind == BERTH_INPUT_TEXT)
            berth_assert(in.text.len >= 1 && in.text.len <= BERTH_INPUT_TEXT_MAX);
        for (size_t n = 0; n <= 2; n++) {
            const struct berth_describe d = {.inputs = specs, .input_count = n};
            struct berth_input_tensors t;
            struct berth_buf b;
            struct berth_jw w;

            if (berth_input_tensors(&a, v, "input", &d, &t, &e) < 0)
                continue;
            for (size_t i = 0; i < t.count; i++)
                berth_assert(berth_tensor_check_bytes(&t.inputs[i], "input", &e) == 0);
            berth_buf_init(&b, &a);
            berth_jw_init(&w, &b);
            (void)berth_output_put(&w, t.inputs, t.count, t.row, &e);
        }
    }
    berth_arena_fini(&a);
    return 0;
}
