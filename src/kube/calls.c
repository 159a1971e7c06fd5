#include "kube/client_priv.h"

#include <stdio.h>
#include <string.h>

#include "wire/json.h"
#include "wire/uri.h"

enum {
    WHAT_TEXT = 256,
    PATH_ARENA_MAX = 64 * 1024,
    PAGE_ARENA_MAX = 256 << 20, /* a page's text and tree */
    RESTARTS_MAX = 3,           /* of a list whose place the server forgot */
};

/* The verbs.  Each builds a path and a name for its messages, and calls. */

/* Of a patch: fields that the kind does not have are refused or left out as ever, but the server
 * does not read the text once more to warn of them, which nobody would hear. */
#define UNWARNED "fieldValidation=Ignore"

static void
put_what(char what[WHAT_TEXT], const char *verb, const struct berth_kube_ref *ref)
{
    const bool spaced = !ref->kind->cluster_wide && ref->space != NULL;

    (void)snprintf(what, WHAT_TEXT, "%s %s%s%s %.80s%s%.128s", verb, ref->kind->kind,
                   ref->sub != NULL ? "/" : "", ref->sub != NULL ? ref->sub : "",
                   spaced ? ref->space : "", spaced ? "/" : "", ref->name != NULL ? ref->name : "");
}

/* call has what is special about it: method, content type, body; query may be NULL. */
static int
call_ref(struct berth_kube *k, const struct berth_kube_until *until, struct berth_arena *a,
         const struct berth_kube_ref *ref, struct berth_kube_call call, const char *query,
         const struct berth_json **ret, struct berth_err *e)
{
    struct berth_arena own;
    struct berth_buf path;
    int r;

    berth_arena_init(&own, PATH_ARENA_MAX);
    berth_buf_init(&path, &own);
    berth_kube_path_put(&path, ref->kind, ref->space, ref->name, ref->sub);
    if (query != NULL)
        berth_buf_puts(&path, query);
    call.path = berth_buf_text(&path);
    call.kind = ref->kind;
    r = call.path != NULL ? berth_kube_call(k, until, a, &call, ret, NULL, e)
                          : berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", call.what);
    berth_arena_fini(&own);
    return r;
}

int
berth_kube_get(struct berth_kube *k, const struct berth_kube_until *until, struct berth_arena *a,
               const struct berth_kube_ref *ref, const struct berth_json **ret, struct berth_err *e)
{
    char what[WHAT_TEXT];

    put_what(what, "get", ref);
    return call_ref(k, until, a, ref, (struct berth_kube_call){.method = "GET", .what = what}, NULL,
                    ret, e);
}

int
berth_kube_apply(struct berth_kube *k, const struct berth_kube_until *until, struct berth_arena *a,
                 const struct berth_kube_ref *ref, const struct berth_kube_apply *how,
                 const struct berth_json **ret, struct berth_err *e)
{
    const char *manager = how->manager != NULL ? how->manager : berth_kube_manager(k);
    char what[WHAT_TEXT], query[256];
    struct berth_buf b;
    struct berth_arena own;

    put_what(what, how->dry ? "try out" : "apply", ref);
    berth_arena_init(&own, PATH_ARENA_MAX);
    berth_buf_init(&b, &own);
    berth_uri_put(&b, manager, strlen(manager));
    const char *encoded = berth_buf_text(&b);
    (void)snprintf(query, sizeof query, "?fieldManager=%.128s&force=%s&" UNWARNED "%s",
                   encoded != NULL ? encoded : "", how->force ? "true" : "false",
                   how->dry ? "&dryRun=All" : "");
    berth_arena_fini(&own);
    return call_ref(k, until, a, ref,
                    (struct berth_kube_call){.method = "PATCH",
                                             .verb = BERTH_KUBE_APPLY,
                                             .content_type = "application/apply-patch+yaml",
                                             .body = how->object.at,
                                             .body_len = how->object.len,
                                             .what = what},
                    query, ret, e);
}

static int
change(struct berth_kube *k, const struct berth_kube_until *until, struct berth_arena *a,
       const struct berth_kube_ref *ref, const char *content_type, struct berth_slice patch,
       const struct berth_json **ret, struct berth_err *e)
{
    char what[WHAT_TEXT];

    put_what(what, "change", ref);
    return call_ref(k, until, a, ref,
                    (struct berth_kube_call){.method = "PATCH",
                                             .verb = BERTH_KUBE_PATCH,
                                             .content_type = content_type,
                                             .body = patch.at,
                                             .body_len = patch.len,
                                             .what = what},
                    "?" UNWARNED, ret, e);
}

int
berth_kube_merge(struct berth_kube *k, const struct berth_kube_until *until, struct berth_arena *a,
                 const struct berth_kube_ref *ref, struct berth_slice patch,
                 const struct berth_json **ret, struct berth_err *e)
{
    return change(k, until, a, ref, "application/merge-patch+json", patch, ret, e);
}

int
berth_kube_json_patch(struct berth_kube *k, const struct berth_kube_until *until,
                      struct berth_arena *a, const struct berth_kube_ref *ref,
                      struct berth_slice patch, const struct berth_json **ret, struct berth_err *e)
{
    return change(k, until, a, ref, "application/json-patch+json", patch, ret, e);
}

int
berth_kube_create(struct berth_kube *k, const struct berth_kube_until *until, struct berth_arena *a,
                  const struct berth_kube_ref *ref, struct berth_slice object,
                  const struct berth_json **ret, struct berth_err *e)
{
    struct berth_kube_ref to = *ref;
    char what[WHAT_TEXT];

    put_what(what, "create", ref);
    if (to.sub == NULL)
        to.name = NULL; /* the object itself says its name */
    return call_ref(k, until, a, &to,
                    (struct berth_kube_call){.method = "POST",
                                             .verb = BERTH_KUBE_CREATE,
                                             .body = object.at,
                                             .body_len = object.len,
                                             .what = what},
                    NULL, ret, e);
}

static void
put_delete_options(struct berth_buf *b, const struct berth_json *live)
{
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "apiVersion", "v1");
    berth_jw_pair(&w, "kind", "DeleteOptions");
    berth_jw_pair(&w, "propagationPolicy", "Background");
    if (live != NULL) {
        berth_jw_key(&w, "preconditions");
        berth_jw_object(&w);
        berth_jw_pair(&w, "uid", berth_kube_text(live, "metadata.uid").at);
        berth_jw_pair(&w, "resourceVersion", berth_kube_text(live, "metadata.resourceVersion").at);
        berth_jw_object_end(&w);
    }
    berth_jw_object_end(&w);
}

int
berth_kube_delete(struct berth_kube *k, const struct berth_kube_until *until,
                  const struct berth_kube_ref *ref, const struct berth_json *live,
                  struct berth_err *e)
{
    char what[WHAT_TEXT];
    struct berth_arena own;
    struct berth_buf body;

    put_what(what, "delete", ref);
    berth_arena_init(&own, PATH_ARENA_MAX);
    berth_buf_init(&body, &own);
    put_delete_options(&body, live);
    int r = body.failed ? berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", what)
                        : call_ref(k, until, NULL, ref,
                                   (struct berth_kube_call){.method = "DELETE",
                                                            .verb = BERTH_KUBE_DELETE,
                                                            .body = body.at,
                                                            .body_len = body.len,
                                                            .what = what},
                                   NULL, NULL, e);
    berth_arena_fini(&own);
    return r == -BERTH_ENOENT ? 1 : r;
}

/* GET of any path ("/version", "/api/v1/...?..."), as JSON. */
static int
get_path(struct berth_kube *k, const struct berth_kube_until *until, struct berth_arena *a,
         const char *path, const struct berth_json **ret, struct berth_err *e)
{
    char what[WHAT_TEXT];

    (void)snprintf(what, sizeof what, "get %.*s", (int)strcspn(path, "?"), path);
    return berth_kube_call(k, until, a,
                           &(struct berth_kube_call){.method = "GET", .path = path, .what = what},
                           ret, NULL, e);
}

int
berth_kube_serves(struct berth_kube *k, const struct berth_kube_until *until,
                  const struct berth_kube_kind *kind, bool *ret, struct berth_err *e)
{
    const struct berth_json *list = NULL;
    struct berth_arena own;
    char path[160];
    bool found = false;

    (void)snprintf(path, sizeof path, "%s%.120s",
                   strchr(kind->group_version, '/') != NULL ? "/apis/" : "/api/",
                   kind->group_version);
    berth_arena_init(&own, BERTH_KUBE_SCRATCH_MAX);
    int r = get_path(k, until, &own, path, &list, e);
    if (r == -BERTH_ENOENT)
        r = 0;
    struct berth_json_iter it = berth_json_iter(berth_json_get(list, "resources"));
    while (r == 0 && berth_json_next(&it))
        found = found || berth_slice_is(berth_kube_text(it.value, "name"), kind->plural);
    berth_arena_fini(&own);
    if (r == 0)
        *ret = found;
    return r;
}

/* ---- lists ---- */

static void
put_query(struct berth_buf *b, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    berth_buf_putc(b, '&');
    berth_buf_puts(b, key);
    berth_buf_putc(b, '=');
    berth_uri_put(b, value, strlen(value));
}

void
berth_kube_selection_put(struct berth_buf *b, const struct berth_kube_selection *s)
{
    berth_kube_path_put(b, s->kind, s->space, NULL, NULL);
    berth_buf_puts(b, "?");
    put_query(b, "labelSelector", s->labels);
    put_query(b, "fieldSelector", s->fields);
}

struct lister {
    struct berth_kube *k;
    const struct berth_kube_until *until;
    const struct berth_kube_selection *s;
    bool (*each)(void *arg, const struct berth_json *object);
    void *arg;
    struct berth_buf next; /* where the next page begins; empty: the first */
    char version[BERTH_KUBE_VERSION_TEXT];
    const char *what;
};

/* One page: 1 when there are more, 0, or a failure. */
static int
list_page(struct lister *l, struct berth_arena *page, struct berth_kube_status *status,
          struct berth_err *e)
{
    const struct berth_json *list;
    struct berth_buf path;
    char limit[24];

    berth_buf_init(&path, page);
    (void)snprintf(limit, sizeof limit, "%u", l->s->page > 0 ? l->s->page : BERTH_KUBE_PAGE);
    berth_kube_selection_put(&path, l->s);
    put_query(&path, "limit", limit);
    put_query(&path, "continue", berth_buf_text(&l->next));
    const struct berth_kube_call call = {.method = "GET",
                                         .path = berth_buf_text(&path),
                                         .what = l->what,
                                         .verb = BERTH_KUBE_LIST,
                                         .kind = l->s->kind};
    if (call.path == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", l->what);
    const int r = berth_kube_call(l->k, l->until, page, &call, &list, status, e);
    if (r < 0)
        return r;
    struct berth_json_iter it = berth_json_iter(berth_json_get(list, "items"));
    while (berth_json_next(&it))
        if (!l->each(l->arg, it.value))
            return berth_err_set(e, BERTH_ECANCELED, "%s: stopped", l->what);
    const struct berth_slice version = berth_kube_text(list, "metadata.resourceVersion");
    const struct berth_slice next = berth_kube_text(list, "metadata.continue");
    if (version.len == 0 || version.len >= sizeof l->version)
        return berth_err_set(e, BERTH_ENETWORK, "%s: the answer has no resourceVersion", l->what);
    memcpy(l->version, version.at, version.len + 1);
    l->next.len = 0;
    berth_buf_put(&l->next, next.at, next.len);
    return next.len > 0 ? 1 : 0;
}

int
berth_kube_list(struct berth_kube *k, const struct berth_kube_until *until,
                const struct berth_kube_selection *s,
                bool (*each)(void *arg, const struct berth_json *object), void *arg,
                char ret_version[BERTH_KUBE_VERSION_TEXT], struct berth_err *e)
{
    struct lister l = {.k = k, .until = until, .s = s, .each = each, .arg = arg};
    struct berth_kube_status status;
    struct berth_arena page;
    char what[WHAT_TEXT];
    int r, restarts = 0;

    (void)snprintf(what, sizeof what, "list %s in %.80s", s->kind->plural,
                   s->kind->cluster_wide || s->space == NULL ? "the cluster" : s->space);
    l.what = what;
    berth_buf_init(&l.next, NULL);
    berth_arena_init(&page, PAGE_ARENA_MAX);
    do {
        r = list_page(&l, &page, &status, e);
        berth_arena_reset(&page);
        if (r == -BERTH_ENOTREADY && status.code == 410 && restarts++ < RESTARTS_MAX) {
            l.next.len = 0; /* its place is forgotten: from the start */
            r = 1;
        }
    } while (r == 1);
    berth_arena_fini(&page);
    berth_buf_fini(&l.next);
    if (r == 0 && ret_version != NULL)
        memcpy(ret_version, l.version, sizeof l.version);
    return r;
}

/* ---- streams ---- */

struct streamer {
    const struct berth_kube_until *until;
    bool (*part)(void *arg, const char *bytes, size_t len);
    void *arg;
    struct berth_buf refusal; /* the body of an answer that is none */
};

static bool
stream_part(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct streamer *s = arg;

    if (status < 300)
        return s->part(s->arg, bytes, len);
    berth_buf_put(&s->refusal, bytes, len);
    return true;
}

static bool
stream_goes_on(void *arg, uint64_t got, uint64_t total)
{
    const struct streamer *s = arg;

    return !s->until->cancelled(s->until->arg);
}

static int
stream_refused(struct berth_kube *k, struct streamer *s, const struct berth_client_answer *answer,
               const char *what, struct berth_err *e)
{
    const struct berth_kube_asked asked = berth_kube_asked(k, what);
    const struct berth_json *body = NULL;
    struct berth_arena own;

    berth_arena_init(&own, BERTH_KUBE_SCRATCH_MAX);
    const char *text = berth_buf_text(&s->refusal);
    if (text == NULL || berth_json_parse(&own, text, s->refusal.len, NULL, &body, NULL) < 0)
        body = NULL;
    const int r =
        berth_kube_status_error(answer->status, answer->retry_after_s, body, &asked, NULL, e);
    berth_arena_fini(&own);
    return r;
}

int
berth_kube_stream(struct berth_kube *k, const struct berth_kube_until *given, const char *path,
                  bool (*part)(void *arg, const char *bytes, size_t len), void *arg,
                  struct berth_err *e)
{
    struct berth_kube_until until = given != NULL ? *given : (struct berth_kube_until){0};
    struct streamer s = {.until = &until, .part = part, .arg = arg};
    struct berth_client_answer answer;
    struct berth_client *http = NULL;
    struct berth_kube_ready ready;
    struct berth_arena scratch;
    char what[WHAT_TEXT];

    (void)snprintf(what, sizeof what, "get %.*s", (int)strcspn(path, "?"), path);
    if (until.deadline_ns == 0)
        until.deadline_ns = UINT64_MAX;
    berth_arena_init(&scratch, BERTH_KUBE_SCRATCH_MAX);
    berth_buf_init(&s.refusal, NULL);
    s.refusal.max = BERTH_KUBE_SCRATCH_MAX;
    const struct berth_kube_call call = {
        .method = "GET", .path = path, .accept = "*/*", .what = what};
    int r = berth_kube_prepare(k, &until, &scratch, &call, &ready, e);
    if (r == 0)
        r = berth_client_new(&http, e);
    if (r == 0) {
        ready.http.body_part = stream_part;
        ready.http.go_on = until.cancelled != NULL ? stream_goes_on : NULL;
        ready.http.arg = &s;
        ready.http.silent_ns_max = UINT64_MAX / 4; /* a log may say nothing for days */
        ready.http.body_bytes_max = UINT64_MAX / 2;
        const int got = berth_client_call(http, &ready.http, &answer, e);
        r = got;
        if (r == 0 && answer.status >= 300)
            r = stream_refused(k, &s, &answer, what, e);
        if (got == 0)
            berth_buf_fini(&answer.body);
    }
    berth_client_free(http);
    berth_buf_fini(&s.refusal);
    berth_arena_fini(&scratch);
    return r;
}
