#include "operator/modelservice/names.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "net/digest.h"

enum {
    LABEL_MAX = BERTH_MSVC_NAME_MAX - 1,
    SUM_DIGITS = 8,
    /* A LeaderWorkerSet's: its pods and their revisions are labels of "NAME-12345-ABCDEF0123". */
    GROUP_MAX = LABEL_MAX - 17,
};

static const char *const suffixes[BERTH_MSVC_CHILDREN] = {
    [BERTH_MSVC_PREFILL_DEPLOYMENT] = "-prefill",
    [BERTH_MSVC_PREFILL_LWS] = "-prefill",
    [BERTH_MSVC_PREFILL_SERVICE] = "-service-prefill",
    [BERTH_MSVC_PREFILL_HPA] = "-prefill",
    [BERTH_MSVC_DECODE_DEPLOYMENT] = "-decode",
    [BERTH_MSVC_DECODE_LWS] = "-decode",
    [BERTH_MSVC_DECODE_SERVICE] = "-service-decode",
    [BERTH_MSVC_DECODE_HPA] = "-decode",
    [BERTH_MSVC_PD_ACCOUNT] = "-sa",
    [BERTH_MSVC_EPP_DEPLOYMENT] = "-epp",
    [BERTH_MSVC_EPP_SERVICE] = "-epp-service",
    [BERTH_MSVC_EPP_ACCOUNT] = "-epp-sa",
    [BERTH_MSVC_EPP_ROLE_BINDING] = "-epp-rolebinding",
    [BERTH_MSVC_POOL] = "-inference-pool",
    [BERTH_MSVC_POOL_V1] = "-inference-pool",
    [BERTH_MSVC_MODEL] = "",
    [BERTH_MSVC_OBJECTIVE] = "",
    [BERTH_MSVC_HTTP_ROUTE] = "-http-route",
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
        char c = text[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + ('a' - 'A'));
        const bool plain = is_plain(c);
        if (!plain && in_run)
            continue;
        in_run = !plain;
        if (n == 0 && (!plain || c == '-'))
            continue; /* none at the beginning */
        if (!plain)
            c = '-';
        if (n < cap)
            ret[n] = c;
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

/* name, cut so that the whole has len_max bytes, a sum of what is cut, and the suffix. */
static void
put_cut(struct berth_slice name, const char *sum, const char *suffix, size_t len_max,
        char ret[BERTH_MSVC_NAME_MAX])
{
    const size_t tail = SUM_DIGITS + 1 + strlen(suffix);

    berth_assert(tail < len_max && len_max <= LABEL_MAX);
    size_t len = name.len < len_max - tail ? name.len : len_max - tail;
    len = without_dashes(name.at, len);
    (void)snprintf(ret, BERTH_MSVC_NAME_MAX, "%.*s%s%.*s%s", (int)len, name.at, len > 0 ? "-" : "",
                   SUM_DIGITS, sum, suffix);
}

static void
sanitize_with(const char *text, size_t len, const char *suffix, size_t len_max,
              char ret[BERTH_MSVC_NAME_MAX])
{
    char plain[BERTH_MSVC_NAME_MAX], sum[BERTH_DIGEST_HEX];
    const size_t n = clean(text, len, plain, sizeof plain);

    if (n < sizeof plain && n + strlen(suffix) <= len_max) {
        /* With a suffix a dash at the name's end stays, as it would within one word. */
        const size_t kept = suffix[0] == '\0' ? without_dashes(plain, n) : n;
        (void)snprintf(ret, BERTH_MSVC_NAME_MAX, "%.*s%s", (int)kept, plain,
                       kept == 0 && suffix[0] == '-' ? suffix + 1 : suffix);
        return;
    }
    berth_digest_of(text, len, sum);
    put_cut((struct berth_slice){plain, n < sizeof plain ? n : sizeof plain}, sum, suffix, len_max,
            ret);
}

void
berth_msvc_sanitize(const char *text, size_t len, char ret[BERTH_MSVC_NAME_MAX])
{
    sanitize_with(text, len, "", LABEL_MAX, ret);
}

/* A Service's name begins with a letter (RFC 1035), and so does that of a LeaderWorkerSet, which
 * has one made of its own name. */
static void
lead_with_letter(const char *service, size_t len, const char *suffix, size_t len_max,
                 char name[BERTH_MSVC_NAME_MAX])
{
    char longer[2 + 253 + 1];

    if (name[0] < '0' || name[0] > '9')
        return;
    (void)snprintf(longer, sizeof longer, "s-%.*s", (int)(len < 253 ? len : 253), service);
    sanitize_with(longer, strlen(longer), suffix, len_max, name);
}

void
berth_msvc_model_label(const char *model, size_t len, char ret[BERTH_MSVC_NAME_MAX])
{
    char sum[BERTH_DIGEST_HEX];

    berth_msvc_sanitize(model, len, ret);
    if (ret[0] != '\0')
        return;
    berth_digest_of(model, len, sum);
    (void)snprintf(ret, BERTH_MSVC_NAME_MAX, "m-%.*s", SUM_DIGITS, sum);
}

static size_t
len_max_of(enum berth_msvc_child child)
{
    return child == BERTH_MSVC_PREFILL_LWS || child == BERTH_MSVC_DECODE_LWS ? GROUP_MAX
                                                                             : LABEL_MAX;
}

void
berth_msvc_names_of(const char *service, const char *model, struct berth_msvc_names *ret)
{
    const size_t len = strlen(service);

    memset(ret, 0, sizeof *ret);
    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        if (suffixes[i] != NULL)
            sanitize_with(service, len, suffixes[i], len_max_of(i), ret->of[i]);
    }
    static const enum berth_msvc_child lettered[] = {
        BERTH_MSVC_PREFILL_SERVICE, BERTH_MSVC_DECODE_SERVICE, BERTH_MSVC_EPP_SERVICE,
        BERTH_MSVC_PREFILL_LWS, BERTH_MSVC_DECODE_LWS};
    for (size_t i = 0; i < sizeof lettered / sizeof *lettered; i++)
        lead_with_letter(service, len, suffixes[lettered[i]], len_max_of(lettered[i]),
                         ret->of[lettered[i]]);
    /* As it is: it is the name of an object already. */
    if (len < BERTH_MSVC_NAME_MAX) {
        (void)snprintf(ret->of[BERTH_MSVC_MODEL], BERTH_MSVC_NAME_MAX, "%s", service);
        (void)snprintf(ret->of[BERTH_MSVC_OBJECTIVE], BERTH_MSVC_NAME_MAX, "%s", service);
    }
    berth_msvc_model_label(model, strlen(model), ret->model);
}

/* ---- names of others ---- */

/* Words of small letters, digits and dashes, with dots between. */
bool
berth_msvc_is_secret(const char *name)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    enum { NAME_MAX_BYTES = 253 };

    if (strlen(name) > NAME_MAX_BYTES)
        return false;
    for (;; name++) {
        const size_t n = strspn(name, word);
        if (n == 0 || name[0] == '-' || name[n - 1] == '-')
            return false;
        name += n;
        if (*name != '.')
            return *name == '\0';
    }
}

/* Whatever a path may have as one of its parts. */
bool
berth_msvc_is_cluster_role(const char *name)
{
    return name[0] != '\0' && strpbrk(name, "/%") == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}
