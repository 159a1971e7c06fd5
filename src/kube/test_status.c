#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/utf8.h"
#include "kube/status.h"
#include "wire/json.h"

#define MORE "\xe2\x80\xa6"
static const struct berth_kube_asked asked = {.what = "apply Deployment models/opt-decode",
                                              .user = "me"};

/* What is told of a Status whose message is `begin` and then `of`, count times. */
static void
tell(struct berth_arena *a, uint16_t code, const char *begin, const char *of, size_t count,
     struct berth_err *e)
{
    const struct berth_json *body = NULL;
    struct berth_buf b;

    berth_buf_init(&b, a);
    berth_buf_printf(&b, "{\"reason\":\"Because\",\"message\":\"%s", begin);
    for (size_t i = 0; i < count; i++)
        berth_buf_puts(&b, of);
    berth_buf_puts(&b, "\",\"details\":{\"causes\":[{\"field\":\"spec.x\",\"message\":\"why\"}]}}");
    assert_int_equal(berth_json_parse(a, b.at, b.len, NULL, &body, e), 0);
    assert_true(berth_kube_status_error(code, 0, body, &asked, NULL, e) < 0);
    print_message("    %s\n", e->msg);
}

static bool
ends_with(const char *text, const char *end)
{
    const size_t len = strlen(text), n = strlen(end);

    return len >= n && strcmp(text + len - n, end) == 0;
}

/* It ends with a whole character and an ellipsis; what to do comes behind, whole. */
static void
long_messages_say_that_they_go_on(void **unused)
{
    static const struct {
        const char *why, *of, *end;
        size_t count;
    } cases[] = {
        {"short", "a", "aaa -- spec.x: why", 10},
        {"with the cause cut off", "a", "aaa -- spec" MORE, 305},
        {"too long", "a", "aaa" MORE, 330},
        {"of two bytes each", "\xc3\xa9", "\xc3\xa9" MORE, 250},
        {"of four bytes each", "\xf0\x9f\x90\x8b", "\xf0\x9f\x90\x8b" MORE, 200},
    };
    /* However the characters lie. */
    static const char *const begins[] = {"", "b", "bb", "bbb"};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        print_message("  %s\n", cases[i].why);
        for (size_t j = 0; j < BERTH_COUNT(begins); j++) {
            struct berth_arena a;
            struct berth_err e = {""};
            berth_arena_init(&a, 1 << 20);
            tell(&a, 422, begins[j], cases[i].of, cases[i].count, &e);
            assert_true(berth_utf8_valid(e.msg, strlen(e.msg)));
            assert_true(i == 1 || ends_with(e.msg, cases[i].end));
            assert_int_equal(strstr(e.msg, MORE) != NULL, i > 0);
            tell(&a, 403, "x cannot get y: ", cases[i].of, cases[i].count, &e);
            assert_true(berth_utf8_valid(e.msg, strlen(e.msg)));
            assert_true(ends_with(e.msg, "shows what is allowed)"));
            /* Also with something in front of it. */
            (void)berth_err_wrap(&e, -1, "ModelService models/opt, in the second look");
            assert_true(ends_with(e.msg, "shows what is allowed)"));
            berth_arena_fini(&a);
        }
    }
}

/* A name as long as there may be leaves room for what the server says. */
static void
long_names_leave_room(void **unused)
{
    const struct berth_json *body = NULL;
    struct berth_arena a;
    char name[256];
    const struct berth_kube_asked long_asked = {.what = name};
    struct berth_err e;

    (void)unused;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    berth_arena_init(&a, 1 << 20);
    static const char text[] =
        "{\"message\":\"x cannot get resource y in the namespace z of them\"}";
    assert_int_equal(berth_json_parse(&a, text, sizeof text - 1, NULL, &body, &e), 0);
    assert_int_equal(berth_kube_status_error(403, 0, body, &long_asked, NULL, &e), -BERTH_EPERM);
    assert_non_null(strstr(e.msg, "x cannot get resource y"));
    berth_arena_fini(&a);
}

/* Whoever has a role of its own says how it is mended; quotas are no matter of roles. */
static void
missing_rights_are_mended_as_the_caller_says(void **unused)
{
    static const char role[] = "; apply the role", name[] = "; name the role";
    static const struct {
        const char *message, *told;
    } cases[] = {
        {"services is forbidden: User \\\"x\\\" cannot list resource \\\"services\\\" at the "
         "cluster scope",
         role},
        {"rolebindings \\\"b\\\" is forbidden: user \\\"x\\\" is attempting to grant RBAC "
         "permissions",
         name},
        {"pods \\\"p\\\" is forbidden: exceeded quota: q", "exceeded quota: q"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_kube_asked of_role = {.what = "list", .denied = role, .ungranted = name};
        const struct berth_json *body = NULL;
        struct berth_buf text;
        struct berth_arena a;
        struct berth_err e;
        berth_arena_init(&a, 1 << 20);
        berth_buf_init(&text, &a);
        berth_buf_printf(&text, "{\"message\":\"%s\"}", cases[i].message);
        assert_int_equal(berth_json_parse(&a, text.at, text.len, NULL, &body, &e), 0);
        assert_int_equal(berth_kube_status_error(403, 0, body, &of_role, NULL, &e), -BERTH_EPERM);
        print_message("  %s\n", e.msg);
        assert_true(ends_with(e.msg, cases[i].told));
        assert_null(strstr(e.msg, "RoleBinding)"));
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_messages_say_that_they_go_on),
        cmocka_unit_test(long_names_leave_room),
        cmocka_unit_test(missing_rights_are_mended_as_the_caller_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
