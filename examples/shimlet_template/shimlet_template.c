#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <berth/shimlet.h>

/*
 * A whole shimlet to begin yours with.  Its environment is a folder: a workload is a file in it,
 * and its replicas are said to be ready as soon as the file is there.  Where your environment is to
 * be called, a comment says so.
 *
 * What it shows: every operation may be repeated, cut off or lost, so each looks at what is there
 * and makes only what is missing; and nothing is kept in memory that a restart would need.
 */
#ifndef VERSION
#define VERSION "1.0"
#endif
enum { LINE_MAX_LEN = 512, REPLICAS_MAX = 64, PATH_LEN = 4400 };

struct berth_shimlet {
    const struct berth_shimlet_host *host;
    char dir[4096]; /* "": none is kept, as when the file is tried before it is loaded */
};

static int
template_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
              struct berth_shimlet **ret, struct berth_err *e)
{
    struct berth_shimlet *s = calloc(1, sizeof *s);

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    s->host = h;
    (void)snprintf(s->dir, sizeof s->dir, "%s", how->state_dir != NULL ? how->state_dir : "");
    /* Here: read how->settings_json, and look whether your environment answers. */
    *ret = s;
    return 0;
}

static void
template_close(struct berth_shimlet *s)
{
    free(s); /* workloads stay */
}

/* What is known of a workload: a line each of service, track, hash, revision and replicas. */
struct record {
    char service[LINE_MAX_LEN], track[LINE_MAX_LEN], hash[LINE_MAX_LEN];
    unsigned long long revision;
    unsigned replicas;
};

static void
path_of(const struct berth_shimlet *s, const char *name, const char *end, char ret[PATH_LEN])
{
    (void)snprintf(ret, PATH_LEN, "%s/%.52s%s", s->dir, name, end);
}

/* 1: read, 0: there is none. */
static int
read_record(const char *path, struct record *ret)
{
    FILE *f = fopen(path, "r");

    if (f == NULL)
        return 0;
    const int n = fscanf(f, "%511s %511s %511s %llu %u", ret->service, ret->track, ret->hash,
                         &ret->revision, &ret->replicas);
    (void)fclose(f);
    return n == 5;
}

static int
template_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
               struct berth_err *e)
{
    char path[PATH_LEN], part[PATH_LEN];

    if (s->dir[0] == '\0')
        return berth_err_set(e, BERTH_ECONFIG, "there is no state folder");
    if (u->replicas > REPLICAS_MAX)
        return berth_err_set(e, BERTH_ELIMIT, "%u replicas: at most %d", u->replicas, REPLICAS_MAX);
    if (s->host->cancelled(op))
        return berth_err_set(e, BERTH_ECANCELED, "cut short");
    /* Here: create the workload in your environment, or change it to what u says. */
    path_of(s, u->name, ".unit", path);
    path_of(s, u->name, ".part", part);
    FILE *f = fopen(part, "w");
    if (f == NULL)
        return berth_err_set(e, BERTH_EIO, "%s: %m", part);
    const int n = fprintf(f, "%s %s %s %llu %u\n", u->service_id, u->track, u->hash,
                          (unsigned long long)u->revision, u->replicas);
    if (fclose(f) != 0 || n < 0 || rename(part, path) < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    s->host->note(op, "the template has written " VERSION);
    return 0;
}

static int
template_remove(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                struct berth_err *e)
{
    char path[PATH_LEN];

    (void)op;
    (void)e;
    /* Here: drain the replicas, then remove the workload; return 1 while it is on its way. */
    path_of(s, unit_name, ".unit", path);
    (void)unlink(path);
    return 0;
}

static int
template_status(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
                struct berth_err *e)
{
    struct berth_replica replicas[REPLICAS_MAX];
    char ids[REPLICAS_MAX][LINE_MAX_LEN + 80], path[PATH_LEN];
    struct record r = {.replicas = 0};
    struct berth_observed seen = {.struct_size = sizeof seen};

    (void)op;
    (void)e;
    path_of(s, unit_name, ".unit", path);
    if (read_record(path, &r)) {
        /* Here: ask your environment what is there. */
        seen.exists = true;
        seen.hash = r.hash;
        seen.replicas_desired = r.replicas;
        for (unsigned i = 0; i < r.replicas && i < REPLICAS_MAX; i++) {
            (void)snprintf(ids[i], sizeof ids[i], "%.52s-%u", unit_name, i);
            replicas[i] = (struct berth_replica){.struct_size = sizeof replicas[i],
                                                 .id = ids[i],
                                                 .hash = r.hash,
                                                 .revision = r.revision,
                                                 .state = BERTH_REPLICA_READY};
            seen.replica_count++;
        }
        seen.replicas = replicas;
        seen.message = "kept by the template " VERSION;
    }
    tell(arg, &seen);
    return 0;
}

static int
template_list(struct berth_shimlet *s, const struct berth_op *op,
              void (*each)(void *arg, const struct berth_listed *one), void *arg,
              struct berth_err *e)
{
    DIR *d = opendir(s->dir);

    (void)op;
    if (d == NULL)
        return s->dir[0] == '\0' ? 0 : berth_err_set(e, BERTH_EIO, "%s: %m", s->dir);
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        char path[PATH_LEN], name[64];
        struct record r;
        const size_t len = strlen(f->d_name);
        if (len < 6 || len > 58 || strcmp(f->d_name + len - 5, ".unit") != 0)
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)len - 5, f->d_name);
        path_of(s, name, ".unit", path);
        if (read_record(path, &r))
            each(arg, &(struct berth_listed){r.service, r.track, name, r.hash});
    }
    (void)closedir(d);
    return 0;
}

/* Optional: what there is. */
static int
template_resources(struct berth_shimlet *s, const struct berth_op *op, struct berth_resources *ret,
                   struct berth_err *e)
{
    (void)s;
    (void)op;
    (void)e;
    *ret = (struct berth_resources){.struct_size = sizeof *ret,
                                    .cpu_milli_total = 4000,
                                    .cpu_milli_free = 4000,
                                    .memory_bytes_total = UINT64_C(8) << 30,
                                    .memory_bytes_free = UINT64_C(8) << 30};
    return 0;
}

static const struct berth_shimlet_ops ops = {
    .abi = BERTH_SHIMLET_ABI,
    .struct_size = sizeof ops,
    .name = "template",
    .version = VERSION,
    .description = "a folder whose files stand for workloads",
    .open = template_open,
    .close = template_close,
    .apply = template_apply,
    .remove = template_remove,
    .status = template_status,
    .list = template_list,
    .resources = template_resources,
};

const struct berth_shimlet_ops *
berth_shimlet_entry(const struct berth_shimlet_host *h, struct berth_err *e)
{
    (void)h;
    (void)e;
    return &ops;
}
