#include "operator/modelservice/names.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "net/digest.h"

enum { LABEL_MAX = BERTH_MSVC_NAME_MAX - 1, SUM_DIGITS = 8 };

static const char *const suffixes[BERTH_MSVC_CHILDREN] = {
    [BERTH_MSVC_PREFILL_DEPLOYMENT] = "-prefill",
    [BERTH_MSVC_PREFILL_SERVICE] = "-service-prefill",
    [BERTH_MSVC_DECODE_DEPLOYMENT] = "-decode",
    [BERTH_MSVC_DECODE_SERVICE] = "-service-decode",
    [BERTH_MSVC_PD_ACCOUNT] = "-sa",
    [BERTH_MSVC_EPP_DEPLOYMENT] = "-epp",
    [BERTH_MSVC_EPP_SERVICE] = "-epp-service",
    [BERTH_MSVC_EPP_ACCOUNT] = "-epp-sa",
    [BERTH_MSVC_EPP_ROLE_BINDING] = "-epp-rolebinding",
    [BERTH_MSVC_HTTP_ROUTE] = "-http-route",
    [BERTH_MSVC_POOL] = "-inference-pool",
    [BERTH_MSVC_MODEL] = "",
};

static bool
is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool
is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Each byte that is kept or stands for a run of others goes to put(); how many there were. */
static size_t
clean(const char *text, size_t len, char *ret, size_t cap)
{
    size_t n = 0;
    bool in_run = false;

    while (len > 0 && is_blank(text[0]))
        text++, len--;
    while (len > 0 && is_blank(text[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++) {
        const char c = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
        const bool plain = is_plain(c);
        if (!plain && in_run)
            continue;
        in_run = !plain;
        if (n == 0 && (!plain || c == '-'))
            continue; /* none at the beginning */
        if (n < cap)
            ret[n] = plain ? c : '-';
        n++;
    }
    return n;
}

static size_t
without_dashes(const char *text, size_t len)
{
    while (len > 0 && text[len - 1] == '-')
        len--;
    return len;
}

/* name, cut so that the whole is a label, a sum of what is cut, and the suffix. */
static void
put_cut(const char *name, size_t len, const char *sum, const char *suffix,
        char ret[BERTH_MSVC_NAME_MAX])
{
    const size_t tail = SUM_DIGITS + 1 + strlen(suffix);

    berth_assert(tail < LABEL_MAX);
    len = len < LABEL_MAX - tail ? len : LABEL_MAX - tail;
    len = without_dashes(name, len);
    (void)snprintf(ret, BERTH_MSVC_NAME_MAX, "%.*s%s%.*s%s", (int)len, name, len > 0 ? "-" : "",
                   SUM_DIGITS, sum, suffix);
}

static void
sanitize_with(const char *text, size_t len, const char *suffix, char ret[BERTH_MSVC_NAME_MAX])
{
    char plain[BERTH_MSVC_NAME_MAX], sum[BERTH_DIGEST_HEX];
    const size_t n = clean(text, len, plain, sizeof plain);

    if (n < sizeof plain && n + strlen(suffix) <= LABEL_MAX) {
        /* With a suffix a dash at the name's end stays, as it would within one word. */
        const size_t kept = suffix[0] == '\0' ? without_dashes(plain, n) : n;
        (void)snprintf(ret, BERTH_MSVC_NAME_MAX, "%.*s%s", (int)kept, plain,
                       kept == 0 && suffix[0] == '-' ? suffix + 1 : suffix);
        return;
    }
    berth_digest_of(text, len, sum);
    put_cut(plain, n < sizeof plain ? n : sizeof plain, sum, suffix, ret);
}

void
berth_msvc_sanitize(const char *text, size_t len, char ret[BERTH_MSVC_NAME_MAX])
{
    sanitize_with(text, len, "", ret);
}

/* A Service's name begins with a letter (RFC 1035). */
static void
lead_with_letter(const char *service, size_t len, const char *suffix,
                 char name[BERTH_MSVC_NAME_MAX])
{
    char longer[2 + 253 + 1];

    if (name[0] < '0' || name[0] > '9')
        return;
    (void)snprintf(longer, sizeof longer, "s-%.*s", (int)(len < 253 ? len : 253), service);
    sanitize_with(longer, strlen(longer), suffix, name);
}

void
berth_msvc_names_of(const char *service, const char *model, struct berth_msvc_names *ret)
{
    const size_t len = strlen(service);
    char sum[BERTH_DIGEST_HEX];

    memset(ret, 0, sizeof *ret);
    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        if (suffixes[i] != NULL)
            sanitize_with(service, len, suffixes[i], ret->of[i]);
    }
    static const enum berth_msvc_child services[] = {
        BERTH_MSVC_PREFILL_SERVICE, BERTH_MSVC_DECODE_SERVICE, BERTH_MSVC_EPP_SERVICE};
    for (size_t i = 0; i < sizeof services / sizeof *services; i++)
        lead_with_letter(service, len, suffixes[services[i]], ret->of[services[i]]);
    /* As it is: it is the name of an object already. */
    if (len < BERTH_MSVC_NAME_MAX)
        (void)snprintf(ret->of[BERTH_MSVC_MODEL], BERTH_MSVC_NAME_MAX, "%s", service);
    berth_msvc_sanitize(model, strlen(model), ret->model);
    if (ret->model[0] == '\0') {
        berth_digest_of(model, strlen(model), sum);
        (void)snprintf(ret->model, sizeof ret->model, "m-%.*s", SUM_DIGITS, sum);
    }
}
