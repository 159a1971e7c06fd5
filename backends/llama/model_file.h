#ifndef BERTH_LLAMA_MODEL_FILE_H
#define BERTH_LLAMA_MODEL_FILE_H

#include <stddef.h>

#include <berth/err.h>

/* The .gguf that `path` means: path itself, or the one in the folder `path` (the first part of a
 * split model).  Returns 0, -BERTH_EINVAL (none, or several), -BERTH_ENOENT or -BERTH_EIO. */
int berth_model_file_find(const char *path, char *ret, size_t cap, struct berth_err *e);

/* Look at the head of a GGUF file and refuse what the engine would stumble over: the engine ends
 * the whole program on some of it.  Returns 0, -BERTH_EINVAL with what to do about it, or
 * -BERTH_EIO. */
int berth_model_file_check(const char *file, struct berth_err *e);

#endif
