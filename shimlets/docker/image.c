#include "shimlets/docker/docker_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "shimlets/docker/stream.h"
#include "wire/base64.h"
#include "wire/json.h"
#include "wire/uri.h"

enum {
    PROGRESS_LINE_MAX = 64 * 1024,
    AUTH_BYTES_MAX = 256 * 1024,
    NOTE_S = 5,          /* between two words about a pull */
    PULL_SILENT_S = 600, /* a registry and a disk may be slow */
};

/* ---- references ---- */

bool
berth_docker_reference_parse(const char *image, struct berth_arena *a,
                             struct berth_docker_reference *ret)
{
    const char *slash = strchr(image, '/'), *last = strrchr(image, '/');
    const char *at = strchr(image, '@');
    const char *colon = strchr(last != NULL ? last : image, ':');
    const char *end = at != NULL ? at : colon;
    size_t first = slash != NULL ? (size_t)(slash - image) : 0;

    if (image[0] == '\0' || strlen(image) > 512 || strpbrk(image, " \t\r\n") != NULL)
        return false;
    /* Only a name with a dot or a port, or localhost, is a registry's. */
    const bool named =
        first > 0 && (memchr(image, '.', first) != NULL || memchr(image, ':', first) != NULL ||
                      (first == 9 && memcmp(image, "localhost", 9) == 0));
    ret->path = berth_arena_strndup(a, image, end != NULL ? (size_t)(end - image) : strlen(image));
    ret->tag = end != NULL ? berth_arena_strdup(a, end + 1) : "latest";
    ret->registry = berth_arena_strndup(a, image, named ? first : 0);
    return ret->path != NULL && ret->path[0] != '\0' && ret->tag != NULL && ret->tag[0] != '\0' &&
           ret->registry != NULL;
}

/* ---- credentials ---- */

/* "https://index.docker.io/v1/" and "reg.example:5000" both name a host. */
static bool
is_for(struct berth_slice key, const char *registry)
{
    static const char scheme[] = "://";
    const char *at = memmem(key.at, key.len, scheme, 3);

    if (at != NULL) {
        key.len -= (size_t)(at + 3 - key.at);
        key.at = at + 3;
    }
    const char *slash = memchr(key.at, '/', key.len);
    if (slash != NULL)
        key.len = (size_t)(slash - key.at);
    if (registry[0] == '\0')
        return berth_slice_is(key, "index.docker.io") || berth_slice_is(key, "docker.io");
    return berth_slice_is(key, registry);
}

const char *
berth_docker_auth_of(const char *text, size_t len, const char *registry, struct berth_arena *a)
{
    const struct berth_json *root, *found = NULL;
    struct berth_slice both, key = {0};
    struct berth_buf out;
    struct berth_jw w;
    void *plain;
    size_t n;

    if (berth_json_parse(a, text, len, NULL, &root, NULL) < 0)
        return NULL;
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(root, "auths"));
         berth_json_next(&it);)
        if (is_for(it.key, registry)) {
            found = it.value;
            key = it.key;
        }
    const bool token =
        berth_json_string(berth_json_get(found, "identitytoken"), &both) && both.len > 0;
    const char *colon = NULL;
    if (!token) {
        if (!berth_json_string(berth_json_get(found, "auth"), &both) ||
            !berth_base64_decode(a, both.at, both.len, &plain, &n) ||
            (colon = memchr(plain, ':', n)) == NULL)
            return NULL;
    }
    berth_buf_init(&out, a);
    berth_jw_init(&w, &out);
    berth_jw_object(&w);
    if (token) { /* in place of a password; what is in "auth" then is no more than a user's name */
        berth_jw_key(&w, "identitytoken");
        berth_jw_string_n(&w, both.at, both.len);
    } else {
        const size_t user = (size_t)(colon - (const char *)plain);

        berth_jw_key(&w, "username");
        berth_jw_string_n(&w, plain, user);
        berth_jw_key(&w, "password");
        berth_jw_string_n(&w, colon + 1, n - user - 1);
    }
    berth_jw_key(&w, "serveraddress");
    berth_jw_string_n(&w, key.at, key.len);
    berth_jw_object_end(&w);
    return berth_buf_text(&out);
}

/* "X-Registry-Auth: ..." in the arena; *ret NULL: none are kept for that registry. */
static int
auth_header(const struct berth_shimlet *s, const char *registry, struct berth_arena *a,
            const char **ret, struct berth_err *e)
{
    const char *file = s->conf.registry_auth;
    struct berth_buf out;

    *ret = NULL;
    if (file == NULL)
        return 0;
    BERTH_AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC);
    char *text = berth_arena_alloc(a, AUTH_BYTES_MAX);
    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    const ssize_t n = fd < 0 ? -1 : read(fd, text, AUTH_BYTES_MAX);
    if (n < 0 || n == AUTH_BYTES_MAX)
        return berth_err_set(e, BERTH_EINVAL, "docker: registry_auth %.200s: %s", file,
                             n < 0 ? "cannot be read" : "is too long");
    const char *json = berth_docker_auth_of(text, (size_t)n, registry, a);
    if (json == NULL)
        return 0;
    berth_buf_init(&out, a);
    berth_buf_puts(&out, "X-Registry-Auth: ");
    const size_t from = out.len;
    berth_base64_put(&out, json, strlen(json));
    for (size_t i = from; i < out.len; i++) /* the daemon wants the alphabet of URLs */
        out.at[i] = out.at[i] == '+' ? '-' : out.at[i] == '/' ? '_' : out.at[i];
    *ret = berth_buf_text(&out);
    return *ret != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
}

/* ---- pulling ---- */

struct pull {
    struct berth_shimlet *s;
    const struct berth_op *op;
    const char *image;
    struct berth_docker_lines lines;
    uint64_t noted_ns;
    char error[300];
};

/* {"status": "Downloading", "id": "...", "progress": "[==> ] 1MB/2MB"} or {"error": "..."} */
static bool
on_progress(void *arg, const char *text, size_t len)
{
    struct pull *p = arg;
    const struct berth_json *root;
    struct berth_slice v;
    struct berth_arena a;
    char note[400];

    berth_arena_init(&a, 1024 * 1024);
    if (berth_json_parse(&a, text, len, NULL, &root, NULL) == 0) {
        if (berth_json_string(berth_json_get(root, "error"), &v))
            (void)snprintf(p->error, sizeof p->error, "%.*s", (int)(v.len < 290 ? v.len : 290),
                           v.at);
        else if (berth_json_string(berth_json_get(root, "status"), &v) &&
                 (p->noted_ns == 0 || berth_now_ns() - p->noted_ns > NOTE_S * BERTH_S)) {
            p->noted_ns = berth_now_ns();
            (void)snprintf(note, sizeof note, "pulling %.200s: %.*s", p->image,
                           (int)(v.len < 150 ? v.len : 150), v.at);
            p->s->h->note(p->op, note);
        }
    }
    berth_arena_fini(&a);
    return true;
}

static bool
on_part(void *arg, const char *bytes, size_t len)
{
    return berth_docker_lines_feed(arg, bytes, len);
}

/* The daemon says all of it with status 500, or within a good answer: tell what helps. */
static int
pull_fault(const char *image, const char *said, struct berth_err *e)
{
    if (strstr(said, "no such host") != NULL || strstr(said, "dial tcp") != NULL ||
        strstr(said, "Client.Timeout") != NULL || strstr(said, "connection refused") != NULL)
        return berth_err_set(
            e, BERTH_ENETWORK,
            "docker: image %.120s is not here, and its registry cannot be reached: "
            "load it (docker load, docker import) or see to the network: %.200s",
            image, said);
    if (strstr(said, "denied") != NULL || strstr(said, "unauthorized") != NULL)
        return berth_err_set(e, BERTH_EPERM,
                             "docker: image %.120s: the registry refuses: does it exist, and are "
                             "its credentials in the file that registry_auth names? %.200s",
                             image, said);
    if (strstr(said, "not found") != NULL || strstr(said, "manifest unknown") != NULL ||
        strstr(said, "no such image") != NULL)
        return berth_err_set(e, BERTH_EINVAL, "docker: there is no image %.120s: %.200s", image,
                             said);
    return berth_err_set(e, BERTH_EIO, "docker: pulling %.120s: %.250s", image, said);
}

static int
missing(const char *image, struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL,
                         "docker: image %.200s is not here and \"pull\" is \"never\": load it "
                         "(docker load, docker import) or let it be pulled",
                         image);
}

static int
pull(struct berth_shimlet *s, const struct berth_op *op, const char *image, struct berth_err *e)
{
    struct pull p = {.s = s, .op = op, .image = image};
    struct berth_docker_reference ref;
    struct berth_arena a;
    struct berth_buf path;
    const char *header = NULL;
    struct berth_err why;

    berth_arena_init(&a, 4 * 1024 * 1024);
    berth_buf_init(&path, &a);
    if (!berth_docker_reference_parse(image, &a, &ref)) {
        berth_arena_fini(&a);
        return berth_err_set(e, BERTH_EINVAL, "docker: \"%.200s\" names no image", image);
    }
    int r = auth_header(s, ref.registry, &a, &header, e);
    if (r == 0) {
        berth_docker_lines_init(&p.lines, PROGRESS_LINE_MAX, true, on_progress, &p);
        berth_buf_puts(&path, "/images/create?fromImage=");
        berth_uri_put(&path, ref.path, strlen(ref.path));
        berth_buf_puts(&path, "&tag=");
        berth_uri_put(&path, ref.tag, strlen(ref.tag));
        const struct berth_docker_ask ask = {
            .method = "POST",
            .path = berth_buf_text(&path),
            .header = header,
            .part = on_part,
            .arg = &p.lines,
            .silent_ns_max = PULL_SILENT_S * BERTH_S,
            .op = op,
        };
        r = ask.path != NULL ? berth_docker_ask(s->g, &ask, NULL, NULL, &why)
                             : berth_err_set(&why, BERTH_ENOMEM, "docker: out of memory");
        (void)berth_docker_lines_end(&p.lines);
        berth_docker_lines_fini(&p.lines);
        if (r == 0 && p.error[0] != '\0')
            r = pull_fault(image, p.error, e);
        else if (r == -BERTH_EIO || r == -BERTH_ENOENT || r == -BERTH_EPERM)
            r = pull_fault(image, why.msg, e);
        else if (r < 0)
            r = berth_err_set(e, (enum berth_code) - r, "%s", why.msg);
    }
    berth_arena_fini(&a);
    return r;
}

/* Would the registry give it?  The daemon asks it, with the credentials that a pull would have. */
static int
ask_registry(struct berth_shimlet *s, const struct berth_op *op, const char *image,
             struct berth_err *e)
{
    struct berth_docker_reference ref;
    const char *header = NULL;
    struct berth_arena a;
    struct berth_err why;

    berth_arena_init(&a, 4 * 1024 * 1024);
    int r = berth_docker_reference_parse(image, &a, &ref)
                ? auth_header(s, ref.registry, &a, &header, e)
                : berth_err_set(e, BERTH_EINVAL, "docker: \"%.200s\" names no image", image);
    if (r == 0) {
        const struct berth_docker_ask ask = {
            .path = berth_arena_printf(&a, "/distribution/%s/json", image),
            .header = header,
            .op = op,
        };
        r = ask.path != NULL ? berth_docker_ask(s->g, &ask, NULL, NULL, &why)
                             : berth_err_set(&why, BERTH_ENOMEM, "docker: out of memory");
        if (r == -BERTH_EIO || r == -BERTH_ENOENT || r == -BERTH_EPERM)
            r = pull_fault(image, why.msg, e);
        else if (r < 0)
            r = berth_err_set(e, (enum berth_code) - r, "%s", why.msg);
    }
    berth_arena_fini(&a);
    return r;
}

/* 1: there; 0: not there; or a failure. */
static int
is_there(struct berth_shimlet *s, const struct berth_op *op, const char *image, struct berth_err *e)
{
    struct berth_arena a;

    berth_arena_init(&a, 64 * (size_t)1024);
    const struct berth_docker_ask ask = {
        .path = berth_arena_printf(&a, "/images/%s/json", image),
        .op = op,
    };
    const int r = strpbrk(image, " \t\r\n?#%") != NULL || ask.path == NULL
                      ? berth_err_set(e, BERTH_EINVAL, "docker: \"%.200s\" names no image", image)
                      : berth_docker_ask(s->g, &ask, NULL, NULL, e);
    berth_arena_fini(&a);
    return r == 0 ? 1 : r == -BERTH_ENOENT ? 0 : r;
}

int
berth_docker_image_can(struct berth_shimlet *s, const struct berth_op *op,
                       const struct berth_docker_plan *p, struct berth_err *e)
{
    const int there = is_there(s, op, p->image, e);

    if (there != 0 && (there < 0 || p->pull != BERTH_DOCKER_PULL_ALWAYS))
        return there < 0 ? there : 0;
    if (p->pull == BERTH_DOCKER_PULL_NEVER)
        return missing(p->image, e);
    return berth_docker_engine_is_at_least(s->g, 30) ? ask_registry(s, op, p->image, e) : 0;
}

int
berth_docker_image_get(struct berth_shimlet *s, const struct berth_op *op,
                       const struct berth_docker_plan *p, struct berth_err *e)
{
    const int there = p->pull == BERTH_DOCKER_PULL_ALWAYS ? 0 : is_there(s, op, p->image, e);

    if (there != 0)
        return there < 0 ? there : 0;
    if (p->pull == BERTH_DOCKER_PULL_NEVER)
        return missing(p->image, e);
    return pull(s, op, p->image, e);
}
