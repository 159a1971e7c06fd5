#include "conf/conf_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "conf/near.h"
#include "wire/json.h"
#include "wire/yaml.h"

enum { FILE_BYTES_MAX = 1 << 20, KEY_MAX = 256 };

struct walk {
    struct berth_conf_full *c;
    const char *path, *text;
    size_t len;
    struct berth_err *e;
};

/* The whole file, NUL-ended, in the arena. */
static int
slurp(struct berth_arena *a, const char *path, const char **ret, size_t *ret_len,
      struct berth_err *e)
{
    char *text = berth_arena_alloc_raw(a, FILE_BYTES_MAX + 1);
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: not enough memory", path);
    if (fd < 0)
        return berth_err_set(e, BERTH_ECONFIG, "%s: cannot be opened: %s", path,
                             strerrordesc_np(errno));
    while (len <= FILE_BYTES_MAX) {
        const ssize_t n = read(fd, text + len, FILE_BYTES_MAX + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return berth_err_set(e, BERTH_ECONFIG, "%s: cannot be read: %s", path,
                                 strerrordesc_np(errno));
        if (n == 0) {
            text[len] = '\0';
            *ret = text;
            *ret_len = len;
            return 0;
        }
        len += (size_t)n;
    }
    return berth_err_set(e, BERTH_ECONFIG, "%s: is larger than %d bytes", path, FILE_BYTES_MAX);
}

/* "FILE:3: server.port", or without a line when it cannot be told. */
static int
wrap(const struct walk *w, int rc, const char *key)
{
    const size_t line = berth_yaml_line(w->text, w->len, key);

    if (line > 0)
        return berth_err_wrap(w->e, rc, "%s:%zu: %s", w->path, line, key);
    return berth_err_wrap(w->e, rc, "%s: %s", w->path, key);
}

static bool
is_section(const char *key)
{
    const size_t len = strlen(key);

    for (size_t i = 0; i < berth_conf_row_count; i++)
        if (strncmp(berth_conf_rows[i].key, key, len) == 0 && berth_conf_rows[i].key[len] == '.')
            return true;
    for (const struct berth_conf_alias *a = berth_conf_key_aliases; a->name != NULL; a++)
        if (strncmp(a->name, key, len) == 0 && a->name[len] == '.')
            return true;
    return false;
}

/* What key may have been meant to be, or NULL. */
static const char *
nearest(struct berth_arena *a, const char *key)
{
    const char *names[2 * BERTH_CONF_ROWS_MAX];
    const char *dot = strrchr(key, '.');
    const char *last = dot != NULL ? dot + 1 : key;
    size_t count = 0;

    for (size_t i = 0; i < berth_conf_row_count; i++) { /* in another section? */
        const char *end = strrchr(berth_conf_rows[i].key, '.');
        if (end != NULL && strcmp(end + 1, last) == 0)
            return berth_conf_rows[i].key;
    }
    for (size_t i = 0; i < berth_conf_row_count; i++) { /* misspelt, or the section is? */
        const char *row = berth_conf_rows[i].key;
        const char *section = berth_arena_strndup(a, row, strcspn(row, "."));
        names[count++] = row;
        if (section != NULL)
            names[count++] = section;
    }
    return berth_near_miss(key, names, count);
}

static int
unknown(const struct walk *w, const char *key)
{
    const char *near = nearest(&w->c->arena, key);
    int rc;

    if (near != NULL)
        rc = berth_err_set(w->e, BERTH_ECONFIG, "no such setting; did you mean %s?", near);
    else
        rc =
            berth_err_set(w->e, BERTH_ECONFIG, "no such setting; `berth config --docs` lists them");
    return wrap(w, rc, key);
}

static int
set(const struct walk *w, size_t row, const char *key, const struct berth_json *v)
{
    struct berth_conf_full *c = w->c;
    const size_t line = berth_yaml_line(w->text, w->len, key);

    if (c->origins[row].from == BERTH_FROM_FILE)
        return wrap(w, berth_err_set(w->e, BERTH_ECONFIG, "is given twice"), key);
    const int rc = berth_conf_set_json(c, &berth_conf_rows[row], v, w->e);
    if (rc != 0)
        return wrap(w, rc, key);
    const char *where = line > 0 ? berth_arena_printf(&c->arena, "%s:%zu", w->path, line) : w->path;
    c->origins[row].from = BERTH_FROM_FILE;
    c->origins[row].where = where != NULL ? where : "";
    return 0;
}

/* The tree is at most a few levels deep here: sections end where rows begin. */
static int
walk(const struct walk *w, const struct berth_json *tree)
{
    struct {
        struct berth_json_iter it;
        size_t key_len;
    } stack[8];
    char key[KEY_MAX];
    size_t depth = 1;

    stack[0].it = berth_json_iter(tree);
    stack[0].key_len = 0;
    while (depth > 0) {
        const size_t at = stack[depth - 1].key_len;
        struct berth_json_iter *it = &stack[depth - 1].it;
        if (!berth_json_next(it)) {
            depth--;
            continue;
        }
        if (at + it->key.len + 2 > sizeof key)
            return berth_err_set(w->e, BERTH_ECONFIG, "%s: a key is longer than %d bytes", w->path,
                                 KEY_MAX);
        memcpy(key + at, it->key.at, it->key.len);
        key[at + it->key.len] = '\0';
        const size_t row = berth_conf_find(key);
        int rc = 0;
        if (row != SIZE_MAX) {
            rc = set(w, row, key, it->value);
        } else if (!is_section(key) || depth == sizeof stack / sizeof stack[0]) {
            rc = unknown(w, key);
        } else if (berth_json_type(it->value) == BERTH_JSON_OBJECT) {
            const struct berth_json *v = it->value;
            const size_t len = strlen(key);
            key[len] = '.';
            stack[depth].it = berth_json_iter(v);
            stack[depth++].key_len = len + 1;
        } else if (berth_json_type(it->value) != BERTH_JSON_NULL) { /* an empty section is fine */
            rc = wrap(w,
                      berth_err_set(w->e, BERTH_ECONFIG, "must be a mapping, is %s",
                                    berth_json_type_name(it->value)),
                      key);
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

int
berth_conf_text_read(struct berth_conf_full *c, const char *path, struct berth_slice text,
                     struct berth_err *e)
{
    const struct walk w = {.c = c, .path = path, .text = text.at, .len = text.len, .e = e};
    const struct berth_json *tree;
    const int rc = berth_yaml_parse(&c->arena, text.at, text.len, &tree, e);

    if (rc != 0)
        return berth_err_wrap(e, rc == -BERTH_EINVAL ? -BERTH_ECONFIG : rc, "%s", path);
    if (berth_json_type(tree) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_ECONFIG, "%s: must be a mapping of settings, is %s", path,
                             berth_json_type_name(tree));
    return walk(&w, tree);
}

int
berth_conf_file_read(struct berth_conf_full *c, const char *path, struct berth_err *e)
{
    struct berth_slice text;
    const int rc = slurp(&c->arena, path, &text.at, &text.len, e);

    return rc == 0 ? berth_conf_text_read(c, path, text, e) : rc;
}

/* One key a line; blank lines and those that begin with # are skipped. */
int
berth_conf_keys_read(struct berth_conf_full *c, const char *path, struct berth_err *e)
{
    const char *text = "";
    size_t len, count = 0;
    int rc = slurp(&c->arena, path, &text, &len, e);

    for (const char *at = text; rc == 0 && *at != '\0';) {
        const size_t n = strcspn(at, "\r\n");
        if (n > 0 && at[0] != '#') {
            char *line = berth_arena_strndup(&c->arena, at, n);
            rc = line != NULL ? berth_conf_key_add(c, line, e)
                              : berth_err_set(e, BERTH_ENOMEM, "%s: not enough memory", path);
            count++;
        }
        at += n;
        at += strspn(at, "\r\n");
    }
    if (rc == 0 && count == 0)
        return berth_err_set(e, BERTH_ECONFIG, "%s: has no keys: write one a line", path);
    return rc;
}
