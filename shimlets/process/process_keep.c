#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shimlets/process/process_priv.h"
#include "wire/json.h"

/* Records are renamed into place and not synced: they are about processes, which do not outlive the
 * machine either.  What a power cut left unreadable is taken away at the next start. */

void
process_path(const struct berth_shimlet *s, const char *unit, const char *id, const char *suffix,
             char ret[PROCESS_PATH_MAX])
{
    (void)snprintf(ret, PROCESS_PATH_MAX, "%s/units/%s/%s%s", s->state_dir, unit,
                   id != NULL ? id : "", suffix);
}

static int
write_file(const char *path, const char *text, size_t len, struct berth_err *e)
{
    char fresh[PROCESS_PATH_MAX + 8];

    (void)snprintf(fresh, sizeof fresh, "%s.new", path);
    BERTH_AUTO_CLOSE int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || rename(fresh, path) < 0)
        return berth_err_set(e, errno == ENOSPC ? BERTH_ELIMIT : BERTH_EIO, "%s: %m", path);
    return 0;
}

static int
write_json(const char *path, struct berth_buf *b, struct berth_err *e)
{
    const int r = b->failed ? berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path)
                            : write_file(path, b->at, b->len, e);

    berth_buf_fini(b);
    return r;
}

int
process_keep_unit(const struct berth_shimlet *s, const struct process_unit *u, struct berth_err *e)
{
    char path[PROCESS_PATH_MAX];
    struct berth_buf b;
    struct berth_jw w;

    process_path(s, u->name, NULL, "", path);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    process_path(s, u->name, NULL, "unit.json", path);
    berth_buf_init(&b, NULL);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "service_id", u->service_id);
    berth_jw_pair(&w, "track", u->track);
    berth_jw_pair(&w, "hash", u->hash);
    berth_jw_pair_uint(&w, "desired", u->desired);
    berth_jw_pair_uint(&w, "accelerators", u->accelerators);
    berth_jw_pair_uint(&w, "memory_bytes", u->memory_bytes);
    berth_jw_pair_uint(&w, "cpu_milli", u->cpu_milli);
    berth_jw_object_end(&w);
    return write_json(path, &b, e);
}

int
process_keep_record(const struct berth_shimlet *s, const struct process_replica *r,
                    struct berth_err *e)
{
    const struct process_record *rec = &r->rec;
    char path[PROCESS_PATH_MAX];
    struct berth_buf b;
    struct berth_jw w;

    process_path(s, r->unit->name, rec->id, ".json", path);
    berth_buf_init(&b, NULL);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "hash", rec->hash);
    berth_jw_pair(&w, "cwd", rec->cwd);
    berth_jw_pair(&w, "health_path", rec->health_path);
    berth_jw_pair(&w, "ca_path", rec->ca_path);
    berth_jw_pair(&w, "key_path", rec->key_path);
    berth_jw_pair_uint(&w, "revision", rec->revision);
    berth_jw_pair_uint(&w, "cpu_milli", rec->cpu_milli);
    berth_jw_pair_uint(&w, "memory_bytes", rec->memory_bytes);
    berth_jw_pair_uint(&w, "start_timeout_ns", rec->start_timeout_ns);
    berth_jw_pair_uint(&w, "drain_timeout_ns", rec->drain_timeout_ns);
    berth_jw_pair_uint(&w, "index", rec->index);
    berth_jw_pair_uint(&w, "port", rec->port);
    berth_jw_pair_uint(&w, "port_fixed", rec->port_fixed);
    berth_jw_pair_uint(&w, "stopping", rec->stopping);
    berth_jw_key(&w, "command");
    berth_jw_array(&w);
    for (size_t i = 0; rec->command[i] != NULL; i++)
        berth_jw_string(&w, rec->command[i]);
    berth_jw_array_end(&w);
    berth_jw_key(&w, "env");
    berth_jw_array(&w);
    for (size_t i = 0; i < rec->env_count; i++) {
        berth_jw_string(&w, rec->env[i].key);
        berth_jw_string(&w, rec->env[i].value);
    }
    berth_jw_array_end(&w);
    berth_jw_key(&w, "devices");
    berth_jw_array(&w);
    for (size_t i = 0; i < rec->device_count; i++)
        berth_jw_uint(&w, rec->devices[i]);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    return write_json(path, &b, e);
}

int
process_keep_run(const struct berth_shimlet *s, const struct process_replica *r,
                 struct berth_err *e)
{
    char path[PROCESS_PATH_MAX], text[128 + PROCESS_BOOT_MAX];
    struct process_stat p;

    if (!process_stat_read(r->pid, &p))
        return berth_err_set(e, BERTH_EIO, "process %d is gone", (int)r->pid);
    process_path(s, r->unit->name, r->rec.id, ".run", path);
    const int len = snprintf(text, sizeof text, "%d %llu %u %u %s\n", (int)r->pid,
                             (unsigned long long)p.start_ticks, r->restarts, r->failures, s->boot);
    return write_file(path, text, (size_t)len, e);
}

/* ---- reading ---- */

static int
read_json(const char *path, struct berth_arena *a, const struct berth_json **ret,
          struct berth_err *e)
{
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return berth_err_set(e, errno == ENOENT ? BERTH_ENOENT : BERTH_EIO, "%s: %m", path);
    if (st.st_size > PROCESS_FILE_MAX)
        return berth_err_set(e, BERTH_ETOOBIG, "%s: larger than %d bytes", path, PROCESS_FILE_MAX);
    BERTH_AUTO_FREE char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    const ssize_t n = read(fd, text, (size_t)st.st_size);
    if (n < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    const int r = berth_json_parse(a, text, (size_t)n, NULL, ret, e);
    return r < 0 ? berth_err_wrap(e, r, "%s", path) : 0;
}

static const char **
texts_of(const struct berth_json *v, const char *key, struct berth_arena *a, size_t *ret_count)
{
    const struct berth_json *array = berth_json_get(v, key);
    const char **all = BERTH_NEW_N(a, const char *, berth_json_len(array) + 1);
    size_t n = 0;

    for (struct berth_json_iter it = berth_json_iter(array); all != NULL && berth_json_next(&it);) {
        struct berth_slice text;

        if (berth_json_string(it.value, &text))
            all[n++] = text.at;
    }
    *ret_count = n;
    return all;
}

static int
get_record(const struct berth_json *v, struct process_replica *r, const char *id,
           struct berth_err *e)
{
    struct process_record *rec = &r->rec;
    size_t command_count, texts;

    *rec = (struct process_record){
        .id = berth_arena_strdup(&r->arena, id),
        .hash = berth_json_member_text(v, "hash", NULL),
        .cwd = berth_json_member_text(v, "cwd", NULL),
        .health_path = berth_json_member_text(v, "health_path", NULL),
        .ca_path = berth_json_member_text(v, "ca_path", NULL),
        .key_path = berth_json_member_text(v, "key_path", NULL),
        .command = texts_of(v, "command", &r->arena, &command_count),
        .revision = berth_json_member_uint(v, "revision"),
        .cpu_milli = berth_json_member_uint(v, "cpu_milli"),
        .memory_bytes = berth_json_member_uint(v, "memory_bytes"),
        .start_timeout_ns = berth_json_member_uint(v, "start_timeout_ns"),
        .drain_timeout_ns = berth_json_member_uint(v, "drain_timeout_ns"),
        .index = (uint32_t)berth_json_member_uint(v, "index"),
        .port = (uint16_t)berth_json_member_uint(v, "port"),
        .port_fixed = berth_json_member_uint(v, "port_fixed") != 0,
        .stopping = berth_json_member_uint(v, "stopping") != 0,
    };
    const char **env = texts_of(v, "env", &r->arena, &texts);
    struct berth_pair *pairs = BERTH_NEW_N(&r->arena, struct berth_pair, texts / 2 + 1);

    if (rec->id == NULL || rec->command == NULL || env == NULL || pairs == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "replica %s: out of memory", id);
    if (rec->hash == NULL || rec->cwd == NULL || command_count == 0)
        return berth_err_set(e, BERTH_EINVAL, "replica %s: its record is not whole", id);
    for (size_t i = 0; i + 1 < texts; i += 2)
        pairs[rec->env_count++] = (struct berth_pair){env[i], env[i + 1]};
    rec->env = pairs;
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(v, "devices"));
         rec->device_count < PROCESS_DEVICES_MAX && berth_json_next(&it);) {
        uint64_t n;

        if (berth_json_uint(it.value, &n))
            rec->devices[rec->device_count++] = (uint32_t)n;
    }
    return 0;
}

/* The last run's process, if it is that still: a number that was given again is another's.  Start
 * times count from the machine's start, so that they tell nothing after the next one. */
static void
get_run(const struct berth_shimlet *s, struct process_replica *r)
{
    unsigned long long start = 0;
    char path[PROCESS_PATH_MAX], boot[PROCESS_BOOT_MAX] = "";
    struct process_stat p;
    int pid;

    process_path(s, r->unit->name, r->rec.id, ".run", path);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    /* NOLINTNEXTLINE(cert-err34-c): our own text; what does not fit is not taken */
    if (fscanf(f, "%d %llu %u %u %39s", &pid, &start, &r->restarts, &r->failures, boot) == 5 &&
        boot[0] != '-' && strcmp(boot, s->boot) == 0) {
        r->start_ticks = start;
        if (pid > 0 && process_stat_read(pid, &p) && p.start_ticks == start && p.state != 'Z')
            r->pid = pid;
    }
    (void)fclose(f);
}

static int
load_replica(struct berth_shimlet *s, struct process_unit *u, const char *id, struct berth_err *e)
{
    struct process_replica *r = process_replica_new(u);
    const struct berth_json *v;
    char path[PROCESS_PATH_MAX];

    if (r == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    r->rec.id = berth_arena_strdup(&r->arena, id);
    process_path(s, u->name, id, ".json", path);
    int ret = read_json(path, &r->arena, &v, e);
    if (ret == 0)
        ret = get_record(v, r, id, e);
    if (ret == 0) {
        get_run(s, r);
        return 0;
    }
    /* A power cut left half of it: it runs nowhere, and apply() makes another.  One that cannot be
     * read now may be whole, and its process at work. */
    if (ret == -BERTH_EINVAL) {
        s->h->log(BERTH_LOG_WARN, e->msg);
        process_erase_replica(s, r);
        ret = 0;
    }
    process_replica_drop(r);
    return ret;
}

/* What the unit was last given.  One that is not whole, or not there yet, is given it again. */
static int
load_wish(const struct berth_shimlet *s, struct process_unit *u, struct berth_err *e)
{
    struct berth_arena a;
    const struct berth_json *v;
    char path[PROCESS_PATH_MAX];

    berth_arena_init(&a, 4 * PROCESS_FILE_MAX);
    process_path(s, u->name, NULL, "unit.json", path);
    int r = read_json(path, &a, &v, e);
    if (r == 0) {
        const char *texts[] = {berth_json_member_text(v, "service_id", NULL),
                               berth_json_member_text(v, "track", NULL),
                               berth_json_member_text(v, "hash", NULL)};

        (void)snprintf(u->service_id, sizeof u->service_id, "%s", texts[0] ? texts[0] : "");
        (void)snprintf(u->track, sizeof u->track, "%s", texts[1] ? texts[1] : "");
        (void)snprintf(u->hash, sizeof u->hash, "%s", texts[2] ? texts[2] : "");
        u->desired = (uint32_t)berth_json_member_uint(v, "desired");
        u->accelerators = (uint32_t)berth_json_member_uint(v, "accelerators");
        u->memory_bytes = berth_json_member_uint(v, "memory_bytes");
        u->cpu_milli = berth_json_member_uint(v, "cpu_milli");
    } else if (r == -BERTH_EINVAL || r == -BERTH_ENOENT) {
        s->h->log(BERTH_LOG_WARN, e->msg);
        r = 0;
    }
    berth_arena_fini(&a);
    return r;
}

static int
load_unit(struct berth_shimlet *s, const char *name, struct berth_err *e)
{
    char path[PROCESS_PATH_MAX];
    struct process_unit *u = process_unit_new(s, name);

    if (u == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    process_path(s, name, NULL, "", path);
    DIR *d = opendir(path);
    if (d == NULL)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    int r = load_wish(s, u, e);
    for (struct dirent *f; r == 0 && (f = readdir(d)) != NULL;) {
        const size_t len = strlen(f->d_name);
        char id[PROCESS_ID_MAX];

        if (len < 6 || len - 5 >= sizeof id || strcmp(f->d_name + len - 5, ".json") != 0 ||
            strcmp(f->d_name, "unit.json") == 0 || u->replica_count >= PROCESS_REPLICAS_MAX)
            continue;
        (void)snprintf(id, sizeof id, "%.*s", (int)len - 5, f->d_name);
        r = load_replica(s, u, id, e);
    }
    (void)closedir(d);
    return r;
}

int
process_load(struct berth_shimlet *s, struct berth_err *e)
{
    char path[PROCESS_PATH_MAX];
    int r = 0;

    process_path(s, "", NULL, "", path);
    DIR *d = opendir(path);
    if (d == NULL)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    for (struct dirent *f; r == 0 && (f = readdir(d)) != NULL;) {
        if (f->d_name[0] != '.' && strlen(f->d_name) < PROCESS_NAME_MAX)
            r = load_unit(s, f->d_name, e);
    }
    (void)closedir(d);
    return r;
}

/* ---- taking away ---- */

static int
erase_one(const char *path, const struct stat *st, int flag, struct FTW *where)
{
    (void)st;
    (void)flag;
    (void)where;
    (void)remove(path);
    return 0;
}

static void
erase_tree(const char *path)
{
    (void)nftw(path, erase_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void
process_erase_replica(const struct berth_shimlet *s, const struct process_replica *r)
{
    /* The record goes last: with it there, a restart finds what is left. */
    static const char *const suffixes[] = {".run",      ".log",     ".lock",
                                           ".json.new", ".run.new", ".json"};
    char path[PROCESS_PATH_MAX];

    process_path(s, r->unit->name, r->rec.id, ".d", path);
    erase_tree(path);
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        process_path(s, r->unit->name, r->rec.id, suffixes[i], path);
        (void)unlink(path);
    }
}

void
process_erase_unit(const struct berth_shimlet *s, const struct process_unit *u)
{
    char path[PROCESS_PATH_MAX];

    process_path(s, u->name, NULL, "", path);
    erase_tree(path);
}
