#ifndef BERTH_LLAMA_QUANTIZE_H
#define BERTH_LLAMA_QUANTIZE_H

#include <berth/backend.h>

/* berth_backend_ops.quantize */
int berth_llama_quantize(const struct berth_host *h, const struct berth_quantize *how,
                         struct berth_err *e);

#endif
