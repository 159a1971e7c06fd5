#ifndef BERTH_IMAGE_H
#define BERTH_IMAGE_H

#include <stddef.h>
#include <stdint.h>

struct berth_err;

/*
 * Pictures from clients: JPEG or PNG bytes to pixels, pixels to the size and the numbers that a
 * model takes.  What Pillow makes of the same bytes by convert("RGB") or convert("L") and
 * resize(BILINEAR), this makes, to within one level.  No state: any thread.
 */

/* 8 bits a channel, channels interleaved, rows from the top, no padding.  `pixels` belongs to the
 * image until berth_image_fini(). */
struct berth_image {
    uint32_t width, height, channels; /* 1: grey, 3: red, green, blue */
    uint8_t *pixels;
};

/* Bytes of the largest side that is ever taken. */
#define BERTH_IMAGE_SIDE_MAX 65535u

struct berth_image_limits {
    uint64_t pixels_max; /* width times height, read from the header before memory is taken */
    uint32_t scans_max;  /* of a progressive JPEG; each costs a pass over the whole picture */
};

/* What suits a server: 50 million pixels, 100 scans. */
static const struct berth_image_limits berth_image_limits_default = {50000000u, 100u};

/*
 * Decode the n bytes to `channels` (1 or 3).  Transparency is dropped, a 16-bit channel keeps its
 * high byte, colour profiles, gamma and EXIF (its orientation, too) are ignored.
 * Returns 0 and *ret, to be given to berth_image_fini(); else, with *ret untouched,
 *   -BERTH_EUNSUPPORTED  neither JPEG nor PNG, or a kind of them that is not read
 *   -BERTH_EINVAL        damaged or cut short
 *   -BERTH_ETOOBIG       a limit; told from the header where it can be
 *   -BERTH_ENOMEM
 */
int berth_image_decode(const void *bytes, size_t n, const struct berth_image_limits *lim,
                       uint32_t channels, struct berth_image *ret, struct berth_err *e);

/* `src` at w by h (1 to BERTH_IMAGE_SIDE_MAX each): bilinear, each source pixel weighing in when
 * it gets smaller, and a copy when the size stays.  Returns 0 and *ret, to be given to
 * berth_image_fini(), -BERTH_EINVAL, -BERTH_ETOOBIG or -BERTH_ENOMEM. */
int berth_image_resize(const struct berth_image *src, uint32_t w, uint32_t h,
                       struct berth_image *ret, struct berth_err *e);

/* Free the pixels; a zeroed image is fine. */
void berth_image_fini(struct berth_image *im);

enum berth_image_layout {
    BERTH_IMAGE_NCHW, /* one plane for each channel */
    BERTH_IMAGE_NHWC, /* channels interleaved */
    BERTH_IMAGE_FLAT, /* as NHWC, for models that take one row of numbers */
};

struct berth_image_norm {
    enum berth_image_layout layout;
    float mean[3], std[3]; /* of each channel, in units of the full range; std is not 0 */
};

/* ret[width * height * channels]: (pixel / 255 - mean) / std in the layout. */
void berth_image_normalize(const struct berth_image *im, const struct berth_image_norm *norm,
                           float *ret);

#endif
