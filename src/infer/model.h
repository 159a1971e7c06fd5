#ifndef BERTH_MODEL_H
#define BERTH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

struct berth_json;
struct berth_request;

/*
 * A version of a registered model, with its queue and its instances.  Reference counted; what is
 * reached through it is constant while it is ready.
 */
struct berth_model;

void berth_model_ref(struct berth_model *m);
void berth_model_unref(struct berth_model *m);

const char *berth_model_name(const struct berth_model *m);
const char *berth_model_id(const struct berth_model *m);      /* of its registration; never empty */
const char *berth_model_version(const struct berth_model *m); /* "1"; never empty */
const char *berth_model_backend(const struct berth_model *m); /* backend's name */
/* What it takes and gives; NULL until it was ready once. */
const struct berth_describe *berth_model_describe(const struct berth_model *m);
/* The manifest (berth.yaml in the model's folder) merged under the registration's config: task,
 * labels, image, output, ...; an empty object when there is none. */
const struct berth_json *berth_model_manifest(const struct berth_model *m);

/* Does it keep answers in the response cache? */
bool berth_model_caches(const struct berth_model *m);

/*
 * Check r against the model and queue it.  On a loop.  Returns 0, and done() will come; or at once,
 * and done() will not:
 *   -BERTH_EINVAL        an input's name, type, shape or size does not fit; err names it
 *   -BERTH_EUNSUPPORTED  the model does not do r->task
 *   -BERTH_EAGAIN        its queue is full
 *   -BERTH_ENOTREADY     loading, unloaded or failed; err says which
 *   -BERTH_EDEADLINE     the deadline has passed already
 */
int berth_model_submit(struct berth_model *m, struct berth_request *r, struct berth_err *e);

/* May a request of this priority bound its own wait in the queue (request.h, queue_timeout_ns)? */
bool berth_model_takes_queue_timeout(struct berth_model *m, uint32_t priority);

/* What the outputs of a request took lately: how much room the next one may need. */
size_t berth_model_output_bytes(const struct berth_model *m);

/* Tokens of a text (see backend.h).  -BERTH_EUNSUPPORTED without a tokenizer. */
int64_t berth_model_tokenize(struct berth_model *m, const char *text, size_t len, int32_t *ret,
                             size_t cap);

#endif
