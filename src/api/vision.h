#ifndef BERTH_API_VISION_H
#define BERTH_API_VISION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>
#include <berth/err.h>

struct berth_arena;
struct berth_json;
struct berth_jw;

/*
 * Images in, scores out, as the model's manifest says:
 *   image:  {width, height, channels, layout: nchw|nhwc, mean: [..], std: [..]}
 *   labels: [..]
 *   output: {name, activation: none|softmax|sigmoid, top}
 * What the manifest leaves out is taken from the model's input shape.  Pure.
 */
enum { BERTH_VISION_TOP_MAX = 1000 };

/* Does the manifest say that the model takes images? */
bool berth_vision_is(const struct berth_json *manifest);

struct berth_vision_image {
    const void *bytes; /* JPEG or PNG */
    size_t len;
    uint32_t pixels_max;
    const char *path; /* in messages */
};
/* The tensor for the model's only input.  -BERTH_EINVAL: not an image, or the manifest does not
 * fit the model; -BERTH_ENOMEM. */
int berth_vision_tensor(struct berth_arena *a, const struct berth_json *manifest,
                        const struct berth_describe *d, const struct berth_vision_image *image,
                        struct berth_tensor *ret, struct berth_err *e);

/* Does the manifest say what the outputs mean? */
bool berth_vision_has_scores(const struct berth_json *manifest);
/* {"label","index","score","top":[..],"scores":[..]} of the first row. */
int berth_vision_put_scores(struct berth_jw *w, struct berth_arena *a,
                            const struct berth_json *manifest, const struct berth_tensor *outputs,
                            size_t output_count, struct berth_err *e);

#endif
