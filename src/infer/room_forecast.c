#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "infer/host.h"
#include "infer/registry_priv.h"

/* What a load will need: as it was measured, else as its backend says, else by its files and what
 * others of its backend took. */

enum { MIB = 1 << 20, FILES_MAX = 4096, DEPTH_MAX = 8, SMALL_FILE = MIB };

static uint64_t
walk(const char *path, int depth, unsigned *files)
{
    struct stat st;
    uint64_t sum = 0;

    if (*files >= FILES_MAX || stat(path, &st) < 0)
        return 0;
    (*files)++;
    if (S_ISREG(st.st_mode))
        return (uint64_t)st.st_size;
    DIR *d = S_ISDIR(st.st_mode) && depth < DEPTH_MAX ? opendir(path) : NULL;
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;) {
        char full[4096];
        int n = snprintf(full, sizeof full, "%s/%s", path, f->d_name);
        if (f->d_name[0] != '.' && n > 0 && (size_t)n < sizeof full)
            sum += walk(full, depth + 1, files);
    }
    if (d != NULL)
        (void)closedir(d);
    return sum;
}

/* Files below path, together. */
static uint64_t
file_bytes(const char *path)
{
    unsigned files = 0;

    return walk(path, 0, &files);
}

static struct berth_lesson *
lesson_locked(struct berth_room *room, const char *backend)
{
    static const struct berth_lesson first = {
        .permille = 1250, .base = 2 * MIB, .bytes_per_s = (uint64_t)500 * MIB};
    size_t i = 0;

    while (i < room->lesson_len && strcmp(room->lessons[i].backend, backend) != 0)
        i++;
    if (i == BERTH_LESSONS_MAX)
        return &room->lessons[BERTH_LESSONS_MAX - 1];
    if (i == room->lesson_len) {
        room->lessons[i] = first;
        (void)snprintf(room->lessons[i].backend, sizeof room->lessons[i].backend, "%s", backend);
        room->lesson_len++;
    }
    return &room->lessons[i];
}

const char *
berth_forecast_by_text(enum berth_forecast_by by)
{
    static const char *const names[] = {[BERTH_BY_FILES] = "its files",
                                        [BERTH_BY_LOAD] = "an earlier load",
                                        [BERTH_BY_BACKEND] = "its backend"};

    return names[by];
}

const char *
berth_room_source(const struct berth_forecast *f)
{
    static const char *const names[] = {[BERTH_BY_FILES] = "guessed by its files",
                                        [BERTH_BY_LOAD] = "measured",
                                        [BERTH_BY_BACKEND] = "as its backend says"};

    return names[f->by];
}

/* What the backend says of one instance; 0: nothing.  One that is to work in a process of its own
 * does not get to see the file in this one. */
static uint64_t
ask_backend(const struct berth_registry *g, const struct berth_plan *p, const char *path)
{
    const struct berth_load how = {.struct_size = sizeof how,
                                   .path = path,
                                   .settings_json = p->conf.settings_json,
                                   .threads = 1};

    if (p->conf.memory_bytes > 0 || !BERTH_HAS(p->ops, forecast) || berth_plan_isolates(g, p))
        return 0;
    return p->ops->forecast(berth_host_calls(), &how);
}

static struct berth_forecast
guess_locked(struct berth_registry *g, const struct berth_plan *p, uint64_t files, uint64_t said)
{
    const struct berth_lesson *l = lesson_locked(&g->room, p->ops->name);
    const uint64_t load_ns = BERTH_MS + (uint64_t)((double)files / (double)l->bytes_per_s * 1e9);

    if (said > 0 && said < UINT64_MAX / p->conf.instances)
        return (struct berth_forecast){.bytes = said * p->conf.instances,
                                       .least_bytes = said * p->conf.instances,
                                       .load_ns = load_ns,
                                       .by = BERTH_BY_BACKEND};
    const uint64_t each = (files > SMALL_FILE ? files / 1000 * l->permille : files) + l->base;

    return (struct berth_forecast){
        .bytes = p->conf.memory_bytes > 0 ? p->conf.memory_bytes : each * p->conf.instances,
        .least_bytes = p->conf.memory_bytes > 0 ? p->conf.memory_bytes : files * p->conf.instances,
        .load_ns = load_ns,
    };
}

struct berth_forecast
berth_room_forecast(struct berth_registry *g, const struct berth_entry *x,
                    const struct berth_plan *p, const char *path)
{
    struct berth_forecast f;

    (void)pthread_rwlock_rdlock(&g->lock);
    f = (struct berth_forecast){.by = BERTH_BY_FILES};
    if (x != NULL && x->known_bytes > 0)
        f = (struct berth_forecast){
            .bytes = x->known_bytes, .load_ns = x->known_load_ns, .by = BERTH_BY_LOAD};
    (void)pthread_rwlock_unlock(&g->lock);
    if (f.by == BERTH_BY_LOAD)
        return f;
    const uint64_t files = file_bytes(path);
    const uint64_t place = berth_room_place(path, files, p->ops->name, &p->conf);
    (void)pthread_rwlock_rdlock(&g->lock);
    const struct berth_seen *s = berth_room_seen_locked(&g->room, place);
    if (s != NULL) /* measured, under this name or another */
        f = (struct berth_forecast){.bytes = s->bytes, .load_ns = s->load_ns, .by = BERTH_BY_LOAD};
    (void)pthread_rwlock_unlock(&g->lock);
    if (f.by == BERTH_BY_LOAD)
        return f;
    const uint64_t said = ask_backend(g, p, path); /* it reads the disk */
    (void)pthread_rwlock_wrlock(&g->lock);
    f = guess_locked(g, p, files, said);
    (void)pthread_rwlock_unlock(&g->lock);
    return f;
}

bool
berth_room_begins(struct berth_registry *g, const char *backend)
{
    (void)pthread_rwlock_wrlock(&g->lock);
    struct berth_lesson *l = lesson_locked(&g->room, backend);
    const bool begins = !l->begun;
    l->begun = true;
    (void)pthread_rwlock_unlock(&g->lock);
    return begins;
}

static uint64_t
drift(uint64_t old, uint64_t now)
{
    return old - old / 4 + now / 4;
}

void
berth_room_learn(struct berth_registry *g, struct berth_entry *x, const struct berth_model *m,
                 const char *path)
{
    const uint64_t files = file_bytes(path);
    const uint64_t place = berth_room_place(path, files, m->ops->name, &m->conf);
    const uint64_t each = m->memory_bytes / (m->conf.instances > 0 ? m->conf.instances : 1);

    (void)pthread_rwlock_wrlock(&g->lock);
    struct berth_lesson *l = lesson_locked(&g->room, m->ops->name);
    if (files > SMALL_FILE) {
        l->permille = drift(l->permille, (each - (each > l->base ? l->base : 0)) / (files / 1000));
        if (m->load_ns > 0)
            l->bytes_per_s =
                drift(l->bytes_per_s, (uint64_t)((double)files / ((double)m->load_ns / 1e9))) + 1;
    } else if (m->conf.memory_bytes == 0) {
        l->base = drift(l->base, each > files ? each - files : 0) + 1024;
    }
    x->known_bytes = m->memory_bytes > 0 ? m->memory_bytes : 1;
    x->known_load_ns = m->load_ns;
    x->item.load_ns = m->load_ns;
    x->item.loaded_ns = berth_now_ns();
    berth_room_see_locked(&g->room, place, x->known_bytes, m->load_ns);
    g->room.dirty = true;
    (void)pthread_rwlock_unlock(&g->lock);
}
