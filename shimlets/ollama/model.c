#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/num.h"
#include "net/digest.h"
#include "shimlets/ollama/ollama_priv.h"

/* Steps with one model of a server. */

static const uint64_t look_ns_max = 10 * BERTH_S, tell_ns = 5 * BERTH_S;

/* {"model": NAME, KEY: VALUE as JSON}; without a key: the model alone. */
static void
put_model(struct berth_buf *b, struct berth_arena *a, const char *name, const char *more)
{
    struct berth_jw w;

    berth_buf_init(b, a);
    berth_buf_puts(b, "{\"model\":");
    berth_jw_init(&w, b);
    berth_jw_string(&w, name);
    berth_buf_printf(b, "%s}", more);
}

/* ---- looking ---- */

static int
by_number(const struct berth_ollama_seen *a, const struct berth_ollama_seen *b)
{
    return a->tag.number < b->tag.number ? -1 : a->tag.number > b->tag.number;
}

static struct berth_ollama_made *
made_of(struct berth_ollama_record *r, const char *name)
{
    for (size_t i = 0; i < r->made_count; i++)
        if (strcmp(r->made[i].name, name) == 0)
            return &r->made[i];
    return NULL;
}

static uint64_t
loaded_bytes(const struct berth_json *running, const char *name)
{
    uint64_t bytes = 0;

    for (struct berth_json_iter it = berth_json_iter(berth_json_get(running, "models"));
         berth_json_next(&it);) {
        struct berth_slice text;

        if (berth_json_string(berth_json_get(it.value, "name"), &text) &&
            berth_slice_is(text, name))
            (void)berth_json_uint(berth_json_get(it.value, "size"), &bytes);
    }
    return bytes;
}

int
berth_ollama_look(struct berth_shimlet *s, const struct berth_op *op, struct berth_ollama_record *r,
                  struct berth_arena *a, struct berth_ollama_seen **ret, size_t *ret_count,
                  struct berth_err *e)
{
    const struct berth_ollama_ask tags = {
        .host = r->host, .method = "GET", .path = "/api/tags", .total_ns_max = look_ns_max};
    const struct berth_ollama_ask ps = {
        .host = r->host, .method = "GET", .path = "/api/ps", .total_ns_max = look_ns_max};
    const struct berth_json *there, *running;
    size_t n = 0;
    int rc = berth_ollama_ask(s, op, &tags, a, &there, e);

    if (rc == 0)
        rc = berth_ollama_ask(s, op, &ps, a, &running, e);
    if (rc < 0)
        return rc;
    struct berth_ollama_seen *seen =
        BERTH_NEW_N(a, struct berth_ollama_seen, BERTH_OLLAMA_MADE_MAX);
    if (seen == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(there, "models"));
         berth_json_next(&it) && n < BERTH_OLLAMA_MADE_MAX;) {
        struct berth_ollama_seen one = {0};
        struct berth_slice name;

        if (!berth_json_string(berth_json_get(it.value, "name"), &name) ||
            !berth_ollama_name_parse(name, s->owner, r->unit, &one.tag, NULL))
            continue;
        one.name = name.at;
        one.memory_bytes = loaded_bytes(running, one.name);
        one.made = made_of(r, one.name);
        size_t at = n++;
        for (; at > 0 && by_number(&seen[at - 1], &one) > 0; at--)
            seen[at] = seen[at - 1];
        seen[at] = one;
    }
    *ret = seen;
    *ret_count = n;
    return 0;
}

/* ---- pulling ---- */

struct pulling {
    struct berth_shimlet *s;
    const struct berth_op *op;
    const char *name;
    uint64_t told_ns;
};

static void
on_progress(void *arg, const struct berth_json *said)
{
    enum { MIB = 1 << 20 };
    struct pulling *p = arg;
    struct berth_slice status;
    uint64_t done = 0, total = 0;
    char text[300];

    if (berth_now_ns() - p->told_ns < tell_ns ||
        !berth_json_string(berth_json_get(said, "status"), &status))
        return;
    p->told_ns = berth_now_ns();
    (void)berth_json_uint(berth_json_get(said, "completed"), &done);
    (void)berth_json_uint(berth_json_get(said, "total"), &total);
    int n = snprintf(text, sizeof text, "ollama: pulling %.120s: %.80s", p->name, status.at);
    if (total > 0 && n > 0 && (size_t)n < sizeof text)
        (void)snprintf(text + n, sizeof text - (size_t)n, ", %" PRIu64 " of %" PRIu64 " MiB",
                       done / MIB, total / MIB);
    p->s->h->note(p->op, text);
}

/* What of it was fetched before a call was cut off is there at the next one. */
static int
pull(struct berth_shimlet *s, const struct berth_op *op, const struct berth_ollama_plan *p,
     struct berth_arena *a, struct berth_err *e)
{
    struct pulling state = {.s = s, .op = op, .name = p->from, .told_ns = berth_now_ns()};
    struct berth_buf body;
    char text[300];

    put_model(&body, a, p->from, p->insecure ? ",\"insecure\":true" : "");
    const struct berth_ollama_ask ask = {.host = p->host,
                                         .method = "POST",
                                         .path = "/api/pull",
                                         .json = &body,
                                         .progress = on_progress,
                                         .arg = &state};
    (void)snprintf(text, sizeof text, "ollama: pulling %.200s", p->from);
    s->h->note(op, text);
    const int r = berth_ollama_ask(s, op, &ask, a, NULL, e);
    if (r == -BERTH_EBACKEND && strstr(e->msg, "file does not exist") != NULL) {
        const struct berth_err said = *e;
        return berth_err_set(e, BERTH_EINVAL,
                             "there is no model %.100s to be pulled: give a name of Ollama's "
                             "library as modelName or shimletConfig.model, or a GGUF file as "
                             "modelFile: %.150s",
                             p->from, said.msg);
    }
    return r;
}

static int
is_there(struct berth_shimlet *s, const struct berth_op *op, const char *host, const char *name,
         struct berth_arena *a, struct berth_err *e)
{
    struct berth_buf body;

    put_model(&body, a, name, "");
    const struct berth_ollama_ask ask = {
        .host = host, .method = "POST", .path = "/api/show", .json = &body};
    const int r = berth_ollama_ask(s, op, &ask, a, NULL, e);
    return r == -BERTH_ENOENT ? 0 : r < 0 ? r : 1;
}

/* The name that is pulled is ours for as long as nobody had it before: the record says so before it
 * is begun, so that it goes again whatever happens in between. */
static int
fetch(struct berth_shimlet *s, const struct berth_op *op, struct berth_ollama_record *r,
      const struct berth_ollama_plan *p, struct berth_arena *a, struct berth_err *e)
{
    int rc = 0;

    if (r->pulled != NULL && strcmp(r->pulled, p->from) != 0) {
        rc = berth_ollama_drop(s, op, p->host, r->pulled, e);
        r->pulled = NULL;
    }
    if (rc == 0)
        rc = is_there(s, op, p->host, p->from, a, e);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    r->pulled = p->from;
    rc = berth_ollama_record_put(s, r, e);
    return rc < 0 ? rc : pull(s, op, p, a, e);
}

/* ---- uploading ---- */

static int
digest_of(struct berth_shimlet *s, const struct berth_op *op, int fd, const char *path,
          uint64_t *ret_bytes, char ret[BERTH_DIGEST_HEX], struct berth_err *e)
{
    enum { PIECE = 1 << 20 };
    struct berth_digest *d = berth_digest_new();
    BERTH_AUTO_FREE char *piece = malloc(PIECE);
    uint64_t at = 0;
    int r = 0;

    if (d == NULL || piece == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
    while (r == 0) {
        const ssize_t n = pread(fd, piece, PIECE, (off_t)at);
        if (n < 0)
            r = berth_err_set(e, BERTH_EIO, "%.300s: %m", path);
        else if (s->h->cancelled(op))
            r = berth_err_set(e, BERTH_ECANCELED, "ollama: cut short");
        if (n <= 0)
            break;
        berth_digest_put(d, piece, (size_t)n);
        at += (uint64_t)n;
    }
    if (r == 0)
        berth_digest_hex(d, ret);
    berth_digest_free(d);
    *ret_bytes = at;
    return r;
}

static int
upload(struct berth_shimlet *s, const struct berth_op *op, const struct berth_ollama_plan *p,
       struct berth_arena *a, char ret_digest[BERTH_DIGEST_HEX], struct berth_err *e)
{
    BERTH_AUTO_CLOSE int fd = open(p->file, O_RDONLY | O_CLOEXEC);
    uint64_t bytes = 0;
    char text[400];

    if (fd < 0)
        return berth_err_set(e, BERTH_EINVAL, "%.300s: %m", p->file);
    int r = digest_of(s, op, fd, p->file, &bytes, ret_digest, e);
    if (r < 0)
        return r;
    const char *path = berth_arena_printf(a, "/api/blobs/sha256:%s", ret_digest);
    if (path == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
    const struct berth_ollama_ask has = {.host = p->host, .method = "HEAD", .path = path};
    r = berth_ollama_ask(s, op, &has, a, NULL, e);
    if (r != -BERTH_ENOENT)
        return r;
    (void)snprintf(text, sizeof text, "ollama: sending %.250s (%" PRIu64 " MiB)", p->file,
                   bytes >> 20);
    s->h->note(op, text);
    const struct berth_ollama_ask ask = {
        .host = p->host, .method = "POST", .path = path, .file = &fd, .file_bytes = bytes};
    r = berth_ollama_ask(s, op, &ask, a, NULL, e);
    return r == -BERTH_EINVAL ? -BERTH_EIO : r; /* the file changed meanwhile: another sum */
}

/* ---- making ---- */

int
berth_ollama_make(struct berth_shimlet *s, const struct berth_op *op, struct berth_ollama_record *r,
                  const struct berth_ollama_plan *p, const char *name, struct berth_arena *a,
                  struct berth_err *e)
{
    char digest[BERTH_DIGEST_HEX] = "";
    struct berth_buf body;
    int rc = p->file != NULL ? upload(s, op, p, a, digest, e) : fetch(s, op, r, p, a, e);

    if (rc < 0)
        return rc;
    berth_buf_init(&body, a);
    berth_ollama_create_body(p, name, digest, &body);
    const struct berth_ollama_ask ask = {
        .host = p->host, .method = "POST", .path = "/api/create", .json = &body};
    rc = berth_ollama_ask(s, op, &ask, a, NULL, e);
    if (rc == 0 && r->pulled != NULL) {
        rc = berth_ollama_drop(s, op, p->host, r->pulled, e);
        r->pulled = rc == 0 ? NULL : r->pulled;
    }
    return rc;
}

int
berth_ollama_load(struct berth_shimlet *s, const struct berth_op *op, const char *host,
                  const char *name, uint64_t limit_ns, struct berth_err *e)
{
    const uint64_t left_ns = s->h->left_ns(op);
    struct berth_buf body;
    struct berth_arena a;
    char more[128];
    int64_t seconds;
    const char *quote =
        berth_int_parse(s->keep_alive, strlen(s->keep_alive), INT32_MIN, INT32_MAX, &seconds)
            ? ""
            : "\"";

    berth_arena_init(&a, BERTH_OLLAMA_ARENA_MAX);
    (void)snprintf(more, sizeof more, ",\"keep_alive\":%s%s%s,\"stream\":false", quote,
                   s->keep_alive, quote);
    put_model(&body, &a, name, more);
    struct berth_ollama_ask ask = {.host = host,
                                   .method = "POST",
                                   .path = "/api/generate",
                                   .json = &body,
                                   .total_ns_max = limit_ns < left_ns ? limit_ns : left_ns};
    int r = berth_ollama_ask(s, op, &ask, &a, NULL, e);
    if (r == -BERTH_EINVAL && strstr(e->msg, "does not support generate") != NULL) {
        (void)snprintf(more, sizeof more, ",\"keep_alive\":%s%s%s,\"input\":\"\"", quote,
                       s->keep_alive, quote);
        put_model(&body, &a, name, more);
        ask.path = "/api/embed";
        r = berth_ollama_ask(s, op, &ask, &a, NULL, e);
    }
    berth_arena_fini(&a);
    /* Whatever the server says about this model, asking again is up to whoever looks at it. */
    return r == -BERTH_EINVAL || (r == -BERTH_EDEADLINE && limit_ns < left_ns) ? -BERTH_EBACKEND
                                                                               : r;
}

int
berth_ollama_drop(struct berth_shimlet *s, const struct berth_op *op, const char *host,
                  const char *name, struct berth_err *e)
{
    struct berth_buf body;
    struct berth_arena a;

    berth_arena_init(&a, BERTH_OLLAMA_ARENA_MAX);
    put_model(&body, &a, name, ",\"keep_alive\":0,\"stream\":false");
    const struct berth_ollama_ask unload = {
        .host = host, .method = "POST", .path = "/api/generate", .json = &body};
    int r = berth_ollama_ask(s, op, &unload, &a, NULL, e);
    put_model(&body, &a, name, "");
    const struct berth_ollama_ask drop = {
        .host = host, .method = "DELETE", .path = "/api/delete", .json = &body};
    /* It may be broken, and is to go all the same. */
    if (r == 0 || r == -BERTH_ENOENT || r == -BERTH_EINVAL || r == -BERTH_EBACKEND)
        r = berth_ollama_ask(s, op, &drop, &a, NULL, e);
    berth_arena_fini(&a);
    return r == -BERTH_ENOENT ? 0 : r;
}
