#include "plugin/plugins.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

enum { PLUGINS_MAX = 64, NAME_MAX_LEN = 64, DIR_FILES_MAX = 4096 };
static const char prefix[] = "berth-", suffix[] = ".so";

struct plugin {
    char *name, *path; /* path "": compiled in */
    const struct berth_backend_ops *ops;
    char *why; /* it could not be opened: the reason; not tried again */
};

struct berth_plugins {
    pthread_mutex_t mu; /* also held while a plugin is opened: once, and it calls nothing of ours
                           but the log */
    const struct berth_host *host;
    char *dirs; /* as text, for messages */
    struct plugin plugins[PLUGINS_MAX];
    size_t len;
    struct berth_plugin_info infos[PLUGINS_MAX];
};

static struct plugin *
find(struct berth_plugins *p, const char *name)
{
    for (size_t i = 0; i < p->len; i++) {
        if (strcmp(p->plugins[i].name, name) == 0)
            return &p->plugins[i];
    }
    return NULL;
}

/* echo first, since it costs nothing to open; then by name. */
static int
compare(const void *a, const void *b)
{
    const struct plugin *x = a, *y = b;
    int echo = (strcmp(y->name, "echo") == 0) - (strcmp(x->name, "echo") == 0);

    return echo != 0 ? echo : strcmp(x->name, y->name);
}

/* Keep the plugin `name` in the file dir/rest, unless an earlier folder has one of that name. */
static int
keep(struct berth_plugins *p, const char *name, size_t name_len, const char *dir, const char *rest,
     struct berth_err *e)
{
    BERTH_AUTO_FREE char *copy = strndup(name, name_len);

    if (copy != NULL && find(p, copy) != NULL)
        return 0;
    if (p->len == PLUGINS_MAX)
        return berth_err_set(e, BERTH_ELIMIT, "%s: more than %d plugins", dir, PLUGINS_MAX);
    struct plugin *plugin = &p->plugins[p->len];
    if (copy == NULL || asprintf(&plugin->path, "%s/%s", dir, rest) < 0) {
        plugin->path = NULL;
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", dir);
    }
    plugin->name = BERTH_TAKE(copy);
    p->len++;
    return 0;
}

/* Shimlets and pipelines lie in the same folder, and are no backends. */
static bool
is_other_kind(const char *name)
{
    return strncmp(name, "shimlet-", 8) == 0 || strncmp(name, "pipeline-", 9) == 0;
}

/* dir/berth-NAME.so, and dir/NAME/berth-NAME.so for one that brings its engine along. */
static int
scan_dir(struct berth_plugins *p, const char *dir, struct berth_err *e)
{
    DIR *d = opendir(dir);
    int r = 0;

    if (d == NULL)
        return 0; /* a folder that is not there has no plugins */
    for (struct dirent *f; r == 0 && (f = readdir(d)) != NULL;) {
        char inner[2 * NAME_MAX_LEN + 16];
        size_t len = strlen(f->d_name);
        if (len > NAME_MAX_LEN || f->d_name[0] == '.')
            continue;
        if (len > sizeof prefix - 1 + sizeof suffix - 1 &&
            strncmp(f->d_name, prefix, sizeof prefix - 1) == 0 &&
            strcmp(f->d_name + len - (sizeof suffix - 1), suffix) == 0) {
            if (is_other_kind(f->d_name + sizeof prefix - 1))
                continue;
            r = keep(p, f->d_name + sizeof prefix - 1,
                     len - (sizeof prefix - 1) - (sizeof suffix - 1), dir, f->d_name, e);
            continue;
        }
        (void)snprintf(inner, sizeof inner, "%s/%s%s%s", f->d_name, prefix, f->d_name, suffix);
        if (faccessat(dirfd(d), inner, F_OK, 0) == 0)
            r = keep(p, f->d_name, len, dir, inner, e);
    }
    (void)closedir(d);
    return r;
}

int
berth_plugins_new(const char *const *dirs, const struct berth_host *host,
                  struct berth_plugins **ret, struct berth_err *e)
{
    struct berth_plugins *p = calloc(1, sizeof *p);
    struct berth_buf text;
    int r = 0;

    if (p == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "plugins: out of memory");
    p->host = host;
    (void)pthread_mutex_init(&p->mu, NULL);
    berth_buf_init(&text, NULL);
    for (size_t i = 0; r == 0 && dirs != NULL && dirs[i] != NULL; i++) {
        berth_buf_printf(&text, "%s%s", i > 0 ? ", " : "", dirs[i]);
        r = scan_dir(p, dirs[i], e);
    }
    if (r == 0 && (berth_buf_text(&text) == NULL || (p->dirs = strdup(text.at)) == NULL))
        r = berth_err_set(e, BERTH_ENOMEM, "plugins: out of memory");
    berth_buf_fini(&text);
    if (r < 0) {
        berth_plugins_free(p);
        return r;
    }
    qsort(p->plugins, p->len, sizeof p->plugins[0], compare);
    *ret = p;
    return 0;
}

void
berth_plugins_free(struct berth_plugins *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->len; i++) {
        free(p->plugins[i].name);
        free(p->plugins[i].path);
        free(p->plugins[i].why);
    }
    (void)pthread_mutex_destroy(&p->mu);
    free(p->dirs);
    free(p);
}

static int
check_ops(const struct berth_backend_ops *ops, const char *where, struct berth_err *e)
{
    if (ops->abi != BERTH_BACKEND_ABI)
        return berth_err_set(e, BERTH_EABI,
                             "%s: made for plugin ABI %u, this program has %u; build it again",
                             where, ops->abi, BERTH_BACKEND_ABI);
    if (!BERTH_HAS(ops, name) || !BERTH_HAS(ops, version) || !BERTH_HAS(ops, load) ||
        !BERTH_HAS(ops, unload) || !BERTH_HAS(ops, describe) ||
        (!BERTH_HAS(ops, run) && !BERTH_HAS(ops, step)))
        return berth_err_set(e, BERTH_EABI,
                             "%s: a required operation is missing (name, version, load, unload, "
                             "describe, and run or step)",
                             where);
    return 0;
}

/* Is this a program library at all?  dlopen() would say so too, but less plainly. */
static int
check_file(const char *path, struct berth_err *e)
{
    char magic[4] = "";
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return berth_err_set(e, BERTH_EABI, "%s: %m", path);
    size_t n = fread(magic, 1, sizeof magic, f);
    (void)fclose(f);
    if (n != sizeof magic || memcmp(magic, "\177ELF", sizeof magic) != 0)
        return berth_err_set(e, BERTH_EABI, "%s: not a shared library", path);
    return 0;
}

static int
open_plugin(const struct berth_plugins *p, struct plugin *plugin,
            const struct berth_backend_ops **ret, struct berth_err *e)
{
    berth_backend_entry_fn *entry;
    int r = check_file(plugin->path, e);

    if (r < 0)
        return r;
    /* Never closed: a library that has started threads cannot be unmapped safely. */
    void *so = dlopen(plugin->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (so == NULL)
        return berth_err_set(e, BERTH_EABI, "backend %s: %s", plugin->name,
                             dlerror()); /* NOLINT(concurrency-mt-unsafe): per thread in glibc */
    *(void **)&entry = dlsym(so, BERTH_BACKEND_ENTRY);
    if (entry == NULL)
        return berth_err_set(e, BERTH_EABI, "%s: no symbol %s: not a plugin of this program",
                             plugin->path, BERTH_BACKEND_ENTRY);
    struct berth_err inner = {"its entry failed without a reason"};
    const struct berth_backend_ops *ops = entry(p->host, &inner);
    if (ops == NULL)
        return berth_err_set(e, BERTH_EABI, "%s: %s", plugin->path, inner.msg);
    if ((r = check_ops(ops, plugin->path, e)) < 0)
        return r;
    if (strcmp(ops->name, plugin->name) != 0)
        return berth_err_set(e, BERTH_EABI, "%s: calls itself %s; the file must be named %s%s%s",
                             plugin->path, ops->name, prefix, ops->name, suffix);
    *ret = ops;
    return 0;
}

/* Open it when that was not tried yet. */
static int
opened_locked(struct berth_plugins *p, struct plugin *plugin, struct berth_err *e)
{
    struct berth_err inner = {""};

    if (plugin->ops != NULL)
        return 0;
    if (plugin->why == NULL && open_plugin(p, plugin, &plugin->ops, &inner) < 0)
        plugin->why = strdup(inner.msg);
    if (plugin->ops != NULL)
        return 0;
    return berth_err_set(e, BERTH_EABI, "%s", plugin->why != NULL ? plugin->why : inner.msg);
}

int
berth_plugins_add(struct berth_plugins *p, const struct berth_backend_ops *ops, struct berth_err *e)
{
    int r = check_ops(ops, "a compiled-in backend", e);

    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&p->mu);
    if (find(p, ops->name) != NULL) {
        r = berth_err_set(e, BERTH_EEXIST, "backend %s: there is one already", ops->name);
    } else if (p->len == PLUGINS_MAX) {
        r = berth_err_set(e, BERTH_ELIMIT, "more than %d backends", PLUGINS_MAX);
    } else {
        struct plugin plugin = {.name = strdup(ops->name), .path = strdup(""), .ops = ops};
        if (plugin.name == NULL || plugin.path == NULL) {
            free(plugin.name);
            free(plugin.path);
            r = berth_err_set(e, BERTH_ENOMEM, "backend %s: out of memory", ops->name);
        } else {
            memmove(&p->plugins[1], &p->plugins[0], p->len * sizeof p->plugins[0]);
            p->plugins[0] = plugin;
            p->len++;
        }
    }
    (void)pthread_mutex_unlock(&p->mu);
    return r;
}

static int
unknown_locked(const struct berth_plugins *p, const char *name, struct berth_err *e)
{
    struct berth_buf text;

    berth_buf_init(&text, NULL);
    for (size_t i = 0; i < p->len; i++)
        berth_buf_printf(&text, "%s%s", i > 0 ? ", " : "", p->plugins[i].name);
    const char *names = berth_buf_text(&text);
    int r =
        berth_err_set(e, BERTH_ENOENT, "no backend called '%.64s'; there is: %s (looked in: %s)",
                      name, names != NULL && names[0] != '\0' ? names : "none",
                      p->dirs[0] != '\0' ? p->dirs : "no folder");
    berth_buf_fini(&text);
    return r;
}

int
berth_plugins_backend(struct berth_plugins *p, const char *name,
                      const struct berth_backend_ops **ret, struct berth_err *e)
{
    int r;

    (void)pthread_mutex_lock(&p->mu);
    struct plugin *plugin = find(p, name);
    if (plugin == NULL)
        r = unknown_locked(p, name, e);
    else if ((r = opened_locked(p, plugin, e)) == 0)
        *ret = plugin->ops;
    (void)pthread_mutex_unlock(&p->mu);
    return r;
}

static bool
ends_in(const char *const *suffixes, const char *file)
{
    size_t len = strlen(file);

    for (const char *const *s = suffixes; s != NULL && *s != NULL; s++) {
        size_t n = strlen(*s);
        if (n > 0 && len > n && strcasecmp(file + len - n, *s) == 0)
            return true;
    }
    return false;
}

/* Does the path's own name end so, or that of a file in it? */
static bool
path_ends_in(const char *const *suffixes, const char *path)
{
    const char *slash = strrchr(path, '/');
    bool found = ends_in(suffixes, slash != NULL ? slash + 1 : path);
    DIR *d = found ? NULL : opendir(path);

    if (d == NULL)
        return found;
    size_t seen = 0;
    for (struct dirent *f; !found && seen < DIR_FILES_MAX && (f = readdir(d)) != NULL; seen++)
        found = f->d_name[0] != '.' && ends_in(suffixes, f->d_name);
    (void)closedir(d);
    return found;
}

static int
none_takes_locked(const struct berth_plugins *p, const char *path, struct berth_err *e)
{
    struct berth_buf text;

    berth_buf_init(&text, NULL);
    for (size_t i = 0; i < p->len; i++) {
        const struct plugin *plugin = &p->plugins[i];
        berth_buf_printf(&text, "%s%s:", i > 0 ? "; " : "", plugin->name);
        if (plugin->ops == NULL)
            berth_buf_printf(&text, " cannot be opened");
        for (size_t k = 0; plugin->ops != NULL && plugin->ops->suffixes != NULL &&
                           plugin->ops->suffixes[k] != NULL;
             k++)
            berth_buf_printf(&text, " %s", plugin->ops->suffixes[k]);
    }
    const char *taken = berth_buf_text(&text);
    int r =
        p->len == 0
            ? berth_err_set(e, BERTH_EINVAL,
                            "path: no backend takes %.100s, as none was found: put the folder "
                            "'backends' of the build beside the program, or name one in "
                            "plugins.plugin_dir",
                            path)
            : berth_err_set(e, BERTH_EINVAL,
                            "path: no backend takes %.200s; name one with 'backend'. Taken are: %s",
                            path, taken != NULL ? taken : "");
    berth_buf_fini(&text);
    return r;
}

/* Opening an engine's library takes tens of milliseconds: one that has the suffix for its name is
 * tried before the others are opened only to learn what they take. */
static struct plugin *
find_path_locked(struct berth_plugins *p, const char *path)
{
    for (size_t i = 0; i < p->len; i++) {
        char own[NAME_MAX_LEN + 2];
        const char *const suffixes[] = {own, NULL};
        (void)snprintf(own, sizeof own, ".%s", p->plugins[i].name);
        if (path_ends_in(suffixes, path) && opened_locked(p, &p->plugins[i], NULL) == 0 &&
            path_ends_in(p->plugins[i].ops->suffixes, path))
            return &p->plugins[i];
    }
    for (size_t i = 0; i < p->len; i++) {
        if (opened_locked(p, &p->plugins[i], NULL) == 0 &&
            path_ends_in(p->plugins[i].ops->suffixes, path))
            return &p->plugins[i];
    }
    return NULL;
}

int
berth_plugins_for_path(struct berth_plugins *p, const char *path,
                       const struct berth_backend_ops **ret, struct berth_err *e)
{
    int r = 0;

    (void)pthread_mutex_lock(&p->mu);
    struct plugin *plugin = find_path_locked(p, path);
    if (plugin != NULL)
        *ret = plugin->ops;
    else
        r = none_takes_locked(p, path, e);
    (void)pthread_mutex_unlock(&p->mu);
    return r;
}

const char *
berth_plugins_file(struct berth_plugins *p, const struct berth_backend_ops *ops)
{
    const char *file = NULL;

    (void)pthread_mutex_lock(&p->mu);
    for (size_t i = 0; i < p->len && file == NULL; i++) {
        if (p->plugins[i].ops == ops && p->plugins[i].path[0] != '\0')
            file = p->plugins[i].path;
    }
    (void)pthread_mutex_unlock(&p->mu);
    return file;
}

size_t
berth_plugins_list(struct berth_plugins *p, const struct berth_plugin_info **ret)
{
    (void)pthread_mutex_lock(&p->mu);
    size_t len = p->len;
    for (size_t i = 0; i < len; i++) {
        struct plugin *plugin = &p->plugins[i];
        (void)opened_locked(p, plugin, NULL);
        p->infos[i] = (struct berth_plugin_info){
            .name = plugin->name, .path = plugin->path, .ops = plugin->ops, .why = plugin->why};
    }
    (void)pthread_mutex_unlock(&p->mu);
    *ret = p->infos;
    return len;
}
