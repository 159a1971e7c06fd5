#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "shimlets/process/process_priv.h"

/* A replica that starts is asked often at first, then less; one that is ready, every look_ns. */
static const uint64_t ask_ns_min = 50 * BERTH_MS, ask_ns_max = BERTH_S;
static const uint64_t answer_ns_max = 2 * BERTH_S;
enum { SILENT_MAX = 3 }; /* looks in a row; one that is only busy is not taken out of service */

/* ---- health ---- */

/* What is asked, copied, as nothing is held while it is. */
struct question {
    char id[PROCESS_ID_MAX], url[PROCESS_TEXT_MAX + PROCESS_PATH_MAX], host[64];
    char ca[PROCESS_PATH_MAX], key[PROCESS_PATH_MAX]; /* "": none */
    uint16_t port;
    bool path; /* by HTTP; else a connection is enough */
    pid_t pid;
};

static void
make_question(const struct berth_shimlet *s, const struct process_replica *r, struct question *ret)
{
    *ret = (struct question){.port = r->rec.port, .pid = r->pid};
    (void)snprintf(ret->id, sizeof ret->id, "%s", r->rec.id);
    (void)snprintf(ret->host, sizeof ret->host, "%s", s->conf.host);
    ret->path = r->rec.health_path != NULL && r->rec.health_path[0] != '\0';
    if (ret->path)
        (void)snprintf(ret->url, sizeof ret->url, "%s://%s:%u%s", process_scheme(&r->rec),
                       process_reach(s->conf.host), r->rec.port, r->rec.health_path);
    (void)snprintf(ret->ca, sizeof ret->ca, "%s", r->rec.ca_path != NULL ? r->rec.ca_path : "");
    (void)snprintf(ret->key, sizeof ret->key, "%s", r->rec.key_path != NULL ? r->rec.key_path : "");
}

/* The host answers, or a connection is enough. */
static bool
is_well(const struct berth_shimlet *s, const struct question *q, struct berth_err *e)
{
    const struct berth_probe p = {.struct_size = sizeof p,
                                  .url = q->url,
                                  .timeout_ns = answer_ns_max,
                                  .ca_path = q->ca[0] != '\0' ? q->ca : NULL,
                                  .key_path = q->key[0] != '\0' ? q->key : NULL};

    if (!q->path)
        return process_port_answers(q->host, q->port);
    return (p.ca_path != NULL || p.key_path != NULL ? s->h->probe_as(&p, e)
                                                    : s->h->probe(q->url, answer_ns_max, e)) == 0;
}

static bool
is_asked(const struct process_replica *r)
{
    return !r->asked && r->pid != 0 &&
           (r->state == BERTH_REPLICA_STARTING || r->state == BERTH_REPLICA_READY);
}

/* The one that is to be asked next, if one is due; else when.  answered: only of those that
 * answered last time. */
static struct process_replica *
next_due(struct berth_shimlet *s, bool answered, uint64_t now, uint64_t *ret_next_ns)
{
    struct process_replica *first = NULL;

    *ret_next_ns = UINT64_MAX;
    for (struct process_unit *u = s->units; u != NULL; u = u->next) {
        for (struct process_replica *r = u->replicas; r != NULL; r = r->next) {
            if (is_asked(r) && (!answered || (r->state == BERTH_REPLICA_READY && r->silent == 0)) &&
                (first == NULL || r->probe_ns < first->probe_ns))
                first = r;
        }
    }
    if (first != NULL)
        *ret_next_ns = first->probe_ns;
    return first != NULL && first->probe_ns <= now ? first : NULL;
}

static void
became_ready(struct process_replica *r, uint64_t now)
{
    r->state = BERTH_REPLICA_READY;
    r->ready_ns = now;
    r->reason[0] = '\0';
    r->unit->dirty = true;
}

/* It gives no answer: it is starting, or hangs. */
static void
is_silent(struct berth_shimlet *s, struct process_replica *r, const char *why, uint64_t now)
{
    if (r->state == BERTH_REPLICA_READY && ++r->silent >= SILENT_MAX) {
        r->state = BERTH_REPLICA_STARTING;
        r->begun_ns = now;
        r->unit->dirty = true;
    }
    if (r->state != BERTH_REPLICA_STARTING)
        return;
    (void)snprintf(r->heard, sizeof r->heard, "%s", why); /* told by status(), nobody is woken */
    if (r->rec.start_timeout_ns > 0 && now - r->begun_ns >= r->rec.start_timeout_ns) {
        (void)snprintf(r->verdict, sizeof r->verdict, "not ready after %llu s: %s",
                       (unsigned long long)(r->rec.start_timeout_ns / BERTH_S), why);
        process_signal(r, SIGKILL);
        r->silent = 0;
        r->probe_ns = UINT64_MAX; /* the watch thread sees it end */
    }
}

static void
ask(struct berth_shimlet *s, struct process_replica *r)
{
    struct question q;
    struct berth_err e = {{0}};
    uint64_t next;

    make_question(s, r, &q);
    r->asked = true;
    s->asking++;
    /* Nobody waits behind a silent one while there can be somebody else to ask. */
    if (s->asking + 1 >= s->looker_count && next_due(s, false, berth_now_ns(), &next) != NULL)
        (void)process_look_more(s);
    (void)pthread_mutex_unlock(&s->machine->mu);
    const bool well = is_well(s, &q, &e);
    (void)pthread_mutex_lock(&s->machine->mu);
    const uint64_t now = berth_now_ns();
    s->asking--;
    (void)pthread_cond_broadcast(&s->look); /* the others plan anew */
    r = process_replica_find(s, q.id);
    if (r == NULL || r->pid != q.pid)
        return; /* meanwhile it went, or is another process */
    r->asked = false;
    if (!is_asked(r))
        return;
    const uint64_t age = now - r->begun_ns;
    const uint64_t soon = age / 4 < ask_ns_min ? ask_ns_min : age / 4;

    r->probe_ns = now + (r->state == BERTH_REPLICA_READY || well ? s->conf.look_ns
                         : soon < ask_ns_max                     ? soon
                                                                 : ask_ns_max);
    if (well)
        r->silent = 0;
    if (well && r->state == BERTH_REPLICA_STARTING)
        became_ready(r, now);
    else if (!well)
        is_silent(s, r, q.path ? e.msg : "nothing listens at its port", now);
}

/* ---- figures ---- */

struct figures {
    struct session {
        pid_t pid;
        char id[PROCESS_ID_MAX];
        uint64_t cpu_ticks, memory_bytes;
    } * of;
    size_t count;
};

static bool
add_figures(void *arg, const struct process_stat *p)
{
    struct figures *f = arg;

    for (size_t i = 0; i < f->count; i++) {
        if (f->of[i].pid == p->session) {
            f->of[i].cpu_ticks += p->cpu_ticks;
            f->of[i].memory_bytes += p->memory_bytes;
        }
    }
    return true;
}

static size_t
list_sessions(struct berth_shimlet *s, struct figures *f)
{
    size_t n = 0, cap = 0;

    for (struct process_unit *u = s->units; u != NULL; u = u->next)
        cap += u->replica_count;
    f->of = calloc(cap + 1, sizeof *f->of);
    for (struct process_unit *u = s->units; f->of != NULL && u != NULL; u = u->next) {
        for (struct process_replica *r = u->replicas; r != NULL; r = r->next) {
            if (r->pid == 0)
                continue;
            f->of[n].pid = r->pid;
            (void)snprintf(f->of[n++].id, PROCESS_ID_MAX, "%s", r->rec.id);
        }
    }
    f->count = n;
    return n;
}

static void
take_figures(struct process_replica *r, const struct session *of, uint64_t now)
{
    const uint64_t ticks_s = (uint64_t)sysconf(_SC_CLK_TCK);
    const uint64_t passed_ms = (now - r->cpu_at_ns) / BERTH_MS;

    if (r->cpu_at_ns != 0 && passed_ms > 0 && of->cpu_ticks >= r->cpu_ticks)
        r->cpu_milli = (of->cpu_ticks - r->cpu_ticks) * 1000 * 1000 / ticks_s / passed_ms;
    r->cpu_ticks = of->cpu_ticks;
    r->cpu_at_ns = now;
    r->memory_bytes = of->memory_bytes;
}

/* What each session takes, in one walk through /proc with mu open; and the size of its log. */
static void
look_at_figures(struct berth_shimlet *s)
{
    struct figures f = {NULL, 0};

    if (list_sessions(s, &f) > 0) {
        (void)pthread_mutex_unlock(&s->machine->mu);
        (void)process_stat_all(add_figures, &f);
        (void)pthread_mutex_lock(&s->machine->mu);
    }
    const uint64_t now = berth_now_ns();
    for (size_t i = 0; i < f.count; i++) {
        struct process_replica *r = process_replica_find(s, f.of[i].id);

        if (r == NULL || r->pid != f.of[i].pid)
            continue;
        take_figures(r, &f.of[i], now);
        process_log_trim(s, r);
    }
    free(f.of);
}

/* ---- the thread ---- */

static bool
something_runs(const struct berth_shimlet *s)
{
    for (const struct process_unit *u = s->units; u != NULL; u = u->next) {
        for (const struct process_replica *r = u->replicas; r != NULL; r = r->next) {
            if (r->pid != 0)
                return true;
        }
    }
    return false;
}

/* What this one has to do now; true: something was done.  Else *ret_next_ns is when. */
static bool
take_turn(struct berth_shimlet *s, uint32_t who, uint64_t *figures_ns, uint64_t *ret_next_ns)
{
    const uint64_t now = berth_now_ns();
    /* The first is kept for those that answer: silent ones take up the others only. */
    const bool calm = who == 0 && s->looker_count > 1;
    struct process_replica *r = next_due(s, calm, now, ret_next_ns);

    if (r != NULL) {
        ask(s, r);
        process_tell(s);
        return true;
    }
    if (who == 0 && something_runs(s)) {
        if (now >= *figures_ns) {
            look_at_figures(s);
            *figures_ns = now + s->conf.look_ns;
        }
        *ret_next_ns = *figures_ns < *ret_next_ns ? *figures_ns : *ret_next_ns;
    }
    return false;
}

/* Health; the first of them figures and log sizes, too. */
static void *
look_main(void *shimlet)
{
    struct berth_shimlet *s = shimlet;
    uint64_t figures_ns = 0, next;
    uint32_t who = 0;

    (void)pthread_mutex_lock(&s->machine->mu);
    while (!pthread_equal(s->lookers[who], pthread_self()))
        who++;
    while (!s->ends) {
        if (take_turn(s, who, &figures_ns, &next))
            continue;
        if (next == UINT64_MAX) {
            (void)pthread_cond_wait(&s->look, &s->machine->mu);
            continue;
        }
        const struct timespec until = {.tv_sec = (time_t)(next / BERTH_S),
                                       .tv_nsec = (long)(next % BERTH_S)};
        (void)pthread_cond_timedwait(&s->look, &s->machine->mu, &until);
    }
    (void)pthread_mutex_unlock(&s->machine->mu);
    return NULL;
}

bool
process_look_more(struct berth_shimlet *s)
{
    /* The new one waits for the mutex before it looks who it is. */
    if (s->ends || s->looker_count == PROCESS_LOOKERS_MAX ||
        pthread_create(&s->lookers[s->looker_count], NULL, look_main, s) != 0)
        return false;
    s->looker_count++;
    return true;
}
