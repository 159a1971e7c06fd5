#include "quantize.h"

#include <stdio.h>
#include <string.h>

#include <llama.h>

#include "engine.h"
#include "guard.h"

/* By the names that people and file names have for them, in lower case. */
static const struct type {
    const char *name;
    enum llama_ftype ftype;
} types[] = {
    {"f32", LLAMA_FTYPE_ALL_F32},          {"f16", LLAMA_FTYPE_MOSTLY_F16},
    {"bf16", LLAMA_FTYPE_MOSTLY_BF16},     {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
    {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K},     {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M},
    {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S}, {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},
    {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},     {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M},
    {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S}, {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},     {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL},
    {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS}, {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M},
    {"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K},
};
enum { TYPE_COUNT = sizeof types / sizeof types[0] };

static int
unknown_type(const char *name, struct berth_err *e)
{
    char list[200] = "";
    size_t at = 0;

    for (size_t i = 0; i < TYPE_COUNT && at < sizeof list; i++)
        at +=
            (size_t)snprintf(list + at, sizeof list - at, "%s%s", i > 0 ? ", " : "", types[i].name);
    return berth_err_set(e, BERTH_EINVAL, "type %.40s is not known; there is %s", name, list);
}

struct work {
    const struct berth_quantize *how;
    llama_model_quantize_params params;
    uint32_t failed;
};

static void
quantize(void *arg)
{
    struct work *w = arg;

    w->failed = llama_model_quantize(w->how->path, w->how->out, &w->params);
}

int
berth_llama_quantize(const struct berth_host *h, const struct berth_quantize *how,
                     struct berth_err *e)
{
    struct work w = {.how = how, .params = llama_model_quantize_default_params()};
    size_t i = 0;

    while (i < TYPE_COUNT && strcmp(types[i].name, how->type) != 0)
        i++;
    if (i == TYPE_COUNT)
        return unknown_type(how->type, e);
    const int r = berth_engine_open(h, e);
    if (r < 0)
        return r;
    w.params.ftype = types[i].ftype;
    w.params.nthread = (int32_t)how->threads;
    w.params.allow_requantize = how->again;
    berth_engine_clear_error();
    if (berth_guard_call(true, quantize, &w) == 0 && w.failed == 0)
        return 0;
    return berth_err_set(
        e, BERTH_EBACKEND, "%s: cannot be quantised to %s: %s", how->path, how->type,
        *berth_engine_last_error() != '\0' ? berth_engine_last_error() : "no reason given");
}
