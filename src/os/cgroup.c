#include "os/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { LEVELS_MAX = 32 };

bool
berth_cgroup_text(const char *root, const char *path, char text[BERTH_CGROUP_TEXT_MAX])
{
    char full[PATH_MAX];
    size_t len = 0;
    int n = snprintf(full, sizeof full, "%s%s", root, path);

    if (n < 0 || (size_t)n >= sizeof full)
        return false;
    BERTH_AUTO_CLOSE int fd = open(full, O_RDONLY | O_CLOEXEC);
    for (ssize_t got; fd >= 0 && len < BERTH_CGROUP_TEXT_MAX - 1; len += (size_t)got) {
        got = read(fd, text + len, BERTH_CGROUP_TEXT_MAX - 1 - len);
        if (got < 0)
            return false;
        if (got == 0)
            break;
    }
    text[len] = '\0';
    return fd >= 0;
}

/* Is `wanted` among the n bytes of "cpu,cpuacct"? */
static bool
is_listed(const char *controllers, size_t len, const char *wanted)
{
    for (const char *at = controllers, *end = at + len; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const size_t n = (size_t)((comma != NULL ? comma : end) - at);
        if (n == strlen(wanted) && memcmp(at, wanted, n) == 0)
            return true;
        at += n + 1;
    }
    return false;
}

void
berth_cgroup_walk(const char *root, const char *controller, berth_cgroup_fn *fn, void *arg)
{
    char text[BERTH_CGROUP_TEXT_MAX], mount[64], folder[PATH_MAX], *rest = NULL;

    if (!berth_cgroup_text(root, "/proc/self/cgroup", text))
        return;
    /* A line "7:cpu,memory:/a/b" of version 1, or "0::/a/b" of version 2. */
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        const char *first = strchr(line, ':');
        const char *second = first != NULL ? strchr(first + 1, ':') : NULL;
        if (second == NULL)
            continue;
        const bool unified = second == first + 1;
        if (!unified && !is_listed(first + 1, (size_t)(second - first - 1), controller))
            continue;
        (void)snprintf(mount, sizeof mount, "/sys/fs/cgroup%s%s", unified ? "" : "/",
                       unified ? "" : controller);
        const char *path = second + 1;
        int n = snprintf(folder, sizeof folder, "%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
        /* Within a container the path may be one of the outside; the mount is then the group. */
        if (n < 0 || (size_t)n >= sizeof folder || strstr(path, "..") != NULL)
            (void)snprintf(folder, sizeof folder, "%s", mount);
        for (int level = 0; level < LEVELS_MAX; level++) {
            fn(arg, root, folder, unified);
            char *slash = strrchr(folder, '/');
            if (strlen(folder) <= strlen(mount) || slash == NULL)
                break;
            *slash = '\0';
        }
    }
}
