#ifndef BERTH_EXTENSION_H
#define BERTH_EXTENSION_H

#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"
#include "net/digest.h"

/*
 * Shared objects of other kinds than backends (shimlets, pipelines), in three steps: a copy of the
 * file is taken, tried in a process of its own, and then opened here.  All three see the same
 * bytes, and a file that was built anew is a new object though its path is the old one.
 * Any thread; nothing is kept but what is opened, which is never closed.
 */
enum { BERTH_EXTENSION_NAME_MAX = 64, BERTH_EXTENSION_BYTES_MAX = 256 << 20 };

/* What keeps a path from being opened, by errno: the faults of the path, which its giver can mend,
 * -BERTH_ENOENT, -BERTH_EINVAL and -BERTH_EPERM (with what to do); else -BERTH_EIO. */
int berth_extension_path_err(const char *path, int errnum, struct berth_err *e);
/* A copy in memory that nobody can change, and its checksum.  *ret_fd is the caller's.
 *   as above, -BERTH_EINVAL no shared object at all, -BERTH_ETOOBIG, -BERTH_EIO */
int berth_extension_copy(const char *path, int *ret_fd, char ret_sum[BERTH_DIGEST_HEX],
                         struct berth_err *e);

struct berth_extension_trial {
    const char *program; /* path of berth itself: run as `berth probe KIND [FOLDER]` */
    const char *kind;    /* "shimlet", "pipeline" */
    const char *path;    /* for messages */
    int fd;              /* from berth_extension_copy() */
    const char *settings_json;
    const char *state_dir; /* that it may write to; NULL: none */
    uint64_t limit_ns;
};
/* Waits for the child, limit_ns at most.  On success, the name that the plugin gives itself:
 * [a-z0-9_-].  -BERTH_EINVAL, -BERTH_EABI: why it cannot be had, also that it crashed or hung */
int berth_extension_try(const struct berth_extension_trial *t,
                        char ret_name[BERTH_EXTENSION_NAME_MAX + 1], struct berth_err *e);

/* Open it in this process.  fd is taken: it stays open for good as the address of the object, since
 * the loader knows objects by their path, or is closed when nothing was opened.  *ret: the symbol.
 *   -BERTH_EABI */
int berth_extension_open(int fd, const char *path, const char *symbol, void **ret,
                         struct berth_err *e);

/* ---- pure, for tests and fuzzers too ---- */

/* The sum that a list as sha256sum writes it has for a file of that name; the first of several. */
bool berth_extension_listed(struct berth_slice list, const char *name, char ret[BERTH_DIGEST_HEX]);
/* What the child said ("ok NAME\n", "CODE MESSAGE\n"; anything else is none of ours), and how it
 * ended, as wait() has it.  answer is written to. */
int berth_extension_answer(const char *path, char *answer, int status,
                           char ret_name[BERTH_EXTENSION_NAME_MAX + 1], struct berth_err *e);

/* ---- in the child ---- */

enum { BERTH_EXTENSION_ANSWER_FD = 3, BERTH_EXTENSION_FILE_FD, BERTH_EXTENSION_SETTINGS_FD };
/* Before anything of the plugin runs: no core file, and an end with the parent or at limit_s. */
void berth_extension_child_begin(unsigned limit_s);
/* The settings; free() them.  NULL: they cannot be read. */
char *berth_extension_child_settings(void);
/* Tell the parent: name, or the failure r with e.  Does not return. */
__attribute__((noreturn)) void berth_extension_child_end(int r, const char *name,
                                                         const struct berth_err *e);

#endif
