#ifndef BERTH_NET_CERTIFICATE_H
#define BERTH_NET_CERTIFICATE_H

#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

/*
 * Certificates for engines that are reached by TLS, and the keys that they ask for.  Files; blocks
 * for milliseconds.  Any thread.
 */

enum {
    BERTH_CERTIFICATE_HOSTS_MAX = 64,
    BERTH_BEARER_MAX = 512, /* of a key in a file, with the NUL */
    BERTH_BEARER_MADE = 44, /* bytes of a key that is made here, with the NUL */
};

struct berth_certificate_paths {
    const char *ca;   /* whom to believe: PEM */
    const char *cert; /* what the engine shows, with the authority's behind it: PEM */
    const char *key;  /* PEM, readable by us alone (0600) */
};

/*
 * Make a key (P-256), a certificate for these hosts (names or addresses, NULL-ended, 1 to
 * BERTH_CERTIFICATE_HOSTS_MAX), and an authority that signs this one certificate: its own key is
 * never written.  Each file is there whole or not at all; `cert` comes last.
 *   -BERTH_EINVAL a host that is none, -BERTH_EIO, -BERTH_ENOMEM
 */
int berth_certificate_make(const char *const *hosts, uint32_t days,
                           const struct berth_certificate_paths *to, struct berth_err *e);

struct berth_certificate {
    char sha256[65];      /* hex, of the certificate in DER */
    int64_t seconds_left; /* until it expires; negative: it has */
};
/*
 * Do the three belong together: is the key the certificate's, and does the authority vouch for it?
 * Nothing of the key's file is in any message.
 *   -BERTH_EINVAL they do not, or a file is none; -BERTH_EIO it cannot be read
 */
int berth_certificate_check(const struct berth_certificate_paths *at, struct berth_certificate *ret,
                            struct berth_err *e);

/* Write a random key of 256 bits into a new file (0600), `text` behind it.  One that is there
 * stays: 0. */
int berth_bearer_make(const char *path, const char *text, struct berth_err *e);
/* The first word of a file.  -BERTH_EIO; -BERTH_EINVAL there is none, or it is too long. */
int berth_bearer_read(const char *path, char ret[BERTH_BEARER_MAX], struct berth_err *e);

#endif
