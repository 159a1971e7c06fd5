#include "net/forward_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "net/curl_priv.h"
#include "net/server.h"

enum {
    SPARE_MAX = 64, /* curl handles kept for the next */
    RECEIVE_BYTES = 64 * 1024,
    HEAD_SPARE_BYTES = 4096, /* of a kept one's buffer */
};
#define TICK_NS         (25 * BERTH_MS) /* how exact deadlines are */
#define CONNECT_NS      (5 * BERTH_S)
#define LONGEST_CURL_MS (INT32_MAX / 2)

static struct berth_forwarder *
forwarder_of(void *member, size_t offset)
{
    return (struct berth_forwarder *)(void *)((char *)member - offset);
}

/* ---- handles ---- */

static void
forward_free(struct berth_forward *w)
{
    if (w == NULL)
        return;
    curl_easy_cleanup(w->easy);
    berth_buf_fini(&w->head);
    free(w);
}

/* What is the same for all that it will send. */
static bool
set_up(struct berth_forward *w)
{
    CURL *easy = w->easy;

    return curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, w->curl_text) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, w) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           /* or taking one off curl's list would wait for its name to be looked up */
           curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") ==
               CURLE_OK && /* whatever the environment says */
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, berth_forward_on_header) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, w) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, berth_forward_on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, w) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, berth_forward_open) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, w->f) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, berth_forward_close) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, w->f) == CURLE_OK;
}

static struct berth_forward *
forward_new(struct berth_forwarder *f)
{
    struct berth_forward *w = f->spare;

    if (w != NULL) {
        f->spare = w->next;
        f->spare_len--;
        return w;
    }
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->f = f;
    w->easy = curl_easy_init();
    berth_buf_init(&w->head, NULL);
    w->head.max = f->conf.head_bytes_max + 1;
    if (w->easy == NULL || !set_up(w)) {
        forward_free(w);
        return NULL;
    }
    return w;
}

/* Its transfer is over: off curl's list (which closes a connection in the middle of an answer), and
 * kept for the next. */
static void
forward_put_away(struct berth_forward *w)
{
    struct berth_forwarder *f = w->f;

    (void)curl_multi_remove_handle(f->multi, w->easy);
    (void)curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, NULL); /* it lies in an arena */
    (void)curl_easy_setopt(w->easy, CURLOPT_POSTFIELDS, NULL);
    TAILQ_REMOVE(&f->running, w, all);
    f->running_len--;
    if (f->spare_len == SPARE_MAX || w->head.cap > HEAD_SPARE_BYTES) {
        forward_free(w);
        return;
    }
    w->next = f->spare;
    f->spare = w;
    f->spare_len++;
}

/* ---- the end ---- */

static enum berth_forward_result
result_of(const struct berth_forward *w, CURLcode code)
{
    switch (w->stop) {
    case BERTH_FORWARD_STOP_UNWANTED:
        return BERTH_FORWARD_UNWANTED;
    case BERTH_FORWARD_STOP_DECLINED:
        return BERTH_FORWARD_DECLINED;
    case BERTH_FORWARD_STOP_LATE:
        return w->passed ? BERTH_FORWARD_BROKEN : BERTH_FORWARD_LATE;
    case BERTH_FORWARD_STOP_MALFORMED:
        return w->passed ? BERTH_FORWARD_BROKEN : BERTH_FORWARD_MALFORMED;
    case BERTH_FORWARD_GO_ON:
        break;
    }
    if (w->passed)
        return BERTH_FORWARD_BROKEN;
    switch ((int)code) { /* of the hundred that there are */
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: /* only connecting is timed by curl */
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_URL_MALFORMAT:
        return BERTH_FORWARD_UNREACHED;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* no HTTP/1 head */
    case CURLE_BAD_CONTENT_ENCODING:
        return BERTH_FORWARD_MALFORMED;
    default:
        return BERTH_FORWARD_UNANSWERED;
    }
}

/* The transfer is over.  w is gone after this. */
static void
finish(struct berth_forward *w, CURLcode code)
{
    struct berth_exchange *x = w->x;
    const struct berth_forward_to to = w->to;
    struct berth_forward_end end = {
        .status = w->headed ? w->status : 0,
        .first_ns = w->first_ns,
        .out_of_time = w->stop == BERTH_FORWARD_STOP_LATE && w->to.until_ns != 0 &&
                       berth_loop_now_ns(w->f->loop) >= w->to.until_ns,
    };
    char why[CURL_ERROR_SIZE];

    if (w->stop == BERTH_FORWARD_GO_ON && code == CURLE_OK && berth_forward_complete(w))
        end.result = BERTH_FORWARD_OK;
    else
        end.result = result_of(w, code);
    const char *said = w->why != NULL            ? w->why
                       : w->curl_text[0] != '\0' ? w->curl_text
                                                 : curl_easy_strerror(code);
    (void)snprintf(why, sizeof why, "%s", said);
    end.why = why;
    forward_put_away(w);
    to.done(to.arg, &end);
    berth_exchange_unref(x);
}

static void
take_done(struct berth_forwarder *f)
{
    int left;

    for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &left)) != NULL;) {
        struct berth_forward *w = NULL;
        const CURLcode code = m->data.result;

        if (m->msg == CURLMSG_DONE &&
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &w) == CURLE_OK)
            finish(w, code);
    }
}

void
berth_forwarder_act(struct berth_forwarder *f, curl_socket_t fd, int flags)
{
    int running;

    (void)curl_multi_socket_action(f->multi, fd, flags, &running);
    take_done(f);
}

/* ---- time ---- */

/* libuv frees handles in its own time, and curl may have asked for this round's end. */
static void
free_when_idle(struct berth_forwarder *f)
{
    if (f->closing && f->socks_open == 0 && !f->kick.queued)
        free(f);
}

void
berth_forwarder_less(struct berth_forwarder *f)
{
    f->socks_open--;
    free_when_idle(f);
}

static void
kick(struct berth_late *t)
{
    struct berth_forwarder *f = forwarder_of(t, offsetof(struct berth_forwarder, kick));

    if (f->closing)
        free_when_idle(f);
    else
        berth_forwarder_act(f, CURL_SOCKET_TIMEOUT, 0);
}

static void
alarm_fired(struct berth_timer *t)
{
    berth_forwarder_act(forwarder_of(t, offsetof(struct berth_forwarder, alarm)),
                        CURL_SOCKET_TIMEOUT, 0);
}

static int
on_timer(CURLM *multi, long ms, void *arg)
{
    struct berth_forwarder *f = arg;

    (void)multi;
    if (f->closing)
        return 0;
    if (ms <= 0)
        berth_timer_stop(&f->alarm);
    if (ms == 0)
        (void)berth_loop_late(f->loop, &f->kick);
    if (ms > 0 && berth_timer_arm(&f->alarm, f->loop, berth_now_ns() + (uint64_t)ms * BERTH_MS,
                                  alarm_fired) < 0)
        return -1;
    return 0;
}

/* What deadline of w has passed, in words; NULL: none. */
static const char *
late(const struct berth_forward *w, uint64_t now_ns)
{
    if (w->to.until_ns != 0 && now_ns >= w->to.until_ns)
        return "no complete answer in time";
    if (!w->headed)
        return w->to.first_until_ns != 0 && now_ns >= w->to.first_until_ns ? "no answer in time"
                                                                           : NULL;
    return !w->paused && now_ns > w->last_ns && now_ns - w->last_ns > w->to.silent_ns_max
               ? "it fell silent in the middle of its answer"
               : NULL;
}

static void
look_at_deadlines(struct berth_timer *t)
{
    struct berth_forwarder *f = forwarder_of(t, offsetof(struct berth_forwarder, tick));
    const uint64_t now_ns = berth_loop_now_ns(f->loop);
    const struct berth_forward *last = TAILQ_LAST(&f->running, berth_forward_list);
    bool more = last != NULL;

    /* Each that runs now, once: done() may start others, which come behind. */
    for (struct berth_forward *w = TAILQ_FIRST(&f->running), *next; more && w != NULL; w = next) {
        const char *why = late(w, now_ns);

        next = TAILQ_NEXT(w, all);
        more = w != last;
        if (w->stop == BERTH_FORWARD_GO_ON && why != NULL) {
            w->stop = BERTH_FORWARD_STOP_LATE;
            w->why = why;
        }
        if (w->stop != BERTH_FORWARD_GO_ON)
            finish(w, CURLE_OK);
    }
    f->ticking = !TAILQ_EMPTY(&f->running) &&
                 berth_timer_arm(t, f->loop, now_ns + TICK_NS, look_at_deadlines) == 0;
    if (!f->ticking)
        berth_timer_stop(t);
}

/* ---- start ---- */

static void
set_method(struct berth_forward *w)
{
    const struct berth_slice method = w->x->method;
    CURL *easy = w->easy;
    char text[17];

    (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, NULL);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L); /* undoes the one before */
    w->is_head = berth_slice_is(method, "HEAD");
    if (w->is_head) {
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (w->to.body.len > 0 || berth_slice_is(method, "POST")) {
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, w->to.body.len > 0 ? w->to.body.at : "");
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)w->to.body.len);
    }
    if (!berth_slice_is(method, "POST") && !berth_slice_is(method, "GET")) {
        (void)snprintf(text, sizeof text, "%.*s", (int)method.len, method.at);
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, text);
    }
}

/* curl copies the texts; the headers and the body stay where they are. */
static int
set_request(struct berth_forward *w)
{
    const struct berth_forward_to *to = &w->to;
    struct curl_slist *headers = berth_forward_headers(w->x, to);
    const char *target = berth_arena_strndup(&w->x->arena, to->target.at, to->target.len);
    const uint64_t connect_ms = to->connect_ns_max / BERTH_MS;
    CURL *easy = w->easy;

    if (headers == NULL || target == NULL)
        return -BERTH_ENOMEM;
    set_method(w);
    if (strncmp(to->origin, "https:", 6) == 0) {
        const char *ca = to->ca_path != NULL ? to->ca_path : berth_curl_certificates();
        if (ca != NULL && (curl_easy_setopt(easy, CURLOPT_CAINFO, ca) != CURLE_OK ||
                           curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) != CURLE_OK))
            return -BERTH_ENOMEM; /* no path: nobody else is believed */
    }
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)to->once);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                           (long)(connect_ms < 1                 ? 1
                                  : connect_ms < LONGEST_CURL_MS ? connect_ms
                                                                 : LONGEST_CURL_MS));
    return curl_easy_setopt(easy, CURLOPT_URL, to->origin) == CURLE_OK &&
                   curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, target) == CURLE_OK
               ? 0
               : -BERTH_ENOMEM;
}

static void
begin(struct berth_forward *w, struct berth_exchange *x, const struct berth_forward_to *to)
{
    w->x = x;
    w->to = *to;
    w->to.connect_ns_max = to->connect_ns_max > 0 ? to->connect_ns_max : CONNECT_NS;
    w->to.silent_ns_max = to->silent_ns_max > 0 ? to->silent_ns_max : BERTH_FORWARD_SILENT_NS;
    w->head.len = w->head_bytes = 0;
    w->head.failed = false;
    w->status = 0;
    w->headed = w->passed = w->paused = false;
    w->whole = NULL;
    w->whole_len = w->whole_cap = 0;
    w->first_ns = 0;
    w->last_ns = berth_loop_now_ns(w->f->loop);
    w->stop = BERTH_FORWARD_GO_ON;
    w->why = NULL;
    w->curl_text[0] = '\0';
}

int
berth_forward_start(struct berth_forwarder *f, struct berth_exchange *x,
                    const struct berth_forward_to *to, struct berth_forward **ret,
                    struct berth_err *e)
{
    const int wrong = berth_forward_check(x, to, e);

    berth_assert(berth_loop_is_mine(f->loop) && x->loop == f->loop && !f->closing);
    if (wrong < 0)
        return wrong;
    if (f->running_len >= f->conf.running_max)
        return berth_err_set(e, BERTH_EAGAIN, "%u requests are being passed on already; try again",
                             f->running_len);
    struct berth_forward *w = forward_new(f);
    if (w == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    begin(w, x, to);
    if (!f->ticking && berth_timer_arm(&f->tick, f->loop, berth_loop_now_ns(f->loop) + TICK_NS,
                                       look_at_deadlines) < 0) {
        forward_free(w);
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    f->ticking = true;
    if (set_request(w) < 0 || curl_multi_add_handle(f->multi, w->easy) != CURLM_OK) {
        forward_free(w);
        return berth_err_set(e, BERTH_ENOMEM,
                             "the request is larger than its memory limit; send less");
    }
    TAILQ_INSERT_TAIL(&f->running, w, all);
    f->running_len++;
    berth_exchange_ref(x);
    *ret = w;
    return 0;
}

void
berth_forward_writable(struct berth_forward *w)
{
    struct berth_forwarder *f = w->f;

    if (!w->paused)
        return;
    w->paused = false;
    w->last_ns = berth_loop_now_ns(f->loop);
    /* What curl holds comes from within this call, and may be paused again.  A failure leaves a
     * hole in the answer: the next look at deadlines ends it. */
    if (curl_easy_pause(w->easy, CURLPAUSE_CONT) != CURLE_OK && w->stop == BERTH_FORWARD_GO_ON)
        w->stop = BERTH_FORWARD_STOP_UNWANTED;
    (void)berth_loop_late(f->loop, &f->kick);
}

void
berth_forward_cancel(struct berth_forward *w)
{
    struct berth_exchange *x = w->x;

    forward_put_away(w);
    berth_exchange_unref(x);
}

/* ---- new and free ---- */

int
berth_forwarder_new(struct berth_loop *l, const struct berth_forwarder_conf *conf,
                    struct berth_forwarder **ret, struct berth_err *e)
{
    struct berth_forwarder *f = calloc(1, sizeof *f);

    berth_assert(berth_loop_is_mine(l));
    berth_curl_once();
    if (f == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (conf != NULL)
        f->conf = *conf;
    f->conf.running_max = f->conf.running_max > 0 ? f->conf.running_max : 4096;
    f->conf.connections_max = f->conf.connections_max > 0 ? f->conf.connections_max : 256;
    f->conf.head_bytes_max = f->conf.head_bytes_max > 0 ? f->conf.head_bytes_max : 64 << 10;
    f->conf.whole_bytes_max = f->conf.whole_bytes_max > 0 ? f->conf.whole_bytes_max : 256 << 10;
    f->loop = l;
    f->kick.run = kick;
    TAILQ_INIT(&f->running);
    f->multi = curl_multi_init();
    if (f->multi == NULL ||
        curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, berth_forward_on_socket) != CURLM_OK ||
        curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f) != CURLM_OK ||
        curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
        curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f) != CURLM_OK ||
        curl_multi_setopt(f->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) != CURLM_OK ||
        curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, (long)f->conf.connections_max) !=
            CURLM_OK) {
        (void)curl_multi_cleanup(f->multi);
        free(f);
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    *ret = f;
    return 0;
}

void
berth_forwarder_free(struct berth_forwarder *f)
{
    if (f == NULL)
        return;
    berth_assert(berth_loop_is_mine(f->loop) && TAILQ_EMPTY(&f->running));
    berth_timer_stop(&f->alarm);
    berth_timer_stop(&f->tick);
    while (f->spare != NULL) {
        struct berth_forward *w = f->spare;

        f->spare = w->next;
        forward_free(w);
    }
    f->closing = true;
    (void)curl_multi_cleanup(f->multi); /* closes the connections */
    berth_forward_forget_all(f);
    free_when_idle(f);
}
