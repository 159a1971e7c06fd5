#include "conf/conf_priv.h"

#include <stdio.h>
#include <string.h>

/* ---- the settings in effect ---- */

/* Print the section headers between the last key and this one; returns the depth. */
static size_t
sections(const char *last, const char *key, struct berth_buf *out)
{
    size_t depth = 0;
    const char *at = key;

    for (const char *dot; (dot = strchr(at, '.')) != NULL; at = dot + 1, depth++) {
        const size_t n = (size_t)(dot - key) + 1;
        if (strncmp(last, key, n) != 0)
            berth_buf_printf(out, "%*s%.*s:\n", (int)(2 * depth), "", (int)(dot - at), at);
    }
    return depth;
}

static bool
is_unset(const struct berth_conf *c, const struct berth_conf_row *row)
{
    const void *at = (const char *)c + row->offset;

    if (row->type == BERTH_CONF_STRINGS)
        return ((const struct berth_conf_strings *)at)->count == 0;
    return row->type == BERTH_CONF_STRING && *(const char *const *)at == NULL;
}

void
berth_conf_print(const struct berth_conf *c, bool origins, struct berth_buf *out)
{
    const struct berth_conf_full *full = (const struct berth_conf_full *)c;
    const char *last = "";

    for (size_t i = 0; i < berth_conf_row_count; i++) {
        const struct berth_conf_row *row = &berth_conf_rows[i];
        const bool hidden = (row->bits & BERTH_CONF_SECRET) != 0 && !is_unset(c, row);
        const size_t depth = sections(last, row->key, out);
        const char *dot = strrchr(row->key, '.');
        const size_t start = out->len;

        last = row->key;
        berth_buf_printf(out, "%*s%s%s: ", (int)(2 * depth), "", hidden ? "# " : "",
                         dot != NULL ? dot + 1 : row->key);
        if (hidden)
            berth_buf_puts(out, "(hidden)");
        else
            berth_conf_value_put(c, row, out);
        if (origins) {
            const size_t width = out->len - start;
            berth_buf_printf(out, "%*s# %s", width < 48 ? (int)(48 - width) : 1, "",
                             full->origins[i].where);
        }
        berth_buf_putc(out, '\n');
    }
}

/* ---- help and documentation ---- */

/* How much of a text fits beside its flag: all of it, or up to a comma or semicolon. */
static int
short_len(const char *text)
{
    enum { ROOM = 52 };
    int n = (int)strnlen(text, ROOM + 1);

    if (n <= ROOM)
        return n;
    while (n > 0 && strchr(",;", text[n - 1]) == NULL)
        n--;
    return n > 0 ? n - 1 : ROOM;
}

void
berth_conf_help(struct berth_buf *out)
{
    berth_buf_puts(out, "  -c, --config FILE         read settings from a YAML file\n");
    for (size_t i = 0; i < berth_conf_row_count; i++) {
        const struct berth_conf_row *row = &berth_conf_rows[i];
        if (row->flag == NULL || (row->bits & BERTH_CONF_MAIN) == 0)
            continue;
        berth_buf_printf(out, "      --%-19s %.*s\n", row->flag, short_len(row->help), row->help);
    }
    berth_buf_puts(out,
                   "      --set KEY=VALUE       any setting (berth config --docs lists them)\n");
}

static void
put_limits(const struct berth_conf_row *row, struct berth_buf *out)
{
    const bool number = row->type == BERTH_CONF_INT || row->type == BERTH_CONF_FLOAT;

    if (row->choices != NULL)
        for (const char *at = row->choices; *at != '\0'; at++)
            berth_buf_puts(out, *at == '|' ? ", " : (const char[2]){*at, '\0'});
    else if (number)
        berth_buf_printf(out, "%.15g to %.15g", row->min, row->max);
    else if (row->type == BERTH_CONF_BOOL)
        berth_buf_puts(out, "true, false");
    else if (row->type == BERTH_CONF_STRINGS || row->type == BERTH_CONF_INTS)
        berth_buf_puts(out, "list");
    else if (row->type == BERTH_CONF_MAP || row->type == BERTH_CONF_MODELS)
        berth_buf_puts(out, "mapping");
    else
        berth_buf_puts(out, "text");
}

static void
put_row(const struct berth_conf_row *row, struct berth_buf *out)
{
    char env[BERTH_CONF_ENV_MAX];

    berth_conf_env_name(row, env);
    berth_buf_printf(out, "| `%s` | ", row->key);
    if (strcmp(row->key, "state_dir") == 0)
        berth_buf_puts(out, "`~/.local/state/berth`");
    else if (row->dflt == NULL)
        berth_buf_puts(out, "null");
    else if (row->dflt[0] != '\0')
        berth_buf_printf(out, "`%s`", row->dflt);
    else
        berth_buf_puts(out, "empty");
    berth_buf_puts(out, " | ");
    put_limits(row, out);
    berth_buf_printf(out, " | `%s`", env);
    for (const struct berth_conf_alias *a = berth_conf_env_aliases; a->name != NULL; a++)
        if (strcmp(a->key, row->key) == 0)
            berth_buf_printf(out, " `%s`", a->name);
    if (strcmp(row->key, "logging.level") == 0)
        berth_buf_puts(out, " `RUST_LOG`");
    berth_buf_puts(out, " | ");
    if (row->flag != NULL)
        berth_buf_printf(out, "`--%s`", row->flag);
    berth_buf_printf(out, " | %s%s%s |\n", row->help,
                     (row->bits & BERTH_CONF_LIVE) != 0 ? " *(live)*" : "",
                     (row->bits & BERTH_CONF_INERT) != 0 ? " *(no effect yet)*" : "");
}

void
berth_conf_docs(struct berth_buf *out)
{
    char section[64] = "-";

    berth_buf_puts(
        out,
        "# Configuration\n\n"
        "Made by `berth config --docs` from the table in `src/conf/conf_table.c`.\n\n"
        "Settings come from four places; where several speak, the later wins, key by key:\n"
        "defaults, a YAML file (`--config FILE`, `BERTH_CONFIG` or `UNIMODEL_CONFIG_PATH`),\n"
        "environment variables, flags. Any key can be given as a flag: `--set KEY=VALUE`. Lists "
        "are\n"
        "written `a,b,c` there, mappings as YAML. `berth config` prints what is in effect and "
        "where\n"
        "each value came from.\n\n"
        "A key that is not known is an error that names the line and the nearest known key. A "
        "wrong\n"
        "value stops the program with exit status 1 (of a flag: 2). Keys marked *live* take "
        "effect\n"
        "when the server gets SIGHUP; the others after a restart. Keys marked *no effect yet* are\n"
        "accepted because existing files have them; the server says so once when one is set.\n\n"
        "`gpu:` may stand at top level instead of below `engine:`, and `monitoring.log_level` "
        "means\n"
        "`logging.level`. `models` maps names to paths, or to `{path, backend, config}`.\n");
    for (size_t i = 0; i < berth_conf_row_count; i++) {
        const struct berth_conf_row *row = &berth_conf_rows[i];
        const char *dot = strchr(row->key, '.');
        char now[64];
        (void)snprintf(now, sizeof now, "%.*s", dot != NULL ? (int)(dot - row->key) : 0, row->key);
        if (strcmp(now, section) != 0) {
            berth_buf_printf(
                out,
                "\n## %s\n\n| key | default | values | environment | flag | what it is "
                "|\n|---|---|---|---|---|---|\n",
                now[0] != '\0' ? now : "At top level");
            (void)snprintf(section, sizeof section, "%s", now);
        }
        put_row(row, out);
    }
}

/* ---- for others ---- */

const char *
berth_conf_key_at(size_t index)
{
    return index < berth_conf_row_count ? berth_conf_rows[index].key : NULL;
}

void
berth_conf_diff(const struct berth_conf *old, const struct berth_conf *now,
                void (*each)(void *arg, const char *key, bool live), void *arg)
{
    for (size_t i = 0; i < berth_conf_row_count; i++) {
        const struct berth_conf_row *row = &berth_conf_rows[i];
        struct berth_buf a, b;

        berth_buf_init(&a, NULL);
        berth_buf_init(&b, NULL);
        berth_conf_value_put(old, row, &a);
        berth_conf_value_put(now, row, &b);
        if (a.len != b.len || (a.len > 0 && memcmp(a.at, b.at, a.len) != 0))
            each(arg, row->key, (row->bits & BERTH_CONF_LIVE) != 0);
        berth_buf_fini(&a);
        berth_buf_fini(&b);
    }
}
