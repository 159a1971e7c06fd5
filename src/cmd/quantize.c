#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cmd/cmd_priv.h"
#include "cmd/place.h"
#include "infer/host.h"
#include "plugin/plugins.h"

/* `berth quantize`: a model's file with smaller numbers, complete or not there at all. */

static int
quantize(const struct berth_args *args, struct berth_plugins *plugins, const char *part,
         uint32_t threads, struct berth_err *e)
{
    const char *backend = berth_arg(args, "backend"), *type = berth_arg(args, "type");
    const struct berth_backend_ops *ops;
    const struct berth_quantize how = {.struct_size = sizeof how,
                                       .path = args->words[0],
                                       .out = part,
                                       .type = type != NULL ? type : "q8_0",
                                       .threads = threads,
                                       .again = berth_arg(args, "again") != NULL};
    const int r = backend != NULL ? berth_plugins_backend(plugins, backend, &ops, e)
                                  : berth_plugins_for_path(plugins, how.path, &ops, e);

    if (r < 0)
        return r;
    if (!BERTH_HAS(ops, quantize))
        return berth_err_set(e, BERTH_EUNSUPPORTED, "the backend %s does not quantise", ops->name);
    return ops->quantize(berth_host_calls(), &how, e);
}

/* Hold the file that is written, so that two never write it at once.  One who was killed may be on
 * its way out yet: wait for it a little.  *ret_fd: its lock, until it is closed. */
static int
hold(const char *part, int *ret_fd, struct berth_err *e)
{
    enum { TRIES = 30, PAUSE_MS = 100 };
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};

    for (int i = 0; i < TRIES; i++) {
        struct stat held, named;
        const int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

        if (fd < 0)
            return berth_err_set(e, BERTH_EIO, "%s: %m", part);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno == ENOLCK || errno == EOPNOTSUPP) {
            /* It may have been finished, and got its name, since we opened it. */
            if (fstat(fd, &held) == 0 && stat(part, &named) == 0 && held.st_ino == named.st_ino &&
                held.st_dev == named.st_dev) {
                *ret_fd = fd;
                return 0;
            }
        }
        (void)close(fd);
        (void)nanosleep(&pause, NULL);
    }
    return berth_err_set(e, BERTH_EEXIST, "%s: another process writes it", part);
}

int
berth_run_quantize(const struct berth_args *args)
{
    BERTH_AUTO_FREE char *part = NULL;
    BERTH_AUTO_CLOSE int held = -1;
    struct berth_plugins *plugins = NULL;
    struct berth_place place;
    struct berth_err e;
    long long threads = 0;

    if (!berth_arg_int(args, "threads", 0, 1024, &threads))
        return BERTH_EXIT_USAGE;
    if (access(args->words[0], R_OK) < 0)
        return berth_failed(args, "%s: %m", args->words[0]);
    if (asprintf(&part, "%s.part", args->words[1]) < 0) {
        part = NULL;
        return berth_failed(args, "out of memory");
    }
    int r = berth_place_find("none", getenv("BERTH_PLUGIN_DIR"), &place, &e);
    if (r == 0)
        r = berth_plugins_new(place.plugin_dirs, berth_host_calls(), &plugins, &e);
    if (r == 0)
        r = hold(part, &held, &e);
    if (r == 0)
        r = quantize(args, plugins, part, (uint32_t)threads, &e);
    if (r == 0 && rename(part, args->words[1]) < 0)
        r = berth_err_set(&e, BERTH_EIO, "%s: %m", args->words[1]);
    if (r < 0 && held >= 0)
        (void)unlink(part);
    berth_plugins_free(plugins);
    return r < 0 ? berth_failed(args, "%s", e.msg) : BERTH_EXIT_OK;
}
