#include "pipelines/parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "os/process.h"
#include "wire/json.h"

enum { SAID_MAX = 400, FILES_MAX = 10000 };
static const uint64_t tell_ns = 5 * BERTH_S;

/* At file scope because a goal's function is handed the deployment alone.  There is one host in a
 * process, and it is set before any goal can run. */
static const struct berth_pipeline_host *_Atomic host;

void
berth_parts_begin(const struct berth_pipeline_host *h)
{
    atomic_store(&host, h);
}

const struct berth_pipeline_host *
berth_parts_host(void)
{
    return atomic_load(&host);
}

/* ---- goals ---- */

int
berth_parts_goals(const char *const *names, const struct berth_goal *own, struct berth_goal *ret,
                  struct berth_err *e)
{
    for (; *names != NULL; names++, ret++) {
        const struct berth_goal *goal = own;
        while (goal != NULL && goal->name != NULL && strcmp(goal->name, *names) != 0)
            goal++;
        if (goal == NULL || goal->name == NULL)
            goal = berth_parts_host()->goal(*names);
        if (goal == NULL)
            return berth_err_set(e, BERTH_EABI, "there is no goal %s", *names);
        *ret = *goal;
    }
    *ret = (struct berth_goal){.name = NULL};
    return 0;
}

int
berth_parts_append(struct berth_deployment *d, const struct berth_json *command,
                   const char *const *options, size_t count, struct berth_arena *a,
                   struct berth_err *e)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_array(&w);
    for (struct berth_json_iter it = berth_json_iter(command); berth_json_next(&it);)
        berth_jw_value(&w, it.value);
    for (size_t i = 0; i < count; i++)
        berth_jw_string(&w, options[i]);
    berth_jw_array_end(&w);
    const char *text = berth_buf_text(&b);
    return text != NULL ? berth_parts_host()->set(d, "command", text, e)
                        : berth_err_set(e, BERTH_ENOMEM, "out of memory");
}

int
berth_parts_removal(struct berth_goal ret[4], struct berth_err *e)
{
    static const char *const names[] = {"resource-removal", "accelerator-release", "file-removal",
                                        NULL};

    return berth_parts_goals(names, NULL, ret, e);
}

/* ---- values ---- */

int
berth_parts_model(struct berth_deployment *d, const char **ret, struct berth_err *e)
{
    const char *path = berth_parts_host()->get(d, "modelPath");

    if (path == NULL)
        path = berth_parts_host()->get(d, "modelFile");
    if (path == NULL || *path == '\0')
        return berth_err_set(e, BERTH_EINVAL,
                             "modelFile: is missing, and the model root has no such model");
    *ret = path;
    return 0;
}

int
berth_parts_folder(struct berth_deployment *d, const char **ret, struct berth_err *e)
{
    const char *path = berth_parts_host()->folder(d);

    if (path == NULL)
        return berth_err_set(e, BERTH_ECONFIG,
                             "this pipeline makes files, and none are kept (state_dir: none)");
    *ret = path;
    return 0;
}

bool
berth_parts_flag(struct berth_deployment *d, const char *key)
{
    const char *text = berth_parts_host()->get(d, key);

    return text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "1") == 0);
}

int
berth_parts_bytes(const char *path, uint64_t *ret, struct berth_err *e)
{
    struct stat st;
    uint64_t sum = 0;
    int seen = 0;

    if (stat(path, &st) < 0)
        return berth_err_set(e, BERTH_EINVAL, "%s: %m", path);
    if (!S_ISDIR(st.st_mode)) {
        *ret = (uint64_t)st.st_size;
        return 0;
    }
    DIR *d = opendir(path);
    if (d == NULL)
        return berth_err_set(e, BERTH_EINVAL, "%s: %m", path);
    for (struct dirent *f; seen < FILES_MAX && (f = readdir(d)) != NULL; seen++) {
        if (fstatat(dirfd(d), f->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
    }
    (void)closedir(d);
    *ret = sum;
    return 0;
}

const char *
berth_parts_bytes_text(uint64_t bytes, char ret[BERTH_PARTS_BYTES_TEXT])
{
    const uint64_t tenths = bytes / ((1 << 20) / 10);

    (void)snprintf(ret, BERTH_PARTS_BYTES_TEXT, "%" PRIu64 ".%" PRIu64 " MiB", tenths / 10,
                   tenths % 10);
    return ret;
}

/* ---- a child ---- */

/* Keep the end of what it prints. */
struct said {
    char text[SAID_MAX];
    size_t len;
};

static void
keep(struct said *s, const char *more, size_t n)
{
    if (n >= sizeof s->text - 1) {
        more += n - (sizeof s->text - 1);
        n = sizeof s->text - 1;
    }
    const size_t room = sizeof s->text - 1 - s->len;
    if (n > room) {
        memmove(s->text, s->text + (n - room), s->len - (n - room));
        s->len -= n - room;
    }
    memcpy(s->text + s->len, more, n);
    s->len += n;
    s->text[s->len] = '\0';
}

static const char *
last_line(struct said *s)
{
    while (s->len > 0 && s->text[s->len - 1] == '\n')
        s->text[--s->len] = '\0';
    const char *at = strrchr(s->text, '\n');
    return at != NULL ? at + 1 : s->text;
}

static void
tell_size(struct berth_deployment *d, const char *grows)
{
    char size[BERTH_PARTS_BYTES_TEXT], line[100];
    struct stat st;

    if (grows == NULL || stat(grows, &st) < 0)
        return;
    (void)snprintf(line, sizeof line, "%s are written",
                   berth_parts_bytes_text((uint64_t)st.st_size, size));
    berth_parts_host()->note(d, line);
}

/* Until it has ended; false: cancelled, and killed. */
static bool
follow(struct berth_deployment *d, pid_t pid, int fd, const char *grows, struct said *said,
       int *ret_status)
{
    uint64_t told_ns = berth_now_ns();
    bool open = true;

    for (;;) {
        struct pollfd p = {.fd = open ? fd : -1, .events = POLLIN};
        char more[512];
        if (berth_parts_host()->cancelled(d)) {
            berth_process_end(pid);
            return false;
        }
        if (poll(&p, 1, open ? 100 : 5) > 0) {
            const ssize_t n = read(fd, more, sizeof more);
            open = n > 0;
            if (open)
                keep(said, more, (size_t)n);
        }
        if (!open && berth_process_reap(pid, ret_status))
            return true;
        if (berth_now_ns() - told_ns > tell_ns) {
            told_ns = berth_now_ns();
            tell_size(d, grows);
        }
    }
}

int
berth_parts_run(struct berth_deployment *d, const char *const *argv, const char *grows,
                struct berth_err *e)
{
    static const char *const keep[] = {"BERTH_PLUGIN_DIR", "BERTH_PLUGINS_PLUGIN_DIR", NULL};
    char *const more[] = {NULL};
    struct said said = {.len = 0};
    char how[80];
    int fds[2], status = 0;
    pid_t pid;

    /* It needs to find backends, and none of our secrets. */
    BERTH_AUTO_FREE char **env = berth_process_environ(keep, more);
    if (env == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "berth %s: out of memory", argv[1]);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return berth_err_set(e, BERTH_ELIMIT, "berth %s: %m", argv[1]);
    /* The next server starts it again, and two would write the same file. */
    const struct berth_spawn spawn = {
        .file = "/proc/self/exe", .argv = argv, .env = env, .out_fd = fds[1], .dies_with_us = true};
    const int r = berth_process_spawn(&spawn, &pid, e);
    (void)close(fds[1]);
    const bool ended = r == 0 && follow(d, pid, fds[0], grows, &said, &status);
    (void)close(fds[0]);
    if (r < 0)
        return r;
    if (!ended)
        return berth_err_set(e, BERTH_ECANCELED, "berth %s was cut short", argv[1]);
    if (status == 0)
        return 0;
    return berth_err_set(e, BERTH_EBACKEND, "berth %s %s: %s", argv[1],
                         berth_process_status_text(status, how, sizeof how), last_line(&said));
}
