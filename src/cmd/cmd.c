#include "cmd/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/num.h"
#include "cmd/cmd_priv.h"
#include "cmd/commit.h" /* made by the build */
#include "cmd/shim.h"
#include "conf/conf.h"
#include "conf/near.h"

enum { ARGS_BYTES_MAX = 1 << 20 };

const char *
berth_version_line(void)
{
    return "berth " BERTH_VERSION " (commit " BERTH_COMMIT ")";
}

/* ---- telling ---- */

/* Called by its other name a command stands alone: "unimodel-server", not "unimodel-server serve".
 */
static bool
stands_alone(const char *program)
{
    return strcmp(program, "unimodel-server") == 0 || strcmp(program, "unimodel-bench") == 0;
}

static void
say_who(const struct berth_args *args)
{
    if (stands_alone(args->program))
        (void)fprintf(stderr, "%s: ", args->program);
    else
        (void)fprintf(stderr, "%s %s: ", args->program, args->cmd->name);
}

int
berth_usage(const struct berth_args *args, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say_who(args);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, "\nSee `%s%s%s --help`.\n", args->program,
                  stands_alone(args->program) ? "" : " ",
                  stands_alone(args->program) ? "" : args->cmd->name);
    return BERTH_EXIT_USAGE;
}

int
berth_failed(const struct berth_args *args, const char *fmt, ...)
{
    char text[4096];
    va_list ap;

    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    say_who(args);
    if (n > 0)
        (void)berth_tell(stderr, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    (void)fputc('\n', stderr);
    return BERTH_EXIT_FAILED;
}

/* How many bytes at `at` make one control character that a terminal would act on; 0: none do. Those
 * above 0x7f have two bytes in UTF-8, and some terminals take them for an escape sequence too. */
static size_t
control_len(const char *at, size_t len)
{
    const unsigned char c = (unsigned char)at[0];

    if (c == 0xc2 && len > 1 && (unsigned char)at[1] < 0xa0)
        return 2;
    return (c < ' ' && c != '\n' && c != '\t') || c == 0x7f ? 1 : 0;
}

bool
berth_tell(FILE *to, const char *text, size_t len)
{
    size_t from = 0, i = 0;
    bool ok = true;

    if (!isatty(fileno(to)))
        return len == 0 || fwrite(text, len, 1, to) == 1;
    while (i < len && ok) {
        const size_t n = control_len(text + i, len - i);

        if (n == 0) {
            i++;
            continue;
        }
        ok = (i == from || fwrite(text + from, i - from, 1, to) == 1) &&
             (text[i] == '\r' || fputs("\xef\xbf\xbd", to) >= 0);
        from = i += n;
    }
    return ok && (from == len || fwrite(text + from, len - from, 1, to) == 1);
}

int
berth_print(const struct berth_args *args, struct berth_buf *text)
{
    const bool whole = !text->failed;
    const bool written = whole && berth_tell(stdout, text->at, text->len) && fflush(stdout) == 0;

    berth_buf_fini(text);
    if (!whole)
        return berth_failed(args, "not enough memory");
    return written ? BERTH_EXIT_OK : berth_failed(args, "standard output cannot be written: %m");
}

void
berth_help_put(const struct berth_cmd *cmd, const char *program, struct berth_buf *out)
{
    const struct berth_option *o;

    berth_buf_printf(out, "usage: %s%s%s%s%s\n%s\n\n", program, stands_alone(program) ? "" : " ",
                     stands_alone(program) ? "" : cmd->name, cmd->words[0] != '\0' ? " " : "",
                     cmd->words, cmd->summary);
    if (cmd->run == berth_run_serve)
        berth_conf_help(out);
    for (size_t i = 0; (o = berth_option_at(cmd, i)) != NULL; i++) {
        char name[40], letter[8] = "    ";
        (void)snprintf(name, sizeof name, "%s%s%s", o->name, o->value != NULL ? " " : "",
                       o->value != NULL ? o->value : "");
        if (o->letter != '\0')
            (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
        /* Where a name is longer than the column, two blanks tell it from what it does. */
        berth_buf_printf(out, "  %s--%-19s %s%s\n", letter, name, strlen(name) > 19 ? " " : "",
                         o->help);
    }
    if (cmd->notes != NULL)
        berth_buf_printf(out, "\n%s", cmd->notes);
}

static void
help_all_put(const char *program, bool clients_only, struct berth_buf *out)
{
    const struct berth_cmd *cmd;

    berth_buf_printf(out,
                     "usage: %s COMMAND [options]\n"
                     "Serves any model behind every API its users already speak.\n",
                     program);
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++) {
        const char *group = berth_cmd_group(cmd);

        if (clients_only && !cmd->is_client)
            continue;
        if (group != NULL)
            berth_buf_printf(out, "\n%s:\n", group);
        berth_buf_printf(out, "  %-12s  %s\n", cmd->name, cmd->summary);
    }
    berth_buf_printf(out, "\n`%s COMMAND --help` says more.\n", program);
}

/* ---- reading arguments ---- */

static const char switched_off[] = "false"; /* known by its address */

static const char *
given(const struct berth_args *args, const char *name)
{
    const struct berth_option *o;

    for (size_t i = 0; (o = berth_option_at(args->cmd, i)) != NULL; i++)
        if (strcmp(o->name, name) == 0)
            return args->given[i];
    return NULL;
}

const char *
berth_arg(const struct berth_args *args, const char *name)
{
    const char *value = given(args, name);

    return value != switched_off ? value : NULL;
}

bool
berth_arg_is_off(const struct berth_args *args, const char *name)
{
    return given(args, name) == switched_off;
}

bool
berth_arg_int(const struct berth_args *args, const char *name, long long min, long long max,
              long long *ret)
{
    const char *text = berth_arg(args, name);
    int64_t v;

    if (text == NULL)
        return true;
    if (!berth_int_parse(text, strlen(text), min, max, &v)) {
        (void)berth_usage(args, "--%s %s: must be a whole number from %lld to %lld", name, text,
                          min, max);
        return false;
    }
    *ret = v;
    return true;
}

bool
berth_arg_real(const struct berth_args *args, const char *name, double min, double max, double *ret)
{
    const char *text = berth_arg(args, name);
    double v;

    if (text == NULL)
        return true;
    if (!berth_float_parse(text, strlen(text), &v) || v < min || v > max) {
        (void)berth_usage(args, "--%s %s: must be a number from %g to %g", name, text, min, max);
        return false;
    }
    *ret = v;
    return true;
}

/* One dash or two: programs in Go take both for a whole word. */
static int
option_unknown(const struct berth_args *args, const char *arg)
{
    const char *names[BERTH_CMD_OPTIONS_MAX + 3];
    const int dashes = arg[1] == '-' ? 2 : 1;
    const struct berth_option *o;
    char word[64];
    size_t count = 0;

    while ((o = berth_option_at(args->cmd, count)) != NULL)
        names[count++] = o->name;
    (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(arg + dashes, "="), arg + dashes);
    const char *instead = berth_option_instead(args->cmd, word);
    if (instead != NULL)
        return berth_usage(args, "no option %.*s%s: %s", dashes, arg, word, instead);
    const char *near = strlen(word) > 1 ? berth_near_miss(word, names, count) : NULL;
    if (near != NULL)
        return berth_usage(args, "no option %.*s%s; did you mean --%s?", dashes, arg, word, near);
    return berth_usage(args, "no option %.*s%s", dashes, arg, word);
}

/* "-leader-elect": a whole word behind one dash, and no letter with its value. */
static bool
is_word(const struct berth_args *args, const char *arg)
{
    const size_t len = strcspn(arg + 1, "=");
    const struct berth_option *o;
    char word[64];

    for (size_t i = 0; len > 1 && (o = berth_option_at(args->cmd, i)) != NULL; i++)
        if (strlen(o->name) == len && strncmp(o->name, arg + 1, len) == 0)
            return true;
    (void)snprintf(word, sizeof word, "%.*s", (int)len, arg + 1);
    return len > 1 && berth_option_instead(args->cmd, word) != NULL;
}

/* The option that arg ("--name", "--name=value", "-n", "-nvalue" or "-n=value") names, or NULL;
 * *ret is its place. */
static const struct berth_option *
option_of(const struct berth_args *args, const char *arg, size_t *ret)
{
    const size_t len = strcspn(arg + 2, "=");
    const struct berth_option *o;

    for (size_t i = 0; (o = berth_option_at(args->cmd, i)) != NULL; i++) {
        if (arg[1] != '-' ? o->letter == arg[1] && (arg[2] == '\0' || o->value != NULL)
                          : strlen(o->name) == len && strncmp(o->name, arg + 2, len) == 0) {
            *ret = i;
            return o;
        }
    }
    return NULL;
}

/* The value within the option's own word; NULL: it is not there. */
static char *
value_within(char *arg)
{
    char *eq = strchr(arg, '=');

    if (arg[1] == '-')
        return eq != NULL ? eq + 1 : NULL;
    return arg[2] != '\0' ? arg + 2 + (arg[2] == '=') : NULL;
}

static int
option_set(struct berth_args *args, const struct berth_option *o, size_t place, const char *value)
{
    const char *before = args->given[place];

    if (before != NULL && strcmp(o->value, BERTH_OPTION_LIST) == 0 &&
        (value = berth_arena_printf(args->arena, "%s,%s", before, value)) == NULL)
        return berth_failed(args, "out of memory");
    args->given[place] = value;
    return BERTH_EXIT_OK;
}

static int
option_take(struct berth_args *args, const struct berth_option *o, size_t place, char **argv,
            int argc, int *i)
{
    const char *within = value_within(argv[*i]);

    if (o->value == NULL && within != NULL && strcmp(within, "true") != 0 &&
        strcmp(within, "false") != 0)
        return berth_usage(args, "--%s takes no value but true or false", o->name);
    if (o->value == NULL)
        args->given[place] = within != NULL && within[0] == 'f' ? switched_off : "";
    else if (within != NULL)
        return option_set(args, o, place, within);
    else if (*i + 1 < argc)
        return option_set(args, o, place, argv[++*i]);
    else
        return berth_usage(args, "--%s needs a value: %s", o->name, o->value);
    return BERTH_EXIT_OK;
}

/* Sort argv into options and words; with takes_settings, into own options and the rest. */
static int
args_parse(struct berth_args *args, int argc, char **argv)
{
    bool only_words = false;

    for (int i = 0; i < argc; i++) {
        const bool dashed = !only_words && strncmp(argv[i], "--", 2) == 0;
        const bool letter = !only_words && argv[i][0] == '-' && argv[i][1] != '\0' &&
                            argv[i][1] != '-' && !is_word(args, argv[i]) &&
                            (argv[i][2] == '\0' || !args->cmd->takes_settings);
        size_t place = 0;
        const struct berth_option *o = dashed || letter ? option_of(args, argv[i], &place) : NULL;
        if (o != NULL) {
            const int rc = option_take(args, o, place, argv, argc, &i);
            if (rc != 0)
                return rc;
        } else if (args->cmd->takes_settings) {
            args->argv[args->argc++] = argv[i];
        } else if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && strcmp(argv[i], "-h") == 0) {
            o = option_of(args, "--help", &place);
            return option_take(args, o, place, argv, argc, &i);
        } else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0') {
            return option_unknown(args, argv[i]);
        } else if (args->word_count == args->cmd->words_max) {
            return berth_usage(args, "one argument too many: %s", argv[i]);
        } else {
            args->words[args->word_count++] = argv[i];
        }
    }
    return BERTH_EXIT_OK;
}

/* ---- dispatch ---- */

static int
run(const struct berth_cmd *cmd, const char *program, int argc, char **argv)
{
    struct berth_arena arena;
    struct berth_args args = {.cmd = cmd, .program = program, .arena = &arena};

    berth_arena_init(&arena, ARGS_BYTES_MAX);
    args.argv = calloc((size_t)argc + 1, sizeof *args.argv);
    if (args.argv == NULL)
        return berth_failed(&args, "not enough memory");
    int rc = args_parse(&args, argc, argv);
    if (rc == 0 &&
        (berth_arg(&args, "help") != NULL || (args.argc > 0 && strcmp(args.argv[0], "-h") == 0))) {
        struct berth_buf out;
        berth_buf_init(&out, NULL);
        berth_help_put(cmd, program, &out);
        rc = berth_print(&args, &out);
    } else if (rc == 0 && args.word_count < cmd->words_min) {
        rc = berth_usage(&args, "something is missing: %s %s %s", program, cmd->name, cmd->words);
    } else if (rc == 0) {
        rc = cmd->run(&args);
    }
    berth_arena_fini(&arena);
    free(args.argv);
    return rc;
}

static int
unknown(const char *program, const char *word)
{
    const char *names[BERTH_CMD_WORDS_MAX];
    const struct berth_cmd *cmd;
    size_t count = 0;

    while ((cmd = berth_cmd_at(count)) != NULL)
        names[count++] = cmd->name;
    const char *near = strcmp(word, "unload") == 0 ? "stop" : berth_near_miss(word, names, count);
    if (near != NULL)
        (void)fprintf(stderr, "%s: no command '%s'; did you mean `%s %s`?\n", program, word,
                      program, near);
    else
        (void)fprintf(stderr, "%s: no command '%s'\n", program, word);
    (void)fprintf(stderr, "See `%s --help`.\n", program);
    return BERTH_EXIT_USAGE;
}

int
berth_arg_names(const struct berth_args *args, struct berth_arena *a, const char *name,
                struct berth_arg_names *ret)
{
    ret->count = 0;
    for (const char *at = berth_arg(args, name); at != NULL && *at != '\0';) {
        const size_t n = strcspn(at, ",");
        if (n > 0 && ret->count == BERTH_COUNT(ret->at))
            return berth_usage(args, "--%s: more than %zu names", name, BERTH_COUNT(ret->at));
        if (n > 0 && (ret->at[ret->count++] = berth_arena_strndup(a, at, n)) == NULL)
            return berth_failed(args, "out of memory");
        at += n + (at[n] == ',');
    }
    return 0;
}

static int
help(const char *program, FILE *to)
{
    struct berth_buf out;

    berth_buf_init(&out, NULL);
    help_all_put(program, strcmp(program, "unimodel-cli") == 0, &out);
    const bool ok = !out.failed && fwrite(out.at, out.len, 1, to) == 1;
    berth_buf_fini(&out);
    return ok && to == stdout ? BERTH_EXIT_OK : BERTH_EXIT_USAGE;
}

static bool
is_any(const char *word, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, names[i]) == 0)
            return true;
    return false;
}

int
berth_cmd_main(int argc, char **argv)
{
    static const char *const versions[] = {"--version", "-V"};
    static const char *const helps[] = {"--help", "-h", "help"};
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *called = argc > 0 ? (slash != NULL ? slash + 1 : argv[0]) : "berth";

    if (strcmp(called, "model-serve-shim") == 0)
        return berth_shim_main(argc - 1, argv + 1);
    if (argc > 1 && is_any(argv[1], versions, BERTH_COUNT(versions)))
        return puts(berth_version_line()) >= 0 ? BERTH_EXIT_OK : BERTH_EXIT_FAILED;
    if (strcmp(called, "unimodel-server") == 0)
        return run(berth_cmd_find("serve"), called, argc - 1, argv + 1);
    if (strcmp(called, "unimodel-bench") == 0)
        return run(berth_cmd_find("bench"), called, argc - 1, argv + 1);
    const char *program = strcmp(called, "unimodel-cli") == 0 ? called : "berth";
    if (argc > 2 && program == called && strcmp(argv[1], "models") == 0) { /* models list, ... */
        argc--;
        argv++;
    }
    if (argc < 2)
        return help(program, stderr);
    if (is_any(argv[1], helps, BERTH_COUNT(helps))) {
        const struct berth_cmd *of = argc > 2 ? berth_cmd_find(argv[2]) : NULL;
        char *ask = (char[]){"--help"};
        if (of != NULL)
            return run(of, program, 1, &ask);
        return argc > 2 && argv[2][0] != '-' ? unknown(program, argv[2]) : help(program, stdout);
    }
    const struct berth_cmd *cmd = berth_cmd_find(argv[1]);
    return cmd != NULL ? run(cmd, program, argc - 2, argv + 2) : unknown(program, argv[1]);
}
