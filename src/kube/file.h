#ifndef BERTH_KUBE_FILE_H
#define BERTH_KUBE_FILE_H

#include <stddef.h>

#include <berth/err.h>

struct berth_arena;

/* A whole file of at most max_bytes, NUL-ended, without blanks at its end.  -BERTH_ENOENT,
 * -BERTH_EIO, -BERTH_ETOOBIG, -BERTH_ENOMEM; the message names the file. */
int berth_kube_file_read(struct berth_arena *a, const char *path, size_t max_bytes, char **ret,
                         size_t *ret_len, struct berth_err *e);

#endif
