#include "cmd/shim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "cmd/commit.h" /* made by the build */
#include "cmd/serve.h"
#include "conf/conf.h"
#include "wire/json.h"
#include "wire/yaml.h"

enum { FILE_BYTES_MAX = 1 << 20, ARGS_MAX = 16 };

/* The flags, as they are documented; each is one of ours but --config. */
static const struct {
    const char *name, *value, *dflt, *help;
} flags[] = {
    {"port", "int", "8080", "port to listen on"},
    {"config", "string", NULL, "configuration file (YAML)"},
    {"shimlet", "string", NULL, "shimlet of services that name none"},
    {"pipeline", "string", NULL, "pipeline of services that name none"},
    {"plugin-dir", "string", NULL, "folder of shimlets and pipelines"},
    {"log-level", "string", "info", "debug, info, warn or error"},
    {"check-config", NULL, NULL, "check the configuration and exit"},
    {"version", NULL, NULL, "print the version and exit"},
    {"help", NULL, NULL, "print this and exit"},
};
enum { FLAG_COUNT = sizeof flags / sizeof flags[0], CONFIG = 1, CHECK = 6, VERSION, HELP };

static void
print_help(FILE *to)
{
    (void)fputs("Usage of model-serve-shim:\n", to);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        (void)fprintf(to, "  --%s%s%s\n        %s", flags[i].name,
                      flags[i].value != NULL ? " " : "",
                      flags[i].value != NULL ? flags[i].value : "", flags[i].help);
        if (flags[i].dflt != NULL)
            (void)fprintf(to, " (default %s)", flags[i].dflt);
        (void)fputc('\n', to);
    }
}

/* ---- one configuration to the other ---- */

/* Where a member of theirs goes.  Both of their forms are here. */
enum kind { TEXT, NUMBER, ADDRESS, SECONDS, READ_SECONDS, OUTPUT, PRELOAD, SHIMLETS, KUBERNETES };
static const struct {
    const char *theirs, *ours;
    enum kind kind;
} members[] = {
    {"service.port", "server.port", ADDRESS},
    {"service.readTimeout", "server.receive_timeout_secs", READ_SECONDS},
    {"service.writeTimeout", "server.write_timeout_secs", SECONDS},
    {"plugins.defaultShimlet", "deploy.shimlet", TEXT},
    {"plugins.defaultPipeline", "deploy.pipeline", TEXT},
    {"plugins.pluginDir", "plugins.plugin_dir", TEXT},
    {"plugins.preload", "deploy.preload", PRELOAD},
    {"plugins.strict", "deploy.load_strict", NUMBER},
    {"defaultShimlet", "deploy.shimlet", TEXT},
    {"defaultPipeline", "deploy.pipeline", TEXT},
    {"logging.level", "logging.level", TEXT},
    {"logging.format", "logging.format", TEXT},
    {"logging.output", "logging.output", OUTPUT},
    {"server.port", "server.port", ADDRESS},
    {"log.level", "logging.level", TEXT},
    {"log.path", "logging.file_path", TEXT},
    {"log.max-size", "logging.rotation_size_mb", NUMBER},
    {"log.max-age", "logging.max_age_days", NUMBER},
    {"log.compress", "logging.compress", NUMBER},
    {"log.show-line", "logging.show_line", NUMBER},
    {"log.enable-console", "logging.console_output", NUMBER},
    {"current-shimlet", "deploy.shimlet", TEXT},
    {"shimlet.name", "deploy.shimlet", TEXT},
    {"model-manage.model-root", "deploy.model_root", TEXT},
    {"tracer.interval", "deploy.resync_secs", NUMBER},
    {"shimlets", "plugins.plugin_configs", SHIMLETS},
    {"k8s", "plugins.plugin_configs", KUBERNETES},
    {NULL, NULL, TEXT},
};

/* Ours, while it is put together: a tree that further members are merged into. */
struct converting {
    const char *dir;
    struct berth_arena *a;
    const struct berth_json *ours;
    struct berth_buf *notes;
    struct berth_err *e;
};

/* Merge {"a": {"b": VALUE}} for the path a.b, VALUE being JSON text. */
static int
put(struct converting *c, const char *path, const char *value)
{
    struct berth_buf b, merged;
    struct berth_jw w;
    const struct berth_json *one = NULL;
    unsigned depth = 0;

    if (value == NULL)
        return berth_err_set(c->e, BERTH_ENOMEM, "not enough memory");
    berth_buf_init(&b, c->a);
    berth_jw_init(&w, &b);
    for (const char *at = path; *at != '\0'; depth++) {
        const size_t n = strcspn(at, ".");

        berth_jw_object(&w);
        berth_jw_key_n(&w, at, n);
        at += n + (at[n] == '.');
    }
    berth_jw_raw(&w, value, strlen(value));
    while (depth-- > 0)
        berth_jw_object_end(&w);
    berth_buf_init(&merged, c->a);
    if (berth_buf_text(&b) != NULL && berth_json_parse(c->a, b.at, b.len, NULL, &one, NULL) == 0) {
        berth_jw_init(&w, &merged);
        berth_jw_merged(&w, c->ours, one);
    }
    if (berth_buf_text(&merged) == NULL ||
        berth_json_parse(c->a, merged.at, merged.len, NULL, &c->ours, NULL) < 0)
        return berth_err_set(c->e, BERTH_ENOMEM, "%s: cannot be taken over", path);
    return 0;
}

static const char *
json_text(struct converting *c, const struct berth_json *v)
{
    struct berth_buf b;

    berth_buf_init(&b, c->a);
    berth_json_put(&b, v);
    return berth_buf_text(&b);
}

static const char *
quoted(struct converting *c, const char *text)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, c->a);
    berth_jw_init(&w, &b);
    berth_jw_string(&w, text);
    return berth_buf_text(&b);
}

/* 8080, "8080", ":7777" (every interface, as its writer meant), "127.0.0.1:7777". */
static int
put_address(struct converting *c, const char *theirs, const struct berth_json *v)
{
    struct berth_slice t;
    const char *colon;
    int rc;

    if (!berth_json_string(v, &t))
        return put(c, "server.port", json_text(c, v));
    colon = strrchr(t.at, ':');
    const char *port = colon != NULL ? colon + 1 : t.at;
    if (port[0] == '\0' || port[strspn(port, "0123456789")] != '\0' || strlen(port) > 5)
        return berth_err_set(c->e, BERTH_ECONFIG, "%s: \"%s\" is no port or address with a port",
                             theirs, t.at);
    rc = put(c, "server.port", port);
    if (rc == 0 && colon != NULL)
        rc =
            put(c, "server.host",
                quoted(c, colon == t.at ? "0.0.0.0"
                                        : berth_arena_strndup(c->a, t.at, (size_t)(colon - t.at))));
    return rc;
}

/* 30, "30s", "1m30s", "500ms" (at least a second). */
static int
put_seconds(struct converting *c, const char *theirs, const char *ours, const struct berth_json *v)
{
    struct berth_slice t;
    double seconds = 0;
    char *text;

    if (!berth_json_string(v, &t))
        return put(c, ours, json_text(c, v));
    for (const char *at = t.at; *at != '\0';) {
        char *end;
        const double n = strtod(at, &end);

        if (end == at || n < 0)
            return berth_err_set(c->e, BERTH_ECONFIG, "%s: \"%s\" is no duration such as 30s",
                                 theirs, t.at);
        at = end;
        if (strncmp(at, "ms", 2) == 0) {
            seconds += n / 1e3;
            at += 2;
        } else {
            seconds += *at == 'h' ? n * 3600 : *at == 'm' ? n * 60 : n;
            at += *at != '\0';
        }
    }
    text = berth_arena_printf(c->a, "%.0f", seconds < 1 ? 1 : seconds);
    return put(c, ours, text);
}

/* stdout, stderr, or a file, which then is the only place. */
static int
put_output(struct converting *c, const char *ours, const struct berth_json *v)
{
    struct berth_slice t;
    int rc;

    if (!berth_json_string(v, &t) || berth_slice_is(t, "stdout") || berth_slice_is(t, "stderr"))
        return put(c, ours, json_text(c, v));
    rc = t.len > 0 ? put(c, "logging.file_path", json_text(c, v)) : 0;
    return rc < 0 || t.len == 0 ? rc : put(c, "logging.console_output", "false");
}

static const char *
text_of(const struct berth_json *v, const char *key)
{
    struct berth_slice t;

    return berth_json_string(berth_json_get(v, key), &t) ? t.at : NULL;
}

static int
put_preload(struct converting *c, const struct berth_json *v)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, c->a);
    berth_jw_init(&w, &b);
    berth_jw_array(&w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        const char *type = text_of(it.value, "type"), *path = text_of(it.value, "path");

        if (path == NULL || type == NULL ||
            (strcmp(type, "shimlet") != 0 && strcmp(type, "pipeline") != 0))
            return berth_err_set(c->e, BERTH_ECONFIG,
                                 "plugins.preload[%zu]: must be {type: shimlet or pipeline, path: "
                                 "FILE}",
                                 it.index);
        berth_jw_string(&w, berth_arena_printf(c->a, "%s:%s", type, path));
    }
    berth_jw_array_end(&w);
    return put(c, "deploy.preload", berth_buf_text(&b));
}

/* A shimlet's settings under its name: our names have '_' where theirs have '-'. */
static int
put_settings(struct converting *c, const char *shimlet, const struct berth_json *v)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, c->a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        char *key = berth_arena_strndup(c->a, it.key.at, it.key.len);

        if (key == NULL || berth_json_type(it.value) == BERTH_JSON_NULL ||
            (berth_json_type(it.value) == BERTH_JSON_STRING && text_of(v, it.key.at)[0] == '\0'))
            continue; /* empty: as if it were not there */
        for (char *at = key; *at != '\0'; at++)
            *at = (char)(*at == '-' ? '_' : *at);
        berth_jw_key(&w, strcmp(key, "kube_config") == 0 ? "kubeconfig" : key);
        berth_jw_value(&w, it.value);
    }
    berth_jw_object_end(&w);
    const char *name = strcmp(shimlet, "k8s") == 0 ? "kubernetes" : shimlet;
    return put(c, berth_arena_printf(c->a, "plugins.plugin_configs.%s", name), berth_buf_text(&b));
}

static int
read_yaml(struct berth_arena *a, const char *path, const struct berth_json **ret,
          struct berth_err *e)
{
    char *text = berth_arena_alloc(a, FILE_BYTES_MAX + 1);
    FILE *f = fopen(path, "re");
    size_t n = 0;

    if (f == NULL)
        return berth_err_set(e, BERTH_ECONFIG, "%s: %s", path, strerrordesc_np(errno));
    if (text != NULL)
        n = fread(text, 1, FILE_BYTES_MAX + 1, f);
    (void)fclose(f);
    if (text == NULL || n > FILE_BYTES_MAX)
        return berth_err_set(e, BERTH_ECONFIG, "%s: is too large", path);
    const int rc = berth_yaml_parse(a, text, n, ret, e);
    return rc < 0 ? berth_err_wrap(e, rc, "%s", path) : 0;
}

/* {ID: {config-path: FILE}}: what the file says are the shimlet's settings. */
static int
put_shimlets(struct converting *c, const struct berth_json *v)
{
    int rc = 0;

    for (struct berth_json_iter it = berth_json_iter(v); rc == 0 && berth_json_next(&it);) {
        const char *path = text_of(it.value, "config-path");
        const struct berth_json *settings = it.value;

        if (path != NULL) {
            const char *whole =
                path[0] == '/' ? path : berth_arena_printf(c->a, "%s/%s", c->dir, path);

            /* Beside the file, or where the program was started, as it was. */
            if (whole != NULL && access(whole, R_OK) != 0 && access(path, R_OK) == 0)
                whole = path;
            if (whole == NULL || access(whole, R_OK) != 0) {
                berth_buf_printf(c->notes, "shimlets.%s.config-path: %s is not there\n", it.key.at,
                                 path);
                continue;
            }
            rc = read_yaml(c->a, whole, &settings, c->e);
        }
        if (rc == 0)
            rc = put_settings(c, it.key.at, settings);
    }
    return rc;
}

static int
put_member(struct converting *c, const char *theirs, const char *ours, enum kind kind,
           const struct berth_json *v)
{
    struct berth_slice t;
    int rc;

    switch (kind) {
    case ADDRESS:
        return put_address(c, theirs, v);
    case SECONDS:
        return put_seconds(c, theirs, ours, v);
    case READ_SECONDS: /* the head is part of what is read */
        rc = put_seconds(c, theirs, ours, v);
        return rc < 0 ? rc : put_seconds(c, theirs, "server.head_timeout_secs", v);
    case OUTPUT:
        return put_output(c, ours, v);
    case TEXT:
        if (berth_json_string(v, &t) && t.len == 0)
            return 0; /* empty: as if it were not there */
        return put(c, ours, json_text(c, v));
    case NUMBER:
        return put(c, ours, json_text(c, v));
    case PRELOAD:
        return put_preload(c, v);
    case SHIMLETS:
        return put_shimlets(c, v);
    case KUBERNETES:
        return put_settings(c, "kubernetes", v);
    }
    return 0;
}

static int
convert(struct converting *c, const char *prefix, const struct berth_json *v)
{
    int rc = 0;

    for (struct berth_json_iter it = berth_json_iter(v); rc == 0 && berth_json_next(&it);) {
        char path[160], nested[162];
        size_t i = 0;
        bool group = false;

        (void)snprintf(path, sizeof path, "%s%.100s", prefix, it.key.at);
        (void)snprintf(nested, sizeof nested, "%s.", path);
        while (members[i].theirs != NULL && strcmp(members[i].theirs, path) != 0) {
            group = group || strncmp(members[i].theirs, nested, strlen(nested)) == 0;
            i++;
        }
        if (berth_json_type(it.value) == BERTH_JSON_NULL)
            continue;
        if (members[i].theirs != NULL)
            rc = put_member(c, path, members[i].ours, members[i].kind, it.value);
        else if (group && berth_json_type(it.value) == BERTH_JSON_OBJECT)
            rc = convert(c, nested, it.value);
        else
            berth_buf_printf(c->notes, "%s is not known and has no effect\n", path);
    }
    return rc;
}

/* A configuration of ModelServeShim, in either of its two forms, as one of ours (JSON).  What it
 * has no counterpart for goes to notes, a line each.  dir: paths in it begin there. */
static int
convert_all(const struct berth_json *theirs, const char *dir, struct berth_arena *a,
            struct berth_buf *ours, struct berth_buf *notes, struct berth_err *e)
{
    /* What it has done always, or says that it does. */
    static const char base[] = "{\"server\":{\"port\":8080},\"monitoring\":{\"access_log\":true},"
                               "\"logging\":{\"output\":\"stdout\"}}";
    struct converting c = {.dir = dir, .a = a, .notes = notes, .e = e};
    int rc = berth_json_parse(a, base, sizeof base - 1, NULL, &c.ours, e);

    if (rc == 0)
        rc = convert(&c, "", theirs);
    if (rc == 0)
        berth_json_put(ours, c.ours);
    return rc;
}

/* ---- the program ---- */

struct given {
    const char *values[FLAG_COUNT]; /* NULL: not given */
};

/* "--name value", "--name=value", "-name", "-c FILE". */
static bool
read_flags(int argc, char *const *argv, struct given *g)
{
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        const char *name = strcmp(arg, "-c") == 0   ? "config"
                           : strcmp(arg, "-h") == 0 ? "help"
                                                    : arg + 1 + (arg[0] != '\0' && arg[1] == '-');
        const size_t n = strcspn(name, "=");
        size_t k = 0;

        while (k < FLAG_COUNT &&
               (strlen(flags[k].name) != n || strncmp(flags[k].name, name, n) != 0))
            k++;
        if (arg[0] != '-' || k == FLAG_COUNT) {
            (void)fprintf(stderr, "model-serve-shim: flag provided but not defined: %s\n", arg);
            print_help(stderr);
            return false;
        }
        if (flags[k].value == NULL)
            g->values[k] = "";
        else if (name[n] == '=')
            g->values[k] = name + n + 1;
        else if (i + 1 < argc)
            g->values[k] = argv[++i];
        else {
            (void)fprintf(stderr, "model-serve-shim: --%s needs a value\n", flags[k].name);
            return false;
        }
    }
    return true;
}

/* The configuration in effect: flags over environment over file over defaults. */
static int
load(const struct given *g, struct berth_arena *a, struct berth_conf **ret, struct berth_err *e)
{
    const char *file = g->values[CONFIG], *slash = file != NULL ? strrchr(file, '/') : NULL;
    char **argv = BERTH_NEW_N(a, char *, ARGS_MAX);
    const struct berth_json *theirs = NULL;
    struct berth_buf ours, notes;
    struct berth_conf_from from = {.envp = environ};
    int rc = 0;

    if (file != NULL)
        rc = read_yaml(a, file, &theirs, e);
    berth_buf_init(&ours, a);
    berth_buf_init(&notes, a);
    const char *dir =
        slash == NULL ? "." : berth_arena_strndup(a, file, (size_t)(slash - file) + 1);
    if (rc == 0)
        rc = convert_all(theirs, dir, a, &ours, &notes, e);
    for (size_t k = 0; rc == 0 && argv != NULL && k < CHECK; k++)
        if (k != CONFIG && g->values[k] != NULL)
            argv[from.argc++] = berth_arena_printf(a, "--%s=%s", flags[k].name, g->values[k]);
    if (rc < 0)
        return rc;
    from.argv = argv;
    from.text = berth_buf_text(&ours);
    from.text_name = file != NULL ? file : "model-serve-shim";
    if (from.text == NULL || argv == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    for (const char *at = notes.len > 0 ? berth_buf_text(&notes) : NULL;
         at != NULL && *at != '\0';) {
        const size_t n = strcspn(at, "\n");

        (void)fprintf(stderr, "model-serve-shim: %s: %.*s\n", from.text_name, (int)n, at);
        at += n + (at[n] == '\n');
    }
    return berth_conf_load(&from, ret, e);
}

/* What a configuration comes to, in our words. */
static int
print_checked(const struct berth_conf *conf)
{
    struct berth_buf all;
    int rc;

    berth_buf_init(&all, NULL);
    berth_buf_puts(&all, "the configuration is fine; in effect, and from where:\n");
    berth_conf_print(conf, true, &all);
    const char *text = berth_buf_text(&all);
    rc = text != NULL && fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? 0 : 1;
    berth_buf_fini(&all);
    return rc;
}

int
berth_shim_main(int argc, char *const *argv)
{
    struct given g = {{NULL}};
    struct berth_arena a;
    struct berth_conf *conf = NULL;
    struct berth_err e = {""};
    int rc = 0;

    if (!read_flags(argc, argv, &g))
        return 2;
    if (g.values[HELP] != NULL) {
        print_help(stdout);
        return 0;
    }
    if (g.values[VERSION] != NULL)
        return printf("ModelServeShim v%s (commit: %s)\n", BERTH_VERSION, BERTH_COMMIT) > 0 ? 0 : 1;
    berth_arena_init(&a, 64 << 20);
    if (load(&g, &a, &conf, &e) < 0) {
        (void)fprintf(stderr, "model-serve-shim: %s\n", e.msg);
        rc = 1;
    } else if (g.values[CHECK] != NULL) {
        rc = print_checked(conf);
    } else {
        rc = berth_cmd_serve(conf, NULL);
    }
    berth_conf_free(conf);
    berth_arena_fini(&a);
    return rc;
}
