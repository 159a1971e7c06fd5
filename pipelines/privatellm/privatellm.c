#include "pipelines/privatellm/privatellm.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "fetch/fetch.h"
#include "net/client.h"
#include "pipelines/parts.h"

enum { URL_MAX = 2048, VARIABLE_MAX = 96 };
static const uint64_t tell_ns = 5 * BERTH_S;

struct store {
    char url[URL_MAX]; /* of the file */
    const char *token;
};

/* ---- where, and who we are ---- */

/* BERTH_STORE_NAME_WHAT of this process's environment. */
static const char *
variable(const char *store, const char *what, char ret_name[VARIABLE_MAX])
{
    char upper[48];
    size_t i = 0;

    for (; store[i] != '\0' && i < sizeof upper - 1; i++)
        upper[i] = isalnum((unsigned char)store[i]) ? (char)toupper((unsigned char)store[i]) : '_';
    upper[i] = '\0';
    (void)snprintf(ret_name, VARIABLE_MAX, "BERTH_STORE_%s_%s", upper, what);
    const char *text = getenv(ret_name); /* NOLINT(concurrency-mt-unsafe): nobody sets any */
    return text != NULL && *text != '\0' ? text : NULL;
}

/* The file's part of the URL must not lead anywhere else. */
static bool
is_plain(const char *file)
{
    if (*file == '\0' || *file == '/' || strstr(file, "..") != NULL)
        return false;
    for (const char *p = file; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr("-_./+=~", *p) == NULL)
            return false;
    }
    return true;
}

static int
find_store(struct berth_deployment *d, struct store *ret, struct berth_err *e)
{
    const char *name = berth_parts_host()->get(d, "parameters.store");
    const char *file = berth_parts_host()->get(d, "parameters.file");
    char url_name[VARIABLE_MAX], token_name[VARIABLE_MAX];

    if (name == NULL)
        name = "default";
    if (file == NULL || !is_plain(file))
        return berth_err_set(e, BERTH_EINVAL,
                             "parameters.file: must be a path in the store, such as "
                             "team/model.gguf");
    const char *url = variable(name, "URL", url_name);
    ret->token = variable(name, "TOKEN", token_name);
    if (url == NULL)
        return berth_err_set(e, BERTH_ECONFIG,
                             "parameters.store: %s is not known; set %s and %s for the server",
                             name, url_name, token_name);
    const size_t len = strlen(url);
    const int n =
        snprintf(ret->url, sizeof ret->url, "%s%s%s", url, url[len - 1] == '/' ? "" : "/", file);
    return n > 0 && n < URL_MAX ? 0 : berth_err_set(e, BERTH_EINVAL, "%s: is too long", url_name);
}

/* ---- may we? ---- */

static bool
goes_on(void *arg, uint64_t got, uint64_t total)
{
    (void)got;
    (void)total;
    return !berth_parts_host()->cancelled(arg);
}

static int
judge(const struct store *s, unsigned status, struct berth_err *e)
{
    if (status >= 200 && status < 300)
        return 0;
    if (status == 401)
        return berth_err_set(e, BERTH_EAUTH, "%s: 401: %s", s->url,
                             s->token != NULL ? "the store does not know the token"
                                              : "the store asks for a token, and there is none");
    if (status == 403)
        return berth_err_set(e, BERTH_EPERM, "%s: 403: the token may not read it", s->url);
    if (status == 404)
        return berth_err_set(e, BERTH_EINVAL, "%s: 404: the store has no such file", s->url);
    return berth_err_set(e, BERTH_ENETWORK, "%s: %u", s->url, status);
}

static int
check_permission(struct berth_deployment *d, struct berth_err *e)
{
    struct berth_client *client;
    struct berth_client_answer answer = {.status = 0};
    struct store s;
    int r;

    if ((r = find_store(d, &s, e)) < 0 || (r = berth_client_new(&client, e)) < 0)
        return r;
    const struct berth_client_call call = {.method = "HEAD",
                                           .url = s.url,
                                           .bearer = s.token,
                                           .silent_ns_max = 30 * BERTH_S,
                                           .go_on = goes_on,
                                           .arg = d};
    r = berth_client_call(client, &call, &answer, e);
    if (r == 0) {
        r = judge(&s, answer.status, e);
        berth_buf_fini(&answer.body);
    }
    berth_client_free(client);
    if (r == 0) /* which content it has now */
        r = berth_parts_host()->set(d, "storeTag", answer.etag[0] != '\0' ? answer.etag : NULL, e);
    return r;
}

/* ---- fetching ---- */

struct fetching {
    struct berth_deployment *d;
    uint64_t told_ns;
};

static bool
progress(void *arg, uint64_t got, uint64_t total)
{
    struct fetching *f = arg;
    char is[BERTH_PARTS_BYTES_TEXT], of[BERTH_PARTS_BYTES_TEXT], line[100];

    if (berth_now_ns() - f->told_ns > tell_ns) {
        f->told_ns = berth_now_ns();
        (void)snprintf(line, sizeof line, "%s of %s are there", berth_parts_bytes_text(got, is),
                       total > 0 ? berth_parts_bytes_text(total, of) : "an unknown size");
        berth_parts_host()->note(f->d, line);
    }
    return !berth_parts_host()->cancelled(f->d);
}

/* Where it goes: one file for each content, which the checksum tells, or the store's tag.  Without
 * either it may have another by now, and each revision fetches its own. */
static int
name_result(struct berth_deployment *d, const struct store *s, const char *sha256,
            const char *folder, char ret[PATH_MAX], struct berth_err *e)
{
    const struct berth_unit *u = berth_parts_host()->unit(d);
    const char *tag = berth_parts_host()->get(d, "storeTag");
    char from[URL_MAX + 200];

    if (u == NULL)
        return berth_err_set(e, BERTH_EINVAL, "the unit cannot be made as it stands");
    if (sha256 != NULL)
        (void)snprintf(from, sizeof from, "%s sha256 %.64s", s->url, sha256);
    else if (tag != NULL)
        (void)snprintf(from, sizeof from, "%s tag %.128s", s->url, tag);
    else
        (void)snprintf(from, sizeof from, "%s revision %llu", s->url,
                       (unsigned long long)u->revision);
    return berth_parts_result(folder, strrchr(s->url, '/') + 1, from, ret, e);
}

static int
fetch(struct berth_deployment *d, struct berth_err *e)
{
    struct fetching f = {.d = d, .told_ns = berth_now_ns()};
    const char *folder, *sha256 = berth_parts_host()->get(d, "parameters.sha256");
    BERTH_AUTO_FREE char *path = NULL;
    char result[PATH_MAX];
    struct store s;
    int r;

    if ((r = find_store(d, &s, e)) < 0 || (r = berth_parts_folder(d, &folder, e)) < 0 ||
        (r = name_result(d, &s, sha256, folder, result, e)) < 0 ||
        (r = berth_parts_use(d, result, e)) < 0)
        return r;
    const struct berth_fetch what = {.source = s.url,
                                     .sha256 = sha256,
                                     .folder = folder,
                                     .name = strrchr(result, '/') + 1,
                                     .bearer = s.token,
                                     .progress = progress,
                                     .arg = &f};
    r = berth_fetch(&what, &path, e);
    return r < 0 ? r : berth_parts_host()->set(d, "modelPath", path, e);
}

const struct berth_pipeline_ops *
berth_pipeline_privatellm(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static const char *const names[] = {"permission-check",    "model-fetch",  "config-rendering",
                                        "resource-deployment", "health-check", NULL};
    static const struct berth_goal own[] = {
        {.name = "permission-check", .ensure = check_permission},
        {.name = "model-fetch",
         .ensure = fetch,
         .policy = {.retries_max = 10, .timeout_ms = 6 * 60 * 60 * 1000}},
        {.name = "health-check",
         .achieved = berth_parts_healthy,
         .ensure = berth_parts_check_health},
        {.name = NULL},
    };
    static const char *const aliases[] = {"private-llm", NULL};
    /* Filled in once, by the one call of the entry. */
    static struct berth_goal deploy[6], removal[4];
    static const struct berth_pipeline_ops ops = {
        .abi = BERTH_PIPELINE_ABI,
        .struct_size = sizeof ops,
        .name = "privatellm",
        .version = "1",
        .description = "a model out of a store that asks for a token",
        .aliases = aliases,
        .deploy = deploy,
        .remove = removal,
    };

    berth_parts_begin(h);
    return berth_parts_goals(names, own, deploy, e) < 0 || berth_parts_removal(removal, e) < 0
               ? NULL
               : &ops;
}
