#include "net/test_support.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <unistd.h>

#include "net/client.h"
#include "net/test_front.h"
#include "net/test_peer.h"

/* The client over TLS: whom it believes, and that it never leaves TLS. */

struct site {
    struct test_server server;
    char cert[64], key[64];
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(certificates_must_be_known_and_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forwarding_believes_no_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_redirect_may_lead_into_tls, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
