#include "net/curl_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/assert.h"

static void
global_init(void)
{
    berth_assert(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

void
berth_curl_once(void)
{
    /* The only state that is not in an object of ours. */
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, global_init);
}

/* Distributions keep the certificates in one of these; libcurl knows its builder's place alone. */
const char *
berth_curl_certificates(void)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    };
    const char *named = getenv("SSL_CERT_FILE");

    if (named != NULL && named[0] != '\0')
        return named;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return NULL;
}
