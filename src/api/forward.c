#include "api/forward.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/routes.h"
#include "base/arena.h"
#include "base/clock.h"
#include "deploy/deploy.h"
#include "deploy/route/access.h"
#include "deploy/route/routes.h"
#include "infer/model.h"
#include "infer/registry.h"
#include "net/forward.h"
#include "obs/trace.h"
#include "wire/uri.h"

enum {
    LOOPS_MAX = 64,
    HOPS_MAX = 4, /* from Berth to Berth; more go in a circle */
    LISTED_MAX = 1000,
};
static const char hops_header[] = "x-berth-hops";

/* ---- one forwarder for each loop ---- */

struct berth_forwarders {
    pthread_mutex_t mu; /* for adding; each loop reads what it added itself */
    atomic_size_t len;
    struct {
        struct berth_loop *loop;
        struct berth_forwarder *forwarder;
    } at[LOOPS_MAX];
};

struct berth_forwarders *
berth_forwarders_new(void)
{
    struct berth_forwarders *f = calloc(1, sizeof *f);

    if (f != NULL)
        (void)pthread_mutex_init(&f->mu, NULL);
    return f;
}

static void
free_one(void *forwarder)
{
    berth_forwarder_free(forwarder);
}

void
berth_forwarders_free(struct berth_forwarders *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < atomic_load(&f->len); i++)
        berth_loop_call(f->at[i].loop, free_one, f->at[i].forwarder);
    (void)pthread_mutex_destroy(&f->mu);
    free(f);
}

/* The one of this loop.  NULL: no memory, or too many loops. */
static struct berth_forwarder *
forwarder_of(struct berth_forwarders *f, struct berth_loop *l)
{
    const size_t len = atomic_load_explicit(&f->len, memory_order_acquire);
    struct berth_forwarder *made;

    for (size_t i = 0; i < len; i++)
        if (f->at[i].loop == l)
            return f->at[i].forwarder;
    if (berth_forwarder_new(l, NULL, &made, NULL) < 0)
        return NULL;
    (void)pthread_mutex_lock(&f->mu);
    const size_t n = atomic_load(&f->len);
    if (n < LOOPS_MAX) {
        f->at[n].loop = l;
        f->at[n].forwarder = made;
        atomic_store_explicit(&f->len, n + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&f->mu);
    if (n == LOOPS_MAX) {
        berth_forwarder_free(made);
        return NULL;
    }
    return made;
}

/* ---- a call on its way ---- */

/* In the call's arena. */
struct berth_forwarding {
    struct berth_call *c;
    struct berth_trip trip;
    struct berth_forward *w;   /* NULL: none is running */
    struct berth_slice target; /* behind a replica's base */
    struct berth_slice body;
    struct berth_slice asked; /* the model's name, as the client has it */
    const char *served;       /* that target and body have now; in the trip's snapshot */
    struct berth_header more;
    const char *service, *name, *to; /* ids and the name, which outlive the trip; to: the replica */
    enum berth_track track;
    uint32_t tries;
    uint64_t begin_ns, first_ns, done_ns; /* of the try that answered */
    bool streams;                         /* the client asks for the answer as it comes */
    bool asked_for_more;                  /* a declined answer: another replica is to be asked */
};

static void attempt(struct berth_forwarding *fw);

/* The last that is done with fw: its exchange may be gone after this. */
static void
finish(struct berth_forwarding *fw)
{
    struct berth_exchange *x = fw->c->x;

    berth_trip_end(&fw->trip, berth_now_ns());
    x->gone = NULL;
    x->writable = NULL;
    berth_exchange_unref(x);
}

static void
fail(struct berth_forwarding *fw, int code, const char *message)
{
    berth_call_fail(fw->c, code, NULL, message);
    finish(fw);
}

static bool
is_repeatable(const struct berth_forwarding *fw)
{
    return !fw->trip.service->has_side_effects;
}

static bool
pass(void *arg, uint16_t status)
{
    struct berth_forwarding *fw = arg;
    struct berth_call *c = fw->c;
    const uint64_t now_ns = berth_loop_now_ns(c->x->loop);
    const struct berth_forward_end as_if = {.result = BERTH_FORWARD_DECLINED, .status = status};

    fw->asked_for_more = berth_status_is_retried(status) &&
                         berth_retry_is_safe(&as_if, is_repeatable(fw)) &&
                         berth_trip_can_go_on(&fw->trip, now_ns);
    if (fw->asked_for_more)
        return false;
    if (!berth_status_is_retried(status))
        berth_trip_answered(&fw->trip, now_ns);
    c->ended = true;
    berth_exchange_add(c->x, "x-berth-replica", fw->trip.replica->id);
    berth_call_headers(c);
    return true;
}

/* No replica answered, and no other is asked: say so.  next: why no other; NULL: it is not safe. */
static void
give_up(struct berth_forwarding *fw, const struct berth_forward_end *end, const char *next)
{
    const bool declined = end->result == BERTH_FORWARD_DECLINED;
    char text[400], status[24];

    (void)snprintf(status, sizeof status, "it answered %u", end->status);
    (void)snprintf(text, sizeof text, "service %s: replica %s: %.120s%s%.120s", fw->service,
                   fw->trip.replica->id, declined ? status : end->why, next != NULL ? "; " : "",
                   next != NULL ? next : "");
    fail(fw,
         end->result == BERTH_FORWARD_LATE ? -BERTH_EDEADLINE
         : declined                        ? -BERTH_ENOTREADY
                                           : -BERTH_ENETWORK,
         text);
}

static void
go_on(struct berth_forwarding *fw, const struct berth_forward_end *end)
{
    struct berth_err e;

    if (!berth_retry_is_safe(end, is_repeatable(fw)))
        give_up(fw, end, NULL);
    else if (berth_trip_next(&fw->trip, berth_now_ns(), &e) < 0)
        give_up(fw, end, e.msg);
    else
        attempt(fw);
}

/* It cannot be answered any more in a way that a client understands. */
static void
cut(struct berth_forwarding *fw, const struct berth_forward_end *end)
{
    struct berth_call *c = fw->c;
    char text[200];

    if (end->result == BERTH_FORWARD_UNWANTED) {
        c->left = true;
    } else {
        (void)snprintf(text, sizeof text, "replica %s: %.120s", fw->trip.replica->id, end->why);
        const struct berth_fault f = {.code = -BERTH_ENETWORK, .message = text};
        berth_requests_failed(c, &f);
        berth_api_count_error(c->api, &f);
    }
    c->ended = true;
    berth_exchange_abort(c->x);
    finish(fw);
}

static void
done(void *arg, const struct berth_forward_end *end)
{
    struct berth_forwarding *fw = arg;

    fw->w = NULL;
    fw->done_ns = berth_now_ns();
    fw->first_ns = end->first_ns;
    berth_trip_done(&fw->trip, end, fw->done_ns);
    switch (end->result) {
    case BERTH_FORWARD_OK:
        finish(fw);
        break;
    case BERTH_FORWARD_BROKEN:
    case BERTH_FORWARD_UNWANTED:
        cut(fw, end);
        break;
    case BERTH_FORWARD_DECLINED:
    case BERTH_FORWARD_UNREACHED:
    case BERTH_FORWARD_UNANSWERED:
    case BERTH_FORWARD_MALFORMED:
    case BERTH_FORWARD_LATE:
        go_on(fw, end);
        break;
    }
}

static void
client_gone(struct berth_exchange *x)
{
    struct berth_call *c = x->user;
    struct berth_forwarding *fw = c->forwarding;
    const struct berth_forward_end left = {.result = BERTH_FORWARD_UNWANTED, .why = ""};

    if (fw->w == NULL)
        return;
    berth_forward_cancel(fw->w);
    fw->w = NULL;
    fw->done_ns = berth_now_ns();
    berth_trip_done(&fw->trip, &left, fw->done_ns);
    cut(fw, &left);
}

static void
client_takes_more(struct berth_exchange *x)
{
    const struct berth_call *c = x->user;

    if (c->forwarding->w != NULL)
        berth_forward_writable(c->forwarding->w);
}

static struct berth_slice
target_at(struct berth_arena *a, const char *base, struct berth_slice rest)
{
    if (*base == '\0')
        return rest;
    const char *all = berth_arena_printf(a, "%s%.*s", base, (int)rest.len, rest.at);
    return all != NULL ? berth_slice_of(all) : BERTH_SLICE("");
}

/* Until when the answer has to begin; 0: the request's own end.  A stream begins when the first
 * words are there: who is silent for longer than within an answer hangs.  An answer in one piece
 * may begin when all of it is there. */
static uint64_t
first_until(const struct berth_forwarding *fw)
{
    const struct berth_route_service *s = fw->trip.service;

    if (s->first_ns_max > 0)
        return fw->begin_ns + s->first_ns_max;
    if (!fw->streams)
        return 0;
    return fw->begin_ns + (s->silent_ns_max > 0 ? s->silent_ns_max : BERTH_FORWARD_SILENT_NS);
}

/* Path and query, with the replicas' own name of the model where the path has one.  False: memory.
 */
static bool
make_target(struct berth_forwarding *fw, const char *served)
{
    const struct berth_slice asked = fw->asked;
    const struct berth_exchange *x = fw->c->x;
    struct berth_slice name = {"", 0}, version = {"", 0};
    const char *end = x->path.at + x->path.len;
    struct berth_buf b;

    fw->target = x->path;
    if (x->query.len == 0 && (fw->c->name.len == 0 || berth_slice_is(asked, served)))
        return true;
    berth_buf_init(&b, fw->c->arena);
    if (fw->c->name.len > 0 && !berth_slice_is(asked, served) &&
        berth_route_fits(fw->c->route->pattern, x->path, &name, &version) && name.len > 0) {
        berth_buf_put(&b, x->path.at, (size_t)(name.at - x->path.at));
        berth_uri_put(&b, served, strlen(served));
        berth_buf_put(&b, name.at + name.len, (size_t)(end - name.at) - name.len);
    } else {
        berth_buf_put(&b, x->path.at, x->path.len);
    }
    if (x->query.len > 0) {
        berth_buf_putc(&b, '?');
        berth_buf_put(&b, x->query.at, x->query.len);
    }
    fw->target = (struct berth_slice){b.at, b.len};
    return !b.failed;
}

/* The request with the model's name that a replica knows.  0, or a failure with its message. */
static int
name_model(struct berth_forwarding *fw, const char *served, struct berth_err *e)
{
    struct berth_call *c = fw->c;
    int r = 0;

    fw->body = c->x->body;
    if (c->name.len == 0)
        r = berth_forward_rename(c->arena, c->x->body, served, &fw->body, &fw->streams);
    if (r == -BERTH_EINVAL)
        return berth_err_set(e, BERTH_EINVAL, "the body is not a JSON object");
    if (r < 0 || !make_target(fw, served))
        return berth_err_set(e, BERTH_ENOMEM,
                             "the request is larger than its memory limit; send less");
    fw->served = served;
    return 0;
}

/* Send it to the replica that the trip is at. */
static void
attempt(struct berth_forwarding *fw)
{
    struct berth_call *c = fw->c;
    const struct berth_route_service *s = fw->trip.service;
    const struct berth_route_replica *replica = fw->trip.replica;
    const uint64_t until_ns = c->begin_ns + c->api->conf.request_timeout_ns;
    struct berth_forwarder *f = forwarder_of(c->api->forwarders, c->x->loop);
    struct berth_err e;
    int r = 0;

    fw->tries++;
    fw->begin_ns = berth_now_ns();
    fw->to = berth_arena_strdup(c->arena, replica->id);
    fw->track = replica->track;
    if (replica->served_name != fw->served)
        r = name_model(fw, replica->served_name, &e);
    const struct berth_forward_to to = {
        .origin = replica->origin,
        .target = target_at(c->arena, replica->base, fw->target),
        .body = fw->body,
        .ca_path = replica->ca_path,
        .authorization = replica->authorization,
        .request_id = c->id,
        .more = &fw->more,
        .more_count = 1,
        .once = s->has_side_effects,
        .connect_ns_max = s->connect_ns_max,
        .silent_ns_max = s->silent_ns_max,
        .first_until_ns = first_until(fw),
        .until_ns = until_ns,
        .pass = pass,
        .done = done,
        .arg = fw,
    };
    if (r == 0)
        r = f != NULL ? berth_forward_start(f, c->x, &to, &fw->w, &e)
                      : berth_err_set(&e, BERTH_ENOMEM, "out of memory");
    if (r < 0) { /* nothing that the replica did */
        const struct berth_forward_end none = {.result = BERTH_FORWARD_UNWANTED, .why = ""};

        berth_trip_done(&fw->trip, &none, fw->begin_ns);
        fail(fw, r, e.msg);
    }
}

/* ---- the beginning ---- */

/* How often it was passed on from Berth to Berth; HOPS_MAX: too often, or nonsense. */
static unsigned
hops_of(const struct berth_exchange *x)
{
    const struct berth_slice *h = berth_exchange_header(x, hops_header);

    if (h == NULL)
        return 0;
    return h->len == 1 && h->at[0] >= '0' && h->at[0] < '0' + HOPS_MAX ? (unsigned)(h->at[0] - '0')
                                                                       : HOPS_MAX;
}

/* Everything that the tries have in common.  0, or a failure with its message. */
static int
prepare(struct berth_forwarding *fw, struct berth_slice name, struct berth_err *e)
{
    static const char digits[] = "0123456789";
    struct berth_call *c = fw->c;
    const struct berth_route_service *s = fw->trip.service;
    const unsigned hops = hops_of(c->x);

    fw->service = berth_arena_strdup(c->arena, s->id);
    fw->name = berth_arena_strdup(c->arena, s->name);
    fw->asked = name;
    fw->more = (struct berth_header){.name = BERTH_SLICE("x-berth-hops"),
                                     .value = {&digits[(hops + 1) % 10], 1}};
    if (hops >= HOPS_MAX)
        return berth_err_set(e, BERTH_EINVAL,
                             "service %s: this was passed on %d times; its replicas pass requests "
                             "on to each other",
                             s->id, HOPS_MAX);
    if (fw->service == NULL || fw->name == NULL)
        return berth_err_set(e, BERTH_ENOMEM,
                             "the request is larger than its memory limit; send less");
    return name_model(fw, s->served_name, e);
}

/* The name of the key that c came with, and its fingerprint; NULL: none that is known. */
static const char *
name_caller(const struct berth_call *c, char print[BERTH_API_KEY_PRINT])
{
    const struct berth_slice text = berth_admit_key(c->x);
    const struct berth_api_key *key =
        c->api->conf.key_count > 0 && text.len > 0 ? berth_admit_find(&c->api->admit, text) : NULL;

    if (key == NULL)
        return NULL;
    berth_admit_print(key, print);
    return key->name[0] != '\0' ? key->name : print;
}

/* Is this one of those whom the service is for?  0, -BERTH_EAUTH, -BERTH_EPERM; told to the audit.
 */
static int
may_ask(const struct berth_forwarding *fw, struct berth_err *e)
{
    const struct berth_call *c = fw->c;
    const struct berth_route_service *s = fw->trip.service;
    char print[BERTH_API_KEY_PRINT];

    if (s->allow == NULL)
        return 0;
    const char *name = name_caller(c, print);
    const bool granted = berth_access_allows(s->allow, name, name != NULL ? print : NULL);
    if (c->api->conf.deploy != NULL)
        berth_deploy_access(c->api->conf.deploy, s->id, name, c->x->peer, granted);
    if (granted)
        return 0;
    if (name == NULL)
        return berth_err_set(e, BERTH_EAUTH,
                             "service %s is for some alone: send a key of this server, as "
                             "Authorization: Bearer KEY",
                             s->id);
    return berth_err_set(e, BERTH_EPERM,
                         "service %s is not for %s: whoever may deploy can add that name to its "
                         "securityConfig.allow",
                         s->id, name);
}

bool
berth_api_forward(struct berth_call *c, struct berth_slice name)
{
    struct berth_routes *routes = c->api->conf.routes;
    struct berth_trip trip;
    struct berth_err e;

    if (!berth_routes_are(routes) || c->grpc != NULL || c->off_loop || name.len == 0 ||
        berth_trip_find(&trip, routes, name) < 0)
        return false;
    struct berth_forwarding *fw = BERTH_NEW(c->arena, struct berth_forwarding);
    if (fw == NULL) {
        berth_trip_end(&trip, berth_now_ns());
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "out of memory");
        return true;
    }
    fw->c = c;
    fw->trip = trip;
    c->forwarding = fw;
    berth_exchange_ref(c->x);
    c->x->gone = client_gone;
    c->x->writable = client_takes_more;
    int r = may_ask(fw, &e);
    if (r == 0)
        r = prepare(fw, name, &e);
    if (r == 0)
        r = berth_trip_next(&fw->trip, berth_now_ns(), &e);
    if (r < 0)
        fail(fw, r, e.msg);
    else
        attempt(fw);
    return true;
}

bool
berth_api_forward_path(struct berth_call *c)
{
    struct berth_model *m = NULL;
    struct berth_err e;

    if (c->name.len == 0 || !berth_routes_are(c->api->conf.routes) ||
        c->route->scope == BERTH_SCOPE_MANAGE || strstr(c->route->pattern, "{model}") == NULL)
        return false;
    const struct berth_slice none = {"", 0};
    const int r = berth_registry_find(c->api->conf.registry, c->name, none, &m, &e);
    if (r == 0)
        berth_model_unref(m);
    return r == -BERTH_ENOENT && berth_api_forward(c, c->name);
}

/* ---- telling ---- */

static uint64_t
after(const struct berth_call *c, uint64_t at_ns)
{
    return at_ns > c->begin_ns ? at_ns - c->begin_ns : 0;
}

void
berth_api_forward_note(const struct berth_call *c, struct berth_trace_note *n)
{
    const struct berth_forwarding *fw = c->forwarding;

    if (fw == NULL || fw->name == NULL)
        return;
    (void)snprintf(n->model, sizeof n->model, "%.*s", (int)sizeof n->model - 1, fw->name);
    (void)snprintf(n->version, sizeof n->version, "%s", berth_track_name(fw->track));
    (void)snprintf(n->to, sizeof n->to, "%.*s", (int)sizeof n->to - 1,
                   fw->to != NULL ? fw->to : "");
    n->submit_ns = after(c, fw->begin_ns);
    n->first_ns = after(c, fw->first_ns);
    n->done_ns = after(c, fw->done_ns);
    n->tries = fw->tries;
}

struct list {
    struct berth_call *c;
    const char *caller; /* NULL: nobody known */
    char print[BERTH_API_KEY_PRINT];
    const char *names[LISTED_MAX];
    size_t len;
};

static void
list_one(void *arg, const char *name, const char *allow)
{
    struct list *l = arg;

    if (!berth_access_allows(allow, l->caller, l->caller != NULL ? l->print : NULL))
        return; /* it is not there for this one */
    if (l->len < LISTED_MAX && (l->names[l->len] = berth_arena_strdup(l->c->arena, name)) != NULL)
        l->len++;
}

void
berth_api_forward_list(struct berth_call *c, struct berth_jw *w)
{
    struct list *l =
        berth_routes_are(c->api->conf.routes) ? BERTH_NEW(c->arena, struct list) : NULL;
    const struct berth_slice none = {"", 0};

    if (l == NULL)
        return;
    l->c = c;
    l->caller = name_caller(c, l->print);
    berth_routes_each(c->api->conf.routes, list_one, l);
    for (size_t i = 0; i < l->len; i++) {
        struct berth_model *m = NULL;
        struct berth_err e;
        const int r =
            berth_registry_find(c->api->conf.registry, berth_slice_of(l->names[i]), none, &m, &e);

        if (r == 0)
            berth_model_unref(m);
        if (r != -BERTH_ENOENT)
            continue;
        berth_jw_object(w);
        berth_jw_key(w, "id");
        berth_jw_string(w, l->names[i]);
        berth_jw_key(w, "object");
        berth_jw_string(w, "model");
        berth_jw_key(w, "created");
        berth_jw_int(w, berth_call_created(c));
        berth_jw_key(w, "owned_by");
        berth_jw_string(w, "berth-service");
        berth_jw_object_end(w);
    }
}
