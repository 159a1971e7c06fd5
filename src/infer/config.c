#include "infer/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "infer/config_priv.h"
#include "wire/yaml.h"

enum own_type { COUNT, MS, TEXT, FLAG, ANY, BATCHING, VERSIONS, ISOLATION, MEMORY };

/* Berth's own keys of a model's configuration. */
static const struct {
    const char *key;
    enum own_type type;
    double min, max;
} own[] = {
    {"instances", COUNT, 1, BERTH_INSTANCES_MAX},
    {"threads", COUNT, 1, 1024},
    {"max_batch_size", COUNT, 1, BERTH_BATCH_MAX},
    {"max_batch_wait_ms", MS, 0, 60000},
    {"queue_len", COUNT, 1, 65536},
    {"response_cache", FLAG, 0, 0},
    {"batching", BATCHING, 0, 0},
    {"versions", VERSIONS, 0, 0},
    {"load", MEMORY, 0, 0},
    {"pin", MEMORY, 0, 0},
    {"keep_alive", MEMORY, 0, 0},
    {"memory_mb", MEMORY, 0, 0},
    {"isolation", ISOLATION, 0, 0},
    {"memory_limit_mb", ISOLATION, 1, 1e9},
    {"run_timeout_secs", ISOLATION, 0.001, 86400},
    {"keep_core", ISOLATION, 0, 0},
    {"backend", TEXT, 0, 0},
    {"model_type", TEXT, 0, 0},
    {"task", TEXT, 0, 0},
    {"description", TEXT, 0, 0},
    {"labels", ANY, 0, 0},
    {"image", ANY, 0, 0},
    {"output", ANY, 0, 0},
};

static int
read_file(const char *path, struct berth_arena *a, char **ret, size_t *ret_len, struct berth_err *e)
{
    /* O_NONBLOCK: to open a FIFO would wait for somebody who writes into it. */
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    size_t len = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        return berth_err_set(e, errno == ENOENT ? BERTH_ENOENT : BERTH_EINVAL, "%s: %m", path);
    if (!S_ISREG(st.st_mode))
        return berth_err_set(e, BERTH_EINVAL, "%s: is not a file", path);
    char *text = berth_arena_alloc(a, BERTH_MANIFEST_BYTES_MAX + 1);
    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    for (ssize_t got; len <= BERTH_MANIFEST_BYTES_MAX; len += (size_t)got) {
        got = read(fd, text + len, BERTH_MANIFEST_BYTES_MAX + 1 - len);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got < 0)
            return berth_err_set(e, BERTH_EINVAL, "%s: %m", path);
        else if (got == 0)
            break;
    }
    if (len > BERTH_MANIFEST_BYTES_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%s: larger than %d bytes", path,
                             BERTH_MANIFEST_BYTES_MAX);
    *ret = text;
    *ret_len = len;
    return 0;
}

int
berth_config_manifest(struct berth_arena *a, const char *path, const struct berth_json **ret,
                      struct berth_err *e)
{
    static const char *const names[] = {"berth.yaml", "berth.yml", "berth.json"};
    const struct berth_json *v = NULL;
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        *ret = NULL;
        return 0;
    }
    for (size_t i = 0; i < BERTH_COUNT(names); i++) {
        struct berth_err inner = {""};
        char *text = NULL;
        size_t len = 0;
        const char *file = berth_arena_printf(a, "%s/%s", path, names[i]);
        if (file == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
        int r = read_file(file, a, &text, &len, &inner);
        if (r == -BERTH_ENOENT)
            continue;
        if (r == 0)
            r = i < 2 ? berth_yaml_parse(a, text, len, &v, &inner)
                      : berth_json_parse(a, text, len, NULL, &v, &inner);
        if (r < 0)
            return berth_err_set(e, (enum berth_code) - r, "%s: %s", file, inner.msg);
        if (berth_json_type(v) != BERTH_JSON_OBJECT)
            return berth_err_set(e, BERTH_EINVAL, "%s: expected keys and values, got %s", file,
                                 berth_json_type_name(v));
        break;
    }
    *ret = v;
    return 0;
}

int
berth_config_merge(struct berth_arena *arena, const struct berth_json *a,
                   const struct berth_json *b, const struct berth_json **ret, struct berth_err *e)
{
    struct berth_buf text;
    struct berth_jw w;

    berth_buf_init(&text, NULL);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    for (struct berth_json_iter it = berth_json_iter(a); berth_json_next(&it);) {
        berth_jw_key_n(&w, it.key.at, it.key.len);
        berth_jw_value(&w, it.value);
    }
    for (struct berth_json_iter it = berth_json_iter(b); berth_json_next(&it);) {
        if (berth_json_get(a, it.key.at) != NULL)
            continue;
        berth_jw_key_n(&w, it.key.at, it.key.len);
        berth_jw_value(&w, it.value);
    }
    berth_jw_object_end(&w);
    const char *json = berth_buf_text(&text);
    int r = json == NULL ? berth_err_set(e, BERTH_ENOMEM, "config: out of memory")
                         : berth_json_parse(arena, json, text.len, NULL, ret, e);
    berth_buf_fini(&text);
    return r;
}

static bool
in_range(double v, double min, double max)
{
    return !(min < max) || (v >= min && v <= max);
}

int
berth_config_bad(const char *key, const char *want, double min, double max,
                 const struct berth_json *v, struct berth_err *e)
{
    struct berth_buf text;

    berth_buf_init(&text, NULL);
    berth_json_put(&text, v);
    const char *got = berth_buf_text(&text);
    int r;
    if (min < max)
        r = berth_err_set(e, BERTH_EINVAL, "config.%s: expected %s from %.15g to %.15g, got %.80s",
                          key, want, min, max, got != NULL ? got : "something else");
    else
        r = berth_err_set(e, BERTH_EINVAL, "config.%s: expected %s, got %.80s", key, want,
                          got != NULL ? got : "something else");
    berth_buf_fini(&text);
    return r;
}

int
berth_config_unknown(const char *object, const char *key, const char *known, struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL, "config.%s: unknown key '%.64s'; there is: %s", object,
                         key, known);
}

int
berth_config_count(const char *key, const struct berth_json *v, double min, double max,
                   uint32_t *ret, struct berth_err *e)
{
    int64_t n;

    if (!berth_json_int(v, &n) || !in_range((double)n, min, max))
        return berth_config_bad(key, "a whole number", min, max, v, e);
    *ret = (uint32_t)n;
    return 0;
}

int
berth_config_ms(const char *key, const struct berth_json *v, double max_ms, uint64_t *ret_ns,
                struct berth_err *e)
{
    double ms;

    if (!berth_json_real(v, &ms) || !in_range(ms, 0, max_ms))
        return berth_config_bad(key, "milliseconds", 0, max_ms, v, e);
    *ret_ns = (uint64_t)(ms * 1e6);
    return 0;
}

int
berth_config_bool(const char *key, const struct berth_json *v, bool *ret, struct berth_err *e)
{
    return berth_json_bool(v, ret) ? 0 : berth_config_bad(key, "true or false", 0, 0, v, e);
}

/* How the model is kept apart from the server. */
static int
get_isolation(const char *key, const struct berth_json *v, double min, double max,
              struct berth_isolation_conf *c, struct berth_err *e)
{
    struct berth_slice text;
    double n;

    if (strcmp(key, "isolation") == 0) {
        if (!berth_json_string(v, &text) ||
            (!berth_slice_is(text, "process") && !berth_slice_is(text, "none")))
            return berth_config_bad(key, "none or process", 0, 0, v, e);
        c->said = true;
        c->process = berth_slice_is(text, "process");
        return 0;
    }
    if (strcmp(key, "keep_core") == 0)
        return berth_json_bool(v, &c->keep_core)
                   ? 0
                   : berth_config_bad(key, "true or false", 0, 0, v, e);
    if (!berth_json_real(v, &n) || !in_range(n, min, max))
        return berth_config_bad(key, "a number", min, max, v, e);
    if (strcmp(key, "memory_limit_mb") == 0)
        c->memory_bytes_max = (uint64_t)(n * 1048576);
    else
        c->run_ns_max = (uint64_t)(n * 1e9);
    return 0;
}

/* Is key Berth's own?  Then take its value. */
static int
take_own(struct berth_arena *a, const char *key, const struct berth_json *v,
         struct berth_model_conf *c, bool *ret_own, struct berth_err *e)
{
    struct berth_slice text;
    size_t i = 0;

    while (i < BERTH_COUNT(own) && strcmp(own[i].key, key) != 0)
        i++;
    *ret_own = i < BERTH_COUNT(own);
    if (!*ret_own || berth_json_type(v) == BERTH_JSON_NULL)
        return 0;
    switch (own[i].type) {
    case COUNT:
        if (strcmp(key, "instances") == 0)
            return berth_config_count(key, v, own[i].min, own[i].max, &c->instances, e);
        if (strcmp(key, "threads") == 0)
            return berth_config_count(key, v, own[i].min, own[i].max, &c->threads, e);
        if (strcmp(key, "max_batch_size") == 0) {
            c->has_batch_max = true;
            return berth_config_count(key, v, own[i].min, own[i].max, &c->batch.batch_requests_max,
                                      e);
        }
        c->has_queue = true;
        return berth_config_count(key, v, own[i].min, own[i].max, &c->batch.queue_len_max, e);
    case MS:
        c->has_wait = true;
        return berth_config_ms(key, v, 60000, &c->batch.wait_ns_max, e);
    case TEXT:
        return berth_json_string(v, &text) ? 0 : berth_config_bad(key, "a string", 0, 0, v, e);
    case FLAG:
        return berth_json_bool(v, &c->response_cache)
                   ? 0
                   : berth_config_bad(key, "true or false", 0, 0, v, e);
    case ANY:
        return 0;
    case BATCHING:
        return berth_config_batching(a, v, c, e);
    case VERSIONS:
        return berth_config_versions(v, c, e);
    case MEMORY:
        return berth_config_memory(key, v, c, e);
    case ISOLATION:
        return get_isolation(key, v, own[i].min, own[i].max, &c->isolation, e);
    }
    return 0;
}

static int
check_setting(const struct berth_setting *s, const struct berth_json *v, struct berth_err *e)
{
    struct berth_slice text;
    int64_t n;
    double d;
    bool b;

    switch (s->type) {
    case BERTH_SETTING_INT:
        if (!berth_json_int(v, &n) || !in_range((double)n, s->min, s->max))
            return berth_config_bad(s->key, "a whole number", s->min, s->max, v, e);
        return 0;
    case BERTH_SETTING_FLOAT:
        if (!berth_json_real(v, &d) || !in_range(d, s->min, s->max))
            return berth_config_bad(s->key, "a number", s->min, s->max, v, e);
        return 0;
    case BERTH_SETTING_BOOL:
        return berth_json_bool(v, &b) ? 0 : berth_config_bad(s->key, "true or false", 0, 0, v, e);
    case BERTH_SETTING_STRING:
        return berth_json_string(v, &text) ? 0 : berth_config_bad(s->key, "a string", 0, 0, v, e);
    }
    return 0;
}

/* Single edits (and swaps of neighbours) from a to b, for short texts; a big number otherwise. */
static unsigned
edits(const char *a, const char *b)
{
    enum { LEN_MAX = 48 };
    unsigned row[3][LEN_MAX + 1];
    size_t n = strlen(a), m = strlen(b);

    if (n > LEN_MAX || m > LEN_MAX)
        return 99;
    for (size_t k = 0; k <= m; k++)
        row[0][k] = (unsigned)k;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t k = 1; k <= m; k++) {
            unsigned best = up[k - 1] + (a[i - 1] != b[k - 1]);
            best = up[k] + 1 < best ? up[k] + 1 : best;
            best = now[k - 1] + 1 < best ? now[k - 1] + 1 : best;
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] &&
                up2[k - 2] + 1 < best)
                best = up2[k - 2] + 1;
            now[k] = best;
        }
    }
    return row[n % 3][m];
}

static int
unknown_key(const char *key, const struct berth_backend_ops *ops, struct berth_err *e)
{
    const struct berth_setting *settings = BERTH_HAS(ops, settings) ? ops->settings : NULL;
    const char *nearest = NULL;
    unsigned least = strlen(key) < 6 ? 2 : 4;
    struct berth_buf names;

    berth_buf_init(&names, NULL);
    for (const struct berth_setting *s = settings; s != NULL && s->key != NULL; s++) {
        unsigned n = edits(key, s->key);
        berth_buf_printf(&names, "%s%s", names.len > 0 ? ", " : "", s->key);
        if (n < least) {
            least = n;
            nearest = s->key;
        }
    }
    for (size_t i = 0; i < BERTH_COUNT(own); i++) {
        unsigned n = edits(key, own[i].key);
        berth_buf_printf(&names, "%s%s", names.len > 0 ? ", " : "", own[i].key);
        if (n < least) {
            least = n;
            nearest = own[i].key;
        }
    }
    const char *all = berth_buf_text(&names);
    int r = berth_err_set(e, BERTH_EINVAL,
                          "config.%.64s: unknown%s%s%s; allowed for backend %s: %s", key,
                          nearest != NULL ? ", did you mean '" : "", nearest != NULL ? nearest : "",
                          nearest != NULL ? "'?" : "", ops->name, all != NULL ? all : "");
    berth_buf_fini(&names);
    return r;
}

static const struct berth_setting *
find_setting(const struct berth_backend_ops *ops, const char *key)
{
    const struct berth_setting *s = BERTH_HAS(ops, settings) ? ops->settings : NULL;

    while (s != NULL && s->key != NULL && strcmp(s->key, key) != 0)
        s++;
    return s != NULL && s->key != NULL ? s : NULL;
}

int
berth_config_check(struct berth_arena *a, const struct berth_json *merged,
                   const struct berth_backend_ops *ops, struct berth_model_conf *ret,
                   struct berth_err *e)
{
    struct berth_model_conf c = {.merged = merged, .instances = 1, .version_latest = 1};
    struct berth_buf text;
    struct berth_jw w;
    int r = 0;

    berth_buf_init(&text, NULL);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    for (struct berth_json_iter it = berth_json_iter(merged); r == 0 && berth_json_next(&it);) {
        const struct berth_setting *s = find_setting(ops, it.key.at);
        bool is_own;
        r = take_own(a, it.key.at, it.value, &c, &is_own, e);
        if (r == 0 && s == NULL && !is_own)
            r = unknown_key(it.key.at, ops, e);
        if (r < 0 || s == NULL || berth_json_type(it.value) == BERTH_JSON_NULL)
            continue;
        r = check_setting(s, it.value, e);
        berth_jw_key_n(&w, it.key.at, it.key.len);
        berth_jw_value(&w, it.value);
    }
    berth_jw_object_end(&w);
    const char *json = berth_buf_text(&text);
    c.settings_json = json != NULL ? berth_arena_strndup(a, json, text.len) : NULL;
    if (r == 0 && c.settings_json == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "config: out of memory");
    berth_buf_fini(&text);
    if (r == 0 && (r = berth_config_batching_check(&c, e)) == 0)
        *ret = c;
    return r;
}

struct berth_batch_conf
berth_config_batch(const struct berth_model_conf *c, const struct berth_batch_conf *defaults)
{
    struct berth_batch_conf b = c->batch;

    if (!c->has_batch_max)
        b.batch_requests_max = defaults->batch_requests_max;
    if (!c->has_wait)
        b.wait_ns_max = defaults->wait_ns_max;
    if (!c->has_queue)
        b.queue_len_max = defaults->queue_len_max;
    b.no_padding = defaults->no_padding;
    return b;
}
