#include "kube/watch.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "kube/client_priv.h"
#include "wire/json.h"

enum {
    EVENT_ARENA_MAX = 64 << 20, /* a line's tree */
    SILENT_S = 30,              /* beyond the watch's own end */
    RECEIVE_BYTES = 4096,       /* at once, kept as long as the watch: it has little to say */
    LINE_KEPT_BYTES = 64 << 10, /* of a line's room, for the next one */
};

/* ---- lines ---- */

void
berth_kube_lines_init(struct berth_kube_lines *l, const struct berth_kube_watch *w)
{
    l->w = w;
    berth_buf_init(&l->line, NULL);
    l->line.max = BERTH_KUBE_EVENT_MAX;
}

void
berth_kube_lines_fini(struct berth_kube_lines *l)
{
    berth_buf_fini(&l->line);
}

static bool
event_of(struct berth_slice type, enum berth_kube_event *ret)
{
    static const char *const names[] = {
        [BERTH_KUBE_ADDED] = "ADDED",
        [BERTH_KUBE_MODIFIED] = "MODIFIED",
        [BERTH_KUBE_DELETED] = "DELETED",
        [BERTH_KUBE_BOOKMARK] = "BOOKMARK",
    };

    for (size_t i = 0; i < BERTH_COUNT(names); i++) {
        if (berth_slice_is(type, names[i])) {
            *ret = (enum berth_kube_event)i;
            return true;
        }
    }
    return false;
}

/* An event of type ERROR holds a Status. */
static int
error_event(const struct berth_json *object, struct berth_err *e)
{
    static const struct berth_kube_asked asked = {.what = "watch"};
    const int64_t code = berth_kube_int(object, "code", 500);

    if (code == 410)
        return 1;
    return berth_kube_status_error(code >= 400 && code < 600 ? (uint16_t)code : 500, 0, object,
                                   &asked, NULL, e);
}

static int
one_line(const struct berth_kube_watch *w, const char *at, size_t len, struct berth_err *e)
{
    const struct berth_json *doc;
    enum berth_kube_event event;
    struct berth_arena a;

    berth_arena_init(&a, EVENT_ARENA_MAX);
    int r = berth_json_parse(&a, at, len, NULL, &doc, e);
    if (r < 0) {
        r = berth_err_wrap(e, -BERTH_ENETWORK, "watch: an event is no JSON");
    } else {
        const struct berth_slice type = berth_kube_text(doc, "type");
        const struct berth_json *object = berth_json_get(doc, "object");
        const struct berth_slice version = berth_kube_text(object, "metadata.resourceVersion");
        if (berth_slice_is(type, "ERROR"))
            r = error_event(object, e);
        else if (!event_of(type, &event) || version.len == 0 ||
                 version.len >= BERTH_KUBE_VERSION_TEXT)
            r = berth_err_set(e, BERTH_ENETWORK, "watch: an event of an unknown kind");
        else if (!w->each(w->arg, event, object, version.at))
            r = berth_err_set(e, BERTH_ECANCELED, "watch: stopped");
    }
    berth_arena_fini(&a);
    return r;
}

int
berth_kube_lines_feed(struct berth_kube_lines *l, const char *bytes, size_t len,
                      struct berth_err *e)
{
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        const size_t n = end != NULL ? (size_t)(end - bytes) : len;
        int r = 0;
        if (end == NULL || l->line.len > 0)
            berth_buf_put(&l->line, bytes, n);
        if (l->line.failed)
            return berth_err_set(e, BERTH_ETOOBIG, "watch: an event is longer than %d bytes",
                                 BERTH_KUBE_EVENT_MAX);
        if (end == NULL)
            return 0;
        if (l->line.len > 0)
            r = one_line(l->w, l->line.at, l->line.len, e);
        else if (n > 0)
            r = one_line(l->w, bytes, n, e);
        l->line.len = 0;
        if (l->line.cap > LINE_KEPT_BYTES) {
            berth_buf_fini(&l->line);
            l->line.max = BERTH_KUBE_EVENT_MAX;
        }
        if (r != 0)
            return r;
        bytes += n + 1;
        len -= n + 1;
    }
    return 0;
}

/* ---- the call ---- */

struct watching {
    struct berth_kube_lines lines;
    struct berth_buf refusal; /* the body of an answer that is no stream */
    int r;                    /* of the lines */
    struct berth_kube *k;
    const struct berth_kube_call *want;
    bool counted;
    struct berth_err *e;
};

/* A watch lasts: it is counted when it is answered. */
static bool
answered(void *arg, const struct berth_client_answer *answer)
{
    struct watching *x = arg;

    x->counted = true;
    berth_kube_ended(x->k, x->want, answer->status, 0);
    return true;
}

static bool
take(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct watching *x = arg;

    if (status >= 300) {
        berth_buf_put(&x->refusal, bytes, len);
        return true;
    }
    x->r = berth_kube_lines_feed(&x->lines, bytes, len, x->e);
    return x->r == 0;
}

static int
refused(struct berth_kube *k, struct watching *x, const struct berth_client_answer *answer,
        const char *what, struct berth_err *e)
{
    const struct berth_kube_asked asked = berth_kube_asked(k, what);
    const struct berth_json *body = NULL;
    struct berth_arena a;

    if (answer->status == 410)
        return 1;
    berth_arena_init(&a, BERTH_KUBE_SCRATCH_MAX);
    const char *text = berth_buf_text(&x->refusal);
    if (text == NULL || berth_json_parse(&a, text, x->refusal.len, NULL, &body, NULL) < 0)
        body = NULL;
    const int r =
        berth_kube_status_error(answer->status, answer->retry_after_s, body, &asked, NULL, e);
    berth_arena_fini(&a);
    if (r == -BERTH_EAUTH)
        (void)berth_kube_auth_refused(berth_kube_auth_of(k));
    return r;
}

static int
call(struct berth_kube *k, struct berth_client *http, const struct berth_kube_watch *w,
     struct watching *x, struct berth_arena *scratch, struct berth_err *e)
{
    const struct berth_kube_until until = {.deadline_ns =
                                               berth_now_ns() + (w->seconds + SILENT_S) * BERTH_S};
    struct berth_client_answer answer;
    struct berth_kube_ready ready;
    struct berth_buf path;
    char what[96];

    (void)snprintf(what, sizeof what, "watch %s", w->selection->kind->kind);
    berth_buf_init(&path, scratch);
    berth_kube_selection_put(&path, w->selection);
    berth_buf_printf(&path,
                     "&watch=true&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%s",
                     w->seconds, w->version);
    const struct berth_kube_call want = {.method = "GET",
                                         .path = berth_buf_text(&path),
                                         .what = what,
                                         .verb = BERTH_KUBE_WATCH,
                                         .kind = w->selection->kind};
    if (want.path == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", what);
    int r = berth_kube_prepare(k, &until, scratch, &want, &ready, e);
    if (r < 0)
        return r;
    x->k = k;
    x->want = &want;
    ready.http.head = answered;
    ready.http.body_part = take;
    ready.http.arg = x;
    ready.http.receive_bytes = RECEIVE_BYTES;
    ready.http.silent_ns_max = (w->seconds + SILENT_S) * BERTH_S;
    ready.http.body_bytes_max = UINT64_MAX / 2;
    r = berth_client_call(http, &ready.http, &answer, e);
    if (r == 0)
        berth_buf_fini(&answer.body);
    if (!x->counted)
        berth_kube_ended(k, &want, 0, 0);
    if (x->r != 0)
        return x->r; /* why the body was not wanted any more */
    if (r < 0)
        return berth_err_wrap(e, r, "%s", what);
    return answer.status >= 300 ? refused(k, x, &answer, what, e) : 0;
}

int
berth_kube_watch(struct berth_kube *k, struct berth_client *http, const struct berth_kube_watch *w,
                 struct berth_err *e)
{
    struct berth_err inner = {{0}};
    struct watching x = {.e = &inner};
    struct berth_arena scratch;

    berth_arena_init_small(&scratch, BERTH_KUBE_SCRATCH_MAX); /* it lasts as long as the watch */
    berth_kube_lines_init(&x.lines, w);
    berth_buf_init(&x.refusal, NULL);
    x.refusal.max = BERTH_KUBE_SCRATCH_MAX;
    const int r = call(k, http, w, &x, &scratch, e);
    if (x.r < 0 && e != NULL)
        *e = inner;
    berth_kube_lines_fini(&x.lines);
    berth_buf_fini(&x.refusal);
    berth_arena_fini(&scratch);
    return r;
}
