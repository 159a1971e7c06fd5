#ifndef BERTH_API_UNIMODEL_ANSWER_H
#define BERTH_API_UNIMODEL_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "api/call.h"

/* A UniModel prediction on its way: c->state, made from the request, read by the answers. */

/* How one input is worked on. */
enum berth_item_way { BERTH_ITEM_TEXT, BERTH_ITEM_TENSORS, BERTH_ITEM_IMAGE, BERTH_ITEM_EMBEDDING };

struct berth_predict_item {
    enum berth_item_way way;
    bool row;    /* the outputs lose a batch dimension */
    bool single; /* EMBEDDING: one text, so one vector */
};

struct berth_predict {
    struct berth_predict_item *items;
    struct berth_gen gen; /* what every text has in common */
    bool batch, stream, tagged;
    uint64_t parsed_ns;
};

/* One input; with "stream": true; several inputs. */
extern const struct berth_call_ops berth_predict_ops, berth_predict_stream_ops,
    berth_predict_batch_ops;

#endif
