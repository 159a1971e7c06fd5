#include <stdint.h>
#include <stdlib.h>

#include "wire/image.h"

/* Any bytes, decoded both ways, resized and made numbers: nothing may be read or written out of
 * bounds, nothing left behind. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const struct berth_image_norm norm = {BERTH_IMAGE_NCHW, {0.5F, 0.5F, 0.5F}, {1, 1, 1}};
    const struct berth_image_limits lim = {1 << 16, 8};

    for (uint32_t channels = 1; channels <= 3; channels += 2) {
        struct berth_image im = {.pixels = NULL}, small = {.pixels = NULL};
        float x[8 * 5 * 3];

        if (berth_image_decode(bytes, n, &lim, channels, &im, NULL) < 0)
            continue;
        if (berth_image_resize(&im, 8, 5, &small, NULL) < 0)
            abort();
        berth_image_normalize(&small, &norm, x);
        berth_image_fini(&small);
        berth_image_fini(&im);
    }
    return 0;
}
