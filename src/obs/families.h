#ifndef BERTH_FAMILIES_H
#define BERTH_FAMILIES_H

/* Every metric of the program: docs/metrics.md is generated from this table.
 * id, type, name, help, labels */
#define BERTH_FAMILIES(X)                                                                         \
    X(REQUESTS, BERTH_COUNTER, "berth_requests_total",                                            \
      "Answered requests; of gRPC the status by name.", "dialect,status")                         \
    X(REQUEST_SECONDS, BERTH_HISTOGRAM, "berth_request_duration_seconds",                         \
      "First byte of a request to the last of its answer.", "dialect")                            \
    X(ERRORS, BERTH_COUNTER, "berth_errors_total",                                                \
      "Requests answered with an error, by its code.", "code")                                    \
    X(INFER, BERTH_COUNTER, "berth_inferences_total", "Requests that a model worked on.",         \
      "model,result")                                                                             \
    X(VERSION_INFER, BERTH_COUNTER, "berth_version_inferences_total",                             \
      "Requests that a version of a model worked on.", "model,version,result")                    \
    X(INFER_SECONDS, BERTH_HISTOGRAM, "berth_inference_duration_seconds",                         \
      "Time in the engine of one batch or one sequence.", "model")                                \
    X(QUEUE_SECONDS, BERTH_HISTOGRAM, "berth_queue_wait_seconds",                                 \
      "Time a request waited for its batch.", "model")                                            \
    X(QUEUE_LEN, BERTH_GAUGE, "berth_queue_length", "Requests waiting now.", "model")             \
    X(QUEUE_TIMEOUTS, BERTH_COUNTER, "berth_queue_timeouts_total",                                \
      "Requests refused because they waited longer than their queue allows.", "model")            \
    X(RETRIES, BERTH_COUNTER, "berth_retries_total",                                              \
      "Requests tried again on another instance, because theirs failed.", "model")                \
    X(BATCH_SIZE, BERTH_HISTOGRAM, "berth_batch_size", "Requests that ran together.", "model")    \
    X(PAD_BATCHES, BERTH_COUNTER, "berth_padded_batches_total",                                   \
      "Runs of a model whose inputs may differ in length, by the length that they had room for.", \
      "model,length")                                                                             \
    X(PAD_ELEMENTS, BERTH_COUNTER, "berth_padded_elements_total",                                 \
      "Elements of padded inputs: data of requests, and padding.", "model,kind")                  \
    X(TOKENS_IN, BERTH_COUNTER, "berth_prompt_tokens_total", "Tokens of prompts.", "model")       \
    X(TOKENS_OUT, BERTH_COUNTER, "berth_tokens_generated_total", "Tokens generated.", "model")    \
    X(FIRST_TOKEN_SECONDS, BERTH_HISTOGRAM, "berth_time_to_first_token_seconds",                  \
      "Arrival of a request to its first token.", "model")                                        \
    X(SEQUENCES, BERTH_GAUGE, "berth_sequences_running", "Generations going on now.", "model")    \
    X(WORKER_RESTARTS, BERTH_COUNTER, "berth_worker_restarts_total",                              \
      "Processes of isolated models that were started again.", "model")                           \
    X(CANCELED, BERTH_COUNTER, "berth_requests_canceled_total",                                   \
      "Requests whose client left or whose deadline passed.", "model")                            \
    X(REFUSED, BERTH_COUNTER, "berth_requests_refused_total", "Requests refused at a limit.",     \
      "limit")                                                                                    \
    X(MODELS, BERTH_GAUGE, "berth_models", "Registered models by state.", "state")                \
    X(MODEL_LOAD_SECONDS, BERTH_HISTOGRAM, "berth_model_load_seconds", "Time a load took.",       \
      "model")                                                                                    \
    X(MODEL_BYTES, BERTH_GAUGE, "berth_model_memory_bytes", "Measured memory of a loaded model.", \
      "model")                                                                                    \
    X(CORES, BERTH_GAUGE, "berth_cores", "Cores that engines may use together.", "")              \
    X(CORES_USED, BERTH_GAUGE, "berth_cores_in_use",                                              \
      "Of these, given to a run or step now, without those that nobody waits for any more.", "")  \
    X(CORES_GIVEN, BERTH_GAUGE, "berth_cores_given", "Cores of the last run or step that asked.", \
      "model")                                                                                    \
    X(CORES_WAIT, BERTH_HISTOGRAM, "berth_cores_wait_seconds",                                    \
      "Time a run or step waited for cores, of those that did.", "model")                         \
    X(CORES_FORCED, BERTH_COUNTER, "berth_cores_forced_total",                                    \
      "Runs or steps begun without free cores, after waiting a second for them.", "")             \
    X(MODELS_BYTES, BERTH_GAUGE, "berth_models_memory_bytes",                                     \
      "Memory for models: budget, held, promised to loads, others', free, pinned.", "kind")       \
    X(EVICTIONS, BERTH_COUNTER, "berth_evictions_total",                                          \
      "Models unloaded to make room, for want of use, or as others took the memory.", "reason")   \
    X(BRAKED, BERTH_COUNTER, "berth_evictions_braked_total",                                      \
      "Looks for room that were told to wait, as the model to go was wanted too.", "")            \
    X(DEMAND_LOADS, BERTH_COUNTER, "berth_demand_loads_total",                                    \
      "Loads that began since a request waited for them.", "")                                    \
    X(LOAD_WAITING, BERTH_GAUGE, "berth_load_waiting", "Requests that wait for a load now.", "")  \
    X(LOAD_WAIT_SECONDS, BERTH_HISTOGRAM, "berth_load_wait_seconds",                              \
      "Time a request waited for its model to be loaded.", "")                                    \
    X(CACHE_HITS, BERTH_COUNTER, "berth_cache_hits_total",                                        \
      "Requests answered from the response cache.", "model")                                      \
    X(CACHE_MISSES, BERTH_COUNTER, "berth_cache_misses_total",                                    \
      "Requests looked for in the response cache in vain.", "model")                              \
    X(CACHE_BYTES, BERTH_GAUGE, "berth_cache_bytes", "Size of the response cache.", "")           \
    X(CACHE_ENTRIES, BERTH_GAUGE, "berth_cache_entries", "Answers in the response cache.", "")    \
    X(CACHE_EVICTIONS, BERTH_COUNTER, "berth_cache_evictions_total",                              \
      "Answers that made room for others in the response cache.", "")                             \
    X(DEPLOYMENTS, BERTH_COUNTER, "modserv_deployments_total",                                    \
      "Runs of a pipeline that came to an end.", "pipeline,shimlet,result")                       \
    X(DEPLOYMENT_RATIO, BERTH_GAUGE, "modserv_deployment_success_ratio",                          \
      "Share of these runs that succeeded, since the start.", "")                                 \
    X(SERVICES, BERTH_GAUGE, "modserv_services", "Services by phase.", "phase")                   \
    X(PIPELINE_SECONDS, BERTH_HISTOGRAM, "modserv_pipeline_duration_seconds",                     \
      "Time a run of a pipeline took.", "pipeline")                                               \
    X(STEP_SECONDS, BERTH_HISTOGRAM, "modserv_pipeline_step_duration_seconds",                    \
      "Time a step of a pipeline took.", "pipeline,step,result")                                  \
    X(STEP_RETRIES, BERTH_COUNTER, "modserv_step_retries_total",                                  \
      "Steps tried again after an error.", "pipeline,step")                                       \
    X(RESOURCE_REQUESTED, BERTH_GAUGE, "modserv_resource_requested",                              \
      "What a service's replicas ask for together.", "service,resource")                          \
    X(RESOURCE_USED, BERTH_GAUGE, "modserv_resource_used",                                        \
      "What a service's replicas take together, as their environment tells it.",                  \
      "service,resource")                                                                         \
    X(RESOURCE_RATIO, BERTH_GAUGE, "modserv_resource_used_ratio",                                 \
      "Of what they ask for, the share that they take.", "service,resource")                      \
    X(WORKQUEUE_DEPTH, BERTH_GAUGE, "modserv_workqueue_depth",                                    \
      "Services that are due to be looked at and wait for a worker.", "")                         \
    X(WORKQUEUE_BUSY, BERTH_GAUGE, "modserv_workqueue_busy", "Workers that look at one now.", "") \
    X(WORKQUEUE_LONGEST, BERTH_GAUGE, "modserv_workqueue_longest_seconds",                        \
      "Time that the look at a service that takes longest has taken so far.", "")                 \
    X(WORKQUEUE_RETRIES, BERTH_COUNTER, "modserv_workqueue_retries_total",                        \
      "Looks that failed and were put back with a wait.", "")                                     \
    X(RECONCILES, BERTH_COUNTER, "modserv_reconciles_total", "Looks at services that ended.", "") \
    X(RECONCILE_ERRORS, BERTH_COUNTER, "modserv_reconcile_errors_total", "Of these, failed.", "") \
    X(RECONCILE_SECONDS, BERTH_COUNTER_REAL, "modserv_reconcile_seconds_total",                   \
      "Time that these took together.", "")                                                       \
    X(PLUGIN_LOADED, BERTH_GAUGE, "modserv_plugin_loaded", "1 for each shimlet and pipeline.",    \
      "type,name,version")                                                                        \
    X(FORWARDED, BERTH_COUNTER, "berth_forwarded_total",                                          \
      "Requests passed on to a replica, by the status of its whole answer, or none.",             \
      "replica,service,track,status")                                                             \
    X(FORWARD_RETRIES, BERTH_COUNTER, "berth_forward_retries_total",                              \
      "Of these, such as another replica had failed before.", "service")                          \
    X(FORWARD_UNRETRIED, BERTH_COUNTER, "berth_forward_retries_refused_total",                    \
      "Failed requests that were not tried again, as too many had been already.", "service")      \
    X(FORWARD_SECONDS, BERTH_HISTOGRAM, "berth_forward_duration_seconds",                         \
      "A request passed on until its answer's end, all tries together.", "service,track")         \
    X(FORWARD_IN_FLIGHT, BERTH_GAUGE, "berth_forward_in_flight",                                  \
      "Requests that a replica has now.", "replica,service,track")                                \
    X(FORWARD_BREAKER, BERTH_GAUGE, "berth_forward_breaker",                                      \
      "A replica's breaker: 0 closed, 1 one request lets see, 2 open.", "replica,service,track")  \
    X(MSVC_LEADER, BERTH_GAUGE, "berth_modelservice_leader",                                      \
      "1 of an operator that is at work, 0 of one that stands by.", "")                           \
    X(MSVC_SYNCED, BERTH_GAUGE, "berth_modelservice_synced",                                      \
      "1 when all that the operator watches is known.", "")                                       \
    X(MSVC_SERVICES, BERTH_GAUGE, "berth_modelservice_services",                                  \
      "ModelServices that the operator looks after.", "")                                         \
    X(MSVC_READY, BERTH_GAUGE, "berth_modelservice_services_by_ready",                            \
      "Of these, such as are ready: true, false, unknown while they do not say.", "ready")        \
    X(MSVC_WAITING, BERTH_GAUGE, "berth_modelservice_waiting",                                    \
      "Of these, such as are to be looked at, now or later.", "")                                 \
    X(MSVC_RECONCILES, BERTH_COUNTER, "berth_modelservice_reconciles_total",                      \
      "Looks at ModelServices: done, failed.", "result")                                          \
    X(MSVC_WRITES, BERTH_COUNTER, "berth_modelservice_writes_total",                              \
      "What was written for ModelServices: apply, delete, status.", "kind")                       \
    X(MSVC_EVENTS, BERTH_COUNTER, "berth_modelservice_events_total",                              \
      "Events of ModelServices: sent, failed, dropped for want of room.", "result")               \
    X(MSVC_API_CALLS, BERTH_COUNTER, "berth_modelservice_api_calls_total",                        \
      "Calls of the operator to the API server, watches and the lease's included.", "")           \
    X(MSVC_API_RETRIES, BERTH_COUNTER, "berth_modelservice_api_retries_total",                    \
      "Of these, such as were made again.", "")                                                   \
    X(MSVC_API_ANSWERS, BERTH_COUNTER, "berth_modelservice_api_answers_total",                    \
      "What the API server answered; code none: nothing.", "verb,resource,code")                  \
    X(MSVC_API_SECONDS, BERTH_HISTOGRAM, "berth_modelservice_api_answer_duration_seconds",        \
      "Time until a call was answered; of watches none.", "verb")                                 \
    X(CONNECTIONS, BERTH_GAUGE, "berth_connections", "Open client connections.", "")              \
    X(MEMORY, BERTH_GAUGE, "berth_memory_resident_bytes", "Resident memory of the server.", "")   \
    X(HEAP, BERTH_GAUGE, "berth_heap_bytes",                                                      \
      "Memory of the server's allocator: used by the server and its engines, kept for later.",    \
      "kind")                                                                                     \
    X(CPU_SECONDS, BERTH_COUNTER_REAL, "berth_cpu_seconds_total",                                 \
      "Processor time used by the server.", "")                                                   \
    X(UPTIME, BERTH_GAUGE, "berth_uptime_seconds", "Time since start.", "")

#endif
