#ifndef BERTH_DEPLOY_MASK_H
#define BERTH_DEPLOY_MASK_H

#include <stdbool.h>

struct berth_arena;
struct berth_json;
struct berth_jw;

/*
 * Write v with "***" in place of what looks secret: values of keys as berth_key_is_secret() knows
 * them, at any depth (of {"key", "value"} pairs, too), and in texts, which may be command lines or
 * words of one, what follows a flag or stands behind the = of a key that looks so, the word after
 * Bearer or Basic, headers that let one in ("X-API-Key: x", with or without -H), and the password
 * of an address (scheme://user:password@host) or of a user (-u user:password).  secret: v is one
 * itself.  Pure.
 */
void berth_mask_put(struct berth_jw *w, const struct berth_json *v, bool secret);
/* Is a member of that path masked as a whole: a secret, or a hook's line? */
bool berth_mask_whole(const char *path);
/* What the value of that key is shown as; NULL: no memory. */
const char *berth_mask_text(const char *key, const char *value, struct berth_arena *a);

#endif
