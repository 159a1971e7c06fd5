#include "cmd/cmd_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "conf/conf.h"

/* completion: what the table of commands says, in three shells' words. */

/* Call each() with every option of a command, the server's flags included. */
static void
each_option(const struct berth_cmd *cmd,
            void (*each)(struct berth_buf *out, const char *cmd_name, const struct berth_option *o),
            struct berth_buf *out)
{
    const struct berth_option *o;
    struct berth_conf_flag f;

    for (size_t i = 0; (o = berth_option_at(cmd, i)) != NULL; i++)
        each(out, cmd->name, o);
    for (size_t i = 0; cmd->takes_settings && berth_conf_flag_at(i, &f); i++) {
        const struct berth_option flag = {f.name, f.value, f.help, 0};
        each(out, cmd->name, &flag);
    }
}

/* Is a name of that kind the first of its words? */
static bool
takes(const struct berth_cmd *cmd, const char *word)
{
    const char *at = cmd->words + (strncmp(cmd->words, "[options] ", 10) == 0 ? 10 : 0);

    at += *at == '[';
    return strncmp(at, word, strlen(word)) == 0;
}

/* The first word of a command, where it is one of a few. */
static const struct {
    const char *cmd, *words;
} first_words[] = {{"completion", "bash zsh fish"},
                   {"plugins", "list load reload unload"},
                   {"node", "drain undrain"},
                   {"modelservice", "generate help"}};

/* NULL: they are not a few. */
static const char *
first_words_of(const char *cmd)
{
    for (size_t i = 0; i < BERTH_COUNT(first_words); i++)
        if (strcmp(first_words[i].cmd, cmd) == 0)
            return first_words[i].words;
    return NULL;
}

/* An option's values, where they are a few. */
static const struct {
    const char *cmd, *option, *words;
} values[] = {{"modelservice", "output", "map yaml json"},
              {"modelservice", "inference-api", "v1 v1alpha2"},
              {"operator", "log-level", "debug info warn error"}};

/* NULL: they are not a few. */
static const char *
values_of(const char *cmd, const struct berth_option *o)
{
    for (size_t i = 0; i < BERTH_COUNT(values); i++)
        if (strcmp(values[i].cmd, cmd) == 0 && strcmp(values[i].option, o->name) == 0)
            return values[i].words;
    return NULL;
}

static void
put_commands(struct berth_buf *out)
{
    const struct berth_cmd *cmd;

    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++)
        berth_buf_printf(out, "%s ", cmd->name);
}

/* ---- bash ---- */

static void
bash_option(struct berth_buf *out, const char *cmd, const struct berth_option *o)
{
    (void)cmd;
    if (o->letter != '\0')
        berth_buf_printf(out, "-%c ", o->letter);
    berth_buf_printf(out, "--%s ", o->name);
}

/* What stands behind an option that has a value: one of a few, or a file. */
static void
bash_value(struct berth_buf *out, const char *cmd, const struct berth_option *o)
{
    const char *words = values_of(cmd, o);

    if (o->value == NULL)
        return;
    if (o->letter != '\0')
        berth_buf_printf(out, "        \"%s -%c\"|", cmd, o->letter);
    else
        berth_buf_puts(out, "        ");
    berth_buf_printf(out, "\"%s --%s\") words='%s'; value=1 ;;\n", cmd, o->name,
                     words != NULL ? words : "");
}

static void
bash(struct berth_buf *out)
{
    const struct berth_cmd *cmd;
    const char *key;

    berth_buf_puts(out,
                   "# bash completion for berth\n"
                   "_berth_models() {\n"
                   "    berth list 2>/dev/null | awk 'NR > 1 { print $1 }'\n"
                   "}\n"
                   "_berth_services() {\n"
                   "    berth services 2>/dev/null | awk 'NR > 1 { print $1 }'\n"
                   "}\n"
                   "_berth() {\n"
                   "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                   "    local command=${COMP_WORDS[1]} words= value=\n"
                   "    case \"$command $before\" in\n");
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++)
        each_option(cmd, bash_value, out);
    berth_buf_puts(out, "        esac\n"
                        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                        "        words='");
    put_commands(out);
    berth_buf_puts(out, "--help --version'\n"
                        "    elif [ \"$before\" = --set ]; then\n"
                        "        words='");
    for (size_t i = 0; (key = berth_conf_key_at(i)) != NULL; i++)
        berth_buf_printf(out, "%s= ", key);
    berth_buf_puts(out, "'\n"
                        "        compopt -o nospace 2>/dev/null\n"
                        "    elif [ -n \"$value\" ]; then\n"
                        "        :\n"
                        "    elif [[ $word == -* ]]; then\n"
                        "        case $command in\n");
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++) {
        berth_buf_printf(out, "        %s) words='", cmd->name);
        each_option(cmd, bash_option, out);
        berth_buf_puts(out, "' ;;\n");
    }
    berth_buf_puts(out, "        esac\n"
                        "    else\n"
                        "        case $command.$COMP_CWORD in\n");
    for (size_t i = 0; i < BERTH_COUNT(first_words); i++)
        berth_buf_printf(out, "        %s.2) words='%s' ;;\n", first_words[i].cmd,
                         first_words[i].words);
    berth_buf_puts(out, "        help.2|man.2) words='");
    put_commands(out);
    berth_buf_puts(out, "' ;;\n");
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++)
        if (takes(cmd, "MODEL") || takes(cmd, "SERVICE"))
            berth_buf_printf(out, "        %s.*) words=$(_berth_%s) ;;\n", cmd->name,
                             takes(cmd, "MODEL") ? "models" : "services");
    berth_buf_puts(out, "        esac\n"
                        "    fi\n"
                        "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
                        "}\n"
                        "complete -o bashdefault -o default -F _berth berth\n");
}

/* ---- zsh ---- */

/* Text within single quotes and a bracket of _arguments. */
static void
put_zsh(struct berth_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            berth_buf_puts(out, "'\\''");
        else if (strchr("[]:", *text) != NULL)
            berth_buf_printf(out, "\\%c", *text);
        else
            berth_buf_putc(out, *text);
    }
}

static void
zsh_option(struct berth_buf *out, const char *cmd, const struct berth_option *o)
{
    const char *plus = o->value != NULL ? "+" : "", *is = o->value != NULL ? "=" : "";
    const char *words = values_of(cmd, o);

    if (o->letter != '\0')
        berth_buf_printf(out, " \\\n        '*'{-%c%s,--%s%s}'[", o->letter, plus, o->name, is);
    else
        berth_buf_printf(out, " \\\n        '*--%s%s[", o->name, is);
    put_zsh(out, o->help);
    berth_buf_putc(out, ']');
    if (o->value != NULL && words != NULL)
        berth_buf_printf(out, ":%s:(%s)", o->value, words);
    else if (o->value != NULL)
        berth_buf_printf(out, ":%s:_files", o->value);
    berth_buf_putc(out, '\'');
}

static void
zsh(struct berth_buf *out)
{
    const struct berth_cmd *cmd;

    berth_buf_puts(
        out, "#compdef berth\n"
             "_berth_models() {\n"
             "    local -a names\n"
             "    names=(${(f)\"$(berth list 2>/dev/null | awk 'NR > 1 { print $1 }')\"})\n"
             "    _alternative 'models:model:compadd -a names' 'files:file:_files'\n"
             "}\n"
             "_berth_services() {\n"
             "    local -a names\n"
             "    names=(${(f)\"$(berth services 2>/dev/null | awk 'NR > 1 { print $1 }')\"})\n"
             "    compadd -a names\n"
             "}\n"
             "_berth() {\n"
             "    local -a commands\n"
             "    commands=(\n");
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++) {
        berth_buf_printf(out, "        '%s:", cmd->name);
        put_zsh(out, cmd->summary);
        berth_buf_puts(out, "'\n");
    }
    berth_buf_puts(out, "    )\n"
                        "    if (( CURRENT == 2 )); then\n"
                        "        _describe command commands\n"
                        "        return\n"
                        "    fi\n"
                        "    case $words[2] in\n"
                        "    help) _arguments '1:command:' '2:command:{_describe command "
                        "commands}' ;;\n");
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++) {
        berth_buf_printf(out, "    %s) _arguments '1:command:'", cmd->name);
        each_option(cmd, zsh_option, out);
        if (takes(cmd, "MODEL"))
            berth_buf_puts(out, " '2:model:_berth_models'");
        if (takes(cmd, "SERVICE"))
            berth_buf_puts(out, " '2:service:_berth_services'");
        if (first_words_of(cmd->name) != NULL)
            berth_buf_printf(out, " '2:word:(%s)'", first_words_of(cmd->name));
        if (strcmp(cmd->name, "man") == 0)
            berth_buf_puts(out, " '2:command:{_describe command commands}'");
        berth_buf_puts(out, " '*:file:_files' ;;\n");
    }
    berth_buf_puts(out, "    esac\n"
                        "}\n"
                        "compdef _berth berth\n");
}

/* ---- fish ---- */

static void
put_fish(struct berth_buf *out, const char *text)
{
    berth_buf_putc(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            berth_buf_putc(out, '\\');
        berth_buf_putc(out, *text);
    }
    berth_buf_putc(out, '\'');
}

static void
fish_option(struct berth_buf *out, const char *cmd, const struct berth_option *o)
{
    berth_buf_printf(out, "complete -c berth -n '__fish_seen_subcommand_from %s'", cmd);
    if (o->letter != '\0')
        berth_buf_printf(out, " -s %c", o->letter);
    berth_buf_printf(out, " -l %s%s", o->name, o->value != NULL ? " -r" : "");
    if (values_of(cmd, o) != NULL)
        berth_buf_printf(out, " -f -a '%s'", values_of(cmd, o));
    berth_buf_puts(out, " -d ");
    put_fish(out, o->help);
    berth_buf_putc(out, '\n');
}

static void
fish(struct berth_buf *out)
{
    const struct berth_cmd *cmd;

    berth_buf_puts(out, "# fish completion for berth\n");
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++) {
        berth_buf_printf(out, "complete -c berth -n __fish_use_subcommand -a %s -d ", cmd->name);
        put_fish(out, cmd->summary);
        berth_buf_putc(out, '\n');
        each_option(cmd, fish_option, out);
        if (takes(cmd, "MODEL") || takes(cmd, "SERVICE"))
            berth_buf_printf(out,
                             "complete -c berth -n '__fish_seen_subcommand_from %s' -a "
                             "'(berth %s 2>/dev/null | awk \"NR > 1 { print \\$1 }\")'\n",
                             cmd->name, takes(cmd, "MODEL") ? "list" : "services");
    }
    for (size_t i = 0; i < BERTH_COUNT(first_words); i++)
        berth_buf_printf(out,
                         "complete -c berth -n '__fish_seen_subcommand_from %s; and not "
                         "__fish_seen_subcommand_from %s' -f -a '%s'\n",
                         first_words[i].cmd, first_words[i].words, first_words[i].words);
    berth_buf_puts(out, "complete -c berth -n '__fish_seen_subcommand_from help man' -f -a '");
    put_commands(out);
    berth_buf_puts(out, "'\n");
}

int
berth_run_completion(const struct berth_args *args)
{
    static const struct {
        const char *name;
        void (*put)(struct berth_buf *out);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    struct berth_buf out;

    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(args->words[0], shells[i].name) != 0)
            continue;
        berth_buf_init(&out, NULL);
        shells[i].put(&out);
        return berth_print(args, &out);
    }
    return berth_usage(args, "'%s' is no shell known here: bash, zsh or fish", args->words[0]);
}
