#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "os/process.h"
#include "plugin/workers_priv.h"

static const uint64_t adopt_answer_ns = 2 * BERTH_S;
enum { FILES_MAX = 10000, DEPTH_MAX = 4, SOCKETS_MAX = 8192 };

/* ---- what a model's files are, cheaply ---- */

uint64_t
berth_worker_hash(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return h;
}

/* Names, sizes and times of a file, or of all in a folder, whatever their order. */
static uint64_t
files_sum(int at_fd, const char *name, int depth, uint32_t *files)
{
    struct stat st;
    char text[PATH_MAX];
    uint64_t sum = 0;

    if (++*files > FILES_MAX || fstatat(at_fd, name, &st, 0) < 0)
        return 0;
    if (!S_ISDIR(st.st_mode)) {
        (void)snprintf(text, sizeof text, "%s %lld %lld.%09ld", name, (long long)st.st_size,
                       (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        return berth_worker_hash(text);
    }
    int fd = depth < DEPTH_MAX ? openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        berth_closep(&fd);
        return 0;
    }
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        if (strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0)
            sum += files_sum(dirfd(d), f->d_name, depth + 1, files);
    }
    (void)closedir(d);
    return sum;
}

char *
berth_worker_key(const struct berth_backend_ops *real, const char *plugin_file,
                 const struct berth_load *how, uint64_t memory_bytes_max)
{
    uint32_t files = 0;
    char *key;
    uint64_t plugin = files_sum(AT_FDCWD, plugin_file, 0, &files);
    uint64_t model = files_sum(AT_FDCWD, how->path, 0, &files);

    if (asprintf(&key, "%u\n%s %s\n%s %llx\n%s %llx\n%u\n%llu\n%s", BERTH_WORKER_PROTOCOL,
                 real->name, real->version, plugin_file, (unsigned long long)plugin, how->path,
                 (unsigned long long)model, how->threads, (unsigned long long)memory_bytes_max,
                 how->settings_json) < 0)
        return NULL;
    return key;
}

/* ---- sockets in the folder ---- */

static bool
is_socket_name(const char *name)
{
    size_t len = strlen(name);

    return len > 5 && len < BERTH_SOCKET_NAME_MAX && strcmp(name + len - 5, ".sock") == 0;
}

static DIR *
open_dir(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (d == NULL)
        berth_closep(&fd);
    return d;
}

void
berth_workers_sweep(int dir_fd)
{
    DIR *d = open_dir(dir_fd);
    size_t seen = 0;

    for (struct dirent *f; d != NULL && seen < SOCKETS_MAX && (f = readdir(d)) != NULL; seen++) {
        if (!is_socket_name(f->d_name))
            continue;
        int fd = berth_control_connect(dir_fd, f->d_name);
        if (fd < 0 && errno == ECONNREFUSED)
            (void)unlinkat(dir_fd, f->d_name, 0);
        berth_closep(&fd);
    }
    if (d != NULL)
        (void)closedir(d);
}

/* A worker of this model that listens there and is not ours yet; its socket, and its name. */
static int
find(struct berth_worker *w, char ret_name[BERTH_SOCKET_NAME_MAX])
{
    const struct berth_control bye = {BERTH_WORKER_PROTOCOL, BERTH_CONTROL_END, 0};
    DIR *d = open_dir(w->all->dir_fd);
    char model[20], key[20];
    int found = -1;

    (void)snprintf(model, sizeof model, "%016llx-", (unsigned long long)w->model_hash);
    (void)snprintf(key, sizeof key, "%016llx-", (unsigned long long)w->key_hash);
    size_t seen = 0;
    for (struct dirent *f; d != NULL && found < 0 && seen < SOCKETS_MAX && (f = readdir(d)) != NULL;
         seen++) {
        if (!is_socket_name(f->d_name) || strncmp(f->d_name, model, strlen(model)) != 0 ||
            berth_workers_own(w->all, f->d_name))
            continue;
        int fd = berth_control_connect(w->all->dir_fd, f->d_name);
        if (fd < 0 && errno == ECONNREFUSED)
            (void)unlinkat(w->all->dir_fd, f->d_name, 0);
        if (fd < 0)
            continue;
        if (strncmp(f->d_name + strlen(model), key, strlen(key)) == 0) {
            found = fd;
            (void)snprintf(ret_name, BERTH_SOCKET_NAME_MAX, "%s", f->d_name);
            continue;
        }
        (void)berth_control_send(fd, &bye, NULL); /* other files or settings: not wanted */
        (void)close(fd);
    }
    if (d != NULL)
        (void)closedir(d);
    return found;
}

/* ---- a region, with the load in it ---- */

static int
prepare(struct berth_worker *w, struct berth_region *ret, struct berth_err *e)
{
    int r = berth_region_new(ret, e);

    if (r < 0)
        return r;
    if (w->keep_core && w->all->core_dir != NULL)
        (void)mkdir(w->all->core_dir, 0700);
    struct berth_area in = berth_region_in(ret, BERTH_LANE_RUN);
    struct berth_pack p = {.at = in.at, .cap = in.cap};
    const struct berth_worker_load load = {
        .key = w->key,
        .name = w->name,
        .backend = w->real->name,
        .plugin_dir = w->plugin_dir,
        .path = w->path,
        .settings_json = w->settings_json,
        .core_dir = w->keep_core && w->all->core_dir != NULL ? w->all->core_dir : "",
        .threads = w->threads,
        .memory_bytes_max = w->memory_bytes_max,
        .adopt_ns = w->all->dir_fd >= 0 ? w->all->conf.adopt_ns : 0,
    };
    berth_message_put_load(&p, &load);
    struct berth_lane *l = &ret->head->lanes[BERTH_LANE_RUN];
    l->command = BERTH_COMMAND_LOAD;
    l->in_len = p.len;
    w->load_seq = 1;
    berth_lane_post(l, w->load_seq);
    return 0;
}

/* The worker at the other end of `control` is ours from here on.  All is given. */
static void
take(struct berth_worker *w, pid_t pid, int pid_fd, int control_fd, int log_fd,
     struct berth_region *region)
{
    const int flags = fcntl(log_fd, F_GETFL);

    (void)fcntl(log_fd, F_SETFL, flags | O_NONBLOCK);
    w->log_fd = log_fd;
    w->noise = (struct berth_noise){.len = 0};
    (void)pthread_mutex_lock(&w->mu);
    w->pid = pid;
    w->pid_fd = pid_fd;
    w->control_fd = control_fd;
    berth_region_fini(&w->region);
    w->region = *region;
    (void)pthread_mutex_unlock(&w->mu);
}

static int
attach(int control_fd, const struct berth_region *region, int out_fd)
{
    const struct berth_control c = {BERTH_WORKER_PROTOCOL, BERTH_CONTROL_ATTACH, 0};
    const int fds[BERTH_CONTROL_FDS] = {region->fd, out_fd};

    return berth_control_send(control_fd, &c, fds);
}

/* True when there is one to ask; it answers, or hangs up. */
static bool
adopt(struct berth_worker *w, struct berth_region *region, const int pipe_fds[2])
{
    char name[BERTH_SOCKET_NAME_MAX];
    int control = find(w, name);
    pid_t pid;

    if (control < 0)
        return false;
    int pid_fd = berth_control_peer(control, &pid) ? berth_process_watch(pid) : -1;
    if (pid_fd < 0 || attach(control, region, pipe_fds[1]) < 0) {
        berth_closep(&pid_fd);
        (void)close(control);
        return false;
    }
    (void)snprintf(w->socket_name, sizeof w->socket_name, "%s", name);
    w->is_child = false;
    w->adopting = true;
    w->start_by_ns = berth_now_ns() + adopt_answer_ns;
    take(w, pid, pid_fd, control, pipe_fds[0], region);
    return true;
}

static int
spawn(struct berth_worker *w, struct berth_region *region, const int pipe_fds[2],
      struct berth_err *e)
{
    bool listens = w->all->dir_fd >= 0 && w->all->conf.adopt_ns > 0;
    char name[BERTH_SOCKET_NAME_MAX] = "";
    int pair[2];
    pid_t pid;
    int r = berth_control_pair(pair, e);

    if (r < 0)
        return r;
    if (listens)
        (void)snprintf(name, sizeof name, "%016llx-%016llx-%08x.sock",
                       (unsigned long long)w->model_hash, (unsigned long long)w->key_hash,
                       (unsigned)berth_random_u64());
    /* A model may be called "--help": that is no option. */
    const char *const argv[] = {"berth", "worker", "--", w->name, listens ? name : NULL, NULL};
    const struct berth_spawn how = {.file = w->all->program,
                                    .argv = argv,
                                    .out_fd = pipe_fds[1],
                                    .fds = {pair[1], w->all->dir_fd},
                                    .fd_count = listens ? 2 : 1};
    r = berth_process_spawn(&how, &pid, e);
    (void)close(pair[1]);
    int pid_fd = r == 0 ? berth_process_watch(pid) : -1;
    if (r == 0 && pid_fd < 0) {
        r = berth_err_set(e, BERTH_ELIMIT, "cannot watch a worker: %m");
        berth_process_end(pid);
    }
    if (r < 0) {
        (void)close(pair[0]);
        return r;
    }
    (void)attach(pair[0], region, pipe_fds[1]); /* gone already: the warden will hear of it */
    memcpy(w->socket_name, name, sizeof w->socket_name);
    w->is_child = true;
    take(w, pid, pid_fd, pair[0], pipe_fds[0], region);
    return 0;
}

int
berth_worker_start(struct berth_worker *w, struct berth_err *e)
{
    struct berth_region region;
    int pipe_fds[2];
    int r = prepare(w, &region, e);

    if (r < 0)
        return r;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        berth_region_fini(&region);
        return berth_err_set(e, BERTH_ELIMIT, "a pipe for a worker: %m");
    }
    bool look = !w->adopt_tried && w->all->dir_fd >= 0 && w->all->conf.adopt_ns > 0;
    w->adopt_tried = true;
    if (!look || !adopt(w, &region, pipe_fds))
        r = spawn(w, &region, pipe_fds, e);
    (void)close(pipe_fds[1]);
    if (r < 0) {
        (void)close(pipe_fds[0]);
        berth_region_fini(&region);
    }
    return r;
}
