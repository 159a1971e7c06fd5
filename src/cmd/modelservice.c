#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "cmd/cmd_priv.h"
#include "cmd/input.h"
#include "operator/modelservice/generate.h"
#include "operator/modelservice/service.h"

/* `berth modelservice generate`: what a ModelService comes to, without a cluster. */

enum { FILE_BYTES_MAX = 4 << 20, READ_BYTES = 64 << 10 };
static const size_t memory_max = 256u << 20;

struct run {
    const struct berth_args *args;
    struct berth_arena a;
    struct berth_msvc_problems problems;
};

static int
read_file(struct run *x, const char *path, struct berth_slice *ret)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    BERTH_AUTO_CLOSE int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    struct berth_buf b;
    ssize_t n = 1;

    if (fd < 0)
        return berth_failed(x->args, "%s: %m", path);
    berth_buf_init(&b, &x->a);
    b.max = FILE_BYTES_MAX;
    while (n > 0 && !b.failed) {
        char *to = berth_buf_reserve(&b, READ_BYTES);
        n = to != NULL ? read(fd, to, READ_BYTES) : 0;
        b.len += n > 0 ? (size_t)n : 0;
    }
    if (n < 0)
        return berth_failed(x->args, "%s: %m", path);
    if (b.failed)
        return berth_failed(x->args, "%s: it has more than %d MiB: is it the right file?", path,
                            FILE_BYTES_MAX >> 20);
    *ret = (struct berth_slice){b.len > 0 ? b.at : "", b.len};
    return 0;
}

static int
format_of(const struct berth_args *args, enum berth_msvc_format *ret)
{
    static const char *const names[] = {
        [BERTH_MSVC_MAP] = "map", [BERTH_MSVC_YAML] = "yaml", [BERTH_MSVC_JSON] = "json"};
    const char *asked = berth_arg(args, "output");

    *ret = BERTH_MSVC_MAP;
    for (size_t i = 0; asked != NULL && i <= BERTH_COUNT(names); i++) {
        if (i == BERTH_COUNT(names))
            return berth_usage(args, "--output %s: it is map, yaml or json", asked);
        *ret = (enum berth_msvc_format)i;
        if (strcmp(names[i], asked) == 0)
            break;
    }
    return 0;
}

static void
tell(const struct run *x, const char *service_path, const char *base_path)
{
    for (size_t i = 0; i < x->problems.count; i++) {
        const struct berth_msvc_problem *p = &x->problems.at[i];
        const bool of_service = strcmp(p->in, "modelservice") == 0;
        const bool of_key = !of_service && strcmp(p->in, "baseconfig") != 0;
        char line[32] = "";

        if (p->line > 0)
            (void)snprintf(line, sizeof line, ":%zu", p->line);
        (void)fprintf(stderr, "%s%s: %s%s%s%s%s%s\n", of_service ? service_path : base_path, line,
                      p->warning ? "warning: " : "", of_key ? p->in : "",
                      of_key && p->path[0] != '\0' ? ": " : "", p->path,
                      of_key || p->path[0] != '\0' ? ": " : "", p->text);
    }
    if (x->problems.errors > BERTH_MSVC_PROBLEMS_MAX)
        (void)fprintf(stderr, "%s: and more\n", service_path);
}

static int
generate(struct run *x)
{
    const char *service = berth_arg(x->args, "modelservice");
    const char *base = berth_arg(x->args, "baseconfig");
    struct berth_arg_names epp, pd;
    struct berth_msvc_conf conf = {.strict = berth_arg(x->args, "strict") != NULL,
                                   .epp_cluster_role = berth_arg(x->args, "epp-cluster-role"),
                                   .epp_pull_secrets = epp.at,
                                   .pd_pull_secrets = pd.at};
    struct berth_msvc_files files = {0};
    enum berth_msvc_format format;
    struct berth_err e = {""};
    struct berth_buf out;
    int r;

    if (service == NULL)
        return berth_usage(x->args, "which ModelService? Give its file with -m FILE");
    if ((r = format_of(x->args, &format)) != 0 ||
        (r = berth_arg_names(x->args, &x->a, "epp-pull-secrets", &epp)) != 0 ||
        (r = berth_arg_names(x->args, &x->a, "pd-pull-secrets", &pd)) != 0 ||
        (r = read_file(x, service, &files.service)) != 0 ||
        (base != NULL && base[0] != '\0' && (r = read_file(x, base, &files.base)) != 0))
        return r;
    conf.epp_pull_secret_count = epp.count;
    conf.pd_pull_secret_count = pd.count;
    berth_buf_init(&out, NULL);
    r = berth_msvc_generate(&files, &conf, format, &x->a, &x->problems, &out, &e);
    tell(x, service, base != NULL ? base : service);
    if (r == 0)
        return berth_print(x->args, &out);
    berth_buf_fini(&out);
    return e.msg[0] != '\0' ? berth_failed(x->args, "%s", e.msg) : BERTH_EXIT_FAILED;
}

int
berth_run_modelservice(const struct berth_args *args)
{
    struct run x = {.args = args};

    if (strcmp(args->words[0], "generate") != 0)
        return berth_usage(args, "%s is no command of it: it is generate", args->words[0]);
    berth_arena_init(&x.a, memory_max);
    x.problems.arena = &x.a;
    const int r = generate(&x);
    berth_arena_fini(&x.a);
    return r;
}
