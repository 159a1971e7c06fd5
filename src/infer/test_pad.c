#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <berth/backend.h>

#include "infer/check.h"
#include "infer/pad.h"
#include "infer/request.h"

static const struct berth_describe any = {.tasks = BERTH_TASK_TENSOR, .batch_rows_max = UINT32_MAX};

static struct berth_request reqs[4];
static struct berth_tensor inputs[4][2];
static int64_t ids[4][64];
static float scores[4][64];

/* Request k: "ids" INT64 [rows, length], filled with 10 k + 1, ...; "scores" FP32 [rows, length, 2]
 * if `both`. */
static struct berth_request *
request(int k, const struct berth_pad_conf *p, int64_t rows, int64_t length, bool both)
{
    struct berth_err e;

    for (int i = 0; i < 64; i++) {
        ids[k][i] = 10 * k + i + 1;
        scores[k][i] = (float)(10 * k + i + 1);
    }
    inputs[k][0] = (struct berth_tensor){.name = "ids",
                                         .dtype = BERTH_INT64,
                                         .rank = 2,
                                         .shape = {rows, length},
                                         .bytes = ids[k],
                                         .size = (size_t)(rows * length) * 8};
    inputs[k][1] = (struct berth_tensor){.name = "scores",
                                         .dtype = BERTH_FP32,
                                         .rank = 3,
                                         .shape = {rows, length, 2},
                                         .bytes = scores[k],
                                         .size = (size_t)(rows * length) * 8};
    reqs[k] = (struct berth_request){
        .task = BERTH_TASK_TENSOR, .inputs = inputs[k], .input_count = both ? 2 : 1};
    if (berth_check_request(&any, p, &reqs[k], &e) < 0)
        fail_msg("%s", e.msg);
    return &reqs[k];
}

static const struct berth_pad_conf plain = {.inputs = {{"ids", 1, -7}, {"scores", 1, 0.5}},
                                            .input_len = 2};

static void
lengths_meet_where_they_may(void **unused)
{
    struct berth_pad_conf buckets = plain;

    (void)unused;
    buckets.bucket_len = 2;
    buckets.buckets[0] = 4;
    buckets.buckets[1] = 8;
    static const struct {
        const char *why;
        bool pad, buckets;
        int64_t a, b;
        bool meet;
    } cases[] = {
        {"equal ones do anyhow", false, false, 3, 3, true},
        {"others do not", false, false, 3, 5, false},
        {"padded they do", true, false, 3, 5, true},
        {"in one bucket", true, true, 5, 8, true},
        {"not in two", true, true, 3, 5, false},
        {"beyond all buckets they are one", true, true, 9, 20, true},
        {"... apart from those within", true, true, 8, 9, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct berth_pad_conf *p = !cases[i].pad      ? NULL
                                         : cases[i].buckets ? &buckets
                                                            : &plain;
        print_message("  %s\n", cases[i].why);
        assert_int_equal(berth_check_same_shape(request(0, p, 1, cases[i].a, true),
                                                request(1, p, 2, cases[i].b, true)),
                         cases[i].meet);
    }
    /* Only the named dimension may differ. */
    struct berth_request *a = request(0, &plain, 1, 3, true), *b = request(1, &plain, 1, 5, true);
    struct berth_err e;
    inputs[1][1].shape[2] = 1;
    inputs[1][1].size = 20;
    assert_int_equal(berth_check_request(&any, &plain, b, &e), 0);
    assert_false(berth_check_same_shape(a, b));
}

static void
shorter_ones_are_filled(void **unused)
{
    struct berth_pad_room room = {NULL, 0};
    struct berth_pad_seen seen;
    struct berth_err e;

    (void)unused;
    struct berth_request *batch[] = {request(0, &plain, 2, 2, true),
                                     request(1, &plain, 1, 3, true)};
    assert_int_equal(berth_pad_begin(&room, batch, 2, &seen, &e), 0);
    assert_true(seen.any);
    const struct berth_tensor *t = &reqs[0].run_inputs[0];
    static const int64_t want[] = {1, 2, -7, 3, 4, -7};
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->size, sizeof want);
    assert_memory_equal(t->bytes, want, sizeof want);
    assert_int_equal((uintptr_t)t->bytes % 64, 0);
    t = &reqs[0].run_inputs[1];
    static const float want_scores[] = {1, 2, 3, 4, .5f, .5f, 5, 6, 7, 8, .5f, .5f};
    assert_int_equal(t->size, sizeof want_scores);
    assert_memory_equal(t->bytes, want_scores, sizeof want_scores);
    assert_ptr_equal(reqs[1].run_inputs[0].bytes, ids[1]); /* the longest is not copied */
    /* ids: 4 + 3 and 2 of padding; scores: twice that. */
    assert_int_equal(seen.data, 21);
    assert_int_equal(seen.padding, 6);
    assert_int_equal(reqs[0].padded_permille, 6 * 1000 / 27);

    /* Of one length nothing is done. */
    batch[1] = request(1, &plain, 1, 2, true);
    assert_int_equal(berth_pad_begin(&room, batch, 2, &seen, &e), 0);
    assert_false(seen.any);
    assert_null(reqs[0].run_inputs);
    berth_pad_room_fini(&room);
}

static void
a_bucket_is_filled_whoever_is_in_it(void **unused)
{
    struct berth_pad_conf p = plain;
    struct berth_pad_room room = {NULL, 0};
    struct berth_pad_seen seen;
    struct berth_err e;

    (void)unused;
    p.bucket_len = 2;
    p.buckets[0] = 4;
    p.buckets[1] = 8;
    struct berth_request *r = request(0, &p, 1, 5, false);
    assert_int_equal(berth_pad_begin(&room, &r, 1, &seen, &e), 0);
    assert_int_equal(r->run_inputs[0].shape[1], 8);
    assert_int_equal(seen.bucket, 1);
    r = request(0, &p, 1, 9, false); /* longer than all: as it is */
    assert_int_equal(berth_pad_begin(&room, &r, 1, &seen, &e), 0);
    assert_null(r->run_inputs);
    assert_int_equal(seen.bucket, 2);
    berth_pad_room_fini(&room);
}

/* Without elements any dimensions have bytes enough; filled up, these wrap round to 128 of them. */
static void
a_shape_that_is_too_large_filled_up_is_refused(void **unused)
{
    const struct berth_pad_conf p = {
        .inputs = {{"x", 1, 0}}, .input_len = 1, .buckets = {8}, .bucket_len = 1};
    struct berth_tensor t = {
        .name = "x", .dtype = BERTH_FP32, .rank = 4, .shape = {1, 0, (INT64_C(1) << 60) + 1, 16}};
    struct berth_request r = {.task = BERTH_TASK_TENSOR, .inputs = &t, .input_count = 1};
    struct berth_request *batch[] = {&r};
    struct berth_pad_room room = {NULL, 0};
    struct berth_pad_seen seen;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(berth_check_request(&any, &p, &r, &e), 0);
    assert_int_equal(berth_pad_begin(&room, batch, 1, &seen, &e), -BERTH_ENOMEM);
    assert_null(r.run_inputs);
    berth_pad_room_fini(&room);
}

static void
values_fit_their_type(void **unused)
{
    static const struct {
        enum berth_dtype dtype;
        double value;
        unsigned char want[8];
        size_t width;
    } cases[] = {
        {BERTH_BOOL, 1, {1}, 1},
        {BERTH_INT8, -1, {255}, 1},
        {BERTH_UINT16, 258, {2, 1}, 2},
        {BERTH_INT32, -2, {254, 255, 255, 255}, 4},
        {BERTH_INT64, 1, {1}, 8},
        {BERTH_FP16, 1, {0, 0x3c}, 2},
        {BERTH_BF16, 1, {0x80, 0x3f}, 2},
        {BERTH_FP32, -1, {0, 0, 0x80, 0xbf}, 4},
        {BERTH_FP64, 1, {0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, 8},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct berth_pad_conf p = {.inputs = {{"x", 1, cases[i].value}}, .input_len = 1};
        static const unsigned char bytes[64];
        struct berth_tensor t[2];
        struct berth_request pair[2], *batch[] = {&pair[0], &pair[1]};
        struct berth_pad_room room = {NULL, 0};
        struct berth_pad_seen seen;
        struct berth_err e;
        for (int k = 0; k < 2; k++) {
            t[k] = (struct berth_tensor){.name = "x",
                                         .dtype = cases[i].dtype,
                                         .rank = 2,
                                         .shape = {1, k + 1},
                                         .bytes = bytes,
                                         .size = (size_t)(k + 1) * cases[i].width};
            pair[k] = (struct berth_request){
                .task = BERTH_TASK_TENSOR, .inputs = &t[k], .input_count = 1};
            assert_int_equal(berth_check_request(&any, &p, &pair[k], &e), 0);
        }
        assert_int_equal(berth_pad_begin(&room, batch, 2, &seen, &e), 0);
        assert_memory_equal((const char *)pair[0].run_inputs[0].bytes + cases[i].width,
                            cases[i].want, cases[i].width);
        berth_pad_room_fini(&room);
    }
}

static void
outputs_are_cut_back(void **unused)
{
    static const struct {
        const char *why;
        struct berth_pad_cut cut; /* name NULL: none */
        int64_t spec[3], want[3];
        float first, second; /* of the second row */
    } cases[] = {
        {"a free dimension that is as long", {NULL, 0}, {-1, -1, 2}, {2, 2, 2}, 6, 7},
        {"a fixed one stays", {NULL, 0}, {-1, 3, 2}, {2, 3, 2}, 6, 7},
        {"unless it is named", {"y", 1}, {-1, 3, 2}, {2, 2, 2}, 6, 7},
        {"one that must stay", {"y", 0}, {-1, -1, 2}, {2, 3, 2}, 6, 7},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_pad_conf p = plain;
        struct berth_tensor_spec spec = {.name = "y", .dtype = BERTH_FP32, .rank = 3};
        struct berth_pad_room room = {NULL, 0};
        struct berth_pad_seen seen;
        struct berth_err e;
        float y[12];
        print_message("  %s\n", cases[i].why);
        memcpy(spec.shape, cases[i].spec, sizeof cases[i].spec);
        p.cuts[0] = cases[i].cut;
        p.cut_len = cases[i].cut.name != NULL;
        struct berth_request *batch[] = {request(0, &p, 2, 2, false), request(1, &p, 1, 3, false)};
        assert_int_equal(berth_pad_begin(&room, batch, 2, &seen, &e), 0);
        for (int k = 0; k < 12; k++)
            y[k] = (float)k;
        struct berth_tensor t = {.name = "y",
                                 .dtype = BERTH_FP32,
                                 .rank = 3,
                                 .shape = {2, 3, 2},
                                 .bytes = y,
                                 .size = sizeof y};
        berth_pad_cut(&reqs[0], &spec, &t);
        for (int k = 0; k < 3; k++)
            assert_int_equal(t.shape[k], cases[i].want[k]);
        assert_int_equal(t.size, (size_t)(t.shape[0] * t.shape[1] * t.shape[2]) * sizeof *y);
        const float *second = y + t.shape[1] * 2;
        assert_true(second[0] == cases[i].first && second[1] == cases[i].second);
        berth_pad_cut(&reqs[1], &spec, &t); /* its own length is the whole: nothing */
        berth_pad_room_fini(&room);
    }
}

static void
texts_are_cut_back(void **unused)
{
    struct berth_pad_room room = {NULL, 0};
    struct berth_pad_seen seen;
    struct berth_err e;
    char y[64];
    size_t at = 0;

    (void)unused;
    struct berth_request *batch[] = {request(0, &plain, 2, 1, false),
                                     request(1, &plain, 1, 2, false)};
    assert_int_equal(berth_pad_begin(&room, batch, 2, &seen, &e), 0);
    for (uint32_t k = 0; k < 4; k++) { /* "", "b", "cc", "ddd" */
        memcpy(y + at, &k, sizeof k);
        memset(y + at + 4, 'a' + (int)k, k);
        at += 4 + k;
    }
    struct berth_tensor t = {
        .name = "y", .dtype = BERTH_BYTES, .rank = 2, .shape = {2, 2}, .bytes = y, .size = at};
    berth_pad_cut(&reqs[0], NULL, &t);
    assert_int_equal(t.shape[1], 1);
    assert_int_equal(t.size, 4 + 4 + 2);
    assert_memory_equal(y + 8, "cc", 2);
    berth_pad_room_fini(&room);
}

static void
what_cannot_be_padded_is_refused(void **unused)
{
    static const struct berth_tensor_spec specs[] = {
        {.name = "ids", .dtype = BERTH_INT64, .rank = 2, .shape = {-1, -1}},
        {.name = "text", .dtype = BERTH_BYTES, .rank = 2, .shape = {-1, -1}},
        {.name = "fixed", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 8}},
    };
    static const struct {
        struct berth_pad_input in;
        uint32_t rows_max;
        const char *want;
    } cases[] = {
        {{"ids", 1, 0}, 8, NULL},
        {{"nothing", 1, 0}, 8, "no input 'nothing'"},
        {{"text", 1, 0}, 8, "BYTES"},
        {{"fixed", 1, 0}, 8, "does not vary"},
        {{"ids", 2, 0}, 8, "does not vary"},
        {{"ids", 1, 0}, 0, "no batch dimension"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct berth_describe d = {
            .inputs = specs, .input_count = 3, .batch_rows_max = cases[i].rows_max};
        const struct berth_pad_conf p = {.inputs = {cases[i].in}, .input_len = 1};
        struct berth_err e = {""};
        assert_int_equal(berth_pad_check(&p, &d, &e), cases[i].want != NULL ? -BERTH_EINVAL : 0);
        if (cases[i].want != NULL && strstr(e.msg, cases[i].want) == NULL)
            fail_msg("%s", e.msg);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_meet_where_they_may),
        cmocka_unit_test(shorter_ones_are_filled),
        cmocka_unit_test(a_bucket_is_filled_whoever_is_in_it),
        cmocka_unit_test(a_shape_that_is_too_large_filled_up_is_refused),
        cmocka_unit_test(values_fit_their_type),
        cmocka_unit_test(outputs_are_cut_back),
        cmocka_unit_test(texts_are_cut_back),
        cmocka_unit_test(what_cannot_be_padded_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
