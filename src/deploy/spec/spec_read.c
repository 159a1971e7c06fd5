#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "deploy/spec/spec_priv.h"
#include "wire/json.h"

#define AT(f) offsetof(struct berth_spec, f)

int
berth_spec_bad(struct berth_spec_reader *r, const char *path, const char *fmt, ...)
{
    char msg[320];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (r->f != NULL)
        (void)snprintf(r->f->field, sizeof r->f->field, "%s", path);
    return berth_err_set(r->e, BERTH_EINVAL, "%s%s%s", path, path[0] != '\0' ? ": " : "", msg);
}

int
berth_spec_no_memory(struct berth_spec_reader *r)
{
    return berth_err_set(r->e, BERTH_ENOMEM, "the spec is too large");
}

static int
read_text(struct berth_spec_reader *r, const char *path, const struct berth_json *v, size_t min,
          size_t max, const char **ret)
{
    struct berth_slice t;

    if (!berth_json_string(v, &t))
        return berth_spec_bad(r, path, "should be a string, not %s", berth_json_type_name(v));
    if (t.len < min || t.len > max)
        return berth_spec_bad(r, path, "should have %zu to %zu characters, has %zu", min, max,
                              t.len);
    if (memchr(t.at, '\0', t.len) != NULL)
        return berth_spec_bad(r, path, "holds a NUL character");
    *ret = t.at;
    return 0;
}

static int
read_name(struct berth_spec_reader *r, const char *path, const struct berth_json *v, size_t max,
          const char **ret)
{
    const char *t;
    const int rc = read_text(r, path, v, 1, max, &t);

    if (rc < 0)
        return rc;
    for (const char *c = t; *c != '\0'; c++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c) == NULL)
            return berth_spec_bad(r, path,
                                  "\"%.64s\" should be of letters, digits, '.', '_' and '-'", t);
    *ret = t;
    return 0;
}

static int
read_count(struct berth_spec_reader *r, const char *path, const struct berth_json *v, uint32_t min,
           uint32_t max, uint32_t *ret)
{
    uint64_t n;

    if (!berth_json_uint(v, &n) || n < min || n > max)
        return berth_spec_bad(r, path, "should be a whole number from %u to %u", min, max);
    *ret = (uint32_t)n;
    return 0;
}

/* A quantity may be written as a number, too. */
static int
read_quantity(struct berth_spec_reader *r, const struct berth_spec_row *row,
              const struct berth_json *v, uint64_t *ret)
{
    struct berth_slice t;
    char text[64];
    double d;
    struct berth_err why;
    int rc;

    if (berth_json_real(v, &d))
        (void)snprintf(text, sizeof text, "%.15g", d);
    else if (berth_json_string(v, &t) && t.len < sizeof text)
        (void)snprintf(text, sizeof text, "%.*s", (int)t.len, t.at);
    else
        return berth_spec_bad(r, row->path, "should be a string such as %s",
                              row->type == BERTH_SPEC_CPU ? "\"4\" or \"500m\"" : "\"16Gi\"");
    rc = row->type == BERTH_SPEC_CPU ? berth_quantity_cpu(text, ret, &why)
                                     : berth_quantity_bytes(text, ret, &why);
    return rc < 0 ? berth_spec_bad(r, row->path, "%s", why.msg) : 0;
}

static bool
is_word(const char *choices, const char *word)
{
    const size_t len = strlen(word);

    for (const char *at = choices; at != NULL && *at != '\0';) {
        const char *end = strchrnul(at, ' ');

        if ((size_t)(end - at) == len && memcmp(at, word, len) == 0)
            return true;
        at = *end == ' ' ? end + 1 : end;
    }
    return false;
}

static int
read_word(struct berth_spec_reader *r, const struct berth_spec_row *row, const struct berth_json *v,
          const char **ret)
{
    const char *t;
    const int rc = read_text(r, row->path, v, 1, 64, &t);

    if (rc < 0)
        return rc;
    if (!is_word(row->choices, t))
        return berth_spec_bad(r, row->path, "\"%.64s\" should be one of: %s", t, row->choices);
    *ret = t;
    return 0;
}

static int
read_strings(struct berth_spec_reader *r, const struct berth_spec_row *row,
             const struct berth_json *v, const char *const **ret)
{
    const size_t n = berth_json_len(v);
    const char **list;

    if (berth_json_type(v) != BERTH_JSON_ARRAY || n < row->min || n > row->max)
        return berth_spec_bad(r, row->path, "should be an array of %u to %u strings", row->min,
                              row->max);
    list = BERTH_NEW_N(r->a, const char *, n + 1);
    if (list == NULL)
        return berth_spec_no_memory(r);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        char path[96];

        (void)snprintf(path, sizeof path, "%s[%zu]", row->path, it.index);
        const int rc = read_text(r, path, it.value, 0, 32768, &list[it.index]);
        if (rc < 0)
            return rc;
    }
    *ret = list;
    return 0;
}

/* A value of an environment variable or a label: text; numbers and truth values as they are
 * written. */
static int
read_value(struct berth_spec_reader *r, const char *path, const struct berth_json *v,
           const char **ret)
{
    struct berth_buf b;

    if (berth_json_type(v) == BERTH_JSON_STRING)
        return read_text(r, path, v, 0, 65536, ret);
    if (berth_json_type(v) == BERTH_JSON_ARRAY || berth_json_type(v) == BERTH_JSON_OBJECT)
        return berth_spec_bad(r, path, "should be a string, not %s", berth_json_type_name(v));
    berth_buf_init(&b, r->a);
    if (berth_json_type(v) != BERTH_JSON_NULL)
        berth_json_put(&b, v);
    *ret = berth_buf_text(&b);
    return *ret != NULL ? 0 : berth_spec_no_memory(r);
}

static int
read_pair(struct berth_spec_reader *r, const char *path, struct berth_json_iter *it,
          struct berth_pair *p)
{
    const struct berth_json *value = it->value;
    int rc;

    if (it->key.at != NULL && it->key.len > 0) {
        p->key = it->key.at;
        if (memchr(it->key.at, '\0', it->key.len) != NULL)
            return berth_spec_bad(r, path, "a key holds a NUL character");
    } else {
        const struct berth_json *key = berth_json_get(it->value, "key");

        rc = read_text(r, path, key != NULL ? key : berth_json_get(it->value, "name"), 1, 512,
                       &p->key);
        if (rc < 0)
            return berth_spec_bad(r, path, "should be {\"key\": ..., \"value\": ...}");
        value = berth_json_get(it->value, "value");
        if (value == NULL)
            value = berth_json_get(it->value, "val");
    }
    if (p->key[0] == '\0' || strlen(p->key) > 512 || strchr(p->key, '=') != NULL)
        return berth_spec_bad(r, path, "a key should have 1 to 512 characters and no '='");
    return read_value(r, path, value, &p->value);
}

static int
read_pairs(struct berth_spec_reader *r, const struct berth_spec_row *row,
           const struct berth_json *v, const struct berth_pair **ret, size_t *ret_count)
{
    const size_t n = berth_json_len(v);
    struct berth_pair *list;
    size_t count = 0;

    if ((berth_json_type(v) != BERTH_JSON_OBJECT &&
         (berth_json_type(v) != BERTH_JSON_ARRAY || row->type == BERTH_SPEC_LABELS)) ||
        n > row->max)
        return berth_spec_bad(r, row->path, "should be %s, at most %u of them",
                              row->type == BERTH_SPEC_LABELS ? "an object of texts"
                                                             : "an array of {\"key\", \"value\"}",
                              row->max);
    list = BERTH_NEW_N(r->a, struct berth_pair, n + 1);
    if (list == NULL)
        return berth_spec_no_memory(r);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it); count++) {
        char path[160];

        (void)snprintf(path, sizeof path, "%s[%zu]", row->path, it.index);
        const int rc = read_pair(r, path, &it, &list[count]);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < count; i++)
            if (strcmp(list[i].key, list[count].key) == 0)
                return berth_spec_bad(r, path, "\"%.64s\" is there twice", list[i].key);
    }
    *ret = list;
    *ret_count = count;
    return 0;
}

static int
read_step(struct berth_spec_reader *r, struct berth_json_iter *it, struct berth_spec_step *step)
{
    static const char choices[] = "abort continue rollback";
    char path[160];
    int rc = 0;

    step->name = it->key.at;
    (void)snprintf(path, sizeof path, "steps.%.100s", step->name);
    if (berth_json_type(it->value) != BERTH_JSON_OBJECT)
        return berth_spec_bad(r, path, "should be an object");
    for (struct berth_json_iter m = berth_json_iter(it->value); rc == 0 && berth_json_next(&m);) {
        uint32_t n = 0;
        struct berth_spec_row row = {.path = path, .choices = choices};
        const char *word;

        (void)snprintf(path, sizeof path, "steps.%.100s.%.40s", step->name, m.key.at);
        if (berth_slice_is(m.key, "maxRetries")) {
            rc = read_count(r, path, m.value, 0, 1000000, &n);
            step->policy.retries_max = n > 0 ? n : UINT32_MAX;
        } else if (berth_slice_is(m.key, "timeoutMs")) {
            rc = read_count(r, path, m.value, 1, 86400000, &n);
            step->policy.timeout_ms = n;
        } else if (berth_slice_is(m.key, "backoffMs")) {
            rc = read_count(r, path, m.value, 1, 3600000, &n);
            step->policy.backoff_ms = n;
        } else if (berth_slice_is(m.key, "backoffMaxMs")) {
            rc = read_count(r, path, m.value, 1, 3600000, &n);
            step->policy.backoff_max_ms = n;
        } else if (berth_slice_is(m.key, "onFailure")) {
            rc = read_word(r, &row, m.value, &word);
            if (rc == 0)
                step->policy.on_failure = word[0] == 'a'   ? BERTH_ON_FAILURE_ABORT
                                          : word[0] == 'c' ? BERTH_ON_FAILURE_CONTINUE
                                                           : BERTH_ON_FAILURE_ROLLBACK;
        } else if (berth_slice_is(m.key, "preHook")) {
            rc = read_text(r, path, m.value, 1, 4096, &step->pre_hook);
        } else if (berth_slice_is(m.key, "postHook")) {
            rc = read_text(r, path, m.value, 1, 4096, &step->post_hook);
        } else {
            return berth_spec_bad(
                r, path,
                "is not known; there are maxRetries, timeoutMs, backoffMs, backoffMaxMs, "
                "onFailure, preHook, postHook");
        }
    }
    return rc;
}

static int
read_steps(struct berth_spec_reader *r, const struct berth_spec_row *row,
           const struct berth_json *v)
{
    const size_t n = berth_json_len(v);
    struct berth_spec_step *steps;

    if (berth_json_type(v) != BERTH_JSON_OBJECT || n > row->max)
        return berth_spec_bad(r, row->path, "should be an object of at most %u steps", row->max);
    steps = BERTH_NEW_N(r->a, struct berth_spec_step, n + 1);
    if (steps == NULL)
        return berth_spec_no_memory(r);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        const int rc = read_step(r, &it, &steps[it.index]);

        if (rc < 0)
            return rc;
    }
    r->s->steps = steps;
    r->s->step_count = n;
    return 0;
}

static int
read_object(struct berth_spec_reader *r, const struct berth_spec_row *row,
            const struct berth_json *v, const char **ret)
{
    struct berth_buf b;

    if (berth_json_type(v) != BERTH_JSON_OBJECT)
        return berth_spec_bad(r, row->path, "should be an object, not %s", berth_json_type_name(v));
    berth_buf_init(&b, r->a);
    berth_json_put(&b, v);
    *ret = berth_buf_text(&b);
    return *ret != NULL ? 0 : berth_spec_no_memory(r);
}

static int
read_strategy(struct berth_spec_reader *r, const struct berth_spec_row *row,
              const struct berth_json *v)
{
    const char *word;
    const int rc = read_word(r, row, v, &word);

    if (rc == 0)
        r->s->strategy = strcmp(word, "canary") == 0     ? BERTH_STRATEGY_CANARY
                         : strcmp(word, "recreate") == 0 ? BERTH_STRATEGY_RECREATE
                                                         : BERTH_STRATEGY_ROLLING;
    return rc;
}

int
berth_spec_read_row(struct berth_spec_reader *r, const struct berth_spec_row *row,
                    const struct berth_json *v)
{
    void *to = (char *)r->s + row->offset;
    uint32_t n = 0;
    int rc = 0;

    if (row->alias && row->type != BERTH_SPEC_IGNORED && *(const char **)to != NULL)
        return 0; /* the canonical name wins */
    switch (row->type) {
    case BERTH_SPEC_TEXT:
    case BERTH_SPEC_PATH:
        return read_text(r, row->path, v, row->min, row->max, to);
    case BERTH_SPEC_NAME:
        return read_name(r, row->path, v, row->max, to);
    case BERTH_SPEC_WORD:
        return read_word(r, row, v, to);
    case BERTH_SPEC_COUNT:
        if (row->offset == AT(accelerator_count))
            r->count_given = true;
        return read_count(r, row->path, v, row->min, row->max, to);
    case BERTH_SPEC_PORT:
        rc = read_count(r, row->path, v, row->min, row->max, &n);
        if (rc == 0)
            *(uint16_t *)to = (uint16_t)n;
        return rc;
    case BERTH_SPEC_MS:
        rc = read_count(r, row->path, v, row->min, row->max, &n);
        if (rc == 0)
            *(uint64_t *)to = n * BERTH_MS;
        return rc;
    case BERTH_SPEC_BOOL:
        return berth_json_bool(v, to)
                   ? 0
                   : berth_spec_bad(r, row->path, "should be true or false, not %s",
                                    berth_json_type_name(v));
    case BERTH_SPEC_CPU:
    case BERTH_SPEC_BYTES:
        return read_quantity(r, row, v, to);
    case BERTH_SPEC_STRINGS:
        return read_strings(r, row, v, to);
    case BERTH_SPEC_PAIRS:
        return read_pairs(r, row, v, to, &r->s->env_count);
    case BERTH_SPEC_LABELS:
        return read_pairs(r, row, v, to, &r->s->label_count);
    case BERTH_SPEC_OBJECT:
        return read_object(r, row, v, to);
    case BERTH_SPEC_STRATEGY:
        return read_strategy(r, row, v);
    case BERTH_SPEC_STEPS:
        return read_steps(r, row, v);
    case BERTH_SPEC_NESTED:
    case BERTH_SPEC_IGNORED:
        return 0;
    }
    return 0;
}
