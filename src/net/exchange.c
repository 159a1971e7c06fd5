#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/num.h"
#include "net/server_priv.h"

enum { BODY_ALIGN = 64 };

static struct berth_xchg *
of(struct berth_exchange *x)
{
    return (struct berth_xchg *)x;
}

struct berth_xchg *
berth_xchg_new(struct berth_conn *c, uint64_t begin_ns)
{
    struct berth_net_loop *nl = c->nl;
    struct berth_xchg *x = nl->pool;

    if (x != NULL) {
        nl->pool = x->next;
        nl->pool_len--;
    } else {
        x = malloc(sizeof *x);
        if (x == NULL)
            return NULL;
        berth_arena_init(&x->pub.arena, nl->server->conf.exchange_bytes_max);
    }
    const struct berth_arena arena = x->pub.arena;
    memset(x, 0, offsetof(struct berth_xchg, peer));
    x->pub.arena = arena;
    x->pub.loop = nl->loop;
    x->pub.begin_ns = begin_ns;
    x->pub.tls = c->tls != NULL;
    x->pub.peer_is_loopback = c->loopback;
    x->pub.listener_tag = c->from != NULL ? c->from->tag : 0;
    x->pub.body = x->pub.method = x->pub.path = x->pub.query = x->pub.authority = BERTH_SLICE("");
    memcpy(x->peer, c->peer, sizeof x->peer);
    x->pub.peer = x->peer;
    x->stream = NULL;
    x->nl = nl;
    x->conn = c;
    x->refs = 1;
    x->added_last = &x->added;
    x->trailers_last = &x->trailers;
    nl->live++;
    atomic_fetch_add_explicit(&nl->server->live, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&nl->server->exchanges_total, 1, memory_order_relaxed);
    return x;
}

static void
xchg_free(struct berth_xchg *x)
{
    berth_arena_fini(&x->pub.arena);
    free(x);
}

void
berth_xchg_unref(struct berth_xchg *x)
{
    struct berth_net_loop *nl = x->nl;
    struct berth_server *s = nl->server;

    berth_assert(x->refs > 0);
    if (--x->refs > 0)
        return;
    if (x->known && s->app.ended != NULL)
        s->app.ended(s->app.arg, &x->pub);
    berth_buf_fini(&x->grow);
    if (nl->pool_len < BERTH_POOL_MAX) {
        berth_arena_reset(&x->pub.arena);
        x->next = nl->pool;
        nl->pool = x;
        nl->pool_len++;
    } else {
        xchg_free(x);
    }
    nl->live--;
    berth_server_less(s, &s->live);
}

void
berth_xchg_pool_free(struct berth_net_loop *nl)
{
    for (struct berth_xchg *x = nl->pool, *next; x != NULL; x = next) {
        next = x->next;
        xchg_free(x);
    }
    nl->pool = NULL;
    nl->pool_len = 0;
}

/* The callbacks run under a reference, so that an answer from within does not free x under
 * whoever is still looking at it. */
void
berth_xchg_begin(struct berth_xchg *x)
{
    const struct berth_server_app *app = &x->nl->server->app;

    x->known = true;
    x->refs++;
    app->begin(app->arg, &x->pub);
    if (x->answer != BERTH_ANSWER_NONE)
        x->handled = true;
    berth_xchg_unref(x);
}

void
berth_xchg_handle(struct berth_xchg *x)
{
    const struct berth_server_app *app = &x->nl->server->app;

    x->handled = true;
    x->refs++;
    app->handle(app->arg, &x->pub);
    berth_xchg_unref(x);
}

void
berth_xchg_refuse(struct berth_xchg *x, uint16_t status, const char *why)
{
    struct berth_server *s = x->nl->server;

    atomic_fetch_add_explicit(&s->refused_total, 1, memory_order_relaxed);
    x->known = x->handled = true;
    x->refs++;
    s->app.refuse(s->app.arg, &x->pub, status, why);
    if (x->answer == BERTH_ANSWER_NONE) /* it must; but a client should not wait for a bug */
        berth_exchange_reply(&x->pub, status, "text/plain", why, strlen(why));
    berth_xchg_unref(x);
}

void
berth_xchg_piece(struct berth_xchg *x, const char *at, size_t n)
{
    if (x->answer == BERTH_ANSWER_ENDED || x->sent)
        return;
    x->refs++;
    x->pub.piece(&x->pub, at, n);
    berth_xchg_unref(x);
}

void
berth_xchg_writable(struct berth_xchg *x)
{
    if (!x->starved || x->answer != BERTH_ANSWER_STARTED || x->sent)
        return;
    x->starved = false;
    if (x->pub.writable == NULL)
        return;
    x->refs++;
    x->pub.writable(&x->pub);
    berth_xchg_unref(x);
}

void
berth_xchg_draining(struct berth_xchg *x)
{
    if (!x->handled || x->answer == BERTH_ANSWER_ENDED || x->pub.draining == NULL)
        return;
    x->refs++;
    if (x->conn != NULL)
        x->conn->no_linger = true;
    x->pub.draining(&x->pub);
    berth_xchg_unref(x);
}

/* The protocol's reference ends when nothing is left to send and the application is done, too. */
static void
let_go(struct berth_xchg *x)
{
    if (x->sent && (x->answer == BERTH_ANSWER_ENDED || !x->handled))
        berth_xchg_unref(x);
}

void
berth_xchg_sent(struct berth_xchg *x)
{
    berth_assert(!x->sent);
    x->sent = true;
    x->conn = NULL;
    let_go(x);
}

void
berth_xchg_gone(struct berth_xchg *x)
{
    berth_assert(!x->sent);
    x->sent = true;
    x->conn = NULL;
    if (x->handled && x->answer != BERTH_ANSWER_ENDED && x->pub.gone != NULL) {
        x->refs++;
        x->pub.gone(&x->pub);
        berth_xchg_unref(x); /* the protocol's reference goes when the answer ends */
        return;
    }
    let_go(x);
}

/* ---- the body ---- */

void *
berth_exchange_alloc(struct berth_exchange *pub, size_t len)
{
    struct berth_xchg *x = of(pub);
    struct berth_arena *a = &pub->arena;

    if (len > a->max_bytes - a->used_bytes)
        return NULL;
    void *block = berth_block_take(&x->nl->blocks, len);
    if (block == NULL)
        return berth_arena_alloc_raw(a, len);
    if (berth_arena_defer(a, berth_block_give, block) < 0) {
        berth_block_give(block);
        return NULL;
    }
    if (len > a->max_bytes - a->used_bytes) /* the defer took the last of it */
        return NULL;
    a->used_bytes += len;
    return block;
}

/* Room for a body whose byte at body_split is aligned. */
static char *
body_alloc(struct berth_xchg *x, size_t len)
{
    const size_t before = -x->pub.body_split % BODY_ALIGN;

    if (len > SIZE_MAX - before)
        return NULL;
    char *block = berth_exchange_alloc(&x->pub, len + before);
    return block != NULL ? block + before : NULL;
}

int
berth_xchg_body_start(struct berth_xchg *x, bool known, uint64_t len)
{
    x->body_known = known;
    if (!known) {
        berth_buf_init(&x->grow, NULL);
        return 0;
    }
    if (len > x->pub.body_max)
        return -BERTH_ETOOBIG;
    x->body_len = (size_t)len;
    if (len > 0 && (x->body_at = body_alloc(x, (size_t)len)) == NULL)
        return -BERTH_ETOOBIG;
    x->pub.body = (struct berth_slice){x->body_at != NULL ? x->body_at : "", 0};
    return 0;
}

int
berth_xchg_body_put(struct berth_xchg *x, const void *at, size_t n)
{
    size_t len = x->body_known ? x->pub.body.len : x->grow.len;

    if (n > x->pub.body_max || len > x->pub.body_max - n)
        return -BERTH_ETOOBIG;
    if (!x->body_known) {
        berth_buf_put(&x->grow, at, n);
        return x->grow.failed ? -BERTH_ETOOBIG : 0;
    }
    if (n > x->body_len - len)
        return -BERTH_ETOOBIG;
    memcpy(x->body_at + len, at, n);
    x->pub.body.len += n;
    return 0;
}

uint64_t
berth_xchg_body_deadline_ns(const struct berth_xchg *x)
{
    const struct berth_server_conf *conf = &x->conn->nl->server->conf;
    const uint64_t pause_ns = berth_loop_now_ns(x->conn->nl->loop) + conf->body_timeout_ns;
    const uint64_t all_ns = x->pub.begin_ns + conf->receive_timeout_ns;

    return conf->receive_timeout_ns == 0 || x->pub.piece != NULL || pause_ns < all_ns ? pause_ns
                                                                                      : all_ns;
}

int
berth_xchg_body_end(struct berth_xchg *x)
{
    if (x->body_known || x->grow.len == 0)
        return 0;
    char *at = body_alloc(x, x->grow.len);
    if (at == NULL)
        return -BERTH_ETOOBIG;
    memcpy(at, x->grow.at, x->grow.len);
    x->pub.body = (struct berth_slice){at, x->grow.len};
    berth_buf_fini(&x->grow);
    return 0;
}

/* ---- what the application calls ---- */

const struct berth_slice *
berth_exchange_header(const struct berth_exchange *x, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < x->header_count; i++)
        if (x->headers[i].name.len == len && memcmp(x->headers[i].name.at, name, len) == 0)
            return &x->headers[i].value;
    return NULL;
}

/* A value may hold bytes from outside: one with a line end would forge headers, so it is dropped.
 * So is one for which the exchange has no memory left. */
static struct berth_added *
added_new(struct berth_arena *arena, const char *name, const char *value)
{
    const size_t name_len = strlen(name), value_len = strlen(value);

    if (name_len == 0 || memchr(value, '\r', value_len) != NULL ||
        memchr(value, '\n', value_len) != NULL)
        return NULL;
    struct berth_added *a = BERTH_NEW(arena, struct berth_added);
    char *n = berth_arena_strndup(arena, name, name_len);
    char *v = berth_arena_strndup(arena, value, value_len);
    if (a == NULL || n == NULL || v == NULL)
        return NULL;
    for (size_t i = 0; i < name_len; i++) {
        if (n[i] <= ' ' || n[i] == ':')
            return NULL;
        if (n[i] >= 'A' && n[i] <= 'Z')
            n[i] = (char)(n[i] + ('a' - 'A'));
    }
    *a = (struct berth_added){.name = {n, name_len}, .value = {v, value_len}};
    return a;
}

void
berth_exchange_add(struct berth_exchange *pub, const char *name, const char *value)
{
    struct berth_xchg *x = of(pub);

    berth_assert(x->answer == BERTH_ANSWER_NONE);
    struct berth_added *a = added_new(&pub->arena, name, value);
    if (a == NULL)
        return;
    *x->added_last = a;
    x->added_last = &a->next;
}

void
berth_exchange_trailer(struct berth_exchange *pub, const char *name, const char *value)
{
    struct berth_xchg *x = of(pub);

    berth_assert(x->answer == BERTH_ANSWER_STARTED);
    struct berth_added *a = added_new(&pub->arena, name, value);
    if (a == NULL)
        return;
    *x->trailers_last = a;
    x->trailers_last = &a->next;
}

void
berth_exchange_reply(struct berth_exchange *pub, uint16_t status, const char *content_type,
                     const void *body, size_t len)
{
    struct berth_xchg *x = of(pub);

    berth_assert(x->answer == BERTH_ANSWER_NONE && berth_loop_is_mine(pub->loop));
    x->answer = BERTH_ANSWER_ENDED;
    pub->status = status;
    if (x->conn == NULL) {
        let_go(x);
        return;
    }
    pub->answer_bytes = x->is_head ? 0 : len;
    x->conn->proto->reply(x, content_type, body, len);
}

void
berth_exchange_start(struct berth_exchange *pub, uint16_t status, const char *content_type)
{
    struct berth_xchg *x = of(pub);

    berth_assert(x->answer == BERTH_ANSWER_NONE && berth_loop_is_mine(pub->loop));
    x->answer = BERTH_ANSWER_STARTED;
    pub->status = status;
    if (x->conn != NULL)
        x->conn->proto->start(x, content_type);
}

int
berth_exchange_write(struct berth_exchange *pub, const void *bytes, size_t len)
{
    struct berth_xchg *x = of(pub);

    berth_assert(x->answer == BERTH_ANSWER_STARTED && berth_loop_is_mine(pub->loop));
    if (x->conn == NULL)
        return -BERTH_ECANCELED;
    if (len == 0 || x->is_head)
        return 0;
    int r = x->conn->proto->write(x, bytes, len);
    if (r == 0)
        pub->answer_bytes += len;
    x->starved |= r == -BERTH_EAGAIN;
    return r;
}

int
berth_exchange_lend(struct berth_exchange *pub, const void *bytes, size_t len)
{
    struct berth_xchg *x = of(pub);

    berth_assert(x->answer == BERTH_ANSWER_STARTED && berth_loop_is_mine(pub->loop));
    if (x->conn == NULL)
        return -BERTH_ECANCELED;
    if (len == 0 || x->is_head)
        return 0;
    int r = x->conn->proto->lend(x, bytes, len);
    if (r == 0)
        pub->answer_bytes += len;
    x->starved |= r == -BERTH_EAGAIN;
    return r;
}

void
berth_exchange_pause(struct berth_exchange *pub, bool paused)
{
    struct berth_xchg *x = of(pub);

    berth_assert(berth_loop_is_mine(pub->loop));
    if (x->conn != NULL && pub->piece != NULL)
        x->conn->proto->pause(x, paused);
}

void
berth_exchange_end(struct berth_exchange *pub)
{
    struct berth_xchg *x = of(pub);

    berth_assert(berth_loop_is_mine(pub->loop));
    /* After gone() the answer may end before it began. */
    berth_assert(x->answer == BERTH_ANSWER_STARTED ||
                 (x->conn == NULL && x->answer == BERTH_ANSWER_NONE));
    x->answer = BERTH_ANSWER_ENDED;
    if (x->conn == NULL)
        let_go(x);
    else
        x->conn->proto->end(x);
}

void
berth_exchange_abort(struct berth_exchange *pub)
{
    struct berth_xchg *x = of(pub);

    berth_assert(x->answer != BERTH_ANSWER_ENDED && berth_loop_is_mine(pub->loop));
    x->answer = BERTH_ANSWER_ENDED;
    if (x->conn == NULL)
        let_go(x);
    else
        x->conn->proto->abort(x);
}

bool
berth_exchange_behind(const struct berth_exchange *pub)
{
    const struct berth_xchg *x = (const struct berth_xchg *)(const void *)pub; /* as of() */

    return x->conn != NULL && (x->starved || berth_conn_unsent(x->conn) > 0);
}

void
berth_exchange_ref(struct berth_exchange *x)
{
    berth_assert(berth_loop_is_mine(x->loop));
    of(x)->refs++;
}

void
berth_exchange_unref(struct berth_exchange *x)
{
    berth_assert(berth_loop_is_mine(x->loop));
    berth_xchg_unref(of(x));
}
