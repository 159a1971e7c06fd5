#ifndef BERTH_PIPELINE_SECURE_PRIV_H
#define BERTH_PIPELINE_SECURE_PRIV_H

#include <berth/pipeline.h>

struct berth_arena;

/* The steps of "secure" that are its own.  Values that they keep for each other: "tlsCert" and
 * "tlsKey" (files for the engine), besides the host's "caPath" and "keyPath". */

/* secure_tls.c */
int secure_tls(struct berth_deployment *d, struct berth_err *e);
int secure_render(struct berth_deployment *d, struct berth_err *e);
/* secure_check.c: is there no other way in? */
int secure_check(struct berth_deployment *d, struct berth_err *e);
/* A list of texts in the spec as a NULL-ended one of at most cap - 1, behind those that are there
 * (ret[0..*n]).  The texts are the arena's.  -BERTH_EINVAL */
int secure_texts(struct berth_deployment *d, const char *key, struct berth_arena *a,
                 const char **ret, size_t cap, size_t *n, struct berth_err *e);

#endif
