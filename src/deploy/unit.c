#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/siphash.h"
#include "deploy/deploy_priv.h"
#include "deploy/route/balance.h"
#include "wire/json.h"

/* What an environment is to have: a spec, with what the steps have set. */

/* Values that make the unit, so that another value is another workload. */
static bool
makes_unit(const char *key)
{
    static const char *const keys[] = {"modelPath", "image", "command", "port",   "healthPath",
                                       "memory",    "cpu",   "caPath",  "keyPath"};

    if (strncmp(key, "env.", 4) == 0)
        return true;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i]) == 0)
            return true;
    }
    return false;
}

static int
by_key(const void *a, const void *b)
{
    const struct value *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

/* The spec's hash, and that of the values in the order of their keys. */
static const char *
unit_hash(struct berth_arena *a, const struct berth_spec *spec, const struct track *t)
{
    static const uint8_t key[BERTH_SIPHASH_KEY] = "berth unit hash";
    const struct value *sorted[VALUES_MAX];
    uint8_t bytes[BERTH_SIPHASH_BYTES];
    struct berth_siphash h;
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->value_count; i++) {
        if (makes_unit(t->values[i].key))
            sorted[n++] = &t->values[i];
    }
    qsort(sorted, n, sizeof sorted[0], by_key);
    berth_siphash_init(&h, key);
    berth_siphash_put(&h, spec->hash, sizeof spec->hash);
    for (uint32_t i = 0; i < n; i++) {
        berth_siphash_put(&h, sorted[i]->key, strlen(sorted[i]->key) + 1);
        berth_siphash_put(&h, sorted[i]->text, strlen(sorted[i]->text) + 1);
    }
    berth_siphash_end(&h, bytes);
    return berth_arena_printf(a, "%02x%02x%02x%02x%02x%02x%02x%02x", bytes[0], bytes[1], bytes[2],
                              bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]);
}

static int
no_memory(const struct berth_deployment *x, struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "service %s: its unit takes more memory than it may",
                         x->s->id);
}

/* A JSON array of texts as a NULL-ended list. */
static int
read_command(struct berth_deployment *x, const char *json, struct berth_err *e)
{
    const struct berth_json *v;
    int r = berth_json_parse(&x->arena, json, strlen(json), NULL, &v, e);

    if (r < 0)
        return berth_err_wrap(e, r, "the value \"command\"");
    const size_t n = berth_json_len(v);
    const char **list = BERTH_NEW_N(&x->arena, const char *, n + 1);
    if (list == NULL)
        return no_memory(x, e);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        struct berth_slice text;
        if (!berth_json_string(it.value, &text))
            return berth_err_set(e, BERTH_EINVAL,
                                 "the value \"command\" should be an array of "
                                 "texts");
        list[it.index] = text.at;
    }
    x->unit.command = n > 0 ? list : NULL;
    return 0;
}

static size_t
count_of(const char *const *list)
{
    size_t n = 0;

    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

/* The command line of the spec: command, then args. */
static int
join_command(struct berth_deployment *x, const struct berth_spec *spec, struct berth_err *e)
{
    const size_t n = count_of(spec->command), m = count_of(spec->args);

    if (n == 0)
        return 0; /* args alone are for whoever renders the command */
    const char **list = BERTH_NEW_N(&x->arena, const char *, n + m + 1);
    if (list == NULL)
        return no_memory(x, e);
    memcpy(list, spec->command, n * sizeof *list);
    if (m > 0)
        memcpy(list + n, spec->args, m * sizeof *list);
    x->unit.command = list;
    return 0;
}

/* The user's environment variables win over those that steps have set. */
static int
join_env(struct berth_deployment *x, const struct berth_spec *spec, const struct track *t,
         struct berth_err *e)
{
    struct berth_pair *env =
        BERTH_NEW_N(&x->arena, struct berth_pair, spec->env_count + t->value_count + 1);
    size_t n = 0;

    if (env == NULL)
        return no_memory(x, e);
    for (uint32_t i = 0; i < t->value_count; i++) {
        const char *key = t->values[i].key;
        bool given = strncmp(key, "env.", 4) != 0;
        for (size_t k = 0; k < spec->env_count && !given; k++)
            given = strcmp(spec->env[k].key, key + 4) == 0;
        if (!given)
            env[n++] = (struct berth_pair){key + 4, t->values[i].text};
    }
    for (size_t k = 0; k < spec->env_count; k++)
        env[n++] = spec->env[k];
    x->unit.env = env;
    x->unit.env_count = n;
    return 0;
}

static int
apply_values(struct berth_deployment *x, const struct track *t, struct berth_err *e)
{
    struct berth_unit *u = &x->unit;
    const char *text;
    int r = 0;

    if ((text = berth_values_get(t, "modelPath")) != NULL)
        u->model_path = text;
    if ((text = berth_values_get(t, "image")) != NULL)
        u->image = text;
    if ((text = berth_values_get(t, "healthPath")) != NULL)
        u->health_path = text;
    u->ca_path = berth_values_get(t, "caPath");
    u->key_path = berth_values_get(t, "keyPath");
    if ((text = berth_values_get(t, "port")) != NULL)
        u->port = (uint16_t)strtoul(text, NULL, 10);
    if ((text = berth_values_get(t, "memory")) != NULL)
        r = berth_quantity_bytes(text, &u->memory_bytes, e);
    if (r == 0 && (text = berth_values_get(t, "cpu")) != NULL)
        r = berth_quantity_cpu(text, &u->cpu_milli, e);
    if (r == 0 && (text = berth_values_get(t, "command")) != NULL)
        r = read_command(x, text, e);
    return r;
}

int
berth_deployment_unit(struct berth_deployment *x, struct berth_err *e)
{
    const struct berth_spec *spec = &x->revision->spec;
    const struct track *t = &x->s->tracks[x->which];
    int r;

    if (x->unit_made)
        return 0;
    const bool canary = x->which == CANARY;
    x->unit = (struct berth_unit){
        .struct_size = sizeof x->unit,
        .name = berth_name_unit(x->s->id, berth_track_name((enum berth_track)x->which), &x->arena),
        .service_id = x->s->id,
        .track = berth_track_name((enum berth_track)x->which),
        .revision = x->revision->number,
        .hash = unit_hash(&x->arena, spec, t),
        .replicas = canary ? spec->canary_replicas : spec->replicas,
        .model_name = spec->model_name,
        .model_path = spec->model_file,
        .image = spec->image,
        .port = spec->port,
        .cpu_milli = spec->cpu_milli,
        .memory_bytes = spec->memory_bytes,
        .accelerator_count = spec->accelerator_count,
        .accelerator_resource = spec->accelerator_count > 0 ? spec->accelerator_resource : NULL,
        .accelerator_product = spec->accelerator_product,
        .health_path = spec->health_path != NULL ? spec->health_path : "/health",
        .start_timeout_ns = spec->start_timeout_ns,
        .drain_timeout_ns = spec->drain_timeout_ns,
        .surge_max = spec->strategy == BERTH_STRATEGY_RECREATE ? 0 : spec->surge_max,
        .unavailable_max =
            spec->strategy == BERTH_STRATEGY_RECREATE ? spec->replicas : spec->unavailable_max,
        .workload = spec->workload,
        .scale_min = canary ? 0 : spec->scale_min,
        .scale_max = canary ? 0 : spec->scale_max,
        .scale_cpu_percent = spec->scale_cpu_percent,
        .labels = spec->labels,
        .label_count = spec->label_count,
        .settings_json = spec->shimlet_json,
        .spec_json = spec->json,
    };
    if (x->unit.name == NULL || x->unit.hash == NULL)
        return no_memory(x, e);
    if ((r = join_command(x, spec, e)) < 0 || (r = apply_values(x, t, e)) < 0 ||
        (r = join_env(x, spec, t, e)) < 0)
        return r;
    x->unit_made = true;
    return 0;
}

int
berth_unit_suits(const struct berth_deployment *x, struct berth_err *e)
{
    const struct berth_shimlet_ops *ops = x->environ->ops;

    if (x->unit.ca_path == NULL && x->unit.key_path == NULL)
        return 0;
    for (size_t i = 0; BERTH_SHIMLET_HAS(ops, features) && ops->features[i] != NULL; i++) {
        if (strcmp(ops->features[i], "tls") == 0)
            return 0;
    }
    return berth_err_set(e, BERTH_EUNSUPPORTED,
                         "shimlet: %s reaches engines by plain HTTP alone; deploy to one with TLS, "
                         "such as process",
                         ops->name);
}
