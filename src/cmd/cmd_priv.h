#ifndef BERTH_CMD_PRIV_H
#define BERTH_CMD_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"

/* ---- the table of commands ---- */

struct berth_arena;
struct berth_args;

struct berth_option {
    const char *name; /* without dashes; NULL ends a table */
    /* What its value is called; NULL: a switch, which may be said as --name=true or =false, too;
     * BERTH_OPTION_LIST: names. */
    const char *value;
    const char *help; /* at most 52 characters, so that a line fits a screen */
    char letter;      /* "-f" besides; 0: none */
};

enum { BERTH_CMD_OPTIONS_MAX = 18, BERTH_CMD_WORDS_MAX = 64 };

struct berth_cmd {
    const char *name;
    const char *words;   /* "MODEL [PROMPT]" */
    const char *summary; /* one line, at most 60 characters */
    const char *notes;   /* after the options: lines of at most 80 characters; or NULL */
    const struct berth_option *options;
    size_t words_min, words_max;
    bool takes_settings;                       /* the server's flags, unparsed, besides its own */
    bool is_client;                            /* talks to a server: --server and --api-key */
    int (*run)(const struct berth_args *args); /* the exit status */
};

/* Of an option that may be given again, for more: its value is all of them, with commas between. */
#define BERTH_OPTION_LIST "A,B"

/* What follows a command's name.  It is borrowed from main's argv, but for lists put together. */
struct berth_args {
    const struct berth_cmd *cmd;
    const char *program; /* "berth", or the name it was called by */
    /* By berth_option_at(); a switch: "", or another text when it is off. */
    const char *given[BERTH_CMD_OPTIONS_MAX + 3];
    const char *words[BERTH_CMD_WORDS_MAX];
    size_t word_count;
    int argc; /* with takes_settings: the arguments that are not the command's own options */
    char **argv;
    struct berth_arena *arena; /* of those lists */
};

enum { BERTH_EXIT_OK, BERTH_EXIT_FAILED, BERTH_EXIT_USAGE, BERTH_EXIT_INTERRUPTED = 130 };

/* The command at index, in the order of --help; NULL at the end. */
const struct berth_cmd *berth_cmd_at(size_t index);
/* The title of the group that cmd is the first of; NULL: it goes on with the one before. */
const char *berth_cmd_group(const struct berth_cmd *cmd);
const struct berth_cmd *berth_cmd_find(const char *name);
/* What to say to those who give it an option that it has not got and others of its sort have; NULL:
 * nothing is known of that. */
const char *berth_option_instead(const struct berth_cmd *cmd, const char *name);
/* A command's options, --server, --api-key and --help included; NULL at the end. */
const struct berth_option *berth_option_at(const struct berth_cmd *cmd, size_t index);
/* The value of an option, "" of a switch, or NULL when it was not given, or is switched off. */
const char *berth_arg(const struct berth_args *args, const char *name);
/* Was it said that this switch is off (--name=false)? */
bool berth_arg_is_off(const struct berth_args *args, const char *name);
/* A whole number; *ret stays when the option was not given.  False: told, exit with usage. */
bool berth_arg_int(const struct berth_args *args, const char *name, long long min, long long max,
                   long long *ret);
/* "a,b,c": the names of an option's value, in the arena.  0, or the exit status: it is told. */
struct berth_arg_names {
    const char *at[32];
    size_t count;
};
int berth_arg_names(const struct berth_args *args, struct berth_arena *a, const char *name,
                    struct berth_arg_names *ret);
bool berth_arg_real(const struct berth_args *args, const char *name, double min, double max,
                    double *ret);

/* "berth list: ...; see `berth list --help`" on standard error; returns BERTH_EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int berth_usage(const struct berth_args *args,
                                                      const char *fmt, ...);
/* "berth list: ..." on standard error; returns BERTH_EXIT_FAILED. */
__attribute__((format(printf, 2, 3))) int berth_failed(const struct berth_args *args,
                                                       const char *fmt, ...);
/* Write what may come from a server, a model or a file.  On a terminal no byte of it moves the
 * cursor or changes a setting; elsewhere it is as it was.  False: it cannot be written. */
bool berth_tell(FILE *to, const char *text, size_t len);
/* Write a buffer to standard output, and free it.  Returns the exit status. */
int berth_print(const struct berth_args *args, struct berth_buf *text);
void berth_help_put(const struct berth_cmd *cmd, const char *program, struct berth_buf *out);

/* ---- the commands ---- */

int berth_run_serve(const struct berth_args *args);
int berth_run_run(const struct berth_args *args);
int berth_run_pull(const struct berth_args *args);
int berth_run_list(const struct berth_args *args);
int berth_run_show(const struct berth_args *args);
int berth_run_explain(const struct berth_args *args);
int berth_run_ps(const struct berth_args *args);
int berth_run_plan(const struct berth_args *args);
int berth_run_load(const struct berth_args *args);
int berth_run_stop(const struct berth_args *args);
int berth_run_rm(const struct berth_args *args);
int berth_run_predict(const struct berth_args *args);
int berth_run_bench(const struct berth_args *args);
int berth_run_deploy(const struct berth_args *args);
int berth_run_update(const struct berth_args *args);
int berth_run_services(const struct berth_args *args);
int berth_run_describe(const struct berth_args *args);
int berth_run_logs(const struct berth_args *args);
int berth_run_scale(const struct berth_args *args);
int berth_run_rollback(const struct berth_args *args);
int berth_run_promote(const struct berth_args *args);
int berth_run_weight(const struct berth_args *args);
int berth_run_retry(const struct berth_args *args);
int berth_run_delete(const struct berth_args *args);
int berth_run_events(const struct berth_args *args);
int berth_run_plugins(const struct berth_args *args);
int berth_run_node(const struct berth_args *args);
int berth_run_doctor(const struct berth_args *args);
int berth_run_config(const struct berth_args *args);
int berth_run_version(const struct berth_args *args);
int berth_run_completion(const struct berth_args *args);
int berth_run_operator(const struct berth_args *args);
int berth_run_modelservice(const struct berth_args *args);
int berth_run_man(const struct berth_args *args);
int berth_run_worker(const struct berth_args *args);
int berth_run_quantize(const struct berth_args *args);
int berth_run_probe(const struct berth_args *args);

/* "berth 0.1.0 (commit abcdef0)" */
const char *berth_version_line(void);

#endif
