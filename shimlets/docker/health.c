#include "shimlets/docker/health.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

enum {
    PROBE_MS = 1000, /* for an answer */
    EAGER_MS = 100,  /* between looks at one that starts, doubling up to ... */
    PATIENT_MS = 2000,
    MEASURE_S = 10,
    THREADS_MAX = 4,
};

struct patient {
    struct patient *next;
    char *id, *run, *url, *service_id, *unit;
    uint64_t start_timeout_ns, due_ns, pause_ns;
    uint64_t since_ns; /* when the run began, or was ready last */
    bool ready, was_ready, overdue, looked;
    bool asked; /* a look is under way */
    uint32_t fails;
    char why[200];
    uint64_t memory_bytes, cpu_milli, cpu_ns, measured_ns;
};

struct berth_docker_health {
    const struct berth_shimlet_host *h;
    void *who;
    uint64_t interval_ns;
    pthread_mutex_t mu;
    pthread_cond_t wake;
    pthread_t threads[THREADS_MAX]; /* under mu, as all below */
    uint32_t thread_count, asking;  /* of them, and how many wait for an answer */
    bool stop;
    struct patient *first; /* tens of them: a list will do */
    size_t count;
};

static void
patient_free(struct patient *p)
{
    if (p == NULL)
        return;
    free(p->id);
    free(p->run);
    free(p->url);
    free(p->service_id);
    free(p->unit);
    free(p);
}

static struct patient *
find_locked(const struct berth_docker_health *k, const char *id)
{
    struct patient *p = k->first;

    while (p != NULL && strcmp(p->id, id) != 0)
        p = p->next;
    return p;
}

static void
drop_locked(struct berth_docker_health *k, struct patient **link)
{
    struct patient *p = *link;

    *link = p->next;
    k->count--;
    patient_free(p);
}

/* ---- looking ---- */

/* What a look has shown.  Returns whether somebody wants to know. */
static bool
learn_locked(const struct berth_docker_health *k, struct patient *p, int r,
             const struct berth_err *e)
{
    const uint64_t now_ns = berth_now_ns();
    const bool ready = p->ready, overdue = p->overdue;

    if (r == 0) {
        p->ready = p->was_ready = true;
        p->overdue = false;
        p->fails = 0;
        p->since_ns = now_ns;
        p->pause_ns = k->interval_ns;
    } else {
        (void)snprintf(p->why, sizeof p->why, "%s", e->msg);
        p->fails++;
        if (p->fails >= BERTH_DOCKER_HEALTH_FAILS || !p->ready)
            p->ready = false;
        if (!p->looked || ready)
            p->pause_ns = EAGER_MS * BERTH_MS;
        else if (p->pause_ns < PATIENT_MS * BERTH_MS)
            p->pause_ns *= 2;
        if (p->start_timeout_ns > 0 && now_ns - p->since_ns >= p->start_timeout_ns)
            p->overdue = true;
    }
    p->looked = true;
    p->due_ns = now_ns + p->pause_ns;
    return p->ready != ready || p->overdue != overdue;
}

static void *body(void *arg);

/* One more who looks.  False: there is no thread to be had, or there are enough. */
static bool
look_more_locked(struct berth_docker_health *k)
{
    /* The new one waits for the lock before it looks who it is. */
    if (k->stop || k->thread_count == THREADS_MAX ||
        pthread_create(&k->threads[k->thread_count], NULL, body, k) != 0)
        return false;
    k->thread_count++;
    return true;
}

/* Who is to be looked at next; answered: only of those that answered last time.  NULL: nobody. */
static struct patient *
next_locked(const struct berth_docker_health *k, bool answered)
{
    struct patient *next = NULL;

    for (struct patient *p = k->first; p != NULL; p = p->next)
        if (p->url != NULL && !p->asked && (!answered || (p->ready && p->fails == 0)) &&
            (next == NULL || p->due_ns < next->due_ns))
            next = p;
    return next;
}

/* One look at whoever is due first.  Called and left with the lock held; not held while looking. */
static void
look_locked(struct berth_docker_health *k, struct patient *first)
{
    char *url = strdup(first->url), *id = strdup(first->id), *run = strdup(first->run);
    char *service_id = strdup(first->service_id);
    struct berth_err e = {.msg = "out of memory"};
    bool tell = false;

    first->asked = true;
    k->asking++;
    /* Nobody waits behind a silent one while there can be somebody else to look. */
    const struct patient *waiting = next_locked(k, false);
    if (k->asking + 1 >= k->thread_count && waiting != NULL && waiting->due_ns <= berth_now_ns())
        (void)look_more_locked(k);
    (void)pthread_mutex_unlock(&k->mu);
    const int r = url != NULL ? k->h->probe(url, PROBE_MS * BERTH_MS, &e) : -BERTH_ENOMEM;
    (void)pthread_mutex_lock(&k->mu);
    k->asking--;
    (void)pthread_cond_broadcast(&k->wake); /* the others plan anew */
    struct patient *p = id != NULL ? find_locked(k, id) : NULL;
    if (p != NULL && run != NULL && strcmp(p->run, run) == 0) { /* still what was looked at */
        p->asked = false;
        tell = learn_locked(k, p, r, &e);
    }
    if (tell && service_id != NULL && !k->stop) {
        (void)pthread_mutex_unlock(&k->mu);
        k->h->changed(k->who, service_id);
        (void)pthread_mutex_lock(&k->mu);
    }
    free(url);
    free(id);
    free(run);
    free(service_id);
}

static void *
body(void *arg)
{
    struct berth_docker_health *k = arg;

    (void)pthread_mutex_lock(&k->mu);
    const bool first = pthread_equal(k->threads[0], pthread_self()) != 0;
    while (!k->stop) {
        /* The first is kept for those that answer: silent ones take up the others only. */
        struct patient *due = next_locked(k, first && k->thread_count > 1);

        if (due == NULL || due->due_ns == UINT64_MAX) {
            (void)pthread_cond_wait(&k->wake, &k->mu);
        } else if (due->due_ns > berth_now_ns()) {
            const struct timespec until = {.tv_sec = (time_t)(due->due_ns / BERTH_S),
                                           .tv_nsec = (long)(due->due_ns % BERTH_S)};
            (void)pthread_cond_timedwait(&k->wake, &k->mu, &until);
        } else {
            look_locked(k, due);
        }
    }
    (void)pthread_mutex_unlock(&k->mu);
    return NULL;
}

/* ---- from outside ---- */

int
berth_docker_health_new(const struct berth_shimlet_host *h, void *who, uint64_t interval_ns,
                        struct berth_docker_health **ret, struct berth_err *e)
{
    struct berth_docker_health *k = calloc(1, sizeof *k);
    pthread_condattr_t attr;

    if (k == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    k->h = h;
    k->who = who;
    k->interval_ns = interval_ns;
    (void)pthread_mutex_init(&k->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&k->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_lock(&k->mu);
    const bool looks = look_more_locked(k);
    (void)look_more_locked(k); /* one alone does it, too */
    (void)pthread_mutex_unlock(&k->mu);
    if (!looks) {
        (void)pthread_cond_destroy(&k->wake);
        (void)pthread_mutex_destroy(&k->mu);
        free(k);
        return berth_err_set(e, BERTH_ELIMIT, "docker: no thread to be had");
    }
    *ret = k;
    return 0;
}

void
berth_docker_health_free(struct berth_docker_health *k)
{
    if (k == NULL)
        return;
    (void)pthread_mutex_lock(&k->mu);
    k->stop = true;
    (void)pthread_cond_broadcast(&k->wake);
    (void)pthread_mutex_unlock(&k->mu);
    for (uint32_t i = 0; i < k->thread_count; i++)
        (void)pthread_join(k->threads[i], NULL);
    while (k->first != NULL)
        drop_locked(k, &k->first);
    (void)pthread_cond_destroy(&k->wake);
    (void)pthread_mutex_destroy(&k->mu);
    free(k);
}

static struct patient *
patient_new(const struct berth_docker_patient *from)
{
    struct patient *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->id = strdup(from->id);
    p->run = strdup(from->run);
    p->url = from->url != NULL ? strdup(from->url) : NULL;
    p->service_id = strdup(from->service_id);
    p->unit = strdup(from->unit);
    p->start_timeout_ns = from->start_timeout_ns;
    p->since_ns = berth_now_ns();
    p->due_ns = UINT64_MAX; /* the first look is its finder's */
    p->ready = from->url == NULL;
    if (p->id == NULL || p->run == NULL || (from->url != NULL && p->url == NULL) ||
        p->service_id == NULL || p->unit == NULL) {
        patient_free(p);
        return NULL;
    }
    return p;
}

static void
tell_locked(const struct patient *p, struct berth_docker_verdict *ret)
{
    *ret = (struct berth_docker_verdict){
        .ready = p->ready,
        .was_ready = p->was_ready,
        .overdue = p->overdue,
        .for_ns = berth_now_ns() - p->since_ns,
        .memory_bytes = p->memory_bytes,
        .cpu_milli = p->cpu_milli,
        .measure = p->measured_ns == 0 || berth_now_ns() - p->measured_ns > MEASURE_S * BERTH_S,
    };
    memcpy(ret->why, p->why, sizeof ret->why);
}

/* The patient of that id and run, new if need be; NULL: no memory, or too many. */
static struct patient *
enter_locked(struct berth_docker_health *k, const struct berth_docker_patient *from)
{
    struct patient **link = &k->first;

    while (*link != NULL && strcmp((*link)->id, from->id) != 0)
        link = &(*link)->next;
    if (*link != NULL && strcmp((*link)->run, from->run) == 0)
        return *link;
    if (*link != NULL)
        drop_locked(k, link);
    struct patient *p = k->count < BERTH_DOCKER_HEALTH_MAX ? patient_new(from) : NULL;
    if (p == NULL)
        return NULL;
    p->next = k->first;
    k->first = p;
    k->count++;
    return p;
}

int
berth_docker_health_see(struct berth_docker_health *k, const struct berth_docker_patient *from,
                        struct berth_docker_verdict *ret, struct berth_err *e)
{
    struct berth_err why;

    (void)pthread_mutex_lock(&k->mu);
    struct patient *p = enter_locked(k, from);
    if (p == NULL) {
        (void)pthread_mutex_unlock(&k->mu);
        return berth_err_set(e, BERTH_ELIMIT, "docker: more than %d running containers",
                             BERTH_DOCKER_HEALTH_MAX);
    }
    if (p->url != NULL && !p->looked) { /* so that what runs already is not said to be starting */
        (void)pthread_mutex_unlock(&k->mu);
        const int r = k->h->probe(from->url, PROBE_MS * BERTH_MS, &why);
        (void)pthread_mutex_lock(&k->mu);
        p = find_locked(k, from->id);
        if (p != NULL)
            (void)learn_locked(k, p, r, &why);
        (void)pthread_cond_broadcast(&k->wake);
    }
    if (p != NULL)
        tell_locked(p, ret);
    else
        *ret = (struct berth_docker_verdict){.why = "it ended"};
    (void)pthread_mutex_unlock(&k->mu);
    return 0;
}

void
berth_docker_health_measured(struct berth_docker_health *k, const char *id, uint64_t memory_bytes,
                             uint64_t cpu_ns, struct berth_docker_verdict *ret)
{
    const uint64_t now_ns = berth_now_ns();

    (void)pthread_mutex_lock(&k->mu);
    struct patient *p = find_locked(k, id);
    if (p != NULL) {
        p->memory_bytes = memory_bytes;
        if (p->measured_ns > 0 && now_ns > p->measured_ns && cpu_ns >= p->cpu_ns)
            p->cpu_milli = (cpu_ns - p->cpu_ns) * 1000 / (now_ns - p->measured_ns);
        p->cpu_ns = cpu_ns;
        p->measured_ns = now_ns;
        tell_locked(p, ret);
    }
    (void)pthread_mutex_unlock(&k->mu);
}

void
berth_docker_health_forget(struct berth_docker_health *k, const char *id)
{
    (void)pthread_mutex_lock(&k->mu);
    for (struct patient **link = &k->first; *link != NULL; link = &(*link)->next)
        if (strcmp((*link)->id, id) == 0) {
            drop_locked(k, link);
            break;
        }
    (void)pthread_mutex_unlock(&k->mu);
}

void
berth_docker_health_keep(struct berth_docker_health *k, const char *unit, const char *const *ids,
                         size_t count)
{
    (void)pthread_mutex_lock(&k->mu);
    for (struct patient **link = &k->first; *link != NULL;) {
        bool there = strcmp((*link)->unit, unit) != 0;

        for (size_t i = 0; i < count && !there; i++)
            there = strcmp((*link)->id, ids[i]) == 0;
        if (there)
            link = &(*link)->next;
        else
            drop_locked(k, link);
    }
    (void)pthread_mutex_unlock(&k->mu);
}
