#include "net/test_support.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "net/client.h"
#include "net/test_front.h"
#include "net/test_peer.h"

/* The client over TLS: whom it believes, and that it never leaves TLS. */

struct site {
    struct test_server server;
    char cert[64], key[64];
    struct berth_buf cert_pem, key_pem; /* the same, in memory */
};

static void
write_pem(char path[64], X509 *x, EVP_PKEY *key)
{
    FILE *f = fdopen(mkstemp(path), "w");

    assert_non_null(f);
    assert_int_equal(x != NULL ? PEM_write_X509(f, x)
                               : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL),
                     1);
    (void)fclose(f);
}

static void
read_pem(const char *path, struct berth_buf *pem)
{
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    berth_buf_init(pem, NULL);
    char *to = berth_buf_reserve(pem, 8192);
    assert_non_null(to);
    pem->len = fread(to, 1, 8192, f);
    (void)fclose(f);
}

/* A server whose certificate for localhost nobody but itself has signed. */
static int
set_up(void **state)
{
    struct site *s = calloc(1, sizeof *s);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();

    assert_true(s != NULL && key != NULL && x != NULL);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(x), -60);
    (void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME *name = X509_get_subject_name(x);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                                     -1, -1, 0);
    (void)X509_set_issuer_name(x, name);
    (void)X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    (void)snprintf(s->cert, sizeof s->cert, "/tmp/berth-cert-XXXXXX");
    (void)snprintf(s->key, sizeof s->key, "/tmp/berth-key-XXXXXX");
    write_pem(s->cert, x, NULL);
    write_pem(s->key, NULL, key);
    X509_free(x);
    EVP_PKEY_free(key);
    read_pem(s->cert, &s->cert_pem);
    read_pem(s->key, &s->key_pem);
    const struct berth_tls_conf tls = {.cert_path = s->cert, .key_path = s->key};
    test_start(&s->server, test_conf(), 1, &tls, false);
    *state = s;
    return 0;
}

static int
tear_down(void **state)
{
    struct site *s = *state;

    test_stop(&s->server);
    (void)unlink(s->cert);
    (void)unlink(s->key);
    (void)unsetenv("SSL_CERT_FILE");
    berth_buf_fini(&s->cert_pem);
    berth_buf_fini(&s->key_pem);
    free(s);
    return 0;
}

static int
ask(const char *url, struct berth_client_answer *ret, struct berth_err *e)
{
    const struct berth_client_call call = {.url = url};
    struct berth_client *c;

    assert_int_equal(berth_client_new(&c, e), 0);
    e->msg[0] = '\0';
    const int r = berth_client_call(c, &call, ret, e);
    print_message("  %s: %d %s\n", url, r, e->msg);
    berth_client_free(c);
    return r;
}

static void
certificates_must_be_known_and_fit(void **state)
{
    const struct site *s = *state;
    struct berth_client_answer a;
    struct berth_err e;
    char url[64];

    (void)snprintf(url, sizeof url, "https://localhost:%u/hello", s->server.port);
    assert_int_equal(ask(url, &a, &e), -BERTH_ENETWORK); /* the system does not know it */
    assert_non_null(strstr(e.msg, "certificate"));
    assert_int_equal(setenv("SSL_CERT_FILE", s->cert, 1), 0);
    assert_int_equal(ask(url, &a, &e), 0);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.at, "hello");
    berth_buf_fini(&a.body);
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%u/hello", s->server.port);
    assert_int_equal(ask(url, &a, &e), -BERTH_ENETWORK); /* a certificate of another name */
}

/* What is passed on goes by the same rules, or by the file of the service that it goes to. */
static void
forwarding_believes_no_other(void **state)
{
    const struct site *s = *state;
    const struct {
        const char *origin, *ca, *gets;
    } cases[] = {
        {"https://localhost", NULL, "unreached"}, /* the system does not know it */
        {"https://localhost", s->cert, "hello"},
        {"https://127.0.0.1", s->cert, "unreached"}, /* a certificate of another name */
        {"https://localhost", "/nowhere.pem", "unreached"},
    };

    (void)unsetenv("SSL_CERT_FILE");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct front f = {.to = {.ca_path = cases[i].ca}};

        front_start(&f, cases[i].origin, s->server.port, NULL);
        for (int twice = 0; twice < 2; twice++) {
            char *got = front_ask(&f, FRONT_GET("/hello"));
            if (strstr(got, cases[i].gets) == NULL)
                fail_msg("%zu: %s (%s)", i, got, f.whys[0]);
            free(got);
        }
        front_stop(&f);
    }
}

static void
answer_moved(void *arg, int fd, unsigned n, const char *request)
{
    char text[256];

    (void)snprintf(text, sizeof text,
                   "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n",
                   (const char *)arg);
    test_peer_say(fd, text);
}

/* Plain HTTP may lead to TLS. */
static void
a_redirect_may_lead_into_tls(void **state)
{
    const struct site *s = *state;
    struct berth_client_answer a;
    struct berth_err e;
    char to[64], url[64];

    (void)snprintf(to, sizeof to, "https://localhost:%u/hello", s->server.port);
    struct test_peer peer = {.answer = answer_moved, .arg = to};
    assert_int_equal(setenv("SSL_CERT_FILE", s->cert, 1), 0);
    test_peer_start(&peer);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", peer.port);
    assert_int_equal(ask(url, &a, &e), 0);
    test_peer_stop(&peer);
    assert_string_equal(a.body.at, "hello");
    berth_buf_fini(&a.body);
}

/* ---- what the caller says about the other side, and about itself ---- */

static struct berth_slice
slice_of(const struct berth_buf *b)
{
    return (struct berth_slice){b->at, b->len};
}

static void
the_caller_says_whom_to_believe(void **state)
{
    const struct site *s = *state;
    const struct berth_slice pem = slice_of(&s->cert_pem);
    const struct berth_client_tls by_pem = {.ca_pem = pem}, by_file = {.ca_file = s->cert};
    const struct berth_client_tls system = {.ca_file = NULL}, anybody = {.unverified = true};
    const struct berth_client_tls bad_pem = {.ca_pem = BERTH_SLICE("no certificate")};
    const struct berth_client_tls no_file = {.ca_file = "/nowhere/ca.pem"};
    const struct berth_client_tls no_cert = {.ca_pem = pem, .cert_file = "/nowhere/c.pem"};
    const struct berth_client_tls bad_key = {
        .ca_pem = pem, .cert_pem = pem, .key_pem = BERTH_SLICE("no key")};
    const struct {
        const char *host, *connect_to;
        const struct berth_client_tls *tls;
        int want;
    } cases[] = {
        {"localhost", NULL, &by_pem, 0},
        {"localhost", NULL, &by_file, 0},
        {"localhost", NULL, &system, -BERTH_ENETWORK}, /* its list does not hold it */
        {"127.0.0.1", NULL, &by_pem, -BERTH_ENETWORK}, /* another name */
        {"127.0.0.1", NULL, &anybody, 0},
        {"localhost", "127.0.0.1", &by_pem, 0},
        {"example.test", "127.0.0.1", &by_pem, -BERTH_ENETWORK},
        {"localhost", NULL, &bad_pem, -BERTH_ECONFIG},
        {"localhost", NULL, &no_file, -BERTH_ECONFIG},
        {"localhost", NULL, &no_cert, -BERTH_ECONFIG},
        {"localhost", NULL, &bad_key, -BERTH_ECONFIG},
    };

    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_client_answer a;
        struct berth_client *c;
        struct berth_err e = {{0}};
        char url[64], to[64];
        (void)snprintf(url, sizeof url, "https://%s:%u/hello", cases[i].host, s->server.port);
        (void)snprintf(to, sizeof to, "%s:%u", cases[i].connect_to, s->server.port);
        const struct berth_client_call call = {
            .url = url, .tls = cases[i].tls, .connect_to = cases[i].connect_to != NULL ? to : NULL};
        assert_int_equal(berth_client_new(&c, &e), 0);
        const int r = berth_client_call(c, &call, &a, &e);
        print_message("  %zu: %d %s\n", i, r, e.msg);
        assert_int_equal(r, cases[i].want);
        if (r == 0)
            berth_buf_fini(&a.body);
        berth_client_free(c);
    }
}

/* A TLS server of one request, which asks who comes: the answer is that name. */
struct asker {
    SSL_CTX *ctx;
};

static void
answer_name(void *arg, int fd, unsigned n, const char *request)
{
    const struct asker *asker = arg;
    SSL *ssl = SSL_new(asker->ctx);
    char name[64] = "nobody", text[192], got[2048];

    assert_non_null(ssl);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    if (SSL_accept(ssl) == 1 && SSL_read(ssl, got, sizeof got) > 0) {
        X509 *peer = SSL_get1_peer_certificate(ssl);
        if (peer != NULL)
            (void)X509_NAME_get_text_by_NID(X509_get_subject_name(peer), NID_commonName, name,
                                            sizeof name);
        X509_free(peer);
        const int len =
            snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(name), name);
        (void)SSL_write(ssl, text, len);
        (void)SSL_shutdown(ssl);
    }
    SSL_free(ssl);
}

/* Shown from files and from memory; not to a host that somebody else named. */
static void
an_identity_is_shown_to_who_asks(void **state)
{
    const struct site *s = *state;
    struct asker asker = {.ctx = SSL_CTX_new(TLS_server_method())};
    const struct berth_client_tls tls[] = {
        {.ca_file = s->cert, .cert_file = s->cert, .key_file = s->key},
        {.ca_pem = slice_of(&s->cert_pem),
         .cert_pem = slice_of(&s->cert_pem),
         .key_pem = slice_of(&s->key_pem)},
        {.ca_file = s->cert},
    };
    static const char *const names[] = {"localhost", "localhost", "nobody"};

    assert_non_null(asker.ctx);
    assert_int_equal(SSL_CTX_use_certificate_file(asker.ctx, s->cert, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(asker.ctx, s->key, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_load_verify_file(asker.ctx, s->cert), 1);
    SSL_CTX_set_verify(asker.ctx, SSL_VERIFY_PEER, NULL);
    for (size_t i = 0; i < BERTH_COUNT(tls); i++) {
        struct test_peer peer = {.answer = answer_name, .arg = &asker, .silent = true};
        struct berth_client_answer a;
        struct berth_client *c;
        struct berth_err e = {{0}};
        char url[64];
        test_peer_start(&peer);
        (void)snprintf(url, sizeof url, "https://localhost:%u/", peer.port);
        const struct berth_client_call call = {.url = url, .tls = &tls[i]};
        assert_int_equal(berth_client_new(&c, &e), 0);
        const int r = berth_client_call(c, &call, &a, &e);
        print_message("  %zu: %d %s\n", i, r, e.msg);
        assert_int_equal(r, 0);
        assert_string_equal(a.body.at, names[i]);
        berth_buf_fini(&a.body);
        berth_client_free(c);
        test_peer_stop(&peer);
    }
    SSL_CTX_free(asker.ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(certificates_must_be_known_and_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forwarding_believes_no_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_redirect_may_lead_into_tls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_caller_says_whom_to_believe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_identity_is_shown_to_who_asks, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
