#include <string.h>

#include "deploy/spec/spec.h"
#include "wire/quantity.h"

static bool
units(const char *text, unsigned thousandths, uint64_t *ret)
{
    struct berth_quantity q;

    return berth_quantity_parse(text, strlen(text), &q) &&
           berth_quantity_units(&q, thousandths, ret);
}

int
berth_quantity_cpu(const char *text, uint64_t *ret_milli, struct berth_err *e)
{
    if (!units(text, 1, ret_milli))
        return berth_err_set(e, BERTH_EINVAL,
                             "\"%.60s\" is no number of cores; write 4, 1.5 or 500m", text);
    return 0;
}

int
berth_quantity_bytes(const char *text, uint64_t *ret_bytes, struct berth_err *e)
{
    if (!units(text, 0, ret_bytes))
        return berth_err_set(
            e, BERTH_EINVAL,
            "\"%.60s\" is no amount of memory; write 16Gi, 512Mi or a number of bytes", text);
    return 0;
}
