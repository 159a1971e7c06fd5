#ifndef BERTH_INPUT_H
#define BERTH_INPUT_H

#include "base/arena.h"
#include "base/buf.h"

struct berth_args;

/*
 * What a person typed as an input, as JSON text for `input` of a prediction: "-" is standard
 * input, "@PATH" or the path of a file its content, anything else the text itself.  An array or
 * object stays what it is, other text becomes a string, bytes that are no text a data: URL.
 * The exit status; what is wrong is told.
 */
int berth_input_put(const struct berth_args *args, struct berth_arena *a, const char *typed,
                    struct berth_buf *out);
/* The same before it becomes JSON: the bytes of standard input, of the file, or the text. */
int berth_input_bytes(const struct berth_args *args, const char *typed, struct berth_buf *out);
/* All of standard input, as it is. */
int berth_input_stdin(const struct berth_args *args, struct berth_buf *out);

#endif
