#ifndef BERTH_CONFIG_PRIV_H
#define BERTH_CONFIG_PRIV_H

#include "infer/config.h"
#include "wire/json.h"

/* Readers of values for the files that make up config.c.  `key` is the path under "config.". */

/* -BERTH_EINVAL that says what was expected (from min to max, when min < max) and what came. */
int berth_config_bad(const char *key, const char *want, double min, double max,
                     const struct berth_json *v, struct berth_err *e);
int berth_config_count(const char *key, const struct berth_json *v, double min, double max,
                       uint32_t *ret, struct berth_err *e);
int berth_config_ms(const char *key, const struct berth_json *v, double max_ms, uint64_t *ret_ns,
                    struct berth_err *e);
int berth_config_bool(const char *key, const struct berth_json *v, bool *ret, struct berth_err *e);
/* -BERTH_EINVAL that names an unknown key of an object and what there is. */
int berth_config_unknown(const char *object, const char *key, const char *known,
                         struct berth_err *e);

/* config_batching.c, config_versions.c */
int berth_config_batching(struct berth_arena *a, const struct berth_json *v,
                          struct berth_model_conf *c, struct berth_err *e);
int berth_config_versions(const struct berth_json *v, struct berth_model_conf *c,
                          struct berth_err *e);
/* What the keys say together, once all have been read. */
int berth_config_batching_check(struct berth_model_conf *c, struct berth_err *e);

/* config_memory.c: load, pin, keep_alive, memory_mb. */
int berth_config_memory(const char *key, const struct berth_json *v, struct berth_model_conf *c,
                        struct berth_err *e);

#endif
