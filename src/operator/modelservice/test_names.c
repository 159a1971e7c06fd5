#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "operator/modelservice/artifacts.h"
#include "operator/modelservice/names.h"

/* ---- names ---- */

static void
any_text_becomes_a_label(void **unused)
{
    static const struct {
        const char *text, *label;
    } cases[] = {{"plain", "plain"},
                 {"Meta/Llama-3.1_8B", "meta-llama-3-1-8b"},
                 {"  spaces around ", "spaces-around"},
                 {"a..//__b", "a-b"},
                 {"a--b", "a--b"},
                 {"-.-x-.-", "x"},
                 {"\xe6\x97\xa5\xe6\x9c\xac", ""},
                 {"", ""},
                 {"7b", "7b"}};
    char got[BERTH_MSVC_NAME_MAX];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        berth_msvc_sanitize(cases[i].text, strlen(cases[i].text), got);
        assert_string_equal(got, cases[i].label);
    }
}

static void
is_label(const char *name)
{
    const size_t n = strlen(name);

    assert_in_range(n, 1, 63);
    assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-"), n);
    assert_int_not_equal(name[0], '-');
    assert_int_not_equal(name[n - 1], '-');
}

/* Whatever the service is called: labels, all different (but for the account and others of kinds of
 * their own), and another service's are others. */
static void
names_of_children_never_meet(void **unused)
{
    static const enum berth_msvc_child apart[] = {
        BERTH_MSVC_PREFILL_DEPLOYMENT, BERTH_MSVC_DECODE_DEPLOYMENT, BERTH_MSVC_EPP_DEPLOYMENT,
        BERTH_MSVC_PREFILL_SERVICE,    BERTH_MSVC_DECODE_SERVICE,    BERTH_MSVC_EPP_SERVICE};
    static const enum berth_msvc_child groups[] = {BERTH_MSVC_PREFILL_LWS, BERTH_MSVC_DECODE_LWS};
    struct berth_msvc_names x, y;
    char a[254], b[254];

    (void)unused;
    for (size_t len = 1; len <= 253; len++) {
        memset(a, 'n', len);
        a[len] = '\0';
        memcpy(b, a, sizeof b);
        b[len - 1] = 'm'; /* they differ in the last letter alone */
        berth_msvc_names_of(a, "m", &x);
        berth_msvc_names_of(b, "m", &y);
        for (size_t i = 0; i < sizeof apart / sizeof *apart; i++) {
            is_label(x.of[apart[i]]);
            assert_string_not_equal(x.of[apart[i]], y.of[apart[i]]);
            for (size_t j = 0; j < i; j++)
                assert_string_not_equal(x.of[apart[i]], x.of[apart[j]]);
        }
        for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
            is_label(x.of[groups[i]]);
            assert_string_not_equal(x.of[groups[i]], y.of[groups[i]]);
            assert_in_range(strlen(x.of[groups[i]]), 1, 46); /* what it makes has longer names */
            if (strlen(x.of[apart[i]]) <= 46)
                assert_string_equal(x.of[groups[i]], x.of[apart[i]]);
        }
    }
}

static void
names_are_those_of_the_original(void **unused)
{
    struct berth_msvc_names n;

    (void)unused;
    berth_msvc_names_of("granite3.2", "Org/Model-1.0", &n);
    assert_string_equal(n.of[BERTH_MSVC_PREFILL_DEPLOYMENT], "granite3-2-prefill");
    assert_string_equal(n.of[BERTH_MSVC_DECODE_SERVICE], "granite3-2-service-decode");
    assert_string_equal(n.of[BERTH_MSVC_PD_ACCOUNT], "granite3-2-sa");
    assert_string_equal(n.of[BERTH_MSVC_EPP_ROLE_BINDING], "granite3-2-epp-rolebinding");
    assert_string_equal(n.of[BERTH_MSVC_HTTP_ROUTE], "granite3-2-http-route");
    assert_string_equal(n.of[BERTH_MSVC_POOL], "granite3-2-inference-pool");
    assert_string_equal(n.of[BERTH_MSVC_MODEL], "granite3.2");
    assert_string_equal(n.model, "org-model-1-0");
    /* A Service's name begins with a letter; the others may begin with a digit. */
    berth_msvc_names_of("7b", "7b", &n);
    assert_string_equal(n.of[BERTH_MSVC_DECODE_SERVICE], "s-7b-service-decode");
    assert_string_equal(n.of[BERTH_MSVC_DECODE_DEPLOYMENT], "7b-decode");
    /* A label is never empty. */
    berth_msvc_names_of("x", "\xe6\x97\xa5", &n);
    assert_int_equal(strncmp(n.model, "m-", 2), 0);
}

/* ---- where models come from ---- */

static void
a_uri_says_where_a_model_comes_from(void **unused)
{
    static const struct {
        const char *uri;
        int r;
        struct berth_msvc_artifact want;
    } cases[] = {
        {"hf://facebook/opt",
         0,
         {BERTH_MSVC_HF, "facebook/opt", "facebook/opt", "", "", "", "", true, "/model-cache"}},
        {"pvc://c/a/b", 0, {BERTH_MSVC_PVC, "", "a/b", "c", "", "", "", true, "/model-cache/a/b"}},
        {"pvc+hf://c/hub/cache/org/m",
         0,
         {BERTH_MSVC_PVC_HF, "org/m", "org/m", "c", "hub/cache", "", "", true,
          "/model-cache/hub/cache"}},
        {"pvc+hf://c/org/m",
         0,
         {BERTH_MSVC_PVC_HF, "org/m", "org/m", "c", "", "", "", true, "/model-cache"}},
        {"oci://r.example/m:1",
         0,
         {BERTH_MSVC_OCI, "", "", "", "", "r.example/m:1", "", true, "/model-cache"}},
        {"oci://r.example/m:1::/models/x",
         0,
         {BERTH_MSVC_OCI, "", "models/x", "", "", "r.example/m:1", "", true,
          "/model-cache/models/x"}},
        /* Empty parts, as llm-d takes them. */
        {"hf:///b", 0, {BERTH_MSVC_HF, "/b", "/b", "", "", "", "", true, "/model-cache"}},
        {"hf://a/", 0, {BERTH_MSVC_HF, "a/", "a/", "", "", "", "", true, "/model-cache"}},
        {"pvc://c/", 0, {BERTH_MSVC_PVC, "", "", "c", "", "", "", true, "/model-cache/"}},
        /* What llm-d makes of them, and what is wrong with it. */
        {"hf://one",
         0,
         {BERTH_MSVC_HF, "one", "one", "", "", "", "no model", false, BERTH_MSVC_MOUNT}},
        {"hf://a/b/c",
         0,
         {BERTH_MSVC_HF, "a/b/c", "a/b/c", "", "", "", "no model", false, BERTH_MSVC_MOUNT}},
        {"pvc://c", 0, {BERTH_MSVC_PVC, "", "", "", "", "", "no path", false, ""}},
        {"pvc:///a", 0, {BERTH_MSVC_PVC, "", "a", "", "", "", "no claim", true, "/model-cache/a"}},
        {"pvc://c/../x",
         0,
         {BERTH_MSVC_PVC, "", "../x", "c", "", "", "\"..\"", true, BERTH_MSVC_MOUNT "/../x"}},
        {"oci://r/m:1::../x",
         0,
         {BERTH_MSVC_OCI, "", "../x", "", "", "r/m:1", "\"..\"", true, BERTH_MSVC_MOUNT "/../x"}},
        {"pvc+hf://c/m", -BERTH_EINVAL, {0}},
        {"pvc+hf://c/a//", -BERTH_EINVAL, {0}},
        {"oci://", -BERTH_EINVAL, {0}},
        {"oci://::x", -BERTH_EINVAL, {0}},
        {"HF://a/b", -BERTH_EINVAL, {0}},
        {"", -BERTH_EINVAL, {0}},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct berth_msvc_artifact *want = &cases[i].want;
        struct berth_msvc_artifact got;
        struct berth_err e = {""};
        struct berth_arena a;
        berth_arena_init(&a, 1 << 20);
        if (berth_msvc_artifact_parse(cases[i].uri, &a, &got, &e) != cases[i].r)
            fail_msg("%s: %s", cases[i].uri, e.msg);
        if (cases[i].r == 0) {
            assert_int_equal(got.source, want->source);
            assert_string_equal(got.hf_model, want->hf_model);
            assert_string_equal(got.model_path, want->model_path);
            assert_string_equal(got.claim, want->claim);
            assert_string_equal(got.hub_path, want->hub_path);
            assert_string_equal(got.image, want->image);
            assert_string_equal(got.mounted, want->mounted);
            assert_int_equal(got.has_volume, want->has_volume);
            assert_int_equal(got.flaw[0] != '\0', want->flaw[0] != '\0');
            assert_non_null(strstr(got.flaw, want->flaw));
        } else {
            assert_string_not_equal(e.msg, "");
        }
        berth_arena_fini(&a);
    }
}

static void
others_have_names_that_they_may_have(void **unused)
{
    char longest[255];
    static const struct {
        const char *name;
        bool secret, role;
    } cases[] = {
        {"a", true, true},     {"a.b-c.0", true, true},      {"", false, false},
        {"B_", false, true},   {"-a", false, true},          {"a-", false, true},
        {"a..b", false, true}, {".", false, false},          {"..", false, false},
        {"...", false, true},  {"Foo Bar/x", false, false},  {"50%", false, false},
        {"a b", false, true},  {"system:node", false, true}, {"a/b", false, false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        assert_int_equal(berth_msvc_is_secret(cases[i].name), cases[i].secret);
        assert_int_equal(berth_msvc_is_cluster_role(cases[i].name), cases[i].role);
    }
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_false(berth_msvc_is_secret(longest));
    longest[253] = '\0';
    assert_true(berth_msvc_is_secret(longest));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_text_becomes_a_label),
        cmocka_unit_test(names_of_children_never_meet),
        cmocka_unit_test(names_are_those_of_the_original),
        cmocka_unit_test(a_uri_says_where_a_model_comes_from),
        cmocka_unit_test(others_have_names_that_they_may_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
