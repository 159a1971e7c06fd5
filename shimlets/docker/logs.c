#include "shimlets/docker/docker_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "net/client.h"
#include "shimlets/docker/stream.h"
#include "wire/json.h"

enum {
    LINE_BYTES_MAX = 64 * 1024, /* a longer one is handed on in parts */
    LOOK_MS = 100,              /* for an end, while following */
    LIST_MS = 1000,             /* for new replicas, while following */
    REASON_BYTES = 160,         /* of a line in a reason */
    LAST_LINES = 3,
};

/* ---- one container's output ---- */

/* Takes frames apart into lines and their times. */
struct reader {
    struct berth_docker_frames frames;
    struct berth_docker_lines lines[BERTH_DOCKER_STREAMS]; /* each output has unfinished lines */
    uint64_t after_ns;                                     /* lines up to then were told before */
    uint64_t last_ns;
    bool (*tell)(void *arg, uint64_t time_ns, const char *text, size_t len);
    void *arg;
};

static bool
on_line(void *arg, const char *text, size_t len)
{
    struct reader *r = arg;
    uint64_t time_ns = r->last_ns;
    size_t skip = 0;

    if (berth_docker_stamp(text, len, &time_ns, &skip) && time_ns <= r->after_ns)
        return true;
    if (time_ns > r->last_ns) /* the two outputs are not in order to the nanosecond */
        r->last_ns = time_ns;
    return r->tell(r->arg, time_ns, text + skip, len - skip);
}

static bool
on_frame(void *arg, unsigned stream, const char *bytes, size_t len)
{
    struct reader *r = arg;

    return berth_docker_lines_feed(&r->lines[stream], bytes, len);
}

static bool
on_part(void *arg, const char *bytes, size_t len)
{
    struct reader *r = arg;

    return berth_docker_frames_feed(&r->frames, bytes, len);
}

struct log_call {
    const char *id;
    uint32_t tail;
    bool follow;
    uint64_t after_ns;           /* on the daemon's clock; 0: all */
    struct berth_client *client; /* NULL: one of the engine's */
    bool (*tell)(void *arg, uint64_t time_ns, const char *text, size_t len);
    void *arg;
};

/* 0, also when tell() said stop; *ret_after_ns (may be NULL): the last line's time. */
static int
read_logs(struct berth_shimlet *s, const struct berth_op *op, const struct log_call *c,
          uint64_t *ret_after_ns, struct berth_err *e)
{
    struct reader r = {
        .after_ns = c->after_ns, .last_ns = c->after_ns, .tell = c->tell, .arg = c->arg};
    char path[300], tail[16] = "all", since[48] = "";
    struct berth_err why;

    if (c->tail > 0)
        (void)snprintf(tail, sizeof tail, "%u", c->tail);
    if (c->after_ns > 0)
        (void)snprintf(since, sizeof since, "&since=%llu.%09llu",
                       (unsigned long long)(c->after_ns / BERTH_S),
                       (unsigned long long)(c->after_ns % BERTH_S));
    (void)snprintf(path, sizeof path,
                   "/containers/%s/logs?stdout=1&stderr=1&timestamps=1&follow=%d&tail=%s%s", c->id,
                   c->follow, tail, since);
    r.frames = (struct berth_docker_frames){.part = on_frame, .arg = &r};
    for (size_t i = 0; i < BERTH_DOCKER_STREAMS; i++)
        berth_docker_lines_init(&r.lines[i], LINE_BYTES_MAX, false, on_line, &r);
    const struct berth_docker_ask ask = {
        .path = path,
        .part = on_part,
        .arg = &r,
        .silent_ns_max = c->follow ? UINT64_MAX : 0,
        .op = op,
        .client = c->client,
    };
    const int rc = berth_docker_ask(s->g, &ask, NULL, NULL, &why);
    for (size_t i = 0; i < BERTH_DOCKER_STREAMS; i++) {
        if (rc == 0)
            (void)berth_docker_lines_end(&r.lines[i]);
        berth_docker_lines_fini(&r.lines[i]);
    }
    if (ret_after_ns != NULL)
        *ret_after_ns = r.last_ns;
    if (rc == -BERTH_ECANCELED && (op == NULL || !s->h->cancelled(op)))
        return 0; /* tell() had enough */
    return rc < 0 ? berth_err_set(e, (enum berth_code) - rc, "%s", why.msg) : 0;
}

/* ---- the last lines ---- */

/* A program's last line is often "see --help": the ones before say why. */
struct last {
    char text[LAST_LINES][REASON_BYTES + 1];
    size_t count;
};

static bool
keep_last(void *arg, uint64_t time_ns, const char *text, size_t len)
{
    struct last *l = arg;
    char *to = l->text[l->count % LAST_LINES];

    (void)time_ns;
    if (len > REASON_BYTES)
        len = REASON_BYTES;
    if (len == 0)
        return true;
    for (size_t i = 0; i < len; i++)
        to[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i];
    to[len] = '\0';
    l->count++;
    return true;
}

const char *
berth_docker_last_lines(struct berth_shimlet *s, const struct berth_op *op, const char *id,
                        struct berth_arena *a)
{
    struct last last = {.count = 0};
    const struct log_call c = {.id = id, .tail = 2 * LAST_LINES, .tell = keep_last, .arg = &last};
    struct berth_buf b;

    if (read_logs(s, op, &c, NULL, NULL) < 0 || last.count == 0)
        return NULL;
    berth_buf_init(&b, a);
    for (size_t i = last.count < LAST_LINES ? 0 : last.count - LAST_LINES; i < last.count; i++)
        berth_buf_printf(&b, "%s%s", b.len > 0 ? " | " : "", last.text[i % LAST_LINES]);
    return berth_buf_text(&b);
}

/* ---- all of a unit, as it is ---- */

struct entry {
    uint64_t time_ns;
    const char *replica, *text;
    size_t len;
};

struct gather {
    struct berth_arena *a;
    const char *replica;
    struct entry *entries;
    size_t count, cap;
    bool full;
};

static bool
add(void *arg, uint64_t time_ns, const char *text, size_t len)
{
    struct gather *g = arg;

    if (g->count == g->cap) {
        const size_t cap = g->cap > 0 ? g->cap * 2 : 256;
        struct entry *more = BERTH_NEW_N(g->a, struct entry, cap);
        g->full = more == NULL;
        if (g->full)
            return false;
        if (g->count > 0)
            memcpy(more, g->entries, g->count * sizeof *more);
        g->entries = more;
        g->cap = cap;
    }
    const char *kept = berth_arena_strndup(g->a, text, len);
    g->full = kept == NULL;
    if (g->full)
        return false;
    g->entries[g->count++] = (struct entry){time_ns, g->replica, kept, len};
    return true;
}

static int
by_time(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;

    return a->time_ns < b->time_ns ? -1 : a->time_ns > b->time_ns;
}

struct direct {
    const char *replica;
    bool (*line)(void *arg, const char *replica, const char *text, size_t len);
    void *arg;
};

static bool
tell_direct(void *arg, uint64_t time_ns, const char *text, size_t len)
{
    const struct direct *d = arg;

    (void)time_ns;
    return d->line(d->arg, d->replica, text, len);
}

struct replica {
    const char *id;
    char short_id[13];
};

/* The containers of a unit that the query is about, in the arena. */
static int
replicas_of(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
            const char *only, struct berth_arena *a, struct replica **ret, size_t *ret_count,
            struct berth_err *e)
{
    const struct berth_json *listed;
    size_t n = 0;
    const int r = berth_docker_list(s, op, unit_name, a, &listed, e);

    if (r < 0)
        return r;
    struct replica *all = BERTH_NEW_N(a, struct replica, berth_json_len(listed) + 1);
    if (all == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    for (struct berth_json_iter it = berth_json_iter(listed); berth_json_next(&it);) {
        struct berth_slice id;

        if (!berth_json_string(berth_json_get(it.value, "Id"), &id) || id.len < 12 ||
            (only != NULL && strncmp(id.at, only, 12) != 0))
            continue;
        all[n].id = id.at;
        (void)snprintf(all[n].short_id, sizeof all[n].short_id, "%.12s", id.at);
        n++;
    }
    *ret = all;
    *ret_count = n;
    return 0;
}

static int
tell_once(struct berth_shimlet *s, const struct berth_op *op, const struct replica *of, size_t n,
          const struct berth_log_query *q, struct direct *d, struct berth_arena *a,
          struct berth_err *e)
{
    struct gather g = {.a = a};
    int r = 0;

    if (n == 1) { /* nothing to be put in order, so nothing has to be kept */
        const struct log_call c = {
            .id = of[0].id, .tail = q->tail_lines, .tell = tell_direct, .arg = d};
        d->replica = of[0].short_id;
        return read_logs(s, op, &c, NULL, e);
    }
    for (size_t i = 0; i < n && r == 0 && !g.full; i++) {
        const struct log_call c = {.id = of[i].id, .tail = q->tail_lines, .tell = add, .arg = &g};
        g.replica = of[i].short_id;
        r = read_logs(s, op, &c, NULL, e);
        if (r == -BERTH_ENOENT)
            r = 0;
    }
    if (g.full)
        return berth_err_set(e, BERTH_ETOOBIG,
                             "docker: the replicas printed more than fits here: ask for one of "
                             "them, or for the last lines");
    if (r < 0)
        return r;
    if (g.count > 0)
        qsort(g.entries, g.count, sizeof *g.entries, by_time);
    for (size_t i = 0; i < g.count; i++)
        if (!d->line(d->arg, g.entries[i].replica, g.entries[i].text, g.entries[i].len))
            break;
    return 0;
}

/* ---- following ---- */

struct follow;

struct followed {
    struct follow *of;
    char id[BERTH_DOCKER_ID + 1], short_id[13];
    struct berth_client *client;
    pthread_t thread;
    uint64_t after_ns;
    uint32_t tail;
    bool used, ended; /* ended: under the lock */
};

struct follow {
    struct berth_shimlet *s;
    const struct berth_op *op;
    struct direct to;
    pthread_mutex_t mu; /* line() is called under it: one at a time */
    pthread_cond_t wake;
    bool enough;  /* under mu: line() said stop */
    size_t going; /* containers that are gone and whose last lines are still read */
    struct followed each[BERTH_DOCKER_FOLLOWED_MAX];
};

static bool
tell_followed(void *arg, uint64_t time_ns, const char *text, size_t len)
{
    const struct followed *d = arg;
    struct follow *f = d->of;

    (void)time_ns;
    (void)pthread_mutex_lock(&f->mu);
    if (!f->enough && !f->to.line(f->to.arg, d->short_id, text, len))
        f->enough = true;
    const bool enough = f->enough;
    if (enough)
        (void)pthread_cond_signal(&f->wake);
    (void)pthread_mutex_unlock(&f->mu);
    return !enough;
}

static void *
follow_one(void *arg)
{
    struct followed *d = arg;
    struct follow *f = d->of;
    const struct log_call c = {
        .id = d->id,
        .tail = d->tail,
        .follow = true,
        .after_ns = d->after_ns,
        .client = d->client,
        .tell = tell_followed,
        .arg = d,
    };

    (void)read_logs(f->s, f->op, &c, &d->after_ns, NULL);
    (void)pthread_mutex_lock(&f->mu);
    d->ended = true;
    (void)pthread_mutex_unlock(&f->mu);
    return NULL;
}

static void
join(struct followed *d)
{
    (void)pthread_join(d->thread, NULL);
    berth_client_free(d->client);
    d->client = NULL;
    d->used = false;
}

static bool
is_among(const char *id, const struct replica *of, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(of[i].id, id) == 0)
            return true;
    return false;
}

/* Give the places of containers that are gone to others, once their output is read. */
static void
leave_gone(struct follow *f, const struct replica *of, size_t n)
{
    f->going = 0;
    for (size_t i = 0; i < BERTH_DOCKER_FOLLOWED_MAX; i++) {
        struct followed *d = &f->each[i];

        if (!d->used || is_among(d->id, of, n))
            continue;
        (void)pthread_mutex_lock(&f->mu);
        const bool ended = d->ended;
        (void)pthread_mutex_unlock(&f->mu);
        if (!ended) {
            f->going++;
            continue;
        }
        join(d);
        d->after_ns = 0;
    }
}

/* Begin, or go on where a container's output ended because it was restarted. */
static int
begin(struct follow *f, const struct replica *r, uint32_t tail, struct berth_err *e)
{
    struct followed *d = NULL;

    for (size_t i = 0; i < BERTH_DOCKER_FOLLOWED_MAX && d == NULL; i++)
        if (f->each[i].used && strcmp(f->each[i].id, r->id) == 0)
            d = &f->each[i];
    if (d != NULL) {
        (void)pthread_mutex_lock(&f->mu);
        const bool ended = d->ended;
        (void)pthread_mutex_unlock(&f->mu);
        if (!ended)
            return 0;
        join(d);
        tail = 0;
    }
    for (size_t i = 0; i < f->s->followed_max && d == NULL; i++)
        if (!f->each[i].used)
            d = &f->each[i];
    if (d == NULL && f->going > 0)
        return 0; /* the next round has a place */
    if (d == NULL)
        return berth_err_set(e, BERTH_ELIMIT, "docker: %zu replicas are followed at once; name one",
                             f->s->followed_max);
    const int rc = berth_client_new(&d->client, e);
    if (rc < 0)
        return rc;
    d->of = f;
    d->tail = tail;
    d->ended = false;
    (void)snprintf(d->id, sizeof d->id, "%s", r->id);
    (void)snprintf(d->short_id, sizeof d->short_id, "%s", r->short_id);
    if (pthread_create(&d->thread, NULL, follow_one, d) != 0) {
        berth_client_free(d->client);
        return berth_err_set(e, BERTH_ELIMIT, "docker: no thread to be had");
    }
    d->used = true;
    return 0;
}

/* Until line() has enough or the operation ends; false: it is over. */
static bool
wait_on(struct follow *f)
{
    bool enough = false;

    for (uint64_t ms = 0; ms < LIST_MS && !enough && !f->s->h->cancelled(f->op); ms += LOOK_MS) {
        const uint64_t end_ns = berth_now_ns() + LOOK_MS * BERTH_MS;
        const struct timespec until = {.tv_sec = (time_t)(end_ns / BERTH_S),
                                       .tv_nsec = (long)(end_ns % BERTH_S)};
        (void)pthread_mutex_lock(&f->mu);
        if (!f->enough)
            (void)pthread_cond_timedwait(&f->wake, &f->mu, &until);
        enough = f->enough;
        (void)pthread_mutex_unlock(&f->mu);
    }
    return !enough && !f->s->h->cancelled(f->op);
}

static int
follow_all(struct follow *f, const char *unit_name, const struct berth_log_query *q,
           struct berth_err *e)
{
    uint32_t tail = q->tail_lines;
    int r = 0;

    do { /* replicas come and go while somebody reads */
        struct replica *of = NULL;
        struct berth_arena a;
        size_t n = 0;

        berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
        r = replicas_of(f->s, f->op, unit_name, q->replica, &a, &of, &n, e);
        if (r == 0)
            leave_gone(f, of, n);
        for (size_t i = 0; i < n && r == 0; i++)
            r = begin(f, &of[i], tail, e);
        berth_arena_fini(&a);
        tail = 0; /* of those that come later, everything */
    } while (r == 0 && wait_on(f));
    for (size_t i = 0; i < BERTH_DOCKER_FOLLOWED_MAX; i++)
        if (f->each[i].used)
            berth_client_stop(f->each[i].client);
    for (size_t i = 0; i < BERTH_DOCKER_FOLLOWED_MAX; i++)
        if (f->each[i].used)
            join(&f->each[i]);
    return r;
}

int
berth_docker_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                  const struct berth_log_query *q,
                  bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                  void *arg, struct berth_err *e)
{
    struct direct d = {.line = line, .arg = arg};
    struct replica *of = NULL;
    struct berth_arena a;
    size_t n = 0;

    berth_arena_init(&a, BERTH_DOCKER_ARENA_MAX);
    int r = replicas_of(s, op, unit_name, q->replica, &a, &of, &n, e);
    if (r == 0 && q->replica != NULL && n == 0)
        r = berth_err_set(e, BERTH_ENOENT, "docker: %s has no replica %.40s", unit_name,
                          q->replica);
    if (r == 0 && !q->follow)
        r = tell_once(s, op, of, n, q, &d, &a, e);
    berth_arena_fini(&a);
    if (r < 0 || !q->follow)
        return r;
    struct follow *f = calloc(1, sizeof *f);
    if (f == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&f->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&f->mu, NULL);
    f->s = s;
    f->op = op;
    f->to = d;
    r = follow_all(f, unit_name, q, e);
    (void)pthread_cond_destroy(&f->wake);
    (void)pthread_mutex_destroy(&f->mu);
    free(f);
    return s->h->cancelled(op) && r == 0 ? berth_err_set(e, BERTH_ECANCELED, "docker: stopped") : r;
}
