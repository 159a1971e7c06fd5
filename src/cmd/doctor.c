#include "cmd/cmd_priv.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cmd/place.h"
#include "cmd/table.h"
#include "conf/conf.h"
#include "infer/host.h"
#include "os/cores.h"
#include "plugin/plugins.h"

/* doctor: what there is, what is wrong, what to do. */

struct report {
    const struct berth_args *args;
    struct berth_buf out;
    size_t problems;
    bool port_taken;
};

__attribute__((format(printf, 3, 4))) static void
say(struct report *r, const char *what, const char *fmt, ...)
{
    char text[700];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    berth_buf_printf(&r->out, "  %-12s %s\n", what, text);
}

__attribute__((format(printf, 3, 4))) static void
problem(struct report *r, const char *what, const char *fmt, ...)
{
    char text[700];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    berth_buf_printf(&r->out, "! %-12s %s\n", what, text);
    r->problems++;
}

/* ---- the machine ---- */

/* A figure of /proc/meminfo in bytes; 0 when it is not there. */
static uint64_t
meminfo(const char *key)
{
    FILE *in = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long long kb = 0;

    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        const size_t n = strlen(key);
        if (strncmp(line, key, n) == 0 && line[n] == ':') {
            (void)sscanf(line + n + 1, "%llu", &kb);
            break;
        }
    }
    if (in != NULL)
        (void)fclose(in);
    return (uint64_t)kb * 1024;
}

/* A limit that a container sets; 0: none. */
static uint64_t
memory_limit(void)
{
    FILE *in = fopen("/sys/fs/cgroup/memory.max", "re");
    unsigned long long bytes = 0;

    if (in == NULL)
        return 0;
    const int n = fscanf(in, "%llu", &bytes);
    (void)fclose(in);
    return n == 1 ? bytes : 0;
}

static void
machine(struct report *r)
{
    struct utsname u;
    char total[24], available[24], limit[24];

    if (uname(&u) == 0)
        say(r, "system", "%s %s, %s", u.sysname, u.release, u.machine);
    say(r, "cores", "%" PRIu32 " usable of %ld", berth_cores_usable(NULL),
        sysconf(_SC_NPROCESSORS_ONLN));
    say(r, "memory", "%s, %s available%s%s", berth_bytes_text(meminfo("MemTotal"), total),
        berth_bytes_text(meminfo("MemAvailable"), available),
        memory_limit() > 0 ? ", limited to " : "",
        memory_limit() > 0 ? berth_bytes_text(memory_limit(), limit) : "");
}

static void
gpus(struct report *r)
{
    static const char *const patterns[] = {"/dev/nvidia[0-9]*", "/dev/dri/renderD*", "/dev/kfd"};
    size_t nvidia = 0, others = 0;

    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        glob_t found;
        if (glob(patterns[i], 0, NULL, &found) == 0) {
            nvidia += i == 0 ? found.gl_pathc : 0;
            others += i != 0 ? found.gl_pathc : 0;
            globfree(&found);
        }
    }
    if (nvidia + others == 0)
        say(r, "GPUs", "none; models run on the processor");
    else
        say(r, "GPUs", "%zu NVIDIA, %zu other; an engine built for them is needed to use them",
            nvidia, others);
}

/* ---- what a server would need ---- */

static void
port_look(struct report *r, const char *what, const char *host, int64_t port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    const int one = 1;
    char text[8];

    if (port == 0) {
        say(r, what, "any free port");
        return;
    }
    (void)snprintf(text, sizeof text, "%d", (int)port);
    if (getaddrinfo(host, text, &hints, &found) != 0) {
        problem(r, what, "%s is no address of this machine; choose another with --host", host);
        return;
    }
    const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    const bool free_ =
        fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 1) == 0;
    const int why = errno;
    if (fd >= 0)
        (void)close(fd);
    freeaddrinfo(found);
    if (free_) {
        say(r, what, "%s:%s is free", host, text);
    } else if (why == EADDRINUSE) { /* perhaps by the server that should run */
        r->port_taken = true;
        say(r, what, "%s:%s is in use: by a running server, or choose another port", host, text);
    } else {
        problem(r, what, "%s:%s cannot be used: %s", host, text, strerrordesc_np(why));
    }
}

static void
state_look(struct report *r, const struct berth_conf *c, struct berth_place *place)
{
    struct berth_err e;
    struct statvfs fs;
    char room[24];

    if (berth_place_find(c->state_dir, c->plugins.plugin_dir, place, &e) != 0) {
        problem(r, "state", "%s", e.msg);
        (void)berth_place_find("none", c->plugins.plugin_dir, place, &e);
        return;
    }
    if (place->ephemeral)
        say(r, "state", "nothing is kept (state_dir: none)");
    else if (statvfs(c->state_dir, &fs) == 0)
        say(r, "state", "%s is writable, %s left on its disk", c->state_dir,
            berth_bytes_text((uint64_t)fs.f_bavail * fs.f_frsize, room));
}

static void
backends_look(struct report *r, const struct berth_place *place)
{
    const struct berth_plugin_info *all;
    struct berth_plugins *plugins = NULL;
    struct berth_err e;
    size_t usable = 0;

    if (berth_plugins_new(place->plugin_dirs, berth_host_calls(), &plugins, &e) != 0) {
        problem(r, "backends", "%s", e.msg);
        return;
    }
    const size_t n = berth_plugins_list(plugins, &all);
    for (size_t i = 0; i < n; i++) {
        if (all[i].ops != NULL) {
            say(r, i == 0 ? "backends" : "", "%s %s (%s)", all[i].name, all[i].ops->version,
                all[i].path);
            usable++;
        } else {
            problem(r, i == 0 ? "backends" : "", "%s cannot be used: %s", all[i].name, all[i].why);
        }
    }
    if (usable == 0) {
        problem(r, "backends", "none found, so no model can run; looked in:");
        for (const char *const *dir = place->plugin_dirs; *dir != NULL; dir++)
            say(r, "", "%s", *dir);
    }
    berth_plugins_free(plugins);
}

static void
settings_look(struct report *r, const struct berth_conf *c)
{
    say(r, "settings", "%s", c->file != NULL ? c->file : "no file; defaults, environment, flags");
    for (size_t i = 0; i < c->notes.count; i++)
        say(r, "", "%s", c->notes.at[i]);
    for (size_t i = 0; i < c->models.count; i++)
        if (access(c->models.at[i].path, R_OK) != 0)
            problem(r, "model", "%s: %s: %s", c->models.at[i].name, c->models.at[i].path,
                    strerrordesc_np(errno));
    for (size_t i = 0; i < c->model_dirs.count; i++)
        if (access(c->model_dirs.at[i], R_OK | X_OK) != 0)
            problem(r, "model_dirs", "%s: %s", c->model_dirs.at[i], strerrordesc_np(errno));
    if (strcmp(c->server.host, "127.0.0.1") != 0 && strcmp(c->server.host, "localhost") != 0 &&
        !c->security.auth_enabled)
        say(r, "security",
            "listens beyond this machine without keys: anyone who reaches it may "
            "use models (not manage them); see --api-key-file");
}

int
berth_run_doctor(const struct berth_args *args)
{
    struct report r = {.args = args};
    const struct berth_conf_from from = {.argc = args->argc, .argv = args->argv, .envp = environ};
    struct berth_conf *conf = NULL;
    struct berth_place place = {0};
    struct berth_err e;

    berth_buf_init(&r.out, NULL);
    berth_buf_printf(&r.out, "%s\n", berth_version_line());
    machine(&r);
    gpus(&r);
    const int rc = berth_conf_load(&from, &conf, &e);
    if (rc == -BERTH_EINVAL) {
        berth_buf_fini(&r.out);
        return berth_usage(args, "%s", e.msg);
    }
    if (rc != 0) {
        problem(&r, "settings", "%s", e.msg);
        (void)berth_place_find("none", NULL, &place, &e);
    } else {
        settings_look(&r, conf);
        state_look(&r, conf, &place);
        port_look(&r, "port", conf->server.host, conf->server.port);
        port_look(&r, "gRPC port", conf->server.host, conf->server.grpc_port);
        if (conf->monitoring.prometheus_enabled)
            port_look(&r, "metrics", conf->server.host, conf->monitoring.prometheus_port);
    }
    backends_look(&r, &place);
    berth_conf_free(conf);
    if (r.problems == 0 && r.port_taken)
        berth_buf_puts(&r.out, "Nothing is wrong, if the port in use is that of a server of yours: "
                               "see `berth list`.\nElse choose another with --port.\n");
    else if (r.problems == 0)
        berth_buf_puts(&r.out, "Nothing is wrong: `berth serve --model NAME=PATH` should work.\n");
    else
        berth_buf_printf(&r.out, "%zu problem%s: the lines marked with !\n", r.problems,
                         r.problems == 1 ? "" : "s");
    const int printed = berth_print(args, &r.out);
    return r.problems == 0 ? printed : BERTH_EXIT_FAILED;
}
