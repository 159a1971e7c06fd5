#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/*
 * Shimlets and pipelines that people loaded while running: remembered with the checksum of what
 * they saw work, and loaded again at the next start.  One that cannot be had any more is not
 * forgotten either: its services, and whoever asks for it, are told why it is not there.
 */

enum { KEPT_MAX = 256 };

struct lost {
    struct lost *next;
    char *type, *name, *why;
};

static void
lost_free(struct lost *l)
{
    if (l == NULL)
        return;
    free(l->type);
    free(l->name);
    free(l->why);
    free(l);
}

static struct lost **
find_lost_locked(struct berth_deploy *d, const char *type, const char *name)
{
    struct lost **at = &d->lost;

    while (*at != NULL && (strcmp((*at)->type, type) != 0 || strcmp((*at)->name, name) != 0))
        at = &(*at)->next;
    return at;
}

void
berth_kept_found(struct berth_deploy *d, const char *type, const char *name)
{
    (void)pthread_mutex_lock(&d->mu);
    struct lost **at = find_lost_locked(d, type, name), *l = *at;
    if (l != NULL)
        *at = l->next;
    (void)pthread_mutex_unlock(&d->mu);
    lost_free(l);
}

void
berth_kept_free(struct berth_deploy *d)
{
    for (struct lost *l = d->lost, *next; l != NULL; l = next) {
        next = l->next;
        lost_free(l);
    }
    d->lost = NULL;
}

bool
berth_kept_why(struct berth_deploy *d, const char *type, const char *name, char *ret, size_t cap)
{
    (void)pthread_mutex_lock(&d->mu);
    const struct lost *l = *find_lost_locked(d, type, name);
    if (l != NULL)
        (void)snprintf(ret, cap, "%s", l->why);
    (void)pthread_mutex_unlock(&d->mu);
    return l != NULL;
}

static void
note_lost(struct berth_deploy *d, const char *type, const char *name, const char *why)
{
    struct lost *l = calloc(1, sizeof *l);

    berth_error("deploy: the %s %s, which was loaded before, is not there: %s", type, name, why);
    if (l == NULL)
        return;
    *l = (struct lost){.type = strdup(type), .name = strdup(name), .why = strdup(why)};
    if (l->type == NULL || l->name == NULL || l->why == NULL) {
        lost_free(l);
        return;
    }
    (void)pthread_mutex_lock(&d->mu);
    l->next = d->lost;
    d->lost = l;
    (void)pthread_mutex_unlock(&d->mu);
}

void
berth_kept_list(struct berth_deploy *d, struct berth_jw *w)
{
    berth_jw_array(w);
    for (const struct lost *l = d->lost; l != NULL; l = l->next) {
        berth_jw_object(w);
        berth_jw_key(w, "type");
        berth_jw_string(w, l->type);
        berth_jw_key(w, "name");
        berth_jw_string(w, l->name);
        berth_jw_key(w, "why");
        berth_jw_string(w, l->why);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

/* ---- in the store ---- */

static const char *
key_of(struct berth_arena *a, const char *type, const char *name)
{
    return berth_arena_printf(a, "plugin/%s/%s", type, name);
}

bool
berth_kept_is(struct berth_deploy *d, const char *type, const char *name, struct berth_arena *a)
{
    struct berth_record record;
    const char *key = key_of(a, type, name);

    return key != NULL && berth_store_get(d->conf.store, a, key, &record, NULL) == 0;
}

int
berth_kept_put(struct berth_deploy *d, const struct berth_deploy_file *f, const char *name,
               const char *path, const char *sum, struct berth_arena *a, struct berth_err *e)
{
    const char *key = key_of(a, f->type, name);
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "path");
    berth_jw_string(&w, path);
    berth_jw_key(&w, "sha256");
    berth_jw_string(&w, sum);
    if (f->config_json != NULL) {
        berth_jw_key(&w, "config");
        berth_jw_string(&w, f->config_json);
    }
    berth_jw_object_end(&w);
    if (b.failed || key == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    return berth_store_put(d->conf.store, key, (struct berth_slice){b.at, b.len}, 0, e);
}

int
berth_kept_drop(struct berth_deploy *d, const char *type, const char *name, struct berth_arena *a,
                struct berth_err *e)
{
    const char *key = key_of(a, type, name);

    return key != NULL ? berth_store_delete(d->conf.store, key, e)
                       : berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", name);
}

/* ---- at the start ---- */

/* Was it loaded from there already, by the configuration? */
static bool
is_there(struct berth_deploy *d, const char *type, const char *name, const char *path)
{
    struct plug *p =
        berth_plug_get(d, strcmp(type, "shimlet") == 0 ? &d->environs : &d->flows, name);
    const bool is = p != NULL && p->file != NULL && strcmp(p->file, path) == 0;

    berth_plug_put(d, p);
    return is;
}

static void
load_one(struct berth_deploy *d, const struct berth_record *record)
{
    const char *type = strncmp(record->key, "plugin/shimlet/", 15) == 0 ? "shimlet" : "pipeline";
    const char *name = strrchr(record->key, '/') + 1;
    const struct berth_json *v;
    struct berth_err e = {""};
    struct berth_arena a;
    struct berth_buf out;
    int r;

    berth_arena_init(&a, 4 << 20);
    berth_buf_init(&out, &a);
    r = berth_json_parse(&a, record->value.at, record->value.len, NULL, &v, &e);
    if (r == 0) {
        const struct berth_deploy_file file = {.type = type,
                                               .name = name,
                                               .path = berth_json_member_text(v, "path", NULL),
                                               .sha256 = berth_json_member_text(v, "sha256", NULL),
                                               .config_json =
                                                   berth_json_member_text(v, "config", NULL),
                                               .replace = true};
        if (file.path == NULL)
            r = berth_err_set(&e, BERTH_EINVAL, "its record has no path");
        else if (!is_there(d, type, name, file.path))
            r = berth_deploy_load(d, &file, &a, &out, &e);
    }
    if (r < 0)
        note_lost(d, type, name, e.msg);
    berth_arena_fini(&a);
}

int
berth_deploy_load_kept(struct berth_deploy *d, struct berth_err *e)
{
    struct berth_record *list;
    struct berth_arena a;
    size_t n = 0;

    berth_arena_init(&a, 16 << 20);
    const int r = berth_store_list(d->conf.store, &a, "plugin/", &list, &n, e);
    for (size_t i = 0; r == 0 && i < n && i < KEPT_MAX; i++)
        load_one(d, &list[i]);
    if (n > KEPT_MAX)
        berth_error("deploy: %zu plugins were loaded before; only %d are loaded again", n,
                    KEPT_MAX);
    berth_arena_fini(&a);
    return r;
}
