#include "kube/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "kube/file.h"
#include "kube/object.h"
#include "wire/base64.h"
#include "wire/json.h"
#include "wire/yaml.h"

enum { NAMES_TEXT = 240 };

static const char pod_folder[] = "/var/run/secrets/kubernetes.io/serviceaccount";

struct file {
    const char *path, *dir;
    const struct berth_json *doc;
};

/* What is being read: the files, first one first. */
struct reader {
    struct berth_arena *a;
    struct file files[BERTH_KUBE_CONFIG_FILES_MAX];
    size_t count;
    struct berth_err *e;
};

/* A named entry's content and the file that has it, which its relative paths start from. */
struct entry {
    const struct berth_json *value;
    const struct file *file;
    const char *what, *name; /* "cluster", "prod": for messages */
};

/* ---- finding ---- */

static bool
find(const struct reader *r, const char *list, const char *what, const char *name,
     struct entry *ret)
{
    for (size_t i = 0; i < r->count; i++) {
        struct berth_json_iter it = berth_json_iter(berth_json_get(r->files[i].doc, list));
        while (berth_json_next(&it)) {
            if (!berth_slice_is(berth_kube_text(it.value, "name"), name))
                continue;
            *ret = (struct entry){berth_json_get(it.value, what), &r->files[i], what, name};
            return true;
        }
    }
    return false;
}

/* "a, b, c", cut off with "..." where there is no room. */
static void
list_names(const struct reader *r, const char *list, char text[NAMES_TEXT])
{
    struct berth_buf b;

    berth_buf_init(&b, r->a);
    for (size_t i = 0; i < r->count && b.len < NAMES_TEXT; i++) {
        struct berth_json_iter it = berth_json_iter(berth_json_get(r->files[i].doc, list));
        while (berth_json_next(&it) && b.len < NAMES_TEXT) {
            const struct berth_slice name = berth_kube_text(it.value, "name");
            berth_buf_puts(&b, b.len > 0 ? ", " : "");
            berth_buf_put(&b, name.at, name.len);
        }
    }
    const char *all = berth_buf_text(&b);
    if (all == NULL || all[0] == '\0')
        all = "none";
    (void)snprintf(text, NAMES_TEXT, "%.*s%s", NAMES_TEXT - 8, all,
                   strlen(all) > NAMES_TEXT - 8 ? "..." : "");
}

static int
no_entry(const struct reader *r, const char *list, const char *what, const char *name)
{
    char names[NAMES_TEXT];

    list_names(r, list, names);
    return berth_err_set(r->e, BERTH_ECONFIG, "%s: there is no %s \"%.120s\"; there are: %s",
                         r->files[0].path, what, name, names);
}

/* ---- reading members ---- */

/* A member that is a string; NULL when it is not there or empty.  0, or -BERTH_ECONFIG. */
static int
read_text(const struct reader *r, const struct entry *x, const char *key, const char **ret)
{
    const struct berth_json *v = berth_json_get(x->value, key);
    struct berth_slice s;

    *ret = NULL;
    if (v == NULL || berth_json_type(v) == BERTH_JSON_NULL)
        return 0;
    if (!berth_json_string(v, &s) || strlen(s.at) != s.len)
        return berth_err_set(r->e, BERTH_ECONFIG, "%s: %s \"%.80s\": %s must be a string, not %s",
                             x->file->path, x->what, x->name, key, berth_json_type_name(v));
    *ret = s.len > 0 ? s.at : NULL;
    return 0;
}

/* The same for a path, which may be relative to its file. */
static int
read_path(const struct reader *r, const struct entry *x, const char *key, const char **ret)
{
    const char *path;
    const int got = read_text(r, x, key, &path);

    if (got < 0)
        return got;
    if (path != NULL && path[0] != '/')
        path = berth_arena_printf(r->a, "%s/%s", x->file->dir, path);
    *ret = path;
    return 0;
}

/* Base64 of PEM. */
static int
read_pem(const struct reader *r, const struct entry *x, const char *key, struct berth_slice *ret)
{
    const char *text;
    void *bytes;
    size_t len;
    const int got = read_text(r, x, key, &text);

    *ret = (struct berth_slice){NULL, 0};
    if (got < 0 || text == NULL)
        return got;
    if (!berth_base64_decode(r->a, text, strlen(text), &bytes, &len) || len == 0)
        return berth_err_set(r->e, BERTH_ECONFIG, "%s: %s \"%.80s\": %s is not base64",
                             x->file->path, x->what, x->name, key);
    *ret = (struct berth_slice){bytes, len};
    return 0;
}

static bool
read_bool(const struct entry *x, const char *key)
{
    return berth_kube_flag(x->value, key);
}

/* ---- the three parts ---- */

static int
read_cluster(const struct reader *r, const struct entry *x, struct berth_kube_config *c)
{
    const char *server = NULL;
    int got = read_text(r, x, "server", &server);

    if (got == 0)
        got = read_text(r, x, "tls-server-name", &c->server_name);
    if (got == 0)
        got = read_text(r, x, "proxy-url", &c->proxy);
    if (got == 0)
        got = read_path(r, x, "certificate-authority", &c->tls.ca_file);
    if (got == 0)
        got = read_pem(r, x, "certificate-authority-data", &c->tls.ca_pem);
    if (got < 0)
        return got;
    c->tls.unverified = read_bool(x, "insecure-skip-tls-verify");
    if (server == NULL)
        return berth_err_set(r->e, BERTH_ECONFIG, "%s: cluster \"%.80s\" has no server",
                             x->file->path, x->name);
    if (strncmp(server, "https://", 8) != 0 && strncmp(server, "http://", 7) != 0)
        return berth_err_set(
            r->e, BERTH_ECONFIG,
            "%s: cluster \"%.80s\": server \"%.120s\" must begin with https:// or http://",
            x->file->path, x->name, server);
    const char *host = strstr(server, "://") + 3;
    if (strcspn(host, "/:?#") == 0)
        return berth_err_set(r->e, BERTH_ECONFIG,
                             "%s: cluster \"%.80s\": server \"%.120s\" names no host",
                             x->file->path, x->name, server);
    size_t n = strlen(server); /* ends in the host at the latest, which has no '/' */
    while (server[n - 1] == '/')
        n--;
    c->server = berth_arena_strndup(r->a, server, n);
    return c->server != NULL ? 0 : berth_err_set(r->e, BERTH_ENOMEM, "out of memory");
}

static int
read_args(const struct reader *r, const struct entry *x, struct berth_kube_exec *exec)
{
    struct berth_json_iter it = berth_json_iter(berth_json_get(x->value, "args"));
    struct berth_json_iter env = berth_json_iter(berth_json_get(x->value, "env"));
    struct berth_slice text;
    size_t n = 1; /* the command itself comes first */

    while (berth_json_next(&it)) {
        if (n >= BERTH_KUBE_EXEC_ARGS_MAX)
            return berth_err_set(r->e, BERTH_ECONFIG, "%s: user \"%.80s\": exec: more than %d args",
                                 x->file->path, x->name, BERTH_KUBE_EXEC_ARGS_MAX);
        if (!berth_json_string(it.value, &text))
            return berth_err_set(r->e, BERTH_ECONFIG,
                                 "%s: user \"%.80s\": exec.args[%zu] must be a string",
                                 x->file->path, x->name, it.index);
        exec->args[n++] = text.at;
    }
    for (n = 0; berth_json_next(&env);) {
        const struct berth_slice name = berth_kube_text(env.value, "name");
        const struct berth_slice value = berth_kube_text(env.value, "value");
        if (name.len == 0 || n >= BERTH_KUBE_EXEC_ARGS_MAX)
            return berth_err_set(
                r->e, BERTH_ECONFIG,
                "%s: user \"%.80s\": exec.env: each needs a name, and there are at most %d",
                x->file->path, x->name, BERTH_KUBE_EXEC_ARGS_MAX);
        exec->env[n] = berth_arena_printf(r->a, "%s=%s", name.at, value.at);
        if (exec->env[n++] == NULL)
            return berth_err_set(r->e, BERTH_ENOMEM, "out of memory");
    }
    return 0;
}

static int
read_exec(const struct reader *r, const struct entry *user, struct berth_kube_config *c)
{
    const struct entry x = {berth_json_get(user->value, "exec"), user->file, "user", user->name};
    struct berth_kube_exec *exec = BERTH_NEW(r->a, struct berth_kube_exec);

    if (exec == NULL)
        return berth_err_set(r->e, BERTH_ENOMEM, "out of memory");
    int got = read_text(r, &x, "command", &exec->command);
    if (got == 0)
        got = read_text(r, &x, "apiVersion", &exec->api_version);
    if (got == 0)
        got = read_text(r, &x, "installHint", &exec->install_hint);
    if (got < 0)
        return got;
    if (exec->command == NULL)
        return berth_err_set(r->e, BERTH_ECONFIG, "%s: user \"%.80s\": exec has no command",
                             x.file->path, x.name);
    if (exec->api_version == NULL ||
        (strcmp(exec->api_version, "client.authentication.k8s.io/v1") != 0 &&
         strcmp(exec->api_version, "client.authentication.k8s.io/v1beta1") != 0))
        return berth_err_set(r->e, BERTH_ECONFIG,
                             "%s: user \"%.80s\": exec.apiVersion is \"%.80s\"; known are "
                             "client.authentication.k8s.io/v1 and v1beta1",
                             x.file->path, x.name, exec->api_version ? exec->api_version : "");
    if (berth_slice_is(berth_kube_text(x.value, "interactiveMode"), "Always"))
        return berth_err_set(r->e, BERTH_ECONFIG,
                             "%s: user \"%.80s\": %.120s wants a terminal (interactiveMode: "
                             "Always), which a server has not",
                             x.file->path, x.name, exec->command);
    /* As for kubectl: a command with a slash is relative to its file. */
    if (strchr(exec->command, '/') != NULL && exec->command[0] != '/')
        exec->command = berth_arena_printf(r->a, "%s/%s", x.file->dir, exec->command);
    exec->cluster_info = read_bool(&x, "provideClusterInfo");
    exec->args[0] = exec->command;
    c->exec = exec;
    return exec->command != NULL ? read_args(r, &x, exec)
                                 : berth_err_set(r->e, BERTH_ENOMEM, "out of memory");
}

static int
read_user(const struct reader *r, const struct entry *x, struct berth_kube_config *c)
{
    int got = read_path(r, x, "client-certificate", &c->tls.cert_file);

    if (got == 0)
        got = read_path(r, x, "client-key", &c->tls.key_file);
    if (got == 0)
        got = read_pem(r, x, "client-certificate-data", &c->tls.cert_pem);
    if (got == 0)
        got = read_pem(r, x, "client-key-data", &c->tls.key_pem);
    if (got == 0)
        got = read_path(r, x, "tokenFile", &c->token_file);
    if (got == 0)
        got = read_text(r, x, "token", &c->token);
    if (got == 0)
        got = read_text(r, x, "username", &c->basic_user);
    if (got == 0)
        got = read_text(r, x, "password", &c->basic_password);
    if (got < 0)
        return got;
    const bool cert = c->tls.cert_pem.len > 0 || c->tls.cert_file != NULL;
    const bool key = c->tls.key_pem.len > 0 || c->tls.key_file != NULL;
    if (cert != key)
        return berth_err_set(r->e, BERTH_ECONFIG,
                             "%s: user \"%.80s\" has a client %s without its %s", x->file->path,
                             x->name, cert ? "certificate" : "key", cert ? "key" : "certificate");
    if (berth_json_get(x->value, "auth-provider") != NULL)
        return berth_err_set(r->e, BERTH_ECONFIG,
                             "%s: user \"%.80s\": auth-provider is gone from Kubernetes; use exec",
                             x->file->path, x->name);
    const bool exec = berth_json_type(berth_json_get(x->value, "exec")) == BERTH_JSON_OBJECT;
    if (exec)
        return read_exec(r, x, c);
    if (c->token_file != NULL)
        c->token = NULL; /* the file is newer */
    return 0;
}

/* ---- together ---- */

static const char *
current_context(const struct reader *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct berth_slice name = berth_kube_text(r->files[i].doc, "current-context");
        if (name.len > 0)
            return name.at;
    }
    return NULL;
}

static int
resolve(const struct reader *r, const char *wanted, struct berth_kube_config *ret)
{
    struct berth_kube_config c = {.from = r->files[0].path, .space = "default"};
    const char *name = wanted != NULL && wanted[0] != '\0' ? wanted : current_context(r);
    const char *cluster = NULL, *user = NULL, *space = NULL;
    struct entry x;
    char names[NAMES_TEXT];

    if (name == NULL) {
        list_names(r, "contexts", names);
        return berth_err_set(r->e, BERTH_ECONFIG, "%s: it has no current-context; name one of: %s",
                             c.from, names);
    }
    if (!find(r, "contexts", "context", name, &x))
        return no_entry(r, "contexts", "context", name);
    int got = read_text(r, &x, "cluster", &cluster);
    if (got == 0)
        got = read_text(r, &x, "user", &user);
    if (got == 0)
        got = read_text(r, &x, "namespace", &space);
    if (got < 0)
        return got;
    if (cluster == NULL)
        return berth_err_set(r->e, BERTH_ECONFIG, "%s: context \"%.80s\" names no cluster",
                             x.file->path, name);
    c.context = name;
    c.user = user;
    if (space != NULL)
        c.space = space;
    if (!find(r, "clusters", "cluster", cluster, &x))
        return no_entry(r, "clusters", "cluster", cluster);
    got = read_cluster(r, &x, &c);
    if (got == 0 && user != NULL && !find(r, "users", "user", user, &x))
        return no_entry(r, "users", "user", user);
    if (got == 0 && user != NULL)
        got = read_user(r, &x, &c);
    if (got == 0)
        *ret = c;
    return got;
}

static int
add_text(struct reader *r, const char *text, size_t len, const char *path, const char *dir)
{
    struct file *f = &r->files[r->count];

    berth_assert(r->count < BERTH_KUBE_CONFIG_FILES_MAX);
    const int got = berth_yaml_parse(r->a, text, len, &f->doc, r->e);
    if (got < 0)
        return berth_err_wrap(r->e, got == -BERTH_EINVAL ? -BERTH_ECONFIG : got, "%s", path);
    if (berth_json_type(f->doc) != BERTH_JSON_OBJECT)
        return berth_err_set(r->e, BERTH_ECONFIG, "%s: a kubeconfig is a mapping, this is %s", path,
                             berth_json_type_name(f->doc));
    f->path = path;
    f->dir = dir;
    r->count++;
    return 0;
}

int
berth_kube_config_parse(struct berth_arena *a, const char *text, size_t len, const char *path,
                        const char *dir, const char *context, struct berth_kube_config *ret,
                        struct berth_err *e)
{
    struct reader r = {.a = a, .e = e};
    const int got = add_text(&r, text, len, path, dir);

    return got < 0 ? got : resolve(&r, context, ret);
}

static int
add_file(struct reader *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *text, *name = berth_arena_strdup(r->a, path);
    const char *dir = slash == NULL   ? "."
                      : slash == path ? "/"
                                      : berth_arena_strndup(r->a, path, (size_t)(slash - path));
    size_t len;

    if (name == NULL || dir == NULL)
        return berth_err_set(r->e, BERTH_ENOMEM, "out of memory");
    if (r->count == BERTH_KUBE_CONFIG_FILES_MAX)
        return berth_err_set(r->e, BERTH_ECONFIG, "KUBECONFIG names more than %d files",
                             BERTH_KUBE_CONFIG_FILES_MAX);
    const int got =
        berth_kube_file_read(r->a, path, BERTH_KUBE_CONFIG_BYTES_MAX, &text, &len, r->e);
    return got < 0 ? got : add_text(r, text, len, name, dir);
}

/* As kubectl does, a file of the list that is not there is passed over. */
static int
add_files(struct reader *r, const char *list)
{
    while (*list != '\0') {
        const size_t n = strcspn(list, ":");
        const char *path = berth_arena_strndup(r->a, list, n);
        if (path == NULL)
            return berth_err_set(r->e, BERTH_ENOMEM, "out of memory");
        const int got = n > 0 ? add_file(r, path) : 0;
        if (got < 0 && got != -BERTH_ENOENT)
            return got;
        list += n + (list[n] == ':');
    }
    return 0;
}

static int
from_pod(struct berth_arena *a, const char *dir, const char *host, const char *port,
         struct berth_kube_config *ret, struct berth_err *e)
{
    struct berth_kube_config c = {.from = "the pod's service account", .space = "default"};
    const char *path = berth_arena_printf(a, "%s/namespace", dir);
    char *text;
    size_t len;

    c.server =
        berth_arena_printf(a, strchr(host, ':') != NULL ? "https://[%s]:%s" : "https://%s:%s", host,
                           port != NULL && port[0] != '\0' ? port : "443");
    c.token_file = berth_arena_printf(a, "%s/token", dir);
    c.tls.ca_file = berth_arena_printf(a, "%s/ca.crt", dir);
    if (path == NULL || c.server == NULL || c.token_file == NULL || c.tls.ca_file == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (access(c.token_file, R_OK) != 0)
        return berth_err_set(
            e, BERTH_ENOENT,
            "%s: %s; give the pod a service account (automountServiceAccountToken)", c.token_file,
            errno == ENOENT ? "is not there" : "cannot be read");
    if (berth_kube_file_read(a, path, 256, &text, &len, NULL) == 0 && len > 0)
        c.space = text;
    *ret = c;
    return 0;
}

static const char *
environment(const char *name)
{
    return getenv(name);
}

int
berth_kube_config_load(struct berth_arena *a, const struct berth_kube_config_from *from,
                       struct berth_kube_config *ret, struct berth_err *e)
{
    const char *(*env)(const char *) = from->env != NULL ? from->env : environment;
    const char *dir = from->pod_dir != NULL ? from->pod_dir : pod_folder;
    const char *list = env("KUBECONFIG"), *home = env("HOME");
    const char *host = env("KUBERNETES_SERVICE_HOST");
    struct reader r = {.a = a, .e = e};
    int got = 0;

    if (from->path != NULL && from->path[0] != '\0') {
        got = add_file(&r, from->path);
    } else if (list != NULL && list[0] != '\0') {
        got = add_files(&r, list);
        if (got == 0 && r.count == 0)
            return berth_err_set(e, BERTH_ENOENT, "KUBECONFIG is %.300s: no such file", list);
    } else if (home != NULL && home[0] != '\0') {
        const char *path = berth_arena_printf(a, "%s/.kube/config", home);
        if (path != NULL && access(path, F_OK) == 0)
            got = add_file(&r, path);
    }
    if (got < 0)
        return got;
    if (r.count > 0)
        return resolve(&r, from->context, ret);
    if (host != NULL && host[0] != '\0')
        return from_pod(a, dir, host, env("KUBERNETES_SERVICE_PORT"), ret, e);
    return berth_err_set(e, BERTH_ENOENT,
                         "no cluster is known: name a kubeconfig, set KUBECONFIG, or run in a pod "
                         "(there is no ~/.kube/config and no KUBERNETES_SERVICE_HOST)");
}
