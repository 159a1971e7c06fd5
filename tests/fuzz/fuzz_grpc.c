#include <stdint.h>
#include <string.h>

#include <proto/inference.pb-c.h>

#include "api/grpc_pb.h"
#include "api/v2_pb.h"
#include "api/v2_tensor.h"
#include "api/v2_text.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/grpc.h"
#include "wire/pb.h"

enum { MESSAGE_MAX = 1 << 16, ARENA_MAX = 8 << 20 };

/* Aligning adds fields 15 and changes nothing else. */
static void
check_aligned(struct berth_slice sent, struct berth_slice aligned)
{
    struct berth_pb p = berth_pb_of(sent), q = berth_pb_of(aligned);
    struct berth_pb_field f, g;

    while (berth_pb_next(&p, &f)) {
        do {
            berth_assert(berth_pb_next(&q, &g));
        } while (g.number == 15 && f.number != 15);
        if (f.number == 15)
            return; /* the message has some of its own: they cannot be told apart here */
        berth_assert(f.number == g.number && f.type == g.type);
        if (f.type != BERTH_PB_BYTES) {
            berth_assert(f.value == g.value);
            continue;
        }
        berth_assert(f.bytes.len == g.bytes.len);
        berth_assert(f.bytes.len == 0 || memcmp(f.bytes.at, g.bytes.at, f.bytes.len) == 0);
    }
}

/* What is taken fits its shapes; an answer of it can be read by protobuf-c. */
static void
check_request(struct berth_arena *a, struct berth_slice message)
{
    const struct berth_v2_pb_flag flag = {"triton_final_response", true};
    struct berth_slice name, version, *parts;
    struct berth_v2_infer q;
    struct berth_v2_text text;
    struct berth_err e;
    struct berth_buf b, parameters;
    size_t count;

    (void)berth_v2_pb_model(message, &name, &version, &e);
    berth_buf_init(&parameters, a);
    const int r = berth_v2_pb_parameters(&parameters, message, &e);
    if (berth_v2_pb_read(a, message, &q, &e) < 0 || q.shm != NULL)
        return;
    for (size_t i = 0; i < q.input_count; i++) {
        berth_assert((uintptr_t)q.inputs[i].bytes % 8 == 0);
        berth_assert(berth_tensor_check_bytes(&q.inputs[i], "input", &e) == 0);
    }
    if (r == 0 && !parameters.failed)
        (void)berth_v2_text_read(a, &q, (struct berth_slice){parameters.at, parameters.len}, &text,
                                 &e);
    const struct berth_v2_answer answer = {.model = "m",
                                           .version = "1",
                                           .asked = &q,
                                           .outputs = q.inputs,
                                           .output_count = q.input_count};
    berth_buf_init(&b, a);
    if (berth_v2_pb_put(&b, a, &answer, &flag, &parts, &count, &e) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        berth_buf_put(&b, parts[i].at, parts[i].len);
    if (b.failed)
        return;
    const Inference__ModelInferResponse *m = (const Inference__ModelInferResponse *)berth_pb_unpack(
        a, &inference__model_infer_response__descriptor, (struct berth_slice){b.at, b.len});
    berth_assert(m == NULL ||
                 m->n_outputs == q.input_count); /* NULL: memory, or an id in no UTF-8 */
}

/* A body of gRPC in pieces of as many bytes as the first one says. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_grpc_frames f = {0};
    struct berth_arena a;

    if (len < 2)
        return 0;
    berth_arena_init(&a, ARENA_MAX);
    const size_t step = (size_t)bytes[0] + 1;
    const char *body = (const char *)bytes + 1;
    size_t begun = 0; /* of the message, in the body */
    bool over = false;

    for (size_t at = 0; at < len - 1 && !over; at += step) {
        const char *p = body + at;
        size_t n = len - 1 - at < step ? len - 1 - at : step;
        enum berth_grpc_event event;

        while (!over && (event = berth_grpc_frames_put(&f, &p, &n)) != BERTH_GRPC_MORE) {
            if (event == BERTH_GRPC_BEGUN && f.len <= MESSAGE_MAX) {
                f.to = berth_arena_alloc_raw(&a, (size_t)f.len + BERTH_PB_ALIGN_SPARE);
                f.align.field = BERTH_V2_PB_RAW;
                begun = (size_t)(p - body);
            } else if (event == BERTH_GRPC_MESSAGE) {
                const struct berth_slice aligned = {f.to, f.align.out_len};
                berth_assert(f.align.out_len <= (size_t)f.len + BERTH_PB_ALIGN_SPARE);
                check_aligned((struct berth_slice){body + begun, f.len}, aligned);
                check_request(&a, aligned);
                f.to = NULL;
            }
            over = event == BERTH_GRPC_BAD || (event == BERTH_GRPC_BEGUN && f.to == NULL);
        }
    }
    berth_arena_fini(&a);
    return 0;
}
