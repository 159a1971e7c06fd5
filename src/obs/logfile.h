#ifndef BERTH_LOGFILE_H
#define BERTH_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

/*
 * A file that lines are added to.  When it has grown to its size it is put aside, as
 * NAME.20261121T193300.123456Z, and begun anew; a thread of its own compresses what was put aside
 * and removes what is too old or too much.
 *
 * Threads: berth_logfile_write() by one at a time (base/log.h's sink is called so).
 */
struct berth_logfile;

struct berth_logfile_conf {
    const char *path;      /* copied; its folder is made when only the last part is missing */
    uint64_t bytes_max;    /* put aside before a line that would take it beyond */
    uint32_t keep;         /* files that were put aside; the oldest go first */
    uint64_t keep_seconds; /* and none longer than this; 0: no limit */
    bool compress;         /* with gzip, to NAME.STAMP.gz */
};

/* Open or make the file.  -BERTH_ECONFIG: it cannot be written, with the reason; -BERTH_ENOMEM. */
int berth_logfile_new(const struct berth_logfile_conf *conf, struct berth_logfile **ret,
                      struct berth_err *e);
/* Ends its thread, which may leave a file uncompressed until the next start.  NULL is fine. */
void berth_logfile_free(struct berth_logfile *f);

/* A berth_log_sink_fn; arg is the file.  What cannot be written is lost. */
void berth_logfile_write(void *arg, const char *line, size_t len);

#endif
