#include <string.h>

#include "api/api_priv.h"
#include "api/fields.h"
#include "api/v2_models.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "infer/model.h"
#include "infer/registry.h"

/* The Open Inference Protocol's metadata, health and, as Triton has it, repository and
 * configuration. */

static struct berth_jw
begin(struct berth_call *c, struct berth_buf *b)
{
    struct berth_jw w;

    berth_buf_init(b, c->arena);
    berth_jw_init(&w, b);
    return w;
}

const char *const berth_v2_extensions[] = {
    "binary_tensor_data",  "classification",       "generate",
    "model_configuration", "model_repository",     "parameters",
    "statistics",          "system_shared_memory", NULL};

void
berth_v2_server(struct berth_call *c)
{
    struct berth_buf b;
    struct berth_jw w = begin(c, &b);

    berth_jw_object(&w);
    berth_jw_pair(&w, "name", "berth");
    berth_jw_pair(&w, "version", c->api->conf.version);
    berth_jw_key(&w, "extensions");
    berth_jw_array(&w);
    for (size_t i = 0; berth_v2_extensions[i] != NULL; i++)
        berth_jw_string(&w, berth_v2_extensions[i]);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

static void
reply_bool(struct berth_call *c, uint16_t status, const char *key, bool value)
{
    struct berth_buf b;
    struct berth_jw w = begin(c, &b);

    berth_jw_object(&w);
    berth_jw_key(&w, key);
    berth_jw_bool(&w, value);
    berth_jw_object_end(&w);
    berth_call_json(c, status, &b);
}

void
berth_v2_live(struct berth_call *c)
{
    reply_bool(c, 200, "live", true);
}

/* Ready without any model, for models come later; but not while none of those registered serves. */
bool
berth_v2_is_ready(const struct berth_call *c)
{
    const struct berth_registry_counts n = berth_registry_counts(c->api->conf.registry);
    const struct berth_api_conf *conf = &c->api->conf;
    const bool stopping = conf->stopping != NULL && atomic_load(conf->stopping),
               starting = conf->starting != NULL && atomic_load(conf->starting);

    return !stopping && !starting && (n.registered == 0 || n.ready > 0 || n.on_demand > 0);
}

void
berth_v2_ready(struct berth_call *c)
{
    const bool ready = berth_v2_is_ready(c);

    if (!ready)
        c->reply.retry_after_s = 1;
    reply_bool(c, ready ? 200 : 503, "ready", ready);
}

/* ---- one model ---- */

bool
berth_v2_is_version(const struct berth_model_version_info *v, struct berth_slice name)
{
    for (size_t i = 0; i < v->label_count; i++) {
        if (berth_slice_is(name, v->labels[i]))
            return true;
    }
    return berth_slice_is(name, v->version);
}

const struct berth_model_version_info *
berth_v2_find_version(struct berth_call *c, struct berth_model_info *m)
{
    struct berth_err e;
    const int r = berth_registry_info(c->api->conf.registry, c->arena, c->name, m, &e);
    const struct berth_model_version_info *last = NULL;

    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return NULL;
    }
    for (size_t i = 0; i < m->version_count; i++) {
        last = &m->versions[i];
        if (c->version.len > 0 ? berth_v2_is_version(last, c->version)
                               : strcmp(m->version, last->version) == 0)
            return last;
    }
    if (c->version.len == 0 && last != NULL)
        return last; /* none serves: the newest one's state is what there is to tell */
    (void)berth_err_set(&e, BERTH_ENOENT, "Request for unknown model: '%s' %s%.*s is not found",
                        m->name, c->version.len > 0 ? "version " : "has no version; it",
                        (int)c->version.len, c->version.at);
    berth_call_fail(c, -BERTH_ENOENT, NULL, e.msg);
    return NULL;
}

static void
put_specs(struct berth_jw *w, const char *key, const struct berth_tensor_spec *specs, size_t n)
{
    berth_jw_key(w, key);
    berth_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        berth_jw_object(w);
        berth_jw_pair(w, "name", specs[i].name);
        berth_jw_pair(w, "datatype", berth_dtype_name(specs[i].dtype));
        berth_jw_key(w, "shape");
        berth_jw_array(w);
        for (uint32_t k = 0; k < specs[i].rank; k++)
            berth_jw_int(w, specs[i].shape[k]);
        berth_jw_array_end(w);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

void
berth_v2_fail_not_ready(struct berth_call *c, const struct berth_model_info *m,
                        const struct berth_model_version_info *v)
{
    struct berth_err e;

    (void)berth_err_set(&e, BERTH_ENOTREADY, "model '%s' version %s is %s%s%s", m->name, v->version,
                        berth_model_state_name(v->state), v->why[0] != '\0' ? ": " : "", v->why);
    berth_call_fail(c, -BERTH_ENOTREADY, NULL, e.msg);
}

void
berth_v2_model(struct berth_call *c)
{
    struct berth_model_info m;
    const struct berth_model_version_info *v = berth_v2_find_version(c, &m);
    struct berth_buf b;

    if (v == NULL)
        return;
    if (v->describe == NULL) {
        berth_v2_fail_not_ready(c, &m, v);
        return;
    }
    struct berth_jw w = begin(c, &b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "name", m.name);
    berth_jw_key(&w, "versions");
    berth_jw_array(&w);
    for (size_t i = 0; i < m.version_count; i++)
        berth_jw_string(&w, m.versions[i].version);
    berth_jw_array_end(&w);
    berth_jw_pair(&w, "platform", v->describe->platform);
    put_specs(&w, "inputs", v->describe->inputs, v->describe->input_count);
    put_specs(&w, "outputs", v->describe->outputs, v->describe->output_count);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

void
berth_v2_model_ready(struct berth_call *c)
{
    struct berth_model_info m;
    const struct berth_model_version_info *v = berth_v2_find_version(c, &m);
    struct berth_buf b;

    if (v == NULL)
        return;
    /* Ready is what answers: also what is loaded when a request comes. */
    if (v->state != BERTH_MODEL_READY && !v->on_demand) {
        berth_v2_fail_not_ready(c, &m, v);
        return;
    }
    struct berth_jw w = begin(c, &b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "name", m.name);
    berth_jw_key(&w, "ready");
    berth_jw_bool(&w, true);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

/* Triton's model configuration, as far as it means something here.  Its shapes leave out the batch
 * dimension when max_batch_size is not 0. */
static void
put_config_specs(struct berth_jw *w, const char *key, const struct berth_tensor_spec *specs,
                 size_t n, bool batched)
{
    berth_jw_key(w, key);
    berth_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        berth_jw_object(w);
        berth_jw_pair(w, "name", specs[i].name);
        berth_jw_key(w, "data_type");
        if (specs[i].dtype == BERTH_BYTES) {
            berth_jw_string(w, "TYPE_STRING");
        } else {
            char text[16];
            (void)snprintf(text, sizeof text, "TYPE_%s", berth_dtype_name(specs[i].dtype));
            berth_jw_string(w, text);
        }
        berth_jw_key(w, "dims");
        berth_jw_array(w);
        for (uint32_t k = batched ? 1 : 0; k < specs[i].rank; k++)
            berth_jw_int(w, specs[i].shape[k]);
        berth_jw_array_end(w);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
put_queue_policy(struct berth_jw *w, const struct berth_queue_policy *p)
{
    berth_jw_object(w);
    berth_jw_pair(w, "timeout_action", p->delay ? "DELAY" : "REJECT");
    berth_jw_pair_uint(w, "default_timeout_microseconds", p->timeout_ns / 1000);
    berth_jw_key(w, "allow_timeout_override");
    berth_jw_bool(w, p->allow_override);
    berth_jw_pair_uint(w, "max_queue_size", p->queue_len_max);
    berth_jw_object_end(w);
}

/* As Triton's ModelDynamicBatching. */
static void
put_dynamic_batching(struct berth_jw *w, const struct berth_batch_conf *b)
{
    char level[8];

    berth_jw_key(w, "dynamic_batching");
    berth_jw_object(w);
    berth_jw_key(w, "preferred_batch_size");
    berth_jw_array(w);
    for (uint32_t i = 0; i < b->preferred_len; i++)
        berth_jw_uint(w, b->preferred[i]);
    berth_jw_array_end(w);
    berth_jw_pair_uint(w, "max_queue_delay_microseconds", b->wait_ns_max / 1000);
    berth_jw_pair_uint(w, "priority_levels", b->priority_levels);
    berth_jw_pair_uint(w, "default_priority_level", b->priority_default);
    if (b->priority_levels == 0) {
        berth_jw_key(w, "default_queue_policy");
        put_queue_policy(w, &b->policies[0]);
    } else {
        berth_jw_key(w, "priority_queue_policy");
        berth_jw_object(w);
        for (uint32_t i = 0; i < b->priority_levels; i++) {
            (void)snprintf(level, sizeof level, "%u", i + 1);
            berth_jw_key(w, level);
            put_queue_policy(w, &b->policies[i]);
        }
        berth_jw_object_end(w);
    }
    berth_jw_object_end(w);
}

uint32_t
berth_v2_batch_max(const struct berth_model_info *m, const struct berth_model_version_info *v)
{
    const struct berth_describe *d = v->describe;

    if (d->batch_rows_max <= 1 || d->input_count == 0)
        return 0;
    return d->batch_rows_max < m->batch.batch_requests_max ? d->batch_rows_max
                                                           : m->batch.batch_requests_max;
}

void
berth_v2_config(struct berth_call *c)
{
    struct berth_model_info m;
    const struct berth_model_version_info *v = berth_v2_find_version(c, &m);
    struct berth_buf b;

    if (v == NULL)
        return;
    if (v->describe == NULL) {
        berth_v2_fail_not_ready(c, &m, v);
        return;
    }
    const struct berth_describe *d = v->describe;
    const bool batched = berth_v2_batch_max(&m, v) > 0;
    struct berth_jw w = begin(c, &b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "name", m.name);
    berth_jw_pair(&w, "platform", d->platform);
    berth_jw_pair(&w, "backend", m.backend);
    berth_jw_pair_uint(&w, "max_batch_size", berth_v2_batch_max(&m, v));
    put_config_specs(&w, "input", d->inputs, d->input_count, batched);
    put_config_specs(&w, "output", d->outputs, d->output_count, batched);
    put_dynamic_batching(&w, &m.batch);
    berth_jw_key(&w, "instance_group");
    berth_jw_array(&w);
    berth_jw_object(&w);
    berth_jw_pair_uint(&w, "count", v->instances);
    berth_jw_pair(&w, "kind", "KIND_CPU");
    berth_jw_object_end(&w);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

/* ---- the repository ---- */

const char *
berth_v2_state(enum berth_model_state s)
{
    switch (s) {
    case BERTH_MODEL_READY:
        return "READY";
    case BERTH_MODEL_LOADING:
        return "LOADING";
    case BERTH_MODEL_DRAINING:
        return "UNLOADING";
    case BERTH_MODEL_UNLOADED:
    case BERTH_MODEL_FAILED:
    case BERTH_MODEL_STATE_COUNT:
        break;
    }
    return "UNAVAILABLE";
}

const char *
berth_v2_reason(enum berth_model_state s, const char *why)
{
    return s == BERTH_MODEL_UNLOADED && why[0] == '\0' ? "unloaded" : why;
}

static void
put_index(struct berth_jw *w, const char *name, const char *version, enum berth_model_state s,
          const char *why)
{
    berth_jw_object(w);
    berth_jw_pair(w, "name", name);
    if (version[0] != '\0')
        berth_jw_pair(w, "version", version);
    berth_jw_pair(w, "state", berth_v2_state(s));
    berth_jw_pair(w, "reason", berth_v2_reason(s, why));
    berth_jw_object_end(w);
}

void
berth_v2_index(struct berth_call *c)
{
    struct berth_model_info *all;
    struct berth_err e;
    struct berth_buf b;
    bool only_ready = false;
    size_t n;
    int r;

    if (c->x->body.len > 0 && !berth_call_body(c))
        return;
    struct berth_fields f = berth_fields(c->body, "", &e);
    if ((r = berth_field_bool(&f, "ready", &only_ready)) < 0 ||
        (r = berth_registry_list(c->api->conf.registry, c->arena, &all, &n, &e)) < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    struct berth_jw w = begin(c, &b);
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        const struct berth_model_info *m = &all[i];

        for (size_t k = 0; k < m->version_count; k++) {
            if (!only_ready || m->versions[k].state == BERTH_MODEL_READY)
                put_index(&w, m->name, m->versions[k].version, m->versions[k].state,
                          m->versions[k].why);
        }
        if (m->version_count == 0 && !only_ready)
            put_index(&w, m->name, "", m->state, m->why);
    }
    berth_jw_array_end(&w);
    berth_call_json(c, 200, &b);
}

static void
change(struct berth_call *c,
       int (*how)(struct berth_registry *g, struct berth_slice name, struct berth_err *e))
{
    struct berth_err e;
    const int r = how(c->api->conf.registry, c->name, &e);

    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_call_reply(c, 200, "application/json", "{}", 2);
}

void
berth_v2_load(struct berth_call *c)
{
    change(c, berth_registry_load);
}

void
berth_v2_unload(struct berth_call *c)
{
    change(c, berth_registry_unload);
}
