#include "net/forward_priv.h"

#include <string.h>

#include "base/num.h"
#include "net/server.h"

/* What curl hands us of an answer, passed on to the exchange. */

static bool
stop(struct berth_forward *w, enum berth_forward_stop stop, const char *why)
{
    w->stop = stop;
    w->why = why;
    return false;
}

/* "HTTP/1.1 200 OK": the status, 0: it is none. */
static uint16_t
status_of(const char *at, size_t n)
{
    const char *blank = memchr(at, ' ', n);
    int64_t status;

    if (blank == NULL || (size_t)(at + n - blank) < 4 ||
        !berth_int_parse(blank + 1, 3, 100, 999, &status))
        return 0;
    return (uint16_t)status;
}

static bool
take_line(struct berth_forward *w, const char *at, size_t n)
{
    w->head_bytes += n;
    if (w->head_bytes > w->f->conf.head_bytes_max)
        return stop(w, BERTH_FORWARD_STOP_MALFORMED, "the head of its answer is too long");
    if (w->headed) /* a trailer */
        return true;
    if (n >= 5 && memcmp(at, "HTTP/", 5) == 0) { /* also after an interim answer */
        w->head.len = 0;
        w->status = status_of(at, n);
        return w->status != 0 && w->status != 101
                   ? true
                   : stop(w, BERTH_FORWARD_STOP_MALFORMED, "its answer has no status that fits");
    }
    if (*at == '\r' || *at == '\n') {
        w->headed = w->status >= 200;
        if (w->headed)
            w->first_ns = w->last_ns;
        return true;
    }
    berth_buf_put(&w->head, at, n);
    return !w->head.failed ||
           stop(w, BERTH_FORWARD_STOP_MALFORMED, "no memory for the head of its answer");
}

size_t
berth_forward_on_header(char *at, size_t one, size_t len, void *arg)
{
    struct berth_forward *w = arg;
    const size_t n = one * len;

    w->last_ns = berth_loop_now_ns(w->f->loop);
    return n == 0 || take_line(w, at, n) ? n : 0;
}

/* Ask the caller, and give the head to the exchange. */
static bool
pass(struct berth_forward *w, const char **ret_type)
{
    if (!w->to.pass(w->to.arg, w->status))
        return stop(w, BERTH_FORWARD_STOP_DECLINED, "declined");
    w->passed = true;
    *ret_type = berth_buf_text(&w->head) != NULL
                    ? berth_forward_add_lines(w->x, w->head.at, w->head.len)
                    : NULL;
    return true;
}

/* Is the body short enough to be held back until it is whole?  Then there is room for it. */
static bool
hold(struct berth_forward *w)
{
    curl_off_t len = -1;

    if (curl_easy_getinfo(w->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &len) != CURLE_OK ||
        len <= 0 || (uint64_t)len > w->f->conf.whole_bytes_max)
        return false;
    w->whole = berth_exchange_alloc(w->x, (size_t)len);
    w->whole_cap = w->whole != NULL ? (size_t)len : 0;
    return w->whole != NULL;
}

static bool
take_body(struct berth_forward *w, const char *at, size_t n, bool *ret_pause)
{
    const char *type;

    if (!w->headed)
        return stop(w, BERTH_FORWARD_STOP_MALFORMED, "its answer has no head");
    if (w->whole != NULL || (!w->passed && hold(w))) {
        if (n > w->whole_cap - w->whole_len)
            return stop(w, BERTH_FORWARD_STOP_MALFORMED, "its answer is longer than it says");
        memcpy(w->whole + w->whole_len, at, n);
        w->whole_len += n;
        return true;
    }
    if (!w->passed) {
        if (!pass(w, &type))
            return false;
        berth_exchange_start(w->x, w->status, type);
    }
    const int r = berth_exchange_write(w->x, at, n);
    *ret_pause = r == -BERTH_EAGAIN;
    return r == 0 || *ret_pause || stop(w, BERTH_FORWARD_STOP_UNWANTED, "the client is gone");
}

size_t
berth_forward_on_body(char *at, size_t one, size_t len, void *arg)
{
    struct berth_forward *w = arg;
    const size_t n = one * len;

    w->last_ns = berth_loop_now_ns(w->f->loop);
    w->paused = false;
    if (n > 0 && !take_body(w, at, n, &w->paused))
        return 0;
    return w->paused ? CURL_WRITEFUNC_PAUSE : n;
}

bool
berth_forward_complete(struct berth_forward *w)
{
    const char *type;

    if (!w->headed)
        return stop(w, BERTH_FORWARD_STOP_MALFORMED, "its answer has no head");
    if (w->passed) {
        berth_exchange_end(w->x);
        return true;
    }
    if (!pass(w, &type))
        return false;
    berth_exchange_reply(w->x, w->status, type, w->whole != NULL ? w->whole : "", w->whole_len);
    return true;
}
