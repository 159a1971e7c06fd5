#include "wire/image.h"

#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

#include "wire/image_priv.h"

int
berth_image_alloc(uint32_t width, uint32_t height, uint32_t channels, uint64_t pixels_max,
                  struct berth_image *ret, struct berth_err *e)
{
    uint64_t pixels = (uint64_t)width * height;

    if (width == 0 || height == 0)
        return berth_err_set(e, BERTH_EINVAL, "image: it has no pixels");
    if (width > BERTH_IMAGE_SIDE_MAX || height > BERTH_IMAGE_SIDE_MAX || pixels > pixels_max)
        return berth_err_set(
            e, BERTH_ETOOBIG,
            "image: %u by %u pixels, at most %llu and %u a side; send a smaller one", width, height,
            (unsigned long long)pixels_max, BERTH_IMAGE_SIDE_MAX);
    /* Sides of at most 65535: the product fits. */
    uint8_t *p = malloc((size_t)pixels * channels);
    if (p == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "image: out of memory for %u by %u pixels", width,
                             height);
    *ret = (struct berth_image){width, height, channels, p};
    return 0;
}

int
berth_image_decode(const void *bytes, size_t n, const struct berth_image_limits *lim,
                   uint32_t channels, struct berth_image *ret, struct berth_err *e)
{
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff};
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

    if (channels != 1 && channels != 3)
        return berth_err_set(e, BERTH_EINVAL, "image: %u channels, must be 1 or 3", channels);
    if (n >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
        return berth_image_decode_jpeg(bytes, n, lim, channels, ret, e);
    if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        return berth_image_decode_png(bytes, n, lim, channels, ret, e);
    return berth_err_set(e, BERTH_EUNSUPPORTED,
                         "image: neither JPEG nor PNG; send the bytes of a file of one of these");
}

void
berth_image_fini(struct berth_image *im)
{
    free(im->pixels);
    im->pixels = NULL;
}

void
berth_image_grey(const uint8_t *rgb, size_t count, uint8_t *ret)
{
    /* 0.299, 0.587 and 0.114 in 1/65536, rounded. */
    for (size_t i = 0; i < count; i++, rgb += 3)
        ret[i] = (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

static float
level(uint32_t p, float mean, float std)
{
    return ((float)p / 255.0F - mean) / std;
}

void
berth_image_normalize(const struct berth_image *im, const struct berth_image_norm *norm, float *ret)
{
    enum { LEVELS = 256 };
    const size_t count = (size_t)im->width * im->height;
    float table[LEVELS];

    for (size_t c = 0; c < im->channels; c++) {
        const float mean = norm->mean[c], std = norm->std[c];
        const size_t step = norm->layout == BERTH_IMAGE_NCHW ? 1 : im->channels;
        const uint8_t *p = im->pixels + c;
        float *at = ret + (norm->layout == BERTH_IMAGE_NCHW ? c * count : c);

        if (count <= LEVELS) { /* as many divisions as the table takes */
            for (size_t i = 0; i < count; i++)
                at[i * step] = level(p[i * im->channels], mean, std);
            continue;
        }
        for (uint32_t i = 0; i < LEVELS; i++)
            table[i] = level(i, mean, std);
        for (size_t i = 0; i < count; i++)
            at[i * step] = table[p[i * im->channels]];
    }
}
