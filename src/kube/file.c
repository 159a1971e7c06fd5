#include "kube/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"

/* What is read may be a pipe (a process substitution), so that its size is not known before. */
int
berth_kube_file_read(struct berth_arena *a, const char *path, size_t max_bytes, char **ret,
                     size_t *ret_len, struct berth_err *e)
{
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    BERTH_AUTO_FREE char *text = malloc(max_bytes + 1);
    size_t n = 0;

    if (fd < 0)
        return berth_err_set(e, errno == ENOENT || errno == ENOTDIR ? BERTH_ENOENT : BERTH_EIO,
                             "%s: %m", path);
    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    for (;;) {
        const ssize_t got = read(fd, text + n, max_bytes + 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return berth_err_set(e, BERTH_EIO, "%s: %m", path);
        if (got == 0)
            break;
        n += (size_t)got;
        if (n > max_bytes)
            return berth_err_set(e, BERTH_ETOOBIG, "%s: more than %zu bytes", path, max_bytes);
    }
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
        n--;
    char *copy = berth_arena_strndup(a, text, n);
    if (copy == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    *ret = copy;
    *ret_len = n;
    return 0;
}
