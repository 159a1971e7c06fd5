#include "net/client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/clock.h"

enum { REDIRECTS_MAX = 10, BODY_BYTES_MAX = 64 << 20, CONNECT_S = 10, SILENT_S = 60 };

struct berth_client {
    CURL *curl;
};

/* One call under way. */
struct transfer {
    CURL *curl;
    const struct berth_client_call *call;
    struct berth_client_answer *answer;
    uint64_t body_bytes_max, got;
    uint64_t range_total; /* of Content-Range; 0: none */
    bool stopped, too_big;
};

static void
init_once(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
berth_client_new(struct berth_client **ret, struct berth_err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct berth_client *c = calloc(1, sizeof *c);

    (void)pthread_once(&once, init_once);
    if (c != NULL)
        c->curl = curl_easy_init();
    if (c == NULL || c->curl == NULL) {
        free(c);
        return berth_err_set(e, BERTH_ENOMEM, "HTTP client: not enough memory");
    }
    *ret = c;
    return 0;
}

void
berth_client_free(struct berth_client *c)
{
    if (c == NULL)
        return;
    curl_easy_cleanup(c->curl);
    free(c);
}

/* ---- what comes back ---- */

static size_t
on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    const size_t n = size * count; /* size is 1 */
    long status = 0;

    if (n > t->body_bytes_max - t->got) {
        t->too_big = true;
        return 0;
    }
    t->got += n;
    if (t->call->body_part == NULL) {
        berth_buf_put(&t->answer->body, bytes, n);
        return t->answer->body.failed ? 0 : n;
    }
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (t->call->body_part(t->call->arg, (uint16_t)status, bytes, n))
        return n;
    t->stopped = true;
    return 0;
}

/* Is line "name: value"?  Then copy the value, cut to room. */
static bool
header_is(const char *line, size_t len, const char *name, char *room, size_t room_size)
{
    const size_t n = strlen(name);

    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
        return false;
    line += n + 1;
    len -= n + 1;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len > 0 && strchr("\r\n \t", line[len - 1]) != NULL)
        len--;
    if (len < room_size) {
        memcpy(room, line, len);
        room[len] = '\0';
    }
    return true;
}

static size_t
on_header(char *line, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    struct berth_client_answer *a = t->answer;
    const size_t len = size * count;
    char range[96] = "";

    if (len > 5 && strncmp(line, "HTTP/", 5) == 0) { /* a further answer, after a redirect */
        a->etag[0] = a->content_type[0] = '\0';      /* the linked one was on the redirect */
        t->range_total = 0;
    } else if (header_is(line, len, "content-range", range, sizeof range)) {
        const char *slash = strrchr(range, '/');
        t->range_total = slash != NULL ? strtoull(slash + 1, NULL, 10) : 0;
    } else {
        (void)(header_is(line, len, "etag", a->etag, sizeof a->etag) ||
               header_is(line, len, "x-linked-etag", a->linked_etag, sizeof a->linked_etag) ||
               header_is(line, len, "content-type", a->content_type, sizeof a->content_type));
    }
    return len;
}

static int
on_progress(void *arg, curl_off_t total, curl_off_t got, curl_off_t up_total, curl_off_t up)
{
    struct transfer *t = arg;

    (void)up_total;
    (void)up;
    if (t->call->go_on == NULL || t->call->go_on(t->call->arg, (uint64_t)got, (uint64_t)total))
        return 0;
    t->stopped = true;
    return 1;
}

/* ---- what is sent ---- */

static bool
append(struct curl_slist **list, const char *line)
{
    struct curl_slist *more = curl_slist_append(*list, line);

    if (more == NULL)
        return false;
    *list = more;
    return true;
}

static bool
headers_set(CURL *curl, const struct berth_client_call *call, struct curl_slist **ret)
{
    char line[200];
    bool ok = true;

    for (const char *const *h = call->headers; ok && h != NULL && *h != NULL; h++)
        ok = append(ret, *h);
    if (call->body != NULL)
        ok = ok && append(ret, "Expect:"); /* no waiting for 100 Continue */
    if (call->resume_at > 0 && call->if_range != NULL) {
        (void)snprintf(line, sizeof line, "If-Range: %s", call->if_range);
        ok = ok && append(ret, line);
    }
    return ok && (*ret == NULL || curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *ret) == CURLE_OK);
}

/* A proxy for the outer world is none for this machine. */
static bool
is_loopback(const char *url)
{
    static const char *const hosts[] = {"http://127.",  "http://localhost",  "http://[::1]",
                                        "https://127.", "https://localhost", "https://[::1]"};

    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++)
        if (strncasecmp(url, hosts[i], strlen(hosts[i])) == 0)
            return true;
    return false;
}

/* Where the usual systems keep their certificates: the library was built on one of them. */
static const char *
authorities(void)
{
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt",
                                         "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    const char *given = getenv("SSL_CERT_FILE");

    if (given != NULL && given[0] != '\0')
        return given;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return NULL;
}

static long
seconds(uint64_t ns, long dflt)
{
    return ns == 0 ? dflt : (long)((ns + BERTH_S - 1) / BERTH_S);
}

static bool
options_set(CURL *curl, const struct berth_client_call *call, struct transfer *t)
{
    char range[32];
    const char *ca = authorities();
    bool ok = true;

#define SET(option, value) (ok = ok && curl_easy_setopt(curl, (option), (value)) == CURLE_OK)
    SET(CURLOPT_URL, call->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, call->body == NULL ? 1L : 0L);
    SET(CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "berth/" BERTH_VERSION);
    SET(CURLOPT_CONNECTTIMEOUT_MS, seconds(call->connect_ns_max, CONNECT_S) * 1000);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, seconds(call->silent_ns_max, SILENT_S));
    if (call->total_ns_max > 0)
        SET(CURLOPT_TIMEOUT_MS, (long)(call->total_ns_max / BERTH_MS));
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, t);
    SET(CURLOPT_NOPROGRESS, 0L);
    if (is_loopback(call->url))
        SET(CURLOPT_NOPROXY, "*");
    if (ca != NULL)
        SET(CURLOPT_CAINFO, ca);
    if (call->bearer != NULL) { /* curl keeps it from other hosts */
        SET(CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        SET(CURLOPT_XOAUTH2_BEARER, call->bearer);
    }
    if (call->body != NULL) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
        SET(CURLOPT_POSTFIELDS, call->body);
    }
    if (call->method != NULL && strcmp(call->method, "HEAD") == 0)
        SET(CURLOPT_NOBODY, 1L);
    else if (call->method != NULL)
        SET(CURLOPT_CUSTOMREQUEST, call->method);
    if (call->resume_at > 0) {
        (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)call->resume_at);
        SET(CURLOPT_RANGE, range);
    }
#undef SET
    return ok;
}

/* ---- the call ---- */

static int
failed(const struct transfer *t, CURLcode code, const char *detail, struct berth_err *e)
{
    const char *url = t->call->url;
    const char *host = strstr(url, "://");
    const int len = host != NULL ? (int)(host + 3 - url + (ptrdiff_t)strcspn(host + 3, "/?#")) : 40;
    const char *why = detail[0] != '\0' ? detail : curl_easy_strerror(code);
    enum berth_code is = BERTH_ENETWORK;

    if (t->stopped)
        return berth_err_set(e, BERTH_ECANCELED, "stopped");
    if (t->too_big)
        return berth_err_set(e, BERTH_ETOOBIG, "%.*s: the answer is larger than %llu bytes", len,
                             url, (unsigned long long)t->body_bytes_max);
    if (code == CURLE_OPERATION_TIMEDOUT)
        is = BERTH_EDEADLINE;
    if (code == CURLE_OUT_OF_MEMORY || t->answer->body.failed)
        is = BERTH_ENOMEM;
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT)
        is = BERTH_EINVAL;
    return berth_err_set(e, is, "%.*s: %s", len, url, why);
}

static void
answer_fill(struct transfer *t)
{
    struct berth_client_answer *a = t->answer;
    long status = 0;
    curl_off_t length = -1;

    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    a->status = (uint16_t)status;
    a->partial = status == 206;
    a->content_length = length >= 0 ? (uint64_t)length : UINT64_MAX;
    if (a->partial && t->range_total > 0)
        a->content_length = t->range_total;
}

int
berth_client_call(struct berth_client *c, const struct berth_client_call *call,
                  struct berth_client_answer *ret, struct berth_err *e)
{
    struct berth_client_answer answer = {.content_length = UINT64_MAX};
    struct transfer t = {.curl = c->curl, .call = call, .answer = &answer};
    struct curl_slist *headers = NULL;
    char detail[CURL_ERROR_SIZE] = "";
    CURLcode code = CURLE_OUT_OF_MEMORY;

    berth_buf_init(&answer.body, NULL);
    t.body_bytes_max = call->body_bytes_max > 0 ? call->body_bytes_max : BODY_BYTES_MAX;
    curl_easy_reset(c->curl); /* options go, the connection stays */
    (void)curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, detail);
    if (options_set(c->curl, call, &t) && headers_set(c->curl, call, &headers))
        code = curl_easy_perform(c->curl);
    curl_slist_free_all(headers);
    answer_fill(&t);
    (void)curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK || (call->body_part == NULL && berth_buf_text(&answer.body) == NULL)) {
        berth_buf_fini(&answer.body);
        return failed(&t, code, detail, e);
    }
    *ret = answer;
    return 0;
}
