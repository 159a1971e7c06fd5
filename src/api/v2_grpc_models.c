#include <string.h>

#include <proto/inference.pb-c.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "api/grpc_pb.h"
#include "api/v2_grpc.h"
#include "api/v2_models.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "infer/registry.h"

/* inference.GRPCInferenceService: the server, its models and the repository. */

typedef Inference__ModelMetadataResponse__TensorMetadata TensorMetadata;

static void
no_memory(struct berth_grpc *g)
{
    berth_grpc_end(g, -BERTH_ENOMEM, "the answer is larger than the request's memory limit");
}

/* An array of n pointers to messages that lie one behind the other, each of `size` bytes; NULL: no
 * memory.  protobuf-c has repeated messages in this form. */
static void *
messages(struct berth_arena *a, size_t n, size_t size)
{
    char **list = BERTH_NEW_N(a, char *, n + 1);
    char *at = berth_arena_alloc_n(a, n, size);

    for (size_t i = 0; i < n && list != NULL && at != NULL; i++)
        list[i] = at + i * size;
    return at != NULL ? list : NULL;
}

/* ---- the server ---- */

void
berth_v2_grpc_server_live(struct berth_grpc *g, struct berth_slice message)
{
    Inference__ServerLiveResponse answer = INFERENCE__SERVER_LIVE_RESPONSE__INIT;

    answer.live = true;
    berth_grpc_reply_pb(g, &answer.base);
}

void
berth_v2_grpc_server_ready(struct berth_grpc *g, struct berth_slice message)
{
    Inference__ServerReadyResponse answer = INFERENCE__SERVER_READY_RESPONSE__INIT;

    answer.ready = berth_v2_is_ready(berth_grpc_call(g));
    berth_grpc_reply_pb(g, &answer.base);
}

void
berth_v2_grpc_server_metadata(struct berth_grpc *g, struct berth_slice message)
{
    Inference__ServerMetadataResponse answer = INFERENCE__SERVER_METADATA_RESPONSE__INIT;

    answer.name = berth_pb_text("berth");
    answer.version = berth_pb_text(berth_grpc_api(g)->conf.version);
    answer.extensions = (char **)(uintptr_t)berth_v2_extensions;
    while (berth_v2_extensions[answer.n_extensions] != NULL)
        answer.n_extensions++;
    berth_grpc_reply_pb(g, &answer.base);
}

/* ---- one model ---- */

/* Let c mean the model of a request. */
static void
name(struct berth_call *c, const char *model, const char *version)
{
    c->name = berth_slice_of(model);
    c->version = berth_slice_of(version);
}

void
berth_v2_grpc_model_ready(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__ModelReadyRequest *asked =
        berth_grpc_unpack(g, &inference__model_ready_request__descriptor, message);
    Inference__ModelReadyResponse answer = INFERENCE__MODEL_READY_RESPONSE__INIT;
    struct berth_model_info m;
    struct berth_err e;

    if (asked == NULL)
        return;
    /* An unknown model is not ready: so Triton, and so its clients' is_model_ready(). */
    if (berth_registry_info(c->api->conf.registry, c->arena, berth_slice_of(asked->name), &m, &e) ==
        0) {
        for (size_t i = 0; i < m.version_count; i++) {
            if (asked->version[0] == '\0' ||
                berth_v2_is_version(&m.versions[i], berth_slice_of(asked->version)))
                answer.ready |= m.versions[i].state == BERTH_MODEL_READY || m.versions[i].on_demand;
        }
    }
    berth_grpc_reply_pb(g, &answer.base);
}

static TensorMetadata **
tensors(struct berth_arena *a, const struct berth_tensor_spec *specs, size_t n)
{
    TensorMetadata **list = messages(a, n, sizeof **list);

    for (size_t i = 0; list != NULL && i < n; i++) {
        inference__model_metadata_response__tensor_metadata__init(list[i]);
        list[i]->name = berth_pb_text(specs[i].name);
        list[i]->datatype = berth_pb_text(berth_dtype_name(specs[i].dtype));
        list[i]->n_shape = specs[i].rank;
        list[i]->shape = (int64_t *)(uintptr_t)specs[i].shape;
    }
    return list;
}

void
berth_v2_grpc_model_metadata(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__ModelMetadataRequest *asked =
        berth_grpc_unpack(g, &inference__model_metadata_request__descriptor, message);
    Inference__ModelMetadataResponse answer = INFERENCE__MODEL_METADATA_RESPONSE__INIT;
    const struct berth_model_version_info *v;
    struct berth_model_info m;

    if (asked == NULL)
        return;
    name(c, asked->name, asked->version);
    if ((v = berth_v2_find_version(c, &m)) == NULL)
        return;
    if (v->describe == NULL) {
        berth_v2_fail_not_ready(c, &m, v);
        return;
    }
    answer.name = berth_pb_text(m.name);
    answer.platform = berth_pb_text(v->describe->platform);
    answer.versions = BERTH_NEW_N(c->arena, char *, m.version_count);
    answer.inputs = tensors(c->arena, v->describe->inputs, v->describe->input_count);
    answer.outputs = tensors(c->arena, v->describe->outputs, v->describe->output_count);
    if (answer.versions == NULL || answer.inputs == NULL || answer.outputs == NULL) {
        no_memory(g);
        return;
    }
    for (size_t i = 0; i < m.version_count; i++)
        answer.versions[i] = berth_pb_text(m.versions[i].version);
    answer.n_versions = m.version_count;
    answer.n_inputs = v->describe->input_count;
    answer.n_outputs = v->describe->output_count;
    berth_grpc_reply_pb(g, &answer.base);
}

/* ---- configuration ---- */

static Inference__DataType
data_type(enum berth_dtype d)
{
    static const Inference__DataType types[BERTH_DTYPE_COUNT] = {
        [BERTH_BOOL] = INFERENCE__DATA_TYPE__TYPE_BOOL,
        [BERTH_UINT8] = INFERENCE__DATA_TYPE__TYPE_UINT8,
        [BERTH_UINT16] = INFERENCE__DATA_TYPE__TYPE_UINT16,
        [BERTH_UINT32] = INFERENCE__DATA_TYPE__TYPE_UINT32,
        [BERTH_UINT64] = INFERENCE__DATA_TYPE__TYPE_UINT64,
        [BERTH_INT8] = INFERENCE__DATA_TYPE__TYPE_INT8,
        [BERTH_INT16] = INFERENCE__DATA_TYPE__TYPE_INT16,
        [BERTH_INT32] = INFERENCE__DATA_TYPE__TYPE_INT32,
        [BERTH_INT64] = INFERENCE__DATA_TYPE__TYPE_INT64,
        [BERTH_FP16] = INFERENCE__DATA_TYPE__TYPE_FP16,
        [BERTH_BF16] = INFERENCE__DATA_TYPE__TYPE_BF16,
        [BERTH_FP32] = INFERENCE__DATA_TYPE__TYPE_FP32,
        [BERTH_FP64] = INFERENCE__DATA_TYPE__TYPE_FP64,
        [BERTH_BYTES] = INFERENCE__DATA_TYPE__TYPE_STRING,
    };

    return types[d];
}

/* Triton's shapes leave out the batch dimension when max_batch_size is not 0. */
static bool
put_tensors(struct berth_arena *a, const struct berth_describe *d, bool batched,
            Inference__ModelConfig *to)
{
    const size_t skip = batched ? 1 : 0;

    to->input = messages(a, d->input_count, sizeof **to->input);
    to->output = messages(a, d->output_count, sizeof **to->output);
    if (to->input == NULL || to->output == NULL)
        return false;
    for (size_t i = 0; i < d->input_count; i++) {
        const struct berth_tensor_spec *s = &d->inputs[i];
        inference__model_input__init(to->input[i]);
        to->input[i]->name = berth_pb_text(s->name);
        to->input[i]->data_type = data_type(s->dtype);
        to->input[i]->n_dims = s->rank > skip ? s->rank - skip : 0;
        to->input[i]->dims = (int64_t *)(uintptr_t)(s->shape + skip);
    }
    for (size_t i = 0; i < d->output_count; i++) {
        const struct berth_tensor_spec *s = &d->outputs[i];
        inference__model_output__init(to->output[i]);
        to->output[i]->name = berth_pb_text(s->name);
        to->output[i]->data_type = data_type(s->dtype);
        to->output[i]->n_dims = s->rank > skip ? s->rank - skip : 0;
        to->output[i]->dims = (int64_t *)(uintptr_t)(s->shape + skip);
    }
    to->n_input = d->input_count;
    to->n_output = d->output_count;
    return true;
}

typedef Inference__ModelDynamicBatching__PriorityQueuePolicyEntry policy_entry;

static void
put_policy(Inference__ModelQueuePolicy *to, const struct berth_queue_policy *p)
{
    inference__model_queue_policy__init(to);
    to->timeout_action = p->delay ? INFERENCE__MODEL_QUEUE_POLICY__TIMEOUT_ACTION__DELAY
                                  : INFERENCE__MODEL_QUEUE_POLICY__TIMEOUT_ACTION__REJECT;
    to->default_timeout_microseconds = p->timeout_ns / 1000;
    to->allow_timeout_override = p->allow_override;
    to->max_queue_size = p->queue_len_max;
}

/* How requests wait.  b stays until the answer is sent.  False: no memory. */
static bool
put_batching(struct berth_arena *a, const struct berth_batch_conf *b,
             Inference__ModelDynamicBatching *to)
{
    const uint32_t n = b->priority_levels;
    Inference__ModelQueuePolicy *policies = BERTH_NEW_N(a, Inference__ModelQueuePolicy, n + 1);
    policy_entry *entries = BERTH_NEW_N(a, policy_entry, n + 1);
    policy_entry **list = BERTH_NEW_N(a, policy_entry *, n + 1);

    if (policies == NULL || entries == NULL || list == NULL)
        return false;
    to->max_queue_delay_microseconds = b->wait_ns_max / 1000;
    to->preferred_batch_size = (int32_t *)(uintptr_t)b->preferred; /* small numbers */
    to->n_preferred_batch_size = b->preferred_len;
    to->priority_levels = n;
    to->default_priority_level = b->priority_default;
    put_policy(&policies[n], &b->policies[0]);
    if (n == 0)
        to->default_queue_policy = &policies[n];
    for (uint32_t i = 0; i < n; i++) {
        put_policy(&policies[i], &b->policies[i]);
        inference__model_dynamic_batching__priority_queue_policy_entry__init(&entries[i]);
        entries[i].key = i + 1;
        entries[i].value = &policies[i];
        list[i] = &entries[i];
    }
    to->priority_queue_policy = list;
    to->n_priority_queue_policy = n;
    return true;
}

void
berth_v2_grpc_model_config(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__ModelConfigRequest *asked =
        berth_grpc_unpack(g, &inference__model_config_request__descriptor, message);
    Inference__ModelConfigResponse answer = INFERENCE__MODEL_CONFIG_RESPONSE__INIT;
    Inference__ModelConfig config = INFERENCE__MODEL_CONFIG__INIT;
    Inference__ModelInstanceGroup group = INFERENCE__MODEL_INSTANCE_GROUP__INIT, *groups = &group;
    Inference__ModelDynamicBatching batching = INFERENCE__MODEL_DYNAMIC_BATCHING__INIT;
    Inference__ModelTransactionPolicy policy = INFERENCE__MODEL_TRANSACTION_POLICY__INIT;
    const struct berth_model_version_info *v;
    struct berth_model_info m;

    if (asked == NULL)
        return;
    name(c, asked->name, asked->version);
    if ((v = berth_v2_find_version(c, &m)) == NULL)
        return;
    if (v->describe == NULL) {
        berth_v2_fail_not_ready(c, &m, v);
        return;
    }
    config.name = berth_pb_text(m.name);
    config.platform = berth_pb_text(v->describe->platform);
    config.backend = berth_pb_text(m.backend);
    config.max_batch_size = (int32_t)berth_v2_batch_max(&m, v);
    config.dynamic_batching = &batching;
    group.count = (int32_t)v->instances;
    group.kind = INFERENCE__MODEL_INSTANCE_GROUP__KIND__KIND_CPU;
    config.n_instance_group = 1;
    config.instance_group = &groups;
    policy.decoupled = (v->describe->tasks & BERTH_TASK_TENSOR) == 0;
    config.model_transaction_policy = &policy;
    answer.config = &config;
    if (put_tensors(c->arena, v->describe, config.max_batch_size > 0, &config) &&
        put_batching(c->arena, &m.batch, &batching))
        berth_grpc_reply_pb(g, &answer.base);
    else
        no_memory(g);
}

/* ---- the repository ---- */

static void
put_index(Inference__RepositoryIndexResponse__ModelIndex *to, const char *model,
          const char *version, enum berth_model_state s, const char *why)
{
    inference__repository_index_response__model_index__init(to);
    to->name = berth_pb_text(model);
    to->version = berth_pb_text(version);
    to->state = berth_pb_text(berth_v2_state(s));
    to->reason = berth_pb_text(berth_v2_reason(s, why));
}

void
berth_v2_grpc_index(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__RepositoryIndexRequest *asked =
        berth_grpc_unpack(g, &inference__repository_index_request__descriptor, message);
    Inference__RepositoryIndexResponse answer = INFERENCE__REPOSITORY_INDEX_RESPONSE__INIT;
    struct berth_model_info *all;
    struct berth_err e;
    size_t n, rows = 0;
    int r;

    if (asked == NULL)
        return;
    r = berth_registry_list(c->api->conf.registry, c->arena, &all, &n, &e);
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    for (size_t i = 0; i < n; i++)
        rows += all[i].version_count > 0 ? all[i].version_count : 1;
    answer.models = messages(c->arena, rows, sizeof **answer.models);
    if (answer.models == NULL) {
        no_memory(g);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct berth_model_info *m = &all[i];

        for (size_t k = 0; k < m->version_count; k++) {
            if (!asked->ready || m->versions[k].state == BERTH_MODEL_READY)
                put_index(answer.models[answer.n_models++], m->name, m->versions[k].version,
                          m->versions[k].state, m->versions[k].why);
        }
        if (m->version_count == 0 && !asked->ready)
            put_index(answer.models[answer.n_models++], m->name, "", m->state, m->why);
    }
    berth_grpc_reply_pb(g, &answer.base);
}

void
berth_v2_grpc_load(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__RepositoryModelLoadRequest *asked =
        berth_grpc_unpack(g, &inference__repository_model_load_request__descriptor, message);
    Inference__RepositoryModelLoadResponse answer = INFERENCE__REPOSITORY_MODEL_LOAD_RESPONSE__INIT;
    struct berth_err e;
    int r;

    if (asked == NULL)
        return;
    if (asked->n_parameters > 0) {
        berth_grpc_end(g, -BERTH_EUNSUPPORTED,
                       "parameters: a load takes none here; register the model with its config");
        return;
    }
    r = berth_registry_load(c->api->conf.registry, berth_slice_of(asked->model_name), &e);
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_grpc_reply_pb(g, &answer.base);
}

void
berth_v2_grpc_unload(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__RepositoryModelUnloadRequest *asked =
        berth_grpc_unpack(g, &inference__repository_model_unload_request__descriptor, message);
    Inference__RepositoryModelUnloadResponse answer =
        INFERENCE__REPOSITORY_MODEL_UNLOAD_RESPONSE__INIT;
    struct berth_err e;
    int r;

    if (asked == NULL)
        return;
    r = berth_registry_unload(c->api->conf.registry, berth_slice_of(asked->model_name), &e);
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_grpc_reply_pb(g, &answer.base);
}
