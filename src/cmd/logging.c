#include "cmd/logging.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "conf/conf.h"
#include "obs/logfile.h"

static int
open_file(const struct berth_conf *c, struct berth_logfile **ret, struct berth_err *e)
{
    const bool wanted = berth_conf_is_set(c, "logging.file_output")
                            ? c->logging.file_output
                            : berth_conf_is_set(c, "logging.file_path");
    const struct berth_logfile_conf conf = {
        .path = c->logging.file_path,
        .bytes_max = (uint64_t)c->logging.rotation_size_mb << 20,
        .keep = (uint32_t)c->logging.retention_count,
        .keep_seconds = (uint64_t)c->logging.max_age_days * 86400,
        .compress = c->logging.compress,
    };

    *ret = NULL;
    return wanted ? berth_err_wrap(e, berth_logfile_new(&conf, ret, e), "logging.file_path") : 0;
}

int
berth_logging_set(struct berth_logging *l, const struct berth_conf *c, struct berth_err *e)
{
    enum berth_log_level level = BERTH_LOG_INFO;
    struct berth_logfile *file;
    const int r = open_file(c, &file, e);

    if (r < 0)
        return r;
    if (strcmp(c->logging.level, "trace") == 0)
        level = BERTH_LOG_DEBUG;
    else
        (void)berth_log_level_parse(c->logging.level, &level); /* the table allows no other */
    berth_log_init(level, strcmp(c->logging.format, "json") == 0 ? BERTH_LOG_JSON : BERTH_LOG_TEXT,
                   !c->logging.console_output                 ? -1
                   : strcmp(c->logging.output, "stdout") == 0 ? STDOUT_FILENO
                                                              : STDERR_FILENO);
    berth_log_show_line(c->logging.show_line);
    berth_log_sink(file != NULL ? berth_logfile_write : NULL, file);
    berth_logfile_free(l->file);
    l->file = file;
    return 0;
}

void
berth_logging_failed(const struct berth_conf *c, const char *why)
{
    berth_error("%s", why);
    if (!c->logging.console_output || strcmp(c->logging.output, "stderr") != 0)
        (void)fprintf(stderr, "%s\n", why); /* whoever started it looks there */
}

void
berth_logging_end(struct berth_logging *l)
{
    berth_log_sink(NULL, NULL);
    berth_logfile_free(l->file);
    l->file = NULL;
}
