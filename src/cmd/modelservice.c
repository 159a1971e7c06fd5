#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "cmd/build_options.h"
#include "cmd/cmd_priv.h"
#include "cmd/input.h"
#include "kube/client.h"
#include "kube/config.h"
#include "operator/cluster/controller.h"
#include "operator/cluster/diff.h"
#include "operator/modelservice/generate.h"
#include "operator/modelservice/service.h"

/* `berth modelservice generate`: what a ModelService comes to, without a cluster; with --diff what
 * that would change in one. */

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

static int
inference_of(const struct berth_args *args, enum berth_msvc_inference *ret)
{
    const char *asked = berth_arg(args, "inference-api");

    *ret = BERTH_MSVC_AS_WRITTEN;
    if (asked == NULL)
        return 0;
    if (strcmp(asked, "v1") != 0 && strcmp(asked, "v1alpha2") != 0)
        return berth_usage(args, "--inference-api %s: it is v1 or v1alpha2", asked);
    *ret = strcmp(asked, "v1") == 0 ? BERTH_MSVC_TO_V1 : BERTH_MSVC_TO_V1ALPHA2;
    return 0;
}

/* Two files, read. */
struct source {
    const char *service, *base; /* paths; base NULL: none */
    const char *base_map;       /* the ConfigMap in place of it; NULL: none */
    struct berth_msvc_files files;
};

/* "base.yaml:17:5: warning: decodeDeployment: ", as editors follow it; of a ConfigMap of a cluster
 * "ConfigMap base: decodeDeployment line 7: ". */
static void
tell_place(const struct berth_msvc_problem *p, const struct source *from)
{
    const char *file = p->in_service ? from->service : from->base;
    const bool of_key =
        strcmp(p->in, BERTH_MSVC_IN_SERVICE) != 0 && strcmp(p->in, BERTH_MSVC_IN_BASE) != 0;
    const bool in_cluster = !p->in_service && from->base_map != NULL;

    if (in_cluster)
        (void)fprintf(stderr, "ConfigMap %s: ", from->base_map);
    else
        (void)fprintf(stderr, "%s:%zu", strcmp(file, "-") == 0 ? "<stdin>" : file, p->line);
    if (!in_cluster && p->column > 0)
        (void)fprintf(stderr, ":%zu", p->column);
    (void)fprintf(stderr, "%s%s", in_cluster ? "" : ": ", p->warning ? "warning: " : "");
    if (of_key)
        (void)fprintf(stderr, "%s", p->in);
    if (of_key && in_cluster && p->line > 0)
        (void)fprintf(stderr, " line %zu", p->line);
    if (of_key)
        (void)fprintf(stderr, ": ");
}

/* A line of its own, whatever a file says. */
static void
tell_text(const char *text)
{
    for (;;) {
        const size_t n = strcspn(text, "\r\n");
        (void)berth_tell(stderr, text, n);
        if (text[n] == '\0')
            return;
        (void)fputs(text[n] == '\n' ? "\\n" : "\\r", stderr);
        text += n + 1;
    }
}

static void
tell(const struct run *x, const struct source *from)
{
    const struct berth_msvc_problems *all = &x->problems;
    const size_t beyond = all->errors + all->warnings - all->count;

    for (size_t i = 0; i < all->count; i++) {
        const struct berth_msvc_problem *p = &all->at[i];
        tell_place(p, from);
        tell_text(p->path);
        (void)fputs(p->path[0] != '\0' ? ": " : "", stderr);
        tell_text(p->text);
        (void)fputc('\n', stderr);
    }
    if (beyond > 0)
        (void)fprintf(stderr, "berth: %zu more, %zu errors and %zu warnings in all\n", beyond,
                      all->errors, all->warnings);
}

/* ---- against a cluster ---- */

/* As diff(1) and kubectl diff end. */
enum { EXIT_SAME, EXIT_DIFFERS, EXIT_TROUBLE };

static int
tell_outcome(const struct berth_msvc_diff *d, struct berth_buf *troubles)
{
    if (d->is_undefined)
        (void)fprintf(stderr, "%s\n", BERTH_MSVC_UNDEFINED);
    if (d->is_new)
        (void)fprintf(stderr, "ModelService %s/%s is not in the cluster: all of it is new\n",
                      d->space, d->name);
    (void)berth_tell(stderr, troubles->len > 0 ? troubles->at : "", troubles->len);
    if (d->troubles > 0)
        return EXIT_TROUBLE;
    return d->created + d->changed + d->pruned > 0 ? EXIT_DIFFERS : EXIT_SAME;
}

static int
diff_by(struct run *x, struct berth_kube *kube, struct source *from,
        const struct berth_msvc_conf *conf)
{
    const char *asked = berth_arg(x->args, "namespace");
    struct berth_msvc_diff d;
    struct berth_err e = {""};
    struct berth_buf out, troubles;

    berth_buf_init(&out, NULL);
    berth_buf_init(&troubles, &x->a);
    const int r =
        berth_msvc_diff(kube, &from->files, conf, asked != NULL ? asked : berth_kube_space(kube),
                        &x->a, &x->problems, &out, &troubles, &d, &e);
    from->base_map = d.base;
    tell(x, from);
    const int printed = berth_print(x->args, &out); /* as far as it came */
    const int how = tell_outcome(&d, &troubles);
    if (r < 0 && e.msg[0] != '\0')
        (void)berth_failed(x->args, "%s", e.msg);
    if (r == -BERTH_ENETWORK || r == -BERTH_EDEADLINE)
        (void)fprintf(stderr, "Is the cluster there? `kubectl cluster-info` asks the same one; "
                              "--kubeconfig and --context name another.\n");
    return r < 0 || printed != BERTH_EXIT_OK ? EXIT_TROUBLE : how;
}

static int
diff(struct run *x, struct source *from, const struct berth_msvc_conf *conf)
{
    const struct berth_kube_config_from where = {.path = berth_arg(x->args, "kubeconfig"),
                                                 .context = berth_arg(x->args, "context")};
    const struct berth_kube_conf how = {.manager = BERTH_MSVC_MANAGER};
    struct berth_kube_config config;
    struct berth_kube *kube = NULL;
    struct berth_err e = {""};

    if (berth_kube_config_load(&x->a, &where, &config, &e) < 0 ||
        berth_kube_new(&config, &how, &kube, &e) < 0) {
        (void)berth_failed(x->args, "%s", e.msg);
        return EXIT_TROUBLE;
    }
    const int r = diff_by(x, kube, from, conf);
    berth_kube_free(kube);
    return r;
}

/* ---- generate ---- */

static int
print(struct run *x, const struct source *from, const struct berth_msvc_conf *conf)
{
    enum berth_msvc_format format;
    struct berth_err e = {""};
    struct berth_buf out;
    int r;

    if ((r = format_of(x->args, &format)) != 0)
        return r;
    berth_buf_init(&out, NULL);
    r = berth_msvc_generate(&from->files, conf, format, &x->a, &x->problems, &out, &e);
    tell(x, from);
    if (r == 0)
        return berth_print(x->args, &out);
    berth_buf_fini(&out);
    return e.msg[0] != '\0' ? berth_failed(x->args, "%s", e.msg) : BERTH_EXIT_FAILED;
}

static int
read_source(struct run *x, struct source *ret)
{
    const char *base = berth_arg(x->args, "baseconfig");
    int r;

    ret->service = berth_arg(x->args, "modelservice");
    if (ret->service == NULL)
        return berth_usage(x->args, "which ModelService? Give its file with -m FILE");
    ret->base = base != NULL && base[0] != '\0' ? base : NULL;
    if (ret->base != NULL && strcmp(ret->base, "-") == 0 && strcmp(ret->service, "-") == 0)
        return berth_usage(x->args, "-m - -b -: only one of them can be standard input");
    if ((r = read_file(x, ret->service, &ret->files.service)) != 0)
        return r;
    return ret->base != NULL ? read_file(x, ret->base, &ret->files.base) : 0;
}

static int
generate(struct run *x)
{
    struct source from = {0};
    struct berth_build_options options;
    struct berth_msvc_conf conf = {.strict = berth_arg(x->args, "strict") != NULL};
    int r;

    if ((r = inference_of(x->args, &conf.inference)) != 0 ||
        (r = berth_build_options_read(x->args, &x->a, &options, &conf)) != 0)
        return r;
    const bool differs = berth_arg(x->args, "diff") != NULL;
    if ((r = read_source(x, &from)) != 0)
        return differs ? EXIT_TROUBLE : r;
    return differs ? diff(x, &from, &conf) : print(x, &from, &conf);
}

/* Is there an option at all? */
static bool
is_told(const struct berth_args *args)
{
    const struct berth_option *o;

    for (size_t i = 0; (o = berth_option_at(args->cmd, i)) != NULL; i++)
        if (berth_arg(args, o->name) != NULL)
            return true;
    return false;
}

/* Or only to be looked at, where what llm-d's program takes is taken. */
static bool
is_to_apply(const struct berth_args *args)
{
    const char *form = berth_arg(args, "output");

    return berth_arg(args, "strict") != NULL || berth_arg(args, "diff") != NULL ||
           (form != NULL && strcmp(form, "map") != 0);
}

int
berth_run_modelservice(const struct berth_args *args)
{
    struct run x = {.args = args};

    if (args->word_count == 0 && is_told(args))
        return berth_usage(args, "something is missing: berth modelservice generate [options]");
    if (args->word_count == 0 || strcmp(args->words[0], "help") == 0) {
        struct berth_buf out;
        berth_buf_init(&out, NULL);
        berth_help_put(args->cmd, args->program, &out);
        return berth_print(args, &out);
    }
    if (strcmp(args->words[0], "generate") != 0)
        return berth_usage(args, "%s is no command of it: it is generate", args->words[0]);
    if (args->word_count > 1) {
        static const char why[] = "is not read: files are named by -m and -b";
        if (is_to_apply(args))
            return berth_usage(args, "'%s' %s", args->words[1], why);
        (void)fprintf(stderr, "berth modelservice: warning: '%s' %s\n", args->words[1], why);
    }
    berth_arena_init(&x.a, memory_max);
    x.problems.arena = &x.a;
    const int r = generate(&x);
    berth_arena_fini(&x.a);
    return r;
}
