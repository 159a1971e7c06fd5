#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "infer/batcher.h"
#include "infer/config_priv.h"

/* The key `batching` of a model's configuration. */

/* Whole numbers up to this are exact in a double, which JSON and YAML give. */
#define VALUE_MAX 9007199254740992.0
enum { TIMEOUT_MS_MAX = 86400000, LENGTH_MAX = 1 << 24 };

static int
get_mode(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    struct berth_slice text;
    bool on;

    if (berth_json_bool(v, &on)) {
        c->batch.mode = on ? BERTH_BATCHING_AUTO : BERTH_BATCHING_OFF;
    } else if (berth_json_string(v, &text)) {
        size_t i = 0;
        while (i <= BERTH_BATCHING_OFF &&
               !berth_slice_is(text, berth_batching_name((enum berth_batching)i)))
            i++;
        if (i > BERTH_BATCHING_OFF)
            return berth_config_bad("batching.mode", "auto, dynamic or off", 0, 0, v, e);
        c->batch.mode = (enum berth_batching)i;
    } else {
        return berth_config_bad("batching.mode", "auto, dynamic or off", 0, 0, v, e);
    }
    c->has_mode = true;
    return 0;
}

/* An ascending list of whole numbers. */
static int
get_sizes(const char *key, const struct berth_json *v, uint32_t max, uint32_t *ret, uint32_t cap,
          uint32_t *ret_len, struct berth_err *e)
{
    int r = 0;

    if (berth_json_type(v) != BERTH_JSON_ARRAY || berth_json_len(v) == 0 || berth_json_len(v) > cap)
        return berth_err_set(e, BERTH_EINVAL, "config.%s: expected a list of 1 to %u numbers", key,
                             cap);
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        r = berth_config_count(key, it.value, 1, max, &ret[it.index], e);
        if (r == 0 && it.index > 0 && ret[it.index] <= ret[it.index - 1])
            r = berth_err_set(e, BERTH_EINVAL,
                              "config.%s: each number must be larger than the one "
                              "before it",
                              key);
    }
    *ret_len = (uint32_t)berth_json_len(v);
    return r;
}

static int
get_action(const char *key, const struct berth_json *v, struct berth_queue_policy *p,
           struct berth_err *e)
{
    struct berth_slice text;

    if (!berth_json_string(v, &text) ||
        (!berth_slice_is_nocase(text, "reject") && !berth_slice_is_nocase(text, "delay")))
        return berth_config_bad(key, "reject or delay", 0, 0, v, e);
    p->delay = berth_slice_is_nocase(text, "delay");
    return 0;
}

static int
get_policy(const char *path, const struct berth_json *v, struct berth_queue_policy *ret,
           struct berth_err *e)
{
    struct berth_queue_policy p = {0};
    char key[128];
    int r = 0;

    if (berth_json_type(v) != BERTH_JSON_OBJECT)
        return berth_config_bad(path, "timeout_action, default_timeout_ms, ...", 0, 0, v, e);
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        (void)snprintf(key, sizeof key, "%s.%.64s", path, it.key.at);
        if (berth_slice_is(it.key, "timeout_action"))
            r = get_action(key, it.value, &p, e);
        else if (berth_slice_is(it.key, "default_timeout_ms"))
            r = berth_config_ms(key, it.value, TIMEOUT_MS_MAX, &p.timeout_ns, e);
        else if (berth_slice_is(it.key, "allow_timeout_override"))
            r = berth_config_bool(key, it.value, &p.allow_override, e);
        else if (berth_slice_is(it.key, "max_queue_size"))
            r = berth_config_count(key, it.value, 0, BERTH_QUEUE_LEN_MAX, &p.queue_len_max, e);
        else
            r = berth_config_unknown(path, it.key.at,
                                     "timeout_action, default_timeout_ms, "
                                     "allow_timeout_override, max_queue_size",
                                     e);
    }
    *ret = p;
    return r;
}

/* {"1": {...}, "3": {...}}: levels that have a policy of their own. */
static int
get_level_policies(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    char path[64];
    int r = 0;

    if (berth_json_type(v) != BERTH_JSON_OBJECT)
        return berth_config_bad("batching.priority_queue_policy", "policies by level", 0, 0, v, e);
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        int64_t level;
        if (!berth_int_parse(it.key.at, it.key.len, 1, BERTH_PRIORITIES_MAX, &level))
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.batching.priority_queue_policy: '%.32s' is no level; they "
                                 "are numbers from 1 to priority_levels",
                                 it.key.at);
        (void)snprintf(path, sizeof path, "batching.priority_queue_policy.%d", (int)level);
        r = get_policy(path, it.value, &c->batch.policies[level - 1], e);
        c->policy_levels |= UINT32_C(1) << (level - 1);
    }
    return r;
}

static const char *
get_name(struct berth_arena *a, const struct berth_json *v, const char *key)
{
    struct berth_slice text;

    if (!berth_json_string(berth_json_get(v, key), &text) || text.len == 0)
        return NULL;
    return berth_arena_strndup(a, text.at, text.len);
}

/* [{input, dim, value}, ..] */
static int
get_pad(struct berth_arena *a, const struct berth_json *v, struct berth_model_conf *c,
        struct berth_err *e)
{
    struct berth_pad_conf *p = &c->pad;
    int r = 0;

    if (berth_json_type(v) != BERTH_JSON_ARRAY || berth_json_len(v) > BERTH_PAD_INPUTS_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "config.batching.pad: expected a list of at most %d of {input, dim, "
                             "value}",
                             BERTH_PAD_INPUTS_MAX);
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        struct berth_pad_input in = {.name = get_name(a, it.value, "input"), .dim = 1};
        if (in.name == NULL)
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.batching.pad[%zu].input: expected an input's name",
                                 it.index);
        for (struct berth_json_iter m = berth_json_iter(it.value); r == 0 && berth_json_next(&m);) {
            if (berth_slice_is(m.key, "dim"))
                r = berth_config_count("batching.pad.dim", m.value, 1, BERTH_RANK_MAX - 1, &in.dim,
                                       e);
            else if (berth_slice_is(m.key, "value") &&
                     (!berth_json_real(m.value, &in.value) || in.value < -VALUE_MAX ||
                      in.value > VALUE_MAX))
                r = berth_config_bad("batching.pad.value", "a number", -VALUE_MAX, VALUE_MAX,
                                     m.value, e);
            else if (!berth_slice_is(m.key, "value") && !berth_slice_is(m.key, "input"))
                r = berth_config_unknown("batching.pad", m.key.at, "input, dim, value", e);
        }
        for (uint32_t k = 0; r == 0 && k < p->input_len; k++) {
            if (strcmp(p->inputs[k].name, in.name) == 0)
                r = berth_err_set(e, BERTH_EINVAL,
                                  "config.batching.pad: input '%.64s' is there twice", in.name);
        }
        p->inputs[p->input_len++] = in;
    }
    return r;
}

/* [{output, dim}, ..] */
static int
get_cut(struct berth_arena *a, const struct berth_json *v, struct berth_model_conf *c,
        struct berth_err *e)
{
    struct berth_pad_conf *p = &c->pad;
    int r = 0;

    if (berth_json_type(v) != BERTH_JSON_ARRAY || berth_json_len(v) > BERTH_PAD_CUTS_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "config.batching.cut: expected a list of at most %d of {output, dim}",
                             BERTH_PAD_CUTS_MAX);
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        struct berth_pad_cut cut = {.name = get_name(a, it.value, "output"), .dim = 1};
        if (cut.name == NULL)
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.batching.cut[%zu].output: expected an output's name",
                                 it.index);
        for (struct berth_json_iter m = berth_json_iter(it.value); r == 0 && berth_json_next(&m);) {
            if (berth_slice_is(m.key, "dim"))
                r = berth_config_count("batching.cut.dim", m.value, 0, BERTH_RANK_MAX - 1, &cut.dim,
                                       e);
            else if (!berth_slice_is(m.key, "output"))
                r = berth_config_unknown("batching.cut", m.key.at, "output, dim", e);
        }
        p->cuts[p->cut_len++] = cut;
    }
    return r;
}

static int
get_buckets(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    uint32_t sizes[BERTH_PAD_BUCKETS_MAX];
    int r = get_sizes("batching.length_buckets", v, LENGTH_MAX, sizes, BERTH_PAD_BUCKETS_MAX,
                      &c->pad.bucket_len, e);

    for (uint32_t i = 0; r == 0 && i < c->pad.bucket_len; i++)
        c->pad.buckets[i] = sizes[i];
    return r;
}

/* How long and how large. */
static int
get_size_key(const char *key, const struct berth_json *v, struct berth_model_conf *c,
             bool *ret_known, struct berth_err *e)
{
    struct berth_batch_conf *b = &c->batch;

    *ret_known = true;
    if (strcmp(key, "mode") == 0)
        return get_mode(v, c, e);
    if (strcmp(key, "max_batch_size") == 0) {
        c->has_batch_max = true;
        return berth_config_count("batching.max_batch_size", v, 1, BERTH_BATCH_MAX,
                                  &b->batch_requests_max, e);
    }
    if (strcmp(key, "max_wait_ms") == 0) {
        c->has_wait = true;
        return berth_config_ms("batching.max_wait_ms", v, 60000, &b->wait_ns_max, e);
    }
    if (strcmp(key, "queue_len") == 0) {
        c->has_queue = true;
        return berth_config_count("batching.queue_len", v, 1, BERTH_QUEUE_LEN_MAX,
                                  &b->queue_len_max, e);
    }
    if (strcmp(key, "preferred_batch_size") == 0)
        return get_sizes("batching.preferred_batch_size", v, 1 << 20, b->preferred,
                         BERTH_PREFERRED_MAX, &b->preferred_len, e);
    *ret_known = false;
    return 0;
}

/* Who goes first, and who goes at all. */
static int
get_queue_key(struct berth_arena *a, const char *key, const struct berth_json *v,
              struct berth_model_conf *c, struct berth_err *e)
{
    if (strcmp(key, "priority_levels") == 0)
        return berth_config_count("batching.priority_levels", v, 0, BERTH_PRIORITIES_MAX,
                                  &c->batch.priority_levels, e);
    if (strcmp(key, "default_priority_level") == 0)
        return berth_config_count("batching.default_priority_level", v, 1, BERTH_PRIORITIES_MAX,
                                  &c->batch.priority_default, e);
    if (strcmp(key, "queue_policy") == 0)
        return get_policy("batching.queue_policy", v, &c->policy, e);
    if (strcmp(key, "priority_queue_policy") == 0)
        return get_level_policies(v, c, e);
    if (strcmp(key, "pad") == 0)
        return get_pad(a, v, c, e);
    if (strcmp(key, "cut") == 0)
        return get_cut(a, v, c, e);
    if (strcmp(key, "length_buckets") == 0)
        return get_buckets(v, c, e);
    return berth_config_unknown("batching", key,
                                "mode, max_batch_size, max_wait_ms, queue_len, "
                                "preferred_batch_size, priority_levels, default_priority_level, "
                                "queue_policy, priority_queue_policy, pad, cut, length_buckets",
                                e);
}

int
berth_config_batching(struct berth_arena *a, const struct berth_json *v, struct berth_model_conf *c,
                      struct berth_err *e)
{
    int r = 0;

    if (berth_json_type(v) != BERTH_JSON_OBJECT)
        return get_mode(v, c, e);
    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        bool known;
        if (berth_json_type(it.value) == BERTH_JSON_NULL)
            continue;
        r = get_size_key(it.key.at, it.value, c, &known, e);
        if (r == 0 && !known)
            r = get_queue_key(a, it.key.at, it.value, c, e);
    }
    return r;
}

int
berth_config_batching_check(struct berth_model_conf *c, struct berth_err *e)
{
    struct berth_batch_conf *b = &c->batch;

    /* A wait that somebody set is meant. */
    if (!c->has_mode)
        b->mode = c->has_wait ? BERTH_BATCHING_DYNAMIC : BERTH_BATCHING_AUTO;
    if (b->mode == BERTH_BATCHING_OFF) {
        b->batch_requests_max = 1;
        b->wait_ns_max = 0;
        c->has_batch_max = c->has_wait = true;
    }
    if (b->priority_default == 0)
        b->priority_default = (b->priority_levels + 1) / 2;
    if (b->priority_levels > 0 && b->priority_default > b->priority_levels)
        return berth_err_set(e, BERTH_EINVAL,
                             "config.batching.default_priority_level: %u, but there are %u levels",
                             b->priority_default, b->priority_levels);
    if (b->priority_levels < 32 && c->policy_levels >> b->priority_levels != 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "config.batching.priority_queue_policy: a policy for a level beyond "
                             "priority_levels, which is %u",
                             b->priority_levels);
    for (uint32_t i = 0; i < BERTH_PRIORITIES_MAX; i++) {
        if ((c->policy_levels >> i & 1) == 0)
            b->policies[i] = c->policy;
    }
    if (c->pad.input_len == 0 && (c->pad.bucket_len > 0 || c->pad.cut_len > 0))
        return berth_err_set(e, BERTH_EINVAL,
                             "config.batching: length_buckets and cut need pad, which says what "
                             "inputs differ in length");
    return 0;
}
