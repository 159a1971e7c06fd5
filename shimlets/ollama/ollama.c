#include "shimlets/ollama/ollama.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "os/memory.h"
#include "shimlets/ollama/ollama_priv.h"

static const struct berth_setting settings[] = {
    {"host", BERTH_SETTING_STRING, 0, 0, "http://127.0.0.1:11434",
     "the server, for services that name none; else what OLLAMA_HOST says"},
    {"keep_alive", BERTH_SETTING_STRING, 0, 0, "-1",
     "how long a model stays loaded without a request: \"10m\", seconds, -1: until another needs "
     "its memory"},
    {0},
};

/* ---- open, close ---- */

static void
ollama_close(struct berth_shimlet *s)
{
    if (s == NULL)
        return;
    free(s->owner);
    free(s->dir);
    free(s);
}

static int
read_settings(struct berth_shimlet *s, const char *json, struct berth_err *e)
{
    const char *from_env = getenv("OLLAMA_HOST");
    const struct berth_json *root = NULL;
    struct berth_slice host = berth_slice_of(from_env != NULL ? from_env : "");
    struct berth_slice keep = BERTH_SLICE("-1");
    struct berth_arena a;

    berth_arena_init(&a, 1024 * 1024);
    int r = berth_json_parse(&a, json, strlen(json), NULL, &root, e);
    if (r == 0) {
        (void)berth_json_string(berth_json_get(root, "host"), &host);
        (void)berth_json_string(berth_json_get(root, "keep_alive"), &keep);
        r = berth_ollama_host(host.at, s->host, e);
    }
    if (r == 0 && (keep.len == 0 || keep.len >= sizeof s->keep_alive ||
                   strspn(keep.at, "-0123456789.smhun") != keep.len))
        r = berth_err_set(e, BERTH_ECONFIG, "ollama: keep_alive \"%.40s\" is no time like \"10m\"",
                          keep.at);
    if (r == 0)
        memcpy(s->keep_alive, keep.at, keep.len);
    berth_arena_fini(&a);
    return r;
}

static int
ollama_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
            struct berth_shimlet **ret, struct berth_err *e)
{
    if (how->state_dir == NULL)
        return berth_err_set(e, BERTH_ECONFIG,
                             "ollama: what is made on a server is written down: set state_dir");
    struct berth_shimlet *s = calloc(1, sizeof *s);
    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
    s->h = h;
    s->owner = strdup(how->owner);
    int r = read_settings(s, how->settings_json, e);
    if (r == 0 && (s->owner == NULL || asprintf(&s->dir, "%s/units", how->state_dir) < 0)) {
        s->dir = NULL;
        r = berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
    }
    if (r == 0 && mkdir(s->dir, 0700) < 0 && errno != EEXIST)
        r = berth_err_set(e, BERTH_EIO, "ollama: %.300s: %m", s->dir);
    if (r < 0) {
        ollama_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

/* ---- status, list ---- */

struct told {
    struct berth_observed o;
    struct berth_replica replicas[BERTH_OLLAMA_MADE_MAX];
    const char *names[BERTH_OLLAMA_MADE_MAX];
};

static void
put_replica(struct told *t, const struct berth_ollama_record *r,
            const struct berth_ollama_made *made, const struct berth_ollama_tag *tag,
            uint64_t memory_bytes, const char *away)
{
    struct berth_replica *one = &t->replicas[t->o.replica_count];

    t->names[t->o.replica_count++] = made->name;
    *one = (struct berth_replica){
        .struct_size = sizeof *one,
        .id = made->name,
        .hash = tag->hash,
        .revision = tag->revision,
        .state = away != NULL || made->reason != NULL ? BERTH_REPLICA_FAILED
                 : made->loaded                       ? BERTH_REPLICA_READY
                                                      : BERTH_REPLICA_STARTING,
        .endpoint = r->host,
        .reason = away != NULL ? away : made->reason,
        .memory_bytes = memory_bytes,
    };
}

/* The server does not answer: what is known of it, and that it has to be loaded when it is back. */
static int
told_away(struct berth_shimlet *s, struct berth_ollama_record *r, struct berth_arena *a,
          const char *away, struct told *t, struct berth_err *e)
{
    bool news = false;

    for (size_t i = 0; i < r->made_count; i++) {
        struct berth_ollama_tag *tag = BERTH_NEW(a, struct berth_ollama_tag);

        if (tag == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
        if (!berth_ollama_name_parse(berth_slice_of(r->made[i].name), s->owner, r->unit, tag, NULL))
            continue;
        put_replica(t, r, &r->made[i], tag, 0, away);
        news = news || !r->made[i].cold;
        r->made[i].cold = true;
    }
    t->o.message = away;
    return news ? berth_ollama_record_put(s, r, e) : 0;
}

/* As it was made, and loaded since the server began? */
static const char *
drift_of(const struct berth_ollama_record *r, const struct berth_ollama_seen *seen, size_t count,
         struct berth_arena *a)
{
    for (size_t i = 0; i < r->made_count; i++) {
        bool there = false;

        for (size_t k = 0; k < count; k++)
            there = there || seen[k].made == &r->made[i];
        if (!there)
            return berth_arena_printf(a, "the model %s was deleted", r->made[i].name);
        if (r->made[i].cold)
            return berth_arena_printf(a, "the server was away: %s is loaded again",
                                      r->made[i].name);
    }
    return NULL;
}

static int
told_of(struct berth_shimlet *s, const struct berth_op *op, struct berth_ollama_record *r,
        struct berth_arena *a, struct told *t, struct berth_err *e)
{
    static const struct berth_ollama_made unknown = {0};
    struct berth_ollama_seen *seen = NULL;
    size_t count = 0;
    int rc = berth_ollama_look(s, op, r, a, &seen, &count, e);

    if (rc == -BERTH_ENETWORK || rc == -BERTH_EDEADLINE || rc == -BERTH_EUNSUPPORTED) {
        const char *away = berth_arena_strdup(a, e->msg);
        return away != NULL ? told_away(s, r, a, away, t, e) : rc;
    }
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        struct berth_ollama_made made = seen[i].made != NULL ? *seen[i].made : unknown;

        made.name = seen[i].name;
        put_replica(t, r, &made, &seen[i].tag, seen[i].memory_bytes, NULL);
    }
    t->o.message = drift_of(r, seen, count, a);
    t->o.drifted = t->o.message != NULL;
    if (count > 0 && t->o.hash == NULL) { /* the record was lost: what was wanted last */
        t->o.exists = true;
        t->o.hash = seen[count - 1].tag.hash;
        t->o.replicas_desired = 1;
    }
    return 0;
}

static int
ollama_status(struct berth_shimlet *s, const struct berth_op *op, const char *unit,
              void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
              struct berth_err *e)
{
    struct berth_ollama_record rec = {.unit = unit, .host = s->host};
    struct told t = {.o = {.struct_size = sizeof t.o}};
    struct berth_arena a;

    berth_arena_init(&a, BERTH_OLLAMA_ARENA_MAX);
    int r = berth_ollama_record_get(s, unit, &a, &rec, e);
    if (r >= 0) {
        t.o.exists = r > 0;
        t.o.hash = rec.hash;
        t.o.replicas_desired = rec.replicas;
        t.o.replicas = t.replicas;
        t.o.model_names = t.names;
        r = told_of(s, op, &rec, &a, &t, e);
    }
    if (r >= 0)
        tell(arg, &t.o);
    berth_arena_fini(&a);
    return r < 0 ? r : 0;
}

struct listing {
    void (*each)(void *arg, const struct berth_listed *one);
    void *arg;
};

static void
list_one(void *arg, const struct berth_ollama_record *r)
{
    const struct listing *l = arg;

    l->each(l->arg, &(struct berth_listed){r->service_id, r->track, r->unit, r->hash});
}

static int
ollama_list(struct berth_shimlet *s, const struct berth_op *op,
            void (*each)(void *arg, const struct berth_listed *one), void *arg, struct berth_err *e)
{
    struct listing l = {each, arg};

    (void)op;
    return berth_ollama_record_each(s, list_one, &l, e);
}

/* ---- check, resources, render ---- */

/* "0.6.8", "0.12.3-rc1" -> 608, 1203; 0: not said, as of one that somebody built. */
static unsigned
version_of(const char *text)
{
    unsigned major = 0, minor = 0, patch = 0;

    if (sscanf(text, "%3u.%3u.%2u", &major, &minor, &patch) < 2)
        return 0;
    return major * 100000 + minor * 100 + patch;
}

static int
ollama_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
             struct berth_err *e)
{
    enum { VERSION_LEAST = 505 }; /* 0.5.5: the first to make models of files that it was sent */
    const struct berth_json *root = NULL;
    struct berth_ollama_plan plan;
    struct berth_slice version;
    struct berth_arena a;

    berth_arena_init(&a, BERTH_OLLAMA_ARENA_MAX);
    int r = berth_ollama_plan(s, u, &a, &plan, e);
    const struct berth_ollama_ask ask = {
        .host = plan.host, .method = "GET", .path = "/api/version", .total_ns_max = 10 * BERTH_S};
    if (r == 0)
        r = berth_ollama_ask(s, op, &ask, &a, &root, e);
    if (r == 0 && !berth_json_string(berth_json_get(root, "version"), &version))
        r = berth_err_set(e, BERTH_EUNSUPPORTED,
                          "%.200s/api/version tells no version: is it an Ollama server?",
                          plan.host);
    else if (r == 0 && version_of(version.at) > 0 && version_of(version.at) < VERSION_LEAST)
        r = berth_err_set(e, BERTH_EUNSUPPORTED,
                          "the Ollama at %.200s is %.20s; 0.5.5 or newer is needed: update it",
                          plan.host, version.at);
    berth_arena_fini(&a);
    return r;
}

/* Ollama tells what its models take, and not of how much: here it is this machine's memory. */
static int
ollama_resources(struct berth_shimlet *s, const struct berth_op *op, struct berth_resources *ret,
                 struct berth_err *e)
{
    struct berth_resources all = {.struct_size = sizeof all};
    struct berth_memory m;

    (void)op;
    if (strstr(s->host, "//127.") != NULL || strstr(s->host, "//localhost") != NULL ||
        strstr(s->host, "//[::1]") != NULL) {
        const int r = berth_memory_read(NULL, &m, e);
        if (r < 0)
            return r;
        all.memory_bytes_total = m.total_bytes;
        all.memory_bytes_free = m.free_bytes;
    }
    *ret = all;
    return 0;
}

static int
ollama_render(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
              void (*text)(void *arg, const char *json, size_t len), void *arg, struct berth_err *e)
{
    struct berth_ollama_plan plan;
    struct berth_arena a;
    struct berth_buf b;
    struct berth_jw w;

    (void)op;
    berth_arena_init(&a, BERTH_OLLAMA_ARENA_MAX);
    berth_buf_init(&b, &a);
    berth_jw_init(&w, &b);
    int r = berth_ollama_plan(s, u, &a, &plan, e);
    if (r == 0) {
        berth_jw_array(&w);
        berth_jw_object(&w);
        berth_jw_key(&w, "server");
        berth_jw_string(&w, plan.host);
        berth_jw_key(&w, plan.file != NULL ? "file" : "from");
        berth_jw_string(&w, plan.file != NULL ? plan.file : plan.from);
        if (plan.parameters != NULL) {
            berth_jw_key(&w, "parameters");
            berth_jw_value(&w, plan.parameters);
        }
        if (plan.context_len > 0) {
            berth_jw_key(&w, "num_ctx");
            berth_jw_uint(&w, plan.context_len);
        }
        berth_jw_object_end(&w);
        berth_jw_array_end(&w);
        if (b.failed)
            r = berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
        else
            text(arg, b.at, b.len);
    }
    berth_arena_fini(&a);
    return r;
}

/* The server is sent what is read here. */
static bool
ollama_sees_files(const struct berth_shimlet *s)
{
    (void)s;
    return true;
}

const struct berth_shimlet_ops berth_shimlet_ollama = {
    .abi = BERTH_SHIMLET_ABI,
    .struct_size = sizeof(struct berth_shimlet_ops),
    .name = "ollama",
    .version = BERTH_VERSION,
    .description = "models of a running Ollama server, by its HTTP API",
    .settings = settings,
    .open = ollama_open,
    .close = ollama_close,
    .apply = berth_ollama_apply,
    .remove = berth_ollama_remove,
    .status = ollama_status,
    .list = ollama_list,
    .check = ollama_check,
    .resources = ollama_resources,
    .render = ollama_render,
    .sees_files = ollama_sees_files,
};
