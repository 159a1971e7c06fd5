#include "fetch/source.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/buf.h"
#include "wire/uri.h"

#define FORMS                                                                            \
    "a source is a path, https://HOST/PATH/FILE or hf://ORG/REPO/FILE[@REVISION], with " \
    "#sha256=HEX behind it if you know the checksum"

static bool
is_plain(struct berth_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] < 0x20 || s.at[i] == 0x7f)
            return false;
    return true;
}

int
berth_source_name_check(const char *name, struct berth_err *e)
{
    const struct berth_slice s = berth_slice_of(name);

    if (s.len == 0 || s.len > BERTH_SOURCE_NAME_MAX || !is_plain(s) || strchr(name, '/') != NULL ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "'%.80s' cannot be a file's name: 1 to %d characters, no slash", name,
                             BERTH_SOURCE_NAME_MAX);
    return 0;
}

void
berth_source_fini(struct berth_source *s)
{
    free(s->at);
    free(s->label);
    free(s->name);
    *s = (struct berth_source){0};
}

static char *
copy(struct berth_slice s)
{
    return strndup(s.at, s.len);
}

/* Cut the part up to `mark` off *rest.  False, *rest untouched: there is no mark. */
static bool
cut(struct berth_slice *rest, char mark, struct berth_slice *ret)
{
    const char *at = memchr(rest->at, mark, rest->len);

    if (at == NULL)
        return false;
    *ret = (struct berth_slice){rest->at, (size_t)(at - rest->at)};
    *rest = (struct berth_slice){at + 1, rest->len - ret->len - 1};
    return true;
}

static struct berth_slice
last_part(struct berth_slice path)
{
    const char *slash = memrchr(path.at, '/', path.len);

    if (slash == NULL)
        return path;
    return (struct berth_slice){slash + 1, (size_t)(path.at + path.len - slash - 1)};
}

/* ---- hf:// ---- */

/* Every part of a path is there, and none leads elsewhere. */
static bool
parts_are_fine(struct berth_slice path)
{
    for (;;) {
        struct berth_slice part;
        const bool more = cut(&path, '/', &part);
        if (!more)
            part = path;
        if (part.len == 0 || berth_slice_is(part, ".") || berth_slice_is(part, ".."))
            return false;
        if (!more)
            return true;
    }
}

static void
put_parts(struct berth_buf *b, struct berth_slice path)
{
    struct berth_slice part;

    while (cut(&path, '/', &part)) {
        berth_uri_put(b, part.at, part.len);
        berth_buf_putc(b, '/');
    }
    berth_uri_put(b, path.at, path.len);
}

/* A revision may hold slashes (refs/pr/1), so it begins at the last '@'. */
static int
parse_hub(struct berth_slice rest, const char *hub, struct berth_source *s, struct berth_err *e)
{
    const char *at = memrchr(rest.at, '@', rest.len);
    struct berth_slice file = rest, revision = BERTH_SLICE("main"), org, repo;
    struct berth_buf url;

    if (at != NULL) {
        file.len = (size_t)(at - file.at);
        revision = (struct berth_slice){at + 1, rest.len - file.len - 1};
    }
    if (!parts_are_fine(file) || !cut(&file, '/', &org) || !cut(&file, '/', &repo) ||
        !parts_are_fine(revision))
        return berth_err_set(e, BERTH_EINVAL, "hf://%.*s: it needs ORG/REPO/FILE: " FORMS,
                             (int)rest.len, rest.at);
    berth_buf_init(&url, NULL);
    berth_buf_puts(&url, hub);
    berth_buf_putc(&url, '/');
    berth_uri_put(&url, org.at, org.len);
    berth_buf_putc(&url, '/');
    berth_uri_put(&url, repo.at, repo.len);
    berth_buf_puts(&url, "/resolve/");
    berth_uri_put(&url, revision.at, revision.len);
    berth_buf_putc(&url, '/');
    put_parts(&url, file);
    if (berth_buf_text(&url) == NULL) {
        berth_buf_fini(&url);
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    s->kind = BERTH_SOURCE_HUB;
    s->at = url.at;
    s->name = copy(last_part(file));
    return 0;
}

/* ---- http:// ---- */

/* The last part of the URL's path, decoded; NULL when it is no file's name. */
static char *
name_of_path(struct berth_slice path)
{
    struct berth_arena a;
    struct berth_slice name;
    char *ret = NULL;

    berth_arena_init(&a, 64 * 1024);
    if (berth_uri_decode(&a, last_part(path), false, &name) &&
        berth_source_name_check(name.at, NULL) == 0)
        ret = copy(name);
    berth_arena_fini(&a);
    return ret;
}

/* rest: behind "://". */
static int
parse_http(struct berth_slice text, struct berth_slice rest, struct berth_source *s,
           struct berth_err *e)
{
    const size_t host_len = strcspn(rest.at, "/?#");
    const char *user_end = memrchr(rest.at, '@', host_len < rest.len ? host_len : rest.len);
    struct berth_slice shown = rest;
    struct berth_buf label;

    if (user_end != NULL)
        shown = (struct berth_slice){user_end + 1, rest.len - (size_t)(user_end + 1 - rest.at)};
    if (shown.len == 0 || strchr("/?#", shown.at[0]) != NULL)
        return berth_err_set(e, BERTH_EINVAL, "%.*s: it has no host: " FORMS, (int)text.len,
                             text.at);
    const size_t path_end = strcspn(shown.at, "?#");
    shown.len = path_end < shown.len ? path_end : shown.len;
    berth_buf_init(&label, NULL);
    berth_buf_put(&label, text.at, (size_t)(rest.at - text.at));
    berth_buf_put(&label, shown.at, shown.len);
    if (berth_buf_text(&label) == NULL) {
        berth_buf_fini(&label);
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    s->kind = BERTH_SOURCE_HTTP;
    s->at = copy(text);
    s->label = label.at;
    if (memchr(shown.at, '/', shown.len) != NULL)
        s->name = name_of_path(shown);
    return 0;
}

/* Take "#sha256=HEX" off the end. */
static int
parse_checksum(struct berth_slice *text, struct berth_source *s, struct berth_err *e)
{
    static const char mark[] = "#sha256=";
    const char *at = memmem(text->at, text->len, mark, sizeof mark - 1);

    if (at == NULL)
        return 0;
    const char *hex = at + sizeof mark - 1;
    if (!berth_digest_parse(hex, text->len - (size_t)(hex - text->at), s->sha256))
        return berth_err_set(e, BERTH_EINVAL, "%.*s: #sha256= wants 64 hex digits behind it",
                             (int)text->len, text->at);
    text->len = (size_t)(at - text->at);
    return 0;
}

static bool
has_prefix(struct berth_slice s, const char *prefix, struct berth_slice *ret_rest)
{
    const size_t n = strlen(prefix);

    if (s.len < n || strncasecmp(s.at, prefix, n) != 0)
        return false;
    *ret_rest = (struct berth_slice){s.at + n, s.len - n};
    return true;
}

static int
parse(struct berth_slice text, const char *hub, struct berth_source *s, struct berth_err *e)
{
    struct berth_slice rest;
    int r = parse_checksum(&text, s, e);

    if (r < 0)
        return r;
    if (has_prefix(text, "hf://", &rest))
        r = parse_hub(rest, hub, s, e);
    else if (has_prefix(text, "http://", &rest) || has_prefix(text, "https://", &rest))
        r = parse_http(text, rest, s, e);
    else if (text.len == 0 || memmem(text.at, text.len, "://", 3) != NULL)
        r = berth_err_set(e, BERTH_EINVAL, "'%.*s' is no source: " FORMS, (int)text.len, text.at);
    else
        s->at = copy(text);
    if (r == 0 && s->label == NULL)
        s->label = copy(text);
    if (r == 0 && (s->at == NULL || s->label == NULL))
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    return r;
}

int
berth_source_parse(const char *text, const char *hub, struct berth_source *ret, struct berth_err *e)
{
    const struct berth_slice all = {text, strnlen(text, BERTH_SOURCE_BYTES_MAX + 1)};
    struct berth_source s = {.kind = BERTH_SOURCE_PATH};

    if (all.len > BERTH_SOURCE_BYTES_MAX || !is_plain(all))
        return berth_err_set(e, BERTH_EINVAL,
                             "a source has at most %d characters and no control characters",
                             BERTH_SOURCE_BYTES_MAX);
    const int r = parse(all, hub, &s, e);
    if (r < 0)
        berth_source_fini(&s);
    else
        *ret = s;
    return r;
}
