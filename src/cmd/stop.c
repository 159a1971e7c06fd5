#include "cmd/cmd_priv.h"

#include <stdio.h>

#include "cmd/remote.h"

/* load, stop and rm: one call each. */

static int
one_call(const struct berth_args *args, const char *method, const char *path, bool with_body,
         const char *done)
{
    struct berth_remote r;
    struct berth_buf body;
    int rc = berth_remote_init(&r, args);

    if (rc != 0)
        return rc;
    berth_buf_init(&body, &r.arena);
    berth_buf_puts(&body, "{}");
    rc = berth_remote_call(&r, method, path, args->words[0], with_body ? &body : NULL, NULL);
    if (rc == 0 && printf("%s %s\n", args->words[0], done) < 0)
        rc = BERTH_EXIT_FAILED;
    berth_remote_fini(&r);
    return rc;
}

int
berth_run_stop(const struct berth_args *args)
{
    return one_call(args, "POST", "/v2/repository/models/{}/unload", true,
                    "is being unloaded; it stays registered.");
}

int
berth_run_load(const struct berth_args *args)
{
    return one_call(args, "POST", "/v2/repository/models/{}/load", true,
                    "is being loaded; `berth list` tells when it is ready, or why not.");
}

int
berth_run_rm(const struct berth_args *args)
{
    return one_call(args, "DELETE", "/v1/models/{}", false,
                    "is forgotten; its files are still there.");
}
