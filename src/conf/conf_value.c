#include "conf/conf_priv.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"
#include "wire/json.h"
#include "wire/yaml.h"

enum { LIST_MAX = 4096 };

static void *
place(struct berth_conf_full *c, const struct berth_conf_row *row)
{
    return (char *)&c->conf + row->offset;
}

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the configuration needs too much memory");
}

/* ---- scalars ---- */

static int
range_check(const struct berth_conf_row *row, double v, struct berth_err *e)
{
    if (v >= row->min && v <= row->max && (row->type != BERTH_CONF_FLOAT || v > 0))
        return 0;
    return berth_err_set(e, BERTH_ECONFIG, "%.15g is out of range: %.15g to %.15g", v, row->min,
                         row->max);
}

/* "a|b|c" as a person says it: "a, b or c". */
static void
choices_text(const char *choices, char *room, size_t size)
{
    size_t n = 0;

    for (const char *at = choices; *at != '\0' && n + 1 < size; at++) {
        const char *put = *at != '|'                    ? (const char[2]){*at, '\0'}
                          : strchr(at + 1, '|') != NULL ? ", "
                                                        : " or ";
        const int wrote = snprintf(room + n, size - n, "%s", put);
        n += wrote > 0 ? (size_t)wrote : 0;
    }
}

static int
choice_check(const struct berth_conf_row *row, const char *text, struct berth_err *e)
{
    const size_t len = strlen(text);
    char names[128] = "";

    if (row->choices == NULL)
        return 0;
    for (const char *at = row->choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, text, len) == 0 && (at[len] == '|' || at[len] == '\0') && len > 0)
            return 0;
    }
    choices_text(row->choices, names, sizeof names);
    return berth_err_set(e, BERTH_ECONFIG, "expected %s, got '%s'", names, text);
}

static int
set_string(struct berth_conf_full *c, const struct berth_conf_row *row, struct berth_slice text,
           struct berth_err *e)
{
    if (memchr(text.at, '\0', text.len) != NULL)
        return berth_err_set(e, BERTH_ECONFIG, "contains a NUL");
    if ((double)text.len < row->min) {
        if (text.len > 0)
            return berth_err_set(e, BERTH_ECONFIG, "is shorter than %.0f characters", row->min);
        if ((row->bits & BERTH_CONF_NULL) == 0)
            return berth_err_set(e, BERTH_ECONFIG, "must not be empty");
        *(const char **)place(c, row) = NULL;
        return 0;
    }
    const char *copy = berth_arena_strndup(&c->arena, text.at, text.len);
    if (copy == NULL)
        return no_memory(e);
    const int rc = choice_check(row, copy, e);
    if (rc == 0)
        *(const char **)place(c, row) = copy;
    return rc;
}

static int
set_int(struct berth_conf_full *c, const struct berth_conf_row *row, int64_t v, struct berth_err *e)
{
    const int rc = range_check(row, (double)v, e);

    if (rc == 0)
        *(int64_t *)place(c, row) = v;
    return rc;
}

static int
set_float(struct berth_conf_full *c, const struct berth_conf_row *row, double v,
          struct berth_err *e)
{
    const int rc = isfinite(v) ? range_check(row, v, e)
                               : berth_err_set(e, BERTH_ECONFIG, "is not a finite number");

    if (rc == 0)
        *(double *)place(c, row) = v;
    return rc;
}

static bool
bool_parse(struct berth_slice text, bool *ret)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};

    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (berth_slice_is_nocase(text, yes[i]) || berth_slice_is_nocase(text, no[i])) {
            *ret = berth_slice_is_nocase(text, yes[i]);
            return true;
        }
    }
    return false;
}

static int
set_null(struct berth_conf_full *c, const struct berth_conf_row *row, struct berth_err *e)
{
    if ((row->bits & BERTH_CONF_NULL) == 0)
        return berth_err_set(e, BERTH_ECONFIG, "has no value");
    if (row->type == BERTH_CONF_INT)
        *(int64_t *)place(c, row) = 0;
    else
        *(const char **)place(c, row) = NULL;
    return 0;
}

/* ---- lists ---- */

static int
push_string(struct berth_conf_full *c, struct berth_conf_strings *list, struct berth_slice text,
            struct berth_err *e)
{
    if (list->count == LIST_MAX)
        return berth_err_set(e, BERTH_ECONFIG, "has more than %d entries", LIST_MAX);
    const char **at = BERTH_NEW_N(&c->arena, const char *, list->count + 1);
    const char *copy = berth_arena_strndup(&c->arena, text.at, text.len);
    if (at == NULL || copy == NULL)
        return no_memory(e);
    if (list->count > 0)
        memcpy(at, list->at, list->count * sizeof *at);
    at[list->count] = copy;
    *list = (struct berth_conf_strings){at, list->count + 1};
    return 0;
}

static int
push_int(struct berth_conf_full *c, const struct berth_conf_row *row, struct berth_conf_ints *list,
         int64_t v, struct berth_err *e)
{
    const int rc = range_check(row, (double)v, e);

    if (rc != 0)
        return rc;
    if (list->count == LIST_MAX)
        return berth_err_set(e, BERTH_ECONFIG, "has more than %d entries", LIST_MAX);
    int64_t *at = BERTH_NEW_N(&c->arena, int64_t, list->count + 1);
    if (at == NULL)
        return no_memory(e);
    if (list->count > 0)
        memcpy(at, list->at, list->count * sizeof *at);
    at[list->count] = v;
    *list = (struct berth_conf_ints){at, list->count + 1};
    return 0;
}

static int
push_item(struct berth_conf_full *c, const struct berth_conf_row *row, struct berth_slice text,
          struct berth_err *e)
{
    int64_t v;

    if (row->type == BERTH_CONF_STRINGS)
        return push_string(c, place(c, row), text, e);
    if (!berth_int_parse(text.at, text.len, INT64_MIN, INT64_MAX, &v))
        return berth_err_set(e, BERTH_ECONFIG, "'%.*s' is not a whole number", (int)text.len,
                             text.at);
    return push_int(c, row, place(c, row), v, e);
}

static void
list_clear(struct berth_conf_full *c, const struct berth_conf_row *row)
{
    memset(place(c, row), 0,
           row->type == BERTH_CONF_MODELS ? sizeof(struct berth_conf_models)
                                          : sizeof(struct berth_conf_strings));
}

_Static_assert(sizeof(struct berth_conf_strings) == sizeof(struct berth_conf_ints),
               "list_clear() clears both");

/* "a, b,c" */
static int
set_list_text(struct berth_conf_full *c, const struct berth_conf_row *row, const char *text,
              struct berth_err *e)
{
    for (const char *at = text; *at != '\0';) {
        size_t n = strcspn(at, ",");
        struct berth_slice item = {at, n};
        while (item.len > 0 && isspace((unsigned char)item.at[0])) {
            item.at++;
            item.len--;
        }
        while (item.len > 0 && isspace((unsigned char)item.at[item.len - 1]))
            item.len--;
        const int rc = item.len > 0 ? push_item(c, row, item, e) : 0;
        if (rc != 0)
            return rc;
        at += n + (at[n] == ',');
    }
    return 0;
}

static int
set_list_json(struct berth_conf_full *c, const struct berth_conf_row *row,
              const struct berth_json *v, struct berth_err *e)
{
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        struct berth_slice text;
        int64_t n;
        int rc;
        if (row->type == BERTH_CONF_STRINGS && berth_json_string(it.value, &text))
            rc = push_string(c, place(c, row), text, e);
        else if (row->type == BERTH_CONF_INTS && berth_json_int(it.value, &n))
            rc = push_int(c, row, place(c, row), n, e);
        else
            rc = berth_err_set(e, BERTH_ECONFIG, "entry %zu is %s, not %s", it.index + 1,
                               berth_json_type_name(it.value),
                               row->type == BERTH_CONF_INTS ? "a whole number" : "a string");
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- models ---- */

static bool
name_ok(const char *name)
{
    const size_t len = strlen(name);

    return len >= 1 && len <= 128 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

/* Put m in the list, in the place of one that has its name. */
static int
put_model(struct berth_conf_full *c, const struct berth_conf_model *m, struct berth_err *e)
{
    struct berth_conf_models *list = &c->conf.models;
    size_t i = 0;

    if (!name_ok(m->name))
        return berth_err_set(e, BERTH_ECONFIG,
                             "'%s' is no model's name: letters, digits, - _ . and at most 128",
                             m->name);
    while (i < list->count && strcmp(list->at[i].name, m->name) != 0)
        i++;
    if (i == LIST_MAX)
        return berth_err_set(e, BERTH_ECONFIG, "has more than %d entries", LIST_MAX);
    struct berth_conf_model *at = BERTH_NEW_N(&c->arena, struct berth_conf_model, list->count + 1);
    if (at == NULL)
        return no_memory(e);
    if (list->count > 0)
        memcpy(at, list->at, list->count * sizeof *at);
    at[i] = *m;
    *list = (struct berth_conf_models){at, list->count + (i == list->count)};
    return 0;
}

/* "name=path", or a path whose last part without its suffix is the name. */
static int
put_model_text(struct berth_conf_full *c, const char *text, struct berth_err *e)
{
    const char *eq = strchr(text, '=');
    const char *slash = strchr(text, '/');
    struct berth_conf_model m = {0};

    if (eq != NULL && (slash == NULL || eq < slash)) {
        m.name = berth_arena_strndup(&c->arena, text, (size_t)(eq - text));
        m.path = berth_arena_strdup(&c->arena, eq + 1);
    } else {
        size_t len = strlen(text);
        while (len > 1 && text[len - 1] == '/')
            len--;
        size_t from = len;
        while (from > 0 && text[from - 1] != '/')
            from--;
        const char *dot = memrchr(text + from, '.', len - from);
        const size_t end = dot != NULL && dot > text + from ? (size_t)(dot - text) : len;
        m.name = berth_arena_strndup(&c->arena, text + from, end - from);
        m.path = berth_arena_strndup(&c->arena, text, len);
    }
    if (m.name == NULL || m.path == NULL)
        return no_memory(e);
    if (m.path[0] == '\0')
        return berth_err_set(e, BERTH_ECONFIG, "model %s has no path: say NAME=PATH", m.name);
    return put_model(c, &m, e);
}

static int
member_string(struct berth_conf_full *c, const struct berth_json *v, const char **ret,
              struct berth_err *e)
{
    struct berth_slice text;

    if (!berth_json_string(v, &text) || text.len == 0)
        return berth_err_set(e, BERTH_ECONFIG, "must be a string, is %s", berth_json_type_name(v));
    *ret = berth_arena_strndup(&c->arena, text.at, text.len);
    return *ret != NULL ? 0 : no_memory(e);
}

static int
put_model_object(struct berth_conf_full *c, const char *name, const struct berth_json *v,
                 struct berth_err *e)
{
    struct berth_conf_model m = {.name = name};

    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        int rc = 0;
        if (berth_slice_is(it.key, "path") || berth_slice_is(it.key, "model_path"))
            rc = member_string(c, it.value, &m.path, e);
        else if (berth_slice_is(it.key, "backend"))
            rc = member_string(c, it.value, &m.backend, e);
        else if (berth_slice_is(it.key, "config") && berth_json_type(it.value) == BERTH_JSON_OBJECT)
            m.config = it.value;
        else
            rc = berth_err_set(e, BERTH_ECONFIG,
                               "is not expected here; a model has path, backend "
                               "and config (an object)");
        if (rc != 0)
            return berth_err_wrap(e, rc, "%s.%.*s", name, (int)it.key.len, it.key.at);
    }
    if (m.path == NULL)
        return berth_err_set(e, BERTH_ECONFIG, "%s has no path", name);
    return put_model(c, &m, e);
}

static int
set_models_json(struct berth_conf_full *c, const struct berth_json *v, struct berth_err *e)
{
    if (berth_json_type(v) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_ECONFIG, "must map names to paths, is %s",
                             berth_json_type_name(v));
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        struct berth_conf_model m = {0};
        struct berth_slice path;
        int rc;
        m.name = berth_arena_strndup(&c->arena, it.key.at, it.key.len);
        if (m.name == NULL)
            return no_memory(e);
        if (berth_json_type(it.value) == BERTH_JSON_OBJECT) {
            rc = put_model_object(c, m.name, it.value, e);
        } else if (berth_json_string(it.value, &path)) {
            m.path = berth_arena_strndup(&c->arena, path.at, path.len);
            rc = m.path != NULL ? put_model(c, &m, e) : no_memory(e);
        } else {
            rc = berth_err_set(e, BERTH_ECONFIG, "%s is %s, not a path or an object", m.name,
                               berth_json_type_name(it.value));
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- from a tree, from text ---- */

static int
wrong_type(const struct berth_json *v, const char *want, struct berth_err *e)
{
    return berth_err_set(e, BERTH_ECONFIG, "must be %s, is %s", want, berth_json_type_name(v));
}

int
berth_conf_set_json(struct berth_conf_full *c, const struct berth_conf_row *row,
                    const struct berth_json *v, struct berth_err *e)
{
    struct berth_slice text;
    int64_t i;
    double d;
    bool t;

    if (berth_json_type(v) == BERTH_JSON_NULL && (row->bits & BERTH_CONF_NULL) != 0)
        return set_null(c, row, e);
    switch (row->type) {
    case BERTH_CONF_INT:
        return berth_json_int(v, &i) ? set_int(c, row, i, e) : wrong_type(v, "a whole number", e);
    case BERTH_CONF_FLOAT:
        return berth_json_real(v, &d) ? set_float(c, row, d, e) : wrong_type(v, "a number", e);
    case BERTH_CONF_BOOL:
        if (!berth_json_bool(v, &t) && !(berth_json_string(v, &text) && bool_parse(text, &t)))
            return wrong_type(v, "true or false", e);
        *(bool *)place(c, row) = t;
        return 0;
    case BERTH_CONF_STRING:
        return berth_json_string(v, &text) ? set_string(c, row, text, e)
                                           : wrong_type(v, "a string", e);
    case BERTH_CONF_STRINGS:
    case BERTH_CONF_INTS:
        list_clear(c, row);
        if (berth_json_type(v) == BERTH_JSON_NULL)
            return 0;
        return berth_json_type(v) == BERTH_JSON_ARRAY ? set_list_json(c, row, v, e)
                                                      : wrong_type(v, "a list", e);
    case BERTH_CONF_MAP:
        if (berth_json_type(v) != BERTH_JSON_OBJECT)
            return wrong_type(v, "a mapping", e);
        *(const struct berth_json **)place(c, row) = v;
        return 0;
    case BERTH_CONF_MODELS:
        list_clear(c, row);
        return berth_json_type(v) == BERTH_JSON_NULL ? 0 : set_models_json(c, v, e);
    }
    return 0;
}

static int
set_yaml_text(struct berth_conf_full *c, const struct berth_conf_row *row, const char *text,
              struct berth_err *e)
{
    const struct berth_json *v;
    const int rc = berth_yaml_parse(&c->arena, text, strlen(text), &v, e);

    return rc == 0 ? berth_conf_set_json(c, row, v, e) : rc == -BERTH_EINVAL ? -BERTH_ECONFIG : rc;
}

/* A size with a unit at its end is the usual reason: say the one that is meant, as in
 * max_memory_gb.
 */
static int
not_a_number(const struct berth_conf_row *row, const char *text, struct berth_err *e)
{
    const size_t len = strlen(row->key);

    if (len > 3 && strcmp(row->key + len - 3, "_gb") == 0)
        return berth_err_set(e, BERTH_ECONFIG,
                             "'%s' is not a number; it is in GiB, without a unit, as in 1.5", text);
    return berth_err_set(e, BERTH_ECONFIG, "'%s' is not a number", text);
}

int
berth_conf_set_text(struct berth_conf_full *c, const struct berth_conf_row *row, const char *text,
                    bool add, struct berth_err *e)
{
    const struct berth_slice s = berth_slice_of(text);
    int64_t i;
    double d;
    bool t;

    if ((row->bits & BERTH_CONF_NULL) != 0 && (s.len == 0 || berth_slice_is(s, "null")))
        return set_null(c, row, e);
    switch (row->type) {
    case BERTH_CONF_INT:
        return berth_int_parse(text, s.len, INT64_MIN, INT64_MAX, &i)
                   ? set_int(c, row, i, e)
                   : berth_err_set(e, BERTH_ECONFIG, "'%s' is not a whole number", text);
    case BERTH_CONF_FLOAT:
        return berth_float_parse(text, s.len, &d) ? set_float(c, row, d, e)
                                                  : not_a_number(row, text, e);
    case BERTH_CONF_BOOL:
        if (!bool_parse(s, &t))
            return berth_err_set(e, BERTH_ECONFIG, "'%s' is neither true nor false", text);
        *(bool *)place(c, row) = t;
        return 0;
    case BERTH_CONF_STRING:
        return set_string(c, row, s, e);
    case BERTH_CONF_STRINGS:
    case BERTH_CONF_INTS:
        if (text[0] == '[')
            return set_yaml_text(c, row, text, e);
        if (!add)
            list_clear(c, row);
        return set_list_text(c, row, text, e);
    case BERTH_CONF_MAP:
        return set_yaml_text(c, row, text, e);
    case BERTH_CONF_MODELS: /* always added to: the file's models stay */
        if (text[0] == '{')
            return set_yaml_text(c, row, text, e);
        return s.len > 0 ? put_model_text(c, text, e) : 0;
    }
    return 0;
}

/* ---- back to text ---- */

static void
put_models(struct berth_jw *w, const struct berth_conf_models *list)
{
    berth_jw_object(w);
    for (size_t i = 0; i < list->count; i++) {
        const struct berth_conf_model *m = &list->at[i];
        berth_jw_key(w, m->name);
        if (m->backend == NULL && m->config == NULL) {
            berth_jw_string(w, m->path);
            continue;
        }
        berth_jw_object(w);
        berth_jw_key(w, "path");
        berth_jw_string(w, m->path);
        if (m->backend != NULL) {
            berth_jw_key(w, "backend");
            berth_jw_string(w, m->backend);
        }
        if (m->config != NULL) {
            berth_jw_key(w, "config");
            berth_jw_value(w, m->config);
        }
        berth_jw_object_end(w);
    }
    berth_jw_object_end(w);
}

void
berth_conf_value_put(const struct berth_conf *c, const struct berth_conf_row *row,
                     struct berth_buf *out)
{
    const void *at = (const char *)c + row->offset;
    const struct berth_conf_strings *strings = at;
    const struct berth_conf_ints *ints = at;
    struct berth_jw w;

    berth_jw_init(&w, out);
    switch (row->type) {
    case BERTH_CONF_INT:
        if (*(const int64_t *)at == 0 && (row->bits & BERTH_CONF_NULL) != 0)
            berth_jw_null(&w);
        else
            berth_jw_int(&w, *(const int64_t *)at);
        return;
    case BERTH_CONF_FLOAT:
        berth_jw_double(&w, *(const double *)at);
        return;
    case BERTH_CONF_BOOL:
        berth_jw_bool(&w, *(const bool *)at);
        return;
    case BERTH_CONF_STRING:
        berth_jw_string(&w, *(const char *const *)at);
        return;
    case BERTH_CONF_STRINGS:
        berth_jw_array(&w);
        for (size_t i = 0; i < strings->count; i++)
            berth_jw_string(&w, strings->at[i]);
        berth_jw_array_end(&w);
        return;
    case BERTH_CONF_INTS:
        berth_jw_array(&w);
        for (size_t i = 0; i < ints->count; i++)
            berth_jw_int(&w, ints->at[i]);
        berth_jw_array_end(&w);
        return;
    case BERTH_CONF_MAP:
        berth_jw_value(&w, *(const struct berth_json *const *)at);
        return;
    case BERTH_CONF_MODELS:
        put_models(&w, at);
        return;
    }
}

const char *
berth_conf_value_text(struct berth_conf_full *c, const struct berth_conf_row *row)
{
    struct berth_buf b;

    berth_buf_init(&b, &c->arena);
    berth_conf_value_put(&c->conf, row, &b);
    const char *text = berth_buf_text(&b);
    return text != NULL ? text : "";
}
