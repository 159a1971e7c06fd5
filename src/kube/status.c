#include "kube/status.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "kube/object.h"
#include "wire/json.h"

/* WRAPS: of a message, left for what callers put in front of it. */
enum { CAUSES_SHOWN = 3, WORDS = 320, WORDS_LEAST = 64, WRAPS = 64 };

/* What is applied by the server has a field that its kind has not, or one of another type: answered
 * with 500, though it is no fault of the server's and the same each time. */
static bool
is_mistyped(uint16_t http, const struct berth_json *body)
{
    return http == 500 && strstr(berth_kube_text(body, "message").at,
                                 "failed to create typed patch object") != NULL;
}

static int
code_of(uint16_t http, const struct berth_json *body)
{
    static const struct {
        uint16_t http;
        enum berth_code code;
    } table[] = {
        {401, BERTH_EAUTH},        {403, BERTH_EPERM},        {404, BERTH_ENOENT},
        {405, BERTH_EUNSUPPORTED}, {406, BERTH_EUNSUPPORTED}, {408, BERTH_EDEADLINE},
        {409, BERTH_EEXIST},       {410, BERTH_ENOTREADY},    {413, BERTH_ETOOBIG},
        {415, BERTH_EUNSUPPORTED}, {429, BERTH_EAGAIN},       {504, BERTH_EDEADLINE},
    };

    for (size_t i = 0; i < BERTH_COUNT(table); i++)
        if (table[i].http == http)
            return table[i].code;
    return http >= 500 && !is_mistyped(http, body) ? BERTH_ENETWORK : BERTH_EINVAL;
}

/* Text that grows up to its room. */
struct words {
    size_t room, len; /* both without the NUL */
    bool cut;
    char at[WORDS];
};

__attribute__((format(printf, 2, 3))) static void
put(struct words *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    const int n = vsnprintf(w->at + w->len, w->room + 1 - w->len, fmt, ap);
    va_end(ap);
    w->cut = w->cut || n < 0 || (size_t)n > w->room - w->len;
    w->len = w->cut ? w->room : w->len + (size_t)n;
}

/* The server's message, and the fields it is about where it does not name them itself: as much as
 * there is room for. */
static void
put_words(const struct berth_json *body, struct words *words)
{
    const struct berth_slice message = berth_kube_text(body, "message");
    struct berth_json_iter it = berth_json_iter(berth_kube_at(body, "details.causes"));
    size_t shown = 0;

    words->at[0] = '\0';
    if (message.len > 0)
        put(words, ": %s", message.at);
    while (berth_json_next(&it) && shown < CAUSES_SHOWN) {
        const struct berth_slice field = berth_kube_text(it.value, "field");
        const struct berth_slice why = berth_kube_text(it.value, "message");
        if (field.len == 0 || strstr(message.at, field.at) != NULL)
            continue;
        put(words, "%s %s: %s", shown++ > 0 ? ";" : " --", field.at, why.at);
    }
    if (words->cut)
        berth_utf8_mark_cut(words->at, words->room + 1);
}

/* What a person can do about it, or "". */
static const char *
advice(uint16_t http, const struct berth_kube_status *s, const struct berth_json *body,
       const struct berth_kube_asked *asked)
{
    if (http == 401)
        return "; renew the credentials of this kubeconfig user or service account";
    /* Quotas and admission refuse with 403, too; only of missing rights it says "cannot". */
    const char *message = berth_kube_text(body, "message").at;
    if (http == 403 && asked->ungranted != NULL && strstr(message, " attempting to grant ") != NULL)
        return asked->ungranted;
    if (http == 403 && asked->denied != NULL && strstr(message, " cannot ") != NULL)
        return asked->denied;
    if (http == 403 && strstr(message, " cannot ") != NULL)
        return strstr(message, "at the cluster scope") != NULL
                   ? "; allow it with a ClusterRole and a ClusterRoleBinding (kubectl auth can-i "
                     "shows what is allowed)"
                   : "; allow it with a Role and a RoleBinding (kubectl auth can-i shows what is "
                     "allowed)";
    if (http == 404 && berth_kube_text(body, "details.name").len == 0)
        return "; does this cluster serve that API? (kubectl api-resources)";
    if (http == 409 && strcmp(s->reason, "Conflict") == 0 &&
        berth_json_len(berth_kube_at(body, "details.causes")) > 0)
        return "; another manager owns these fields: force, or leave them out";
    if (http == 429)
        return "; the API server is busy, or a quota of requests is used up";
    return "";
}

int
berth_kube_status_error(uint16_t code, uint32_t retry_after_s, const struct berth_json *body,
                        const struct berth_kube_asked *asked, struct berth_kube_status *ret,
                        struct berth_err *e)
{
    const int64_t seconds = berth_kube_int(body, "details.retryAfterSeconds", 0);
    struct berth_kube_status s = {.code = code, .retry_after_s = retry_after_s};
    struct words words = {.room = WORDS - 1};

    (void)snprintf(s.reason, sizeof s.reason, "%s", berth_kube_text(body, "reason").at);
    if (seconds > 0 && s.retry_after_s == 0)
        s.retry_after_s = seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
    if (ret != NULL)
        *ret = s;
    const char *next = advice(code, &s, body, asked);
    const bool tells_user = code == 401 && asked->user != NULL;
    /* The rest of the message is short, and says more than the end of a long text does. */
    const size_t rest = strlen(asked->what) + sizeof ": 65535 " + strlen(s.reason) + strlen(next) +
                        (tells_user ? strlen(asked->user) + sizeof ": user " : 0) + WRAPS;
    if (rest + words.room > sizeof e->msg)
        words.room = rest + WORDS_LEAST < sizeof e->msg ? sizeof e->msg - rest : WORDS_LEAST;
    put_words(body, &words);
    return berth_err_set(e, (enum berth_code)code_of(code, body), "%s: %u%s%s%s%s%s%s", asked->what,
                         code, s.reason[0] != '\0' ? " " : "", s.reason, words.at,
                         tells_user ? ": user " : "", tells_user ? asked->user : "", next);
}
