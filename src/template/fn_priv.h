#ifndef BERTH_TEMPLATE_FN_PRIV_H
#define BERTH_TEMPLATE_FN_PRIV_H

#include "template/run_priv.h"
#include "template/text_priv.h"

/* What the files of functions share.  A function's name here is the template's, with tf_ before it
 * where C has one of that name. */
#define BERTH_TFN(name)                                                                 \
    static int name(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, \
                    struct berth_tvalue *ret)

/* Without blanks at both ends, as Go's strings.TrimSpace. */
struct berth_slice berth_ttrim_space(struct berth_slice s);
/* Text as numbers, the way spf13/cast does: 0 for what is none. */
int64_t berth_tto_int(const struct berth_tvalue *v);
double berth_tto_float(const struct berth_tvalue *v);

#endif
