#include <stdio.h>
#include <string.h>

#include "net/client.h"
#include "shimlets/ollama/ollama_priv.h"

/* One call of an Ollama server's API. */

enum { ANSWER_BYTES_MAX = 16 * 1024 * 1024, LINE_ARENA_BYTES = 256 * 1024 };

struct exchange {
    struct berth_shimlet *s;
    const struct berth_op *op;
    const struct berth_ollama_ask *ask;
    struct berth_buf body;
    struct berth_ollama_lines lines;
    bool success;
    char fault[400]; /* what a line of progress said went wrong */
};

static void
on_line(void *arg, const char *text, size_t len)
{
    struct exchange *x = arg;
    const struct berth_json *said;
    struct berth_slice word;
    struct berth_arena a;

    berth_arena_init(&a, LINE_ARENA_BYTES);
    if (berth_json_parse(&a, text, len, NULL, &said, NULL) == 0) {
        if (berth_json_string(berth_json_get(said, "error"), &word))
            (void)snprintf(x->fault, sizeof x->fault, "%.*s", (int)word.len, word.at);
        if (berth_json_string(berth_json_get(said, "status"), &word))
            x->success = berth_slice_is(word, "success");
        x->ask->progress(x->ask->arg, said);
    }
    berth_arena_fini(&a);
}

static bool
on_part(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct exchange *x = arg;

    if (status == 200 && x->ask->progress != NULL) {
        berth_ollama_lines_feed(&x->lines, bytes, len, on_line, x);
        return true;
    }
    if (len > ANSWER_BYTES_MAX - x->body.len)
        return false;
    berth_buf_put(&x->body, bytes, len);
    return !x->body.failed;
}

static bool
on_wait(void *arg, uint64_t got, uint64_t total)
{
    const struct exchange *x = arg;

    (void)got;
    (void)total;
    return !x->s->h->cancelled(x->op);
}

/* What the server answers to a call that failed: {"error": "..."}. */
static int
answer_fault(const struct exchange *x, uint16_t status, const struct berth_json *said,
             struct berth_err *e)
{
    struct berth_slice text = {x->body.at, x->body.len < 300 ? x->body.len : 300};
    enum berth_code code = BERTH_EBACKEND;

    if (x->fault[0] != '\0')
        text = berth_slice_of(x->fault);
    else
        (void)berth_json_string(berth_json_get(said, "error"), &text);
    if (status == 400)
        code = BERTH_EINVAL;
    else if (status == 401 || status == 403)
        code = BERTH_EPERM;
    else if (status == 404)
        code = BERTH_ENOENT;
    return berth_err_set(e, code, "ollama at %.100s: %.*s (%s %s, HTTP %u)", x->ask->host,
                         (int)text.len, text.at != NULL ? text.at : "", x->ask->method,
                         x->ask->path, status);
}

static int
exchange(struct exchange *x, uint16_t *ret_status, struct berth_err *e)
{
    static const char *const json[] = {"Content-Type: application/json", NULL};
    static const char *const bytes[] = {"Content-Type: application/octet-stream", NULL};
    const struct berth_ollama_ask *ask = x->ask;
    struct berth_client_answer answer;
    struct berth_client *c;
    char url[BERTH_OLLAMA_HOST + 128];
    const struct berth_client_call call = {
        .method = ask->method,
        .url = url,
        .headers = ask->file != NULL   ? bytes
                   : ask->json != NULL ? json
                                       : NULL,
        .body = ask->json != NULL ? ask->json->at : NULL,
        .body_len = ask->json != NULL ? ask->json->len : (size_t)ask->file_bytes,
        .body_fd = ask->file,
        /* Loading and checking sums are silent for as long as they take. */
        .silent_ns_max = UINT64_MAX,
        .total_ns_max = ask->total_ns_max,
        .body_bytes_max = INT64_MAX,
        .proxy = "",
        .body_part = on_part,
        .go_on = on_wait,
        .arg = x,
    };
    int r = berth_client_new(&c, e);

    if (r < 0)
        return r;
    (void)snprintf(url, sizeof url, "%s%s", ask->host, ask->path);
    r = berth_client_call(c, &call, &answer, e);
    berth_client_free(c);
    if (r == 0) {
        *ret_status = answer.status;
        berth_buf_fini(&answer.body);
    }
    if (r == -BERTH_ENETWORK) {
        const struct berth_err why = *e;
        return berth_err_set(e, BERTH_ENETWORK,
                             "no Ollama server answers at %.150s: start it there (ollama serve), "
                             "or set shimletConfig.host to where it is: %.150s",
                             ask->host, why.msg);
    }
    return r;
}

int
berth_ollama_ask(struct berth_shimlet *s, const struct berth_op *op,
                 const struct berth_ollama_ask *ask, struct berth_arena *a,
                 const struct berth_json **ret, struct berth_err *e)
{
    struct exchange x = {.s = s, .op = op, .ask = ask};
    const struct berth_json *root = NULL;
    uint16_t status = 0;
    int r;

    if (ask->json != NULL && ask->json->failed)
        return berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
    berth_buf_init(&x.body, a);
    r = exchange(&x, &status, e);
    if (r == 0 && x.body.len > 0 &&
        berth_json_parse(a, x.body.at, x.body.len, NULL, &root, NULL) < 0)
        root = NULL; /* a proxy's page, say */
    if (r == 0 && (status >= 300 || x.fault[0] != '\0'))
        return answer_fault(&x, status, root, e);
    if (r == 0 && ask->progress != NULL && !x.success)
        r = berth_err_set(e, BERTH_EIO, "ollama at %.100s: %s broke off", ask->host, ask->path);
    else if (r == 0 && ret != NULL && root == NULL)
        r = berth_err_set(e, BERTH_EUNSUPPORTED,
                          "%.150s%s answers with something else than JSON: is it an Ollama server?",
                          ask->host, ask->path);
    if (r == 0 && ret != NULL)
        *ret = root;
    return r;
}
