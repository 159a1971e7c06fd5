#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "infer/registry_priv.h"

/*
 * A folder whose content is registered: a thread that looks at all of it after every event, since
 * what is there counts and not how it came.  A file is taken when it has not changed for a while,
 * or at once when it was moved here whole.
 */
enum { ITEMS_MAX = 1024, FILES_MAX = 4096, DEPTH_MAX = 3, TICK_MS = 100, RETRY_MS = 2000 };
static const uint64_t settle_ns = 400 * BERTH_MS, old_ns = 2 * BERTH_S;

/* What tells that a file or folder has changed. */
struct signature {
    uint64_t inode, bytes, newest_ns, files;
};

struct item {
    char name[256]; /* in the folder; "" : free */
    char model[256];
    struct signature sig;
    uint64_t since_ns; /* it is like this since */
    bool whole;        /* it was moved here: need not settle */
    bool done;         /* acted on, as it is now */
    bool ours;         /* registered by us */
    bool seen;
};

struct berth_watch {
    struct berth_watch *next;
    struct berth_registry *g;
    pthread_t thread;
    char *dir;
    int inotify, stop; /* descriptors */
    int dir_wd;        /* -1: the folder is not there */
    struct item *items;
    size_t len;
};

static bool
is_eligible(const char *name)
{
    static const char *const unfinished[] = {".part", ".tmp", ".partial", ".crdownload", "~"};
    size_t len = strlen(name);

    if (name[0] == '.' || len >= sizeof((struct item *)NULL)->name)
        return false;
    for (size_t i = 0; i < BERTH_COUNT(unfinished); i++) {
        size_t n = strlen(unfinished[i]);
        if (len >= n && strcmp(name + len - n, unfinished[i]) == 0)
            return false;
    }
    return true;
}

static struct item *
item_of(struct berth_watch *w, const char *name)
{
    for (size_t i = 0; i < w->len; i++) {
        if (strcmp(w->items[i].name, name) == 0)
            return &w->items[i];
    }
    if (w->len == ITEMS_MAX)
        return NULL;
    struct item *t = &w->items[w->len++];
    *t = (struct item){.since_ns = berth_now_ns()};
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    (void)snprintf(t->model, sizeof t->model, "%s", name);
    char *dot = strrchr(t->model, '.');
    if (dot != NULL && dot != t->model)
        *dot = '\0';
    return t;
}

/* Add path and, when it is a folder, what is in it; false when it is gone. */
static bool
sign(struct berth_watch *w, const char *path, unsigned depth, struct signature *sig)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return false;
    uint64_t changed = (uint64_t)st.st_mtim.tv_sec * BERTH_S + (uint64_t)st.st_mtim.tv_nsec;
    sig->inode = sig->inode * 31 + (uint64_t)st.st_ino;
    sig->newest_ns = changed > sig->newest_ns ? changed : sig->newest_ns;
    sig->files++;
    if (!S_ISDIR(st.st_mode)) {
        sig->bytes += (uint64_t)st.st_size;
        return true;
    }
    /* The same folder twice is the same watch.  Not IN_MODIFY: every write of a long copy would
     * make us look at everything; its beginning (then the ticks) and its end are enough. */
    if (w->inotify >= 0)
        (void)inotify_add_watch(w->inotify, path, IN_CREATE | IN_DELETE | IN_CLOSE_WRITE | IN_MOVE);
    DIR *d = depth < DEPTH_MAX ? opendir(path) : NULL;
    if (d == NULL)
        return true;
    for (struct dirent *f; sig->files < FILES_MAX && (f = readdir(d)) != NULL;) {
        char inner[4096];
        int n = snprintf(inner, sizeof inner, "%s/%s", path, f->d_name);
        if (f->d_name[0] != '.' && n > 0 && (size_t)n < sizeof inner)
            (void)sign(w, inner, depth + 1, sig);
    }
    (void)closedir(d);
    return true;
}

static void
path_of(const struct berth_watch *w, const struct item *t, char path[4096])
{
    (void)snprintf(path, 4096, "%s/%s", w->dir, t->name);
}

static bool
is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void
take_up(struct berth_watch *w, struct item *t)
{
    char path[4096], id[BERTH_UUID_TEXT];
    struct berth_err e = {""};
    struct stat st;

    path_of(w, t, path);
    bool folder = is_dir(path);
    if (folder) /* a folder's name has no suffix to drop */
        (void)snprintf(t->model, sizeof t->model, "%s", t->name);
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
        return; /* made, but nothing written yet */
    const struct berth_model_spec spec = {.name = t->model, .path = path, .ephemeral = true};
    int r = berth_registry_register(w->g, &spec, id, &e);
    t->ours = r == 0;
    if (r == 0) {
        berth_info("model %s: found in %s", t->model, w->dir);
    } else if (folder && r != -BERTH_EEXIST && r != -BERTH_ELIMIT) {
        t->ours = berth_registry_register_broken(w->g, &spec, e.msg) == 0;
        berth_warn("%s: %s", path, e.msg);
    } else {
        berth_warn("%s is not served: %s", path, e.msg);
    }
}

static void
act(struct berth_watch *w, struct item *t)
{
    struct berth_err e = {""};

    t->done = true;
    t->whole = false;
    if (!t->ours) {
        take_up(w, t);
        return;
    }
    berth_info("model %s: changed in %s", t->model, w->dir);
    if (berth_registry_load(w->g, berth_slice_of(t->model), &e) < 0)
        take_up(w, t); /* somebody unregistered it meanwhile */
}

static void
let_go(struct berth_watch *w, struct item *t)
{
    struct berth_err e = {""};

    if (!t->ours)
        return;
    berth_info("model %s: gone from %s", t->model, w->dir);
    (void)berth_registry_unregister(w->g, berth_slice_of(t->model), &e);
}

static void
look_at(struct berth_watch *w, const char *name, uint64_t now, bool first)
{
    struct signature sig = {0};
    char path[4096];

    struct item *t = item_of(w, name);
    if (t == NULL)
        return;
    path_of(w, t, path);
    if (!sign(w, path, 0, &sig))
        return;
    t->seen = true;
    if (memcmp(&sig, &t->sig, sizeof sig) != 0) {
        t->sig = sig;
        t->since_ns = now;
        t->done = false;
        /* What was there long before us is not being written. */
        t->whole = t->whole || (first && sig.newest_ns + old_ns < berth_wall_ns());
    }
}

/* Look at everything; returns how long to wait for an event, in ms (-1: for ever). */
static int
scan(struct berth_watch *w, bool first)
{
    uint64_t now = berth_now_ns();
    DIR *d = opendir(w->dir);
    int timeout = -1;

    if (d == NULL && errno != ENOENT && errno != ENOTDIR)
        return RETRY_MS; /* not readable now: keep what we know */
    for (size_t i = 0; i < w->len; i++)
        w->items[i].seen = false;
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;) {
        if (is_eligible(f->d_name))
            look_at(w, f->d_name, now, first);
    }
    if (d != NULL)
        (void)closedir(d);
    for (size_t i = 0; i < w->len;) { /* first what is gone: its name may be wanted */
        if (w->items[i].seen) {
            i++;
            continue;
        }
        let_go(w, &w->items[i]);
        w->items[i] = w->items[--w->len];
    }
    for (size_t i = 0; i < w->len; i++) {
        struct item *t = &w->items[i];
        if (!t->done && (t->whole || now - t->since_ns >= settle_ns))
            act(w, t);
        if (!t->done)
            timeout = TICK_MS;
    }
    if (d == NULL)
        w->dir_wd = -1;
    return w->dir_wd < 0 ? RETRY_MS : timeout;
}

/* Read the events away; those that say that something came whole are remembered. */
static void
read_events(struct berth_watch *w)
{
    _Alignas(struct inotify_event) char buf[16384];
    ssize_t n;

    while ((n = read(w->inotify, buf, sizeof buf)) > 0) {
        const struct inotify_event *event;
        for (char *at = buf; at < buf + n; at += sizeof *event + event->len) {
            event = (const struct inotify_event *)(void *)at;
            if (event->wd != w->dir_wd)
                continue;
            if ((event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) != 0)
                w->dir_wd = -1; /* the folder itself is gone */
            if ((event->mask & IN_MOVED_TO) == 0 || event->len == 0 || !is_eligible(event->name))
                continue;
            struct item *t = item_of(w, event->name);
            if (t != NULL)
                t->whole = true;
        }
    }
}

static void
watch_folder(struct berth_watch *w)
{
    if (w->dir_wd < 0)
        w->dir_wd = inotify_add_watch(w->inotify, w->dir,
                                      IN_CREATE | IN_DELETE | IN_CLOSE_WRITE | IN_MOVE |
                                          IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
}

static void *
watch_main(void *arg)
{
    struct berth_watch *w = arg;

    (void)pthread_setname_np(pthread_self(), "berth-watch");
    while (!atomic_load(&w->g->closing)) {
        struct pollfd fds[] = {{.fd = w->stop, .events = POLLIN},
                               {.fd = w->inotify, .events = POLLIN}};
        watch_folder(w); /* before the look, so that nothing between them is missed */
        int timeout = scan(w, false);
        if (poll(fds, 2, timeout) < 0 && errno != EINTR)
            break;
        read_events(w);
    }
    return NULL;
}

static void
watch_free(struct berth_watch *w)
{
    if (w->inotify >= 0)
        (void)close(w->inotify);
    if (w->stop >= 0)
        (void)close(w->stop);
    free(w->items);
    free(w->dir);
    free(w);
}

int
berth_registry_watch_dir(struct berth_registry *g, const char *dir, struct berth_err *e)
{
    struct berth_watch *w = calloc(1, sizeof *w);
    int r = 0;

    if (w == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", dir);
    *w = (struct berth_watch){.g = g, .dir_wd = -1};
    w->dir = strdup(dir);
    w->items = calloc(ITEMS_MAX, sizeof *w->items);
    w->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    w->stop = eventfd(0, EFD_CLOEXEC);
    if (w->dir == NULL || w->items == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", dir);
    else if (w->inotify < 0 || w->stop < 0)
        r = berth_err_set(e, BERTH_EIO,
                          "%s: cannot watch it: %m (see fs.inotify.max_user_instances)", dir);
    else if (!is_dir(dir))
        r = berth_err_set(e, BERTH_ENOENT, "%s: no such folder", dir);
    if (r == 0) {
        watch_folder(w);
        (void)scan(w, true);
        if (pthread_create(&w->thread, NULL, watch_main, w) != 0)
            r = berth_err_set(e, BERTH_ENOMEM, "%s: cannot start a thread to watch it", dir);
    }
    if (r < 0) {
        watch_free(w);
        return r;
    }
    (void)pthread_mutex_lock(&g->change_mu);
    w->next = g->watches;
    g->watches = w;
    (void)pthread_mutex_unlock(&g->change_mu);
    return 0;
}

void
berth_watches_stop(struct berth_registry *g)
{
    for (struct berth_watch *w = g->watches, *next; w != NULL; w = next) {
        next = w->next;
        (void)eventfd_write(w->stop, 1);
        (void)pthread_join(w->thread, NULL);
        watch_free(w);
    }
    g->watches = NULL;
}
