#include "net/test_client.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"

struct cert {
    char cert_path[64], key_path[64];
};

static void
cert_make(struct cert *c)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();

    assert_true(key != NULL && x != NULL);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(x), -60);
    (void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME *name = X509_get_subject_name(x);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                                     -1, -1, 0);
    (void)X509_set_issuer_name(x, name);
    (void)X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    (void)snprintf(c->cert_path, sizeof c->cert_path, "/tmp/berth-cert-XXXXXX");
    (void)snprintf(c->key_path, sizeof c->key_path, "/tmp/berth-key-XXXXXX");
    FILE *f = fdopen(mkstemp(c->cert_path), "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    (void)fclose(f);
    f = fdopen(mkstemp(c->key_path), "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void
cert_drop(struct cert *c)
{
    (void)unlink(c->cert_path);
    (void)unlink(c->key_path);
}

/* A connected client that offers `alpn` ("" is nothing); NULL when the handshake fails. */
static SSL *
tls_connect(uint16_t port, const char *alpn, const struct cert *own, int *ret_fd)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    if (own != NULL) {
        assert_int_equal(SSL_CTX_use_certificate_file(ctx, own->cert_path, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, own->key_path, SSL_FILETYPE_PEM), 1);
    }
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    assert_non_null(ssl);
    if (alpn[0] != '\0')
        (void)SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    *ret_fd = test_connect(port);
    (void)SSL_set_fd(ssl, *ret_fd);
    if (SSL_connect(ssl) != 1) {
        SSL_free(ssl);
        (void)close(*ret_fd);
        return NULL;
    }
    return ssl;
}

/* Sends a request and returns what comes back until the end. */
static void
tls_talk(SSL *ssl, const char *request, char *answer, size_t cap)
{
    size_t len = 0;
    int n;

    (void)SSL_write(ssl, request, (int)strlen(request));
    while (len < cap - 1 && (n = SSL_read(ssl, answer + len, (int)(cap - 1 - len))) > 0)
        len += (size_t)n;
    answer[len] = '\0';
}

static void
tls_speaks_both_protocols(void **unused)
{
    struct test_server t;
    struct test_client c;
    struct cert cert;
    char answer[2048];
    int fd;

    cert_make(&cert);
    const struct berth_tls_conf tls = {.cert_path = cert.cert_path, .key_path = cert.key_path};
    test_start(&t, test_conf(), 1, &tls, false);
    static const char *const old[] = {"\x08http/1.1", ""};
    for (size_t i = 0; i < BERTH_COUNT(old); i++) {
        SSL *ssl = tls_connect(t.port, old[i], NULL, &fd);
        assert_non_null(ssl);
        tls_talk(ssl, "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", answer,
                 sizeof answer);
        assert_non_null(strstr(answer, "200 OK"));
        assert_non_null(strstr(answer, "\r\n\r\nhello"));
        SSL_free(ssl);
        (void)close(fd);
    }
    SSL *ssl = tls_connect(t.port, "\x02h2\x08http/1.1", NULL, &fd);
    assert_non_null(ssl);
    test_client_open(&c, fd, ssl, 0);
    (void)test_client_run_requests(&c);
    test_client_close(&c);
    assert_null(tls_connect(t.port, "\x04nope", NULL, &fd));
    test_stop(&t);
    cert_drop(&cert);
}

/* The key that the server shows. */
static EVP_PKEY *
key_shown(SSL *ssl)
{
    X509 *x = SSL_get1_peer_certificate(ssl);
    assert_non_null(x);
    EVP_PKEY *key = X509_get_pubkey(x);
    X509_free(x);
    assert_non_null(key);
    return key;
}

struct renewal {
    struct test_server *t;
    const struct berth_tls_conf *tls;
    int r;
    struct berth_err e;
};

static void
renew(void *arg)
{
    struct renewal *x = arg;

    x->r = berth_server_renew_tls(x->t->server, 0, x->tls, &x->e);
}

static void
a_renewed_certificate_is_for_new_connections(void **unused)
{
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    SSL *all[3]; /* before, after files that do not fit each other, after the new ones */
    EVP_PKEY *keys[3];
    struct test_server t;
    struct cert old, new;
    char answer[2048];
    int fd[3];

    cert_make(&old);
    cert_make(&new);
    const struct berth_tls_conf conf[] = {{.cert_path = old.cert_path, .key_path = old.key_path},
                                          {.cert_path = new.cert_path, .key_path = old.key_path},
                                          {.cert_path = new.cert_path, .key_path = new.key_path}};
    test_start(&t, test_conf(), 2, &conf[0], false);
    for (size_t i = 0; i < BERTH_COUNT(all); i++) {
        struct renewal x = {.t = &t, .tls = &conf[i]};
        if (i > 0)
            berth_loop_call(t.loops[0], renew, &x);
        assert_int_equal(x.r, i == 1 ? -BERTH_ECONFIG : 0);
        all[i] = tls_connect(t.port, "", NULL, &fd[i]);
        assert_non_null(all[i]);
        keys[i] = key_shown(all[i]);
    }
    assert_int_equal(EVP_PKEY_eq(keys[0], keys[1]), 1);
    assert_int_equal(EVP_PKEY_eq(keys[0], keys[2]), 0);
    for (size_t i = 0; i < BERTH_COUNT(all); i++) { /* each is answered */
        tls_talk(all[i], request, answer, sizeof answer);
        assert_non_null(strstr(answer, "200 OK"));
        SSL_free(all[i]);
        (void)close(fd[i]);
        EVP_PKEY_free(keys[i]);
    }
    test_stop(&t);
    cert_drop(&old);
    cert_drop(&new);
}

static void
a_tls_client_that_leaves_is_noticed(void **unused)
{
    static const char request[] = "GET /hold/a HTTP/1.1\r\nHost: h\r\n\r\n";
    struct test_server t;
    struct cert cert;
    int fd;

    cert_make(&cert);
    const struct berth_tls_conf tls = {.cert_path = cert.cert_path, .key_path = cert.key_path};
    test_start(&t, test_conf(), 1, &tls, false);
    for (unsigned goodbye = 0; goodbye < 2; goodbye++) {
        SSL *ssl = tls_connect(t.port, "", NULL, &fd);
        assert_non_null(ssl);
        (void)SSL_write(ssl, request, sizeof request - 1);
        test_wait(&t, handled, goodbye + 1);
        if (goodbye > 0)
            (void)SSL_shutdown(ssl);
        SSL_free(ssl);
        (void)close(fd);
        test_wait(&t, gone, goodbye + 1);
    }
    test_stop(&t);
    cert_drop(&cert);
}

static void
plain_http_on_a_tls_port_is_told_so(void **unused)
{
    struct test_server t;
    struct cert cert;

    cert_make(&cert);
    const struct berth_tls_conf tls = {.cert_path = cert.cert_path, .key_path = cert.key_path};
    test_start(&t, test_conf(), 1, &tls, true);
    int fd = test_connect(t.port);
    test_send(fd, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", 32);
    char *answer = test_read(fd, NULL, NULL);
    assert_non_null(strstr(answer, "HTTP/1.1 400"));
    assert_non_null(strstr(answer, "use https"));
    free(answer);
    (void)close(fd);
    test_stop(&t);
    cert_drop(&cert);
}

static void
a_client_needs_its_certificate(void **unused)
{
    struct test_server t;
    struct cert cert, other;
    char answer[2048];
    int fd;

    cert_make(&cert);
    cert_make(&other);
    const struct berth_tls_conf tls = {
        .cert_path = cert.cert_path, .key_path = cert.key_path, .client_ca_path = cert.cert_path};
    const struct cert *const shown[] = {NULL, &other, &cert};
    test_start(&t, test_conf(), 1, &tls, false);
    for (size_t i = 0; i < BERTH_COUNT(shown); i++) {
        answer[0] = '\0';
        SSL *ssl = tls_connect(t.port, "", shown[i], &fd);
        if (ssl != NULL) { /* in TLS 1.3 the refusal comes after the client's handshake */
            tls_talk(ssl, "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", answer,
                     sizeof answer);
            SSL_free(ssl);
            (void)close(fd);
        }
        assert_int_equal(strstr(answer, "200 OK") != NULL, shown[i] == &cert);
    }
    test_stop(&t);
    cert_drop(&cert);
    cert_drop(&other);
}

static void
a_bad_certificate_is_named(void **unused)
{
    struct test_server t;
    struct berth_err e = {0};
    uint16_t port;

    test_start(&t, test_conf(), 1, NULL, false);
    const struct berth_listen_conf conf = {.host = "127.0.0.1",
                                           .tls = {.cert_path = "no-such.pem"}};
    assert_int_equal(berth_server_listen(t.server, &conf, &port, &e), -BERTH_ECONFIG);
    assert_non_null(strstr(e.msg, "no-such.pem"));
    test_stop(&t);
}

static void
a_slow_handshake_is_dropped(void **unused)
{
    struct berth_server_conf conf = test_conf();
    struct test_server t;
    struct cert cert;

    cert_make(&cert);
    const struct berth_tls_conf tls = {.cert_path = cert.cert_path, .key_path = cert.key_path};
    conf.head_timeout_ns = 50 * BERTH_MS;
    test_start(&t, conf, 1, &tls, false);
    int fd = test_connect(t.port);
    test_send(fd, "\x16\x03\x01", 3);
    size_t len;
    free(test_read(fd, NULL, &len));
    assert_int_equal(len, 0);
    (void)close(fd);
    test_stop(&t);
    cert_drop(&cert);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* the client writes to connections that the server closed */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_speaks_both_protocols),
        cmocka_unit_test(a_renewed_certificate_is_for_new_connections),
        cmocka_unit_test(a_tls_client_that_leaves_is_noticed),
        cmocka_unit_test(plain_http_on_a_tls_port_is_told_so),
        cmocka_unit_test(a_client_needs_its_certificate),
        cmocka_unit_test(a_bad_certificate_is_named),
        cmocka_unit_test(a_slow_handshake_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
