#include "cmd/remote.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/cmd_priv.h"
#include "net/client.h"
#include "wire/json.h"
#include "wire/uri.h"

static const size_t memory_bytes_max = (size_t)512 << 20;
#define USUAL "http://127.0.0.1:8000"

/* ---- where ---- */

/* "HOST:PORT" or a URL, to a URL without a slash at its end.  A server that listens everywhere is
 * reached on this machine. */
static const char *
address(struct berth_arena *a, const char *given)
{
    const char *scheme = strstr(given, "://") == NULL ? "http://" : "";
    size_t len = strlen(given);

    while (len > 0 && given[len - 1] == '/')
        len--;
    if (scheme[0] != '\0' && strncmp(given, "0.0.0.0", 7) == 0)
        return berth_arena_printf(a, "http://127.0.0.1%.*s", (int)(len - 7), given + 7);
    return berth_arena_printf(a, "%s%.*s", scheme, (int)len, given);
}

int
berth_remote_init(struct berth_remote *r, const struct berth_args *args)
{
    const char *given = berth_arg(args, "server");
    struct berth_err e;

    if (given == NULL)
        given = getenv("BERTH_SERVER");
    if (given == NULL || given[0] == '\0')
        given = getenv("BERTH_HOST");
    if (given == NULL || given[0] == '\0')
        given = USUAL;
    *r = (struct berth_remote){.args = args, .key = berth_arg(args, "api-key")};
    if (r->key == NULL)
        r->key = getenv("BERTH_API_KEY");
    berth_arena_init(&r->arena, memory_bytes_max);
    r->base = address(&r->arena, given);
    if (r->base == NULL || berth_client_new(&r->client, &e) != 0) {
        berth_remote_fini(r);
        return berth_failed(args, "not enough memory");
    }
    return BERTH_EXIT_OK;
}

void
berth_remote_fini(struct berth_remote *r)
{
    berth_client_free(r->client);
    r->client = NULL;
    berth_arena_fini(&r->arena);
}

const char *
berth_remote_url(struct berth_remote *r, const char *path, const char *name)
{
    const char *hole = strstr(path, "{}");
    struct berth_buf b;

    berth_buf_init(&b, &r->arena);
    berth_buf_puts(&b, r->base);
    if (hole == NULL || name == NULL) {
        berth_buf_puts(&b, path);
    } else {
        berth_buf_put(&b, path, (size_t)(hole - path));
        berth_uri_put(&b, name, strlen(name));
        berth_buf_puts(&b, hole + 2);
    }
    return berth_buf_text(&b);
}

/* ---- what went wrong ---- */

int
berth_remote_absent(const struct berth_remote *r, const char *why)
{
    const char *rest = strstr(why, ": ");

    /* The address is in r->base already. */
    if (rest != NULL && memmem(r->base, strlen(r->base), why, (size_t)(rest - why)) != NULL)
        why = rest + 2;
    return berth_failed(r->args,
                        "no server answers at %s (%s).\nStart one with `berth serve`, or name "
                        "another with --server URL.",
                        r->base, why);
}

/* The message within any dialect's error. */
static struct berth_slice
message(struct berth_arena *a, struct berth_slice text)
{
    const struct berth_json *v = NULL;
    struct berth_slice found = text;

    if (text.len == 0 || berth_json_parse(a, text.at, text.len, NULL, &v, NULL) != 0)
        return text;
    const struct berth_json *error = berth_json_get(v, "error");
    if (!berth_json_string(berth_json_get(v, "message"), &found) &&
        !berth_json_string(berth_json_get(error, "message"), &found))
        (void)berth_json_string(error, &found);
    return found;
}

/* What to do about an answer of that status that says why. */
static const char *
next_step(uint16_t status, struct berth_slice why)
{
    switch (status) {
    case 400:
        if (memmem(why.at, why.len, " may be one of ", 15) != NULL)
            return "Say which by its id.";
        return memmem(why.at, why.len, "this model does not", 19) == NULL
                   ? ""
                   : "`berth show MODEL` tells what it takes, `berth predict MODEL INPUT` asks it.";
    case 401:
        return "Give a key: --api-key KEY, or BERTH_API_KEY.";
    case 403:
        return "Another key may be needed: --api-key KEY, or BERTH_API_KEY.";
    case 404:
        if (memmem(why.at, why.len, "no request ", 11) != NULL)
            return "`berth explain` lists those that are remembered.";
        if (memmem(why.at, why.len, "no service ", 11) != NULL)
            return "`berth services` lists those there are.";
        if (memmem(why.at, why.len, " has no revision ", 17) != NULL)
            return "`berth describe SERVICE` lists those there are.";
        if (memmem(why.at, why.len, " is not known; there are", 24) != NULL)
            return ""; /* and which they are is told */
        return "`berth list` shows the models there are.";
    case 503:
        if (memmem(why.at, why.len, " UNLOADED", 9) != NULL)
            return "`berth load MODEL` loads it again.";
        if (memmem(why.at, why.len, " FAILED", 7) != NULL)
            return "Once that is mended, `berth load MODEL` tries again.";
        return "Try again in a moment; `berth ps` shows what goes on.";
    case 429:
        return "Try again in a moment; `berth ps` shows what goes on.";
    case 500:
        return "The server's log says more.";
    default:
        return "";
    }
}

int
berth_remote_tell(const struct berth_remote *r, uint16_t status, struct berth_slice text)
{
    struct berth_arena a;
    const char *subject = r->args->word_count > 0 ? r->args->words[0] : "";

    berth_arena_init(&a, memory_bytes_max);
    struct berth_slice why = message(&a, text);
    const char *step = next_step(status, why);
    const bool named = subject[0] == '\0' || memmem(why.at, why.len, subject, strlen(subject));
    if (why.len > 2000)
        why.len = 2000;
    if (why.len == 0)
        why = berth_slice_of("the server gave no reason");
    const int rc =
        berth_failed(r->args, "%s%s%.*s (%u)%s%s", named ? "" : subject, named ? "" : ": ",
                     (int)why.len, why.at, status, step[0] != '\0' ? "\n" : "", step);
    berth_arena_fini(&a);
    return rc;
}

/* ---- calls ---- */

/* Who asks, for the audit: a key says that better.  NULL: nobody knows, or it is no header. */
static const char *
operator_header(struct berth_remote *r)
{
    struct passwd entry, *found = NULL;
    char text[4096];

    if (r->key != NULL && r->key[0] != '\0')
        return NULL;
    if (getpwuid_r(getuid(), &entry, text, sizeof text, &found) != 0 || found == NULL)
        return berth_arena_printf(&r->arena, "X-Operator: uid-%u", (unsigned)getuid());
    const size_t len = strlen(found->pw_name);
    for (size_t i = 0; i < len; i++) {
        if (found->pw_name[i] <= ' ' || found->pw_name[i] > '~')
            return NULL;
    }
    return len > 0 && len <= 128 ? berth_arena_printf(&r->arena, "X-Operator: %s", found->pw_name)
                                 : NULL;
}

int
berth_remote_try(struct berth_remote *r, const char *method, const char *path, const char *name,
                 const struct berth_buf *body, uint16_t *ret_status, struct berth_slice *ret_text)
{
    const char *headers[3] = {NULL};
    size_t n = 0;
    struct berth_client_answer answer;
    struct berth_err e;
    const struct berth_client_call call = {
        .method = method,
        .url = berth_remote_url(r, path, name),
        .headers = headers,
        .bearer = r->key,
        .body = body != NULL ? body->at : NULL,
        .body_len = body != NULL ? body->len : 0,
        .silent_ns_max = 600 * BERTH_S, /* a prediction may take its time; the server limits it */
        .body_bytes_max = memory_bytes_max / 4,
    };

    if (call.url == NULL || (body != NULL && body->failed))
        return berth_failed(r->args, "not enough memory");
    if (body != NULL)
        headers[n++] = "Content-Type: application/json";
    if (strcmp(method, "GET") != 0) /* what changes something is remembered with who did it */
        headers[n] = operator_header(r);
    const int rc = berth_client_call(r->client, &call, &answer, &e);
    if (rc == -BERTH_ENETWORK)
        return berth_remote_absent(r, e.msg);
    if (rc != 0)
        return berth_failed(r->args, "%s", e.msg);
    const char *copy = berth_arena_strndup(&r->arena, answer.body.at, answer.body.len);
    *ret_status = answer.status;
    *ret_text = (struct berth_slice){copy, answer.body.len};
    berth_buf_fini(&answer.body);
    return copy != NULL ? BERTH_EXIT_OK : berth_failed(r->args, "not enough memory");
}

int
berth_remote_call(struct berth_remote *r, const char *method, const char *path, const char *name,
                  const struct berth_buf *body, const struct berth_json **ret)
{
    struct berth_slice text;
    struct berth_err e;
    uint16_t status = 0;
    const int rc = berth_remote_try(r, method, path, name, body, &status, &text);

    if (rc != 0)
        return rc;
    if (status < 200 || status > 299)
        return berth_remote_tell(r, status, text);
    if (ret == NULL)
        return BERTH_EXIT_OK;
    if (berth_json_parse(&r->arena, text.at, text.len, NULL, ret, &e) != 0)
        return berth_failed(r->args, "%s: is that a Berth server?  Its answer is no JSON: %s",
                            r->base, e.msg);
    return BERTH_EXIT_OK;
}

bool
berth_remote_alive(struct berth_remote *r)
{
    const struct berth_client_call call = {.url = berth_remote_url(r, "/health", NULL),
                                           .connect_ns_max = 2 * BERTH_S,
                                           .total_ns_max = 5 * BERTH_S};
    struct berth_client_answer answer;

    if (call.url == NULL || berth_client_call(r->client, &call, &answer, NULL) != 0)
        return false;
    berth_buf_fini(&answer.body);
    return true;
}

const char *
berth_remote_text(const struct berth_json *v, const char *key, const char *dflt)
{
    struct berth_slice text;

    return berth_json_string(berth_json_get(v, key), &text) ? text.at : dflt;
}
