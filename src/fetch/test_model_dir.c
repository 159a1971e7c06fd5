#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fetch/model_dir.h"

static void
a_models_folder_is_found(void **unused)
{
    static const struct {
        const char *why, *path, *dir; /* dir "": none */
    } cases[] = {
        {"a file's folder", "/m/x.gguf", "/m"},
        {"in any case", "/m/x.SafeTensors", "/m"},
        {"of each kind", "/m/x.bin", "/m"},
        {"of each kind", "/m/x.pt", "/m"},
        {"of each kind", "/m/x.onnx", "/m"},
        {"more than one slash", "/m//x.gguf", "/m"},
        {"a folder as it is", "/m/x", "/m/x"},
        {"without its slash", "/m/x//", "/m/x"},
        {"no file of a model", "/m/x.txt", "/m/x.txt"},
        {"an ending alone is a name", "/m/.gguf", "/m"},
        {"a path that is not absolute", "m/x.gguf", "m"},
        {"nothing", "", ""},
        {"where we are", ".", ""},
        {"everything", "/", ""},
        {"everything, twice", "//", ""},
        {"a file of everything", "/x.pt", ""},
        {"a file where we are", "x.bin", ""},
        {"another file where we are", "./x.bin", ""},
        {"only an ending", ".gguf", ".gguf"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t len = berth_model_dir_len(cases[i].path);

        print_message("  %s: %s\n", cases[i].why, cases[i].path);
        assert_int_equal(len, strlen(cases[i].dir));
        assert_memory_equal(cases[i].path, cases[i].dir, len);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_models_folder_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
