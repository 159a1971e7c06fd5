#ifndef BERTH_FETCH_MODEL_DIR_H
#define BERTH_FETCH_MODEL_DIR_H

#include <stddef.h>

/*
 * The folder of a model, which engines that want a folder are given and containers mount: of a file
 * (one that ends in .gguf, .safetensors, .bin, .pt or .onnx, in any case) the folder it lies in,
 * else the path itself; without '/' at its end.  How many bytes of the path that are; 0: the model
 * has no folder of its own ("", ".", "/", or a file that lies there).
 */
size_t berth_model_dir_len(const char *path);

#endif
