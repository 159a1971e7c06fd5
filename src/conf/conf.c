#include "conf/conf.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assert.h"
#include "conf/conf_priv.h"
#include "conf/near.h"

enum { MEMORY_BYTES_MAX = 64 << 20, FLAGS_MAX = 4096, NOTES_MAX = 256 };

/* ---- rows ---- */

static size_t
find_exact(const char *key)
{
    for (size_t i = 0; i < berth_conf_row_count; i++)
        if (strcmp(berth_conf_rows[i].key, key) == 0)
            return i;
    return SIZE_MAX;
}

size_t
berth_conf_find(const char *key)
{
    char other[256];

    for (const struct berth_conf_alias *a = berth_conf_key_aliases; a->name != NULL; a++) {
        const size_t n = strlen(a->name);
        if (strcmp(a->name, key) == 0)
            return find_exact(a->key);
        if (a->name[n - 1] == '.' && strncmp(a->name, key, n) == 0) {
            (void)snprintf(other, sizeof other, "%s%s", a->key, key + n);
            return find_exact(other);
        }
    }
    return find_exact(key);
}

void
berth_conf_env_name(const struct berth_conf_row *row, char room[BERTH_CONF_ENV_MAX])
{
    const int n = snprintf(room, BERTH_CONF_ENV_MAX, "BERTH_%s", row->key);

    berth_assert(n > 0 && n < BERTH_CONF_ENV_MAX);
    for (char *at = room; *at != '\0'; at++)
        *at = (char)(*at == '.' ? '_' : toupper((unsigned char)*at));
}

void
berth_conf_note(struct berth_conf_full *c, const char *fmt, ...)
{
    struct berth_conf_strings *notes = &c->conf.notes;
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char **at = BERTH_NEW_N(&c->arena, const char *, notes->count + 1);
    const char *copy = berth_arena_strdup(&c->arena, text);
    if (at == NULL || copy == NULL || notes->count == NOTES_MAX)
        return; /* a note is not worth failing for */
    if (notes->count > 0)
        memcpy(at, notes->at, notes->count * sizeof *at);
    at[notes->count] = copy;
    *notes = (struct berth_conf_strings){at, notes->count + 1};
}

int
berth_conf_key_add(struct berth_conf_full *c, const char *line, struct berth_err *e)
{
    struct berth_conf_strings *keys = &c->conf.security.api_keys;
    const char **at = BERTH_NEW_N(&c->arena, const char *, keys->count + 1);

    if (at == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "too many keys");
    if (keys->count > 0)
        memcpy(at, keys->at, keys->count * sizeof *at);
    at[keys->count] = line;
    *keys = (struct berth_conf_strings){at, keys->count + 1};
    return 0;
}

/* ---- environment ---- */

static const char *
env_get(char *const *envp, const char *name)
{
    const size_t n = strlen(name);

    for (; envp != NULL && *envp != NULL; envp++)
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
            return *envp + n + 1;
    return NULL;
}

const char *
berth_conf_state_dir_default(char *const *envp, char *room, size_t room_size)
{
    const char *own = env_get(envp, "BERTH_STATE_DIR");
    const char *xdg = env_get(envp, "XDG_STATE_HOME");
    const char *home = env_get(envp, "HOME");

    if (own != NULL && own[0] != '\0')
        (void)snprintf(room, room_size, "%s", own);
    else if (xdg != NULL && xdg[0] == '/')
        (void)snprintf(room, room_size, "%s/berth", xdg);
    else if (home != NULL && home[0] == '/' && home[1] != '\0')
        (void)snprintf(room, room_size, "%s/.local/state/berth", home);
    else
        (void)snprintf(room, room_size, "/var/lib/berth");
    return room;
}

static int
env_set(struct berth_conf_full *c, size_t row, const char *name, const char *text,
        struct berth_err *e)
{
    const int rc = berth_conf_set_text(c, &berth_conf_rows[row], text, false, e);

    if (rc != 0)
        return berth_err_wrap(e, rc, "Invalid %s", name);
    c->origins[row].from = BERTH_FROM_ENV;
    c->origins[row].where = berth_arena_strdup(&c->arena, name);
    return 0;
}

/* "debug", "unimodel=debug,hyper=warn": the first level that is named without a target, else the
 * first.  Other programs use the variable too, so what it does not say is no error. */
static int
rust_log(struct berth_conf_full *c, const char *text, struct berth_err *e)
{
    const size_t row = find_exact("logging.level");
    char found[16] = "";

    for (const char *at = text; *at != '\0';) {
        const size_t n = strcspn(at, ",");
        const char *eq = memchr(at, '=', n);
        const char *from = eq != NULL ? eq + 1 : at;
        const size_t len = n - (size_t)(from - at);
        if (len < sizeof found && (found[0] == '\0' || eq == NULL)) {
            memcpy(found, from, len);
            found[len] = '\0';
        }
        if (eq == NULL)
            break;
        at += n + (at[n] == ',');
    }
    for (char *at = found; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    struct berth_err ignored;
    if (berth_conf_set_text(c, &berth_conf_rows[row], found, false, &ignored) != 0) {
        berth_conf_note(c, "RUST_LOG says nothing about a level that is known here; ignored");
        return 0;
    }
    return env_set(c, row, "RUST_LOG", found, e);
}

static int
read_env(struct berth_conf_full *c, char *const *envp, struct berth_err *e)
{
    const char *rust = env_get(envp, "RUST_LOG");
    int rc = rust != NULL && rust[0] != '\0' ? rust_log(c, rust, e) : 0;

    for (const struct berth_conf_alias *a = berth_conf_env_aliases; rc == 0 && a->name != NULL;
         a++) {
        const char *text = env_get(envp, a->name);
        if (text != NULL)
            rc = env_set(c, find_exact(a->key), a->name, text, e);
    }
    for (size_t i = 0; rc == 0 && i < berth_conf_row_count; i++) {
        char name[BERTH_CONF_ENV_MAX];
        berth_conf_env_name(&berth_conf_rows[i], name);
        const char *text = env_get(envp, name);
        if (text != NULL)
            rc = env_set(c, i, name, text, e);
    }
    return rc;
}

/* ---- flags ---- */

struct flag {
    size_t row; /* SIZE_MAX: --set, with the key in name */
    const char *name, *value;
};

struct flags {
    struct flag *at;
    size_t count;
    const char *file;
};

bool
berth_conf_flag_at(size_t index, struct berth_conf_flag *ret)
{
    static const struct berth_conf_flag own[] = {
        {"config", "FILE", "read settings from a YAML file"},
        {"set", "KEY=VALUE", "any setting by its key; `berth config --docs` lists them"},
    };

    if (index < BERTH_COUNT(own)) {
        *ret = own[index];
        return true;
    }
    index -= BERTH_COUNT(own);
    for (size_t i = 0; i < berth_conf_row_count; i++) {
        const struct berth_conf_row *row = &berth_conf_rows[i];
        if (row->flag == NULL || index-- > 0)
            continue;
        const char *blank = strchr(row->flag, ' ');
        *ret =
            (struct berth_conf_flag){.value = blank != NULL ? blank + 1 : NULL, .help = row->help};
        (void)snprintf(ret->name, sizeof ret->name, "%.*s", (int)strcspn(row->flag, " "),
                       row->flag);
        return true;
    }
    return false;
}

/* The row with that flag, of len letters, or SIZE_MAX. */
static size_t
flag_row(const char *name, size_t len)
{
    for (size_t i = 0; i < berth_conf_row_count; i++) {
        const char *flag = berth_conf_rows[i].flag;
        if (flag != NULL && strcspn(flag, " ") == len && strncmp(flag, name, len) == 0)
            return i;
    }
    return SIZE_MAX;
}

/* With its dashes: one is not enough for a word. */
static int
flag_unknown(const char *arg, struct berth_err *e)
{
    const int dashes = arg[1] == '-' ? 2 : 1;
    char room[BERTH_CONF_ROWS_MAX][32], word[32];
    const char *names[BERTH_CONF_ROWS_MAX];
    struct berth_conf_flag f;
    size_t count = 0;

    while (count < BERTH_COUNT(room) && berth_conf_flag_at(count, &f)) {
        (void)snprintf(room[count], sizeof room[count], "%s", f.name);
        names[count] = room[count];
        count++;
    }
    (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(arg + dashes, "="), arg + dashes);
    const char *near = strlen(word) > 1 ? berth_near_miss(word, names, count) : NULL;
    if (near != NULL)
        return berth_err_set(e, BERTH_EINVAL, "no flag %.*s%s; did you mean --%s?", dashes, arg,
                             word, near);
    return berth_err_set(e, BERTH_EINVAL, "no flag %.*s%s; see --help, or use --set KEY=VALUE",
                         dashes, arg, word);
}

/* One argument that begins with two dashes.  *i is its place; a value may follow it. */
static int
flag_parse(struct flags *f, const struct berth_conf_from *from, int *i, struct berth_err *e)
{
    const char *name = from->argv[*i] + 2;
    const size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    const bool config = len == 6 && strncmp(name, "config", 6) == 0;
    const bool set = len == 3 && strncmp(name, "set", 3) == 0;
    size_t row = flag_row(name, len);
    bool no = false;

    if (row == SIZE_MAX && len > 3 && strncmp(name, "no-", 3) == 0) {
        row = flag_row(name + 3, len - 3);
        no = row != SIZE_MAX && berth_conf_rows[row].type == BERTH_CONF_BOOL && value == NULL;
        row = no ? row : SIZE_MAX;
    }
    if (row == SIZE_MAX && !config && !set)
        return flag_unknown(from->argv[*i], e);
    if (row != SIZE_MAX && berth_conf_rows[row].type == BERTH_CONF_BOOL && value == NULL)
        value = no ? "false" : "true";
    if (value == NULL) {
        if (*i + 1 >= from->argc)
            return berth_err_set(e, BERTH_EINVAL, "--%s needs a value", name);
        value = from->argv[++*i];
    }
    if (config)
        f->file = value;
    else if (set && strchr(value, '=') == NULL)
        return berth_err_set(e, BERTH_EINVAL, "--set %s: say KEY=VALUE", value);
    else if (f->count == FLAGS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "more than %d flags", FLAGS_MAX);
    else
        f->at[f->count++] = (struct flag){row, name, value};
    return 0;
}

static int
flags_parse(struct flags *f, const struct berth_conf_from *from, struct berth_err *e)
{
    bool only_words = false;

    for (int i = 0; i < from->argc; i++) {
        const char *arg = from->argv[i];
        int rc = 0;
        if (!only_words && strcmp(arg, "--") == 0)
            only_words = true;
        else if (!only_words && strcmp(arg, "-c") == 0 && i + 1 < from->argc)
            f->file = from->argv[++i];
        else if (!only_words && strncmp(arg, "--", 2) == 0)
            rc = flag_parse(f, from, &i, e);
        else if (!only_words && arg[0] == '-')
            rc = flag_unknown(arg, e);
        else if (from->file_first && f->file == NULL)
            f->file = arg;
        else if (f->count == FLAGS_MAX)
            rc = berth_err_set(e, BERTH_EINVAL, "more than %d arguments", FLAGS_MAX);
        else /* a word is a model to serve */
            f->at[f->count++] = (struct flag){find_exact("models"), "model", arg};
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int
flag_set(struct berth_conf_full *c, const struct flag *f, struct berth_err *e)
{
    const char *text = f->value;
    size_t row = f->row;
    char key[256];
    char where[300];

    if (row == SIZE_MAX) {
        const size_t n = strcspn(text, "=");
        (void)snprintf(key, sizeof key, "%.*s", (int)n, text);
        text += n + 1;
        row = berth_conf_find(key);
        if (row == SIZE_MAX) {
            const char *names[BERTH_CONF_ROWS_MAX];
            for (size_t i = 0; i < berth_conf_row_count; i++)
                names[i] = berth_conf_rows[i].key;
            const char *near = berth_near_miss(key, names, berth_conf_row_count);
            return berth_err_set(e, BERTH_EINVAL, "--set %s: no such setting%s%s%s", key,
                                 near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                                 near != NULL ? "?" : "");
        }
        (void)snprintf(where, sizeof where, "--set %s", key);
    } else {
        (void)snprintf(where, sizeof where, "--%.*s", (int)strcspn(f->name, "="), f->name);
    }
    const bool again = c->origins[row].from == BERTH_FROM_FLAG;
    const int rc = berth_conf_set_text(c, &berth_conf_rows[row], text, again, e);
    if (rc != 0)
        return berth_err_wrap(e, rc == -BERTH_ECONFIG ? -BERTH_EINVAL : rc, "%s", where);
    c->origins[row].from = BERTH_FROM_FLAG;
    c->origins[row].where = berth_arena_strdup(&c->arena, where);
    return 0;
}

/* ---- all together ---- */

static int
set_defaults(struct berth_conf_full *c, char *const *envp, struct berth_err *e)
{
    char state[512];

    for (size_t i = 0; i < berth_conf_row_count; i++) {
        const struct berth_conf_row *row = &berth_conf_rows[i];
        const char *text = row->dflt != NULL ? row->dflt : "null";
        if (row->offset == offsetof(struct berth_conf, state_dir))
            text = berth_conf_state_dir_default(envp, state, sizeof state);
        const int rc = berth_conf_set_text(c, row, text, false, e);
        if (rc != 0)
            return berth_err_wrap(e, rc, "default of %s", row->key);
        c->origins[i].where = "default";
        if ((row->bits & BERTH_CONF_INERT) != 0)
            c->origins[i].dflt = berth_conf_value_text(c, row);
    }
    return 0;
}

static const char *
file_name(const struct flags *f, const struct berth_conf_from *from)
{
    const char *file = f->file;

    if (file == NULL)
        file = env_get(from->envp, "BERTH_CONFIG");
    if (file == NULL)
        file = env_get(from->envp, "UNIMODEL_CONFIG_PATH");
    if (file == NULL && from->file_first && access("config/default.yaml", R_OK) == 0)
        file = "config/default.yaml";
    return file != NULL && file[0] != '\0' ? file : NULL;
}

static int
load(struct berth_conf_full *c, const struct berth_conf_from *from, struct berth_err *e)
{
    struct flags f = {
        .at = BERTH_NEW_N(&c->arena, struct flag, from->argc > 0 ? (size_t)from->argc : 1)};
    int rc = f.at != NULL ? flags_parse(&f, from, e)
                          : berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    const char *file = rc == 0 ? file_name(&f, from) : NULL;

    if (rc == 0)
        rc = set_defaults(c, from->envp, e);
    if (rc == 0 && from->text != NULL) {
        rc = berth_conf_text_read(c, from->text_name, berth_slice_of(from->text), e);
    } else if (rc == 0 && file != NULL) {
        rc = berth_conf_file_read(c, file, e);
        c->conf.file = berth_arena_strdup(&c->arena, file);
    }
    if (rc == 0)
        rc = read_env(c, from->envp, e);
    for (size_t i = 0; rc == 0 && i < f.count; i++)
        rc = flag_set(c, &f.at[i], e);
    return rc == 0 ? berth_conf_check(c, e) : rc;
}

int
berth_conf_load(const struct berth_conf_from *from, struct berth_conf **ret, struct berth_err *e)
{
    struct berth_conf_full *c = calloc(1, sizeof *c);

    if (c == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    berth_arena_init(&c->arena, MEMORY_BYTES_MAX);
    c->conf.from = *from;
    const int rc = load(c, from, e);
    if (rc != 0) {
        berth_conf_free(&c->conf);
        return rc;
    }
    *ret = &c->conf;
    return 0;
}

void
berth_conf_free(struct berth_conf *c)
{
    struct berth_conf_full *full = (struct berth_conf_full *)c;

    if (full == NULL)
        return;
    berth_arena_fini(&full->arena);
    free(full);
}

bool
berth_conf_is_set(const struct berth_conf *c, const char *key)
{
    const struct berth_conf_full *full = (const struct berth_conf_full *)c;
    size_t row = berth_conf_find(key);

    berth_assert(row != SIZE_MAX);
    return full->origins[row].from != BERTH_FROM_DEFAULT;
}
