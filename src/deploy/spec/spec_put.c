#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/siphash.h"
#include "deploy/spec/mask.h"
#include "deploy/spec/spec_priv.h"
#include "wire/json.h"

/* ---- a spec in one form ---- */

/* The largest unit that keeps it exact. */
static void
put_bytes(struct berth_jw *w, uint64_t bytes)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi"};
    char text[32];
    size_t u = 0;

    while (u + 1 < sizeof units / sizeof units[0] && bytes > 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        u++;
    }
    (void)snprintf(text, sizeof text, "%llu%s", (unsigned long long)bytes, units[u]);
    berth_jw_string(w, text);
}

static void
put_cpu(struct berth_jw *w, uint64_t milli)
{
    char text[32];

    if (milli % 1000 == 0)
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)(milli / 1000));
    else
        (void)snprintf(text, sizeof text, "%llum", (unsigned long long)milli);
    berth_jw_string(w, text);
}

static void
put_steps(struct berth_jw *w, const struct berth_spec *s)
{
    static const char *const words[] = {NULL, "abort", "continue", "rollback"};

    berth_jw_object(w);
    for (size_t i = 0; i < s->step_count; i++) {
        const struct berth_spec_step *step = &s->steps[i];
        const struct {
            const char *key;
            uint64_t value;
        } numbers[] = {{"timeoutMs", step->policy.timeout_ms},
                       {"backoffMs", step->policy.backoff_ms},
                       {"backoffMaxMs", step->policy.backoff_max_ms}};

        berth_jw_key(w, step->name);
        berth_jw_object(w);
        if (step->policy.retries_max > 0) {
            berth_jw_key(w, "maxRetries");
            berth_jw_uint(w, step->policy.retries_max == UINT32_MAX ? 0 : step->policy.retries_max);
        }
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
            if (numbers[k].value == 0)
                continue;
            berth_jw_key(w, numbers[k].key);
            berth_jw_uint(w, numbers[k].value);
        }
        if (words[step->policy.on_failure] != NULL) {
            berth_jw_key(w, "onFailure");
            berth_jw_string(w, words[step->policy.on_failure]);
        }
        if (step->pre_hook != NULL) {
            berth_jw_key(w, "preHook");
            berth_jw_string(w, step->pre_hook);
        }
        if (step->post_hook != NULL) {
            berth_jw_key(w, "postHook");
            berth_jw_string(w, step->post_hook);
        }
        berth_jw_object_end(w);
    }
    berth_jw_object_end(w);
}

static void
put_pairs(struct berth_jw *w, const struct berth_pair *at, size_t count, bool as_object)
{
    if (as_object) {
        berth_jw_object(w);
        for (size_t i = 0; i < count; i++) {
            berth_jw_key(w, at[i].key);
            berth_jw_string(w, at[i].value);
        }
        berth_jw_object_end(w);
        return;
    }
    berth_jw_array(w);
    for (size_t i = 0; i < count; i++) {
        berth_jw_object(w);
        berth_jw_key(w, "key");
        berth_jw_string(w, at[i].key);
        berth_jw_key(w, "value");
        berth_jw_string(w, at[i].value);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
put_strings(struct berth_jw *w, const char *const *at)
{
    berth_jw_array(w);
    for (; *at != NULL; at++)
        berth_jw_string(w, *at);
    berth_jw_array_end(w);
}

static void
put_row(struct berth_jw *w, const struct berth_spec *s, const struct berth_spec_row *row)
{
    static const char *const strategies[] = {"rolling", "recreate", "canary"};
    const void *at = (const char *)s + row->offset;

    switch (row->type) {
    case BERTH_SPEC_TEXT:
    case BERTH_SPEC_NAME:
    case BERTH_SPEC_PATH:
    case BERTH_SPEC_WORD:
        berth_jw_string(w, *(const char *const *)at);
        return;
    case BERTH_SPEC_COUNT:
        berth_jw_uint(w, *(const uint32_t *)at);
        return;
    case BERTH_SPEC_PORT:
        berth_jw_uint(w, *(const uint16_t *)at);
        return;
    case BERTH_SPEC_MS:
        berth_jw_uint(w, *(const uint64_t *)at / BERTH_MS);
        return;
    case BERTH_SPEC_BOOL:
        berth_jw_bool(w, *(const bool *)at);
        return;
    case BERTH_SPEC_CPU:
        put_cpu(w, *(const uint64_t *)at);
        return;
    case BERTH_SPEC_BYTES:
        put_bytes(w, *(const uint64_t *)at);
        return;
    case BERTH_SPEC_STRINGS:
        put_strings(w, *(const char *const *const *)at);
        return;
    case BERTH_SPEC_PAIRS:
        put_pairs(w, s->env, s->env_count, false);
        return;
    case BERTH_SPEC_LABELS:
        put_pairs(w, s->labels, s->label_count, true);
        return;
    case BERTH_SPEC_OBJECT:
        berth_jw_raw(w, *(const char *const *)at, strlen(*(const char *const *)at));
        return;
    case BERTH_SPEC_STRATEGY:
        berth_jw_string(w, strategies[s->strategy]);
        return;
    case BERTH_SPEC_STEPS:
        put_steps(w, s);
        return;
    case BERTH_SPEC_NESTED:
    case BERTH_SPEC_IGNORED:
        return;
    }
}

/* Members that say nothing are left out. */
static bool
is_set(const struct berth_spec *s, const struct berth_spec_row *row)
{
    const void *at = (const char *)s + row->offset;

    switch (row->type) {
    case BERTH_SPEC_TEXT:
    case BERTH_SPEC_NAME:
    case BERTH_SPEC_PATH:
    case BERTH_SPEC_WORD:
    case BERTH_SPEC_STRINGS:
    case BERTH_SPEC_OBJECT:
        return *(const void *const *)at != NULL;
    case BERTH_SPEC_COUNT:
        /* Where 0 is not what nothing said would mean, 0 is written, too. */
        if (at == &s->canary_percent || at == &s->canary_replicas)
            return s->strategy == BERTH_STRATEGY_CANARY;
        return *(const uint32_t *)at > 0 || at == &s->replicas || at == &s->surge_max ||
               (at == &s->accelerator_count && s->accelerator_type != NULL);
    case BERTH_SPEC_PORT:
        return s->port > 0;
    case BERTH_SPEC_CPU:
    case BERTH_SPEC_BYTES:
        return *(const uint64_t *)at > 0;
    case BERTH_SPEC_PAIRS:
        return s->env_count > 0;
    case BERTH_SPEC_LABELS:
        return s->label_count > 0;
    case BERTH_SPEC_STEPS:
        return s->step_count > 0;
    case BERTH_SPEC_BOOL:
        return *(const bool *)at;
    case BERTH_SPEC_MS:
        return *(const uint64_t *)at > 0 || at != &s->first_timeout_ns;
    case BERTH_SPEC_STRATEGY:
        return true;
    case BERTH_SPEC_NESTED:
    case BERTH_SPEC_IGNORED:
        return false;
    }
    return false;
}

/* The rows' members with this prefix, as an object; nested ones within. */
static void
put_members(struct berth_jw *w, const struct berth_spec *s, const char *prefix, bool heavy_only)
{
    const size_t n = strlen(prefix);

    berth_jw_object(w);
    for (const struct berth_spec_row *row = berth_spec_rows; row->path != NULL; row++) {
        char nested[64];

        if (row->alias || strncmp(row->path, prefix, n) != 0 ||
            strchr(row->path + n, '.') != NULL || (heavy_only && row->light))
            continue;
        if (row->type == BERTH_SPEC_NESTED) {
            bool any = false;

            (void)snprintf(nested, sizeof nested, "%s.", row->path);
            for (const struct berth_spec_row *in = berth_spec_rows; in->path != NULL; in++)
                any = any || (strncmp(in->path, nested, strlen(nested)) == 0 && is_set(s, in));
            if (!any)
                continue;
            berth_jw_key(w, row->path + n);
            put_members(w, s, nested, heavy_only);
        } else if (is_set(s, row)) {
            berth_jw_key(w, row->path + n);
            put_row(w, s, row);
        }
    }
    berth_jw_object_end(w);
}

static const char *
text_of(const struct berth_spec *s, struct berth_arena *a, bool heavy_only, size_t *ret_len)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    put_members(&w, s, "", heavy_only);
    *ret_len = b.len;
    return berth_buf_text(&b);
}

int
berth_spec_finish(struct berth_spec *s, struct berth_arena *a, struct berth_err *e)
{
    static const uint8_t key[BERTH_SIPHASH_KEY]; /* the same in every process */
    struct berth_siphash h;
    uint8_t sum[BERTH_SIPHASH_BYTES];
    size_t len;
    const char *heavy = text_of(s, a, true, &len);

    s->json = text_of(s, a, false, &s->json_len);
    if (heavy == NULL || s->json == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "the spec is too large");
    berth_siphash_init(&h, key);
    berth_siphash_put(&h, heavy, len);
    berth_siphash_end(&h, sum);
    for (size_t i = 0; i < sizeof s->hash / 2; i++)
        (void)snprintf(s->hash + 2 * i, 3, "%02x", sum[i]);
    return 0;
}

int
berth_spec_scaled(const struct berth_spec *s, uint32_t replicas, struct berth_arena *a,
                  struct berth_spec *ret, struct berth_err *e)
{
    struct berth_spec copy = *s;

    if (replicas > BERTH_SPEC_REPLICAS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "replicaCount: %u is more than %d", replicas,
                             BERTH_SPEC_REPLICAS_MAX);
    copy.replicas = replicas;
    const int rc = berth_spec_finish(&copy, a, e);
    if (rc == 0)
        *ret = copy;
    return rc;
}

/* ---- what differs ---- */

struct differ {
    struct berth_jw w;
    struct berth_arena *a;
};

static void
put_side(struct differ *d, const char *path, const struct berth_json *v)
{
    if (v == NULL)
        berth_jw_null(&d->w);
    else
        berth_mask_put(&d->w, v, berth_mask_whole(path));
}

static bool
same(struct berth_arena *a, const struct berth_json *x, const struct berth_json *y)
{
    struct berth_buf p, q;

    if (x == NULL || y == NULL)
        return x == y;
    berth_buf_init(&p, a);
    berth_buf_init(&q, a);
    berth_json_put(&p, x);
    berth_json_put(&q, y);
    return !p.failed && !q.failed && p.len == q.len && memcmp(p.at, q.at, p.len) == 0;
}

/* The value of that key in [{"key", "value"}]. */
static const struct berth_json *
pair_value(const struct berth_json *list, struct berth_slice key)
{
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        struct berth_slice k;

        if (berth_json_string(berth_json_get(it.value, "key"), &k) && k.len == key.len &&
            memcmp(k.at, key.at, k.len) == 0)
            return berth_json_get(it.value, "value");
    }
    return NULL;
}

static void
put_change(struct differ *d, const char *path, const struct berth_json *from,
           const struct berth_json *to)
{
    if (same(d->a, from, to))
        return;
    berth_jw_object(&d->w);
    berth_jw_key(&d->w, "path");
    berth_jw_string(&d->w, path);
    berth_jw_key(&d->w, "from");
    put_side(d, path, from);
    berth_jw_key(&d->w, "to");
    put_side(d, path, to);
    berth_jw_object_end(&d->w);
}

/* Environment variables one by one: those of `list` whose counterpart differs; `only_missing`:
 * those alone that the other does not have. */
static void
diff_pairs(struct differ *d, const struct berth_json *list, const struct berth_json *other,
           bool only_missing)
{
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        struct berth_slice key;
        const struct berth_json *there;
        char *path;

        if (!berth_json_string(berth_json_get(it.value, "key"), &key))
            continue;
        there = pair_value(other, key);
        path = berth_arena_printf(d->a, "env.%.*s", (int)key.len, key.at);
        if (path == NULL || (only_missing && there != NULL))
            continue;
        if (only_missing)
            put_change(d, path, NULL, berth_json_get(it.value, "value"));
        else
            put_change(d, path, berth_json_get(it.value, "value"), there);
    }
}

static void
diff(struct differ *d, const char *prefix, const struct berth_json *from,
     const struct berth_json *to)
{
    for (int side = 0; side < 2; side++) {
        const struct berth_json *list = side == 0 ? from : to, *other = side == 0 ? to : from;

        for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
            const struct berth_json *there = berth_json_get(other, it.key.at);
            char *path = berth_arena_printf(d->a, "%s%s", prefix, it.key.at);
            char *inner = path != NULL ? berth_arena_printf(d->a, "%s.", path) : NULL;

            if (inner == NULL || (side == 1 && there != NULL))
                continue;
            if (strcmp(path, "env") == 0) {
                diff_pairs(d, side == 0 ? it.value : NULL, there, false);
                diff_pairs(d, side == 0 ? there : it.value, side == 0 ? it.value : NULL, true);
            } else if (berth_json_type(it.value) == BERTH_JSON_OBJECT &&
                       berth_json_type(there) == BERTH_JSON_OBJECT) {
                diff(d, inner, it.value, there);
            } else {
                put_change(d, path, side == 0 ? it.value : NULL, side == 0 ? there : it.value);
            }
        }
    }
}

void
berth_spec_diff(const struct berth_spec *from, const struct berth_spec *to, struct berth_arena *a,
                struct berth_buf *out)
{
    struct differ d = {.a = a};
    const struct berth_json *x = NULL, *y = NULL;

    berth_jw_init(&d.w, out);
    berth_jw_array(&d.w);
    if (berth_json_parse(a, from->json, from->json_len, NULL, &x, NULL) < 0 ||
        berth_json_parse(a, to->json, to->json_len, NULL, &y, NULL) < 0)
        out->failed = true;
    else
        diff(&d, "", x, y);
    berth_jw_array_end(&d.w);
}
