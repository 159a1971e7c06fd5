#ifndef BERTH_API_UNIMODEL_INPUT_H
#define BERTH_API_UNIMODEL_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>
#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;
struct berth_json;
struct berth_jw;

/*
 * UniModel's `input`: plain ("text", [1,2], {"x":..}) or tagged ({"type":"Text","data":..}), and
 * what becomes of it for a model.  Pure.
 */
enum {
    BERTH_INPUT_TEXT_MAX = 1000000,
    BERTH_INPUT_BINARY_MAX = 100000000,
    BERTH_INPUT_KEYS_MAX = 64,
    BERTH_INPUTS_MAX = 2048, /* of one batch */
};

enum berth_input_kind {
    BERTH_INPUT_TEXT,
    BERTH_INPUT_BINARY,
    BERTH_INPUT_JSON,       /* a number, an array, an object */
    BERTH_INPUT_MULTIMODAL, /* text and image by name */
};

struct berth_input {
    enum berth_input_kind kind;
    bool tagged;
    struct berth_slice text; /* TEXT; MULTIMODAL: its text, or empty */
    const void *binary;      /* BINARY; MULTIMODAL: its image, or NULL */
    size_t binary_len;
    const struct berth_json *json; /* JSON, MULTIMODAL */
};
/* path names it in messages: "input", "inputs[3]".  image: a plain string is an image as base64 or
 * data: URL, not a text.  -BERTH_EINVAL, -BERTH_ENOMEM. */
int berth_input_read(struct berth_arena *a, const struct berth_json *v, const char *path,
                     bool image, struct berth_input *ret, struct berth_err *e);

/* Tensors for a model out of numbers, strings and arrays of them: an object gives each input by
 * name, anything else is the model's only input. */
struct berth_input_tensors {
    struct berth_tensor *inputs;
    size_t count;
    bool row; /* a batch dimension of 1 was put in front: the outputs lose it again */
};
int berth_input_tensors(struct berth_arena *a, const struct berth_json *v, const char *path,
                        const struct berth_describe *d, struct berth_input_tensors *ret,
                        struct berth_err *e);
/* A text as the model's only input, of type BYTES. */
int berth_input_text_tensor(struct berth_arena *a, struct berth_slice text, const char *path,
                            const struct berth_describe *d, struct berth_input_tensors *ret,
                            struct berth_err *e);
/* What a model gave back: one output as it is, several by name. */
int berth_output_put(struct berth_jw *w, const struct berth_tensor *outputs, size_t count, bool row,
                     struct berth_err *e);

#endif
