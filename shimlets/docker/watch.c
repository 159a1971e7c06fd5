#include "shimlets/docker/watch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "net/client.h"
#include "shimlets/docker/engine.h"
#include "shimlets/docker/health.h"
#include "shimlets/docker/stream.h"
#include "shimlets/docker/unit.h"
#include "wire/json.h"
#include "wire/uri.h"

enum {
    PAUSE_MS = 100, /* before the stream is opened again, doubling up to ... */
    PAUSE_MS_MAX = 30000,
    LINE_BYTES_MAX = 1024 * 1024, /* an event has all labels of its container in it */
    LIST_BYTES_MAX = 64 * 1024 * 1024,
};

struct berth_docker_watch {
    const struct berth_shimlet_host *h;
    void *who;
    const struct berth_docker_conf *conf;
    struct berth_docker_engine *g;
    struct berth_docker_health *health;
    struct berth_client *client; /* stopped from outside */
    char service_label[160];
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t wake;
    bool stop, open; /* under mu */
};

/* What changes how a container is, or is a person's work. */
static const char *const actions[] = {"create", "start",   "restart", "die",    "oom",    "stop",
                                      "pause",  "unpause", "update",  "rename", "destroy"};

static bool
on_line(void *arg, const char *text, size_t len)
{
    struct berth_docker_watch *w = arg;
    struct berth_docker_event ev;

    if (!berth_docker_event_parse(text, len, w->service_label, &ev))
        return true;
    if (strcmp(ev.action, "die") == 0 || strcmp(ev.action, "destroy") == 0)
        berth_docker_health_forget(w->health, ev.id);
    if (ev.service_id[0] != '\0')
        w->h->changed(w->who, ev.service_id);
    return true;
}

static bool
on_part(void *arg, const char *bytes, size_t len)
{
    return berth_docker_lines_feed(arg, bytes, len);
}

static bool
is_stopped(struct berth_docker_watch *w, bool open)
{
    (void)pthread_mutex_lock(&w->mu);
    w->open = open && !w->stop;
    const bool stop = w->stop;
    (void)pthread_mutex_unlock(&w->mu);
    return stop;
}

bool
berth_docker_watch_is_open(struct berth_docker_watch *w)
{
    (void)pthread_mutex_lock(&w->mu);
    const bool open = w->open;
    (void)pthread_mutex_unlock(&w->mu);
    return open;
}

/* Every service that has containers may have changed while nobody listened. */
static int
tell_all(struct berth_docker_watch *w, struct berth_err *e)
{
    const struct berth_json *root;
    struct berth_arena a;
    struct berth_buf path;

    berth_arena_init(&a, LIST_BYTES_MAX);
    berth_buf_init(&path, &a);
    berth_buf_puts(&path, "/containers/json?all=1&");
    int r = berth_docker_filters(w->conf, NULL, &a, &path, e);
    const struct berth_docker_ask ask = {.path = berth_buf_text(&path), .client = w->client};
    if (r == 0)
        r = berth_docker_ask(w->g, &ask, &a, &root, e);
    for (struct berth_json_iter it = berth_json_iter(r == 0 ? root : NULL); berth_json_next(&it);) {
        const struct berth_json *labels = berth_json_get(it.value, "Labels");
        struct berth_slice id;

        if (berth_json_string(berth_json_get(labels, w->service_label), &id))
            w->h->changed(w->who, id.at);
    }
    berth_arena_fini(&a);
    return r;
}

/* The path of the stream, from a moment of the daemon's clock on.  In the arena. */
static const char *
events_path(const struct berth_docker_watch *w, uint64_t since_ns, struct berth_arena *a)
{
    struct berth_buf json, path;
    struct berth_jw j;

    berth_buf_init(&json, a);
    berth_buf_init(&path, a);
    berth_jw_init(&j, &json);
    berth_jw_object(&j);
    berth_jw_key(&j, "type");
    berth_jw_array(&j);
    berth_jw_string(&j, "container");
    berth_jw_array_end(&j);
    berth_jw_key(&j, "label");
    berth_jw_array(&j);
    berth_jw_string(&j,
                    berth_arena_printf(a, "%s.owner=%s", w->conf->label_prefix, w->conf->owner));
    berth_jw_array_end(&j);
    berth_jw_key(&j, "event");
    berth_jw_array(&j);
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        berth_jw_string(&j, actions[i]);
    berth_jw_array_end(&j);
    berth_jw_object_end(&j);
    berth_buf_printf(&path,
                     "/events?since=%llu.%09llu&filters=", (unsigned long long)(since_ns / BERTH_S),
                     (unsigned long long)(since_ns % BERTH_S));
    berth_uri_put(&path, json.at != NULL ? json.at : "", json.len);
    return json.failed ? NULL : berth_buf_text(&path);
}

/* The daemon's clock.  Events from then on are told even if the stream is opened later. */
static int
daemon_time(struct berth_docker_watch *w, struct berth_arena *a, uint64_t *ret_ns,
            struct berth_err *e)
{
    const struct berth_docker_ask ask = {.path = "/info", .client = w->client};
    const struct berth_json *root;
    struct berth_slice text;
    size_t skip;
    const int r = berth_docker_ask(w->g, &ask, a, &root, e);

    if (r < 0)
        return r;
    if (!berth_json_string(berth_json_get(root, "SystemTime"), &text) ||
        !berth_docker_stamp(text.at, text.len, ret_ns, &skip))
        return berth_err_set(e, BERTH_EIO, "docker: /info has no time");
    return 0;
}

static int
listen_once(struct berth_docker_watch *w, bool *ret_opened, struct berth_err *e)
{
    struct berth_docker_lines lines;
    struct berth_arena a;
    uint64_t since_ns;

    berth_arena_init(&a, 4 * 1024 * 1024);
    int r = daemon_time(w, &a, &since_ns, e);
    if (r == 0)
        r = tell_all(w, e);
    *ret_opened = r == 0;
    if (r < 0 || is_stopped(w, true)) {
        berth_arena_fini(&a);
        return r;
    }
    berth_docker_lines_init(&lines, LINE_BYTES_MAX, true, on_line, w);
    const struct berth_docker_ask ask = {
        .path = events_path(w, since_ns, &a),
        .part = on_part,
        .arg = &lines,
        .silent_ns_max = UINT64_MAX, /* it is silent for as long as nothing happens */
        .client = w->client,
    };
    r = ask.path != NULL ? berth_docker_ask(w->g, &ask, NULL, NULL, e)
                         : berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    berth_docker_lines_fini(&lines);
    berth_arena_fini(&a);
    return r;
}

/* Sleep, unless it is time to go.  Returns whether it is. */
static bool
pause_ms(struct berth_docker_watch *w, uint64_t ms)
{
    const uint64_t end_ns = berth_now_ns() + ms * BERTH_MS;
    const struct timespec until = {.tv_sec = (time_t)(end_ns / BERTH_S),
                                   .tv_nsec = (long)(end_ns % BERTH_S)};

    (void)pthread_mutex_lock(&w->mu);
    w->open = false;
    while (!w->stop && berth_now_ns() < end_ns)
        (void)pthread_cond_timedwait(&w->wake, &w->mu, &until);
    const bool stop = w->stop;
    (void)pthread_mutex_unlock(&w->mu);
    return stop;
}

static void *
body(void *arg)
{
    struct berth_docker_watch *w = arg;
    uint64_t ms = PAUSE_MS;
    bool told = false;

    for (;;) {
        struct berth_err e = {.msg = "the stream of events ended"};
        char text[640];
        bool opened = false;

        (void)listen_once(w, &opened, &e);
        if (is_stopped(w, false))
            return NULL;
        if (opened || !told) { /* a daemon that stays away is told of once */
            (void)snprintf(text, sizeof text, "docker: events are not heard, trying again: %s",
                           e.msg);
            w->h->log(BERTH_LOG_WARN, text);
        }
        told = true;
        ms = opened ? PAUSE_MS : ms < PAUSE_MS_MAX / 2 ? ms * 2 : PAUSE_MS_MAX;
        if (pause_ms(w, ms))
            return NULL;
    }
}

int
berth_docker_watch_new(const struct berth_shimlet_host *h, void *who,
                       const struct berth_docker_conf *conf, struct berth_docker_engine *g,
                       struct berth_docker_health *health, struct berth_docker_watch **ret,
                       struct berth_err *e)
{
    struct berth_docker_watch *w = calloc(1, sizeof *w);
    pthread_condattr_t attr;
    int r = w != NULL ? berth_client_new(&w->client, e)
                      : berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");

    if (r < 0) {
        free(w);
        return r;
    }
    w->h = h;
    w->who = who;
    w->conf = conf;
    w->g = g;
    w->health = health;
    (void)snprintf(w->service_label, sizeof w->service_label, "%s.service", conf->label_prefix);
    (void)pthread_mutex_init(&w->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&w->thread, NULL, body, w) != 0) {
        (void)pthread_cond_destroy(&w->wake);
        (void)pthread_mutex_destroy(&w->mu);
        berth_client_free(w->client);
        free(w);
        return berth_err_set(e, BERTH_ELIMIT, "docker: no thread to be had");
    }
    *ret = w;
    return 0;
}

void
berth_docker_watch_free(struct berth_docker_watch *w)
{
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->mu);
    w->stop = true;
    (void)pthread_cond_signal(&w->wake);
    (void)pthread_mutex_unlock(&w->mu);
    berth_client_stop(w->client);
    (void)pthread_join(w->thread, NULL);
    berth_client_free(w->client);
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->mu);
    free(w);
}
