#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

#include "base/assert.h"
#include "wire/image_priv.h"

/*
 * Resizing along one axis at a time.  Every output pixel is a weighted sum of the input pixels
 * under a triangle that is as wide as two output pixels (or two input pixels, when the picture
 * grows).  Weights are whole numbers of 1/2^FRACTION, so that a pass is integers alone; rounding
 * to 8 bits between the passes is what Pillow does.  Weights are not negative and add up to
 * 2^FRACTION but for rounding, at most 2^17 halves: a sum stays below 2^31.
 */
enum { FRACTION = 22 };

struct axis {
    uint32_t *first; /* of each output pixel: the first input pixel that counts */
    uint32_t *count; /* and how many do */
    int32_t *weights;
    size_t stride; /* weights kept for each output pixel */
};

static void
axis_fini(struct axis *a)
{
    free(a->first);
    free(a->count);
    free(a->weights);
}

/* The weights of one output pixel, around `centre` in input pixels. */
static void
weigh(struct axis *a, uint32_t i, uint32_t in, double centre, double reach)
{
    int32_t *w = a->weights + i * a->stride;
    double lo = centre - reach + 0.5, hi = centre + reach + 0.5, sum = 0;
    uint32_t first = lo < 0 ? 0 : (uint32_t)lo;
    uint32_t end = hi > in ? in : (uint32_t)hi;

    for (uint32_t k = first; k < end; k++)
        sum += fmax(0, 1 - fabs((k - centre + 0.5) / reach));
    for (uint32_t k = first; k < end; k++) {
        double x = fmax(0, 1 - fabs((k - centre + 0.5) / reach));

        w[k - first] = (int32_t)lround(sum > 0 ? x / sum * (1 << FRACTION) : 0);
    }
    a->first[i] = first;
    a->count[i] = end - first;
}

static int
axis_init(struct axis *a, uint32_t in, uint32_t out)
{
    const double scale = (double)in / out;
    const double reach = scale > 1 ? scale : 1;

    /* Sides are at most 65535: the product stays below 2^19 * 2. */
    a->stride = (size_t)ceil(reach) * 2 + 1;
    a->first = calloc(out, sizeof *a->first);
    a->count = calloc(out, sizeof *a->count);
    a->weights = calloc((size_t)out * a->stride, sizeof *a->weights);
    if (a->first == NULL || a->count == NULL || a->weights == NULL)
        return -BERTH_ENOMEM;
    for (uint32_t i = 0; i < out; i++)
        weigh(a, i, in, (i + 0.5) * scale, reach);
    return 0;
}

static uint8_t
rounded(int32_t sum)
{
    sum = (sum + (1 << (FRACTION - 1))) >> FRACTION;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static void
sum_colour(const uint8_t *p, const int32_t *w, size_t n, uint8_t *ret)
{
    int32_t red = 0, green = 0, blue = 0;

    for (size_t k = 0; k < n; k++, p += 3) {
        red += w[k] * p[0];
        green += w[k] * p[1];
        blue += w[k] * p[2];
    }
    ret[0] = rounded(red);
    ret[1] = rounded(green);
    ret[2] = rounded(blue);
}

static void
sum_grey(const uint8_t *p, const int32_t *w, size_t n, uint8_t *ret)
{
    int32_t sum = 0;

    for (size_t k = 0; k < n; k++)
        sum += w[k] * p[k];
    *ret = rounded(sum);
}

static void
resize_rows(const struct berth_image *src, const struct axis *a, struct berth_image *ret)
{
    const size_t c = src->channels;

    berth_assert(c == 1 || c == 3);
    for (size_t y = 0; y < ret->height; y++) {
        const uint8_t *row = src->pixels + y * src->width * c;
        uint8_t *out = ret->pixels + y * ret->width * c;

        for (size_t x = 0; x < ret->width; x++, out += c) {
            const uint8_t *p = row + a->first[x] * c;
            const int32_t *w = a->weights + x * a->stride;

            if (c == 3)
                sum_colour(p, w, a->count[x], out);
            else
                sum_grey(p, w, a->count[x], out);
        }
    }
}

/* Row by row, so that memory is read in order; `sums` has one number for each value of a row. */
static void
resize_columns(const struct berth_image *src, const struct axis *a, int32_t *sums,
               struct berth_image *ret)
{
    const size_t row = (size_t)src->width * src->channels;

    for (size_t y = 0; y < ret->height; y++) {
        const int32_t *w = a->weights + y * a->stride;

        memset(sums, 0, row * sizeof *sums);
        for (size_t k = 0; k < a->count[y]; k++) {
            const uint8_t *p = src->pixels + (a->first[y] + k) * row;

            for (size_t i = 0; i < row; i++)
                sums[i] += w[k] * p[i];
        }
        for (size_t i = 0; i < row; i++)
            ret->pixels[y * row + i] = rounded(sums[i]);
    }
}

/* One axis to `size`; *ret is a new image. */
static int
resize_axis(const struct berth_image *src, uint32_t w, uint32_t h, struct berth_image *ret,
            struct berth_err *e)
{
    const uint64_t any = (uint64_t)BERTH_IMAGE_SIDE_MAX * BERTH_IMAGE_SIDE_MAX;
    const bool wider = w != src->width;
    struct berth_image im = {.pixels = NULL};
    struct axis a = {.first = NULL};
    int32_t *sums = NULL;
    int rc = berth_image_alloc(w, h, src->channels, any, &im, e);

    if (rc < 0)
        return rc;
    if (axis_init(&a, wider ? src->width : src->height, wider ? w : h) == 0)
        sums = calloc((size_t)src->width * src->channels, sizeof *sums);
    if (sums != NULL && wider)
        resize_rows(src, &a, &im);
    else if (sums != NULL)
        resize_columns(src, &a, sums, &im);
    axis_fini(&a);
    if (sums == NULL) {
        berth_image_fini(&im);
        return berth_err_set(e, BERTH_ENOMEM, "image: out of memory for resizing");
    }
    free(sums);
    *ret = im;
    return 0;
}

int
berth_image_resize(const struct berth_image *src, uint32_t w, uint32_t h, struct berth_image *ret,
                   struct berth_err *e)
{
    /* What lies between the two passes, or comes of them, is no larger than this. */
    enum { VALUES_MAX = 1 << 30 };
    struct berth_image wide = *src, im = {.pixels = NULL};
    int rc = 0;

    if (w == 0 || h == 0 || w > BERTH_IMAGE_SIDE_MAX || h > BERTH_IMAGE_SIDE_MAX)
        return berth_err_set(e, BERTH_EINVAL, "image: cannot resize to %u by %u", w, h);
    if ((uint64_t)w * (h > src->height ? h : src->height) * src->channels > VALUES_MAX)
        return berth_err_set(e, BERTH_ETOOBIG, "image: %u by %u cannot be resized to %u by %u",
                             src->width, src->height, w, h);
    if (w == src->width && h == src->height) {
        rc = berth_image_alloc(w, h, src->channels, UINT64_MAX, &im, e);
        if (rc < 0)
            return rc;
        memcpy(im.pixels, src->pixels, (size_t)w * h * src->channels);
        *ret = im;
        return 0;
    }
    if (w != src->width)
        rc = resize_axis(src, w, src->height, &wide, e);
    if (rc < 0)
        return rc;
    if (h == src->height) {
        *ret = wide;
        return 0;
    }
    rc = resize_axis(&wide, w, h, &im, e);
    if (w != src->width)
        berth_image_fini(&wide);
    if (rc == 0)
        *ret = im;
    return rc;
}
