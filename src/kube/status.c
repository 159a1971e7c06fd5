#include "kube/status.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "kube/object.h"
#include "wire/json.h"

enum { CAUSES_SHOWN = 3, WORDS = 320 };

static int
code_of(uint16_t http)
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
    return http >= 500 ? BERTH_ENETWORK : BERTH_EINVAL;
}

/* Append, cut off at the end of the room. */
__attribute__((format(printf, 3, 4))) static void
put(char words[WORDS], size_t *len, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    const int n = vsnprintf(words + *len, WORDS - *len, fmt, ap);
    va_end(ap);
    if (n > 0)
        *len = *len + (size_t)n < WORDS ? *len + (size_t)n : WORDS - 1;
}

/* The server's message, and the fields it is about where it does not name them itself. */
static void
put_words(const struct berth_json *body, char words[WORDS])
{
    const struct berth_slice message = berth_kube_text(body, "message");
    struct berth_json_iter it = berth_json_iter(berth_kube_at(body, "details.causes"));
    size_t len = 0, shown = 0;

    words[0] = '\0';
    if (message.len > 0)
        put(words, &len, ": %s", message.at);
    while (berth_json_next(&it) && shown < CAUSES_SHOWN) {
        const struct berth_slice field = berth_kube_text(it.value, "field");
        const struct berth_slice why = berth_kube_text(it.value, "message");
        if (field.len == 0 || strstr(message.at, field.at) != NULL)
            continue;
        put(words, &len, "%s %s: %s", shown++ > 0 ? ";" : " --", field.at, why.at);
    }
}

/* What a person can do about it, or "". */
static const char *
advice(uint16_t http, const struct berth_kube_status *s, const struct berth_json *body)
{
    if (http == 401)
        return "; renew the credentials of this kubeconfig user or service account";
    if (http == 403)
        return "; allow it with a Role and a RoleBinding (kubectl auth can-i shows what is "
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
                        const char *what, const char *user, struct berth_kube_status *ret,
                        struct berth_err *e)
{
    const int64_t seconds = berth_kube_int(body, "details.retryAfterSeconds", 0);
    struct berth_kube_status s = {.code = code, .retry_after_s = retry_after_s};
    char words[WORDS];

    (void)snprintf(s.reason, sizeof s.reason, "%s", berth_kube_text(body, "reason").at);
    if (seconds > 0 && s.retry_after_s == 0)
        s.retry_after_s = seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
    put_words(body, words);
    if (ret != NULL)
        *ret = s;
    return berth_err_set(e, (enum berth_code)code_of(code), "%s: %u%s%s%s%s%s%s", what, code,
                         s.reason[0] != '\0' ? " " : "", s.reason, words,
                         code == 401 && user != NULL ? ": user " : "",
                         code == 401 && user != NULL ? user : "", advice(code, &s, body));
}
