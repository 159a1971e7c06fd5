#include "cmd/cmd_priv.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"

/* man: manual pages out of the same tables as --help. */

/* Text as roff takes it: no line may begin with a dot or quote, dashes are dashes. */
static void
put(struct berth_buf *out, const char *text)
{
    for (bool begin = true; *text != '\0'; text++) {
        if (begin && (*text == '.' || *text == '\''))
            berth_buf_puts(out, "\\&");
        begin = *text == '\n';
        if (*text == '-')
            berth_buf_puts(out, "\\-");
        else if (*text == '\\')
            berth_buf_puts(out, "\\e");
        else
            berth_buf_putc(out, *text);
    }
}

static void
put_title(struct berth_buf *out, const char *name)
{
    berth_buf_puts(out, ".TH ");
    for (const char *at = name; *at != '\0'; at++)
        berth_buf_putc(out, (char)toupper((unsigned char)*at));
    berth_buf_printf(out, " 1 \"\" \"%s\" \"Berth\"\n.SH NAME\n", "berth " BERTH_VERSION);
}

static void
put_option(struct berth_buf *out, const struct berth_option *o)
{
    berth_buf_puts(out, ".TP\n");
    if (o->letter != '\0')
        berth_buf_printf(out, "\\fB\\-%c\\fR, ", o->letter);
    berth_buf_puts(out, "\\fB\\-\\-");
    put(out, o->name);
    berth_buf_puts(out, "\\fR");
    if (o->value != NULL) {
        berth_buf_puts(out, " \\fI");
        put(out, o->value);
        berth_buf_puts(out, "\\fR");
    }
    berth_buf_putc(out, '\n');
    put(out, o->help);
    berth_buf_putc(out, '\n');
}

static void
put_command(struct berth_buf *out, const struct berth_cmd *cmd)
{
    const struct berth_option *o;
    struct berth_conf_flag f;
    char name[64];

    (void)snprintf(name, sizeof name, "berth-%s", cmd->name);
    put_title(out, name);
    put(out, name);
    berth_buf_puts(out, " \\- ");
    put(out, cmd->summary);
    berth_buf_printf(out, "\n.SH SYNOPSIS\n.B berth %s\n", cmd->name);
    put(out, cmd->words);
    berth_buf_puts(out, "\n.SH OPTIONS\n");
    for (size_t i = 0; (o = berth_option_at(cmd, i)) != NULL; i++)
        put_option(out, o);
    for (size_t i = 0; cmd->takes_settings && berth_conf_flag_at(i, &f); i++) {
        const struct berth_option flag = {f.name, f.value, f.help, 0};
        put_option(out, &flag);
    }
    if (cmd->notes != NULL) {
        berth_buf_puts(out, ".SH NOTES\n.nf\n");
        put(out, cmd->notes);
        berth_buf_puts(out, ".fi\n");
    }
    berth_buf_puts(out, ".SH EXIT STATUS\n0: ok.  1: it failed, and why is on standard error.  "
                        "2: it was called wrongly.\n");
    if (cmd->notes != NULL)
        berth_buf_puts(out, "What NOTES say of it comes before this.\n");
    berth_buf_puts(out, ".SH SEE ALSO\n.BR berth (1)\n");
}

static void
put_all(struct berth_buf *out)
{
    const struct berth_cmd *cmd;

    put_title(out, "berth");
    berth_buf_puts(out, "berth \\- serves any model behind every API its users already speak\n"
                        ".SH SYNOPSIS\n.B berth\n\\fICOMMAND\\fR [options]\n.SH COMMANDS\n");
    for (size_t i = 0; (cmd = berth_cmd_at(i)) != NULL; i++) {
        if (berth_cmd_group(cmd) != NULL)
            berth_buf_printf(out, ".SS %s\n", berth_cmd_group(cmd));
        berth_buf_printf(out, ".TP\n\\fB%s\\fR ", cmd->name);
        put(out, cmd->words);
        berth_buf_putc(out, '\n');
        put(out, cmd->summary);
        berth_buf_putc(out, '\n');
    }
    berth_buf_puts(out, ".SH ENVIRONMENT\n"
                        ".TP\nBERTH_SERVER\nthe server that commands talk to\n"
                        ".TP\nBERTH_API_KEY\nits key\n"
                        ".TP\nBERTH_CONFIG\nthe configuration file of the server\n"
                        ".TP\nBERTH_STATE_DIR\nwhere records and fetched models are kept\n"
                        ".TP\nHF_TOKEN, HF_ENDPOINT\nfor hf:// sources\n"
                        ".PP\nEvery setting has a variable of its own: see ");
    put(out, "`berth config --docs`.\n");
}

int
berth_run_man(const struct berth_args *args)
{
    const struct berth_cmd *cmd = args->word_count > 0 ? berth_cmd_find(args->words[0]) : NULL;
    struct berth_buf out;

    if (args->word_count > 0 && cmd == NULL)
        return berth_usage(args, "no command '%s'", args->words[0]);
    berth_buf_init(&out, NULL);
    if (cmd != NULL)
        put_command(&out, cmd);
    else
        put_all(&out);
    return berth_print(args, &out);
}
