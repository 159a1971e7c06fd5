#include "cmd/cmd_priv.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/serve.h"
#include "conf/conf.h"

/* Commands that read the settings of a server: serve and config. */

/* Load the settings that a command's arguments, the environment and the file say; what is wrong is
 * told.  The exit status; on 0 *ret is the caller's. */
static int
load(const struct berth_args *args, struct berth_conf **ret)
{
    const struct berth_conf_from from = {
        .argc = args->argc,
        .argv = args->argv,
        .envp = environ,
        .file_first = strcmp(args->program, "unimodel-server") == 0,
    };
    struct berth_err e;
    const int rc = berth_conf_load(&from, ret, &e);

    if (rc == -BERTH_EINVAL)
        return berth_usage(args, "%s", e.msg);
    return rc == 0 ? BERTH_EXIT_OK : berth_failed(args, "%s", e.msg);
}

int
berth_run_serve(const struct berth_args *args)
{
    struct berth_conf *conf;
    int rc = load(args, &conf);

    if (rc != 0)
        return rc;
    rc = berth_cmd_serve(
        conf, "no models yet: give one with --model NAME=PATH, put them into a --model-dir DIR, or "
              "fetch and register one while this runs: berth pull SOURCE --register");
    berth_conf_free(conf);
    return rc;
}

int
berth_run_config(const struct berth_args *args)
{
    struct berth_conf *conf;
    struct berth_buf out;

    berth_buf_init(&out, NULL);
    if (berth_arg(args, "docs") != NULL) {
        berth_conf_docs(&out);
        return berth_print(args, &out);
    }
    const int rc = load(args, &conf);
    if (rc != 0)
        return rc;
    berth_conf_print(conf, berth_arg(args, "dump") == NULL, &out);
    for (size_t i = 0; i < conf->notes.count; i++)
        (void)fprintf(stderr, "%s config: %s\n", args->program, conf->notes.at[i]);
    berth_conf_free(conf);
    return berth_print(args, &out);
}

int
berth_run_version(const struct berth_args *args)
{
    struct berth_buf out;

    berth_buf_init(&out, NULL);
    berth_buf_printf(&out, "%s\n", berth_version_line());
    return berth_print(args, &out);
}
