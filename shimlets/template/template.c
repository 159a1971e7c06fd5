#include <berth/settings.h>
#include <berth/shimlet.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <errno.h>

/*
 * A shimlet to be copied as the start of a new one.  Its environment is a folder: a workload is a
 * file there that says how many replicas of what there are, and "runs" at once, at the endpoint of
 * the settings.  Where this one writes, reads and deletes a file, yours calls your environment.
 *
 * It keeps nothing in memory, so that several threads, a restart and a replacement need no care.
 */

enum { NAME_MAX_ = 52, TEXT_MAX_ = 120, PATH_MAX_ = 512, REPLICAS_MAX_ = 1000 };

struct berth_shimlet {
    const struct berth_shimlet_host *h;
    char dir[256], endpoint[TEXT_MAX_];
};

/* What the file of a workload says. */
struct workload {
    char service_id[TEXT_MAX_], track[TEXT_MAX_], hash[TEXT_MAX_];
    unsigned replicas;
    unsigned long long revision;
};

static const struct berth_setting settings[] = {
    {"endpoint", BERTH_SETTING_STRING, 0, 0, "http://127.0.0.1:8000",
     "where every replica answers"},
    {NULL, BERTH_SETTING_STRING, 0, 0, NULL, NULL},
};

static void
path_of(const struct berth_shimlet *s, const char *name, const char *suffix, char ret[PATH_MAX_])
{
    (void)snprintf(ret, PATH_MAX_, "%s/%s.workload%s", s->dir, name, suffix);
}

/* 1: it is there, 0: it is not, or a failure. */
static int
read_workload(const struct berth_shimlet *s, const char *name, struct workload *ret,
              struct berth_err *e)
{
    char path[PATH_MAX_];
    struct workload w;

    path_of(s, name, "", path);
    FILE *f = fopen(path, "r");
    if (f == NULL && errno == ENOENT)
        return 0;
    if (f == NULL)
        return berth_err_set(e, BERTH_EIO, "%s: %s", path, strerror(errno));
    const int n = fscanf(f, "%119s %119s %119s %u %llu", w.service_id, w.track, w.hash, &w.replicas,
                         &w.revision);
    (void)fclose(f);
    if (n != 5 || w.replicas > REPLICAS_MAX_)
        return berth_err_set(e, BERTH_EIO, "%s: not a workload", path);
    *ret = w;
    return 1;
}

/* ---- open, close ---- */

static int
template_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
              struct berth_shimlet **ret, struct berth_err *e)
{
    struct berth_shimlet *s = calloc(1, sizeof *s);

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "template: out of memory");
    if (how->state_dir == NULL || strlen(how->state_dir) >= sizeof s->dir) {
        free(s);
        return berth_err_set(e, BERTH_ECONFIG, "template: needs a state folder: set state_dir");
    }
    s->h = h;
    (void)snprintf(s->dir, sizeof s->dir, "%s", how->state_dir);
    (void)berth_setting_string(how->settings_json, "endpoint", settings[0].dflt, s->endpoint,
                               sizeof s->endpoint);
    *ret = s;
    return 0;
}

static void
template_close(struct berth_shimlet *s)
{
    free(s); /* the workloads stay */
}

/* ---- apply, remove ---- */

/* Written whole and then renamed: whoever looks sees the old workload or the new one, also when the
 * program is killed in between.  The same again makes nothing new. */
static int
template_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
               struct berth_err *e)
{
    char path[PATH_MAX_], fresh[PATH_MAX_];

    if (s->h->cancelled(op))
        return berth_err_set(e, BERTH_ECANCELED, "template: cut short");
    if (strlen(u->name) > NAME_MAX_ || strlen(u->hash) >= TEXT_MAX_ || u->replicas > REPLICAS_MAX_)
        return berth_err_set(e, BERTH_EINVAL,
                             "template: %s: a name is too long, or replicas too many", u->name);
    path_of(s, u->name, "", path);
    path_of(s, u->name, ".new", fresh);
    FILE *f = fopen(fresh, "w");
    if (f == NULL)
        return berth_err_set(e, BERTH_EIO, "template: %s: %s", fresh, strerror(errno));
    int bad = fprintf(f, "%s %s %s %u %llu\n", u->service_id, u->track, u->hash,
                      (unsigned)u->replicas, (unsigned long long)u->revision) < 0;
    bad |= fclose(f) != 0;
    if (bad || rename(fresh, path) != 0)
        return berth_err_set(e, BERTH_EIO, "template: %s: %s", path, strerror(errno));
    s->h->note(op, "template: written");
    return 0;
}

static void
id_of(const char *name, const struct workload *w, unsigned index, char ret[TEXT_MAX_])
{
    (void)snprintf(ret, TEXT_MAX_, "%s-%llu-%u", name, w->revision, index);
}

static int
template_remove(struct berth_shimlet *s, const struct berth_op *op, const char *name,
                struct berth_err *e)
{
    char path[PATH_MAX_], id[TEXT_MAX_];
    struct workload w;
    const int there = read_workload(s, name, &w, e);

    /* No new requests to a replica, and none in flight, before it goes. */
    for (unsigned i = 0; there == 1 && i < w.replicas; i++) {
        id_of(name, &w, i, id);
        (void)s->h->drain(op, id, s->h->left_ns(op) / 2);
    }
    path_of(s, name, "", path);
    if (remove(path) != 0 && errno != ENOENT)
        return berth_err_set(e, BERTH_EIO, "template: %s: %s", path, strerror(errno));
    return 0;
}

/* ---- status, list ---- */

static int
template_status(struct berth_shimlet *s, const struct berth_op *op, const char *name,
                void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
                struct berth_err *e)
{
    struct berth_observed seen = {.struct_size = sizeof seen};
    struct workload w = {.replicas = 0};
    const int there = read_workload(s, name, &w, e);

    (void)op;
    if (there < 0)
        return there;
    struct berth_replica *replicas = calloc(w.replicas + 1, sizeof *replicas);
    char(*ids)[TEXT_MAX_] = calloc(w.replicas + 1, sizeof *ids);
    const int fine = replicas != NULL && ids != NULL;
    for (unsigned i = 0; fine && i < w.replicas; i++) {
        id_of(name, &w, i, ids[i]);
        replicas[i] = (struct berth_replica){.struct_size = sizeof replicas[i],
                                             .id = ids[i],
                                             .hash = w.hash,
                                             .revision = w.revision,
                                             .state = BERTH_REPLICA_READY,
                                             .endpoint = s->endpoint};
    }
    seen.exists = there == 1;
    seen.hash = there == 1 ? w.hash : NULL;
    seen.replicas_desired = w.replicas;
    seen.replicas = replicas;
    seen.replica_count = w.replicas;
    if (fine)
        tell(arg, &seen);
    free(replicas);
    free(ids);
    return fine ? 0 : berth_err_set(e, BERTH_ENOMEM, "template: out of memory");
}

static int
template_list(struct berth_shimlet *s, const struct berth_op *op,
              void (*each)(void *arg, const struct berth_listed *one), void *arg,
              struct berth_err *e)
{
    static const char suffix[] = ".workload";
    DIR *d = opendir(s->dir);
    int r = 0;

    (void)op;
    if (d == NULL)
        return berth_err_set(e, BERTH_EIO, "template: %s: %s", s->dir, strerror(errno));
    for (struct dirent *f; r >= 0 && (f = readdir(d)) != NULL;) {
        const size_t len = strlen(f->d_name);
        char name[NAME_MAX_ + 1];
        struct workload w;

        if (len < sizeof suffix || len - (sizeof suffix - 1) > NAME_MAX_ ||
            strcmp(f->d_name + len - (sizeof suffix - 1), suffix) != 0)
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)(len - (sizeof suffix - 1)), f->d_name);
        r = read_workload(s, name, &w, e);
        if (r == 1) {
            const struct berth_listed one = {w.service_id, w.track, name, w.hash};

            each(arg, &one);
        }
    }
    (void)closedir(d);
    return r < 0 ? r : 0;
}

/* What is left out is not offered: no logs, no watching (the host asks every few seconds), ... */
static const struct berth_shimlet_ops ops = {
    .abi = BERTH_SHIMLET_ABI,
    .struct_size = sizeof ops,
    .name = "template",
    .version = "1",
    .description = "workloads are files in a folder: a shimlet to begin with",
    .settings = settings,
    .open = template_open,
    .close = template_close,
    .apply = template_apply,
    .remove = template_remove,
    .status = template_status,
    .list = template_list,
};

const struct berth_shimlet_ops *
berth_shimlet_entry(const struct berth_shimlet_host *h, struct berth_err *e)
{
    /* The members that are used here have to be there. */
    if (h->struct_size < offsetof(struct berth_shimlet_host, drain) + sizeof h->drain) {
        (void)berth_err_set(e, BERTH_EABI, "template: this host is too old");
        return NULL;
    }
    return &ops;
}
