#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "shimlets/ollama/ollama_priv.h"

/* Addresses, names of models, and lines: pure. */

int
berth_ollama_host(const char *text, char ret[BERTH_OLLAMA_HOST], struct berth_err *e)
{
    const char *scheme = "http://", *rest = text, *port = "";
    const bool given = strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;

    if (given) {
        rest = strstr(text, "//") + 2;
        scheme = rest - text == 8 ? "https://" : "http://";
    }
    size_t host_len = strcspn(rest, "/"), all_len = strlen(rest);
    while (all_len > 0 && rest[all_len - 1] == '/')
        all_len--;
    for (size_t i = 0; i < all_len; i++)
        if (strchr("@?#\\\"", rest[i]) != NULL || rest[i] <= ' ' || rest[i] == 0x7f)
            return berth_err_set(e, BERTH_EINVAL,
                                 "ollama: host \"%.200s\" is not like http://127.0.0.1:11434",
                                 text);
    const size_t name_len = rest[0] == '[' ? strcspn(rest, "]/") + 1 : strcspn(rest, ":/");
    struct berth_slice name = {rest, name_len < host_len ? name_len : host_len};
    rest += name.len;
    all_len -= name.len;
    host_len -= name.len;
    /* What a server listens on is no address to call. */
    if (name.len == 0 || berth_slice_is(name, "0.0.0.0"))
        name = BERTH_SLICE("127.0.0.1");
    else if (berth_slice_is(name, "[::]"))
        name = BERTH_SLICE("[::1]");
    if (host_len == 0 && !given)
        port = ":11434"; /* as Ollama's own clients do it */
    const int n =
        snprintf(NULL, 0, "%s%.*s%s%.*s", scheme, (int)name.len, name.at, port, (int)all_len, rest);
    if (n < 0 || n >= BERTH_OLLAMA_HOST)
        return berth_err_set(e, BERTH_EINVAL, "ollama: host \"%.60s...\" is too long", text);
    (void)snprintf(ret, BERTH_OLLAMA_HOST, "%s%.*s%s%.*s", scheme, (int)name.len, name.at, port,
                   (int)all_len, rest);
    return 0;
}

/* ---- names of models ---- */

static const char prefix[] = "berth-";

bool
berth_ollama_name(const char *owner, const char *unit, const struct berth_ollama_tag *tag,
                  char ret[BERTH_OLLAMA_NAME])
{
    enum { PART_MAX = 80 }; /* Ollama's own limit */
    char text[2 * PART_MAX];
    const int n = snprintf(text, sizeof text, "r%llu-g%llu-%s", (unsigned long long)tag->revision,
                           (unsigned long long)tag->number, tag->hash);

    if (n < 0 || n > PART_MAX || strlen(unit) > PART_MAX ||
        sizeof prefix - 1 + strlen(owner) > PART_MAX)
        return false;
    return snprintf(ret, BERTH_OLLAMA_NAME, "%s%s/%s:%s", prefix, owner, unit, text) <
           BERTH_OLLAMA_NAME;
}

static bool
skip(struct berth_slice *s, const char *text)
{
    const size_t n = strlen(text);

    if (s->len < n || memcmp(s->at, text, n) != 0)
        return false;
    *s = (struct berth_slice){s->at + n, s->len - n};
    return true;
}

/* Up to `end`, which goes, too. */
static bool
take(struct berth_slice *s, char end, struct berth_slice *ret)
{
    const char *at = s->len > 0 ? memchr(s->at, end, s->len) : NULL;

    if (at == NULL)
        return false;
    *ret = (struct berth_slice){s->at, (size_t)(at - s->at)};
    *s = (struct berth_slice){at + 1, s->len - ret->len - 1};
    return true;
}

static bool
number(struct berth_slice s, uint64_t *ret)
{
    int64_t n;

    if (!berth_int_parse(s.at, s.len, 0, INT64_MAX, &n))
        return false;
    *ret = (uint64_t)n;
    return true;
}

bool
berth_ollama_name_parse(struct berth_slice name, const char *owner, const char *unit,
                        struct berth_ollama_tag *ret, struct berth_slice *ret_unit)
{
    struct berth_slice s = name, own_unit, revision, made;
    struct berth_ollama_tag tag = {0};

    if (!skip(&s, prefix) || !skip(&s, owner) || !skip(&s, "/") || !take(&s, ':', &own_unit) ||
        (unit != NULL && !berth_slice_is(own_unit, unit)) || !skip(&s, "r") ||
        !take(&s, '-', &revision) || !skip(&s, "g") || !take(&s, '-', &made) ||
        !number(revision, &tag.revision) || !number(made, &tag.number) || s.len == 0 ||
        s.len >= sizeof tag.hash)
        return false;
    memcpy(tag.hash, s.at, s.len);
    *ret = tag;
    if (ret_unit != NULL)
        *ret_unit = own_unit;
    return true;
}

/* ---- lines ---- */

void
berth_ollama_lines_feed(struct berth_ollama_lines *l, const char *bytes, size_t len,
                        void (*line)(void *arg, const char *text, size_t len), void *arg)
{
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        const size_t n = end != NULL ? (size_t)(end - bytes) : len;

        if (n > sizeof l->held - l->len)
            l->over = true;
        if (!l->over) {
            memcpy(l->held + l->len, bytes, n);
            l->len += n;
        }
        if (end == NULL)
            return;
        if (!l->over && l->len > 0)
            line(arg, l->held, l->len);
        l->len = 0;
        l->over = false;
        bytes += n + 1;
        len -= n + 1;
    }
}
