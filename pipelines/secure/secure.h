#ifndef BERTH_PIPELINE_SECURE_H
#define BERTH_PIPELINE_SECURE_H

#include <berth/pipeline.h>

/* A service that is for some alone: known callers deploy it, its engine speaks TLS alone and asks
 * for a key, the server passes on to it whom securityConfig.allow names, and all of it is audited.
 */
berth_pipeline_entry_fn berth_pipeline_secure;

#endif
