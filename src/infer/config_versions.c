#include <string.h>

#include "base/num.h"
#include "infer/config_priv.h"

/* The key `versions` of a model's configuration. */

static const char expected[] =
    "latest, all, a list of numbers, or {latest | all | specific, labels, split}";

static int
get_list(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    if (berth_json_type(v) != BERTH_JSON_ARRAY || berth_json_len(v) == 0 ||
        berth_json_len(v) > BERTH_VERSIONS_MAX)
        return berth_config_bad("versions", expected, 0, 0, v, e);
    c->versions = BERTH_VERSIONS_LIST;
    c->version_len = 0;
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (!berth_json_uint(it.value, &c->version_list[c->version_len++]))
            return berth_config_bad("versions", expected, 0, 0, v, e);
    }
    return 0;
}

static bool
is_label(struct berth_slice s)
{
    bool digits = true;

    if (s.len == 0 || s.len >= BERTH_VERSION_NAME)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        const char c = s.at[i];
        const bool digit = c >= '0' && c <= '9', letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!digit && !letter && c != '-' && c != '_')
            return false;
        digits = digits && digit;
    }
    return !digits;
}

static int
get_labels(const struct berth_json *v, struct berth_version_routes *to, struct berth_err *e)
{
    if (berth_json_type(v) != BERTH_JSON_OBJECT || berth_json_len(v) > BERTH_VERSION_NAMES_MAX)
        return berth_config_bad("versions.labels", "names with a version's number each", 0, 0, v,
                                e);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (berth_json_type(it.value) == BERTH_JSON_NULL)
            continue;
        if (!is_label(it.key))
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.versions.labels: '%.40s' is no label: at most %d letters, "
                                 "digits, '-' and '_', not digits alone",
                                 it.key.at, BERTH_VERSION_NAME - 1);
        if (!berth_json_uint(it.value, &to->labels[to->label_len].number))
            return berth_config_bad("versions.labels", "a version's number", 0, 0, it.value, e);
        memcpy(to->labels[to->label_len].name, it.key.at, it.key.len);
        to->labels[to->label_len++].name[it.key.len] = '\0';
    }
    return 0;
}

/* {"1": 90, "canary": 10}: labels have been read. */
static int
get_split(const struct berth_json *v, struct berth_version_routes *to, struct berth_err *e)
{
    uint64_t sum = 0;

    if (berth_json_type(v) != BERTH_JSON_OBJECT || berth_json_len(v) > BERTH_VERSION_NAMES_MAX)
        return berth_config_bad("versions.split", "versions with a weight each", 0, 0, v, e);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        uint64_t number;
        uint32_t weight;
        int64_t n;
        if (berth_json_type(it.value) == BERTH_JSON_NULL)
            continue;
        int r =
            berth_config_count("versions.split", it.value, 0, BERTH_VERSION_SHARE_MAX, &weight, e);
        if (r < 0)
            return r;
        if (berth_int_parse(it.key.at, it.key.len, 0, INT64_MAX, &n))
            number = (uint64_t)n;
        else if (!berth_versions_labelled(to, it.key.at, it.key.len, &number))
            return berth_err_set(e, BERTH_EINVAL,
                                 "config.versions.split: '%.40s' is neither a version's number nor "
                                 "one of the labels",
                                 it.key.at);
        for (uint32_t i = 0; i < to->share_len; i++) {
            if (to->shares[i].number == number)
                return berth_err_set(e, BERTH_EINVAL,
                                     "config.versions.split: version %llu is there twice",
                                     (unsigned long long)number);
        }
        to->shares[to->share_len].number = number;
        to->shares[to->share_len++].weight = weight;
        sum += weight;
    }
    return to->share_len == 0 || sum > 0
               ? 0
               : berth_err_set(e, BERTH_EINVAL, "config.versions.split: all weights are 0");
}

static int
get_object(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    const struct berth_json *labels = berth_json_get(v, "labels"),
                            *split = berth_json_get(v, "split");
    int policies = 0, r = 0;
    bool all;

    for (struct berth_json_iter it = berth_json_iter(v); r == 0 && berth_json_next(&it);) {
        const bool none = berth_json_type(it.value) == BERTH_JSON_NULL;
        if (berth_slice_is(it.key, "latest")) {
            policies += !none;
            if (!none)
                r = berth_config_count("versions.latest", it.value, 1, BERTH_VERSIONS_MAX,
                                       &c->version_latest, e);
        } else if (berth_slice_is(it.key, "all")) {
            policies += !none;
            if (!none && (!berth_json_bool(it.value, &all) || !all))
                r = berth_config_bad("versions.all", "true", 0, 0, it.value, e);
            if (!none)
                c->versions = BERTH_VERSIONS_ALL;
        } else if (berth_slice_is(it.key, "specific")) {
            policies += !none;
            r = none ? 0 : get_list(it.value, c, e);
        } else if (!berth_slice_is(it.key, "labels") && !berth_slice_is(it.key, "split")) {
            r = berth_config_unknown("versions", it.key.at, "latest, all, specific, labels, split",
                                     e);
        }
    }
    if (r == 0 && policies > 1)
        r = berth_err_set(e, BERTH_EINVAL, "config.versions: only one of latest, all and specific");
    if (r == 0 && berth_json_type(labels) != BERTH_JSON_NULL)
        r = get_labels(labels, &c->routes, e);
    if (r == 0 && berth_json_type(split) != BERTH_JSON_NULL)
        r = get_split(split, &c->routes, e);
    return r;
}

int
berth_config_versions(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    struct berth_slice text;

    c->versions = BERTH_VERSIONS_LATEST;
    if (berth_json_string(v, &text) && berth_slice_is(text, "latest"))
        return 0;
    if (berth_json_string(v, &text) && berth_slice_is(text, "all")) {
        c->versions = BERTH_VERSIONS_ALL;
        return 0;
    }
    return berth_json_type(v) == BERTH_JSON_OBJECT ? get_object(v, c, e) : get_list(v, c, e);
}
