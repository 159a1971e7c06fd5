#ifndef BERTH_DEPLOY_MASK_H
#define BERTH_DEPLOY_MASK_H

#include <stdbool.h>

struct berth_json;
struct berth_jw;

/*
 * Write v with "***" in place of what looks secret: values of keys as berth_key_is_secret() knows
 * them, at any depth (of {"key", "value"} pairs, too), and in texts, which may be command lines or
 * words of one, what follows a flag or stands behind the = of a key that looks so.  secret: v is
 * one itself.  Pure.
 */
void berth_mask_put(struct berth_jw *w, const struct berth_json *v, bool secret);

#endif
