#include "cmd/place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
make_folders(const char *path, struct berth_err *e)
{
    char part[PATH_MAX];
    struct stat st;

    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return berth_err_set(e, BERTH_EINVAL, "state_dir: the path is too long");
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return berth_err_set(
                e, BERTH_EIO,
                "state_dir: cannot make %s: %m; choose another with --state-dir, or "
                "\"none\" to keep nothing",
                part);
        if (slash == NULL)
            break;
        *slash = '/';
    }
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode) || access(path, W_OK | X_OK) != 0)
        return berth_err_set(e, BERTH_EIO, "state_dir: %s is no folder that this user may write to",
                             path);
    return 0;
}

int
berth_place_find(const char *state_dir, const char *plugin_dir, struct berth_place *ret,
                 struct berth_err *e)
{
    char program[PATH_MAX] = "";
    size_t count = 0;

    *ret = (struct berth_place){.ephemeral = strcmp(state_dir, "none") == 0};
    if (!ret->ephemeral) {
        int r = make_folders(state_dir, e);
        if (r < 0)
            return r;
        if (snprintf(ret->store, sizeof ret->store, "%s/berth.db", state_dir) >=
            (int)sizeof ret->store)
            return berth_err_set(e, BERTH_EINVAL, "state_dir: the path is too long");
    }
    if (plugin_dir != NULL && *plugin_dir != '\0')
        (void)snprintf(ret->dirs[count++], PATH_MAX, "%s", plugin_dir);
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    char *slash = n > 0 ? strrchr(program, '/') : NULL;
    if (slash != NULL) {
        *slash = '\0';
        (void)snprintf(ret->dirs[count++], PATH_MAX, "%s/backends", program);
        (void)snprintf(ret->dirs[count++], PATH_MAX, "%s/../lib/berth/backends", program);
    }
    for (size_t i = 0; i < count; i++)
        ret->plugin_dirs[i] = ret->dirs[i];
    return 0;
}
