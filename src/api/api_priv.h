#ifndef BERTH_API_PRIV_H
#define BERTH_API_PRIV_H

#include <stdatomic.h>

#include "api/admit.h"
#include "api/api.h"
#include "api/call.h"
#include "api/jobs.h"
#include "api/prepare.h"
#include "obs/metrics.h"

enum { BERTH_API_STATUS_MAX = 600 };

struct berth_forwarders;

/* What the files of this folder share. */
struct berth_api {
    struct berth_api_conf conf; /* copied, defaults filled in */
    struct berth_arena arena;   /* what conf points to */
    struct berth_admit admit;
    struct berth_shm *shm;
    struct berth_forwarders *forwarders;
    uint64_t begin_ns;
    _Atomic uint64_t id_next;
    struct berth_trace *trace; /* of requests that went by; NULL: none is kept */
    /* Series at hand, so that a request takes no lock; made at first use. */
    _Atomic(struct berth_series *) answered[BERTH_DIALECT_COUNT][BERTH_API_STATUS_MAX];
    _Atomic(struct berth_series *) seconds[BERTH_DIALECT_COUNT];
    _Atomic(struct berth_series *) errors[BERTH_CODE_MAX + 1];

    struct berth_jobs models, services; /* threads for handlers that may block */
    struct berth_prepare *prepare;      /* threads for large bodies */
    atomic_uint feeds;                  /* streams with a thread of their own (feed.h) */
};

/* Send c->reply.  On the loop. */
void berth_call_send(struct berth_call *c);
/* May the peer do what needs that scope, and at this rate?  False: the call is answered. */
bool berth_api_admitted(struct berth_call *c, enum berth_scope scope);
/* Run c->job on one of the api's own threads: on the models', or the services'. */
void berth_api_job(struct berth_call *c);
/* park.c: X-Load-Wait-Ms, for a call that waited until its model was loaded. */
void berth_call_parked_header(const struct berth_call *c);
/* Read the Grpc-Timeout header.  False: it is malformed, and the call is answered. */
bool berth_call_read_timeout(struct berth_call *c);
void berth_api_count_error(struct berth_api *api, const struct berth_fault *f);

/* requests.c: c fails with f, the first time: for the account of it. */
void berth_requests_failed(struct berth_call *c, const struct berth_fault *f);
/* requests.c: of c's requests the one that ended last, so that it decided when the answer came;
 * NULL: none was given to a model. */
const struct berth_request *berth_call_last_part(const struct berth_call *c);
/* requests.c: c's exchange is over: keep what is to be told of it. */
void berth_requests_note(const struct berth_call *c, uint64_t end_ns);

/* The smallest number of seconds since 1970 that OpenAI's `created` wants. */
static inline int64_t
berth_call_created(const struct berth_call *c)
{
    return (int64_t)(c->wall_ns / UINT64_C(1000000000));
}

/* ---- handlers, by file ---- */

/* admin.c */
void berth_admin_health(struct berth_call *c);
void berth_admin_ready(struct berth_call *c);
void berth_admin_metrics(struct berth_call *c);
void berth_admin_openapi(struct berth_call *c);
void berth_admin_swagger(struct berth_call *c);
void berth_admin_plugins(struct berth_call *c);
/* memory.c; put_model: member "memory" of a model's status */
struct berth_model_memory;
void berth_memory_get(struct berth_call *c);
void berth_plan_get(struct berth_call *c);
void berth_memory_put_model(struct berth_jw *w, const struct berth_model_memory *m);
/* unimodel_models.c */
void berth_unimodel_register(struct berth_call *c);
void berth_unimodel_list(struct berth_call *c);
void berth_unimodel_get(struct berth_call *c);
void berth_unimodel_delete(struct berth_call *c);
void berth_unimodel_configure(struct berth_call *c);
void berth_unimodel_status(struct berth_call *c);
/* unimodel.c */
void berth_unimodel_predict(struct berth_call *c);
void berth_unimodel_batch(struct berth_call *c);
/* openai_*.c */
void berth_openai_chat(struct berth_call *c);
void berth_openai_completions(struct berth_call *c);
void berth_openai_embeddings(struct berth_call *c);
/* v2_stats.c */
void berth_v2_stats(struct berth_call *c);
/* v2_rest.c */
void berth_v2_infer(struct berth_call *c);
/* requests.c */
void berth_requests_list(struct berth_call *c);
void berth_requests_explain(struct berth_call *c);
/* v2_models.c */
void berth_v2_server(struct berth_call *c);
void berth_v2_live(struct berth_call *c);
void berth_v2_ready(struct berth_call *c);
void berth_v2_model(struct berth_call *c);
void berth_v2_model_ready(struct berth_call *c);
void berth_v2_config(struct berth_call *c);
void berth_v2_index(struct berth_call *c);
void berth_v2_load(struct berth_call *c);
void berth_v2_unload(struct berth_call *c);
/* v2_shm.c */
void berth_v2_shm_status(struct berth_call *c);
void berth_v2_shm_register(struct berth_call *c);
void berth_v2_shm_unregister(struct berth_call *c);
/* services.c, services_watch.c, extensions.c */
void berth_services_deploy(struct berth_call *c);
void berth_services_list(struct berth_call *c);
void berth_services_units(struct berth_call *c);
void berth_services_models(struct berth_call *c);
void berth_services_get(struct berth_call *c);
void berth_services_update(struct berth_call *c);
void berth_services_patch(struct berth_call *c);
void berth_services_delete(struct berth_call *c);
void berth_services_plan(struct berth_call *c);
void berth_services_pipeline(struct berth_call *c);
void berth_services_revisions(struct berth_call *c);
void berth_services_scale(struct berth_call *c);
void berth_services_rollback(struct berth_call *c);
void berth_services_promote(struct berth_call *c);
void berth_services_weight(struct berth_call *c);
void berth_services_retry(struct berth_call *c);
void berth_services_node(struct berth_call *c);
void berth_services_pipeline_logs(struct berth_call *c);
void berth_services_logs(struct berth_call *c);
void berth_services_events(struct berth_call *c);
void berth_extensions_list(struct berth_call *c);
void berth_extensions_load(struct berth_call *c);
void berth_extensions_reload(struct berth_call *c);
void berth_extensions_unload(struct berth_call *c);
/* generate.c */
void berth_v2_generate(struct berth_call *c);
void berth_v2_generate_stream(struct berth_call *c);

#endif
