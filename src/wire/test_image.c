#include "wire/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <berth/err.h>

#include "wire/test_image_data.h"

enum { PIXELS = PICTURE_W * PICTURE_H, COLOUR = 4, GREY = 6 /* of pictures[] */ };

/* The largest difference of two pieces of pixels. */
static int
difference(const unsigned char *a, const unsigned char *b, size_t n)
{
    int worst = 0;

    for (size_t i = 0; i < n; i++)
        worst = abs(a[i] - b[i]) > worst ? abs(a[i] - b[i]) : worst;
    return worst;
}

static void
pictures_are_read_as_pillow_reads_them(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        for (uint32_t channels = 1; channels <= 3; channels += 2) {
            const unsigned char *want = channels == 1 ? pictures[i].grey : pictures[i].rgb;
            struct berth_image im = {.pixels = NULL};
            struct berth_err e = {""};

            int rc = berth_image_decode(pictures[i].bytes, pictures[i].len,
                                        &berth_image_limits_default, channels, &im, &e);
            print_message("  %s, %u: %s\n", pictures[i].name, channels, e.msg);
            assert_int_equal(rc, 0);
            assert_int_equal(im.width, PICTURE_W);
            assert_int_equal(im.height, PICTURE_H);
            assert_int_equal(im.channels, channels);
            /* One level: the JPEG decoders may be of different versions. */
            assert_true(difference(im.pixels, want, (size_t)PIXELS * channels) <= 1);
            berth_image_fini(&im);
        }
    }
}

static void
what_is_cut_short_or_damaged_is_refused(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        for (size_t n = 0; n < pictures[i].len; n++) {
            struct berth_image im = {.pixels = NULL};
            struct berth_err e = {""};
            int rc =
                berth_image_decode(pictures[i].bytes, n, &berth_image_limits_default, 3, &im, &e);

            /* The marks at the end say nothing about the pixels. */
            if (rc == 0 && n + 24 >= pictures[i].len) {
                berth_image_fini(&im);
                continue;
            }
            assert_true(rc == -BERTH_EINVAL || (n < 8 && rc == -BERTH_EUNSUPPORTED));
            assert_null(im.pixels);
            assert_true(e.msg[0] != '\0');
        }
    }
}

/* The header alone decides: the file behind it is not there. */
static void
large_pictures_are_refused_by_their_header(void **unused)
{
    const struct berth_image_limits few = {PIXELS - 1, 100}, enough = {PIXELS, 100};
    unsigned char jpeg[1024];
    struct berth_image im = {.pixels = NULL};
    struct berth_err e = {""};
    size_t at = 0;

    (void)unused;
    assert_string_equal(pictures[COLOUR].name, "png_colour");
    assert_string_equal(pictures[GREY].name, "png_grey");
    for (size_t i = 0; i <= COLOUR; i += COLOUR) {
        assert_int_equal(berth_image_decode(pictures[i].bytes, pictures[i].len, &few, 1, &im, &e),
                         -BERTH_ETOOBIG);
        assert_int_equal(
            berth_image_decode(pictures[i].bytes, pictures[i].len, &enough, 1, &im, &e), 0);
        berth_image_fini(&im);
    }
    assert_true(pictures[0].len <= sizeof jpeg);
    memcpy(jpeg, pictures[0].bytes, pictures[0].len);
    while (!(jpeg[at] == 0xff && jpeg[at + 1] == 0xc0)) /* start of frame: height and width */
        at++;
    for (int sides = 0xf0; sides <= 0xff; sides += 0xf) { /* the library's own limit is 65500 */
        memset(jpeg + at + 5, sides, 4);
        assert_int_equal(
            berth_image_decode(jpeg, pictures[0].len, &berth_image_limits_default, 3, &im, &e),
            -BERTH_ETOOBIG);
        print_message("  %s\n", e.msg);
    }
    assert_int_equal(
        berth_image_decode(bomb_area, sizeof bomb_area, &berth_image_limits_default, 3, &im, &e),
        -BERTH_ETOOBIG);
    assert_int_equal(
        berth_image_decode(bomb_side, sizeof bomb_side, &berth_image_limits_default, 3, &im, &e),
        -BERTH_ETOOBIG);
    assert_null(im.pixels);
}

static void
scans_are_limited(void **unused)
{
    const struct berth_image_limits one = {1000000, 1};
    struct berth_image im = {.pixels = NULL};
    struct berth_err e = {""};

    (void)unused;
    assert_string_equal(pictures[2].name, "jpeg_progressive");
    assert_int_equal(berth_image_decode(pictures[2].bytes, pictures[2].len, &one, 3, &im, &e),
                     -BERTH_ETOOBIG);
    assert_non_null(strstr(e.msg, "scans"));
}

static void
other_bytes_and_arguments_are_refused(void **unused)
{
    static const struct {
        const char *bytes;
        uint32_t channels;
        int want;
    } cases[] = {
        {"", 3, -BERTH_EUNSUPPORTED},
        {"GIF89a and so on", 3, -BERTH_EUNSUPPORTED},
        {"\xff\xd8\xff", 3, -BERTH_EINVAL},
        {"\xff\xd8\xff", 2, -BERTH_EINVAL},
        {"\x89PNG\r\n\x1a\n", 1, -BERTH_EINVAL},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_image im = {.pixels = NULL};
        struct berth_err e = {""};

        assert_int_equal(berth_image_decode(cases[i].bytes, strlen(cases[i].bytes),
                                            &berth_image_limits_default, cases[i].channels, &im,
                                            &e),
                         cases[i].want);
        print_message("  %s\n", e.msg);
    }
}

static struct berth_image
read_picture(size_t i, uint32_t channels)
{
    struct berth_image im = {.pixels = NULL};

    assert_int_equal(berth_image_decode(pictures[i].bytes, pictures[i].len,
                                        &berth_image_limits_default, channels, &im, NULL),
                     0);
    return im;
}

static void
sizes_change_as_in_pillow(void **unused)
{
    struct berth_image im = read_picture(COLOUR, 3), grey = read_picture(GREY, 1);
    struct berth_image got = {.pixels = NULL};

    (void)unused;
    for (size_t i = 0; i < sizeof resized / sizeof resized[0]; i++) {
        const size_t count = (size_t)resized[i].w * resized[i].h;

        print_message("  %u by %u\n", resized[i].w, resized[i].h);
        assert_int_equal(berth_image_resize(&im, resized[i].w, resized[i].h, &got, NULL), 0);
        assert_int_equal(got.width, resized[i].w);
        assert_int_equal(got.height, resized[i].h);
        assert_true(difference(got.pixels, resized[i].rgb, count * 3) <= 1);
        berth_image_fini(&got);
        assert_int_equal(berth_image_resize(&grey, resized[i].w, resized[i].h, &got, NULL), 0);
        assert_true(difference(got.pixels, resized[i].grey, count) <= 1);
        berth_image_fini(&got);
    }
    berth_image_fini(&grey);
    assert_int_equal(berth_image_resize(&im, PICTURE_W, PICTURE_H, &got, NULL), 0);
    assert_ptr_not_equal(got.pixels, im.pixels);
    assert_memory_equal(got.pixels, im.pixels, (size_t)PIXELS * 3);
    berth_image_fini(&got);
    assert_int_equal(berth_image_resize(&im, 0, 1, &got, NULL), -BERTH_EINVAL);
    assert_int_equal(berth_image_resize(&im, 1, 65536, &got, NULL), -BERTH_EINVAL);
    assert_int_equal(berth_image_resize(&im, 65535, 65535, &got, NULL), -BERTH_ETOOBIG);
    berth_image_fini(&im);
}

static void
numbers_lie_where_the_layout_says(void **unused)
{
    static const struct berth_image_norm norms[] = {
        {BERTH_IMAGE_NCHW, {0.5F, 0.25F, 0}, {0.5F, 2, 1}},
        {BERTH_IMAGE_NHWC, {0.5F, 0.25F, 0}, {0.5F, 2, 1}},
        {BERTH_IMAGE_FLAT, {0}, {1, 1, 1}},
    };
    struct berth_image small = read_picture(COLOUR, 3), large = {.pixels = NULL};

    (void)unused;
    assert_int_equal(berth_image_resize(&small, 40, 30, &large, NULL), 0); /* by the table */
    for (size_t i = 0; i < sizeof norms / sizeof norms[0]; i++) {
        const struct berth_image *ims[] = {&small, &large};

        for (size_t k = 0; k < 2; k++) {
            const size_t count = (size_t)ims[k]->width * ims[k]->height;
            float *x = calloc(count * 3, sizeof *x);

            assert_non_null(x);
            berth_image_normalize(ims[k], &norms[i], x);
            for (size_t p = 0; p < count; p++) {
                for (size_t c = 0; c < 3; c++) {
                    float want = ((float)ims[k]->pixels[p * 3 + c] / 255.0F - norms[i].mean[c]) /
                                 norms[i].std[c];
                    size_t at = norms[i].layout == BERTH_IMAGE_NCHW ? c * count + p : p * 3 + c;

                    assert_true(x[at] == want);
                }
            }
            free(x);
        }
    }
    berth_image_fini(&small);
    berth_image_fini(&large);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_read_as_pillow_reads_them),
        cmocka_unit_test(what_is_cut_short_or_damaged_is_refused),
        cmocka_unit_test(large_pictures_are_refused_by_their_header),
        cmocka_unit_test(scans_are_limited),
        cmocka_unit_test(other_bytes_and_arguments_are_refused),
        cmocka_unit_test(sizes_change_as_in_pillow),
        cmocka_unit_test(numbers_lie_where_the_layout_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
