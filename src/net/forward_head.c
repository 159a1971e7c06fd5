#include "net/forward_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/num.h"
#include "net/server.h"

/* Of one connection, not of the request: RFC 9110, section 7.6.1, and those that came before it. */
static const char *const hops[] = {"connection",
                                   "keep-alive",
                                   "proxy-connection",
                                   "te",
                                   "trailer",
                                   "transfer-encoding",
                                   "upgrade",
                                   "proxy-authenticate",
                                   "proxy-authorization",
                                   "proxy-authentication-info"};
/* What curl or we set, and credentials that are for this server alone. */
static const char *const not_up[] = {"host",
                                     "content-length",
                                     "expect",
                                     "authorization",
                                     "x-api-key",
                                     "cookie",
                                     "x-request-id",
                                     "x-forwarded-for",
                                     "x-forwarded-proto",
                                     "content-encoding",
                                     "x-forwarded-host",
                                     "http2-settings"};
/* What this server says by itself. */
static const char *const not_down[] = {"content-length", "content-type",
                                       "date",           "set-cookie",
                                       "alt-svc",        "strict-transport-security",
                                       "x-request-id",   "x-berth-replica"};
static const char cors[] = "access-control-";

static bool
is_one_of(struct berth_slice name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (berth_slice_is(name, list[i]))
            return true;
    return false;
}

/* Is name one of the tokens between commas? */
static bool
is_listed(struct berth_slice list, struct berth_slice name)
{
    const char *at = list.at, *end = list.at + list.len;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        const char *from = at, *to = stop;

        while (from < to && (*from == ' ' || *from == '\t'))
            from++;
        while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
            to--;
        if ((size_t)(to - from) == name.len && strncasecmp(from, name.at, name.len) == 0)
            return true;
        at = stop + 1;
    }
    return false;
}

static bool
is_of_a_hop(struct berth_slice name, struct berth_slice connection)
{
    return is_one_of(name, hops, BERTH_COUNT(hops)) ||
           (connection.len > 0 && is_listed(connection, name));
}

bool
berth_forward_goes_up(struct berth_slice name, struct berth_slice connection)
{
    return name.len > 0 && name.at[0] != ':' && !is_one_of(name, not_up, BERTH_COUNT(not_up)) &&
           !is_of_a_hop(name, connection);
}

bool
berth_forward_comes_down(struct berth_slice name, struct berth_slice connection)
{
    return name.len > 0 && !is_one_of(name, not_down, BERTH_COUNT(not_down)) &&
           !(name.len > sizeof cors - 1 && memcmp(name.at, cors, sizeof cors - 1) == 0) &&
           !is_of_a_hop(name, connection);
}

static bool
is_plain(struct berth_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] <= ' ' || s.at[i] == 0x7f)
            return false;
    return s.len > 0;
}

int
berth_forward_check(const struct berth_exchange *x, const struct berth_forward_to *to,
                    struct berth_err *e)
{
    if (!is_plain(to->target) || to->target.at[0] != '/')
        return berth_err_set(e, BERTH_EINVAL, "the path is none that can be passed on");
    if (!is_plain(x->method) || x->method.len > 16 || berth_slice_is(x->method, "CONNECT"))
        return berth_err_set(e, BERTH_EINVAL, "the method is none that can be passed on");
    return 0;
}

/* ---- up ---- */

/* Lines for curl: counted first, then written, so that one piece of the arena holds them all. */
struct lines {
    struct curl_slist *nodes, *last;
    char *at;
    size_t count, bytes;
};

static void
put(struct lines *l, const char *name, size_t name_len, struct berth_slice value)
{
    l->count++;
    l->bytes += name_len + value.len + 3;
    if (l->at == NULL)
        return;
    struct curl_slist *node = l->nodes++;
    node->data = l->at;
    node->next = NULL;
    if (l->last != NULL)
        l->last->next = node;
    l->last = node;
    memcpy(l->at, name, name_len);
    l->at += name_len;
    if (value.len == 0) { /* as curl wants it: with a colon it would leave it out */
        *l->at++ = ';';
    } else {
        *l->at++ = ':';
        *l->at++ = ' ';
        memcpy(l->at, value.at, value.len);
        l->at += value.len;
    }
    *l->at++ = '\0';
}

#define PUT(l, name, value) put((l), (name), sizeof(name) - 1, (value))

/* "127.0.0.1" of "127.0.0.1:4711", "::1" of "[::1]:4711". */
static struct berth_slice
address_of(const char *peer)
{
    const char *colon = strrchr(peer, ':');
    struct berth_slice s = {peer, colon != NULL ? (size_t)(colon - peer) : strlen(peer)};

    if (s.len >= 2 && s.at[0] == '[')
        s = (struct berth_slice){s.at + 1, s.len - 2};
    return s;
}

static void
put_forwarded(struct lines *l, const struct berth_exchange *x, struct berth_slice chain)
{
    const struct berth_slice *proto = berth_exchange_header(x, "x-forwarded-proto");
    const struct berth_slice *host = berth_exchange_header(x, "x-forwarded-host");

    PUT(l, "x-forwarded-for", chain);
    PUT(l, "x-forwarded-proto",
        proto != NULL ? *proto : (x->tls ? BERTH_SLICE("https") : BERTH_SLICE("http")));
    if (host != NULL || x->authority.len > 0)
        PUT(l, "x-forwarded-host", host != NULL ? *host : x->authority);
}

/* What Connection names, on one line or on several (RFC 9110, section 7.6.1). */
struct named {
    struct berth_slice list; /* of all lines so far */
    struct berth_buf more;   /* of the second one on */
};

static void
add_named(struct named *n, struct berth_slice value, struct berth_arena *a)
{
    if (n->list.len == 0) {
        n->list = value;
        return;
    }
    if (n->more.at == NULL) {
        berth_buf_init(&n->more, a);
        berth_buf_put(&n->more, n->list.at, n->list.len);
    }
    berth_buf_putc(&n->more, ',');
    berth_buf_put(&n->more, value.at, value.len);
    n->list = (struct berth_slice){n->more.at, n->more.len};
}

/* A line that makes curl leave out a header of its own. */
static void
put_none(struct lines *l, const char *line)
{
    const size_t n = strlen(line);

    l->count++;
    l->bytes += n + 1;
    if (l->at == NULL)
        return;
    struct curl_slist *node = l->nodes++;
    node->data = memcpy(l->at, line, n + 1);
    node->next = NULL;
    if (l->last != NULL)
        l->last->next = node;
    l->last = node;
    l->at += n + 1;
}

static bool
is_replaced(const struct berth_forward_to *to, struct berth_slice name)
{
    for (size_t i = 0; i < to->more_count; i++) {
        const struct berth_slice other = to->more[i].name;

        if (other.len == name.len && memcmp(other.at, name.at, name.len) == 0)
            return true;
    }
    return false;
}

static void
put_all(struct lines *l, const struct berth_exchange *x, const struct berth_forward_to *to,
        struct berth_slice chain, struct berth_slice connection)
{
    bool typed = false, accepts = false;

    for (size_t i = 0; i < x->header_count; i++) {
        const struct berth_slice name = x->headers[i].name, value = x->headers[i].value;

        if (!berth_forward_goes_up(name, connection) || is_replaced(to, name) ||
            memchr(value.at, '\0', value.len) != NULL)
            continue;
        typed |= berth_slice_is(name, "content-type");
        accepts |= berth_slice_is(name, "accept");
        put(l, name.at, name.len, value);
    }
    for (size_t i = 0; i < to->more_count; i++)
        put(l, to->more[i].name.at, to->more[i].name.len, to->more[i].value);
    if (to->authorization != NULL)
        PUT(l, "authorization", berth_slice_of(to->authorization));
    if (to->request_id != NULL)
        PUT(l, "x-request-id", berth_slice_of(to->request_id));
    put_forwarded(l, x, chain);
    put_none(l, "Expect:"); /* no round trip before a large body */
    if (!typed)
        put_none(l, "Content-Type:");
    if (!accepts)
        put_none(l, "Accept:");
}

struct curl_slist *
berth_forward_headers(struct berth_exchange *x, const struct berth_forward_to *to)
{
    const struct berth_slice *before = berth_exchange_header(x, "x-forwarded-for");
    struct berth_slice chain = address_of(x->peer);
    struct lines l = {.count = 0};
    struct named named = {.list = {"", 0}};

    for (size_t i = 0; i < x->header_count; i++)
        if (berth_slice_is(x->headers[i].name, "connection"))
            add_named(&named, x->headers[i].value, &x->arena);
    if (named.more.failed)
        return NULL;
    if (before != NULL && before->len > 0) {
        const char *longer = berth_arena_printf(&x->arena, "%.*s, %.*s", (int)before->len,
                                                before->at, (int)chain.len, chain.at);
        if (longer == NULL)
            return NULL;
        chain = berth_slice_of(longer);
    }
    put_all(&l, x, to, chain, named.list);
    struct curl_slist *nodes = BERTH_NEW_N(&x->arena, struct curl_slist, l.count);
    char *text = berth_arena_alloc_raw(&x->arena, l.bytes);
    if (nodes == NULL || text == NULL)
        return NULL;
    l = (struct lines){.nodes = nodes, .at = text};
    put_all(&l, x, to, chain, named.list);
    return nodes;
}

/* ---- down ---- */

static bool
is_token(const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)at[i];

        if (c <= ' ' || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c) != NULL)
            return false;
    }
    return n > 0;
}

bool
berth_forward_split(char *line, size_t len, struct berth_header *ret)
{
    char *colon = memchr(line, ':', len);
    char *end = line + len;

    if (colon == NULL || !is_token(line, (size_t)(colon - line)))
        return false;
    for (char *c = line; c < colon; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    while (end > colon + 1 && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
        end--;
    char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    for (const char *c = value; c < end; c++)
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            return false;
    if (end == line + len)
        return false;
    *colon = *end = '\0';
    ret->name = (struct berth_slice){line, (size_t)(colon - line)};
    ret->value = (struct berth_slice){value, (size_t)(end - value)};
    return true;
}

static char *
line_end(char *at, const char *end)
{
    char *lf = memchr(at, '\n', (size_t)(end - at));

    return lf != NULL ? lf + 1 : at + (end - at);
}

const char *
berth_forward_add_lines(struct berth_exchange *x, char *lines, size_t len)
{
    char *const end = lines + len;
    struct named named = {.list = {"", 0}};
    const char *type = NULL;

    /* What Connection names may stand before it. */
    for (char *at = lines, *next; at < end; at = next) {
        next = line_end(at, end);
        if ((size_t)(next - at) > 11 && strncasecmp(at, "connection:", 11) == 0)
            add_named(&named, (struct berth_slice){at + 11, strcspn(at + 11, "\r\n")}, &x->arena);
    }
    for (char *at = lines, *next; at < end; at = next) {
        struct berth_header h;

        next = line_end(at, end);
        if (!berth_forward_split(at, (size_t)(next - at), &h))
            continue;
        if (berth_slice_is(h.name, "content-type"))
            type = berth_arena_strndup(&x->arena, h.value.at, h.value.len);
        else if (berth_forward_comes_down(h.name, named.list))
            berth_exchange_add(x, h.name.at, h.value.at);
    }
    return type;
}
