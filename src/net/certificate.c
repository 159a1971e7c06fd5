#include "net/certificate.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { FILE_MAX = 256 * 1024, NAME_MAX_BYTES = 253, SERIAL_BITS = 127, AHEAD_S = 300 };

static void
key_freep(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}

static void
cert_freep(X509 **c)
{
    X509_free(*c);
}

static void
bio_freep(BIO **b)
{
    (void)BIO_free(*b);
}

#define AUTO_KEY  BERTH_CLEANUP(key_freep)
#define AUTO_CERT BERTH_CLEANUP(cert_freep)
#define AUTO_BIO  BERTH_CLEANUP(bio_freep)

/* What OpenSSL says, without what it was about. */
static int
fail(struct berth_err *e, int code, const char *what)
{
    const unsigned long why = ERR_peek_last_error();
    const char *text = why != 0 ? ERR_reason_error_string(why) : NULL;

    ERR_clear_error();
    return berth_err_set(e, code, "%s: %s", what, text != NULL ? text : "unknown reason");
}

/* ---- files ---- */

/* All or nothing, for us alone. */
static int
write_whole(const char *path, const char *text, size_t len, bool keep, struct berth_err *e)
{
    char new[4096];
    const int n = snprintf(new, sizeof new, "%s.new", path);

    if (n < 0 || (size_t)n >= sizeof new)
        return berth_err_set(e, BERTH_EINVAL, "%s: the path is too long", path);
    if (keep && access(path, F_OK) == 0)
        return 0;
    (void)unlink(new); /* of one that was cut off */
    BERTH_AUTO_CLOSE int fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd) < 0 || rename(new, path) < 0) {
        (void)berth_err_set(e, BERTH_EIO, "%s: %m", path);
        (void)unlink(new);
        return -BERTH_EIO;
    }
    return 0;
}

static int
write_bio(const char *path, BIO *b, struct berth_err *e)
{
    char *text;
    const long len = BIO_get_mem_data(b, &text);

    return len > 0 ? write_whole(path, text, (size_t)len, false, e)
                   : berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
}

/* NUL-ended; the caller's to free.  What may be secret is wiped by the caller. */
static int
read_whole(const char *path, char **ret, size_t *ret_len, struct berth_err *e)
{
    /* A pipe is not waited for: it is refused. */
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    size_t n = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%s: is no file of at most %d bytes", path, FILE_MAX);
    char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    while (n < (size_t)st.st_size) {
        const ssize_t got = read(fd, text + n, (size_t)st.st_size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    *ret = text;
    *ret_len = n;
    return 0;
}

/* ---- making ---- */

static bool
is_host(const char *host)
{
    const size_t len = strlen(host);

    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)host[i]) && strchr(".-_:*", host[i]) == NULL)
            return false;
    }
    return len > 0 && len <= NAME_MAX_BYTES;
}

static bool
add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX about;

    X509V3_set_ctx(&about, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &about, nid, value);
    const bool ok = x != NULL && X509_add_ext(cert, x, -1) == 1;
    X509_EXTENSION_free(x);
    return ok;
}

static bool
add_hosts(X509 *cert, const char *const *hosts)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool ok = names != NULL;

    for (; ok && *hosts != NULL; hosts++) {
        unsigned char address[16];
        const bool six = inet_pton(AF_INET6, *hosts, address) == 1;
        const bool ip = six || inet_pton(AF_INET, *hosts, address) == 1;
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_STRING *text =
            name != NULL ? ASN1_STRING_type_new(ip ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING) : NULL;

        ok = text != NULL && ASN1_STRING_set(text, ip ? (const void *)address : *hosts,
                                             ip ? (six ? 16 : 4) : -1) == 1;
        if (ok) {
            GENERAL_NAME_set0_value(name, ip ? GEN_IPADD : GEN_DNS, text); /* has text now */
            ok = sk_GENERAL_NAME_push(names, name) > 0;
        } else {
            ASN1_STRING_free(text);
        }
        if (!ok)
            GENERAL_NAME_free(name);
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
    return ok;
}

static bool
set_serial(X509 *cert)
{
    BIGNUM *n = BN_new();
    const bool ok = n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
                    BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;

    BN_free(n);
    return ok;
}

/* A certificate of `key` in the name of `name`, not signed yet. */
static X509 *
draft(EVP_PKEY *key, const char *name, uint32_t days)
{
    X509 *c = X509_new();
    X509_NAME *subject = c != NULL ? X509_get_subject_name(c) : NULL;

    if (subject != NULL && X509_set_version(c, X509_VERSION_3) == 1 && set_serial(c) &&
        X509_gmtime_adj(X509_getm_notBefore(c), -AHEAD_S) != NULL &&
        X509_time_adj_ex(X509_getm_notAfter(c), (int)days, 0, NULL) != NULL &&
        X509_set_pubkey(c, key) == 1 &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
                                   -1, 0) == 1)
        return c;
    X509_free(c);
    return NULL;
}

static X509 *
make_authority(EVP_PKEY *key, uint32_t days)
{
    X509 *c = draft(key, "berth: authority of one service", days);

    if (c != NULL && X509_set_issuer_name(c, X509_get_subject_name(c)) == 1 &&
        add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_extension(c, c, NID_subject_key_identifier, "hash") &&
        X509_sign(c, key, EVP_sha256()) > 0)
        return c;
    X509_free(c);
    return NULL;
}

static X509 *
make_leaf(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, const char *const *hosts, uint32_t days)
{
    X509 *c = draft(key, "berth: engine", days);

    if (c != NULL && X509_set_issuer_name(c, X509_get_subject_name(ca)) == 1 &&
        add_extension(c, ca, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(c, ca, NID_key_usage, "critical,digitalSignature") &&
        add_extension(c, ca, NID_ext_key_usage, "serverAuth") &&
        add_extension(c, ca, NID_subject_key_identifier, "hash") &&
        add_extension(c, ca, NID_authority_key_identifier, "keyid:always") && add_hosts(c, hosts) &&
        X509_sign(c, ca_key, EVP_sha256()) > 0)
        return c;
    X509_free(c);
    return NULL;
}

/* The certificate last: with it there, all is. */
static int
write_all(const struct berth_certificate_paths *to, EVP_PKEY *key, X509 *leaf, X509 *ca,
          struct berth_err *e)
{
    AUTO_BIO BIO *key_pem = BIO_new(BIO_s_secmem()), *ca_pem = BIO_new(BIO_s_mem()),
                 *pem = BIO_new(BIO_s_mem());
    int r;

    if (key_pem == NULL || ca_pem == NULL || pem == NULL ||
        PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(ca_pem, ca) != 1 || PEM_write_bio_X509(pem, leaf) != 1 ||
        PEM_write_bio_X509(pem, ca) != 1)
        return fail(e, BERTH_ENOMEM, to->cert);
    if ((r = write_bio(to->key, key_pem, e)) < 0 || (r = write_bio(to->ca, ca_pem, e)) < 0)
        return r;
    return write_bio(to->cert, pem, e);
}

int
berth_certificate_make(const char *const *hosts, uint32_t days,
                       const struct berth_certificate_paths *to, struct berth_err *e)
{
    size_t n = 0;

    for (; hosts[n] != NULL; n++) {
        if (n == BERTH_CERTIFICATE_HOSTS_MAX)
            return berth_err_set(e, BERTH_EINVAL, "a certificate is for at most %d hosts",
                                 BERTH_CERTIFICATE_HOSTS_MAX);
        if (!is_host(hosts[n]))
            return berth_err_set(e, BERTH_EINVAL, "\"%.64s\" is no host's name or address",
                                 hosts[n]);
    }
    if (n == 0)
        return berth_err_set(e, BERTH_EINVAL, "a certificate is for at least one host");
    AUTO_KEY EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    AUTO_CERT X509 *ca = ca_key != NULL ? make_authority(ca_key, days) : NULL;
    AUTO_CERT X509 *leaf =
        ca != NULL && key != NULL ? make_leaf(key, ca, ca_key, hosts, days) : NULL;
    return leaf != NULL ? write_all(to, key, leaf, ca, e) : fail(e, BERTH_ENOMEM, to->cert);
}

/* ---- looking ---- */

static int
read_certificate(const char *path, X509 **ret, struct berth_err *e)
{
    BERTH_AUTO_FREE char *text = NULL;
    size_t len = 0;
    const int r = read_whole(path, &text, &len, e);

    if (r < 0)
        return r;
    AUTO_BIO BIO *b = BIO_new_mem_buf(text, (int)len);
    *ret = b != NULL ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    if (*ret != NULL)
        return 0;
    ERR_clear_error();
    return berth_err_set(e, BERTH_EINVAL, "%s: is no certificate in PEM", path);
}

/* A key with a passphrase cannot be used: nobody is there to be asked. */
static int
no_passphrase(char *buf, int size, int for_writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)for_writing;
    (void)arg;
    return -1;
}

static int
read_key(const char *path, EVP_PKEY **ret, struct berth_err *e)
{
    char *text = NULL;
    size_t len = 0;
    const int r = read_whole(path, &text, &len, e);

    if (r < 0)
        return r;
    BIO *b = BIO_new_mem_buf(text, (int)len);
    *ret = b != NULL ? PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL) : NULL;
    (void)BIO_free(b);
    explicit_bzero(text, len);
    free(text);
    ERR_clear_error();
    return *ret != NULL ? 0
                        : berth_err_set(e, BERTH_EINVAL,
                                        "%s: is no private key in PEM without a passphrase", path);
}

/* The certificates of a file as a chain that is believed (trusted) or merely at hand. */
static bool
load_chain(X509_STORE *store, STACK_OF(X509) * more, const char *path)
{
    AUTO_BIO BIO *b = BIO_new_file(path, "r");
    bool ok = b != NULL;

    for (int n = 0; ok && n < BERTH_CERTIFICATE_HOSTS_MAX; n++) {
        X509 *c = PEM_read_bio_X509(b, NULL, NULL, NULL);
        if (c == NULL)
            break;
        if (store != NULL) {
            ok = X509_STORE_add_cert(store, c) == 1;
            X509_free(c);
        } else {
            ok = sk_X509_push(more, c) > 0;
        }
    }
    ERR_clear_error();
    return ok;
}

static int
vouched(const struct berth_certificate_paths *at, X509 *cert, struct berth_err *e)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *more = sk_X509_new_null();
    int r = -BERTH_ENOMEM;

    if (store != NULL && ctx != NULL && more != NULL && load_chain(store, NULL, at->ca) &&
        load_chain(NULL, more, at->cert) && X509_STORE_CTX_init(ctx, store, cert, more) == 1) {
        /* As curl does: what is in the file is believed, whether it is a root or not. */
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN);
        r = X509_verify_cert(ctx) == 1
                ? 0
                : berth_err_set(e, BERTH_EINVAL, "%s: %s does not vouch for it: %s", at->cert,
                                at->ca,
                                X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    } else {
        (void)berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", at->cert);
    }
    ERR_clear_error();
    sk_X509_pop_free(more, X509_free);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return r;
}

static void
describe(X509 *cert, struct berth_certificate *ret)
{
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    unsigned len = 0;
    int days = 0, seconds = 0;

    (void)X509_digest(cert, EVP_sha256(), sum, &len);
    for (size_t i = 0; i < sizeof ret->sha256 / 2; i++)
        (void)snprintf(ret->sha256 + 2 * i, 3, "%02x", sum[i]);
    (void)ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert));
    ret->seconds_left = (int64_t)days * 86400 + seconds;
}

int
berth_certificate_check(const struct berth_certificate_paths *at, struct berth_certificate *ret,
                        struct berth_err *e)
{
    AUTO_CERT X509 *cert = NULL, *ca = NULL;
    AUTO_KEY EVP_PKEY *key = NULL;
    int r;

    if ((r = read_certificate(at->cert, &cert, e)) < 0 ||
        (r = read_certificate(at->ca, &ca, e)) < 0 || (r = read_key(at->key, &key, e)) < 0)
        return r;
    if (X509_check_private_key(cert, key) != 1) {
        ERR_clear_error();
        return berth_err_set(e, BERTH_EINVAL, "%s: is not the key of %s", at->key, at->cert);
    }
    if ((r = vouched(at, cert, e)) == 0)
        describe(cert, ret);
    return r;
}

/* ---- keys that are sent ---- */

int
berth_bearer_make(const char *path, const char *text, struct berth_err *e)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char random[BERTH_BEARER_MADE];
    char line[BERTH_BEARER_MADE + 128];
    size_t n = 0;

    if (RAND_bytes(random, sizeof random) != 1)
        return fail(e, BERTH_EIO, path);
    for (; n < BERTH_BEARER_MADE - 1; n++) /* 43 digits of 6 bits */
        line[n] = digits[random[n] % 64];
    const int more = snprintf(line + n, sizeof line - n, "%s\n", text);
    const int r =
        more > 0 && (size_t)more < sizeof line - n
            ? write_whole(path, line, n + (size_t)more, true, e)
            : berth_err_set(e, BERTH_EINVAL, "%s: what stands behind the key is too long", path);
    explicit_bzero(random, sizeof random);
    explicit_bzero(line, sizeof line);
    return r;
}

int
berth_bearer_read(const char *path, char ret[BERTH_BEARER_MAX], struct berth_err *e)
{
    char *text = NULL;
    size_t len = 0;
    int r = read_whole(path, &text, &len, e);

    if (r < 0)
        return r;
    const char *word = text + strspn(text, " \t\r\n");
    const size_t n = strcspn(word, " \t\r\n");
    bool plain = n > 0 && n < BERTH_BEARER_MAX;
    for (size_t i = 0; plain && i < n; i++)
        plain = isgraph((unsigned char)word[i]) != 0;
    if (plain) {
        memcpy(ret, word, n);
        ret[n] = '\0';
    } else {
        r = berth_err_set(e, BERTH_EINVAL, "%s: has no key of at most %d characters", path,
                          BERTH_BEARER_MAX - 1);
    }
    explicit_bzero(text, len);
    free(text);
    return r;
}
