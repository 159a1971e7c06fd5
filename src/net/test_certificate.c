#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "net/certificate.h"

/* Three files in a folder of the test's own. */
struct files {
    char dir[64], ca[96], cert[96], key[96], bearer[96];
    struct berth_certificate_paths at;
};

static void
files_init(struct files *f)
{
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/berth-cert-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->ca, sizeof f->ca, "%s/ca.pem", f->dir);
    (void)snprintf(f->cert, sizeof f->cert, "%s/cert.pem", f->dir);
    (void)snprintf(f->key, sizeof f->key, "%s/key.pem", f->dir);
    (void)snprintf(f->bearer, sizeof f->bearer, "%s/api.key", f->dir);
    f->at = (struct berth_certificate_paths){f->ca, f->cert, f->key};
}

static void
files_fini(struct files *f)
{
    (void)unlink(f->ca);
    (void)unlink(f->cert);
    (void)unlink(f->key);
    (void)unlink(f->bearer);
    assert_int_equal(rmdir(f->dir), 0); /* nothing else was left */
}

static void
write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static const char *const hosts[] = {"localhost", "127.0.0.1", "::1", "llm.example.com", NULL};

static void
what_is_made_belongs_together(void **unused)
{
    struct berth_certificate seen;
    struct berth_err e = {""};
    struct files f;
    struct stat st;

    (void)unused;
    files_init(&f);
    assert_int_equal(berth_certificate_make(hosts, 30, &f.at, &e), 0);
    assert_int_equal(stat(f.key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(berth_certificate_check(&f.at, &seen, &e), 0);
    assert_int_equal(strlen(seen.sha256), 64);
    assert_in_range(seen.seconds_left, 29 * 86400, 30 * 86400);
    files_fini(&f);
}

static void
what_does_not_belong_together_is_refused(void **unused)
{
    struct berth_certificate seen;
    struct berth_err e = {""};
    struct files f, other;

    (void)unused;
    files_init(&f);
    files_init(&other);
    assert_int_equal(berth_certificate_make(hosts, 30, &f.at, &e), 0);
    assert_int_equal(berth_certificate_make(hosts, 30, &other.at, &e), 0);
    const struct {
        const char *why, *ca, *cert, *key, *words;
    } cases[] = {
        {"another key", f.ca, f.cert, other.key, "is not the key of"},
        {"another authority", other.ca, f.cert, f.key, "does not vouch for it"},
        {"a key is no certificate", f.ca, f.key, f.key, "is no certificate in PEM"},
        {"a certificate is no key", f.ca, f.cert, f.cert, "is no private key in PEM"},
        {"a folder is no file", f.ca, f.dir, f.key, "is no file"},
        {"nothing is there", f.ca, f.bearer, f.key, "No such file"},
    };
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_certificate_paths at = {cases[i].ca, cases[i].cert, cases[i].key};

        print_message("  %s\n", cases[i].why);
        assert_true(berth_certificate_check(&at, &seen, &e) < 0);
        assert_non_null(strstr(e.msg, cases[i].words));
    }
    /* A certificate may be its own authority: pinned. */
    const struct berth_certificate_paths pinned = {f.cert, f.cert, f.key};
    assert_int_equal(berth_certificate_check(&pinned, &seen, &e), 0);
    files_fini(&other);
    files_fini(&f);
}

static void
hosts_are_names_or_addresses(void **unused)
{
    static const char *const bad[][2] = {
        {"", NULL}, {"a b", NULL}, {"a,DNS:b", NULL}, {"x\n", NULL}, {NULL, NULL}};
    struct berth_err e = {""};
    struct files f;

    (void)unused;
    files_init(&f);
    for (size_t i = 0; i < BERTH_COUNT(bad); i++)
        assert_int_equal(berth_certificate_make(bad[i], 30, &f.at, &e), -BERTH_EINVAL);
    files_fini(&f);
}

static void
keys_are_made_once_and_read(void **unused)
{
    char first[BERTH_BEARER_MAX], again[BERTH_BEARER_MAX];
    struct berth_err e = {""};
    struct files f;
    struct stat st;

    (void)unused;
    files_init(&f);
    assert_int_equal(berth_bearer_make(f.bearer, " user", &e), 0);
    assert_int_equal(stat(f.bearer, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, BERTH_BEARER_MADE - 1 + strlen(" user\n"));
    assert_int_equal(berth_bearer_read(f.bearer, first, &e), 0);
    assert_int_equal(strlen(first), BERTH_BEARER_MADE - 1);
    assert_int_equal(berth_bearer_make(f.bearer, " user", &e), 0);
    assert_int_equal(berth_bearer_read(f.bearer, again, &e), 0);
    assert_string_equal(first, again);
    write_text(f.bearer, "  s3cret admin ann\nother\n");
    assert_int_equal(berth_bearer_read(f.bearer, again, &e), 0);
    assert_string_equal(again, "s3cret");
    write_text(f.bearer, " \n ");
    assert_int_equal(berth_bearer_read(f.bearer, again, &e), -BERTH_EINVAL);
    write_text(f.bearer, "a\x01z");
    assert_int_equal(berth_bearer_read(f.bearer, again, &e), -BERTH_EINVAL);
    assert_null(strstr(e.msg, "a\x01z")); /* nothing of it is shown */
    files_fini(&f);
    assert_int_equal(berth_bearer_read(f.bearer, again, &e), -BERTH_EIO);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_belongs_together),
        cmocka_unit_test(what_does_not_belong_together_is_refused),
        cmocka_unit_test(hosts_are_names_or_addresses),
        cmocka_unit_test(keys_are_made_once_and_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
