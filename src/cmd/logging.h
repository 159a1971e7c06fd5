#ifndef BERTH_CMD_LOGGING_H
#define BERTH_CMD_LOGGING_H

#include <berth/err.h>

struct berth_conf;
struct berth_logfile;

/* Where a server's log goes, as its configuration says.  Zeroed: to standard error.  One thread. */
struct berth_logging {
    struct berth_logfile *file; /* NULL: none */
};

/* At the start and whenever the configuration changes; opens the log file anew.  On failure (it
 * cannot be written) nothing has changed. */
int berth_logging_set(struct berth_logging *l, const struct berth_conf *conf, struct berth_err *e);
/* A line about a start that failed, on standard error in any case. */
void berth_logging_failed(const struct berth_conf *conf, const char *why);
/* To standard error again. */
void berth_logging_end(struct berth_logging *l);

#endif
