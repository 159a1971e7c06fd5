#ifndef BERTH_PAD_H
#define BERTH_PAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which inputs of a model may differ in length, and what shorter ones are filled with. */
enum { BERTH_PAD_INPUTS_MAX = 8, BERTH_PAD_CUTS_MAX = 8, BERTH_PAD_BUCKETS_MAX = 32 };

struct berth_pad_input {
    const char *name;
    uint32_t dim; /* at least 1: dimension 0 is the batch's */
    double value;
};

struct berth_pad_cut {
    const char *name;
    uint32_t dim; /* 0: the output is left as it is */
};

struct berth_pad_conf {
    struct berth_pad_input inputs[BERTH_PAD_INPUTS_MAX];
    uint32_t input_len; /* 0: nothing is padded */
    struct berth_pad_cut cuts[BERTH_PAD_CUTS_MAX];
    uint32_t cut_len;                       /* outputs not named: where a dimension fits */
    int64_t buckets[BERTH_PAD_BUCKETS_MAX]; /* ascending */
    uint32_t bucket_len;                    /* 0: a batch is as long as its longest */
};

#endif
