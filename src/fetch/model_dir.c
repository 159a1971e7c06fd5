#include "fetch/model_dir.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static bool
is_file(const char *path, size_t len)
{
    static const char *const ends[] = {".gguf", ".safetensors", ".bin", ".pt", ".onnx"};

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        const size_t n = strlen(ends[i]);

        if (len > n && strcasecmp(path + len - n, ends[i]) == 0)
            return true;
    }
    return false;
}

size_t
berth_model_dir_len(const char *path)
{
    size_t len = strlen(path);

    if (is_file(path, len))
        while (len > 0 && path[len - 1] != '/')
            len--;
    while (len > 1 && path[len - 1] == '/')
        len--;
    return len == 1 && (path[0] == '.' || path[0] == '/') ? 0 : len;
}
