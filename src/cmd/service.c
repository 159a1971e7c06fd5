#include "cmd/service.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/cmd_priv.h"
#include "cmd/sse.h"
#include "net/client.h"
#include "wire/json.h"

enum { LOOK_MS = 250, ERROR_BYTES_MAX = 64 * 1024, PATH_PARTS_MAX = 8 };

/* All that a signal handler may touch. */
static volatile sig_atomic_t interrupted;

static void
on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* The first Ctrl-C is ours; the next one ends the program. */
static void
catch_interrupt(struct sigaction *before)
{
    const struct sigaction stop = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

    interrupted = 0;
    (void)sigaction(SIGINT, NULL, before);
    if (before->sa_handler != SIG_IGN)
        (void)sigaction(SIGINT, &stop, NULL);
}

int
berth_service_call(struct berth_remote *r, const char *method, const char *path, const char *name,
                   const struct berth_buf *body, const struct berth_json **ret)
{
    const struct berth_json *answer = NULL;
    char whole[128];

    (void)snprintf(whole, sizeof whole, "/api/v1/modserv%s", path);
    const int rc = berth_remote_call(r, method, whole, name, body, &answer);
    if (rc == BERTH_EXIT_OK && ret != NULL)
        *ret = berth_json_get(answer, "data");
    return rc;
}

int
berth_service_print(const struct berth_args *args, const struct berth_json *v)
{
    struct berth_buf out;

    berth_buf_init(&out, NULL);
    berth_json_put(&out, v);
    berth_buf_putc(&out, '\n');
    return berth_print(args, &out);
}

/* ---- steps, as they go ---- */

struct shown {
    struct berth_remote *r;
    const char *id;
    bool is_terminal, began;
    size_t done;     /* steps that stand above */
    size_t line_len; /* of the line that is rewritten */
    uint64_t begin_ns, limit_ns;
    char last_note[600]; /* without a terminal: what was said last */
    char message[400];   /* the service's own, at the last look */
};

static void
clear_line(struct shown *s)
{
    if (s->is_terminal && s->line_len > 0)
        (void)fprintf(stderr, "\r%*s\r", (int)s->line_len, "");
    s->line_len = 0;
}

static void
say_done(struct shown *s, const struct berth_json *step)
{
    const char *state = berth_remote_text(step, "state", "?");
    const char *mark = strcmp(state, "succeeded") == 0 ? "ok" : state;

    clear_line(s);
    (void)fprintf(stderr, "  %-24s %-10s %6.1f s", berth_remote_text(step, "name", "?"), mark,
                  (double)berth_json_member_uint(step, "durationMs") / 1e3);
    if (berth_json_member_uint(step, "attempts") > 1)
        (void)fprintf(stderr, ", %llu attempts",
                      (unsigned long long)berth_json_member_uint(step, "attempts"));
    (void)fputc('\n', stderr);
}

/* "replica ID: it failed" without the id, which alone is as long as a line. */
static const char *
without_replica(const char *error)
{
    const char *colon = strncmp(error, "replica ", 8) == 0 ? strstr(error, ": ") : NULL;

    return colon != NULL ? colon + 2 : error;
}

/* What goes on now: rewritten on a terminal, else told when it changes. */
static void
say_note(struct shown *s, const char *note)
{
    static const char turning[] = "|/-\\";
    const uint64_t spent_ns = berth_now_ns() - s->begin_ns;

    if (!s->is_terminal) {
        if (strcmp(note, s->last_note) != 0)
            (void)fprintf(stderr, "  %s\n", note);
        (void)snprintf(s->last_note, sizeof s->last_note, "%s", note);
        return;
    }
    clear_line(s);
    const int n = fprintf(stderr, "%c %.70s  %.0f s", turning[spent_ns / (LOOK_MS * BERTH_MS) % 4],
                          note, (double)spent_ns / 1e9);
    s->line_len = n > 0 ? (size_t)n : 0;
    (void)fflush(stderr);
}

static void
say_now(struct shown *s, const struct berth_json *step)
{
    const char *error = without_replica(berth_remote_text(step, "error", ""));
    char note[200];

    (void)snprintf(note, sizeof note, "%s %s%s%.120s", berth_remote_text(step, "name", "?"),
                   berth_remote_text(step, "state", "?"), error[0] != '\0' ? ": " : "", error);
    say_note(s, note);
}

static void
say_steps(struct shown *s, const struct berth_json *pipeline)
{
    const struct berth_json *steps = berth_json_get(pipeline, "steps");

    for (struct berth_json_iter it = berth_json_iter(steps); berth_json_next(&it);) {
        const char *state = berth_remote_text(it.value, "state", "?");

        if (it.index < s->done)
            continue;
        if (strcmp(state, "pending") == 0)
            return;
        if (strcmp(state, "running") == 0 || strcmp(state, "retrying") == 0) {
            say_now(s, it.value);
            return;
        }
        say_done(s, it.value);
        s->done = it.index + 1;
    }
}

static void
say_running(struct berth_remote *r, const struct berth_json *service, bool canary, uint64_t took_ns)
{
    const struct berth_json *c = berth_json_get(service, "canary");
    const char *endpoint = berth_remote_text(service, "endpoint", "");
    const char *model = berth_remote_text(service, "modelName", "");

    if (canary) {
        (void)printf(
            "%s: the canary runs after %.1f s, revision %llu with %llu %% of the requests\n",
            berth_remote_text(service, "serviceId", "?"), (double)took_ns / 1e9,
            (unsigned long long)berth_json_member_uint(c, "revision"),
            (unsigned long long)berth_json_member_uint(c, "weight"));
        return;
    }
    (void)printf("%s is running after %.1f s\n", berth_remote_text(service, "serviceId", "?"),
                 (double)took_ns / 1e9);
    if (endpoint[0] != '\0')
        (void)printf("  endpoint  %s\n", endpoint);
    (void)printf("  as model  %s at %s/v1\n", model, r->base);
}

const char *
berth_service_away(const struct berth_json *service)
{
    return berth_remote_text(berth_json_get(service, "away"), "message", "");
}

/* Where the revision that is waited for stands. */
struct stand {
    bool is_canary, runs, failed, began;
};

static struct stand
stand_of(const struct berth_json *service, uint64_t revision)
{
    const struct berth_json *canary = berth_json_get(service, "canary");
    const char *state = berth_remote_text(canary, "state", "");
    const char *phase = berth_remote_text(service, "phase", "?");
    bool retrying = false;

    /* One that is promoted or taken away is no canary any more: a later revision says how it ends.
     */
    if (revision > 0 && berth_json_member_uint(canary, "revision") == revision &&
        strcmp(state, "promoting") != 0 && strcmp(state, "leaving") != 0)
        return (struct stand){.is_canary = true,
                              .runs = strcmp(state, "running") == 0,
                              .failed = strcmp(state, "failed") == 0,
                              .began = true};
    (void)berth_json_bool(berth_json_get(service, "retrying"), &retrying);
    const bool running = strcmp(phase, "running") == 0, failed = strcmp(phase, "failed") == 0;
    return (struct stand){.runs = running && !retrying &&
                                  berth_json_member_uint(service, "runningRevision") >= revision,
                          .failed = failed && !retrying,
                          .began = !(failed && retrying) && !(running && revision == 0)};
}

static int
say_failed(const struct shown *s, const struct berth_json *service)
{
    return berth_failed(s->r->args,
                        "%s has failed: %s\nLook at `berth describe %s` and `berth logs %s`; "
                        "`berth retry %s` tries again.",
                        s->id, berth_remote_text(service, "message", "no reason given"), s->id,
                        s->id, s->id);
}

/* 0: go on; else the exit status + 1. */
static int
look(struct shown *s, uint64_t revision)
{
    struct berth_remote *r = s->r;
    const struct berth_json *service = NULL, *pipeline = NULL;
    int rc = berth_service_call(r, "GET", "/{}", s->id, NULL, &service);

    if (rc != BERTH_EXIT_OK)
        return rc + 1;
    const struct stand stand = stand_of(service, revision);
    (void)snprintf(s->message, sizeof s->message, "%s", berth_remote_text(service, "message", ""));
    rc =
        berth_service_call(r, "GET", stand.is_canary ? "/{}/pipeline?track=canary" : "/{}/pipeline",
                           s->id, NULL, &pipeline);
    if (rc != BERTH_EXIT_OK)
        return rc + 1;
    s->began = s->began || stand.began; /* what runs from the first look on has no steps to show */
    if (berth_service_away(service)[0] != '\0')
        say_note(s, berth_service_away(service));
    else if (s->began && berth_json_member_uint(pipeline, "revision") >= revision)
        say_steps(s, pipeline);
    if (!stand.runs && !stand.failed)
        return 0;
    clear_line(s);
    if (stand.failed)
        return say_failed(s, service) + 1;
    say_running(r, service, stand.is_canary, berth_now_ns() - s->begin_ns);
    return BERTH_EXIT_OK + 1;
}

static int
not_in_time(struct shown *s, const char *what)
{
    clear_line(s);
    const char *so_far = s->message[0] != '\0' ? "; what it says so far: " : "";
    if (interrupted)
        return berth_failed(s->r->args, "no longer watched; the work goes on: `berth describe %s`",
                            s->id);
    return berth_failed(s->r->args, "%s %s after %llu s%s%s; the work goes on: `berth describe %s`",
                        s->id, what, (unsigned long long)(s->limit_ns / BERTH_S), so_far,
                        s->message, s->id);
}

static bool
rest(const struct shown *s)
{
    const struct timespec some = {.tv_nsec = LOOK_MS * 1000000};

    (void)nanosleep(&some, NULL);
    return !interrupted && berth_now_ns() - s->begin_ns < s->limit_ns;
}

int
berth_service_wait(struct berth_remote *r, const char *id, uint64_t revision, uint64_t limit_s)
{
    struct shown s = {.r = r,
                      .id = id,
                      .is_terminal = isatty(STDERR_FILENO) == 1,
                      .begin_ns = berth_now_ns(),
                      .limit_ns = limit_s * BERTH_S};
    struct sigaction before;
    int rc;

    catch_interrupt(&before);
    do
        rc = look(&s, revision);
    while (rc == 0 && rest(&s));
    (void)sigaction(SIGINT, &before, NULL);
    if (rc > 0)
        return rc - 1;
    rc = not_in_time(&s, "does not run yet");
    return interrupted ? BERTH_EXIT_INTERRUPTED : rc;
}

/* What it is that takes its time, once it does, and again when that changes: a step, or that none
 * can begin. */
static void
say_going(struct shown *s, const struct berth_json *service)
{
    const char *message = berth_remote_text(service, "message", "");
    const struct berth_json *pipeline = NULL;
    struct berth_slice text;
    uint16_t status = 0;

    if (berth_now_ns() - s->begin_ns < 3 * BERTH_S ||
        berth_remote_try(s->r, "GET", "/api/v1/modserv/{}/pipeline", s->id, NULL, &status, &text) !=
            BERTH_EXIT_OK ||
        status != 200 ||
        berth_json_parse(&s->r->arena, text.at, text.len, NULL, &pipeline, NULL) < 0)
        return;
    const struct berth_json *steps = berth_json_get(berth_json_get(pipeline, "data"), "steps");
    for (struct berth_json_iter it = berth_json_iter(steps); berth_json_next(&it);) {
        const char *state = berth_remote_text(it.value, "state", "?");

        if (strcmp(state, "running") == 0 || strcmp(state, "retrying") == 0) {
            say_now(s, it.value);
            return;
        }
    }
    char note[sizeof s->last_note];
    (void)snprintf(note, sizeof note, "%s: %s", berth_remote_text(service, "phase", "?"), message);
    if (message[0] != '\0')
        say_note(s, note);
}

int
berth_service_wait_gone(struct berth_remote *r, const char *id, uint64_t limit_s)
{
    struct shown s = {.r = r,
                      .id = id,
                      .is_terminal = isatty(STDERR_FILENO) == 1,
                      .begin_ns = berth_now_ns(),
                      .limit_ns = limit_s * BERTH_S};
    struct sigaction before;
    bool gone = false;

    catch_interrupt(&before);
    do {
        const struct berth_json *service = NULL;
        struct berth_slice text;
        uint16_t status = 0;
        const int rc = berth_remote_try(r, "GET", "/api/v1/modserv/{}", id, NULL, &status, &text);

        if (rc != BERTH_EXIT_OK)
            return rc;
        gone = status == 404;
        if (status == 200 &&
            berth_json_parse(&r->arena, text.at, text.len, NULL, &service, NULL) == 0) {
            service = berth_json_get(service, "data");
            gone = strcmp(berth_remote_text(service, "phase", ""), "terminated") == 0;
        }
        const char *away = service != NULL ? berth_service_away(service) : "";
        if (!gone && away[0] != '\0')
            say_note(&s, away);
        else if (!gone && service != NULL)
            say_going(&s, service);
    } while (!gone && rest(&s));
    clear_line(&s);
    (void)sigaction(SIGINT, &before, NULL);
    if (gone) {
        (void)printf("%s is deleted\n", id);
        return BERTH_EXIT_OK;
    }
    const int rc = not_in_time(&s, "is not gone");
    return interrupted ? BERTH_EXIT_INTERRUPTED : rc;
}

/* ---- streams ---- */

struct stream {
    struct berth_sse sse;
    bool is_sse, unwritten;
    void (*put)(struct berth_buf *out, struct berth_slice data); /* or NULL */
    struct berth_buf error;
};

static bool
print_data(void *arg, struct berth_slice data)
{
    struct stream *s = arg;
    struct berth_buf line;

    berth_buf_init(&line, NULL);
    if (s->put != NULL) {
        s->put(&line, data);
    } else {
        berth_buf_put(&line, data.at, data.len);
        berth_buf_putc(&line, '\n');
    }
    s->unwritten = line.failed || !berth_tell(stdout, line.at, line.len) || fflush(stdout) != 0;
    berth_buf_fini(&line);
    return !s->unwritten;
}

static bool
on_part(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct stream *s = arg;

    if (status != 200) {
        if (s->error.len + len <= ERROR_BYTES_MAX)
            berth_buf_put(&s->error, bytes, len);
        return true;
    }
    if (s->is_sse)
        return berth_sse_feed(&s->sse, bytes, len, print_data, s);
    s->unwritten = !berth_tell(stdout, bytes, len) || fflush(stdout) != 0;
    return !s->unwritten;
}

static bool
go_on(void *arg, uint64_t got, uint64_t total)
{
    (void)arg;
    (void)got;
    (void)total;
    return interrupted == 0;
}

int
berth_service_stream(struct berth_remote *r, const char *url, bool sse,
                     void (*put)(struct berth_buf *out, struct berth_slice data))
{
    struct stream s = {.is_sse = sse, .put = put};
    struct sigaction before;
    struct berth_client_answer answer;
    struct berth_err e = {""};
    const struct berth_client_call what = {.url = url,
                                           .bearer = r->key,
                                           .silent_ns_max = 86400 * BERTH_S,
                                           .body_bytes_max = UINT64_MAX,
                                           .body_part = on_part,
                                           .go_on = go_on,
                                           .arg = &s};

    if (url == NULL)
        return berth_failed(r->args, "not enough memory");
    berth_sse_init(&s.sse);
    berth_buf_init(&s.error, &r->arena);
    catch_interrupt(&before);
    int rc = berth_client_call(r->client, &what, &answer, &e);
    if (rc == 0)
        berth_buf_fini(&answer.body);
    (void)sigaction(SIGINT, &before, NULL);
    if (interrupted)
        rc = BERTH_EXIT_OK; /* that is how following ends */
    else if (s.unwritten)
        rc = berth_failed(r->args, "standard output cannot be written: %m");
    else if (rc < 0)
        rc = berth_remote_absent(r, e.msg);
    else if (answer.status != 200)
        rc = berth_remote_tell(r, answer.status, (struct berth_slice){s.error.at, s.error.len});
    berth_sse_fini(&s.sse);
    return rc;
}

/* ---- words ---- */

/* The value as JSON where it is that, else as a string. */
static void
put_value(struct berth_jw *w, struct berth_arena *a, const char *text)
{
    const struct berth_json *v;

    if (text[0] != '\0' && berth_json_parse(a, text, strlen(text), NULL, &v, NULL) == 0)
        berth_jw_value(w, v);
    else
        berth_jw_string(w, text);
}

/* Two patches as one: b comes after a, and nulls stay nulls.  Not deeper than words have parts. */
static void
put_both(struct berth_jw *w, const struct berth_json *a, const struct berth_json *b)
{
    if (berth_json_type(a) != BERTH_JSON_OBJECT || berth_json_type(b) != BERTH_JSON_OBJECT) {
        berth_jw_value(w, b);
        return;
    }
    berth_jw_object(w);
    for (struct berth_json_iter it = berth_json_iter(a); berth_json_next(&it);) {
        const struct berth_json *over = berth_json_get(b, it.key.at);

        berth_jw_key_n(w, it.key.at, it.key.len);
        if (over != NULL)
            put_both(w, it.value, over);
        else
            berth_jw_value(w, it.value);
    }
    for (struct berth_json_iter it = berth_json_iter(b); berth_json_next(&it);) {
        if (berth_json_get(a, it.key.at) != NULL)
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_jw_value(w, it.value);
    }
    berth_jw_object_end(w);
}

bool
berth_service_words(const struct berth_args *args, size_t from, struct berth_arena *a,
                    const struct berth_json **ret)
{
    const struct berth_json *all = NULL;

    if (berth_json_parse(a, "{}", 2, NULL, &all, NULL) < 0)
        return false;
    for (size_t i = from; i < args->word_count; i++) {
        const char *word = args->words[i], *eq = strchr(word, '='), *at = word;
        const struct berth_json *one = NULL;
        struct berth_buf b, merged;
        struct berth_jw w;
        unsigned depth = 0;

        if (eq == NULL || eq == word) {
            (void)berth_usage(args, "'%s' should be KEY=VALUE, such as replicaCount=2", word);
            return false;
        }
        berth_buf_init(&b, a);
        berth_jw_init(&w, &b);
        do {
            const size_t n = strcspn(at, ".=");

            berth_jw_object(&w);
            /* A variable's name is all that follows. */
            berth_jw_key_n(&w, at,
                           depth == 1 && strncmp(word, "env.", 4) == 0 ? (size_t)(eq - at) : n);
            at = depth == 1 && strncmp(word, "env.", 4) == 0 ? eq : at + n + (at[n] == '.');
        } while (at < eq && ++depth < PATH_PARTS_MAX);
        put_value(&w, a, eq + 1);
        for (unsigned k = 0; k <= depth; k++)
            berth_jw_object_end(&w);
        berth_buf_init(&merged, a);
        if (berth_buf_text(&b) != NULL && berth_json_parse(a, b.at, b.len, NULL, &one, NULL) == 0) {
            berth_jw_init(&w, &merged);
            put_both(&w, all, one);
        }
        if (berth_buf_text(&merged) == NULL ||
            berth_json_parse(a, merged.at, merged.len, NULL, &all, NULL) < 0) {
            (void)berth_usage(args, "'%s' cannot be read", word);
            return false;
        }
    }
    *ret = all;
    return true;
}
