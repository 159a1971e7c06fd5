#ifndef BERTH_CACHE_H
#define BERTH_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

struct berth_metrics;
struct berth_request;

/*
 * The response cache: answers of models that give the same one to the same request.  Bounded in
 * bytes over all models; what was not asked for longest goes first.
 *
 * A request is known by a keyed 128-bit hash over everything that its answer depends on: the
 * loading of the model (so that nothing outlives an unload), task, inputs with names, types, shapes
 * and bytes, the outputs wanted, and all settings of a generation.  Inputs are not kept to be
 * compared: the hash's key is random and never leaves the process, so that two requests with the
 * same value cannot be made on purpose, and by chance a cache of 2^32 answers meets one in 2^64
 * requests; while an image's 600 KB beside an answer of 40 bytes would leave room for a
 * ten-thousandth of the answers.
 *
 * Any thread.  One lock, taken once to look and once to keep; nothing is hashed or copied under it.
 */
struct berth_cache;
/* What belongs to one loading of a model. */
struct berth_cache_space;

struct berth_cache *berth_cache_new(uint64_t bytes_max, struct berth_metrics *metrics);
/* It goes when its spaces are gone, too; answers may still be held then.  NULL is fine. */
void berth_cache_unref(struct berth_cache *c);
void berth_cache_limit(struct berth_cache *c, uint64_t bytes_max);

/* model: its name, for metrics.  NULL: no memory. */
struct berth_cache_space *berth_cache_space_new(struct berth_cache *c, const char *model);
/* Forget all of its answers, and keep none from now on.  Idempotent. */
void berth_cache_space_drop(struct berth_cache_space *s);
/* Dropped, if it was not.  NULL is fine. */
void berth_cache_space_free(struct berth_cache_space *s);

struct berth_cache_key {
    uint8_t bytes[16];
};
/* False: the answer to r is not to be kept: it is sampled without a seed of the client's own, or
 * wants log-probabilities. */
bool berth_cache_key(const struct berth_cache_space *s, const struct berth_request *r,
                     struct berth_cache_key *ret);

/* An answer; immutable. */
struct berth_cached {
    const struct berth_tensor *outputs;
    size_t output_count;
    const char *text; /* of a generation */
    size_t text_len;
    struct berth_finish finish; /* stop is NULL */
    int32_t stop_index;         /* of the request's stop strings, the one that was met; -1: none */
};
/* Referenced, or NULL: counted as a hit or a miss. */
const struct berth_cached *berth_cache_get(struct berth_cache_space *s,
                                           const struct berth_cache_key *key);
void berth_cached_unref(const struct berth_cached *answer); /* also after the cache is gone */
/* Keep a copy of r's answer: its outputs, or the text and r->finish.  Not when it is larger than an
 * eighth of the cache. */
void berth_cache_put(struct berth_cache_space *s, const struct berth_cache_key *key,
                     const struct berth_request *r, const char *text, size_t text_len);

#endif
