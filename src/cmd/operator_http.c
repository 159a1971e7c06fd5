#include "cmd/operator_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/gauges.h"
#include "net/certificate.h"
#include "net/digest.h"
#include "net/server.h"
#include "obs/metrics.h"
#include "os/loop.h"

enum { HEALTH = 1, METRICS = 2, CONNECTIONS_MAX = 32, ANSWER_MAX = 1 << 20, HOST_MAX = 256 };

/* What is rendered as it is when somebody asks. */
enum shown {
    LEADS,
    SYNCED,
    SERVICES,
    READY,
    UNREADY,
    UNKNOWN,
    WAITING,
    LOOKS_DONE,
    LOOKS_FAILED,
    APPLIES,
    DELETES,
    STATUS_WRITES,
    EVENTS_SENT,
    EVENTS_FAILED,
    EVENTS_DROPPED,
    API_CALLS,
    API_RETRIES,
    SHOWN_COUNT
};
static const struct {
    enum berth_family family;
    const char *label;
} shown[SHOWN_COUNT] = {
    [LEADS] = {BERTH_METRIC_MSVC_LEADER, NULL},
    [SYNCED] = {BERTH_METRIC_MSVC_SYNCED, NULL},
    [SERVICES] = {BERTH_METRIC_MSVC_SERVICES, NULL},
    [READY] = {BERTH_METRIC_MSVC_READY, "true"},
    [UNREADY] = {BERTH_METRIC_MSVC_READY, "false"},
    [UNKNOWN] = {BERTH_METRIC_MSVC_READY, "unknown"},
    [WAITING] = {BERTH_METRIC_MSVC_WAITING, NULL},
    [LOOKS_DONE] = {BERTH_METRIC_MSVC_RECONCILES, "done"},
    [LOOKS_FAILED] = {BERTH_METRIC_MSVC_RECONCILES, "failed"},
    [APPLIES] = {BERTH_METRIC_MSVC_WRITES, "apply"},
    [DELETES] = {BERTH_METRIC_MSVC_WRITES, "delete"},
    [STATUS_WRITES] = {BERTH_METRIC_MSVC_WRITES, "status"},
    [EVENTS_SENT] = {BERTH_METRIC_MSVC_EVENTS, "sent"},
    [EVENTS_FAILED] = {BERTH_METRIC_MSVC_EVENTS, "failed"},
    [EVENTS_DROPPED] = {BERTH_METRIC_MSVC_EVENTS, "dropped"},
    [API_CALLS] = {BERTH_METRIC_MSVC_API_CALLS, NULL},
    [API_RETRIES] = {BERTH_METRIC_MSVC_API_RETRIES, NULL},
};

struct berth_operator_http {
    struct berth_operator_http_conf conf;
    struct berth_loop *loop;
    /* Of each address its own, so that who takes all connections for numbers leaves probes theirs.
     */
    struct berth_server *health, *metrics;
    struct berth_gauges gauges;
    uint64_t looked_ns;   /* at the certificate's files */
    struct stat files[2]; /* as they were when they were loaded */
    bool renewal_failed;  /* told once */
    struct berth_series *series[SHOWN_COUNT];
};

static void
read_state(void *arg)
{
    struct berth_operator_http *h = arg;
    struct berth_operator_state s;

    h->conf.read(h->conf.arg, &s);
    const struct berth_msvc_controller_stats *m = &s.stats;
    berth_series_set(h->series[LEADS], s.leads);
    berth_series_set(h->series[SYNCED], m->synced);
    berth_series_set(h->series[SERVICES], (double)m->services);
    berth_series_set(h->series[READY], (double)m->ready);
    berth_series_set(h->series[UNREADY], (double)m->unready);
    /* What came or went while it was counted is in one of the numbers alone. */
    const uint64_t say = m->ready + m->unready;
    berth_series_set(h->series[UNKNOWN], m->services > say ? (double)(m->services - say) : 0);
    berth_series_set(h->series[WAITING], m->waiting);
    berth_series_set_count(h->series[LOOKS_DONE], m->done);
    berth_series_set_count(h->series[LOOKS_FAILED], m->failed);
    berth_series_set_count(h->series[APPLIES], m->applies);
    berth_series_set_count(h->series[DELETES], m->deletes);
    berth_series_set_count(h->series[STATUS_WRITES], m->status_writes);
    berth_series_set_count(h->series[EVENTS_SENT], m->events_sent);
    berth_series_set_count(h->series[EVENTS_FAILED], m->events_failed);
    berth_series_set_count(h->series[EVENTS_DROPPED], m->events_dropped);
    berth_series_set_count(h->series[API_CALLS], s.api_calls);
    berth_series_set_count(h->series[API_RETRIES], s.api_retries);
}

/* ---- answers ---- */

static void
reply(struct berth_exchange *x, uint16_t status, const char *text)
{
    berth_exchange_reply(x, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* Does the request show the token?  Sums are compared, so that its length is not told either. */
static bool
shows_token(const struct berth_exchange *x, const char *token)
{
    static const char scheme[] = "Bearer ";
    const struct berth_slice *given = berth_exchange_header(x, "authorization");
    char theirs[BERTH_DIGEST_HEX], ours[BERTH_DIGEST_HEX];

    if (given == NULL || given->len < sizeof scheme - 1 ||
        strncasecmp(given->at, scheme, sizeof scheme - 1) != 0)
        return false;
    berth_digest_of(given->at + sizeof scheme - 1, given->len - (sizeof scheme - 1), theirs);
    berth_digest_of(token, strlen(token), ours);
    return berth_digest_equal(theirs, ours, sizeof ours);
}

/* Is it to be shown to whoever asks?  Else that is answered. */
static bool
may_see(struct berth_operator_http *h, struct berth_exchange *x)
{
    char token[BERTH_BEARER_MAX];

    if (h->conf.token_path == NULL)
        return true;
    /* A line of a file in memory (a Secret's volume): no wait that would matter here. */
    if (berth_bearer_read(h->conf.token_path, token, NULL) < 0) {
        reply(x, 503, "the file of --metrics-token-file cannot be read\n");
        return false;
    }
    if (shows_token(x, token))
        return true;
    berth_exchange_add(x, "WWW-Authenticate", "Bearer");
    reply(x, 401, "Authorization: Bearer TOKEN, with the one of --metrics-token-file\n");
    return false;
}

static void
show_metrics(struct berth_operator_http *h, struct berth_exchange *x)
{
    struct berth_buf b;

    berth_buf_init(&b, &x->arena);
    berth_metrics_render(h->conf.numbers, &b);
    if (b.failed)
        reply(x, 503, "out of memory\n");
    else
        berth_exchange_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", b.at, b.len);
}

/* ---- the certificate, which somebody renews while we run ---- */

static bool
is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct berth_tls_conf
tls_of(const struct berth_operator_http *h)
{
    return (struct berth_tls_conf){.cert_path = h->conf.cert_path, .key_path = h->conf.key_path};
}

/* Every ten seconds, when somebody asks for anything: probes do, so that a certificate has been
 * renewed long before who scrapes would refuse the old one.  Of two files that do not fit each
 * other yet nothing is taken. */
static void
renew_certificate(struct berth_operator_http *h)
{
    static const uint64_t every_ns = 10 * BERTH_S;
    const struct berth_tls_conf tls = tls_of(h);
    const uint64_t now_ns = berth_now_ns();
    struct berth_err e = {""};
    struct stat now[2];

    if (tls.cert_path == NULL || now_ns - h->looked_ns < every_ns)
        return;
    h->looked_ns = now_ns;
    if (stat(tls.cert_path, &now[0]) != 0 || stat(tls.key_path, &now[1]) != 0 ||
        !S_ISREG(now[0].st_mode) || !S_ISREG(now[1].st_mode) || /* a pipe would hold up the loop */
        (is_same_file(&now[0], &h->files[0]) && is_same_file(&now[1], &h->files[1])))
        return;
    if (berth_server_renew_tls(h->metrics, METRICS, &tls, &e) < 0) {
        if (!h->renewal_failed)
            berth_warn("operator: the certificate of /metrics stays the old one: %s", e.msg);
        h->renewal_failed = true;
        return;
    }
    berth_info("operator: /metrics has a new certificate");
    memcpy(h->files, now, sizeof now);
    h->renewal_failed = false;
}

static void
handle(void *arg, struct berth_exchange *x)
{
    struct berth_operator_http *h = arg;
    struct berth_operator_state s;

    renew_certificate(h);
    if (!berth_slice_is(x->method, "GET")) {
        reply(x, 405, "GET only\n");
    } else if ((x->listener_tag & HEALTH) != 0 && berth_slice_is(x->path, "/healthz")) {
        reply(x, 200, "ok\n");
    } else if ((x->listener_tag & HEALTH) != 0 && berth_slice_is(x->path, "/readyz")) {
        h->conf.read(h->conf.arg, &s);
        reply(x, s.ready ? 200 : 503,
              !s.ready  ? "not all that is watched is known yet\n"
              : s.leads ? "ok\n"
                        : "ok: another one leads\n");
    } else if ((x->listener_tag & METRICS) != 0 && berth_slice_is(x->path, "/metrics")) {
        if (may_see(h, x))
            show_metrics(h, x);
    } else {
        reply(x, 404, "/healthz, /readyz or /metrics, where they are served\n");
    }
}

static void
begin(void *arg, struct berth_exchange *x)
{
    (void)arg;
    x->body_max = 0;
}

static void
refuse(void *arg, struct berth_exchange *x, uint16_t status, const char *why)
{
    (void)arg;
    reply(x, status, why);
}

/* ---- begin and end ---- */

bool
berth_operator_http_is_off(const char *address)
{
    return address == NULL || address[0] == '\0' || strcmp(address, "0") == 0;
}

/* Two of port 0 are two. */
bool
berth_operator_http_is_one(const char *health, const char *metrics)
{
    const char *port = health != NULL ? strrchr(health, ':') : NULL;

    return !berth_operator_http_is_off(health) && !berth_operator_http_is_off(metrics) &&
           strcmp(health, metrics) == 0 && (port == NULL || strcmp(port, ":0") != 0);
}

/* "HOST:PORT", "[::1]:PORT" or ":PORT". */
static int
parse_address(const char *text, char host[HOST_MAX], uint16_t *ret_port, struct berth_err *e)
{
    const char *colon = strrchr(text, ':');
    const char *at = text, *end = colon;
    unsigned port = 0;
    char more;

    if (colon == NULL || strlen(colon) > 6 || colon[1] < '0' || colon[1] > '9' ||
        sscanf(colon + 1, "%5u%c", &port, &more) != 1 || /* NOLINT(cert-err34-c): bounded */
        port > UINT16_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s is no address such as :8081 or 127.0.0.1:8081 (0: none)", text);
    if (at[0] == '[' && end > at && end[-1] == ']') {
        at++;
        end--;
    }
    if (end - at >= HOST_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%.64s...: the name is too long", text);
    (void)snprintf(host, HOST_MAX, "%.*s", (int)(end - at), at);
    *ret_port = (uint16_t)port;
    return 0;
}

int
berth_operator_http_check(const char *address, struct berth_err *e)
{
    char host[HOST_MAX];
    uint16_t port;

    return berth_operator_http_is_off(address) ? 0 : parse_address(address, host, &port, e);
}

static int
new_server(struct berth_operator_http *h, struct berth_server **ret, struct berth_err *e)
{
    const struct berth_server_conf conf = {.loops = &h->loop,
                                           .loop_count = 1,
                                           .connections_max = CONNECTIONS_MAX,
                                           .head_bytes_max = 16 << 10,
                                           .header_count_max = 64,
                                           .exchange_bytes_max = ANSWER_MAX,
                                           .unsent_bytes_max = ANSWER_MAX,
                                           .streams_max = 8,
                                           .head_timeout_ns = 5 * BERTH_S,
                                           .body_timeout_ns = 5 * BERTH_S,
                                           .receive_timeout_ns = 5 * BERTH_S,
                                           .idle_timeout_ns = 5 * BERTH_S,
                                           .write_timeout_ns = 5 * BERTH_S};
    const struct berth_server_app app = {
        .arg = h, .begin = begin, .handle = handle, .refuse = refuse};

    return berth_server_new(&conf, &app, ret, e);
}

static int
listen_at(struct berth_operator_http *h, struct berth_server *server, const char *address,
          uint32_t tag, const char *what, struct berth_err *e)
{
    char host[HOST_MAX];
    struct berth_listen_conf conf = {.host = host, .tag = tag};
    const bool tls = tag == METRICS && h->conf.cert_path != NULL;
    uint16_t port = 0;
    int r = parse_address(address, host, &conf.port, e);

    if (r < 0)
        return r;
    if (tls) {
        conf.tls = tls_of(h);
        conf.plain_refused = true;
    }
    if (host[0] == '\0') { /* all there are; where there is no IPv6, those of IPv4 */
        conf.host = "::";
        if (berth_server_listen(server, &conf, &port, NULL) == 0)
            r = 1;
        conf.host = "0.0.0.0";
    }
    if (r == 0)
        r = berth_server_listen(server, &conf, &port, e);
    if (r < 0)
        return r;
    berth_info("operator: %s at %s:%u, %s", what, host[0] != '\0' ? host : "*", port,
               tls ? "HTTPS" : "plain HTTP");
    return 0;
}

static void
show(struct berth_operator_http *h)
{
    for (int i = 0; i < SHOWN_COUNT; i++)
        h->series[i] = berth_metrics_series(h->conf.numbers, shown[i].family,
                                            (const char *const[]){shown[i].label, NULL});
    berth_gauges_add(&h->gauges, h->conf.numbers, h->metrics);
    berth_metrics_on_render(h->conf.numbers, read_state, h);
}

static int
serve(struct berth_operator_http *h, struct berth_err *e)
{
    const struct berth_operator_http_conf *c = &h->conf;
    const bool has_health = !berth_operator_http_is_off(c->health),
               has_metrics = !berth_operator_http_is_off(c->metrics);
    const bool is_one = berth_operator_http_is_one(c->health, c->metrics);
    int r = 0;

    if (has_health)
        r = new_server(h, &h->health, e);
    if (r == 0 && has_metrics)
        r = new_server(h, &h->metrics, e);
    if (r < 0)
        return r;
    if (has_metrics)
        show(h);
    if (c->cert_path != NULL) { /* before they are read: what comes later is seen as new */
        (void)stat(c->cert_path, &h->files[0]);
        (void)stat(c->key_path, &h->files[1]);
    }
    if (is_one)
        return listen_at(h, h->health, c->health, HEALTH | METRICS,
                         "/healthz, /readyz and /metrics", e);
    if (has_health &&
        (r = listen_at(h, h->health, c->health, HEALTH, "/healthz and /readyz", e)) < 0)
        return berth_err_wrap(e, r, "--health-probe-bind-address");
    if (has_metrics && (r = listen_at(h, h->metrics, c->metrics, METRICS, "/metrics", e)) < 0)
        return berth_err_wrap(e, r, "--metrics-bind-address");
    return 0;
}

int
berth_operator_http_start(const struct berth_operator_http_conf *conf,
                          struct berth_operator_http **ret, struct berth_err *e)
{
    *ret = NULL;
    if (berth_operator_http_is_off(conf->health) && berth_operator_http_is_off(conf->metrics))
        return 0;
    struct berth_operator_http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    h->conf = *conf;
    char token[BERTH_BEARER_MAX];
    int r = 0;
    if (conf->token_path != NULL && (r = berth_bearer_read(conf->token_path, token, e)) < 0)
        r = berth_err_wrap(e, r, "--metrics-token-file");
    if (r == 0)
        r = berth_loop_new("http", &h->loop, e);
    if (r == 0)
        r = serve(h, e);
    if (r < 0)
        berth_operator_http_stop(h);
    else
        *ret = h;
    return r;
}

void
berth_operator_http_stop(struct berth_operator_http *h)
{
    if (h == NULL)
        return;
    berth_server_free(h->metrics);
    berth_server_free(h->health);
    berth_loop_free(h->loop);
    free(h);
}
