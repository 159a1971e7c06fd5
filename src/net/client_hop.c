#include "net/client_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void
berth_client_hop_fini(struct berth_client_hop *h)
{
    curl_url_cleanup(h->url);
    curl_free(h->text);
}

bool
berth_client_hop_to(struct berth_client_hop *h, const char *url)
{
    CURLU *u = curl_url();
    char *text = NULL;

    if (u == NULL || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_URL, &text, 0) != CURLUE_OK) {
        curl_url_cleanup(u);
        return false;
    }
    berth_client_hop_fini(h);
    h->url = u;
    h->text = text;
    return true;
}

static bool
same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *x = NULL, *y = NULL;

    (void)curl_url_get(a, part, &x, CURLU_DEFAULT_PORT);
    (void)curl_url_get(b, part, &y, CURLU_DEFAULT_PORT);
    const bool same = x != NULL && y != NULL && strcasecmp(x, y) == 0;
    curl_free(x);
    curl_free(y);
    return same;
}

int
berth_client_hop_follow(struct berth_client_hop *hop, CURL *easy, uint16_t status, const char *host,
                        struct berth_err *e)
{
    struct berth_client_hop before = {.url = hop->url, .text = hop->text};
    char *to = NULL, *scheme = NULL;
    bool ok, secure;

    (void)curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &to);
    hop->url = NULL;
    hop->text = NULL;
    ok = to != NULL && berth_client_hop_to(hop, to);
    if (!ok) {
        *hop = before;
        return berth_err_set(e, BERTH_ENETWORK, "%s: redirects to what is no URL", host);
    }
    (void)curl_url_get(hop->url, CURLUPART_SCHEME, &scheme, 0);
    secure = scheme != NULL && strcasecmp(scheme, "https") == 0;
    curl_free(scheme);
    if (strncasecmp(before.text, "https:", 6) == 0 && !secure)
        ok = false;
    hop->trusted = hop->trusted && same_part(before.url, hop->url, CURLUPART_SCHEME) &&
                   same_part(before.url, hop->url, CURLUPART_HOST) &&
                   same_part(before.url, hop->url, CURLUPART_PORT);
    if (status == 303 || ((status == 301 || status == 302) && hop->body)) {
        const bool head = hop->method != NULL && strcmp(hop->method, "HEAD") == 0;
        hop->method = head ? "HEAD" : NULL;
        hop->body = false;
    }
    berth_client_hop_fini(&before);
    return ok ? 0
              : berth_err_set(e, BERTH_ENETWORK, "%s: redirects from https to plain http", host);
}

void
berth_client_hop_host(const struct berth_client_hop *hop, char out[BERTH_CLIENT_HOST_TEXT])
{
    char *host = NULL, *port = NULL;

    (void)curl_url_get(hop->url, CURLUPART_HOST, &host, 0);
    (void)curl_url_get(hop->url, CURLUPART_PORT, &port, 0);
    (void)snprintf(out, BERTH_CLIENT_HOST_TEXT, "%.128s%s%.8s", host != NULL ? host : "",
                   port ? ":" : "", port != NULL ? port : "");
    curl_free(host);
    curl_free(port);
}
