#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugin/extension.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void
a_sum_is_found_by_its_name(void **unused)
{
    static const struct {
        const char *why, *list, *want; /* NULL: none */
    } cases[] = {
        {"as sha256sum writes it", A "  x.so\n", A},
        {"a binary file", A " *x.so\n", A},
        {"the last line without an end", B "  y.so\n" A "  x.so", A},
        {"lines of Windows", B "  y.so\r\n" A "  x.so\r\n", A},
        {"tabs", A "\tx.so\n", A},
        {"the first of two", A "  x.so\n" B "  x.so\n", A},
        {"capitals", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  x.so\n", A},
        {"a line that has no sum", "#  x.so\n" A "  x.so\n", A},
        {"another name", A "  y.so\n", NULL},
        {"a name that ends so", A "  dir/x.so\n", NULL},
        {"a name that begins so", A "  x.so.old\n", NULL},
        {"too short", "aaaa  x.so\n", NULL},
        {"too long", A "a  x.so\n", NULL},
        {"no hex", "g" A "  x.so\n", NULL},
        {"no sum", "  x.so\n", NULL},
        {"no name", A "\n", NULL},
        {"blanks", "\n\n   \n", NULL},
        {"nothing", "", NULL},
    };
    char long_line[9000];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char got[BERTH_DIGEST_HEX] = "";
        const bool found = berth_extension_listed(berth_slice_of(cases[i].list), "x.so", got);
        if (found != (cases[i].want != NULL) || (found && strcmp(got, cases[i].want) != 0))
            fail_msg("%s: %d %s", cases[i].why, found, got);
    }
    /* What stands far behind in a line is no line of its own. */
    memset(long_line, 'c', sizeof long_line);
    memcpy(long_line + 4095, A "  x.so\n", sizeof A "  x.so\n");
    char got[BERTH_DIGEST_HEX];
    assert_false(berth_extension_listed(berth_slice_of(long_line), "x.so", got));
    assert_false(berth_extension_listed(BERTH_SLICE(A "  \n"), "", got));
}

static void
an_answer_is_understood(void **unused)
{
    static const struct {
        const char *why, *answer;
        int status, want; /* status: as wait() tells it */
        const char *said; /* the name, or part of the message */
    } cases[] = {
        {"it is fine", "ok docker\n", 0, 0, "docker"},
        {"every kind of letter", "ok a-b_9\nmore", 0, 0, "a-b_9"},
        {"it answered and died", "ok docker\n", 6, -BERTH_EINVAL, "signal 6"},
        {"it died", "", 11, -BERTH_EINVAL, "signal 11"},
        {"it said nothing", "", 0, -BERTH_EINVAL, "without an answer"},
        {"half an answer", "ok dock", 0, -BERTH_EINVAL, "without an answer"},
        {"no name", "ok \n", 0, -BERTH_EABI, "its name"},
        {"a path", "ok ../x\n", 0, -BERTH_EABI, "its name"},
        {"capitals", "ok Docker\n", 0, -BERTH_EABI, "its name"},
        {"an ABI", "-8 no symbol\n", 0, -BERTH_EINVAL, "x.so: no symbol"},
        {"a number alone", "3\n", 0, -BERTH_EINVAL, "it cannot be had"},
        {"something else", "hello\n", 0, -BERTH_EINVAL, "it cannot be had"},
        {"a code of none", "999999999999999999999 odd\n", 0, -BERTH_EINVAL, ": odd"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char answer[200], name[BERTH_EXTENSION_NAME_MAX + 1] = "";
        struct berth_err e = {""};

        (void)snprintf(answer, sizeof answer, "%s", cases[i].answer);
        const int r = berth_extension_answer("x.so", answer, cases[i].status, name, &e);
        if (r != cases[i].want || strstr(r == 0 ? name : e.msg, cases[i].said) == NULL)
            fail_msg("%s: %d %s %s", cases[i].why, r, name, e.msg);
    }
    char long_name[200] = "ok ", name[BERTH_EXTENSION_NAME_MAX + 1];
    struct berth_err e;
    memset(long_name + 3, 'a', 65);
    long_name[68] = '\n';
    assert_int_equal(berth_extension_answer("x.so", long_name, 0, name, &e), -BERTH_EABI);
    char code[40];
    (void)snprintf(code, sizeof code, "%d another ABI\n", BERTH_EABI);
    assert_int_equal(berth_extension_answer("x.so", code, 0, name, &e), -BERTH_EABI);
    assert_string_equal(e.msg, "x.so: another ABI");
}

static void
a_path_that_is_no_file_is_its_givers_fault(void **unused)
{
    char folder[] = "/tmp/berth-extension-XXXXXX", loop[64], name[5001];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)unused;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(loop, sizeof loop, "%s/loop", folder);
    assert_int_equal(symlink(loop, loop), 0);
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s/socket", folder);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    name[0] = '/';
    const struct {
        const char *path;
        int want;
    } cases[] = {
        {loop, -BERTH_EINVAL},   {at.sun_path, -BERTH_EINVAL},   {name, -BERTH_EINVAL},
        {folder, -BERTH_EINVAL}, {"/dev/null/x", -BERTH_EINVAL}, {"/nonesuch", -BERTH_ENOENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char sum[BERTH_DIGEST_HEX];
        struct berth_err e = {""};
        int got = -1;

        if (berth_extension_copy(cases[i].path, &got, sum, &e) != cases[i].want)
            fail_msg("%.60s: %s", cases[i].path, e.msg);
    }
    (void)close(fd);
    (void)unlink(loop);
    (void)unlink(at.sun_path);
    (void)rmdir(folder);
}

static void
a_file_that_may_not_be_read_is_told_with_what_to_do(void **unused)
{
    char folder[] = "/tmp/berth-extension-XXXXXX", closed[64], within[80];
    struct berth_err e = {""};
    char sum[BERTH_DIGEST_HEX];
    int fd;

    (void)unused;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(closed, sizeof closed, "%s/closed", folder);
    (void)snprintf(within, sizeof within, "%s/x.so", closed);
    assert_int_equal(mkdir(closed, 0), 0);
    const uid_t me = geteuid();
    if (me == 0) /* whom nothing is closed to */
        assert_int_equal(seteuid(65534), 0);
    const int r = berth_extension_copy(within, &fd, sum, &e);
    assert_int_equal(seteuid(me), 0);
    assert_int_equal(r, -BERTH_EPERM);
    assert_non_null(strstr(e.msg, within));
    assert_non_null(strstr(e.msg, "let the user that runs this program read it"));
    (void)rmdir(closed);
    (void)rmdir(folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_is_found_by_its_name),
        cmocka_unit_test(an_answer_is_understood),
        cmocka_unit_test(a_path_that_is_no_file_is_its_givers_fault),
        cmocka_unit_test(a_file_that_may_not_be_read_is_told_with_what_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
