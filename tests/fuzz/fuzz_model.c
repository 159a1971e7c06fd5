#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "infer/check.h"
#include "infer/config.h"
#include "infer/pad.h"
#include "infer/request.h"
#include "wire/json.h"

static const struct berth_setting settings[] = {
    {"size", BERTH_SETTING_INT, 0, 1000, "0", "a size"},
    {"share", BERTH_SETTING_FLOAT, 0, 1, "1", "a share"},
    {"strict", BERTH_SETTING_BOOL, 0, 0, "false", "a switch"},
    {"mode", BERTH_SETTING_STRING, 0, 0, "", "a word"},
    {NULL, BERTH_SETTING_INT, 0, 0, NULL, NULL},
};
static const struct berth_backend_ops ops = {
    .abi = BERTH_BACKEND_ABI, .struct_size = sizeof ops, .name = "fuzz", .settings = settings};

/* A configuration that is taken has values within what the rest of the program relies on. */
static void
try_config(const char *text, size_t len)
{
    const struct berth_batch_conf defaults = {
        .batch_requests_max = 8, .wait_ns_max = 50, .queue_len_max = 256};
    const struct berth_json *v, *merged;
    struct berth_model_conf c;
    struct berth_arena a;
    struct berth_err e;

    berth_arena_init(&a, 16 << 20);
    if (berth_json_parse(&a, text, len, NULL, &v, &e) == 0 &&
        berth_config_merge(&a, v, NULL, &merged, &e) == 0 &&
        berth_config_check(&a, merged, &ops, &c, &e) == 0) {
        struct berth_batch_conf b = berth_config_batch(&c, &defaults);
        berth_assert(c.instances >= 1 && c.instances <= BERTH_INSTANCES_MAX);
        berth_assert(b.batch_requests_max >= 1 && b.batch_requests_max <= 1024);
        berth_assert(b.queue_len_max >= 1 && b.queue_len_max <= 65536);
        berth_assert(b.wait_ns_max <= UINT64_C(60000000000));
        berth_assert(b.priority_levels <= BERTH_PRIORITIES_MAX && b.preferred_len <= 16);
        berth_assert(b.priority_levels == 0 ||
                     (b.priority_default >= 1 && b.priority_default <= b.priority_levels));
        berth_assert(c.pad.input_len <= BERTH_PAD_INPUTS_MAX &&
                     c.pad.bucket_len <= BERTH_PAD_BUCKETS_MAX);
        berth_assert(c.version_len <= BERTH_VERSIONS_MAX);
        berth_assert(berth_json_parse(&a, c.settings_json, strlen(c.settings_json), NULL, &v, &e) ==
                     0);
    }
    berth_arena_fini(&a);
}

static uint64_t
number(const uint8_t **at, const uint8_t *end, size_t bytes)
{
    uint64_t v = 0;

    if ((size_t)(end - *at) < bytes)
        return 0;
    memcpy(&v, *at, bytes);
    *at += bytes;
    return v;
}

/* A request of any shape: what is taken has as many bytes as its shape says. */
static void
try_request(const uint8_t *at, const uint8_t *end)
{
    const struct berth_tensor_spec spec = {
        .name = "a", .dtype = BERTH_BYTES, .rank = 2, .shape = {-1, 2}};
    struct berth_describe d = {.tasks = BERTH_TASK_TENSOR, .batch_rows_max = 4};
    struct berth_tensor t[2] = {{.name = "a"}, {.name = "b"}};
    struct berth_request r = {.task = BERTH_TASK_TENSOR, .inputs = t};
    struct berth_err e;

    d.inputs = &spec;
    d.input_count = number(&at, end, 1) & 1;
    r.input_count = number(&at, end, 1) % 3;
    for (size_t i = 0; i < r.input_count; i++) {
        t[i].dtype = (enum berth_dtype)(number(&at, end, 1) % (BERTH_DTYPE_COUNT + 1));
        t[i].rank = (uint32_t)(number(&at, end, 1) % (BERTH_RANK_MAX + 2));
        for (uint32_t k = 0; k < t[i].rank && k < BERTH_RANK_MAX; k++)
            t[i].shape[k] = (int64_t)number(&at, end, k == 0 ? 8 : 1);
    }
    size_t rest = (size_t)(end - at), used = r.input_count > 1 ? rest / 2 : rest;
    uint8_t *copy = malloc(rest > 0 ? rest : 1); /* of the very size, for ASan */
    if (copy == NULL)
        return;
    if (rest > 0)
        memcpy(copy, at, rest);
    t[0].bytes = copy;
    t[0].size = used;
    t[1].bytes = copy + used;
    t[1].size = rest - used;
    const struct berth_pad_conf pad = {
        .inputs = {{"a", 1, 3}}, .input_len = 1, .buckets = {2, 7, 300}, .bucket_len = 3};
    if (berth_check_request(&d, &pad, &r, &e) == 0) {
        struct berth_request *batch = &r;
        struct berth_pad_room room = {NULL, 0};
        struct berth_pad_seen seen;
        if (r.pad != NULL && berth_pad_begin(&room, &batch, 1, &seen, &e) == 0 &&
            r.run_inputs != NULL) {
            struct berth_tensor out = r.run_inputs[0];
            berth_pad_cut(&r, NULL, &out); /* an echo */
            berth_assert(out.size == r.inputs[0].size);
            berth_assert(out.size == 0 || memcmp(out.bytes, r.inputs[0].bytes, out.size) == 0);
        }
        berth_pad_room_fini(&room);
        berth_assert(r.rows <= 4 || d.batch_rows_max != 4 || d.input_count == 0);
        berth_assert(berth_check_same_shape(&r, &r));
    }
    free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len > 0 && bytes[0] == '{')
        try_config((const char *)bytes, len);
    else if (len > 0)
        try_request(bytes + 1, bytes + len);
    return 0;
}
