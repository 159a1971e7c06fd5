#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugin/plugins.h"

/* Where the build left the plugins of this test: berth-NAME.so, see meson.build. */
static char good_dir[4096], dir[] = "/tmp/berth-plugins-XXXXXX";

static const struct berth_host host = {.struct_size = sizeof host};

static void
put_file(const char *name, const char *text)
{
    char path[128];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

static struct berth_plugins *
all_plugins(void)
{
    const char *const dirs[] = {"/nowhere", dir, good_dir, NULL};
    struct berth_plugins *p;
    struct berth_err e = {""};

    if (berth_plugins_new(dirs, &host, &p, &e) < 0)
        fail_msg("%s", e.msg);
    return p;
}

static int
setup(void **unused)
{
    (void)unused;
    if (mkdtemp(dir) == NULL)
        return -1;
    put_file("berth-text.so", "#!/bin/sh\necho this is no library\n");
    put_file("berth-empty.so", "");
    put_file("berth-torn.so", "\177ELF and then nothing that makes sense");
    put_file("libother.so", "not ours");
    put_file("berth-.so", "no name");
    return 0;
}

static int
teardown(void **unused)
{
    char command[128];

    (void)unused;
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static void
what_does_not_fit_is_refused_with_the_reason(void **unused)
{
    static const struct {
        const char *why, *name;
        int code;
        const char *want;
    } cases[] = {
        {"there is no such file", "nobody", -BERTH_ENOENT,
         "no backend called 'nobody'; there is: "},
        {"a text", "text", -BERTH_EABI, "berth-text.so: not a shared library"},
        {"an empty file", "empty", -BERTH_EABI, "not a shared library"},
        {"a library that was cut off", "torn", -BERTH_EABI, "backend torn: "},
        {"a library without our symbol", "stranger", -BERTH_EABI, "no symbol berth_backend_entry"},
        {"made for another ABI", "old", -BERTH_EABI,
         "made for plugin ABI 9999, this program has 1"},
        {"an operation is missing", "half", -BERTH_EABI, "a required operation is missing"},
        {"it says no itself", "sorry", -BERTH_EABI, "no engine on this machine"},
        {"another name inside", "misnamed", -BERTH_EABI, "calls itself fine"},
    };
    struct berth_plugins *p = all_plugins();

    (void)unused;
    for (int round = 0; round < 2; round++) { /* the second answer is the same */
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const struct berth_backend_ops *ops = NULL;
            struct berth_err e = {""};
            print_message("  %s\n", cases[i].why);
            assert_int_equal(berth_plugins_backend(p, cases[i].name, &ops, &e), cases[i].code);
            if (strstr(e.msg, cases[i].want) == NULL)
                fail_msg("%s", e.msg);
            assert_null(ops);
        }
    }
    berth_plugins_free(p);
}

static void
a_backend_is_found_by_name_and_by_file(void **unused)
{
    const struct berth_backend_ops *ops = NULL, *again = NULL;
    const struct berth_plugin_info *list;
    struct berth_plugins *p = all_plugins();
    struct berth_err e = {""};
    char path[128];

    (void)unused;
    if (berth_plugins_backend(p, "fine", &ops, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(ops->version, "1.0");
    assert_int_equal(berth_plugins_for_path(p, "/models/a.FINE", &again, &e), 0);
    assert_ptr_equal(again, ops);
    put_file("model.fine", "x");
    assert_int_equal(berth_plugins_for_path(p, dir, &again, &e), 0); /* a folder with such a file */
    (void)snprintf(path, sizeof path, "%s/model.fine", dir);
    (void)unlink(path);
    assert_int_equal(berth_plugins_for_path(p, dir, &again, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "fine: .fine"));

    size_t n = berth_plugins_list(p, &list), bad = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true((list[i].ops == NULL) == (list[i].why != NULL));
        bad += list[i].ops == NULL;
    }
    assert_int_equal(n - bad, 1);
    berth_plugins_free(p);
}

static void
compiled_in_ones_go_first(void **unused)
{
    const struct berth_backend_ops *fine = NULL, *found = NULL;
    struct berth_plugins *p = all_plugins(), *alone;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(berth_plugins_backend(p, "fine", &fine, &e), 0);
    assert_int_equal(berth_plugins_add(p, fine, &e), -BERTH_EEXIST);
    assert_int_equal(berth_plugins_new(NULL, &host, &alone, &e), 0);
    assert_int_equal(berth_plugins_backend(alone, "fine", &found, &e), -BERTH_ENOENT);
    assert_int_equal(berth_plugins_add(alone, fine, &e), 0);
    assert_int_equal(berth_plugins_backend(alone, "fine", &found, &e), 0);
    assert_ptr_equal(found, fine);
    struct berth_backend_ops old = *fine;
    old.abi = 7;
    assert_int_equal(berth_plugins_add(alone, &old, &e), -BERTH_EABI);
    berth_plugins_free(alone);
    berth_plugins_free(p);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_is_refused_with_the_reason),
        cmocka_unit_test(a_backend_is_found_by_name_and_by_file),
        cmocka_unit_test(compiled_in_ones_go_first),
    };
    char *slash;

    (void)argc;
    /* Beside this program, whatever folder it is called from. */
    if (realpath(argv[0], good_dir) == NULL || (slash = strrchr(good_dir, '/')) == NULL)
        return 1;
    (void)snprintf(slash, sizeof good_dir - (size_t)(slash - good_dir), "/src/plugin");
    return cmocka_run_group_tests(tests, setup, teardown);
}
