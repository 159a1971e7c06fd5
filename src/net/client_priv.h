#ifndef BERTH_NET_CLIENT_PRIV_H
#define BERTH_NET_CLIENT_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include <curl/curl.h>

#include <berth/err.h>

#include "net/client.h"

/* Parts of the blocking client that know no transfer: where it goes and whom it believes. */

enum { BERTH_CLIENT_HOST_TEXT = 160 };

/* Where a request goes, and what it takes along. */
struct berth_client_hop {
    CURLU *url;
    char *text;
    const char *method; /* NULL: GET, or POST with a body */
    bool body, trusted; /* trusted: the host that the caller named, so that credentials go along */
};

/* False when it is no URL; the hop stays as it was. */
bool berth_client_hop_to(struct berth_client_hop *h, const char *url);
void berth_client_hop_fini(struct berth_client_hop *h);
/* Go where the answer with that status says.  0, or -BERTH_ENETWORK. */
int berth_client_hop_follow(struct berth_client_hop *hop, CURL *easy, uint16_t status,
                            const char *host, struct berth_err *e);
/* "HOST" or "HOST:PORT", for messages. */
void berth_client_hop_host(const struct berth_client_hop *hop, char out[BERTH_CLIENT_HOST_TEXT]);

/* The way there: socket or proxy, certificates.  What the caller said is for the host it named
 * alone.  ret_to is what the handle needs until the transfer ended: the caller frees it. */
void berth_client_set_peer(CURL *easy, const struct berth_client_call *call,
                           const struct berth_client_hop *hop, struct curl_slist **ret_to);

#endif
