#ifndef BERTH_API_FIELDS_H
#define BERTH_API_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>
#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;
struct berth_json;

/*
 * Reading the members of a JSON object, each checked and named in the message when it is wrong:
 * "parameters.top_p: must be a number from 0 to 1, not a string".  A member that is missing or
 * null leaves *ret as it was, so that the caller puts the default there first.
 */
struct berth_fields {
    const struct berth_json *object;
    const char *path;    /* in front of a key in messages: "", "parameters." */
    struct berth_err *e; /* filled on failure; not NULL */
    char bad[64];        /* the field that was refused; "" when none was */
};

struct berth_fields berth_fields(const struct berth_json *object, const char *path,
                                 struct berth_err *e);
/* Refuse a field: fills e and bad, returns -BERTH_EINVAL. */
__attribute__((format(printf, 3, 4))) int berth_field_bad(struct berth_fields *f, const char *key,
                                                          const char *fmt, ...);
/* The member, or NULL when it is missing or null. */
const struct berth_json *berth_field(const struct berth_fields *f, const char *key);

/* All: 0, or -BERTH_EINVAL. */
int berth_field_bool(struct berth_fields *f, const char *key, bool *ret);
int berth_field_int(struct berth_fields *f, const char *key, int64_t min, int64_t max,
                    int64_t *ret);
int berth_field_float(struct berth_fields *f, const char *key, double min, double max, float *ret);
/* Without U+0000 in it, so that it can be handed on as a C string. */
int berth_field_string(struct berth_fields *f, const char *key, struct berth_slice *ret);

/* How a sequence is sampled, with nothing chosen: temperature 1, everything else off, a random
 * seed. */
void berth_gen_init(struct berth_gen *g);
/*
 * Read the sampling members that every dialect of text shares into *g: temperature, top_p, top_k,
 * min_p, presence_penalty, frequency_penalty, repeat_penalty (or repetition_penalty), seed, stop,
 * logit_bias, ignore_eos.  Copies are in the arena.  -BERTH_EINVAL, -BERTH_ENOMEM.
 */
int berth_gen_read(struct berth_fields *f, struct berth_arena *a, struct berth_gen *g);
/* The first of the keys that is there, as a number of tokens, into g->max_tokens. */
int berth_gen_read_max_tokens(struct berth_fields *f, const char *const *keys, struct berth_gen *g);

enum {
    BERTH_STOP_MAX = 16,
    BERTH_STOP_BYTES_MAX = 1024,
    BERTH_BIAS_MAX = 1024,
    BERTH_TOKENS_MAX = 1 << 24,
};

#endif
