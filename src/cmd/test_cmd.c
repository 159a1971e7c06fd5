#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "cmd/bench_load.h"
#include "cmd/cmd.h"
#include "cmd/cmd_priv.h"
#include "cmd/sse.h"
#include "cmd/table.h"

/* ---- help ---- */

static void
help_fits_a_screen(void **unused)
{
    const struct berth_cmd *cmd;

    (void)unused;
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++) {
        struct berth_buf out;
        size_t lines = 0, column = 0;

        print_message("  %s\n", cmd->name);
        berth_buf_init(&out, NULL);
        berth_help_put(cmd, "berth", &out);
        assert_false(out.failed);
        for (size_t at = 0; at < out.len; at++) {
            lines += out.at[at] == '\n';
            column = out.at[at] == '\n' ? 0 : column + 1;
            assert_true(column <= 80);
        }
        assert_in_range(lines, 3, 24);
        berth_buf_fini(&out);
    }
}

static void
options_have_room(void **unused)
{
    const struct berth_cmd *cmd;

    (void)unused;
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++) {
        size_t count = 0;
        while (berth_option_at(cmd, count) != NULL)
            count++;
        assert_in_range(count, 1, BERTH_CMD_OPTIONS_MAX + 3);
        assert_true(cmd->words_max <= BERTH_CMD_WORDS_MAX);
        assert_ptr_equal(berth_cmd_find(cmd->name), cmd);
    }
}

static void
wrong_calls_are_usage_errors(void **unused)
{
    static const struct {
        const char *why;
        const char *argv[5];
        int want;
    } cases[] = {
        {"a family of one without its word", {"berth", "modelservice"}, 0},
        {"its help by a word", {"berth", "modelservice", "help"}, 0},
        {"a word that it has not", {"berth", "modelservice", "frobnicate"}, 2},
        {"options without a word", {"berth", "modelservice", "-m", "/dev/null"}, 2},
        {"a value glued to a letter", {"berth", "modelservice", "generate", "-m/dev/null"}, 1},
        {"the same with =", {"berth", "modelservice", "generate", "-m=/dev/null"}, 1},
        {"something glued to a switch", {"berth", "modelservice", "generate", "-hx"}, 2},
        {"no command", {"berth"}, 2},
        {"an unknown one", {"berth", "fly"}, 2},
        {"an unknown option", {"berth", "list", "--port"}, 2},
        {"an option without its value", {"berth", "list", "--server"}, 2},
        {"a value for a switch", {"berth", "list", "--json=1"}, 2},
        {"a switch said to be on", {"berth", "list", "--help=true"}, 0},
        {"and off", {"berth", "completion", "--help=false"}, 2},
        {"a level that is none", {"berth", "operator", "--log-level=loud"}, 2},
        {"a missing word", {"berth", "rm"}, 2},
        {"a word too many", {"berth", "version", "x"}, 2},
        {"a number out of range", {"berth", "bench", "m", "--concurrency=0"}, 2},
        {"a shell nobody has", {"berth", "completion", "tcsh"}, 2},
        {"the version", {"berth", "--version"}, 0},
        {"help of a command", {"berth", "help", "run"}, 0},
        {"help of none", {"berth", "help", "fly"}, 2},
        {"the same by a letter, where words must be", {"berth", "run", "-h"}, 0},
        {"the same of one that asks a server", {"berth", "list", "-h"}, 0},
        {"the same of one whose first option has a value", {"berth", "deploy", "-h"}, 0},
        {"another name", {"/x/unimodel-server", "--help"}, 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        char *argv[6] = {NULL};
        int argc = 0;

        print_message("  %s\n", cases[i].why);
        for (; argc < 5 && cases[i].argv[argc] != NULL; argc++)
            argv[argc] = (char *)(uintptr_t)cases[i].argv[argc];
        assert_int_equal(berth_cmd_main(argc, argv), cases[i].want);
    }
}

static void
options_of_others_have_something_in_their_place(void **unused)
{
    static const struct {
        const char *option, *says; /* NULL: nothing is known of it */
    } cases[] = {
        {"watch-namespace", "--namespace"},
        {"v", "--log-level"},
        {"sync-period", "leave it out"},
        {"zap-log-level", "--log-level"},
        {"zap-encoder", "leave it out"},
        {"zap-sampling", "--log-level"},
        {"zap-", "--log-level"},
        {"zap", NULL},
        {"vv", NULL},
        {"sync-period-s", NULL},
    };
    const struct berth_cmd *cmd = berth_cmd_find("operator");

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const char *got = berth_option_instead(cmd, cases[i].option);
        print_message("  --%s: %s\n", cases[i].option, got != NULL ? got : "-");
        if (cases[i].says == NULL)
            assert_null(got);
        else
            assert_non_null(strstr(got != NULL ? got : "", cases[i].says));
    }
    assert_null(berth_option_instead(berth_cmd_find("list"), "v"));
}

/* What a call prints on standard output (1) or standard error (2); *ret_rc: how it ends. */
static const char *
printed(int fd, const char *const argv[], int *ret_rc)
{
    static char text[64 << 10];
    char *mine[6] = {NULL};
    FILE *file = tmpfile();
    const int saved = dup(fd);
    int argc = 0;

    assert_true(file != NULL && saved >= 0);
    for (; argc < 5 && argv[argc] != NULL; argc++)
        mine[argc] = (char *)(uintptr_t)argv[argc];
    (void)fflush(NULL);
    assert_true(dup2(fileno(file), fd) >= 0);
    *ret_rc = berth_cmd_main(argc, mine);
    (void)fflush(NULL);
    assert_true(dup2(saved, fd) >= 0);
    (void)close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    return text;
}

static void
a_word_behind_one_dash_takes_two(void **unused)
{
    static const struct {
        const char *argv[5], *says;
    } cases[] = {
        {{"berth", "operator", "-leader-elect"},
         "no option -leader-elect; did you mean --leader-elect?"},
        {{"berth", "operator", "-leader-elect=true"}, "did you mean --leader-elect?"},
        {{"berth", "operator", "-namespace", "models"}, "did you mean --namespace?"},
        {{"berth", "operator", "-leader-election-id=x"}, "no option -leader-election-id: leave it"},
        {{"berth", "modelservice", "generate", "-modelservice", "/dev/null"},
         "did you mean --modelservice?"},
        {{"berth", "modelservice", "generate", "-output=yaml"}, "did you mean --output?"},
        {{"berth", "deploy", "-file", "x"}, "did you mean --file?"},
        {{"berth", "logs", "-follow", "x"}, "did you mean --follow?"},
        {{"berth", "list", "-json"}, "did you mean --json?"},
        {{"berth", "serve", "-port=1"}, "no flag -port; did you mean --port?"},
        /* A letter and its value. */
        {{"berth", "operator", "-lloud"}, "--log-level loud"},
        {{"berth", "operator", "-l=loud"}, "--log-level loud"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        int rc = 0;
        const char *text = printed(2, cases[i].argv, &rc);

        print_message("  %s %s\n", cases[i].argv[1], cases[i].argv[2]);
        assert_int_equal(rc, 2);
        if (strstr(text, cases[i].says) == NULL)
            fail_msg("%s, should say %s", text, cases[i].says);
    }
}

static void
letters_of_options_are_where_their_words_are(void **unused)
{
    static const struct {
        const char *argv[5], *says;
    } cases[] = {
        {{"berth", "man", "modelservice"},
         ".TP\n\\fB\\-m\\fR, \\fB\\-\\-modelservice\\fR \\fIFILE\\fR\n"},
        {{"berth", "man", "modelservice"}, ".TP\n\\fB\\-\\-strict\\fR\n"},
        {{"berth", "man", "logs"}, ".TP\n\\fB\\-f\\fR, \\fB\\-\\-follow\\fR\n"},
        {{"berth", "completion", "bash"}, "modelservice) words='-m --modelservice -b --baseconfig"},
        {{"berth", "completion", "bash"}, "modelservice.2) words='generate help' ;;"},
        {{"berth", "completion", "zsh"},
         "'*'{-m+,--modelservice=}'[the ModelService (required); - for standard "
         "input]:FILE:_files'"},
        {{"berth", "completion", "zsh"}, "or json]:FORMAT:(map yaml json)'"},
        {{"berth", "completion", "zsh"}, " '2:word:(generate help)'"},
        {{"berth", "completion", "zsh"}, "help) _arguments '1:command:' '2:command:{"},
        {{"berth", "completion", "fish"}, "'__fish_seen_subcommand_from help man' -f -a 'serve "},
        {{"berth", "completion", "zsh"}, "'*'{-f,--follow}'[go on with what comes]'"},
        {{"berth", "completion", "zsh"}, "'*--strict[fail on warnings, too]'"},
        {{"berth", "completion", "fish"},
         "__fish_seen_subcommand_from modelservice' -s m -l modelservice -r -d "},
        {{"berth", "completion", "fish"}, "from modelservice' -l strict -d "},
        {{"berth", "completion", "fish"}, "-s o -l output -r -f -a 'map yaml json' -d "},
        {{"berth", "completion", "fish"},
         "from modelservice; and not __fish_seen_subcommand_from generate help' -f -a "},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        int rc = 1;
        const char *text = printed(1, cases[i].argv, &rc);

        print_message("  %s\n", cases[i].says);
        assert_int_equal(rc, 0);
        assert_non_null(strstr(text, cases[i].says));
    }
}

/* ---- server-sent events ---- */

struct heard {
    char text[200];
    size_t stop_after, count;
};

static bool
hear(void *arg, struct berth_slice data)
{
    struct heard *h = arg;

    (void)snprintf(h->text + strlen(h->text), sizeof h->text - strlen(h->text), "[%.*s]",
                   (int)data.len, data.at);
    return ++h->count != h->stop_after;
}

static void
events_come_out_of_pieces(void **unused)
{
    static const char stream[] =
        ": hello\r\ndata: one\r\n\r\ndata:two\n\nevent: x\ndata:  three\n\n"
        "data: half";

    (void)unused;
    for (size_t piece = 1; piece <= sizeof stream; piece++) {
        struct heard h = {.text = ""};
        struct berth_sse s;

        berth_sse_init(&s);
        for (size_t at = 0; at < sizeof stream - 1; at += piece) {
            const size_t left = sizeof stream - 1 - at;
            assert_true(berth_sse_feed(&s, stream + at, piece < left ? piece : left, hear, &h));
        }
        assert_string_equal(h.text, "[one][two][ three]");
        berth_sse_fini(&s);
    }
}

static void
a_listener_can_stop(void **unused)
{
    struct heard h = {.text = "", .stop_after = 1};
    struct berth_sse s;

    (void)unused;
    berth_sse_init(&s);
    assert_false(berth_sse_feed(&s, "data: a\ndata: b\n", 16, hear, &h));
    assert_false(s.bad);
    assert_string_equal(h.text, "[a]");
    berth_sse_fini(&s);
}

/* ---- figures ---- */

static void
percentiles_are_near(void **unused)
{
    static struct berth_hist h, other;
    static const struct {
        double p;
        uint64_t want;
    } cases[] = {{0, 1000}, {0.5, 500000}, {0.9, 900000}, {0.99, 990000}, {1, 1000000}};

    (void)unused;
    assert_int_equal(berth_hist_at(&h, 0.5), 0);
    for (uint64_t i = 1; i <= 1000; i++)
        berth_hist_add(i % 2 == 0 ? &h : &other, i * 1000);
    berth_hist_merge(&h, &other);
    assert_int_equal(h.count, 1000);
    assert_int_equal(h.max_ns, 1000000);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const uint64_t got = berth_hist_at(&h, cases[i].p);
        assert_in_range(got, cases[i].want, cases[i].want * 102 / 100 + 1000);
    }
    berth_hist_add(&h, UINT64_MAX); /* the last bucket is there */
    assert_int_equal(berth_hist_at(&h, 1), UINT64_MAX);
}

static void
small_times_are_exact(void **unused)
{
    (void)unused;
    for (uint64_t ns = 0; ns < 64; ns++) {
        static struct berth_hist h;
        memset(&h, 0, sizeof h);
        berth_hist_add(&h, ns);
        assert_int_equal(berth_hist_at(&h, 0.5), ns);
    }
}

static void
bytes_are_readable(void **unused)
{
    char room[24];

    (void)unused;
    assert_string_equal(berth_bytes_text(0, room), "0 B");
    assert_string_equal(berth_bytes_text(1023, room), "1023 B");
    assert_string_equal(berth_bytes_text(1536, room), "1.5 KiB");
    assert_string_equal(berth_bytes_text(UINT64_C(5) << 40, room), "5.0 TiB");
}

static void
columns_line_up(void **unused)
{
    static const char *const titles[] = {"A", "LONG"};
    struct berth_arena a;
    struct berth_table t;
    struct berth_buf out;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&out, &a);
    berth_table_init(&t, &a, 2, titles);
    berth_table_put(&t, "%s", "wide\nr");
    berth_table_put(&t, "%d", 1);
    berth_table_print(&t, &out);
    assert_string_equal(berth_buf_text(&out), "A       LONG\nwide r  1\n");
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_fits_a_screen),
        cmocka_unit_test(options_have_room),
        cmocka_unit_test(wrong_calls_are_usage_errors),
        cmocka_unit_test(options_of_others_have_something_in_their_place),
        cmocka_unit_test(a_word_behind_one_dash_takes_two),
        cmocka_unit_test(letters_of_options_are_where_their_words_are),
        cmocka_unit_test(events_come_out_of_pieces),
        cmocka_unit_test(a_listener_can_stop),
        cmocka_unit_test(percentiles_are_near),
        cmocka_unit_test(small_times_are_exact),
        cmocka_unit_test(bytes_are_readable),
        cmocka_unit_test(columns_line_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
