#include <stdio.h>
#include <string.h>

#include "cmd/serve.h"
#include "conf/conf.h"

extern char **environ;

int
main(int argc, char **argv)
{
    struct berth_conf *conf;
    struct berth_err e;

    if (argc < 2 || strcmp(argv[1], "serve") != 0) {
        (void)fprintf(stderr, "usage: berth serve [options]\n");
        return 2;
    }
    const struct berth_conf_from from = {.argc = argc - 2, .argv = argv + 2, .envp = environ};
    if (berth_conf_load(&from, &conf, &e) < 0) {
        (void)fprintf(stderr, "berth: %s\n", e.msg);
        return 2;
    }
    int status = berth_cmd_serve(conf);
    berth_conf_free(conf);
    return status;
}
