#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "deploy/route/balance.h"
#include "deploy/spec/engines.h"
#include "wire/json.h"

/* What a pipeline may call, and the goals that the host brings along. */

static bool
host_cancelled(const struct berth_deployment *x)
{
    return berth_op_cancelled(&x->op);
}

static uint64_t
host_left_ns(const struct berth_deployment *x)
{
    return berth_op_left_ns(&x->op);
}

static void
host_note(const struct berth_deployment *x, const char *text)
{
    berth_deploy_shimlet_host.note(&x->op, text);
}

/* The value at a path such as "resourceRequirements.memory" in the spec. */
static const char *
spec_value(struct berth_deployment *x, const char *path)
{
    const struct berth_json *v = x->spec;
    struct berth_slice text;
    struct berth_buf b;
    char key[128];

    while (v != NULL && *path != '\0') {
        const size_t len = strcspn(path, ".");
        if (len >= sizeof key)
            return NULL;
        memcpy(key, path, len);
        key[len] = '\0';
        v = berth_json_get(v, key);
        path += len + (path[len] == '.');
    }
    if (v == NULL || berth_json_type(v) == BERTH_JSON_NULL)
        return NULL;
    if (berth_json_string(v, &text))
        return text.at;
    berth_buf_init(&b, &x->scratch);
    berth_json_put(&b, v);
    return berth_buf_text(&b);
}

/* "canary.revision": which one is wished for on a track; NULL: none.  False: another key. */
static bool
track_value(struct berth_deployment *x, const char *key, const char **ret)
{
    for (size_t which = 0; which < TRACK_COUNT; which++) {
        const char *name = berth_track_name((enum berth_track)which);
        const size_t len = strlen(name);

        if (strncmp(key, name, len) != 0 || strcmp(key + len, ".revision") != 0)
            continue;
        (void)pthread_mutex_lock(&x->s->mu);
        const struct track *t = &x->s->tracks[which];
        const bool is = t->wish != NULL && !t->leaving;
        const unsigned long long number = is ? (unsigned long long)t->wish->number : 0;
        (void)pthread_mutex_unlock(&x->s->mu);
        *ret = is ? berth_arena_printf(&x->scratch, "%llu", number) : NULL;
        return true;
    }
    return false;
}

static const char *
host_get(const struct berth_deployment *x, const char *key)
{
    struct berth_deployment *own = (struct berth_deployment *)x; /* its scratch memory */
    const char *revision;

    if (track_value(own, key, &revision))
        return revision;
    const char *text = berth_values_get(&x->s->tracks[x->which], key);

    return text != NULL ? berth_arena_strdup(&own->scratch, text) : spec_value(own, key);
}

static int
host_set(struct berth_deployment *x, const char *key, const char *value, struct berth_err *e)
{
    struct track *t = &x->s->tracks[x->which];
    const char *now = berth_values_get(t, key);

    if (now != NULL && value != NULL && strcmp(now, value) == 0)
        return 0;
    (void)pthread_mutex_lock(&x->s->mu);
    int r = berth_values_set(t, key, value, e);
    (void)pthread_mutex_unlock(&x->s->mu);
    x->unit_made = false;
    x->unsaved = true;
    return r;
}

static const struct berth_unit *
host_unit(struct berth_deployment *x)
{
    struct berth_err e;

    if (berth_deployment_unit(x, &e) < 0) {
        host_note(x, e.msg);
        return NULL;
    }
    return &x->unit;
}

static int
host_apply(struct berth_deployment *x, struct berth_err *e)
{
    int r = berth_deployment_unit(x, e);

    if (r == 0)
        r = berth_unit_suits(x, e);
    return r < 0 ? r : x->environ->ops->apply(x->shimlet, &x->op, &x->unit, e);
}

static int
host_status(struct berth_deployment *x, void (*tell)(void *arg, const struct berth_observed *seen),
            void *arg, struct berth_err *e)
{
    const int r = berth_deployment_look(x, e);

    if (r == 0)
        tell(arg, &x->s->tracks[x->which].seen->as);
    return r;
}

static int
host_remove(struct berth_deployment *x, struct berth_err *e)
{
    const int r = berth_deployment_unit(x, e);

    return r < 0 ? r : x->environ->ops->remove(x->shimlet, &x->op, x->unit.name, e);
}

static int
host_check(struct berth_deployment *x, struct berth_err *e)
{
    int r = berth_deployment_unit(x, e);

    if (r == 0)
        r = berth_unit_suits(x, e);
    if (r < 0 || !BERTH_SHIMLET_HAS(x->environ->ops, check))
        return r;
    return x->environ->ops->check(x->shimlet, &x->op, &x->unit, e);
}

static int
host_resources(struct berth_deployment *x, struct berth_resources *ret, struct berth_err *e)
{
    if (!BERTH_SHIMLET_HAS(x->environ->ops, resources))
        return berth_err_set(e, BERTH_EUNSUPPORTED, "shimlet %s does not tell what it has",
                             x->environ->ops->name);
    return x->environ->ops->resources(x->shimlet, &x->op, ret, e);
}

/* Made when `make`; NULL: none is kept, or it cannot be made. */
static const char *
own_folder(struct berth_deployment *x, bool make)
{
    const char *state = x->d->conf.state_dir;

    if (state == NULL)
        return NULL;
    const char *all = berth_arena_printf(&x->scratch, "%s/files", state);
    const char *own = berth_arena_printf(&x->scratch, "%s/files/%s", state, x->s->id);
    if (all == NULL || own == NULL)
        return NULL;
    if (make &&
        ((mkdir(all, 0700) < 0 && errno != EEXIST) || (mkdir(own, 0700) < 0 && errno != EEXIST))) {
        host_note(x, berth_arena_printf(&x->scratch, "%s: %m", own));
        return NULL;
    }
    return own;
}

static const char *
host_folder(struct berth_deployment *x)
{
    return own_folder(x, true);
}

static const struct berth_caller *
host_caller(struct berth_deployment *x)
{
    return &x->caller;
}

static int
host_allow(struct berth_deployment *x, const char *const *names, struct berth_err *e)
{
    struct berth_buf b;

    berth_buf_init(&b, &x->scratch);
    berth_buf_printf(&b, "%" PRIu64, x->revision->number);
    for (; *names != NULL; names++) {
        if (strpbrk(*names, " \t\n") != NULL || **names == '\0')
            return berth_err_set(e, BERTH_EINVAL, "\"%.64s\" is no name of a key", *names);
        berth_buf_printf(&b, " %s", *names);
    }
    const char *text = berth_buf_text(&b);
    const int r = text != NULL ? host_set(x, BERTH_VALUE_ALLOW, text, e)
                               : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0)
        berth_deploy_told_routes(x->d, x->s); /* who was allowed may not be any more */
    return r;
}

static int
host_audit(struct berth_deployment *x, const char *action, bool granted, const char *who,
           const char *text, struct berth_err *e)
{
    struct pending p = {.a = &x->scratch};
    struct berth_buf b;
    struct berth_jw w;

    berth_pending_begin(&p, &b, &w, "service.audit", x->s);
    berth_jw_key(&w, "action");
    berth_jw_string(&w, action);
    berth_jw_key(&w, "decision");
    berth_jw_string(&w, granted ? "granted" : "refused");
    berth_jw_key(&w, "operator");
    berth_jw_string(&w, who != NULL ? who : x->asker);
    berth_jw_key(&w, "revision");
    berth_jw_uint(&w, x->revision->number);
    berth_jw_key(&w, "level");
    berth_jw_string(&w, granted ? "info" : "warn");
    berth_jw_key(&w, "message");
    berth_jw_string(&w, text);
    berth_pending_end(&p, &b, &w);
    berth_log(granted ? BERTH_LOG_INFO : BERTH_LOG_WARN, "audit: service %s: %s %s to %s: %s",
              x->s->id, action, granted ? "granted" : "refused", who != NULL ? who : x->asker,
              text);
    return berth_deploy_commit(x->d, NULL, &p, NULL, 0, e);
}

const struct berth_pipeline_host berth_deploy_pipeline_host = {
    .struct_size = sizeof(struct berth_pipeline_host),
    .log = berth_host_log,
    .cancelled = host_cancelled,
    .left_ns = host_left_ns,
    .note = host_note,
    .get = host_get,
    .set = host_set,
    .unit = host_unit,
    .apply = host_apply,
    .status = host_status,
    .remove = host_remove,
    .check = host_check,
    .resources = host_resources,
    .goal = berth_host_goal,
    .folder = host_folder,
    .caller = host_caller,
    .allow = host_allow,
    .audit = host_audit,
};

/* ---- goals ---- */

static bool
sees_files(const struct berth_deployment *x)
{
    const struct berth_shimlet_ops *ops = x->environ->ops;

    return BERTH_SHIMLET_HAS(ops, sees_files) && ops->sees_files(x->shimlet);
}

/* A file that is not there is told now, and not by engines that end as soon as they are started;
 * where they run elsewhere, nobody here can know. */
int
berth_deployment_model(struct berth_deployment *x, struct berth_err *e)
{
    const char *path = x->revision->spec.model_file;

    if (path == NULL || path[0] != '/' || !sees_files(x) || access(path, R_OK) == 0)
        return 0;
    return berth_err_set(e, BERTH_EINVAL,
                         "modelFile: %.150s: %m; put it there and retry the service, or update it "
                         "with another",
                         path);
}

/* Where the model root would have it; *ret NULL: nowhere. */
static int
path_below_root(struct berth_deployment *x, const char **ret, struct berth_err *e)
{
    const char *root = x->d->defaults.model_root, *name = x->revision->spec.model_name;

    *ret = NULL;
    if (root == NULL || strstr(name, "..") != NULL)
        return 0;
    *ret = berth_arena_printf(&x->scratch, "%s/%s", root, name);
    return *ret != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "out of memory");
}

/* Where the model is: as it was given, or below the model root when it is there. */
static int
validate_ensure(struct berth_deployment *x, struct berth_err *e)
{
    const char *path;
    struct stat st;

    if (x->revision->spec.model_file != NULL)
        return berth_deployment_model(x, e);
    const int r = path_below_root(x, &path, e);
    return r == 0 && path != NULL && stat(path, &st) == 0 ? host_set(x, "modelPath", path, e) : r;
}

/* Keep a value that the spec does not say itself. */
static int
set_unless(struct berth_deployment *x, bool said, const char *key, const char *value,
           struct berth_err *e)
{
    return said || value == NULL ? 0 : host_set(x, key, value, e);
}

/* Do an environment's settings, or a service's own for it, name a container image? */
static bool
names_image(struct berth_deployment *x, const char *settings_json)
{
    struct berth_slice text = {NULL, 0};
    const struct berth_json *root;

    return settings_json != NULL &&
           berth_json_parse(&x->scratch, settings_json, strlen(settings_json), NULL, &root, NULL) ==
               0 &&
           berth_json_string(berth_json_get(root, "image"), &text) && text.len > 0;
}

/* What an engine is started on: where a step has put the model, or as it was given; machines that
 * read other files than this one have it below the model root, too.  *ret NULL: there is none. */
static int
path_of_model(struct berth_deployment *x, const char **ret, struct berth_err *e)
{
    const struct berth_spec *spec = &x->revision->spec;
    const char *path = berth_values_get(&x->s->tracks[x->which], "modelPath");

    *ret = path != NULL ? path : spec->model_file;
    if (*ret != NULL || spec->command != NULL || sees_files(x))
        return 0;
    return path_below_root(x, ret, e);
}

static int
render_ensure(struct berth_deployment *x, struct berth_err *e)
{
    const struct berth_spec *spec = &x->revision->spec;
    const bool own_image = spec->image != NULL || names_image(x, spec->shimlet_json) ||
                           names_image(x, x->environ->settings_json);
    struct berth_rendered done;
    const char *path;
    char key[300];
    int r = path_of_model(x, &path, e);

    if (r == 0)
        r = berth_engine_render(spec, path, &x->scratch, &done, e);
    if (r < 0)
        return r;
    if (done.command != NULL) {
        const char *json = berth_engine_command_json(done.command, &x->scratch);
        if (json == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "out of memory");
        r = host_set(x, "command", json, e);
    }
    if (r == 0)
        r = set_unless(x, own_image, "image", done.image, e);
    if (r == 0)
        r = set_unless(x, spec->health_path != NULL, "healthPath", done.health_path, e);
    if (r == 0)
        r = set_unless(x, false, "modelPath", done.model_path, e);
    for (size_t i = 0; r == 0 && i < done.env_count; i++) {
        (void)snprintf(key, sizeof key, "env.%s", done.env[i].key);
        r = host_set(x, key, done.env[i].value, e);
    }
    return r < 0 ? r : host_check(x, e);
}

static int
deploy_achieved(struct berth_deployment *x, struct berth_err *e)
{
    int r = berth_deployment_unit(x, e);

    if (r < 0 || (r = berth_deployment_look(x, e)) < 0)
        return r;
    return !berth_seen_differs(x->s->tracks[x->which].seen, &x->unit);
}

static int
remove_achieved(struct berth_deployment *x, struct berth_err *e)
{
    const int r = berth_deployment_look(x, e);

    return r < 0 ? r : !x->s->tracks[x->which].seen->as.exists;
}

static int
remove_ensure(struct berth_deployment *x, struct berth_err *e)
{
    const int r = host_remove(x, e);

    return r < 0 ? r : 0;
}

/* What the first deployment has made goes; a service that ran before is put back by the engine. */
static int
deploy_rollback(struct berth_deployment *x, struct berth_err *e)
{
    if (x->s->tracks[x->which].good > 0)
        return 0;
    const int r = host_remove(x, e);
    if (r > 0)
        return berth_err_set(e, BERTH_EAGAIN, "the workload is still on its way out");
    return r < 0 ? r : berth_deployment_look(x, e); /* for whoever looks at the service */
}

static int
health_achieved(struct berth_deployment *x, struct berth_err *e)
{
    int r = berth_deployment_unit(x, e);

    if (r < 0 || (r = berth_deployment_look(x, e)) < 0)
        return r;
    return x->s->tracks[x->which].seen->ready >= berth_unit_wanted(&x->unit);
}

/* While it is waited for, what differs is mended, and a replica that failed is an error. */
static int
health_ensure(struct berth_deployment *x, struct berth_err *e)
{
    const struct seen *seen = x->s->tracks[x->which].seen;
    int r = 0;

    if (seen == NULL || (!berth_seen_differs(seen, &x->unit) && !berth_seen_failed(seen)))
        return 0;
    if ((r = host_apply(x, e)) < 0)
        return r;
    for (size_t i = 0; i < seen->as.replica_count; i++) {
        const struct berth_replica *one = &seen->as.replicas[i];
        if (one->state == BERTH_REPLICA_FAILED && strcmp(one->hash, x->unit.hash) == 0)
            return berth_err_set(e, BERTH_EBACKEND, "replica %s: %s", one->id,
                                 one->reason != NULL ? one->reason : "it failed");
    }
    return 0;
}

static int
release_achieved(struct berth_deployment *x, struct berth_err *e)
{
    uint32_t held = 0;
    int r = berth_deployment_unit(x, e);

    if (r < 0 || !BERTH_SHIMLET_HAS(x->environ->ops, held))
        return r < 0 ? r : 1;
    r = x->environ->ops->held(x->shimlet, &x->op, x->unit.name, &held, e);
    return r < 0 ? r : held == 0;
}

/* Files alone: the folder has no others in it. */
static int
files_ensure(struct berth_deployment *x, struct berth_err *e)
{
    const char *path = own_folder(x, false);
    DIR *d = path != NULL ? opendir(path) : NULL;

    if (d == NULL)
        return 0; /* there was nothing */
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        if (strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0)
            (void)unlinkat(dirfd(d), f->d_name, 0); /* rmdir() says what stayed */
    }
    (void)closedir(d);
    return rmdir(path) == 0 || errno == ENOENT ? 0 : berth_err_set(e, BERTH_EIO, "%s: %m", path);
}

static const struct berth_goal goals[] = {
    {.name = "model-validation", .ensure = validate_ensure},
    {.name = "config-rendering", .ensure = render_ensure},
    {.name = "resource-deployment",
     .achieved = deploy_achieved,
     .ensure = host_apply,
     .rollback = deploy_rollback},
    {.name = "health-check", .achieved = health_achieved, .ensure = health_ensure},
    {.name = "resource-removal", .achieved = remove_achieved, .ensure = remove_ensure},
    {.name = "accelerator-release", .achieved = release_achieved},
    {.name = "file-removal", .ensure = files_ensure},
    {.name = NULL},
};

const struct berth_goal berth_goals_remove[] = {
    {.name = "resource-removal", .achieved = remove_achieved, .ensure = remove_ensure},
    {.name = "accelerator-release", .achieved = release_achieved},
    {.name = NULL},
};

const struct berth_goal *
berth_host_goal(const char *name)
{
    for (const struct berth_goal *g = goals; g->name != NULL; g++) {
        if (strcmp(g->name, name) == 0)
            return g;
    }
    return NULL;
}
