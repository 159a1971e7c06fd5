#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "shimlets/shimmy/shimmy_priv.h"
#include "wire/json.h"

/* A file a unit, as JSON.  Renamed into place and not synced: it is to outlive the program, not the
 * machine. */
enum { FILE_MAX = 2 * 1024 * 1024 };

static void
put_replica(struct berth_jw *w, const struct shimmy_replica *r)
{
    berth_jw_object(w);
    berth_jw_key(w, "id");
    berth_jw_string(w, r->id);
    berth_jw_key(w, "hash");
    berth_jw_string(w, r->hash);
    berth_jw_key(w, "reason");
    berth_jw_string(w, r->reason);
    berth_jw_key(w, "revision");
    berth_jw_uint(w, r->revision);
    berth_jw_key(w, "since_ns");
    berth_jw_uint(w, r->since_ns);
    berth_jw_key(w, "cpu_milli");
    berth_jw_uint(w, r->cpu_milli);
    berth_jw_key(w, "memory_bytes");
    berth_jw_uint(w, r->memory_bytes);
    berth_jw_key(w, "index");
    berth_jw_uint(w, r->index);
    berth_jw_key(w, "restarts");
    berth_jw_uint(w, r->restarts);
    berth_jw_key(w, "accelerators");
    berth_jw_uint(w, r->accelerators);
    berth_jw_key(w, "state");
    berth_jw_int(w, r->state);
    berth_jw_key(w, "node");
    berth_jw_int(w, r->node);
    berth_jw_object_end(w);
}

static void
put_unit(struct berth_jw *w, const struct shimmy_unit *u)
{
    const struct {
        const char *key, *text;
    } texts[] = {
        {"name", u->name},
        {"service_id", u->service_id},
        {"track", u->track},
        {"hash", u->hash},
        {"conf", u->conf_json != NULL ? u->conf_json : "{}"},
    };
    const struct {
        const char *key;
        uint64_t n;
    } numbers[] = {
        {"desired", u->desired},
        {"start_timeout_ns", u->start_timeout_ns},
        {"drain_timeout_ns", u->drain_timeout_ns},
        {"applied_ns", u->applied_ns},
        {"seq", u->seq},
        {"crashes", u->crashes},
        {"drifted", u->drifted},
        {"drift_done", u->drift_done},
    };

    berth_jw_object(w);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        berth_jw_key(w, texts[i].key);
        berth_jw_string(w, texts[i].text);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        berth_jw_key(w, numbers[i].key);
        berth_jw_uint(w, numbers[i].n);
    }
    berth_jw_key(w, "replicas");
    berth_jw_array(w);
    for (size_t i = 0; i < u->replica_count; i++)
        put_replica(w, &u->replicas[i]);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
}

int
shimmy_save(const struct berth_shimlet *s, const struct shimmy_unit *u, struct berth_err *e)
{
    char path[512], fresh[520];
    struct berth_buf text;
    struct berth_jw w;

    if (s->state_dir == NULL)
        return 0;
    (void)snprintf(path, sizeof path, "%s/%s.json", s->state_dir, u->name);
    (void)snprintf(fresh, sizeof fresh, "%s.new", path);
    if (!u->exists) {
        (void)unlink(path);
        return 0;
    }
    berth_buf_init(&text, NULL);
    berth_jw_init(&w, &text);
    put_unit(&w, u);
    FILE *f = !text.failed ? fopen(fresh, "we") : NULL;
    bool written = f != NULL && fwrite(text.at, 1, text.len, f) == text.len;
    written = f != NULL && fclose(f) == 0 && written;
    berth_buf_fini(&text);
    if (!written || rename(fresh, path) < 0)
        return berth_err_set(e, BERTH_EIO, "shimmy: %s: %m", path);
    return 0;
}

static void
get_replica(const struct berth_json *v, struct shimmy_replica *r)
{
    int64_t node = -1;

    *r = (struct shimmy_replica){
        .revision = berth_json_member_uint(v, "revision"),
        .since_ns = berth_json_member_uint(v, "since_ns"),
        .cpu_milli = berth_json_member_uint(v, "cpu_milli"),
        .memory_bytes = berth_json_member_uint(v, "memory_bytes"),
        .index = (uint32_t)berth_json_member_uint(v, "index"),
        .restarts = (uint32_t)berth_json_member_uint(v, "restarts"),
        .accelerators = (uint32_t)berth_json_member_uint(v, "accelerators"),
        .state = (enum berth_replica_state)(berth_json_member_uint(v, "state") %
                                            (BERTH_REPLICA_STOPPING + 1)),
    };
    if (r->since_ns > berth_now_ns())
        r->since_ns = berth_now_ns(); /* the machine was started anew */
    (void)berth_json_int(berth_json_get(v, "node"), &node);
    r->node = node >= 0 && node < SHIMMY_NODES_MAX ? (int)node : -1;
    berth_json_member_copy(v, "id", r->id, sizeof r->id);
    berth_json_member_copy(v, "hash", r->hash, sizeof r->hash);
    berth_json_member_copy(v, "reason", r->reason, sizeof r->reason);
}

static int
get_unit(struct berth_shimlet *s, const struct berth_json *v, struct berth_err *e)
{
    const struct berth_json *replicas = berth_json_get(v, "replicas");
    const size_t n = berth_json_len(replicas);
    char name[SHIMMY_NAME_MAX];
    struct berth_slice conf = {"{}", 2};
    struct shimmy_unit *u;

    berth_json_member_copy(v, "name", name, sizeof name);
    int r = shimmy_unit_of(s, name, &u, e);
    if (r < 0)
        return r;
    berth_json_member_copy(v, "service_id", u->service_id, sizeof u->service_id);
    berth_json_member_copy(v, "track", u->track, sizeof u->track);
    berth_json_member_copy(v, "hash", u->hash, sizeof u->hash);
    (void)berth_json_string(berth_json_get(v, "conf"), &conf);
    u->conf_json = strndup(conf.at, conf.len);
    u->replicas = n <= SHIMMY_REPLICAS_MAX ? calloc(n + 1, sizeof *u->replicas) : NULL;
    if (u->conf_json == NULL || u->replicas == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "shimmy: out of memory");
    u->replica_cap = n + 1;
    u->conf = shimmy_conf_read(u->conf_json, &s->conf);
    u->exists = true;
    u->desired = (uint32_t)berth_json_member_uint(v, "desired");
    u->start_timeout_ns = berth_json_member_uint(v, "start_timeout_ns");
    u->drain_timeout_ns = berth_json_member_uint(v, "drain_timeout_ns");
    u->applied_ns = berth_json_member_uint(v, "applied_ns");
    u->seq = berth_json_member_uint(v, "seq");
    u->crashes = berth_json_member_uint(v, "crashes");
    u->drifted = berth_json_member_uint(v, "drifted") != 0;
    u->drift_done = berth_json_member_uint(v, "drift_done") != 0;
    for (struct berth_json_iter it = berth_json_iter(replicas); berth_json_next(&it);)
        get_replica(it.value, &u->replicas[u->replica_count++]);
    return 0;
}

static int
load_file(struct berth_shimlet *s, int dir_fd, const char *name, struct berth_err *e)
{
    BERTH_AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > FILE_MAX)
        return berth_err_set(e, BERTH_EIO, "shimmy: cannot read %s/%s", s->state_dir, name);
    BERTH_AUTO_FREE char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL || read(fd, text, (size_t)st.st_size) != st.st_size)
        return berth_err_set(e, BERTH_EIO, "shimmy: cannot read %s/%s", s->state_dir, name);
    const struct berth_json *v;
    struct berth_arena a;

    berth_arena_init(&a, 64u << 20);
    int r = berth_json_parse(&a, text, (size_t)st.st_size, NULL, &v, e);
    if (r == 0)
        r = get_unit(s, v, e);
    berth_arena_fini(&a);
    return r < 0 ? berth_err_wrap(e, r, "shimmy: %s/%s", s->state_dir, name) : 0;
}

int
shimmy_load(struct berth_shimlet *s, struct berth_err *e)
{
    DIR *d = s->state_dir != NULL ? opendir(s->state_dir) : NULL;
    int r = 0;

    for (struct dirent *f; d != NULL && r == 0 && (f = readdir(d)) != NULL;) {
        const size_t len = strlen(f->d_name);

        if (len > 5 && strcmp(f->d_name + len - 5, ".json") == 0)
            r = load_file(s, dirfd(d), f->d_name, e);
    }
    if (d != NULL)
        (void)closedir(d);
    return r;
}
