#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "plugin/extension.h"
#include "wire/json.h"

/* Shimlets and pipelines from files: found, compared with what is allowed, tried in a child, and
 * then taken in.  What is loaded stays mapped, so that loads are counted and limited. */

static const uint64_t trial_limit_ns = 10 * BERTH_S, retire_limit_ns = 10 * BERTH_S;
enum { LOADS_MAX = 1000, FOLDER_FILES_MAX = 256, SUMS_BYTES_MAX = 1 << 20 };

static bool
is_shimlet(const char *type)
{
    return strcmp(type, "shimlet") == 0;
}

/* ---- may it be loaded? ---- */

/* The real path: of a name alone, in the plugin folder. */
static int
find_file(const struct berth_deploy *d, const char *path, char ret[PATH_MAX], struct berth_err *e)
{
    const char *dir = d->conf.plugin_dir;
    char text[PATH_MAX], root[PATH_MAX];

    if (strchr(path, '/') == NULL && dir != NULL)
        (void)snprintf(text, sizeof text, "%s/%s", dir, path);
    else
        (void)snprintf(text, sizeof text, "%s", path);
    if (realpath(text, ret) == NULL)
        return berth_extension_path_err(text, errno, e);
    if (d->conf.plugin_any_path)
        return 0;
    if (dir == NULL || realpath(dir, root) == NULL)
        return berth_err_set(e, BERTH_EPERM,
                             "%s: there is no plugin folder to load from; set "
                             "plugins.plugin_dir, or deploy.load_any_path",
                             path);
    const size_t len = strlen(root);
    if (strncmp(ret, root, len) != 0 || (ret[len] != '/' && root[len - 1] != '/'))
        return berth_err_set(e, BERTH_EPERM,
                             "%s: outside of the plugin folder %s; put it there, or set "
                             "deploy.load_any_path",
                             path, root);
    return 0;
}

/* The sum that the list has for a file of that name.  -BERTH_EINVAL: none. */
static int
listed_sum(const char *list, const char *name, char ret[BERTH_DIGEST_HEX], struct berth_err *e)
{
    BERTH_AUTO_FREE char *text = malloc(SUMS_BYTES_MAX);
    FILE *f = fopen(list, "re");

    if (f == NULL || text == NULL) {
        if (f != NULL)
            (void)fclose(f);
        return berth_err_set(e, BERTH_EINVAL, "deploy.plugin_sums: %s: %m", list);
    }
    const size_t n = fread(text, 1, SUMS_BYTES_MAX, f);
    (void)fclose(f);
    if (n == SUMS_BYTES_MAX)
        return berth_err_set(e, BERTH_EINVAL, "deploy.plugin_sums: %s: has %d bytes or more", list,
                             SUMS_BYTES_MAX);
    return berth_extension_listed((struct berth_slice){text, n}, name, ret)
               ? 0
               : berth_err_set(e, BERTH_EINVAL, "%s: is not in the list of checksums %s", name,
                               list);
}

static int
check_sum(const struct berth_deploy *d, const struct berth_deploy_file *f, const char *path,
          const char sum[BERTH_DIGEST_HEX], struct berth_err *e)
{
    char want[BERTH_DIGEST_HEX];
    int r;

    if (f->sha256 != NULL) {
        if (!berth_digest_parse(f->sha256, strlen(f->sha256), want))
            return berth_err_set(e, BERTH_EINVAL, "sha256: must be 64 hex digits");
        if (strcmp(want, sum) != 0)
            return berth_err_set(e, BERTH_EINVAL, "%s: its sha256 is %s, not %s", path, sum, want);
    }
    if (d->conf.plugin_sums == NULL)
        return 0;
    if ((r = listed_sum(d->conf.plugin_sums, strrchr(path, '/') + 1, want, e)) < 0)
        return r;
    if (strcmp(want, sum) != 0)
        return berth_err_set(e, BERTH_EINVAL, "%s: its sha256 is %s, and %s says %s", path, sum,
                             d->conf.plugin_sums, want);
    return 0;
}

static int
check_name(struct berth_deploy *d, const struct berth_deploy_file *f, const char *name,
           struct berth_err *e)
{
    const bool shimlet = is_shimlet(f->type);

    if (f->name != NULL && strcmp(f->name, name) != 0)
        return berth_err_set(e, BERTH_EINVAL, "%s: the %s calls itself %s, not %s", f->path,
                             f->type, name, f->name);
    if (!f->replace &&
        berth_deploy_check_names(d, shimlet ? name : NULL, shimlet ? NULL : name, NULL) == 0)
        return berth_err_set(e, BERTH_EEXIST,
                             "there is a %s %s already; say replace to have this one take over",
                             f->type, name);
    return 0;
}

/* ---- loading ---- */

/* {"": settings} that were given for it, or those of the configuration by name. */
static const char *
trial_settings(const struct berth_deploy *d, const struct berth_deploy_file *f,
               struct berth_arena *a)
{
    if (f->config_json != NULL)
        return berth_arena_printf(a, "{\"\":%s}", f->config_json);
    return d->conf.plugin_settings_json != NULL ? d->conf.plugin_settings_json : "{}";
}

static const char *
own_settings(const struct berth_deploy *d, const struct berth_deploy_file *f, const char *name,
             struct berth_arena *a)
{
    const char *all = d->conf.plugin_settings_json;
    const struct berth_json *tree;
    struct berth_buf b;

    if (f->config_json != NULL || all == NULL ||
        berth_json_parse(a, all, strlen(all), NULL, &tree, NULL) < 0 ||
        berth_json_get(tree, name) == NULL)
        return f->config_json;
    berth_buf_init(&b, a);
    berth_json_put(&b, berth_json_get(tree, name));
    return berth_buf_text(&b);
}

/* Take in what the trial has found good.  *ret_version is the plugin's own. */
static int
take_in(struct berth_deploy *d, const struct berth_deploy_file *f, const char *path,
        const char *settings, void *symbol, const char **ret_version, struct berth_err *e)
{
    if (is_shimlet(f->type)) {
        berth_shimlet_entry_fn *entry;
        *(void **)&entry = symbol;
        const struct berth_shimlet_ops *ops = entry(&berth_deploy_shimlet_host, e);
        if (ops == NULL)
            return -BERTH_EABI;
        const int r = berth_deploy_add_shimlet(d, ops, path, settings, f->replace, e);
        *ret_version = r == 0 ? ops->version : NULL;
        return r;
    }
    berth_pipeline_entry_fn *entry;
    *(void **)&entry = symbol;
    return berth_deploy_add_pipeline(d, entry, path, f->replace, e);
}

static void
put_loaded(struct berth_deploy *d, const char *type, const char *name, const char *path,
           const char *version, struct berth_buf *out)
{
    char time[BERTH_TIME_TEXT];
    struct berth_jw w;

    berth_jw_init(&w, out);
    berth_jw_object(&w);
    berth_jw_key(&w, "type");
    berth_jw_string(&w, type);
    berth_jw_key(&w, "name");
    berth_jw_string(&w, name);
    berth_jw_key(&w, "version");
    berth_jw_string(&w, version != NULL ? version : "");
    berth_jw_key(&w, "path");
    berth_jw_string(&w, path);
    berth_jw_key(&w, "loadedAt");
    berth_jw_string(&w, berth_time_text(berth_deploy_wall(d), time));
    berth_jw_object_end(&w);
}

/* The copy, tried and opened.  Takes fd. */
static int
try_and_take(struct berth_deploy *d, const struct berth_deploy_file *f, const char *path, int fd,
             char name[BERTH_EXTENSION_NAME_MAX + 1], const char **ret_version,
             struct berth_arena *a, struct berth_err *e)
{
    char *folder = is_shimlet(f->type) ? berth_trial_folder() : NULL;
    const struct berth_extension_trial trial = {.program = d->conf.program,
                                                .kind = f->type,
                                                .path = path,
                                                .fd = fd,
                                                .settings_json = trial_settings(d, f, a),
                                                .state_dir = folder,
                                                .limit_ns = trial_limit_ns};
    void *symbol;
    int r = trial.settings_json != NULL ? berth_extension_try(&trial, name, e)
                                        : berth_err_set(e, BERTH_ENOMEM, "out of memory");

    berth_trial_folder_end(folder);
    if (r == 0)
        r = check_name(d, f, name, e);
    if (r == 0 && atomic_fetch_add(&d->loads, 1) >= LOADS_MAX)
        r = berth_err_set(e, BERTH_ELIMIT,
                          "%d plugins were loaded since the start, and none can be taken out "
                          "of memory again; restart the program",
                          LOADS_MAX);
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    r = berth_extension_open(
        fd, path, is_shimlet(f->type) ? BERTH_SHIMLET_ENTRY : BERTH_PIPELINE_ENTRY, &symbol, e);
    if (r < 0)
        return r;
    return take_in(d, f, path, own_settings(d, f, name, a), symbol, ret_version, e);
}

/* A pipeline's version is asked of the one that stands in the list. */
static const char *
flow_version(struct berth_deploy *d, const char *name, struct berth_arena *a)
{
    struct flow *x = berth_flow_get(d, name);
    const char *version =
        x != NULL && x->ops->version != NULL ? berth_arena_strdup(a, x->ops->version) : NULL;

    berth_flow_put(d, x);
    return version;
}

int
berth_deploy_load(struct berth_deploy *d, const struct berth_deploy_file *f, struct berth_arena *a,
                  struct berth_buf *out, struct berth_err *e)
{
    char path[PATH_MAX], name[BERTH_EXTENSION_NAME_MAX + 1], sum[BERTH_DIGEST_HEX];
    const size_t before = out->len;
    const char *version = NULL;
    int fd, r;

    if (!is_shimlet(f->type) && strcmp(f->type, "pipeline") != 0)
        return berth_err_set(e, BERTH_EINVAL, "type: must be \"shimlet\" or \"pipeline\"");
    if ((r = find_file(d, f->path, path, e)) < 0 ||
        (r = berth_extension_copy(path, &fd, sum, e)) < 0)
        return r;
    if ((r = check_sum(d, f, path, sum, e)) < 0) {
        (void)close(fd);
        return r;
    }
    if ((r = try_and_take(d, f, path, fd, name, &version, a, e)) < 0)
        return r;
    if (f->keep && (r = berth_kept_put(d, f, name, path, sum, a, e)) < 0)
        return berth_err_wrap(e, r, "%s %s is loaded, and will not be at the next start", f->type,
                              name);
    if (!is_shimlet(f->type))
        version = flow_version(d, name, a);
    put_loaded(d, f->type, name, path, version, out);
    if (!out->failed)
        return 0;
    out->len = before;
    return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
}

/* ---- again, and away ---- */

/* The file and settings of a loaded one, copied into the arena. */
static int
origin(struct berth_deploy *d, const char *type, const char *name, struct berth_arena *a,
       struct berth_deploy_file *ret, struct berth_err *e)
{
    struct plugs *all = is_shimlet(type) ? &d->environs : &d->flows;
    struct plug *p = berth_plug_get(d, all, name);
    const char *settings =
        p != NULL && is_shimlet(type) ? ((const struct environ *)p)->settings_json : NULL;
    int r = 0;

    *ret = (struct berth_deploy_file){.type = type, .replace = true};
    if (p == NULL) {
        r = berth_plug_unknown(d, all, name, e);
    } else if (p->file == NULL) {
        r = berth_err_set(e, BERTH_EPERM, "the %s %s is compiled in", type, name);
    } else {
        ret->name = berth_arena_strdup(a, p->name);
        ret->path = berth_arena_strdup(a, p->file);
        ret->config_json = settings != NULL ? berth_arena_strdup(a, settings) : NULL;
        if (ret->name == NULL || ret->path == NULL || (settings != NULL && !ret->config_json))
            r = berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", name);
    }
    berth_plug_put(d, p);
    return r;
}

int
berth_deploy_reload(struct berth_deploy *d, const char *type, const char *name,
                    struct berth_arena *a, struct berth_buf *out, struct berth_err *e)
{
    struct berth_deploy_file file;
    const int r = origin(d, type, name, a, &file, e);

    file.keep = r == 0 && berth_kept_is(d, type, file.name, a);
    return r < 0 ? r : berth_deploy_load(d, &file, a, out, e);
}

int
berth_deploy_unload(struct berth_deploy *d, const char *type, const char *name, struct berth_err *e)
{
    struct berth_deploy_file file;
    struct berth_arena a;

    berth_arena_init(&a, 1 << 20);
    int r = origin(d, type, name, &a, &file, e);
    if (r == -BERTH_ENOENT && berth_kept_is(d, type, name, &a)) {
        r = berth_kept_drop(d, type, name, &a, e); /* missing, and not missed any more */
        berth_kept_found(d, type, name);
        berth_arena_fini(&a);
        return r;
    }
    if (r == 0)
        r = is_shimlet(type) ? berth_deploy_retire_shimlet(d, name, retire_limit_ns, e)
                             : berth_deploy_retire_pipeline(d, name, retire_limit_ns, e);
    if (r == 0)
        r = berth_kept_drop(d, type, file.name, &a, e);
    else if (r == -BERTH_EDEADLINE) /* it goes all the same */
        (void)berth_kept_drop(d, type, file.name, &a, NULL);
    berth_arena_fini(&a);
    return r;
}

/* ---- a folder of them ---- */

static int
is_plugin_file(const struct dirent *f)
{
    const char *name = f->d_name;
    const size_t len = strlen(name);

    return len > 3 && strcmp(name + len - 3, ".so") == 0 &&
           (strncmp(name, "berth-shimlet-", 14) == 0 || strncmp(name, "berth-pipeline-", 15) == 0);
}

static int
load_one(struct berth_deploy *d, const char *name, struct berth_err *e)
{
    const struct berth_deploy_file file = {
        .type = strncmp(name, "berth-shimlet-", 14) == 0 ? "shimlet" : "pipeline", .path = name};
    struct berth_arena a;
    struct berth_buf out;

    berth_arena_init(&a, 4 << 20);
    berth_buf_init(&out, &a);
    const int r = berth_deploy_load(d, &file, &a, &out, e);
    berth_arena_fini(&a);
    return r;
}

int
berth_deploy_load_folder(struct berth_deploy *d, bool strict, struct berth_err *e)
{
    const char *dir = d->conf.plugin_dir;
    struct dirent **files;
    struct berth_err why;
    int r = 0;

    const int n = dir != NULL ? scandir(dir, &files, is_plugin_file, alphasort) : 0;
    if (n < 0)
        return errno == ENOENT && !strict
                   ? 0
                   : berth_err_set(e, BERTH_EIO, "deploy.load_folder: %s: %m", dir);
    for (int i = 0; i < n; i++) {
        if (r == 0 && i < FOLDER_FILES_MAX && load_one(d, files[i]->d_name, &why) < 0) {
            if (strict)
                r = berth_err_set(e, BERTH_EABI, "deploy.load_folder: %s", why.msg);
            else
                berth_warn("deploy.load_folder: %s", why.msg);
        }
        free(files[i]);
    }
    if (n > FOLDER_FILES_MAX)
        berth_warn("deploy.load_folder: %s: only the first %d of %d plugins are loaded", dir,
                   FOLDER_FILES_MAX, n);
    if (dir != NULL)
        free((void *)files);
    return r;
}
