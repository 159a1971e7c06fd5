#ifndef BERTH_IMAGE_PRIV_H
#define BERTH_IMAGE_PRIV_H

#include "wire/image.h"

/* One decoder each, for berth_image_decode(): the same arguments and returns.  `bytes` begin with
 * the format's mark. */
int berth_image_decode_jpeg(const void *bytes, size_t n, const struct berth_image_limits *lim,
                            uint32_t channels, struct berth_image *ret, struct berth_err *e);
int berth_image_decode_png(const void *bytes, size_t n, const struct berth_image_limits *lim,
                           uint32_t channels, struct berth_image *ret, struct berth_err *e);

/* Pixels for a picture of that size, not filled, in *ret; refused when a limit says so. */
int berth_image_alloc(uint32_t width, uint32_t height, uint32_t channels, uint64_t pixels_max,
                      struct berth_image *ret, struct berth_err *e);

/* count pixels of red, green, blue to grey, as Pillow weighs them; in place is fine. */
void berth_image_grey(const uint8_t *rgb, size_t count, uint8_t *ret);

#endif
