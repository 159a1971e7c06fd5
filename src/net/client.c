#include "net/client.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/num.h"
#include "net/client_priv.h"
#include "net/curl_priv.h"

enum {
    REDIRECTS_MAX = 8,
    POLL_MS = 100,       /* how often go_on() is asked while nothing comes */
    POLL_MS_MAX = 60000, /* how long one wait may be when nobody is to be asked */
    KEEPALIVE_S = 30, /* a peer that went away without a word is noticed by the kernel's probes */
    RECEIVE_BYTES = 256 * 1024,
};

struct berth_client {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *connect_to; /* of the transfer that runs */
    atomic_bool stopped;
    char curl_text[CURL_ERROR_SIZE];
};

/* One request of a call and its answer; a redirect makes another. */
struct exchange {
    CURL *easy;
    const struct berth_client_call *call;
    struct berth_client_answer *answer;
    uint64_t body_bytes_max;
    uint64_t got, range_begin;
    uint64_t activity_ns;
    uint64_t sent;           /* of a file */
    bool headed, redirected; /* redirected: it has a Location that will be followed */
    int stop;                /* a code of ours, why the transfer was stopped from a callback */
    char host[BERTH_CLIENT_HOST_TEXT];
};

int
berth_client_new(struct berth_client **ret, struct berth_err *e)
{
    struct berth_client *c = calloc(1, sizeof *c);

    berth_curl_once();
    if (c != NULL) {
        c->multi = curl_multi_init();
        c->easy = curl_easy_init();
    }
    if (c == NULL || c->multi == NULL || c->easy == NULL) {
        berth_client_free(c);
        return berth_err_set(e, BERTH_ENOMEM, "HTTP client: out of memory");
    }
    *ret = c;
    return 0;
}

void
berth_client_stop(struct berth_client *c)
{
    atomic_store(&c->stopped, true);
    (void)curl_multi_wakeup(c->multi);
}

void
berth_client_free(struct berth_client *c)
{
    if (c == NULL)
        return;
    curl_easy_cleanup(c->easy);
    (void)curl_multi_cleanup(c->multi);
    free(c);
}

/* ---- what curl tells us ---- */

static void
keep_text(struct berth_slice value, char *out, size_t cap)
{
    const size_t n = value.len < cap ? value.len : cap - 1;

    memcpy(out, value.at, n);
    out[n] = '\0';
}

static bool
parse_u64(const char *at, size_t len, uint64_t *ret)
{
    int64_t v;

    if (!berth_int_parse(at, len, 0, INT64_MAX, &v))
        return false;
    *ret = (uint64_t)v;
    return true;
}

/* "bytes 100-199/1000", "bytes 100-199" + "/" + "*", or with status 416 "bytes * /1000". */
static void
keep_range(struct exchange *x, struct berth_slice value)
{
    const char *at = value.at, *end = value.at + value.len;

    if (value.len < 6 || strncasecmp(at, "bytes ", 6) != 0)
        return;
    at += 6;
    const char *slash = memchr(at, '/', (size_t)(end - at));
    const char *dash = memchr(at, '-', (size_t)(end - at));
    if (slash == NULL)
        return;
    (void)parse_u64(slash + 1, (size_t)(end - slash - 1), &x->answer->content_length);
    if (dash != NULL && dash < slash)
        (void)parse_u64(at, (size_t)(dash - at), &x->range_begin);
}

static void
keep_header(struct exchange *x, struct berth_slice name, struct berth_slice value)
{
    struct berth_client_answer *a = x->answer;

    if (berth_slice_is_nocase(name, "etag"))
        keep_text(value, a->etag, sizeof a->etag);
    else if (berth_slice_is_nocase(name, "x-linked-etag"))
        keep_text(value, a->linked_etag, sizeof a->linked_etag);
    else if (berth_slice_is_nocase(name, "content-type"))
        keep_text(value, a->content_type, sizeof a->content_type);
    else if (berth_slice_is_nocase(name, "content-range"))
        keep_range(x, value);
    else if (berth_slice_is_nocase(name, "content-length") && a->status != 206 && a->status != 416)
        (void)parse_u64(value.at, value.len, &a->content_length);
    else if (berth_slice_is_nocase(name, "location"))
        x->redirected = a->status == 301 || a->status == 302 || a->status == 303 ||
                        a->status == 307 || a->status == 308;
}

/* A new head begins: what an earlier one (100 Continue, a redirect) said is void, but the hub says
 * a file's checksum where it redirects. */
static void
head_begin(struct exchange *x)
{
    struct berth_client_answer *a = x->answer;
    long status = 0;

    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    a->status = (uint16_t)status;
    a->etag[0] = a->content_type[0] = '\0';
    a->content_length = UINT64_MAX;
    x->range_begin = UINT64_MAX;
    x->redirected = false;
}

static size_t
on_header(char *at, size_t one, size_t len, void *arg)
{
    struct exchange *x = arg;
    const char *end = at + len * one;

    x->activity_ns = berth_now_ns();
    while (end > at && (end[-1] == '\r' || end[-1] == '\n'))
        end--;
    if (end - at >= 5 && memcmp(at, "HTTP/", 5) == 0) {
        head_begin(x);
        return len * one;
    }
    const char *colon = memchr(at, ':', (size_t)(end - at));
    if (colon != NULL) {
        struct berth_slice value = {colon + 1, (size_t)(end - colon - 1)};
        while (value.len > 0 && (*value.at == ' ' || *value.at == '\t')) {
            value.at++;
            value.len--;
        }
        keep_header(x, (struct berth_slice){at, (size_t)(colon - at)}, value);
    }
    return len * one;
}

/* The head is complete; once.  0, or why not to go on. */
static int
head_end(struct exchange *x, bool body_follows)
{
    const struct berth_client_call *call = x->call;
    struct berth_client_answer *a = x->answer;
    curl_off_t wait_s = 0;

    x->headed = true;
    a->partial = a->status == 206;
    (void)curl_easy_getinfo(x->easy, CURLINFO_RETRY_AFTER, &wait_s);
    a->retry_after_s = wait_s < 0 ? 0 : wait_s < UINT32_MAX ? (uint32_t)wait_s : UINT32_MAX;
    if (a->partial && x->range_begin != call->resume_at)
        return -BERTH_EINVAL;
    if (body_follows && a->content_length != UINT64_MAX && a->content_length > x->body_bytes_max)
        return -BERTH_ETOOBIG;
    if (call->head != NULL && !call->head(call->arg, a))
        return -BERTH_ECANCELED;
    return 0;
}

static int
take_body(struct exchange *x, const char *at, size_t n)
{
    const struct berth_client_call *call = x->call;
    struct berth_client_answer *a = x->answer;

    if (x->redirected) /* a page for people that says where it went */
        return 0;
    const int r = x->headed ? 0 : head_end(x, true);
    if (r < 0)
        return r;
    if (n > x->body_bytes_max || x->got > x->body_bytes_max - n)
        return -BERTH_ETOOBIG;
    x->got += n;
    if (call->body_part != NULL)
        return call->body_part(call->arg, a->status, at, n) ? 0 : -BERTH_ECANCELED;
    berth_buf_put(&a->body, at, n);
    return a->body.failed ? -BERTH_ENOMEM : 0;
}

static size_t
on_body(char *at, size_t one, size_t len, void *arg)
{
    struct exchange *x = arg;

    x->stop = take_body(x, at, len * one);
    x->activity_ns = berth_now_ns(); /* afterwards: a slow disk is not a slow peer */
    return x->stop < 0 ? 0 : len * one;
}

/* ---- what we tell curl ---- */

static bool
one_line(const char *text)
{
    return text[strcspn(text, "\r\n")] == '\0';
}

static bool
add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = one_line(line) ? curl_slist_append(*list, line) : NULL;

    if (longer == NULL)
        return false;
    *list = longer;
    return true;
}

static bool
add_headerf(struct curl_slist **list, const char *before, const char *value)
{
    struct berth_buf line;

    berth_buf_init(&line, NULL);
    berth_buf_puts(&line, before);
    berth_buf_puts(&line, value);
    const char *text = berth_buf_text(&line);
    const bool ok = text != NULL && add_header(list, text);
    berth_buf_fini(&line);
    return ok;
}

/* The caller's own headers may be credentials (X-API-Key, Cookie): they stay with its host. */
static bool
make_headers(const struct berth_client_call *call, const struct berth_client_hop *hop,
             struct curl_slist **list)
{
    bool ok = add_header(list, "Expect:"); /* no round trip before a large body */

    for (size_t i = 0; ok && hop->trusted && call->headers != NULL && call->headers[i]; i++)
        ok = add_header(list, call->headers[i]);
    if (ok && hop->trusted && call->bearer != NULL)
        ok = add_headerf(list, "Authorization: Bearer ", call->bearer);
    if (ok && call->resume_at > 0) {
        char range[48];
        (void)snprintf(range, sizeof range, "Range: bytes=%llu-",
                       (unsigned long long)call->resume_at);
        ok = add_header(list, range);
        if (ok && call->if_range != NULL)
            ok = add_headerf(list, "If-Range: ", call->if_range);
    }
    return ok;
}

static size_t
read_file(char *to, size_t size, size_t count, void *arg)
{
    struct exchange *x = arg;
    const uint64_t left = x->call->body_len - x->sent, room = (uint64_t)size * count;
    const ssize_t n =
        pread(*x->call->body_fd, to, (size_t)(left < room ? left : room), (off_t)x->sent);

    if (n < 0 || (n == 0 && left > 0)) /* it became shorter while it was sent */
        return CURL_READFUNC_ABORT;
    x->sent += (uint64_t)n;
    return (size_t)n;
}

/* A kept connection that turned out to be closed is opened again. */
static int
rewind_file(void *arg, curl_off_t at, int origin)
{
    struct exchange *x = arg;

    if (origin != SEEK_SET || at < 0 || (uint64_t)at > x->call->body_len)
        return CURL_SEEKFUNC_FAIL;
    x->sent = (uint64_t)at;
    return CURL_SEEKFUNC_OK;
}

static void
set_method(CURL *easy, struct exchange *x, const struct berth_client_hop *hop)
{
    const struct berth_client_call *call = x->call;

    if (hop->body && call->body_fd != NULL) {
        x->sent = 0;
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, read_file);
        (void)curl_easy_setopt(easy, CURLOPT_READDATA, x);
        (void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rewind_file);
        (void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, x);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
    } else if (hop->body) {
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
    } else if (hop->method != NULL && strcmp(hop->method, "POST") == 0) {
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
    } else if (hop->method != NULL && strcmp(hop->method, "HEAD") == 0) {
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    if (hop->method != NULL && strcmp(hop->method, "HEAD") != 0)
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, hop->method);
}

/* A connection is there, and the request is to go out: whoever was halted while it was made is
 * asked before, not after. */
static int
before_request(void *arg, char *their_ip, char *our_ip, int their_port, int our_port)
{
    struct exchange *x = arg;

    if (x->call->go_on == NULL || x->call->go_on(x->call->arg, x->got, 0))
        return CURL_PREREQFUNC_OK;
    x->stop = -BERTH_ECANCELED;
    return CURL_PREREQFUNC_ABORT;
}

static void
set_up(struct berth_client *c, struct exchange *x, const struct berth_client_hop *hop,
       const struct curl_slist *headers)
{
    const struct berth_client_call *call = x->call;
    const uint64_t connect_ns = call->connect_ns_max > 0 ? call->connect_ns_max : 10 * BERTH_S;
    CURL *easy = c->easy;

    curl_easy_reset(easy);
    c->curl_text[0] = '\0';
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->curl_text);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_URL, hop->text);
    /* One call at a time has no use for HTTP/2's streams, and its buffers are 70 KiB. */
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "berth/" BERTH_VERSION);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE,
                           (long)(call->receive_bytes > 0 ? call->receive_bytes : RECEIVE_BYTES));
    (void)curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 16384L); /* the least that it takes */
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                           (long)(connect_ns / BERTH_MS > 0 ? connect_ns / BERTH_MS : 1));
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, x);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
    (void)curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
    (void)curl_easy_setopt(easy, CURLOPT_PREREQDATA, x);
    set_method(easy, x, hop);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_S);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_S / 2);
    berth_client_set_peer(easy, call, hop, &c->connect_to);
}

/* ---- running it ---- */

static uint64_t
silence_max(const struct berth_client_call *call)
{
    return call->silent_ns_max > 0 ? call->silent_ns_max : 60 * BERTH_S;
}

/* Look at the clocks and ask the caller.  0, or the failure that stops the call. */
static int
look(struct berth_client *c, struct exchange *x, uint64_t begin_ns, uint64_t *asked_ns,
     struct berth_err *e)
{
    const struct berth_client_call *call = x->call;
    const uint64_t silent_ns = silence_max(call);
    const uint64_t now_ns = berth_now_ns();
    const uint64_t total = x->answer->content_length;

    if (atomic_load(&c->stopped))
        return berth_err_set(e, BERTH_ECANCELED, "%s: stopped", x->host);
    if (call->total_ns_max > 0 && now_ns - begin_ns > call->total_ns_max)
        return berth_err_set(e, BERTH_EDEADLINE, "%s: no complete answer within %llu ms", x->host,
                             (unsigned long long)(call->total_ns_max / BERTH_MS));
    if (now_ns > x->activity_ns && now_ns - x->activity_ns > silent_ns)
        return berth_err_set(e, BERTH_EDEADLINE, "%s: silent for %llu ms", x->host,
                             (unsigned long long)(silent_ns / BERTH_MS));
    if (call->go_on == NULL || now_ns - *asked_ns < POLL_MS * BERTH_MS)
        return 0;
    *asked_ns = now_ns;
    if (!call->go_on(call->arg, x->got, total == UINT64_MAX ? 0 : total))
        return berth_err_set(e, BERTH_ECANCELED, "%s: stopped", x->host);
    return 0;
}

/* How long to sleep when nothing comes: until somebody is to be asked or a clock has run out. */
static int
sleep_ms(const struct exchange *x, uint64_t begin_ns)
{
    const struct berth_client_call *call = x->call;
    const uint64_t now_ns = berth_now_ns();
    uint64_t until_ns = x->activity_ns + silence_max(call);

    if (call->go_on != NULL)
        return POLL_MS;
    if (call->total_ns_max > 0 && begin_ns + call->total_ns_max < until_ns)
        until_ns = begin_ns + call->total_ns_max;
    if (until_ns <= now_ns)
        return 1;
    const uint64_t ms = (until_ns - now_ns) / BERTH_MS + 1;
    return ms < POLL_MS_MAX ? (int)ms : POLL_MS_MAX;
}

static CURLcode
result_of(CURLM *multi)
{
    CURLcode code = CURLE_GOT_NOTHING;
    int left = 0;

    for (const CURLMsg *m; (m = curl_multi_info_read(multi, &left)) != NULL;)
        if (m->msg == CURLMSG_DONE)
            code = m->data.result;
    return code;
}

static int
failure_of(struct berth_client *c, const struct exchange *x, CURLcode code, struct berth_err *e)
{
    const char *why = c->curl_text[0] != '\0' ? c->curl_text : curl_easy_strerror(code);

    if (x->stop == -BERTH_ECANCELED)
        return berth_err_set(e, BERTH_ECANCELED, "%s: stopped", x->host);
    if (x->stop == -BERTH_ENOMEM)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory for the answer", x->host);
    if (x->stop == -BERTH_EINVAL)
        return berth_err_set(e, BERTH_ENETWORK, "%s: answered with another range than asked for",
                             x->host);
    if (x->stop == -BERTH_ETOOBIG)
        return berth_err_set(e, BERTH_ETOOBIG, "%s: the answer is longer than %llu bytes", x->host,
                             (unsigned long long)x->body_bytes_max);
    if (code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE)
        return berth_err_set(e, BERTH_ECONFIG, "%s: %s", x->host, why);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return berth_err_set(e, BERTH_EDEADLINE, "%s: %s", x->host, why);
    return berth_err_set(e, BERTH_ENETWORK, "%s: %s", x->host, why);
}

static int
drive(struct berth_client *c, struct exchange *x, uint64_t begin_ns, struct berth_err *e)
{
    uint64_t asked_ns = begin_ns;
    curl_off_t sent = 0, sent_before = 0;
    int running = 1, r = 0;

    if (curl_multi_add_handle(c->multi, c->easy) != CURLM_OK)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", x->host);
    while (r == 0) {
        if (curl_multi_perform(c->multi, &running) != CURLM_OK)
            running = 0;
        if (running == 0)
            break;
        (void)curl_easy_getinfo(c->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
        if (sent != sent_before)
            x->activity_ns = berth_now_ns();
        sent_before = sent;
        r = look(c, x, begin_ns, &asked_ns, e);
        if (r == 0)
            (void)curl_multi_poll(c->multi, NULL, 0, sleep_ms(x, begin_ns), NULL);
    }
    const CURLcode code = r == 0 ? result_of(c->multi) : CURLE_OK;
    (void)curl_multi_remove_handle(c->multi, c->easy);
    if (r < 0)
        return r;
    if (code == CURLE_OK && !x->headed && !x->redirected)
        x->stop = head_end(x, false); /* an answer without a body */
    return code == CURLE_OK && x->stop == 0 ? 0 : failure_of(c, x, code, e);
}

static int
call_hops(struct berth_client *c, struct exchange *x, struct berth_client_hop *hop,
          struct berth_err *e)
{
    const uint64_t begin_ns = berth_now_ns();

    x->activity_ns = begin_ns;
    for (int hops = 0; hops <= REDIRECTS_MAX; hops++) {
        struct curl_slist *headers = NULL;
        berth_client_hop_host(hop, x->host);
        int r = make_headers(x->call, hop, &headers)
                    ? 0
                    : berth_err_set(e, BERTH_EINVAL, "%s: a header holds a line end", x->host);
        if (r == 0) {
            set_up(c, x, hop, headers);
            r = drive(c, x, begin_ns, e);
        }
        if (r == 0 && x->redirected)
            r = berth_client_hop_follow(hop, c->easy, x->answer->status, x->host,
                                        e); /* before the headers go: it asks the handle */
        curl_slist_free_all(headers);
        curl_slist_free_all(BERTH_TAKE(c->connect_to));
        if (r < 0 || !x->redirected)
            return r;
    }
    return berth_err_set(e, BERTH_ENETWORK, "%s: more than %d redirects", x->host, REDIRECTS_MAX);
}

int
berth_client_call(struct berth_client *c, const struct berth_client_call *call,
                  struct berth_client_answer *ret, struct berth_err *e)
{
    struct berth_client_answer answer = {.content_length = UINT64_MAX};
    struct exchange x = {
        .easy = c->easy,
        .call = call,
        .answer = &answer,
        .body_bytes_max =
            call->body_bytes_max > 0 ? call->body_bytes_max : UINT64_C(64) * 1024 * 1024,
    };
    struct berth_client_hop hop = {.method = call->method,
                                   .body = call->body != NULL || call->body_fd != NULL,
                                   .trusted = true};

    if (!berth_client_hop_to(&hop, call->url))
        return berth_err_set(e, BERTH_EINVAL, "%.200s: not a URL", call->url);
    berth_buf_init(&answer.body, NULL);
    answer.body.max = x.body_bytes_max < SIZE_MAX - 1 ? (size_t)x.body_bytes_max + 1 : SIZE_MAX;
    int r = call_hops(c, &x, &hop, e);
    berth_client_hop_fini(&hop);
    if (r == 0 && berth_buf_text(&answer.body) == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "%s: out of memory for the answer", x.host);
    if (r < 0)
        berth_buf_fini(&answer.body);
    else
        *ret = answer;
    return r;
}
