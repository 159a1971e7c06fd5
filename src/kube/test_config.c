#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "kube/auth.h"
#include "kube/config.h"
#include "kube/exec.h"
#include "kube/object.h"

/* ---- a kubeconfig's text ---- */

#define CLUSTERS                                                                                   \
    "apiVersion: v1\nkind: Config\n"                                                               \
    "clusters:\n"                                                                                  \
    "- {name: prod, cluster: {server: 'https://10.0.0.1:6443/', certificate-authority: ca.crt}}\n" \
    "- {name: lab, cluster: {server: 'https://lab:6443', certificate-authority-data: aGVsbG8=,"    \
    " tls-server-name: kubernetes, proxy-url: 'http://p:1'}}\n"                                    \
    "- {name: bad, cluster: {server: 'lab:6443'}}\n"                                               \
    "- {name: none, cluster: {}}\n"                                                                \
    "- {name: nohost, cluster: {server: 'https://'}}\n"                                            \
    "- {name: slashes, cluster: {server: 'http:////'}}\n"                                          \
    "- {name: port, cluster: {server: 'https://:6443', tls-server-name: x}}\n"                     \
    "contexts:\n"                                                                                  \
    "- {name: p, context: {cluster: prod, user: tok, namespace: models}}\n"                        \
    "- {name: l, context: {cluster: lab, user: cert}}\n"                                           \
    "- {name: file, context: {cluster: lab, user: tokfile}}\n"                                     \
    "- {name: ex, context: {cluster: lab, user: ex}}\n"                                            \
    "- {name: nouser, context: {cluster: lab}}\n"                                                  \
    "- {name: bad, context: {cluster: bad}}\n"                                                     \
    "- {name: none, context: {cluster: none}}\n"                                                   \
    "- {name: nohost, context: {cluster: nohost}}\n"                                               \
    "- {name: slashes, context: {cluster: slashes}}\n"                                             \
    "- {name: port, context: {cluster: port}}\n"                                                   \
    "- {name: gone, context: {cluster: gone}}\n"                                                   \
    "- {name: who, context: {cluster: lab, user: who}}\n"                                          \
    "- {name: half, context: {cluster: lab, user: half}}\n"                                        \
    "- {name: number, context: {cluster: lab, user: number}}\n"                                    \
    "- {name: oldexec, context: {cluster: lab, user: oldexec}}\n"                                  \
    "- {name: terminal, context: {cluster: lab, user: terminal}}\n"                                \
    "- {name: b64, context: {cluster: lab, user: b64}}\n"                                          \
    "- {name: gcp, context: {cluster: lab, user: gcp}}\n"                                          \
    "users:\n"                                                                                     \
    "- {name: tok, user: {token: abc}}\n"                                                          \
    "- {name: cert, user: {client-certificate: /c.pem, client-key-data: a2V5}}\n"                  \
    "- {name: tokfile, user: {token: old, tokenFile: sub/token}}\n"                                \
    "- {name: half, user: {client-certificate: /c.pem}}\n"                                         \
    "- {name: number, user: {token: 12345}}\n"                                                     \
    "- {name: b64, user: {client-certificate-data: '*', client-key-data: a2V5}}\n"                 \
    "- {name: gcp, user: {auth-provider: {name: gcp}}}\n"                                          \
    "- {name: ex, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: bin/get,"    \
    " args: [a, 'b c'], env: [{name: X, value: y}], provideClusterInfo: true}}}\n"                 \
    "- {name: oldexec, user: {exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: " \
    "x}}}\n"                                                                                       \
    "- {name: terminal, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: x, "   \
    "interactiveMode: Always}}}\n"

static int
parse(struct berth_arena *a, const char *text, const char *context, struct berth_kube_config *ret,
      struct berth_err *e)
{
    return berth_kube_config_parse(a, text, strlen(text), "/etc/k/config", "/etc/k", context, ret,
                                   e);
}

static void
contexts_are_resolved(void **unused)
{
    struct berth_kube_config c;
    struct berth_arena a;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    assert_int_equal(parse(&a, CLUSTERS "current-context: p\n", NULL, &c, &e), 0);
    assert_string_equal(c.context, "p");
    assert_string_equal(c.server, "https://10.0.0.1:6443");
    assert_string_equal(c.tls.ca_file, "/etc/k/ca.crt"); /* relative to the file */
    assert_string_equal(c.token, "abc");
    assert_string_equal(c.space, "models");
    assert_int_equal(parse(&a, CLUSTERS "current-context: p\n", "l", &c, &e), 0);
    assert_string_equal(c.space, "default");
    assert_string_equal(c.server_name, "kubernetes");
    assert_string_equal(c.proxy, "http://p:1");
    assert_int_equal(c.tls.ca_pem.len, 5);
    assert_memory_equal(c.tls.ca_pem.at, "hello", 5);
    assert_string_equal(c.tls.cert_file, "/c.pem");
    assert_memory_equal(c.tls.key_pem.at, "key", 3);
    assert_null(c.token);
    assert_int_equal(parse(&a, CLUSTERS, "file", &c, &e), 0);
    assert_string_equal(c.token_file, "/etc/k/sub/token");
    assert_null(c.token); /* the file is newer */
    assert_int_equal(parse(&a, CLUSTERS, "nouser", &c, &e), 0);
    assert_null(c.user);
    assert_int_equal(parse(&a, CLUSTERS, "ex", &c, &e), 0);
    assert_string_equal(c.exec->command, "/etc/k/bin/get");
    assert_string_equal(c.exec->args[0], "/etc/k/bin/get");
    assert_string_equal(c.exec->args[2], "b c");
    assert_null(c.exec->args[3]);
    assert_string_equal(c.exec->env[0], "X=y");
    assert_true(c.exec->cluster_info);
    berth_arena_fini(&a);
}

static void
what_is_wrong_is_said(void **unused)
{
    static const struct {
        const char *text, *context, *says;
        int want;
    } cases[] = {
        {CLUSTERS, "nope", "no context \"nope\"; there are: p, l, file, ex, nouser",
         -BERTH_ECONFIG},
        {CLUSTERS, NULL, "no current-context; name one of: p, l", -BERTH_ECONFIG},
        {CLUSTERS, "gone", "no cluster \"gone\"; there are: prod, lab", -BERTH_ECONFIG},
        {CLUSTERS, "who", "no user \"who\"; there are: tok, cert", -BERTH_ECONFIG},
        {CLUSTERS, "bad", "server \"lab:6443\" must begin with https://", -BERTH_ECONFIG},
        {CLUSTERS, "none", "cluster \"none\" has no server", -BERTH_ECONFIG},
        {CLUSTERS, "nohost", "server \"https://\" names no host", -BERTH_ECONFIG},
        {CLUSTERS, "slashes", "names no host", -BERTH_ECONFIG},
        {CLUSTERS, "port", "names no host", -BERTH_ECONFIG},
        {CLUSTERS, "half", "a client certificate without its key", -BERTH_ECONFIG},
        {CLUSTERS, "number", "token must be a string, not a whole number", -BERTH_ECONFIG},
        {CLUSTERS, "oldexec", "v1alpha1", -BERTH_ECONFIG},
        {CLUSTERS, "terminal", "wants a terminal", -BERTH_ECONFIG},
        {CLUSTERS, "b64", "client-certificate-data is not base64", -BERTH_ECONFIG},
        {CLUSTERS, "gcp", "use exec", -BERTH_ECONFIG},
        {"[1, 2]", NULL, "a kubeconfig is a mapping, this is an array", -BERTH_ECONFIG},
        {"a: b: c", NULL, "/etc/k/config: line 1", -BERTH_ECONFIG},
        {"", NULL, "no current-context; name one of: none", -BERTH_ECONFIG},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_kube_config c;
        struct berth_arena a;
        struct berth_err e = {{0}};
        berth_arena_init(&a, 8 << 20);
        const int r = parse(&a, cases[i].text, cases[i].context, &c, &e);
        print_message("  %s\n", e.msg);
        assert_int_equal(r, cases[i].want);
        assert_non_null(strstr(e.msg, cases[i].says));
        berth_arena_fini(&a);
    }
}

/* ---- where it comes from ---- */

static char dir[] = "/tmp/berth-kube-XXXXXX";
static const char *kubeconfig, *home, *host;

static const char *
env(const char *name)
{
    return strcmp(name, "KUBECONFIG") == 0                ? kubeconfig
           : strcmp(name, "HOME") == 0                    ? home
           : strcmp(name, "KUBERNETES_SERVICE_HOST") == 0 ? host
           : strcmp(name, "KUBERNETES_SERVICE_PORT") == 0 ? "443"
                                                          : NULL;
}

static const char *
put_file(const char *name, const char *text, mode_t mode)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % BERTH_COUNT(paths)];

    (void)snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static int
make_dir(void **state)
{
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
drop_dir(void **state)
{
    char command[64];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command); /* NOLINT(cert-env33-c): a folder of our own */
}

static int
load(struct berth_arena *a, const char *path, struct berth_kube_config *ret, struct berth_err *e)
{
    const struct berth_kube_config_from from = {.path = path, .env = env, .pod_dir = dir};

    return berth_kube_config_load(a, &from, ret, e);
}

static void
it_is_looked_for_as_kubectl_does(void **unused)
{
    const char *one = put_file("one", CLUSTERS "current-context: p\n", 0600);
    const char *two = put_file("two",
                               "contexts: [{name: p, context: {cluster: lab}}, {name: z, context: "
                               "{cluster: far}}]\n"
                               "clusters: [{name: far, cluster: {server: 'https://far'}}]\n",
                               0600);
    struct berth_kube_config c;
    struct berth_arena a;
    struct berth_err e;
    char list[300];

    (void)unused;
    berth_arena_init(&a, 32 << 20);
    assert_int_equal(load(&a, NULL, &c, &e), -BERTH_ENOENT);
    print_message("  %s\n", e.msg);
    assert_non_null(strstr(e.msg, "KUBECONFIG"));
    assert_int_equal(load(&a, "/nowhere/config", &c, &e), -BERTH_ENOENT);
    assert_int_equal(load(&a, one, &c, &e), 0);
    assert_string_equal(c.from, one);
    (void)snprintf(list, sizeof list, "/nowhere/x:%s::%s", two, one);
    kubeconfig =
        list; /* the first that names a thing wins, and files that are missing do not matter */
    assert_int_equal(load(&a, NULL, &c, &e), 0);
    assert_string_equal(c.context, "p");
    assert_string_equal(c.server, "https://lab:6443");
    const struct berth_kube_config_from z = {.context = "z", .env = env};
    assert_int_equal(berth_kube_config_load(&a, &z, &c, &e), 0);
    assert_string_equal(c.server, "https://far");
    kubeconfig = "/nowhere/x";
    assert_int_equal(load(&a, NULL, &c, &e), -BERTH_ENOENT);
    kubeconfig = NULL;
    home = dir;
    (void)snprintf(list, sizeof list, "%s/.kube", dir);
    assert_int_equal(mkdir(list, 0700), 0);
    (void)put_file(".kube/config", CLUSTERS "current-context: l\n", 0600);
    assert_int_equal(load(&a, NULL, &c, &e), 0);
    assert_string_equal(c.context, "l");
    home = NULL;
    berth_arena_fini(&a);
}

static void
a_pod_has_its_service_account(void **unused)
{
    struct berth_kube_credential cred;
    struct berth_kube_auth *auth;
    struct berth_kube_config c;
    struct berth_arena a;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    host = "10.96.0.1";
    assert_int_equal(load(&a, NULL, &c, &e), -BERTH_ENOENT);
    assert_non_null(strstr(e.msg, "automountServiceAccountToken"));
    (void)put_file("token", "tok-1\n", 0600);
    (void)put_file("namespace", "models\n", 0600);
    assert_int_equal(load(&a, NULL, &c, &e), 0);
    assert_string_equal(c.server, "https://10.96.0.1:443");
    assert_string_equal(c.space, "models");
    assert_null(c.context);
    assert_int_equal(berth_kube_auth_new(&c, &auth, &e), 0);
    assert_int_equal(berth_kube_auth_get(auth, NULL, &a, &cred, &e), 0);
    assert_string_equal(cred.bearer, "tok-1");
    /* What was read this second is refused: it is wrong, not old. */
    assert_false(berth_kube_auth_refused(auth));
    berth_kube_auth_free(auth);
    (void)put_file("token", "", 0600);
    assert_int_equal(berth_kube_auth_new(&c, &auth, &e), 0);
    assert_int_equal(berth_kube_auth_get(auth, NULL, &a, &cred, &e), -BERTH_ECONFIG);
    berth_kube_auth_free(auth);
    host = "fd00::1";
    assert_int_equal(load(&a, NULL, &c, &e), 0);
    assert_string_equal(c.server, "https://[fd00::1]:443");
    host = NULL;
    berth_arena_fini(&a);
}

/* ---- programs that print credentials ---- */

static void
programs_are_asked_until_what_they_said_expires(void **unused)
{
    char script[1024], count[64];
    struct berth_kube_exec exec = {.api_version = "client.authentication.k8s.io/v1",
                                   .env = {"FROM=config"}};
    struct berth_kube_config c = {.exec = &exec, .user = "ex"};
    struct berth_kube_credential cred;
    struct berth_kube_auth *auth;
    struct berth_arena a;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    (void)snprintf(count, sizeof count, "%s/count", dir);
    (void)snprintf(script, sizeof script,
                   "#!/bin/sh\necho x >> %s\nn=$(wc -l < %s)\n"
                   "case \"$KUBERNETES_EXEC_INFO\" in *interactive*false*) ;; *) exit 3;; esac\n"
                   "[ $n = 1 ] && t=2000-01-01T00:00:00Z || t=2199-01-01T00:00:00+02:00\n"
                   "echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":"
                   "\"ExecCredential\",\"status\":{\"token\":\"'$FROM-$1-$n'\","
                   "\"expirationTimestamp\":\"'$t'\"}}'\n",
                   count, count);
    exec.command = exec.args[0] = put_file("get", script, 0700);
    exec.args[1] = "arg";
    assert_int_equal(berth_kube_auth_new(&c, &auth, &e), 0);
    static const char *const want[] = {"config-arg-1", "config-arg-2", "config-arg-2"};
    for (size_t i = 0; i < BERTH_COUNT(want); i++) {
        assert_int_equal(berth_kube_auth_get(auth, NULL, &a, &cred, &e), 0);
        assert_string_equal(cred.bearer, want[i]);
    }
    berth_kube_auth_free(auth);
    berth_arena_fini(&a);
}

static bool
says_yes(void *arg)
{
    return true;
}

/* A pipe that a script's child holds open as long as it lives. */
static int
open_fifo(const char *name)
{
    char path[300];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(mkfifo(path, 0600), 0);
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* The program that the descriptor's other end belongs to runs. */
static bool
has_come(void *arg)
{
    struct pollfd p = {.fd = *(const int *)arg, .events = POLLIN};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

static void
programs_that_fail_are_named(void **unused)
{
    static const struct {
        const char *script, *says;
        int want;
    } cases[] = {
        {"#!/bin/sh\necho one >&2; echo 'log in first' >&2; exit 1\n",
         "ended by itself with status 1: log in first", -BERTH_ENETWORK},
        {"#!/bin/sh\nkill -9 $$\n", "signal 9", -BERTH_ENETWORK},
        {"#!/bin/sh\necho hello\n", "its answer: line 1", -BERTH_ECONFIG},
        {"#!/bin/sh\nexec sleep 100\n", "no credentials within 0 s", -BERTH_EDEADLINE},
        {"#!/bin/sh\nhead -c 300000 /dev/zero\n", "more than 262144 bytes", -BERTH_ECONFIG},
    };
    struct berth_kube_exec exec = {.api_version = "client.authentication.k8s.io/v1",
                                   .install_hint = "apt-get install it"};
    const struct berth_kube_config c = {.exec = &exec, .user = "ex"};
    struct berth_kube_exec_result x;
    struct berth_arena a;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        exec.command = exec.args[0] = put_file("fail", cases[i].script, 0700);
        const struct berth_kube_until until = {
            .deadline_ns = berth_now_ns() +
                           (cases[i].want == -BERTH_EDEADLINE ? 300 * BERTH_MS : 60 * BERTH_S)};
        const int r = berth_kube_exec_run(&c, &a, &until, &x, &e);
        print_message("  %s\n", e.msg);
        assert_int_equal(r, cases[i].want);
        assert_non_null(strstr(e.msg, cases[i].says));
    }
    /* What it started holds the pipes and does not live on: the shell is not all there is. */
    int alive = open_fifo("fail.alive");
    const struct berth_kube_until started = {
        .deadline_ns = berth_now_ns() + 60 * BERTH_S, .cancelled = has_come, .arg = &alive};
    exec.command = exec.args[0] =
        put_file("fail", "#!/bin/sh\nexec 3> $0.alive\necho >&3\nsleep 100 & wait\n", 0700);
    assert_int_equal(berth_kube_exec_run(&c, &a, &started, &x, &e), -BERTH_ECANCELED);
    struct pollfd p = {.fd = alive};
    char newline;
    assert_int_equal(read(alive, &newline, 1), 1);
    assert_int_equal(poll(&p, 1, 60 * 1000), 1); /* nobody has it open any more */
    (void)close(alive);
    const struct berth_kube_until until = {.deadline_ns = berth_now_ns() + 60 * BERTH_S,
                                           .cancelled = says_yes};
    exec.command = exec.args[0] = "berth-no-such-program";
    assert_int_equal(berth_kube_exec_run(&c, &a, &until, &x, &e), -BERTH_ECONFIG);
    assert_non_null(strstr(e.msg, "No such file or directory; apt-get install it"));
    exec.command = exec.args[0] = put_file("fail", "#!/bin/sh\nexec sleep 100\n", 0700);
    assert_int_equal(berth_kube_exec_run(&c, &a, &until, &x, &e), -BERTH_ECANCELED);
    berth_arena_fini(&a);
}

struct caller {
    struct berth_kube_auth *auth;
    uint64_t deadline_ns;
    atomic_bool waits;
    int r;
};

static bool
it_waits(void *arg)
{
    struct caller *c = arg;

    atomic_store(&c->waits, true);
    return false;
}

static void *
get_credentials(void *arg)
{
    struct caller *c = arg;
    const struct berth_kube_until until = {
        .deadline_ns = c->deadline_ns, .cancelled = it_waits, .arg = c};
    struct berth_kube_credential cred;
    struct berth_arena a;
    struct berth_err e;

    berth_arena_init(&a, 8 << 20);
    c->r = berth_kube_auth_get(c->auth, &until, &a, &cred, &e);
    berth_arena_fini(&a);
    return NULL;
}

/* A program that hangs holds up nobody longer than he may wait, and one that fails is not run by
 * each of those that wait for it. */
static void
a_program_is_everybodys_and_no_ones_fate(void **unused)
{
    struct berth_kube_exec exec = {.api_version = "client.authentication.k8s.io/v1"};
    const struct berth_kube_config c = {.exec = &exec, .user = "ex"};
    const struct berth_kube_until gone = {.deadline_ns = berth_now_ns() + 60 * BERTH_S,
                                          .cancelled = says_yes};
    struct berth_kube_credential cred;
    struct berth_kube_auth *auth;
    char script[512], fifo[300];
    struct caller callers[3];
    pthread_t threads[3];
    struct berth_arena a;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    /* It says that it runs, and fails once it is told to go on. */
    (void)snprintf(script, sizeof script, "#!/bin/sh\necho x >> %s/runs\nread x < %s\nexit 1\n",
                   dir, fifo);
    exec.command = exec.args[0] = put_file("hang", script, 0700);
    assert_int_equal(berth_kube_auth_new(&c, &auth, &e), 0);
    for (size_t i = 0; i < 3; i++) {
        callers[i].auth = auth;
        callers[i].deadline_ns = berth_now_ns() + 60 * BERTH_S;
        atomic_init(&callers[i].waits, false);
        assert_int_equal(pthread_create(&threads[i], NULL, get_credentials, &callers[i]), 0);
    }
    const int fd = open(fifo, O_WRONLY | O_CLOEXEC); /* returns when it runs */
    assert_true(fd >= 0);
    /* While it runs: a caller that is cancelled, and one without time. */
    assert_int_equal(berth_kube_auth_get(auth, &gone, &a, &cred, &e), -BERTH_ECANCELED);
    const struct berth_kube_until soon = {.deadline_ns = berth_now_ns() + 20 * BERTH_MS};
    assert_int_equal(berth_kube_auth_get(auth, &soon, &a, &cred, &e), -BERTH_EDEADLINE);
    for (size_t i = 0; i < 3; i++)
        while (!atomic_load(&callers[i].waits))
            (void)sched_yield();
    (void)close(fd);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(callers[i].r, -BERTH_ENETWORK);
    }
    assert_int_equal(berth_kube_auth_get(auth, NULL, &a, &cred, &e), -BERTH_ENETWORK);
    struct stat st;
    (void)snprintf(script, sizeof script, "%s/runs", dir);
    assert_int_equal(stat(script, &st), 0);
    assert_int_equal(st.st_size, 2); /* "x\n": it ran once */
    berth_kube_auth_free(auth);
    berth_arena_fini(&a);
}

static void
answers_of_programs_are_checked(void **unused)
{
#define HEAD \
    "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":"
    static const struct {
        const char *text;
        int want;
    } cases[] = {
        {HEAD "{\"token\":\"t\"}}", 0},
        {HEAD "{\"clientCertificateData\":\"c\",\"clientKeyData\":\"k\"}}", 0},
        {HEAD "{\"clientCertificateData\":\"c\"}}", -BERTH_ECONFIG},
        {HEAD "{}}", -BERTH_ECONFIG},
        {HEAD "{\"token\":\"a\\r\\nb\"}}", -BERTH_ECONFIG}, /* would be another header */
        {HEAD "{\"token\":\"a\\u0000b\"}}", -BERTH_ECONFIG},
        {HEAD "{\"token\":\"t\",\"expirationTimestamp\":\"soon\"}}", -BERTH_ECONFIG},
        {HEAD "{\"token\":\"t\",\"expirationTimestamp\":\"2030-01-01T00:00:00Z\"}}", 0},
        {"{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t\"}}", -BERTH_ECONFIG},
        {"[]", -BERTH_ECONFIG},
        {"", -BERTH_ECONFIG},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_kube_exec_result x;
        struct berth_arena a;
        struct berth_err e;
        berth_arena_init(&a, 1 << 20);
        assert_int_equal(berth_kube_exec_parse(&a, cases[i].text, strlen(cases[i].text),
                                               "client.authentication.k8s.io/v1", &x, &e),
                         cases[i].want);
        berth_arena_fini(&a);
    }
}

static void
times_are_read(void **unused)
{
    static const struct {
        const char *text;
        uint64_t want_s;
    } cases[] = {
        {"1970-01-01T00:00:10Z", 10},
        {"2026-11-21T15:46:19Z", 1795275979},
        {"2026-11-21T15:46:19.123456Z", 1795275979},
        {"2026-11-21T17:46:19+02:00", 1795275979},
        {"2026-11-21T14:16:19-01:30", 1795275979},
        {"2026-11-21T15:46:19", 0},
        {"2026-11-21 15:46:19Z", 0},
        {"2026-11-21T15:46:19ZZ", 0},
        {"2026-11-21T15:46:19+0200", 0},
        {"2026-11-2", 0},
        {"", 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        assert_true(berth_kube_time(berth_slice_of(cases[i].text)) == cases[i].want_s * BERTH_S);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_are_resolved),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(it_is_looked_for_as_kubectl_does),
        cmocka_unit_test(a_pod_has_its_service_account),
        cmocka_unit_test(programs_are_asked_until_what_they_said_expires),
        cmocka_unit_test(programs_that_fail_are_named),
        cmocka_unit_test(a_program_is_everybodys_and_no_ones_fate),
        cmocka_unit_test(answers_of_programs_are_checked),
        cmocka_unit_test(times_are_read),
    };

    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
