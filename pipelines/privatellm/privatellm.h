#ifndef BERTH_PIPELINES_PRIVATELLM_H
#define BERTH_PIPELINES_PRIVATELLM_H

#include <berth/pipeline.h>

/*
 * A model out of a store that asks who one is.  Of the spec: parameters {store (NAME, "default"),
 * file (its path in the store), sha256}.  Address and token are the server's: its environment has
 * BERTH_STORE_NAME_URL and BERTH_STORE_NAME_TOKEN, so that a spec holds no secret, and no spec can
 * have a token sent to another address.
 */
berth_pipeline_entry_fn berth_pipeline_privatellm;

#endif
