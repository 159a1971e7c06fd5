#include "shimlets/docker/engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/num.h"
#include "net/client.h"
#include "wire/json.h"

enum {
    CLIENTS_KEPT = 4,
    ANSWER_BYTES_MAX = 64 * 1024 * 1024,
    ERROR_BYTES_MAX = 64 * 1024,
    /* What we were written for: asked for when the daemon has it, or else the nearest it has. */
    API_MINOR_OURS = 41,
    API_MINOR_LEAST = 24,
};

struct berth_docker_engine {
    const struct berth_shimlet_host *h;
    char *host;      /* as it was given, for messages */
    char *base;      /* "http://docker", "http://10.0.0.5:2375" */
    char *unix_path; /* NULL: over TCP */
    char *name;      /* of the machine in the URL */
    char *ca, *cert, *key;
    pthread_mutex_t mu;
    struct berth_client *kept[CLIENTS_KEPT]; /* under mu */
    size_t kept_count;
    uint32_t minor; /* under mu; of the version that is spoken, 1.x; 0: not agreed yet */
};

/* ---- the address ---- */

static bool
set_unix(struct berth_docker_engine *g, const char *path)
{
    g->unix_path = strdup(path);
    g->base = strdup("http://docker");
    g->name = strdup("127.0.0.1");
    return g->unix_path != NULL && g->base != NULL && g->name != NULL;
}

static bool
set_tcp(struct berth_docker_engine *g, const char *scheme, const char *rest)
{
    const size_t len = strcspn(rest, "/");
    const char *end = memchr(rest, ':', len);
    size_t name_len = end != NULL ? (size_t)(end - rest) : len;

    if (rest[0] == '[') /* an IPv6 address has colons itself */
        name_len = strcspn(rest, "]") + 1 <= len ? strcspn(rest, "]") + 1 : len;
    g->name = strndup(rest, name_len);
    if (asprintf(&g->base, "%s://%.*s", scheme, (int)len, rest) < 0)
        g->base = NULL;
    return g->base != NULL && g->name != NULL;
}

static bool
set_files(struct berth_docker_engine *g, const char *dir)
{
    if (asprintf(&g->ca, "%s/ca.pem", dir) < 0)
        g->ca = NULL;
    if (asprintf(&g->cert, "%s/cert.pem", dir) < 0)
        g->cert = NULL;
    if (asprintf(&g->key, "%s/key.pem", dir) < 0)
        g->key = NULL;
    return g->ca != NULL && g->cert != NULL && g->key != NULL;
}

int
berth_docker_engine_new(const struct berth_shimlet_host *h, const char *host, const char *cert_dir,
                        struct berth_docker_engine **ret, struct berth_err *e)
{
    struct berth_docker_engine *g = calloc(1, sizeof *g);
    bool ok;

    if (g == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    (void)pthread_mutex_init(&g->mu, NULL);
    g->h = h;
    g->host = strdup(host);
    ok = g->host != NULL;
    if (strncmp(host, "unix://", 7) == 0 && host[7] == '/')
        ok = ok && set_unix(g, host + 7);
    else if (host[0] == '/')
        ok = ok && set_unix(g, host);
    else if (strncmp(host, "tcp://", 6) == 0 && host[6] != '\0' && host[6] != '/')
        ok = ok && set_tcp(g, cert_dir != NULL ? "https" : "http", host + 6);
    else if (strncmp(host, "https://", 8) == 0 && host[8] != '\0' && host[8] != '/')
        ok = ok && set_tcp(g, "https", host + 8);
    else {
        berth_docker_engine_free(g);
        return berth_err_set(e, BERTH_EINVAL,
                             "docker: host %.200s is not unix:///PATH, tcp://HOST:PORT or "
                             "https://HOST:PORT",
                             host);
    }
    if (ok && cert_dir != NULL && g->unix_path == NULL)
        ok = set_files(g, cert_dir);
    if (!ok) {
        berth_docker_engine_free(g);
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    }
    *ret = g;
    return 0;
}

void
berth_docker_engine_free(struct berth_docker_engine *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->kept_count; i++)
        berth_client_free(g->kept[i]);
    (void)pthread_mutex_destroy(&g->mu);
    free(g->host);
    free(g->base);
    free(g->unix_path);
    free(g->name);
    free(g->ca);
    free(g->cert);
    free(g->key);
    free(g);
}

bool
berth_docker_engine_local(const struct berth_docker_engine *g)
{
    return g->unix_path != NULL;
}

const char *
berth_docker_engine_host(const struct berth_docker_engine *g)
{
    return g->name;
}

/* ---- clients ---- */

static int
client_take(struct berth_docker_engine *g, struct berth_client **ret, struct berth_err *e)
{
    struct berth_client *c = NULL;

    (void)pthread_mutex_lock(&g->mu);
    if (g->kept_count > 0)
        c = g->kept[--g->kept_count];
    (void)pthread_mutex_unlock(&g->mu);
    if (c == NULL)
        return berth_client_new(ret, e);
    *ret = c;
    return 0;
}

/* whole: its last answer was read to the end, so that the connection can be used again. */
static void
client_give(struct berth_docker_engine *g, struct berth_client *c, bool whole)
{
    (void)pthread_mutex_lock(&g->mu);
    if (whole && g->kept_count < CLIENTS_KEPT) {
        g->kept[g->kept_count++] = c;
        c = NULL;
    }
    (void)pthread_mutex_unlock(&g->mu);
    berth_client_free(c);
}

/* ---- one exchange ---- */

struct exchange {
    struct berth_docker_engine *g;
    const struct berth_docker_ask *ask;
    struct berth_buf body;
    bool refused; /* part() said stop */
};

static bool
on_part(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct exchange *x = arg;

    if (status >= 200 && status < 300 && x->ask->part != NULL) {
        x->refused = !x->ask->part(x->ask->arg, bytes, len);
        return !x->refused;
    }
    if (status >= 300 && len > ERROR_BYTES_MAX - x->body.len)
        len = ERROR_BYTES_MAX - x->body.len; /* a message's beginning says enough */
    berth_buf_put(&x->body, bytes, len);
    return !x->body.failed;
}

static bool
on_wait(void *arg, uint64_t got, uint64_t total)
{
    const struct exchange *x = arg;

    (void)got;
    (void)total;
    return x->ask->op == NULL || !x->g->h->cancelled(x->ask->op);
}

/* Why a local daemon is not reached: curl says "couldn't connect" to all of it. */
static int
socket_fault(const struct berth_docker_engine *g, int r, struct berth_err *e)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    BERTH_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (g->unix_path == NULL || fd < 0 || strlen(g->unix_path) >= sizeof to.sun_path)
        return berth_err_wrap(e, r, "docker %s", g->host);
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", g->unix_path);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return berth_err_wrap(e, r, "docker %s", g->host);
    if (errno == EACCES || errno == EPERM)
        return berth_err_set(e, BERTH_EPERM,
                             "docker: no permission for %s: add this user to the socket's group "
                             "(usermod -aG docker USER, then log in again) or run as root",
                             g->unix_path);
    if (errno == ENOENT)
        return berth_err_set(e, BERTH_ENETWORK,
                             "docker: there is no %s: start the daemon (systemctl start docker), "
                             "or set the shimlet's \"host\" to its socket",
                             g->unix_path);
    if (errno == ECONNREFUSED)
        return berth_err_set(e, BERTH_ENETWORK,
                             "docker: no daemon listens on %s: start it (systemctl start docker)",
                             g->unix_path);
    return berth_err_wrap(e, r, "docker %s", g->host);
}

/* The daemon's answer to a call that failed: {"message": "..."}. */
static int
answer_fault(uint16_t status, const struct berth_buf *body, struct berth_err *e)
{
    struct berth_arena a;
    const struct berth_json *root = NULL;
    struct berth_slice said = {"", 0};
    enum berth_code code = BERTH_EIO;

    berth_arena_init(&a, 4 * (size_t)ERROR_BYTES_MAX);
    if (body->len == 0 || berth_json_parse(&a, body->at, body->len, NULL, &root, NULL) < 0 ||
        !berth_json_string(berth_json_get(root, "message"), &said))
        said = (struct berth_slice){body->at, body->len < 300 ? body->len : 300};
    if (status == 400)
        code = BERTH_EINVAL;
    else if (status == 401 || status == 403)
        code = BERTH_EPERM;
    else if (status == 404)
        code = BERTH_ENOENT;
    else if (status == 409)
        code = BERTH_EEXIST;
    const int r = berth_err_set(e, code, "docker: %.*s (HTTP %u)", (int)said.len,
                                said.at != NULL ? said.at : "", status);
    berth_arena_fini(&a);
    return r;
}

static int
exchange(struct exchange *x, const char *url, uint16_t *ret_status, struct berth_err *e)
{
    struct berth_docker_engine *g = x->g;
    const struct berth_docker_ask *ask = x->ask;
    const char *headers[] = {ask->body != NULL ? "Content-Type: application/json" : ask->header,
                             ask->body != NULL ? ask->header : NULL, NULL};
    const struct berth_client_tls tls = {
        .ca_file = g->ca, .cert_file = g->cert, .key_file = g->key};
    struct berth_client_answer answer;
    struct berth_client *c = ask->client;
    const struct berth_client_call call = {
        .method = ask->method,
        .url = url,
        .headers = headers,
        .body = ask->body,
        .body_len = ask->body_len,
        .silent_ns_max = ask->silent_ns_max,
        .body_bytes_max = ask->part != NULL ? INT64_MAX : ANSWER_BYTES_MAX,
        .unix_path = g->unix_path,
        .tls = g->ca != NULL ? &tls : NULL,
        .proxy = "",
        .body_part = on_part,
        .go_on = ask->op != NULL ? on_wait : NULL,
        .arg = x,
    };
    int r = c != NULL ? 0 : client_take(g, &c, e);

    if (r < 0)
        return r;
    r = berth_client_call(c, &call, &answer, e);
    if (ask->client == NULL)
        client_give(g, c, r == 0);
    if (r == 0) {
        *ret_status = answer.status;
        berth_buf_fini(&answer.body);
    }
    return r == -BERTH_ENETWORK ? socket_fault(g, r, e) : r;
}

/* ---- the version ---- */

/* "1.41" -> 41; 0: not understood. */
static uint32_t
minor_of(const struct berth_json *v)
{
    struct berth_slice s;
    int64_t n;

    if (!berth_json_string(v, &s) || s.len < 3 || memcmp(s.at, "1.", 2) != 0 ||
        !berth_int_parse(s.at + 2, s.len - 2, 0, 9999, &n))
        return 0;
    return (uint32_t)n;
}

static int
agree(struct berth_docker_engine *g, const struct berth_docker_ask *from, uint32_t *ret,
      struct berth_err *e)
{
    const struct berth_docker_ask ask = {.op = from->op, .client = from->client};
    struct exchange x = {.g = g, .ask = &ask};
    const struct berth_json *root = NULL;
    struct berth_arena a;
    uint16_t status = 0;
    char url[512];

    (void)snprintf(url, sizeof url, "%s/version", g->base);
    berth_buf_init(&x.body, NULL);
    int r = exchange(&x, url, &status, e);
    if (r == 0 && status != 200)
        r = answer_fault(status, &x.body, e);
    berth_arena_init(&a, 1024 * 1024);
    if (r == 0 && (berth_json_parse(&a, x.body.at, x.body.len, NULL, &root, NULL) < 0 ||
                   minor_of(berth_json_get(root, "ApiVersion")) == 0))
        r = berth_err_set(e, BERTH_EUNSUPPORTED, "docker %s: does not speak the Engine API",
                          g->host);
    const uint32_t most = minor_of(berth_json_get(root, "ApiVersion"));
    const uint32_t least = minor_of(berth_json_get(root, "MinAPIVersion"));
    berth_arena_fini(&a);
    berth_buf_fini(&x.body);
    if (r == 0 && most < API_MINOR_LEAST)
        r = berth_err_set(
            e, BERTH_EUNSUPPORTED,
            "docker %s: speaks API 1.%u at most; 1.%d is needed (Docker 1.12 or newer)", g->host,
            most, API_MINOR_LEAST);
    if (r < 0)
        return r;
    *ret = most < API_MINOR_OURS ? most : least > API_MINOR_OURS ? least : API_MINOR_OURS;
    (void)pthread_mutex_lock(&g->mu);
    g->minor = *ret;
    (void)pthread_mutex_unlock(&g->mu);
    return 0;
}

bool
berth_docker_engine_is_at_least(struct berth_docker_engine *g, uint32_t minor)
{
    (void)pthread_mutex_lock(&g->mu);
    const bool is = g->minor >= minor;
    (void)pthread_mutex_unlock(&g->mu);
    return is;
}

/* ---- asking ---- */

static int
take_json(struct exchange *x, struct berth_arena *a, const struct berth_json **ret,
          struct berth_err *e)
{
    *ret = NULL;
    if (x->body.len == 0)
        return 0;
    const int r = berth_json_parse(a, x->body.at, x->body.len, NULL, ret, e);
    if (r == -BERTH_ENOMEM)
        return berth_err_wrap(e, r, "docker: %s", x->ask->path);
    return r < 0 ? berth_err_set(e, BERTH_EIO, "docker: %.100s: answered what is no JSON",
                                 x->ask->path)
                 : 0;
}

int
berth_docker_ask(struct berth_docker_engine *g, const struct berth_docker_ask *ask,
                 struct berth_arena *a, const struct berth_json **ret, struct berth_err *e)
{
    struct exchange x = {.g = g, .ask = ask};
    BERTH_AUTO_FREE char *url = NULL;
    uint16_t status = 0;

    (void)pthread_mutex_lock(&g->mu);
    uint32_t minor = g->minor;
    (void)pthread_mutex_unlock(&g->mu);
    int r = minor == 0 ? agree(g, ask, &minor, e) : 0;
    if (r < 0)
        return r;
    if (asprintf(&url, "%s/v1.%u%s", g->base, minor, ask->path) < 0) {
        url = NULL;
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    }
    berth_buf_init(&x.body, NULL);
    r = exchange(&x, url, &status, e);
    if (r == 0 && (status < 200 || status >= 300) && status != 304)
        r = answer_fault(status, &x.body, e);
    else if (r == 0 && ret != NULL)
        r = take_json(&x, a, ret, e);
    berth_buf_fini(&x.body);
    if (r == -BERTH_ENETWORK) { /* perhaps another daemon comes back */
        (void)pthread_mutex_lock(&g->mu);
        g->minor = 0;
        (void)pthread_mutex_unlock(&g->mu);
    }
    return r;
}
