#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "net/server.h"

struct berth_tls_side {
    pthread_mutex_t mu; /* taken once a connection: its context may be another one by then */
    SSL_CTX *ssl;       /* under mu; connections hold the one that they began with */
    BIO_METHOD *bio;
};

struct berth_tls {
    SSL *ssl;
    struct berth_outbuf *out;
    struct berth_outpool *pool;
    const char *in; /* borrowed: what was fed */
    size_t in_len;
    bool dead;
};

/* ---- records come from `in` and go to `out` without a buffer of OpenSSL's between ---- */

static int
bio_read(BIO *b, char *at, int n)
{
    struct berth_tls *t = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    if (t->in_len == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t got = (size_t)n < t->in_len ? (size_t)n : t->in_len;
    memcpy(at, t->in, got);
    t->in += got;
    t->in_len -= got;
    return (int)got;
}

static int
bio_write(BIO *b, const char *at, int n)
{
    struct berth_tls *t = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    return berth_outbuf_put(t->out, t->pool, at, (size_t)n) ? n : -1;
}

static long
bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static int
bio_create(BIO *b)
{
    BIO_set_init(b, 1);
    return 1;
}

static BIO_METHOD *
bio_method_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "berth");

    if (m == NULL || !BIO_meth_set_read(m, bio_read) || !BIO_meth_set_write(m, bio_write) ||
        !BIO_meth_set_ctrl(m, bio_ctrl) || !BIO_meth_set_create(m, bio_create)) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

/* ---- a listener's side ---- */

/* Ours are HTTP/2 and HTTP/1.1, in this order; a client that offers neither is not for us. */
static int
select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len, const unsigned char *in,
            unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *picked;

    if (SSL_select_next_proto(&picked, ret_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = picked;
    return SSL_TLSEXT_ERR_OK;
}

static int
ssl_fault(struct berth_err *e, const char *what, const char *path)
{
    char text[160] = "unknown reason";
    /* The first says more than those that follow from it: of a file, what the system says. */
    const unsigned long code = ERR_peek_error();

    const char *why = ERR_SYSTEM_ERROR(code) ? strerrordesc_np(ERR_GET_REASON(code)) : NULL;

    if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return berth_err_set(e, BERTH_ECONFIG, "%s %s: %s", what, path, why != NULL ? why : text);
}

static int
load_files(SSL_CTX *ssl, const struct berth_tls_conf *conf, struct berth_err *e)
{
    const char *key = conf->key_path != NULL ? conf->key_path : conf->cert_path;

    if (SSL_CTX_use_certificate_chain_file(ssl, conf->cert_path) != 1)
        return ssl_fault(e, "TLS certificate", conf->cert_path);
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
        return ssl_fault(e, "TLS key", key);
    if (SSL_CTX_check_private_key(ssl) != 1)
        return ssl_fault(e, "TLS key does not belong to the certificate:", key);
    if (conf->client_ca_path == NULL)
        return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(conf->client_ca_path);
    if (names == NULL || SSL_CTX_load_verify_locations(ssl, conf->client_ca_path, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return ssl_fault(e, "TLS client authority", conf->client_ca_path);
    }
    SSL_CTX_set_client_CA_list(ssl, names); /* takes them */
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

static int
context_new(const struct berth_tls_conf *conf, SSL_CTX **ret, struct berth_err *e)
{
    static const unsigned char session_id[] = "berth";
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());

    if (ssl == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "TLS: out of memory");
    /* TLS 1.2 with the old ciphers is open to attacks, and HTTP/2 forbids them. */
    (void)SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    (void)SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20");
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                       SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_id_context(ssl, session_id, sizeof session_id - 1);
    (void)SSL_CTX_set_num_tickets(ssl, 1);
    SSL_CTX_set_alpn_select_cb(ssl, select_alpn, NULL);
    const int r = load_files(ssl, conf, e);
    if (r < 0)
        SSL_CTX_free(ssl);
    else
        *ret = ssl;
    return r;
}

int
berth_tls_side_new(const struct berth_tls_conf *conf, struct berth_tls_side **ret,
                   struct berth_err *e)
{
    struct berth_tls_side *s = calloc(1, sizeof *s);

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "TLS: out of memory");
    (void)pthread_mutex_init(&s->mu, NULL);
    s->bio = bio_method_new();
    const int r = s->bio != NULL ? context_new(conf, &s->ssl, e)
                                 : berth_err_set(e, BERTH_ENOMEM, "TLS: out of memory");
    if (r < 0)
        berth_tls_side_free(s);
    else
        *ret = s;
    return r;
}

int
berth_tls_side_renew(struct berth_tls_side *s, const struct berth_tls_conf *conf,
                     struct berth_err *e)
{
    SSL_CTX *ssl = NULL;
    const int r = context_new(conf, &ssl, e);

    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&s->mu);
    SSL_CTX *old = s->ssl;
    s->ssl = ssl;
    (void)pthread_mutex_unlock(&s->mu);
    SSL_CTX_free(old);
    return 0;
}

void
berth_tls_side_free(struct berth_tls_side *s)
{
    if (s == NULL)
        return;
    SSL_CTX_free(s->ssl);
    BIO_meth_free(s->bio);
    (void)pthread_mutex_destroy(&s->mu);
    free(s);
}

/* ---- a connection ---- */

struct berth_tls *
berth_tls_new(struct berth_tls_side *s, struct berth_outbuf *out, struct berth_outpool *pool)
{
    struct berth_tls *t = calloc(1, sizeof *t);
    BIO *bio = BIO_new(s->bio);

    (void)pthread_mutex_lock(&s->mu);
    SSL *ssl = SSL_new(s->ssl);
    (void)pthread_mutex_unlock(&s->mu);
    if (t == NULL || bio == NULL || ssl == NULL) {
        SSL_free(ssl);
        BIO_free(bio);
        free(t);
        ERR_clear_error();
        return NULL;
    }
    t->ssl = ssl;
    t->out = out;
    t->pool = pool;
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio); /* takes it */
    SSL_set_accept_state(t->ssl);
    return t;
}

void
berth_tls_free(struct berth_tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    free(t);
}

void
berth_tls_feed(struct berth_tls *t, const char *at, size_t n)
{
    berth_assert(t->in_len == 0);
    t->in = at;
    t->in_len = n;
}

int
berth_tls_read(struct berth_tls *t, char *at, size_t n)
{
    size_t got;

    if (t->dead) {
        t->in_len = 0;
        return -1;
    }
    ERR_clear_error(); /* the queue is the thread's; others' errors would be taken for ours */
    if (SSL_read_ex(t->ssl, at, n, &got) == 1)
        return got > INT32_MAX ? INT32_MAX : (int)got;
    int why = SSL_get_error(t->ssl, 0);
    if (why == SSL_ERROR_WANT_READ)
        return 0;
    ERR_clear_error();
    t->dead = true;
    t->in_len = 0;
    return -1;
}

int
berth_tls_write(struct berth_tls *t, const char *at, size_t n)
{
    size_t took;

    if (t->dead)
        return -1;
    if (!SSL_is_init_finished(t->ssl))
        return 0;
    ERR_clear_error();
    if (SSL_write_ex(t->ssl, at, n, &took) == 1)
        return (int)took;
    ERR_clear_error();
    t->dead = true;
    return -1;
}

bool
berth_tls_is_ready(const struct berth_tls *t)
{
    return SSL_is_init_finished(t->ssl) != 0;
}

bool
berth_tls_is_h2(const struct berth_tls *t)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(t->ssl, &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

void
berth_tls_bye(struct berth_tls *t)
{
    if (t->dead)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl); /* writes the alert; the answer is not waited for */
    ERR_clear_error();
}
