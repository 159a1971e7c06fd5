#include <arpa/inet.h>
#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "template/fn_priv.h"

/* urlParse and urlJoin, as Go's net/url has them. */

enum where { IN_PATH, IN_FRAGMENT, IN_HOST, IN_USER };

static struct berth_slice
part(struct berth_slice s, size_t from, size_t to)
{
    return to > from ? (struct berth_slice){s.at + from, to - from} : (struct berth_slice){"", 0};
}

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* May c stand there as it is? */
static bool
plain(char c, enum where where)
{
    if (is_letter(c) || (c >= '0' && c <= '9') || (c != '\0' && strchr("-_.~", c) != NULL))
        return true;
    if (c == '\0')
        return false;
    switch (where) {
    case IN_PATH:
        return strchr("$&+,/:;=@", c) != NULL;
    case IN_FRAGMENT:
        return strchr("$&+,/:;=?@!()*", c) != NULL;
    case IN_HOST:
        return strchr("!$&'()*+,;=:[]<>\"", c) != NULL;
    case IN_USER:
        return strchr("$&+,;=", c) != NULL;
    }
    return false;
}

static void
escape(struct berth_buf *b, struct berth_slice s, enum where where)
{
    for (size_t i = 0; i < s.len && !b->failed; i++)
        if (plain(s.at[i], where))
            berth_buf_putc(b, s.at[i]);
        else
            berth_buf_printf(b, "%%%02X", (unsigned char)s.at[i]);
}

static int
bad(struct berth_trun *r, struct berth_slice s, const char *why)
{
    return berth_trun_fail(r, "\"%.*s\" is no URL: %s", s.len < 100 ? (int)s.len : 100, s.at, why);
}

/* With its %xx as bytes. */
static int
unescape(struct berth_trun *r, struct berth_slice s, enum where where, struct berth_slice *ret)
{
    struct berth_buf b;
    struct berth_tvalue text;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len; i++) {
        const char c = s.at[i];
        if (c != '%') {
            if (where == IN_HOST && (unsigned char)c < 0x80 && !plain(c, IN_HOST))
                return bad(r, s, "a host's name has no such character");
            berth_buf_putc(&b, c);
            continue;
        }
        const int high = i + 2 < s.len ? berth_hex_digit(s.at[i + 1]) : -1;
        const int low = i + 2 < s.len ? berth_hex_digit(s.at[i + 2]) : -1;
        if (high < 0 || low < 0)
            return bad(r, s, "a % without two digits behind it");
        if (where == IN_HOST && high < 8 && !(high == 2 && low == 5))
            return bad(r, s, "a host's name has no such escape");
        berth_buf_putc(&b, (char)(high << 4 | low));
        i += 2;
    }
    const int err = berth_trun_text(r, &b, &text);
    if (err == 0)
        *ret = text.s;
    return err;
}

struct url {
    struct berth_slice scheme, opaque, user, host, path, query, fragment;
};

/* "name:password" as it was, but with each character that needs it escaped. */
static int
userinfo(struct berth_trun *r, struct berth_slice s, struct berth_slice *ret)
{
    const char *colon = s.len > 0 ? memchr(s.at, ':', s.len) : NULL;
    const size_t name_len = colon != NULL ? (size_t)(colon - s.at) : s.len;
    struct berth_slice name, password = {"", 0};
    struct berth_tvalue text;
    struct berth_buf b;

    for (size_t i = 0; i < s.len; i++)
        if (!is_letter(s.at[i]) && !(s.at[i] >= '0' && s.at[i] <= '9') &&
            (s.at[i] == '\0' || strchr("-._:~!$&'()*+,;=%@", s.at[i]) == NULL))
            return bad(r, s, "a user's name has no such character");
    int err = unescape(r, part(s, 0, name_len), IN_USER, &name);
    if (err == 0 && colon != NULL)
        err = unescape(r, part(s, name_len + 1, s.len), IN_USER, &password);
    if (err < 0)
        return err;
    berth_trun_buf(r, &b);
    escape(&b, name, IN_USER);
    if (colon != NULL) {
        berth_buf_putc(&b, ':');
        escape(&b, password, IN_USER);
    }
    err = berth_trun_text(r, &b, &text);
    if (err == 0)
        *ret = text.s;
    return err;
}

/* Behind the last colon: digits, or none. */
static bool
port_ok(struct berth_slice s)
{
    if (s.len == 0)
        return true;
    for (size_t i = 1; i < s.len; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    return s.at[0] == ':';
}

/* An address, with a zone behind it or none. */
static bool
is_ip6(struct berth_slice s)
{
    const char *zone = s.len > 0 ? memchr(s.at, '%', s.len) : NULL;
    const size_t len = zone != NULL ? (size_t)(zone - s.at) : s.len;
    struct in6_addr unused;
    char text[INET6_ADDRSTRLEN];

    if (len >= sizeof text || memchr(s.at, '\0', len) != NULL)
        return false;
    memcpy(text, s.at, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &unused) == 1;
}

/* The last c in s, or NULL. */
static const char *
last_of(struct berth_slice s, char c)
{
    return s.at != NULL && s.len > 0 ? memrchr(s.at, c, s.len) : NULL;
}

static int
authority(struct berth_trun *r, struct berth_slice s, struct url *u)
{
    const char *at = last_of(s, '@');
    const size_t begin = at != NULL ? (size_t)(at - s.at) + 1 : 0;
    const struct berth_slice host = part(s, begin, s.len);
    int err = 0;

    const char *bracket = host.len > 0 && host.at[0] == '[' ? last_of(host, ']') : NULL;
    const char *colon = last_of(host, ':');
    const char *open = last_of(host, '[');
    if (open != NULL &&
        (open != host.at || bracket == NULL || !is_ip6(part(host, 1, (size_t)(bracket - host.at)))))
        return bad(r, s, "what is in [ ] is no IPv6 address");
    const size_t port = bracket != NULL ? (size_t)(bracket - host.at) + 1
                        : colon != NULL ? (size_t)(colon - host.at)
                                        : host.len;
    if (!port_ok(part(host, port, host.len)))
        return bad(r, s, "its port is no number");
    err = unescape(r, host, IN_HOST, &u->host);
    return err == 0 && at != NULL ? userinfo(r, part(s, 0, begin - 1), &u->user) : err;
}

/* How long the scheme is; 0: there is none. */
static size_t
scheme_len(struct berth_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == ':')
            return i;
        if (!is_letter(s.at[i]) &&
            (i == 0 || !((s.at[i] >= '0' && s.at[i] <= '9') || s.at[i] == '+' || s.at[i] == '-' ||
                         s.at[i] == '.')))
            return 0;
    }
    return 0;
}

static struct berth_slice
until(struct berth_slice s, char c)
{
    const char *at = s.len > 0 ? memchr(s.at, c, s.len) : NULL;

    return part(s, 0, at != NULL ? (size_t)(at - s.at) : s.len);
}

static int
take_scheme(struct berth_trun *r, struct berth_slice *s, struct url *u)
{
    const size_t n = scheme_len(*s);
    char *lower;

    if (s->len > 0 && s->at[0] == ':')
        return bad(r, *s, "it begins with a colon");
    if (n == 0)
        return 0;
    lower = berth_arena_strndup(r->a, s->at, n);
    if (lower == NULL)
        return berth_trun_nomem(r);
    for (size_t i = 0; i < n; i++)
        if (lower[i] >= 'A' && lower[i] <= 'Z')
            lower[i] = (char)(lower[i] | 32);
    u->scheme = (struct berth_slice){lower, n};
    *s = part(*s, n + 1, s->len);
    return 0;
}

static int
parse(struct berth_trun *r, struct berth_slice s, struct url *u)
{
    const struct berth_slice all = s, none = {"", 0};
    int err = 0;

    *u = (struct url){none, none, none, none, none, none, none};
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] < ' ' || s.at[i] == 0x7f)
            return bad(r, part(s, 0, i), "a control character follows");
    s = until(s, '#');
    err = unescape(r, part(all, s.len + 1, all.len), IN_FRAGMENT, &u->fragment);
    if (err == 0)
        err = take_scheme(r, &s, u);
    if (err < 0)
        return err;
    const struct berth_slice before = until(s, '?');
    u->query = part(s, before.len + 1, s.len);
    s = before;
    if (u->scheme.len > 0 && (s.len == 0 || s.at[0] != '/')) {
        u->opaque = s;
        return 0;
    }
    if (s.len > 0 && s.at[0] != '/' && memchr(until(s, '/').at, ':', until(s, '/').len) != NULL)
        return bad(r, all, "its first part has a colon");
    const bool three = s.len > 2 && memcmp(s.at, "///", 3) == 0;
    if (s.len > 1 && memcmp(s.at, "//", 2) == 0 && (u->scheme.len > 0 || !three)) {
        const struct berth_slice rest = part(s, 2, s.len), who = until(rest, '/');
        err = authority(r, who, u);
        s = part(rest, who.len, rest.len);
    }
    return err == 0 ? unescape(r, s, IN_PATH, &u->path) : err;
}

static struct berth_slice
hostname(struct berth_slice host)
{
    const char *bracket = host.len > 0 ? memchr(host.at, ']', host.len) : NULL;
    const char *colon = host.len > 0 ? memrchr(host.at, ':', host.len) : NULL;

    if (host.len > 0 && host.at[0] == '[' && bracket != NULL)
        return part(host, 1, (size_t)(bracket - host.at));
    return colon != NULL ? part(host, 0, (size_t)(colon - host.at)) : host;
}

BERTH_TFN(url_parse)
{
    struct url u;
    int err = parse(r, argv[0].s, &u);

    if (err == 0)
        err = berth_trun_map(r, BERTH_TT_PLAIN, ret);
    const struct {
        const char *key;
        struct berth_slice value;
    } members[] = {
        {"scheme", u.scheme},     {"host", u.host},     {"hostname", hostname(u.host)},
        {"path", u.path},         {"query", u.query},   {"opaque", u.opaque},
        {"fragment", u.fragment}, {"userinfo", u.user},
    };
    for (size_t i = 0; i < sizeof members / sizeof *members && err == 0; i++) {
        const struct berth_tvalue v = berth_tv_slice(members[i].value);
        err = berth_trun_set(r, ret->map, berth_slice_of(members[i].key), &v);
    }
    return err;
}

static int
member(struct berth_trun *r, const struct berth_tmap *m, const char *key, struct berth_slice *ret)
{
    const struct berth_tvalue *v = berth_tmap_get(m, berth_slice_of(key));

    *ret = (struct berth_slice){"", 0};
    if (v == NULL)
        return 0;
    if (v->kind != BERTH_T_STRING)
        return berth_trun_fail(r, "%s must be a text, not %s", key, berth_tv_type_name(v));
    *ret = v->s;
    return 0;
}

/* Behind the scheme: who, where. */
static void
put_hierarchy(struct berth_buf *b, const struct url *u)
{
    if (u->scheme.len > 0 || u->host.len > 0 || u->user.len > 0) {
        if (u->host.len > 0 || u->path.len > 0 || u->user.len > 0)
            berth_buf_puts(b, "//");
        berth_buf_put(b, u->user.at, u->user.len);
        if (u->user.len > 0)
            berth_buf_putc(b, '@');
        escape(b, u->host, IN_HOST);
    }
    if (u->path.len > 0 && u->path.at[0] != '/' && u->host.len > 0)
        berth_buf_putc(b, '/');
    const struct berth_slice first = until(u->path, '/');
    if (b->len == 0 && first.len > 0 && memchr(first.at, ':', first.len) != NULL)
        berth_buf_puts(b, "./");
    if (berth_slice_is(u->path, "*"))
        berth_buf_putc(b, '*');
    else
        escape(b, u->path, IN_PATH);
}

BERTH_TFN(url_join)
{
    const struct berth_tmap *m = argv[0].map;
    struct berth_slice user;
    struct berth_buf b;
    struct url u = {0};
    int err = member(r, m, "scheme", &u.scheme);

    err = err == 0 ? member(r, m, "host", &u.host) : err;
    err = err == 0 ? member(r, m, "path", &u.path) : err;
    err = err == 0 ? member(r, m, "query", &u.query) : err;
    err = err == 0 ? member(r, m, "opaque", &u.opaque) : err;
    err = err == 0 ? member(r, m, "fragment", &u.fragment) : err;
    err = err == 0 ? member(r, m, "userinfo", &user) : err;
    err = err == 0 ? userinfo(r, user, &u.user) : err;
    if (err < 0)
        return err;
    berth_trun_buf(r, &b);
    berth_buf_put(&b, u.scheme.at, u.scheme.len);
    if (u.scheme.len > 0)
        berth_buf_putc(&b, ':');
    if (u.opaque.len > 0)
        berth_buf_put(&b, u.opaque.at, u.opaque.len);
    else
        put_hierarchy(&b, &u);
    if (u.query.len > 0)
        berth_buf_putc(&b, '?');
    berth_buf_put(&b, u.query.at, u.query.len);
    if (u.fragment.len > 0)
        berth_buf_putc(&b, '#');
    escape(&b, u.fragment, IN_FRAGMENT);
    return berth_trun_text(r, &b, ret);
}

/* clang-format off */
const struct berth_tfn berth_tfns_url[] = {
    {"urlParse", "s", url_parse}, {"urlJoin", "m", url_join},
    {0},
};
/* clang-format on */
