#ifndef BERTH_NET_CURL_PRIV_H
#define BERTH_NET_CURL_PRIV_H

/* What client.c and forward.c both need of libcurl. */

/* libcurl wants this before anything else, once in a program.  Any thread. */
void berth_curl_once(void);
/* A PEM file of the system's certificates, or NULL: libcurl's own guess.  SSL_CERT_FILE names
 * another one. */
const char *berth_curl_certificates(void);

#endif
