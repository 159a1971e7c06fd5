#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "deploy/route/routes.h"
#include "net/certificate.h"
#include "net/client.h"

/* What a shimlet may call. */

bool
berth_op_cancelled(const struct berth_op *op)
{
    if (atomic_load(&op->d->stopping) || berth_op_left_ns(op) == 0)
        return true;
    if (op->s != NULL && atomic_load(&op->s->generation) != op->generation)
        return true;
    return op->cancelled != NULL && op->cancelled(op->arg);
}

uint64_t
berth_op_left_ns(const struct berth_op *op)
{
    const uint64_t now = berth_deploy_now(op->d);

    return now < op->deadline_ns ? op->deadline_ns - now : 0;
}

void
berth_host_log(enum berth_log_level level, const char *msg)
{
    berth_log(level, "%s", msg);
}

static void
host_note(const struct berth_op *op, const char *text)
{
    struct pending p = {0};
    struct berth_arena a;
    struct berth_err e;

    if (op->s == NULL) {
        berth_info("deploy: %s", text);
        return;
    }
    berth_arena_init(&a, 64 * 1024);
    p.a = &a;
    berth_pending_note(&p, op->s, "info", text);
    if (berth_deploy_commit(op->d, NULL, &p, NULL, 0, &e) < 0)
        berth_warn("service %s: %s (not kept: %s)", op->s->id, text, e.msg);
    berth_arena_fini(&a);
}

static bool
probe_goes_on(void *arg, uint64_t got, uint64_t total)
{
    (void)arg;
    (void)got;
    (void)total;
    return true;
}

/* The beginning of what an engine that is not ready says of itself, as one line. */
struct words {
    char text[100];
    size_t len;
};

static bool
probe_body(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct words *w = arg;

    (void)status; /* it alone counts; the words are for a person */
    for (size_t i = 0; i < len && w->len + 1 < sizeof w->text; i++) {
        const char c = bytes[i];
        const bool shown = c > ' ' && c < 0x7f;

        if (shown || (w->len > 0 && w->text[w->len - 1] != ' '))
            w->text[w->len++] = shown ? c : ' ';
    }
    return true;
}

static int
host_probe_as(const struct berth_probe *p, struct berth_err *e)
{
    const struct berth_client_tls tls = {.ca_file = p->ca_path};
    char key[BERTH_BEARER_MAX] = "";
    struct words words = {.len = 0};
    struct berth_client_call call = {.url = p->url,
                                     .bearer = p->key_path != NULL ? key : NULL,
                                     .tls = p->ca_path != NULL ? &tls : NULL,
                                     .connect_ns_max = p->timeout_ns,
                                     .silent_ns_max = p->timeout_ns,
                                     .total_ns_max = p->timeout_ns,
                                     .proxy = "", /* it is ours: never by way of another */
                                     .body_part = probe_body,
                                     .arg = &words,
                                     .go_on = probe_goes_on};
    struct berth_client_answer answer = {0};
    struct berth_client *c;
    int r = p->key_path != NULL ? berth_bearer_read(p->key_path, key, e) : 0;

    if (r < 0 || (r = berth_client_new(&c, e)) < 0)
        return r;
    r = berth_client_call(c, &call, &answer, e);
    berth_client_free(c);
    berth_buf_fini(&answer.body);
    explicit_bzero(key, sizeof key);
    if (r < 0)
        return r;
    if (answer.status != 200)
        return berth_err_set(e, BERTH_ENOTREADY, "%s answers %u%s%s%s", p->url, answer.status,
                             words.len > 0 ? " (" : "", words.text, words.len > 0 ? ")" : "");
    return 0;
}

/* Environments may go by two names, and what the one has is the other's, too. */
static bool
is_in(const struct berth_op *op, const struct service *s)
{
    struct environ *x = berth_environ_get(op->d, s->shimlet);
    const bool is = x != NULL && x->ops->open == op->environ->open;

    berth_environ_put(op->d, x);
    return is;
}

static bool
has_replica(struct service *s, const char *replica_id)
{
    bool found = false;

    (void)pthread_mutex_lock(&s->mu);
    for (int k = 0; k < TRACK_COUNT; k++) {
        const struct seen *seen = s->tracks[k].seen;
        for (size_t i = 0; seen != NULL && i < seen->as.replica_count && !found; i++)
            found = strcmp(seen->as.replicas[i].id, replica_id) == 0;
    }
    (void)pthread_mutex_unlock(&s->mu);
    return found;
}

/* The service that a replica is of, where an operation is about a whole machine.  False: none. */
static bool
find_owner(const struct berth_op *op, const char *replica_id, char ret_id[BERTH_SERVICE_ID_MAX])
{
    struct service **all;
    bool found = false;
    size_t n = 0;

    if (op->environ == NULL || berth_deploy_all(op->d, &all, &n) < 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!found && is_in(op, all[i]) && has_replica(all[i], replica_id)) {
            found = true;
            (void)snprintf(ret_id, BERTH_SERVICE_ID_MAX, "%s", all[i]->id);
        }
        berth_service_unref(op->d, all[i]);
    }
    free(all);
    return found;
}

static int
host_probe(const char *url, uint64_t timeout_ns, struct berth_err *e)
{
    const struct berth_probe p = {.struct_size = sizeof p, .url = url, .timeout_ns = timeout_ns};

    return host_probe_as(&p, e);
}

static int
host_drain(const struct berth_op *op, const char *replica_id, uint64_t limit_ns)
{
    enum { LOOK_MS = 100 };
    struct berth_routes *routes = op->d->conf.routes;
    const uint64_t begin_ns = berth_now_ns();
    char owner[BERTH_SERVICE_ID_MAX];
    const char *id = owner;

    if (routes == NULL) /* nothing is in flight through us */
        return 0;
    if (op->s != NULL)
        id = op->s->id;
    else if (!find_owner(op, replica_id, owner))
        return 0;
    /* A little at a time: who waits may be told to stop. */
    while (berth_routes_drain(routes, id, replica_id, LOOK_MS * BERTH_MS) > 0) {
        if (berth_op_cancelled(op))
            return -BERTH_ECANCELED;
        if (berth_now_ns() - begin_ns >= limit_ns)
            return -BERTH_EDEADLINE;
    }
    return 0;
}

static void
host_changed(void *who, const char *service_id)
{
    struct environ *x = who;
    struct service *s = berth_deploy_service(x->d, service_id);

    if (s == NULL)
        return; /* somebody else's, or gone: not to fill the queue with */
    berth_deploy_poke(x->d, service_id, 0);
    berth_service_unref(x->d, s);
}

const struct berth_shimlet_host berth_deploy_shimlet_host = {
    .struct_size = sizeof(struct berth_shimlet_host),
    .log = berth_host_log,
    .cancelled = berth_op_cancelled,
    .left_ns = berth_op_left_ns,
    .note = host_note,
    .drain = host_drain,
    .probe = host_probe,
    .changed = host_changed,
    .probe_as = host_probe_as,
    .away = berth_host_away,
};
