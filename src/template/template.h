#ifndef BERTH_TEMPLATE_TEMPLATE_H
#define BERTH_TEMPLATE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;
struct berth_json;
struct berth_tvalue; /* one value while a template runs (value.h): functions take and give them */

/*
 * Text templates as Go's text/template has them, with the functions of sprig 3.3.0 that neither
 * read the machine nor give another result at another time (README.md lists what is left out).
 * Rendering has no side effects; any thread may render.
 */

/* A function beside the built-in ones; it hides one of the same name.  Arguments and result live in
 * the run's arena.  On failure it says why in e, without the place: that is put in front. */
struct berth_template_fn {
    const char *name;
    int min_args, max_args; /* max_args -1: any number */
    int (*call)(void *arg, struct berth_arena *a, const struct berth_tvalue *argv, size_t argc,
                struct berth_tvalue *ret, struct berth_err *e);
    void *arg;
};

/* Where things came from, for messages; all in the arena. */
enum { BERTH_TEMPLATE_FAILURES_MAX = 16 };
struct berth_template_trace {
    size_t at; /* while a function of fns runs: the byte of the text where its name is */
    /* Of failures (whatever their code) that which ended it is the last.  Before it are those of
     * values that were to be printed: each is told, and left out of what is rendered on. */
    struct berth_template_failure {
        size_t at; /* byte of the text */
        const char *why;
    } failures[BERTH_TEMPLATE_FAILURES_MAX];
    size_t failure_count;
    uint64_t work;         /* that it took, however it ended */
    const uint32_t *lines; /* after success: for each line of the output the line of the text that
                            * made it */
    size_t line_count;
};

struct berth_template {
    const char
        *name; /* of what it is in, for messages: "base.yaml: decodeDeployment"; NULL: none */
    size_t first_line;             /* of the text in that file; 0: 1 */
    const struct berth_json *data; /* "." and "$": an object; a member that it lacks is an error.
                                    * Of objects within it, a member that is not there is nil, as of
                                    * Go's maps. */
    const char *data_name; /* what "." is called in messages: "the service's variables"; or NULL */
    const struct berth_template_fn *fns;
    size_t fn_count;
    size_t out_max;               /* bytes of output; 0: 1 MiB */
    uint64_t work_max;            /* values computed and bytes made; 0: 4 Mi */
    bool (*cancelled)(void *arg); /* asked now and then: is it to end?  NULL: never */
    void *cancel_arg;
    struct berth_template_trace *trace; /* zeroed; NULL: not asked for */
};

/*
 * Render text, appended to out.  Depth, output and work are bounded, and memory by the arena.  On
 * an error nothing that was appended counts.  len is at most 16 MiB. -BERTH_EINVAL  "base.yaml:
 * decodeDeployment: line 3, column 14: no variable .ModelNme in the service's variables (did you
 * mean .ModelName?)" -BERTH_ELIMIT  output, work or depth -BERTH_ECANCELED it was to end
 * -BERTH_ENOMEM  the arena's limit
 */
int berth_template_render(const struct berth_template *t, const char *text, size_t len,
                          struct berth_arena *a, struct berth_buf *out, struct berth_err *e);

#endif
