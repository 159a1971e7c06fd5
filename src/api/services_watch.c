#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/feed.h"
#include "api/services.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/num.h"

/* Events, the log of a service's pipeline, and what its replicas print. */

enum { EVENTS_MAX = 10000, HEARTBEAT_S = 15 };

/* Which events, and how they are written. */
struct events {
    struct berth_deploy *d;
    struct berth_event_query q; /* its texts are in the exchange's arena */
    bool sse, text;
    struct berth_event_watch watch;
    struct berth_feed *feed;
    uint64_t told_ns;  /* when the client was sent something last */
    struct berth_jw w; /* without follow: the array that is written */
    bool over;
};

/* "2026-01-31T12:00:00Z", or seconds since 1970. */
static bool
read_since(const char *text, uint64_t *ret_ns)
{
    struct tm tm = {0};
    int64_t seconds;
    const char *end;

    if (berth_int_parse(text, strlen(text), 0, INT32_MAX, &seconds)) {
        *ret_ns = (uint64_t)seconds * BERTH_S;
        return true;
    }
    end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end == NULL || (*end != '\0' && *end != 'Z' && *end != '.'))
        return false;
    *ret_ns = (uint64_t)timegm(&tm) * BERTH_S;
    return true;
}

/* False: c is answered. */
static bool
read_query(struct berth_call *c, struct events *ev)
{
    const char *since = berth_services_asked(c, "since");
    const struct berth_slice *last = berth_exchange_header(c->x, "last-event-id");
    int64_t after = 0, limit = 0;

    if (!berth_services_asked_number(c, "after", 0, INT64_MAX, &after) ||
        !berth_services_asked_number(c, "limit", 1, EVENTS_MAX, &limit))
        return false;
    if (last != NULL && !berth_int_parse(last->at, last->len, 0, INT64_MAX, &after)) {
        berth_call_fail(c, -BERTH_EINVAL, "Last-Event-ID",
                        "Last-Event-ID: must be the id of an event");
        return false;
    }
    ev->q.after = (uint64_t)after;
    ev->q.limit = (size_t)limit;
    if (ev->q.type == NULL)
        ev->q.type = berth_services_asked(c, "type");
    if (since != NULL && !read_since(since, &ev->q.since_wall_ns)) {
        berth_call_fail(c, -BERTH_EINVAL, "since",
                        "since: must be a time such as 2026-01-31T12:00:00Z, or seconds since "
                        "1970");
        return false;
    }
    return true;
}

/* ---- one line of text an event ---- */

static void
put_line(struct berth_buf *b, struct berth_slice json)
{
    static const char *const keys[] = {"type",    "step",    "event",    "state",
                                       "from",    "to",      "operator", "durationMs",
                                       "attempt", "message", "reason"};
    struct berth_arena a;
    const struct berth_json *v = NULL;
    struct berth_slice t;

    berth_arena_init(&a, 1 << 20);
    if (berth_json_parse(&a, json.at, json.len, NULL, &v, NULL) == 0) {
        if (berth_json_string(berth_json_get(v, "time"), &t))
            berth_buf_put(b, t.at, t.len);
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            const struct berth_json *m = berth_json_get(v, keys[i]);

            if (m == NULL || berth_json_type(m) == BERTH_JSON_NULL)
                continue;
            if (berth_json_string(m, &t)) {
                if (t.len > 0)
                    berth_buf_printf(b, " %s=%.*s", keys[i], (int)t.len, t.at);
            } else {
                berth_buf_printf(b, " %s=", keys[i]);
                berth_json_put(b, m);
            }
        }
        berth_buf_putc(b, '\n');
    }
    berth_arena_fini(&a);
}

/* ---- following ---- */

static bool
feed_one(void *arg, uint64_t seq, struct berth_slice json)
{
    struct events *ev = arg;
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    if (ev->sse) {
        const struct berth_json *v = NULL;
        struct berth_slice type = {"message", 7};
        struct berth_arena a;

        berth_arena_init(&a, 1 << 20);
        if (berth_json_parse(&a, json.at, json.len, NULL, &v, NULL) == 0)
            (void)berth_json_string(berth_json_get(v, "type"), &type);
        berth_buf_printf(&b, "id: %llu\nevent: %.*s\ndata: ", (unsigned long long)seq,
                         (int)type.len, type.at);
        berth_buf_put(&b, json.at, json.len);
        berth_buf_puts(&b, "\n\n");
        berth_arena_fini(&a);
    } else if (ev->text) {
        put_line(&b, json);
    } else {
        berth_buf_put(&b, json.at, json.len);
        berth_buf_putc(&b, '\n');
    }
    ev->over = b.failed || berth_feed_put(ev->feed, b.at, b.len) < 0;
    ev->told_ns = berth_now_ns();
    berth_buf_fini(&b);
    return !ev->over;
}

static void
changed(struct berth_event_watch *w)
{
    struct events *ev = (struct events *)(void *)((char *)w - offsetof(struct events, watch));

    berth_feed_wake(ev->feed);
}

/* Proxies end streams on which nothing comes, also while there are events that do not fit. */
static void
beat(struct events *ev)
{
    static const char text[] = ": still here\n\n";

    if (!ev->sse || berth_now_ns() - ev->told_ns < HEARTBEAT_S * BERTH_S)
        return;
    ev->told_ns = berth_now_ns();
    ev->over = berth_feed_put(ev->feed, text, sizeof text - 1) < 0;
}

/* How long until the next one is due. */
static uint64_t
until_beat(const struct events *ev)
{
    const uint64_t due = ev->told_ns + HEARTBEAT_S * BERTH_S, now = berth_now_ns();

    return !ev->sse ? HEARTBEAT_S * BERTH_S : due > now ? due - now : 0;
}

static void
follow(struct berth_feed *f, void *arg)
{
    struct events *ev = arg;

    ev->feed = f;
    ev->told_ns = berth_now_ns();
    ev->watch.changed = changed;
    berth_deploy_watch(ev->d, &ev->watch);
    while (!ev->over && !berth_feed_over(f)) {
        uint64_t last = ev->q.after;

        if (berth_deploy_events(ev->d, &ev->q, feed_one, ev, &last, NULL) < 0)
            break;
        const bool more = last > ev->q.after;
        ev->q.after = last;
        if (!more && !berth_feed_wait(f, until_beat(ev)))
            break;
        if (!ev->over)
            beat(ev);
    }
    berth_deploy_unwatch(ev->d, &ev->watch);
}

/* ---- at once ---- */

static bool
put_one(void *arg, uint64_t seq, struct berth_slice json)
{
    struct events *ev = arg;

    (void)seq;
    if (ev->text)
        put_line(ev->w.b, json);
    else
        berth_jw_raw(&ev->w, json.at, json.len);
    return !ev->w.b->failed;
}

/* On the api's own thread. */
static void
answer_now(struct berth_call *c)
{
    struct events *ev = c->state;
    struct berth_buf data;
    struct berth_err e = {""};
    uint64_t last;

    berth_buf_init(&data, c->arena);
    berth_jw_init(&ev->w, &data);
    if (!ev->text)
        berth_jw_array(&ev->w);
    const int r = berth_deploy_events(ev->d, &ev->q, put_one, ev, &last, &e);
    if (!ev->text)
        berth_jw_array_end(&ev->w);
    if (r == 0 && ev->text && !data.failed)
        berth_call_reply(c, 200, "text/plain; charset=utf-8", data.len > 0 ? data.at : "",
                         data.len);
    else
        berth_services_answer(c, r, "success", &data, NULL, &e);
}

static void
answer(struct berth_call *c, struct events *ev, bool following)
{
    if (following) {
        berth_feed_start(c,
                         ev->sse    ? "text/event-stream; charset=utf-8"
                         : ev->text ? "text/plain; charset=utf-8"
                                    : "application/x-ndjson",
                         follow, ev);
        return;
    }
    c->state = ev;
    c->job = answer_now;
    berth_api_job(c);
}

void
berth_services_events(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const struct berth_slice *accept = berth_exchange_header(c->x, "accept");
    struct events *ev = BERTH_NEW(c->arena, struct events);

    if (d == NULL)
        return;
    if (ev == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "out of memory");
        return;
    }
    *ev = (struct events){.d = d, .q.service_id = berth_services_asked(c, "serviceId")};
    if (!read_query(c, ev))
        return;
    /* A stream, unless a list is asked for. */
    ev->sse = accept == NULL || memmem(accept->at, accept->len, "application/json", 16) == NULL;
    answer(c, ev, ev->sse && !berth_services_asked_flag(c, "list"));
}

void
berth_services_pipeline_logs(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const struct berth_slice *accept = berth_exchange_header(c->x, "accept");
    const char *id = d != NULL ? berth_services_named(c, d) : NULL;
    const char *format = id != NULL ? berth_services_asked(c, "format") : NULL;
    struct events *ev = BERTH_NEW(c->arena, struct events);

    if (id == NULL)
        return;
    if (ev == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "out of memory");
        return;
    }
    *ev = (struct events){.d = d, .q.service_id = id, .q.type = "service."};
    ev->text = format != NULL && strcmp(format, "text") == 0;
    ev->sse = !ev->text && accept != NULL &&
              memmem(accept->at, accept->len, "text/event-stream", 17) != NULL;
    if (read_query(c, ev))
        answer(c, ev, berth_services_asked_flag(c, "follow"));
}

/* ---- what replicas print ---- */

struct printed {
    struct berth_deploy *d;
    const char *id;
    struct berth_deploy_logs how;
    struct berth_feed *feed;
    bool named; /* the replica stands before each line */
};

static bool
print_line(void *arg, const char *replica, const char *text, size_t len)
{
    struct printed *p = arg;
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    if (p->named)
        berth_buf_printf(&b, "[%s] ", replica);
    berth_buf_put(&b, text, len);
    if (len == 0 || text[len - 1] != '\n')
        berth_buf_putc(&b, '\n');
    const bool ok = !b.failed && berth_feed_put(p->feed, b.at, b.len) == 0;
    berth_buf_fini(&b);
    return ok;
}

static bool
print_cancelled(void *arg)
{
    const struct printed *p = arg;

    return berth_feed_over(p->feed);
}

static void
print_all(struct berth_feed *f, void *arg)
{
    struct printed *p = arg;
    struct berth_err e = {""};

    p->feed = f;
    if (berth_deploy_logs(p->d, p->id, &p->how, &e) < 0 && !berth_feed_over(f)) {
        char text[600];
        const int n = snprintf(text, sizeof text, "berth: the log cannot be read: %s\n", e.msg);

        (void)berth_feed_put(f, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    }
}

void
berth_services_logs(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const char *id = d != NULL ? berth_services_named(c, d) : NULL;
    struct printed *p = BERTH_NEW(c->arena, struct printed);
    int64_t tail = 0;

    if (id == NULL || !berth_services_asked_number(c, "tail", 1, 1000000, &tail))
        return;
    if (p == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "out of memory");
        return;
    }
    *p = (struct printed){.d = d, .id = id};
    p->how = (struct berth_deploy_logs){
        .track = berth_services_asked(c, "track"),
        .query = {.replica = berth_services_asked(c, "replica"),
                  .tail_lines = (uint32_t)tail,
                  .follow = berth_services_asked_flag(c, "follow")},
        .line = print_line,
        .cancelled = print_cancelled,
        .arg = p,
    };
    p->named = p->how.query.replica == NULL;
    berth_feed_start(c, "text/plain; charset=utf-8", print_all, p);
}
