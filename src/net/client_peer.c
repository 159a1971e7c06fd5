#include "net/client_priv.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "net/curl_priv.h"

static bool
is_https(const struct berth_client_hop *hop)
{
    return strncasecmp(hop->text, "https:", 6) == 0;
}

/* libcurl reads the bytes during the transfer, so they are not copied. */
static void
set_blob(CURL *easy, CURLoption option, struct berth_slice pem)
{
    struct curl_blob blob = {.data = (void *)(uintptr_t)pem.at, .len = pem.len};

    (void)curl_easy_setopt(easy, option, &blob);
}

static void
set_identity(CURL *easy, const struct berth_client_tls *tls)
{
    if (tls->cert_pem.len > 0)
        set_blob(easy, CURLOPT_SSLCERT_BLOB, tls->cert_pem);
    else if (tls->cert_file != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert_file);
    if (tls->key_pem.len > 0)
        set_blob(easy, CURLOPT_SSLKEY_BLOB, tls->key_pem);
    else if (tls->key_file != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key_file);
}

static void
set_tls(CURL *easy, const struct berth_client_tls *tls)
{
    if (tls != NULL && tls->ca_pem.len > 0)
        set_blob(easy, CURLOPT_CAINFO_BLOB, tls->ca_pem);
    else if (tls != NULL && tls->ca_file != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca_file);
    else if (berth_curl_certificates() != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, berth_curl_certificates());
    if (tls == NULL)
        return;
    if (tls->ca_pem.len > 0 || tls->ca_file != NULL) /* nobody else is believed */
        (void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    if (tls->unverified) {
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    set_identity(easy, tls);
}

/* "::HOST:PORT" is libcurl's way to say: whatever the URL names, connect there. */
static struct curl_slist *
set_connect_to(CURL *easy, const char *peer)
{
    struct curl_slist *to = NULL;
    struct berth_buf text;

    berth_buf_init(&text, NULL);
    berth_buf_puts(&text, "::");
    berth_buf_puts(&text, peer);
    if (berth_buf_text(&text) != NULL)
        to = curl_slist_append(NULL, text.at);
    berth_buf_fini(&text);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECT_TO, to);
    return to;
}

void
berth_client_set_peer(CURL *easy, const struct berth_client_call *call,
                      const struct berth_client_hop *hop, struct curl_slist **ret_to)
{
    *ret_to = NULL;
    if (is_https(hop))
        set_tls(easy, hop->trusted ? call->tls : NULL);
    if (!hop->trusted)
        return;
    if (call->unix_path != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, call->unix_path);
        (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"); /* whatever the environment says */
    } else if (call->proxy != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_PROXY, call->proxy);
    }
    if (call->connect_to != NULL)
        *ret_to = set_connect_to(easy, call->connect_to);
}
